"""Copies of a notebook's folder to run in, so that nothing of the user's is touched, not even files that are written in place.

Where the notebook reaches above its folder (`../data/x.csv`, `sys.path.append("..")`), the copy begins there. What links lead
to outside of it is copied, too. Version control, caches and virtual environments are left out.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlops_lab.errors import UsageError
from mlops_lab.notebook import Notebook

_LEFT_OUT = {
    ".git", ".hg", ".svn", ".mlops_lab", ".ipynb_checkpoints", ".ipykernel", "__pycache__", "node_modules", ".mypy_cache",
    ".pytest_cache", ".ruff_cache", ".tox",
}  # fmt: skip
_ENVIRONMENT = ("pyvenv.cfg", "conda-meta")
_ABOVE = re.compile(r"(?<![.\w/\\])((?:\.\.[/\\])*\.\.)(?=[/\\\"'\s)]|$)")
_SPARE = 200 * 2**20  # bytes of room for what the runs write
_CLONE = 0x40049409  # Linux: a file that shares its blocks with another one until either is written to


@dataclass(frozen=True)
class _File:
    path: str  # within the copy
    source: str  # nothing: a folder
    size: int
    link: str = ""  # where a link within the copy leads


class Original:
    """What is to be copied for a notebook."""

    def __init__(self, notebook: Notebook) -> None:
        self.folder = notebook.folder.resolve()
        self.name = notebook.path.name
        levels = [match.count("..") for cell in notebook.cells for match in _ABOVE.findall(cell.source)]
        self.root, self.beyond = _root(self.folder, max(levels, default=0))

    @cached_property
    def _files(self) -> tuple[_File, ...]:
        return tuple(_walk(str(self.root), str(self.root), "", {str(self.root): ""}))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self._files)

    def require_room(self, place: Path) -> None:
        """Raises `UsageError` where two copies don't fit."""
        free = shutil.disk_usage(place).free
        if 2 * self.size + _SPARE <= free:
            return
        largest = max(self._files, key=lambda file: file.size)
        probe = place / "probe"
        cloned = largest.size > 0 and _clone(largest.source, str(probe))
        probe.unlink(missing_ok=True)
        if not cloned:
            raise UsageError(
                f"verify runs in two copies of {self.root} ({_text(self.size)}; the largest file is {largest.path}, "
                f"{_text(largest.size)}), and {place.parent} has {_text(free)} free. Set TMPDIR to a folder with more "
                f"room, or move what the notebook doesn't read to another folder."
            )

    def copy(self, to: Path) -> Path:
        """Make a copy, in place of one that is there; returns the notebook's folder in it."""
        if to.exists():
            shutil.rmtree(to)
        top = to / (self.root.name or "root")
        top.mkdir(parents=True)
        clones = True
        for file in self._files:
            path = str(top / file.path)
            try:
                if file.link:
                    Path(path).symlink_to(file.link)
                elif not file.source:
                    os.makedirs(path, exist_ok=True)
                else:
                    clones = clones and _clone(file.source, path)
                    if not clones:
                        shutil.copyfile(file.source, path)
                    shutil.copystat(file.source, path)
            except (PermissionError, FileNotFoundError):
                continue  # what can't be read can't be copied; the notebook will say so if it needs it
        return top / self.folder.relative_to(self.root)


def _root(folder: Path, levels: int) -> tuple[Path, bool]:
    """The folder to copy, and whether the notebook reaches beyond it: a home folder is never copied."""
    if not levels:
        return folder, False
    home = Path.home().resolve()
    root = folder
    for parent in list(folder.parents)[:levels]:
        if parent == parent.parent or home.is_relative_to(parent):
            return root, True
        root = parent
    return root, False


def _walk(folder: str, root: str, path: str, above: dict[str, str]) -> Iterator[_File]:
    """What is in a folder; `above`: the folders that it is in, by their own paths, and where their copies are."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        inside = os.path.join(path, entry.name)
        if entry.name in _LEFT_OUT:
            continue
        real = entry.path
        if entry.is_symlink():
            real = os.path.realpath(entry.path)
            if Path(real).is_relative_to(root) and list(above) == [root]:
                yield _File(inside, "", 0, os.path.relpath(real, os.path.realpath(folder)))
                continue
        if os.path.isdir(real):
            if real in above:
                yield _File(inside, "", 0, os.path.relpath(above[real] or ".", path or "."))
                continue
            if any(os.path.exists(os.path.join(real, sign)) for sign in _ENVIRONMENT):
                continue
            yield _File(inside, "", 0)
            yield from _walk(real, root, inside, above if real == entry.path else {**above, real: inside})
        elif os.path.isfile(real):
            yield _File(inside, real, Path(real).stat().st_size)


def _text(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _clone(source: str, path: str) -> bool:
    """Make a file that shares its blocks with the source until one of them is written to, where the file system can."""
    try:
        import fcntl

        with open(source, "rb") as one, open(path, "wb") as other:
            fcntl.ioctl(other.fileno(), _CLONE, one.fileno())
    except (ImportError, OSError):
        return False
    return True
