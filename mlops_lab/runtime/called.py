"""Settings that packages keep to themselves, as `matplotlib.dates.set_epoch("2000-01-01")` does, in a global of its module.

A call whose result is thrown away is made for what it changes. What that may be, its code tells: the globals that it, and
functions of its package that it calls, bind or fill, and the attributes that a method sets on the class or the object that it
was called on. Where these hold plain values, each is a member `patch:MODULE.NAME` of the step (see `modules.py`).
"""

from __future__ import annotations

import ast
import dis
import enum
import inspect
import pathlib
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from .assigned import imported_in

_CALL = re.compile(r"(?:^|[:;])[ \t]*(\w+(?:\.\w+)*)[ \t]*\(", re.MULTILINE)
_STORE_GLOBAL, _STORE_ATTRIBUTE, _STORE_ITEM = (dis.opmap[name] for name in ("STORE_GLOBAL", "STORE_ATTR", "STORE_SUBSCR"))
_ATOMS = (type(None), bool, int, float, complex, str, bytes, enum.Enum, pathlib.PurePath)
# `ambient.py` knows these.
_STATES = set("logging warnings random os sys gc locale matplotlib.pyplot IPython mlflow __main__".split())
_LARGEST = 500  # items: anything larger is a table, not a setting


def places(sources: Iterable[str], names: Mapping[str, Any] = MappingProxyType({})) -> set[str]:
    """`MODULE.FUNCTION` for what the code calls without use of the result, as its imports and the namespace have the names."""
    text = "\n".join(sources)
    known = imported_in(text)
    found = set()
    for call in set(_CALL.findall(text)):
        root, _, rest = call.partition(".")
        home = known.get(root) or _home(names.get(root))
        if home:
            found.add(f"{home}.{rest}" if rest else home)
    return found


def _home(value: Any) -> str:
    if isinstance(value, types.ModuleType):
        return value.__name__
    if isinstance(value, (types.FunctionType, type)) and value.__module__ != "__main__":
        return f"{value.__module__}.{value.__qualname__}"
    return ""


def members(found: Iterable[str], local: Iterable[str]) -> dict[str, Any]:
    """Member -> value, of what these calls may set in loaded packages."""
    values: dict[str, Any] = {}
    left_out = {*_STATES, *local}
    for place in found:
        function, owner = _resolved(place)
        if function is None:
            continue
        holder = getattr(function, "__self__", None)
        if owner and owner.rpartition(".")[0] not in left_out:
            for name in _names(function.__func__.__code__, _STORE_ATTRIBUTE):
                if name in getattr(holder, "__dict__", ()) and _is_plain(vars(holder)[name]):
                    values[f"patch:{owner}.{name}"] = vars(holder)[name]
        for module, name in _bound_by(getattr(function, "__func__", function), 2):
            value = vars(sys.modules[module]).get(name, ...)
            if _is_plain(value) and not {module, _root(module)} & left_out:
                values[f"patch:{module}.{name}"] = value
    return values


def is_default(member: str, value: Any) -> bool | None:
    """Whether it is what the module's own text binds at its top level; None where that is no literal."""
    module, _, name = member.partition(":")[2].rpartition(".")
    try:
        source = inspect.getsource(sys.modules[module])
    except (OSError, TypeError, KeyError):
        return None
    bound = re.search(rf"^{re.escape(name)}(?:[ \t]*:[^=\n]+)?[ \t]*=[ \t]*(.+)$", source, re.MULTILINE)
    try:
        default = ast.literal_eval(bound[1]) if bound else ...
    except (ValueError, SyntaxError):
        return None
    return None if default is ... else type(default) is type(value) and bool(default == value)


def _resolved(place: str) -> tuple[Any, str]:
    """The function, and the class or the object of a package that it was called on, as `MODULE.NAME`."""
    path = place.split(".")
    end = next((n for n in range(len(path) - 1, 0, -1) if ".".join(path[:n]) in sys.modules), 0)
    holder: Any = sys.modules.get(".".join(path[:end]))
    for part in path[end:]:
        try:
            holder, before = inspect.getattr_static(holder, part), holder
            holder = getattr(before, part) if not isinstance(holder, property) else None
        except AttributeError:
            return None, ""
    function = inspect.unwrap(holder) if isinstance(holder, types.FunctionType) else holder
    if isinstance(function, types.MethodType) and isinstance(function.__func__, types.FunctionType):
        owner: Any = function.__self__
        return function, f"{owner.__module__}.{owner.__qualname__}" if isinstance(owner, type) else ".".join(path[:-1])
    return (function, "") if isinstance(function, types.FunctionType) else (None, "")


def _bound_by(function: Any, depth: int) -> Iterator[tuple[str, str]]:
    """(module, global) for what a function and the ones of its package that it calls bind, or fill in place."""
    code, names = function.__code__, function.__globals__
    module = names.get("__name__", "")
    if vars(sys.modules.get(module, types)) is not names:
        return
    operations = code.co_code[::2]
    if _STORE_GLOBAL in operations:
        yield from ((module, name) for name in _names(code, _STORE_GLOBAL))
    fills = _STORE_ITEM in operations or "update" in code.co_names
    for name in code.co_names:
        held = names.get(name)
        if fills and type(held) is dict:
            yield module, name
        if depth and type(held) is types.FunctionType and held is not function and _root(held.__module__) == _root(module):
            yield from _bound_by(inspect.unwrap(held), depth - 1)


def _root(module: str) -> str:
    return module.partition(".")[0]


def _names(code: types.CodeType, operation: int) -> set[str]:
    return {step.argval for step in dis.get_instructions(code) if step.opcode == operation}


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        return len(value) <= _LARGEST and all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    if kind in {list, tuple, set, frozenset}:
        return len(value) <= _LARGEST and all(map(_is_plain, value))
    return isinstance(value, _ATOMS)
