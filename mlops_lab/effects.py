"""What a cell or a step does to the namespace: which names it reads, binds, deletes and may change in place.

Data comes from the trees of `notebook.Cell`; it goes to `plan.py` (edges) and `checks.py` (diagnostics). Reads are
*sound*: a name is left out only when the code surely binds it first, on every path. Everything else is a guess that
makes the schedule. Standard library only.

Two passes: `survey` looks at the whole notebook once (what its functions need when they are called, which names may
share an object), then `effects_of` reads one piece of code in the light of that survey.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mlops_lab import files, mutation
from mlops_lab.scopes import FunctionNode, bound_by, evaluated_here, free_names, module_names, parameters_of
from mlops_lab.syntax import ipython_call

_REFLECTION = frozenset({"globals", "locals", "vars", "dir", "exec", "eval", "get_ipython", "__main__"})
_FRAMES = frozenset({"currentframe", "_getframe", "getframe", "__globals__", "f_globals", "f_locals"})
_HISTORY = re.compile(r"_|__|___|_\d+|_i{1,3}|_i\d+|_ih|_oh|_dh|In|Out")
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_SQL_TABLE = re.compile(r"\b(?:from|join|into|update)\s+([^\W\d]\w*)", re.IGNORECASE)
# Line and cell magics by what they do. Those that run Python were opened up by `syntax.py`.
_MAGIC_CONFIGURES = frozenset(
    "matplotlib config load_ext reload_ext autoreload precision env set_env pdb xmode colors autosave cd pylab "
    "config_inline alias_magic unload_ext gui automagic pprint".split()
)
_MAGIC_LOOKS = frozenset(
    "pinfo pinfo2 who whos who_ls psource pdoc pfile pdef lsmagic ls pwd magic history hist html svg latex markdown "
    "javascript js quickref page psearch dhist notebook HTML SVG".split()
)
_MAGIC_SHELL = frozenset("bash sh script sx system ! perl ruby python python3 python2 pypy cmd pip conda mamba uv".split())


@dataclass(frozen=True)
class Opaque:
    """Code whose reads and writes can't be known without running it: 1-based line, and what makes it so."""

    line: int
    reason: str


@dataclass(frozen=True)
class Late:
    """What a function or class of the notebook does when it is called, in the namespace of the step that calls it."""

    loads: frozenset[str] = frozenset()
    stores: frozenset[str] = frozenset()
    touches: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Survey:
    """What is known of the notebook as a whole, whatever the order in which its cells run."""

    late: Mapping[str, Late] = field(default_factory=dict)
    shared: Mapping[str, frozenset[str]] = field(default_factory=dict)
    parameters: Mapping[str, frozenset[int]] = field(default_factory=dict)
    modules: frozenset[str] = frozenset()
    stateful: frozenset[str] = frozenset()
    constants: Mapping[str, str] = field(default_factory=dict)
    late_names: frozenset[str] = frozenset()  # every global that some nested function may read, whoever calls it


@dataclass(frozen=True)
class Effects:
    """The effects of one piece of code. `reads` is sound; `binds` is certain; the rest is what may happen."""

    reads: frozenset[str] = frozenset()
    binds: frozenset[str] = frozenset()
    may_bind: frozenset[str] = frozenset()
    touches: frozenset[str] = frozenset()
    reads_files: frozenset[str] = frozenset()
    writes_files: frozenset[str] = frozenset()
    draws: bool = False
    seeds: bool = False
    opaque: tuple[Opaque, ...] = ()
    history: tuple[tuple[int, str], ...] = ()

    @property
    def writes(self) -> frozenset[str]:
        return self.may_bind | self.touches


def sharing(trees: Iterable[ast.Module], modules: frozenset[str]) -> dict[str, frozenset[str]]:
    """Name -> the names that may share its object once this code has run, itself included."""
    return _sharing([node for tree in trees for node in mutation.own_nodes(tree)], modules)


def survey(trees: Iterable[ast.Module]) -> Survey:
    """Look once at all the code of a notebook."""
    trees = list(trees)
    own = [mutation.own_nodes(tree) for tree in trees]
    nodes = [node for group in own for node in group]
    modules = frozenset(name for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom)) for name in bound_by(n))
    functions = [n for n in nodes if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    stateful = frozenset(mutation.stateful_names(nodes))
    parameters: dict[str, frozenset[int]] = {}
    for _ in range(3):  # a function that hands its parameter to another one; three calls deep is enough for a guess
        for function in functions:
            changed = mutation.touched(mutation.own_nodes(function), modules, stateful, parameters)
            parameters[function.name] = mutation.changed_parameters(function, changed)
    late = _late(nodes, modules, stateful, parameters)
    everything = [n for tree in trees for n in ast.walk(tree)]
    texts = [tree for n in everything if (tree := _code_text(n))]
    inner = [n for n in (*everything, *(n for t in texts for n in ast.walk(t))) if isinstance(n, (*FunctionNode, ast.ClassDef))]
    late_names = frozenset[str]().union(*(free_names(n)[0] | _named_in_texts(n) for n in inner))
    return Survey(late, _sharing(nodes, modules), parameters, modules, stateful, files.constants(trees), late_names)


def _code_text(node: ast.AST) -> ast.Module | None:
    """The code in `exec("...")` with a constant text."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"exec", "eval"} and node.args:
        text = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
        if isinstance(text, str):
            with contextlib.suppress(SyntaxError, ValueError):
                return ast.parse(text)
    return None


def _late(nodes: list[ast.AST], modules: frozenset[str], stateful: frozenset[str],
          parameters: Mapping[str, frozenset[int]]) -> dict[str, Late]:  # fmt: skip
    """Name -> what calling it may need, followed through the functions that it calls and the names that carry it."""
    direct: dict[str, Late] = {}
    carries: dict[str, set[str]] = {}
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            loads, stores = free_names(node)
            loads |= _reflections(node) | _named_in_texts(node)
            changed: set[str] = set()
            for inner in ast.walk(node):
                if isinstance(inner, FunctionNode):
                    local = {name for n in mutation.own_nodes(inner) for name in bound_by(n)} | set(parameters_of(inner))
                    changed |= mutation.touched(mutation.own_nodes(inner), modules, stateful, parameters) - local
            before = direct.get(node.name, Late())
            direct[node.name] = Late(before.loads | loads, before.stores | stores, before.touches | changed)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                for name in mutation.roots(target):
                    if isinstance(node.value, ast.Lambda):
                        loads, stores = free_names(node.value)
                        loads |= _named_in_texts(node.value)
                        direct[name] = Late(direct.get(name, Late()).loads | loads, frozenset(stores))
                    else:
                        carries.setdefault(name, set()).update(_carried(node.value))
    closed: dict[str, Late] = {}
    for name in {*direct, *carries}:
        seen: set[str] = set()
        todo = [name]
        while todo:
            current = todo.pop()
            if current in seen:
                continue
            seen.add(current)
            todo += [n for n in direct.get(current, Late()).loads if n in direct or n in carries]
            todo += [n for n in carries.get(current, ()) if n in direct or n in carries]
        parts = [direct[n] for n in seen if n in direct]
        if parts:
            called = frozenset(n for n in seen if n in direct and n != name)
            closed[name] = Late(
                called.union(*(p.loads for p in parts)),
                frozenset[str]().union(*(p.stores for p in parts)),
                frozenset[str]().union(*(p.touches for p in parts)),
            )
    return closed


def _reflections(node: ast.AST) -> set[str]:
    """Ways of a function's body to see the whole namespace that aren't plain names, as names that stand for them."""
    if isinstance(node, ast.Compare) and _asks_for_main(node):
        return set()
    found = set[str]().union(*(_reflections(child) for child in ast.iter_child_nodes(node)))
    if isinstance(node, ast.Attribute) and node.attr in _FRAMES:
        found.add("globals")
    if isinstance(node, ast.Constant) and node.value == "__main__":
        found.add("__main__")
    return found


def _named_in_texts(node: ast.AST) -> set[str]:
    """Variables that texts name to whoever evaluates them: queries (`@limit`), formulas (`y ~ x`), SQL (`from frame`)."""
    found: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            found |= _names_in_text(inner.value)
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr in {"eval", "evaluate"}:
            for argument in [*inner.args, *(k.value for k in inner.keywords)]:
                for part in ast.walk(argument):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        found |= set(_IDENTIFIER.findall(part.value))
    return found


def _names_in_text(text: str) -> set[str]:
    found = set(re.findall(r"@\s*([^\W\d]\w*)", text)) | set(_SQL_TABLE.findall(text))
    return found | set(_IDENTIFIER.findall(text)) if "~" in text else found


def _asks_for_main(node: ast.Compare) -> bool:
    """`__name__ == "__main__"`, which says nothing of the namespace."""
    sides = [node.left, *node.comparators]
    return any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)


def _carried(value: ast.AST) -> set[str]:
    """Names whose functions or classes the value may hold: `C()` carries C, `[f]` and `partial(f)` carry f.

    The function of a plain call is left out (its result is data far more often than code), a class is not.
    """
    called = {id(n.func) for n in ast.walk(value) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
              and not n.func.id[:1].isupper()}  # fmt: skip
    return {n.id for n in ast.walk(value) if isinstance(n, ast.Name) and id(n) not in called}


def _sharing(nodes: list[ast.AST], modules: frozenset[str]) -> dict[str, frozenset[str]]:
    """Name -> the names that may share its object, itself included."""
    group: dict[str, set[str]] = {}
    for names in mutation.shared(nodes):
        joined = set().union(*(group.get(n, {n}) for n in names - modules))
        for name in joined:
            group[name] = joined
    return {name: frozenset(names) for name, names in group.items()}


def effects_of(statements: Iterable[ast.stmt], known: Survey) -> Effects:
    """The effects of statements that run in this order in one namespace."""
    statements = list(statements)
    flow = _Flow(known)
    flow.run(statements)
    touches = mutation.touched(mutation.own_nodes(ast.Module(statements, [])), known.modules, known.stateful, known.parameters)
    touches |= flow.late_touches
    touches = touches.union(*(known.shared.get(name, frozenset()) for name in touches))
    _, stores = module_names(statements)
    return Effects(
        reads=frozenset(flow.need),
        binds=frozenset(flow.sure),
        may_bind=frozenset(stores | flow.late_stores | flow.extra_stores),
        touches=frozenset(touches),
        reads_files=frozenset(flow.reads_files),
        writes_files=frozenset(flow.writes_files),
        draws=flow.draws,
        seeds=flow.seeds,
        opaque=tuple(flow.opaque),
        history=tuple(flow.history),
    )


class _Flow(ast.NodeVisitor):
    """Walks statements in the order of execution; `sure` holds the names that are bound on every path so far."""

    def __init__(self, known: Survey) -> None:
        self.known = known
        self.sure: set[str] = set()
        self.need: set[str] = set()
        self.late_stores: set[str] = set()
        self.late_touches: set[str] = set()
        self.extra_stores: set[str] = set()
        self.reads_files: set[str] = set()
        self.writes_files: set[str] = set()
        self.draws = self.seeds = False
        self.opaque: list[Opaque] = []
        self.history: list[tuple[int, str]] = []

    def run(self, statements: Iterable[ast.AST]) -> None:
        for statement in statements:
            self.visit(statement)

    # -- names ---------------------------------------------------------------------------------------------------

    def use(self, name: str) -> None:
        if name not in self.sure:
            self.need.add(name)

    def load(self, name: str, line: int) -> None:
        self.use(name)
        late = self.known.late.get(name)
        if late:
            for needed in late.loads:
                self.use(needed)
                self._reflect(needed, line)
            self.late_stores |= late.stores
            self.sure -= late.stores  # it may be deleted there
            self.late_touches |= late.touches
        self._reflect(name, line)
        if name not in self.sure and _HISTORY.fullmatch(name):
            self.history.append((line, name))

    def _reflect(self, name: str, line: int) -> None:
        if name in _REFLECTION and (name not in self.sure or name == "get_ipython"):
            self.opaque.append(Opaque(line, name if name == "__main__" else f"{name}()"))

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.sure.add(node.id)
        elif isinstance(node.ctx, ast.Del):
            self.use(node.id)
            # A deletion can only be passed on by a step that had the name.
            self.need.add(node.id)
            self.sure.discard(node.id)
        else:
            self.load(node.id, node.lineno)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.load(node.target.id, node.lineno)
            self.visit(node.value)
            self.visit(node.target)
        else:  # the parts of the target are evaluated before the value
            self.visit(node.target)
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        self.run(node.targets)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)
        if node.value or not isinstance(node.target, ast.Name):
            self.visit(node.target)
        self.perhaps([node.annotation])

    def visit_Dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            self.run([*([key] if key else []), value])

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.slice, ast.Name) and node.slice.id == "__name__":
            self._reflect("__main__", node.lineno)  # `sys.modules[__name__]`
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.visit(node.target)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.sure |= set(bound_by(node))
        if getattr(node, "module", "") == "__main__" or any(alias.name == "__main__" for alias in node.names):
            self.opaque.append(Opaque(node.lineno, "__main__"))

    visit_ImportFrom = visit_Import

    # -- paths ---------------------------------------------------------------------------------------------------

    def branches(self, *bodies: Iterable[ast.AST]) -> None:
        """Run alternatives: only what all of them bind is sure afterwards."""
        before, ends = set(self.sure), []
        for body in bodies:
            self.sure = set(before)
            self.run(body)
            ends.append(self.sure)
        self.sure = set.intersection(*ends) if ends else before

    def perhaps(self, *bodies: Iterable[ast.AST]) -> None:
        """Run bodies of which none may happen: nothing is sure afterwards that wasn't before."""
        before = set(self.sure)
        ends = [before]
        for body in bodies:
            self.sure = set(before)
            self.run(body)
            ends.append(self.sure)
        self.sure = set.intersection(*ends)  # what a body may have deleted is not sure either

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.branches(node.body, node.orelse)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        self.perhaps([node.body], [node.orelse])

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.visit(node.values[0])
        before = set(self.sure)
        self.run(node.values[1:])
        self.sure = before

    def visit_Constant(self, node: ast.Constant) -> None:
        if node.value == "__main__" or (isinstance(node.value, str) and "import" in node.value and "__main__" in node.value):
            self._reflect("__main__", node.lineno)
        if isinstance(node.value, str):
            for name in _names_in_text(node.value):
                self.use(name)

    def visit_Compare(self, node: ast.Compare) -> None:
        if _asks_for_main(node):
            self.load("__name__", node.lineno)
            return
        self.visit(node.left)
        self.visit(node.comparators[0])
        before = set(self.sure)
        self.run(node.comparators[1:])
        self.sure = before

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self.perhaps([node.target, *node.body], node.orelse)

    visit_AsyncFor = visit_For

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self.perhaps(node.body, node.orelse)

    def visit_Try(self, node: ast.Try) -> None:
        before = set(self.sure)
        self.run([*node.body, *node.orelse])
        ends = [self.sure]
        for handler in node.handlers:
            self.sure = set(before)
            if handler.type:
                self.visit(handler.type)
            if handler.name:
                # `except E as e` binds e and then deletes it; a step that never had it can't pass that on.
                self.need.add(handler.name)
                self.sure.add(handler.name)
            self.run(handler.body)
            ends.append(self.sure)
        self.sure = set.intersection(before, *ends)
        self.run(node.finalbody)
        self.sure = self.sure - {handler.name for handler in node.handlers if handler.name}

    visit_TryStar = visit_Try  # type: ignore[assignment]

    def visit_Assert(self, node: ast.Assert) -> None:
        self.visit(node.test)
        if node.msg:
            self.perhaps([node.msg])

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.visit(item.context_expr)
        before = set(self.sure)
        for item in node.items:
            if item.optional_vars:
                self.visit(item.optional_vars)
        self.run(node.body)
        # A context manager may swallow an exception and so cut its body short.
        self.sure = before & self.sure

    visit_AsyncWith = visit_With

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        before = set(self.sure)
        ends = [before]
        for case in node.cases:
            self.sure = set(before)
            self.visit(case.pattern)
            # Names are bound once the whole pattern has matched.
            self.sure |= {name for part in ast.walk(case.pattern) for name in bound_by(part)}
            self.run([*([case.guard] if case.guard else []), *case.body])
            ends.append(self.sure)
        self.sure = set.intersection(*ends)

    # -- scopes --------------------------------------------------------------------------------------------------

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.run(evaluated_here(node))
        if node.decorator_list:
            self._scope(node)  # the decorator may call it, or hand it to somebody who does
        self.sure.add(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.run(evaluated_here(node))
        if node.decorator_list or node.bases or node.keywords:
            self._scope(node)
        else:
            # The body runs now; the bodies of its methods run when they are called.
            for statement in node.body:
                if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    if statement.decorator_list:
                        self._scope(statement)  # the decorator may call it
                    self.run(evaluated_here(statement))
                else:
                    loads, stores = module_names([statement])
                    for name in loads | stores | _named_in_texts(statement):
                        self.load(name, statement.lineno)
        self.sure.add(node.name)

    def _scope(self, node: ast.AST) -> None:
        self.run(evaluated_here(node))
        loads, stores = free_names(node)
        line = getattr(node, "lineno", 1)
        for name in loads | _reflections(node):
            self.load(name, line)
        self.late_stores |= stores
        for inner in ast.walk(node):
            if isinstance(inner, ast.Call):
                self._call(inner)
            elif isinstance(inner, ast.Attribute):
                self._attribute(inner)

    def visit_Lambda(self, node: ast.AST) -> None:
        self._scope(node)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_Lambda

    # -- calls ---------------------------------------------------------------------------------------------------

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._attribute(node)
        self.generic_visit(node)

    def _attribute(self, node: ast.Attribute) -> None:
        if node.attr in _FRAMES or node.attr == "get_ipython":
            self.opaque.append(Opaque(node.lineno, f"{node.attr}()"))
        if (isinstance(node.value, ast.Name) and node.value.id == "random") or node.attr == "random":
            self.draws = True

    def visit_Call(self, node: ast.Call) -> None:
        magic = ipython_call(node)
        if magic:
            self._magic(node, *magic)
            return
        if self._call(node):
            self.run([*node.args, *(k.value for k in node.keywords)])
            return
        self.visit(node.func)
        self.run([*node.args, *(k.value for k in node.keywords)])

    def _call(self, node: ast.Call) -> bool:
        """Note what a call does besides loading names. True if its function was understood and must not be loaded."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        bare = isinstance(node.func, ast.Name) and name not in self.sure
        text = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        opened = files.touched_by(node, self.known.constants)
        if opened:
            (self.reads_files if opened[0] == "read" else self.writes_files).add(opened[1])
        if "seed" in name or name in {"setstate", "set_state", "set_rng_state"}:
            self.seeds = True
        if name in {"shuffle", "sample", "rand", "randn", "randint", "choice", "permutation", "train_test_split"}:
            self.draws = True
        if name in {"load", "loads", "read_pickle", "Unpickler"}:
            # A pickle may refer to any class or function of the notebook by its name.
            for defined in self.known.late:
                self.use(defined)
        if bare and name in {"exec", "eval"} and isinstance(text, str) and len(node.args) == 1:
            try:
                inner = ast.parse(text.lstrip(" \t") if name == "eval" else text)
            except (SyntaxError, ValueError):
                return True
            loads, stores = module_names(inner.body)
            for used in loads | stores:
                self.load(used, node.lineno)
            self.extra_stores |= stores
            return True
        if bare and name in {"vars", "dir"} and node.args:
            return True
        if isinstance(node.func, ast.Attribute) and name in {"query", "eval", "evaluate"}:
            expression = next(iter(node.args), next((k.value for k in node.keywords if k.arg in {"expr", "ex"}), None))
            if expression is not None and not isinstance(expression, (ast.Constant, ast.JoinedStr)):
                what = f"{ast.unparse(node.func)}() of a text that is made when it runs"
                self.opaque.append(Opaque(node.lineno, what))
        for word in _named_in_texts(node):
            self.use(word)
        return False

    def _magic(self, node: ast.Call, method: str, arguments: list[str | None]) -> None:
        name = arguments[0] if arguments else None
        rest = " ".join(a or "" for a in arguments[1:])
        # IPython expands {expression} and $name in what it hands to a magic or to the shell.
        expanded = " ".join(a or "" for a in (arguments[:2] if method == "run_cell_magic" else arguments))
        for word in re.findall(r"\{([^{}]+)\}", expanded):
            for used in _IDENTIFIER.findall(word):
                self.load(used, node.lineno)
        for used in re.findall(r"\$\{?([^\W\d]\w*)", expanded):
            self.use(used)
        if method in {"system", "getoutput", "getoutput_detail"} or name in _MAGIC_SHELL:
            self.reads_files.add(files.UNKNOWN)
            self.writes_files.add(files.UNKNOWN)
            match = re.search(r"--out[ =]([^\W\d]\w*)", rest)
            if match:
                self.extra_stores.add(match[1])
        elif name in {"writefile", "file"}:
            words = [word for word in (arguments[1] or "").split() if not word.startswith("-")] if arguments[1:] else []
            self.writes_files.add(words[0] if words else files.UNKNOWN)
        elif name in _MAGIC_LOOKS:
            if name in {"who", "whos", "who_ls"}:
                self.opaque.append(Opaque(node.lineno, f"%{name}"))
            for used in _IDENTIFIER.findall(rest) if name in {"pinfo", "pinfo2", "psource", "pdoc"} else ():
                self.use(used)
        elif name not in _MAGIC_CONFIGURES:
            what = f"%{name}" if method != "run_cell_magic" else f"%%{name}"
            self.opaque.append(Opaque(node.lineno, what if name else f"get_ipython().{method}()"))
