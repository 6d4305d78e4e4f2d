"""Memory that several objects show: arrays and their views, tensors of one storage, frames and the arrays they were made of.

Such objects come back as views of one piece of memory, and variables that hold them travel together (`overlaps`). pandas
copies on write, so what only its own objects share can't be seen to change.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Iterable, Iterator
from typing import Any

OWNED = 2**16  # bytes; smaller arrays own their memory again when they are loaded, larger ones show the mapped file


class Refused(Exception):
    """A value that can't be passed on; the message says why."""


class InputRefused(Exception):
    """A step needs what could not be passed on."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class Piece:
    """An object that shows memory. `copied`: what writes there (pandas) copies first if others of its kind look on."""

    def __init__(self, value: Any, writes: bool, copied: bool) -> None:
        self.value, self.writes, self.copied = value, writes, copied


Memory = list[tuple[int, int, Piece]]  # first address, end


def pieces(values: Iterable[Any], copied: set[int], internal: set[Any]) -> Memory:
    """What of these shows memory; `copied` and `internal` are ids of pandas' own arrays and of ones that packing made."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return []
    from numpy.lib.array_utils import byte_bounds

    storage = getattr(sys.modules.get("torch"), "UntypedStorage", ())
    buffer = getattr(sys.modules.get("pyarrow"), "Buffer", ())
    found: Memory = []
    for value in values:
        if isinstance(value, numpy.ndarray):
            if value.size and id(value) not in internal:
                found.append((*byte_bounds(value), Piece(value, bool(value.flags.writeable), id(value) in copied)))
        elif isinstance(value, (bytearray, array.array)):
            if len(value):
                start = numpy.frombuffer(value, numpy.uint8).__array_interface__["data"][0]
                found.append((start, start + memoryview(value).nbytes, Piece(value, True, False)))
        elif isinstance(value, storage):
            if value.nbytes() and value.device.type == "cpu":
                found.append((value.data_ptr(), value.data_ptr() + value.nbytes(), Piece(value, True, False)))
        elif isinstance(value, buffer) and value.size and value.is_cpu:
            found.append((value.address, value.address + value.size, Piece(value, False, False)))
    return found


def _clusters(memory: Memory) -> Iterator[tuple[int, int, list[Piece]]]:
    """Pieces that overlap, as far as one of them can be seen to change by another."""
    reach = low_end = 0
    members: list[Piece] = []
    for low, high, piece in [*sorted(memory, key=lambda m: m[:2]), (sys.maxsize, sys.maxsize, None)]:
        if members and low >= reach:
            distinct = {id(m.value) for m in members}
            if len(distinct) > 1 and any(m.writes for m in members) and not all(m.copied for m in members):
                yield low_end, reach, members
            members = []
        if not members:
            low_end, reach = low, high
        reach = max(reach, high)
        if piece is not None:
            members.append(piece)


def overlaps(memory: Memory) -> Iterator[tuple[Piece, Piece]]:
    """Pairs of pieces that show the same memory, enough of them to tell which belong together."""
    for _, _, members in _clusters(memory):
        yield from ((members[0], other) for other in members[1:])


def views(memory: Memory) -> dict[Any, Any]:
    """Name -> reduction, for objects that share memory: they come back as views of one base.

    The base is an array among them that spans all they show, else the span of memory itself.
    """
    reductions: dict[Any, Any] = {}
    for low, high, members in _clusters(memory):
        import numpy

        values = list({id(m.value): m.value for m in members}.values())
        for value in values:
            if isinstance(value, (bytearray, array.array)) or (
                isinstance(value, numpy.ndarray) and type(value) is not numpy.ndarray
            ):
                raise Refused(f"it holds a {type(value).__name__} that shares memory with another object")
        base = next((v for v in values if _spans(v, low, high)), None)
        if base is None and any(isinstance(v, numpy.ndarray) and v.dtype.hasobject for v in values):
            owners = [v.base for v in values]
            base = owners[0]
            if any(owner is not base for owner in owners) or not _spans(base, low, high):
                raise Refused("it holds arrays of objects that show one piece of memory without a common base array")
        elif base is None:
            base = span(low, high)
        for value in values:
            if value is not base:
                reductions[name_of(value)] = _view_of(base, low, value)
    return reductions


def name_of(value: Any) -> Any:
    """What a packer knows an object by: Arrow makes new handles on its buffers each time that it is asked."""
    return ("buffer", value.address, value.size) if hasattr(value, "is_cpu") else id(value)


def span(low: int, high: int) -> Any:
    """The memory between two addresses as an array of bytes."""
    import numpy

    class Span:
        __array_interface__ = {"version": 3, "shape": (high - low,), "typestr": "|u1", "data": (low, False)}

    return numpy.asarray(Span())


def _spans(value: Any, low: int, high: int) -> bool:
    import numpy

    return (
        type(value) is numpy.ndarray and value.flags.forc and value.flags.writeable and value.base is None
        and _address(value) == low and value.nbytes == high - low
    )  # fmt: skip


def _address(value: Any) -> int:
    return int(value.__array_interface__["data"][0])


def _view_of(base: Any, low: int, value: Any) -> tuple[Any, tuple[Any, ...]]:
    import numpy

    if isinstance(value, numpy.ndarray):
        place = (_address(value) - low, value.shape, value.strides, value.dtype, bool(value.flags.writeable))
        return make_view, (base, *place)
    if hasattr(value, "data_ptr"):
        return _storage_view, (base, value.data_ptr() - low, value.nbytes())
    return _buffer_view, (base, value.address - low, value.size)


# -- single arrays -------------------------------------------------------------------------------------------------


def reduce_array(value: Any, packer: Any) -> Any:
    """How an array that shares its memory with nothing else is pickled: with its strides, owning its memory if it did."""
    if not value.flags.forc:
        return _reduce_strided(value)
    if value.dtype.hasobject:
        # pickle takes these apart, and forgets that they can't be written to.
        return NotImplemented if value.flags.writeable else (_read_only, (value.copy("K"),))
    if value.flags.owndata and value.nbytes < OWNED:
        shown = value.view()
        packer.internal[id(shown)] = shown
        return _owned, (shown, bool(value.flags.writeable))
    return NotImplemented


def reduce_subclass(value: Any) -> Any:
    """With the attributes, which NumPy leaves out."""
    made = value.__reduce__()
    attributes = getattr(value, "__dict__", None)
    if type(value).__reduce__ is not _numpy().ndarray.__reduce__ or not attributes:
        return NotImplemented
    if not value.flags.forc:
        raise Refused(f"it holds a {type(value).__name__} that is not contiguous")
    return (*made[:2], (made[2], attributes), None, None, _set_subclass)


def reduce_read_only(value: Any, made: Any) -> Any:
    """With that nobody may write to it, which no array's own way tells; `made` is what there is for its kind."""
    made = value.__reduce__() if made is NotImplemented else made
    maker, arguments, state, _, _, setter = (*made, None, None, None, None)[:6]
    if state is None:
        raise Refused(f"a read-only {type(value).__name__} would come back writeable")
    return maker, arguments, (setter, state), None, None, _set_read_only


def _numpy() -> Any:
    return sys.modules["numpy"]


def _reduce_strided(value: Any) -> Any:
    """pickle would make it contiguous, which shows, also in the last digits of sums and products."""
    low, high = _reach(value.shape, value.strides, value.itemsize)
    if value.dtype.hasobject and any(stride % value.itemsize for stride in value.strides):
        raise Refused("it holds a field of an array of objects")
    core = value[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in value.strides)]
    if core.dtype.names and not core.dtype.hasobject:
        core = core.view(f"V{core.itemsize}")  # a copy of records leaves out what lies between the fields
    writeable = bool(value.flags.writeable)
    if high - low < core.nbytes and not value.dtype.hasobject:  # windows that overlap
        memory = span(_address(value) + low, _address(value) + high).copy()
        return make_view, (memory, -low, value.shape, value.strides, value.dtype, writeable)
    return _strided, (core.copy(), value.dtype, value.shape, value.strides, writeable)


def _reach(shape: Any, strides: Any, itemsize: int) -> tuple[int, int]:
    """The first byte that an array shows, and the end, counted from its first element."""
    steps = [stride * (count - 1) for count, stride in zip(shape, strides, strict=True)]
    return sum(s for s in steps if s < 0), sum(s for s in steps if s > 0) + itemsize


# -- what unpickling calls -----------------------------------------------------------------------------------------


def make_view(base: Any, offset: int, shape: Any, strides: Any, dtype: Any, writeable: bool) -> Any:
    """An array that shows a part of another one's memory."""
    import numpy

    flat = base if base.flags.c_contiguous else base.T
    if dtype.hasobject:
        start = flat.reshape(-1)[offset // dtype.itemsize :]
        view = numpy.lib.stride_tricks.as_strided(start, shape, strides)
    else:
        view = numpy.ndarray(shape, dtype, buffer=flat, offset=offset, strides=strides)
    if not writeable:
        view.flags.writeable = False
    return view


def _strided(core: Any, dtype: Any, shape: Any, strides: Any, writeable: bool) -> Any:
    import numpy

    low, high = _reach(shape, strides, core.itemsize)
    if core.dtype.hasobject:
        memory = numpy.empty((high - low) // core.itemsize, core.dtype)
    else:
        memory = numpy.zeros(high - low, numpy.uint8)
    make_view(memory, -low, core.shape, strides, core.dtype, True)[...] = core
    return make_view(memory, -low, shape, strides, dtype, writeable)


def _owned(shown: Any, writeable: bool) -> Any:
    value = shown.copy("K")
    if shown.dtype.names:
        raw = f"V{shown.itemsize}"
        value.view(raw)[...] = shown.view(raw)  # with what lies between the fields
    value.flags.writeable = writeable
    return value


def _set_subclass(value: Any, state: tuple[Any, dict[str, Any]]) -> Any:
    value.__setstate__(state[0])
    value.__dict__.update(state[1])
    return value


def _set_read_only(value: Any, state: tuple[Any, Any]) -> Any:
    setter, content = state
    setter(value, content) if setter else value.__setstate__(content)
    return _read_only(value)


def _read_only(value: Any) -> Any:
    value.flags.writeable = False
    return value


def _storage_view(base: Any, offset: int, length: int) -> Any:
    import numpy

    torch = sys.modules["torch"]
    return torch.from_numpy(make_view(base, offset, (length,), (1,), numpy.dtype("u1"), True)).untyped_storage()


def _buffer_view(base: Any, offset: int, length: int) -> Any:
    import numpy

    return sys.modules["pyarrow"].py_buffer(make_view(base, offset, (length,), (1,), numpy.dtype("u1"), True))
