"""A cell's source, with IPython's syntax, to a plain Python tree that the analysis can read.

Magics that run Python (`%time x = 1`, `%%time`, `%%capture out`, `%%timeit`) are opened up, so that their bodies are
analysed like any other code. All others stay as the `get_ipython()` calls that IPython itself makes of them; what each
of those means is decided in `effects.py`. Line numbers stay those of the cell.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import gc
import re
import shlex
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from mlops_lab.scopes import kinds

_P = ParamSpec("_P")
_R = TypeVar("_R")

_TIMING = {"time", "prun", "memit", "mprun", "lprun"}


def without_collector(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Do without Python's garbage collector meanwhile: it would go over all trees, which stay, again and again.

    Of the analysis of a thousand cells that are new it would take nearly half the time.
    """

    @functools.wraps(function)
    def call(*arguments: _P.args, **options: _P.kwargs) -> _R:
        if not gc.isenabled():
            return function(*arguments, **options)
        gc.disable()
        try:
            return function(*arguments, **options)
        finally:
            gc.enable()

    return call


@dataclass(frozen=True)
class SyntaxIssue:
    """Where a cell isn't Python: 1-based line within the cell, and the interpreter's message."""

    line: int
    message: str


_MOST = 4096  # trees that are remembered
_SPARE = 512  # of these, more than the last notebook has: other notebooks', and what stood in its cells before
_trees: OrderedDict[str, tuple[ast.Module, SyntaxIssue | None]] = OrderedDict()


def parse(source: str) -> tuple[ast.Module, SyntaxIssue | None]:
    """The tree of a cell, and its syntax error if it has one (the tree is then empty).

    Remembered with all that the analysis notes on it, since an editor changes one cell at a time: don't change a tree.
    """
    found = _trees.pop(source, None) or _parse(source)
    _trees[source] = found  # the last that were used are at the end
    if len(_trees) > _MOST:
        trim(_MOST)
    return found


def trim(cells: int) -> None:
    """Forget the trees that were not used for longest, but for so many cells and some to spare."""
    while len(_trees) > min(cells + _SPARE, _MOST):
        with contextlib.suppress(KeyError):  # another thread was quicker
            _trees.popitem(last=False)


def forget() -> None:
    """Forget all trees, and with them all that the analysis has found: the next one begins anew."""
    _trees.clear()


def _parse(source: str) -> tuple[ast.Module, SyntaxIssue | None]:
    new: dict[_Place, ast.stmt] = {}
    try:
        tree = ast.parse(source)
        new = _reuse(tree.body, source)
        body = list(new.values())
    except (SyntaxError, ValueError):
        try:
            tree = ast.fix_missing_locations(_parse_ipython(source))  # `compile` asks for every position
            body = tree.body
        except SyntaxError as error:
            return ast.Module([], []), SyntaxIssue(error.lineno or 1, error.msg)
        except ValueError as error:  # a null byte in the source
            return ast.Module([], []), SyntaxIssue(1, str(error))
    try:
        # `return` outside a function and the like are found by the compiler only.
        if any(word in source for word in _AT_A_DISTANCE):
            compile(tree, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        elif not all(map(_compiles, body)):
            compile(ast.Module(body, tree.type_ignores), "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        return ast.Module([], []), SyntaxIssue(error.lineno or 1, error.msg)
    except (RecursionError, ValueError):
        pass
    _statements.update(new)  # now that they are known to be right
    return tree, None


# What may be wrong by what stands somewhere else, or wherever it stands.
_AT_A_DISTANCE = ("global", "__future__", "__debug__")
# Nodes in which the compiler finds nothing that the parser let pass, but for a keyword that is given twice.
_PARSED_IS_RIGHT = frozenset({
    ast.Expr, ast.Assign, ast.Import, ast.ImportFrom, ast.alias, ast.Pass, ast.If, ast.Name, ast.Constant, ast.Attribute,
    ast.Call, ast.keyword, ast.Subscript, ast.Slice, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.BinOp, ast.UnaryOp,
    ast.BoolOp, ast.Compare, ast.IfExp, ast.JoinedStr, ast.FormattedValue,
})  # fmt: skip


def _compiles(statement: ast.stmt) -> bool:
    """True for most statements: such as the compiler accepts wherever they stand. It takes as long as the parser."""
    nodes = kinds(statement)
    if not nodes.keys() <= _PARSED_IS_RIGHT:
        return False
    calls = [call.keywords for call in nodes.get(ast.Call, ()) if len(call.keywords) > 1]
    return all(len({k.arg or id(k) for k in keywords}) == len(keywords) for keywords in calls)


_Place = tuple[int, int, int, str]  # line, column, last column, lines of source
_statements: weakref.WeakValueDictionary[_Place, ast.stmt] = weakref.WeakValueDictionary()  # of trees that are remembered


def _reuse(body: list[ast.stmt], source: str) -> dict[_Place, ast.stmt]:
    """Put statements known from another text of the cell in the place of equal ones, with all that is noted on them.

    Returns those that are new, by the places for which they can be remembered.
    """
    new: dict[_Place, ast.stmt] = {}
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")  # as Python's parser counts them
    for place, statement in enumerate(body):
        above = [decorator.lineno for decorator in getattr(statement, "decorator_list", ())]
        first, last = min([statement.lineno, *above]), statement.end_lineno or statement.lineno
        text = lines[first - 1] if first == last else "\n".join(lines[first - 1 : last])
        key = first, statement.col_offset, statement.end_col_offset or 0, text
        known = _statements.get(key)
        if known is None:
            new[key] = statement
        else:
            body[place] = known
    return new


def is_ours(source: str) -> bool:
    """True for a cell of `%mlops` magics, of what loads them and of what uses their runs: it is never part of a pipeline."""
    if "mlops" not in source:
        return False
    lines = [line.strip() for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]
    if lines and lines[0].startswith("%%mlops "):
        return not lines[0].startswith("%%mlops step ")
    magics = re.compile(r"^[ \t]*(?:(\w+)[ \t]*=[ \t]*%mlops\b|%(?:mlops|(?:re)?load_ext[ \t]+mlops_lab)\b).*$", re.MULTILINE)
    runs = {match[1] for match in magics.finditer(source)}
    rest = magics.sub("", source)
    return bool(runs) and (not rest.strip() or _uses_only(rest, {name for name in runs if name}))


def _uses_only(source: str, names: set[str]) -> bool:
    """True if each statement reads one of these values, and else only what such statements bind and what Python has."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return False
    for statement in body:
        found = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
        read = {node.id for node in found if isinstance(node.ctx, ast.Load)}
        if not isinstance(statement, ast.Expr | ast.Assign) or not read & names or read - names - {*dir(builtins), "display"}:
            return False
        names |= {node.id for node in found if isinstance(node.ctx, ast.Store)}
    return True


def _parse_ipython(source: str) -> ast.Module:
    lines = source.splitlines(keepends=True)
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    match = re.match(r"%%(\w+)[ \t]*(.*)", lines[first]) if lines else None
    if match:
        return _parse_cell_magic(match[1], match[2].strip(), "\n" * (first + 1) + "".join(lines[first + 1 :]), source)
    from IPython.core.inputtransformer2 import TransformerManager

    tree = ast.parse("\n" * first + TransformerManager().transform_cell(source))  # it drops the blank lines above
    expanded: ast.Module = ast.fix_missing_locations(_Expand().visit(tree))
    return expanded


def _parse_cell_magic(name: str, arguments: str, body: str, source: str) -> ast.Module:
    """Open up the cell magics whose body is Python of this kernel; leave the others as IPython's own call."""
    if name in _TIMING:
        # `%%time` may carry a statement on its own line.
        return _parse_python(arguments + body if name == "time" and "=" in arguments else body)
    if name == "capture":
        tree = _parse_python(body)
        names = [word for word in shlex.split(arguments) if not word.startswith("-")]
        last = max((getattr(node, "end_lineno", 1) or 1 for node in tree.body), default=1)
        for target in names[:1]:
            binding = ast.parse(f"{target} = object()")
            ast.increment_lineno(binding, last - 1)
            tree.body += binding.body
        return tree
    if name == "timeit":
        setup = re.sub(r"^(?:-[nr]\s*\d+\s*|-\w+\s*)*", "", arguments)  # the magic's own line prepares
        return _isolated(_parse_python(setup + body if setup else body))
    from IPython.core.inputtransformer2 import TransformerManager

    whole: ast.Module = ast.parse(TransformerManager().transform_cell(source))
    return whole


def _parse_python(source: str) -> ast.Module:
    tree, issue = _parse(source)
    if issue:
        raise SyntaxError(issue.message, ("<cell>", issue.line, 0, ""))
    return tree


def _isolated(tree: ast.Module) -> ast.Module:
    """The tree as the body of a function that is called at once: it reads names but binds none."""
    wrapper = ast.parse("def __timeit__(): pass\n__timeit__()\ndel __timeit__")
    if tree.body:
        wrapper.body[0].body = tree.body  # type: ignore[attr-defined]
    return ast.fix_missing_locations(wrapper)


class _Expand(ast.NodeTransformer):
    """Replace `%time STATEMENT` and `x = %time EXPRESSION` by the code they run."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | list[ast.stmt]:
        magic = line_magic(node.value)
        if magic and magic[0] in _TIMING | {"timeit"}:
            code = re.sub(r"^(?:-[nrlTDs]\s*\S+\s+|-\w+\s+)*", "", magic[1])
            try:
                tree = ast.parse(code)
            except SyntaxError:
                return node
            if magic[0] == "timeit":
                tree = _isolated(tree)
            ast.increment_lineno(tree, node.lineno - 1)
            return tree.body
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        magic = line_magic(node)
        if magic and magic[0] in _TIMING:
            try:
                return ast.parse(magic[1], mode="eval").body
            except SyntaxError:
                return node
        return self.generic_visit(node)


def line_magic(node: ast.AST) -> tuple[str, str] | None:
    """(name, argument text) if the node is IPython's call of a line magic with constant text."""
    call = ipython_call(node)
    if call and call[0] == "run_line_magic" and len(call[1]) >= 2 and all(isinstance(a, str) for a in call[1][:2]):
        return call[1][0], call[1][1]  # type: ignore[return-value]
    return None


def ipython_call(node: ast.AST) -> tuple[str, list[str | None]] | None:
    """(method, constant string arguments) of a call `get_ipython().method(...)`; None for any other node."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Call)
        and isinstance(node.func.value.func, ast.Name)
        and node.func.value.func.id == "get_ipython"
    ):
        constant = [a.value if isinstance(a, ast.Constant) and isinstance(a.value, str) else None for a in node.args]
        return node.func.attr, constant
    return None
