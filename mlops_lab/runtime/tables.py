"""Code of the notebook in tables of packages: what `shutil.register_archive_format` and the like have put there.

Which tables there may be, the calls in the notebook's code tell (`called.py`). Only entries that hold code of the notebook, or
instances of its classes, pass from step to step: the rest of a table is the package's own, and in each process alike.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Iterator
from typing import Any

_places: dict[str, None] = {"sys:meta_path": None, "sys:path_hooks": None, "gc:callbacks": None}
_came: set[str] = set()  # those of which earlier steps left entries
_LARGEST = 10_000  # entries that are worth a look
_NEAR = 3  # how deep in an entry the notebook's code may be


def watch() -> None:
    """Begin a step."""
    _came.clear()


def note(module: str, path: str) -> None:
    """Look at a table (`MODULE`, `NAME.ATTRIBUTE`) from now on."""
    _places[f"{module}:{path}"] = None


def members() -> Iterator[tuple[str, list[tuple[Any, Any]]]]:
    """`MODULE:PATH` and the notebook's entries, each with its key or its place."""
    for place in _places:
        table = _table(place)
        if table is not None and len(table) <= _LARGEST:
            entries = table.items() if isinstance(table, dict) else enumerate(table)
            own = [pair for pair in list(entries) if any(map(is_own, pair))]
            if own or place in _came:
                yield place, own


def put(place: str, entries: list[tuple[Any, Any]]) -> None:
    """Put them in again."""
    module, _, path = place.partition(":")
    __import__(module)
    note(module, path)
    _came.add(place)
    table = _table(place)
    for key, entry in entries if table is not None else ():
        if isinstance(table, dict):
            table[key] = entry
        elif isinstance(table, set):
            table.add(entry)
        elif not any(known is entry for known in table):
            table.insert(key, entry)


def _table(place: str) -> Any:
    module, _, path = place.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, (dict, list, set)) else None


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
