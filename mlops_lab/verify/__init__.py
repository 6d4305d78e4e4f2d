"""Holds a pipeline run against the notebook run from top to bottom: what each cell shows, what the variables hold at the end.

Both run in copies of the notebook's folder, so that nothing of the user's is touched. If something differs, the notebook runs
straight once more: what the two straight runs don't agree on (times, unseeded draws) can't be asked of the pipeline and is left
out, and so is what a cell shows of a variable on which they don't agree.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlops_lab.api import Run
from mlops_lab.checks import require_sound
from mlops_lab.learn import results_of
from mlops_lab.notebook import from_node, read
from mlops_lab.pipeline import build
from mlops_lab.plan import Plan, make_plan
from mlops_lab.results import Version, apply_outputs
from mlops_lab.runs import Home
from mlops_lab.scopes import module_names
from mlops_lab.targets import Options, target
from mlops_lab.verify.shown import shown, text, without_durations
from mlops_lab.verify.straight import Straight, differences, run_straight

__all__ = ["CellVerdict", "VariableVerdict", "Verdict", "run_straight", "verify"]

_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "node_modules")


@dataclass(frozen=True)
class CellVerdict:
    """`status`: equal, different, unstable (the two straight runs differ), or not run by the pipeline (`missing`)."""

    cell: int
    step: str
    status: str
    straight: str = ""
    pipeline: str = ""


@dataclass(frozen=True)
class VariableVerdict:
    """A variable after the last cell. `status`: equal, different, unstable or incomparable; `why`: where and how it differs."""

    name: str
    step: str
    status: str
    why: str = ""


@dataclass(frozen=True)
class Verdict:
    """`status`: equal, different, refused (the pipeline said why it can't), or failed (the notebook fails by itself)."""

    status: str
    cells: tuple[CellVerdict, ...]
    message: str = ""
    overtaken: int = 0
    variables: tuple[VariableVerdict, ...] = ()

    @property
    def differences(self) -> tuple[CellVerdict, ...]:
        return tuple(cell for cell in self.cells if cell.status in {"different", "missing"})

    @property
    def different_variables(self) -> tuple[VariableVerdict, ...]:
        return tuple(variable for variable in self.variables if variable.status == "different")


def verify(notebook: Path, *, workers: int = 0, node: Any = None, told: Callable[[str], None] = lambda text: None) -> Verdict:
    """Compare; `node` stands for the notebook's content where it differs from the file (proposed tags, say).

    Raises `CheckError` when the notebook has errors as a pipeline, `NotebookError` when it can't be read.
    """
    source = from_node(node, notebook) if node is not None else read(notebook)
    plan = make_plan(build(source))
    require_sound(plan)
    with tempfile.TemporaryDirectory(prefix="mlops-lab-verify-") as place:
        folders = [Path(place, name) for name in ("straight", "again", "pipeline")]
        for folder in folders:
            shutil.copytree(source.folder, folder, ignore=_LEFT_OUT, symlinks=True)
        told("running the notebook from top to bottom")
        straight = run_straight(source.node, source.kernel_name, folders[0])
        told("running it as a pipeline")
        copy = make_plan(build(from_node(source.node, folders[2] / source.path.name)))
        everything = replace(copy, steps=tuple(replace(step, keep=None) for step in copy.steps))
        run = Run(target("local")(everything, Options(cache=False, workers=workers, tracking=False), ()))
        state, executed = run.state, run.notebook()
        failures = [step.failure for step in state.steps.values() if step.failure and step.status in {"failed", "rejected"}]
        pipeline = Straight(executed, "", _final(copy, run), str(Home.of(folders[2]).bundles))
        holders = _holders(copy, run)
        why: dict[str, str | None] = {}
        if not straight.error and not failures:
            names = [name for name in holders if name in straight.current and name in pipeline.current]
            why = differences(straight, pipeline, names, source.kernel_name, folders[0])
        pairs = {
            cell: (shown(straight.node, cell.index), shown(executed, cell.index)) for cell in source.cells if cell.in_pipeline
        }
        differing = [cell for cell, (one, other) in pairs.items() if one != other]
        unstable: set[int] = set()
        uncertain: set[str] = set()
        if differing or any(why.values()):
            told("running the notebook once more, to see what is stable")
            again = run_straight(source.node, source.kernel_name, folders[1])
            uncertain = {name for name, text in differences(straight, again, list(straight.current), source.kernel_name,
                                                            folders[0]).items() if text}  # fmt: skip
            for cell in differing:
                one, other = pairs[cell]
                loads, stores = module_names(cell.tree.body)
                if (
                    one != shown(again.node, cell.index)
                    or without_durations(one) == without_durations(other)
                    or (loads | stores) & uncertain
                ):
                    unstable.add(cell.number)
    cells = _cells(plan, pairs, {cell.number for cell in differing}, unstable, executed)
    variables = tuple(
        VariableVerdict(
            name,
            holders[name],
            "incomparable" if text is None else "equal" if not text else "unstable" if name in uncertain else "different",
            text or "",
        )
        for name, text in why.items()
    )
    overtaken = sum(step.overtaken for step in state.steps.values())
    if straight.error:
        same = any(failure.message == straight.error for failure in failures)
        message = f"the notebook fails by itself: {straight.error}" + ("; so does the pipeline" if same else "")
        return Verdict("failed" if failures else "different", cells, message, overtaken, variables)
    if failures:
        refused = [failure for failure in failures if failure.kind == "refused"]
        message = (refused or failures)[0].message
        return Verdict("refused" if refused else "different", cells, message, overtaken, variables)
    verdict = Verdict("equal", cells, "", overtaken, variables)
    return replace(verdict, status="different") if verdict.differences or verdict.different_variables else verdict


def _cells(plan: Plan, pairs: Any, differing: set[int], unstable: set[int], executed: Any) -> tuple[CellVerdict, ...]:
    step_of = {number: step.name for step in plan.pipeline.steps for number in step.numbers}
    cells = []
    for cell, (one, other) in pairs.items():
        status = "equal"
        if cell.number in unstable:
            status = "unstable"
        elif cell.number in differing:
            status = "different" if executed.cells[cell.index].execution_count is not None else "missing"
        texts = (text(one), text(other)) if status != "equal" else ("", "")
        cells.append(CellVerdict(cell.number, step_of.get(cell.number, ""), status, *texts))
    return tuple(cells)


def _final(plan: Plan, run: Run) -> dict[str, Version]:
    """The versions of all variables after the last step."""
    current: dict[str, Version] = {}
    results = results_of(run.folder)
    for step in plan.steps:
        if step.name in results:
            apply_outputs(current, results[step.name])
    return current


def _holders(plan: Plan, run: Run) -> dict[str, str]:
    """Variable -> the last step that left it; what only imports bind is left out."""
    results = results_of(run.folder)
    return {
        name: step.name
        for step in plan.steps
        if step.name in results
        for name, output in results[step.name].outputs.items()
        if output and name.isidentifier() and name not in plan.imported
    }
