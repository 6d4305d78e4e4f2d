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

NUMPY = with_(
    "import numpy as np", "numpy",
    row("array kinds", "x = [np.array(5), np.array([]), np.zeros((0, 3)), np.array([1, 'a', None, [2]], dtype=object), np.arange(3, dtype='>i4'), np.array(['a', 'bcd']), np.array([b'a']), np.array([1 + 2j]), np.array([True]), np.float32([1.5]), np.float16(2)]"),
    row("NaN in arrays", "x = np.array([0x7ff8000000000001, 0x8000000000000000], dtype='u8').view('f8')"),
    row("structured arrays", "x = [np.array([(1, 2.0, 'ab')], dtype=[('i', 'i4'), ('f', 'f8', (2,)), ('s', 'U3')]), np.rec.array([(1, 'a')], names='i,s'), np.zeros(3, np.dtype([('a', 'i1'), ('b', 'i8')], align=True))]", "x[1].s.tolist(), x[2].dtype.fields"),
    row("masked arrays", "x = np.ma.array([1.0, 2, 3], mask=[0, 1, 0], fill_value=-9); x.harden_mask()", "x, x.fill_value, x.hardmask, x.mask.tolist(), x.data.tolist()", portrait=False),
    row("Fortran order", "x = [np.asfortranarray(np.arange(20000.0).reshape(100, 200)), np.asfortranarray(np.arange(6).reshape(2, 3))]"),
    row("strides", "b = np.arange(24.0).reshape(2, 3, 4); x = [b[::-1], b[:, ::2].copy()[::-1], b.transpose(1, 2, 0), b[:, 1], np.broadcast_to(np.arange(3), (4, 3))]; del b\nx = [v.copy() if i < 0 else v for i, v in enumerate(x)]"),
    row("a strided array on its own", "x = np.arange(40000.0).reshape(200, 200)[::-2, 3:50:2]", "x.dot(np.arange(24.0)).tolist()[:3]"),
    row("a transposed large array", "x = np.arange(30000.0).reshape(100, 10, 30).transpose(2, 0, 1)"),
    row("sliding windows", "x = np.lib.stride_tricks.sliding_window_view(np.arange(5000.0), 1000)", "x[5, :3].tolist()", portrait=False),
    row("a broadcast array", "x = np.broadcast_to(np.arange(300.0), (400, 300))", "x.strides, x.flags.writeable, x.sum()"),
    row("read-only arrays", "x = [np.arange(3), np.arange(3000), np.array([[1, None]], dtype=object)]\nfor v in x: v.flags.writeable = False"),
    row("dates", "x = [np.array(['2020-01-01', 'NaT'], dtype='M8[D]'), np.array([1, 2], dtype='m8[us]'), np.datetime64('2020-01-01T00', 'h')]"),
    row("string arrays of variable width", "x = np.array(['a', 'b' * 50, ''], dtype=np.dtypes.StringDType())", "x.tolist()", portrait=False),
    row("views of one array", "a = np.arange(20000.0).reshape(100, 200); x = {'a': a, 'row': a[3], 'columns': a[:, 5:9], 'back': a[::-1], 'raw': a.view('i8'), 'same': a}", "(x['row'].fill(-1), x['a'][3, :3].tolist(), x['back'][96, 5], x['same'] is x['a'])"),
    row("views in two variables", "x = np.arange(9000.0); y = x[10:20]; z = x[15:]", "(y.fill(-1), x[9:12].tolist(), z[:7].tolist())", names="x y z"),
    row("views without their base", "a = np.arange(100.0); x = a[10:50]; y = a[40:60]; del a", "(x.fill(7), y[:12].tolist())", names="x y"),
    row("a read-only view", "x = np.arange(10.0); y = x[2:5]; y.flags.writeable = False", "(x.fill(3), y.tolist())", names="x y"),
    row("views of an array of objects", "x = np.array([[1], 'b', None, 4], dtype=object); y = x[1:]; z = x[::2]", "(y.__setitem__(0, 9), x.tolist(), z.tolist(), z[0] is x[0])", names="x y z"),
    row("views in Fortran order", "x = np.asfortranarray(np.arange(600.0).reshape(20, 30)); y = x[:, 3]; z = x.T[4:6]", "(y.fill(0), x[:2, 2:5].tolist(), z.tolist())", names="x y z"),
    row("arrays that are resized in place", "x = np.arange(5000)", "(x.resize(6000, refcheck=False), x.shape, x[-1])"),
    row("a matrix", "x = np.matrix([[1, 2]])"),
    row("an array over a bytearray is refused", "y = bytearray(100); x = np.frombuffer(y, dtype='u1')", names="x y", refused="memory"),
    row("an array mapped from a file is refused", "import tempfile\nx = np.memmap(tempfile.mktemp(), dtype='f8', mode='w+', shape=(10,))", refused="file"),
    row("generators of NumPy", "g = np.random.default_rng(3); g.random(); s = np.random.RandomState(4); s.rand(); s.randn(); x = [g, s, np.random.SeedSequence(3), np.random.Generator(np.random.MT19937(1))]; x[2].spawn(1)",
        "x[0].random(), x[1].rand(), x[1].randn(), x[2].spawn(1), x[3].random()", portrait=False),
    row("an array of its own class", "class A(np.ndarray):\n    def __array_finalize__(self, o): self.info = getattr(o, 'info', None)\nx = np.arange(3).view(A); x.info = 'i'", "x.info, type(x).__name__", portrait=False),
    row("universal functions and polynomials", "x = [np.sin, np.poly1d([1, 2]), np.polynomial.Polynomial([1, 2]), np.finfo('f4'), np.dtype('i4'), np.int32]", "x[1](2), x[2](2), x[0](1.0), x[4], x[5]", portrait=False),
)  # fmt: skip

PANDAS = with_(
    "import numpy as np\nimport pandas as pd", "pandas",
    row("a frame", "x = pd.DataFrame({'i': [1, 2], 'f': [0.5, np.nan], 's': ['a', None], 'o': [[1], {'k': 2}], 'b': [True, False], 'd': pd.to_datetime(['2020', None])})\nx['late'] = 1.5", "x, x.dtypes.to_dict(), x.memory_usage().sum()"),
    row("frames of pieces", "d = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=list('abc')); x = [d, d[['a', 'c']], d.T, d.iloc[::2], d['b'], d.iloc[1]]"),
    row("extension dtypes", "x = pd.DataFrame({'i': pd.array([1, None], dtype='Int64'), 'b': pd.array([True, None], dtype='boolean'), 's': pd.array(['a', None], dtype='string'), 'f': pd.array([1.5, None], dtype='Float32'), 'p': pd.period_range('2020', periods=2, freq='M'), 'v': pd.arrays.IntervalArray.from_breaks([0, 1, 2]), 'z': pd.array([0, 1], dtype='Sparse[int]')})", "x, x.dtypes.astype(str).to_dict()"),
    row("Arrow dtypes", "import pyarrow as pa\nx = pd.DataFrame({'a': pd.array([1, None], dtype='int64[pyarrow]'), 'l': pd.Series([[1], None], dtype=pd.ArrowDtype(pa.list_(pa.int64()))), 's': pd.array(['a', None], dtype='string[pyarrow]')})", "x, x.dtypes.astype(str).to_dict()", needs="pyarrow"),
    row("categoricals", "x = pd.DataFrame({'c': pd.Categorical(['b', 'a', None], categories=['b', 'a', 'z'], ordered=True), 'n': pd.Categorical([1, 2, 1])})", "x.c.dtype, x.c.cat.codes.tolist(), x.groupby('c', observed=False).size().tolist()"),
    row("MultiIndex", "x = pd.DataFrame({'v': [1, 2]}, index=pd.MultiIndex.from_tuples([('a', 1), ('b', 2)], names=['l', None])); x.columns = pd.MultiIndex.from_tuples([('t', 'v')])", "x, x.index.levels, x.columns.tolist()"),
    row("indexes", "x = [pd.RangeIndex(2, 9, 3, name='r'), pd.date_range('2020', periods=3, tz='Europe/Berlin', freq='D', name='d'), pd.timedelta_range('1h', periods=2), pd.period_range('2020Q1', periods=2, freq='Q'), pd.interval_range(0, 2, closed='left'), pd.CategoricalIndex(['a']), pd.Index([1, 'a', None])]", "x, x[1].freqstr, x[4].closed"),
    row("scalars of pandas", "x = [pd.Timestamp('2020-01-01', tz='Europe/Berlin'), pd.NaT, pd.Timedelta('1h'), pd.Period('2020-01'), pd.Interval(0, 1), pd.NA, pd.offsets.MonthEnd(2)]", "x, x[1] is pd.NaT, x[5] is pd.NA", portrait=False),
    row("attrs and flags", "x = pd.DataFrame({'u': [1]}); x.attrs['k'] = {'n': [1]}; x = x.set_flags(allows_duplicate_labels=False)", "x.attrs, x.flags.allows_duplicate_labels"),
    row("duplicate column names", "x = pd.DataFrame([[1, 2.0, 'a']], columns=['u', 'u', 0])", "x.columns.tolist(), x.dtypes.tolist()"),
    row("empty frames", "x = [pd.DataFrame(), pd.DataFrame(columns=['a']), pd.DataFrame(index=[1, 2]), pd.Series(dtype='float64', name=('t', 1))]", "[(v.shape, v.index) for v in x]"),
    row("GroupBy", "d = pd.DataFrame({'g': list('aba'), 'v': [1, 2, 3]}); x = d.groupby('g', sort=False)", "x.v.sum().to_dict(), x.groups, list(x.v.sum().index)", portrait=False),
    row("Rolling and Resampler", "s = pd.Series([1.0, 2, 4], index=pd.date_range('2020', periods=3)); x = [s.rolling(2, min_periods=1), s.expanding(), s.ewm(alpha=0.5)]", "[v.mean().tolist() for v in x]", portrait=False),
    row("Styler", "x = pd.DataFrame({'a': [1.23456]}).style.format('{:.2f}').set_caption('c')", "x.to_html(table_uuid='u')", needs="jinja2", portrait=False),
    row("copies on write, in one variable", "d = pd.DataFrame({'u': [1.0, 2, 3], 'v': [4.0, 5, 6]}); x = [d, d.rename(columns={'u': 'w'}), d['u'], d[:], d.copy(deep=False)]", "(x[0].__setitem__('n', 1), x[0].isetitem(0, 9.0), x[0].iloc.__setitem__((0, 1), 7.0), [v.to_numpy().tolist() for v in x])"),
    row("copies on write, in variables", "x = pd.DataFrame(np.arange(6000.0).reshape(-1, 3)); y = x[[0, 1]]; z = x[2]; v = x.to_numpy()", "(x.iloc.__setitem__((0, 2), 7.0), z.iloc[0], y.iloc[0].tolist(), v[0].tolist(), v.flags.writeable)", names="x y z v"),
    row("an array of a frame's values", "x = pd.DataFrame(np.arange(6000.0).reshape(-1, 3), columns=list('abc')); y = x.to_numpy(); z = x['b'].to_numpy()", "(x.iloc.__setitem__((0, 1), 7.0), y[0].tolist(), z[0], y.flags.writeable)", names="x y z"),
    row("an array that a series shows", "y = np.arange(10.0); x = pd.Series(y, copy=False)", "(y.fill(3.0), x.tolist())", names="x y"),
    row("an array that a frame shows", "y = np.arange(10.0).reshape(5, 2); x = pd.DataFrame(y, copy=False)", "(y.fill(3.0), x.sum().tolist())", names="x y"),
    row("a column as index", "d = pd.DataFrame({'u': [1, 2, 3], 'v': [4.0, 5, 6]}); x = [d, pd.Index(d['u']), d.set_index('u')]", "(x[0].iloc.__setitem__((0, 0), 9), x[1].tolist(), x[2].index.tolist())"),
    row("a frame that holds frames", "l = [1]; x = pd.DataFrame({'o': [l, l]}); y = l", "x.o[0] is y", names="x y"),
    row("a frame's own class", "class F(pd.DataFrame):\n    _metadata = ['note']\n    @property\n    def _constructor(self): return F\nx = F({'a': [1]}); x.note = 'n'", "type(x[['a']]).__name__, x.note", names="x F", portrait=False),
)  # fmt: skip

LIBRARIES = [
    *with_(
        "import polars as pl",
        "polars",
        row(
            "polars",
            "x = [pl.DataFrame({'a': [1, None], 'b': ['x', 'y'], 'c': [[1], []]}), pl.Series('s', ['u', 'v', 'u'], dtype=pl.Categorical), pl.DataFrame({'a': [1, 2]}).lazy().filter(pl.col('a') > 1), pl.col('a') + 1, pl.Series('e', ['lo'], dtype=pl.Enum(['hi', 'lo']))]",
            "x[0].schema, x[2].collect(), x[1].to_list(), str(x[3]), x[4].dtype",
        ),
    ),
    *with_(
        "import numpy as np\nimport pyarrow as pa",
        "pyarrow",
        row(
            "Arrow tables",
            "x = pa.table({'a': [1, None], 'd': pa.array(['x', 'x']).dictionary_encode()}, metadata={'k': 'v'}); x = [x, x.slice(1), x['a'], x.schema, pa.chunked_array([[1], [2]]), pa.scalar(5), pa.record_batch({'a': [1]})]",
            "x[0].schema.metadata, [str(v) for v in x], x[4].num_chunks",
        ),
        row("an array that Arrow shows", "y = np.arange(1000.0); x = pa.array(y)", "(y.fill(3.0), x[5].as_py())", names="x y"),
        row(
            "slices of a large table",
            "t = pa.table({'a': np.arange(100_000)}); x = [t, t.slice(10, 5), t['a']]",
            "x[1].to_pydict(), x[0].num_rows",
        ),
        row(
            "Arrow datasets",
            "import pyarrow.dataset as ds\nx = ds.dataset(pa.table({'a': [1, 2]}))",
            "x.to_table().to_pydict()",
            portrait=False,
            refused="x",
        ),
    ),
    *with_(
        "import numpy as np\nimport scipy.sparse as sp",
        "scipy",
        row(
            "sparse matrices and arrays",
            "m = sp.random(5, 6, 0.3, random_state=0); x = [kind(m) for kind in (sp.csr_matrix, sp.csc_matrix, sp.coo_matrix, sp.bsr_matrix, sp.dia_matrix, sp.lil_matrix, sp.dok_matrix, sp.csr_array, sp.csc_array, sp.coo_array, sp.bsr_array, sp.dia_array, sp.lil_array, sp.dok_array)]",
            "[(type(v).__name__, v.toarray().tolist(), v.format, v.dtype) for v in x]",
        ),
        row(
            "sparse matrices of one data",
            "x = sp.csr_matrix(np.eye(200)); y = x.T",
            "(x.data.fill(2.0), y.toarray().sum())",
            names="x y",
        ),
        row(
            "distributions, splines, trees",
            "import scipy.stats, scipy.interpolate, scipy.spatial\nx = [scipy.stats.norm(1, 2), scipy.interpolate.CubicSpline([0, 1, 2], [1, 3, 2]), scipy.spatial.cKDTree(np.arange(10.0).reshape(5, 2)), scipy.spatial.transform.Rotation.from_euler('x', 1.0)]",
            "x[0].cdf(0.5), x[1](0.5), x[2].query([1.0, 2]), x[3].as_quat().tolist()",
            portrait=False,
        ),
    ),
    *with_(
        "import warnings; warnings.simplefilter('ignore')\nimport numpy as np\nX = np.random.default_rng(0).random((40, 3)); Y = (X[:, 0] > 0.5).astype(int)",
        "sklearn",
        row(
            "scikit-learn pipelines",
            "from sklearn.pipeline import make_pipeline; from sklearn.preprocessing import *; from sklearn.ensemble import *; from sklearn.compose import *\nx = make_pipeline(ColumnTransformer([('s', StandardScaler(), [0, 1])]), FunctionTransformer(np.abs), RandomForestClassifier(3, random_state=0)).fit(X, Y)",
            "x.predict_proba(np.ones((2, 3))).tolist(), str(x), x[-1].estimators_[0].tree_.node_count",
        ),
        row(
            "search results",
            "from sklearn.model_selection import GridSearchCV, KFold; from sklearn.svm import SVC\nx = GridSearchCV(SVC(probability=False), {'C': [1, 10]}, cv=KFold(2, shuffle=True, random_state=0)).fit(X, Y); x.cv_results_ = {k: v for k, v in x.cv_results_.items() if 'time' not in k}",
            "x.best_params_, x.decision_function(np.ones((2, 3))).tolist(), sorted(x.cv_results_)",
            portrait=False,
        ),
        row(
            "estimators of many kinds",
            "from sklearn import cluster, decomposition, neighbors, naive_bayes, linear_model, feature_extraction\nx = [cluster.KMeans(2, n_init=1, random_state=0).fit(X), decomposition.PCA(2).fit(X), neighbors.KNeighborsClassifier(3).fit(X, Y), naive_bayes.GaussianNB().fit(X, Y), linear_model.SGDClassifier(random_state=np.random.RandomState(0)).fit(X, Y), feature_extraction.text.TfidfVectorizer().fit(['a bb', 'bb cc'])]",
            "[v.predict(np.ones((2, 3))).tolist() for v in (x[0], x[2], x[3], x[4])], x[1].transform(np.ones((2, 3))).tolist(), x[5].vocabulary_, x[4].random_state.rand()",
            portrait=False,
        ),
        row(
            "an estimator of the notebook",
            "from sklearn.base import *\nclass S(TransformerMixin, BaseEstimator):\n    def __init__(self, k=2): self.k = k\n    def fit(self, X, y=None): self.n_ = X.mean(0) * self.k; return self\n    def transform(self, X): return X - self.n_\nx = S(3).fit(X)",
            "x.transform(np.ones((2, 3))).tolist(), x, sklearn.base.clone(x).k",
        ),
        row(
            "a plot of Bokeh",
            "from bokeh.plotting import figure\nx = figure(width=300)\nr = x.line([1, 2], [3, 4])",
            "len(x.renderers), x.renderers[0] is r, r.data_source.data, [(o is x, d is type(o).lookup('renderers')) for o, d in x.renderers._owners]",
            names="x r",
            needs="bokeh",
            portrait=False,
        ),
        row(
            "xgboost",
            "import xgboost\nx = [xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(X, Y), xgboost.train({'nthread': 1}, xgboost.DMatrix(X, Y), 2)]; x[1].set_attr(k='v')",
            "x[0].predict_proba(np.ones((2, 3))).tolist(), x[1].predict(xgboost.DMatrix(np.ones((2, 3)))).tolist(), x[1].attributes(), x[0].get_params()",
            needs="xgboost",
            portrait=False,
        ),
        row(
            "lightgbm",
            "import lightgbm\nx = [lightgbm.LGBMClassifier(n_estimators=3, n_jobs=1, verbose=-1).fit(X, Y), lightgbm.train({'verbose': -1, 'num_threads': 1}, lightgbm.Dataset(X, Y), 2)]",
            "[v.predict(np.ones((2, 3))).tolist() for v in x], x[0].get_params(), x[1].best_iteration",
            needs="lightgbm",
            portrait=False,
        ),
        row(
            "statsmodels",
            "import statsmodels.api as sm\nx = sm.OLS(Y, sm.add_constant(X)).fit()",
            "x.params.tolist(), x.summary().tables[1].as_text()",
            needs="statsmodels",
            portrait=False,
        ),
        row(
            "what formulas made, with functions of the notebook",
            "import patsy, pandas as pd, statsmodels.formula.api as smf\nd = pd.DataFrame({'u': range(6), 'v': [1.0, 3, 2, 5, 4, 7]})\n"
            "def up(a): return a ** power\npower = 2; x = [smf.ols('v ~ up(u)', d).fit(), *patsy.dmatrices('v ~ center(u)', d), patsy.dmatrix('u', d, return_type='dataframe')]",
            "x[0].params.round(6).tolist(), x[0].predict({'u': np.array([1, 2])}).tolist(), x[2].design_info.column_names, repr(x[1]), x[3].design_info.describe(), "
            "patsy.build_design_matrices([x[2].design_info], {'u': [9]})[0].tolist()",
            names="x up power patsy",
            needs="statsmodels",
            portrait=False,
        ),
        row(
            "data of XGBoost",
            "import xgboost\nx = xgboost.DMatrix(X, Y, weight=Y + 1, feature_names=['a', 'b', 'c'])",
            "x.num_row(), x.feature_names, x.get_label().tolist(), x.get_weight().tolist(), xgboost.train({'nthread': 1}, x, 2).predict(x).tolist()",
            names="x xgboost",
            needs="xgboost",
            portrait=False,
        ),
    ),
    *with_(
        "import matplotlib; matplotlib.use('agg')\nimport matplotlib.pyplot as plt\ndef png(f):\n    import io, hashlib; b = io.BytesIO(); f.savefig(b, format='png', metadata={'Software': None}); return hashlib.sha1(b.getvalue()).hexdigest()",
        "matplotlib",
        row(
            "figures",
            "x, ax = plt.subplots(1, 2); ax[0].plot([1, 2, 4], label='l'); ax[0].set_title('t'); ax[0].legend(); ax[1].imshow([[1, 2]]); plt.close('all')",
            "png(x)",
            names="x png",
            portrait=False,
        ),
        row(
            "axes of a figure",
            "y, x = plt.subplots(); x.hist([1, 2, 2]); plt.close('all')",
            "(x.set_title('late'), x.figure is y, png(y))",
            names="x y png",
            portrait=False,
        ),
        row(
            "seaborn grids",
            "import seaborn as sns, pandas as pd\nx = sns.FacetGrid(pd.DataFrame({'a': [1, 2], 'b': [0, 1]}), col='b'); x.map(plt.plot, 'a'); plt.close('all')",
            "png(x.figure), x.axes.shape",
            names="x png",
            needs="seaborn",
            portrait=False,
        ),
    ),
    row(
        "images",
        "from PIL import Image\nx = Image.new('RGBA', (2, 3), (1, 2, 3, 4)); x.info['dpi'] = (72, 72); x = [x, x.convert('P')]",
        "x[0].mode, x[0].tobytes(), x[0].info, x[1].getpalette(), x[1].tobytes()",
        needs="PIL",
        portrait=False,
    ),
    row(
        "graphs",
        "import networkx as nx\nx = nx.karate_club_graph(); x.graph['n'] = 1; x.add_edge(1, 'z', w=2)",
        "list(x.nodes(data=True)), list(x.edges(data=True)), x.graph, list(x.adj['z'])",
        needs="networkx",
    ),
    row(
        "symbols",
        "import sympy\na, b = sympy.symbols('a b', positive=True); x = [sympy.sin(a) ** 2 + b, a]",
        "x, sympy.diff(x[0], x[1])",
        needs="sympy",
        portrait=False,
    ),
    row(
        "functions without a definition",
        "import sympy\nt = sympy.symbols('t'); f = sympy.Function('f'); x = [f, f(t).diff(t) + f(t), t]",
        "x, x[1].has(x[0]), x[1].subs(x[2], 0), x[0](x[2]) == sympy.Function('f')(x[2])",
        names="x sympy",
        needs="sympy",
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

PACKAGES = [
    *with_(
        "from tests.value_package import *",
        "",
        row("a class that makes no instance without arguments", "x = [Ratio(1, 3)] * 2", "x[0].pair, x[0] is x[1]"),
        row(
            "what packages have under a name and has no pickle",
            "x = [context, field, context.number(2.5), field(0.5), field._context.number]",
            "x[0] is __import__('tests.value_package').value_package.context, x[1]._context is type(x[3]).context, "
            "type(x[2]) is x[0].number, x[3].value, type(x[3]) is x[4]",
            portrait=False,
        ),
        row(
            "an attribute that every name gives",
            "x = [Asked('a').b, Asked()]; x[1].own = x",
            "x[0]._path, x[1].own is x, x[1].c._path",
            portrait=False,
        ),
    ),
    row(
        "the masked constant",
        "import numpy as np\nx = [np.ma.masked, np.ma.array([1, 2], mask=[0, 1])[1]]",
        "x[0] is x[1] is __import__('numpy').ma.masked",
        needs="numpy",
        portrait=False,
    ),
    row(
        "read-only arrays of other classes",
        "import numpy as np\nclass A(np.ndarray): pass\nx = np.arange(3).view(A); x.note = 3; x.flags.writeable = False\n"
        "y = np.ma.array([1, 2], mask=[0, 1]); y.flags.writeable = False",
        "x.note, x.flags.writeable, y.flags.writeable, x.tolist(), y.tolist()",
        needs="numpy",
        names="x y A",
        portrait=False,
    ),
    row(
        "cosmologies of astropy",
        "from astropy.cosmology import Planck15; x = [Planck15]",
        "str(x), str(x[0].age(0)), x[0].m_nu.flags.writeable",
        needs="astropy",
        portrait=False,
    ),
    row(
        "views of an array of objects that nothing else holds",
        "import numpy as np\ndef views():\n    base = np.array(['a', [1], None], dtype=object); return base.view(), base[:]\nx, y = views()",
        "x.tolist(), x.__setitem__(0, 'b'), y.tolist()",
        needs="numpy",
        names="x y",
        portrait=False,
    ),
    row(
        "fields of sympy and what is made of them",
        "from sympy import RR, CC, Poly, symbols\nfrom mpmath import mpf, mp, iv\nt = symbols('t'); x = [RR, CC, Poly(t / 2 + 0.5, t), RR(0.5), mpf(1) / 3, iv.mpf(1)]",
        "x[0] is sympy.RR, x[2].domain is x[0], str(x[2:]), type(x[4]) is __import__('mpmath').mpf",
        needs="sympy",
        portrait=False,
    ),
    row(
        "quantities of a registry of their own",
        "import pint\nureg = pint.UnitRegistry(); ureg.define('span = 9 inch'); Q = ureg.Quantity\nx = [3 * ureg.span, Q(2, 'm'), ureg.Unit('span')]",
        "str(x[0] + x[1]), str(x[1].to('span')), x[0]._REGISTRY is ureg is x[2]._REGISTRY, isinstance(x[0], Q), ureg.Quantity is Q",
        needs="pint",
        names="x ureg Q",
        portrait=False,
    ),
    *with_(
        "import numpy as np; import plotly.graph_objects as go",
        "plotly numpy",
        row(
            "a figure of plotly",
            "x = go.Figure([go.Bar(y=[1], name='b'), go.Scatter(y=np.arange(3.0), mode='lines')], dict(width=300, title='t', height=200))",
            "x.to_json(), x.data[1].y, x.data[1].y.flags.writeable",
            portrait=False,
        ),
        row(
            "parts of a figure of plotly",
            "f = go.Figure([go.Bar(y=[1]), go.Bar(y=[2])], dict(annotations=[dict(text='q')]))\na, b, c, d = f.data[1], f.layout, f.layout.annotations[0], f.data[0].marker",
            "f.data[1] is a, f.layout is b, b.annotations[0] is c, f.data[0].marker is d, a.update(name='n'), f.to_json()",
            names="f a b c d",
            portrait=False,
        ),
        row(
            "parts of no figure of plotly",
            "x = [go.Layout(width=30, title='a', annotations=[dict(text='q', x=1)]), go.Scatter(y=[1], x=[2], name='b')]",
            "[v.to_plotly_json() for v in x]",
            portrait=False,
        ),
        row(
            "subplots of plotly without a template",
            "from plotly.subplots import make_subplots\nx = make_subplots(rows=1, cols=2, subplot_titles=['a', 'b'])\nx.add_trace(go.Bar(y=[1]), row=1, col=2); x.layout.template = None",
            "x.to_json(), x._grid_str, str(x)",
            portrait=False,
        ),
    ),
    row(
        "a frame of dask",
        "import dask.dataframe as dd, pandas as pd\nx = dd.from_pandas(pd.DataFrame({'a': [1, 2]}), npartitions=1)",
        "x.compute().a.tolist()",
        needs="dask pandas",
        portrait=False,
    ),
    row(
        "a query of tinydb",
        "import tinydb\nx = tinydb.Query().a == 1",
        "x({'a': 1}), x({'a': 2})",
        needs="tinydb",
        portrait=False,
    ),
]

TORCH = with_(
    "import torch; torch.manual_seed(0)", "torch",
    row("tensors", "x = [torch.arange(3), torch.zeros(2, 3).t(), torch.tensor(1.5), torch.zeros(0), torch.ones(2, dtype=torch.bfloat16), torch.tensor([1 + 2j]), torch.ones(3, requires_grad=True), torch.rand(100, 100), torch.tensor([True]), torch.ones(2).expand(3, 2), torch.tensor([1 + 2j]).conj()]"),
    row("tensors that share storage", "t = torch.zeros(100); x = {'t': t, 'v': t[10:20], 'w': t.view(10, 10), 'n': t[::2]}", "(x['v'].fill_(1), x['t'].sum().item(), x['w'].sum().item(), x['n'].sum().item())"),
    row("views of a tensor in two variables", "x = torch.zeros(3000); y = x[5:9]; z = x.view(30, 100)", "(y.fill_(1), x.sum().item(), z.sum().item())", names="x y z"),
    row("a tensor and an array of one memory", "import numpy as np\nx = np.zeros(3000); y = torch.from_numpy(x); z = y[3:6].numpy()", "(y.fill_(1), x.sum(), z.sum(), z.fill(5), y.sum().item())", names="x y z"),
    row("a small tensor and an array of one memory", "x = torch.zeros(3); y = x.numpy()", "(y.fill(2), x.tolist())", names="x y"),
    row("gradients", "x = torch.nn.Linear(2, 2); x(torch.ones(1, 2)).sum().backward(); y = torch.ones(2, requires_grad=True); (y * 3).sum().backward()", "[p.grad.tolist() for p in x.parameters()], y.grad.tolist()", names="x y"),
    row("a model and its optimizer", "x = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.BatchNorm1d(2)); y = torch.optim.Adam(x.parameters(), lr=0.1); z = torch.optim.lr_scheduler.StepLR(y, 1)\nx(torch.ones(3, 2)).sum().backward(); y.step(); z.step()",
        "y.param_groups[0]['params'][0] is x[0].weight, y.zero_grad(), x(torch.ones(3, 2)).sum().backward(), y.step(), x[0].weight.tolist(), y.param_groups[0]['lr'], z.optimizer is y, x.training, len(y.state)", names="x y z", portrait=False),
    row("a model in evaluation mode", "x = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout()); x.eval(); x[0].requires_grad_(False)", "x.training, x[1].training, x[0].weight.requires_grad"),
    row("a state dict", "x = torch.nn.Linear(3, 3); y = x.state_dict()", "(x.weight.data.fill_(2), y['weight'].tolist(), y._metadata)", names="x y"),
    row("tied weights", "class M(torch.nn.Module):\n    def __init__(self):\n        super().__init__(); self.a = torch.nn.Linear(2, 2); self.b = torch.nn.Linear(2, 2); self.b.weight = self.a.weight; self.register_buffer('c', torch.ones(2), persistent=False)\n    def forward(self, v): return self.b(self.a(v)) + self.c\nx = M()", "x.a.weight is x.b.weight, x(torch.ones(1, 2)).tolist(), list(x.state_dict())"),
    row("generators of torch", "x = torch.Generator().manual_seed(5); torch.rand(2, generator=x)", "torch.rand(2, generator=x).tolist()", portrait=False),
    row("data loaders", "from torch.utils.data import *\nd = TensorDataset(torch.arange(6.0), torch.arange(6)); x = DataLoader(d, batch_size=2, shuffle=True, generator=torch.Generator().manual_seed(1))", "[b[0].tolist() for b in x], len(x)", portrait=False),
    row("a dataset of the notebook", "class D(torch.utils.data.Dataset):\n    def __init__(self): self.t = torch.arange(5)\n    def __len__(self): return 5\n    def __getitem__(self, i): return self.t[i] * 2\nx = D()", "x[3].item(), len(x)"),
    row("sparse tensors", "x = torch.eye(3).to_sparse()", "x.to_dense().tolist(), x.is_coalesced()", portrait=False),
    row("devices, types, sizes", "x = [torch.device('cpu'), torch.float32, torch.Size([1, 2]), torch.nn.functional.relu]", "x[:3]", portrait=False),
    row(
        "results with a history give what they gave",
        "w = torch.ones(2, requires_grad=True); p = w * 2; x = [p.sum(), p, p[:1], [p]]",
        "x[0], f'{x[0]:.2f}', x[0].item(), x[1].detach().numpy(), x[1] + 1, torch.stack([x[0], x[0]]), x[0].requires_grad, "
        "x[1].is_leaf, type(x[0]), x[3][0] is x[1], x[2].data_ptr() == x[1].data_ptr()",
        portrait=False,
    ),
    row(
        "an optimizer whose steps a scheduler counts",
        "m = torch.nn.Linear(1, 1); o = torch.optim.SGD(m.parameters(), lr=1.0, momentum=0.5)\n"
        "s = torch.optim.lr_scheduler.StepLR(o, 2); x = [o, s, m]",
        "__import__('warnings').filterwarnings('error', '.*lr_scheduler.*'), x[0].step(), x[1].step(), x[0].step(), x[1].step(), x[1].get_last_lr(), x[1].optimizer is x[0]",
        portrait=False,
    ),
    row("a tensor with hooks is refused", "x = torch.ones(2, requires_grad=True); x.register_hook(print)", refused="hook"),
)  # fmt: skip

ROWS = [*PLAIN, *SETS, *FUNCTIONS, *CLASSES, *NUMPY, *PANDAS, *LIBRARIES, *PACKAGES, *FILES, *TORCH]
