"""What `verify` finds, as data, and as a short text for what two cells show."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

_LINES = 20  # of a difference


@dataclass(frozen=True)
class CellVerdict:
    """`status`: equal, different, unstable (straight runs differ), or missing (the pipeline didn't run it).

    `why` holds the lines that differ: `-` what the straight run shows, `+` what the pipeline shows.
    """

    cell: int
    step: str
    status: str
    straight: str = ""
    pipeline: str = ""
    why: str = ""


@dataclass(frozen=True)
class VariableVerdict:
    """A variable after the last cell. `status`: equal, different, unstable or incomparable; `why`: where and how it differs."""

    name: str
    step: str
    status: str
    why: str = ""


@dataclass(frozen=True)
class Verdict:
    """`status`: equal, different, refused (the pipeline said why it can't), or failed (the notebook fails by itself).

    `straight_runs` counts how often the notebook was run from top to bottom: more than once only where something differed.
    """

    status: str
    cells: tuple[CellVerdict, ...]
    message: str = ""
    overtaken: int = 0
    variables: tuple[VariableVerdict, ...] = ()
    straight_runs: int = 1

    @property
    def differences(self) -> tuple[CellVerdict, ...]:
        return tuple(cell for cell in self.cells if cell.status in {"different", "missing"})

    @property
    def different_variables(self) -> tuple[VariableVerdict, ...]:
        return tuple(variable for variable in self.variables if variable.status == "different")


def short_difference(straight: str, pipeline: str) -> str:
    """The lines in which two texts differ."""
    lines = difflib.unified_diff(straight.splitlines(), pipeline.splitlines(), n=0, lineterm="")
    changed = [line[:200] for line in lines if not line.startswith(("---", "+++", "@@"))]
    more = [f"... and {len(changed) - _LINES} more lines"] if len(changed) > _LINES else []
    return "\n".join([*changed[:_LINES], *more])
