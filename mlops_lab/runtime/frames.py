"""Frames and columns of pandas: what shares their memory, and what pickle would leave out of them."""

from __future__ import annotations

import importlib
import sys
from typing import Any

_OWN = {"_mgr", "_attrs", "_flags", "_name", "_item_cache", "_typ"}


def reduce(value: Any, packer: Any) -> Any:
    """How an object of pandas is taken apart; `NotImplemented` where its own way is right."""
    home = type(value).__module__ or ""  # sympy makes classes that have none
    if home == "pandas.core.internals.blocks":
        return _block(value, packer)
    if home.startswith("pandas") and copies_on_write():
        data = value.__dict__.get("_data") if hasattr(value, "__dict__") else None
        if data is not None:
            packer.copied.update(map(id, arrays_of(data)))
    if hasattr(type(value), "_internal_names") and "_mgr" in getattr(value, "__dict__", ()):
        return _frame(value)
    if hasattr(value, "_ndarray") and "_cache" in getattr(value, "__dict__", ()):
        return _without_cache(value)
    return NotImplemented


def _without_cache(value: Any) -> Any:
    """An array of dates or periods without what it has computed of itself, which a look at it adds (a plot, say)."""
    maker, arguments, state = value.__reduce_ex__(5)[:3]
    if not isinstance(state, tuple) or not isinstance(state[-1], dict):
        return NotImplemented
    rest = {name: held for name, held in state[-1].items() if name != "_cache"}
    return maker, arguments, (*state[:-1], rest) if rest else state[:-1]


def lists_of_classes() -> set[int]:
    """Ids of the lists that pandas' classes have, and each frame and column shows as a part of itself."""
    pandas = sys.modules.get("pandas")
    found: set[int] = set()
    todo: list[type] = [base for base in pandas.DataFrame.__mro__ if base.__name__ == "NDFrame"] if pandas else []
    for kind in todo:  # it grows
        todo += kind.__subclasses__()
        if "_metadata" in kind.__dict__:
            found.add(id(kind.__dict__["_metadata"]))
    return found


def copies_on_write() -> bool:
    """True if pandas never lets two of its objects see each other's changes."""
    pandas = sys.modules.get("pandas")
    version = getattr(pandas, "__version__", "3")
    return int(version.partition(".")[0]) >= 3 or pandas.options.mode.copy_on_write is True  # type: ignore[union-attr]


def _block(value: Any, packer: Any) -> Any:
    """With the record of who shares its memory, after which pandas decides whether to copy before it writes."""
    if copies_on_write():
        packer.copied.update(map(id, arrays_of(value.values)))
    if not hasattr(value, "refs"):
        return NotImplemented
    return _make_block, (type(value), value.values, value.mgr_locs.indexer, value.ndim, value.refs)


def _make_block(kind: Any, values: Any, places: Any, ndim: int, shared: Any) -> Any:
    internals = importlib.import_module("pandas._libs.internals")
    return kind(values, internals.BlockPlacement(places), ndim=ndim, refs=shared)


def single_manager(value: Any, _: Any) -> Any:
    """A series by its block, as frames are: its own way keeps the array only, and not who shares it."""
    return _make_single_manager, (type(value), value.blocks[0], value.axes[0])


def _make_single_manager(kind: Any, block: Any, axis: Any) -> Any:
    return kind(block, axis)


def block_references(value: Any, _: Any) -> Any:
    """A record of who shares a block's memory, empty: the blocks that come back enter themselves."""
    return _make_block_references, ()


def _make_block_references() -> Any:
    return importlib.import_module("pandas._libs.internals").BlockValuesRefs()


def arrays_of(values: Any) -> list[Any]:
    """The NumPy arrays in a pandas array."""
    numpy = sys.modules["numpy"]
    if isinstance(values, numpy.ndarray):
        return [values]
    inner = [getattr(values, name, None) for name in ("_ndarray", "_data", "_mask", "_left", "_right", "_sparse_values")]
    return [found for v in inner if isinstance(v, numpy.ndarray) or _is_pandas(v) for found in arrays_of(v)]


def _frame(value: Any) -> Any:
    """A frame or series with the attributes that its own pickling leaves out, as patsy sets them; accessors are made anew."""
    kind = type(value)
    rest = {
        name: held
        for name, held in value.__dict__.items()
        if not hasattr(kind, name) and name not in _OWN and name not in value._metadata
    }
    if not rest:
        return NotImplemented
    made = value.__reduce_ex__(5)
    return (*made[:2], (made[2], rest), None, None, _set_frame)


def _set_frame(value: Any, content: tuple[Any, dict[str, Any]]) -> Any:
    value.__setstate__(content[0])
    value.__dict__.update(content[1])
    return value


def _is_pandas(value: Any) -> bool:
    return type(value).__module__.startswith(("pandas.core.arrays", "pandas.arrays"))
