"""What the notebook has registered with packages: classes with their ABCs, ways to copy with `copyreg`, implementations of
generic functions, what NumPy calls at errors, colour maps and units of matplotlib. It passes from step to step like a variable.

Each registry is a member `patch:registry:KIND/MODULE:NAME` of the step (see `modules.py`); its value lists what was added.
"""

from __future__ import annotations

import abc
import copyreg
import functools
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MARK = "patch:registry:"
_DISPATCHER = functools.singledispatch(lambda value: value).__code__  # type: ignore[attr-defined]

_classes: dict[Any, list[type]] = {}  # ABC of a package -> what was registered with it, in this order
_generic: list[tuple[str, str, Any]] = []  # module, name, function: those that the modules seen so far have
_seen: set[str] = set()
_colours = False  # whether the notebook's code may register colour maps


def watch(code: str = "") -> None:
    """Note from now on what is registered with ABCs of packages. Nothing else tells their registrations.

    `code` is the notebook's: which colour maps packages have registered is not worth a look where it names none.
    """
    global _colours
    _colours = "colormaps.register" in code or "register_cmap" in code
    _classes.clear()
    register: Any = abc.ABCMeta.register
    if register.__module__ == __name__:
        return

    @functools.wraps(register)
    def noting(cls: Any, subclass: Any) -> Any:
        made = register(cls, subclass)
        if _by_notebook(sys._getframe(1)) and cls.__module__ != "__main__":
            known = _classes.setdefault(cls, [])
            known[:] = [*(other for other in known if other is not subclass), subclass]
        return made

    noting.__module__ = __name__
    abc.ABCMeta.register = noting  # type: ignore[method-assign]


def _by_notebook(frame: types.FrameType) -> bool:
    return frame.f_globals.get("__name__") == "__main__"


def members(modules: Mapping[str, types.ModuleType]) -> dict[str, Any]:
    """Member -> what the notebook has registered there; generic functions are looked for in these modules."""
    found: dict[str, Any] = {f"{MARK}abc/{cls.__module__}:{cls.__qualname__}": held for cls, held in _classes.items()}
    copied = [(kind, function) for kind, function in copyreg.dispatch_table.items() if _is_own(function)]
    if copied:
        found[f"{MARK}copy/copyreg:dispatch_table"] = copied
    for place, table in _TABLES.items():
        if place.partition(":")[0] in sys.modules:
            pairs = table(_found(place))
            if pairs:
                found[f"{MARK}table/{place}"] = pairs
    for module, name, function in _generic_functions(modules):
        added = [(kind, own) for kind, own in function.registry.items() if _is_own(own)]
        if added:
            found[f"{MARK}generic/{module}:{name}"] = added
    return found


def value(member: str) -> Any:
    """The value of a member. Raises `KeyError` if it doesn't exist."""
    return members({})[member]


def put(member: str, new: Any) -> None:
    """Register what an earlier step has registered."""
    kind, _, place = member.removeprefix(MARK).partition("/")
    if kind == "copy":
        for registered, function in new:
            copyreg.pickle(registered, function)
        return
    holder: Any = _found(place)
    if place == "numpy:seterrcall":
        holder(new[0][1])
    elif place == "matplotlib:colormaps":
        for name, colours in new:
            holder.register(colours, name=name, force=True)
    elif kind == "table":
        holder.update(new)
    elif kind == "abc":
        _classes[holder] = list(new)
        for registered in new:
            holder.register(registered)
    else:
        for registered, function in new:
            holder.register(registered, function)
        _generic.append((*place.split(":"), holder))


def _error_call(_: Any) -> list[tuple[Any, Any]]:
    called = sys.modules["numpy"].geterrcall()
    return [(None, called)] if _is_own(called) or type(called).__module__ == "__main__" else []


def _colour_maps(table: Any) -> list[tuple[Any, Any]]:
    if not _colours:
        return []
    of_seaborn = vars(sys.modules.get("seaborn.cm", object))
    given = {*table._builtin_cmaps, *(name + end for name in of_seaborn for end in ("", "_r"))}
    return [(name, held) for name, held in table._cmaps.items() if name not in given]


def _units(table: Any) -> list[tuple[Any, Any]]:
    return [pair for pair in table.items() if "__main__" in (pair[0].__module__, type(pair[1]).__module__)]


_TABLES: dict[str, Callable[[Any], list[tuple[Any, Any]]]] = {
    "numpy:seterrcall": _error_call,
    "matplotlib:colormaps": _colour_maps,
    "matplotlib.units:registry": _units,
}


def _found(place: str) -> Any:
    module, _, name = place.partition(":")
    __import__(module)
    holder: Any = sys.modules[module]
    for part in name.split("."):
        holder = getattr(holder, part)
    return holder


def _generic_functions(modules: Mapping[str, types.ModuleType]) -> Iterator[tuple[str, str, Any]]:
    for name, module in list(modules.items()):
        if name not in _seen and name != "__main__" and hasattr(module, "__dict__"):
            _seen.add(name)
            for attribute, held in list(vars(module).items()):
                if type(held) is types.FunctionType and held.__code__ is _DISPATCHER and held.__module__ == name:
                    _generic.append((name, attribute, held))
    known: set[int] = set()
    for place in _generic:
        if id(place[2]) not in known:
            known.add(id(place[2]))
            yield place


def _is_own(function: Callable[..., Any]) -> bool:
    return getattr(function, "__module__", None) == "__main__"
