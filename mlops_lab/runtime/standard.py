"""Objects of the standard library that pickle refuses, although they can be had again: matches of regular expressions, results
of executors that are there, weak references to what is passed on with them, variables of the context."""

from __future__ import annotations

import contextlib
import contextvars
import io
import itertools
import os
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from typing import Any

from .memory import Refused

_TRIED = 1_000  # matches before the one that is looked for: many matches of one text would take long


def match(value: Any, _: Any) -> Any:
    """A match, by what finds it again."""
    place = value.re, value.string, value.pos, value.endpos
    for number, found in enumerate(itertools.islice(_matches(*place), _TRIED)):
        if found is not None and found.regs == value.regs and found.lastindex == value.lastindex:
            return _find, (*place, number)
    raise Refused("it is one of very many matches of a text")


def _matches(pattern: Any, *place: Any) -> Iterator[Any]:
    yield from (pattern.search(*place), pattern.match(*place), pattern.fullmatch(*place))
    yield from pattern.finditer(*place)


def _find(pattern: Any, text: Any, start: int, end: int, number: int) -> Any:
    return next(itertools.islice(_matches(pattern, text, start, end), number, None))


def future(value: Any, _: Any) -> Any:
    """What an executor has computed."""
    if not value.done():
        raise Refused("it is not done when its step is over, and ends with it")
    state = {name: getattr(value, name) for name in ("_state", "_result", "_exception")}
    return type(value), (), state, None, None, _set_future


def _set_future(value: Any, state: dict[str, Any]) -> Any:
    vars(value).update(state)
    return value


def queue(value: Any, _: Any) -> Any:
    """A queue by what is in it; its locks are made anew."""
    if not value.mutex.acquire(blocking=False):
        raise Refused("a thread is about to use it")
    value.mutex.release()
    return type(value), (value.maxsize,), (value.queue, value.unfinished_tasks), None, None, _set_queue


def _set_queue(value: Any, state: tuple[Any, int]) -> Any:
    value.queue, value.unfinished_tasks = state
    return value


def reference(value: Any, packer: Any) -> Any:
    """A weak reference with what it refers to, which lives on only if something else that is passed on holds it."""
    if value.__callback__ is not None:
        raise Refused("what a weak reference calls once its object is gone would be called when its step ends")
    held = value()
    return (_dead, ()) if held is None or not packer.refers(held) else (weakref.ref, (held,))


def collection(value: Any, packer: Any) -> Any:
    """A dictionary or set that holds what is in it weakly, in the same way."""
    pairs = list(value.items()) if hasattr(value, "items") else [(held, None) for held in value]
    by_value = isinstance(value, weakref.WeakValueDictionary)
    followed = [packer.refers(pair[by_value]) for pair in pairs]
    return type(value), (), [pair for pair, known in zip(pairs, followed, strict=True) if known], None, None, _fill


class _Gone:
    pass


def _dead() -> Any:
    return weakref.ref(_Gone())


def _fill(value: Any, pairs: list[tuple[Any, Any]]) -> Any:
    for key, held in pairs:
        if hasattr(value, "items"):
            value[key] = held
        else:
            value.add(key)
    return value


def closed_file(value: Any) -> Any:
    """A file that the notebook has closed: it still tells its name."""
    if type(value) not in {io.TextIOWrapper, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.FileIO}:
        return NotImplemented
    if not value.closed:
        return NotImplemented
    raw = getattr(getattr(value, "buffer", value), "raw", value)
    if not isinstance(raw, io.FileIO) or not isinstance(raw.name, str):
        return NotImplemented
    options = (value.encoding, value.errors) if isinstance(value, io.TextIOWrapper) else (None, None)
    return _make_closed, (raw.name, value.mode, isinstance(value, io.FileIO), *options)


def _make_closed(name: str, mode: str, raw: bool, encoding: str | None, errors: str | None) -> Any:
    made: Any = open(os.devnull, mode.replace("x", "w"), 0 if raw else -1, encoding, errors)  # noqa: SIM115
    made.close()
    getattr(getattr(made, "buffer", made), "raw", made).name = name
    if encoding is not None:
        made.mode = mode
    return made


def help_action(value: Any, _: Any) -> Any:
    """The help of a parser of arguments; argparse looks for its mark (`SUPPRESS`) by identity."""
    return _make_help, (type(value),), dict(vars(value)), None, None, _fill_help


def _make_help(kind: Any) -> Any:
    return kind.__new__(kind)


def _fill_help(value: Any, held: dict[str, Any]) -> Any:
    mark = sys.modules["argparse"].SUPPRESS
    vars(value).update({name: mark if held == mark else held for name, held in held.items()})
    return value


def closed_archive(value: Any, _: Any) -> Any:
    """A zip file that the notebook has closed."""
    if value.fp is not None:
        raise Refused("it is open, and ends with its process")
    return _make_archive, (type(value),), {k: v for k, v in vars(value).items() if k != "_lock"}, None, None, _fill_module


def _make_archive(kind: Any) -> Any:
    made = kind.__new__(kind)
    made._lock = threading.RLock()
    return made


def module(value: Any, _: Any) -> Any:
    """A module that the notebook has put together itself: one of its name, there for imports if it is so here."""
    name = value.__name__
    if getattr(value, "__spec__", None) is not None or hasattr(value, "__file__") or sys.modules.get(name) is not value:
        return NotImplemented
    return _make_module, (name,), {k: v for k, v in vars(value).items() if k != "__builtins__"}, None, None, _fill_module


def _make_module(name: str) -> Any:
    return sys.modules.setdefault(name, types.ModuleType(name))


def _fill_module(value: Any, held: dict[str, Any]) -> Any:
    vars(value).update(held)
    return value


def patch(value: Any, _: Any) -> Any:
    """A patch of `unittest.mock`; while it is at work, nothing passes on what it has put somewhere."""
    if any(active is value for active in type(value)._active_patches):
        raise Refused("it is at work when its step is over, and ends with it; stop it there")
    return NotImplemented


def context_variable(value: Any, _: Any) -> Any:
    """A variable of the context with its default, and what it is set to at the notebook's top level."""
    for name, module in list(sys.modules.items()):
        if name not in {"__main__", "__mp_main__"} and any(
            held is value for held in list(getattr(module, "__dict__", {}).values())
        ):
            raise Refused(f"it is the module {name}'s own, and a copy would have no effect there")
    nothing = object()
    default: tuple[Any, ...] = ()
    with contextlib.suppress(LookupError):  # it has none
        default = (contextvars.Context().run(value.get),)
    now = value.get(nothing)
    state = None if now is nothing or (default and now is default[0]) else (now,)
    return _make_context_variable, (value.name, *default), state, None, None, _set_context_variable


def _make_context_variable(name: str, *default: Any) -> Any:
    return contextvars.ContextVar(name, default=default[0]) if default else contextvars.ContextVar(name)


def _set_context_variable(value: Any, state: tuple[Any]) -> Any:
    value.set(state[0])
    return value
