"""`verify` finds what differs at the cells and at the end, leaves out what is not stable, and says where it looked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat as nbf
import pytest
from conftest import notebook_node

from mlops_lab import verify as package
from mlops_lab.runtime.compare import Comparison, Unknown
from mlops_lab.verify import verify
from mlops_lab.verify.shown import shown, without_durations


def write(tmp_path: Path, cells):
    path = tmp_path / "nb.ipynb"
    nbf.write(notebook_node(cells), path)
    return path


def statuses(verdict):
    return {variable.name: variable.status for variable in verdict.variables}


def test_an_equal_notebook_is_equal_cell_by_cell_and_at_the_end(tmp_path):
    cells = [
        ("step:a", "import numpy as np\nx = np.arange(4.0)\ndef f(v):\n    return v + 1\nclass C:\n    n = 1\nc = C()"),
        ("step:b", "x[0] = np.nan\nd = {'x': x, 'c': c}\nc.v = [1, 2]\nprint(f(1))"),
        ("step:c", "import time, uuid\nstamp = time.time()\nname = str(uuid.uuid4())\nprint(f'{stamp}')\ng = (i for i in x)"),
    ]
    verdict = verify(write(tmp_path, cells))
    assert verdict.status == "equal", (verdict.message, verdict.differences, verdict.different_variables)
    found = statuses(verdict)
    assert {name: found[name] for name in ("x", "d", "c", "f", "C")} == dict.fromkeys(("x", "d", "c", "f", "C"), "equal")
    assert found["stamp"] == found["name"] == "unstable"
    assert [cell.status for cell in verdict.cells] == ["equal", "equal", "unstable"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nb.ipynb"], "nothing is left beside the notebook"


def test_a_difference_is_found_and_named(tmp_path, monkeypatch):
    # The pipeline is made to run another notebook, which is as wrong as a pipeline can be.
    path = write(tmp_path, [("step:a", "x = [1, {'k': 2.0}]\nprint('one')"), ("step:b", "y = x[1]")])
    real = package.from_node

    def wrong(node, at):
        if "pipeline" in str(at):
            node = nbf.from_dict(json.loads(json.dumps(node).replace("2.0", "2.5").replace("'one'", "'two'")))
        return real(node, at)

    monkeypatch.setattr(package, "from_node", wrong)
    verdict = verify(path)
    assert verdict.status == "different"
    assert [(cell.cell, cell.status) for cell in verdict.cells] == [(1, "different"), (2, "equal")]
    assert "one" in verdict.cells[0].straight and "two" in verdict.cells[0].pipeline
    assert {v.name: v.why for v in verdict.different_variables}["x"] == "x[1]['k']: 2.0 != 2.5"


def test_the_command_prints_the_verdict_and_its_exit_code_tells_it(tmp_path):
    path = write(
        tmp_path, [("step:a", "x = 1"), ("step:b", "import threading\nlock = threading.Lock()"), ("step:c", "print(lock)")]
    )
    command = [sys.executable, "-m", "mlops_lab.cli", "verify", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["status"] == "refused" and "ML201" in found["message"]
    assert set(found) == {"status", "cells", "message", "overtaken", "variables"}


def test_a_notebook_that_fails_by_itself_is_told_apart(tmp_path):
    verdict = verify(write(tmp_path, [("step:a", "x = 1\nprint(x)"), ("step:b", "1 / 0")]))
    assert verdict.status == "failed"
    assert "ZeroDivisionError" in verdict.message and "so does the pipeline" in verdict.message
    assert not verdict.differences


def test_durations_are_left_out_and_other_numbers_are_not():
    def of(text):
        return [("stream", "stdout", text)]

    assert without_durations(of("took 0.06s, 12 ms, 1.2e-05 seconds, 01:02<00:03, 12.5it/s")) == without_durations(
        of("took 0.10s, 7 ms, 3.1e-04 seconds, 00:09<00:01, 99.1it/s")
    )
    assert without_durations(of("auc 0.81, 3 samples")) != without_durations(of("auc 0.82, 3 samples"))


def test_widgets_are_compared_by_their_state():
    def notebook(prefix, value):
        state = {
            f"{prefix}1": {"model_name": "IntSliderModel", "state": {"value": value, "layout": f"IPY_MODEL_{prefix}2"}},
            f"{prefix}2": {"model_name": "LayoutModel", "state": {}},
        }
        view = {"application/vnd.jupyter.widget-view+json": {"model_id": f"{prefix}1"}, "text/plain": f"IntSlider({prefix})"}
        cell = nbf.v4.new_code_cell("s", outputs=[nbf.v4.new_output("display_data", data=view)])
        widgets = {"application/vnd.jupyter.widget-state+json": {"state": state}}
        return nbf.v4.new_notebook(cells=[cell], metadata={"widgets": widgets})

    assert shown(notebook("a", 1), 0) == shown(notebook("b", 1), 0)
    assert shown(notebook("a", 1), 0) != shown(notebook("b", 2), 0)


class Plain:
    def __init__(self, **state):
        self.__dict__.update(state)


def recursive():
    value = [1]
    value.append(value)
    return value


def shares():
    inner = [1]
    return [inner, inner]


np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")

PAIRS = {
    "an int and a bool": (1, True, "v: int != bool"),
    "minus zero": (0.0, -0.0, "v: 0.0 != -0.0"),
    "not a number": (float("nan"), float("nan"), ""),
    "the order of a dict": ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "v.keys()[0]: 'a' != 'b'"),
    "a list inside": ({"k": [1, 2]}, {"k": [1, 3]}, "v['k'][1]: 2 != 3"),
    "an attribute": (Plain(a=1), Plain(a=2), "v.a: 1 != 2"),
    "a missing attribute": (Plain(a=1, b=1), Plain(b=1), "v: attributes ['a'] in one run only"),
    "itself inside": (recursive(), recursive(), ""),
    "sharing": (shares(), [[1], [1]], "v[1]: shares an object with another value in one run only"),
    "an array": (np.arange(3), np.array([0, 5, 2]), "v[1]: np.int64(1) != np.int64(5) (1 of 3 differ)"),
    "an array's type": (np.arange(3), np.arange(3.0), "v: int64 of shape (3,) != float64 of shape (3,)"),
    "an array with nan": (np.array([np.nan]), np.array([np.nan]), ""),
    "frames": (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]}), ""),
    "a set": ({"a", "b"}, {"b", "a"}, ""),
}


@pytest.mark.parametrize("name", PAIRS)
def test_values_are_compared_exactly(name):
    one, other, expected = PAIRS[name]
    assert Comparison().difference(one, other, "v") == expected


def test_a_frame_that_differs_is_told_by_its_column():
    assert "a" in Comparison().difference(pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]}), "v")


def test_what_cannot_be_compared_is_not_called_equal():
    with pytest.raises(Unknown):
        Comparison().difference((i for i in ()), (i for i in ()), "v")
