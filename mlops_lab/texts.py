"""Variables that are named in texts rather than in code, for whoever evaluates the text. Standard library only.

Queries (`df.query("u > @limit")`), formulas (`y ~ center(x)`), SQL (`select * from frame`), and the text of an `exec`.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import re

from mlops_lab.scopes import kinds, once

IDENTIFIER = re.compile(r"[^\W\d]\w*")
_RUN_TEXT = frozenset({"exec", "eval", "cProfile.run", "profile.run"})
_EVALUATE = frozenset({"eval", "evaluate", "dmatrix", "dmatrices"})
_SQL_TABLE = re.compile(r"\b(?:from|join|into|update)\s+([^\W\d]\w*)", re.IGNORECASE)
_QUERY_VARIABLE = re.compile(r"@\s*([^\W\d]\w*)")


@functools.lru_cache(maxsize=10_000)
def names_in_text(text: str) -> frozenset[str]:
    """Variables that one text may name."""
    found = _SQL_TABLE.findall(text)
    if "@" in text:
        found += _QUERY_VARIABLE.findall(text)
    if "~" in text:
        found += IDENTIFIER.findall(text)
    return frozenset(found)


@once
def named_in_texts(node: ast.AST) -> frozenset[str]:
    """Variables that the texts anywhere in a piece of code may name."""
    nodes = kinds(node)
    named = [names_in_text(inner.value) for inner in nodes.get(ast.Constant, ()) if inner.value.__class__ is str]
    return frozenset().union(*named, *(evaluated_names(inner) for inner in nodes.get(ast.Call, ())))


def evaluated_names(call: ast.Call) -> set[str]:
    """Variables in texts that are evaluated as an expression: `pd.eval("a + b")`, `ne.evaluate("a * b")`, `dmatrix("f(x)")`."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name not in _EVALUATE or (name == "eval" and isinstance(call.func, ast.Name)):
        return set()
    arguments = [*call.args, *(k.value for k in call.keywords)]
    parts = [part for argument in arguments for part in ast.walk(argument)]
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return {name for text in texts for name in IDENTIFIER.findall(text)}


def runs_text(function: ast.AST) -> bool:
    """True for a function that runs a text as code of the notebook's namespace."""
    home = getattr(getattr(function, "value", None), "id", "")
    return (f"{home}.{function.attr}" if isinstance(function, ast.Attribute) else getattr(function, "id", "")) in _RUN_TEXT


def code_in(node: ast.AST) -> ast.Module | None:
    """The code in `exec("...")` or `cProfile.run("...")` with a constant text."""
    if node.__class__ is ast.Call and node.args and runs_text(node.func):
        text = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
        if isinstance(text, str):
            with contextlib.suppress(SyntaxError, ValueError):
                return ast.parse(text)
    return None
