"""Guesses at which variables a piece of code changes in place, and which names may share an object.

These make the edges of the plan, and so its parallelism; they never decide a result (versions do that when a step
runs). A wrong guess costs time: an edge too many, or a step that runs twice. Standard library only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from mlops_lab.scopes import (
    Comprehension,
    FunctionNode,
    Kinds,
    by_kind,
    every_node,
    is_flat,
    kinds,
    once,
    parameters_of,
    scope_nodes,
)

# Methods that change their receiver even where their result is used.
MUTATORS = frozenset(
    "append extend insert pop popitem remove discard add clear update setdefault sort reverse fit partial_fit fit_transform "
    "fit_predict fit_resample train step backward zero_grad load_state_dict set_params write writelines send appendleft "
    "popleft extendleft rotate shuffle seed requires_grad_ uniform_ normal_ zero_ fill_ add_ mul_ __setitem__ learn_one "
    "warmup compile load_weights add_edge add_node add_edges_from add_nodes_from".split()
)
# Methods whose dropped result says nothing of a change: people call these to look.
_LOOKS = frozenset(
    "head tail describe info show plot hist scatter bar display print sample value_counts summary predict score transform "
    "predict_proba groupby mean sum count corr to_csv to_parquet to_json to_excel to_pickle savefig save copy keys values "
    "items join format startswith exists mkdir boxplot heatmap evaluate".split()
)
# Methods that keep, but don't change, what they are given.
_KEEP_ARGUMENTS = frozenset("append extend insert add setdefault update appendleft put push register".split())
_ARGUMENTS_SAFE = (
    _LOOKS
    | _KEEP_ARGUMENTS
    | frozenset(
        "fit partial_fit fit_transform fit_predict remove discard set_title set_xlabel set_ylabel legend axhline axvline "
        "fill_between errorbar imshow pcolormesh contour contourf text annotate set_xticks set_yticks set_xticklabels "
        "set_yticklabels set log_metric log_param log_params log_metrics log_artifact log_model barh step stem pie "
        "violinplot log info debug "
        "warning error assert_allclose assert_array_equal assert_frame_equal assert_series_equal isinstance len min max id "
        "type repr".split()
    )
)
# Functions that change their first argument.
_CHANGES_FIRST = frozenset(
    "shuffle heappush heappop heapify heapreplace heappushpop insort insort_left insort_right setattr delattr next at "
    "fill_diagonal put place copyto putmask".split()
)
_SAFE_ROOTS = frozenset("plt sns np pd px go mlflow json os sys time math warnings logging print display pprint re".split())
_STATEFUL_MAKERS = frozenset("default_rng RandomState Random Generator SeedSequence iter cycle count".split())


def touched(nodes: Kinds, modules: frozenset[str], stateful: frozenset[str],
            parameters: Mapping[str, frozenset[int]]) -> set[str]:  # fmt: skip
    """Names whose objects these nodes (of statements as a whole) may change in place.

    `modules` are names bound by imports, `stateful` names of generators whose every use changes them, `parameters` the
    positions of the arguments that a function of the notebook changes.
    """
    found: set[str] = set()
    for kind in (ast.Attribute, ast.Subscript):
        for node in nodes.get(kind, ()):
            if node.ctx.__class__ is not ast.Load:
                found |= roots(node)
    for node in nodes.get(ast.AugAssign, ()):
        found |= roots(node.target)
    calls = nodes.get(ast.Call, ())
    if calls:
        dropped = {id(n.value.value if isinstance(n.value, ast.Await) else n.value) for n in nodes.get(ast.Expr, ())}
        for node in calls:
            found |= _changed_by_call(node, id(node) in dropped, modules, stateful, parameters)
    return found - modules


def _changed_by_call(call: ast.Call, dropped: bool, modules: frozenset[str], stateful: frozenset[str],
                     parameters: Mapping[str, frozenset[int]]) -> set[str]:  # fmt: skip
    found: set[str] = set()
    name, receiver = _called(call)
    for argument in _arguments(call) if stateful else ():
        found |= roots(argument) & stateful
    of_module = False
    if receiver is not None:
        owners = roots(receiver)
        of_module = not owners.isdisjoint(modules)
        if not of_module and (
            name in MUTATORS
            or (dropped and name not in _LOOKS)
            or any(k.arg == "inplace" and not _is_false(k.value) for k in call.keywords)
            or not owners.isdisjoint(stateful)
        ):
            found |= owners
    if name in _CHANGES_FIRST and call.args:
        found |= roots(call.args[0])
    elif name in parameters and not of_module:
        for position in parameters[name]:
            if position < len(call.args):
                found |= roots(call.args[position])
        for keyword in call.keywords:
            found |= roots(keyword.value)
    elif dropped and name not in _ARGUMENTS_SAFE and _first_name(call.func) not in _SAFE_ROOTS:
        for argument in _arguments(call):
            found |= roots(argument)
    return found


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(k.value for k in call.keywords)]


def changed_parameters(function: ast.AST, names: set[str]) -> frozenset[int]:
    """Positions of the parameters among `names`."""
    return frozenset(i for i, name in enumerate(parameters_of(function)) if name in names)


def roots(node: ast.AST) -> set[str]:
    """The names that an expression's object may be reached from: `a.b[0].c` gives `a`, `[x, y]` gives both."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Constant):
        return set()
    if isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred, ast.Await, ast.NamedExpr)):
        return roots(node.value)
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return set().union(*(roots(e) for e in node.elts))
    if isinstance(node, ast.Dict):
        return set().union(*(roots(v) for v in node.values))
    if isinstance(node, ast.IfExp):
        return roots(node.body) | roots(node.orelse)
    if isinstance(node, ast.BoolOp):
        return set().union(*(roots(v) for v in node.values))
    if isinstance(node, ast.Call):
        name, receiver = _called(node)
        if name in {"copy", "deepcopy"}:
            return set()
        if receiver is not None and not (node.args or node.keywords):
            return roots(receiver)  # `model.parameters()`, `d.values()`, `plt.gca()`
        if name in {"enumerate", "zip", "reversed", "iter", "next", "list", "tuple", "dict", "sorted"}:
            passes = name in {"enumerate", "zip", "reversed", "iter"}
            return set().union(*(roots(a) for a in node.args)) if passes else set()
    return set()


@once
def shared_in(statement: ast.AST) -> list[frozenset[str]]:
    """Sets of names that may hold, or hold parts of, one object once a statement has run."""
    return [frozenset(names) for names in _shared(own_kinds(statement))]


@once
def bound_anew(statement: ast.AST) -> frozenset[str]:
    """Names that a statement gives another object without looking at what they held; a loop that may not run included."""
    pairs: list[tuple[ast.AST, ast.AST]] = []
    if isinstance(statement, ast.Assign):
        pairs = [(target, statement.value) for target in statement.targets]
    elif isinstance(statement, ast.AnnAssign) and statement.value:
        pairs = [(statement.target, statement.value)]
    elif isinstance(statement, (ast.For, ast.AsyncFor)):
        pairs = [(statement.target, statement.iter)]
    elif isinstance(statement, (ast.With, ast.AsyncWith)):
        pairs = [(item.optional_vars, item.context_expr) for item in statement.items if item.optional_vars]
    bound = frozenset(name for target, _ in pairs for name in _bound_in(target))
    if not bound or bound.isdisjoint([n.id for n in kinds(statement)[ast.Name] if n.ctx.__class__ is ast.Load]):
        return bound
    return bound.difference(*([n.id for n in kinds(value).get(ast.Name, ())] for _, value in pairs))


def _bound_in(target: ast.AST) -> list[str]:
    """The names that an assignment to this binds."""
    if isinstance(target, ast.Name):
        return [target.id]
    if isinstance(target, ast.Starred):
        return _bound_in(target.value)
    return [name for part in target.elts for name in _bound_in(part)] if isinstance(target, (ast.Tuple, ast.List)) else []


def _paired(target: ast.AST, iterable: ast.AST) -> list[tuple[ast.AST, ast.AST]]:
    """Which part of a loop's target goes through which iterable: `for i, (a, b) in enumerate(zip(x, y))`."""
    if isinstance(target, (ast.Tuple, ast.List)) and isinstance(iterable, ast.Call) and isinstance(iterable.func, ast.Name):
        parts, given = target.elts, iterable.args
        if not any(isinstance(part, ast.Starred) for part in (*parts, *given)):
            if iterable.func.id == "zip" and len(parts) == len(given):
                return [pair for part, one in zip(parts, given, strict=True) for pair in _paired(part, one)]
            if iterable.func.id == "enumerate" and len(parts) == 2 and given:
                return _paired(parts[1], given[0])
    return [(target, iterable)]


@once
def comprehension_names(statement: ast.AST) -> frozenset[str]:
    """The variables of the comprehensions in a statement."""
    if is_flat(statement):
        return frozenset()
    targets = [n.target for n in own_kinds(statement).get(ast.comprehension, ())]
    return frozenset(n.id for target in targets for n in every_node(target) if isinstance(n, ast.Name))


_JOINING = (ast.AnnAssign, ast.NamedExpr, ast.For, ast.AsyncFor, ast.comprehension, ast.withitem)


def _shared(nodes: Kinds) -> Iterator[set[str]]:
    pairs = [(target, node.value) for node in nodes.get(ast.Assign, ()) for target in node.targets]
    for node in (node for kind in _JOINING if kind in nodes for node in nodes[kind]):
        if isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value:
            pairs.append((node.target, node.value))
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
            pairs += _paired(node.target, node.iter)
        elif isinstance(node, ast.withitem) and node.optional_vars:
            pairs.append((node.optional_vars, node.context_expr))
    for node in nodes.get(ast.Call, ()):
        if isinstance(node.func, ast.Attribute) and node.func.attr in _KEEP_ARGUMENTS:
            pairs += [(node.func.value, argument) for argument in node.args]
    for target, value in pairs:
        if isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, (ast.Tuple, ast.List)):
            continue  # `a, b = b, a` moves objects, and joins too much if taken as sharing
        names = roots(target) | _shown_by(value) | _kept_by_constructor(value)
        if len(names) > 1:
            yield names


_RETURN_SELF = frozenset({"fit", "partial_fit", "set_params"})  # by scikit-learn's convention
_SHOWS = _RETURN_SELF | frozenset("parameters values items keys children modules view reshape ravel squeeze get gca".split())


def _shown_by(value: ast.AST) -> set[str]:
    """The names whose object an expression may show a part of. Selecting by a mask or calling a method makes a new one."""
    if isinstance(value, ast.Subscript) and not isinstance(value.slice, (ast.Constant, ast.Slice)):
        return set()
    if isinstance(value, ast.Call):
        name, receiver = _called(value)
        return _shown_by(receiver) if receiver is not None and name in _SHOWS else roots(value) if receiver is None else set()
    if isinstance(value, (ast.Attribute, ast.Subscript)):
        return _shown_by(value.value)
    return roots(value)


def stateful_names(nodes: Kinds) -> set[str]:
    """Names bound to a random generator or an iterator: each use of one changes it."""
    made = [node for node in nodes.get(ast.Assign, ()) if makes_stateful(node)]
    return {target.id for node in made for target in node.targets if isinstance(target, ast.Name)}


def makes_stateful(node: ast.Assign) -> bool:
    """True if what is assigned is a random generator or an iterator."""
    return isinstance(node.value, ast.Call) and _called(node.value)[0] in _STATEFUL_MAKERS


def _kept_by_constructor(value: ast.AST) -> set[str]:
    """What an object of a class keeps: `Adam(model.parameters())` shares with `model`, `Bagging(tree).fit(X)` with `tree`."""
    while isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr in _RETURN_SELF:
        value = value.func.value
    if not isinstance(value, ast.Call):
        return set()
    name, _ = _called(value)
    if not name[:1].isupper() or name in {"DataFrame", "Series", "Path", "Counter", "Decimal", "Fraction"}:
        return set()
    return set().union(set(), *(roots(a) for a in [*value.args, *(k.value for k in value.keywords)]))


def _called(call: ast.Call) -> tuple[str, ast.AST | None]:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr, call.func.value
    return getattr(call.func, "id", ""), None


def _first_name(node: ast.AST) -> str:
    while isinstance(node, (ast.Attribute, ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_false(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and not node.value


@once
def own_nodes(tree: ast.AST) -> list[ast.AST]:
    """Nodes of a module or of one function's body, without the bodies of functions and classes nested in it."""
    body = [tree.body] if isinstance(tree, ast.Lambda) else tree.body  # type: ignore[attr-defined]
    return [node for statement in body for node in statement_nodes(statement)]


@once
def body_kinds(tree: ast.AST) -> Kinds:
    """The same by class."""
    return by_kind(own_nodes(tree))


@once
def own_kinds(statement: ast.AST) -> Kinds:
    """The nodes of one statement by class, without the bodies of functions and classes in it."""
    return kinds(statement) if is_flat(statement) else by_kind(statement_nodes(statement))


@once
def statement_nodes(statement: ast.AST) -> list[ast.AST]:
    """The same for one statement."""
    if is_flat(statement):
        return scope_nodes(statement)
    found: list[ast.AST] = []
    for node in scope_nodes(statement):
        found.append(node)
        if isinstance(node, Comprehension):
            found += [n for n in every_node(node) if not isinstance(n, FunctionNode)]
    return found
