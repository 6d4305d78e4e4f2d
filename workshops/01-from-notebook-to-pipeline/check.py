"""The checks of the first workshop."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from checklist import Work, has_parameters, has_steps, main, without_errors


def skips(work: Work) -> str | None:
    """Is the first look left out?"""
    looks = [cell for cell in work.pipeline.plan.cells if "the best day had" in cell.source]
    return "The cell of the first look is part of a step. Give it the role skip." if looks else None


def ran(work: Work) -> str | None:
    """Is there a run to the end?"""
    if not work.runs:
        return "Nothing has been run yet. Press Run as pipeline in the sidebar."
    if all(run.status != "done" for run in work.runs):
        return f"The last run has {work.runs[0].status}. The message of its step says why; correct the cell and run again."
    return None


def ran_again(work: Work) -> str | None:
    """Has a run taken the unchanged steps from an earlier one, and run the others?"""
    for run in work.runs:
        states = {step.status for step in run.steps.values()}
        if run.status == "done" and states == {"done", "cached"}:
            return None
    return "No run has run only what changed. Run again with another window: the steps that don't read it are cached."


main([
    ("weeks and window are parameters", has_parameters(weeks="int", window="int")),
    ("the cells are steps", has_steps("load", "clean", "weekdays", "trend", "report")),
    ("the first look is skipped", skips),
    ("there are no diagnostics", without_errors),
    ("a run went to the end", ran),
    ("a second run did only what changed", ran_again),
])  # fmt: skip
