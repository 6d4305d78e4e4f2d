"""What happens late: what the functions and classes of a notebook do when they are called, wherever that is.

`of_definition` finds what one does by itself, `Closure` what it does through all that it reaches. Standard library only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, KeysView, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from mlops_lab import files, mutation, randomness
from mlops_lab.facts import words_of
from mlops_lab.reflection import finds_definitions, reflections
from mlops_lab.scopes import BINDING, FunctionNode, bound_by, free_names, kinds, once, parameters_of, remembered
from mlops_lab.texts import named_in_texts

_NOTHING: frozenset[str] = frozenset()
Opened = tuple[str, str]  # (read, write or mention; path)
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Names(NamedTuple):
    """What is known of the names of a notebook; see `Survey`. `defined`: all names of `late`, for code that loads pickles."""

    modules: frozenset[str] = _NOTHING
    stateful: frozenset[str] = _NOTHING
    parameters: Mapping[str, frozenset[int]] = {}
    constants: Mapping[str, str] = {}
    late: Mapping[str, Late] = {}
    defined: frozenset[str] = _NOTHING

    def only(self, words: frozenset[str], pickles: bool = False) -> Names:
        """What is known of these."""
        parameters, constants, late = self.parameters, self.constants, self.late
        return Names(
            self.modules & words,
            self.stateful & words if self.stateful else _NOTHING,
            {name: parameters[name] for name in parameters.keys() & words} if parameters else {},
            {name: constants[name] for name in constants.keys() & words} if constants else {},
            {name: late[name] for name in late.keys() & words} if late else {},
            frozenset(late) if pickles else _NOTHING,
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
    finds: bool = False  # any definition of the notebook


def either(one: Late, other: Late) -> Late:
    """What a name does that is bound to one function here and to another there."""
    return Late(
        one.loads | other.loads,
        one.stores | other.stores,
        one.touches | other.touches,
        one.files.union(other.files, *(late.opens.files() for late in (one, other) if late.opens)),
        None,
        one.draws or other.draws,
        one.seeds or other.seeds,
        one.finds or other.finds,
    )


def of_definition(node: ast.AST, names: Names) -> Late:
    """What one function or class does by itself."""
    known = names.only(words_of(node))
    found: Late = remembered(node, "_late", known, lambda: _looked_up(node, known))
    return found


def _looked_up(node: ast.AST, known: Names) -> Late:
    if isinstance(node, ast.Call):  # it makes a class
        return Late(frozenset(name.id for name in kinds(node).get(ast.Name, ())))
    loads, stores = free_names(node)
    touches: set[str] = set()
    opened: set[Opened] = set()
    draws = seeds = finds = False
    for inner in (inner for kind in FunctionNode for inner in kinds(node).get(kind, ())):
        nodes = mutation.body_kinds(inner)
        touches |= mutation.touched(nodes, known.modules, known.stateful, known.parameters) - _locals(inner)
        opened |= files_of(inner, known.constants, {})
        own = known.stateful | set(parameters_of(inner)) | mutation.stateful_names(nodes)
        draws = draws or randomness.reaches_generator(nodes.get(ast.Attribute, ()), own)
        for part in nodes.get(ast.Call, ()):
            name = part.func.attr if isinstance(part.func, ast.Attribute) else getattr(part.func, "id", "")
            seeds = seeds or randomness.seeds(part, name)
            draws = draws or randomness.draws(part, name, own)
            finds = finds or finds_definitions(part)
    vague = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and any(files.is_vague(path) for _, path in opened)
    sure = frozenset(f for f in opened if not (vague and files.is_vague(f[1])))
    opens = Opener(node, known) if vague and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else None
    return Late(loads | reflections(node) | named_in_texts(node), stores, frozenset(touches), sure, opens, draws, seeds, finds)


@once
def _locals(function: ast.AST) -> frozenset[str]:
    """The names that a function binds in its own body, its parameters included."""
    nodes = mutation.body_kinds(function)
    bound = [name for kind in (BINDING | {ast.Name}) & nodes.keys() for node in nodes[kind] for name in bound_by(node)]
    return frozenset([*bound, *parameters_of(function)])


def files_of(function: ast.AST, constants: Mapping[str, str], given: Mapping[str, str]) -> set[Opened]:
    """The files that a function opens in its own body where its parameters have these texts."""
    nodes = mutation.body_kinds(function)
    calls = nodes.get(ast.Call)
    if not calls:
        return set()
    local = _locals(function)
    texts = {name: text for name, text in constants.items() if name not in local} | dict(given)
    once_bound: dict[str, ast.AST | None] = {}
    for node in nodes.get(ast.Assign, ()):
        if len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            once_bound[name] = None if name in once_bound or name in given else node.value
    for name, value in once_bound.items():
        text = files.fold(value, texts) if value else None
        texts |= {name: text} if text else {}
    return {found for call in calls for found in files.opened_by(call, texts)}


class Closure(Mapping[str, Late]):
    """`Late` of every name with all that it may reach; put together for the names that are asked for.

    What reaches what is kept as bits of whole numbers, so that a thousand functions in a chain are cheap.
    """

    def __init__(self, direct: Mapping[str, Late], carries: Mapping[str, set[str]]) -> None:
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
        self._direct = direct
        self._carries = {name: carries[name] & place.keys() for name in place if name in carries}
        self._found: dict[str, Late] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Closure) and (self._direct, self._carries) == (other._direct, other._carries)

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def _next(self) -> list[list[int]]:
        place, nothing = self._place, Late()
        return [
            [place[n] for n in {*self._direct.get(name, nothing).loads, *self._carries.get(name, ())} if n in place]
            for name in self._names
        ]

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
        finds = any(p.finds for p in parts)
        may_call = [*self._direct.values()] if finds else parts
        found = Late(
            _NOTHING.union(self._direct if finds else reached, *(p.loads for p in may_call)),
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
