"""Whether two values are the same value, for `verify`: structure, exact contents, and what shares an object with what.

`Comparison` takes the variables of two namespaces one after the other. What it can't decide it calls `Unknown`, never equal.
Standard library only, and what the values themselves bring. `ends.py` runs it on what two runs left.
"""

from __future__ import annotations

import copyreg
import datetime
import decimal
import fractions
import functools
import math
import os
import pathlib
import re
import sys
import types
import uuid
from collections.abc import Sequence
from typing import Any

_ATOMS = (
    str, bytes, int, bool, type(None), type(...), type(NotImplemented), range, decimal.Decimal, fractions.Fraction,
    datetime.date, datetime.time, datetime.timedelta, pathlib.PurePath, re.Pattern, uuid.UUID,
)  # fmt: skip
_QUICK = {str, bytes, int, bool, type(None)}  # of these, lists are compared at once
_FOUND_BY_NAME = (types.ModuleType, types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType)
_OF_CLASS = {"__dict__", "__weakref__", "__module__", "_abc_impl", "__annotate__", "__annotate_func__", "__firstlineno__",
             "__slotnames__"}  # fmt: skip
_CODE = (
    "co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_flags", "co_argcount", "co_posonlyargcount",
    "co_kwonlyargcount",
)  # fmt: skip
_COPY = re.compile(r"mlops-lab-verify-\w+/(straight|again|pipeline)")
_MOST = 2_000_000  # parts looked at in one variable
_SHOWN = 60  # characters of a value in a text


class Unknown(Exception):
    """It can't be told whether two values are the same."""


class Comparison:
    """Compares the variables of two namespaces one after the other; what was the same object stays so."""

    def __init__(self) -> None:
        self._partner: dict[Any, Any] = {}  # what identifies an object of the first namespace -> that of the second
        self._back: dict[Any, Any] = {}
        self._seen: set[tuple[int, int]] = set()
        self._place: dict[Any, str] = {}  # what identifies an object -> where it was met first
        self._kept: list[Any] = []  # so that ids stay unique
        self._left = _MOST

    def variable(self, one: Any, other: Any, name: str) -> str:
        """Where and how two variables differ, or nothing. Raises `Unknown`, or what a value's own methods raise."""
        before = self._partner.copy(), self._back.copy(), self._seen.copy()
        self._left = _MOST
        equal = False
        try:
            found = self.difference(one, other, name)
            equal = not found
            return found
        finally:
            if not equal:  # what was taken for equal on the way need not be
                self._partner, self._back, self._seen = before

    def difference(self, one: Any, other: Any, path: str) -> str:
        """As `variable`, for a part of one."""
        self._left -= 1
        if self._left < 0:
            raise Unknown("too large")
        kind, other_kind = type(one), type(other)
        if (kind.__module__, kind.__qualname__) != (other_kind.__module__, other_kind.__qualname__):
            return f"{path}: {kind.__qualname__} != {other_kind.__qualname__}"
        if kind is float:
            return "" if _same_float(one, other) else unequal(path, one, other)
        if kind is complex:
            same = _same_float(one.real, other.real) and _same_float(one.imag, other.imag)
            return "" if same else unequal(path, one, other)
        if kind in _QUICK or (isinstance(one, _ATOMS) and kind.__module__ != "__main__" and not getattr(one, "__dict__", None)):
            return "" if one == other or _same_place(one, other) else unequal(path, one, other)
        if isinstance(one, _FOUND_BY_NAME):
            return "" if one.__name__ == other.__name__ else unequal(path, one, other)
        if (id(one), id(other)) in self._seen:
            return ""
        if _can_change(one) and (found := self._parted(id(one), id(other), path)):
            return found
        self._seen.add((id(one), id(other)))
        self._kept += [one, other]
        return self._contents(one, other, path)

    def _parted(self, one: Any, other: Any, path: str) -> str:
        """Whether one of them belongs to another one already."""
        if self._partner.setdefault(one, other) == other and self._back.setdefault(other, one) == one:
            self._place[one] = self._place[other] = path
            return ""
        place = self._place.get(one if self._partner[one] != other else other, "another value")
        return f"{path}: in one run only it is the same object, or the same memory, as {place}"

    def _contents(self, one: Any, other: Any, path: str) -> str:
        kind = type(one)
        if kind in (list, tuple):
            return self._items(one, other, path)
        if kind is dict:
            return self._mapping(one, other, path)
        if kind in (set, frozenset):
            return self._items(_in_order(one), _in_order(other), path)
        if isinstance(one, types.FunctionType):
            return self._function(one, other, path)
        if isinstance(one, type):
            return self._class(one, other, path)
        if isinstance(one, types.CodeType):
            return self._code(one, other, path)
        if isinstance(one, types.BuiltinFunctionType):
            return self._items([one.__name__, one.__self__], [other.__name__, other.__self__], path)
        if isinstance(one, types.CellType):
            return self.difference(_content(one), _content(other), path)
        if isinstance(one, (staticmethod, classmethod)):
            return self.difference(one.__func__, other.__func__, path)
        if isinstance(one, property):
            return self._items([one.fget, one.fset, one.fdel], [other.fget, other.fset, other.fdel], path)
        if isinstance(one, functools.cached_property):
            return self.difference(one.func, other.func, path)
        for module, names, compare in _TABLE:
            known = sys.modules.get(module)
            if known is not None and isinstance(one, tuple(vars(known).get(name, ()) for name in names)):
                found: str = compare(self, one, other, path)
                return found
        return self._reduced(one, other, path)

    def _items(self, one: Sequence[Any], other: Sequence[Any], path: str) -> str:
        if len(one) != len(other):
            return f"{path}: {len(one)} items != {len(other)} items"
        kinds = list(map(type, one))
        if _QUICK.issuperset(kinds) and kinds == list(map(type, other)) and list(one) == list(other):
            return ""
        for position, (left, right) in enumerate(zip(one, other, strict=True)):
            if found := self.difference(left, right, f"{path}[{position}]"):
                return found
        return ""

    def _mapping(self, one: dict[Any, Any], other: dict[Any, Any], path: str) -> str:
        if found := self._items(list(one), list(other), f"{path}.keys()"):
            return found
        for (key, left), right in zip(one.items(), other.values(), strict=True):
            if found := self.difference(left, right, f"{path}[{_short(key)}]"):
                return found
        return ""

    def _named(self, one: dict[str, Any], other: dict[str, Any], path: str) -> str:
        """Attributes: their order is not looked at."""
        if set(one) != set(other):
            return f"{path}: attributes {sorted(map(str, set(one) ^ set(other)))} in one run only"
        for name, left in one.items():
            if found := self.difference(left, other[name], f"{path}.{name}"):
                return found
        return ""

    def _function(self, one: Any, other: Any, path: str) -> str:
        if (one.__module__, one.__qualname__) != (other.__module__, other.__qualname__):
            return unequal(path, one.__qualname__, other.__qualname__)
        if one.__module__ != "__main__" and "<" not in one.__qualname__:
            return ""  # of a package, found by its name
        if found := self._code(one.__code__, other.__code__, path):
            return found
        left, right = (
            {
                "__defaults__": f.__defaults__, "__kwdefaults__": f.__kwdefaults__, "__doc__": f.__doc__,
                "__closure__": [_content(cell) for cell in f.__closure__ or ()], **f.__dict__,
            }
            for f in (one, other)
        )  # fmt: skip
        return self._named(left, right, path)

    def _code(self, one: Any, other: Any, path: str) -> str:
        """Without the places of the lines, and the names of the files."""
        if [getattr(one, name) for name in _CODE] != [getattr(other, name) for name in _CODE]:
            return f"{path}: other code"
        return self._items(one.co_consts, other.co_consts, f"{path}.__code__.co_consts")

    def _class(self, one: type, other: type, path: str) -> str:
        if one.__module__ != "__main__":
            return "" if one is other else unequal(path, one, other)
        if found := self._items(one.__bases__, other.__bases__, f"{path}.__bases__"):
            return found
        left, right = ({k: v for k, v in vars(c).items() if k not in _OF_CLASS} for c in (one, other))
        return self._named(left, right, path)

    def _reduced(self, one: Any, other: Any, path: str) -> str:
        """By what pickle would store."""
        parts: list[list[Any]] = []
        for value in (one, other):
            try:
                reducer = copyreg.dispatch_table.get(type(value))
                reduced = reducer(value) if reducer else value.__reduce_ex__(4)
            except Exception as error:
                raise Unknown(str(error)) from None
            if isinstance(reduced, str):
                parts.append([reduced])
                continue
            made, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
            parts.append([made, arguments, state, list(items or ()), list(pairs or ())])
        left, right = parts
        if len(left) == 1 or len(right) == 1:
            return "" if left == right else unequal(path, one, other)
        states = [left[2], right[2]]
        if all(isinstance(state, tuple) and len(state) == 2 for state in states):  # attributes, and slots
            states = [{**(state[0] or {}), **(state[1] or {})} if _is_slotted(state) else state for state in states]
        if all(isinstance(state, dict) for state in states):
            if found := self._named(states[0], states[1], path):
                return found
            left[2] = right[2] = None
        return self._items(left, right, path)

    # -- what packages bring ---------------------------------------------------------------------------------------

    def _artist(self, one: Any, other: Any, path: str) -> str:
        raise Unknown("a figure, or a part of one")

    def _array(self, one: Any, other: Any, path: str) -> str:
        import numpy as np

        if one.dtype != other.dtype or one.shape != other.shape:
            return f"{path}: {one.dtype} of shape {one.shape} != {other.dtype} of shape {other.shape}"
        if isinstance(one, np.ndarray):
            for flag in ("C_CONTIGUOUS", "F_CONTIGUOUS", "WRITEABLE"):
                if one.flags[flag] is not other.flags[flag]:
                    return f"{path}: its flag {flag} is {one.flags[flag]} != {other.flags[flag]}"
            if one.size and one.flags.writeable and (found := self._parted(_memory(one), _memory(other), path)):
                return found
            if isinstance(one, np.ma.MaskedArray) and not np.array_equal(np.ma.getmaskarray(one), np.ma.getmaskarray(other)):
                return f"{path}: other mask"
            attributes = [v.__dict__ if type(v) is not np.ndarray and hasattr(v, "__dict__") else {} for v in (one, other)]
            if not isinstance(one, np.ma.MaskedArray) and (found := self._named(attributes[0], attributes[1], path)):
                return found
        return self._numbers(np.asarray(one), np.asarray(other), path)

    def _numbers(self, one: Any, other: Any, path: str) -> str:
        """The elements of two arrays of one type and shape."""
        import numpy as np

        if one.dtype.names:
            return next((text for n in one.dtype.names if (text := self._array(one[n], other[n], f"{path}[{n!r}]"))), "")
        if one.dtype.hasobject:
            return self._items(list(one.ravel()), list(other.ravel()), path)
        if one.tobytes() == other.tobytes():
            return ""
        if one.dtype.kind == "V":
            return f"{path}: other bytes"
        same = (one == other) | ((one != one) & (other != other))
        if one.dtype.kind in "fc":
            for left, right in ((one.real, other.real), (one.imag, other.imag)):
                same = same & ((left != 0) | (np.signbit(left) == np.signbit(right)))
        where = np.flatnonzero(~np.asarray(same).ravel())
        if not len(where):
            return ""
        place = tuple(int(i) for i in np.unravel_index(where[0], one.shape))
        inside = f"{path}[{', '.join(map(str, place))}]" if place else path
        many = f" ({len(where)} of {one.size} differ)" if one.size > 1 else ""
        return f"{unequal(inside, one[place].item(), other[place].item())}{many}"

    def _frame(self, one: Any, other: Any, path: str) -> str:
        """A DataFrame or a Series."""
        for name in ("index", "columns", "name", "attrs", *one._metadata):
            if hasattr(one, name) and (found := self.difference(getattr(one, name), getattr(other, name), f"{path}.{name}")):
                return found
        if one.flags.allows_duplicate_labels != other.flags.allows_duplicate_labels:
            return f"{path}: other flags"
        if one.ndim == 1:
            return self._column(one.array, other.array, path)
        for position, label in enumerate(one.columns):
            left, right = one.iloc[:, position].array, other.iloc[:, position].array
            if found := self._column(left, right, f"{path}[{_short(label)}]"):
                return found
        return ""

    def _index(self, one: Any, other: Any, path: str) -> str:
        parts = [[list(i.names), [str(getattr(i, "freq", None))]] for i in (one, other)]
        if hasattr(one, "levels"):
            parts = [[list(i.names), list(i.levels), [list(map(int, codes)) for codes in i.codes]] for i in (one, other)]
        if (found := self._items(parts[0], parts[1], path)) or hasattr(one, "levels"):
            return found
        if hasattr(one, "step"):
            left, right = ((i.start, i.stop, i.step) for i in (one, other))
            return "" if left == right else unequal(path, one, other)
        return self._column(one.array, other.array, path)

    def _column(self, one: Any, other: Any, path: str) -> str:
        """An array of pandas. Its memory is left out: what only pandas shares it copies before it writes."""
        import numpy as np

        if type(one) is not type(other) or one.dtype != other.dtype or str(one.dtype) != str(other.dtype):
            return f"{path}: {one.dtype} != {other.dtype}"
        if len(one) != len(other):
            return f"{path}: {len(one)} items != {len(other)} items"
        if hasattr(one, "codes"):
            if found := self.difference(one.categories, other.categories, f"{path}.categories"):
                return found
            if one.ordered != other.ordered:
                return unequal(f"{path}.ordered", one.ordered, other.ordered)
            return self._numbers(np.asarray(one.codes), np.asarray(other.codes), f"{path}.codes")
        if hasattr(one, "asi8"):
            return f"{path}: other times" if self._numbers(one.asi8, other.asi8, path) else ""
        if isinstance(one.dtype, np.dtype):
            return self._numbers(one.to_numpy(), other.to_numpy(), path)
        return self._items(list(np.asarray(one, object)), list(np.asarray(other, object)), path)

    def _tensor(self, one: Any, other: Any, path: str) -> str:
        left, right = ([t.dtype, tuple(t.shape), t.stride(), t.requires_grad, str(t.device)] for t in (one, other))
        if left != right:
            return f"{path}: {', '.join(map(str, left))} != {', '.join(map(str, right))}"
        if one.layout != other.layout or "strided" not in str(one.layout):
            return self._reduced(one, other, path)
        places = [("memory", t.untyped_storage().data_ptr(), t.storage_offset()) for t in (one, other)]
        if one.numel() and (found := self._parted(places[0], places[1], path)):
            return found
        torch = sys.modules["torch"]
        left, right = (t.detach().cpu().resolve_conj().resolve_neg().contiguous() for t in (one, other))
        if torch.equal(left.reshape(-1).view(torch.uint8), right.reshape(-1).view(torch.uint8)):
            return self.difference(one.grad, other.grad, f"{path}.grad") if one.is_leaf else ""
        same = ((left == right) | ((left != left) & (right != right))).all()
        return f"{path}: other numbers" if not same or (left == 0).any() else ""


# Module, names of classes there, how their instances are compared; the first row that fits counts.
_TABLE: tuple[tuple[str, tuple[str, ...], Any], ...] = (
    ("matplotlib.artist", ("Artist",), Comparison._artist),
    ("numpy", ("ndarray", "generic"), Comparison._array),
    ("pandas", ("DataFrame", "Series"), Comparison._frame),
    ("pandas", ("Index",), Comparison._index),
    ("pandas.api.extensions", ("ExtensionArray",), Comparison._column),
    ("torch", ("Tensor",), Comparison._tensor),
)


def _same_float(one: float, other: float) -> bool:
    return (one == other and math.copysign(1, one) == math.copysign(1, other)) or (one != one and other != other)


def _same_place(one: Any, other: Any) -> bool:
    """True for paths that differ only in that each run has its own copy of the notebook's folder."""
    if not isinstance(one, (str, bytes, pathlib.PurePath)):
        return False
    left, right = (_COPY.sub("folder", os.fsdecode(value)) for value in (one, other))
    return left == right


def _can_change(value: Any) -> bool:
    """True for what two variables may share so that a change of one is seen in the other."""
    if isinstance(value, (list, dict, set, bytearray)):
        return True
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType, *_ATOMS)):
        return False
    frozen = getattr(getattr(type(value), "__dataclass_params__", None), "frozen", False)
    return hasattr(value, "__dict__") and not frozen


def _memory(array: Any) -> tuple[str, int, int]:
    """The place that an array shows: of the array below all views, and where in it."""
    below = array
    while type(below.base) is type(array) or type(below.base).__name__ in {"ndarray", "memmap"}:
        below = below.base
    first, start = (int(a.__array_interface__["data"][0]) for a in (array, below))
    return ("memory", start, first - start) if first >= start else ("memory", first, 0)


def _in_order(values: Any) -> list[Any]:
    """The elements of a set in an order that depends on what they are."""
    keys = {_key(value): value for value in values}
    if len(keys) != len(values):
        raise Unknown("a set whose elements can't be told apart")
    return [keys[key] for key in sorted(keys)]


def _key(value: Any) -> str:
    if isinstance(value, (frozenset, tuple)):
        parts = list(map(_key, value))
        return f"{type(value).__name__} {parts if isinstance(value, tuple) else sorted(parts)}"
    if isinstance(value, (type, types.FunctionType)):
        return f"{value.__module__} {value.__qualname__}"
    text = repr(value)
    if " at 0x" in text:
        raise Unknown("a set of objects that only differ by where they are")
    return f"{type(value).__qualname__} {text}"


def _is_slotted(state: tuple[Any, Any]) -> bool:
    return isinstance(state[1], dict) and (state[0] is None or isinstance(state[0], dict))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def unequal(path: str, one: Any, other: Any) -> str:
    """A text for two values that differ."""
    return f"{path}: {_short(one)} != {_short(other)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
