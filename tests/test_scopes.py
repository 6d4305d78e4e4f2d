"""Which global names nested functions, classes and comprehensions may load or bind."""

from __future__ import annotations

import ast

import pytest

from mlops_lab.scopes import free_names, module_names, parameters_of

FREE = [
    ("a global", "def f(): return x", "x", ""),
    ("a parameter of every kind", "def f(a, /, b, *c, d=1, **e): return a, b, c, d, e", "", ""),
    ("a local", "def f():\n    x = 1\n    return x", "", ""),
    ("a default is not the function's", "def f(a=x): return a", "", ""),
    ("a local of the function around", "def f():\n    x = 1\n    def g(): return x, y", "y", ""),
    ("a parameter of the function around", "def f(x):\n    return lambda: x + y", "y", ""),
    ("global", "def f():\n    global n\n    n = 1", "n", "n"),
    ("global, deleted", "def f():\n    global n\n    del n", "n", "n"),
    ("global in a nested function", "def f():\n    n = 1\n    def g():\n        global n\n        n = 2", "n", "n"),
    ("nonlocal", "def f():\n    n = 1\n    def g():\n        nonlocal n\n        n += 1", "", ""),
    ("a class body does not hide from its methods", "class C:\n    x = 1\n    def m(self): return x", "x", ""),
    ("a name that a class body reads and binds", "class C:\n    x = x", "x", ""),
    ("a comprehension's variable", "def f(): return [v + k for v in vs if v]", "vs k", ""),
    ("a walrus in a comprehension of a function", "def f():\n    [y := v for v in vs]\n    return y", "vs", ""),
    ("every other binding of a function", "def f():\n    import a\n    for b in []: pass\n    with z as c: pass\n    try: pass\n"
     "    except E as d: pass\n    match 1:\n        case [e, *g]: pass\n        case {'k': 1, **h}: pass\n"
     "    return a, b, c, d, e, g, h", "z E", ""),
    ("a method's name", "class C:\n    def m(self): return m", "m", ""),
    ("a nested decorator and annotation", "def f():\n    @deco\n    def g(a: T) -> R: pass", "deco T R", ""),
]  # fmt: skip


@pytest.mark.parametrize(("source", "loads", "stores"), [pytest.param(*rest, id=n) for n, *rest in FREE])
def test_free_names_of_a_definition(source: str, loads: str, stores: str) -> None:
    found = free_names(ast.parse(source).body[0])
    assert found == (set(loads.split()), set(stores.split()))


MODULE = [
    ("an assignment", "x = y", "y", "x"),
    ("an augmented name", "x += y", "x y", "x"),
    ("a deletion", "del x", "x", "x"),
    ("a function", "def f(a=d): return g", "d g", "f"),
    ("a walrus in a comprehension", "[y := v for v in vs]", "vs", "y"),
    ("a comprehension's variable", "[v for v in vs]", "vs", ""),
    ("nested blocks", "if a:\n    for b in c:\n        with d as e: pass", "a c d", "b e"),
    ("a part", "a.b[c] = d", "a c d", ""),
    ("imports", "import a.b, c as d\nfrom e import f as g\nfrom h import *", "", "a d g"),
]


@pytest.mark.parametrize(("source", "loads", "stores"), [pytest.param(*rest, id=n) for n, *rest in MODULE])
def test_names_of_statements(source: str, loads: str, stores: str) -> None:
    assert module_names(ast.parse(source).body) == (set(loads.split()), set(stores.split()))


def test_parameters_stand_in_order() -> None:
    assert parameters_of(ast.parse("def f(a, /, b, *c, d, **e): pass").body[0]) == ["a", "b", "c", "d", "e"]
