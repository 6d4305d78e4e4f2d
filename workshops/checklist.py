"""What the checks of the workshops share: questions about a learner's notebook and its runs, each with what to fix.

A workshop's `check.py` is a table of questions for `main`. A question is a text and a function of a `Work` that returns nothing
if all is right, else what to do next.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from mlops_lab import MlopsLabError, Pipeline, Run, load
from mlops_lab.runs import homes
from mlops_lab.session import Session

Question = tuple[str, Callable[["Work"], "str | None"]]


class Work:
    """A notebook as it is saved, and its runs."""

    def __init__(self, notebook: Path) -> None:
        self.path = notebook.absolute()

    @cached_property
    def pipeline(self) -> Pipeline:
        """The notebook as a pipeline."""
        return load(self.path)

    @cached_property
    def runs(self) -> list[Run]:
        """The runs of the notebook that have ended, newest first."""
        folders = [folder for home in homes(self.path) for folder in home.list()]
        ours = [each for each in folders if (begun := each.started) and Path(begun.notebook) == self.path and each.finished]
        return [Run(each) for each in ours]

    def source(self, step: str) -> str:
        """The code of a step, empty if there is no such step."""
        cells = [cell for each in self.pipeline.plan.steps if each.step.name == step for cell in each.step.cells]
        return "\n".join(cell.source for cell in cells)

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters with their types."""
        return {each.name: each.annotation for each in self.pipeline.parameters}


def has_steps(*names: str) -> Callable[[Work], str | None]:
    """Are there these steps, and no others?"""

    def ask(work: Work) -> str | None:
        missing = [name for name in names if name not in work.pipeline.steps]
        if missing:
            return f"There is no step {missing[0]} yet. Tag its cell step:{missing[0]}."
        more = [name for name in work.pipeline.steps if name not in names]
        if more:
            return f"Step {more[0]!r} is none of those that the page asks for. Look at the tags of its cells in the sidebar."
        return None

    return ask


def has_parameters(**types: str) -> Callable[[Work], str | None]:
    """Are there these parameters, with these types?"""

    def ask(work: Work) -> str | None:
        for name, kind in types.items():
            if name not in work.parameters:
                return f"{name} is no parameter. It has to be assigned in the cell with the tag parameters."
            if work.parameters[name] != kind:
                return f"{name} has no type yet that is checked. Write {name}: {kind} = ..."
        return None

    return ask


def without_errors(work: Work) -> str | None:
    """Is there no diagnostic?"""
    found = work.pipeline.diagnostics
    if not found:
        return None
    where = f"in cell {found[0].cell}" if found[0].cell else "of the notebook"
    return f"{found[0].code} {where}: {found[0].message} {found[0].fix}"


def this_notebook() -> Path:
    """The notebook whose kernel runs the checks; outside of one, the exercise."""
    if hasattr(builtins, "get_ipython"):
        session = Session(builtins.get_ipython())
        if session.knows_notebook():
            return session.notebook()
    return Path("exercise.ipynb")


def main(questions: Sequence[Question]) -> None:
    """Answer all questions about a notebook: the one that is named, else the one that this cell stands in.

    The exit code is 1 if something is left to do.
    """
    work = Work(Path(sys.argv[1]) if len(sys.argv) > 1 else this_notebook())
    done = 0
    for text, ask in questions:
        try:
            advice = ask(work)
        except MlopsLabError as error:
            advice = str(error)
        done += not advice
        print("✓" if not advice else "✗", text)
        if advice:
            print("   ", advice)
    if done == len(questions):
        print("\nAll is right. On to the next workshop!")
        return
    print(f"\n{done} of {len(questions)} are right in {work.path.name}.")
    print("Stuck? Each part of the page names a notebook to go on from.")
    if not hasattr(builtins, "get_ipython"):  # in a notebook, what is printed says it
        sys.exit(1)
