"""Objects that a package has under a name and that pickle can't take apart, as mpmath's contexts, with which sympy works.

The import that has brought such an object in is made again in each process, so that a reference does. It holds as long as the
object is there what it is here: a digest of all that can be seen in it travels along, and another one is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any

from .definitions import HEAP_TYPE
from .memory import InputRefused, Refused

_MOST = 50_000  # objects
_DEEP, _WIDE = 2, 1_000  # attributes of attributes, and how many
_WRITTEN: tuple[type, ...] = (bool, int, float, complex, str, bytes, type(None), type(...), type(NotImplemented), range, slice)
_NAMED = (
    types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType,
    types.ClassMethodDescriptorType, types.MemberDescriptorType, types.GetSetDescriptorType, property, staticmethod,
    classmethod,
)  # fmt: skip
_WITHOUT_CONTENT = {"_thread.lock", "_thread.RLock", "builtins.object", "functools._lru_cache_wrapper"}
_LEFT_OUT = {"__dict__", "__weakref__", "__doc__", "__slotnames__", "__abstractmethods__", "_abc_impl"}


_Places = dict[int, tuple[str, str]]
_known: list[tuple[_Places, list[Any]]] | None = None  # and the objects, so that ids stay unique


@contextlib.contextmanager
def searched_once() -> Iterator[None]:
    """While no cell runs: all modules are searched at most once, which takes a third of a second where 3,500 are loaded."""
    global _known
    _known = []
    try:
        yield
    finally:
        _known = None


def places() -> _Places:
    """Id -> module and name of what packages have under a name, where nothing else tells it; the shortest place there is."""
    if not _known:
        found = _search()
        if _known is None:
            return found[0]
        _known.append(found)
    return _known[0][0]


def _search() -> tuple[_Places, list[Any]]:
    found: _Places = {}
    values: dict[int, Any] = {}
    for home, module in list(sys.modules.items()):
        if not isinstance(module, types.ModuleType) or home in {"__main__", "__mp_main__", "mlops_lab_runtime"}:
            continue
        for name, value in list(vars(module).items()):
            if _is_objects(value):
                known = found.get(id(value))
                if known is None or (len(home), home, name) < (len(known[0]), *known):
                    found[id(value)] = (home, name)
                    values[id(value)] = value
    kept = [*values.values()]
    for _ in range(_DEEP):  # classes that such objects have made for themselves, as `RR._context.mpf`
        values = {id(value): value for holder in values.values() for value in _place_in(holder, found, found[id(holder)])}
        kept += values.values()
    return found, kept


def _place_in(holder: Any, found: _Places, place: tuple[str, str]) -> Iterator[Any]:
    attributes = getattr(holder, "__dict__", None)
    if type(attributes) is dict and len(attributes) < _WIDE:
        for name, value in list(attributes.items()):
            if id(value) not in found and isinstance(name, str) and name.isidentifier() and _is_objects(value):
                found[id(value)] = (place[0], f"{place[1]}.{name}")
                yield value


def _is_objects(value: Any) -> bool:
    if isinstance(value, (type, types.FunctionType)):
        return getattr(sys.modules.get(value.__module__), value.__name__, None) is not value and value.__module__ != "__main__"
    return not isinstance(value, (*_WRITTEN, *_NAMED, types.ModuleType)) and (
        type(value).__module__ not in {"builtins", "__main__"}
    )


def reduce(value: Any, place: tuple[str, str]) -> Any:
    """A reference to it. Raises `Refused` where not all of it can be seen."""
    return _find, (*place, _digest(value))


def _find(home: str, name: str, known: str) -> Any:
    found: Any = importlib.import_module(home)
    for part in name.split("."):
        found = getattr(found, part)
    if _digest(found) != known:
        raise InputRefused(
            f"ML201: {name!r} of {home} can't be passed to another step: it has changed since its "
            f"import, and is, or holds, something that has no pickle. Change it in a setup cell, or merge the two steps."
        )
    return found


def _digest(value: Any) -> str:
    """Of its attributes and elements, and theirs; each object is told by the place where it comes first."""
    sink = hashlib.sha256()
    number: dict[int, int] = {}
    kept = []
    todo = [value]
    while todo:
        held = todo.pop()
        if isinstance(held, _WRITTEN) and type(held) in _WRITTEN:
            text = f"{type(held).__name__} {held!r}"
        elif id(held) in number:
            text = f"again {number[id(held)]}"
        else:
            number[id(held)] = len(number)
            kept.append(held)  # so that ids stay unique
            if len(number) > _MOST:
                raise Refused("it holds too much to tell whether it is still as its package has made it")
            text, inside = _seen(held)
            todo += reversed(inside)
        sink.update(text.encode("utf-8", "surrogatepass") + b"\n")
    return sink.hexdigest()[:40]


def _seen(value: Any) -> tuple[str, list[Any]]:
    """What can be seen of an object itself, and the objects in it."""
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, types.ModuleType):
        return f"{name} {value.__name__}", []
    if isinstance(value, type):
        named = f"class {value.__module__}.{value.__qualname__}"
        found = not _is_objects(value) or not value.__flags__ & HEAP_TYPE
        return named, [] if found else _flat({k: v for k, v in vars(value).items() if k not in _LEFT_OUT})
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()]
        return f"{name} {value.__module__}.{value.__qualname__}", cells
    if isinstance(value, types.MethodType):
        return name, [value.__func__, value.__self__]
    if isinstance(value, _NAMED):
        return f"{name} {getattr(value, '__qualname__', getattr(value, '__name__', ''))}", []
    if name in _WITHOUT_CONTENT or kind.__module__ == "weakref":
        return f"{name} {getattr(value, '__qualname__', '')} {getattr(value, 'locked', bool)()}", []
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)) and not value.dtype.hasobject:
        shown = numpy.asarray(value).view(numpy.ndarray)
        own = _flat(vars(value)) if kind.__dictoffset__ else []
        return f"{name} {shown.dtype.str} {shown.shape} {hashlib.sha256(shown.tobytes()).hexdigest()}", own
    if (numpy is not None and isinstance(value, (numpy.dtype, numpy.ufunc))) or name in {"re.Pattern", "itertools.count"}:
        return f"{name} {value!r}", []
    inside = []
    base = next((c for c in (list, tuple, dict, set, frozenset) if isinstance(value, c)), None)
    if base is dict:
        inside += _flat(value)
    elif base in (set, frozenset):
        if not all(isinstance(held, _WRITTEN) for held in value):
            raise Refused("it holds a set of which can't be told whether it is still as its package has made it")
        inside += sorted(value, key=repr)
    elif base is not None:
        inside += base.__iter__(value)
    elif kind.__basicsize__ > 16 + 8 * (2 + len(slots := _slots(kind))) or not (kind.__dictoffset__ or slots):
        raise Refused(f"it is, or holds, a {name}, of which can't be told whether it is still as its package has made it")
    for slot in _slots(kind):
        try:
            inside.append(slot.__get__(value))
        except AttributeError:
            inside.append(...)
    if kind.__dictoffset__:
        inside += _flat(object.__getattribute__(value, "__dict__"))
    return f"{name} {len(inside)}", [kind, *inside]


def _slots(kind: type) -> list[Any]:
    return [
        place for c in kind.__mro__ for name, place in vars(c).items()
        if type(place) is types.MemberDescriptorType and name not in _LEFT_OUT and c.__flags__ & HEAP_TYPE
    ]  # fmt: skip


def _flat(pairs: Any) -> list[Any]:
    return [part for pair in dict.items(pairs) for part in pair]
