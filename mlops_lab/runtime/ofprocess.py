"""Settings that the interpreter and the system keep for the whole process: the mask of new files, when garbage is collected,
whether allocations and crashes are traced. A step leaves those that differ from what its kernel began with.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import os
import sys
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

_given: dict[str, Any] = {}  # as the kernel began


def _mask() -> int:
    now = os.umask(0o022)
    os.umask(now)
    return now


def _stack() -> int:
    now = threading.stack_size()  # which sets 0
    threading.stack_size(now)
    return now


def _trace(depth: int) -> None:
    tracemalloc.stop()
    if depth:
        tracemalloc.start(depth)


def _dump(on: bool) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no such stream
        faulthandler.enable(sys.__stderr__ or 2) if on else faulthandler.disable()


def _levels(wanted: dict[int, str]) -> None:
    for level, name in wanted.items():
        if logging.getLevelName(level) != name:
            logging.addLevelName(level, name)


_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "umask": (_mask, os.umask),
    "gc": (gc.get_threshold, lambda thresholds: gc.set_threshold(*thresholds)),
    "switch": (sys.getswitchinterval, sys.setswitchinterval),
    "stack": (_stack, threading.stack_size),
    "tracemalloc": (lambda: tracemalloc.get_traceback_limit() if tracemalloc.is_tracing() else 0, _trace),
    "faulthandler": (faulthandler.is_enabled, _dump),
    "argv": (lambda: list(sys.argv), lambda words: sys.argv.__setitem__(slice(None), words)),
    "levels": (lambda: dict(logging._levelToName), _levels),
}


def watch() -> None:
    """Take what is set now as given."""
    _given.update((name, read()) for name, (read, _) in _SETTINGS.items())


def get() -> dict[str, Any]:
    """Those that are not as the kernel began."""
    now = {name: read() for name, (read, _) in _SETTINGS.items()}
    return {name: held for name, held in now.items() if name in _given and held != _given[name]}


def put(wanted: dict[str, Any]) -> None:
    """Set them as an earlier step left them, and the others as the kernel began."""
    for name, held in {**{name: _given[name] for name in get()}, **wanted}.items():
        _SETTINGS[name][1](held)
