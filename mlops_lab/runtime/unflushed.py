"""Files that a step leaves open with text that isn't in them yet. It is written when the step's process ends, while in the
notebook it waits on: who opens such a file in a later step would see too much, and is refused. So is a command of the
notebook that may read it: any but those that are known to read no files of the notebook. Of the processes that packages start,
only those count that are given the file's name."""

from __future__ import annotations

import contextlib
import gc
import io
import os
from collections.abc import Iterable
from typing import Any

from . import commands
from .memory import InputRefused

_KINDS = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
_waiting: dict[str, str] = {}  # path -> the step that left it so
_asked = False  # whether the step has started processes


def look(written: Iterable[str], step: str) -> None:
    """See which of the files that a step has written it leaves open, with text that flushing them writes."""
    paths = {os.path.realpath(path) for path in written}
    try:
        handles = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
        paths &= {os.path.realpath(handle) for handle in handles}
    except OSError:  # a system that doesn't tell
        pass
    if not paths:  # to look at all objects takes long
        return
    for file in [thing for thing in gc.get_objects() if type(thing) in _KINDS]:
        with contextlib.suppress(OSError, ValueError):
            if not file.closed and file.writable() and isinstance(file.name, str) and os.path.realpath(file.name) in paths:
                before = os.fstat(file.fileno())
                file.flush()
                after = os.fstat(file.fileno())
                if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                    _waiting[os.path.realpath(file.name)] = step


def get() -> list[tuple[str, str]]:
    """The files that wait for text, and the steps that left them so."""
    return sorted(_waiting.items())


def put(waiting: list[tuple[str, str]]) -> None:
    """Refuse these from now on."""
    global _asked
    _asked = False
    _waiting.clear()
    _waiting.update(waiting)


def refuse(path: str) -> None:
    """Raise if this file waits for text of an earlier step."""
    step = _waiting.get(os.path.realpath(path))
    if step is not None:
        raise InputRefused(_message(path, step, ""))


def refuse_process(*arguments: Any) -> None:
    """Raise if the process that is about to start may read a file that waits; `arguments` are those of the audit event."""
    global _asked
    _asked = True
    if not _waiting:
        return
    command, is_notebooks = commands.told(arguments)
    named = [path for path in _waiting if os.path.basename(path) in command]
    if named or (is_notebooks and not commands.read_no_files(command)):
        path = named[0] if named else min(_waiting)
        raise InputRefused(_message(path, _waiting[path], f", which the command {command[:80]!r} may read"))


def is_asked() -> bool:
    """True if the step may have read files that wait without opening them itself."""
    return _asked


def _message(path: str, step: str, reader: str) -> str:
    return (
        f"ML201: step {step!r} left the file {os.path.basename(path)!r} open, with text that is written only when it is closed "
        f"or flushed{reader}. Close it there (with open(...) as file), or merge the two steps."
    )
