"""Runs that are sent to Kubeflow, on a server that follows KFP's specification: whole, in parts, by a schedule.

What the cluster does is told by each test; in the last one it is done by `kfp.local`, with what was sent to the server.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import mlops_lab
from mlops_lab.errors import UsageError
from mlops_lab.targets.kubeflow import submit
from mlops_lab.targets.kubeflow.compile import compile_pipeline
from mlops_lab.targets.kubeflow.connections import Connection, Connections

from .cluster import CELLS, command, kinds, later, printed, succeeds
from .server import Cluster


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


def test_what_can_not_work_there_is_said_before_it_is_sent(cluster, notebook):
    path = notebook([("step:read", "text = open('/home/ada/data.csv').read()")])
    result = command("run", path, "--on", "kubeflow")
    assert result.exit_code == 2 and "ML301" in result.output and not cluster.runs
    assert command("schedule", path, "--cron", "@daily").exit_code == 2 and not cluster.recurring


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
