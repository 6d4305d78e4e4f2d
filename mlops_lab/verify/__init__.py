"""Holds a pipeline run against the notebook run from top to bottom: what each cell shows, what the variables hold at the end.

Both run in copies of the notebook's folder, so that nothing of the user's is touched. If something differs, the notebook runs
straight once more: what the two straight runs don't agree on (times, unseeded draws) can't be asked of the pipeline and is left
out, and so is what a cell shows of a variable on which they don't agree.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlops_lab.api import Run
from mlops_lab.checks import require_sound
from mlops_lab.events import Failure
from mlops_lab.learn import results_of
from mlops_lab.notebook import Cell, Notebook, from_node, read
from mlops_lab.pipeline import build
from mlops_lab.plan import Plan, make_plan
from mlops_lab.results import Version, apply_outputs
from mlops_lab.runs import HOME, Home
from mlops_lab.scopes import module_names
from mlops_lab.targets import Options, target
from mlops_lab.targets.kernels import kernel_python
from mlops_lab.verify.copies import Original
from mlops_lab.verify.shown import plain, shown, text, without_durations
from mlops_lab.verify.straight import End, StraightRun, differences, run_straight
from mlops_lab.verify.verdict import CellVerdict, VariableVerdict, Verdict, short_difference

__all__ = ["CellVerdict", "VariableVerdict", "Verdict", "run_straight", "verify"]

_LARGE = 2 * 10**9  # bytes; more are announced


def verify(notebook: Path, *, workers: int = 0, at_once: bool = False, node: Any = None,
           told: Callable[[str], None] = lambda text: None) -> Verdict:  # fmt: skip
    """Compare; `node` stands for the notebook's content where it differs from the file (proposed tags, say).

    With `at_once` the straight run and the pipeline run at the same time. Raises `CheckError` when the notebook has errors as a
    pipeline, `NotebookError` when it can't be read, `UsageError` when its kernel is not there or there is no room for copies of
    its folder, `RunError` when the kernel doesn't start.
    """
    source = from_node(node, notebook) if node is not None else read(notebook)
    plan = make_plan(build(source))
    require_sound(plan)
    kernel_python(source.kernel_name)
    original = Original(source)
    with tempfile.TemporaryDirectory(prefix="mlops-lab-verify-") as name:
        place = Path(name)
        original.require_room(place)
        if original.size > _LARGE:
            told(f"copying {original.size / 1e9:.1f} GB, twice")
        if original.beyond:
            told("not copying what lies above the notebook's folder: it is the home folder, or holds it")
        straight = StraightRun(source.node, source.kernel_name, original.copy(place / "straight"), place / "end")
        folder = original.copy(place / "pipeline")
        if at_once:
            told("running the notebook from top to bottom, and as a pipeline")
            one, other = _both(straight, lambda: _run_pipeline(source, folder, place, workers))
        else:
            told("running the notebook from top to bottom")
            one = straight.run()
            told("running it as a pipeline")
            other = _run_pipeline(source, folder, place, workers)

        def once_more() -> End:
            told("running the notebook once more, to see what is stable")
            return StraightRun(
                source.node, source.kernel_name, original.copy(place / "straight"), place / "again", moved=True
            ).run()

        return _judge(source, plan, one, other, once_more, straight.folder)


@dataclass(frozen=True)
class _PipelineEnd(End):
    """What the pipeline run left; `holders`: variable -> the last step that left it."""

    holders: dict[str, str] | None = None
    failures: tuple[Failure, ...] = ()
    overtaken: int = 0


def _both(straight: StraightRun, pipeline: Callable[[], _PipelineEnd]) -> tuple[End, _PipelineEnd]:
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(straight.run)
        try:
            other = pipeline()  # in this thread, which signals come to
            return future.result(), other
        except BaseException:
            straight.stop()
            raise


def _run_pipeline(source: Notebook, folder: Path, place: Path, workers: int) -> _PipelineEnd:
    plan = make_plan(build(from_node(source.node, folder / source.path.name)))
    everything = replace(plan, steps=tuple(replace(step, keep=None) for step in plan.steps))
    with _home(place / "runs"):  # elsewhere, so that the notebook's folder holds what it holds in the straight run
        run = Run(target("local")(everything, Options(cache=False, workers=workers, tracking=False), ()))
        state, node, results = run.state, run.notebook(), results_of(run.folder)
    current: dict[str, Version] = {}
    holders: dict[str, str] = {}
    for step in plan.steps:
        if step.name in results:
            apply_outputs(current, results[step.name])
            holders |= {name: step.name for name, output in results[step.name].outputs.items() if output}
    steps = [state.steps[step.name] for step in plan.steps if step.name in state.steps]
    failures = tuple(step.failure for step in steps if step.failure and step.status in {"failed", "rejected"})
    overtaken = sum(step.overtaken for step in steps)
    return _PipelineEnd(node, current, str(Home(place / "runs").bundles), None, "", holders, failures, overtaken)


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    before = os.environ.get(HOME)
    os.environ[HOME] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(HOME)
        if before is not None:
            os.environ[HOME] = before


def _judge(source: Notebook, plan: Plan, straight: End, pipeline: _PipelineEnd, once_more: Callable[[], End],
           folder: Path) -> Verdict:  # fmt: skip
    """The verdict. `folder` is that of the straight run, for the modules in it."""
    refusals = [failure for failure in pipeline.failures if failure.kind == "refused"]
    end = straight.failed_at if straight.failed_at is not None else len(source.node.cells)
    cells = [cell for cell in source.cells if cell.in_pipeline and cell.index <= end]
    pairs = {cell: (shown(straight.node, cell.index), shown(pipeline.node, cell.index)) for cell in cells}
    differing = [cell for cell, (one, other) in pairs.items() if one != other]
    same_end = straight.failed_at is None and not pipeline.failures
    why = _variables(plan, straight, pipeline, source.kernel_name, folder) if same_end else {}
    failed_alike = straight.failed_at is not None and _fails_alike(source, straight, pipeline.failures)
    unstable: set[int] = set()
    uncertain: set[str] = set()
    message = ""
    if not refusals and (differing or any(why.values()) or not (same_end or failed_alike)):
        again = once_more()
        uncertain = _uncertain(straight, again, source.kernel_name, folder)
        unstable = {cell.number for cell in differing if _is_unstable(cell, pairs[cell], again, uncertain)}
        if (again.failed_at, plain(again.error)) != (straight.failed_at, plain(straight.error)):
            message = "two straight runs of the notebook don't end alike; "
            failed_alike = not same_end
    verdict = Verdict(
        "equal",
        _cells(plan, pairs, {cell.number for cell in differing}, unstable, pipeline.node),
        overtaken=pipeline.overtaken,
        variables=tuple(
            VariableVerdict(
                name,
                (pipeline.holders or {}).get(name, ""),
                "incomparable" if text is None else "equal" if not text else "unstable" if name in uncertain else "different",
                text or "",
            )
            for name, text in sorted(why.items())
        ),
    )
    if refusals:
        return replace(verdict, status="refused", message=refusals[0].message)
    if verdict.differences or verdict.different_variables:
        verdict = replace(verdict, status="different")
    if same_end and not message:
        return verdict
    if straight.failed_at is not None:
        number = next((cell.number for cell in source.cells if cell.index == straight.failed_at), 0)
        message += f"the notebook fails by itself, in cell {number}: {straight.error or 'its kernel died'}"
    if failed_alike or same_end:
        message += "; so does the pipeline" if not message.startswith("two") else ""
        return replace(verdict, status="failed" if verdict.status == "equal" else "different", message=message)
    found = f"the pipeline: {pipeline.failures[0].message}" if pipeline.failures else "the pipeline does not fail"
    return replace(verdict, status="different", message=f"{message}; {found}" if message else found)


def _variables(plan: Plan, straight: End, pipeline: _PipelineEnd, kernel: str, folder: Path) -> dict[str, str | None]:
    """Variable -> why it differs at the end; what the cells replayed in every step bind is left out, and so are imports."""
    notebook = plan.pipeline.notebook
    replayed = {name for cell in (*plan.pipeline.setup, *_static_cells(plan)) for name in module_names(cell.tree.body)[1]}
    static = {parameter.name for parameter in plan.pipeline.static_parameters}
    outside = {name for cell in notebook.cells if not cell.in_pipeline for name in module_names(cell.tree.body)[1]}
    names = {name for end in (straight, pipeline) for name in end.current if name.isidentifier()} - set(plan.imported)
    both = {name for name in names if name in straight.current and name in pipeline.current}
    found = differences(straight, pipeline, both, kernel, folder)
    for name in names - both - replayed - static - outside:
        found[name] = f"{name}: only the {'straight run' if name in straight.current else 'pipeline'} has it at the end"
    return found


def _static_cells(plan: Plan) -> Iterable[Cell]:
    numbers = {parameter.cell for parameter in plan.pipeline.static_parameters}
    return (cell for cell in plan.pipeline.notebook.cells if cell.number in numbers)


def _fails_alike(source: Notebook, straight: End, failures: tuple[Failure, ...]) -> bool:
    """True if the pipeline's first failure is that of the straight run: the same cell and error, or a kernel that died."""
    if not failures:
        return False
    numbers = {cell.index: cell.number for cell in source.cells}
    if failures[0].cell and failures[0].cell != numbers.get(straight.failed_at if straight.failed_at is not None else -1):
        return False
    if not straight.error:
        return failures[0].kind == "died"
    return plain(failures[0].message) == plain(straight.error)


def _uncertain(straight: End, again: End, kernel: str, folder: Path) -> set[str]:
    """The variables on which two straight runs don't agree."""
    names = {name for name in straight.current if name.isidentifier()}
    there = {name for name in names if name in again.current}
    return {name for name, text in differences(straight, again, there, kernel, folder).items() if text} | (names - there)


def _is_unstable(cell: Cell, pair: tuple[Any, Any], again: End, uncertain: set[str]) -> bool:
    one, other = pair
    if one != shown(again.node, cell.index) or without_durations(one) == without_durations(other):
        return True
    loads, stores = module_names(cell.tree.body)
    return bool((loads | stores) & uncertain)


def _cells(plan: Plan, pairs: Any, differing: set[int], unstable: set[int], executed: Any) -> tuple[CellVerdict, ...]:
    step_of = {number: step.name for step in plan.pipeline.steps for number in step.numbers}
    cells = []
    for cell, (one, other) in pairs.items():
        step = step_of.get(cell.number, "")
        if cell.number not in differing:
            cells.append(CellVerdict(cell.number, step, "equal"))
            continue
        status = "different" if executed.cells[cell.index].execution_count is not None else "missing"
        left, right = text(one), text(other)
        why = short_difference(left, right)
        status = "unstable" if cell.number in unstable else status
        cells.append(CellVerdict(cell.number, step, status, left[:2000], right[:2000], why))
    return tuple(cells)
