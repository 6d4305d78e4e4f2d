"""Takes back what attempts that don't count did to files, by the journals that they left (`runtime/journal.py`)."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from mlops_lab.results import Result
from mlops_lab.runtime.filestates import state_of


class Entry(NamedTuple):
    """A line of a journal; see there."""

    at: int
    word: str
    path: str
    more: str | None = None


def entries(journal: Path | None) -> list[Entry]:
    """What a journal says; nothing if there is none. A line that its writer was killed at is no line."""
    found = []
    if journal is not None:
        with contextlib.suppress(FileNotFoundError):
            for line in (journal / "journal").read_bytes().splitlines():
                with contextlib.suppress(msgspec.DecodeError):
                    found.append(Entry(*msgspec.json.decode(line)))
    return found


def ended_itself(journal: Path | None) -> str:
    """Why the attempt ended itself; nothing if it did not."""
    return next((entry.path for entry in entries(journal) if entry.word == "early"), "")


def changes(journal: Path | None, folder: Path) -> dict[str, str]:
    """The files that an attempt has changed so far, as `Result.files_written` has them."""
    found: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    for entry in entries(journal):
        if entry.word in {"early", "folder"}:
            continue
        path, state, came = _name(entry.path, folder), state_of(entry.path), entry.word == "made"
        if came and state == "absent":
            continue
        found[path] = state
        if came != (state == "absent"):
            names.setdefault(f"{os.path.dirname(path) or '.'}/", []).append(("+" if came else "-") + os.path.basename(path))
    return found | {above: "/".join(sorted(changed)) for above, changed in names.items()}


def touched(journal: Path | None, folder: Path, since: float = 0.0) -> set[str]:
    """The files that an attempt has opened to write, made, moved or removed, named like those of `changes`; by the monotonic
    clock not before `since`."""
    later = {entry.path for entry in entries(journal) if entry.at >= since * 1e9}
    return {_name(path, folder) for path in _paths(journal) & later}


def without(result: Result, paths: Collection[str]) -> Result:
    """The result as if it had not changed these files."""
    left = {}
    for path, state in result.files_written.items():
        if path.endswith("/"):
            folder = "" if path == "./" else path
            state = "/".join(change for change in state.split("/") if folder + change.lstrip("~")[1:] not in paths)
        if path not in paths and (state or not path.endswith("/")):
            left[path] = state
    return msgspec.structs.replace(result, files_written=left)


def disturbs(journal: Path | None, other: Path | None) -> bool:
    """True if taking back the one touches what the other has touched, too."""
    theirs = _paths(other)
    above = {os.fspath(parent) for path in theirs for parent in Path(path).parents}
    return not _paths(journal).isdisjoint(theirs | above)


def can_be_taken_back(done: Iterable[tuple[Path | None, Result]], folder: Path) -> bool:
    """True if all has been kept that these attempts changed, the last of them last, and is still as they left it."""
    left: dict[str, str] = {}
    for journal, result in done:
        if any(entry.word == "kept" and entry.more is None for entry in entries(journal)):
            return False
        noted = touched(journal, folder)
        left |= {path: state for path, state in result.files_written.items() if path in noted}
    return all(state_of(str(folder / path)) == state.lstrip("~") for path, state in left.items())


def take_back(journals: Iterable[Path | None]) -> None:
    """Give all that these attempts touched the content that it had before the first of them did. Raises `OSError`."""
    first: dict[str, Entry] = {}
    for entry in sorted(entry for journal in journals for entry in entries(journal)):
        if entry.word != "early":
            first.setdefault(entry.path, entry)
    seen: set[tuple[int, int]] = set()
    inner_first = sorted(first.items(), key=lambda item: item[0].count(os.sep), reverse=True)
    for name, entry in inner_first:
        path = Path(name)
        if path.is_dir() and not path.is_symlink():
            if entry.word != "folder":
                for cache in ("__pycache__", ".ipynb_checkpoints"):
                    shutil.rmtree(path / cache, ignore_errors=True)
                path.rmdir()
        elif os.path.lexists(path):
            found = path.lstat()
            if entry.word != "kept" or path.is_symlink() or (found.st_dev, found.st_ino) in seen:
                path.unlink()  # or one file would be given the content of two
            seen.add((found.st_dev, found.st_ino))
    for name, entry in reversed(inner_first):
        path = Path(name)
        if entry.word == "folder":
            path.mkdir(parents=True, exist_ok=True)
        elif entry.word == "link" and entry.more is not None:
            path.symlink_to(entry.more)
        elif entry.word == "kept" and entry.more is not None:
            shutil.copyfile(entry.more, path)  # into the file that is there, which others may have opened
            shutil.copymode(entry.more, path)


def drop_copies(journal: Path | None) -> None:
    """Remove what was kept to be put back."""
    for entry in entries(journal):
        if entry.word == "kept" and entry.more is not None:
            Path(entry.more).unlink(missing_ok=True)


def _name(path: str, folder: Path) -> str:
    return os.path.relpath(path, folder) if Path(path).is_relative_to(folder) else path


def _paths(journal: Path | None) -> set[str]:
    """What taking this back touches; a folder that was there is only put back."""
    return {entry.path for entry in entries(journal) if entry.word not in {"early", "folder"}}
