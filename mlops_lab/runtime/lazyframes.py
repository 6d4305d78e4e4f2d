"""Expressions and lazy frames of polars with functions of the notebook in them.

Polars pickles such functions by itself, with copies of the globals that they have then, and loads them each time it evaluates
the expression. So each stands in its bytes under a name, by which the process that evaluates it finds the function, and the
function is passed on like any other.
"""

from __future__ import annotations

import io
import pickle
import re
import secrets
import sys
from typing import Any

from cloudpickle import cloudpickle as _cp

KINDS = (("polars.expr.expr", "Expr"), ("polars.lazyframe.frame", "LazyFrame"))
_NAME = re.compile(rb"mlops-lab-function-[0-9a-f]{32}")

_functions: dict[str, Any] = {}  # name -> function, in this process
_names: dict[int, str] = {}  # and back; the ids stay unique, since the functions are kept


def named(name: str) -> Any:
    """The function of that name."""
    return _functions[name]


def _name_of(function: Any) -> str:
    if id(function) not in _names:
        name = f"mlops-lab-function-{secrets.token_hex(16)}"
        _names[id(function)], _functions[name] = name, function
    return _names[id(function)]


class _Pickler(_cp.Pickler):  # type: ignore[misc]
    def reducer_override(self, value: Any) -> Any:
        if getattr(value, "__module__", None) == "__main__" and (callable(value) or isinstance(value, type)):
            return named, (_name_of(value),)
        return super().reducer_override(value)


def _dumps(value: Any, *_: Any, **__: Any) -> bytes:
    file = io.BytesIO()
    _Pickler(file, protocol=5).dump(value)
    return file.getvalue()


def reduce(value: Any, _: Any) -> Any:
    """What `__reduce__` returns; `NotImplemented` where no function of the notebook is in it."""
    pickling: Any = (pickle, sys.modules["cloudpickle"], _cp)
    before = [module.dumps for module in pickling]
    try:
        for module in pickling:
            module.dumps = _dumps
        state = value.__getstate__()
    finally:
        for module, dumps in zip(pickling, before, strict=True):
            module.dumps = dumps
    if not isinstance(state, bytes) or not _NAME.search(state):
        return NotImplemented
    found = list(dict.fromkeys(_NAME.findall(state)))
    numbers = {name: number for number, name in enumerate(found)}
    state = _NAME.sub(lambda match: _placeholder(numbers[match[0]]), state)
    return _make, (type(value), state, [_functions[name.decode()] for name in found])


def _make(kind: Any, state: bytes, functions: list[Any]) -> Any:
    for number, function in enumerate(functions):
        state = state.replace(_placeholder(number), _name_of(function).encode())
    value = kind.__new__(kind)
    value.__setstate__(state)
    return value


def _placeholder(number: int) -> bytes:
    return b"mlops-lab-function-" + f"{number:032x}".encode()
