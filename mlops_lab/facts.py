"""What one cell's code adds to the survey of its notebook, found in one look and kept on its tree.

Most cells are the same from one analysis to the next, so all that depends on a cell's own code only is here; `late.survey`
puts the facts of all cells together. Standard library only.
"""

from __future__ import annotations

import ast
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple, TypeGuard

from mlops_lab import files, mutation
from mlops_lab.magic_effects import of_magic
from mlops_lab.reflection import FINDS_DEFINITIONS
from mlops_lab.scopes import (
    BINDING,
    FunctionNode,
    Kinds,
    bound_by,
    children,
    free_names,
    is_flat,
    kinds,
    mangled,
    module_names,
    once,
    statement_names,
)
from mlops_lab.syntax import ipython_call
from mlops_lab.texts import IDENTIFIER, code_in, named_in_texts

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda | ast.Call  # that makes a class
_NESTED = (*FunctionNode, ast.ClassDef)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORTS = (ast.Import, ast.ImportFrom)


class Facts(NamedTuple):
    """What a cell's code is by itself.

    `loads` and `stores` as `scopes.module_names` gives them; `modules`: names that imports bind; `stateful`: names of
    generators and iterators; `functions`: those outside of functions; `definitions`: (name, what it is bound to), in order;
    `carries`: (name, the names that its value may hold); `texts`: (name, value) of what may be a constant path; `bound`: how
    often a name is bound, wherever; `late_names`: globals that a nested function may read; `handled`: names of
    `except E as name`; `otherwise`: all that is bound in other ways; `shared`: names that may share an object; `anew`: what
    is bound before it is used; `targets`: variables of comprehensions; `words`: every name that the analysis may look up for
    this code; `pickles`: it may load a pickle.
    """

    loads: frozenset[str]
    stores: frozenset[str]
    modules: frozenset[str]
    stateful: frozenset[str]
    functions: tuple[ast.FunctionDef | ast.AsyncFunctionDef, ...]
    definitions: tuple[tuple[str, Definition], ...]
    carries: tuple[tuple[str, frozenset[str]], ...]
    texts: tuple[tuple[str, ast.AST], ...]
    bound: Mapping[str, int]
    late_names: frozenset[str]
    handled: frozenset[str]
    otherwise: frozenset[str]
    shared: tuple[frozenset[str], ...]
    anew: frozenset[str]
    targets: frozenset[str]
    words: frozenset[str]
    pickles: bool


@once
def facts_of(tree: ast.AST) -> Facts:
    """The facts of a cell's tree."""
    body: list[ast.stmt] = tree.body  # type: ignore[attr-defined]
    found = _Found()
    for statement in body:
        found.add(statement)
    return Facts(
        loads=frozenset(found.loads),
        stores=frozenset(found.stores),
        modules=frozenset(found.modules),
        stateful=frozenset(found.stateful),
        functions=tuple(found.functions),
        definitions=tuple(found.definitions),
        carries=tuple(found.carries),
        texts=tuple(found.texts),
        bound=Counter(found.bound),
        late_names=frozenset(found.late_names),
        handled=frozenset(found.handled),
        otherwise=frozenset(found.otherwise),
        shared=tuple(found.shared),
        anew=frozenset(found.anew),
        targets=frozenset(found.targets),
        words=_ALWAYS.union(found.words),
        pickles=not found.words.isdisjoint(FINDS_DEFINITIONS),
    )


class _Found:
    """The facts of the statements so far, by the names that they have in `Facts`."""

    def __init__(self) -> None:
        self.loads: set[str] = set()
        self.stores: set[str] = set()
        self.modules: set[str] = set()
        self.stateful: set[str] = set()
        self.functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
        self.definitions: list[tuple[str, Definition]] = []
        self.carries: list[tuple[str, frozenset[str]]] = []
        self.texts: list[tuple[str, ast.AST]] = []
        self.bound: list[str] = []
        self.late_names: set[str] = set()
        self.handled: set[str] = set()
        self.otherwise: set[str] = set()
        self.shared: list[frozenset[str]] = []
        self.anew: set[str] = set()
        self.targets: set[str] = set()
        self.words: set[str] = set()

    def add(self, statement: ast.stmt) -> None:
        """Take one more statement."""
        nodes = kinds(statement)
        loads, stores = statement_names(statement)
        anew = mutation.bound_anew(statement)
        if anew:
            self.anew |= anew - self.loads - self.stores  # as they were before this statement
        self.loads |= loads
        self.stores |= stores
        self.bound += [node.id for node in nodes.get(ast.Name, ()) if node.ctx.__class__ is ast.Store]
        self.shared += mutation.shared_in(statement)
        attributes = [node.attr for node in nodes.get(ast.Attribute, ())]
        if is_flat(statement):
            own = nodes  # whose words are its names and attributes
            self.words |= loads
            self.words |= stores
            self.words.update(attributes)
        else:
            own = mutation.own_kinds(statement)
            self._nested(statement, own)
        if own is nodes and BINDING.isdisjoint(own):
            self.otherwise |= stores
        else:
            self._bound(own)
        if not (_RUNS_TEXT.isdisjoint(loads) and _RUNS_TEXT.isdisjoint(attributes)):
            self._texts(statement, own)
        for node in own.get(ast.Assign, ()):
            self._assigned(node)
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and files.may_fold(statement.value):
            target = statement.targets[0]
            self.texts += [(target.id, statement.value)] if isinstance(target, ast.Name) else []

    def _bound(self, own: Kinds) -> None:
        """How names are bound."""
        self.handled.update(node.name for node in own.get(ast.ExceptHandler, ()) if node.name)
        self.otherwise.update(node.id for node in own.get(ast.Name, ()) if node.ctx.__class__ is not ast.Load)
        for kind in (BINDING & own.keys()) - {ast.ExceptHandler}:
            self.otherwise.update(name for node in own[kind] for name in bound_by(node))
        self.modules.update(name for kind in _IMPORTS for node in own.get(kind, ()) for name in bound_by(node))

    def _nested(self, statement: ast.stmt, own: Kinds) -> None:
        """What functions, classes and comprehensions do by themselves."""
        self.words |= words_of(statement)
        self.functions += [node for kind in _FUNCTIONS for node in own.get(kind, ())]
        self.definitions += [(node.name, node) for kind in (*_FUNCTIONS, ast.ClassDef) for node in own.get(kind, ())]
        self.targets |= mutation.comprehension_names(statement)
        self._later(kinds(statement))

    def _later(self, nodes: Kinds) -> None:
        """What the functions and classes among these nodes may use once they are called."""
        for scope in (scope for kind in _NESTED for scope in nodes.get(kind, ())):
            loads, stores = free_names(scope)
            self.late_names |= loads
            self.late_names |= named_in_texts(scope)
            self.otherwise |= stores

    def _texts(self, statement: ast.stmt, own: Kinds) -> None:
        """What is in texts that are run as code, or as magics."""
        self.words |= words_of(statement)
        for node in own.get(ast.Call, ()):
            if magic := ipython_call(node):
                self.otherwise |= of_magic(*magic).stores
        for node in kinds(statement).get(ast.Call, ()):
            if text := code_in(node):
                self._later(kinds(text))
                if node in own.get(ast.Call, ()):
                    self.otherwise |= module_names(text.body)[1]

    def _assigned(self, node: ast.Assign) -> None:
        """What the value of an assignment is."""
        names = [name for target in node.targets for name in mutation.roots(target)]
        if isinstance(node.value, ast.Lambda) or _defines(node.value):
            self.definitions += [(name, node.value) for name in names]
        elif names and (carried := _carried(node.value)):
            self.carries += [(name, carried) for name in names]
        if mutation.makes_stateful(node):
            self.stateful.update(target.id for target in node.targets if isinstance(target, ast.Name))


def _defines(value: ast.AST) -> TypeGuard[ast.Call]:
    """True for a call that makes a class, to which pickles may refer by its name, or that gives IPython's shell."""
    if not isinstance(value, ast.Call):
        return False
    name = getattr(value.func, "attr", getattr(value.func, "id", ""))
    return name in _DEFINING and (name != "type" or len(value.args) == 3)


def _carried(value: ast.AST) -> frozenset[str]:
    """Names whose functions or classes the value may hold: `C()` carries C, `[f]` and `partial(f)` carry f.

    The function of a plain call is left out (its result is data far more often than code), a class is not.
    """
    found: list[str] = []
    todo = [value]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Name):
            found.append(node.id)
        elif node.__class__ is not ast.Constant:
            below = children(node)
            if node.__class__ is ast.Call and isinstance(below[0], ast.Name) and not below[0].id[:1].isupper():
                del below[0]
            todo += below
    return frozenset(found)


_ALWAYS = frozenset({"__main__", "__name__", "globals", "get_ipython"})
_RUNS_TEXT = frozenset({"exec", "eval", "get_ipython", "cProfile", "profile"})
_DEFINING = frozenset({"namedtuple", "NamedTuple", "make_dataclass", "new_class", "create_model", "Enum", "IntEnum", "StrEnum",
                       "Flag", "IntFlag", "TypedDict", "NewType", "type", "get_ipython"})  # fmt: skip


@once
def words_of(code: ast.AST) -> frozenset[str]:
    """Every name that the analysis may look up in the survey for a piece of code: also attributes, and words of its texts."""
    nodes = kinds(code)
    words = {node.id for node in nodes.get(ast.Name, ())}
    words.update([node.attr for node in nodes.get(ast.Attribute, ())])
    for node in nodes.get(ast.ClassDef, ()):
        loads, stores = free_names(node)
        words |= mangled({*loads, *stores}, node.name)
    if not _RUNS_TEXT.isdisjoint(words):  # texts are read as code
        texts = [node.value for node in nodes.get(ast.Constant, ()) if node.value.__class__ is str]
        words.update(word for text in texts for word in IDENTIFIER.findall(text + unicodedata.normalize("NFKC", text)))
    return _ALWAYS.union(words)
