"""Code of the notebook that goes on when its step is over, in a thread or as an asyncio task: it ends with the step's process.

Each is a member `patch:running:...` of the step (see `modules.py`) that can't be passed on, so that a later step is refused: in
the notebook it would see what goes on there. What `atexit` is to call at the end of the notebook's kernel is no member: it is
left out, as it would be called at the end of a step, and a later step would see what it does.
"""

from __future__ import annotations

import asyncio
import atexit
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from . import tables
from .ipython import shell
from .memory import Refused
from .noted import rebind

MARK = "patch:running:"


class Running:
    """Stands for what goes on."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __reduce__(self) -> Any:
        raise Refused(f"{self.what} when its step is over, and ends with it; {_ENDS[self.what.rpartition(' ')[2]]} it there")


_ENDS = {"runs": "wait for", "works": "stop"}

_before: set[int] = set()  # threads and patches that setup cells start, in each step alike
_found: dict[str, Running] = {}
_STREAMS = ("stdin", "stdout", "stderr")
_streams: dict[str, Any] = {}  # as they were
_at_exit: list[Callable[..., Any]] = []  # what the notebook has registered


def watch() -> None:
    """Take the threads, patches and streams that are there now as given."""
    _before.clear()
    _streams.update((name, getattr(sys, name)) for name in _STREAMS)
    _before.update(map(id, _patches()))
    _before.update(thread.ident or 0 for thread in threading.enumerate())


def members() -> dict[str, Any]:
    """Member -> a stand-in, for all that runs."""
    names = sorted({*_threads(), *_tasks(), *_set()})
    return {f"{MARK}{name}": _found.setdefault(name, Running(name)) for name in names}


def value(member: str) -> Any:
    """The value of a member. Raises `KeyError` if it doesn't exist."""
    return _found[member.removeprefix(MARK)]


def leave() -> None:
    """Let nothing of the notebook's be called as this process ends."""
    for function in _at_exit:
        atexit.unregister(function)
    for finalizer, info in list(weakref.finalize._registry.items()):  # type: ignore[attr-defined]
        if tables.is_own(info.func):
            finalizer.detach()


def _watch_exit() -> None:
    original: Any = atexit.register
    if hasattr(original, "__wrapped__"):
        return

    def register(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        made = original(function, *arguments, **options)
        names = sys._getframe(1).f_globals
        if names.get("__name__") == "__main__" or tables.is_beside(names):
            _at_exit.append(function)
        return made

    rebind("atexit", "register", original, register)


_watch_exit()  # before the prelude imports modules beside the notebook


def _threads() -> Iterator[str]:
    frames = sys._current_frames()
    for thread in threading.enumerate():
        if thread.ident in _before or thread is threading.current_thread():
            continue
        function: Any = _function(thread.function) if isinstance(thread, threading.Timer) else None
        if getattr(function, "__module__", "") == "__main__":
            yield f"a timer for {function.__qualname__} still runs"
            continue
        frame = frames.get(thread.ident or 0)
        while frame is not None:
            if frame.f_globals.get("__name__") == "__main__":
                yield f"a thread in {frame.f_code.co_qualname} still runs"
                break
            frame = frame.f_back


def _function(function: Any) -> Any:
    return getattr(function, "func", getattr(function, "__func__", function))


def _tasks() -> Iterator[str]:
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:  # no loop runs
        return
    for task in tasks:
        coroutine: Any = task.get_coro()
        frame = getattr(coroutine, "cr_frame", None)
        if frame is not None and frame.f_globals.get("__name__") == "__main__" and frame.f_code.co_name != "<module>":
            yield f"an asyncio task of {coroutine.__qualname__} still runs"


def _set() -> Iterator[str]:
    """What the interpreter or the system calls, and patches of packages."""
    for way in ("trace", "profile"):
        if getattr(getattr(sys, f"get{way}")(), "__module__", "") == "__main__":
            yield f"a function for sys.set{way} still works"
    if signal.getitimer(signal.ITIMER_REAL)[0]:
        yield "a timer of signal.alarm still runs"
    for name in _STREAMS:
        if getattr(sys, name) is not _streams.get(name, getattr(sys, name)):
            yield f"what the notebook has put in place of sys.{name} still works"
    if getattr(getattr(shell(), "logger", None), "log_active", False):
        yield "a log that %logstart has begun still works"
    for patch in _patches():
        if id(patch) not in _before:
            yield f"a patch of {getattr(patch, 'attribute', None) or 'a dictionary'} by unittest.mock still works"


def _patches() -> list[Any]:
    return list(sys.modules["unittest.mock"]._patch._active_patches) if "unittest.mock" in sys.modules else []
