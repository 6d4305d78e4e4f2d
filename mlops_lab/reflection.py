"""How code sees its whole namespace at once, so that its reads and writes can't be told. Standard library only."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from mlops_lab.scopes import children, once

# Functions that may look for tests in the whole namespace; `runs_tests` tells whether a call does.
RUNNERS = frozenset({"main", "testmod", "loadTestsFromModule", "run"})
# What finds classes and functions of the notebook otherwise than by a name in the code: pickles refer to them by theirs.
FINDS_DEFINITIONS = frozenset({"load", "loads", "read_pickle", "Unpickler", "__subclasses__"})
_PLAIN_FORMATS = frozenset({"json", "yaml", "toml", "tomllib", "tomli", "orjson", "ujson", "np", "numpy"})
FRAMES = frozenset({"currentframe", "_getframe", "getframe", "__globals__", "f_globals", "f_locals"})


@dataclass(frozen=True)
class Opaque:
    """Code whose reads and writes can't be known without running it: 1-based line, and what makes it so."""

    line: int
    reason: str


@once
def reflections(node: ast.AST) -> frozenset[str]:
    """Ways of a function's body to see the whole namespace that aren't plain names, as names that stand for them."""
    found: set[str] = set()
    todo = [node]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Compare) and asks_for_main(node):
            continue
        if isinstance(node, ast.Call) and runs_tests(node):
            found.add("__main__")
        elif isinstance(node, ast.Attribute):
            found |= {"globals"} if node.attr in FRAMES else set()
        elif isinstance(node, ast.Constant):
            found |= {"__main__"} if node.value == "__main__" else set()
        todo += children(node)
    return frozenset(found)


def finds_definitions(call: ast.Call) -> bool:
    """True for a call that may find any class or function of the notebook."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    plain = getattr(getattr(call.func, "value", None), "id", "") in _PLAIN_FORMATS
    return name in FINDS_DEFINITIONS and (not plain or any(keyword.arg == "allow_pickle" for keyword in call.keywords))


def runs_tests(call: ast.Call) -> str:
    """The call as text if it looks for tests in the whole namespace, as `unittest.main(argv=[""], exit=False)` does."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name not in RUNNERS:
        return ""
    text = ast.unparse(call.func)
    named = {keyword.arg for keyword in call.keywords}
    is_main = text == "unittest.main" or (text == "main" and not named.isdisjoint({"argv", "exit"}))
    return f"{text}()" if is_main or text == "ipytest.run" or name in {"testmod", "loadTestsFromModule"} else ""


def asks_for_main(node: ast.Compare) -> bool:
    """`__name__ == "__main__"`, which says nothing of the namespace."""
    sides = [node.left, *node.comparators]
    return any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
