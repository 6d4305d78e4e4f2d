"""What happens late: what the functions and classes of a notebook do when they are called, wherever that is.

`survey` puts together what `facts.py` knows of each cell; `flow.py` then reads one piece of code in the light of that
`Survey`, of which it is given the part that the names in the code ask for (`Survey.view`). So what it finds is a function of
the code and of its view, and need not be found again while neither changes. Standard library only.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from mlops_lab import files, mutation, randomness
from mlops_lab.facts import Facts, facts_of, words_of
from mlops_lab.reflection import reflections
from mlops_lab.scopes import FunctionNode, bound_by, every_node, free_names, parameters_of
from mlops_lab.sharing import Sharing
from mlops_lab.texts import named_in_texts

_NOTHING: frozenset[str] = frozenset()
Opened = tuple[str, str]  # (read, write or mention; path)
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Names(NamedTuple):
    """What is known of the names of a notebook but what calling them does; see `Survey`."""

    modules: frozenset[str] = _NOTHING
    stateful: frozenset[str] = _NOTHING
    parameters: Mapping[str, frozenset[int]] = {}
    constants: Mapping[str, str] = {}

    def only(self, words: frozenset[str]) -> Names:
        """What is known of these."""
        parameters, constants = self.parameters, self.constants
        return Names(
            self.modules & words,
            self.stateful & words,
            {name: parameters[name] for name in parameters.keys() & words},
            {name: constants[name] for name in constants.keys() & words},
        )


@dataclass(frozen=True)
class Opener:
    """A function that opens files whose paths depend on its arguments; `names` is what is known of the names in it."""

    function: Function
    names: Names

    def files(self) -> set[Opened]:
        """The files that it opens, whatever it is given."""
        return files_of(self.function, self.names.constants, {})

    def files_of_call(self, call: ast.Call, constants: Mapping[str, str]) -> set[Opened]:
        """The files that a call of it opens, its paths put together from the arguments of the call."""
        arguments = self.function.args
        names = [a.arg for a in [*arguments.posonlyargs, *arguments.args]]
        values = dict(zip(reversed(names), reversed(arguments.defaults), strict=False))
        values |= {a.arg: d for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d}
        given = _folded(values, self.names.constants)
        passed: dict[str, ast.expr] = {}
        if not any(isinstance(a, ast.Starred) for a in call.args):
            passed |= dict(zip(names, call.args, strict=False))
        passed |= {k.arg: k.value for k in call.keywords if k.arg}
        given = {name: text for name, text in given.items() if name not in passed} | _folded(passed, constants)
        return files_of(self.function, self.names.constants, given)


def _folded(values: Mapping[str, ast.expr], constants: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, value in values.items() if (text := files.fold(value, constants))}


@dataclass(frozen=True)
class Late:
    """What a function or class of the notebook does when it is called, in the namespace of the step that calls it.

    `files` are those it opens by itself or through others; `opens`, a function whose own paths depend on its arguments.
    """

    loads: frozenset[str] = _NOTHING
    stores: frozenset[str] = _NOTHING
    touches: frozenset[str] = _NOTHING
    files: frozenset[Opened] = frozenset()
    opens: Opener | None = None
    draws: bool = False
    seeds: bool = False


class View(NamedTuple):
    """The part of a survey that one piece of code asks for; `defined`: all names of `Survey.late`, if it loads pickles."""

    names: Names
    late: Mapping[str, Late]
    defined: frozenset[str] = _NOTHING


@dataclass(frozen=True)
class Survey:
    """What is known of the notebook as a whole, whatever the order in which its cells run.

    `late`: name -> what calling it does; `names`: functions and the positions of the arguments that they change, names that
    imports bind, names of random generators and iterators, and the texts of names bound once; `late_names`: every global that
    some nested function may read, whoever calls it; `fleeting`: names that only `except E as name` binds, so that none is
    there when a statement begins.
    """

    late: Mapping[str, Late] = field(default_factory=dict)
    names: Names = Names()
    late_names: frozenset[str] = _NOTHING
    fleeting: frozenset[str] = _NOTHING
    facts: tuple[Facts, ...] = field(default=(), repr=False, compare=False)

    @property
    def modules(self) -> frozenset[str]:
        return self.names.modules

    @property
    def stateful(self) -> frozenset[str]:
        return self.names.stateful

    @property
    def parameters(self) -> Mapping[str, frozenset[int]]:
        return self.names.parameters

    @property
    def constants(self) -> Mapping[str, str]:
        return self.names.constants

    @cached_property
    def shared(self) -> Mapping[str, set[str]]:
        """Name -> the names that may share its object, itself included."""
        sharing = Sharing(self.modules)
        for facts in self.facts:
            sharing.add(facts)
        return sharing.groups

    def view(self, words: frozenset[str], pickles: bool = False) -> View:
        """What it knows of these names."""
        late = self.late
        known = {name: late[name] for name in late.keys() & words}
        return View(self.names.only(words), known, frozenset(late) if pickles else _NOTHING)


def survey(trees: Iterable[ast.AST]) -> Survey:
    """Look once at all the code of a notebook."""
    facts = tuple(facts_of(tree) for tree in trees)
    modules = _NOTHING.union(*(each.modules for each in facts))
    stateful = _NOTHING.union(*(each.stateful for each in facts))
    parameters = _changed_parameters([f for each in facts for f in each.functions], modules, stateful)
    constants = files.constants((text for each in facts for text in each.texts), [each.bound for each in facts])
    names = Names(modules, stateful, parameters, constants)
    handled = _NOTHING.union(*(each.handled for each in facts))
    fleeting = handled.difference(*(each.otherwise for each in facts)) if handled else handled
    late_names = _NOTHING.union(*(each.late_names for each in facts))
    return Survey(_late(facts, names), names, late_names, fleeting, facts)


def _changed_parameters(functions: Sequence[Function], modules: frozenset[str],
                        stateful: frozenset[str]) -> dict[str, frozenset[int]]:  # fmt: skip
    """Function -> positions of the parameters that it changes, also through functions it hands them to."""
    found: dict[str, frozenset[int]] = {}
    for _ in range(3):  # three calls deep is enough for a guess
        before = dict(found)
        for function in functions:
            known = Names(modules, stateful, found).only(words_of(function))
            found[function.name] = _changed_by(function, known)
        if found == before:
            break
    return found


def remembered(node: ast.AST, key: str, known: Any, find: Callable[[], Any]) -> Any:
    """What was found on a node the last few times in the light of something equal to `known`; found now if it wasn't.

    Kept on the node, as `scopes.once` does, and so for as long as its cell is.
    """
    kept: list[tuple[Any, Any]] = node.__dict__.setdefault(key, [])
    for position, (seen, result) in enumerate(kept):
        if seen == known:
            if position:
                kept.insert(0, kept.pop(position))
            return result
    result = find()
    kept.insert(0, (known, result))
    del kept[_KEPT:]
    return result


_KEPT = 3


def _changed_by(function: Function, known: Names) -> frozenset[int]:
    def find() -> frozenset[int]:
        nodes = mutation.own_nodes(function)
        return mutation.changed_parameters(function, mutation.touched(nodes, known.modules, known.stateful, known.parameters))

    found: frozenset[int] = remembered(function, "_changed_parameters", known, find)
    return found


def _late(facts: Sequence[Facts], names: Names) -> Mapping[str, Late]:
    """Name -> what calling it may need, followed through the functions that it calls and the names that carry it."""
    direct: dict[str, Late] = {}
    for each in facts:
        for name, node in each.definitions:
            found = _of_definition(node, names)
            direct[name] = _either(direct[name], found) if name in direct else found
    if not direct:
        return {}
    carries: dict[str, set[str]] = {}
    for each in facts:
        for name, carried in each.carries:
            if name in carries:
                carries[name] |= carried
            else:
                carries[name] = set(carried)
    return _Closure(direct, carries)


def _either(one: Late, other: Late) -> Late:
    """What a name does that is bound to one function here and to another there."""
    return Late(
        one.loads | other.loads,
        one.stores | other.stores,
        one.touches | other.touches,
        one.files.union(other.files, *(late.opens.files() for late in (one, other) if late.opens)),
        None,
        one.draws or other.draws,
        one.seeds or other.seeds,
    )


def _of_definition(node: ast.AST, names: Names) -> Late:
    """What one function or class does by itself."""
    known = names.only(words_of(node))
    found: Late = remembered(node, "_late", known, lambda: _looked_up(node, known))
    return found


def _looked_up(node: ast.AST, known: Names) -> Late:
    loads, stores = free_names(node)
    touches: set[str] = set()
    opened: set[Opened] = set()
    draws = seeds = False
    for inner in every_node(node):
        if not isinstance(inner, FunctionNode):
            continue
        nodes = mutation.own_nodes(inner)
        local = {name for n in nodes for name in bound_by(n)} | set(parameters_of(inner))
        touches |= mutation.touched(nodes, known.modules, known.stateful, known.parameters) - local
        opened |= files_of(inner, known.constants, {})
        own = known.stateful | set(parameters_of(inner)) | set(mutation.stateful_names(nodes))
        draws = draws or randomness.reaches_generator(nodes, own)
        for part in nodes:
            if isinstance(part, ast.Call):
                name = part.func.attr if isinstance(part.func, ast.Attribute) else getattr(part.func, "id", "")
                seeds = seeds or randomness.seeds(part, name)
                draws = draws or randomness.draws(part, name, own)
    vague = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and any(files.is_vague(path) for _, path in opened)
    sure = frozenset(f for f in opened if not (vague and files.is_vague(f[1])))
    opens = Opener(node, known) if vague and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else None
    return Late(loads | reflections(node) | named_in_texts(node), stores, frozenset(touches), sure, opens, draws, seeds)


def files_of(function: ast.AST, constants: Mapping[str, str], given: Mapping[str, str]) -> set[Opened]:
    """The files that a function opens in its own body where its parameters have these texts."""
    nodes = mutation.own_nodes(function)
    calls = [n for n in nodes if isinstance(n, ast.Call)]
    if not calls:
        return set()
    local = {name for n in nodes for name in bound_by(n)} | set(parameters_of(function))
    texts = {name: text for name, text in constants.items() if name not in local} | dict(given)
    once_bound: dict[str, ast.AST | None] = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            once_bound[name] = None if name in once_bound or name in given else node.value
    for name, value in once_bound.items():
        text = files.fold(value, texts) if value else None
        texts |= {name: text} if text else {}
    return {found for call in calls for found in files.opened_by(call, texts)}


class _Closure(Mapping[str, Late]):
    """`Late` of every name with all that it may reach; put together for the names that are asked for.

    What reaches what is kept as bits of whole numbers, so that a thousand functions in a chain are cheap.
    """

    def __init__(self, direct: Mapping[str, Late], carries: Mapping[str, set[str]]) -> None:
        self._direct = direct
        users: dict[str, list[str]] = {}
        for name, carried in carries.items():
            for each in carried:
                users.setdefault(each, []).append(name)
        self._names = [*direct]  # and all that may hold one of them
        place = self._place = {name: i for i, name in enumerate(self._names)}
        for name in self._names:  # it grows
            for user in users.get(name, ()):
                if user not in place:
                    place[user] = len(place)
                    self._names.append(user)
        self._next = [
            [place[n] for n in {*(direct[name].loads if name in direct else ()), *carries.get(name, ())} if n in place]
            for name in self._names
        ]
        self._found: dict[str, Late] = {}

    @cached_property
    def _reach(self) -> list[int]:
        reach = [1 << i for i in range(len(self._names))]
        order = self._ends_first()
        changed = True
        while changed:  # once for chains, a few times where functions call each other in circles
            changed = False
            for i in order:
                bits = reach[i]
                for j in self._next[i]:
                    bits |= reach[j]
                if bits != reach[i]:
                    reach[i], changed = bits, True
        return reach

    def _ends_first(self) -> list[int]:
        """The names so that, but for circles, each stands behind those it needs."""
        order: list[int] = []
        seen = [False] * len(self._names)
        for start in range(len(self._names)):
            stack = [] if seen[start] else [(start, iter(self._next[start]))]
            seen[start] = True
            while stack:
                below = next((j for j in stack[-1][1] if not seen[j]), None)
                if below is None:
                    order.append(stack.pop()[0])
                else:
                    seen[below] = True
                    stack.append((below, iter(self._next[below])))
        return order

    @cached_property
    def _definitions(self) -> int:
        return sum(1 << self._place[name] for name in self._direct)

    def __getitem__(self, name: str) -> Late:
        if name in self._found:
            return self._found[name]
        bits = self._reach[self._place[name]] & self._definitions
        reached = [self._names[i] for i, bit in enumerate(reversed(f"{bits:b}")) if bit == "1"]
        parts = [self._direct[n] for n in reached]
        own = self._direct.get(name)
        opened = [p.files for p in parts]
        opened += [frozenset(p.opens.files()) for p in parts if p.opens and p is not own]
        found = Late(
            _NOTHING.union(reached, *(p.loads for p in parts)),
            _NOTHING.union(*(p.stores for p in parts)),
            _NOTHING.union(*(p.touches for p in parts)),
            frozenset[Opened]().union(*opened),
            own.opens if own else None,
            any(p.draws for p in parts),
            any(p.seeds for p in parts),
        )
        self._found[name] = found
        return found

    def keys(self) -> KeysView[str]:
        return self._place.keys()

    def __contains__(self, name: object) -> bool:
        return name in self._place

    def __iter__(self) -> Iterator[str]:
        return iter(self._place)

    def __len__(self) -> int:
        return len(self._place)
