"""What one cell's code adds to the survey of its notebook, found in one look and kept on its tree.

Most cells are the same from one analysis to the next, so all that depends on a cell's own code only is here; `late.survey`
puts the facts of all cells together. Standard library only.
"""

from __future__ import annotations

import ast
import unicodedata
from collections import Counter
from dataclasses import dataclass

from mlops_lab import files, mutation
from mlops_lab.magic_effects import of_magic
from mlops_lab.scopes import (
    BINDING,
    FunctionNode,
    bound_by,
    free_names,
    kinds,
    mangled,
    module_names,
    once,
    statement_names,
)
from mlops_lab.syntax import ipython_call
from mlops_lab.texts import IDENTIFIER, code_in, named_in_texts

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
_NESTED = (*FunctionNode, ast.ClassDef)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_READS_PICKLES = frozenset({"load", "loads", "read_pickle", "Unpickler"})


@dataclass(frozen=True)
class Facts:
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
    bound: Counter[str]
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
    loads, stores = module_names(body)
    modules: set[str] = set()
    stateful: set[str] = set()
    handled: set[str] = set()
    otherwise: set[str] = set()
    functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
    definitions: list[tuple[str, Definition]] = []
    carries: list[tuple[str, frozenset[str]]] = []
    for statement in body:
        own = mutation.own_kinds(statement)
        handled.update(node.name for node in own.get(ast.ExceptHandler, ()) if node.name)
        otherwise.update(node.id for node in own.get(ast.Name, ()) if node.ctx.__class__ is not ast.Load)
        for kind in (BINDING & own.keys()) - {ast.ExceptHandler}:
            otherwise.update(name for node in own[kind] for name in bound_by(node))
        modules.update(name for kind in _IMPORTS for node in own.get(kind, ()) for name in bound_by(node))
        functions += [node for kind in _FUNCTIONS for node in own.get(kind, ())]
        definitions += [(node.name, node) for kind in (*_FUNCTIONS, ast.ClassDef) for node in own.get(kind, ())]
        for node in own.get(ast.Call, ()):
            magic, text = ipython_call(node), code_in(node)
            otherwise |= of_magic(*magic).stores if magic else set()
            otherwise |= module_names(text.body)[1] if text else set()
        for node in own.get(ast.Assign, ()):
            names = [name for target in node.targets for name in mutation.roots(target)]
            if isinstance(node.value, ast.Lambda):
                definitions += [(name, node.value) for name in names]
            elif names:
                carried = _carried(node.value)
                carries += [(name, carried) for name in names] if carried else []
        stateful |= mutation.stateful_names(own)
    inner = [scope for statement in body for scope in _nested(statement)]
    words = [_words(statement) for statement in body]
    return Facts(
        loads=frozenset(loads),
        stores=frozenset(stores),
        modules=frozenset(modules),
        stateful=frozenset(stateful),
        functions=tuple(functions),
        definitions=tuple(definitions),
        carries=tuple(carries),
        texts=tuple(found for statement in body if (found := _text(statement))),
        bound=Counter(name for _, bound, _ in words for name in bound),
        late_names=frozenset().union(*(free_names(scope)[0] | named_in_texts(scope) for scope in inner)),
        handled=frozenset(handled),
        otherwise=frozenset(otherwise.union(*(free_names(scope)[1] for scope in inner))),
        shared=tuple(frozenset(names) for statement in body for names in mutation.shared_in(statement)),
        anew=_anew(body),
        targets=frozenset().union(*(mutation.comprehension_names(statement) for statement in body)),
        words=_ALWAYS.union(*(each for each, _, _ in words)),
        pickles=any(pickles for _, _, pickles in words),
    )


@once
def _nested(statement: ast.AST) -> list[ast.AST]:
    """The functions and classes anywhere in a statement, those in texts of code included."""
    nodes = kinds(statement)
    found: list[ast.AST] = [node for kind in _NESTED for node in nodes.get(kind, ())]
    for node in nodes.get(ast.Call, ()):
        text = code_in(node)
        if text:
            found += [n for n in ast.walk(text) if n.__class__ in _NESTED]
    return found


def _carried(value: ast.AST) -> frozenset[str]:
    """Names whose functions or classes the value may hold: `C()` carries C, `[f]` and `partial(f)` carry f.

    The function of a plain call is left out (its result is data far more often than code), a class is not.
    """
    if value.__class__ is ast.Constant:
        return frozenset()
    nodes = kinds(value)
    called = {id(n.func) for n in nodes.get(ast.Call, ()) if isinstance(n.func, ast.Name) and not n.func.id[:1].isupper()}
    return frozenset(n.id for n in nodes.get(ast.Name, ()) if id(n) not in called)


def _text(statement: ast.stmt) -> tuple[str, ast.AST] | None:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        if isinstance(target, ast.Name) and files.may_fold(statement.value):
            return target.id, statement.value
    return None


def _anew(body: list[ast.stmt]) -> frozenset[str]:
    """What these statements give another object before they use what it held."""
    found: set[str] = set()
    seen: set[str] = set()
    for statement in body:
        found |= mutation.bound_anew(statement) - seen
        seen.update(*statement_names(statement))
    return frozenset(found)


_ALWAYS = frozenset({"__main__", "__name__", "globals", "get_ipython"})


def words_of(node: ast.AST) -> frozenset[str]:
    """Every name that the analysis may look up in the survey for a piece of code: also attributes, and words of its texts."""
    return _words(node)[0] | _ALWAYS


@once
def _words(code: ast.AST) -> tuple[frozenset[str], list[str], bool]:
    """The words of a piece of code, the names that it binds (each as often as it does), and whether it may load a pickle."""
    nodes = kinds(code)
    names = nodes.get(ast.Name, ())
    words = {node.id for node in names}
    words.update([node.attr for node in nodes.get(ast.Attribute, ())])
    called = {getattr(node.func, "attr", "") or getattr(node.func, "id", "") for node in nodes.get(ast.Call, ())}
    for node in nodes.get(ast.ClassDef, ()):
        loads, stores = free_names(node)
        words |= mangled({*loads, *stores}, node.name)
    if not called.isdisjoint(("exec", "eval", "get_ipython")):  # texts are read as code
        texts = [node.value for node in nodes.get(ast.Constant, ()) if node.value.__class__ is str]
        words.update(word for text in texts for word in IDENTIFIER.findall(text + unicodedata.normalize("NFKC", text)))
    bound = [node.id for node in names if node.ctx.__class__ is ast.Store]
    return frozenset(words), bound, not called.isdisjoint(_READS_PICKLES)
