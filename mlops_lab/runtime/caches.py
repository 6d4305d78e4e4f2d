"""Functions that remember the results of their calls (`functools.lru_cache`): taken apart with what they remember.

Python shows that memory to nobody but the garbage collector, and fills it only by calls. So it is read from what the function
refers to, and filled again by calling the function, whose code for that time gives the results that are known.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import types
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from .memory import Refused


class Memory(NamedTuple):
    """`calls`: (arguments, keyword arguments, result), that used longest ago first."""

    calls: list[tuple[tuple[Any, ...], dict[str, Any], Any]]
    hits: int
    misses: int


def reduce(wrapper: Any, _: Any) -> Any:
    """What `__reduce__` returns: a package's own by its name, others with what they remember."""
    if _is_packages(wrapper):
        return wrapper.__qualname__
    parameters = wrapper.cache_parameters()
    attributes = {k: v for k, v in wrapper.__dict__.items() if k not in ("__wrapped__", "cache_parameters")}
    memory = _read(wrapper, parameters["typed"])
    arguments = (wrapper.__wrapped__, parameters["maxsize"], parameters["typed"])
    return _make, arguments, (attributes, memory), None, None, _fill


def _is_packages(wrapper: Any) -> bool:
    place = getattr(wrapper, "__qualname__", "<")
    if wrapper.__module__ == "__main__" or "<" in place:
        return False
    try:
        found: Any = importlib.import_module(wrapper.__module__)
        for part in place.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, TypeError, ValueError):
        return False
    return found is wrapper


def _read(wrapper: Any, typed: bool) -> Memory:
    info = wrapper.cache_info()
    if not info.misses:
        return Memory([], 0, 0)
    held = gc.get_referents(wrapper)
    table = next((v for v in held if type(v) is dict and v is not wrapper.__dict__ and len(v) == info.currsize), None)
    pairs = list((table or {}).items())
    if pairs and info.maxsize is not None:  # links, which are told in the order of their use: key, result, kind of link
        link = type(pairs[0][1])
        pairs = [(held[i - 2], held[i - 1]) for i in range(3, len(held)) if held[i] is link][: info.currsize]
    function = wrapper.__wrapped__
    if len(pairs) != info.currsize or not all(key in (table or {}) for key, _ in pairs):
        raise Refused("it remembers the results of its calls (functools.lru_cache), and that memory can't be read here")
    if not isinstance(function, types.FunctionType):
        raise Refused(
            "it remembers the results of its calls (functools.lru_cache), and that memory can only be passed on for a "
            f"function of Python, not for a {type(function).__name__}"
        )
    return Memory([(*_arguments(key, typed), result) for key, result in pairs], info.hits, info.misses)


def _arguments(key: Any, typed: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if type(key) is not tuple:  # a single number or text stands for itself
        return (key,), {}
    at = next((i for i, part in enumerate(key) if part is _MARK), None)
    if at is None:
        return (key[: len(key) // 2] if typed else key), {}
    count = len(key) - at - 1
    if typed:  # the types of all arguments come last
        count -= at
        count = 2 * count // 3
    named = key[at + 1 : at + 1 + count]
    return key[:at], dict(zip(named[::2], named[1::2], strict=True))


def _mark() -> Any:
    """What stands between positional and named arguments in a key."""

    @functools.lru_cache(None)
    def probe(**named: Any) -> None:
        pass

    probe(a=1)
    table = next(v for v in gc.get_referents(probe) if type(v) is dict and v is not probe.__dict__)
    return next(iter(table))[0]


_MARK = _mark()


def _make(function: Any, maxsize: Any, typed: bool) -> Any:
    return functools.lru_cache(maxsize, typed)(function)


def _fill(wrapper: Any, state: tuple[dict[str, Any], Memory]) -> Any:
    attributes, memory = state
    wrapper.__dict__.update(attributes)
    if memory.misses:
        function = wrapper.__wrapped__
        code = function.__code__
        results = iter([result for _, _, result in memory.calls])
        function.__code__ = _giving(results.__next__, code.co_freevars)
        try:
            for arguments, named, _ in memory.calls:
                wrapper(*arguments, **named)
            for _ in range(memory.misses - len(memory.calls)):  # calls that failed, or whose results were dropped
                with contextlib.suppress(StopIteration):
                    wrapper(object())
            if memory.calls:
                arguments, named, _ = memory.calls[-1]
                for _ in range(memory.hits):
                    wrapper(*arguments, **named)
        finally:
            function.__code__ = code
    return wrapper


def _giving(give: Callable[[], Any], free: tuple[str, ...]) -> types.CodeType:
    """Code that fits a function with these free variables, takes any arguments, and returns what `give` does."""
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec('def giving(*_, **__): return "give"()', names)
    code: types.CodeType = names["giving"].__code__
    return code.replace(co_consts=tuple(give if c == "give" else c for c in code.co_consts), co_freevars=free)
