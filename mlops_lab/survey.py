"""What is known of a notebook as a whole: the facts of its cells put together.

`flow.py` reads a cell in the light of a `Survey`, of which it is given the part that the names in the cell ask for
(`Names.only`). So what it finds is a function of the code and of that part, and need not be found again while neither changes.
Standard library only.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from mlops_lab import files, mutation
from mlops_lab.facts import Definition, Facts, facts_of, words_of
from mlops_lab.late import Closure, Function, Late, Names, either, of_definition
from mlops_lab.scopes import remembered
from mlops_lab.sharing import Sharing

_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Stage:
    """What is known of a notebook's names at some time, numbered; it differs from the stage `before` in the names `changed`.

    From one edit to the next it stays the same, or differs in a few names: code in which none of them stands is as it was.
    """

    number: int
    names: Names
    before: int = 0
    changed: frozenset[str] = _NOTHING


_STAGES: deque[Stage] = deque(maxlen=16)  # the last that were used, of all notebooks
_numbers = itertools.count(1)


def _stage(names: Names) -> Stage:
    known = list(_STAGES)
    for stage in reversed(known):
        if stage.names == names:
            with contextlib.suppress(ValueError):  # another thread was quicker
                _STAGES.remove(stage)
            _STAGES.append(stage)
            return stage
    last = known[-1] if known else Stage(0, Names())
    stage = Stage(next(_numbers), names, last.number, _differing(last.names, names))
    _STAGES.append(stage)
    return stage


_Memory = deque[tuple[tuple[Any, ...], Any]]
_PARAMETERS: _Memory = deque(maxlen=4)
_LATE: _Memory = deque(maxlen=4)
_Found = TypeVar("_Found")


def _again(memory: _Memory, find: Callable[..., _Found], *known: Any) -> _Found:
    """What was found the last few times for what is known, or else now: an edit changes it seldom."""
    for each, found in list(memory):
        if each == known:
            result: _Found = found
            return result
    result = find(*known)
    memory.append((known, result))
    return result


def _differing(one: Names, other: Names) -> frozenset[str]:
    """The names of which these do not know the same."""
    found = (one.modules ^ other.modules) | (one.stateful ^ other.stateful)
    found |= {name for name, _ in one.parameters.items() ^ other.parameters.items()}
    found |= {name for name, _ in one.constants.items() ^ other.constants.items()}
    return found if one.late == other.late else found.union(one.late, other.late)


@dataclass(frozen=True)
class Survey:
    """What is known of the notebook as a whole, whatever the order in which its cells run.

    `names`: names that imports bind (`modules`), names of random generators and iterators (`stateful`), functions and the
    positions of the arguments that they change (`parameters`), the texts of names bound once (`constants`), and what calling
    a name does (`late`); `late_names`: every global that some nested function may read, whoever calls it; `fleeting`: names
    that only `except E as name` binds, so that none is there when a statement begins.
    """

    stage: Stage = Stage(0, Names())
    late_names: frozenset[str] = _NOTHING
    fleeting: frozenset[str] = _NOTHING
    facts: tuple[Facts, ...] = field(default=(), repr=False, compare=False)

    @property
    def names(self) -> Names:
        return self.stage.names

    @property
    def modules(self) -> frozenset[str]:
        return self.names.modules

    @property
    def late(self) -> Mapping[str, Late]:
        return self.names.late

    @cached_property
    def shared(self) -> Mapping[str, set[str]]:
        """Name -> the names that may share its object, itself included."""
        sharing = Sharing(self.modules)
        for facts in self.facts:
            sharing.add(facts)
        return sharing.groups


def survey(trees: Iterable[ast.AST]) -> Survey:
    """Look once at all the code of a notebook."""
    facts = tuple(facts_of(tree) for tree in trees)
    modules = _NOTHING.union(*(each.modules for each in facts))
    stateful = _NOTHING.union(*(each.stateful for each in facts))
    functions = [function for each in facts for function in each.functions]
    parameters = _again(_PARAMETERS, _changed_parameters, functions, modules, stateful) if functions else {}
    constants = files.constants((text for each in facts for text in each.texts), [each.bound for each in facts])
    names = Names(modules, stateful, parameters, constants)
    definitions = [each.definitions for each in facts if each.definitions]
    carries = [each.carries for each in facts if each.carries]
    words = _NOTHING.union(*(words_of(node) for defined in definitions for _, node in defined))
    late = _again(_LATE, _late, definitions, carries, names.only(words)) if definitions else {}
    stage = _stage(names._replace(late=late))
    handled = _NOTHING.union(*(each.handled for each in facts))
    fleeting = handled.difference(*(each.otherwise for each in facts)) if handled else handled
    late_names = _NOTHING.union(*(each.late_names for each in facts))
    return Survey(stage, late_names, fleeting, facts)


def _changed_parameters(functions: Sequence[Function], modules: frozenset[str],
                        stateful: frozenset[str]) -> dict[str, frozenset[int]]:  # fmt: skip
    """Function -> positions of the parameters that it changes, also through functions it hands them to."""
    found: dict[str, frozenset[int]] = {}
    todo = list(functions)
    for _ in range(3):  # three calls deep is enough for a guess
        before = dict(found)
        for function in todo:
            known = Names(modules, stateful, found).only(words_of(function))
            found[function.name] = _changed_by(function, known)
        changed = {name for name in found if found[name] != before.get(name)}
        todo = [function for function in functions if not changed.isdisjoint(words_of(function))]
        if not todo:
            break
    return found


def _changed_by(function: Function, known: Names) -> frozenset[int]:
    def find() -> frozenset[int]:
        nodes = mutation.body_kinds(function)
        return mutation.changed_parameters(function, mutation.touched(nodes, known.modules, known.stateful, known.parameters))

    found: frozenset[int] = remembered(function, "_changed_parameters", known, find)
    return found


def _late(definitions: Sequence[tuple[tuple[str, Definition], ...]],
          carries: Sequence[tuple[tuple[str, frozenset[str]], ...]], names: Names) -> Mapping[str, Late]:  # fmt: skip
    """Name -> what calling it may need, followed through the functions that it calls and the names that carry it."""
    direct: dict[str, Late] = {}
    for name, node in itertools.chain(*definitions):
        found = of_definition(node, names)
        direct[name] = either(direct[name], found) if name in direct else found
    carried_by: dict[str, set[str]] = {}
    for name, carried in itertools.chain(*carries):
        if name in carried_by:
            carried_by[name] |= carried
        else:
            carried_by[name] = set(carried)
    return Closure(direct, carried_by)
