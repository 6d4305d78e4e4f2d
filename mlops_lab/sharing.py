"""Which names may share an object, followed from cell to cell: a guess that makes edges. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Set

from mlops_lab.facts import Facts


class Sharing:
    """Which names may share an object, grown step by step: `groups` is name -> the names of its group."""

    def __init__(self, modules: frozenset[str]) -> None:
        self.modules = modules
        self.groups: dict[str, set[str]] = {}

    def add(self, cell: Facts) -> None:
        """Join the names that a cell makes share."""
        groups = self.groups
        for found in cell.shared:
            names = found - self.modules
            known = {id(group): group for n in names if (group := groups.get(n))}
            largest = max(known.values(), key=len, default=set[str]())
            new = names.union(*(group for group in known.values() if group is not largest)) - largest
            largest |= new  # the smaller ones join the largest, so that no name moves often
            for name in new:
                groups[name] = largest

    def begin(self, cells: Iterable[Facts]) -> None:
        """Forget what the names shared so far that the cells of a step bind anew before they use them."""
        seen: set[str] = set()
        for cell in cells:
            self._drop(cell.anew - seen)
            seen |= cell.loads
            seen |= cell.stores

    def end(self, cells: Iterable[Facts], variables: Set[str]) -> None:
        """Forget the names that live in comprehensions only, so that they join nothing below."""
        for cell in cells:
            self._drop(cell.targets - variables)

    def _drop(self, names: Iterable[str]) -> None:
        for name in names:
            group = self.groups.pop(name, None)
            if group:
                group.discard(name)
