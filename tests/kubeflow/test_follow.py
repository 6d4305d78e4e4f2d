"""Runs on Kubeflow, followed through the same log and the same commands as runs here: outages, logs, gates, cancelling, going on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

import mlops_lab
from mlops_lab import api
from mlops_lab.errors import RunError, UsageError
from mlops_lab.targets.kubeflow import submit
from mlops_lab.targets.kubeflow.connections import Connection, Connections
from mlops_lab.targets.kubeflow.podlog import PodLog

from .cluster import CELLS, Pod, command, failed_run, kinds, later, printed, succeeds


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
    deadline = time.monotonic() + 300
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


@pytest.mark.parametrize("trouble", ["gone", "forbidden"])
def test_what_argo_keeps_of_logs_is_read_where_pods_are_gone_or_their_logs_not_to_be_seen(cluster, notebook, tmp_path, trouble):
    cluster.archive, cluster.logs_are_forbidden = {}, trouble == "forbidden"
    path = notebook(CELLS, {"mlops_lab": {"steps": {"total": {"retries": 1}}}})
    failure = {"kind": "error", "message": "OSError: flaky", "cell": 3}
    first = Pod("total", 3).begin().print("first\n").end(tmp_path, status="failed", failure=failure)
    second = Pod("total", 3).begin().print("second\n").end(tmp_path)

    def totals():
        for attempt, pod in ((1, first), (2, second)):
            cluster.task("total", "SUCCEEDED", pod.log, attempt=attempt, retried=True)
        cluster.pods.clear()

    def numbers():
        succeeds(cluster, tmp_path, "numbers", 2)()
        cluster.pods.clear()

    later(cluster, numbers, totals, cluster.end)
    run = mlops_lab.load(path).run(on="kubeflow", tracking=False)
    assert run.status == "done" and run.steps["total"].state.attempt == 2
    assert (printed(run, "numbers"), printed(run, "total")) == ("this is numbers\n", "first\nsecond\n")
    assert [c.outputs[0].data["text/html"] for c in run.notebook().cells if c.get("outputs")] == [
        "<b>numbers</b>",
        "<b>total</b>",
    ]
    assert not [message for message in run.state.messages if "stay on" in message.text]


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


def test_steps_called_like_nodes_of_argo_are_told_apart_from_them(cluster, notebook, tmp_path):
    path = notebook([("step:executor", "x = 1"), ("step:root", "y = x")])
    argo = [{"display_name": name, "state": state, "child_tasks": [{"pod_name": "flow-00001-123"}], "start_time": "2035-01-01T00:00:00Z"}
            for name, state in (("root", "RUNNING"), ("executor", "SUCCEEDED"), ("executor", "FAILED"))]  # fmt: skip
    later(cluster, succeeds(cluster, tmp_path, "executor", 1), lambda: cluster.run["run_details"]["task_details"].extend(argo),
          succeeds(cluster, tmp_path, "root", 2), cluster.end)  # fmt: skip
    run = mlops_lab.load(path).run(on="kubeflow", tracking=False)
    assert [step.status for step in run.steps.values()] == ["done", "done"]
    assert printed(run, "executor") == "this is executor\n" and printed(run, "root") == "this is root\n"


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
