"""A forked kernel is one that was started; what can't be forked is started; nothing is left behind."""

from __future__ import annotations

import os
import signal
import sys
import time

import nbformat as nbf
import pytest
from conftest import notebook_node

import mlops_lab
from mlops_lab import warm
from mlops_lab.notebook import read
from mlops_lab.warm import WarmParent, parent_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only")

# What a kernel is to the code that runs in it. Numbers of processes and places of sockets differ, and so do fresh draws.
PICTURE = """
import asyncio, gc, json, logging, os, random, signal, sys, threading, warnings
import numpy as np
import pandas as pd
import matplotlib
import matplotlib.pyplot as plt
shell = get_ipython()
own = ("MLOPS_LAB_", "JPY_")
picture = {
    "path": sys.path, "argv0": os.path.basename(sys.argv[0]), "executable": sys.executable, "flags": str(sys.flags),
    "environment": sorted(k for k in os.environ if not k.startswith(own)), "cwd": os.getcwd(), "main": sys.modules["__main__"].__name__,
    "shell": type(shell).__name__, "kernel": type(shell.kernel).__name__, "loop": asyncio.get_running_loop().is_running(),
    "leads a group": os.getpgrp() == os.getpid(), "threads": sorted(t.name.split("-")[0] for t in threading.enumerate() if "Poller" not in t.name),
    "signals": [str(signal.getsignal(s)) for s in (signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE)],
    "filters": [(f[0], f[2].__name__, f[4]) for f in warnings.filters if f[1] is None], "backend": matplotlib.get_backend(),
    "columns": pd.get_option("display.max_columns"), "hash": hash("a"), "logging": logging.getLogger().level,
    "freeze": gc.isenabled(),
    "level": sys.getrecursionlimit(),
}
print(json.dumps(picture, indent=1, default=str))
"""


def write(tmp_path, cells):
    path = tmp_path / "nb.ipynb"
    nbf.write(notebook_node(cells), path)
    return path


def outputs(run):
    return [[o.get("text", o.get("ename")) for o in cell.outputs] for cell in run.notebook().cells]


def test_a_forked_kernel_looks_like_a_started_one(tmp_path, monkeypatch):
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    path = write(
        tmp_path, [("step:a", PICTURE), ("step:b", "import random, numpy as np\nprint(random.random() + np.random.rand() > 0)")]
    )
    parents = []
    monkeypatch.setattr(warm, "parent_for", lambda *a: parents.append(parent_for(*a)) or parents[-1])
    forked = mlops_lab.load(path).run(tracking=False, cache=False)
    assert parents[0]._ready, "the parent could not be used"
    monkeypatch.setattr(warm, "parent_for", lambda *a: None)
    started = mlops_lab.load(path).run(tracking=False, cache=False)
    assert outputs(forked) == outputs(started)


def test_forked_kernels_draw_other_random_numbers(tmp_path):
    draws = "import random, uuid, tempfile\nprint(random.random(), uuid.uuid4(), tempfile.mktemp())"
    run = mlops_lab.load(write(tmp_path, [("step:a", draws), ("step:b", draws)])).run(tracking=False, cache=False)
    one, other = (text[0].split() for text in outputs(run))
    assert not set(one) & set(other)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("print('hello')", "prints"),
        ("import warnings\nwarnings.warn('careful')", "warns"),
        ("import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()", "starts a thread"),
        ("from IPython import get_ipython\nshell = get_ipython()", "keeps the kernel's shell"),
        ("from IPython import get_ipython\nget_ipython().events.register('pre_run_cell', print)", "uses the kernel's shell"),
    ],
)
def test_an_import_that_belongs_into_the_kernel_is_left_to_it(body, reason, tmp_path, monkeypatch, caplog):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "odd.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    with caplog.at_level("DEBUG", logger="mlops_lab.warm"):
        parent = WarmParent(sys.executable, ["import json", "import odd"], [], tmp_path)
        try:
            assert parent.wait(60)
            assert parent._imports == ["import json"]
        finally:
            parent.close()
    assert reason in caplog.text


def test_modules_beside_the_notebook_and_imports_below_a_change_of_the_environment_are_not_made(tmp_path):
    (tmp_path / "helper.py").write_text("x = 1")
    cells = [("", "import json\nimport helper\nfrom os import path"), ("", "import os\nos.environ['A'] = '1'\nimport csv")]
    parent = parent_for(read(write(tmp_path, cells)), sys.executable)
    try:
        assert parent.wait(60)
        assert parent._imports == ["import json", "from os import path", "import os"]
    finally:
        parent.close()


def test_a_run_goes_on_when_the_parent_is_gone(tmp_path, monkeypatch):
    parents = []
    monkeypatch.setattr(warm, "parent_for", lambda *a: parents.append(parent_for(*a)) or parents[-1])
    killed = []

    def kill(event):
        if type(event).__name__ == "StepFinished" and not killed:
            killed.append(parents[0]._process.pid)
            os.kill(killed[0], signal.SIGKILL)

    path = write(tmp_path, [("step:a", "x = 1"), ("step:b", "print(x)"), ("step:c", "print(x + 1)")])
    run = mlops_lab.load(path).run(tracking=False, cache=False, listener=kill, workers=1)
    assert killed and run.status == "done"
    assert outputs(run) == [[], ["1\n"], ["2\n"]]


def test_a_step_whose_kernel_ends_with_the_parent_runs_again(tmp_path):
    ends = """
import os, pathlib, time
if not pathlib.Path("ended").exists():
    pathlib.Path("ended").touch()
    os.kill(os.getppid(), 9)
    time.sleep(60)
print(x)"""
    path = write(tmp_path, [("step:a", "x = 1"), ("step:b", ends), ("step:c", "print(x + 1)")])
    events = []
    run = mlops_lab.load(path).run(tracking=False, cache=False, listener=events.append)
    assert (run.status, outputs(run)) == ("done", [[], ["1\n"], ["2\n"]])
    reasons = [event.reason for event in events if type(event).__name__ == "StepStarted" and event.step == "b"]
    assert reasons == ["the cache is off", "its kernel ended with the process that it was forked from"]


def test_nothing_is_left_when_the_parent_is_closed(tmp_path):
    parent = WarmParent(sys.executable, [], [], tmp_path)
    assert parent.wait(60)
    with open(os.devnull, "wb") as nowhere:
        order = {"folder": "/", "environment": dict(os.environ), "arguments": ["--version-of-nothing"]}
        process = warm.ForkedProcess(parent.socket, order, [nowhere.fileno()] * 2)
    assert process.wait(60) is not None
    pid = parent._process.pid
    parent.close()
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):
            break
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{pid}") and not os.path.exists(parent.socket)


def test_what_a_step_puts_into_packages_is_found_in_a_forked_kernel(tmp_path):
    pytest.importorskip("pandas")
    cells = [
        ("imports", "import gc, statistics\nimport pandas as pd"),
        (
            "step:put",
            "def double(self):\n    return self * 2\n"
            "@pd.api.extensions.register_series_accessor('counts')\nclass Counts:\n"
            "    def __init__(self, series): self.size = len(series)\n"
            "pd.Series.double = double\n"
            "pd.Series.twice = property(double)\n"
            "pd.Series.made = classmethod(lambda cls: cls([3]))\n"
            "statistics.mean = lambda values: 'patched'\n"
            "del double",
        ),
        ("step:again", "gc.freeze()\npd.Series.frozen = lambda self: 'put while frozen'"),
        (
            "step:use",
            "s = pd.Series([1])\n"
            "print(s.double()[0], s.twice[0], s.counts.size, pd.Series.made()[0], statistics.mean([1]), s.frozen())",
        ),
    ]
    run = mlops_lab.load(write(tmp_path, cells)).run(tracking=False, cache=False)
    assert outputs(run)[-1] == ["2 2 1 3 patched put while frozen\n"]
