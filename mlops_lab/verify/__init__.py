"""Holds a pipeline run against the notebook run from top to bottom: what each cell shows, what the variables hold at the end.

Both run in copies of the notebook's folder, so that nothing of the user's is touched. If something differs, the notebook runs
straight once more, and if something still differs, a third time: what the straight runs don't agree on (times, unseeded draws)
can't be asked of the pipeline and is left out (`judging.py`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops_lab.api import Run
from mlops_lab.checks import require_sound
from mlops_lab.learn import results_of
from mlops_lab.notebook import Notebook, from_node, read
from mlops_lab.pipeline import build
from mlops_lab.plan import make_plan
from mlops_lab.results import Version, apply_outputs
from mlops_lab.runs import HOME, Home
from mlops_lab.targets import Options, target
from mlops_lab.targets.kernels import kernel_python
from mlops_lab.verify.copies import Original
from mlops_lab.verify.judging import PipelineEnd, judge
from mlops_lab.verify.straight import End, StraightRun, run_straight
from mlops_lab.verify.verdict import CellVerdict, VariableVerdict, Verdict

__all__ = ["CellVerdict", "VariableVerdict", "Verdict", "run_straight", "verify"]

_TIMES = {2: "a second time", 3: "a third time"}
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

        def once_more(number: int) -> End:
            told(f"something differs; running the notebook {_TIMES[number]}, to see what is stable")
            copied = original.copy(place / "straight")
            return StraightRun(source.node, source.kernel_name, copied, place / f"end-{number}", moved=number).run()

        return judge(source, plan, one, other, once_more, straight.folder)


def _both(straight: StraightRun, pipeline: Callable[[], PipelineEnd]) -> tuple[End, PipelineEnd]:
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(straight.run)
        try:
            other = pipeline()  # in this thread, which signals come to
            return future.result(), other
        except BaseException:
            straight.stop()
            raise


def _run_pipeline(source: Notebook, folder: Path, place: Path, workers: int) -> PipelineEnd:
    plan = replace(make_plan(build(from_node(source.node, folder / source.path.name))), keep_all=True)
    with _home(place / "runs"):  # elsewhere, so that the notebook's folder holds what it holds in the straight run
        run = Run(target("local")(plan, Options(cache=False, workers=workers, tracking=False), ()))
        state, node, results = run.state, run.notebook(), results_of(run.folder)
    current: dict[str, Version] = {}
    holders: dict[str, str] = {}
    changed: set[str] = set()  # what is stored together counts as one
    unread: set[str] = set()
    for step in plan.steps:  # with the variables that no later step reads
        if step.name in results:
            left = {name: output["version"] for name, output in results[step.name].outputs.items() if output}
            changed |= {current[name][0] for name, version in left.items() if name in current and current[name] != version}
            apply_outputs(current, results[step.name])
            holders |= dict.fromkeys(left, step.name)
            unread -= left.keys()
            unread |= left.keys() - step.keep if step.keep is not None else set()
    outdated = frozenset(name for name in unread if name in current and current[name][0] in changed)
    steps = [state.steps[step.name] for step in plan.steps if step.name in state.steps]
    failures = tuple(step.failure for step in steps if step.failure and step.status in {"failed", "rejected"})
    overtaken = sum(step.overtaken for step in steps)
    return PipelineEnd(node, current, str(Home(place / "runs").bundles), None, "", holders, outdated, failures, overtaken)


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
