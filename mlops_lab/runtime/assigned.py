"""Attributes of packages that the notebook's code sets to plain values, as in `json.JSONEncoder.item_separator = "; "`.

At the top level of a cell that is configuration, which later steps replay. Set in a branch or a function, or from a variable,
each is a member `patch:MODULE.ATTRIBUTE` of the step (see `modules.py`). The code tells which ones there may be.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterable
from typing import Any

_IMPORT = re.compile(r"^[ \t]*import[ \t]+([^\n#;]+)", re.MULTILINE)
_FROM = re.compile(r"^[ \t]*from[ \t]+([\w.]+)[ \t]+import[ \t]+\(?([^\n#;)]+)", re.MULTILINE)
_STORE = re.compile(r"(?:^|[:;])[ \t]*(\w+(?:\.\w+)+)[ \t]*(?:[-+*/|&]|\*\*|//)?=(?!=)", re.MULTILINE)
_CODE = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type, property, staticmethod, classmethod)
_NOTHING = object()
_OTHERS = {"sys", "os", "__main__", "mlops_lab_runtime"}  # the process' own, which states know


def places(sources: Iterable[str]) -> set[str]:
    """`MODULE.ATTRIBUTE` for what the code may set, with the names that its imports give."""
    text = "\n".join(sources)
    stores = set(_STORE.findall(text))
    if not stores:
        return set()
    imported = imported_in(text)
    roots = ((store.partition("."), store) for store in stores)
    return {f"{imported[root]}.{rest}" for (root, _, rest), _ in roots if root in imported and imported[root] not in _OTHERS}


def imported_in(text: str) -> dict[str, str]:
    """Name -> the module, or what of a module, that the import statements of some code bind it to."""
    imported: dict[str, str] = {}
    for names in _IMPORT.findall(text):
        for name, alias in map(_alias, names.split(",")):
            imported[alias or name.partition(".")[0]] = name if alias else name.partition(".")[0]
    for module, names in _FROM.findall(text):
        imported.update({alias or name: f"{module}.{name}" for name, alias in map(_alias, names.split(",")) if name})
    return imported


def _alias(text: str) -> tuple[str, str]:
    name, _, alias = text.strip().partition(" as ")
    return name.strip(), alias.strip()


def members(found: Iterable[str], local: Iterable[str]) -> dict[str, Any]:
    """Member -> value, for the places that are plain values of loaded packages, modules beside the notebook left out."""
    values: dict[str, Any] = {}
    beside = set(local)
    for place in found:
        *path, attribute = place.split(".")
        end = next((n for n in range(len(path), 0, -1) if ".".join(path[:n]) in sys.modules), 0)
        module = ".".join(path[:end])
        holder: Any = sys.modules.get(module)
        if not end or module in beside or module in _OTHERS:
            continue
        for part in path[end:]:
            holder = vars(holder).get(part) if isinstance(holder, (types.ModuleType, type)) else None
        if not isinstance(holder, (types.ModuleType, type)) or getattr(holder, "__module__", module) in {"__main__", *beside}:
            continue
        held = vars(holder).get(attribute, _NOTHING)
        own = isinstance(held, type) and held.__module__ == "__main__"
        if held is not _NOTHING and (own or not isinstance(held, _CODE)):
            values[f"patch:{module}.{'.'.join([*path[end:], attribute])}"] = vars(holder)[attribute]
    return values
