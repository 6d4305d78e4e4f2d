"""The tracker process beside a log that is written by hand: what it does when things are slow, down, gone or odd."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import nbformat
import pytest
from conftest import notebook_node

import mlops_lab
from mlops_lab import events as ev
from mlops_lab.runs import Home
from mlops_lab.tracking import Tracker, default_uri, keeps_own_books, ui_command, without_password


class Beside:
    """A run's log and its tracker, in a folder; `heard` is what the tracker told the engine."""

    def __init__(self, folder, **started):
        self.folder = folder
        home = Home.of(folder)
        home.prepare()
        self.run = home.new_run()
        self.notebook = folder / "nb.ipynb"
        nbformat.write(notebook_node([("step:a", "1")]), self.notebook)
        nbformat.write(notebook_node([("step:a", "1")]), self.run.notebook)
        self.log = ev.EventLog(self.run.log)
        self.heard: list = []
        self.add(ev.RunStarted(run=self.run.id, notebook=str(self.notebook), digest="d", pipeline="nb", steps=["a"], **started))
        self.tracker = Tracker.start(self.run.path, experiment="exp", notebook=self.notebook, on_message=self.hear)

    def add(self, *events):
        for event in events:
            self.log.append(event)

    def hear(self, event):
        self.heard.append(event)
        self.log.append(event)

    def end(self, status="done"):
        self.tracker.drain(200)
        self.add(ev.RunFinished(status=status, seconds=1))
        self.log.close()
        self.tracker.finish(60)
        return self

    def warnings(self):
        return [e.text for e in self.heard if isinstance(e, ev.Message)]

    def found(self):
        """MLflow's runs by name, the parent's being the run's id."""
        client = mlflow.MlflowClient(default_uri(self.folder))
        return {r.info.run_name: r for e in client.search_experiments() for r in client.search_runs([e.experiment_id])}

    def executed(self, source="1"):
        path = self.run.path / "executed.ipynb"
        nbformat.write(notebook_node([source]), path)
        return str(path)


def python(code, folder, environment):
    return subprocess.run(
        [sys.executable, "-P", "-c", code], env={**os.environ, **environment}, cwd=folder, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """One run, cancelled, in a folder whose name and files are unlucky, with attempts of each kind."""
    folder = tmp_path_factory.mktemp("odd") / "my földer #1 100%"
    folder.mkdir()
    (folder / "select.py").write_text("raise SystemExit('not the one to import')")
    before = os.getcwd()
    os.chdir(folder)
    try:
        beside = Beside(folder, parameters={"größe": "v" * 7000})
    finally:
        os.chdir(before)
    beside.kernels = []
    for attempt, value in ((1, 1.0), (2, 2.0)):
        environment = beside.tracker.environment("a", attempt)
        beside.add(ev.StepStarted(step="a", attempt=attempt, notebook=beside.executed()))
        code = f"import mlflow\nmlflow.log_metric('m', {value})\nmlflow.log_metric('only_{attempt}', 1)"
        beside.kernels.append(python(code, folder, environment))
        beside.add(ev.StepFinished(step="a", attempt=attempt, status="done", seconds=1, inputs={"x": "sha" * 20}))
        if attempt == 1:
            time.sleep(5)  # what it told of this attempt would come before the next event
            beside.add(ev.StepOvertaken(step="a", attempt=1, because="x changed"))
    beside.add(
        ev.StepCommitted(step="a", attempt=2),
        ev.StepCached(step="c", from_run="earlier", notebook=beside.executed(), inputs={"y": "f" * 64}),
        ev.StepStarted(step="open", attempt=1),
    )
    return beside.end("cancelled")


def test_a_file_of_the_users_does_not_take_the_place_of_a_library(odd):
    assert [k.returncode for k in odd.kernels] == [0, 0], odd.kernels
    assert odd.warnings() == []


def test_metrics_of_an_overtaken_attempt_are_never_told(odd):
    assert [e.values for e in odd.heard if isinstance(e, ev.Metrics)] == [{"m": 2.0, "only_2": 1.0}]


def test_attempts_that_nobody_ends_end_with_the_run(odd):
    found = odd.found()
    assert found["open"].info.status == "KILLED"
    assert found[odd.run.id].info.status == "KILLED"
    assert found[odd.run.id].data.tags["mlops_lab.status"] == "cancelled"


def test_a_cached_step_has_its_notebook_its_inputs_and_a_link(odd):
    run = odd.found()["c"]
    client = mlflow.MlflowClient(default_uri(odd.folder))
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {"executed.ipynb", "executed.html"}
    assert [(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs] == [("y", "f" * 36)]
    assert run.info.run_id in {e.run_id for e in odd.heard if isinstance(e, ev.TrackingRun)}
    assert run.data.metrics == {}


def test_times_are_those_of_the_log_not_of_the_tracker(odd):
    events = list(odd.run.events())
    parent = odd.found()[odd.run.id].info
    assert parent.start_time == int(events[0].time * 1000)
    assert parent.end_time == int(events[-1].time * 1000)


def test_the_log_ends_with_the_runs_end_however_late_the_tracker_is(tmp_path):
    beside = Beside(tmp_path)
    beside.tracker.drain(0.1)  # it is still importing MLflow
    beside.add(ev.RunFinished(status="done", seconds=1))
    beside.log.close()
    beside.tracker.finish(100)
    assert isinstance(list(beside.run.events())[-1], ev.RunFinished)
    assert len(beside.heard) == 1 and "had not taken everything" in beside.warnings()[0]
    assert beside.found()[beside.run.id].info.status == "FINISHED"


def test_a_run_whose_engine_is_gone_is_killed_with_its_steps(tmp_path):
    beside = Beside(tmp_path)
    beside.add(ev.StepStarted(step="a", attempt=1))
    assert "MLFLOW_RUN_ID" in beside.tracker.environment("a", 1)
    beside.tracker._process.stdin.close()
    beside.tracker._process.wait(60)
    assert {r.info.status for r in beside.found().values()} == {"KILLED"}


def test_a_tracker_that_dies_is_reported_once(tmp_path):
    beside = Beside(tmp_path)
    beside.tracker._process.kill()
    started = time.monotonic()
    assert "MLFLOW_RUN_ID" not in beside.tracker.environment("a", 1)
    beside.end()
    assert len(beside.warnings()) == 1
    assert time.monotonic() - started < 10


def test_a_store_that_is_down_does_not_keep_a_step_waiting(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
    beside = Beside(tmp_path)
    beside.tracker.environment("a", 1, timeout=300)
    started = time.monotonic()
    assert "MLFLOW_RUN_ID" not in beside.tracker.environment("a", 2, timeout=300)
    beside.end()
    assert time.monotonic() - started < 15
    assert len(beside.warnings()) == 1 and "can't be reached" in beside.warnings()[0]
    assert "secret" not in beside.run.log.read_text()


def test_what_one_artifact_costs_is_that_artifact(tmp_path):
    artifacts = Home.of(tmp_path).folder / "mlartifacts"
    artifacts.parent.mkdir()
    artifacts.write_text("not a folder")
    beside = Beside(tmp_path, parameters={"rate": 1})
    beside.add(
        ev.StepStarted(step="a", attempt=1, notebook=beside.executed()),
        ev.StepFinished(step="a", attempt=1, status="done", seconds=1),
    )
    found = beside.end().found()
    assert {name: r.info.status for name, r in found.items()} == {beside.run.id: "FINISHED", "a": "FINISHED"}
    assert found[beside.run.id].data.params == {"rate": "1"}
    assert len([e for e in beside.heard if isinstance(e, ev.TrackingRun)]) == 2
    assert len(beside.warnings()) == 1 and "has not taken everything" in beside.warnings()[0]


def test_two_runs_may_make_the_store_at_once(tmp_path):
    both = [Beside(tmp_path), Beside(tmp_path)]
    for beside in both:
        assert "MLFLOW_RUN_ID" in beside.tracker.environment("a", 1)
    for beside in both:
        beside.end()
    found = both[0].found()
    assert all(found[b.run.id].info.status == "FINISHED" and b.warnings() == [] for b in both)


CHOOSES = "with mlflow.start_run():\n    mlflow.log_metric('m', 1)"


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        (None, f"import mlflow\nmlflow.set_tracking_uri('sqlite:///mine.db')\n{CHOOSES}"),
        ("sqlite:///relative.db", f"import mlflow\n{CHOOSES}"),
    ],
    ids=["own store", "relative store"],
)
def test_cells_that_work_by_hand_work_in_a_step(notebook, monkeypatch, tmp_path_factory, uri, source):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    if uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    run = mlops_lab.load(notebook([("step:a", source)])).run()
    assert run.status == "done", run.steps["a"].state.failure


def test_the_users_own_experiment_id_is_not_contradicted(monkeypatch):
    tracker = Tracker(None, lambda event: None, "sqlite:///x.db", "exp")
    assert tracker.base_environment()["MLFLOW_EXPERIMENT_NAME"] == "exp"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    assert "MLFLOW_EXPERIMENT_NAME" not in tracker.base_environment()


def test_the_command_to_see_the_runs_can_be_pasted_and_shows_no_password(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    command = shlex.split(ui_command(tmp_path / "my folder"))
    assert Path(command[0]).name == "mlops-lab" and command[1] == "mlflow"
    assert Path(command[2]).absolute().resolve() == tmp_path / "my folder"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@host/db")
    assert "secret" not in ui_command(tmp_path)  # the command reads the environment itself
    assert without_password("at http://me:secret@host:1/x: no") == "at http://host:1/x: no"


def test_code_that_names_its_own_experiment_or_store_or_looks_through_one_is_recognised():
    assert all(
        map(keeps_own_books, ["mlflow.set_experiment('x')", "set_tracking_uri ('x')", "best = mlflow.search_runs().iloc[0]"])
    )
    assert not keeps_own_books("mlflow.log_metric('set_experiment', 1)")


def test_the_engines_side_does_not_import_mlflow():
    code = "import sys, mlops_lab.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
