"""Which global names a piece of Python may load or bind, through its nested functions, classes and comprehensions.

Standard library only. `symtable` is not used: it leaks comprehension targets on Python 3.12+ and reports no read for
`x += 1` or `del x`, and both would make a step miss a value that it needs.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

FunctionNode = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPES = frozenset({*FunctionNode, *Comprehension, ast.ClassDef})
_NO_NAMES: frozenset[str] = frozenset()

Found = TypeVar("Found")


def once(find: Callable[[ast.AST], Found]) -> Callable[[ast.AST], Found]:
    """Make a function remember on a node what it finds in it: nothing changes a tree after its cell was parsed.

    The analysis asks the same of a statement for its cell, its step and the notebook.
    """
    key = f"_{find.__module__}.{find.__name__}"

    @functools.wraps(find)
    def found(node: ast.AST) -> Found:
        kept = node.__dict__
        if key not in kept:
            kept[key] = find(node)
        result: Found = kept[key]
        return result

    return found


def remembered(node: ast.AST, key: str, known: Any, find: Callable[[], Any]) -> Any:
    """What was found on a node the last few times in the light of something equal to `known`; found now if it wasn't.

    Kept on the node, as `once` does, and so for as long as its cell is.
    """
    kept: list[tuple[Any, Any]] = node.__dict__.get(key, [])
    for each in kept:
        if each[0] == known:
            if each is not kept[0]:
                node.__dict__[key] = [each, *(other for other in kept if other is not each)]
            return each[1]
    result = find()
    node.__dict__[key] = [(known, result), *kept[: _KEPT - 1]]
    return result


_KEPT = 3


@once
def free_names(node: ast.AST) -> tuple[frozenset[str], frozenset[str]]:
    """(loads, stores): global names that running or calling a nested scope may read, and may bind or delete."""
    loads: set[str] = set()
    stores: set[str] = set()
    _collect(node, _NO_NAMES, loads, stores)
    return frozenset(loads), frozenset(stores)


def module_names(statements: Iterable[ast.stmt]) -> tuple[set[str], set[str]]:
    """The same for top-level statements, everything nested in them included."""
    found = [statement_names(statement) for statement in statements]
    return set[str]().union(*(loads for loads, _ in found)), set[str]().union(*(stores for _, stores in found))


@once
def statement_names(statement: ast.AST) -> tuple[frozenset[str], frozenset[str]]:
    """The same for one."""
    flat = is_flat(statement)
    found = kinds(statement) if flat else by_kind(scope_nodes(statement))
    names = found.get(ast.Name, ())
    loads = {node.id for node in names if node.ctx.__class__ is not ast.Store}
    stores = {node.id for node in names if node.ctx.__class__ is not ast.Load}
    for node in found.get(ast.AugAssign, ()):
        if isinstance(node.target, ast.Name):
            loads.add(node.target.id)
    for kind in () if flat else _SCOPES & found.keys():
        for node in found[kind]:
            if hasattr(node, "name"):
                stores.add(node.name)
            _collect(node, _NO_NAMES, loads, stores)
    if not BINDING.isdisjoint(found):
        stores.update(name for kind in BINDING & found.keys() for node in found[kind] for name in bound_by(node))
    return frozenset(loads), frozenset(stores)


@once
def scope_nodes(node: ast.AST) -> list[ast.AST]:
    """Every node of this scope, each before what it holds; of a nested scope itself and what is evaluated here."""
    found: list[ast.AST] = []
    todo = [node]
    while todo:
        node = todo.pop()
        found.append(node)
        kind = node.__class__
        if kind in _SCOPES:
            todo += reversed(evaluated_here(node))
            continue
        kept = node.__dict__
        for name in _PARTS_REVERSED[kind]:  # as `children` does, which a call for each node would slow down
            value = kept.get(name)
            if value.__class__ is list:
                todo += value[::-1] if None not in value else [item for item in reversed(value) if item is not None]
            elif value is not None:
                todo.append(value)
    return found


Kinds = Mapping[type, list[Any]]


def by_kind(nodes: Iterable[ast.AST]) -> Kinds:
    """Nodes by their class, those of each in the order given: most questions are about a few classes only."""
    found: dict[type, list[Any]] = {}
    for node in nodes:
        kind = node.__class__
        if kind in found:
            found[kind].append(node)
        else:
            found[kind] = [node]
    return found


@once
def kinds(node: ast.AST) -> Kinds:
    """All that a node holds, whatever the scope, by class: `by_kind(every_node(node))`, in one go since all code is read so."""
    found: dict[type, list[Any]] = {}
    todo = [node]
    while todo:
        node = todo.pop()
        kind = node.__class__
        if kind in found:
            found[kind].append(node)
        else:
            found[kind] = [node]
        kept = node.__dict__
        for name in _PARTS_REVERSED[kind]:
            value = kept.get(name)
            if value.__class__ is list:
                if value:
                    todo += value[::-1] if None not in value else [item for item in reversed(value) if item is not None]
            elif value is not None:
                todo.append(value)
    return found


def is_flat(statement: ast.AST) -> bool:
    """True for a statement with no scope in it: most are, and all ways to walk one come to the same."""
    return _SCOPES.isdisjoint(kinds(statement))


def every_node(node: ast.AST) -> list[ast.AST]:
    """A node and all that it holds, whatever the scope."""
    found = [node]
    for one in found:  # it grows
        found += children(one)
    return found


_LEAVES = frozenset({*ast.expr_context.__subclasses__(), *ast.operator.__subclasses__(), *ast.unaryop.__subclasses__(),
                     *ast.boolop.__subclasses__(), *ast.cmpop.__subclasses__()})  # fmt: skip
# Fields that hold text, numbers or what is in `_LEAVES`, in whatever class they are; `children` need not look at them.
_PLAIN = frozenset("id attr ctx op ops arg asname module level kind type_comment is_async simple conversion tag rest lineno "
                   "kwd_attrs type_ignores str".split())  # fmt: skip
_PARTS: dict[type, tuple[str, ...]] = {
    kind: () if kind in (ast.Constant, ast.Global, ast.Nonlocal, ast.MatchSingleton, ast.alias) else tuple(
        field for field in kind._fields
        if field not in _PLAIN and not (field == "name" and kind.__name__ != "TypeAlias") and not (
            field == "names" and kind in (ast.Import, ast.ImportFrom))
    )
    for kind in vars(ast).values() if isinstance(kind, type) and issubclass(kind, ast.AST)
}  # fmt: skip
_PARTS_REVERSED = {kind: fields[::-1] for kind, fields in _PARTS.items()}


def children(node: ast.AST) -> list[ast.AST]:
    """The nodes directly below a node, in the order of the source, without contexts, operators and the names of imports."""
    found: list[ast.AST] = []
    kept = node.__dict__
    for name in _PARTS[node.__class__]:
        value = kept.get(name)
        if value.__class__ is list:
            found += value if None not in value else [item for item in value if item is not None]
        elif value is not None:
            found.append(value)
    return found


def evaluated_here(node: ast.AST) -> list[ast.AST]:
    """What a definition evaluates in its enclosing scope: decorators, defaults, annotations, bases, first iterable.

    Bounds of type parameters are evaluated late, if ever; they count here, so that nothing they name is missed.
    """
    bounds = [part for p in getattr(node, "type_params", ()) for part in children(p)]
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
            *bounds,
        ]
    if isinstance(node, ast.Lambda):
        return [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *node.bases, *(k.value for k in node.keywords), *bounds]
    if isinstance(node, Comprehension):
        return [node.generators[0].iter]
    return []


BINDING = frozenset({ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.ExceptHandler,
                      ast.MatchAs, ast.MatchStar, ast.MatchMapping})  # fmt: skip


def bound_by(node: ast.AST) -> Iterator[str]:
    """Names that this node itself binds or deletes in its scope (not those of its children)."""
    if isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load):
            yield node.id
    elif node.__class__ not in BINDING:
        return
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.Import):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names if alias.name != "*")
    elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest


def parameters_of(node: ast.AST) -> list[str]:
    """The parameter names of a function or lambda, in order."""
    arguments: ast.arguments = node.args  # type: ignore[attr-defined]
    every = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    return [a.arg for a in every if a is not None]


def mangled(names: set[str], class_name: str) -> set[str]:
    """These names as the code in a class means them: `__x` there is `_Class__x`; as written they count, too."""
    private = {name for name in names if name.startswith("__") and not name.endswith("__")}
    return names | {f"_{class_name.lstrip('_')}{name}" for name in private}


def _collect(scope: ast.AST, enclosing: frozenset[str], loads: set[str], stores: set[str]) -> None:
    """Add the global names of one nested scope. `enclosing` holds the locals of the functions around it."""
    nodes = [n for part in _body(scope) for n in scope_nodes(part)]
    declared = {name for n in nodes if isinstance(n, ast.Global) for name in n.names}
    bound = {name for n in nodes for name in bound_by(n)}
    walrus: set[str] = set()  # `:=` inside a comprehension binds in the scope around it
    if isinstance(scope, FunctionNode):
        bound |= _assigned_inside(nodes)
    elif isinstance(scope, Comprehension):
        walrus = {n.target.id for n in nodes if isinstance(n, ast.NamedExpr)} - enclosing
        bound -= walrus
    own = (bound | set(parameters_of(scope))) if isinstance(scope, FunctionNode) else bound
    own -= declared
    stores |= (declared & bound) | walrus
    loads |= declared
    # A class body's names are not seen from its methods. A name that it binds is read as a global before, even where a
    # function around it has one of that name.
    is_class = isinstance(scope, ast.ClassDef)
    visible = enclosing if is_class else (enclosing | own) - declared
    hidden = enclosing - declared - bound if is_class else visible
    for node in nodes:
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Store) and node.id not in hidden:
                loads.add(node.id)
        elif node.__class__ in _SCOPES:
            _collect(node, frozenset(visible), loads, stores)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and node.target.id not in hidden:
            loads.add(node.target.id)
    if isinstance(scope, ast.ClassDef):
        loads |= mangled(loads, scope.name)
        stores |= mangled(stores, scope.name)


def _assigned_inside(nodes: Iterable[ast.AST]) -> set[str]:
    """Names that `:=` binds in the comprehensions among these nodes, however deep, but not in lambdas in them."""
    inner = [n for scope in nodes if isinstance(scope, Comprehension) for part in _body(scope) for n in scope_nodes(part)]
    found = {n.target.id for n in inner if isinstance(n, ast.NamedExpr)}
    return found | _assigned_inside(inner) if inner else found


def _body(scope: ast.AST) -> list[ast.AST]:
    if isinstance(scope, ast.Lambda):
        return [scope.body]
    if isinstance(scope, Comprehension):
        first, *others = scope.generators
        values: list[ast.AST] = [scope.key, scope.value] if isinstance(scope, ast.DictComp) else [scope.elt]
        return [first.target, *first.ifs, *others, *values]
    return list(scope.body)  # type: ignore[attr-defined]
