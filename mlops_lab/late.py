"""What happens late: what the functions and classes of a notebook do when they are called, wherever that is.

`survey` looks once at all the trees of a notebook; `effects.py` then reads one piece of code in the light of that
`Survey`. Standard library only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mlops_lab import files, mutation, randomness
from mlops_lab.magic_effects import of_magic
from mlops_lab.scopes import FunctionNode, bound_by, children, every_node, free_names, module_names, once, parameters_of
from mlops_lab.syntax import ipython_call
from mlops_lab.texts import code_in, named_in_texts

FRAMES = frozenset({"currentframe", "_getframe", "getframe", "__globals__", "f_globals", "f_locals"})
_NOTHING: frozenset[str] = frozenset()
Opened = tuple[str, str]  # (read, write or mention; path)


@dataclass(frozen=True)
class Late:
    """What a function or class of the notebook does when it is called, in the namespace of the step that calls it.

    `files` are those it opens by itself or through others; `opens`, a function whose own paths depend on its arguments.
    """

    loads: frozenset[str] = _NOTHING
    stores: frozenset[str] = _NOTHING
    touches: frozenset[str] = _NOTHING
    files: frozenset[Opened] = frozenset()
    opens: ast.FunctionDef | ast.AsyncFunctionDef | None = None
    draws: bool = False
    seeds: bool = False


@dataclass(frozen=True)
class Survey:
    """What is known of the notebook as a whole, whatever the order in which its cells run.

    `late`: name -> what calling it does; `shared`: name -> the names that may share its object, itself included;
    `parameters`: function -> positions of the arguments that it changes; `modules`: names that imports bind; `stateful`:
    names of random generators and iterators; `constants`: name -> its text, for names bound once; `late_names`: every
    global that some nested function may read, whoever calls it; `fleeting`: names that only `except E as name` binds, so that
    none is there when a statement begins.
    """

    late: Mapping[str, Late] = field(default_factory=dict)
    shared: Mapping[str, Iterable[str]] = field(default_factory=dict)
    parameters: Mapping[str, frozenset[int]] = field(default_factory=dict)
    modules: frozenset[str] = _NOTHING
    stateful: frozenset[str] = _NOTHING
    constants: Mapping[str, str] = field(default_factory=dict)
    late_names: frozenset[str] = _NOTHING
    fleeting: frozenset[str] = _NOTHING
    _changes: dict[ast.stmt, set[str]] = field(default_factory=dict, repr=False, compare=False)

    def changed_by(self, statement: ast.stmt) -> set[str]:
        """The names whose objects a statement may change in place, by its own code."""
        if statement not in self._changes:
            nodes = mutation.statement_nodes(statement)
            self._changes[statement] = mutation.touched(nodes, self.modules, self.stateful, self.parameters)
        return self._changes[statement]


def survey(trees: Iterable[ast.Module]) -> Survey:
    """Look once at all the code of a notebook."""
    trees = list(trees)
    nodes = [node for tree in trees for node in mutation.own_nodes(tree)]
    modules = frozenset(name for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom)) for name in bound_by(n))
    stateful = frozenset(mutation.stateful_names(nodes))
    parameters = _changed_parameters(nodes, modules, stateful)
    known = Survey(modules=modules, stateful=stateful, parameters=parameters, constants=files.constants(trees))
    inner = [part for tree in trees for statement in tree.body for part in _nested(statement)]
    late_names = _NOTHING.union(*(free_names(n)[0] | named_in_texts(n) for n in inner))
    sharing = Sharing(modules)
    sharing.add(statement for tree in trees for statement in tree.body)
    fleeting = _fleeting(nodes, inner)
    return Survey(_late(nodes, known), sharing.groups, parameters, modules, stateful, known.constants, late_names, fleeting)


def _fleeting(nodes: Iterable[ast.AST], inner: Iterable[ast.AST]) -> frozenset[str]:
    handled: set[str] = set()
    others = {name for scope in inner for name in free_names(scope)[1]}
    for node in nodes:
        if isinstance(node, ast.ExceptHandler):
            handled |= {node.name} if node.name else set()
        else:
            others.update(bound_by(node))
            if isinstance(node, ast.Call):
                magic, text = ipython_call(node), code_in(node)
                others |= of_magic(*magic).stores if magic else set()
                others |= module_names(text.body)[1] if text else set()
    return frozenset(handled - others)


class Sharing:
    """Which names may share an object, grown step by step: `groups` is name -> the names of its group."""

    def __init__(self, modules: frozenset[str]) -> None:
        self.modules = modules
        self.groups: dict[str, set[str]] = {}

    def add(self, statements: Iterable[ast.stmt]) -> None:
        """Join the names that these statements make share."""
        for statement in statements:
            for found in mutation.shared_in(statement):
                names = found - self.modules
                known = {id(group): group for n in names if (group := self.groups.get(n))}
                largest = max(known.values(), key=len, default=set[str]())
                new = names.union(*(group for group in known.values() if group is not largest)) - largest
                largest |= new  # the smaller ones join the largest, so that no name moves often
                for name in new:
                    self.groups[name] = largest

    def begin(self, statements: Iterable[ast.stmt]) -> None:
        """Forget what the names shared so far that these statements bind anew before they use them."""
        seen: set[str] = set()
        for statement in statements:
            loads, stores = module_names([statement])
            self._drop(mutation.bound_anew(statement) - seen)
            seen |= loads | stores

    def end(self, statements: Iterable[ast.stmt], variables: Set[str]) -> None:
        """Forget the names that live in comprehensions only, so that they join nothing below."""
        for statement in statements:
            self._drop(mutation.comprehension_names(statement) - variables)

    def _drop(self, names: Iterable[str]) -> None:
        for name in names:
            group = self.groups.pop(name, None)
            if group:
                group.discard(name)


def _changed_parameters(nodes: list[ast.AST], modules: frozenset[str], stateful: frozenset[str]) -> dict[str, frozenset[int]]:
    """Function -> positions of the parameters that it changes, also through functions it hands them to."""
    functions = [n for n in nodes if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    found: dict[str, frozenset[int]] = {}
    for _ in range(3):  # three calls deep is enough for a guess
        before = dict(found)
        for function in functions:
            changed = mutation.touched(mutation.own_nodes(function), modules, stateful, found)
            found[function.name] = mutation.changed_parameters(function, changed)
        if found == before:
            break
    return found


@once
def _nested(statement: ast.AST) -> list[ast.AST]:
    """The functions and classes anywhere in a statement, those in texts of code included."""
    found: list[ast.AST] = []
    for node in every_node(statement):
        if isinstance(node, (*FunctionNode, ast.ClassDef)):
            found.append(node)
        elif isinstance(node, ast.Call):
            text = code_in(node)
            if text:
                found += [n for n in ast.walk(text) if isinstance(n, (*FunctionNode, ast.ClassDef))]
    return found


def _late(nodes: list[ast.AST], known: Survey) -> Mapping[str, Late]:
    """Name -> what calling it may need, followed through the functions that it calls and the names that carry it."""
    direct: dict[str, Late] = {}
    carries: dict[str, set[str]] = {}
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found = _of_definition(node, known)
            direct[node.name] = _either(direct[node.name], found, known) if node.name in direct else found
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                for name in mutation.roots(target):
                    if isinstance(node.value, ast.Lambda):
                        found = _of_definition(node.value, known)
                        direct[name] = _either(direct[name], found, known) if name in direct else found
                    else:
                        carries.setdefault(name, set()).update(_carried(node.value))
    return _Closure(direct, carries, known)


def _either(one: Late, other: Late, known: Survey) -> Late:
    """What a name does that is bound to one function here and to another there."""
    return Late(
        one.loads | other.loads,
        one.stores | other.stores,
        one.touches | other.touches,
        one.files.union(other.files, *(files_of(late.opens, known, {}) for late in (one, other) if late.opens)),
        None,
        one.draws or other.draws,
        one.seeds or other.seeds,
    )


def _of_definition(node: ast.AST, known: Survey) -> Late:
    """What one function or class does by itself."""
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
        opened |= files_of(inner, known, {})
        own = known.stateful | set(parameters_of(inner)) | set(mutation.stateful_names(nodes))
        draws = draws or randomness.reaches_generator(nodes, own)
        for part in nodes:
            if isinstance(part, ast.Call):
                name = part.func.attr if isinstance(part.func, ast.Attribute) else getattr(part.func, "id", "")
                seeds = seeds or randomness.seeds(part, name)
                draws = draws or randomness.draws(part, name, own)
    vague = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and any(files.is_vague(path) for _, path in opened)
    sure = frozenset(f for f in opened if not (vague and files.is_vague(f[1])))
    opens = node if vague and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else None
    return Late(loads | reflections(node) | named_in_texts(node), stores, frozenset(touches), sure, opens, draws, seeds)


def files_of(function: ast.AST, known: Survey, given: Mapping[str, str]) -> set[Opened]:
    """The files that a function opens in its own body where its parameters have these texts."""
    nodes = mutation.own_nodes(function)
    calls = [n for n in nodes if isinstance(n, ast.Call)]
    if not calls:
        return set()
    local = {name for n in nodes for name in bound_by(n)} | set(parameters_of(function))
    texts = {name: text for name, text in known.constants.items() if name not in local} | dict(given)
    once_bound: dict[str, ast.AST | None] = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            once_bound[name] = None if name in once_bound or name in given else node.value
    for name, value in once_bound.items():
        text = files.fold(value, texts) if value else None
        texts |= {name: text} if text else {}
    return {found for call in calls for found in files.opened_by(call, texts)}


def files_of_call(call: ast.Call, function: ast.FunctionDef | ast.AsyncFunctionDef, known: Survey) -> set[Opened]:
    """The files that a call of a function opens, its paths put together from the arguments of the call."""
    arguments = function.args
    names = [a.arg for a in [*arguments.posonlyargs, *arguments.args]]
    values = dict(zip(reversed(names), reversed(arguments.defaults), strict=False))
    values |= {a.arg: d for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d}
    if not any(isinstance(a, ast.Starred) for a in call.args):
        values |= dict(zip(names, call.args, strict=False))
    values |= {k.arg: k.value for k in call.keywords if k.arg}
    given = {name: text for name, value in values.items() if (text := files.fold(value, known.constants))}
    return files_of(function, known, given)


class _Closure(Mapping[str, Late]):
    """`Late` of every name with all that it may reach; put together for the names that are asked for.

    What reaches what is kept as bits of whole numbers, so that a thousand functions in a chain are cheap.
    """

    def __init__(self, direct: Mapping[str, Late], carries: Mapping[str, set[str]], known: Survey) -> None:
        self._direct = direct
        self._known = known
        self._names = [*direct, *(name for name in carries if name not in direct)]
        place = {name: i for i, name in enumerate(self._names)}
        self._place = place
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

    def get(self, name: str, default: Any = None) -> Any:
        return default if name not in self else self[name]  # noqa: SIM401 - and no error for the many names that are none

    def __getitem__(self, name: str) -> Late:
        if name in self._found:
            return self._found[name]
        bits = self._reach[self._place[name]] & self._definitions
        if not bits:
            raise KeyError(name)
        reached = [self._names[i] for i, bit in enumerate(reversed(f"{bits:b}")) if bit == "1"]
        parts = [self._direct[n] for n in reached]
        own = self._direct.get(name)
        opened = [p.files for p in parts]
        opened += [frozenset(files_of(p.opens, self._known, {})) for p in parts if p.opens and p is not own]
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

    def __contains__(self, name: object) -> bool:
        return name in self._place and bool(self._reach[self._place[name]] & self._definitions)

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._names if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@once
def reflections(node: ast.AST) -> frozenset[str]:
    """Ways of a function's body to see the whole namespace that aren't plain names, as names that stand for them."""
    found: set[str] = set()
    todo = [node]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Compare) and asks_for_main(node):
            continue
        if isinstance(node, ast.Attribute):
            found |= {"globals"} if node.attr in FRAMES else set()
        elif isinstance(node, ast.Constant):
            found |= {"__main__"} if node.value == "__main__" else set()
        todo += children(node)
    return frozenset(found)


def asks_for_main(node: ast.Compare) -> bool:
    """`__name__ == "__main__"`, which says nothing of the namespace."""
    sides = [node.left, *node.comparators]
    return any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)


def _carried(value: ast.AST) -> set[str]:
    """Names whose functions or classes the value may hold: `C()` carries C, `[f]` and `partial(f)` carry f.

    The function of a plain call is left out (its result is data far more often than code), a class is not.
    """
    nodes = every_node(value)
    called = {id(n.func) for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
              and not n.func.id[:1].isupper()}  # fmt: skip
    return {n.id for n in nodes if isinstance(n, ast.Name) and id(n) not in called}
