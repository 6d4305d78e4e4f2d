"""Every error that MLOps Lab raises for its user, and the exit code that each one means.

    MlopsLabError                 something the user can act on; printed without a traceback
    ├── UsageError          2     the call is wrong: unknown step, bad parameter, missing file
    │   ├── NotebookError   2     the file is not a notebook that we can read
    │   └── BusyError       2     another run of the same notebook is in progress
    ├── CheckError          2     the notebook has errors; carries the diagnostics
    └── RunError            1     the run could not go on (kernel missing, store not writable)
        └── StartTimeout    1     a run of its own process did not begin in time

Exit codes of a run that did start: 0 done, 1 a step failed, 3 rejected by a gate, 130 cancelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_lab.checks import Diagnostic

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_REJECTED, EXIT_CANCELLED = 0, 1, 2, 3, 130


class MlopsLabError(Exception):
    """Base of all errors meant for the user: the message says what, where and what to do."""

    exit_code = EXIT_FAILED


class UsageError(MlopsLabError):
    """The call is wrong; nothing was run."""

    exit_code = EXIT_USAGE


class NotebookError(UsageError):
    """The file is missing, is not a notebook, or is damaged."""


class BusyError(UsageError):
    """Another run of the same notebook holds its folder."""


class CheckError(MlopsLabError):
    """The notebook has errors, so the run was not started. `diagnostics` lists them."""

    exit_code = EXIT_USAGE

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(str(d) for d in self.diagnostics))


class RunError(MlopsLabError):
    """The run could not start or go on for a reason outside the notebook's code."""


class StartTimeout(RunError):
    """The process of a run did not say in time that the run has begun; it was ended."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the nearest of the known words, or an empty string."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
