"""Follows code in the order of execution and notes which names are surely bound before they are read.

`effects.py` makes `Effects` of what a `Flow` has found. It begins with no name bound, but also tells what would be otherwise if
some were, so that what a step does is put together from its cells. Standard library only.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Sequence

from mlops_lab import files, randomness
from mlops_lab.late import Late, Names
from mlops_lab.magic_effects import of_magic
from mlops_lab.reflection import (
    FINDS_DEFINITIONS,
    FRAMES,
    RUNNERS,
    Opaque,
    asks_for_main,
    finds_definitions,
    reflections,
    runs_tests,
)
from mlops_lab.scopes import (
    bound_by,
    children,
    evaluated_here,
    every_node,
    free_names,
    kinds,
    mangled,
    module_names,
)
from mlops_lab.syntax import ipython_call
from mlops_lab.texts import evaluated_names, named_in_texts, names_in_text, runs_text

_REFLECTION = frozenset({"globals", "locals", "vars", "dir", "exec", "eval", "get_ipython", "__main__"})
_HISTORY = re.compile(r"_|__|___|_\d+|_i{1,3}|_i\d+|_ih|_oh|_dh|In|Out")
# Names that mean something else to the analysis where the code has bound them.
GUARDED = _REFLECTION | {"exec", "eval", "vars", "dir"}


class Flow:
    """Walks statements in the order of execution; `sure` holds the names that are bound on every path so far.

    `lost` holds those that may be unbound by now even if they were bound at the start, `firm` the part of `need` that would be
    needed then, too. Whether any other name is bound is as it was at the start.
    """

    def __init__(self, known: Names) -> None:
        self.known = known
        self.stateful = known.stateful
        self.constants = known.constants
        self.sure: set[str] = set()
        self.lost: set[str] = set()
        self.need: set[str] = set()
        self.firm: set[str] = set()
        self.late_stores: set[str] = set()
        self.late_touches: set[str] = set()
        self.extra_stores: set[str] = set()
        self.files: set[tuple[str, str]] = set()
        self.draws = self.seeds = False
        self.opaque: list[Opaque] = []
        self.history: list[tuple[int, str]] = []

    def run(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            visit = _VISITS.get(node.__class__)
            if visit:
                visit(self, node)
            else:
                self.run(children(node))

    def visit(self, node: ast.AST) -> None:
        visit = _VISITS.get(node.__class__)
        if visit:
            visit(self, node)
        else:
            self.run(children(node))

    # -- names ---------------------------------------------------------------------------------------------------

    def use(self, name: str) -> None:
        if name not in self.sure:
            self.need.add(name)
            if name in self.lost:
                self.firm.add(name)

    def bind(self, *names: str) -> None:
        self.sure.update(names)
        self.lost.difference_update(names)

    def unbind(self, names: Iterable[str]) -> None:
        self.sure.difference_update(names)
        self.lost.update(names)

    def load(self, name: str, line: int, call: ast.Call | None = None) -> None:
        """Note that a name is loaded; `call` is the call that it is loaded for as a function, if it is."""
        if name not in self.sure:
            self.need.add(name)
            if name in self.lost:
                self.firm.add(name)
        late = self.known.late.get(name)
        if late:
            self._late(late, line)
            if late.opens:
                self.files |= late.opens.files_of_call(call, self.constants) if call else late.opens.files()
        if name in _REFLECTION:
            self._reflect(name, line)
        elif name[0] in "_IO" and name not in self.sure and _HISTORY.fullmatch(name):
            self.history.append((line, name))

    def _late(self, late: Late, line: int) -> None:
        self.need |= late.loads - self.sure
        self.firm |= late.loads & self.lost
        for needed in late.loads & _REFLECTION:
            self._reflect(needed, line)
        self.late_stores |= late.stores
        self.unbind(late.stores)  # it may be deleted there
        self.late_touches |= late.touches
        self.files |= late.files
        self.draws = self.draws or late.draws
        self.seeds = self.seeds or late.seeds

    def _reflect(self, name: str, line: int) -> None:
        if name in _REFLECTION and (name not in self.sure or name == "get_ipython"):
            self.opaque.append(Opaque(line, name if name == "__main__" else f"{name}()"))

    def visit_Name(self, node: ast.Name) -> None:
        context = node.ctx.__class__
        if context is ast.Load:
            self.load(node.id, node.lineno)
        elif context is ast.Store:
            self.sure.add(node.id)
            self.lost.discard(node.id)
        else:
            # A deletion can only be passed on by a step that had the name.
            self.need.add(node.id)
            self.firm.add(node.id)
            self.unbind((node.id,))

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
        self.run(children(node))

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.visit(node.target)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.bind(*bound_by(node))
        if getattr(node, "module", "") == "__main__" or any(alias.name == "__main__" for alias in node.names):
            self.opaque.append(Opaque(node.lineno, "__main__"))

    visit_ImportFrom = visit_Import

    # -- paths ---------------------------------------------------------------------------------------------------

    def branches(self, *bodies: Iterable[ast.AST], always: bool = True) -> None:
        """Run alternatives: only what all of them bind is sure afterwards. Unless `always`, it may be that none happens."""
        sure, lost = self.sure, self.lost
        ends: list[tuple[set[str], set[str]]] = [] if always else [(sure, lost)]
        for body in bodies:
            self.sure, self.lost = set(sure), set(lost)
            self.run(body)
            ends.append((self.sure, self.lost))
        self.join(ends)

    def perhaps(self, *bodies: Iterable[ast.AST]) -> None:
        """Run bodies of which none may happen: nothing is sure afterwards that wasn't before."""
        self.branches(*bodies, always=False)  # what a body may have deleted is not sure either

    def join(self, ends: Sequence[tuple[set[str], set[str]]]) -> None:
        """Go on from where several paths meet."""
        self.sure = set.intersection(*(sure for sure, _ in ends))
        self.lost = set.union(*(lost for _, lost in ends))

    def aside(self, nodes: Sequence[ast.AST]) -> None:
        """Run what may be left out in the middle of an expression."""
        if nodes:
            sure, lost = set(self.sure), set(self.lost)
            self.run(nodes)
            self.sure, self.lost = sure, lost

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.branches(node.body, node.orelse)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        self.perhaps([node.body], [node.orelse])

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.visit(node.values[0])
        self.aside(node.values[1:])

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            if node.value == "__main__" or ("__main__" in node.value and "import" in node.value):
                self._reflect("__main__", node.lineno)
            for name in names_in_text(node.value):
                self.use(name)

    def visit_Compare(self, node: ast.Compare) -> None:
        if asks_for_main(node):
            self.load("__name__", node.lineno)
            return
        self.visit(node.left)
        self.visit(node.comparators[0])
        self.aside(node.comparators[1:])

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self.perhaps([node.target, *node.body], node.orelse)

    visit_AsyncFor = visit_For

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self.perhaps(node.body, node.orelse)

    def visit_Try(self, node: ast.Try) -> None:
        before = set(self.sure), set(self.lost)
        self.run([*node.body, *node.orelse])
        ends = [before, (self.sure, self.lost)]
        for handler in node.handlers:
            self.sure, self.lost = set(before[0]), set(before[1])
            if handler.type:
                self.visit(handler.type)
            if handler.name:
                # `except E as e` binds e and then deletes it; a step that never had it can't pass that on.
                self.need.add(handler.name)
                self.firm.add(handler.name)
                self.bind(handler.name)
            self.run(handler.body)
            ends.append((self.sure, self.lost))
        self.join(ends)
        self.run(node.finalbody)
        self.unbind([handler.name for handler in node.handlers if handler.name])

    visit_TryStar = visit_Try

    def visit_Assert(self, node: ast.Assert) -> None:
        self.visit(node.test)
        if node.msg:
            self.perhaps([node.msg])

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        self.visit(node.items[0].context_expr)
        before = set(self.sure), set(self.lost)
        for position, item in enumerate(node.items):
            self.run([*([item.context_expr] if position else []), *([item.optional_vars] if item.optional_vars else [])])
        self.run(node.body)
        # A context manager may swallow an exception and so cut short its body, and the items behind it.
        self.join([before, (self.sure, self.lost)])

    visit_AsyncWith = visit_With

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        before = self.sure, self.lost
        ends = [before]
        for case in node.cases:
            self.sure, self.lost = set(before[0]), set(before[1])
            self.visit(case.pattern)
            # Names are bound once the whole pattern has matched.
            self.bind(*(name for part in every_node(case.pattern) for name in bound_by(part)))
            self.run([*([case.guard] if case.guard else []), *case.body])
            ends.append((self.sure, self.lost))
        self.join(ends)

    # -- scopes --------------------------------------------------------------------------------------------------

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.run(evaluated_here(node))
        if node.decorator_list:
            self._scope(node)  # the decorator may call it, or hand it to somebody who does
        self.bind(node.name)

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
                    for name in mangled(loads, node.name) | named_in_texts(statement):
                        self.load(name, statement.lineno)
                    for name in mangled(stores - loads, node.name):
                        self.use(name)
        self.bind(node.name)

    def _scope(self, node: ast.AST) -> None:
        self.run(evaluated_here(node))
        loads, stores = free_names(node)
        line = getattr(node, "lineno", 1)
        for name in loads | reflections(node):
            self.load(name, line)
        for name in named_in_texts(node):
            self.use(name)
        self.late_stores |= stores
        nodes = kinds(node)
        attributes = nodes.get(ast.Attribute, ())
        for inner in nodes.get(ast.Call, ()):
            self._call(inner)
        for inner in attributes:
            self._attribute(inner)
        self.draws = self.draws or randomness.reaches_generator(attributes, self.stateful)

    visit_Lambda = visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _scope

    # -- calls ---------------------------------------------------------------------------------------------------

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain: list[ast.Attribute] = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            self._attribute(inner)
            chain.append(inner)
            inner = inner.value
        if not self.draws:
            self.draws = randomness.reaches_generator(chain, self.stateful)
        self.visit(inner)

    def _attribute(self, node: ast.Attribute) -> None:
        if node.attr in FRAMES or node.attr == "get_ipython":
            self.opaque.append(Opaque(node.lineno, f"{node.attr}()"))

    def visit_Call(self, node: ast.Call) -> None:
        magic = ipython_call(node)
        if magic:
            self._magic(node, *magic)
            return
        understood = self._call(node)
        if isinstance(node.func, ast.Name) and not understood:
            self.load(node.func.id, node.func.lineno, node)
        elif not understood:
            self.visit(node.func)
        self.run(node.args)
        for keyword in node.keywords:
            self.visit(keyword.value)

    def _call(self, node: ast.Call) -> bool:
        """Note what a call does besides loading names. True if its function was understood and must not be loaded."""
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        is_name = isinstance(function, ast.Name)
        bare = is_name and name not in self.sure
        if not (is_name and name in self.known.late):  # what our own functions do is known
            if opened := files.opened_by(node, self.constants):
                self.files.update(opened)
            self.seeds = self.seeds or randomness.seeds(node, name)
            self.draws = self.draws or randomness.draws(node, name, self.stateful)
        if name in FINDS_DEFINITIONS and finds_definitions(node):
            for defined in self.known.defined:
                self.use(defined)
        if name in RUNNERS and name not in self.known.late and (tests := runs_tests(node)):
            self.opaque.append(Opaque(node.lineno, tests))
        if (bare or name == "run") and len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and runs_text(function):
            return self._text_of_code(node, name, node.args[0].value) and bare
        if bare and name in {"vars", "dir"} and node.args:
            return True
        if isinstance(function, ast.Attribute) and name in {"query", "eval", "evaluate"}:
            expression = next(iter(node.args), next((k.value for k in node.keywords if k.arg in {"expr", "ex"}), None))
            if expression is not None and not isinstance(expression, (ast.Constant, ast.JoinedStr)):
                what = f"{ast.unparse(node.func)}() of a text that is made when it runs"
                self.opaque.append(Opaque(node.lineno, what))
        for word in evaluated_names(node):
            self.use(word)
        return False

    def _text_of_code(self, node: ast.Call, name: str, text: object) -> bool:
        """`exec` or `eval` of a constant text: its names count like any code's. False if it is no text."""
        if not isinstance(text, str):
            return False
        try:
            inner = ast.parse(text.lstrip(" \t") if name == "eval" else text)
        except (SyntaxError, ValueError):
            return True
        loads, stores = module_names(inner.body)
        for used in loads | stores:
            self.load(used, node.lineno)
        self.extra_stores |= stores
        return True

    def _magic(self, node: ast.Call, method: str, arguments: list[str | None]) -> None:
        found = of_magic(method, arguments)
        for name in found.loads:
            self.load(name, node.lineno)
        for name in found.uses:
            self.use(name)
        self.extra_stores |= found.stores
        self.files |= {("read", path) for path in found.reads_files} | {("write", path) for path in found.writes_files}
        if found.opaque:
            self.opaque.append(Opaque(node.lineno, found.opaque))
        if found.history:
            self.history.append((node.lineno, f"%{arguments[0]}"))


_VISITS: dict[type, Callable[[Flow, ast.AST], None]] = {
    kind: method for name, method in vars(Flow).items() if name.startswith("visit_") and (kind := getattr(ast, name[6:], None))
}
