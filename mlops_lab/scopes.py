"""Which global names a piece of Python may load or bind, through its nested functions, classes and comprehensions.

Standard library only. `symtable` is not used: it leaks comprehension targets on Python 3.12+ and reports no read for
`x += 1` or `del x`, and both would make a step miss a value that it needs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

FunctionNode = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPES = (*FunctionNode, *Comprehension, ast.ClassDef)


def free_names(node: ast.AST) -> tuple[set[str], set[str]]:
    """(loads, stores): global names that running or calling a nested scope may read, and may bind or delete."""
    loads: set[str] = set()
    stores: set[str] = set()
    _collect(node, frozenset(), loads, stores)
    return loads, stores


def module_names(statements: Iterable[ast.stmt]) -> tuple[set[str], set[str]]:
    """The same for top-level statements, everything nested in them included."""
    loads: set[str] = set()
    stores: set[str] = set()
    for statement in statements:
        for node in walk_scope(statement):
            if isinstance(node, _SCOPES):
                stores |= {node.name} if hasattr(node, "name") else set()
                _collect(node, frozenset(), loads, stores)
            else:
                bound = set(bound_by(node))
                stores |= bound
                if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
                    loads.add(node.id)
                if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                    loads.add(node.target.id)
    return loads, stores


def walk_scope(node: ast.AST) -> Iterator[ast.AST]:
    """Every node of this scope; a nested scope is yielded itself, then what of it is evaluated here, not its body."""
    yield node
    children: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, _SCOPES):
        children = evaluated_here(node)
    for child in children:
        yield from walk_scope(child)


def evaluated_here(node: ast.AST) -> list[ast.AST]:
    """What a definition evaluates in its enclosing scope: decorators, defaults, annotations, bases, first iterable."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        annotations = [a.annotation for a in every if a is not None and a.annotation]
        return [
            *node.decorator_list,
            *arguments.defaults,
            *(d for d in arguments.kw_defaults if d),
            *annotations,
            *([node.returns] if node.returns else []),
        ]
    if isinstance(node, ast.Lambda):
        return [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *node.bases, *(k.value for k in node.keywords)]
    if isinstance(node, Comprehension):
        return [node.generators[0].iter]
    return []


def bound_by(node: ast.AST) -> Iterator[str]:
    """Names that this node itself binds or deletes in its scope (not those of its children)."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.Import):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names if alias.name != "*")
    elif (isinstance(node, ast.ExceptHandler) and node.name) or (isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name):
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest


def parameters_of(node: ast.AST) -> list[str]:
    """The parameter names of a function or lambda, in order."""
    arguments: ast.arguments = node.args  # type: ignore[attr-defined]
    every = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    return [a.arg for a in every if a is not None]


def _collect(scope: ast.AST, enclosing: frozenset[str], loads: set[str], stores: set[str]) -> None:
    """Add the global names of one nested scope. `enclosing` holds the locals of the functions around it."""
    body = _body(scope)
    nodes = [n for part in body for n in walk_scope(part)]
    declared = {name for n in nodes if isinstance(n, ast.Global) for name in n.names}
    bound = {name for n in nodes for name in bound_by(n)}
    if isinstance(scope, FunctionNode):
        # `:=` in a comprehension binds in the function around it.
        inner = [c for n in nodes if isinstance(n, Comprehension) for c in ast.walk(n)]
        bound |= {n.target.id for n in inner if isinstance(n, ast.NamedExpr)}
    walrus = set()
    if isinstance(scope, Comprehension):
        # `:=` inside a comprehension binds in the scope around it.
        walrus = {n.target.id for n in nodes if isinstance(n, ast.NamedExpr)} - enclosing
        bound -= walrus
    own = (bound | set(parameters_of(scope))) if isinstance(scope, FunctionNode) else bound
    own -= declared
    stores |= (declared & bound) | walrus
    loads |= declared
    # A class body's names are not seen from its methods, and a name it binds may still be read as a global before.
    visible = enclosing if isinstance(scope, ast.ClassDef) else (enclosing | own) - declared
    hidden = enclosing - declared if isinstance(scope, ast.ClassDef) else visible
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Load, ast.Del)) and node.id not in hidden:
            loads.add(node.id)
        if isinstance(node, _SCOPES):
            _collect(node, frozenset(visible), loads, stores)


def _body(scope: ast.AST) -> list[ast.AST]:
    if isinstance(scope, ast.Lambda):
        return [scope.body]
    if isinstance(scope, Comprehension):
        first, *others = scope.generators
        values: list[ast.AST] = [scope.key, scope.value] if isinstance(scope, ast.DictComp) else [scope.elt]
        return [first.target, *first.ifs, *others, *values]
    return list(scope.body)  # type: ignore[attr-defined]
