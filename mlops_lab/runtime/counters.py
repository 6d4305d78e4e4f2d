"""Numbers that packages count their objects with, as CVXPY numbers variables and SymPy dummies.

Each process would begin anew, and two objects that were made in two steps would have one number: for their package they are
one. The calls in the notebook's code tell where such a counter may be; where it stands passes from step to step.
"""

from __future__ import annotations

import dis
import itertools
import re
import sys
import types
from collections.abc import Iterator
from typing import Any

from . import called
from .assigned import imported_in
from .postponed import Postponed

_CALL = re.compile(r"\b([A-Za-z_]\w*(?:\.\w+)*)[ \t]*\(")
_STORES = {dis.opmap["STORE_GLOBAL"], dis.opmap["STORE_ATTR"]}
_COUNT = type(itertools.count())
_CODE = (type, types.FunctionType, types.MethodType, classmethod, staticmethod)
# They number nothing, are in every notebook, and are large.
_WITHOUT = sys.stdlib_module_names | set("numpy pandas matplotlib scipy sklearn seaborn IPython mlops_lab_runtime".split())
_DEPTH = 2  # calls from a constructor to the function that counts
_MOST = 2**32  # a larger number is no count, but an address: the handle of a library that `ctypes` has loaded

_code, _names = "", {}  # type: str, dict[str, Any]
_places: dict[tuple[str, str], None] = {}  # (module, path in it)
_seen: set[Any] = set()  # what was looked at
_carried: dict[str, int] = {}  # of modules that this process has not loaded
_began: dict[str, int] = {}


def watch(code: str, names: dict[str, Any]) -> None:
    """Begin a step; `code` is the notebook's, `names` its namespace."""
    global _code, _names
    _code, _names = code, names
    _places.clear()
    _seen.clear()
    _carried.clear()
    _began.clear()


def begin() -> None:
    """Remember where they stand before the step's first cell."""
    _began.update(get())


def advanced() -> bool:
    """True if the step has counted something."""
    return any(number != _began.get(place, _first(place)) for place, number in get().items())


def get() -> dict[str, int]:
    """`MODULE:PATH` -> where the counter stands."""
    _look()
    found = dict(_carried)
    for module, path in _places:
        number = _number(_at(module, path))
        if number is not None:
            found[f"{module}:{path}"] = number
    return dict(sorted(found.items()))


def put(numbers: dict[str, int]) -> None:
    """Go on counting from there, in modules that are imported later as soon as they are."""
    late = {place: number for place, number in numbers.items() if place.partition(":")[0] not in sys.modules}
    for place in numbers.keys() - late.keys():
        _set(place, numbers[place])
    _carried.update(late)

    def comes_in(place: str) -> None:
        _set(place, _carried.pop(place))

    Postponed([((place.partition(":")[0],), place) for place in late], comes_in)


def _set(place: str, number: int) -> None:
    module, _, path = place.partition(":")
    *above, last = path.split(".")
    holder = _at(module, ".".join(above))
    held = _at(module, path)
    if type(held) is _COUNT:
        for _ in range(number - (_number(held) or 0)):
            next(held)
    elif type(held) is int:
        setattr(holder, last, number)


def _first(place: str) -> int | None:
    """Where a counter begins, of a module that the step itself has imported."""
    module, _, path = place.partition(":")
    return 0 if called.is_default(f"patch:{module}.{path}", 0) in {True, None} else None


def _number(held: Any) -> int | None:
    if type(held) is _COUNT:
        return int(re.findall(r"-?\d+", repr(held))[0])
    return held if type(held) is int else None


def _at(module: str, path: str) -> Any:
    holder: Any = sys.modules.get(module)
    for part in path.split(".") if path else ():
        holder = getattr(holder, "__dict__", {}).get(part)
    return holder


def _look() -> None:
    """Find the counters that the notebook's calls may advance, in what is loaded by now."""
    imported = imported_in(_code)
    for call in set(_CALL.findall(_code)):
        root, *rest = call.split(".")
        target = _names.get(root)
        if target is None and root in imported:
            module, *inner = imported[root].split(".")
            target, rest = sys.modules.get(module), inner + rest
        for part in rest:
            target = _static(target, part)
        _look_at(target, _DEPTH)


def _static(target: Any, name: str) -> Any:
    """What an object has under a name, without code of a package being run, which may import much."""
    if isinstance(target, types.ModuleType):
        return vars(target).get(name)
    kinds = target.__mro__ if isinstance(target, type) else type(target).__mro__
    return next((vars(kind)[name] for kind in kinds if name in vars(kind)), None)


def _look_at(target: Any, depth: int) -> None:
    """Look at a class or function of a package, and at what it calls."""
    if not isinstance(target, _CODE):
        return
    home = target.__module__
    if not isinstance(home, str) or home.partition(".")[0] in {*_WITHOUT, "__main__"} or target in _seen:
        return
    _seen.add(target)
    if isinstance(target, type):
        for base in target.__mro__:
            for name in ("__new__", "__init__"):
                made = vars(base).get(name)
                _look_into(getattr(made, "__func__", made), depth, base)
    else:
        _look_into(getattr(target, "__func__", target), depth)


def _look_into(function: Any, depth: int, owner: type | None = None) -> None:
    if (
        type(function) is not types.FunctionType
        or vars(sys.modules.get(function.__module__, types)) is not function.__globals__
    ):
        return
    code, home = function.__code__, function.__module__
    words = set(code.co_names)
    stores = not _STORES.isdisjoint(code.co_code[::2])
    for held, module, path in _near(function, owner, words):
        if type(held) is int and held < _MOST:
            counts = stores and path.rpartition(".")[2] in _stored(code)
        else:
            counts = type(held) is _COUNT
        if counts:
            _places[module, path] = None
        elif (
            depth
            and isinstance(held, (type, types.FunctionType))
            and held.__module__.partition(".")[0] == home.partition(".")[0]
        ):
            _look_at(held, depth - 1)


def _near(function: Any, owner: type | None, words: set[str]) -> Iterator[tuple[Any, str, str]]:
    """(value, module, path) of what a function's code names in its module, and one attribute below, and in its class."""
    space, home = function.__globals__, function.__module__
    if owner is not None:
        yield from ((held, home, f"{owner.__qualname__}.{name}") for name, held in vars(owner).items() if name in words)
    for name in words & space.keys():
        held = space[name]
        yield held, home, name
        inner = getattr(held, "__dict__", {})
        if isinstance(held, types.ModuleType):
            yield from ((inner[word], held.__name__, word) for word in words & inner.keys())
        elif isinstance(held, type):
            yield from ((inner[word], held.__module__, f"{held.__qualname__}.{word}") for word in words & inner.keys())
        elif not isinstance(held, types.FunctionType):
            yield from ((inner[word], home, f"{name}.{word}") for word in words & set(inner))


def _stored(code: types.CodeType) -> set[str]:
    """The names of attributes and globals that some code both reads and sets."""
    steps = [step for step in dis.get_instructions(code) if isinstance(step.argval, str)]
    return {step.argval for step in steps if step.opcode in _STORES}
