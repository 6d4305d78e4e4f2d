"""Diagnostics: each code has a notebook that gives it, and sound notebooks give no error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import CellSpec, notebook_node

from mlops_lab.checks import CHECKS, Diagnostic, check, require_sound
from mlops_lab.errors import CheckError
from mlops_lab.notebook import from_node, read
from mlops_lab.pipeline import build
from mlops_lab.plan import make_plan

A: CellSpec = ("step:a", "x = 1")


def found(cells: Sequence[CellSpec], settings: dict[str, Any] | None = None) -> tuple[Diagnostic, ...]:
    metadata = {"mlops_lab": settings} if settings else None
    return check(make_plan(build(from_node(notebook_node(cells, metadata), "nb.ipynb"))))


# code, severity, cell, line, name, cells (and settings)
CASES: list[tuple[str, str, int, int, str, list[CellSpec], dict[str, Any]]] = [
    ("ML101", "error", 2, 2, "", [A, ("step:b", "y = 1\nz = (")], {}),
    ("ML102", "error", 1, 0, "Step:a", [("Step:a", "x = 1"), ("step:b", "y = 1")], {}),
    ("ML102", "error", 2, 0, "paramters", [A, ("paramters", "y = 1")], {}),
    ("ML103", "error", 2, 0, "Train_1", [A, ("step:Train_1", "y = 1")], {}),
    ("ML103", "error", 2, 0, "", [A, ("step:", "y = 1")], {}),
    ("ML104", "error", 2, 0, "lod", [("step:load", "x = 1"), ("step:b after:lod", "y = 1")], {}),
    ("ML104", "error", 0, 0, "b", [A], {"steps": {"b": {"retries": 1}}}),
    ("ML105", "error", 0, 0, "", [("step:a after:b", "x = 1"), ("step:b", "y = x")], {}),
    ("ML106", "error", 3, 0, "a", [("step:a gate", "assert 1"), ("step:b", "y = 1"), ("step:a", "z = 1")], {}),
    ("ML106", "error", 1, 0, "b", [("step:a step:b", "x = 1")], {}),
    ("ML107", "error", 1, 0, "", [("step:a skip", "x = 1"), ("step:b", "y = 1")], {}),
    ("ML107", "error", 2, 0, "", [A, ("parameters setup", "y = 1")], {}),
    ("ML107", "error", 1, 0, "", [("gate", "assert 1"), A], {}),
    ("ML108", "error", 2, 1, "_", [A, ("step:b", "y = _")], {}),
    ("ML108", "error", 2, 2, "Out", [A, ("step:b", "z = 1\ny = Out[2]")], {}),
    ("ML108", "error", 2, 2, "%macro", [A, ("step:b", "z = 1\n%macro -q m 1")], {}),
    ("ML108", "error", 2, 1, "%history", [A, ("step:b", "%history")], {}),
    ("ML109", "warning", 2, 2, "globals()", [A, ("step:b", "y = 1\nglobals()['y']")], {}),
    ("ML110", "error", 2, 0, "x", [A, ("setup", "k = x"), ("step:b", "y = k")], {}),
    ("ML111", "error", 2, 0, "y", [A, ("skip", "y = x"), ("step:b", "z = y")], {}),
    ("ML112", "warning", 2, 2, "nothing", [A, ("step:b", "y = 1\nz = nothing")], {}),
    ("ML112", "warning", 1, 1, "y", [("step:a", "x = y"), ("step:b", "y = 1")], {}),
    ("ML113", "warning", 0, 0, "", ["x = 1"], {}),
    ("ML113", "error", 0, 0, "", [("skip", "x = 1")], {}),
    ("ML113", "error", 0, 0, "", [], {}),
    ("ML114", "warning", 1, 0, "", [("parameters", "n = f()"), A], {}),
    ("ML115", "error", 0, 0, "retries", [A], {"steps": {"a": {"retries": -1}}}),
    ("ML115", "error", 0, 0, "timeout", [A], {"steps": {"a": {"timeout": 0}}}),
    ("ML116", "warning", 3, 0, "c", [("step:a", "import numpy as np\nnp.random.seed(0)"),
     ("step:b", "x = np.random.rand()"), ("step:c", "y = np.random.rand()")], {}),
    ("ML117", "error", 2, 0, "lib/h.py", [("step:a", "import h"), ("step:b", "open('lib/h.py', 'w').write('x = 1')"),
     ("step:c", "print(h.x)")], {}),
    ("ML118", "warning", 2, 1, "x", [A, ("step:b", "print(sys.getsizeof(x), sys.getrefcount([1]))\ny = 1\nsys.getsizeof(y)")], {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "severity", "cell", "line", "name", "cells", "settings"),
    [pytest.param(*c, id=f"{c[0]} {c[4] or i}") for i, c in enumerate(CASES)],
)
def test_a_mistake_has_its_code_place_and_fix(
    code: str, severity: str, cell: int, line: int, name: str, cells: list[CellSpec], settings: dict[str, Any]
) -> None:
    matching = [d for d in found(cells, settings) if d.code == code and (not name or d.name == name)]
    assert matching, f"no {code}"
    one = matching[0]
    assert (one.severity, one.line) == (severity, line)
    assert one.cell == cell or code == "ML105"
    assert one.message.endswith(".") and one.fix
    assert str(one).startswith(f"{code} {severity}, ")


def test_every_code_has_a_notebook_that_gives_it() -> None:
    codes = {(one.__doc__ or "").partition(":")[0] for one in CHECKS}
    assert codes == {case[0] for case in CASES}


CLEAN: list[tuple[str, list[CellSpec]]] = [
    ("two steps", [A, ("step:b", "y = x")]),
    ("tags of others", [("step:a hide-input solution", "x = 1"), ("remove-cell", "x")]),
    ("parameters", [("parameters", "lr = 0.1  # rate"), ("step:a", "x = lr")]),
    ("a gate", [A, ("step:check gate", "assert x")]),
    ("a gate below its step's first cell", [A, ("step:b", "y = 1"), ("step:b gate", "assert y")]),
    ("setup from imports and parameters", [("parameters", "n = 1"), ("setup", "import os\nk = n"), ("step:a", "x = k")]),
    ("a throwaway name", [("step:a", "for _ in range(3): pass\nx, _ = 1, 2")]),
    ("our magics", ["%load_ext mlops_lab", A, "%mlops run"]),
    ("a broken cell that is skipped", [A, ("skip", "x = (")]),
    ("exploration that reads a step's value", [A, ("skip", "print(x)"), ("step:b", "y = x")]),
    ("Kale's tags", [("imports", "import os"), ("functions", "def f(): return 1"), ("pipeline-parameters", "n = 1"),
                     ("step:a", "x = f() + n"), ("step:b prev:a", "y = x"), ("pipeline-metrics", "print(y)")]),
    ("builtins and IPython's names", [("step:a", "print(len('a'))\ndisplay(1)\nx = __name__")]),
    ("a star import", [("step:a", "from math import *\nx = pi")]),
    ("a name in a query", [("step:a", "import pandas as pd\nlimit = 1\ndf = pd.DataFrame({'u': [1]})"),
                           ("step:b", "df.query('u > @limit')")]),
    ("try and except NameError", [("step:a", "try:\n    cache\nexcept NameError:\n    cache = {}")]),
    ("the shell", [("step:a", "files = !ls\nprint(files)")]),
    ("await", [("step:a", "import asyncio\nawait asyncio.sleep(0)")]),
    ("an exception's name", [("step:a", "try:\n    1\nexcept ValueError as e:\n    print(e)")]),
    ("a recursive function", [("step:a", "def f(n): return n and f(n - 1)\nf(3)")]),
    ("a function that calls one below", [("step:a", "def f(): return g()\ndef g(): return 1\nf()")]),
    ("a draw that is alone", [("step:a", "import random\nrandom.seed(0)\nx = random.random()")]),
    ("a module that is written, imported and used", [("step:a", "%%writefile h.py\nx = 1"), ("step:b", "import h"),
                                                     ("step:c", "print(h.x)")]),
    ("a module that is rewritten and reloaded", [("step:a", "import h"), ("step:b", "%%writefile h.py\nx = 1"),
                                                 ("step:c", "import importlib\nimportlib.reload(h)"), ("step:d", "print(h.x)")]),
    ("markdown and empty cells", [("md", "# Title"), "", A]),
]  # fmt: skip


@pytest.mark.parametrize("cells", [pytest.param(c, id=n) for n, c in CLEAN])
def test_a_sound_notebook_gives_no_diagnostic(cells: list[CellSpec]) -> None:
    assert [str(d) for d in found(cells)] == []


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb")), ids=lambda p: p.stem)
def test_the_examples_give_no_error(path: Path) -> None:
    require_sound(make_plan(build(read(path))))


def test_errors_come_first_and_then_the_order_of_the_notebook() -> None:
    order = [(d.severity, d.cell) for d in found([("step:a", "globals()"), ("step:B", "y = 1"), ("step:C", "z = (")])]
    assert order == sorted(order, key=lambda d: (d[0] != "error", d[1]))
    assert {severity for severity, _ in order} == {"error", "warning"}


def test_what_a_skipped_cell_binds_is_told_once() -> None:
    assert [d.code for d in found([("skip", "x = 1"), ("step:a", "print(x)")])] == ["ML111"]


def test_only_errors_stop_a_run() -> None:
    require_sound(make_plan(build(from_node(notebook_node(["x = 1"]), "nb.ipynb"))))
    with pytest.raises(CheckError) as caught:
        require_sound(make_plan(build(from_node(notebook_node([("step:A", "globals()")]), "nb.ipynb"))))
    assert [d.code for d in caught.value.diagnostics] == ["ML103"]
    assert caught.value.exit_code == 2


def test_a_near_name_is_proposed() -> None:
    assert "did you mean 'load'?" in str(found([("step:load", "x = 1"), ("step:b after:lod", "y = 1")])[0])
