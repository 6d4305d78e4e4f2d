"""Runs on Kubeflow and MLflow: what is tracked from here, and what comes back from there."""

from __future__ import annotations

import json

import nbformat

import mlops_lab
from mlops_lab.runtime import conflicts, handback
from mlops_lab.targets import Options
from mlops_lab.targets.kubeflow import prepare
from mlops_lab.targets.kubeflow.compile import _Compiler, compile_pipeline
from mlops_lab.targets.kubeflow.podlog import PodLog
from mlops_lab.tracking import Tracker

from .cluster import CELLS, Pod, later, succeeds


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

    store = f"sqlite:///{tmp_path / 'mlflow.db'}"  # stands for a server that pods can reach
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setattr(prepare, "is_reachable_from_afar", lambda uri: uri == store)
    metrics = Pod("total", 3).begin().say(type="metrics", step="total", values={"accuracy": 0.5}).end(tmp_path)
    later(
        cluster, succeeds(cluster, tmp_path, "numbers", 2), lambda: cluster.task("total", "SUCCEEDED", metrics.log), cluster.end
    )
    path = notebook([*CELLS[:2], ("step:total", "import mlflow\nmlflow.log_metric('m', sum(numbers))")])
    run = mlops_lab.load(path).run(on="kubeflow", experiment="there")
    assert run.status == "done" and run.metrics == {"accuracy": 0.5}
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("there").experiment_id
    found = {r.data.tags["mlflow.runName"]: r for r in client.search_runs([experiment])}
    assert set(found) == {run.id, "numbers", "total"} and {r.info.status for r in found.values()} == {"FINISHED"}
    assert "executed.ipynb" in [artifact.path for artifact in client.list_artifacts(found["total"].info.run_id)]
    executors = cluster.run["pipeline_spec"]["deploymentSpec"]["executors"]
    sent = {row["name"]: row["value"] for row in executors["exec-total"]["container"]["env"]}
    assert sent == {
        "MLFLOW_TRACKING_URI": store,
        "MLFLOW_RUN_ID": found["total"].info.run_id,
        "MLFLOW_EXPERIMENT_ID": experiment,
    }
    assert "env" not in executors["exec-numbers"]["container"]
    chooses = mlops_lab.load(notebook([("step:a", "import mlflow\nmlflow.set_experiment('mine')")])).plan
    tracker = Tracker(None, lambda event: None, store, "there")
    assert prepare.environments(chooses, tracker) == {"a": {"MLFLOW_TRACKING_URI": store}}


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


def test_books_of_a_notebooks_own_are_handed_from_step_to_step(run_all_locally, notebook):
    """Without a server, and where KFP's plugin has a run of its own for each task."""
    cells = [
        ("", "import mlflow\nNAME = 'mine'\nmlflow.set_experiment(NAME)"),
        ("step:open", "mlflow.start_run(run_name='long')\nmlflow.log_param('p', 1)"),
        ("step:close", "print(mlflow.active_run().info.run_name)\nmlflow.end_run()\nprint(len(mlflow.search_runs()))"),
        ("step:other", "z = 3"),  # which nothing that is done with MLflow concerns
    ]
    environment = {"env": {"MLFLOW_RUN_ID": "of-the-plugin", "MLFLOW_EXPERIMENT_ID": "7"}}
    path = notebook(cells, {"mlops_lab": {"steps": {"open": environment, "close": environment}}})
    (run,) = run_all_locally([mlops_lab.load(path).plan])
    assert all(run.has(step) for step in run.compiled.steps), run.log[-3000:]
    assert [o.text for cell in run.executed("close").cells for o in cell.get("outputs", ())] == ["long\n1\n"]


def test_a_step_that_asks_a_store_in_files_is_refused_where_unrelated_steps_logged(notebook):
    """Each has logged into a copy of its own, and one of them would be all that is there."""
    code = "import mlflow\nwith mlflow.start_run():\n    mlflow.log_metric('m', 1)"
    plan = mlops_lab.load(notebook([("step:a", code), ("step:b", code), ("step:c", "print(mlflow.search_runs())")])).plan
    assert "a" not in plan.sources["b"] and plan.ask_mlflow == {"c"}
    logged = {name: {"above": [], "reads": {}, "writes": {"mlflow.db": name}} for name in "ab"}
    told = [compiler.content(plan[step], compiler.interfaces[step]) for compiler in [_Compiler(plan, False)] for step in "abc"]
    assert all(row["own_books"] and row["asks_mlflow"] for row in told)
    assert "ML202: step 'a' writes the file mlflow.db, and step 'b'" in conflicts.conflict(logged, told[2]["asks_mlflow"])
    assert conflicts.conflict(logged) == ""  # where nobody asks, what is logged in a pod stays there
    plain = mlops_lab.load(notebook([("step:a", code)])).plan
    assert "own_books" not in _Compiler(plain, False).content(plain["a"], _Compiler(plain, False).interfaces["a"])


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
