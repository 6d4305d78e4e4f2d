"""Whether two values are the same value, for `verify`: structure, exact contents, and what shares an object with what.

Run as a program by the notebook's kernel interpreter with the path of a JSON file: `runs`, a list of two `{"store", "current"}`
(versions of variables, as the runtime stores them), `names`, `folder` and `paths` to find local modules, and `result`, the file
to write: name -> why the two differ (an empty text: they don't; null: that can't be told). Standard library only, and what the
values themselves bring.
"""

from __future__ import annotations

import copyreg
import decimal
import fractions
import importlib
import importlib.util
import json
import math
import os
import sys
import types
from types import SimpleNamespace
from typing import Any

_ATOMS = (
    str,
    bytes,
    int,
    complex,
    bool,
    type(None),
    type(...),
    type(NotImplemented),
    range,
    decimal.Decimal,
    fractions.Fraction,
)
_MOST = 2_000_000  # parts looked at in one value
_SHOWN = 60  # characters of a value in a text


class Unknown(Exception):
    """It can't be told whether two values are the same."""


class Comparison:
    """Compares the variables of two namespaces one after the other; what was the same object stays so."""

    def __init__(self) -> None:
        self.partner: dict[int, int] = {}  # id of an object of the first namespace -> that of the second
        self.back: dict[int, int] = {}
        self.seen: set[tuple[int, int]] = set()
        self.kept: list[Any] = []  # so that ids stay unique
        self.left = _MOST

    def difference(self, one: Any, other: Any, path: str) -> str:
        """Where and how the values differ, or nothing. Raises `Unknown`."""
        self.left -= 1
        if self.left < 0:
            raise Unknown("too large")
        kind, other_kind = type(one), type(other)
        if (kind.__module__, kind.__qualname__) != (other_kind.__module__, other_kind.__qualname__):
            return f"{path}: {kind.__qualname__} != {other_kind.__qualname__}"
        if isinstance(one, float):
            same = (one == other and math.copysign(1, one) == math.copysign(1, other)) or (one != one and other != other)
            return "" if same else _unequal(path, one, other)
        if isinstance(one, _ATOMS) and kind.__module__ != "__main__":
            return "" if one == other else _unequal(path, one, other)
        if isinstance(one, (types.ModuleType, types.BuiltinFunctionType)):
            return "" if one.__name__ == other.__name__ else _unequal(path, one, other)
        if (id(one), id(other)) in self.seen:
            return ""
        self.seen.add((id(one), id(other)))
        self.kept += [one, other]
        if _can_change(one):
            if id(one) in self.partner or id(other) in self.back:
                return f"{path}: shares an object with another value in one run only"
            self.partner[id(one)], self.back[id(other)] = id(other), id(one)
        return self._contents(one, other, path)

    def _contents(self, one: Any, other: Any, path: str) -> str:
        root = type(one).__module__.partition(".")[0]
        if root == "matplotlib":
            raise Unknown("a figure, or a part of one")
        special = {"numpy": self._numpy, "pandas": self._pandas, "torch": self._torch}.get(root)
        if special:
            return special(one, other, path)
        if isinstance(one, types.FunctionType):
            return self._function(one, other, path)
        if isinstance(one, type):
            return self._class(one, other, path)
        if type(one) in (list, tuple):
            return self._items(one, other, path)
        if type(one) is dict:
            return self._mapping(one, other, path)
        if type(one) in (set, frozenset):
            found = self._items(sorted(one, key=repr), sorted(other, key=repr), path)
            return found
        return self._reduced(one, other, path)

    def _items(self, one: Any, other: Any, path: str) -> str:
        if len(one) != len(other):
            return f"{path}: {len(one)} items != {len(other)} items"
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

    def _function(self, one: Any, other: Any, path: str) -> str:
        if (one.__module__, one.__qualname__) != (other.__module__, other.__qualname__):
            return _unequal(path, one.__qualname__, other.__qualname__)
        if one.__module__ != "__main__":
            return ""
        if (one.__code__.co_code, one.__code__.co_names) != (other.__code__.co_code, other.__code__.co_names):
            return f"{path}: other code"
        cells = [[_content(cell) for cell in f.__closure__ or ()] for f in (one, other)]
        parts = [[f.__defaults__, f.__kwdefaults__, f.__dict__, c] for f, c in zip((one, other), cells, strict=True)]
        return self._items(parts[0], parts[1], f"{path}.__closure__")

    def _class(self, one: type, other: type, path: str) -> str:
        if one.__module__ != "__main__":
            return "" if one is other else _unequal(path, one, other)
        left, right = ({k: v for k, v in vars(c).items() if not k.startswith("__")} for c in (one, other))
        if set(left) != set(right):
            return f"{path}: attributes {sorted(set(left) ^ set(right))} in one run only"
        for name in left:
            if callable(left[name]) or isinstance(left[name], (property, classmethod, staticmethod)) or name.startswith("_abc"):
                continue
            if found := self.difference(left[name], right[name], f"{path}.{name}"):
                return found
        return ""

    def _numpy(self, one: Any, other: Any, path: str) -> str:
        import numpy as np

        if not isinstance(one, (np.ndarray, np.generic)):
            return self._reduced(one, other, path)
        if one.dtype != other.dtype or one.shape != other.shape:
            return f"{path}: {one.dtype} of shape {one.shape} != {other.dtype} of shape {other.shape}"
        if one.dtype.hasobject:
            return self._items(list(np.asarray(one).ravel()), list(np.asarray(other).ravel()), path)
        if isinstance(one, np.ma.MaskedArray) and not np.array_equal(np.ma.getmaskarray(one), np.ma.getmaskarray(other)):
            return f"{path}: other mask"
        left, right = np.asarray(one), np.asarray(other)
        if left.tobytes() == right.tobytes():
            return ""
        if left.dtype.names is None:
            where = np.flatnonzero(~((left == right) | ((left != left) & (right != right))).ravel())
            if len(where):
                place = tuple(int(i) for i in np.unravel_index(where[0], left.shape))
                inside = f"{path}[{', '.join(map(str, place))}]" if place else path
                return f"{_unequal(inside, left[place], right[place])} ({len(where)} of {left.size} differ)"
        return f"{path}: other bytes"

    def _pandas(self, one: Any, other: Any, path: str) -> str:
        import pandas as pd
        from pandas import testing

        check = {pd.DataFrame: testing.assert_frame_equal, pd.Series: testing.assert_series_equal}.get(type(one))
        if check is None and isinstance(one, pd.Index):
            check = testing.assert_index_equal
        if check is None:
            return self._reduced(one, other, path)
        try:
            check(one, other, **({"exact": True} if isinstance(one, pd.Index) else {"check_exact": True}))
        except AssertionError as error:
            return f"{path}: {' '.join(str(error).split())[:200]}"
        return self.difference(dict(getattr(one, "attrs", {})), dict(getattr(other, "attrs", {})), f"{path}.attrs")

    def _torch(self, one: Any, other: Any, path: str) -> str:
        torch = sys.modules["torch"]
        if not isinstance(one, torch.Tensor):
            return self._reduced(one, other, path)
        if (one.dtype, one.shape, one.requires_grad) != (other.dtype, other.shape, other.requires_grad):
            return f"{path}: {one.dtype} of shape {tuple(one.shape)} != {other.dtype} of shape {tuple(other.shape)}"
        return "" if torch.allclose(one, other, rtol=0, atol=0, equal_nan=True) else f"{path}: other numbers"

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
        self.kept += parts
        if len(parts[0]) == 1 or len(parts[1]) == 1:
            return "" if parts[0] == parts[1] else _unequal(path, one, other)
        left, right = parts
        if isinstance(left[2], dict) and isinstance(right[2], dict):
            if set(left[2]) != set(right[2]):
                return f"{path}: attributes {sorted(map(str, set(left[2]) ^ set(right[2])))} in one run only"
            for name in left[2]:
                if found := self.difference(left[2][name], right[2][name], f"{path}.{name}"):
                    return found
            left[2] = right[2] = None
        return self._items(left[1:], right[1:], path)


def _can_change(value: Any) -> bool:
    """True for what two variables may share so that a change of one is seen in the other."""
    if isinstance(value, (list, dict, set, bytearray)):
        return True
    kind = type(value)
    if kind.__qualname__ in {"DataFrame", "Series"} and kind.__module__.partition(".")[0] == "pandas":
        return True
    # Two arrays on one memory are as good as one array.
    return hasattr(value, "__dict__") and kind.__module__ == "__main__"


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _unequal(path: str, one: Any, other: Any) -> str:
    return f"{path}: {_short(one)} != {_short(other)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _namespace(run: dict[str, Any], names: list[str], runtime: Any) -> dict[str, Any]:
    """The variables of a run, loaded one by one: what can't be loaded is missing."""
    space: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    current = {n: v for n, v in run["current"].items() if not n.startswith("module:") and not v[0].startswith("refused:")}
    order = {
        "step": "",
        "store": run["store"],
        "folder": "",
        "current": current,
        "reads": [],
        "keep": [],
        "imports": {},
        "seeded": False,
    }
    kit = runtime.Kit(order, SimpleNamespace(user_ns=space))
    kit.load()
    for name in names:
        kit.wanted = [name]
        try:
            for wanted in kit.wanted:
                kit._load(wanted)
        except Exception:
            space.pop(name, None)
    return space


def main() -> None:
    """Compare two runs."""
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or ".") != folder]
    with open(sys.argv[1], encoding="utf-8") as file:
        work = json.load(file)
    sys.path[:0] = [work["folder"], *work["paths"]]
    sys.setrecursionlimit(20_000)
    top = "mlops_lab_runtime"
    spec = importlib.util.spec_from_file_location(top, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder])
    assert spec is not None and spec.loader is not None
    sys.modules[top] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[top])
    runtime = importlib.import_module(f"{top}.kit")
    one, other = (_namespace(run, work["names"], runtime) for run in work["runs"])
    comparison = Comparison()
    found: dict[str, str | None] = {}
    for name in work["names"]:
        if name not in one or name not in other:
            found[name] = None
            continue
        comparison.left = _MOST
        try:
            found[name] = comparison.difference(one[name], other[name], name)
        except Exception:  # whatever a user's own methods raise
            found[name] = None
    with open(work["result"], "w", encoding="utf-8") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()
