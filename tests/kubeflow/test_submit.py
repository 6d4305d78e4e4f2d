"""Runs on Kubeflow through the same log and the same commands as runs here, on a server that follows KFP's specification.

What the cluster does is told by each test; in the last one it is done by `kfp.local`, with what was sent to the server.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

import mlops_lab
from mlops_lab import api
from mlops_lab.cli import app
from mlops_lab.errors import RunError, UsageError
from mlops_lab.runtime import handback
from mlops_lab.targets import Options
from mlops_lab.targets.kubeflow import follow, prepare, submit
from mlops_lab.targets.kubeflow.compile import compile_pipeline
from mlops_lab.targets.kubeflow.connections import Connection, Connections
from mlops_lab.targets.kubeflow.podlog import PodLog

from .server import Cluster, serve

TOKEN = "s3cret-token"
CELLS = [
    ("parameters", "limit = 5"),
    ("step:numbers", "numbers = list(range(limit))\nprint('have', len(numbers))"),
    ("step:total", "total = sum(numbers)\nprint('total', total)"),
]


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(follow, "SHORTEST", 0.02)
    monkeypatch.setattr(follow, "LONGEST", 0.1)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("MLOPS_LAB_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("MLOPS_LAB_KUBEFLOW", raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)
    made = Cluster(token=TOKEN)
    server = serve(made)
    made.url = server.url
    Connections().put(Connection("lab", server.url, auth="token", secret=TOKEN))
    yield made
    server.close()
    assert made.violations == []
    for path in tmp_path.rglob("*"):  # what gives access stands in the user's configuration and nowhere else
        if path.is_file() and path.parent.name != "config":
            assert TOKEN.encode() not in path.read_bytes(), path


class Pod:
    """What a step's pod writes, as `runtime/remote.py` writes it."""

    def __init__(self, step, cell=2):
        self.step, self.cell = step, cell
        self.log = "Collecting pandas==2.2\n"
        self.say(type="step_started", step=step, attempt=1)

    def say(self, **event):
        self.log += f"::mlops-lab {json.dumps(event)}\n"
        return self

    def begin(self):
        return self.say(type="cell_started", step=self.step, attempt=1, cell=self.cell, position=1, total=1)

    def print(self, text):
        self.log += text
        return self

    def end(self, tmp_path, **fields):
        self.say(type="cell_finished", step=self.step, attempt=1, cell=self.cell, seconds=0.1)
        cell = nbformat.v4.new_code_cell(f"# {self.step}", metadata={"mlops_lab": {"cell": self.cell}}, execution_count=1)
        cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": f"<b>{self.step}</b>"})]
        path = tmp_path / f"{self.step}.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
        handback.notebook(path, lambda event: self.say(**event))
        return self.say(
            **{"type": "step_finished", "step": self.step, "attempt": 1, "seconds": 0.1, "status": "done", **fields}
        )


def later(cluster, *actions, pause=0.15, runs=1):
    """Do something on the cluster once so many runs are there, one after another."""

    def act():
        while len(cluster.runs) < runs:
            time.sleep(0.02)
        for action in actions:
            time.sleep(pause)
            action()

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def succeeds(cluster, tmp_path, step, cell, **fields):
    pod = Pod(step, cell).begin().print(f"this is {step}\n").end(tmp_path, **fields)
    return lambda: cluster.task(step, "SUCCEEDED", pod.log)


def command(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def printed(run, step):
    return "".join(e.output["text"] for e in run.events() if e.__struct_config__.tag == "cell_output" and e.step == step)


def kinds(run):
    return [e.__struct_config__.tag for e in run.events()]


def test_a_run_is_sent_and_followed_to_its_end(cluster, notebook, tmp_path):
    path = notebook(CELLS)
    outputs = {"numbers": {"version": "4711", "type": "list", "preview": "7 items", "bytes": 99}}
    later(
        cluster,
        succeeds(cluster, tmp_path, "numbers", 2, outputs=outputs),
        succeeds(cluster, tmp_path, "total", 3),
        cluster.end,
    )
    run = mlops_lab.load(path).run(limit=7, on="kubeflow", tracking=False)
    assert run.status == "done" and run.state.target == "kubeflow"
    assert cluster.run["runtime_config"] == {"parameters": {"limit": 7}}
    assert cluster.run["display_name"].endswith(run.id)
    assert [e.seq for e in run.events()] == list(range(1, len(kinds(run)) + 1))
    assert printed(run, "numbers") == "this is numbers\n"
    assert run.steps["numbers"].outputs.describe()["numbers"].preview == "7 items"
    with pytest.raises(UsageError, match="is on the engine that ran step 'numbers'"):
        run.steps["numbers"].outputs["numbers"]
    shown = [cell.outputs[0].data["text/html"] for cell in run.notebook().cells if cell.get("outputs")]
    assert shown == ["<b>numbers</b>", "<b>total</b>"]
    listed = json.loads(command("runs", tmp_path, "--json").stdout)
    assert (listed[0]["status"], listed[0]["target"], listed[0]["steps_done"]) == ("done", "kubeflow", 2)


def test_what_is_printed_is_seen_while_the_step_runs(cluster, notebook, tmp_path):
    pod = Pod("numbers").begin()
    seen = []

    def first():
        cluster.task("numbers", "RUNNING", pod.print("one\ntw").log)

    def second():
        seen.append([e.output["text"] for e in mlops_lab.find_run("last", tmp_path).events()
                     if e.__struct_config__.tag == "cell_output"])  # fmt: skip
        cluster.task("numbers", "RUNNING", pod.print("o\nthree\n").log)

    rest = [lambda: cluster.task("numbers", "SUCCEEDED", pod.end(tmp_path).log), succeeds(cluster, tmp_path, "total", 3)]
    later(cluster, first, lambda: time.sleep(0.3), second, *rest, cluster.end, pause=0.3)
    run = mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False)
    assert seen == [["one\n"]]
    assert printed(run, "numbers") == "one\ntwo\nthree\n"


@pytest.mark.parametrize("trouble", ["drop", "drop-after", 503, 429])
def test_a_run_is_sent_once_whatever_happens_on_the_way(cluster, notebook, tmp_path, trouble):
    later(cluster, succeeds(cluster, tmp_path, "numbers", 2), succeeds(cluster, tmp_path, "total", 3), cluster.end)
    create = Cluster.run_service_create_run
    times = []

    def note(self, *arguments, **named):
        times.append(1)
        return create(self, *arguments, **named)

    cluster.run_service_create_run = note.__get__(cluster)
    cluster.trouble_at = ("POST", "/apis/v2beta1/runs", [trouble])
    run = mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False)
    assert run.status == "done" and len(times) == len(cluster.runs) == 1
    assert cluster.calls.count(("POST", "/apis/v2beta1/runs")) == (1 if trouble == "drop-after" else 2)


def test_an_outage_while_following_loses_nothing(cluster, notebook, tmp_path):
    pod = Pod("numbers").begin()
    later(
        cluster,
        lambda: cluster.task("numbers", "RUNNING", pod.print("before\n").log),
        lambda: cluster.trouble(*["drop", 503, "drop", 500, 429, "drop-after"] * 2),
        lambda: cluster.task("numbers", "SUCCEEDED", pod.print("during\n").end(tmp_path).log),
        succeeds(cluster, tmp_path, "total", 3),
        cluster.end,
    )
    run = mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False)
    assert run.status == "done"
    assert printed(run, "numbers") == "before\nduring\n"
    assert kinds(run).count("step_finished") == 2 and kinds(run).count("cell_started") == 2
    texts = [message.text for message in run.state.messages]
    assert any("is followed again once it can be" in text for text in texts) and texts[-1].endswith("can be reached again")


def test_another_process_goes_on_where_a_killed_one_stopped(cluster, notebook, tmp_path):
    path = notebook(CELLS)
    pod = Pod("numbers").begin().print("one\n")
    process = subprocess.Popen([sys.executable, "-m", "mlops_lab.cli", "run", str(path), "--on", "kubeflow", "--no-tracking"],
                               stdout=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 60
    while not cluster.runs and time.monotonic() < deadline:
        time.sleep(0.05)
    cluster.task("numbers", "RUNNING", pod.log)
    while not (tmp_path / ".mlops_lab").exists() or not printed(mlops_lab.find_run("last", tmp_path), "numbers"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = mlops_lab.find_run("last", tmp_path)
    assert run.status == "running"  # there, where nobody has killed it
    cluster.task("numbers", "RUNNING", pod.print("two\n").log)
    shown = command("logs", "last", "-C", tmp_path)  # a look in passing
    assert shown.exit_code == 0 and "two" in shown.stdout
    cluster.task("numbers", "SUCCEEDED", pod.print("three\n").end(tmp_path).log)
    succeeds(cluster, tmp_path, "total", 3)()
    cluster.end()
    shown = command("logs", "last", "-f", "-C", tmp_path)
    assert "run done" in shown.stdout
    assert printed(run, "numbers") == "one\ntwo\nthree\n" and kinds(run).count("cell_started") == 2
    assert run.status == "done" and kinds(run)[-1] == "run_finished"
    assert [e.seq for e in run.events()] == list(range(1, len(kinds(run)) + 1))


def test_the_widget_shows_a_run_that_nobody_follows_as_running_and_asks_for_its_news(cluster, notebook, tmp_path, monkeypatch):
    from mlops_lab.widget import run_widget

    monkeypatch.setattr(run_widget, "_ELSEWHERE", 0.1)
    with monkeypatch.context() as patched:
        patched.setattr(submit, "_follow", lambda *_: None)  # as if the process that sent it had been killed
        run = mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False)
    widget = run_widget.RunWidget(run)
    assert not run.folder.is_active and widget.picture["status"] == "running"
    succeeds(cluster, tmp_path, "numbers", 2)()
    succeeds(cluster, tmp_path, "total", 3)()
    cluster.end()
    deadline = time.monotonic() + 60
    while widget.picture["status"] == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert widget.picture["status"] == "done"
    assert [step["status"] for step in widget.picture["steps"]] == ["done", "done"]


def test_room_is_not_made_where_a_run_still_goes_on_elsewhere(cluster, notebook, tmp_path, monkeypatch):
    monkeypatch.setattr(submit, "_follow", lambda *_: None)
    path = notebook(CELLS)
    for _ in range(3):
        mlops_lab.load(path).run(on="kubeflow", tracking=False)
    before = sorted(p.name for p in (tmp_path / ".mlops_lab" / "runs").iterdir())
    assert command("gc", "--keep", "0", tmp_path).exit_code == 0
    assert sorted(p.name for p in (tmp_path / ".mlops_lab" / "runs").iterdir()) == before


def test_runs_asks_how_runs_stand_and_says_when_it_can_not(cluster, notebook, tmp_path, monkeypatch):
    monkeypatch.setattr(submit, "_follow", lambda *_: None)  # as if the process that sent it had been killed
    mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False)
    cluster.task("numbers", "RUNNING", Pod("numbers").begin().log)
    assert json.loads(command("runs", tmp_path, "--json").stdout)[0]["status"] == "running"
    cluster.trouble("drop")
    result = command("runs", tmp_path)
    assert result.exit_code == 0 and "Not up to date" in result.stderr and "running" in result.stdout
    succeeds(cluster, tmp_path, "numbers", 2)()
    cluster.task("total", "FAILED", "Killed\n")
    cluster.end("FAILED")
    # The log of a pod that has just been killed may still be on its way.
    assert json.loads(command("runs", tmp_path, "--json").stdout)[0]["status"] == "running"
    cluster.task("total", "FAILED", end_time="2026-01-01T00:00:00Z")
    assert json.loads(command("runs", tmp_path, "--json").stdout)[0]["status"] == "failed"


def test_a_failed_step_says_what_the_notebook_said(cluster, notebook, tmp_path):
    failure = {"kind": "error", "message": "ZeroDivisionError: division by zero", "cell": 3, "code": ""}
    pod = Pod("total", 3).begin().print("dividing\n").end(tmp_path, status="failed", failure=failure)
    later(cluster, succeeds(cluster, tmp_path, "numbers", 2), lambda: cluster.task("total", "FAILED", pod.log),
          lambda: cluster.end("FAILED"))  # fmt: skip
    result = command("run", notebook(CELLS), "--on", "kubeflow", "--no-tracking")
    assert result.exit_code == 1
    assert "ZeroDivisionError: division by zero" in result.output
    assert mlops_lab.find_run("last", tmp_path).steps["total"].state.failure.cell == 3


def test_a_pod_that_dies_without_a_word_is_told_with_its_last_lines(cluster, notebook, tmp_path):
    log = "ERROR: No matching distribution found for pandas==99\n"
    later(cluster, lambda: cluster.task("numbers", "FAILED", log), lambda: cluster.end("FAILED"))
    run = mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False)
    failure = run.steps["numbers"].state.failure
    assert run.status == "failed" and failure.kind == "died"
    assert "before the step began" in failure.message and "No matching distribution" in failure.message
    assert run.steps["total"].status == "skipped"


def test_a_gate_rejects_the_run(cluster, notebook, tmp_path):
    path = notebook([*CELLS, ("step:check gate", "assert total < 5")])
    failure = {"kind": "rejected", "message": "AssertionError", "cell": 4, "code": ""}
    pod = Pod("check", 4).begin().end(tmp_path, status="rejected", failure=failure)
    later(cluster, succeeds(cluster, tmp_path, "numbers", 2), succeeds(cluster, tmp_path, "total", 3),
          lambda: cluster.task("check", "FAILED", pod.log), lambda: cluster.end("FAILED"))  # fmt: skip
    result = command("run", path, "--on", "kubeflow", "--no-tracking")
    assert result.exit_code == 3, result.output


def test_what_a_gate_holds_back_names_the_gate(cluster, notebook, tmp_path):
    path = notebook([*CELLS, ("step:check gate", "assert total < 5"), ("step:use", "print(total)\nok = 1"), ("step:more", "print(ok)")])  # fmt: skip
    failure = {"kind": "rejected", "message": "AssertionError", "cell": 4, "code": ""}
    pod = Pod("check", 4).begin().end(tmp_path, status="rejected", failure=failure)
    later(cluster, succeeds(cluster, tmp_path, "numbers", 2), succeeds(cluster, tmp_path, "total", 3),
          lambda: cluster.task("check", "FAILED", pod.log), lambda: cluster.end("FAILED"))  # fmt: skip
    run = mlops_lab.load(path).run(on="kubeflow", tracking=False)
    skipped = {e.step: e.because for e in run.events() if e.__struct_config__.tag == "step_skipped"}
    assert run.status == "rejected" and run.steps["check"].status == "rejected"
    assert skipped == dict.fromkeys(("use", "more"), "step 'check' rejected the run")


def test_a_gate_whose_log_can_not_be_read_says_that_it_stopped_the_run(cluster, notebook, tmp_path):
    cluster.logs_are_forbidden = True
    path = notebook([*CELLS[:2], ("step:check gate", "assert len(numbers) < 5")])
    later(cluster, lambda: cluster.task("numbers", "SUCCEEDED"),
          lambda: cluster.task("check", "FAILED", end_time="2026-01-01T00:00:00Z"), lambda: cluster.end("FAILED"))  # fmt: skip
    run = mlops_lab.load(path).run(on="kubeflow", tracking=False)
    assert run.status == "failed"
    assert run.steps["check"].state.failure.message.startswith("this gate ended the run for what depends on it")


def test_one_of_several_connections_is_chosen_by_its_name(cluster, notebook, tmp_path):
    Connections().put(Connection("gone", "http://127.0.0.1:1"))  # the default one
    done = [succeeds(cluster, tmp_path, "numbers", 2), succeeds(cluster, tmp_path, "total", 3), cluster.end]
    later(cluster, *done)
    assert command("run", notebook(CELLS), "--on", "kubeflow:lab", "--no-tracking").exit_code == 0
    run = mlops_lab.find_run("last", tmp_path)
    assert run.state.target == "kubeflow" and json.loads(run.folder.remote.read_text())["connection"] == "lab"
    assert command("check", notebook(CELLS), "--on", "kubeflow:lab").exit_code == 0
    assert command("schedule", notebook(CELLS), "--cron", "@daily", "--on", "kubeflow:lab").exit_code == 0
    assert len(cluster.recurring) == 1
    for wrong, words in (("kubeflow:lap", "did you mean 'lab'"), ("kubeflow:", "name one of its connections"),
                         ("local:lab", "local is one place")):  # fmt: skip
        result = command("run", notebook(CELLS), "--on", wrong)
        assert result.exit_code == 2 and words in " ".join(result.output.split())


def test_a_run_goes_on_where_it_was(cluster, notebook, tmp_path):
    failed = failed_run(cluster, notebook(CELLS), tmp_path)
    Connections().put(Connection("gone", "http://127.0.0.1:1"))  # the default one by now
    notebook([*CELLS[:2], ("step:total", "total = sum(numbers) + 0")])
    later(cluster, succeeds(cluster, tmp_path, "numbers", 2), succeeds(cluster, tmp_path, "total", 3), cluster.end, runs=2)
    assert command("resume", failed.id, "-C", tmp_path).exit_code == 0


def test_steps_from_kfps_cache_are_told_as_cached(cluster, notebook, tmp_path):
    def skip():
        cluster.task("numbers", "SUCCEEDED")
        cluster.run["run_details"]["task_details"].append({"display_name": "executor", "state": "SKIPPED"})

    later(cluster, skip, succeeds(cluster, tmp_path, "total", 3), cluster.end)
    run = mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False)
    assert [run.steps[name].status for name in ("numbers", "total")] == ["cached", "done"]
    assert run.status == "done"


def test_without_the_right_to_see_logs_states_still_come(cluster, notebook, tmp_path):
    cluster.logs_are_forbidden = True
    later(cluster, lambda: cluster.task("numbers", "RUNNING"), succeeds(cluster, tmp_path, "numbers", 2),
          succeeds(cluster, tmp_path, "total", 3), cluster.end)  # fmt: skip
    run = mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False)
    assert run.status == "done" and [step.status for step in run.steps.values()] == ["done", "done"]
    assert sum("can't be read" in message.text for message in run.state.messages) == 1


def test_attempts_that_kfp_makes_are_told_one_by_one(cluster, notebook, tmp_path):
    path = notebook(CELLS, {"mlops_lab": {"steps": {"numbers": {"retries": 2}}}})
    failure = {"kind": "error", "message": "OSError: flaky", "cell": 2}
    first = Pod("numbers").begin().print("first\n").end(tmp_path, status="failed", failure=failure)
    second = Pod("numbers").begin().print("second\n").end(tmp_path)
    later(
        cluster,
        lambda: cluster.task("numbers", "RUNNING", first.log, attempt=1, retried=True),
        lambda: cluster.task("numbers", "SUCCEEDED", second.log, attempt=2, retried=True),
        succeeds(cluster, tmp_path, "total", 3),
        cluster.end,
    )
    run = mlops_lab.load(path).run(on="kubeflow", tracking=False)
    state = run.steps["numbers"].state
    assert (run.status, state.status, state.attempt) == ("done", "done", 2)
    assert printed(run, "numbers") == "first\nsecond\n"
    ended = [e for e in run.events() if e.__struct_config__.tag == "step_finished" and e.step == "numbers"]
    assert [(e.attempt, e.status) for e in ended] == [(1, "failed"), (2, "done")] and "flaky" in ended[0].failure.message


def test_a_run_is_cancelled_by_a_command_while_another_process_follows_it(cluster, notebook, tmp_path):
    later(cluster, lambda: cluster.task("numbers", "RUNNING", Pod("numbers").begin().log),
          lambda: subprocess.run([sys.executable, "-m", "mlops_lab.cli", "cancel", "last", "-C", tmp_path],
                                 check=True, stdout=subprocess.DEVNULL))  # fmt: skip
    run = mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False)
    assert run.status == "cancelled" and cluster.run["state"] == "CANCELED"
    assert [step.status for step in run.steps.values()] == ["cancelled", "skipped"]


def test_a_run_that_nobody_follows_is_cancelled_too(cluster, notebook, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(submit, "_follow", lambda *_: None)
        mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False)
    cluster.task("numbers", "RUNNING", Pod("numbers").begin().log)
    result = command("cancel", "last", "-C", tmp_path)
    assert result.exit_code == 0 and "Cancelled run" in result.output
    assert mlops_lab.find_run("last", tmp_path).status == "cancelled" and cluster.run["state"] == "CANCELED"
    assert command("cancel", "last", "-C", tmp_path).exit_code == 2


def test_interrupting_the_program_cancels_the_run_there(cluster, notebook, tmp_path):
    process = subprocess.Popen([sys.executable, "-m", "mlops_lab.cli", "run", str(notebook(CELLS)), "--on", "kubeflow"],
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    deadline = time.monotonic() + 60
    while not cluster.runs and time.monotonic() < deadline:
        time.sleep(0.05)
    cluster.task("numbers", "RUNNING", Pod("numbers").begin().log)
    while "cell_started" not in kinds(mlops_lab.find_run("last", tmp_path)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] and process.returncode == 130
    assert cluster.run["state"] == "CANCELED" and mlops_lab.find_run("last", tmp_path).status == "cancelled"


def test_a_run_is_waited_for_and_cancelled_from_python(cluster, notebook, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(submit, "_follow", lambda *_: None)
        run = mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False)
    later(cluster, succeeds(cluster, tmp_path, "numbers", 2), succeeds(cluster, tmp_path, "total", 3), cluster.end)
    seen = []
    assert run.wait(listener=seen.append).status == "done" and seen[-1].status == "done"
    with monkeypatch.context() as patched:
        patched.setattr(submit, "_follow", lambda *_: None)
        run = mlops_lab.load(tmp_path / "nb.ipynb").run(on="kubeflow", tracking=False)
    run.cancel()
    assert run.status == "cancelled"


def test_what_can_not_work_there_is_said_before_it_is_sent(cluster, notebook):
    path = notebook([("step:read", "text = open('/home/ada/data.csv').read()")])
    result = command("run", path, "--on", "kubeflow")
    assert result.exit_code == 2 and "ML301" in result.output and not cluster.runs
    assert command("schedule", path, "--cron", "@daily").exit_code == 2 and not cluster.recurring


def failed_run(cluster, path, tmp_path):
    failure = {"kind": "error", "message": "OSError: gone", "cell": 3}
    pod = Pod("total", 3).begin().end(tmp_path, status="failed", failure=failure)
    later(cluster, succeeds(cluster, tmp_path, "numbers", 2), lambda: cluster.task("total", "FAILED", pod.log),
          lambda: cluster.end("FAILED"))  # fmt: skip
    run = mlops_lab.load(path).run(on="kubeflow", tracking=False, limit=6)
    assert run.status == "failed"
    return run


def test_an_unchanged_notebook_goes_on_in_the_same_run_there(cluster, notebook, tmp_path):
    failed = failed_run(cluster, notebook(CELLS), tmp_path)
    time.sleep(1.1)

    def again():
        while cluster.run["state"] != "RUNNING":  # until it is asked to go on
            time.sleep(0.02)
        details = cluster.run["run_details"]["task_details"]
        details[:] = [d for d in details if d["display_name"] != "total"]
        succeeds(cluster, tmp_path, "total", 3)()

    later(cluster, again, cluster.end, pause=0.6)
    result = command("resume", failed.id, "-C", tmp_path)
    assert result.exit_code == 0, result.output
    run = mlops_lab.find_run("last", tmp_path)
    assert len(cluster.runs) == 1 and run.id != failed.id and run.state.resumed_from == failed.id
    assert [run.steps[name].status for name in ("numbers", "total")] == ["cached", "done"]
    assert run.steps["numbers"].state.from_run == failed.id and run.state.parameters["limit"] == 6


def test_a_changed_notebook_is_sent_anew_when_it_goes_on(cluster, notebook, tmp_path):
    path = notebook(CELLS)
    failed = failed_run(cluster, path, tmp_path)
    notebook([*CELLS[:2], ("step:total", "total = sum(numbers) + 0")])
    later(cluster, succeeds(cluster, tmp_path, "numbers", 2), succeeds(cluster, tmp_path, "total", 3), cluster.end, runs=2)
    assert command("resume", failed.id, "-C", tmp_path).exit_code == 0
    assert len(cluster.runs) == 2 and cluster.run["runtime_config"] == {"parameters": {"limit": 6}}


def test_a_login_that_ends_on_the_way_leaves_the_run_to_be_followed_later(cluster, notebook, tmp_path):
    pod = Pod("numbers").begin().print("one\n")
    later(cluster, lambda: cluster.task("numbers", "RUNNING", pod.log), lambda: setattr(cluster, "token", "renewed"))
    with pytest.raises(RunError, match="does not know who you are(.|\n)*The run itself goes on.*--follow"):
        mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False)
    run = mlops_lab.find_run("last", tmp_path)
    assert run.status == "running"
    with pytest.raises(RunError, match="does not know who you are"):
        api.to_resume(run.folder)
    Connections().put(Connection("lab", cluster.url, auth="token", secret="renewed"))
    with pytest.raises(UsageError, match="still in progress"):
        api.to_resume(run.folder)
    cluster.task("numbers", "SUCCEEDED", pod.end(tmp_path).log)
    succeeds(cluster, tmp_path, "total", 3)()
    cluster.end()
    assert command("logs", run.id, "-f", "-C", tmp_path).exit_code == 0
    assert run.status == "done" and printed(run, "numbers") == "one\n"


def test_kfps_own_mlflow_run_is_shown_and_no_second_one_is_opened(cluster, notebook, tmp_path):
    entries = {"experiment_id": {"value": "7"}, "root_run_id": {"value": "abc123"}, "endpoint": {"value": "http://mlflow:5000"}}
    cluster.plugins_output = {"mlflow": {"state": "PLUGIN_SUCCEEDED", "entries": entries}}
    path = notebook(CELLS)
    for number in (1, 2):  # the first run tells that the plugin is there
        later(
            cluster, *(succeeds(cluster, tmp_path, s, c) for s, c in (("numbers", 2), ("total", 3))), cluster.end, runs=number
        )
        run = mlops_lab.load(path).run(on="kubeflow", tracking=number == 2)
        assert (run.state.tracking.run_id, run.state.tracking.experiment_id) == ("abc123", "7")
    assert cluster.run["plugins_input"] == {"mlflow": {"experiment_name": "nb"}}
    assert not (tmp_path / ".mlops_lab" / "mlflow.db").exists()


def test_a_run_is_tracked_in_the_users_mlflow_as_a_local_one_is(cluster, notebook, tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    metrics = Pod("total", 3).begin().say(type="metrics", step="total", values={"accuracy": 0.5}).end(tmp_path)
    later(
        cluster, succeeds(cluster, tmp_path, "numbers", 2), lambda: cluster.task("total", "SUCCEEDED", metrics.log), cluster.end
    )
    run = mlops_lab.load(notebook(CELLS)).run(on="kubeflow", experiment="there")
    assert run.status == "done" and run.metrics == {"accuracy": 0.5}
    client = MlflowClient(f"sqlite:///{tmp_path / '.mlops_lab' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("there").experiment_id
    found = {r.data.tags["mlflow.runName"]: r for r in client.search_runs([experiment])}
    assert set(found) == {run.id, "numbers", "total"} and {r.info.status for r in found.values()} == {"FINISHED"}
    assert "executed.ipynb" in [artifact.path for artifact in client.list_artifacts(found["total"].info.run_id)]


def test_a_step_logs_its_notebook_to_the_mlflow_run_that_was_opened_for_it(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment("kfp", artifact_location=(tmp_path / "artifacts").as_uri())
    opened = client.create_run(experiment).info.run_id
    client.log_metric(opened, "from_the_cells", 2.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_RUN_ID", opened)
    executed = tmp_path / "executed.ipynb"
    executed.write_text("{}")
    told = []
    handback.to_mlflow(executed, {"accuracy": 0.5}, {"type": "step_finished", "step": "total", "status": "done"}, told.append)
    assert [artifact.path for artifact in client.list_artifacts(opened)] == ["executed.ipynb"]
    assert len(client.search_runs([experiment])) == 1
    pod = Pod("total").begin().end(tmp_path)
    for event in told:
        pod.say(**event)
    events = PodLog("total", 1).read(pod.log.encode(), True)
    assert [e.run_id for e in events if hasattr(e, "run_id")] == [opened]
    assert [e.values for e in events if hasattr(e, "values")] == [{"accuracy": 0.5, "from_the_cells": 2.0}]


def test_what_steps_left_in_mlflow_comes_back_where_their_logs_can_not_be_read(cluster, notebook, tmp_path, monkeypatch):
    from mlflow import MlflowClient

    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(store)
    experiment = client.create_experiment("kfp", artifact_location=(tmp_path / "artifacts").as_uri())
    root = client.create_run(experiment).info.run_id
    entries = {
        "experiment_id": {"value": experiment},
        "root_run_id": {"value": root},
        "endpoint": {"value": "http://mlflow.kubeflow:5000"},
    }
    cluster.plugins_output = {"mlflow": {"state": "PLUGIN_SUCCEEDED", "entries": entries}}
    cluster.logs_are_forbidden = True
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)

    def leave(step, cell, state, metrics, **ended):
        """As the plugin opens a run for a task, and the runtime logs to it."""
        opened = client.create_run(experiment, tags={"mlflow.parentRunId": root}).info.run_id
        path = tmp_path / step / "executed.ipynb"
        path.parent.mkdir()
        cell = nbformat.v4.new_code_cell(f"# {step}", metadata={"mlops_lab": {"cell": cell}}, execution_count=1)
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"this is {step}\n")]
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
        with monkeypatch.context() as patched:
            patched.setenv("MLFLOW_RUN_ID", opened)
            handback.to_mlflow(
                path, metrics, {"type": "step_finished", "step": step, "attempt": 1, **ended}, lambda event: None
            )
        cluster.task(step, state, end_time="2026-01-01T00:00:00Z")

    outputs = {"numbers": {"version": "4711", "type": "list", "preview": "5 items", "bytes": 99}}
    failure = {"kind": "rejected", "message": "AssertionError: too many", "cell": 4}
    path = notebook([*CELLS[:2], ("step:check gate", "assert len(numbers) < 5, 'too many'")])
    later(cluster, lambda: leave("numbers", 2, "SUCCEEDED", {"accuracy": 0.5}, status="done", outputs=outputs),
          lambda: leave("check", 3, "FAILED", {}, status="rejected", failure=failure), lambda: cluster.end("FAILED"))  # fmt: skip
    run = mlops_lab.load(path).run(on="kubeflow", tracking=False)
    assert run.status == "rejected" and run.steps["check"].state.failure.message == "AssertionError: too many"
    assert run.metrics == {"accuracy": 0.5} and run.steps["numbers"].outputs.describe()["numbers"].preview == "5 items"
    texts = [output.text for cell in run.notebook().cells for output in cell.get("outputs", ())]
    assert texts == ["this is numbers\n", "this is check\n"]
    assert run.steps["numbers"].state.tracking.experiment_id == experiment


def test_mlflow_that_is_down_is_told_once_and_states_still_come(cluster, notebook, tmp_path, monkeypatch):
    entries = {"experiment_id": {"value": "7"}, "root_run_id": {"value": "abc123"}, "endpoint": {"value": "http://127.0.0.1:1"}}
    cluster.plugins_output = {"mlflow": {"state": "PLUGIN_SUCCEEDED", "entries": entries}}
    cluster.logs_are_forbidden = True
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ended = {"end_time": "2026-01-01T00:00:00Z"}
    later(cluster, lambda: cluster.task("numbers", "SUCCEEDED", **ended), lambda: cluster.task("total", "SUCCEEDED", **ended),
          cluster.end)  # fmt: skip
    run = mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False)
    assert run.status == "done" and [step.status for step in run.steps.values()] == ["done", "done"]
    assert sum("MLflow can't be asked" in message.text for message in run.state.messages) == 1


def test_how_a_step_ended_has_room_in_a_tag():
    failure = {"kind": "error", "message": "x" * 20_000, "cell": 1, "code": ""}
    ended = {"type": "step_finished", "step": "a", "status": "failed", "failure": failure, "outputs": {}}
    kept = json.loads(handback._short(ended))
    assert len(json.dumps(kept)) < 5_000 and kept["failure"]["message"] == "x" * 625 and kept["status"] == "failed"


def test_steps_that_use_mlflow_are_told_their_runs_where_the_store_can_be_reached(notebook):
    path = notebook([*CELLS[:2], ("step:total", "import mlflow\nmlflow.log_metric('m', sum(numbers))")],
                    {"mlops_lab": {"steps": {"total": {"env": {"MLFLOW_EXPERIMENT_ID": "mine"}}}}})  # fmt: skip
    plan = mlops_lab.load(path).plan
    compiled = compile_pipeline(plan)
    sent = prepare.prepared(compiled, Options(), {"total": {"MLFLOW_RUN_ID": "4711", "MLFLOW_EXPERIMENT_ID": "1"}})
    spec = sent.get("pipeline_spec", sent)
    label = spec["components"][spec["root"]["dag"]["tasks"]["total"]["componentRef"]["name"]]["executorLabel"]
    env = {e["name"]: e["value"] for e in spec["deploymentSpec"]["executors"][label]["container"]["env"]}
    assert env["MLFLOW_RUN_ID"] == "4711" and env["MLFLOW_EXPERIMENT_ID"] == "mine"
    assert "4711" not in compiled.yaml  # what is compiled stays the same for each run
    afar = [uri for uri in ("http://mlflow.example.com", "http://localhost:5000", "sqlite:///x.db", "http://127.0.0.1:5000")
            if prepare.is_reachable_from_afar(uri)]  # fmt: skip
    assert afar == ["http://mlflow.example.com"]


def test_steps_called_like_nodes_of_argo_are_told_apart_from_them(cluster, notebook, tmp_path):
    path = notebook([("step:executor", "x = 1"), ("step:root", "y = x")])
    argo = [{"display_name": name, "state": state, "child_tasks": [{"pod_name": "flow-00001-123"}], "start_time": "2035-01-01T00:00:00Z"}
            for name, state in (("root", "RUNNING"), ("executor", "SUCCEEDED"), ("executor", "FAILED"))]  # fmt: skip
    later(cluster, succeeds(cluster, tmp_path, "executor", 1), lambda: cluster.run["run_details"]["task_details"].extend(argo),
          succeeds(cluster, tmp_path, "root", 2), cluster.end)  # fmt: skip
    run = mlops_lab.load(path).run(on="kubeflow", tracking=False)
    assert [step.status for step in run.steps.values()] == ["done", "done"]
    assert printed(run, "executor") == "this is executor\n" and printed(run, "root") == "this is root\n"


FOUR = [*CELLS, ("step:other", "other = len(numbers)"), ("step:report", "print(total, other)")]


@pytest.mark.parametrize(
    ("options", "sent", "anew"),
    [
        (["--to", "total"], ["numbers", "total"], []),
        (["--only", "total"], ["numbers", "total"], ["total"]),
        (["--from", "other"], ["numbers", "total", "other", "report"], ["other", "report"]),
        (["--from", "total", "--to", "total"], ["numbers", "total"], ["total"]),
        (["--only", "total", "--only", "other"], ["numbers", "total", "other"], ["total", "other"]),
    ],
)
def test_parts_of_a_pipeline_are_sent_with_what_they_need(cluster, notebook, tmp_path, options, sent, anew):
    cells = dict(zip(["numbers", "total", "other", "report"], range(2, 6), strict=True))
    later(cluster, *(succeeds(cluster, tmp_path, step, cells[step]) for step in sent), cluster.end, pause=0.05)
    path = notebook(FOUR)
    result = command("run", path, "--on", "kubeflow", "--no-tracking", *options)
    assert result.exit_code == 0, result.output
    whole = compile_pipeline(mlops_lab.load(path).plan).spec
    spec = cluster.run["pipeline_spec"].get("pipeline_spec", cluster.run["pipeline_spec"])
    tasks = spec["root"]["dag"]["tasks"]
    finish = ["finish"] if len(options) == 4 and options[2] == "--only" else []
    assert sorted(tasks) == sorted(sent + finish)
    assert [name for name in sent if not tasks[name].get("cachingOptions", {}).get("enableCache")] == anew
    for name in sent:  # to the byte as ever: KFP's cache has what ran before
        executor = f"exec-{name}"
        assert spec["deploymentSpec"]["executors"][executor] == whole["deploymentSpec"]["executors"][executor]
        assert tasks[name].get("inputs") == whole["root"]["dag"]["tasks"][name].get("inputs")
    run = mlops_lab.find_run("last", tmp_path)
    assert {name: step.status for name, step in run.steps.items()} == {
        name: "done" if name in sent else "skipped" for name in cells
    }  # fmt: skip


def test_learning_is_left_to_runs_here(cluster, notebook):
    result = command("run", notebook(CELLS), "--on", "kubeflow", "--learn")
    assert result.exit_code == 2 and "Run once with --learn and without --on" in " ".join(result.output.split())
    assert not cluster.runs


def test_an_unknown_part_of_a_pipeline_is_refused(cluster, notebook):
    result = command("run", notebook(CELLS), "--on", "kubeflow", "--only", "totl")
    assert result.exit_code == 2 and "did you mean 'total'" in result.output and not cluster.runs


def test_a_refused_run_leaves_nothing_to_follow(cluster, notebook, tmp_path):
    cluster.trouble_at = ("POST", "/apis/v2beta1/runs", [403])
    result = command("run", notebook(CELLS), "--on", "kubeflow", "--no-tracking")
    assert result.exit_code == 1 and "The run was not started" in result.output
    assert json.loads(command("runs", tmp_path, "--json").stdout)[0]["status"] == "failed"
    assert "does not let you do this" in command("logs", "last", "-C", tmp_path).stdout


@pytest.mark.parametrize("arrived", [True, False])
def test_a_run_whose_sender_died_before_the_answer_is_found_or_ended(cluster, notebook, tmp_path, monkeypatch, arrived):
    def die(*_):
        raise SystemExit(1)

    with monkeypatch.context() as patched:
        patched.setattr(submit, "_sent" if arrived else "_found", die)
        if not arrived:
            cluster.trouble_at = ("POST", "/apis/v2beta1/runs", ["drop"])
        with pytest.raises(SystemExit):
            mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False)
    assert len(cluster.runs) == arrived
    row = json.loads(command("runs", tmp_path, "--json").stdout)[0]
    assert row["status"] == ("running" if arrived else "failed")
    if arrived:
        assert command("cancel", "last", "-C", tmp_path).exit_code == 0 and cluster.run["state"] == "CANCELED"


@pytest.mark.parametrize("arrived", [True, False])
def test_interrupting_the_sending_leaves_nothing_behind(cluster, notebook, tmp_path, monkeypatch, arrived):
    create = submit.Client.create_run

    def interrupted(self, *arguments):
        if arrived:
            create(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(submit.Client, "create_run", interrupted)
    run = mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False)
    assert run.status == "cancelled" and [r["state"] for r in cluster.runs.values()] == ["CANCELED"] * arrived


def test_caching_can_be_turned_off_for_a_run(cluster, notebook, tmp_path):
    later(cluster, succeeds(cluster, tmp_path, "numbers", 2), succeeds(cluster, tmp_path, "total", 3), cluster.end)
    mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False, cache=False)
    spec = cluster.run["pipeline_spec"]
    tasks = spec.get("pipeline_spec", spec)["root"]["dag"]["tasks"]
    assert [task.get("cachingOptions") for task in tasks.values()] == [{}] * len(tasks)


def test_a_schedule_is_made_replaced_paused_and_ended(cluster, notebook, tmp_path):
    path = notebook(CELLS)
    assert command("schedule", path, "--cron", "0 6 * * mon-fri", "-p", "limit=9").exit_code == 0
    first = next(iter(cluster.recurring.values()))
    assert first["trigger"]["cron_schedule"]["cron"] == "0 0 6 * * mon-fri" and first["no_catchup"] is True
    assert first["runtime_config"] == {"parameters": {"limit": 9}} and first["mode"] == "ENABLE"
    assert command("schedule", path, "--every", "6h").exit_code == 0
    assert [r["trigger"]["periodic_schedule"]["interval_second"] for r in cluster.recurring.values()] == ["21600"]
    assert command("schedule", "--pause", "nb").exit_code == 0
    (row,) = json.loads(command("schedule", "--json").stdout)
    assert (row["name"], row["status"], row["when"]) == ("nb", "disabled", "every 6:00:00")
    assert command("schedule", "--continue", "nb").exit_code == 0
    assert command("schedule", "--remove", "nb").exit_code == 0 and not cluster.recurring
    assert "no schedule 'nb'" in command("schedule", "--remove", "nb").output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cron", "0 25 * * *"], "'25' is no hour"),
        (["--cron", "0 6 * *"], "has 4 fields, not 5"),
        (["--every", "often"], "is no period"),
        ([], "Say when"),
        (["--cron", "@daily", "--every", "6h"], "one of the two"),
        (["--cron", "@daily", "--on", "local"], "schedules run on kubeflow"),
        (["--cron", "@daily", "-p", "limt=3"], "did you mean 'limit'"),
    ],
)
def test_a_wrong_schedule_is_refused(cluster, notebook, arguments, words):
    result = command("schedule", notebook(CELLS), *arguments)
    assert result.exit_code == 2 and words in " ".join(result.output.split()) and not cluster.recurring


def test_a_log_read_in_any_pieces_gives_the_same(tmp_path):
    pod = Pod("numbers").begin().print("a\nb\n::mlops-lab not json\nno end here ").say(type="metrics", values={"m": 1.0})
    content = pod.print("ü\n").end(tmp_path).log.encode()
    whole = PodLog("numbers", 1)
    expected = whole.read(content, True)
    text = "".join(e.output["text"] for e in expected if hasattr(e, "output"))
    assert text == "a\nb\nno end here \nü\n" and whole.notebook
    for size in (1, 7, 100):
        pieces, found = PodLog("numbers", 1), []
        for end in range(0, len(content) + size, size):
            found += pieces.read(content[:end], end >= len(content))
        assert "".join(e.output["text"] for e in found if hasattr(e, "output")) == text
        assert [type(e) for e in found if not hasattr(e, "output")] == [type(e) for e in expected if not hasattr(e, "output")]
        resumed = PodLog("numbers", 1, found[: len(found) // 2])
        assert (
            "".join(e.output["text"] for e in [*found[: len(found) // 2], *resumed.read(content, True)] if hasattr(e, "output"))
            == text
        )


def test_what_was_sent_runs_and_comes_back(cluster, notebook, tmp_path, bare_python, monkeypatch):
    """The pipeline that the server got, run by KFP's own code where MLOps Lab can't be imported."""
    report = "from IPython.display import HTML\ntotal = sum(numbers)\nprint('total', total)\nHTML(f'<b>{total}</b>')"
    path = notebook([*CELLS[:2], ("step:total", report)])
    folder = tmp_path / "there"
    folder.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"TMPDIR": str(folder), "NO_COLOR": "1"}
    later(cluster, lambda: cluster.execute(bare_python, Path(__file__).with_name("bare.py"), folder, environment))
    run = mlops_lab.load(path).run(on="kubeflow", tracking=False, limit=4)
    assert run.status == "done", [m.text for m in run.state.messages]
    assert printed(run, "numbers") == "have 4\n" and printed(run, "total").startswith("total 6\n")
    local = mlops_lab.load(path).run(tracking=False, limit=4)
    assert [c.get("outputs") for c in run.notebook().cells] == [c.get("outputs") for c in local.notebook().cells]
    assert run.steps["total"].outputs.describe()["total"].preview == "6"
