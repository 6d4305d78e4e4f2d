"""Exceptions with their causes and tracebacks, which pickle leaves out.

A traceback comes back with its places (file, line, columns, function), so that it is shown as it was. The variables of its
frames don't: who asks for one is refused.
"""

from __future__ import annotations

import ast
import sys
import types
from typing import Any

from .memory import InputRefused

Place = tuple[str, str, str, int, int, int, int]  # file, name, qualified name, first and last line, first and last column


def reduce(value: BaseException) -> Any:
    """How an exception is pickled: as its type does it, but without running code of the notebook, and with its links."""
    made = value.__reduce_ex__(5)
    if not isinstance(made, tuple) or len(made) > 3:
        return NotImplemented
    maker, arguments, state = (*made, None)[:3]
    kind = type(value)
    if maker is kind and kind.__module__ == "__main__" and kind.__reduce__ is BaseException.__reduce__:
        maker, arguments = _new, (kind, arguments)
    links = (value.__cause__, value.__context__, value.__suppress_context__, _places(value.__traceback__))
    if maker is not _new and links == (None, None, False, []):
        return NotImplemented
    return maker, arguments, (state, links), None, None, _fill


def _places(traceback: types.TracebackType | None) -> list[Place]:
    found: list[Place] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        position = list(code.co_positions())[traceback.tb_lasti // 2]
        line, last, start, end = (p if p is not None else -1 for p in position)
        found.append((code.co_filename, code.co_name, code.co_qualname, traceback.tb_lineno, max(last, line), start, end))
        traceback = traceback.tb_next
    return found


# -- what unpickling calls -----------------------------------------------------------------------------------------


class _Gone(dict[str, Any]):
    """Stands for the variables of a frame; what only formatters of tracebacks look for (`__tracebackhide__`) isn't there."""

    def get(self, name: str, default: Any = None) -> Any:
        return default if name.startswith("_") else self._refuse()

    def _refuse(self, *_: Any) -> Any:
        raise InputRefused(
            "ML201: the variables of the functions that an exception went through (f_locals) can't be passed to another step. "
            "Look at them in the step that catches it, or merge the two steps."
        )

    __getitem__ = __iter__ = __len__ = __contains__ = keys = values = items = copy = __or__ = __ror__ = _refuse


def _new(kind: Any, arguments: tuple[Any, ...]) -> Any:
    value = kind.__new__(kind, *arguments)
    next(c for c in kind.__mro__ if c.__module__ != "__main__").__init__(value, *arguments)
    return value


def _fill(value: BaseException, content: tuple[Any, tuple[Any, ...]]) -> BaseException:
    state, (cause, context, suppress, places) = content
    if state is not None:
        value.__setstate__(state)
    value.__cause__, value.__context__, value.__suppress_context__ = cause, context, suppress
    traceback = None
    for place in reversed(places):
        traceback = _traceback(place, traceback)
    return value.with_traceback(traceback)


def _traceback(place: Place, following: types.TracebackType | None) -> types.TracebackType:
    """A traceback of one place: that of code that does nothing but fail there."""
    file, name, qualified, line, last, start, end = place
    where = {"lineno": line, "end_lineno": last, "col_offset": start, "end_col_offset": end}
    failing = ast.Assert(ast.Constant(False, None, **where), None, **where)
    code = compile(ast.Module([failing], []), file, "exec", optimize=0).replace(co_name=name, co_qualname=qualified)
    of_cell = name == "<module>" and "ipykernel" in file
    space = vars(sys.modules["__main__"]) if of_cell else {"__builtins__": {}}
    try:
        exec(code, space, space if of_cell else _Gone())
    except AssertionError as here:
        made = here.__traceback__.tb_next  # type: ignore[union-attr]
    assert made is not None
    return types.TracebackType(following, made.tb_frame, made.tb_lasti, line)
