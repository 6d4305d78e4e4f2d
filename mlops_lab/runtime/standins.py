"""What stands for another object in a pickle, as `persistent_id` gives it: sets whose order filling them doesn't give again,
interned texts, plain objects that a process has one of, not-a-numbers. Each is held in a list when it comes back: pickle then
makes it once."""

from __future__ import annotations

import functools
import struct
import sys
from collections.abc import Collection
from typing import Any

from . import defaults, definitions, session, sets, settables, twins
from .definitions import Space
from .memory import Refused

# What functions of their modules work with: the generators behind `random.random` and `np.random.rand`, settings, and
# what the interpreter itself looks at. A copy would draw on its own, and setting something in it would have no effect.
_PLAIN_SINGLETONS = (("sys", "path"), ("sys", "argv"), ("sys", "modules"), ("sys", "meta_path"), ("warnings", "filters"))
_SINGLETONS = (
    ("random", "_inst"), ("numpy.random.mtrand", "_rand"), ("os", "environ"), ("os", "environb"), ("matplotlib", "rcParams"),
    ("pandas", "options"), *_PLAIN_SINGLETONS,
)  # fmt: skip


# -- sets ----------------------------------------------------------------------------------------------------------


class OddSet:
    """Stands for a set that filling it in iteration order doesn't give again. pickle asks nobody about sets but this way."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        made = sets.recipe(self.value)
        if made is None:
            raise Refused(f"the order of the elements of a {type(self.value).__name__} in it can't be had again")
        if isinstance(self.value, frozenset):
            return _hold_frozenset, (made,)
        return _hold_set, (), made, None, None, _fill_held_set


class Interned:
    """Stands for an interned text: pickle asks nobody about texts but this way."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return _hold_interned, (self.value.encode("utf-8", "surrogatepass"),)


class OfProcess:
    """Stands for a plain list or dict that a process has one of: a copy of it would have no effect."""

    def __init__(self, *place: str) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return definitions.hold_of_process, self.place


Odd = OddSet | Interned | OfProcess | defaults.Default


def of_process() -> dict[int, tuple[str, str]]:
    """Where each of the objects is that a process has one of, by its id."""
    there = [place for place in _SINGLETONS if place[0] in sys.modules]
    found = {id(getattr(sys.modules[module], name, None)): (module, name) for module, name in there}
    if "decimal" in sys.modules:
        found[id(sys.modules["decimal"].getcontext())] = ("decimal", "getcontext()")
    found[id(session.shell())] = ("IPython", "get_ipython()")
    found.pop(id(None), None)
    return found


@functools.cache
def constant(*place: str) -> OfProcess:
    """What stands for a constant of a module."""
    return OfProcess(*place)


def plain_of_process(space: Space) -> dict[int, Odd]:
    """What stands for the plain ones among them, by their id, and for the notebook's namespace."""
    found: dict[int, Odd] = {i: OfProcess(*place) for i, place in of_process().items() if place in _PLAIN_SINGLETONS}
    found[id(space.names)] = OfProcess("", "")
    return found


def interned(kept: Collection[tuple[int, Any]]) -> dict[int, Odd]:
    """What stands for the interned texts among what a pickle has kept, by their id, where that can be told from outside."""
    return {id(text): Interned(text) for text in twins.interned([value for _, value in kept])}


def _hold_interned(text: bytes) -> list[str]:
    return [sys.intern(text.decode("utf-8", "surrogatepass"))]


def _hold_set() -> list[Any]:
    return [set()]


def _fill_held_set(holder: list[Any], made: sets.Recipe | settables.Table) -> list[Any]:
    sets.fill(holder[0], made)
    return holder


def _hold_frozenset(made: sets.Recipe | settables.Table) -> list[Any]:
    return [sets.build(made, frozenset)]


# -- not a number ----------------------------------------------------------------------------------------------------


class NaN:
    """Stands for a float that isn't equal to itself: `x in [x]`, `{x: 1}[x]` and `x is np.nan` ask which object it is."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return _hold_nan, (struct.pack("<d", self.value),)


def _hold_nan(made: bytes) -> list[float]:
    return list(struct.unpack("<d", made))


NANS = (b"G\x7f\xf8", b"G\xff\xf8", b"G\x7f\xf0", b"G\xff\xf0")  # as pickle writes them, and infinities
