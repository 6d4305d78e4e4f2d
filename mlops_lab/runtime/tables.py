"""Code of the notebook in tables of packages: what `shutil.register_archive_format` and the like have put there.

Which tables there may be, the calls in the notebook's code tell (`called.py`). Only entries that hold code of the notebook, or
instances of its classes, pass from step to step: the rest of a table is the package's own, and in each process alike. Of a
table that the code itself changes (`plt.style.library.pop("ggplot")`), all entries that aren't as they were pass on, and which
are gone; attributes that it sets on an object of a package (`networkx.config.fallback_to_nx = True`) are such a table, too.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import types
from collections.abc import Iterator
from typing import Any

from . import installed
from .assigned import imported_in
from .ipython import is_plain
from .postponed import Postponed

_CHANGE = re.compile(r"(?<![\w.])(\w+(?:\.\w+)+)[ \t]*(\[|\(|(?:[-+*/|&]|\*\*|//)?=(?!=))")
_METHODS = frozenset("add append clear discard extend insert pop popitem remove setdefault sort update".split())
_OF_STATES = {"sys", "os", "gc", "warnings", "logging", "mlflow", "IPython", "__main__", "mlops_lab_runtime"}
_ATTRIBUTES = "()"  # ends a place that stands for attributes of an object

# PyYAML's classes copy the table of the class above them when something is first added.
_OF_YAML = [f"{kind}Loader.yaml_constructors" for kind in ("", "Safe", "Full", "Unsafe", "CSafe", "C")]
_OF_YAML += [f"{kind}Dumper.yaml_representers" for kind in ("", "Safe", "CSafe", "C")]
_places: dict[str, None] = dict.fromkeys(
    ["sys:meta_path", "sys:path_hooks", "gc:callbacks", *(f"yaml:{place}" for place in _OF_YAML)]
)
_came: set[str] = set()  # those of which earlier steps left entries
_LARGEST = 10_000  # entries that are worth a look
_NEAR = 3  # how deep in an entry the notebook's code may be


_set: dict[str, set[str]] = {}  # places of objects -> the attributes that the notebook's code sets
_were: dict[str, Any] = {}  # what tables that the code changes were before it did
_replayed = ""


def watch(code: str = "") -> None:
    """Begin a step; `code` is the notebook's."""
    _came.clear()
    _were.clear()
    _set.clear()
    imported = imported_in(code)
    found = []
    for path, how in set(_CHANGE.findall(code)):
        root, *rest = path.split(".")
        whole = [*imported.get(root, "__main__").split("."), *rest]
        if how == "(" and whole.pop() not in _METHODS:
            continue
        attribute = "" if how in "([" else whole.pop()
        if whole[0] not in _OF_STATES and "rcParams" not in whole:
            found.append(((whole[0],), f"{'.'.join(whole)} {attribute}"))
    for (root,), place in found:
        if root in sys.modules:
            _look(place)
    Postponed([row for row in found if row[0][0] not in sys.modules], _look)


def replay(configuration: str) -> None:
    """Say which statements of this step later ones replay: what these set need not be passed on."""
    global _replayed
    _replayed = configuration


def replays(text: str) -> bool:
    """True if this text is in them."""
    return text in _replayed


def _look(found: str) -> None:
    """Remember what a table is that the code may change, or an attribute that it may set (`MODULE.NAME ATTRIBUTE`)."""
    whole, _, attribute = found.partition(" ")
    path = whole.split(".")
    end = next((n for n in range(len(path), 0, -1) if ".".join(path[:n]) in sys.modules), 0)
    module, rest = ".".join(path[:end]), ".".join(path[end:])
    if not end or not rest or is_beside(vars(sys.modules[module])):
        return
    place = f"{module}:{rest}{_ATTRIBUTES if attribute else ''}"
    if attribute:
        _set.setdefault(place, set()).add(attribute)
        _were.pop(place, None)
    _begin(place)


def _begin(place: str) -> None:
    table = _table(place)
    if place not in _were and table is not None and len(table) <= _LARGEST:
        _places[place] = None
        _were[place] = {key: _kept(held) for key, held in table.items()} if isinstance(table, dict) else table.copy()


def _kept(value: Any) -> Any:
    return type(value)(value) if type(value) in {list, set, dict} else value


def is_beside(names: dict[str, Any]) -> bool:
    """True for a module beside the notebook, by its namespace."""
    return installed.is_own(names.get("__file__") or "", os.getcwd())


def note(module: str, path: str) -> None:
    """Look at a table (`MODULE`, `NAME.ATTRIBUTE`) from now on."""
    _places[f"{module}:{path}"] = None


def members() -> Iterator[tuple[str, tuple[list[tuple[Any, Any]], list[Any]]]]:
    """`MODULE:PATH` and the notebook's entries, each with its key or its place, and what is gone."""
    for place in list(_places):
        table = _table(place)
        if table is not None and len(table) <= _LARGEST:
            entries = list(table.items() if isinstance(table, dict) else enumerate(table))
            own = [pair for pair in entries if any(map(is_own, pair))]
            own, gone = _changes(place, table, entries) if place in _were else (own, [])
            if own or gone or place in _came:
                yield place, (own, gone)


def _changes(place: str, table: Any, entries: list[tuple[Any, Any]]) -> tuple[list[tuple[Any, Any]], list[Any]]:
    were = _were[place]
    if isinstance(table, dict):
        changed = [(key, held) for key, held in entries if key not in were or not _is_same(were[key], held)]
        own = [pair for pair in changed if place in _came or not _is_replayed(*pair)]
        return own, [key for key in were if key not in table]
    known, now = set(map(id, were)), set(map(id, table))
    return [pair for pair in entries if id(pair[1]) not in known], [held for held in were if id(held) not in now]


def _is_same(one: Any, two: Any) -> bool:
    return one is two or (type(one) is type(two) and is_plain(one) and bool(one == two))


def _is_replayed(key: Any, held: Any) -> bool:
    return is_plain(held) and (f"[{key!r}] = " in _replayed or f".{key} = " in _replayed)


def put(place: str, new: tuple[list[tuple[Any, Any]], list[Any]]) -> None:
    """Put them in again."""
    module, _, path = place.partition(":")
    __import__(module)
    entries, gone = new
    if path.endswith(_ATTRIBUTES):
        holder = _holder(place)
        _set.setdefault(place, set()).update(key for key, _ in entries)
        _begin(place)
        for key, entry in entries:
            setattr(holder, key, entry)
        _came.add(place)
        return
    if gone:
        _begin(place)
    note(module, path)
    _came.add(place)
    table = _table(place)
    above, _, name = path.rpartition(".")
    holder = _holder(f"{module}:{above}") if above else None
    if isinstance(holder, type) and name not in vars(holder) and table is not None:
        table = table.copy()
        setattr(holder, name, table)
    for held in gone if table is not None else ():
        if isinstance(table, dict):
            table.pop(held, None)
        elif held in table:
            table.remove(held)
    for key, entry in entries if table is not None else ():
        if isinstance(table, dict):
            table[key] = entry
        elif isinstance(table, set):
            table.add(entry)
        elif not any(known is entry for known in table):
            table.insert(key, entry)


def _holder(place: str) -> Any:
    module, _, path = place.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.removesuffix(_ATTRIBUTES).split("."):
        found = getattr(found, part, None)
    return found


def _table(place: str) -> Any:
    found = _holder(place)
    if not place.endswith(_ATTRIBUTES):
        return found if isinstance(found, (dict, list, set)) else None
    if isinstance(found, (type, types.ModuleType, types.FunctionType, dict, list, set)) or type(found).__module__ == "__main__":
        return None  # which `assigned.py` knows, or a variable
    held = {name: getattr(found, name, None) for name in sorted(_set.get(place, ()))}
    return {name: value for name, value in held.items() if is_plain(value)}


def is_own(value: Any, near: int = _NEAR) -> bool:
    """True for code of the notebook and instances of its classes, and what holds such."""
    kind = type(value)
    if kind in {str, int, float, bool, bytes, type(None), types.ModuleType}:
        return False
    if "__main__" in (getattr(value, "__module__", None), kind.__module__):
        return True
    if isinstance(value, type) or not near:
        return False
    if kind is dict or kind in {list, tuple, set, frozenset}:
        held = list(value.items()) if kind is dict else list(value)
        return len(held) <= _LARGEST and any(is_own(part, near - 1) for part in held)
    if kind is functools.partial:
        return is_own(value.func, near - 1)
    if kind is types.MethodType:
        return is_own(value.__self__, near - 1)
    return kind is not types.FunctionType and any(
        is_own(part, near - 1) for part in list(getattr(value, "__dict__", {}).values())
    )
