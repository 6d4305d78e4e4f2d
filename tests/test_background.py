"""Runs as processes of their own: how they begin, and what is told when they don't."""

from __future__ import annotations

import json
import os
import time

import pytest

from mlops_lab import background
from mlops_lab.api import Run
from mlops_lab.errors import CheckError, RunError, StartTimeout, UsageError


def ended(run):
    deadline = time.monotonic() + 60
    while (report := background.exit_report(run)) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return report


def test_a_run_is_a_process_of_its_own_with_the_environment_it_is_given(notebook):
    path = notebook([("step:a", "import os\nprint(os.environ['GREETING'], os.getsid(os.getppid()))")])
    run = background.start(path, environment={"GREETING": "hello"}, tracking=False)
    assert ended(run) == {"code": 0, "text": ""}
    assert Run(run).status == "done"
    text = Run(run).notebook().cells[0].outputs[0].text.split()
    assert text[0] == "hello"
    assert int(text[1]) != os.getsid(0)
    assert (run.path / "executed.ipynb").exists()


def test_what_is_wrong_is_raised_as_if_it_had_run_here(notebook):
    path = notebook([("step:a", "x +")])
    with pytest.raises(CheckError) as error:
        background.start(path)
    assert [found.code for found in error.value.diagnostics] == ["ML101"]
    with pytest.raises(UsageError, match="no such file"):
        background.start(path.with_name("missing.ipynb"))
    assert not list((path.parent / ".mlops_lab").glob("runs/*"))


def test_a_process_that_says_nothing_is_given_up_or_quoted(notebook, monkeypatch):
    path = notebook([("step:a", "x = 1")])
    with pytest.raises(StartTimeout, match=r"after 0\.01 s"):
        background.start(path, timeout=0.01)
    # A package that can't be imported in the process that is started.
    broken = path.parent / "broken"
    broken.mkdir()
    (broken / "msgspec.py").write_text("raise ImportError('damaged installation')")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    with pytest.raises(RunError, match="damaged installation"):
        background.start(path)


def test_a_report_that_is_damaged_is_none(tmp_path):
    from mlops_lab.runs import RunFolder

    assert background.exit_report(RunFolder(tmp_path)) is None
    for text in ("{", json.dumps([1])):
        (tmp_path / "exit.json").write_text(text)
        assert background.exit_report(RunFolder(tmp_path)) is None
