"""Values that must come back exactly from a step: one row each, its code as it would stand in a notebook.

`shows` is an expression that must give the same before and after, beside the portrait of the values (`portrait.py`), which is
left out where it can't look inside. `refused` rows are those that can't come back; they say so.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    name: str
    code: str
    shows: str = ""
    needs: str = ""  # modules
    names: tuple[str, ...] = ("x",)
    refused: str = ""  # words of the refusal
    portrait: bool = True


def row(
    name: str, code: str, shows: str = "", *, needs: str = "", names: str = "x", refused: str = "", portrait: bool = True
) -> Row:
    return Row(name, code, shows, needs, tuple(names.split()), refused, portrait)


def with_(first: str, needs: str, *rows: Row) -> list[Row]:
    return [Row(r.name, first + "\n" + r.code, r.shows, f"{needs} {r.needs}", r.names, r.refused, r.portrait) for r in rows]


PLAIN = [
    row("numbers", "x = [2**64, -2**63 - 1, 10**400, True, -0.0, float('inf'), complex(-0.0, 1), 1e-320]"),
    row(
        "payloads of NaN",
        "import struct\nx = [struct.unpack('>d', bytes.fromhex(h))[0] for h in ('7ff8000000000001', 'fff8000000000000')]",
        "[struct.pack('>d', v).hex() for v in x]".replace("struct.", "__import__('struct')."),
    ),
    row("strings", "x = ['\\ud800', 'a\\udfffb', '\\x00', '🙂', b'\\xff', bytearray(b'ab'), b'1' * 10_000]"),
    row(
        "recursive structures",
        "l = [1]; l.append(l); d = {}; d['me'] = d; t = ([],); t[0].append(t)\nclass N: pass\nn = N(); n.n = n; x = [l, d, t, n]",
        "x[0][1] is x[0], x[1]['me'] is x[1], x[2][0][0] is x[2], x[3].n is x[3]",
    ),
    row(
        "nested shared references",
        "l = [1]; d = {'l': l}; x = {'a': [l, d], 'b': (l, d), 'c': d}",
        "x['a'][0] is x['b'][0] is x['c']['l']",
    ),
    row(
        "dict order and keys",
        "x = {float('nan'): 1, (1, (2,)): 2, frozenset([1]): 3, b'a': 4, None: 5, 'z': 6}; x['z'] = 7; del x[None]; x[None] = 8",
    ),
    row(
        "ranges, slices, constants",
        "x = [range(0, 10, 3), slice(1, None, 2), ..., NotImplemented, None]",
        "x[2] is ..., x[3] is NotImplemented",
    ),
    row(
        "collections",
        "from collections import *\nx = [OrderedDict(b=1, a=2), Counter('aab'), deque([1, 2], maxlen=2), defaultdict(list, k=[1]), ChainMap({'a': 1}, {'b': 2})]\nx[0].move_to_end('b')",
        "x[3]['new'], x[2].maxlen, list(x[0])",
    ),
    row(
        "itertools",
        "import itertools, warnings\nx = [itertools.count(3, 2), itertools.cycle('ab')]\nnext(x[0]); next(x[1])",
        "[next(v) for v in x], [next(v) for v in x]",
        portrait=False,
    ),
    row(
        "iterators with a state",
        "i = iter([1, 2, 3]); next(i); x = [i, iter(range(3)), enumerate('ab', 5), reversed([1, 2])]",
        "[list(v) for v in x]",
        portrait=False,
    ),
    row(
        "dates and zones",
        "from datetime import *; from zoneinfo import ZoneInfo\nx = [datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo('Europe/Berlin')), timezone(timedelta(hours=2), 'X'), timezone.utc, date.max, time(1, 2, fold=1), timedelta(days=-1, microseconds=1)]",
        "x[0].utcoffset(), x[2] is __import__('datetime').timezone.utc, x[0].fold",
    ),
    row(
        "decimals and fractions",
        "from decimal import *; from fractions import Fraction\nx = [Decimal('1.10'), Decimal('NaN'), Decimal('-0'), Fraction(1, 3), Context(prec=5, rounding=ROUND_UP)]",
        "repr(x)",
    ),
    row(
        "paths, patterns, addresses",
        "import pathlib, re, ipaddress, uuid\nx = [pathlib.Path('a/b'), pathlib.PureWindowsPath('a'), re.compile('a(?P<n>b)', re.I), ipaddress.ip_network('10.0.0.0/8'), uuid.UUID(int=5, is_safe=uuid.SafeUUID.safe)]",
        "repr(x), x[4].is_safe",
    ),
    row(
        "files in memory",
        "import io\ns = io.StringIO('abc\\ndef'); s.read(1); b = io.BytesIO(b'xyz'); b.seek(2); x = [s, b]",
        "x[0].tell(), x[0].read(), x[1].tell(), x[1].read()",
        portrait=False,
    ),
    row("simple namespaces", "import types\nx = types.SimpleNamespace(b=[1], a=2)", "x"),
    row("array.array", "import array\nx = [array.array('d', [1.5, -0.0]), array.array('b', range(100))]", "x"),
    row("memoryviews are refused", "x = memoryview(b'abc')", refused="memory of another"),
    row("weak references are refused", "import weakref\nclass A: pass\na = A(); x = weakref.ref(a)", refused="weakref"),
    row(
        "weak dictionaries that are empty",
        "import weakref\nx = [weakref.WeakValueDictionary(), weakref.WeakKeyDictionary()]",
        "[list(d) for d in x], [type(d).__name__ for d in x]",
    ),
    row(
        "weak dictionaries are refused",
        "import weakref\nclass A: pass\na = A(); x = weakref.WeakValueDictionary(a=a)",
        refused="weak references",
    ),
    row("weak sets are refused", "import weakref\nclass A: pass\na = A(); x = weakref.WeakSet([a])", refused="weak references"),
    row("open files are refused", "import os\nx = open(os.devnull)", refused="x"),
    row("generators are refused", "x = (i for i in range(3))", refused="generator"),
]

SETS = [
    row("sets", "x = [{1, 2, 'a', None}, frozenset({(1, 2)}), set(), frozenset()]"),
    row("a set with collisions", "x = {8, 0, 16, 3}; x.discard(8)", "list(x)"),
    row(
        "a set that shrank",
        "x = set(range(100))\nfor i in range(97): x.discard(i)",
        "list(x), [x.add(str(i)) for i in range(20)], list(x)",
    ),
    row("an emptied set", "x = set(range(100))\nx -= set(range(100))", "[x.add(str(i)) for i in range(9)], list(x)"),
    row(
        "sets of strings",
        "x = [{str(i * 7 % 97) for i in range(n)} for n in range(80)]",
        "[x[40].add(str(i)) for i in range(30)], list(x[40])",
    ),
    row(
        "frozensets of strings",
        "x = [frozenset(str(i * 7 % 97) for i in range(n)) for n in range(80)] + [frozenset({str(i) for i in range(n)}) for n in range(50)]",
    ),
    row(
        "sets larger than their content",
        "x = [set({i: 0 for i in range(0, n * 3, 3)}) for n in range(40)] + [{str(i) for i in range(n)} | {'a'} for n in range(60)]",
    ),
    row(
        "a large set with holes",
        "x = {str(i) for i in range(20_000)}\nfor i in range(0, 20_000, 3): x.discard(str(i))",
        "list(x)[:50]",
    ),
    row("one odd set, twice", "s = {8, 0, 16, 3}; s.discard(8); x = [s, {'k': s}, frozenset({'a', 'b'})]", "x[0] is x[1]['k']"),
    row(
        "a set that holds what holds it",
        "class A: pass\na = A(); a.s = {8, 0, 16, a}; a.s.discard(8); x = a",
        "next(v for v in x.s if v not in (0, 16)) is x, len(x.s)",
        portrait=False,
    ),
    row(
        "sets of notebook classes",
        "class S(set):\n    def add(self, v): raise ValueError\nclass F(frozenset): pass\ns = {8, 0, 16, 3}; s.discard(8); x = [S(s), F(s), S('abcdef')]; x[0].note = 1; x[0].discard(3)",
    ),
    row("dict views in a list", "d = {'b': 1}; x = [list(d.keys()), d.items().mapping['b']]"),
]

FUNCTIONS = [
    row(
        "partial, itemgetter, builtins",
        "import functools, operator\ndef f(a, b=[1], *c, k: int = 2, **d) -> str:\n    'doc'\n    return a, b, c, k, d\nf.note = 'n'\nx = [f, functools.partial(f, 1, k=3), operator.itemgetter(1, 'a'), operator.attrgetter('a.b'), len, str.upper, 'abc'.upper]",
        "x[0](1), x[1](), x[5]('a'), x[6](), str(__import__('inspect').signature(x[0])), x[2], x[3]",
        portrait=False,
    ),
    row(
        "closures that share a cell",
        "def make():\n    n = 0\n    def up():\n        nonlocal n; n += 1; return n\n    def get(): return n\n    return up, get\nx = make(); x[0]()",
        "x[0](), x[1](), x[0]() == x[1]()",
    ),
    row(
        "closures in two variables",
        "def make():\n    n = [0]\n    def up(): n[0] += 1; return n[0]\n    def get(): return n[0]\n    return up, get\nx, y = make()",
        "x(), y(), x()",
        names="x y",
    ),
    row(
        "bound, static and class methods",
        "class A:\n    def __init__(self): self.v = [1]\n    def m(self): return self.v\n    @classmethod\n    def c(cls): return cls.__name__\n    @staticmethod\n    def s(a): return a + 1\na = A(); x = [a.m, A.c, a.s, a]",
        "x[0]() is x[3].v, x[1](), x[2](1)",
    ),
    row(
        "an empty lru_cache",
        "import functools\n@functools.lru_cache(maxsize=7, typed=True)\ndef x(a): 'doc'; return a + 1\nx.note = 1",
        "x(1), x(1), x.cache_info(), x.cache_parameters(), x.__doc__, x.note",
        portrait=False,
    ),
    row(
        "functions of the notebook in expressions of polars",
        "import polars as pl\nk = 2\ndef up(v): return v * k\nx = [pl.col('a').map_elements(up, return_dtype=pl.Int64), pl.DataFrame({'a': [1, 2]})]\n"
        "x.append(x[1].lazy().select(x[0]))",
        "up.__globals__.update(k=5), x[1].select(x[0])['a'].to_list(), x[2].collect()['a'].to_list()",
        names="x up k",
        needs="polars",
        portrait=False,
    ),
    row(
        "iterators of dictionaries and sets",
        "d = {'a': 1, 'b': 2, 'c': 3}; s = {3, 1, 2}; x = [iter(d), iter(d.items()), iter(d.values()), iter(s), iter(frozenset('ab')), d, s]\n"
        "y = [iter(d), iter({}), iter(s), iter(d)]; x[1].__next__(); x[3].__next__(); list(y[0]); list(y[2]); [next(y[3]) for _ in d]",
        "x[5].update(c=4), [type(v).__name__ for v in x], [list(v) for v in x], [list(v) for v in y], type(y[3]).__name__",
        names="x y",
        portrait=False,
    ),
    row(
        "views of a dictionary that changes",
        "import types, collections\nd = {'a': 1}; o = collections.OrderedDict(d); x = [d.keys(), d.items(), d.values(), types.MappingProxyType(d), o.keys(), d, o]\n"
        "class C: a = 1\ny = [C.__dict__, C, int.__dict__]",
        "setattr(y[1], 'b', 2), y[0]['b'], y[2] == int.__dict__, (x[5].update(b=2), x[6].update(c=3)), list(x[0]), list(x[1]), list(x[2]), dict(x[3]), list(x[4]), type(x[4])",
        names="x y",
        portrait=False,
    ),
    row(
        "what lru_caches remember, in the order of use",
        "import functools\n@functools.cache\ndef fib(n): calls.append(n); return n if n < 2 else fib(n - 1) + fib(n - 2)\n"
        "def made(k):\n    @functools.lru_cache(maxsize=3, typed=True)\n    def f(a, *b, c=0):\n        if a == 'bad': raise ValueError\n"
        "        calls.append(a); return [a, k]\n    return f\ncalls = []; fib(9); f = made(5)\n"
        "for v in (1, 2.0, 2, 'x', (1, 2)): f(v)\nf(2); f(1, 2, c=4)\ntry: f('bad')\nexcept ValueError: pass\nx = [fib, f, f(2)]",
        "x[0].cache_info(), x[1].cache_info(), x[0](10), len(calls), x[1](2) is x[2], x[1]((1, 2)), x[1](3), len(calls), x[1].cache_info()",
        names="x calls",
        portrait=False,
    ),
    row(
        "a cache over what is no function is refused",
        "import functools\nx = functools.cache(functools.partial(pow, 2))\nx(3)",
        refused="lru_cache",
    ),
    row(
        "cached properties",
        "import functools\nclass A:\n    @functools.cached_property\n    def p(self): 'doc'; return [1]\nx = [A(), A()]; x[0].p.append(2)",
        "x[0].p, x[1].p, x[1].__dict__, type(x[0]).__dict__['p'].attrname, type(x[0]).p.__doc__",
    ),
    row(
        "singledispatch",
        "import functools\n@functools.singledispatch\ndef x(a): return 'any'\n@x.register\ndef _(a: int): return 'int'\n@x.register(list)\ndef _(a): return 'list'\nx.note = [1]",
        "x(1.0), x(1), x([]), x(True), x.note, list(x.registry), x.__name__, x.__wrapped__ is x.registry[object]",
        portrait=False,
    ),
    row(
        "singledispatchmethod",
        "import functools\nclass A:\n    @functools.singledispatchmethod\n    def f(self, a): return 'any'\n    @f.register\n    def _(self, a: int): return 'int'\nx = A()",
        "x.f(1), x.f('')",
        portrait=False,
    ),
    row(
        "decorated functions",
        "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def g(*a): return f(f(*a))\n    return g\n@twice\ndef x(a): return a * 3",
        "x(2), x.__name__, x.__wrapped__(1)",
    ),
    row(
        "types and generic aliases",
        "import typing\nx = [int, list[int], typing.Optional[int], int | None, typing.Callable[[int], str], type(None), typing.TypeVar('T')]",
        "[repr(v) for v in x]",
        portrait=False,
    ),
]

CLASSES = [
    row(
        "dataclasses",
        "from dataclasses import *\n@dataclass(frozen=True)\nclass F:\n    a: int\n    b: tuple = ()\n@dataclass(slots=True, order=True)\nclass S:\n    a: int\n    b: list = field(default_factory=list)\nx = [F(1, (2,)), {F(1): 1}, S(1, [2])]",
        "x[1][type(x[0])(1)], x[2] < type(x[2])(2), hash(x[0]), fields(x[2])[1].name".replace(
            "fields", "__import__('dataclasses').fields"
        ),
    ),
    row(
        "enums and flags",
        "from enum import *\nclass E(Enum):\n    B = 'b'\n    A = 'a'\n    ALIAS = 'b'\nclass G(Flag):\n    X = auto()\n    Y = auto()\nclass I(IntEnum):\n    ONE = 1\nclass T(StrEnum):\n    K = auto()\nx = [E.A, E.ALIAS, G.X | G.Y, I.ONE, T.K, E]",
        "repr(x), x[1] is x[5].B, list(x[5]), x[5]['ALIAS'].name, x[2] & type(x[2]).X, x[3] + 1, x[4] + 's'",
        portrait=False,
    ),
    row(
        "named tuples",
        "from collections import namedtuple; from typing import NamedTuple\nN = namedtuple('N', 'a b', defaults=[2])\nclass T(NamedTuple):\n    a: int = 1\n    def d(self): return self.a * 2\nx = [N(1), T(3)]",
        "repr(x), x[0]._fields, x[1].d(), x[0]._replace(a=5)",
        portrait=False,
    ),
    row(
        "slots",
        "class A:\n    __slots__ = ('a', '__weakref__')\nclass B(A):\n    __slots__ = ('b', '__dict__')\nx = B(); x.a = [1]; x.b = x.a; x.c = 3",
        "x.a is x.b, x.c, hasattr(x, 'd')",
    ),
    row(
        "keys with a hash of their own",
        "class K:\n    def __init__(self, v): self.v = v\n    def __hash__(self): return self.v % 3\n    def __eq__(self, o): return self.v == o.v\nx = {K(i): i for i in (5, 2, 8)}",
        "x[type(next(iter(x)))(2)], list(x.values())",
    ),
    row(
        "ways of its own to be pickled",
        "class R:\n    def __init__(self, v): self.v = v\n    def __reduce__(self): return R, (self.v,)\nclass G:\n    def __init__(self): self.a, self.t = 1, 'gone'\n    def __getstate__(self): return {'a': self.a}\n    def __setstate__(self, s): self.__dict__.update(s, t='new')\nx = [R([1]), G()]",
        "x[0].v, x[1].a",
        names="x R",
        portrait=False,
    ),
    row(
        "descriptors and properties",
        "class D:\n    def __set_name__(self, o, n): self.n = n\n    def __get__(self, i, o=None): return self if i is None else i.__dict__.get(self.n, 'unset')\n    def __set__(self, i, v): i.__dict__[self.n] = v\nclass A:\n    d = D()\n    @property\n    def p(self): return self.d\nx = [A(), A()]; x[0].d = 5",
        "x[0].p, x[1].d, type(x[0]).d.n",
    ),
    row(
        "exceptions",
        "class E(ValueError):\n    def __init__(self, a, b): super().__init__(a); self.b = b\nk = KeyError('a'); k.add_note('note')\nx = [k, ValueError(1, 2), OSError(2, 'No', 'f'), ExceptionGroup('g', [k])]",
        "x[3].exceptions[0] is x[0], x[2].filename",
    ),
    row(
        "exceptions with a traceback",
        "def f(a):\n    return 1 / a\ntry:\n    try: f(0)\n    except ZeroDivisionError as e: raise KeyError('k') from e\nexcept KeyError as e: x = e\ntry: {}['z']\nexcept KeyError as e: y = e",
        "x.__cause__.__class__, x.__context__ is x.__cause__, x.__suppress_context__",
        names="x y",
    ),
    row(
        "random generators",
        "import random\nx = random.Random(5); x.random(); x.gauss(0, 1)",
        "x.random(), x.gauss(0, 1)",
        portrait=False,
    ),
    row(
        "pydantic models",
        "from pydantic import BaseModel, Field, PrivateAttr\nclass M(BaseModel):\n    a: int = Field(gt=0)\n    b: list[int] = []\n    _p: int = PrivateAttr(default=3)\nx = M(a=1, b=[2]); x._p = 4",
        "x, x._p, x.model_fields_set, type(x).model_validate({'a': 5}).a, x.model_dump_json()",
        needs="pydantic",
        portrait=False,
    ),
    row(
        "attrs classes",
        "import attr\n@attr.s(auto_attribs=True, slots=True)\nclass A:\n    a: int\n    b: list = attr.Factory(list)\n@attr.define(frozen=True)\nclass B:\n    c: int\nx = [A(1), B(2)]; x[0].b.append(3)",
        "x, hash(x[1])",
        needs="attr",
        portrait=False,
    ),
]

FILES = with_(
    "import gzip, os, tempfile, zipfile\npath = os.path.join(tempfile.mkdtemp(), 'a.txt')\n"
    "with open(path, 'w', newline='') as f: print('one\\ntwo\\r\\nthree\\nfour\\n', end='', file=f)",
    "",
    row(
        "a file that is read on",
        "x = open(path); x.readline(); y = [x]",
        "y[0] is x, x.tell(), x.readline(), x.name, x.mode, x.read(), x.encoding, x.closed",
        names="x y",
        portrait=False,
    ),
    row(
        "a file in the midst of a loop over its lines",
        "x = open(path, 'rt'); next(x)",
        "next(x), x.read(1), x.readline(), x.mode, x.read()",
        portrait=False,
    ),
    row(
        "a file whose line ends are as they are",
        "x = open(path, newline=''); next(x); next(x)",
        "next(x), x.seek(0), list(x)",
        portrait=False,
    ),
    row(
        "a file that has been read", "x = open(path); n = [line for line in x]", "x.tell(), x.seek(0), list(x)", portrait=False
    ),
    row("a file of bytes that is read on", "x = open(path, 'rb'); x.read(5)", "x.tell(), x.read(), x.mode", portrait=False),
    row(
        "compressed files that are read on",
        "with gzip.open(path + '.gz', 'wt') as f: f.write('a\\nb\\nc')\n"
        "x = [gzip.open(path + '.gz'), gzip.open(path + '.gz', 'rt')]; x[0].read(2); x[1].readline()",
        "x[0].read(), x[1].read()",
        portrait=False,
    ),
    row(
        "an archive that is open for reading",
        "with zipfile.ZipFile(path + '.zip', 'w') as z: z.writestr('a', 'hello')\nx = zipfile.ZipFile(path + '.zip'); i = x.infolist()[0]",
        "x.namelist(), x.read('a'), i is x.infolist()[0], x.open(i).read(2)",
        names="x i",
        portrait=False,
    ),
    row(
        "a temporary file that is closed",
        "x = tempfile.NamedTemporaryFile('w', delete=False); x.write('a'); x.close()",
        "open(x.name).read(), x.closed, x.close(), x.mode",
        portrait=False,
    ),
    row("a file that is open for writing", "x = open(path, 'a')", refused="open file"),
    row("a file that is open for both", "x = open(path, 'r+')", refused="open file"),
    row("a file that is gone", "x = open(path); os.remove(path)", refused="open file"),
    row("a temporary file that is open", "x = tempfile.NamedTemporaryFile()", refused="ends with its process"),
)

OF_THE_INTERPRETER = [*PLAIN, *SETS, *FUNCTIONS, *CLASSES, *FILES]
