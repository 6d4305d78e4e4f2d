"""What the notebook's code has put into IPython: magics, ways to display a type; and the last error of a cell, for `%tb` and
`sys.last_value`. It passes from step to step like a variable.

Each is a member `patch:IPython:...` of the step (see `modules.py`). A callback of IPython's events stands for what would run at
every cell, also at those that are not the notebook's, and so does what changes the code of cells or handles their errors; it is
refused where a later step would go without it.
"""

from __future__ import annotations

import functools
import re
import sys
from typing import Any

from . import ipython, tables, twins
from .memory import Refused

MARK = "patch:IPython:"
_KINDS = ("line", "cell")
_TRANSFORMS = ("ast_transformers", "input_transformers_cleanup", "input_transformers_post")


class Callbacks:
    """Stands for the notebook's callbacks of one event, or what it has IPython do with every cell's code."""

    def __reduce__(self) -> Any:
        raise Refused("IPython calls it at every cell, and in a later step nobody would")


_ABOUT_ERRORS = re.compile(r"\blast_(value|type|traceback|exc)\b|%(tb|debug)\b|\bpm\(|\bshowtraceback\b")
_ABOUT_ANNOTATIONS = re.compile(r"__annotations__|get_type_hints")
ABOUT_FLAGS = re.compile(r"\bclear_flags\b|\.flags\[")  # of decimal's contexts
_annotations = False  # whether it looks at those of the notebook's variables
_errors = False  # whether the notebook's code looks at the last error

_callbacks: dict[str, Callbacks] = {}
_given: dict[str, Any] = {}  # what could be replaced, as the kernel began
_for_types: dict[str, dict[type, None]] = {}  # formatter -> types that the notebook has it show with a package's function


def watch(code: str) -> None:
    """See whether the notebook's code looks at the last error, and at annotations: they are passed on only then, or refused."""
    global _errors, _annotations
    twins.watch(code)
    if ipython.shell() is not None:
        _watch_printers()
        _given.clear()
        _given.update(_replaceable())
    _annotations = bool(_ABOUT_ANNOTATIONS.search(code))
    _errors = bool(_ABOUT_ERRORS.search(code))


def looks_in(code: str) -> list[str]:
    """The words of a code for which a step leaves what it doesn't leave otherwise."""
    patterns = (_ABOUT_ERRORS, _ABOUT_ANNOTATIONS, ABOUT_FLAGS, twins.PICKLES)
    return sorted({found[0] for pattern in patterns for found in pattern.finditer(code)})


shell = ipython.shell


def members() -> dict[str, Any]:
    """Member -> value, for all that is the notebook's."""
    ip = ipython.shell()
    if ip is None or not hasattr(ip, "magics_manager"):
        return {}
    found: dict[str, Any] = {}
    for kind in _KINDS:
        for name, function in ip.magics_manager.magics[kind].items():
            if _is_own(function):
                found[f"{MARK}%{kind}/{name}"] = function
    for mime, formatter in ipython.formatters().items():
        own = _printers(mime, formatter)
        if own:
            found[f"{MARK}display/{mime}"] = own
    for event, functions in ip.events.callbacks.items():
        if any(_is_own(function) for function in functions):
            found[f"{MARK}event/{event}"] = _callbacks.setdefault(event, Callbacks())
    for place in _TRANSFORMS:
        if any(map(_is_own, getattr(ip, place, ()))):
            found[f"{MARK}cells/{place}"] = _callbacks.setdefault(place, Callbacks())
    for place, held in _replaceable().items():
        if _given and held is not _given.get(place) and not tables.replays("install("):  # as `rich.pretty.install()`
            found[f"{MARK}cells/{place}"] = _callbacks.setdefault(place, Callbacks())
    if getattr(ip, "custom_exceptions", ()):
        found[f"{MARK}cells/custom_exceptions"] = _callbacks.setdefault("custom_exceptions", Callbacks())
    if _errors and getattr(sys, "last_value", None) is not None:
        found[f"{MARK}error/last"] = sys.last_value
    if _annotations and ip.user_ns.get("__annotations__"):
        found[f"{MARK}names/__annotations__"] = ip.user_ns["__annotations__"]
    same = twins.get(ip.user_ns)
    if same:
        found[f"{MARK}same/names"] = same
    return found


def value(member: str) -> Any:
    """The value of a member, which exists. Raises `KeyError` if it doesn't."""
    return members()[member]


def put(member: str, new: Any) -> None:
    """Give IPython what an earlier step has put into it."""
    kind, _, name = member.removeprefix(MARK).partition("/")
    ip = ipython.shell()
    if ip is None:
        return
    if kind == "same":
        twins.put(new)
    elif kind == "names":
        ip.user_ns[name] = new
    elif kind == "error":
        parts = {
            "value": new,
            "type": type(new),
            "traceback": new.__traceback__,
            **({"exc": new} if hasattr(sys, "last_exc") else {}),
        }
        for part, held in parts.items():
            setattr(sys, f"last_{part}", held)
    elif kind.startswith("%"):
        ip.magics_manager.magics[kind[1:]][name] = new
    elif name in ipython.formatters():
        formatter = ipython.formatters()[name]
        for table, pairs in zip((formatter.type_printers, formatter.deferred_printers), new, strict=True):
            table.update(pairs)
        _for_types.setdefault(name, {}).update((kind, None) for kind, function in new[0] if not _is_own(function))


def _printers(mime: str, formatter: Any) -> tuple[list[tuple[Any, Any]], list[tuple[Any, Any]]] | None:
    by_type, by_name = (
        [(kind, function) for kind, function in table.items() if _is_own(function)]
        for table in (formatter.type_printers, formatter.deferred_printers)
    )
    others = [(kind, formatter.type_printers.get(kind)) for kind in _for_types.get(mime, ())]
    by_type += [(kind, function) for kind, function in others if function is not None and not _is_own(function)]
    return (by_type, by_name) if by_type or by_name else None


def _watch_printers() -> None:
    """Note for which types the notebook has a formatter use a package's function."""
    _for_types.clear()
    kind: Any = type(ipython.formatters()["text/plain"]).__mro__[1]  # the base of all
    original = kind.for_type
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def for_type(formatter: Any, typ: Any, func: Any = None) -> Any:
        known = original(formatter, typ, func)
        if func is not None and isinstance(typ, type) and sys._getframe(1).f_globals.get("__name__") == "__main__":
            mime = next((mime for mime, held in ipython.formatters().items() if held is formatter), "")
            _for_types.setdefault(mime, {})[typ] = None
        return known

    kind.for_type = for_type


def _replaceable() -> dict[str, Any]:
    """What others can put in place of IPython's own, as rich does: its formatters, and methods."""
    ip = ipython.shell()
    methods = {name: held for name, held in vars(ip).items() if callable(held) and callable(getattr(type(ip), name, None))}
    return {**{f"formatter of {mime.rpartition('/')[2]}": f for mime, f in ip.display_formatter.formatters.items()}, **methods}


def _is_own(function: Any) -> bool:
    if type(function).__module__.startswith("IPython."):  # stands for a magic that IPython loads when it is first used
        return False
    holder = getattr(function, "__self__", None)
    return "__main__" in (getattr(function, "__module__", None), type(holder).__module__)
