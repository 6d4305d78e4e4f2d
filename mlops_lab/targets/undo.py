"""Takes back the files that a step made too early, so that the step above, which saw them, runs again without them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from mlops_lab.results import Result, clash
from mlops_lab.runtime.files import state_of


def made_anew(result: Result, folder: Path) -> dict[str, str]:
    """Path -> state, of what the step surely made, below `folder`, where nothing was, and what is still as it left it."""
    found = {}
    for path, state in result.files_written.items():
        parent, _, name = path.rpartition("/")
        made = f"+{name}" in result.files_written.get(f"{parent or '.'}/", "").split("/")
        if made and not Path(path).is_absolute() and state_of(str(folder / path)) == state:
            found[path] = state
    return found


def take_back(early: Result, late: Result, others: Iterable[Result], folder: Path) -> bool:
    """Remove what `late`, of the step below, made anew and `early`, of the step above, may have seen; False if that can't be.

    What `early` made goes, too, so that its step finds what it found. Nothing is touched where files stood before, or
    where one of the `others` has used what would go.
    """
    mine, theirs = made_anew(late, folder), made_anew(early, folder)
    if clash(early, _without(late, mine)) or any(
        not (mine.keys() | theirs.keys()).isdisjoint({*other.files_read, *other.files_written}) for other in others
    ):
        return False
    # What is in a folder before the folder itself, which stays where somebody else has put something.
    for path in sorted({*mine, *theirs}, reverse=True):
        full = folder / path
        try:
            full.rmdir() if full.is_dir() and not full.is_symlink() else full.unlink(missing_ok=True)
        except OSError:
            return False
    return True


def _without(result: Result, made: Mapping[str, str]) -> Result:
    """The result as if it had not made these."""
    left = {}
    for path, state in result.files_written.items():
        if path.endswith("/"):
            folder = "" if path == "./" else path
            state = "/".join(c for c in state.split("/") if not (c[:1] == "+" and f"{folder}{c[1:]}" in made))
        if path not in made and (state or not path.endswith("/")):
            left[path] = state
    return msgspec.structs.replace(result, files_written=left)
