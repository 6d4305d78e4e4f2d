"""Random notebooks: what people write in cells, and what they hardly ever write, in short.

`program(random)` gives cells as (tags, statements). Statements draw their names from few variables, so that steps meet.
"""

from __future__ import annotations

import random
from collections.abc import Callable

Program = list[tuple[str, list[str]]]
NAMES = "abcde"
FUNCTIONS = "fgh"
CLASSES = "CD"
OBJECTS = "op"
ARRAYS = "uvw"

# In the templates: X Y Z stand for variables, F G for functions, C D for classes, O P for objects, U V for arrays, K for a
# digit, N for a variable that holds a number.
CORE = """
X = [K]
X = {'k': [K]}
X = Y
X = [Y, Z]
X = list(Y)
X.append(K)
X.append(Y)
X[0] = K
X['k'] = Y
X += [K]
X = X + Y
print(X)
print(X, Y)
print(len(X))
X = len(Y)
X.extend([K, K])
X.pop()
del X
X = [t for t in Y]
X = (Y, Z)
X, Y = Y, X
X, *Y = Z
X[1:2] = []
X[:0] = Y
X = sorted(Y, key=str)
X = Y or Z
X = Y[:]
X *= 2
X = {'k': Y, 'j': Z}
X.setdefault('k', []).append(K)
X['k'].append(K)
X.update(k=Y)
print(isinstance(X, list) and X is Y, X == Y)
print([t is Y for t in X if isinstance(t, list)])
print([X for X in Y])
print([(X := t) for t in Y])
print({X: K for X in 'ab'})
print((X := [K]))
for X in Y:
    print(X)
for i in range(2):
    X.append(i)
while len(X) < 3:
    X.append(K)
for t in Y:
    if t == K:
        X = [t]
        break
else:
    Z = [K]
(print(X) if Y else None)
match Y:
    case [X, *rest]:
        print(X, rest)
    case {'k': X}:
        print(X)
    case _:
        X = [K]
try:
    X.nope
except AttributeError as Y:
    pass
try:
    X
except NameError:
    X = [K]
try:
    1 / (K - K)
except ZeroDivisionError:
    X.append(K)
finally:
    Y = [K]
import contextlib
with contextlib.suppress(Exception):
    X = Y.pop()
    Z = [X]
X: list = [K]
X = tuple(Y)
X = {len(str(t)) for t in Y}
print(sorted(X, key=str))
assert X, 'empty'
X = Y if Z else [K]
X.append(X)
X = bytearray(b'abK')
X[0] = 65
import collections
X = collections.deque([K, Y])
import collections
X = collections.defaultdict(list, k=Y)
import collections
X = collections.OrderedDict(a=Y, b=[K])
X = iter([K, 2, 3])
print(next(X))
import copy
X = copy.copy(Y)
import copy
X = copy.deepcopy(Y)
print(list(reversed(Y)))
X = (t for t in [1, K])
import math as m
X = [m.floor(K / 2)]
from operator import *
X = [floordiv(K, 2), neg(4)]
print(X); X = [K]; Y = X
X = None
X = 'sK'
X = X.upper()
del X[0]
del X['k']
print('X' in globals())
X = Y = [K]
X = [[K]] * 2
print(X[0] is X[1])
X = [Y] * 2
_X = [K]
print(_X)
if len(Y) > K:
    X = [K]
if not Y: X = Z
X = type(Y)
print(X)
sum = K
print(sum)
X = enumerate(Y)
X = zip(Y, Z)
X = range(K)

X = print
"""

CALLS = """
def F(q=None):
    Y.append(K)
    return X
def F(q=None):
    global X
    X = [K, Y]
    return Y
def F(q):
    q.append(K)
    return q
def F(q=[]):
    q.append(K)
    return q
def F(q=Y):
    q.append(K)
    return q
def F(*q, k=[]):
    k.append(len(q))
    return list(k)
def F(q=None):
    X = [K]
    return X + Y
def F(n=2):
    return [] if n < 1 else F(n - 1) + [K]
def F(n=2):
    return [K] if n < 1 else G(n - 1)
def F(q=None):
    return G(q)
def F(q=None):
    return [G, X]
def F(q=None):
    global Z
    try:
        Z.append(K)
    except AttributeError:
        Z = [K]
def F(q=None):
    global X
    del X
def F(q=None):
    for t in X:
        yield t
def F(q=None):
    import math
    return [math.floor(K / 2), X]
def F(q=None):
    F.calls = getattr(F, 'calls', 0) + 1
    return F.calls
def F(q=None):
    return [X for X in Y]
def F(q=None):
    if q:
        return X
    return [W for W in [Y]]
X = F(Y)
F(Y)
print(F(Y))
print(F())
X = F()
X = F
F = G
print(F is G)
F = lambda q=None: [X, Y]
F = lambda q=None, z=Y: (q, z)
F = lambda q=None: G(q)
X = [F]
X = {'k': F}
X[0](Y)
X['k'](Y)
X = [F, G, Y]
print(X[0] is F)
def mk(n):
    def inner(q=None):
        n.append(K)
        return n
    return inner
F = mk(Y)
F = mk(Y)
def mk(n):
    def inner(q=None):
        nonlocal n
        n = n + [K]
        return n
    return inner
def counter():
    n = K
    def inc(q=None):
        nonlocal n
        n += 1
        return n
    def get(q=None):
        return n
    return inc, get
F, G = counter()
def deco(fn):
    def wrapped(*q):
        X.append(K)
        return fn(*q)
    return wrapped
F = deco(G)
@deco
def F(q=None):
    return Y
import functools
@functools.wraps(G)
def F(*q):
    return G(*q)
registry = {}
def register(fn):
    registry[fn.__name__] = fn
    return fn
@register
def F(q=None):
    return [K, Y]
print({k: v() for k, v in registry.items()})
import functools
F = functools.partial(G, Y)
import functools
@functools.lru_cache
def F(q=None):
    return [K, X]
F = [lambda q=None, i=i: [i, X] for i in range(2)][1]
X = [lambda q=None: i for i in range(2)]
F = X.append
F.note = Y
print(getattr(F, 'note', None))
F.__defaults__ = (Y,)
print(F.__name__, F.__doc__)
def F(q=None):
    'doc K'
    return [F.__doc__]
def F(q: list = None) -> list:
    def inner():
        return Y
    return inner
print(F()())
print(list(F()))
X = F()
print(next(X))
def outer():
    box = Y
    def F2():
        return box
    return F2
F = outer()
def F(q=None):
    class Inner:
        v = K
        def m(self): return [X, self.v]
    return Inner().m()
def F(q=None):
    return sorted(Y, key=lambda t: str(X))
X = [lambda q=None: [Y, q], {'f': lambda: Z}]
print(X[0](), X[1]['f']())
X = [(lambda: Y)() for _ in range(2)]
def F(q=None, *, k=lambda: Y):
    return k()
def F(q=None):
    def G2():
        return [X, Y]
    return G2
print(F()())
X = F()
print(X())
X = sorted([K, 3], key=lambda t: (len(Y), t))
F = (lambda n: (lambda q=None: [n, X]))(Y)
def F(q=None, memo={}):
    memo[len(memo)] = K
    return dict(memo)
def F(q=None):
    global X, Y
    X, Y = Y, X
def F(q=None):
    import random
    return X
def F(q=None):
    try:
        return W + [K]
    except NameError:
        return 'none'
F.__doc__ = 'K'
F.__name__ = 'renamed'
import functools
F = functools.reduce
F = functools.partial(lambda n, q=None: [n, X], K)
import types
F = types.MethodType(lambda self, q=None: [self, K], Y)
import itertools
X = itertools.islice(itertools.count(K), 3)
@(lambda fn: fn)
def F(q=None): return [Y]
async def F(q=None): return [Y]
import asyncio
print(asyncio.run(F()))
F = max
import operator
F = operator.itemgetter(0)
X = list(map(F, [Y]))
X = map(F, [Y])
print(list(X))
fs = [F, G]; fs[0], fs[1] = fs[1], fs[0]; F, G = fs
"""

CLASSES_ = """
class C:
    items = []
    def __init__(self, q=None):
        self.q = q
    def add(self, t=K):
        self.items.append(t)
        return self.items
class C:
    count = K
    def __init__(self, q=Y):
        type(self).count += 1
        self.q = q
    def add(self, t=K):
        return [self.count, X]
class C(D):
    extra = K
class C(D):
    def __init__(self, *q):
        super().__init__(*q)
        self.more = [K]
class C(D):
    def add(self, t=K):
        return [super().add(t)]
from dataclasses import dataclass, field
@dataclass
class C:
    q: list = field(default_factory=list)
    n: int = K
    def add(self, t=K):
        self.q.append(t)
        return self.q
from dataclasses import dataclass
@dataclass(frozen=True)
class C:
    q: object = None
    def add(self, t=K):
        return [self.q, t]
from enum import Enum
class E(Enum):
    A = K
    B = 9
    def twice(self): return [self.value * 2]
X = [E.A, E.B]
print(X, [t is E.A for t in X])
X = {E.A: Y}
print(E.A in X, X[E.A])
class Base:
    known = []
    def __init_subclass__(cls, **k):
        Base.known.append(cls.__name__)
class C(Base):
    def add(self, t=K): return Base.known
print(Base.known)
class C:
    def __init__(self, q=None): self._q = q
    @property
    def q(self): return [self._q, X]
    @q.setter
    def q(self, t): self._q = t
    def add(self, t=K): return self.q
class C:
    __slots__ = ('q', '__dict__')
    def __init__(self, q=None): self.q = q
    def add(self, t=K): return self.q
class C:
    q = K
    @classmethod
    def make(cls, *q): return cls()
    @staticmethod
    def add(t=K): return [t, Y]
class C:
    def __init__(self, q=K): self.q = q
    def __eq__(self, other): return self.q == getattr(other, 'q', None)
    def __hash__(self): return 7
    def __repr__(self): return 'C<K>'
    def add(self, t=K): return self
class C:
    def __init__(self, q=None): self.q = q
    def __call__(self, *t): return [self.q, X]
    def add(self, t=K): return self(t)
class C(dict):
    def add(self, t=K):
        self['k'] = t
        return self
class C(list):
    def add(self, t=K):
        self.append(t)
        return self
class C(dict):
    def __setitem__(self, k, v):
        X.append(k)
        super().__setitem__(k, v)
    def add(self, t=K):
        self['k'] = t
        return self
class C(list):
    seen = []
    def append(self, t):
        self.seen.append(t)
        super().append(t)
    def extend(self, ts):
        for t in ts: self.append(t)
    def add(self, t=K):
        self.append(t)
        return [self, self.seen]
class C(set):
    def __init__(self, *q):
        super().__init__()
        X.append(K)
    def add(self, t=K): return len(self)
class C:
    one = None
    def __new__(cls, *q):
        if cls.one is None:
            cls.one = super().__new__(cls)
        return cls.one
    def add(self, t=K):
        self.t = getattr(self, 't', K) + 1
        return [self.t]
class C:
    def __init__(self, q=None): self.q = q
    def __getstate__(self): return dict(self.__dict__)
    def add(self, t=K): return [self.q]
class C:
    def __init__(self, q=None): self.__dict__['q'] = q
    def __setattr__(self, k, v):
        X.append(k)
        self.__dict__[k] = v
    def __getattr__(self, k):
        if k.startswith('_'): raise AttributeError(k)
        return [k]
    def add(self, t=K): return self.nope
class C:
    class Inner:
        n = K
        def go(self): return [X, self.n]
    def __init__(self, q=None): self.q = self.Inner()
    def add(self, t=K): return self.q.go()
class C:
    x = property(lambda self: [Y])
    y = staticmethod(F)
    add = lambda self, t=K: [self.x]
from typing import Generic, TypeVar
T = TypeVar('T')
class C(Generic[T]):
    def __init__(self, q=None): self.q = q
    def add(self, t=K): return [self.q]
from typing import Protocol
class C(Protocol):
    def add(self, t=K): return [X]
class Field:
    def __set_name__(self, owner, name): self.name = '_' + name
    def __get__(self, o, owner=None): return getattr(o, self.name, [K]) if o is not None else self
    def __set__(self, o, v): setattr(o, self.name, v)
class C:
    f = Field()
    def add(self, t=K):
        self.f = [self.f, t]
        return self.f
from dataclasses import dataclass
@dataclass(order=True, slots=True)
class C:
    q: int = K
    def add(self, t=K): return [self.q < t]
from enum import IntFlag, auto
class E(IntFlag):
    A = auto()
    B = auto()
X = [E.A | E.B, E.A]
print(X, E.A in E(3))
class C(Exception):
    q = K
    def add(self, t=K): return [t]
from collections import namedtuple
C = namedtuple('C', 'q r', defaults=(K, Y))
import abc
class A(abc.ABC):
    @abc.abstractmethod
    def add(self, t): ...
class C(A):
    def __init__(self, q=None): self.q = q
    def add(self, t=K): return [K]
import functools
class C:
    def __init__(self, q=None): self.q = q
    @functools.cached_property
    def slow(self):
        Y.append(K)
        return [K]
    def add(self, t=K): return self.slow
def make_class(n):
    class Local:
        q = n
        def add(self, t=K):
            n.append(t)
            return n
    return Local
C = make_class(Y)
class C:
    inner = Y
    def __init__(self, q=None): self.q = q
    def add(self, t=K):
        global X
        X = [t, X]
        return X
class C:
    made = []
    def __new__(cls, *q):
        o = super().__new__(cls)
        C.made.append(K)
        return o
    def add(self, t=K): return C.made
class C:
    q = [F]
    def add(self, t=K): return F()
O = C()
O = C(Y)
O = P
O = D()
O.q = Y
O.q = [K]
O.q.append(K)
O.other = P
print(O.q)
print(O.q is Y)
print(vars(O))
print(O.add())
print(O.add(K))
O.add(Y)
print(O == P, O is P)
print(isinstance(O, C), type(O) is C, type(O) is D)
print(type(O).__name__, isinstance(O, D))
X = [O, P]
X = O.add
print(X())
F = O.add
F = C
print(F().add())
C.count += 1
C.items.append(K)
C.items = Y
C.q = [K, Y]
C.add = lambda self, t=K: [t, X]
C.extra = Y
print(C.extra, getattr(O, 'extra', None))
print(getattr(C, 'count', None), getattr(C, 'items', None))
del C.extra
C = D
print(C is D, issubclass(C, D))
O.__class__ = D
X = C
print(X().q)
X = [C, D]
X = {C: [K]}
print(X[C])
def F(q=None):
    return C(Y)
def F(q=None):
    return isinstance(O, C)
def F(q=None):
    C.count = getattr(C, 'count', 0) + 1
    return C.count
try:
    raise C(K)
except Exception as error:
    print(type(error).__name__)
print([t.q for t in X])
print(C.__name__, C.__mro__[1].__name__)
import copy
O = copy.deepcopy(P)
import copy
O = copy.copy(P)
O = [C() for _ in range(2)]; O = O[0]
import functools
@functools.singledispatch
def F(q=None): return ['any']
@F.register
def _(q: list): return ['list', K]
@F.register(C)
def _(q): return ['C', q.q]
print(sorted(k for k in vars(O)))
print(C(K) == C(K))
"""

RANDOM = """
import random
X = [random.randint(0, 9), Y]
import random
random.shuffle(X)
import random
print(random.random())
import random
random.seed(K)
import random
X = random.sample(range(9), 3)
import random
def F(q=None): return [random.random()]
import random
X = random.Random(K)
print(X.random())
Y = X
import random
X = [random.Random(K), Y]
print(X[0].random())
import random
from random import random as rr
X = [rr()]
import numpy as np
print(np.random.rand(2))
import numpy as np
np.random.seed(K)
import numpy as np
X = np.random.permutation(4).tolist()
import numpy as np
X = np.random.default_rng(K)
print(X.integers(0, 9, 3))
import numpy as np
X = np.random.RandomState(K)
print(X.rand(2))
import numpy as np
def F(q=None): return [np.random.randint(9)]
import numpy as np
np.random.shuffle(X)
class C:
    def __init__(self, q=None):
        self.q = random.random()
    def add(self, t=K): return [random.random(), self.q]
import random
state = random.getstate()
import random
random.setstate(state)
"""

ARRAYS_ = """
U = np.arange(6)
U = np.arange(1200) % 7
U = np.zeros(4)
U = V
U = V[1:4]
U = V[::2]
U = V.reshape(2, 3)
U = V.T
U = V.copy()
U = V + 1
U = V.ravel()
U = V.view()
U = V.astype(float)
U = np.asarray(V)
U = np.array([V, V])
U = np.array([Y, Z], dtype=object)
U[0] = K
U[1] = K
U[...] = K
U[1:3] = V[0]
U += 1
U *= 2
U = U * 2
U.sort()

np.fill_diagonal(U, K)
np.add.at(U, 0, K)
U.flags.writeable = False
print(U)
print(U[:4], V[:4])
print(U.sum(), V.dtype, U.shape)
print(np.shares_memory(U, V))
print(U is V)
X = [U, V]
X[0][0] = K
print(X)
X = {'k': U}
print(X['k'] is U)
X = U[0]
U = np.float64(K)
U = np.array(K)
O.q = U
O.q[0] = K
def F(q=None):
    U[0] = K
    return U
def F(q=V):
    q[0] = K
    return q
def mk(n):
    def inner(q=None):
        n[0] = K
        return n
    return inner
F = mk(U)
U = np.frombuffer(bytearray(b'abcdef'), dtype='u1')

X = bytearray(b'abcdef'); U = np.frombuffer(bytes(X), dtype='u1')
U = np.array([(K, 2.0)], dtype=[('i', 'i4'), ('f', 'f8')])
U['i'][0] = K
U = V[V > 1]
U = np.ma.array([1, K, 3], mask=[0, 1, 0])
U = U.tolist()
for t in U:
    print(t)

U = np.linspace(0, 1, 3) / 3
U = np.matrix([[1, K]])

U, V = V, U
U = np.nditer(V)
U = np.split(V, 2)
U = U[0]
U = V.flat
"""

REFLECTION = """
exec('X = [K]')
exec('print(X)')
exec('X.append(K)')
globals()['X'] = [K, Y]
print(globals()['X'])
print(globals().get('X'))
X = eval('Y')
print(eval('len(X)'))
exec('X' + ' = [K]')
print('X' in vars())
globals().pop('X', None)
print(sorted(n for n in globals() if n in 'abcde'))
locals()['X'] = [K]
setattr(__import__('__main__'), 'X', [K])
import __main__
print(__main__.X)
print(vars().get('X'))
code = 'X.append(K)'
exec(code)
def F(q=None):
    return eval('X')
def F(q=None):
    return globals()['X']
def F(q=None):
    exec('global X; X = [K]')
globals().update(X=[K])
exec('def F(q=None): return X')
exec('import math\\nX = [math.floor(K)]')

del globals()['X']

import inspect
print(inspect.currentframe().f_globals.get('X'))
"""


def _statements(text: str) -> list[str]:
    """One template for each statement, imports and decorators joined with what follows them."""
    found: list[str] = []
    joined = ""
    for line in text.strip("\n").split("\n"):
        starts = not line.startswith((" ", "except", "finally", "else", "case"))
        if starts and not joined and not (found and found[-1].rstrip().endswith(("\\",))):
            found.append(line)
        else:
            found[-1] += "\n" + line
        joined = line if starts and (line.startswith(("import ", "from ", "@"))) else ""
    return [s for s in found if s.strip()]


THEMES: dict[str, list[str]] = {
    "core": _statements(CORE),
    "calls": _statements(CALLS),
    "classes": _statements(CLASSES_),
    "random": _statements(RANDOM),
    "arrays": _statements(ARRAYS_),
    "reflection": _statements(REFLECTION),
}

_WORD = __import__("re").compile(r"\b_?[XYZWFGCDOPUV]\b|(?<![A-Za-z_])K(?![A-Za-z_])|(?<=[a-z])K\b|\bK(?=>)")


def _fill(template: str, r: random.Random) -> str:
    chosen: dict[str, str] = {}
    for letters, pool in (("XYZW", NAMES), ("FG", FUNCTIONS), ("CD", CLASSES), ("OP", OBJECTS), ("UV", ARRAYS)):
        picks = [r.choice(pool) for _ in letters]
        if letters == "CD" and picks[0] == picks[1] and "class C(D)" in template:
            picks[1] = next(c for c in pool if c != picks[0])
        chosen.update(zip(letters, picks, strict=True))

    def put(match: object) -> str:
        word = match.group()  # type: ignore[attr-defined]
        if word == "K":
            return str(r.randrange(5))
        if word.startswith("_"):
            return "_" + chosen[word[1:]]
        return chosen[word]

    return _WORD.sub(put, template)


def _indent(text: str) -> str:
    return text.replace("\n", "\n    ")


def statement(r: random.Random, themes: list[str], depth: int = 0) -> str:
    made = _fill(r.choice(THEMES[r.choice(themes)]), r)
    if depth < 2 and r.random() < 0.15:
        inner = _indent(statement(r, themes, depth + 1))
        made = r.choice(
            [
                f"if {r.choice(NAMES)}:\n    {inner}",
                f"for _i in range(2):\n    {inner}",
                f"try:\n    {inner}\nexcept Exception:\n    {_indent(statement(r, themes, 2))}",
                f"if {r.choice(NAMES)}:\n    {inner}\nelse:\n    {_indent(statement(r, themes, 2))}",
            ]
        )
    if "import *" in made and depth:
        return "pass"
    if r.random() < (0.75 if depth == 0 else 0.1) and "import *" not in made:
        made = f"try:\n    {_indent(made)}\nexcept Exception as ex_:\n    print(type(ex_).__name__)"
    return made


_VALUES: list[Callable[[random.Random], str]] = [
    lambda r: r.choice(["[1, 2]", "[]", "{}", "'s'", "[[1], [2]]", "[0, 1, 2]", "{'k': [1]}", "{'k': [1], 'j': 2}"]),
]


def program(r: random.Random) -> Program:
    themes = ["core"] + r.sample(sorted(set(THEMES) - {"core"}), r.choice([1, 1, 2]))
    if r.random() < 0.1:
        themes = list(THEMES)
    if r.random() < 0.5 and len(themes) > 1:
        themes += themes[1:]
    start = [f"{n} = {_VALUES[0](r)}" for n in NAMES]
    start += ["def f(q=None): return q", "def g(q=None): return a", "h = lambda q=None: b"]
    if "classes" in themes or r.random() < 0.1:
        start += ["class C:\n    q = 1\n    def add(self, t=1): return [self.q, a]", "class D:\n    items = []\n    count = 0\n"
                  "    def __init__(self, q=None): self.q = q\n    def add(self, t=2):\n        self.items.append(t)\n"
                  "        return self.items", "o = D(a)", "p = C()"]  # fmt: skip
    if "arrays" in themes:
        start += ["import numpy as np", "u = np.arange(6)", "v = u[1:4]", "w = np.ones(1000)"]
    if "random" in themes:
        start.append(f"import random; random.seed({r.randrange(9)})  # keep")
        if "arrays" in themes or r.random() < 0.4:
            start.append(f"import numpy as np; np.random.seed({r.randrange(9)})  # keep")
    cells: Program = []
    first = r.random()
    if first < 0.15:
        cells.append(("setup", ["import math", "limit = 3"]))
    if first > 0.85:
        cells.append(("parameters", ["alpha = 2", "beta = [1]"]))
    cells.append(("" if r.random() < 0.3 else "step:init", start))
    names: list[str] = []
    for i in range(r.randint(2, 7)):
        name = r.choice(names) if names and r.random() < 0.1 else f"s{i}"
        names.append(name)
        body = [statement(r, themes) for _ in range(r.randint(1, 4))]
        if "random" in themes and "np.random" not in "\n".join(start):
            body = [s for s in body if "np." not in s] or ["pass"]
        if first < 0.15 and r.random() < 0.2:
            body.append(r.choice(["print(limit)", "limit += 1", "print(math.floor(2.5))"]))
        if first > 0.85 and r.random() < 0.3:
            body.append(r.choice(["print(alpha)", "alpha += 1", "beta.append(1)", "print(beta)"]))
        cells.append((f"step:{name}", body))
        if r.random() < 0.1:
            cells.append(("", [statement(r, [t for t in themes if t != "random"])]))
        if r.random() < 0.05:
            cells.append(("skip", ["print('exploring')"]))
    last = list(NAMES) if r.random() < 0.7 else r.sample(NAMES, 2)
    end = [f"try: print('{n}', {n})\nexcept Exception as ex_: print('{n}', type(ex_).__name__)" for n in last]
    if "arrays" in themes:
        end += ["print(u, v)", "print(w)"]
    if "classes" in themes:
        end += [f"try: print({n}.q, {n}.add())\nexcept Exception as ex_: print(type(ex_).__name__)" for n in OBJECTS]
        end += [f"print({n}.__name__, {{k: vars({n})[k] for k in ('items', 'count', 'known', 'made') if k in vars({n})}}, "
                f"isinstance(o, {n}))" for n in CLASSES]  # fmt: skip
    if "calls" in themes:
        end += [f"try: print({n}())\nexcept Exception as ex_: print(type(ex_).__name__)" for n in FUNCTIONS]
    if "random" in themes:
        end += ["print(random.random())"]
    cells.append(("step:last", end))
    return cells
