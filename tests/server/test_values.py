"""The values of a run: previews, loaded in a process of their own with limits; a step opened where it stood."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from mlops_lab.server import previews as module
from mlops_lab.server.places import Places
from mlops_lab.server.previews import Limits, previews
from mlops_lab.server.runs import Runs


def test_a_table_shows_its_schema_its_head_and_what_is_missing(server, finished):
    found = server.get(f"/runs/{finished['id']}/steps/make/previews").content["outputs"]
    table = found["table"]
    assert (table["type"], table["shape"]) == ("pandas.DataFrame", [30, 2])
    assert table["schema"] == [
        {"name": "n", "type": "int64", "nulls": 0},
        {"name": "half", "type": "float64", "nulls": 1},
    ]
    assert len(table["head"]) == 20
    assert table["head"][:2] == [{"n": 0, "half": None}, {"n": 1, "half": 0.5}]
    assert (found["grid"]["shape"], found["grid"]["head"][0]) == ([3, 4], [0.0, 1.0, 2.0, 3.0])


def test_inputs_say_which_step_left_them(server, finished):
    found = server.get(f"/runs/{finished['id']}/steps/sum/previews").content
    assert {name: one["step"] for name, one in found["inputs"].items()} == {"table": "make", "grid": "make"}
    assert found["inputs"]["table"]["head"][1] == {"n": 1, "half": 0.5}
    assert found["outputs"]["names"]["head"] == [{"key": "total", "value": 501}]


def test_what_the_log_knows_is_told_without_loading_anything(server, finished):
    found = server.get(f"/runs/{finished['id']}/steps/make/previews?load=false&names=table").content["outputs"]
    assert set(found) == {"table"}
    assert set(found["table"]) == {"type", "bytes", "preview", "version"}
    assert server.get(f"/runs/{finished['id']}/steps/make/previews?names=tabel").status == 404


def test_a_preview_is_kept_by_version(server, finished):
    route = f"/runs/{finished['id']}/steps/make/previews"
    first = server.get(route).content
    kept = server.root / "done/.mlops_lab/store/previews"
    files = {file: file.stat().st_mtime_ns for file in kept.iterdir()}
    assert files
    began = time.monotonic()
    assert server.get(route).content == first
    assert time.monotonic() - began < 1
    assert {file: file.stat().st_mtime_ns for file in kept.iterdir()} == files


IMPORTS = {"os": ["import os"], "threading": ["import threading"], "time": ["import time"]}


@pytest.fixture(scope="module")
def values(server) -> tuple[Runs, str]:
    """A run whose values are hard to load."""
    source = """
import os, threading, time
class Hard:
    def __init__(self):
        self.lock = threading.Lock()  # so that instances are passed on as their classes say
    def __getstate__(self):
        return {'x': 1}
class Slow(Hard):
    def __setstate__(self, state):
        if os.environ.get('MPLBACKEND') == 'agg':
            time.sleep(60)
class Huge(Hard):
    def __setstate__(self, state):
        if os.environ.get('MPLBACKEND') == 'agg':
            self.block = bytearray(2**40)
class Crash(Hard):
    def __setstate__(self, state):
        if os.environ.get('MPLBACKEND') == 'agg':
            print('not an answer', flush=True)
            os._exit(7)
class Rude:
    def __repr__(self):
        raise ValueError('no')
numbers = [1, float('nan'), float('inf'), 2**70, 'é' * 500]
a_slow, huge, crash, rude = Slow(), Huge(), Crash(), Rude()
"""
    server.write("hard/nb.ipynb", [("step:make", source), ("step:use", "used = [a_slow, huge, crash, rude, numbers]")])
    state = server.wait(server.run("hard/nb.ipynb"), "done")
    return Runs(Places(server.root)), state["id"]


@pytest.mark.parametrize(
    ("name", "says"),
    [("a_slow", "longer than"), ("huge", "memory"), ("crash", "exit code 7")],
)
def test_a_value_that_takes_too_much_to_load_says_so_and_disturbs_nobody(values, name, says):
    runs, run = values
    found = previews(runs, run, "make", [name], IMPORTS, Limits(seconds=2, memory=2**30))["outputs"][name]
    assert says in found["error"]
    assert found["type"].endswith(name.removeprefix("a_").capitalize())
    kept = runs.places.root / "hard/.mlops_lab/store/previews"
    assert not kept.exists() or not any(name in file.read_text() for file in kept.iterdir())


def test_a_value_that_cannot_be_loaded_takes_no_other_with_it(values):
    runs, run = values
    found = previews(runs, run, "make", ["crash", "huge", "numbers"], IMPORTS, Limits(30, 2**30))["outputs"]
    assert "exit code 7" in found["crash"]["error"]
    assert "memory" in found["huge"]["error"]
    assert found["numbers"]["shape"] == [5]
    found = previews(runs, run, "make", ["a_slow", "rude"], IMPORTS, Limits(10, 2**30))["outputs"]
    assert "longer than" in found["a_slow"]["error"]
    assert "repr raises" in found["rude"]["text"]


def test_what_json_does_not_have_becomes_text_or_nothing(values):
    runs, run = values
    found = previews(runs, run, "make", ["numbers", "rude"], IMPORTS, Limits())["outputs"]
    assert found["numbers"]["head"] == [1, None, "inf", str(2**70), "é" * 199 + "…"]
    assert found["rude"]["text"] == "<Rude, whose repr raises ValueError>"
    json.dumps(found, allow_nan=False)


def test_the_values_of_a_deleted_store_say_that_they_are_gone(server, finished, tmp_path):
    copy = tmp_path / "root"
    shutil.copytree(server.root / "done", copy)
    log = copy / ".mlops_lab/runs" / finished["id"] / "events.jsonl"
    log.write_text(log.read_text().replace(str(server.root / "done"), str(copy)))
    shutil.rmtree(copy / ".mlops_lab/store")
    found = previews(Runs(Places(copy)), finished["id"], "make", ["table"], {}, Limits())["outputs"]["table"]
    assert "error" in found
    assert "head" not in found


def test_describing_handles_what_notebooks_hold():
    import numpy as np
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from matplotlib.figure import Figure

    describe = _child().describe
    twice = pd.DataFrame([[1, 2, "x"]], columns=["a", "a", "b"])
    assert [column["name"] for column in describe(twice)["schema"]] == ["a", "a (2)", "b"]
    assert describe(twice)["head"] == [{"a": 1, "a (2)": 2, "b": "x"}]
    dates = describe(pd.Series(pd.to_datetime(["2026-01-02", None]), name="when"))
    assert dates["head"] == ["2026-01-02 00:00:00", None]
    assert describe(pd.DataFrame())["head"] == []
    assert describe(pl.DataFrame({"a": [1, None]}))["schema"] == [{"name": "a", "type": "Int64", "nulls": 1}]
    assert describe(pa.table({"a": [1, None]}))["head"] == [{"a": 1}, {"a": None}]
    assert describe(np.zeros((2, 3, 4)))["shape"] == [2, 3, 4]
    assert describe(np.float64(1.5))["text"] == "np.float64(1.5)"
    assert describe("x" * 10_000)["shape"] == [10_000]
    assert len(describe(list(range(10_000)))["text"]) < 1000
    assert describe(Figure())["image"].startswith("iVBOR")
    json.dumps([describe(v) for v in (twice, {1: {2: 3}}, {3, 4}, None, object(), int)], allow_nan=False)


def _child() -> Any:
    import importlib.util

    spec = importlib.util.spec_from_file_location("preview_child", Path(module.__file__).with_name("preview_child.py"))
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_a_failed_step_is_opened_with_its_inputs_and_at_the_cell_that_failed(server, failed):
    opened = server.post(f"/runs/{failed['id']}/steps/divide/open")
    assert (opened.status, opened["created"], opened["kernel"]["name"]) == (201, True, "python3")
    assert (opened["cell"], opened["line"], opened["run_first"]) == (2, 1, [0, 1])
    path = server.root / opened["path"]
    assert path.parent == server.root / "failed"
    node = nbformat.read(path, 4)
    assert opened["cell_id"] == node.cells[2].id
    NotebookClient(node, allow_errors=True, resources={"metadata": {"path": str(server.root)}}).execute()
    assert node.cells[0].outputs == []
    assert node.cells[1].outputs[0].text == "[0, 10, 20, 30, 40] hello\n"
    assert node.cells[2].outputs[0].ename == "ZeroDivisionError"
    # What the user does there is kept when it is opened again.
    node.cells[2].source = "n"
    nbformat.write(node, path)
    again = server.post(f"/runs/{failed['id']}/steps/divide/open", {"attempt": 1})
    assert (again["created"], again["path"]) == (False, opened["path"])
    assert nbformat.read(path, 4).cells[2].source == "n"
    # And looking into the run has changed nothing of it.
    assert server.get(f"/runs/{failed['id']}").content == failed | {"exit": failed["exit"]}


def test_a_step_that_never_began_or_an_attempt_that_was_not_cannot_be_opened(server, failed, finished):
    assert server.post(f"/runs/{failed['id']}/steps/divide/open", {"attempt": 2}).status == 404
    assert server.post(f"/runs/{failed['id']}/steps/nothing/open").status == 404
    server.write("failed/never.ipynb", [("step:a", "1 / 0"), ("step:b after:a", "x = 1")])
    state = server.wait(server.run("failed/never.ipynb"), "failed")
    answer = server.post(f"/runs/{state['id']}/steps/b/open")
    assert (answer.status, "did not run" in answer["message"]) == (409, True)


def test_a_file_of_the_users_is_not_overwritten_by_an_opened_step(server, failed):
    path = server.root / "failed" / f"broken-make-{failed['id']}.ipynb"
    path.write_text("mine")
    answer = server.post(f"/runs/{failed['id']}/steps/make/open")
    assert (answer.status, path.read_text()) == (409, "mine")
