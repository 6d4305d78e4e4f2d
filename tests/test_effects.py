"""What the analysis says that a cell reads, binds, changes in place and can't know."""

from __future__ import annotations

import ast
import random
from typing import Any

import pytest
from analysing import effects, names

from mlops_lab.effects import effects_of, survey


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
    case("an ensemble that is fitted at once keeps its estimator", "many = Bagging(estimator=tree).fit(X, y)\ntree.fit(X, y)", "many tree"),
    case("what is fitted is what it was", "fitted = model.fit(X, y)\nmodel.set_params(depth=2)", "fitted model"),
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
