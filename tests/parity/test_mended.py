"""What once differed between a straight run and a pipeline, by what it was that did not pass from step to step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .inprocess import verdict
from .process import quick

# name, expectation, cells as (tags, source)
ROWS: list[tuple[str, str, list[tuple[str, str]]]] = [
    (
        "an instance of a class of a setup cell",
        "equal",
        [
            ("setup", "class Conf:\n    def __init__(self): self.n = 1"),
            ("step:a", "c = Conf()\nc.n += 1"),
            ("step:b", "print(isinstance(c, Conf), type(c) is Conf, c.n)\nd = [Conf(), c]"),
            ("step:c", "print([type(x) is Conf for x in d])"),
        ],
    ),
    (
        "a class of a setup cell that a step changes",
        "equal",
        [
            ("setup", "class Conf:\n    rate = 1\n    old = 1"),
            ("step:a", "Conf.rate += 1\ndel Conf.old"),
            ("step:b", "print(Conf.rate, hasattr(Conf, 'old'))\nConf.rate += 1"),
            ("step:c", "print(Conf.rate, Conf().rate)"),
        ],
    ),
    (
        "a change of a class of a setup cell through a function of another",
        "equal",
        [
            ("setup", "class Conf:\n    rate = 1"),
            ("setup", "def bump(): Conf.rate += 1\ndef show(): return Conf.rate"),
            ("step:a", "bump()"),
            ("step:b", "print(show())"),
        ],
    ),
    (
        "a mutable default of a function of a setup cell",
        "equal",
        [
            ("setup", "def f(q=[]):\n    q.append(1)\n    return q"),
            ("step:a", "f()"),
            ("step:b", "print(f())"),
            ("step:c", "print(f())"),
        ],
    ),
    (
        "attributes and defaults of a function of a setup cell",
        "equal",
        [
            ("setup", "def f(q=1): return q\nf.n = 0\nf.gone = 1"),
            ("step:a", "f.n += 1\nf.__defaults__ = (2,)\ndel f.gone"),
            ("step:b", "print(f(), f.n, vars(f))"),
        ],
    ),
    (
        "a named tuple and an enumeration of a setup cell",
        "equal",
        [
            (
                "setup",
                "from collections import namedtuple\nimport enum\nP = namedtuple('P', 'x y')\nclass E(enum.Enum):\n    A = 1",
            ),
            ("step:a", "p = P(1, 2)\ne = E.A"),
            ("step:b", "print(type(p) is P, e is E.A, p)"),
        ],
    ),
    (
        "a class that two setup cells define",
        "equal",
        [
            ("setup", "class Conf:\n    rate = 1"),
            ("step:a", "c = Conf()\nprint(type(c) is Conf)"),
            ("setup", "class Conf:\n    rate = 2"),
            ("step:b", "print(c.rate, Conf.rate, type(c) is Conf)"),
        ],
    ),
    (
        "a subclass of a class of a setup cell",
        "equal",
        [
            ("setup", "class Base:\n    made = []\n    def __init_subclass__(cls): Base.made.append(cls.__name__)"),
            ("step:a", "class Sub(Base): pass\ns = Sub()"),
            ("step:b", "print(isinstance(s, Base), issubclass(Sub, Base), Base.made)"),
        ],
    ),
    (
        "an alias of the environment",
        "equal",
        [
            ("step:a", "import os\nenv = os.environ"),
            ("step:b", "env['P_A'] = '1'\nprint(env is os.environ, os.environ.get('P_A'))"),
            ("step:c", "print(os.environ.get('P_A'), env.get('P_A'))"),
        ],
    ),
    (
        "aliases of lists and dicts of the interpreter",
        "equal",
        [
            (
                "step:a",
                "import sys, warnings\np = sys.path\nheld = {'argv': [sys.argv], 'filters': warnings.filters}\nm = sys.modules",
            ),
            ("step:b", "p.append('/nowhere')\nprint(p is sys.path, held['argv'][0] is sys.argv, m is sys.modules)"),
            ("step:c", "print('/nowhere' in sys.path, p[-1], held['filters'] is warnings.filters)"),
        ],
    ),
    (
        "an instance that holds the modules",
        "equal",
        [
            ("step:a", "import sys\nclass C: pass\nc = C()\nc.held = (sys.modules, [1])"),
            ("step:b", "print(c.held[0] is sys.modules, c.held[1])"),
        ],
    ),
    (
        "an alias of matplotlib's settings",
        "equal",
        [
            ("step:a", "import matplotlib as mpl\nrc = mpl.rcParams"),
            ("step:b", "rc['font.size'] = 3.5\nprint(rc is mpl.rcParams)"),
            ("step:c", "print(mpl.rcParams['font.size'], rc['font.size'])"),
        ],
    ),
    (
        "an alias of the namespace",
        "equal",
        [
            ("step:a", "g = globals()\nx = 1"),
            ("step:b", "print(g is globals(), g['x'])\ng['x'] = 2"),
            ("step:c", "print(x, g['x'])"),
        ],
    ),
    (
        "an attribute dict",
        "equal",
        [
            (
                "step:a",
                "class D(dict):\n    __getattr__ = dict.__getitem__\n    __setattr__ = dict.__setitem__\nd = D(x=1)\ne = D(d=d)",
            ),
            ("step:b", "d.x += 1\nprint(d.x, e.d is d, e)"),
            ("step:c", "print(d, e.d.x, vars(d))"),
        ],
    ),
    (
        "a proxy that asks what it holds",
        "equal",
        [
            (
                "step:a",
                "class P:\n    def __init__(self, o): self._o = o\n    def __getattr__(self, n): return getattr(self._o, n)\np = P([1])",
            ),
            ("step:b", "p.append(2)\nprint(p._o)"),
            ("step:c", "print(p._o, p.index(2))"),
        ],
    ),
    (
        "an instance whose attributes all go through its class",
        "equal",
        [
            (
                "step:a",
                "class P:\n    asked = []\n    def __init__(self): self.n = 1\n    def __getattribute__(self, n):\n"
                "        if n[0] != '_': P.asked.append(n)\n        return object.__getattribute__(self, n)\np = P()",
            ),
            ("step:b", "print(p.n, P.asked)"),
            ("step:c", "print(p.n, P.asked)"),
        ],
    ),
    (
        "warning filters set in a branch",
        "equal",
        [
            ("step:a", "import warnings\nquiet = True\nif quiet: warnings.simplefilter('error')"),
            ("step:b", "try: warnings.warn('a')\nexcept UserWarning: print('raised')\nwarnings.resetwarnings()"),
            ("step:c", "print(len(warnings.filters))\nwarnings.filterwarnings('error', 'x.*')"),
            ("step:d", "try: warnings.warn('xy')\nexcept UserWarning: print('raised')\nprint(len(warnings.filters))"),
        ],
    ),
    (
        "filters of a warning of the notebook's own, set by a function",
        "equal",
        [
            (
                "step:a",
                "import warnings\nclass W(UserWarning): pass\ndef strict(): warnings.simplefilter('error', W)\nstrict()",
            ),
            ("step:b", "try: warnings.warn('a', W)\nexcept W: print('raised')"),
        ],
    ),
    (
        "levels of loggers set in a branch",
        "equal",
        [
            ("step:a", "import logging\nverbose = True\nif verbose: logging.getLogger('parity').setLevel(10)"),
            ("step:b", "log = logging.getLogger('parity')\nprint(log.level)\nfor n in [0]: log.setLevel(n)"),
            ("step:c", "print(log.level, logging.getLogger('parity').level)"),
        ],
    ),
    (
        "the decimal context set in a branch and from a variable",
        "equal",
        [
            ("step:a", "import decimal\ndigits = 5\nif digits: decimal.getcontext().prec = digits"),
            ("step:b", "print(decimal.Decimal(1) / 3)\nctx = decimal.getcontext()"),
            ("step:c", "ctx.prec = 3\nctx.traps[decimal.Inexact] = True"),
            (
                "step:d",
                "try: print(decimal.Decimal(1) / 3)\nexcept decimal.Inexact: print('inexact', decimal.getcontext().prec)",
            ),
        ],
    ),
    (
        "instances whose class says how they are pickled",
        "equal",
        [
            (
                "step:a",
                "class Kept:\n    def __init__(self): self.data, self.tmp = {1: 2}, 'x'\n"
                "    def __getstate__(self): return {'data': {}}\n"
                "    def __setstate__(self, s):\n        self.__dict__.update(s)\n        self.loaded = True\n"
                "class Made:\n    made = []\n    __slots__ = ('x', 'y')\n"
                "    def __init__(self, x, y=0):\n        self.x, self.y = x, y\n        Made.made.append(x)\n"
                "    def __reduce__(self): return Made, (self.x,)\n"
                "class Pair(tuple):\n    def __new__(cls, a, b): return super().__new__(cls, (a, b))\n"
                "    def __getnewargs__(self): return self[0], 0\n"
                "class Few(dict):\n    def __reduce__(self): return Few, ()\n"
                "k, m, p, d = Kept(), Made(1, 5), Pair(1, 2), Few(a=1)\nd.note = 'n'",
            ),
            ("step:b", "print(vars(k), m.x, m.y, Made.made, p, type(p) is Pair, d, d.note)\nm.y += 1\nk.data[3] = 4"),
            ("step:c", "import copy\nprint(vars(k), m.y, Made.made, vars(copy.copy(k)), copy.copy(m).y, copy.copy(p))"),
        ],
    ),
    (
        "an instance of which its class leaves out what can't be passed on",
        "equal",
        [
            (
                "step:a",
                "import threading\nclass Safe:\n    def __init__(self): self.n, self.lock = 1, threading.Lock()\n"
                "    def __getstate__(self): return {'n': self.n}\n"
                "    def __setstate__(self, s):\n        self.__dict__.update(s)\n        self.lock = threading.Lock()\ns = Safe()",
            ),
            ("step:b", "with s.lock: s.n += 1"),
            ("step:c", "print(s.n, s.lock.locked())"),
        ],
    ),
    (
        "which object a not-a-number is",
        "equal",
        [
            (
                "step:a",
                "import numpy as np, math\nnan = float('nan')\nvalues, table, top = [np.nan, nan, 1.0], {nan: 1, np.nan: 2}, math.inf\n"
                "mixed = np.array(['a', np.nan, nan], dtype=object)",
            ),
            (
                "step:b",
                "print([v is np.nan for v in mixed], values.index(nan), table[nan], table.get(np.nan), top is math.inf)\nagain = nan",
            ),
            ("step:c", "print(again is nan, again in values, [v is again for v in mixed], values.count(np.nan))"),
        ],
    ),
    (
        "matches of regular expressions, and what executors have computed",
        "equal",
        [
            (
                "step:a",
                "import re\nfrom concurrent.futures import ThreadPoolExecutor\ntext = 'A=1;b=two;A=3'\n"
                "one, every = re.search(r'(\\w+)=(\\w+)', text), list(re.finditer(r'(?P<k>\\w+)=(\\w+)', text))\n"
                "later = re.compile('b').match(text, 4)\nwith ThreadPoolExecutor(2) as pool: futures = {pool.submit(pow, 2, 3): 'p'}",
            ),
            (
                "step:b",
                "print(one.groups(), [(m['k'], m.span()) for m in every], later.pos, every[0].re is every[1].re)\n"
                "print([(name, f.done(), f.result()) for f, name in futures.items()])",
            ),
        ],
    ),
    (
        "a list that is linked over hundreds of objects",
        "equal",
        [
            (
                "step:a",
                "class Link:\n    def __init__(self, n, rest): self.n, self.rest = n, rest\nhead = None\nfor n in range(900): head = Link(n, head)",
            ),
            ("step:b", "print(head.n, head.rest.n)\nhead = head.rest"),
            ("step:c", "count, link = 0, head\nwhile link: count, link = count + 1, link.rest\nprint(count)"),
        ],
    ),
    (
        "weak references to what is passed on",
        "equal",
        [
            (
                "step:a",
                "import weakref\nclass Node:\n    def __init__(self, name): self.name, self.parent = name, None\n"
                "    def add(self, child):\n        child.parent = weakref.ref(self)\n        return child\nroot = Node('root')",
            ),
            (
                "step:b",
                "kid = root.add(Node('kid'))\nknown, sizes = weakref.WeakValueDictionary(r=root), weakref.WeakKeyDictionary({kid: [1]})",
            ),
            ("step:c", "print(kid.parent() is root, known['r'] is root, sizes[kid])\nsizes[kid].append(2)"),
            ("step:d", "del root"),
            ("step:e", "print(kid.parent(), len(known), list(sizes.values()))"),
        ],
    ),
    (
        "weak references to what nothing else passes on",
        "refused",
        [
            ("step:a", "import weakref\nclass Node: pass\nnode = Node()\nseen = weakref.ref(node)"),
            ("step:b", "print(seen() is None)"),
        ],
    ),
    (
        "a class that a call makes, in a pickle",
        "equal",
        [
            (
                "step:a",
                "import pickle\nfrom collections import namedtuple\nP = namedtuple('P', 'x y')\nkept = pickle.dumps(P(1, 2))",
            ),
            ("step:b", "print(pickle.loads(kept).y)"),
        ],
    ),
    (
        "the shell by another name",
        "equal",
        [
            ("step:a", "x = 5\nip = get_ipython()"),
            ("step:b", "ip.run_cell('w = x * 3')\nip.user_ns['z'] = 7"),
            ("step:c", "print(w, z)"),
        ],
    ),
    (
        "a text that a profiler runs",
        "equal",
        [
            ("step:a", "import cProfile, contextlib, io\nx = 5\ndef f(n): return n + 1"),
            ("step:b", "with contextlib.redirect_stdout(io.StringIO()):\n    cProfile.run('y = f(x)')"),
            ("step:c", "print(y)"),
        ],
    ),
    (
        "subclasses that only their base tells of, in their order",
        "equal",
        [
            ("step:a", "class Base: pass\nclass Z(Base): pass\nclass Y(Base): pass"),
            ("step:b", "class B(Base): pass\nclass A(Base): pass"),
            ("step:c", "def below(kind):\n    return [c.__name__ for c in kind.__subclasses__()]"),
            ("step:d", "print(below(Base))"),
        ],
    ),
    (
        "methods that a call puts into another package",
        "equal",
        [
            ("step:a", "import pandas as pd\nfrom tqdm import tqdm\ntqdm.pandas(disable=True)\ns = pd.Series([1, 2])"),
            ("step:b", "print(s.progress_apply(lambda v: v + 1).tolist())"),
        ],
    ),
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with quick() as path:
        yield path


@pytest.mark.parametrize(("expectation", "cells"), [pytest.param(*row[1:], id=row[0]) for row in ROWS])
def test_what_differed_is_equal(expectation: str, cells: list[tuple[str, str]], folder: Path) -> None:
    for seed in range(6):
        kind, what, _ = verdict(cells, seed, folder)
        assert kind == expectation, what


def test_who_opens_a_file_that_waits_for_text_is_refused(folder: Path) -> None:
    cells = [
        (
            "step:a",
            "late, done = open('late.txt', 'w'), open('done.txt', 'w')\n_ = late.write('x')\nprint('y', file=done, flush=True)",
        ),
        ("step:b", "print(open('done.txt').read())"),
        ("step:c", "print(open('late.txt').read())"),
    ]
    assert verdict(cells[:2], 0, folder)[0] == "equal"
    assert "step 'a' left the file 'late.txt' open" in str(verdict(cells, 0, folder)[1])
