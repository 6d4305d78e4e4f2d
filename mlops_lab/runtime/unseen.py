"""Files that are opened where no audit hook hears of it: by code written in C (polars, HDF5...), and by child processes.

The system tells that a file in a watched folder was opened, but not by whom (inotify; Linux only). So only a step that starts a
process, or imports a package that may open files so, looks; and what another step wrote at the same time was opened there.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

_FOLDERS, _ENTRIES = 500, 5000  # watched, and looked at for folders to watch
_CREATE, _DELETE, _FROM, _TO, _OPEN, _CLOSE_WRITE, _OVERFLOW, _IS_FOLDER = 0x100, 0x200, 0x40, 0x80, 0x20, 0x8, 0x4000, 1 << 30
_ALL = _CREATE | _DELETE | _FROM | _TO | _OPEN | _CLOSE_WRITE
_MODULES = 500  # that are read to see what they import
_NONBLOCK = 0o2000000 | 0o4000  # and closed in child processes
_EVENT = struct.Struct("iIII")
_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+(\w+)|import[ \t]+([\w., \t]+))", re.MULTILINE)
_PLACE = re.compile(r"""["']([/~.][^"'\n*?\[]*)""")
_PATTERN = re.compile(r"""["']([^"'\n*?\[]*[*?\[][^"'\n/ ]*\.\w+)["']""")
_IN_PROCESSES = re.compile(r"\b(?:multiprocessing|ProcessPoolExecutor|Parallel)\b")  # which may be started without a word
# What these open, they open through Python.
_OPEN_IN_PYTHON = frozenset(
    "numpy pandas scipy sklearn matplotlib seaborn statsmodels PIL networkx sympy plotly bokeh altair IPython ipywidgets tqdm "
    "joblib yaml requests mlflow mlops_lab imblearn shap mlxtend river lmfit patsy cloudpickle".split()
)


class Opened:
    """What was opened and changed in watched folders since `begin`. All paths are full ones."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.changed: dict[str, bool] = {}  # -> whether it was new
        self._folders: dict[int, str] = {}
        self._inotify = -1

    def begin(self, folder: str, code: str) -> None:
        """Watch a folder, those in it, and those that the code names, if that has not begun."""
        if sys.platform != "linux" or self._inotify >= 0:
            return
        self._c = ctypes.CDLL(None)
        self._inotify = self._c.inotify_init1(_NONBLOCK)
        self.add(folder)
        for named in dict.fromkeys(_PLACE.findall(code)):
            self.add_around(os.path.join(folder, os.path.expanduser(named)))

    def add(self, folder: str) -> None:
        """Watch a folder and those in it."""
        todo, seen = [os.path.normpath(folder)], 0
        while todo and self._inotify >= 0 and len(self._folders) < _FOLDERS and seen < _ENTRIES:
            folder = todo.pop(0)
            known = self._c.inotify_add_watch(self._inotify, os.fsencode(folder), _ALL)
            if known < 0 or known in self._folders:
                continue
            self._folders[known] = folder
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        seen += 1
                        if entry.name[0] != "." and entry.is_dir(follow_symlinks=False):
                            todo.append(entry.path)
            except OSError:
                continue

    def add_around(self, path: str) -> None:
        """Watch the folder that a path names or lies in, unless all kinds of things lie there."""
        path = os.path.abspath(path)
        folder = path if os.path.isdir(path) else os.path.dirname(path)
        if os.path.isdir(folder) and folder not in {os.sep, os.path.expanduser("~"), os.path.abspath(tempfile.gettempdir())}:
            self.add(folder)

    def take(self) -> None:
        """Take what has happened so far."""
        while data := self._next():
            at = 0
            while at < len(data):
                known, mask, _, size = _EVENT.unpack_from(data, at)
                at += _EVENT.size + size
                name = os.fsdecode(data[at - size : at].rstrip(b"\0"))
                if mask & _OVERFLOW:
                    self.read |= {path for folder in self._folders.values() for path in _files_in(folder)}
                elif (
                    name and name[0] != "." and not mask & _IS_FOLDER and not name.endswith(".ipynb") and known in self._folders
                ):
                    path = os.path.join(self._folders[known], name)
                    if mask & _OPEN:
                        self.read.add(path)
                    else:
                        self.changed.setdefault(path, bool(mask & (_CREATE | _TO)))

    def forget(self) -> None:
        """Take no notice of what has happened so far."""
        while self._next():
            pass

    def end(self) -> None:
        """Watch no longer."""
        if self._inotify >= 0:
            os.close(self._inotify)
            self._inotify = -1

    def _next(self) -> bytes:
        try:
            return os.read(self._inotify, 1 << 16) if self._inotify >= 0 else b""
        except OSError:
            return b""  # there is nothing more


def _files_in(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_file()]
    except OSError:
        return []  # it has been removed since


def patterns(code: str) -> list[str]:
    """The texts in code that look like patterns of names in a folder, which packages may expand in C (`"data/*.csv"`)."""
    return list(dict.fromkeys(_PATTERN.findall(code)))


def may_open(code: str, folder: str, modules: Mapping[str, str] = MappingProxyType({})) -> bool:
    """True if code may start processes or open files in C, or one of these modules, or one of the folder that they import.

    The modules are given with their names and their paths in the folder.
    """
    texts, own = [code], {name.partition(".")[0] for name in modules}
    known, todo = set[Path](), [*map(Path, modules.values()), *_beside(code, folder)]
    while todo and len(known) < _MODULES:
        file = todo.pop()
        if file not in known and Path(folder, file).is_file():
            known.add(file)
            texts.append(Path(folder, file).read_text("utf-8", "replace"))
            todo += _beside(texts[-1], folder)
    names = {name for text in texts for name in _imported(text)}
    own |= {name for name in names if known & {Path(f"{name}.py"), Path(name, "__init__.py")}}  # else an installed one wins
    unknown = names - own - _OPEN_IN_PYTHON - sys.stdlib_module_names
    if todo or unknown or any(map(_IN_PROCESSES.search, texts)):
        return True
    return "pandas" in names and any("hdf" in text.lower() for text in texts)


def _beside(text: str, folder: str) -> Iterator[Path]:
    """What it may import from the folder: a module, or any of a package."""
    for name in _imported(text):
        yield Path(f"{name}.py")
        yield from (file.relative_to(folder) for file in Path(folder, name).rglob("*.py"))


def _imported(text: str) -> list[str]:
    """The roots of the modules that it imports."""
    found = [name for one, more in _IMPORT.findall(text) for name in (one or more).split(",") if name.strip()]
    return [name.split()[0].partition(".")[0] for name in found]
