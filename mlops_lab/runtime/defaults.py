"""Default arguments of packages' constructors, each of which is one object that all instances made without the argument hold.

What was made in two steps holds one object in the notebook (`a.estimator is b.estimator`), and may compare it with a sentinel.
So such an object is a reference to the default of the step's own process, which is given the state that it has here.
"""

from __future__ import annotations

import copyreg
import functools
import importlib
import io
import types
from collections.abc import Iterator
from typing import Any

from . import instances

_PLAIN: Any = object
_FIXED = (str, bytes, int, float, complex, bool, type(None), tuple, frozenset, type, types.ModuleType, io.IOBase, property)

_known: dict[int, Default] = {}
_looked_at: set[type] = set()


class Default:
    """Stands for the default argument `name` of `module`'s `kind.function` in a pickle."""

    def __init__(self, value: Any, *place: str) -> None:
        self.value, self.place = value, place

    def __reduce__(self) -> Any:
        value = self.value
        if isinstance(value, (list, dict)):
            return _hold, (*self.place, type(value)), value.copy(), None, None, _fill_plain
        _, _, state, items, pairs = value.__reduce_ex__(5)
        content = (state, None if items is None else list(items), None if pairs is None else list(pairs))
        return _hold, (*self.place, type(value)), content, None, None, _fill


def look_at(kind: type) -> None:
    """Note the defaults of the constructors of a class and its bases. Each class is looked at once."""
    if kind in _looked_at:
        return
    for c in kind.__mro__:
        if c in _looked_at or c.__module__ in {"builtins", "__main__"}:
            continue
        _looked_at.add(c)
        for function in ("__init__", "__new__"):
            for argument, value in _defaults(c, function):
                place = (c.__module__, c.__qualname__, function, argument)
                if _is_one(value) and _find(*place) is value:
                    _known.setdefault(id(value), Default(value, *place))


def among(kept: dict[int, Any]) -> dict[int, Any]:
    """What stands for those of the defaults that are among what a pickle has kept, by their id."""
    return {i: default for i, default in _known.items() if i in kept}


def _defaults(kind: type, name: str) -> Iterator[tuple[str, Any]]:
    function: Any = vars(kind).get(name)
    function = getattr(function, "__func__", function)
    while isinstance(function, types.FunctionType) and "__wrapped__" in vars(function):
        function = vars(function)["__wrapped__"]
    if isinstance(function, types.FunctionType) and function.__module__ != "__main__":
        given, code = function.__defaults__ or (), function.__code__
        yield from zip(code.co_varnames[code.co_argcount - len(given) : code.co_argcount], given, strict=True)
        yield from (function.__kwdefaults__ or {}).items()


def _is_one(value: Any) -> bool:
    """True for what is more than its value, and whose state can be had and set apart from it."""
    kind: Any = type(value)
    if kind in {list, dict}:
        return True
    if isinstance(value, (*_FIXED, list, dict, set)) or hasattr(value, "__qualname__") or kind.__module__ == "__main__":
        return False
    own_way = kind.__reduce_ex__ is not _PLAIN.__reduce_ex__ or kind.__reduce__ is not _PLAIN.__reduce__
    return not own_way and kind not in copyreg.dispatch_table


def _find(module: str, kind: str, function: str, argument: str) -> Any:
    try:
        found: Any = functools.reduce(getattr, kind.split("."), importlib.import_module(module))
    except (ImportError, AttributeError):  # a class that a function has made
        return None
    return dict(_defaults(found, function)).get(argument)


# -- what unpickling calls -----------------------------------------------------------------------------------------


def _hold(module: str, name: str, function: str, argument: str, kind: Any) -> list[Any]:
    found = _find(module, name, function, argument)
    if type(found) is not kind:  # of another version of the package
        return [kind.__new__(kind)]
    _known.setdefault(id(found), Default(found, module, name, function, argument))
    return [found]


def _fill_plain(holder: list[Any], content: Any) -> None:
    holder[0].clear()
    holder[0].extend(content) if isinstance(content, list) else holder[0].update(content)


def _fill(holder: list[Any], content: tuple[Any, Any, Any]) -> None:
    if not hasattr(holder[0], "__setstate__"):
        getattr(holder[0], "__dict__", {}).clear()
    instances._fill_instance(holder[0], content)
