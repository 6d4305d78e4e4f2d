"""What the notebook has registered with packages: classes with their ABCs, ways to copy with `copyreg`, implementations of
generic functions, what NumPy calls at errors, colour maps and units of matplotlib, handlers of signals, entries of tables
(`tables.py`), what C code keeps (`noted.py`). It passes from step to step like a variable.

Each registry is a member `patch:registry:KIND/MODULE:NAME` of the step (see `modules.py`); its value lists what was added.
"""

from __future__ import annotations

import abc
import copyreg
import functools
import signal
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from . import noted, tables

MARK = "patch:registry:"
_DISPATCHER = functools.singledispatch(lambda value: value).__code__  # type: ignore[attr-defined]

_classes: dict[Any, list[type]] = {}  # ABC of a package -> what was registered with it, in this order
_generic: list[tuple[str, str, Any]] = []  # module, name, function: those that the modules seen so far have
_seen: set[str] = set()
_signals: dict[int, Any] = {}  # number -> the handler that the kernel began with
_modules = False  # whether the notebook's code may make modules
_colours = False  # whether the notebook's code may register colour maps


def watch(code: str = "", called: Iterable[str] = ()) -> None:
    """Note from now on what is registered with ABCs of packages. Nothing else tells their registrations.

    `code` is the notebook's: which colour maps packages have registered is not worth a look where it names none. `called` is
    what it calls without use of the result (`called.places`).
    """
    global _colours, _modules
    _colours = "colormaps.register" in code or "register_cmap" in code
    _modules = "sys.modules" in code
    _classes.clear()
    _signals.update((number, signal.getsignal(number)) for number in signal.valid_signals())
    noted.watch(code, called)
    tables.watch(code)
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
    handlers = [(number, now) for number, given in _signals.items() if _is_set(now := signal.getsignal(number), given)]
    if handlers:
        found[f"{MARK}signal/signal:handlers"] = handlers
    if _modules:
        found.update((f"{MARK}module/{name}", held) for name, held in list(sys.modules.items()) if _is_made(name, held))
    found.update((f"{MARK}call/{place}", calls) for place, calls in noted.members().items())
    found.update((f"{MARK}own/{place}", entries) for place, entries in tables.members())
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
    if kind in _PUT:
        _PUT[kind](place, new)
        return
    holder: Any = _found(place)
    if place in {"numpy:seterrcall", "logging:setLoggerClass"}:
        holder(new[0][1])
    elif place == "joblib.parallel:_backend":
        holder.config = {**sys.modules["joblib.parallel"].default_parallel_config, **dict(new)}
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


def _is_set(now: Any, given: Any) -> bool:
    return now != given and (now in (signal.SIG_IGN, signal.SIG_DFL) or tables.is_own(now))


def _is_made(name: str, held: Any) -> bool:
    """True for a module that the notebook has put together itself: it can be imported only as long as it is there."""
    return (
        type(held) is types.ModuleType
        and getattr(held, "__spec__", None) is None
        and not (hasattr(held, "__file__") or name in {"__main__", "__mp_main__", "mlops_lab_runtime"})
    )


def _set_handlers(_: str, new: list[tuple[int, Any]]) -> None:
    for number, handler in new:
        signal.signal(number, handler)


_PUT: dict[str, Callable[[str, Any], None]] = {
    "signal": _set_handlers,
    "call": noted.put,
    "own": tables.put,
    "module": sys.modules.__setitem__,
}


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


def _parallel(backend: Any) -> list[tuple[Any, Any]]:
    given = sys.modules["joblib.parallel"].default_parallel_config
    return [(name, held) for name, held in getattr(backend, "config", {}).items() if held is not given.get(name)]


def _logger_class(_: Any) -> list[tuple[Any, Any]]:
    kind = sys.modules["logging"].getLoggerClass()
    return [(None, kind)] if _is_own(kind) else []


_TABLES: dict[str, Callable[[Any], list[tuple[Any, Any]]]] = {
    "numpy:seterrcall": _error_call,
    "logging:setLoggerClass": _logger_class,
    "joblib.parallel:_backend": _parallel,
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
