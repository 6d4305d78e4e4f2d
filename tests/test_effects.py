"""What the analysis says that a cell reads, binds, changes in place and can't know."""

from __future__ import annotations

import ast
import builtins
import copy
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_lab.effects import Effects, effects_of, survey
from mlops_lab.syntax import parse


def effects(*cells: str) -> Effects:
    """The effects of the last cell, in the light of all of them."""
    trees = []
    for cell in cells:
        tree, issue = parse(cell)
        assert issue is None, issue
        trees.append(tree)
    return effects_of(trees[-1].body, survey(trees))


def names(text: str) -> set[str]:
    return set(text.split())


def case(name: str, source: str, expected: str) -> Any:
    return pytest.param(source, names(expected), id=name)


# Reads. What is listed must be read; `-x` says that x must not be, because the code surely binds it first.

READS = [
    case("a name", "y = x", "x -y"),
    case("a name that is bound first", "x = 1\ny = x", "-x"),
    case("a name that is read and then bound", "x = x + 1", "x"),
    case("an augmented assignment", "x += 1", "x"),
    case("an augmented assignment of a part", "x.a[i] += n", "x i n"),
    case("a part of a value that the right side rebinds", "x[0] += (x := [5])[0]", "x"),
    case("a deletion", "del x", "x"),
    case("a deletion of what was just bound", "x = 1\ndel x", "x"),
    case("a name deleted and read again", "x = 1\ndel x\nprint(x)", "x"),
    case("a stored part", "d[k] = v", "d k v"),
    case("a stored slice", "lst[a:b] = []", "lst a b"),
    case("a stored attribute", "a.b = 1", "a"),
    case("a deleted part", "del d[k]", "d k"),
    case("targets from left to right", "i, d[i] = 0, 5", "d -i"),
    case("a starred target", "x, *rest = y\nprint(x, rest)", "y -x -rest"),
    case("a chain of targets", "a = b = c\nprint(a, b)", "c -a -b"),
    case("an annotation with a value", "x: T = v", "T v -x"),
    case("an annotation without a value", "x: int\nprint(x)", "x"),
    case("a walrus", "print(y := x, y)", "x -y"),
    case("a walrus that may not happen", "a and (y := 1)\nprint(y)", "a y"),
    case("a walrus in the first part of a test", "if (y := f()) and y > 1: print(y)", "f -y"),
    case("a walrus on one side of a conditional expression", "z = (y := 1) if c else 0\nprint(y)", "c y"),
    case("a walrus in a chained comparison", "a < b < (y := 1)\nprint(y)", "a b y"),
    case("a walrus in a comprehension that may be empty", "[y := v for v in vs]\nprint(y)", "vs y -v"),
    case("a walrus in a comprehension that reads itself", "[t := t + v for v in vs]", "t vs -v"),
    case("a dict display from left to right", "d = {1: y, (y := 2): 3}", "y"),
    case("if without else", "if c: x = 2\nprint(x)", "c x"),
    case("if with both branches", "if c:\n    x = 2\nelse:\n    x = 3\nprint(x)", "c -x"),
    case("elif without a last else", "if c: x = 1\nelif d: x = 2\nprint(x)", "c d x"),
    case("a branch that deletes", "x = 1\nif c: del x\nprint(x)", "c x"),
    case("a for loop that may not run", "for i in xs: x = i\nprint(x)", "xs x"),
    case("the target of a for loop", "for i in xs: print(i)\nprint(i)", "xs i"),
    case("a for target inside the body only", "for i, (j, k) in xs: print(i, j, k)", "xs -i -j -k"),
    case("what a loop reads before it binds", "for i in xs:\n    print(last)\n    last = i", "last xs"),
    case("the else of a loop", "for i in xs: pass\nelse: x = 1\nprint(x)", "xs x"),
    case("a while loop", "while n > 0: best = n; n -= 1\nprint(best)", "n best"),
    case("a walrus in the test of a while loop", "while (n := f()): pass\nprint(n)", "f -n"),
    case("a continue before the binding", "for i in xs:\n    if i: continue\n    y = 1\n    print(y)\nprint(y)", "xs y"),
    case("try and except NameError", "try: cache\nexcept NameError: cache = {}", "cache"),
    case("a try body that may stop", "try:\n    f()\n    x = 1\nexcept E:\n    pass\nprint(x)", "f E x"),
    case("a handler reads what the body may not have bound", "try:\n    x = f()\nexcept E:\n    print(x)", "f E x"),
    case("finally reads what the body may not have bound", "try:\n    x = f()\nfinally:\n    print(x)", "f x"),
    case("finally binds surely", "try:\n    f()\nfinally:\n    x = 1\nprint(x)", "f -x"),
    case("the name of a handler is deleted after it", "try: f()\nexcept E as e: pass\nprint(e)", "f E e"),
    case("the name of a handler bound before", "e = 1\ntry: f()\nexcept E as e: pass\nprint(e)", "f E e"),
    case("except star", "try: f()\nexcept* E as e: g(e)", "f E g"),
    case("try with else", "try: f()\nexcept E: x = 1\nelse: x = 2\nprint(x)", "f E x"),
    case("with may swallow the exception", "with suppress(E):\n    x = f()\nprint(x)", "suppress E f x"),
    case("the name of with, in its body", "with open(p) as f: print(f)", "p -f"),
    case("match captures", "match v:\n    case [a, *b]: print(a, b)\n    case {'k': c, **d}: print(c, d)", "v -a -b -c -d"),
    case("match captures may not happen", "match v:\n    case 1: x = 1\nprint(x)", "v x"),
    case("match guard", "match v:\n    case a if a > limit: pass\nprint(a)", "v limit a"),
    case("match class and value patterns", "match v:\n    case Point(x=Color.RED): pass", "v Point Color"),
    case("a class pattern whose capture has its name", "match v:\n    case x() as x: pass", "v x"),
    case("a value pattern behind a capture of its name", "match v:\n    case [x, x.y]: pass", "v x"),
    case("a mapping pattern whose rest has the name of a key", "match v:\n    case {x.y: 1, **x}: pass", "v x"),
    case("a comprehension variable", "[x for x in xs]", "xs -x"),
    case("a comprehension variable, read outside too", "[x for x in xs]\nprint(x)", "xs x"),
    case("the first iterable of a comprehension", "[x for x in x]", "x"),
    case("the second iterable of a comprehension", "[y for x in xs for y in ys[x] if x > t]", "xs ys t -x -y"),
    case("a dict comprehension and a generator", "{k: f(v) for k, v in d.items()}\nset(a for b in c)", "f d a c -k -v -b"),
    case("a lambda parameter", "f = lambda x, *a, k=d, **kw: x + a + k + kw + g", "d g -x -a -k -kw"),
    case("defaults and decorators run at once", "@deco\ndef f(x=default, *, k=kdefault): pass", "deco default kdefault -x"),
    case("annotations run at once", "def f(x: T) -> R: pass", "T R"),
    case("the body of a function runs when it is called", "def f(): return x", "-x"),
    case("a function called at once", "def f(): return x\nf()", "x -f"),
    case("a function called after its global is bound", "def f(): return x\nx = 1\nf()", "-x -f"),
    case("a function used as a value", "def f(): return x\nmap(f, [1])", "x"),
    case("functions that call functions", "def g(): return x\ndef f(): return g()\nf()", "x -g -f"),
    case("a nested function", "def f():\n    y = 1\n    def g(): return x + y\n    return g\nf()()", "x -y"),
    case("nonlocal", "def f():\n    n = 0\n    def g():\n        nonlocal n\n        n += 1\n    g()\nf()", "-n"),
    case("global in a function", "def f():\n    global n\n    n += 1\nf()", "n"),
    case("a decorated function may be called at once", "@register\ndef f(): return x", "register x"),
    case("an async function", "async def f(): return x\nawait f()", "x -f"),
    case("a method", "class C:\n    def m(self): return x\nC().m()", "x -C"),
    case("a class body runs at once", "class C:\n    a = x\n    b = a", "x"),
    case("a method that a decorator may call at once", "class C:\n    @register\n    def m(self): return x", "register x"),
    case("a class name is not seen from its methods", "class C:\n    x = 1\n    def m(self): return x\nC().m()", "x"),
    case("bases, keywords and decorators of a class", "@deco\nclass C(B, metaclass=M, k=v): pass", "deco B M v"),
    case("a subclass runs code of its base", "class C(B):\n    def m(self): return x", "B x"),
    case("a nested class", "class C:\n    class D:\n        a = x", "x"),
    case("a return annotation of a method", "class C:\n    def m(self, a=d) -> T: pass", "d T"),
    case("star arguments", "f(*a, **k)", "f a k"),
    case("an f-string", "f'{x:{w}} {y!r}'", "x w y"),
    case("an import binds", "import a.b as c, d.e\nprint(c, d)", "-c -d -a"),
    case("from-imports bind", "from m import x as y\nprint(y, x)", "x -y"),
    case("a star import binds nothing surely", "from math import *\nprint(pi)", "pi"),
    case("a builtin that the notebook may have rebound", "print(sum(x))", "sum x"),
    case("a name in other letters", "größe = 1\nprint(größe, Größe)", "Größe -größe"),
    case("an assertion's message", "assert a, (m := b)\nprint(m)", "a b m"),
    case("an async loop and with", "async for i in xs: x = i\nasync with cm() as c: y = c\nprint(x, y)", "xs cm x y"),
    case("a guard that captures", "match v:\n    case [x] if (y := x): pass\nprint(x, y)", "v x y"),
    case("a walrus two comprehensions deep", "[[y := a for a in b] for b in c]\nprint(y)", "c y -a -b"),
    case("a comprehension over a comprehension", "[a for a in [b for b in a]]", "a -b"),
    case("a walrus in a lambda in a comprehension", "def f():\n    [(lambda: (y := 1)) for v in vs]\n    return y\nf()", "vs y"),
    case("a class in a function reads the global", "def f():\n    x = 1\n    class C:\n        x = x\n    return C\nf()", "x"),
    case("an augmented name in a class", "class C(B):\n    x += 1", "B x"),
    case("a private name of a class", "class C(B):\n    def m(self): return __x", "B _C__x"),
    case("a private name in the body of a class", "class _C:\n    y = __x", "_C__x"),
    case("a class body with a branch", "class C:\n    if c:\n        x = 1\n    y = x", "c x"),
    case("a comprehension in a class does not see its names", "class A:\n    x = 1\n    y = [x for _ in range(3)]", "x"),
    case("global at top level", "global x\nx += 1", "x"),
    case("a walrus in a default", "def f(*, k=(w := d)): pass\nprint(w)", "d -w"),
    case("a walrus in an argument", "f(*a, **b, c=(z := 1))\nprint(z)", "f a b -z"),
    case("a loop that is left before the binding", "while True:\n    if c: break\n    x = 1\nprint(x)", "c x"),
    case("the else of a loop that is left", "for i in xs: break\nelse: y = 1\nprint(y)", "xs y"),
    case("the name of with, in the next item", "with a as x, x.b() as y: print(y)", "a -x -y"),
    case("the second item of with may be cut short", "with suppress(E), (b := f()): pass\nprint(b)", "suppress E f b"),
    case("a walrus in the first item of with", "with (b := f()): pass\nprint(b)", "f -b"),
    case("an f-string with = and a walrus", "f'{x!r:>{w}} {y=} {(z := 1)}'\nprint(z)", "x w y -z"),
    case("except star with else", "try:\n    x = 1\nexcept* E:\n    y = 1\nelse:\n    y = 2\nprint(x, y)", "E x y"),
    case("a walrus in the type of a handler", "try: pass\nexcept (e := E): pass\nprint(e)", "E e"),
    case("deleted in one branch, bound in the other", "if c: del x\nelse: x = 1\nprint(x)", "c x"),
    case("the index of an augmented part", "d[i] += (i := 2)", "d i"),
    case("an index that binds", "d[(i := 2)] += i", "d -i"),
    case("a default of a lambda", "(lambda a=x, *, b=(y := 1): a + b)()\nprint(y)", "x -y"),
    case("super and __class__", "class C(B):\n    def m(self): return super().m() + __class__.k + q", "B q"),
    case("a conditional definition", "if c:\n    def g(): return 1\ng()", "c g"),
    case("a definition that a branch replaces", "def g(): return h\nif c:\n    def g(): return k\ng()", "c h k"),
    case("a target that reads what was bound before it", "(a, b[a]) = 1, 2", "b -a"),
    case("a loop whose target is a part", "for x.attr in xs: pass", "x xs"),
    case("nonlocal of a name bound below", "def f():\n    def g():\n        nonlocal n\n        n = k\n    n = 1\n    g()\nf()", "k -n"),
    case("global in a nested function only",
         "def f():\n    n = 1\n    def g():\n        global n\n        return n\n    return g()\nf()", "n"),
    # Code and names in texts
    case("exec of a constant text", "exec('y = x + 1')", "x"),
    case("exec of a constant text that calls", "def f(): return x\nexec('f()')", "x"),
    case("eval of a constant text", "eval('x + 1')", "x"),
    case("eval of a text that begins with a space", "eval(' x + 1')", "x"),
    case("query with a variable", "df.query('u > @limit and v < @ other')", "df limit other"),
    case("query with a keyword", "df.query(expr='u > @limit')", "df limit"),
    case("query with an f-string", "df.query(f'u > {a} and v > @b')", "df a b"),
    case("query in the body of a class", "class C:\n    d = df.query('u > @limit')", "df limit"),
    case("query in a lambda", "apply(lambda d: d.query('u > @limit'))", "limit"),
    case("query in a function called at once", "def f(d): return d.query('u > @limit')\nf(1)", "limit"),
    case("DataFrame.eval with a variable", "df.eval('z = u + @k', inplace=True)", "df k"),
    case("pd.eval", "pd.eval('a + b')", "pd a b"),
    case("pandas.eval", "import pandas\npandas.eval('a + b')", "a b"),
    case("numexpr", "import numexpr as ne\nne.evaluate('a * b')", "a b"),
    case("a table named in SQL", "import duckdb\nduckdb.sql('select * from frame').df()", "frame"),
    case("a formula", "smf.ols('y ~ center(u) + v', data=df)", "smf df center"),
    case("a formula as a keyword", "smf.ols(formula='y ~ center(u)', data=df)", "smf df center"),
    case("a formula that has a name", "text = 'y ~ center(u)'\nsmf.ols(text, data=df)", "smf df center"),
    # IPython
    case("a shell command with braces", "!echo {x} {d['k']} {a + b}", "x d a b"),
    case("a shell command with a dollar", "!echo $x ${y}", "x y"),
    case("a shell command that is kept", "out = !ls {folder}\nprint(out)", "folder -out"),
    case("a cell of the shell", "%%bash -s {x}\necho $1", "x"),
    case("a magic with braces", "%env TOKEN={token}", "token"),
    case("a magic with a dollar", "%cd $folder", "folder"),
    case("a cell magic with braces", "%%writefile {path}\ntext", "path"),
    case("%time", "%time y = x", "x"),
    case("%%time", "%%time\ny = x\nprint(y)", "x -y"),
    case("%timeit", "%timeit -n 10 -r3 f(x)", "f x"),
    case("%timeit with a flag", "%timeit -o x + y", "x y"),
    case("%%timeit", "%%timeit -n 2\ny = x\nprint(y)", "x -y"),
    case("%%timeit with its preparation", "%%timeit y = x + 1\nprint(y)", "x"),
    case("%%capture", "%%capture out\nprint(x)", "x"),
    case("%prun and %memit", "%prun f(x)\n%memit g(y)", "f x g y"),
    case("help", "x?", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), READS)
def test_a_cell_reads_what_it_may_need_from_before(source: str, expected: set[str]) -> None:
    found = effects(source).reads
    assert {name for name in expected if name[0] != "-"} <= found
    assert not found & {name[1:] for name in expected if name[0] == "-"}


LATE = [
    ("a function of another cell", ["def f(): return x", "f()"], "f x"),
    ("a function handed on", ["def f(): return x", "df.apply(f)"], "f x df"),
    ("through another function", ["def g(): return x", "def f(): return g()", "f()"], "f g x"),
    ("through a function defined below", ["def f(): return g()", "def g(): return x", "f()"], "f g x"),
    ("a lambda with a name", ["f = lambda: x", "f()"], "f x"),
    ("an instance of a class", ["class C:\n    def m(self): return x", "c = C()", "c.m()"], "c x"),
    ("a class", ["class C:\n    def m(self): return x", "C().m()"], "C x"),
    ("a partial function", ["def f(a): return x", "p = partial(f, 1)", "p()"], "p x"),
    ("a list of functions", ["def f(): return x", "fs = [f]", "fs[0]()"], "fs x"),
    ("a dict of functions", ["def f(): return x", "d = {}\nd['f'] = f", "d['f']()"], "d x"),
    ("another name of a function", ["def f(): return x", "g = f", "g()"], "g x"),
    ("a decorator that fills a registry", ["R = {}\ndef reg(f):\n    R[f.__name__] = f\n    return f",
                                           "@reg\ndef h(): return x"], "reg R x"),
    ("a function defined twice", ["def f(): return x", "def f(): return y", "f()"], "f x y"),
    ("a function with a query", ["def f(d): return d.query('u > @limit')", "f(df)"], "f df limit"),
    ("a lambda with a query", ["f = lambda d: d.query('u > @limit')", "f(df)"], "f df limit"),
    ("a method with a query", ["class C:\n    def m(self, d): return d.query('u > @limit')", "C().m(df)"], "C df limit"),
    ("a function with a formula", ["def fit(d): return smf.ols('y ~ center(u)', d)", "fit(df)"], "fit df smf center"),
    ("a function with pd.eval", ["def f(): return pd.eval('a + b')", "f()"], "f pd a b"),
    ("an instance that a pickle brings", ["def f(): return x", "import pickle\nm = pickle.load(file)"], "file f"),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "expected"), [pytest.param(c, names(e), id=n) for n, c, e in LATE])
def test_calling_a_function_reads_its_globals_in_the_cell_that_calls_it(cells: list[str], expected: set[str]) -> None:
    assert expected <= effects(*cells).reads


@pytest.mark.parametrize("seed", range(20))
def test_what_calls_reach_is_what_a_search_from_each_function_finds(seed: int) -> None:
    r = random.Random(seed)
    calls = {f"f{i}": [f"f{r.randrange(30)}" for _ in range(r.choice([0, 1, 1, 2]))] for i in range(30)}  # circles, too
    trees = [ast.parse(f"def {name}(): return [v{name}, {', '.join(f'{other}()' for other in others)}]")
             for name, others in calls.items()]  # fmt: skip
    known = survey(trees)
    for name in calls:
        seen, todo = set(), [name]
        while todo:
            current = todo.pop()
            if current not in seen:
                seen.add(current)
                todo += calls[current]
        found = effects_of(ast.parse(f"{name}()").body, known).reads
        assert found == seen | {f"v{other}" for other in seen}


def test_defining_a_function_reads_none_of_its_globals() -> None:
    assert effects("def f(): return x").reads == frozenset()


def test_a_local_name_of_a_function_is_no_late_read() -> None:
    cells = [
        "def f(a):\n    b = a\n    for c in b: pass\n    with b as d: pass\n    import e\n    return [g for g in b], d, e",
        "f(1)",
    ]
    assert effects(*cells).reads == {"f"}


# Binds

BINDS = [
    case("an assignment", "x = 1\ny, (z, *w) = f()", "x y z w"),
    case("an assignment in both branches", "if c: x = 1; y = 1\nelse: x = 2", "x"),
    case("a loop", "for i in xs: x = 1", ""),
    case("a try body", "try: x = 1\nexcept E: pass", ""),
    case("finally", "try: f()\nfinally: x = 1", "x"),
    case("an exception's name", "e = 1\ntry: f()\nexcept E as e: pass", ""),
    case("with", "with f() as x: y = 1", ""),
    case("match", "match v:\n    case 1: x = 1", ""),
    case("a deletion", "x = 1\ndel x", ""),
    case("a deletion in a branch", "x = 1\nif c: del x", ""),
    case("a deletion in a loop", "x = 1\nfor i in xs: del x", ""),
    case("a deletion in a try body", "x = 1\ntry: del x\nexcept E: pass", ""),
    case("a deletion in a with body", "x = 1\nwith f(): del x", ""),
    case("a deletion in a match case", "x = 1\nmatch v:\n    case 1: del x", ""),
    case("a deletion in a function that is called", "def f():\n    global x\n    del x\nx = 1\nf()", "f"),
    case("a definition", "def f(): pass\nclass C: pass\nimport a.b", "f C a"),
    case("a global of a function that is called", "def f():\n    global x\n    x = 1\nf()", "f"),
    case("an annotation alone", "x: int", ""),
    case("a walrus", "print(x := 1)", "x"),
    case("a walrus behind and", "c and (x := 1)", ""),
    case("%%capture", "%%capture out\nx = 1", "out x"),
    case("%%timeit", "%%timeit\nx = 1", ""),
    case("%%time", "%%time\nx = 1", "x"),
    case("exec", "exec('x = 1')", ""),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), BINDS)
def test_a_cell_binds_only_what_is_bound_on_every_path(source: str, expected: set[str]) -> None:
    assert effects(source).binds - {"__timeit__"} == expected


MAY_BIND = [
    case("a branch", "if c: x = 1", "x"),
    case("a loop's target", "for i, j in xs: pass", "i j"),
    case("with, except, match, walrus", "with f() as a: pass\ntry: g()\nexcept E as b: pass\n"
         "match v:\n    case [c, *d]: pass\nprint(e := 1)", "a b c d e"),
    case("a deletion", "del x", "x"),
    case("a walrus in a comprehension", "[y := v for v in vs]", "y"),
    case("a global of a function that is called", "def f():\n    global x\n    x = 1\nf()", "f x"),
    case("exec of a constant text", "exec('x = 1\\ndef f(): pass')", "x f"),
    case("a cell of the shell that keeps its output", "%%bash --out listing\nls", "listing"),
    case("an import", "import a.b, c as d\nfrom m import e", "a d e"),
    case("a comprehension variable stays inside", "[v for v in vs]", ""),
    case("a function's local stays inside", "def f(a):\n    b = a", "f"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), MAY_BIND)
def test_a_cell_may_bind_whatever_some_path_binds_or_deletes(source: str, expected: set[str]) -> None:
    assert effects(source).may_bind == expected


def test_a_function_of_another_cell_binds_its_globals_where_it_is_called() -> None:
    assert "counter" in effects("def f():\n    global counter\n    counter += 1", "f()").may_bind


# Guesses of changes in place. `-x` must not be guessed: it would cost parallelism.

TOUCHES = [
    case("fit changes the model and not the data", "model.fit(X, y)", "model -X -y"),
    case("fit_transform changes the scaler", "Z = scaler.fit_transform(X)", "scaler -X -Z"),
    case("predict changes nothing", "p = model.predict(X)", "-model -X"),
    case("append", "lst.append(1)", "lst"),
    case("append whose result is kept", "r = lst.append(x)", "lst"),
    case("sort", "lst.sort()", "lst"),
    case("sorted makes a new list", "other = sorted(lst)", "-lst"),
    case("inplace", "df.drop(columns=['a'], inplace=True)", "df"),
    case("inplace, false", "d = df.drop(columns=['a'], inplace=False)", "-df"),
    case("a new frame", "d = df.drop(columns=['a'])", "-df"),
    case("a new column", "df['z'] = df['x'] + other", "df -other"),
    case("loc", "df.loc[m, 'z'] = 1", "df -m"),
    case("an attribute", "a.b.c = 1", "a"),
    case("an attribute, augmented", "a.b += n", "a -n"),
    case("an augmented name", "x += y", "x -y"),
    case("a deleted part", "del d['k']", "d"),
    case("shuffle", "import random\nrandom.shuffle(x)", "x -random"),
    case("np.add.at", "import numpy as np\nnp.add.at(x, i, 1)", "x -i -np"),
    case("heappush", "import heapq\nheapq.heappush(h, 1)", "h -heapq"),
    case("next", "v = next(g)", "g"),
    case("setattr", "setattr(x, 'a', 1)", "x"),
    case("a plot", "import matplotlib.pyplot as plt\nplt.plot(x, y)", "-x -y -plt"),
    case("print and display", "print(x)\ndisplay(y)", "-x -y"),
    case("a look", "df.head()\ndf.info()", "-df"),
    case("a metric", "import mlflow\nmlflow.log_metric('m', score)", "-score -mlflow"),
    case("a call of an unknown function whose result is dropped", "clean(df)", "df"),
    case("a call of an unknown function whose result is kept", "other = clean(df)", "-df"),
    case("training", "optimizer.step()\nloss.backward()", "optimizer loss"),
    case("a generator", "rng = np.random.default_rng(0)\nx = rng.normal()", "rng"),
    case("a second name", "a = b\na.append(1)", "a b"),
    case("a part of a dict", "part = d['k']\npart.append(1)", "part d"),
    case("a value kept in a list", "lst = [x]\nlst[0].append(1)", "lst x"),
    case("an optimizer keeps the model's parameters", "opt = Adam(model.parameters())\nopt.step()", "opt model"),
    case("a loop's variable", "for row in rows: row['a'] = 1", "rows"),
    case("a context manager", "with db as d: d.insert(1)", "db d"),
    case("a selection is a copy", "sub = df[df.x > 1]\nsub['y'] = 1", "sub -df"),
    case("an explicit copy", "c = df.copy()\nc['y'] = 1", "c -df"),
    case("an awaited call", "await q.put(1)", "q"),
    case("a subplot's axes", "fig, ax = plt.subplots()\nax.plot(x)", "-x"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), TOUCHES)
def test_changes_in_place_are_guessed(source: str, expected: set[str]) -> None:
    found = effects(source).touches
    assert {name for name in expected if name[0] != "-"} <= found
    assert not found & {name[1:] for name in expected if name[0] == "-"}


TOUCHES_BY_FUNCTIONS = [
    ("its argument", ["def clean(d):\n    d['x'] = 1", "clean(df)"], "df"),
    ("its argument, where the result is kept", ["def clean(d):\n    d['x'] = 1\n    return d", "r = clean(df)"], "df"),
    ("its second argument only", ["def note(a, b):\n    b.append(a)", "r = note(x, y)"], "y -x"),
    ("an argument that it hands on", ["def g(b):\n    b.append(1)", "def f(a):\n    return g(a)", "r = f(x)"], "x"),
    ("a keyword argument", ["def clean(d):\n    d['x'] = 1", "r = clean(d=df)"], "df"),
    ("a global", ["def note(v):\n    log.append(v)", "note(1)"], "log"),
    ("a global, through another function", ["def g():\n    log.append(1)", "def f():\n    g()", "f()"], "log"),
    ("nothing, if it only looks", ["def look(d):\n    return d.head()", "r = look(df)"], "-df"),
    ("nothing, if it changes a local", ["def f():\n    log = []\n    log.append(1)", "f()"], "-log"),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "expected"), [pytest.param(c, names(e), id=n) for n, c, e in TOUCHES_BY_FUNCTIONS])
def test_a_function_of_the_notebook_changes_what_its_body_changes(cells: list[str], expected: set[str]) -> None:
    found = effects(*cells).touches
    assert {name for name in expected if name[0] != "-"} <= found
    assert not found & {name[1:] for name in expected if name[0] == "-"}


# What can't be known

OPAQUE = [
    ("exec of a variable", "exec(code)", True),
    ("exec with a namespace", "exec('x = 1', ns)", True),
    ("eval of a variable", "eval(code)", True),
    ("exec of a constant text", "exec('x = 1')", False),
    ("exec of a text that uses globals", "exec('globals()')", True),
    ("globals", "globals()['x'] = 1", True),
    ("locals", "'{x}'.format(**locals())", True),
    ("vars", "vars()", True),
    ("vars of an object", "vars(a)", False),
    ("dir", "dir()", True),
    ("dir of an object", "dir(a)", False),
    ("globals as a value", "f(globals)", True),
    ("globals in a lambda", "g = lambda: globals()", True),
    ("globals in a comprehension", "[globals() for i in x]", True),
    ("a name of ours called globals", "globals = f\nglobals()", False),
    ("frames", "inspect.currentframe().f_back.f_globals", True),
    ("a function's globals", "f.__globals__['x']", True),
    ("the main module", "import __main__\n__main__.x", True),
    ("the main module's names", "from __main__ import x", True),
    ("the main module by text", "sys.modules['__main__'].x", True),
    ("the main module by its name", "sys.modules[__name__].x", True),
    ("the main module in a text of code", "timeit.timeit('f(x)', setup='from __main__ import f, x')", True),
    ("a script's guard", "if __name__ == '__main__': f()", False),
    ("get_ipython", "get_ipython().user_ns['x']", True),
    ("get_ipython, imported", "from IPython import get_ipython\nget_ipython().user_ns['x']", True),
    ("get_ipython of IPython", "import IPython\nIPython.get_ipython().user_ns['x']", True),
    ("get_ipython for a known magic", "get_ipython().run_line_magic('matplotlib', 'inline')", False),
    ("query with a variable text", "df.query(text)", True),
    ("query with a text put together", "df.query('u > ' + text)", True),
    ("eval without a text", "model.eval()", False),
    ("an unknown line magic", "%frobnicate x", True),
    ("an unknown cell magic", "%%frobnicate\nx", True),
    ("%run", "%run other.py", True),
    ("%store", "%store -r x", True),
    ("%who", "%who", True),
    ("%matplotlib", "%matplotlib inline", False),
    ("%load_ext", "%load_ext autoreload\n%autoreload 2", False),
    ("%env", "%env A=1", False),
    ("%cd", "%cd data", False),
    ("%pip", "%pip install pandas", False),
    ("the shell", "!ls", False),
    ("%%html", "%%html\n<b>x</b>", False),
    ("%%bash", "%%bash\nls", False),
    ("%%writefile", "%%writefile a.py\nx = 1", False),
    ("%%time", "%%time\nx = 1", False),
    ("%%capture", "%%capture out\nx = 1", False),
    ("help", "x?", False),
    ("ordinary code", "import pandas as pd\ndf = pd.read_csv('a.csv')\ndf.groupby('x').mean()", False),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), [pytest.param(s, e, id=n) for n, s, e in OPAQUE])
def test_code_that_can_reach_any_variable_is_opaque(source: str, expected: bool) -> None:
    assert bool(effects(source).opaque) is expected


def test_a_function_that_uses_globals_makes_its_caller_opaque() -> None:
    define = "def f():\n    return globals()"
    assert not effects(define).opaque
    assert effects(define, "f()").opaque
    assert effects("def f():\n    return inspect.currentframe().f_globals", "f()").opaque


def test_opaque_code_is_reported_with_its_line() -> None:
    (found,) = effects("x = 1\n\nexec(code)").opaque
    assert (found.line, found.reason) == (3, "exec()")


def test_the_history_of_ipython_is_reported_unless_the_name_is_bound() -> None:
    assert [name for _, name in effects("_\nOut[2]\nIn[1]\n_i3\n__\n_12").history] == ["_", "Out", "In", "_i3", "__", "_12"]
    assert not effects("for _ in range(3): print(_)\n[_ for _ in x]\nf = lambda _: _").history


# Files and random numbers

FILES = [
    ("read_csv", "pd.read_csv('a.csv')", "a.csv", ""),
    ("to_csv", "df.to_csv('out/a.csv')", "", "out/a.csv"),
    ("a constant", "path = 'a.csv'\npd.read_csv(path)", "a.csv", ""),
    ("open to read and to write", "open('a')\nopen('b', 'w')", "a", "b"),
    ("a file that can't be known", "pd.read_csv(f())", "?", ""),
    ("a shell command", "!make", "?", "?"),
    ("%%writefile", "%%writefile a.py\nx = 1", "", "a.py"),
    ("%%writefile that appends", "%%writefile -a notes.txt\nx", "", "notes.txt"),
    ("a file opened in a lambda", "g = lambda: open('a')", "a", ""),
    ("an address", "pd.read_csv('https://example.org/a.csv')", "", ""),
    ("a path of which a part is known", "for i in x: df.to_csv(f'out/{i}.csv')", "", "out/*.csv"),
    ("a function that is only defined", "def load(): return pd.read_csv('a.csv')", "", ""),
    ("a function that is called", "def load(): return pd.read_csv('a.csv')\nload()", "a.csv", ""),
    ("a function that another one calls", "def g(): df.to_csv('a.csv')\ndef f(): g()\nf()", "", "a.csv"),
    ("a constant of the notebook", "OUT = 'out'\ndef f(): df.to_csv(OUT + '/a.csv')\nf()", "", "out/a.csv"),
    ("an argument", "def f(d, path): d.to_csv(path)\nf(df, 'a.csv')", "", "a.csv"),
    ("an argument by its name", "def f(d, name='b'):\n    path = f'out/{name}.csv'\n    d.to_csv(path)\nf(df, name='a')", "", "out/a.csv"),
    ("a default", "def f(d, name='b'): d.to_csv(f'out/{name}.csv')\nf(df)", "", "out/b.csv"),
    ("an argument that isn't known", "def f(d, name): d.to_csv(f'out/{name}.csv')\nf(df, x)", "", "out/*.csv"),
    ("a function handed on", "def f(name): df.to_csv(f'out/{name}.csv')\nlist(map(f, names))", "", "out/*.csv"),
    ("a local name that hides a constant", "p = 'a.csv'\ndef f(p): df.to_csv(p)\nf(x)", "", "?"),
    ("a method", "class C:\n    def m(self): df.to_csv('a.csv')\nC().m()", "", "a.csv"),
    ("a function of two meanings", "def f(): df.to_csv('a.csv')\ndef f(n): df.to_csv(n)\nf(1)", "", "a.csv ?"),
    ("a call that may be anything", "process('a.csv')", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("source", "reads", "writes"), [pytest.param(*rest, id=n) for n, *rest in FILES])
def test_files_are_found(source: str, reads: str, writes: str) -> None:
    found = effects(source)
    assert (found.reads_files, found.writes_files) == (names(reads), names(writes))


RANDOM = [
    ("np.random.seed", "np.random.seed(0)", True, None),
    ("random.seed", "random.seed(0)", True, None),
    ("torch.manual_seed", "torch.manual_seed(0)", True, None),
    ("set_state", "np.random.set_state(s)", True, None),
    ("np.random.rand", "x = np.random.rand(3)", False, True),
    ("random.random", "x = random.random()", False, True),
    ("random.choice", "x = random.choice(xs)", False, True),
    ("torch.randn", "x = torch.randn(3)", False, True),
    ("sample", "x = df.sample(3)", False, True),
    ("train_test_split", "a, b = train_test_split(x)", False, True),
    ("in a comprehension", "[np.random.rand() for i in x]", False, True),
    ("nothing random", "x = np.mean(y)", False, False),
    ("a split with its own seed", "a, b = train_test_split(x, y, random_state=0)", False, False),
    ("a split with no seed", "a, b = train_test_split(x, y, random_state=None)", False, True),
    ("a sample with its own seed", "x = df.sample(3, random_state=seed)", False, False),
    ("a model", "m = KMeans(3)", False, True),
    ("a model with its own seed", "m = KMeans(3, random_state=0)", False, False),
    ("folds that are shuffled", "k = KFold(5, shuffle=True)", False, True),
    ("folds that are not shuffled", "k = KFold(5)", False, False),
    ("folds with their own seed", "k = KFold(5, shuffle=True, random_state=0)", False, False),
    ("the module handed on", "x = df.sample(3, random_state=np.random)", False, True),
    ("a generator of one's own", "rng = np.random.default_rng(0)\nx = rng.random(3) + rng.choice(y)", False, False),
    ("a random state of one's own", "rng = np.random.RandomState(0)\nrng.shuffle(x)", False, False),
    ("a generator of the random module", "r = random.Random(0)\nx = r.random()", False, False),
    ("a function that draws, only defined", "def f(): return np.random.rand()", False, False),
    ("a function that draws", "def f(): return np.random.rand()\nx = f()", False, True),
    ("a function that draws through another one", "def g(): return random.random()\ndef f(): return g()\nx = f()", False, True),
    ("a function that seeds", "def fix(s):\n    random.seed(s)\n    np.random.seed(s)\nfix(1)", True, False),
    ("a function with a generator as parameter", "def f(rng): return rng.random()\nx = f(r)", False, False),
]  # fmt: skip


@pytest.mark.parametrize(("source", "seeds", "draws"), [pytest.param(*rest, id=n) for n, *rest in RANDOM])
def test_seeds_and_draws_are_found(source: str, seeds: bool, draws: bool | None) -> None:
    found = effects(source)
    assert found.seeds is seeds
    assert draws is None or found.draws is draws


@pytest.mark.parametrize("source", ["", "pass", "eval('a b')", "exec('\\0')", "eval('')", "%%bash\n", "%writefile", "!",
                                    "f(*a)(**b)[c](d)", "exec()", "query()", "df.query()", "load()", "%time", "%timeit"])  # fmt: skip
def test_no_code_makes_the_analysis_fail(source: str) -> None:
    tree, _ = parse(source)
    effects_of(tree.body, survey([tree]))


# Soundness, by running random programs

_VARIABLES = [*"abcdehijklmnopq"]  # many, so that most are read once at most
_FUNCTIONS = ["f", "g"]


class _Program:
    """Writes a random program of whole numbers, with every construct that can make or hide a read."""

    def __init__(self, r: random.Random) -> None:
        self.r = r

    def name(self) -> str:
        return self.r.choice(_VARIABLES)

    def expression(self, depth: int = 2) -> str:
        r, e = self.r, lambda: self.expression(depth - 1)
        if depth <= 0 or r.random() < 0.4:
            return r.choice([self.name(), str(r.randrange(3))])
        u = r.choice("uv")
        return r.choice([
            lambda: f"({e()} + {e()})", lambda: f"({self.name()} := {e()})", lambda: f"({e()} if {e()} % 2 else {e()})",
            lambda: f"({e()} % 2 and {e()})", lambda: f"({e()} % 2 or {e()})", lambda: f"({e()} < {e()} % 3 < {e()})",
            lambda: f"sum([{e()} for {u} in range({e()} % 3)])", lambda: f"sum({u} + {e()} for {u} in [{e()}] if {e()})",
            lambda: f"(lambda {self.name()}, k={e()}: {e()} + k)({e()})", lambda: f"len({{{e()}: {e()}, {e()}: {e()}}})",
            lambda: f"[{e()}, {e()}][0]", lambda: f"len(f'{{{e()}}}{{{e()}}}')", lambda: f"{r.choice(_FUNCTIONS)}({e()})",
            lambda: f"max(*[{e()}], {e()})", lambda: f"eval('{self.name()} + {self.name()}')", lambda: f"K().m({e()})",
            lambda: f"box[{e()} % 2]", lambda: f"int({self.name()}, **{{}})", lambda: f"(not {e()})",
        ])()  # fmt: skip

    def block(self, depth: int, in_loop: bool = False, count: int = 2) -> list[str]:
        return [line for _ in range(self.r.randint(1, count)) for line in self.statement(depth, in_loop)]

    def inside(self, head: str, depth: int, in_loop: bool = False) -> list[str]:
        return [head, *("    " + line for line in self.block(depth - 1, in_loop))]

    def statement(self, depth: int, in_loop: bool) -> list[str]:
        r, e, n = self.r, self.expression, self.name
        simple = [
            lambda: [f"{n()} = {e()}"], lambda: [f"{n()} = {e()}"], lambda: [f"{n()}, {n()} = {e()}, {e()}"],
            lambda: [f"{n()} += {e()}"], lambda: [f"{n()}: int = {e()}"], lambda: [f"{n()}: {e()}"], lambda: [f"del {n()}"],
            lambda: [f"box[{e()} % 2] = {e()}"], lambda: [f"box[{e()} % 2] += {e()}"], lambda: [f"{n()}, *rest = {e()}, {e()}"],
            lambda: [f"assert {e()} or True, {e()}"], lambda: [f"{n()} = {n()} = {e()}"],
            lambda: [f"exec('{n()} = {n()} + 1')"], lambda: [e()], lambda: [f"if {e()} > 12: raise KeyError"],
            lambda: [r.choice(["break", "continue"]) if in_loop else "pass"],
        ]  # fmt: skip
        if depth <= 0 or r.random() < 0.4:
            return r.choice(simple)()
        inside = self.inside
        return r.choice([
            lambda: inside(f"if {e()} % 2:", depth, in_loop),
            lambda: inside(f"if {e()} % 2:", depth, in_loop) + inside("else:", depth, in_loop),
            lambda: inside(f"for {n()} in range({e()} % 3):", depth, True) + (inside("else:", depth) if r.random() < 0.3 else []),
            lambda: inside(f"while spend() and {e()} % 2:", depth, True) + (inside("else:", depth) if r.random() < 0.3 else []),
            lambda: inside("try:", depth) + inside(f"except Exception{r.choice(['', ' as ' + n()])}:", depth)
            + (inside("else:", depth) if r.random() < 0.3 else []) + (inside("finally:", depth) if r.random() < 0.3 else []),
            lambda: inside("try:", depth) + inside("finally:", depth),
            lambda: inside("try:", depth) + inside("except NameError:", depth),
            lambda: inside(f"with manager({e()}) as {n()}:", depth, in_loop),
            lambda: [f"match [{e()}, {e()}]:", f"    case [0, {n()}]:", *("    " + s for s in inside("", depth)[1:]),
                     f"    case [{n()}, _] if {e()}:", *("    " + s for s in inside("", depth)[1:])],
            lambda: [f"def {r.choice(_FUNCTIONS)}({n()}={e()}, *rest):", "    spend()",
                     *([f"    global {(g := n())}", f"    {r.choice([g + ' = ' + e(1), g + ' += 1', 'del ' + g])}"]
                       if r.random() < 0.3 else []), f"    return {e()}"],
            lambda: [f"class K{r.choice(['', '(Base)'])}:", f"    {n()} = {e()}",
                     *(["    @called"] if r.random() < 0.2 else []), "    def m(self, x=1):", f"        return {e()} + x"],
            lambda: [f"@called\ndef {n()}(x=1):", f"    return {e()}"],
        ])()  # fmt: skip

    def source(self) -> str:
        return "\n".join(self.block(3, count=9))


class _Manager:
    """Swallows the exceptions of its body, but for those of an odd value."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __enter__(self) -> int:
        return self.value

    def __exit__(self, *error: object) -> bool:
        return not self.value % 2


class _SpentError(BaseException):
    pass


def _run(source: str, variables: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """(final variables, exception) of the program when it begins with these variables."""
    left = [60]

    def spend() -> bool:
        left[0] -= 1
        if left[0] < 0:
            raise _SpentError
        return True

    offered = {"spend": spend, "manager": _Manager, "Base": object, "called": lambda f: f() if f.__name__ != "m" else f(None)}
    space = {**copy.deepcopy(variables), "__builtins__": {**vars(builtins), **offered}, "__name__": "cell"}
    error = ""
    try:
        exec(compile(source, "<program>", "exec"), space)
    except (Exception, _SpentError) as caught:
        error = repr(caught)
    final = {name: value for name, value in space.items() if name not in {"__builtins__", "__name__", "__annotations__"}}
    return final, error


def _plain(variables: dict[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value if isinstance(value, int) else getattr(value, "__name__", type(value).__name__)

    return {name: plain(value) for name, value in variables.items()}


@st.composite
def _cases(draw: Any) -> tuple[str, dict[str, Any]]:
    r = random.Random(draw(st.integers(0, 2**32)))
    source = _Program(r).source()
    present = [name for name in [*_VARIABLES, "u", "v"] if r.random() < 0.85]
    return source, {**{name: 10 + i for i, name in enumerate(present)}, "box": [1, 2]}


_EARLIER = "def f(x): return a + x\ndef g(x): return f(x) + b\nclass K:\n    def m(self, x): return c + x"


def _limited(names: frozenset[str] | None, variables: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The earlier definitions and variables that a step loads: functions are bound to the namespace they are loaded in."""
    kept = [s for s in ast.parse(_EARLIER).body if names is None or s.name in names]  # type: ignore[attr-defined]
    return "\n".join(map(ast.unparse, kept)) + "\n", {n: v for n, v in variables.items() if names is None or n in names}


@settings(max_examples=200, deadline=None)
@given(_cases())
def test_a_program_that_is_given_only_what_it_reads_does_the_same(drawn: tuple[str, dict[str, Any]]) -> None:
    source, variables = drawn
    try:
        tree = ast.parse(source)
        compile(source, "<program>", "exec")
    except SyntaxError:
        return  # such as a comprehension that rebinds its own variable
    found = effects_of(tree.body, survey([ast.parse(_EARLIER), tree]))
    if found.opaque:
        return  # its step loads every variable
    definitions, given = _limited(None, variables)
    full, full_error = _run(definitions + source, given)
    definitions, given = _limited(found.reads, variables)
    limited, limited_error = _run(definitions + source, given)
    assert limited_error == full_error
    assert found.reads | found.writes >= {n for n in full if n not in variables and n not in {"f", "g", "K"}}
    passed_on = {name: value for name, value in full.items() if name not in found.reads}
    assert _plain({**passed_on, **limited}) == _plain(full)
    assert set(limited) <= set(full), "left though a straight run deletes it"
    if not full_error:
        assert found.binds <= set(full), "said to be bound, but isn't"


@pytest.mark.parametrize(
    "loop",
    [
        "for ax, case in zip(axes, cases): ax.clear()",
        "for i, (ax, case) in enumerate(zip(axes, cases)): ax.clear()",
        "for i, ax in enumerate(axes): ax.clear()",
    ],
)
def test_a_loop_over_several_values_changes_only_the_one_whose_part_it_changes(loop: str) -> None:
    assert effects("axes = make()\ncases = [1]", loop).touches == names("ax axes")
