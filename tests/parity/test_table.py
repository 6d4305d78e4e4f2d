"""The parity table with real kernels: each notebook run straight by nbclient, and as a pipeline by the local engine."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

import mlops_lab
from mlops_lab.errors import CheckError

from .everyday import EVERYDAY
from .rows import ROWS, Row

BATCH = 14
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


# Packages that are too large for every machine that runs the tests; rows that need one which isn't there are left out.
OPTIONAL = ("torch", "xgboost", "lightgbm", "statsmodels", "sympy", "seaborn", "tqdm", "ipywidgets", "networkx")
MISSING = re.compile(
    "|".join(rf"\b(?:import|from) {name}\b" for name in OPTIONAL if importlib.util.find_spec(name) is None) or r"(?!)"
)


def batches() -> list[list[Row]]:
    """Rows of one group together, at most so many that a failure is still easy to find; all others alone."""
    found: list[list[Row]] = []
    groups: dict[str, list[Row]] = {}
    for row in (*ROWS, *EVERYDAY):
        if any(MISSING.search(source) for _, source in row.cells):
            continue
        if row.group == "alone" or row.expect != "equal":
            found.append([row])
        else:
            groups.setdefault(row.group, []).append(row)
    for rows in groups.values():
        found += [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
    return sorted(found, key=len, reverse=True)


def cells_of(rows: Sequence[Row]) -> list[tuple[str, str, Row]]:
    """The cells of the rows, those of one step beside each other."""
    if len(rows) == 1:
        return [(tags, source, rows[0]) for tags, source in rows[0].cells]
    return [(tags, source, row) for step in "abcdef" for row in rows for tags, source in row.cells if tags == f"step:{step}"]


def write(cells: Sequence[tuple[str, str, Row]], folder: Path) -> Path:
    folder.mkdir()
    for row in {id(row): row for _, _, row in cells}.values():
        for name, text in row.files:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
    made = [new_code_cell(source, metadata={"tags": tags.split()} if tags else {}) for tags, source, _ in cells]
    nbformat.write(new_notebook(cells=made, metadata={"kernelspec": KERNEL}), folder / "nb.ipynb")
    return folder / "nb.ipynb"


def straight(path: Path) -> Any:
    node = nbformat.read(path, as_version=4)
    node.cells = [cell for cell in node.cells if "skip" not in cell.metadata.get("tags", ())]
    try:
        nbclient.NotebookClient(node, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    except nbclient.exceptions.CellExecutionError:
        pass  # it stands in the cell's outputs
    return node


def outputs(cell: Any, folder: Path) -> list[Any]:
    """What a cell shows, without what differs from process to process."""
    found: list[Any] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            if found and found[-1][:2] == ["stream", output.name]:
                found[-1][2] += output.text
            else:
                found.append(["stream", output.name, output.text])
        elif output.output_type == "error":
            found.append(["error", output.ename, output.evalue, "\n".join(output.traceback)])
        else:
            found.append([output.output_type, dict(output.data)])
    return clean(found, folder)


def clean(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [clean(v, folder) for v in value]
    if isinstance(value, dict):
        return {k: clean(v, folder) for k, v in value.items()}
    if not isinstance(value, str):
        return value
    value = re.sub(r"\x1b\[[0-9;]*m", "", value).replace(str(folder), "<folder>")
    value = re.sub(r"(/tmp|<folder>)[\w/.-]*ipykernel[\w/.-]*\.py", "<cell>", value)
    value = re.sub(r"(\b0|\.\.\.)x[0-9a-fA-F]{6,}", "0x#", value)
    value = re.sub(r'id="[\w-]+"|for="[\w-]+"|sk-container-id-\d+|sk-estimator-id-\d+', "<id>", value)
    return re.sub(r"(CPU times:|Wall time:).*", r"\1", value)


def shown(node: Any, folder: Path) -> list[list[Any]]:
    return [
        outputs(cell, folder) for cell in node.cells if cell.cell_type == "code" and "skip" not in cell.metadata.get("tags", ())
    ]


class Refusal(Exception):
    """The pipeline said that it can't give what the notebook gives."""


def run_pipeline(path: Path) -> tuple[Any, str]:
    """The assembled notebook and the failures that were no refusals. Raises `Refusal`."""
    try:
        run = mlops_lab.load(path).run(workers=2, tracking=False, cache=False)
    except CheckError as error:
        raise Refusal(str(error)) from None
    failures = {name: step.failure for name, step in run.state.steps.items() if step.failure}
    for name, failure in failures.items():
        if failure.kind == "refused":
            raise Refusal(f"{name}: {failure.message}")
    return run.notebook(), "; ".join(f"{name}: {f.kind} in cell {f.cell}: {f.message}" for name, f in failures.items())


def differences(rows: Sequence[Row], folder: Path) -> dict[str, str]:
    """Row -> how the pipeline's outputs differ, for those that do."""
    cells = cells_of(rows)
    try:
        got, failures = run_pipeline(write(cells, folder / "pipeline"))
    except Refusal as refusal:
        if len(rows) > 1:
            return {row.name: f"refused: {refusal}" for row in rows}
        row = rows[0]
        missing = [word for word in row.says if word not in str(refusal)]
        if row.expect == "equal":
            return {row.name: f"refused: {refusal}"}
        return {row.name: f"the refusal doesn't say {missing}: {refusal}"} if missing else {}
    if len(rows) == 1 and rows[0].expect == "refused":
        return {rows[0].name: f"it was not refused, but gave {shown(got, folder / 'pipeline')} ({failures or 'no failure'})"}
    expected = straight(write(cells, folder / "straight"))
    found: dict[str, str] = {}
    kept = [cell for cell in cells if "skip" not in cell[0].split()]
    one, two = shown(expected, folder / "straight"), shown(got, folder / "pipeline")
    for (tags, source, row), want, have in zip(kept, one, two, strict=True):
        if want != have and row.name not in found:
            found[row.name] = f"{tags} {source!r}\n  straight: {want}\n  pipeline: {have}\n  {failures}"
        if any(output[0] == "error" for output in want):
            break  # a straight run ends here
    if failures and not found and not any(row.fails for row in rows):
        found = {row.name: failures for row in rows}
    return found


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(
            rows,
            id=rows[0].name if len(rows) == 1 else f"{rows[0].group} from {rows[0].name}",
        )
        for rows in batches()
    ],
)
def test_a_pipeline_gives_what_the_notebook_gives(rows: list[Row], tmp_path: Path) -> None:
    found = differences(rows, tmp_path)
    if found and len(rows) > 1:
        for number, row in enumerate(rows):  # which of them is it?
            (tmp_path / str(number)).mkdir()
            alone = differences([row], tmp_path / str(number)) if row.name in found else {}
            found = {
                **{k: v for k, v in found.items() if k != row.name},
                **alone,
                **({row.name: "(only beside the others) " + found[row.name]} if row.name in found and not alone else {}),
            }
    assert not found, "\n".join(f"{name}: {what}" for name, what in found.items())


def test_an_independent_step_runs_although_another_one_fails(tmp_path: Path) -> None:
    row = next(row for row in ROWS if row.fails)
    got, failures = run_pipeline(write(cells_of([row]), tmp_path / "pipeline"))
    assert "ZeroDivisionError" in failures
    assert outputs(got.cells[2], tmp_path)[0][2] == "1\n"


# -- values --------------------------------------------------------------------------------------------------------------

# name, module to skip without, statements that bind `x`, an expression on `x` (and `y`, the original) that says what must agree
VALUES: list[tuple[str, str, str, str]] = [
    ("object array", "numpy", "x = np.array([1, 'a', None, [1]], dtype=object)", "x.tolist(), x.dtype.str"),
    ("0-d array", "numpy", "x = np.array(3.5)", "type(x).__name__, x.shape, x.dtype.str, float(x)"),
    ("NumPy scalars", "numpy", "x = [np.float32(1.5), np.int8(-3), np.bool_(True), np.datetime64('2020-01-01'), np.str_('a'), np.complex64(1j)]", "[(type(v).__name__, repr(v)) for v in x]"),
    ("nan and -0.0", "numpy", "x = [float('nan'), -0.0, np.array([np.nan, -0.0]), float('-inf')]", "[repr(v) for v in x], np.signbit(x[2]).tolist()"),
    ("NaN in a list", "", "n = float('nan'); x = [n, n]", "x == x, repr(x)"),
    ("Fortran order", "numpy", "x = np.asfortranarray(np.arange(2000.0).reshape(40, 50))", "x.flags.f_contiguous, x.flags.c_contiguous, x.strides, x.sum()"),
    ("structured and byte-swapped arrays", "numpy", "x = [np.array([(1, 2.0)], dtype=[('i', 'i4'), ('f', 'f8')]), np.arange(3, dtype='>i4')]", "[(v.dtype.str if v.dtype.names is None else str(v.dtype), v.tolist()) for v in x]"),
    ("read-only arrays, small and large", "numpy", "x = [np.arange(3), np.arange(3000)]\nfor v in x: v.flags.writeable = False", "[(v.flags.writeable, v.sum()) for v in x]"),
    ("masked arrays and matrices", "numpy", "x = [np.ma.array([1, 2], mask=[0, 1]), np.matrix([[1, 2]])]", "[(type(v).__name__, repr(v)) for v in x]"),
    ("large writeable array", "numpy", "x = np.arange(100_000)", "x.flags.writeable, x.sum(), (x.__setitem__(0, 7), x[0])[1]"),
    ("record arrays", "numpy", "x = np.rec.array([(1, 'a')], names='i,s')", "type(x).__name__, x.i.tolist(), x.s.tolist()"),
    ("datetimes with zone", "", "from datetime import *; from zoneinfo import ZoneInfo; x = [datetime(2020, 1, 1, tzinfo=timezone.utc), datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo('Europe/Berlin')), timezone(timedelta(hours=2), 'X')]", "[repr(v) for v in x], x[1].utcoffset()"),
    ("pandas timestamps", "pandas", "x = [pd.Timestamp('2020-01-01', tz='Europe/Berlin'), pd.NaT, pd.Timedelta('1h'), pd.Period('2020-01'), pd.Interval(0, 1), pd.NA]", "[repr(v) for v in x], x[1] is pd.NaT, x[5] is pd.NA"),
    ("date index with frequency", "pandas", "x = pd.Series([1, 2], index=pd.date_range('2020-01-01', periods=2, tz='UTC', freq='D', name='d'))", "repr(x.index), x.index.freqstr"),
    ("categoricals", "pandas", "x = pd.DataFrame({'c': pd.Categorical(['b', 'a', None], categories=['b', 'a', 'z'], ordered=True)})", "repr(x.c.dtype), x.c.cat.codes.tolist(), x.c.cat.categories.tolist()"),
    ("MultiIndex", "pandas", "x = pd.DataFrame({'v': [1, 2]}, index=pd.MultiIndex.from_tuples([('a', 1), ('b', 2)], names=['l', None])); x.columns = pd.MultiIndex.from_tuples([('t', 'v')])", "x.to_dict(), x.index.names, x.columns.tolist(), x.index.levels[0].tolist()"),
    ("nullable and Arrow dtypes", "pyarrow", "x = pd.DataFrame({'i': pd.array([1, None], dtype='Int64'), 'b': pd.array([True, None], dtype='boolean'), 's': pd.array(['a', None], dtype='string'), 'a': pd.array([1, None], dtype='int64[pyarrow]'), 'l': pd.Series([[1], None], dtype=pd.ArrowDtype(__import__('pyarrow').list_(__import__('pyarrow').int64())))})", "x.dtypes.astype(str).to_dict(), repr(x)"),
    ("duplicate column names", "pandas", "x = pd.DataFrame([[1, 2.0, 'a']], columns=['u', 'u', 0])", "x.columns.tolist(), x.values.tolist(), x.dtypes.astype(str).tolist()"),
    ("attrs and flags", "pandas", "x = pd.DataFrame({'u': [1]}); x.attrs['k'] = {'n': [1]}; s = x.u; s.name = ('t', 1); x = [x, s]", "x[0].attrs, x[1].name"),
    ("empty frames", "pandas", "x = [pd.DataFrame(), pd.DataFrame(columns=['a']), pd.DataFrame(index=[1, 2]), pd.Series(dtype='float64', name='e')]", "[(v.shape, repr(v), repr(v.index)) for v in x]"),
    ("GroupBy", "pandas", "d = pd.DataFrame({'g': list('aba'), 'v': [1, 2, 3]}); x = d.groupby('g')", "x.v.sum().to_dict(), x.groups"),
    ("a frame that holds objects", "pandas", "x = pd.DataFrame({'o': [[1], {'k': 2}, None], 's': ['a', None, 'c']})", "x.to_dict(), x.dtypes.astype(str).to_dict()"),
    ("two frames that share a column's list", "pandas", "l = [1]; x = [pd.Series([l]), l]", "x[0][0] is x[1]"),
    ("rolling and resampler", "pandas", "x = pd.Series([1.0, 2, 4]).rolling(2)", "x.mean().tolist()"),
    ("sparse matrices", "scipy", "import scipy.sparse as sp; x = [sp.csr_matrix([[0, 1], [2, 0]]), sp.coo_array([[0, 3]]), sp.eye(3, format='dia')]", "[(type(v).__name__, v.toarray().tolist(), v.format) for v in x]"),
    ("Arrow tables", "pyarrow", "import pyarrow as pa; x = pa.table({'a': [1, None], 'd': pa.array(['x', 'x']).dictionary_encode()})", "x.schema.to_string(), x.to_pydict()"),
    ("scikit-learn pipelines", "sklearn", "from sklearn.pipeline import make_pipeline; from sklearn.preprocessing import FunctionTransformer, StandardScaler; from sklearn.ensemble import RandomForestRegressor\nX = np.arange(20.0).reshape(10, 2)\nx = make_pipeline(StandardScaler(), FunctionTransformer(np.log1p, check_inverse=False), RandomForestRegressor(3, random_state=0))\nimport warnings; warnings.simplefilter('ignore')\nx.fit(abs(X) + 3, X[:, 0])", "x.predict(abs(np.arange(20.0).reshape(10, 2)) + 3).tolist(), str(x)"),
    ("xgboost", "xgboost", "import xgboost; x = xgboost.XGBRegressor(n_estimators=2).fit(np.arange(8.0).reshape(4, 2), [1, 2, 3, 4])", "x.predict(np.arange(8.0).reshape(4, 2)).tolist()"),
    ("lightgbm", "lightgbm", "import lightgbm; x = lightgbm.LGBMRegressor(n_estimators=2, min_child_samples=1).fit(np.arange(8.0).reshape(4, 2), [1, 2, 3, 4])", "x.predict(np.arange(8.0).reshape(4, 2)).tolist()"),
    ("polars", "polars", "import polars as pl; x = pl.DataFrame({'a': [1, None], 'b': ['x', 'y']})", "x.schema, x.to_dict(as_series=False)"),
    ("torch modules and shared tensors", "torch", "import torch; m = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout()); m.train(); t = torch.zeros(4); x = [m, t, t[1:3], m[0].weight]", "x[0].training, x[1].data_ptr() <= x[2].data_ptr(), x[3] is x[0][0].weight, x[3].requires_grad, (x[2].fill_(1), x[1].tolist())[1]"),
    ("dict order", "", "x = {'b': 1, 'a': 2, 3: 4, None: 5}; x['b'] = 9; del x['a']; x['a'] = 7", "list(x.items())"),
    ("sets", "", "x = [{1, 2, 'a', None}, frozenset({(1, 2)}), set()]", "[type(v).__name__ for v in x], [sorted(map(str, v)) for v in x]"),
    ("the order of sets", "", "x = {8, 0, 16, 3}; x.discard(8)", "list(x)"),
    ("frozen dataclasses", "", "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass F:\n    a: int\n    b: tuple = ()\nx = F(1, (2,)); z = {x: 1}; x = [x, z]", "x[0], hash(x[0]) == hash(type(x[0])(1, (2,))), x[1][x[0]]"),
    ("dataclasses with slots", "", "from dataclasses import dataclass\n@dataclass(slots=True, order=True)\nclass S:\n    a: int\n    b: list\nx = S(1, [2])", "x, x < type(x)(2, []), hasattr(x, '__dict__')"),
    ("recursive structures", "", "x = [1]; x.append(x); d = {}; d['me'] = d; t = ([],); t[0].append(t); x = [x, d, t]", "x[0][1] is x[0], x[1]['me'] is x[1], x[2][0][0] is x[2]"),
    ("lone surrogates", "", "x = ['\\ud800', 'a\\udfffb', '\\x00', '🙂']", "[v.encode('utf-8', 'surrogatepass') for v in x]"),
    ("large ints", "", "x = [2**64, -2**63 - 1, 10**400, True, 0]", "x, [type(v) for v in x]"),
    ("Decimal, Fraction, complex", "", "from decimal import Decimal; from fractions import Fraction; x = [Decimal('1.10'), Decimal('NaN'), Fraction(1, 3), complex(-0.0, 1), Decimal('-0')]", "[repr(v) for v in x]"),
    ("Path, re.Pattern, ipaddress, UUID", "", "import pathlib, re, ipaddress, uuid; x = [pathlib.Path('a/b'), pathlib.PureWindowsPath('a'), re.compile('a(?P<n>b)', re.I), ipaddress.ip_network('10.0.0.0/8'), uuid.UUID(int=5)]", "[repr(v) for v in x], x[2].match('AB')['n']"),
    ("timezone, timedelta, calendar", "", "from datetime import *; x = [timezone.utc, timedelta(days=-1, microseconds=1), date.max, time(1, 2, fold=1)]", "[repr(v) for v in x], x[0] is __import__('datetime').timezone.utc"),
    ("Enum, Flag, auto", "", "from enum import *\nclass E(Enum):\n    B = 'b'\n    A = 'a'\n    ALIAS = 'b'\nclass G(Flag):\n    X = auto()\n    Y = auto()\nclass I(IntEnum):\n    ONE = 1\nx = [E.A, E.ALIAS, G.X | G.Y, I.ONE, E]", "repr(x[:4]), x[1] is x[4].B, list(x[4]), x[4]['ALIAS'].name, x[2] & type(x[2]).X, x[3] + 1"),
    ("PIL images", "PIL", "from PIL import Image; x = Image.new('RGBA', (2, 3), (1, 2, 3, 4)); x.info['dpi'] = (72, 72)", "x.mode, x.size, x.tobytes(), x.info"),
    ("matplotlib figures", "matplotlib", "import matplotlib; matplotlib.use('agg'); import matplotlib.pyplot as plt; x, ax = plt.subplots(); ax.plot([1, 2, 4], label='l'); ax.set_title('t'); ax.legend()", "x.axes[0].get_title(), x.axes[0].lines[0].get_xydata().tolist(), x.axes[0].get_legend().get_texts()[0].get_text()"),
    ("collections", "", "from collections import *; x = [OrderedDict(b=1, a=2), Counter('aab'), deque([1, 2], maxlen=2), defaultdict(list, k=[1]), ChainMap({'a': 1}, {'b': 2})]; x[0].move_to_end('b')", "[repr(v) for v in x], x[3]['new'], x[2].maxlen"),
    ("named tuples", "", "from collections import namedtuple; from typing import NamedTuple\nN = namedtuple('N', 'a b', defaults=[2])\nclass T(NamedTuple):\n    a: int = 1\n    def d(self): return self.a * 2\nx = [N(1), T(3)]", "repr(x), x[0]._fields, x[1].d(), isinstance(x[0], tuple), x[0]._replace(a=5)"),
    ("functions", "", "import functools, operator\ndef f(a, b=[1], *c, k: int = 2, **d) -> str:\n    'doc'\n    return a, b, c, k, d\nf.note = 'n'\nx = [f, functools.partial(f, 1, k=3), operator.itemgetter(1, 'a'), operator.attrgetter('a.b'), len, str.upper, 'abc'.upper]", "x[0](1), x[0].__doc__, x[0].note, x[0].__annotations__, x[1](), x[5]('a'), x[6](), x[0].__name__, str(__import__('inspect').signature(x[0]))"),
    ("exceptions", "", "class E(ValueError):\n    def __init__(self, a, b): super().__init__(a); self.b = b\ntry:\n    try: 1 / 0\n    except ZeroDivisionError as e: raise KeyError('k') from e\nexcept KeyError as e: k = e\nk.add_note('note')\nx = [KeyError('a'), k]", "[repr(v) for v in x], x[1].__notes__"),
    ("iterators with a state", "", "i = iter([1, 2, 3]); next(i); x = [i, iter(range(3)), zip([1], [2]), enumerate('ab', 5), reversed([1, 2])]", "[list(v) for v in x]"),
    ("random generators", "numpy", "import random; r = random.Random(5); r.random(); g = np.random.default_rng(3); g.random(); s = np.random.RandomState(4); s.rand(); x = [r, g, s, np.random.SeedSequence(3)]", "x[0].random(), x[1].random(), x[2].rand(), x[3].generate_state(2).tolist()"),
    ("bytes and bytearrays", "", "x = [b'\\x00\\xff', bytearray(b'abc'), bytearray(10_000), b'1' * 10_000]", "[(type(v), bytes(v[:3]), len(v)) for v in x], (x[2].append(1), len(x[2]))[1], hash(x[3]) == hash(b'1' * 10_000)"),
    ("array.array and StringIO", "", "import array, io; s = io.StringIO('abc'); s.read(1); b = io.BytesIO(b'xyz'); b.seek(2); x = [array.array('d', [1.5]), s, b]", "x[0], x[1].read(), x[2].read()"),
    ("types and generic aliases", "", "import typing; x = [int, list[int], typing.Optional[int], int | None, typing.Callable[[int], str], type(None), ...]", "[repr(v) for v in x], x[6] is ..."),
    ("simple namespaces, slices, ranges", "", "import types; x = [types.SimpleNamespace(a=[1]), slice(1, None, 2), range(0, 10, 3), types.MappingProxyType({'a': 1})]", "[repr(v) for v in x]"),
    ("sharing inside a value", "numpy", "l = [1]; a = np.arange(2000); x = {'p': l, 'q': l, 'a': a, 'v': a[10:20], 't': a}", "x['p'] is x['q'], x['a'] is x['t'], (x['v'].fill(-1), x['a'][9:11].tolist())[1]"),
    ("strings by identity of interning", "", "x = {'key': 'key', 'a b': 'a b'}", "x, all(k is v for k, v in x.items())"),
    ("weird dict keys", "", "x = {float('nan'): 1, (1, (2,)): 2, frozenset([1]): 3, b'a': 4, 1: 5, 1.5: 6}", "[repr(k) for k in x], x[(1, (2,))]"),
    ("deep nesting", "", "x = []\nfor _ in range(400): x = [x]", "len(repr(x))"),
    ("very deep nesting", "", "x = []\nfor _ in range(5000): x = [x]", "type(x).__name__"),
]  # fmt: skip
MAY_REFUSE = {
    "very deep nesting",
    "simple namespaces, slices, ranges",
    "iterators with a state",
    "the order of sets",
    "GroupBy",
}

_DRIVER = """
import importlib.util, json, sys, types
sys.path[:] = [p for p in sys.path if p]
spec = json.load(open(sys.argv[1]))
from mlops_lab.runtime.load import runtime_module
kit = runtime_module("kit")
report = {}
for number, (name, module, code, expression) in enumerate(spec["values"]):
    if module and importlib.util.find_spec(module) is None:
        report[name] = ["missing", module]
        continue
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    names = main.__dict__
    names["__builtins__"] = __builtins__
    shell = types.SimpleNamespace(user_ns=names)
    order = dict(step=f"s{number}", store=spec["store"], folder=spec["folder"], numbers=[1], sources=[], reads=[], keep=["x"], current={}, imports={},
                 seeded=False, modules=[], configuration=[], own_configuration=[], guard=None, result=f"{spec['folder']}/{number}.json")
    try:
        exec("try:\\n    import numpy as np, pandas as pd\\nexcept ImportError: pass", names)
        if spec["saving"]:
            exec(code, names)
            k = kit.Kit(order, shell)
            k.keep_all()
            report[name] = ["saved", repr(eval(expression, names))]
        else:
            outputs = json.load(open(order["result"]))["outputs"]
            current = {n: o["version"] for n, o in outputs.items() if o}
            k = kit.Kit({**order, "current": current, "reads": ["x"]}, shell)
            k.load()
            report[name] = ["loaded", repr(eval(expression, names))]
    except kit.InputRefused as error:
        report[name] = ["refused", str(error)]
    except Exception as error:
        report[name] = ["failed", f"{type(error).__name__}: {error}"]
json.dump(report, open(sys.argv[2], "w"))
"""


@pytest.fixture(scope="module")
def round_trips(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the values say of themselves in the process that made them, and in one that loaded them."""
    import json

    folder = tmp_path_factory.mktemp("values")
    (folder / "driver.py").write_text(_DRIVER)
    found = []
    for saving in (True, False):
        spec = {"values": VALUES, "store": str(folder / "store"), "folder": str(folder), "saving": saving}
        (folder / "spec.json").write_text(json.dumps(spec))
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(Path(mlops_lab.__file__).parent.parent)}
        done = subprocess.run([sys.executable, str(folder / "driver.py"), str(folder / "spec.json"), str(folder / "out.json")],
                              env=environment, capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append(json.loads((folder / "out.json").read_text()))
    return found[0], found[1]


@pytest.mark.parametrize("name", [value[0] for value in VALUES])
def test_a_value_comes_back_exactly(name: str, round_trips: tuple[dict[str, Any], dict[str, Any]]) -> None:
    (saved, before), (loaded, after) = round_trips[0][name], round_trips[1][name]
    if saved == "missing":
        pytest.skip(f"{before} is not installed")
    assert saved == "saved", before
    if loaded == "refused":
        assert name in MAY_REFUSE, after
        return
    assert (loaded, clean(after, Path("/"))) == ("loaded", clean(before, Path("/")))
