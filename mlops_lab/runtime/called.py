"""Settings that packages keep to themselves, as `matplotlib.dates.set_epoch("2000-01-01")` does, in a global of its module.

A call whose result is thrown away is made for what it changes. What that may be, its code tells: the globals that it, and
functions of its package that it calls, bind or fill, and the attributes that a method sets on the class or the object that it
was called on. Where these hold plain values, each is a member `patch:MODULE.NAME` of the step (see `modules.py`).
"""

from __future__ import annotations

import ast
import dis
import enum
import functools
import inspect
import pathlib
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from . import tables
from .assigned import imported_in

_CALL = re.compile(
    r"(?:^|[:;])[ \t]*(\w+(?:\.\w+)*)[ \t]*\(|^[ \t]*@(\w+(?:\.\w+)*)"
    r"|^[ \t]*\w+[ \t]*=[ \t]*((?:\w+\.)*(?:register|set_|enable|disable|install|add_)\w*)\(",
    re.MULTILINE,
)
_STORE_GLOBAL, _STORE_ATTRIBUTE, _STORE_ITEM = (dis.opmap[name] for name in ("STORE_GLOBAL", "STORE_ATTR", "STORE_SUBSCR"))
_ATOMS = (type(None), bool, int, float, complex, str, bytes, enum.Enum, pathlib.PurePath)
# `ambient.py` knows these.
_STATES = set("logging warnings random os sys gc locale matplotlib.pyplot IPython mlflow __main__".split())
_TABLES = (dict, list, set)
_FILLING = frozenset(("add", "append", "extend", "insert", "setdefault", "update"))
_UNWATCHED = {"__main__", "builtins", "abc", "enum", "typing", "collections.abc"}  # what these keep, loading does again
_NOTHING = object()
_LARGEST = 2_000  # items: anything larger is a table, not a setting


def places(sources: Iterable[str], names: Mapping[str, Any] = MappingProxyType({})) -> set[str]:
    """`MODULE.FUNCTION` for what the code calls without use of the result, as its imports and the namespace have the names."""
    text = "\n".join(sources)
    known = imported_in(text)
    found = set()
    for call in {"".join(found) for found in _CALL.findall(text)}:
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
    """Member -> value, of what these calls may set in loaded packages; tables are made known to `tables.py`."""
    values: dict[str, Any] = {}
    left_out = {*_STATES, *local}
    for module, path, direct in {place for call in found for place in _set_by(call)}:
        value = _at(module, path)
        if value is _NOTHING or {module, _root(module)} & left_out:
            continue
        if _is_plain(value):
            values[f"patch:{module}.{path}"] = value
        elif isinstance(value, _TABLES):
            tables.note(module, path)
        elif direct or tables.is_own(value):
            values[f"patch:{module}.{path}"] = value
    return values


def _at(module: str, path: str) -> Any:
    holder: Any = sys.modules.get(module)
    for part in path.split("."):
        holder = getattr(holder, "__dict__", {}).get(part, _NOTHING)
    return holder


def _set_by(call: str) -> Iterator[tuple[str, str, bool]]:
    """(module, path in it, whether it is set to what the call is given) of what a call may set."""
    module, owner, function = _resolved(call)
    if isinstance(function, type) and not issubclass(function, BaseException):
        function = vars(function).get("__init__")
    if isinstance(function, types.MethodType):
        holder = function.__self__
        if not owner:  # a bound method that a module offers as a function, as `random` and `multiprocessing` do
            module, owner = _name_of(holder, module)
        if owner:
            yield from ((module, f"{owner}.{name}", False) for name in _attributes(function.__func__, holder))
        function = function.__func__
    function = inspect.unwrap(function) if isinstance(function, types.FunctionType) else function
    if isinstance(function, types.FunctionType):
        given = _given(function.__code__)
        yield from ((module, path, path in given) for module, path in _bound_by(function, 2))
        yield from _made_by(function)
    elif isinstance(function, types.BuiltinFunctionType):
        if isinstance(function.__self__, types.ModuleType):
            there = list(vars(sys.modules[module]).items())
            yield from ((module, name, False) for name, held in there if isinstance(held, _TABLES))
        elif owner and isinstance(function.__self__, _TABLES):
            yield module, owner, False


def _name_of(holder: Any, module: str) -> tuple[str, str]:
    for home in (module, type(holder).__module__):
        for name, held in list(vars(sys.modules.get(home, types)).items()):
            if held is holder:
                return home, name
    return module, ""


def _made_by(function: types.FunctionType, depth: int = 1) -> Iterator[tuple[str, str, bool]]:
    """Classes that a function makes and binds in its module by a name that it is given, as deap's `creator.create` does."""
    code, names = function.__code__, function.__globals__
    home = names.get("__name__", "")
    if "globals" in code.co_names and _STORE_ITEM in code.co_code[::2]:
        try:
            known = set(re.findall(r"\w+", inspect.getsource(sys.modules[home])))
        except (OSError, TypeError, KeyError):
            return
        yield from ((home, n, True) for n, held in list(names.items()) if isinstance(held, type) and n not in known)
    for name in code.co_names if depth else ():
        held = names.get(name)
        if isinstance(held, types.FunctionType) and held.__module__ == home and held is not function:
            yield from _made_by(held, depth - 1)


def registered(kind: Any) -> list[tuple[str, str]]:
    """(module, path) of the tables of packages that this class has been put into when it was made, as astropy's readers are."""
    roots = {_root(owner.__module__) for owner, _ in _registering(kind)}
    found = []
    for name, module in list(sys.modules.items()) if roots else ():
        if _root(name) in roots and isinstance(module, types.ModuleType):
            classes: list[Any] = [held for held in vars(module).values() if isinstance(held, type) and held.__module__ == name]
            for holder in (module, *classes):
                path = "" if holder is module else f"{holder.__qualname__}."
                tables_there = [pair for pair in list(vars(holder).items()) if isinstance(pair[1], _TABLES)]
                found += [(name, f"{path}{attribute}") for attribute, table in tables_there if _has(table, kind)]
    return found


def register(kind: type) -> None:
    """Let its metaclass enter a class that has only now all that it was made of."""
    for owner, hook in _registering(kind):
        if hook == "__init__":
            vars(owner)[hook](kind, kind.__name__, kind.__bases__, dict(vars(kind)))
            return


def _registering(kind: Any) -> list[tuple[Any, str]]:
    """The classes of packages with the hooks of theirs that put classes into tables when they are made."""
    hooks = [(meta, "__init__") for meta in type(kind).__mro__] + [(base, "__init_subclass__") for base in kind.__mro__[1:]]
    return [(owner, hook) for owner, hook in hooks if owner.__module__ not in _UNWATCHED and _registers(vars(owner).get(hook))]


def _registers(hook: Any) -> bool:
    function = getattr(hook, "__func__", hook)
    if not isinstance(function, types.FunctionType):
        return False
    code = function.__code__
    return _STORE_ITEM in code.co_code[::2] or any(name.startswith(("add_", "append", "register")) for name in code.co_names)


def _has(table: Any, kind: type) -> bool:
    for entry in list(table.values() if isinstance(table, dict) else table):
        held = entry.func if isinstance(entry, functools.partial) else entry
        if held is kind or getattr(held, "__self__", None) is kind:
            return True
    return isinstance(table, dict) and any(key is kind for key in list(table))


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


def _resolved(place: str) -> tuple[str, str, Any]:
    """The module, the path in it of the class or object that was called on, and the function, `None` if there is none."""
    path = place.split(".")
    end = next((n for n in range(len(path) - 1, 0, -1) if ".".join(path[:n]) in sys.modules), 0)
    holder: Any = sys.modules.get(".".join(path[:end]))
    for part in path[end:]:
        try:
            held = inspect.getattr_static(holder, part)
            holder = getattr(holder, part) if not isinstance(held, property) else None
        except AttributeError:
            return "", "", None
    owner: Any = getattr(holder, "__self__", None)
    if isinstance(owner, type):
        return owner.__module__, owner.__qualname__, holder
    return ".".join(path[:end]), ".".join(path[end:-1]), holder


def _bound_by(function: types.FunctionType, depth: int) -> Iterator[tuple[str, str]]:
    """(module, path) for what a function and the ones of its package that it calls bind, or fill in place."""
    code, names = function.__code__, function.__globals__
    module = names.get("__name__", "")
    if vars(sys.modules.get(module, types)) is not names:
        return
    if _STORE_GLOBAL in code.co_code[::2]:
        yield from ((module, name) for name in _names(code, _STORE_GLOBAL))
    for name, attribute in _set_on_globals(code):
        held = names.get(name)
        if isinstance(held, type) and _root(held.__module__) == _root(module) and attribute in vars(held):
            yield held.__module__, f"{held.__qualname__}.{attribute}"
    fills = _fills(code)
    for name in code.co_names:
        held = names.get(name)
        if fills and isinstance(held, _TABLES):
            yield module, name
        elif depth and type(held) is types.FunctionType and held is not function and _root(held.__module__) == _root(module):
            inner = inspect.unwrap(held)
            yield from _bound_by(inner, depth - 1) if isinstance(inner, types.FunctionType) else ()
        elif type(held).__dictoffset__ and _root(type(held).__module__) == _root(module) and not callable(held):
            for method in (getattr(type(held), part, None) for part in code.co_names):
                if isinstance(method, types.FunctionType):
                    yield from ((module, f"{name}.{attribute}") for attribute in _attributes(method, held))


@functools.lru_cache(1000)
def _given(code: types.CodeType) -> frozenset[str]:
    """The globals that a function binds to one of its arguments, as `urllib.request.install_opener` does."""
    if _STORE_GLOBAL not in code.co_code[::2]:
        return frozenset()
    steps = list(dis.get_instructions(code))
    pairs = zip(steps, steps[1:], strict=False)
    return frozenset(
        store.argval for load, store in pairs if store.opcode == _STORE_GLOBAL and load.opname.startswith("LOAD_FAST")
    )


@functools.lru_cache(1000)
def _set_on_globals(code: types.CodeType) -> frozenset[tuple[str, str]]:
    """(global, attribute) of what a function sets on a class by its name, as pyparsing's static methods do."""
    if _STORE_ATTRIBUTE not in code.co_code[::2]:
        return frozenset()
    steps = list(dis.get_instructions(code))
    pairs = zip(steps, steps[1:], strict=False)
    return frozenset(
        (load.argval, store.argval) for load, store in pairs
        if store.opcode == _STORE_ATTRIBUTE and load.opname == "LOAD_GLOBAL"
    )  # fmt: skip


def _attributes(method: Any, holder: Any) -> Iterator[str]:
    """The attributes of an object that one of its methods binds, or fills."""
    code = getattr(method, "__code__", None)
    if code is not None:
        known = getattr(holder, "__dict__", {})
        yield from (name for name in _names(code, _STORE_ATTRIBUTE) if name in known)
        if _fills(code):
            yield from (name for name in code.co_names if isinstance(known.get(name), _TABLES))


def _fills(code: types.CodeType) -> bool:
    return _STORE_ITEM in code.co_code[::2] or not _FILLING.isdisjoint(code.co_names)


def _root(module: str) -> str:
    return module.partition(".")[0]


@functools.lru_cache(1000)
def _names(code: types.CodeType, operation: int) -> frozenset[str]:
    if operation not in code.co_code[::2]:
        return frozenset()
    return frozenset(step.argval for step in dis.get_instructions(code) if step.opcode == operation)


def _is_plain(value: Any, near: bool = True) -> bool:
    kind = type(value)
    if kind is dict:
        return len(value) <= _LARGEST and all(_is_plain(held, False) for pair in value.items() for held in pair)
    if kind in {list, tuple, set, frozenset}:
        return len(value) <= _LARGEST and all(_is_plain(held, False) for held in value)
    return isinstance(value, _ATOMS) or (near and _is_record(value))


def _is_record(value: Any) -> bool:
    """True for an instance of a package's class that is no more than its attributes, and these are plain."""
    kind: Any = type(value)
    if kind.__module__ in {"__main__", "builtins"} or not kind.__dictoffset__ or kind.__reduce_ex__ is not object.__reduce_ex__:
        return False
    simple = all(c is object or (c.__flags__ & 1 << 9 and "__slots__" not in vars(c)) for c in kind.__mro__)
    return simple and kind.__reduce__ is object.__reduce__ and all(_is_plain(held, False) for held in vars(value).values())
