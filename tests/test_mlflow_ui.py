"""The ways to MLflow: addresses of runs, its real UI on a real store, what steps log, and the search for runs."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shlex
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import nbformat as nbf
import pytest
from conftest import is_alive, notebook_node
from jupyter_client.manager import start_new_kernel
from typer.testing import CliRunner

import mlops_lab
from mlops_lab import mlflow_ui
from mlops_lab.cli import app
from mlops_lab.errors import UsageError
from mlops_lab.events import TrackingRun
from mlops_lab.mlflow_ui import Ui, address, place
from mlops_lab.tracking import ui_command

FIT = """
from sklearn.linear_model import LogisticRegression
import mlflow
for i in range(3):
    mlflow.log_metric("loss", 1 / (i + 1), step=i)
model = LogisticRegression().fit([[0], [1], [2], [3]], [0, 0, 1, 1])
second = LogisticRegression(C=many).fit([[0], [1], [2], [3]], [0, 1, 1, 1])
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[mlops_lab.Run]]:
    """A run of a notebook with autologging, and one without tracking."""
    folder = tmp_path_factory.mktemp("mlflow")
    cells = [("parameters", "many: int = 2"), ("step:fit", FIT), ("step:after", "print(model.coef_)")]
    nbf.write(notebook_node(cells, {"mlops_lab": {"autolog": True}}), folder / "nb.ipynb")
    pipeline = mlops_lab.load(folder / "nb.ipynb")
    return folder, [pipeline.run(), pipeline.run(many=3, tracking=False)]


def test_what_libraries_fit_is_logged_to_the_steps_run_with_its_curves_and_models(finished):
    folder, (run, untracked) = finished
    assert (run.status, untracked.status) == ("done", "done")
    step = run.state.steps["fit"]
    assert {"loss", "training_accuracy_score"} <= set(step.metrics)
    assert [value for _, value in step.points["loss"]] == pytest.approx([1, 1 / 2, 1 / 3])
    assert set(step.models) == {"model"}
    assert untracked.state.steps["fit"].tracking is None
    assert run.steps["after"].status == "done"


def test_a_search_finds_the_run_by_what_its_steps_logged(finished):
    folder, (run, untracked) = finished

    def found(where: str) -> list[str]:
        result = CliRunner().invoke(app, ["runs", str(folder), "--where", where, "--json"])
        assert result.exit_code == 0, result.output
        return [row["run"] for row in json.loads(result.stdout)]

    assert found("metrics.loss < 0.4") == [run.id]
    assert found("metrics.loss > 0.4") == []
    assert found("params.many = '3'") == [untracked.id]
    assert found("tags.`mlops_lab.status` = 'done'") == [untracked.id, run.id]
    wrong = CliRunner().invoke(app, ["runs", str(folder), "--where", "loss ~ 3"])
    assert wrong.exit_code == 2
    assert "--where 'loss ~ 3'" in wrong.stderr
    assert "Traceback" not in wrong.output


def test_the_ui_of_the_store_answers_is_shared_and_ends_with_who_opened_it(finished):
    folder, (run, _) = finished
    ui = Ui.open(folder)
    try:
        assert ui.process is not None
        assert Ui.open(folder).port == ui.port
        tracking = run.state.tracking
        assert tracking is not None
        ask = urllib.request.Request(f"{ui.url}/ajax-api/2.0/mlflow/runs/get?run_id={tracking.run_id}")
        with urllib.request.urlopen(ask) as answer:
            assert json.load(answer)["run"]["info"]["run_name"] == run.id
        with urllib.request.urlopen(f"{ui.url}/") as page:
            assert b"MLflow" in page.read()
        rebound = urllib.request.Request(f"{ui.url}/ajax-api/2.0/mlflow/runs/get", headers={"Host": "evil.example"})
        with pytest.raises(OSError, match="403"):
            urllib.request.urlopen(rebound)
    finally:
        ui.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{ui.url}/health", timeout=2)


def test_the_command_that_a_run_prints_serves_until_it_is_ended(finished):
    folder, _ = finished
    process = subprocess.Popen(
        [*shlex.split(ui_command(folder)), "--no-browser"], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = next(word for word in line.split() if word.startswith("http://127.0.0.1:"))
        deadline = time.monotonic() + 90
        while True:
            try:
                assert urllib.request.urlopen(f"{url}/health", timeout=2).status == 200
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.3)
    finally:
        process.terminate()
        process.wait(240)
    assert not is_alive(process.pid)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{url}/health", timeout=2)


def test_the_list_of_runs_in_a_notebook_leads_to_mlflow_by_a_click(finished):
    folder, (run, _) = finished
    manager, client = start_new_kernel(cwd=str(folder), env={**os.environ, "JPY_SESSION_NAME": str(folder / "nb.ipynb")})
    heard: list[dict[str, Any]] = []

    def states() -> dict[str, Any]:
        content = [m["content"]["data"].get("state", {}) for m in heard if m["msg_type"] in ("comm_open", "comm_msg")]
        return {name: value for state in content for name, value in state.items()}

    try:
        client.execute_interactive("%load_ext mlops_lab\n%mlops runs", output_hook=heard.append, timeout=90)
        assert run.id in "".join(m["content"]["text"] for m in heard if m["msg_type"] == "stream")
        assert (states()["by_click"], states()["port"]) == (True, 0)
        (comm,) = (m["content"]["comm_id"] for m in heard if "by_click" in m["content"].get("data", {}).get("state", {}))
        # What the page sends when the button is pressed.
        update = {"method": "update", "state": {"origin": "http://127.0.0.1:9999"}, "buffer_paths": []}
        client.shell_channel.send(client.session.msg("comm_msg", {"comm_id": comm, "data": update}))
        deadline = time.monotonic() + 120
        while not states()["port"]:
            assert time.monotonic() < deadline and not states().get("failure"), states()
            with contextlib.suppress(queue.Empty):
                heard.append(client.get_iopub_msg(timeout=1))
        with urllib.request.urlopen(f"http://127.0.0.1:{states()['port']}/health", timeout=10) as answer:
            assert answer.status == 200
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


ADDRESSES = {
    "http://me:secret@mlflow.example:5000/": "http://mlflow.example:5000",
    "https://mlflow.example/base": "https://mlflow.example/base",
    "https://mlflow.example/team/a/mlflow/": "https://mlflow.example/team/a/mlflow",
    "https://mlflow.example/base/#/experiments/3": "https://mlflow.example/base",
    "sqlite:////tmp/mlflow.db": "",
    "file:///tmp/mlruns": "",
    "databricks": "https://first.example",
    "databricks://other": "https://other.example",
    "databricks://nobody": "",
    "databricks-uc": "https://first.example",
    "databricks-uc://other": "https://other.example",
    "databricks://copied": "https://adb-1.example",
    "databricks://bare": "https://adb-2.example",
    "postgresql://me:secret@db.example/mlflow": "",
}


@pytest.mark.parametrize("uri", ADDRESSES)
def test_a_store_has_the_address_of_its_ui_and_never_a_password(uri, tmp_path, monkeypatch):
    config = tmp_path / "cfg"
    config.write_text(
        "[DEFAULT]\nhost = https://first.example/\ntoken = x%y\n[other]\nhost = https://other.example\n"
        "[copied]\nhost = https://adb-1.example/?o=123#job\n[bare]\nhost = adb-2.example\n"
    )
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(config))
    monkeypatch.delenv("DATABRICKS_HOST", raising=False)
    assert address(uri) == ADDRESSES[uri]


def test_the_workspace_of_the_environment_goes_before_the_file_and_a_profile_before_both(tmp_path, monkeypatch):
    config = tmp_path / "cfg"
    config.write_text("[DEFAULT]\nhost = https://first.example\n[other]\nhost = https://other.example\n")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(config))
    monkeypatch.setenv("DATABRICKS_HOST", "adb-3.example/")
    assert address("databricks") == "https://adb-3.example"
    assert address("databricks://other") == "https://other.example"
    monkeypatch.delenv("DATABRICKS_HOST")
    monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", "other")
    assert address("databricks") == "https://other.example"


def test_runs_and_models_have_their_places_below_it():
    def run(uri: str) -> TrackingRun:
        return TrackingRun(step="", run_id="abc", uri=uri, experiment_id="7")

    assert place(run("sqlite:///x")) == "/#/experiments/7/runs/abc"
    assert place(run("http://x"), "m-1") == "/#/experiments/7/models/m-1"
    assert place(run("databricks://p")) == "/ml/experiments/7/runs/abc"
    assert place(run("databricks-uc"), "m-1") == "/ml/experiments/7/models/m-1"


def test_a_folder_without_a_store_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UsageError, match="no MLflow store"):
        mlflow_ui.store_of(tmp_path)


def test_the_launcher_starts_the_command_on_the_servers_folder():
    from importlib.metadata import entry_points

    (point,) = [p for p in entry_points(group="jupyter_serverproxy_servers") if p.name == "mlops-lab-mlflow"]
    made: dict[str, Any] = point.load()()
    assert made["command"][3:6] == ["mlops_lab.cli", "mlflow", "."]
    assert Path(made["launcher_entry"]["icon_path"]).read_text().startswith("<svg")
