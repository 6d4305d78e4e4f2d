"""Keeps the iteration order of sets, which pickle loses where elements collided, or some were discarded.

A set iterates in the order of its hash table, and that depends on its history: how large the table grew, which element came
first of those that wanted one slot, where discarded elements left marks that later ones step over. So a table that filling a
set in iteration order doesn't give again is read, and rebuilt by filling a set in another order, with fillers (integers, whose
hash is their value) in the place of what was discarded.
"""

from __future__ import annotations

import ctypes
import itertools
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import is_not
from typing import Any

from . import settables

_PROBES = 9  # slots after its first one that CPython tries in a row, before it jumps
_WORD = 2**64
_ENTRY = 16  # bytes: pointer to the key, hash
_FIELDS = struct.Struct("@nnnNnn")  # fill, used, mask, table, hash, finger: PySetObject behind the object's header
_READABLE = sys.implementation.name == "cpython" and ctypes.sizeof(ctypes.c_void_p) == 8
_FEW = 8  # elements of a small table, of which all ways to fill it are tried
_EXCHANGES = 100  # rounds after which an order counts as not to be had
_MARK = -1  # the hash of a discarded entry; no object has it


@dataclass(frozen=True)
class Recipe:
    """How to fill a set so that its table comes out the same: rounds of (what to add, what to discard then).

    `through`: what the first elements come from (list, dict or set): a dict's are counted first, and a table made for them.
    """

    rounds: tuple[tuple[list[Any], list[Any]], ...]
    through: type = list


@dataclass(frozen=True)
class _Table:
    size: int
    marks: frozenset[int]  # slots of discarded elements
    slots: tuple[int, ...]  # of the elements, in iteration order
    hashes: tuple[int, ...]


def is_odd(value: Any) -> bool:
    """True if filling a new set (or frozenset) with the elements in iteration order doesn't give the same again."""
    kind = frozenset if isinstance(value, frozenset) else set
    elements = list(value)
    plain = kind(elements)
    if any(map(is_not, plain, elements)):
        return True
    if kind is frozenset:
        return False  # it never changes, so that its order is all that can be seen of it
    return _fields(plain)[:3] != _fields(value)[:3] if _READABLE else sys.getsizeof(plain) != sys.getsizeof(value)


def recipe(value: Any) -> Recipe | settables.Table | None:
    """How to rebuild a set; None if that can't be had."""
    if _READABLE and len(value) >= settables.LARGE:
        whole = settables.read(value, _fields(value))
        if whole is not None:
            return whole
    table = _read(value)
    if table is None:
        return None
    elements = list(value)
    passing = _passing(table)
    order = None if passing is None else _insertion_order(passing)
    if passing is None or order is None:
        return None
    element = dict(zip(table.slots, elements, strict=True))
    # Entries in the first slot that they try keep it, in whatever order a growing table takes them over.
    safe = [slot for slot, code in zip(table.slots, table.hashes, strict=True) if code & (table.size - 1) == slot]
    candidates: list[Recipe] | Iterator[Recipe]
    if isinstance(value, frozenset):
        met = {slot for slot, passed in passing.items() if passed}.union(*passing.values())
        quiet = [slot for slot in safe if slot not in met]
        meeting = [slot for slot in order if slot in met]
        # They keep their order best where a table is emptiest: just after it grew to the size at hand, or to the one before.
        late, early = (_limit(size) if size >= 8 else 0 for size in (table.size // 4, table.size // 16))
        grown = [[*quiet[:count], *meeting, *quiet[count:]] for count in (late, early)]
        ways = [(order, dict), *((found, list) for found in grown), (order, list), (order, set)]
        frozen = [[element[slot] for slot in found] for found, _ in ways]
        candidates = [Recipe(((found, []),), through) for found, (_, through) in zip(frozen, ways, strict=True)]
        candidates += _by_exchange(frozen[1], elements)
    else:
        element |= _fillers(table, elements)
        candidates = _ways_to_grow(table, element, [*sorted(table.marks), *safe], [*sorted(table.marks), *order])
    for made in candidates:
        if isinstance(value, frozenset):
            if list(map(id, build(made, frozenset))) == list(map(id, elements)):
                return made
        elif _read(build(made)) == table:
            return made
    return None


def _by_exchange(found: list[Any], elements: list[Any]) -> list[Recipe]:
    """An order in which to fill a frozenset, had by exchanging those that end up in each other's place, again and again."""
    found = list(found)
    at = {id(e): i for i, e in enumerate(found)}
    for _ in range(_EXCHANGES):
        wrong = [(one, two) for one, two in zip(frozenset(found), elements, strict=True) if one is not two]
        if not wrong:
            return [Recipe(((found, []),), list)]
        moved: set[int] = set()
        for one, two in wrong:
            if id(one) not in moved and id(two) not in moved:
                moved |= {id(one), id(two)}
                i, j = at[id(one)], at[id(two)]
                found[i], found[j] = two, one
                at[id(one)], at[id(two)] = j, i
    return []


def build(made: Recipe | settables.Table, kind: Callable[..., Any] = set) -> Any:
    """Follow a recipe."""
    if isinstance(made, settables.Table) and kind is not set:
        return settables.build(made, kind, _READABLE)
    if kind is set:
        found: set[Any] = set()
        fill(found, made)
        return found
    assert isinstance(made, Recipe)
    (elements, _), = made.rounds  # fmt: skip
    return kind(dict.fromkeys(elements) if made.through is dict else made.through(elements))


def fill(found: set[Any], made: Recipe | settables.Table) -> None:
    """Follow a recipe in a new, empty set."""
    if isinstance(made, settables.Table):
        settables.fill(found, made, _READABLE)
        return
    for number, (added, discarded) in enumerate(made.rounds):
        if made.through is dict and number == 0:
            set.update(found, dict.fromkeys(added))
        else:
            for element in added:
                set.add(found, element)
        for element in discarded:
            set.discard(found, element)


def _fillers(table: _Table, elements: list[Any]) -> dict[int, int]:
    """Slot of a discarded element -> a number that takes this slot and equals no element."""
    taken = {hash(e) for e in elements if not isinstance(e, str)}
    found = {}
    for slot in table.marks:
        number = slot
        while number in taken:
            number += table.size
        found[slot] = number
    return found


def _ways_to_grow(table: _Table, element: dict[int, Any], safe: list[int], order: list[int]) -> Iterator[Recipe]:
    """Ways to have a table of this size with these elements (and fillers, to be discarded) in their slots.

    A table grows when an addition leaves it three fifths full, discarded elements counted, to more than four times the
    elements that are left (twice, from 50,000 on). So numbers fill a smaller table, and are discarded; one more element
    then makes it grow. That one must find an unused slot at once, so several are tried.
    """
    last = [element[slot] for slot in table.marks]
    if table.size == 8:
        yield Recipe((([element[slot] for slot in order], last),))
        return
    if table.size <= 4 * len(order):
        first = [element[slot] for slot in order]
        counted = table.size // 2 - 1
        yield Recipe(((first[:counted], []), (first[counted:], last)), dict)
    count = -(-table.size // 8)
    if 4 * count > 200_000:
        count = max(50_001, -(-table.size // 4))
    known = set(safe)
    safe += [slot for slot in order if slot not in known]  # may come right all the same
    for at in range(count - 1, min(len(safe), count + 40)):
        early = [*safe[: count - 1], safe[at]]
        # In a small table it matters which one makes it grow, and where the numbers were: it takes a slot that is free again.
        for _, skipped in itertools.product(range(count if count <= _FEW else 1), range(_FEW if count <= _FEW else 1)):
            first, trigger = [element[slot] for slot in early[:-1]], element[early[-1]]
            scratch = set(first)
            numbers = itertools.islice(_fresh(element.values()), skipped, None)
            spare: list[Any] = []
            while _fields(scratch)[0] + 1 < _limit(_fields(scratch)[2] + 1):
                spare.append(next(numbers))
                scratch.add(spare[-1])
            begun = set(early)
            rest = [element[slot] for slot in order if slot not in begun]
            yield Recipe(((first + spare, spare), ([trigger, *rest], last)))
            early = [*early[1:], early[0]]


def _fresh(elements: Iterable[Any]) -> Iterator[int]:
    """Numbers that equal none of the elements."""
    taken = {hash(e) for e in elements if not isinstance(e, str)}
    return (number for number in itertools.count() if number not in taken)


def _limit(size: int) -> int:
    """The fill at which a table of this size grows: 5 * fill >= 3 * mask."""
    return -(-3 * (size - 1) // 5)


def _passing(table: _Table) -> dict[int, set[int]] | None:
    """Slot of an element -> those of the elements that it found taken on its way."""
    taken = set(table.slots)
    found: dict[int, set[int]] = {}
    for slot, code in zip(table.slots, table.hashes, strict=True):
        passed = _passed(code, slot, table.size)
        if passed is None or any(p not in taken and p not in table.marks for p in passed):
            return None
        found[slot] = {p for p in passed if p in taken}
    return found


def _insertion_order(waiting: dict[int, set[int]]) -> list[int] | None:
    """The elements' slots, each after those that it passed."""
    order: list[int] = []
    done: set[int] = set()
    for start in waiting:
        stack = [start]
        path: set[int] = set()
        while stack:
            slot = stack[-1]
            open_ = [p for p in waiting[slot] if p not in done]
            if slot in done:
                stack.pop()
            elif not open_:
                done.add(slot)
                order.append(slot)
                stack.pop()
            elif slot in path:
                return None
            else:
                path.add(slot)
                stack += sorted(open_)
    return order


def _passed(code: int, slot: int, size: int) -> list[int] | None:
    """The slots that an element tries before its own."""
    mask = size - 1
    perturb = code % _WORD
    at = perturb & mask
    passed: list[int] = []
    for _ in range(size + 64):
        for probe in range(at, at + (_PROBES if at + _PROBES <= mask else 0) + 1):
            if probe == slot:
                return passed
            passed.append(probe)
        perturb >>= 5
        at = (at * 5 + 1 + perturb) & mask
    return None


# -- reading a table -----------------------------------------------------------------------------------------------


def _fields(value: Any) -> tuple[int, int, int, int]:
    address = id(value) + object.__basicsize__
    fill_, used, mask, table, _, _ = _FIELDS.unpack(ctypes.string_at(address, _FIELDS.size))
    return fill_, used, mask, table


def _read(value: Any) -> _Table | None:
    """A set's table, if it is where this interpreter should have it."""
    if not _READABLE:
        return None
    fill_, used, mask, address = _fields(value)
    size = mask + 1
    if used != len(value) or not used <= fill_ <= mask or size & mask or size < 8:
        return None
    if size > 8 and sys.getsizeof(value) < size * _ENTRY:
        return None
    entries = struct.unpack(f"@{2 * size}n", ctypes.string_at(address, size * _ENTRY))
    keys, hashes = entries[::2], entries[1::2]
    ids = set(map(id, value))
    slots = [slot for slot, key in enumerate(keys) if key in ids]
    marks = frozenset(slot for slot, key in enumerate(keys) if key and key not in ids)
    if len(slots) != used or len(marks) != fill_ - used or any(hashes[slot] != _MARK for slot in marks):
        return None
    return _Table(size, marks, tuple(slots), tuple(hashes[slot] for slot in slots))


def _layout_is_known() -> bool:
    """True if a set lies in memory as it is read here (not so in builds without the interpreter lock)."""
    try:
        probe = {1, 2, 3}
        probe.discard(2)
        fill_, used, mask, _ = _fields(probe)
        return (fill_, used, mask) == (3, 2, 7) and _read(probe) == _Table(8, frozenset({2}), (1, 3), (1, 3))
    except Exception:
        return False


_READABLE = _READABLE and _layout_is_known()
