"""The analysis as a whole, warm: what is kept from one to the next changes what it costs, never what it finds."""

from __future__ import annotations

import ast
import gc
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook

import mlops_lab
from mlops_lab import syntax
from mlops_lab.checks import check
from mlops_lab.notebook import Cell, from_node
from mlops_lab.pipeline import build
from mlops_lab.plan import Plan, make_plan
from mlops_lab.scopes import children

# Statements that change what is known of the notebook as a whole, and such as depend on that.
_CODE = [
    "x = 1", "x = x + y", "y = x", "y = [x]", "print(x, y)", "del x", "if y: x = 2", "for x in y: pass", "x.append(y)", "f(x)",
    "y = f(x)", "f = g", "def f(a): return a + x", "def f(a): a.append(y)", "def f(a):\n    global x\n    del x",
    "def g(): return f(y)", "def g(p):\n    return open(f'{p}/{name}.csv')", "g('data')", "name = 'one'", "name = 'two'",
    "name = name + '!'", "open(name, 'w')", "pd.read_csv(name)", "import numpy as np", "import pandas as pd", "np = 3",
    "import numpy as x", "y = np.random.default_rng(0)", "y.normal()", "np.random.seed(0)", "x = np.random.rand(3)",
    "class C:\n    z = x\n    def m(self): return y", "y = C()", "C().m()", "import pickle\nx = pickle.load(open('m.pkl', 'rb'))",
    "try:\n    f(1)\nexcept ValueError as error:\n    x = error", "print(error)", "exec('x = f(y)')", "exec = print", "eval(y)",
    "globals()['x']", "%time x = f(1)", "!echo {x}", "_ = x", "print(_)", "a, _ = f(x)", "with open(name) as h: x = h.read()",
    "match x:\n    case [y, *_]: pass", "[y for y in x]", "(y := f(x))", "df.query('u > @x')", "x +", "import warnings",
    "warnings.filterwarnings('ignore')", "pd.set_option('display.width', 9)", "from math import *", "lambda: x",
]  # fmt: skip
_TAGS = [[], [], [], ["step:a"], ["step:b"], ["step:c", "after:a"], ["setup"], ["skip"], ["parameters"], ["step:a", "gate"]]
_cells = st.tuples(st.lists(st.sampled_from(_CODE), min_size=1, max_size=3).map("\n".join), st.sampled_from(_TAGS))


def analysed(cells: list[tuple[str, list[str]]]) -> Plan:
    node = new_notebook(
        cells=[new_code_cell(source, id=f"c{i}", metadata={"tags": tags}) for i, (source, tags) in enumerate(cells)]
    )
    return make_plan(build(from_node(node, "nb.ipynb")))


def shown(value: Any) -> Any:
    """All of a plan as plain data in a fixed order."""
    if isinstance(value, Plan):
        return [
            shown(value.steps),
            shown(value.edges),
            shown(value.imported),
            shown(value.cell_effects),
            list(map(str, check(value))),
        ]
    if isinstance(value, Cell):
        return value.number
    if is_dataclass(value):
        return {field.name: shown(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, dict):
        return {name: shown(value[name]) for name in sorted(value, key=str)}
    return [shown(each) for each in value] if isinstance(value, (list, tuple)) else str(value)


@settings(max_examples=50, deadline=None)
@given(st.lists(_cells, min_size=2, max_size=7), st.data())
def test_an_analysis_finds_after_any_edits_what_a_first_one_finds(
    cells: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    versions = [cells]
    for _ in range(3):
        place = data.draw(st.integers(0, len(cells) - 1))
        versions.append([*versions[-1][:place], data.draw(_cells), *versions[-1][place + 1 :]])
    warm = [shown(analysed(version)) for version in (*versions, *versions)]
    fresh = []
    for version in versions:
        syntax.forget()
        fresh.append(shown(analysed(version)))
    assert warm == [*fresh, *fresh]


def test_analyses_leave_trees_and_earlier_plans_as_they_were() -> None:
    cells = [(source, [f"step:s{i}"]) for i, source in enumerate(_CODE)]
    plan = analysed(cells)
    before = shown(plan), [ast.dump(cell.tree) for cell in plan.cells]
    for i in range(len(cells)):
        analysed([*cells[:i], ("x, y, f = 1, 2, 3", ["step:other"]), *cells[i + 1 :]])
    assert (shown(plan), [ast.dump(cell.tree) for cell in plan.cells]) == before


def _large(count: int, last: str = "", place: int = 5) -> list[tuple[str, list[str]]]:
    cells = [("import pandas as pd\ndef clean(frame):\n    return frame.dropna()", ["step:begin"])]
    for i in range(1, count):
        source = f"raw{i} = pd.read_csv('data/{i}.csv')\ndf{i} = clean(raw{i}).merge(df{i - 1 if i > 1 else i}, on='key')\n"
        source += f"for column in df{i}.columns:\n    df{i}[column] = df{i}[column].clip(0, {i})\nprint(df{i}.head())"
        cells.append((source, [f"step:s{i}"] if i % 5 == 0 else []))
    cells[place] = (f"{cells[place][0]}\n{last}", cells[place][1])
    return cells


def test_an_edit_costs_a_small_part_of_a_first_analysis() -> None:
    def calls(cells: list[tuple[str, list[str]]]) -> int:
        """How many of our functions are called: a measure of the work that doesn't depend on the machine."""
        count = 0

        def called(frame: FrameType, event: str, argument: object) -> None:
            nonlocal count
            count += event == "call" and frame.f_globals.get("__name__", "").startswith("mlops_lab")

        sys.setprofile(called)
        try:
            check(analysed(cells))
        finally:
            sys.setprofile(None)
        return count

    syntax.forget()
    first = calls(_large(150))
    edits = [calls(_large(150, f"note{i} = {i}", 7 * i + 1)) for i in range(3)]
    assert max(edits) < first / 3


def test_edits_do_not_make_the_process_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syntax, "_SPARE", 30)

    def trees() -> int:
        gc.collect()
        return sum(isinstance(each, ast.Module) for each in gc.get_objects())

    syntax.forget()
    before = trees()
    for turn in range(150):
        analysed(_large(20, f"note{turn} = {turn}"))
    assert trees() - before <= 20 + 30 + 16  # the last is what stages hold at most


def test_a_notebook_of_many_cells_does_not_drive_out_itself() -> None:
    syntax.forget()
    analysed(_large(700))
    tree = analysed(_large(700, "note = 1")).cells[3].tree
    assert analysed(_large(700, "note = 2")).cells[3].tree is tree


@pytest.mark.parametrize("path", sorted(Path(mlops_lab.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_children_are_all_nodes_below_but_contexts_operators_and_names_of_imports(path: Path) -> None:
    left_out = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.alias)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, left_out):
            assert children(node) == [each for each in ast.iter_child_nodes(node) if not isinstance(each, left_out)]
