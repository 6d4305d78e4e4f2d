"""Keeps the iteration order of sets that are not quite small: their hash table comes back as it was.

Looking for an order in which to fill a set again (`sets.py`) takes long where it is large. So its elements are stored with
their slots; a set with a table of the same size gets its entries moved there. Where hashes are others (of objects that are
hashed by their address) or tables can't be written, the set is filled in its iteration order.
"""

from __future__ import annotations

import array
import ctypes
import gc
import hashlib
import itertools
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

LARGE = 32  # elements
_ENTRY = 2  # words: pointer to the key, hash
_FIELDS = 4  # words: fill, used, mask, table
_PLAIN = {str, int, bytes}  # pickled by themselves, so that nobody asks about each of them


@dataclass(frozen=True)
class Table:
    """A set's elements in iteration order (pickled, if they are plain), and where they are in its table."""

    elements: list[Any] | bytes
    slots: bytes
    marks: bytes  # the slots of discarded elements
    size: int
    hashes: bytes  # a digest


def read(value: Any, fields: tuple[int, int, int, int]) -> Table | None:
    """The table of a set whose layout is known; `fields` are its fill, used, mask and table."""
    fill, used, mask, address = fields
    words = array.array("q")
    words.frombytes(ctypes.string_at(address, (mask + 1) * _ENTRY * words.itemsize))
    keys, hashes = words[::2], words[1::2]
    elements = list(value)
    live: Iterable[int] = keys
    marks = array.array("Q")
    if fill != used:
        mark = _mark()
        marks.extend(slot for slot, key in enumerate(keys) if key == mark)
        live = [key if key != mark else 0 for key in keys]
    taken = array.array("Q", itertools.compress(range(mask + 1), live))
    if list(filter(None, live)) != list(map(id, elements)) or len(taken) + len(marks) != fill:
        return None
    codes = array.array("q", itertools.compress(hashes, live))
    plain = set(map(type, elements)) <= _PLAIN
    kept = pickle.dumps(elements, 5) if plain else elements
    return Table(kept, taken.tobytes(), marks.tobytes(), mask + 1, _digest(codes))


def fill(found: set[Any], made: Table, readable: bool) -> None:
    """Put the elements into a new, empty set."""
    elements = pickle.loads(made.elements) if isinstance(made.elements, bytes) else made.elements
    codes = array.array("q", map(hash, elements))
    if not readable or _digest(codes) != made.hashes:
        set.update(found, elements)
        return
    # A dictionary is counted first, and a table made for twice as much; nothing then makes it grow.
    count = made.size // 4
    fillers = [object() for _ in range(count - len(elements))]
    set.update(found, dict.fromkeys(itertools.chain(elements[:count], fillers)))
    set.update(found, elements[count:])
    set.difference_update(found, fillers) if len(fillers) <= made.size // 8 else _discard(found, fillers)
    slots, marks = array.array("Q", made.slots), array.array("Q", made.marks)
    words = array.array("q", bytes(made.size * _ENTRY * 8))
    for slot, key, code in zip(slots, map(id, elements), codes, strict=True):
        words[2 * slot] = key
        words[2 * slot + 1] = code
    mark = _mark() if marks else 0
    for slot in marks:
        words[2 * slot] = mark
        words[2 * slot + 1] = -1
    header = _words(id(found) + object.__basicsize__, _FIELDS)
    if header[1] != len(elements) or header[2] != made.size - 1:  # an interpreter that makes tables of other sizes
        return
    _words(header[3], made.size * _ENTRY)[:] = memoryview(words)
    header[0] = len(elements) + len(marks)


def build(made: Table, kind: Callable[..., Any], readable: bool) -> Any:
    """A frozenset with this table: it takes that of a set."""
    source: set[Any] = set()
    fill(source, made, readable)
    if not readable:
        return kind(list(source))
    found = kind(list(range(LARGE)))
    one, two = (_words(id(held) + object.__basicsize__, _FIELDS) for held in (source, found))
    collects = gc.isenabled()
    gc.disable()  # what a table holds is counted once
    try:
        kept = one.tolist()
        one[:] = two
        two[:] = memoryview(array.array("q", kept))
    finally:
        if collects:
            gc.enable()
    return found


def _discard(found: set[Any], fillers: list[Any]) -> None:
    for filler in fillers:
        set.discard(found, filler)


def _mark() -> int:
    """What stands in a table for a discarded element."""
    probe = {1, 2}
    probe.discard(1)
    table = _words(id(probe) + object.__basicsize__, _FIELDS)[3]
    return int(_words(table, 8 * _ENTRY)[2])


def _words(address: int, count: int) -> memoryview:
    return memoryview((ctypes.c_char * (8 * count)).from_address(address)).cast("B").cast("q")


def _digest(codes: array.array[int]) -> bytes:
    return hashlib.blake2b(codes.tobytes(), digest_size=16).digest()
