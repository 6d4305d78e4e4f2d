"""Paths and runs as the outside names them -> files below the server's root. Nothing outside of it is ever given.

A path is what the contents API calls one: relative to the server's root, with `/`. Links may lead anywhere within the
root, and nowhere else. A run is visible if the notebook that it ran is.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from mlops_lab.errors import MlopsLabError
from mlops_lab.moves import notebook_of, record
from mlops_lab.runs import HOME, Home, RunFolder
from mlops_lab.server.errors import Forbidden, NotFound

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FOLDERS, _SECONDS, _FRESH = 50_000, 3.0, 10.0  # how far, how long and how often the root is searched for runs
_LONGEST = 4096  # characters of a path
_NEVER = {"node_modules", "site-packages", "__pycache__", "lost+found"}


class Places:
    """The files below a server's root, and the runs of the notebooks there."""

    def __init__(self, root: str | Path, allow_hidden: bool = False) -> None:
        self.root = Path(root).absolute()
        self.allow_hidden = allow_hidden
        self._real = Path(os.path.realpath(self.root))
        self._lock = threading.Lock()
        self._homes: dict[Path, Home] = {}
        self._searched = 0.0

    def notebook(self, path: str, must_exist: bool = True) -> Path:
        """The file of a notebook's path."""
        found = self.below(path)
        if found.suffix != ".ipynb":
            raise NotFound(f"{path!r} is not a notebook: its name doesn't end in .ipynb.")
        if must_exist and not found.is_file():
            raise NotFound(f"There is no notebook {path!r}. Save it first.")
        return found

    def below(self, path: str) -> Path:
        """The file or folder of a path. Raises `Forbidden` where it leads out of the root, `NotFound` where it is hidden."""
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if (
            "\0" in path
            or len(path) > _LONGEST
            or any(len(part.encode(errors="replace")) > 255 for part in parts)
            or _not_text(path)
        ):
            raise NotFound(f"{path!r} is no path.")
        if ".." in parts or (os.sep != "/" and os.sep in path) or (parts and Path(parts[0]).is_absolute()):
            raise Forbidden(f"{path!r} leads out of the server's root.")
        if not self.allow_hidden and any(part.startswith(".") for part in parts):
            raise NotFound(f"{path!r} is hidden.")
        found = self.root.joinpath(*parts)
        try:
            real = Path(os.path.realpath(found))
        except (OSError, ValueError):
            raise NotFound(f"{path!r} is no path.") from None
        if real != self._real and self._real not in real.parents:
            raise Forbidden(f"{path!r} leads out of the server's root.")
        return found

    def path_of(self, file: str | Path) -> str | None:
        """The path of a file, or None if it isn't below the root."""
        real = Path(os.path.realpath(file))
        if self._real not in real.parents:
            return None
        for root, inside in ((self.root, Path(file)), (self._real, real)):
            if root in inside.parents:
                return inside.relative_to(root).as_posix()
        return None

    # -- runs ----------------------------------------------------------------------------------------------------

    def run(self, name: str) -> tuple[RunFolder, str]:
        """The run of this id and the path of its notebook."""
        if not RUN_ID.fullmatch(name):
            raise NotFound(f"There is no run {name!r}.")
        for fresh in (False, True):
            for home in self.homes(fresh=fresh):
                folder = RunFolder(home.runs / name)
                if folder.log.is_file() and not folder.path.is_symlink():
                    path = self.path_of_run(folder)
                    if path is not None:
                        return folder, path
        raise NotFound(f"There is no run {name!r}.")

    def path_of_run(self, run: RunFolder) -> str | None:
        """The path that the notebook of a run has now; None if it isn't below the root or the log doesn't begin yet."""
        notebook = notebook_of(run)
        return self.path_of(notebook) if notebook else None

    def homes(self, path: str = "", fresh: bool = False) -> list[Home]:
        """Where the runs of a notebook, or of all notebooks in a folder and below it, are kept."""
        inside = self.below(path)
        if os.environ.get(HOME):
            return [Home.of(inside)]
        if inside.suffix == ".ipynb":
            return [home for home in Home.of(inside.parent).all() if home.runs.is_dir() and self.path_of(home.runs)]
        with self._lock:
            age = time.monotonic() - self._searched
            if not self._searched or age > (1.0 if fresh else _FRESH):
                self._homes = {folder: Home.of(folder) for folder in self._folders_with_runs()}
                self._searched = time.monotonic()
            folders = [f for f in self._homes if f == inside or inside in f.parents]
        return self._known(folders)

    def remember(self, notebook: Path) -> None:
        """A run of this notebook has begun: its folder is one to look into, at once."""
        with self._lock:
            self._homes.setdefault(notebook.parent, Home.of(notebook.parent))

    def moved(self, old: str, new: str) -> None:
        """A file or folder was renamed or moved."""
        with contextlib.suppress(MlopsLabError):  # what is outside of the root or hidden has no runs here
            source, target = self.below(old), self.below(new)
            record(source, target)
            if target.is_dir():
                with self._lock:
                    self._searched = 0.0
            else:
                self.remember(target)

    @staticmethod
    def _known(folders: list[Path]) -> list[Home]:
        return [home for folder in folders if (home := Home.of(folder)).runs.is_dir()]

    def _folders_with_runs(self) -> Iterator[Path]:
        """The folders below the root that have runs, those near the root first; a huge tree is not searched to its end."""
        todo, seen, end = deque([self.root]), 0, time.monotonic() + _SECONDS
        while todo and seen < _FOLDERS and time.monotonic() < end:
            folder, seen = todo.popleft(), seen + 1
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.name == ".mlops_lab" and entry.is_dir(follow_symlinks=False):
                            yield folder
                        elif entry.name[0] != "." and entry.name not in _NEVER and entry.is_dir(follow_symlinks=False):
                            todo.append(Path(entry.path))
            except OSError:
                continue


def _not_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return True
    return False
