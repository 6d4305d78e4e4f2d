"""Modules beside the notebook that it writes anew after it has imported them, or runs a second time (`importlib.reload`).

The notebook's kernel goes on with what it has: the old module, functions that a cell took out of it, instances of old
classes. A later step can only import the module as it then is. So what would be of another age there than in the notebook is
refused. Values tell the age of what they hold of such a module: how often it had been run again when they were stored.
"""

from __future__ import annotations

import os
import re
import sys
import types
from collections.abc import Iterable
from typing import Any, NamedTuple

from . import session
from .memory import InputRefused, Refused

_IMPORT = re.compile(r"^[ \t]*import[ \t]+([^\n#;]+)", re.MULTILINE)
_FROM = re.compile(r"^[ \t]*from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#;]+)", re.MULTILINE)
_AGAIN = re.compile(r"\breload\(|\bsys\.modules\b")


class Row(NamedTuple):
    """What happened to a module's file."""

    path: str  # relative to the notebook's folder
    cell: int
    step: str
    changed: bool  # the file was written
    again: bool  # the module was run again


_rows: list[Row] = []
_folder, _step = "", ""
_cells: list[tuple[int, str]] = []
_numbers: list[int] = []  # of the step's own cells
_done = 0  # how many of them have run
_executed: set[str] = set()  # files of local modules that this process has run
_active = False


def watch(folder: str, step: str, cells: Iterable[tuple[int, str]], numbers: Iterable[int]) -> None:
    """Begin a step; with `%autoreload`, modules and their instances are what their files say."""
    global _folder, _step, _active, _done
    _folder, _step = os.path.realpath(folder), step
    _cells[:] = sorted((number, source) for number, source in cells)
    _numbers[:], _done = numbers, 0
    _rows.clear()
    _executed.clear()
    _active = bool(folder) and not any("autoreload" in source for _, source in _cells)


def get() -> list[tuple[Any, ...]]:
    """What happened so far."""
    return [tuple(row) for row in _rows]


def put(rows: list[tuple[Any, ...]]) -> None:
    """Go on from what happened in earlier steps."""
    _rows[:] = [Row(*row) for row in rows]


def begin(loaded: dict[str, types.ModuleType], names: dict[str, Any]) -> None:
    """Refuse what the prelude imported otherwise than the notebook has it; `loaded` are the modules beside the notebook."""
    shell = session.shell()
    if shell is not None:
        shell.events.register("post_run_cell", _count)
    for module in loaded.values():
        path = _path(module)
        _executed.add(path)
        _refuse_new(path)
        for row in (row for row in _rows if row.path == path):
            for name in _taken_before(row, module) & names.keys():
                taken = vars(module).get(name)
                if names[name] is taken and not (isinstance(taken, types.ModuleType) or _is_alike(row, taken)):
                    raise InputRefused(
                        f"ML117: {name!r} was imported from {path} before cell {row.cell} (step {row.step!r}) {_did(row)}, "
                        f"and the notebook goes on with the old one; this step could only import the new one. Import {name!r} "
                        f"again below that cell, or merge the steps."
                    )


def writes(file: str) -> None:
    """A file is about to be written, or was: note it if cells have imported it as a module."""
    path = os.path.relpath(os.path.realpath(file), _folder)
    if not _active or not path.endswith(".py") or not os.path.exists(file):
        return
    if _is_imported_above(path):
        _add(Row(path, _cell(), _step, True, False))


def runs(module: types.ModuleType, reloads: bool) -> None:
    """The body of a local module is about to run, while the step's cells run."""
    path = _path(module)
    again = reloads or path in _executed
    _executed.add(path)
    if not _active:
        return
    if again or "sys.modules" in _own_code():
        if _is_imported_above(path):
            _add(Row(path, _cell(), _step, _is_written(path), True))
    else:
        _refuse_new(path)


def age(module: str) -> int:
    """How often a module has been run again; 0 for one that is not beside the notebook."""
    if not _rows or module not in sys.modules:
        return 0
    path = _path(sys.modules[module])
    return sum(row.path == path and row.again for row in _rows)


def reduce(value: Any) -> Any:
    """How a class or function of a module that was run again is pickled; `NotImplemented` for all others."""
    module, name = getattr(value, "__module__", None) or "", getattr(value, "__qualname__", "")
    aged = age(module) if _rows and isinstance(module, str) and "<locals>" not in name else 0
    if not aged:
        return NotImplemented
    if _find(module, name) is not value:
        raise Refused(f"it holds {name!r} of the module {module!r} as that was before it was run again (importlib.reload)")
    return of_age, (module, name, aged)


def of_age(module: str, name: str, aged: int) -> Any:
    """What a module has under a name, if it is still of that age."""
    __import__(module)
    found = _find(module, name)
    if _rows and age(module) != aged:
        check(module, name, found, aged)
    return found


def check(module: str, name: str, found: Any, aged: int = 0) -> None:
    """Refuse what a value holds by its name if the module was run again since the value was stored."""
    if not age(module):
        return
    path = _path(sys.modules[module])
    later = [row for row in _rows if row.path == path and row.again][aged:]
    for row in later:
        if not _is_alike(row, found):
            raise InputRefused(
                f"ML117: a value that this step reads holds {name!r} of {path}, which cell {row.cell} (step {row.step!r}) has "
                f"run again since (importlib.reload): the notebook goes on with the old {name!r}, this step has the new one. "
                f"Make the value below that cell, or merge the steps."
            )


def is_any() -> bool:
    """True if some module has been run again."""
    return any(row.again for row in _rows)


def is_felt() -> bool:
    """True if a step could feel that it doesn't know of this: functions of a file as it was do the same, run again or not."""
    again = {row.path for row in _rows if row.again}
    held = [value for module in list(sys.modules.values()) if _path(module) in again for value in vars(module).values()]
    homes = {module.__name__ for module in list(sys.modules.values()) if _path(module) in again}
    return any(row.changed for row in _rows) or any(isinstance(v, type) and v.__module__ in homes for v in held)


def is_seen() -> bool:
    """True if the step has run a module beside the notebook, or written one."""
    return bool(_executed) or any(row.cell in _numbers for row in _rows)


def _add(row: Row) -> None:
    if row not in _rows:
        _rows.append(row)


def _count(result: Any) -> None:
    global _done
    _done += bool(result.info.store_history)


def _cell() -> int:
    """The number of the cell at work, in the whole notebook."""
    return _numbers[min(_done, len(_numbers) - 1)] if _numbers else 0


def _path(module: Any) -> str:
    file = getattr(module, "__file__", None)
    return os.path.relpath(os.path.realpath(file), _folder) if isinstance(file, str) else ""


def _find(module: str, name: str) -> Any:
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _is_written(path: str) -> bool:
    """True if the file was written since the module was run the last time."""
    last = next((row for row in reversed(_rows) if row.path == path), None)
    return last is not None and not last.again


def _is_imported_above(path: str) -> bool:
    """True if a cell above the one at work imports the module: something may be left of it as it was."""
    cell = _cell()
    return _matches(path, _imported("\n".join(source for number, source in _cells if number < cell)))


def _own_code() -> str:
    return "\n".join(source for number, source in _cells if number in _numbers)


def _own_code_runs_again() -> bool:
    return bool(_AGAIN.search(_own_code()))


def _refuse_new(path: str) -> None:
    """Refuse the import of a module that the notebook has as it was before its file was written."""
    if _active and _is_written(path) and not _own_code_runs_again():
        row = next(row for row in reversed(_rows) if row.path == path)
        raise InputRefused(
            f"ML117: cell {row.cell} (step {row.step!r}) wrote {path}, which a cell above it has imported. The notebook goes "
            f"on with the old module, and this step would import the new one. Import it below that cell only, or reload it "
            f"(importlib.reload) in a cell below."
        )


def _did(row: Row) -> str:
    return "ran that module again" if row.again else "wrote that file"


def _is_alike(row: Row, found: Any) -> bool:
    """True for a function of an unchanged file: run again, it does the same with the same globals."""
    return isinstance(found, types.FunctionType) and not row.changed


def _taken_before(row: Row, module: types.ModuleType) -> set[str]:
    """The names that the notebook took out of the module above what happened, and not again below it."""
    taken: set[str] = set()
    for number, source in _cells:
        for home, text in _FROM.findall(source):
            if not _matches(row.path, {home.lstrip(".")}) or number > max(_numbers, default=0):
                continue
            parts = [part.strip().partition(" as ") for part in text.strip("()\n ").replace("\n", " ").split(",")]
            names = {(alias or name).strip() for name, _, alias in parts}
            names = {name for name in vars(module) if name[:1] != "_"} if names == {"*"} else names
            if number < row.cell:
                taken |= names
            else:
                taken -= names
    return taken


def _matches(path: str, imported: Iterable[str]) -> bool:
    """True if one of these modules may be the one that lies there."""
    place = "/" + path
    parts = (name.replace(".", "/") for name in imported if name)
    return any(place.endswith((f"/{part}.py", f"/{part}/__init__.py")) for part in parts)


def _imported(text: str) -> set[str]:
    """The modules that some code imports, and those that local ones among them import."""
    found: set[str] = set()
    todo = [text]
    while todo:
        code = todo.pop()
        names = {part.strip().partition(" ")[0] for names in _IMPORT.findall(code) for part in names.split(",")}
        for home, parts in _FROM.findall(code):
            home = home.strip(".")
            inner = (part.strip("()\n ").partition(" ")[0] for part in parts.split(","))
            names |= {home, *(f"{home}.{part}".strip(".") for part in inner)}
        for name in names - found:
            found |= {name, name.partition(".")[0]}
            todo += _text_of(name)
    return found


def _text_of(name: str) -> list[str]:
    places = {_folder, *(os.path.realpath(place) for place in sys.path if os.path.realpath(place).startswith(_folder + os.sep))}
    texts = []
    for file in (f"{place}/{name.replace('.', '/')}{end}" for place in places for end in (".py", "/__init__.py")):
        if os.path.isfile(file):
            with open(file, encoding="utf-8", errors="replace") as opened:
                texts.append(opened.read())
    return texts
