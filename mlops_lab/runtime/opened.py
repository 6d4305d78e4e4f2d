"""Files that are open for reading when a step is over: they are opened again in later steps, at the place where they stood.

A file must then be there with the content that it had. What reads on in a later step counts as having opened the file there.
Files that are open for writing are refused: what is still to be written would be lost or come too early.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import sys
from typing import Any

from . import standard
from .memory import InputRefused, Refused

_LARGEST = 2**26  # bytes; a text file is read to tell how it reads
_READING = "it is, or holds, an open file or a resource that ends with its process"
_again: list[str] = []  # what this process has opened again


def announce() -> None:
    """Tell who watches the step's files which ones its inputs have opened again."""
    for path in _again:
        sys.audit("open", path, "r", os.O_RDONLY)
    _again.clear()


def reduce(value: Any) -> Any:
    """A file by its name, how it was opened, where it stands, and the digest of its content."""
    made = standard.closed_file(value)
    if made is not NotImplemented:
        return made
    text = type(value) is io.TextIOWrapper
    inner = value.buffer if text else value
    if value.closed or value.writable() or type(inner) not in _OPENERS:
        raise Refused(_READING)
    name = _name_of(inner)
    known = _digest(name)
    if not text:
        return _open, (name, known, type(inner), {"mode": "rb"}, inner.tell())
    if os.fstat(value.fileno()).st_size > _LARGEST:
        raise Refused("it is, or holds, a large file that is open")
    mode = value.mode if type(inner) is io.BufferedReader else "rt"
    for newline in (None, "", "\n", "\r", "\r\n"):
        options = {"mode": mode, "encoding": value.encoding, "errors": value.errors, "newline": newline}
        place = _place(value, _OPENERS[type(inner)](name, **options))
        if place is not None:
            return _open, (name, known, type(inner), options, *place)
    raise Refused(_READING)


def archive(value: Any, packer: Any) -> Any:
    """A zip file that is open for reading."""
    if value.fp is None or value.mode != "r" or value._fileRefCnt != 1:
        return standard.closed_archive(value, packer)
    state = {name: held for name, held in vars(value).items() if name not in {"fp", "_lock", "_fileRefCnt"}}
    name = _name_of(value.fp)
    return _open_archive, (name, _digest(name), type(value)), state, None, None, _fill


def _name_of(file: Any) -> str:
    """The name that finds the very file again."""
    inner = getattr(file, "fileobj", file)
    name = getattr(getattr(inner, "raw", inner), "name", None)
    with contextlib.suppress(OSError, AttributeError):
        if isinstance(name, str) and os.path.isfile(name):
            with open(name, "rb") as there:
                if os.path.sameopenfile(inner.fileno(), there.fileno()):
                    return name
    raise Refused(_READING)


def _digest(name: str) -> str:
    with open(name, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:40]


def _place(file: Any, fresh: Any) -> tuple[int, bool] | None:
    """Where a text file stands, and whether a loop over its lines does; `None` if a fresh one reads it otherwise."""
    with fresh:
        lines = list(iter(fresh.readline, ""))
    at: int | None = None
    with contextlib.suppress(OSError):  # as in the midst of a loop
        at = file.tell()
    rest = list(iter(file.readline, ""))
    next(file, None)  # after which it tells its place again
    file.seek(0)
    own = list(iter(file.readline, ""))
    looping = at is None
    passed = own[: len(own) - len(rest)]
    if at is None:
        file.seek(0)
        for _ in passed[1:]:
            file.readline()
        at = file.tell()
    _stand(file, at, looping)
    return (at, looping) if own == lines and (not looping or (passed and rest == own[len(passed) :])) else None


def _stand(file: Any, at: int, looping: bool) -> None:
    file.seek(at)
    if looping:
        next(file)


_OPENERS: dict[type, Any] = {io.BufferedReader: open, gzip.GzipFile: gzip.open}


def _check(name: str, known: str) -> None:
    try:
        found = _digest(name)
    except OSError:
        found = ""
    if found != known:
        raise InputRefused(
            f"ML201: the file {os.path.basename(name)!r}, open for reading, can't be passed to another step: "
            f"it is {'no longer what it was' if found else 'not there'}. Open it in the step that reads it, or merge the two."
        )
    _again.append(os.path.abspath(name))


def _open(name: str, known: str, kind: type, options: dict[str, Any], at: int, looping: bool = False) -> Any:
    _check(name, known)
    file = _OPENERS[kind](name, **options)
    _stand(file, at, looping)
    return file


def _open_archive(name: str, known: str, kind: Any) -> Any:
    _check(name, known)
    return kind(name)


def _fill(value: Any, state: dict[str, Any]) -> Any:
    vars(value).update(state)
    return value


# -- temporary files ---------------------------------------------------------------------------------------------------


def temporary(value: Any, _: Any) -> Any:
    """A temporary file that is closed. One that is open may have to go with its process."""
    if not value.file.closed:
        raise Refused("it is, or holds, a file or a resource that ends with its process; its name can be passed on")
    closer = value._closer
    return _make_file, (type(value), type(closer)), (_own(value), _own(closer)), None, None, _fill_file


def _own(value: Any) -> dict[str, Any]:
    """Its attributes without the methods of the file that it has taken over, and what holds each other."""
    return {name: held for name, held in vars(value).items() if name != "_closer" and not callable(held)}


def _make_file(kind: Any, closer: Any) -> Any:
    made = kind.__new__(kind)
    vars(made)["_closer"] = closer.__new__(closer)
    return made


def _fill_file(value: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> Any:
    vars(vars(value)["_closer"]).update({"close_called": True, "cleanup_called": True, **state[1]})
    vars(value).update(state[0])
    return value
