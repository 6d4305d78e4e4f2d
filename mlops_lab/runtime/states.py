"""The states outside of variables (`ambient.py`) that one step works with: put back, compared, stored, told of."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import Callable
from typing import Any

from . import ambient, counters, reloaded, running, shown, tables, unflushed
from .generators import GeneratorUse
from .postponed import Postponed
from .store import Store

_ONE_WAY = ("@pyplot", "@duckdb")  # what a step left there is told to others and can't be put back


class StateUse:
    """What a step finds, changes and leaves of them; `order` and `current` are those of its `Kit`."""

    def __init__(self, order: dict[str, Any], current: dict[str, list[str]], generators: GeneratorUse, shell: Any) -> None:
        self.order, self.current, self.generators, self.shell = order, current, generators, shell
        self.given: dict[str, str] = {}  # those that the step works with: the version that it was given, or what it found
        tables.replay("\n".join(order["own_configuration"]))
        self._found: dict[str, str] = {}
        self._before: dict[str, bytes] = {}
        late = [((row.module,), name) for name, row in ambient.STATES.items() if row.random and row.module not in sys.modules]
        Postponed(late if order["seeded"] else (), self._comes_in)

    def _comes_in(self, name: str) -> None:
        """Remember what a generator is when a step imports its module: only what differs in the end was drawn."""
        if state := ambient.read(name):
            self._found.setdefault(name, state[0])

    def import_own(self) -> None:
        """Import the modules that states belong to, where the step's own imports will bring them: a change is then seen."""
        for row in ambient.STATES.values():
            if row.module not in sys.modules and row.roots & set(self.order["modules"]):
                with contextlib.suppress(ImportError):
                    importlib.import_module(row.module)

    def put_back(self, read: Callable[[str], bytes]) -> list[str]:
        """Set those that the steps above left, and give their names; `read` gives the content of a bundle."""
        applied = [name for name in ambient.STATES if name in self.current and self._applies(name)]
        for name in applied:
            ambient.write(name, read(self.current[name][0]))
        return applied

    def look(self, applied: list[str]) -> None:
        """Remember what they are before the step's first cell."""
        for name in ambient.STATES:
            if not ambient.STATES[name].random or self.order["seeded"]:
                state = ambient.read(name)
                if state:
                    self._found[name], self._before[name] = state
                    self.given[name] = self.current[name][1] if name in applied else state[0]
        counters.begin()

    def _applies(self, name: str) -> bool:
        state = ambient.STATES.get(name)
        if state is None or (state.random and not self.order["seeded"]):
            return False
        return not state.lazy or state.module in sys.modules or state.module.partition(".")[0] in self.order["modules"]

    def used(self) -> dict[str, str]:
        """The states that the step may have seen: which warnings were shown matters only to a step that shows some, and files
        that wait for text to one that starts processes; or opens such a file, which is refused."""
        unseen = {"@unflushed"} if "@warnings" in self.current or shown.any_shown() else {"@unflushed", "@warnings"}
        unseen |= set() if reloaded.is_seen() else {"@modules"}
        unseen |= set() if counters.advanced() else {"@counters"}
        unseen -= {"@unflushed"} if unflushed.is_asked() else set()
        return {name: state for name, state in self.given.items() if name not in unseen}

    def late(self) -> list[str]:
        """Those of modules that the step loaded by itself."""
        return [name for name in ambient.STATES if name not in self.given and ambient.read(name)]

    def undeclared(self, outputs: dict[str, Any]) -> list[str]:
        """States that the step left otherwise than its configuration statements, run again on what it found, leave them."""
        changed = [name for name in outputs if name in self._before and name not in {"@warnings", *_ONE_WAY}]
        found = [name for name in outputs if name in _ONE_WAY or (name in ambient.STATES and ambient.STATES[name].random)]
        others = [name for name in changed if not ambient.STATES[name].random and (name != "@modules" or reloaded.is_felt())]
        if others:
            after = {name: ambient.read(name) for name in others}
            root_level = logging.root.level
            for name in others:
                ambient.write(name, self._before[name])
            for code in self.order["own_configuration"]:
                with contextlib.suppress(Exception):
                    exec(code, {"__name__": "__main__", "get_ipython": lambda: self.shell})
                if "basicConfig" in code:  # which does nothing a second time
                    logging.root.setLevel(root_level)
            found += [name for name in others if ambient.read(name) != after[name]]
            for name, state in after.items():
                if state:
                    ambient.write(name, state[1])
        return found

    def store(self, outputs: dict[str, Any], into: Store) -> None:
        """Store those that the step changed, or drew from. Nothing is called as its process ends, unless it is the last."""
        if self.order.get("remote") or any(number > max(self.order["numbers"]) for number, _ in self.order["sources"]):
            running.leave()
        for name, row in ambient.STATES.items():
            if row.random and not self.order["seeded"]:
                continue
            state = ambient.read(name)
            changed = state and (state[0] != self._found.get(name) or name in self.generators.used)
            if state and changed and (name in self._found or row.random):
                bundle, _ = into.save([name], state[1], [])
                outputs[name] = {"version": [bundle, state[0]], "type": "state"}
