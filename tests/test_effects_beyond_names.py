"""What code does beyond naming variables: code that reaches any of them, files, random numbers."""

from __future__ import annotations

import pytest
from analysing import effects, names

from mlops_lab.effects import effects_of, survey
from mlops_lab.syntax import parse

# What can't be known

OPAQUE = [
    ("exec of a variable", "exec(code)", True),
    ("exec with a namespace", "exec('x = 1', ns)", True),
    ("eval of a variable", "eval(code)", True),
    ("exec of a constant text", "exec('x = 1')", False),
    ("exec of a text that uses globals", "exec('globals()')", True),
    ("exec in a function that is called", "def f():\n    exec('x = 1')\nf()", True),
    ("exec in a function", "def f():\n    exec('x = 1')", False),
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
    ("%watermark", "%watermark -v -p numpy", False),
    ("%watermark of what is imported", "%watermark -d -iv", True),
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
    ("%run", "%run other.py", "other.py", ""),
    ("%run with options", "%run -i -b 40 'sub/more' a.csv", "sub/more sub/more.py", ""),
    ("%run of a module", "%run -m more", "", ""),
    ("%run of what a variable names", "%run $script", "*.py ?", ""),
    ("%pycat", "%pycat other.py", "other.py", ""),
    ("%load of an address", "%load https://example.org/a.py", "", ""),
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
