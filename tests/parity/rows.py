"""The table of parity cases: notebooks in short, and what a pipeline run of each must be, compared with a straight run.

`equal`: the same outputs; `refused`: an error that names the variable; `either`. Rows of one group run in one notebook to save
kernels (their names must differ); rows of the group `alone` have a notebook of their own. `says` are words of the refusal.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    name: str
    cells: tuple[tuple[str, str], ...]
    expect: str = "equal"
    group: str = "alone"
    says: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    fails: bool = False  # the notebook itself fails in a cell


def row(name: str, *sources: str, expect: str = "equal", group: str = "plain", says: str = "", files: dict[str, str] | None = None,
        fails: bool = False) -> Row:  # fmt: skip
    """A row whose cells are steps a, b, c, ..."""
    cells = tuple((f"step:{'abcdef'[i]}", source) for i, source in enumerate(sources))
    return Row(name, cells, expect, group, tuple(says.split()), tuple((files or {}).items()), fails)


def alone(name: str, *cells: tuple[str, str], expect: str = "equal", says: str = "", files: dict[str, str] | None = None,
          fails: bool = False) -> Row:  # fmt: skip
    return Row(name, cells, expect, "alone", tuple(says.split()), tuple((files or {}).items()), fails)


PD = "import pandas as pd\nimport numpy as np"

ROWS: list[Row] = [
    # -- bindings ------------------------------------------------------------------------------------------------------
    row("comprehension and lambda names", "i1 = 10\nt1 = 20", "fn1 = lambda t1: t1 + 1\nprint([i1 for i1 in range(3)], fn1(1))",
        "print(i1, t1)"),
    row("an if that doesn't happen", "x2 = 1\nflag2 = False", "if flag2:\n    x2 = 2", "print(x2)"),
    row("a loop that may never bind", "best3 = None\nscores3 = []", "for s3 in scores3:\n    best3 = s3", "print(best3)"),
    row("a cache made on NameError", "y4 = 1", "try:\n    cache4\nexcept NameError:\n    cache4 = {}", "cache4['k'] = y4",
        "print(cache4)"),
    row("a cache that is there", "cache5 = {'old': 1}", "try:\n    cache5\nexcept NameError:\n    cache5 = {}", "print(cache5)"),
    row("walrus", "data6 = [1, 2, 3]", "if (n6 := len(data6)) > 2:\n    print([last6 := v for v in data6])", "print(n6, last6)"),
    row("with as", "import io", "with io.StringIO('abc') as f7:\n    text7 = f7.read()", "print(text7)"),
    row("for targets", "pairs8 = [(1, 'x'), (2, 'y')]", "for k8, (v8) in pairs8:\n    pass", "print(k8, v8)"),
    row("match captures", "point9 = {'x': 1, 'rest': [2, 3]}",
        "match point9:\n    case {'x': px9, 'rest': [first9, *others9]}:\n        pass", "print(px9, first9, others9)"),
    row("except as is unbound after", "err10 = 'kept'\nother10 = 1",
        "try:\n    1 / 0\nexcept ZeroDivisionError as err10:\n    other10 = str(err10)",
        "try:\n    print(err10)\nexcept NameError:\n    print('unbound', other10)"),
    row("augmented assignment, unpacking, stores", "total11 = 1\nd11 = {}\nlst11 = [1, 2, 3]\nclass Box11: pass\nbox11 = Box11()",
        "total11 += 5\nfirst11, *rest11 = lst11\nbox11.b = 1\nd11['k'] = total11\nlst11[1:2] = []", "print(total11, first11, rest11, box11.b, d11, lst11)"),
    row("a leading underscore and non-ASCII names", "_hidden12 = 1\ngröße12 = 2\n变量12 = 3", "_hidden12 += 1\ngröße12 += 变量12",
        "print(_hidden12, größe12, 变量12)"),
    row("a dotted import", "import os.path\nimport xml.etree.ElementTree as ET13", "name13 = os.path.join('a', 'b')",
        "print(name13, os.path.basename(name13), ET13.fromstring('<a/>').tag)"),
    row("a conditional import", "try:\n    import no_such_module14 as js14\nexcept ImportError:\n    import json as js14", "z14 = js14.dumps([1])",
        "print(js14.loads(z14))"),
    row("chained and annotated assignment", "p15 = q15 = []\nr15: int = 3\ns15: int", "p15.append(r15)", "print(q15, q15 is p15)"),
    row("a global statement at top level of a function", "g16 = 1\ndef set16(v):\n    global g16, h16\n    g16 = v\n    h16 = v * 2",
        "set16(5)", "print(g16, h16)"),
    alone("a deletion", ("step:a", "big = 1"), ("step:b", "del big"), ("step:c", "print('big' in globals())"), expect="either"),
    row("a deletion that is asked for", "big18 = [1]", "del big18", "try:\n    big18\nexcept NameError:\n    print('gone')"),
    alone("a variable named like a builtin", ("step:a", "sum = 3\nlist = [1]"), ("step:b", "sum += 1\nlist.append(sum)"),
          ("step:c", "print(sum, list)")),
    alone("star imports", ("step:a", "from math import *\nr = floor(2.5)"), ("step:b", "from os.path import *\nn = basename('a/b')"),
          ("step:c", "print(r, n, sqrt(4), join('a', 'b'), e)")),
    row("a variable that changes type", PD + "\ndf21 = pd.DataFrame({'u': [1, 2]})", "df21 = df21.to_numpy()",
        "print(type(df21).__name__, df21.tolist())", group="pandas"),
    alone("cells on both sides of another step", ("step:a", "x = [1]"), ("step:b", "x.append(2)\nprint(x)"), ("step:a", "x.append(3)\ny = len(x)"),
          ("step:c", "print(x, y)")),
    alone("a parameter that a step assigns", ("parameters", "lr = 0.1\nepochs = 2"), ("step:a", "print(lr)\nlr = lr / 10"),
          ("step:b", "print(lr, epochs)")),
    alone("typed parameters", ("parameters", "from typing import Literal, Optional\nnames: list = ['ä', 'b\"c']\ntable: dict = {'k': [1]}\n"
          "maybe: Optional[int] = None\nmode: Literal['fast', 'slow'] = 'fast'\ntext: str = \"it's = 'x' # no \\\\n comment\"\nrate: float = 1e-3"),
          ("step:a", "names.append('c')"), ("step:b", "print(names, table, maybe, mode, text, rate)")),
    alone("parameters that need code", ("", "import os"), ("parameters", "base = 2\nroot = os.path.join('a', 'b')"), ("step:a", "print(base, root)"),
          ("step:b", "print(root * base)")),
    alone("code above the first step", ("", "import time\nt0 = time.time()\nlog = []\nload_count = 0\nload_count += 1"), ("step:a", "log.append('a')"),
          ("step:b", "log.append('b')"), ("step:c", "print(log, time.time() > t0, load_count)")),
    alone("exploration is left out", ("step:a", "x = [1]"), ("skip", "peek = x[0]"), ("step:b", "print(x)")),
    alone("setup that a step changes", ("setup", "config = {'n': 1}\nlimit = 3\nprint('set up')"), ("step:a", "config['n'] = 2\nlimit += 1"),
          ("step:b", "print(config, limit)")),
    alone("after", ("step:a", "open('made.txt', 'w').write('1')"), ("step:b", "x = 1"),
          ("step:c after:a", "import glob\nprint(glob.glob('*.txt'), x)")),
    # -- functions and classes -------------------------------------------------------------------------------------
    row("functions of all kinds read a global late",
        "rate30 = 1\ndef f30(): return rate30\nl30 = lambda: rate30\nclass C30:\n    def m(self): return rate30\nasync def a30(): return rate30\n"
        "def n30():\n    def inner(): return rate30\n    return inner()", "rate30 = 2",
        "try:\n    a30().send(None)\nexcept StopIteration as stop30:\n    print(f30(), l30(), C30().m(), stop30.value, n30())"),
    row("global counter", "count31 = 0\ndef bump31():\n    global count31\n    count31 += 1", "bump31()\nbump31()", "print(count31)"),
    row("a function that appends to a list", "log32 = []\ndef note32(x): log32.append(x)", "note32(1)", "note32(2)", "print(log32)"),
    row("a decorator that fills a registry", "reg33 = {}\ndef register33(f):\n    reg33[f.__name__] = f\n    return f", "@register33\ndef one33(): return 1",
        "@register33\ndef two33(): return 2", "print({k: f() for k, f in reg33.items()}, reg33['one33'] is one33)"),
    row("a mutable default remembers", "def f34(x, seen=[]):\n    seen.append(x)\n    return list(seen)", "print(f34(1))", "print(f34(2))"),
    row("closures", "def adder35(n):\n    return lambda x: x + n\nadd35 = adder35(2)\ndef counter35():\n    n = 0\n    def inc():\n        nonlocal n\n"
        "        n += 1\n        return n\n    return inc\ninc35 = counter35()", "print(add35(1), inc35())", "print(add35(3), inc35())"),
    row("functions that call functions", "base36 = 10\ndef f36(x): return g36(x) + 1\ndef g36(x): return x * base36", "base36 = 20", "print(f36(2))"),
    row("recursion and mutual recursion", "def even37(n): return n == 0 or odd37(n - 1)\ndef odd37(n): return n != 0 and even37(n - 1)", "k37 = 4",
        "print(even37(k37))"),
    row("a class, isinstance, equality",
        "class P38:\n    def __init__(self, x): self.x = x\n    def __eq__(self, o): return type(self) is type(o) and self.x == o.x\n    def __hash__(self): return 1",
        "p38 = P38(1)\nps38 = [P38(1), P38(2)]", "print(isinstance(p38, P38), p38 == P38(1), p38 in ps38, type(p38) is P38)"),
    row("dataclass, Enum, namedtuple, exception",
        "from dataclasses import dataclass, field, asdict\nfrom enum import Enum\nfrom collections import namedtuple\n"
        "@dataclass\nclass D39:\n    x: int = 1\n    y: list = field(default_factory=list)\nclass E39(Enum):\n    A = 1\n    B = 2\n"
        "N39 = namedtuple('N39', 'a b')\nclass Err39(Exception): pass",
        "d39 = D39(2)\ne39 = E39.A\nn39 = N39(1, 2)\nx39 = Err39('no')",
        "d39.y.append(1)\nprint(d39, d39 == D39(2, [1]), asdict(d39), e39, e39 is E39.A, n39 == N39(1, 2), n39.a)\n"
        "try:\n    raise x39\nexcept Err39 as caught39:\n    print(repr(caught39))"),
    row("a metaclass and a property",
        "class Meta40(type):\n    known = []\n    def __init__(cls, *a):\n        super().__init__(*a)\n        Meta40.known.append(cls.__name__)\n"
        "class M40(metaclass=Meta40):\n    @property\n    def twice(self): return self.v * 2", "m40 = M40()\nm40.v = 4",
        "print(m40.twice, type(M40) is Meta40, Meta40.known)", expect="either", group="alone"),
    row("an estimator of the notebook",
        "from sklearn.base import BaseEstimator, TransformerMixin\nfrom sklearn.pipeline import make_pipeline\nfrom sklearn.linear_model import LinearRegression\n"
        "import numpy as np\nclass Scale41(BaseEstimator, TransformerMixin):\n    def __init__(self, by=2): self.by = by\n    def fit(self, X, y=None):\n"
        "        self.n_ = len(X)\n        return self\n    def transform(self, X): return X * self.by\nX41 = np.arange(6.0).reshape(3, 2)",
        "model41 = make_pipeline(Scale41(3), LinearRegression()).fit(X41, [1, 2, 3])",
        "print(model41.predict(X41).round(6), model41[0].n_, isinstance(model41[0], Scale41))\nmodel41", group="sklearn"),
    row("a class attribute that changes", "class C42:\n    n = 0\n    items = []\nc42 = C42()", "C42.n = 5\nC42.items.append(1)", "print(C42.n, c42.n, c42.items)"),
    row("instances that share a list", "class Bag43:\n    def __init__(self, l): self.l = l\nshared43 = []\nb43 = Bag43(shared43)\nc43 = Bag43(shared43)",
        "b43.l.append(1)", "print(c43.l, shared43, c43.l is shared43)"),
    row("partial and singledispatch", "from functools import partial, singledispatch\ndef pw44(b, e): return b ** e\nsq44 = partial(pw44, e=2)", "print(sq44(3))",
        "print(sq44(4))"),
    row("singledispatch", "from functools import singledispatch\n@singledispatch\ndef f45(x): return 'any'\n@f45.register\ndef _(x: int): return 'int'",
        "print(f45(1))", "print(f45('a'))", expect="either", group="alone"),
    row("lru_cache", "from functools import lru_cache\n@lru_cache\ndef f46(x): return x * 2", "print(f46(1), f46.cache_info().currsize)",
        "print(f46(1), f46.cache_info().hits)"),
    row("a subclass in a later step", "class A47:\n    kinds = []\n    def __init_subclass__(cls): A47.kinds.append(cls.__name__)\n    def hi(self): return 'A'",
        "class B47(A47):\n    def hi(self): return super().hi() + 'B'\nb47 = B47()", "print(A47.kinds, b47.hi(), isinstance(b47, A47), A47.__subclasses__() == [B47])"),
    row("a class that is defined again", "class V48:\n    v = 1\nold48 = V48()", "class V48:\n    v = 2\nnew48 = V48()",
        "print(old48.v, new48.v, isinstance(old48, V48), isinstance(new48, V48))"),
    # -- mutation and identity ----------------------------------------------------------------------------------------
    row("in-place changes of a frame", PD + "\ndf50 = pd.DataFrame({'u': [3, 1, 2], 'v': [1, 2, 3]})\nlst50 = [3, 1]",
        "df50.drop(columns='v', inplace=True)\ndf50['z'] = df50.u * 2\nm50 = df50.u > 1\ndf50.loc[m50, 'z'] = 0\nlst50.sort()", "n50 = 1",
        "print(lst50)\ndf50", group="pandas"),
    alone("a change in b, read in c", ("step:a", "x = [1]\ndef grow(v): v.append(2)"), ("step:b", "import time\ntime.sleep(0.5)\ngrow(x)"), ("step:c", "print(x)")),
    alone("c stands before b", ("step:a", "x = [1]"), ("step:c", "print(x)"), ("step:b", "x.append(2)"), ("step:d", "print(x)")),
    row("two names for one list", "a53 = [1]\nb53 = a53\nd53 = {'in': a53}", "b53.append(2)", "d53['in'].append(3)", "print(a53, b53 is a53, d53['in'] is a53)"),
    row("an optimizer over a model's parameters",
        "class Model54:\n    def __init__(self): self.w = [0.0, 0.0]\n    def parameters(self): return self.w\n"
        "class Adam54:\n    def __init__(self, params): self.params = params\n    def step(self):\n        for i in range(len(self.params)): self.params[i] += 0.5\n"
        "model54 = Model54()\nopt54 = Adam54(model54.parameters())", "for _ in range(3):\n    opt54.step()", "print(model54.w, opt54.params is model54.w)"),
    row("a NumPy view", "import numpy as np\nbase55 = np.arange(6)\nview55 = base55[2:4]", "view55[:] = 0", "print(base55, np.shares_memory(base55, view55))"),
    row("mutators", "import random, heapq\nimport numpy as np\nrandom.seed(1)\nx56 = [1, 2, 3, 4, 5]\nh56 = [3]\ny56 = np.zeros(3)\n"
        "df56 = {'a': [1, None]}\ndef clean56(d): d['a'] = [v for v in d['a'] if v]",
        "random.shuffle(x56)\nnp.add.at(y56, [0, 0], 1)\nheapq.heappush(h56, 1)\nclean56(df56)", "print(x56, h56, y56, df56)", group="random"),
    alone("two fits on the same data", ("step:a", "from sklearn.linear_model import LinearRegression, Ridge\nimport numpy as np\nX = np.arange(8.0).reshape(4, 2) ** 2\ny = X[:, 0]"),
          ("step:b", "model_a = LinearRegression()\nmodel_a.fit(X, y)"), ("step:c", "model_b = Ridge()\nmodel_b.fit(X, y)"),
          ("step:d", "print(model_a.coef_.round(6), model_b.coef_.round(6))")),
    row("a library call that changes its argument", "import operator\nimport numpy as np\nx58 = [1]\nr58 = np.arange(3)", "ok58 = operator.setitem(x58, 0, 99)\ns58 = np.copyto(r58, 7)",
        "print(x58, r58)"),
    row("a value that swaps", "l59, r59 = [1], [2]", "l59, r59 = r59, l59", "l59.append(3)", "print(l59, r59)"),
    row("pandas copies on write", PD + "\ndf60 = pd.DataFrame({'u': [1, 2, 3]})\ns60 = df60['u']\nt60 = df60", "t60.loc[0, 'u'] = 9", "print(df60.u.tolist(), s60.tolist(), t60 is df60)", group="pandas"),
    row("a copy parts from its source", "import copy\na61 = [[1]]\nb61 = copy.copy(a61)\nc61 = copy.deepcopy(a61)", "a61[0].append(2)\na61.append(3)", "print(a61, b61, c61, b61[0] is a61[0])"),
    row("sharing ends", "a62 = [1, 2]\nd62 = [4, a62]", "a62 = a62[:]", "a62.append(4)", "print(a62, d62)"),
    # -- state outside variables ---------------------------------------------------------------------------------
    alone("seeds and draws in a chain", ("", "import random\nimport numpy as np\nrandom.seed(1)\nnp.random.seed(2)"), ("step:a", "print(random.random(), np.random.rand())"),
          ("step:b", "x = np.random.permutation(5)\nprint(x)"), ("step:c", "print(random.randint(0, 100), np.random.normal(), x)")),
    alone("seeds in setup", ("setup", "import random\nrandom.seed(1)"), ("step:a", "print(random.random())"), ("step:b", "print(random.random())")),
    row("a generator object", "import numpy as np\nimport random\nrng65 = np.random.default_rng(0)\nrr65 = random.Random(3)", "print(rng65.integers(0, 100, 3), rr65.random())",
        "print(rng65.random(), rr65.random())", group="random"),
    alone("train_test_split with a seed", ("", PD + "\nfrom sklearn.model_selection import train_test_split\nnp.random.seed(3)"), ("step:a", "X = np.arange(10)\ntrain, test = train_test_split(X)"),
          ("step:b", "print(train, test, np.random.rand(2))")),
    alone("options, styles, environment, paths, logging",
          ("setup", "import os, sys, warnings, logging\nimport pandas as pd\nimport numpy as np\nimport matplotlib\nimport matplotlib.pyplot as plt"),
          ("", "pd.set_option('display.max_rows', 4)\nnp.set_printoptions(precision=2)\nplt.style.use('ggplot')\nplt.rcParams['figure.dpi'] = 50\nwarnings.filterwarnings('ignore')\n"
           "os.environ['PARITY_X'] = '1'\nsys.path.append('/nowhere')\nlogging.getLogger('parity').setLevel(logging.ERROR)"),
          ("step:a", "df = pd.DataFrame({'u': range(10)})\narr = np.array([1 / 3])"),
          ("step:b", "print(arr)\nwarnings.warn('hidden')\nprint(os.environ['PARITY_X'], '/nowhere' in sys.path, logging.getLogger('parity').level)\nprint(plt.rcParams['figure.dpi'], plt.rcParams['axes.facecolor'])\ndf"),
          ("step:c", "pd.reset_option('display.max_rows')\nos.environ['PARITY_X'] = '2'"), ("step:d", "print(os.environ['PARITY_X'], pd.get_option('display.max_rows'))\ndf")),
    alone("options reach a step that doesn't name the module", ("step:a", PD + "\ndf = pd.DataFrame({'u': range(10)})\narr = np.array([1 / 3])"),
          ("step:b", "pd.set_option('display.max_rows', 4)\nnp.set_printoptions(precision=2)"), ("step:c", "print(arr)\ndf")),
    alone("warnings are filtered in a step that doesn't name the module", ("", "import warnings\nimport pandas as pd\nwarnings.filterwarnings('ignore')\ndef old(): warnings.warn('old', DeprecationWarning, 2)"),
          ("step:a", "import numpy as np\nx = np.array([0.0, 1.0])"), ("step:b", "print(x / 0)"), ("step:c", "old()\nprint(np.log(x))")),
    alone("numpy's error state", ("", "import numpy as np\nnp.seterr(all='raise')"), ("step:a", "x = np.zeros(2)"), ("step:b", "try:\n    x / 0\nexcept FloatingPointError as e:\n    print(e)")),
    alone("display options of pandas in setup", ("setup", "import pandas as pd\npd.options.display.max_rows = 4\npd.options.display.float_format = '{:.1f}'.format"), ("step:a", "df = pd.DataFrame({'u': [i / 7 for i in range(9)]})"), ("step:b", "df")),
    alone("display options that hold a function", ("step:a", "import pandas as pd\ndf = pd.DataFrame({'u': [i / 7 for i in range(9)]})"), ("step:b", "pd.set_option('display.float_format', lambda v: f'<{v:.1f}>')"), ("step:c", "df"), expect="either"),
    alone("seaborn's theme", ("", "import seaborn as sns\nimport matplotlib.pyplot as plt\nsns.set_theme(style='darkgrid')"), ("step:a", "x = [1, 2, 4]"),
          ("step:b", "fig, ax = plt.subplots(figsize=(2, 1))\nax.plot(x)\nplt.show()\nprint(plt.rcParams['axes.grid'], plt.rcParams['font.family'])")),
    alone("seaborn's colours where matplotlib comes in late", ("step:a", "import sys\nsys.path.insert(0, '..')\nimport pandas as pd\nimport seaborn as sns\nsns.set_theme()\nsns.set_color_codes()"), ("step:b", "df = pd.DataFrame({'u': [1, 2, 3.0], 'v': [1, 3, 2.0]})"),
          ("step:c", "ax = df.plot.hexbin('u', 'v', gridsize=3)\nprint(ax.collections[0].get_cmap().name)\nax.figure.clear()"), expect="either"),
    alone("settings that packages keep to themselves", ("step:a", "import matplotlib.dates as mdates\nfrom email import charset\ndef again():\n    mdates._reset_epoch_test_example()"),
          ("step:b", "mdates.set_epoch('0000-12-31T00:00:00')\ncharset.add_alias('mine', 'utf-8')"), ("step:c", "print(mdates.date2num([]), mdates.get_epoch(), charset.ALIASES['mine'])"),
          ("step:d", "again()\nmdates.set_epoch('1990-01-01T00:00:00')"), ("step:e", "print(mdates.get_epoch())")),
    alone("settings that a class is given by its name", ("step:a", "import pyparsing as pp\npp.ParserElement.enable_left_recursion()\nexpr = pp.Forward()"),
          ("step:b", "expr <<= expr + '+' + pp.Word(pp.nums) | pp.Word(pp.nums)"), ("step:c", "print(expr.parse_string('1+2+3'))\npp.ParserElement.set_default_whitespace_chars(' ')"),
          ("step:d", "print(pp.Word('a')[...].parse_string('a a\\na'))")),
    alone("classes that enter themselves in a package", ("", "import yaml"), ("step:a", "class Monster(yaml.YAMLObject):\n    yaml_tag = '!Monster'\n    def __init__(self, name):\n        self.name = name"),
          ("step:b", "m = yaml.load('!Monster {name: x}', Loader=yaml.Loader)\nprint(m.name)"), ("step:c", "print(yaml.dump(m), type(m) is Monster)")),
    alone("tests that are looked for in the namespace", ("", "import doctest, io, unittest"), ("step:a", "class T(unittest.TestCase):\n    def test_one(self):\n        pass\ndef f():\n    '''\n    >>> f()\n    1\n    '''\n    return 1"), ("step:b", "x = 1"),
          ("step:c", "print(unittest.main(argv=[''], exit=False, testRunner=unittest.TextTestRunner(stream=io.StringIO())).result.testsRun)"), ("step:d", "print(doctest.testmod())")),
    alone("an object that says when it goes", ("step:a", "import os, queue\nclass Goes:\n    def __del__(self):\n        open('gone.txt', 'a').write('x')\n        print('gone')"), ("step:b", "g = Goes()\nq = queue.Queue()\nq.put(1)"), ("step:c", "print(g is None)"),
          ("step:d", "print(os.path.exists('gone.txt'), q.get(), q.unfinished_tasks)"), ("step:e", "g = 1\nprint(open('gone.txt').read(), q.qsize())")),
    alone("a figure over three steps", ("step:a", "import matplotlib.pyplot as plt\nfig, ax = plt.subplots(figsize=(2, 1))\nplt.close(fig)"), ("step:b", "line = ax.plot([1, 2, 4])"),
          ("step:c", "fig"), expect="either"),
    alone("the implicit current figure", ("step:a", "%config InlineBackend.close_figures = False\nimport matplotlib.pyplot as plt\nplt.figure(figsize=(2, 1))\nl = plt.plot([1, 2])"),
          ("step:b", "t = plt.title('t')\nprint(len(plt.gcf().axes), plt.gca().get_title())"), expect="either"),
    alone("os.chdir and %cd", ("step:a", "import os\nos.makedirs('sub/deep', exist_ok=True)\nos.chdir('sub')"), ("step:b", "print(os.path.basename(os.getcwd()))\n%cd -q deep"),
          ("step:c", "print(os.path.basename(os.getcwd()))"), expect="either"),
    row("files by literal path, Path and f-string", "from pathlib import Path\nname73 = 'data73'\nwith open('one73.txt', 'w') as f73:\n    f73.write('1')\nPath('two73.txt').write_text('2')\n"
        "with open(f'{name73}.csv', 'w') as f73:\n    f73.write('a,b\\n1,2\\n')\ndel f73", "import csv\nprint(open('one73.txt').read(), Path('two73.txt').read_text())",
        "print(open(f'{name73}.csv').read())"),
    alone("files through pandas", ("step:a", PD + "\npd.DataFrame({'u': [1, 2]}).to_csv('t.csv', index=False)"), ("step:b", "df = pd.read_csv('t.csv')\ndf['v'] = 1\ndf.to_parquet('t.parquet')"),
          ("step:c", "print(pd.read_parquet('t.parquet'))")),
    *[alone(f"{what} is refused", ("", "import sqlite3, threading, socket"), ("step:a", f"thing = {code}"), ("step:b", "print(thing)"), expect="refused", says="thing cell")
      for what, code in [("a database connection", "sqlite3.connect(':memory:')"), ("a generator", "(i for i in range(3))"), ("a lock", "threading.Lock()")]],
    row("a refused value that nobody reads is no harm", "import threading\nlock76 = threading.Lock()\nv76 = 1", "print(v76)", "print(v76 + 1)"),
    alone("a file that is read on in later steps", ("step:a", "name = ''.join(['lines', '.txt'])\nwith open(name, 'w') as out:\n    out.write('one\\ntwo\\nthree\\nfour\\n')\nf = open(name)\nprint(f.readline())"), ("step:b", "print(f.readline())"),
          ("step:c", "for line in f:\n    print(line)\n    break"), ("step:d", "print(next(f), f.read(), f.name)\nf.close()"), ("step:e", "print(f.closed, f)")),
    alone("a file that is read on while a step writes it", ("step:a", "name = ''.join(['lines', '.txt'])\nwith open(name, 'w') as out:\n    out.write('one\\ntwo\\n')\nf = open(name)\nprint(f.readline())"), ("step:b", "import time; time.sleep(2)\nwith open(name, 'a') as out:\n    out.write('three\\n')"),
          ("step:c", "print(f.read())"), expect="refused", says="lines.txt"),
    alone("an open file, a thread, a socket", ("step:a", "import socket, threading\nopened = open('x.txt', 'w')\nthread = threading.Thread(target=print)\nsock = socket.socket()"),
          ("step:b", "try:\n    print(opened, sock, thread)\nfinally:\n    pass"), expect="refused", says="cell"),
    row("shell commands", "out80 = !echo one two\nprint(out80, out80.s)\n!echo three", "word80 = 'four'\n!echo {word80} $word80", "print(list(out80))\nlines80 = !printf 'a\\nb'\nprint(lines80)", group="magics"),
    row("timing magics", "%time x81 = sum(range(10))\ny81 = %time 1 + 1", "%%time\nz81 = x81 + y81", "print(x81, y81, z81)", group="magics"),
    row("capture", "v82 = 5", "%%capture out82\nprint('hidden', v82)", "print(repr(out82.stdout))", group="magics"),
    row("matplotlib inline and env", "%matplotlib inline\n%env PARITY_Y=3", "import os\nprint(os.environ['PARITY_Y'])", "%env PARITY_Y=4\nprint(os.environ['PARITY_Y'])", group="magics"),
    row("a line that starts with the % operator", "a84 = 7\nb84 = 4", "c84 = (a84\n% b84)", "print(c84)", group="magics"),
    row("help and a trailing semicolon", "v85 = [1]", "v85;", "v85", group="magics"),
    alone("%run", ("step:a", "%run other.py"), ("step:b", "print(from_other)"), expect="either", files={"other.py": "from_other = 42\nprint('ran')\n"}),
    alone("%load_ext", ("step:a", "%load_ext autoreload\n%autoreload 2\nx = 1"), ("step:b", "print(x)"), expect="either"),
    alone("a local module", ("step:a", "import helper\nx = helper.make(2)"), ("step:b", "print(x, helper.make(3), isinstance(x, helper.Thing))"),
          files={"helper.py": "class Thing:\n    def __init__(self, v): self.v = v\n    def __repr__(self): return f'Thing({self.v})'\ndef make(v): return Thing(v)\n"}),
    alone("a package that numbers its objects, and how it has them shown", ("step:a", "import sys\nsys.path.insert(0, 'site-packages')\nfrom numbered import *\ninit_printing()\nt = Thing()"),
          ("step:b", "u = Thing()\no = Other()"), ("step:c", "print(t.number, u.number, o.number, Other().number)"), ("step:d", "t"),
          files={"site-packages/numbered.py": "import itertools\nfrom IPython import get_ipython\nclass Counter:\n    count = 0\ncounter = Counter()\ncounter.count = 0\nids = itertools.count()\n"
                 "def number():\n    counter.count += 1\n    return counter.count\nclass Base:\n    def __init__(self): self.number = number()\nclass Thing(Base):\n    def __init__(self): super().__init__()\n"
                 "class Other:\n    made = 0\n    def __init__(self):\n        Other.made += 1\n        self.number = (Other.made, next(ids))\n"
                 "def init_printing():\n    show = lambda thing, printer, cycle: printer.text(f'thing {thing.number}')\n    get_ipython().display_formatter.formatters['text/plain'].for_type(Thing, show)\n"}),
    alone("a package that keeps an address in its process", ("step:a", "import sys\nsys.path.insert(0, 'site-packages')\nfrom bound import Data\nx = Data()"),
          ("step:b", "y = Data()\nprint(y.fine)"), ("step:c", "print(x.fine, Data().fine)"),
          files={"site-packages/bound.py": "import os\nclass Library: pass\nlib = Library()\nlib._handle = 2**40 + os.getpid()\n"
                 "class Data:\n    def __init__(self):\n        self._handle = None\n        self.fine = lib._handle == 2**40 + os.getpid()\n"}),
    row("top-level await", "import asyncio\nasync def f90():\n    await asyncio.sleep(0)\n    return 9", "r90 = await f90()", "print(r90, await f90())", group="magics"),
    alone("exec and eval of a text", ("step:a", "x = 0\ny = 2"), ("step:b", "exec('x = 1')\nz = eval('x + y')"), ("step:c", "print(x, z)"), expect="either"),
    alone("globals()", ("step:a", "x = 1"), ("step:b", "globals()['x'] = 5\nprint(globals()['x'])"), ("step:c", "print(x)"), expect="either"),
    row("query reads a variable", PD + "\ndf93 = pd.DataFrame({'u': [1, 5, 9]})\nthr93 = 4", "thr93 = 6", "print(df93.query('u > @thr93'))\nprint(df93.eval('w = u + @thr93'))", group="pandas"),
    alone("history of another step", ("step:a", "1 + 1"), ("step:b", "x = Out[1]"), ("step:c", "print(x)"), expect="refused"),
    alone("the last result of another step", ("step:a", "41"), ("step:b", "x = _\nprint(x)"), expect="refused"),
    alone("the input of another step", ("step:a", "41"), ("step:b", "print(In[1])"), expect="refused"),
    row("the last result of the same step", "q97 = 1", "40 + q97", "print(q97)", group="magics"),
    alone("an exception, and c independent of it", ("step:a", "x = 1"), ("step:b", "print('before')\n1 / 0"), ("step:c", "print(x)"), fails=True),
    alone("a gate that holds", ("step:a", "acc = 0.9"), ("step:check gate", "assert acc > 0.8, 'too low'\nprint('ok')"), ("step:c", "print(acc)")),
    row("rich display", "class H101:\n    def _repr_html_(self): return '<b>h</b>'\n    def __repr__(self): return 'H'\nh101 = H101()", "h101", "from IPython.display import display, Markdown\ndisplay(h101, Markdown('*m*'))\nh101", group="magics"),
    row("an error's traceback points at its cell", "def bad102(): return 1 / 0", "import traceback\ntry:\n    bad102()\nexcept ZeroDivisionError:\n    print(traceback.format_exc())", "import inspect\nprint(inspect.getsource(bad102))", group="magics"),
    row("formulas", PD + "\ndf103 = pd.DataFrame({'g': ['a', 'b', 'a'], 'v': [1, 2, 3]})\ngb103 = df103.groupby('g')", "df103['v'] = df103['v'] * 10", "print(gb103['v'].sum().to_dict(), df103.v.tolist())", group="pandas"),
    row("logging", "import logging\nlogging.basicConfig(level=logging.INFO, format='%(message)s')\nlog104 = logging.getLogger('n104')", "log104.info('shown')\nlog104.debug('not shown')", "print(log104.name, logging.getLogger().level)", group="alone"),
    row("a widget-free display handle", "from IPython.display import display\nh105 = 1", "display(h105)", "print(h105)"),
    row("a module alias that a function needs", "import json as js106\ndef dump106(v): return js106.dumps(v)", "k106 = {'a': 1}", "print(dump106(k106))"),
    row("a class that inherits from a library's", "import collections\nclass Cnt107(collections.Counter):\n    def top(self): return self.most_common(1)[0]\nc107 = Cnt107('abca')", "c107.update('bbb')", "print(c107.top(), isinstance(c107, Cnt107), dict(c107))"),
    row("stdout of a big value", "import numpy as np\nbig108 = np.arange(100_000).reshape(100, -1)", "big108[0, 0] = -1\nv108 = big108[:, 1]", "v108[:] = 5\nprint(big108[0, :3], v108.sum(), v108.base is None)", expect="either", group="random"),
]  # fmt: skip
