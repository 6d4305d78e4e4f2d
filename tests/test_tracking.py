"""Tracking with a real MLflow store (SQLite) and the real tracker process."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

import mlflow
import nbformat
import pytest

import mlops_lab
from mlops_lab import events as ev
from mlops_lab.api import Run
from mlops_lab.runs import Home
from mlops_lab.tracking import Tracker


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two runs of one notebook with metrics, a step that is overtaken, and a failing step.

    The second one, from the cache, begins while MLflow still takes what the first one left: the notebook is free by then.
    """
    from conftest import notebook_node

    folder = tmp_path_factory.mktemp("tracked")
    cells = [
        ("parameters", "rate = 0.5"),
        ("step:a", "import operator, time\nx = [1]"),
        ("step:b", "time.sleep(1.5)\nok = operator.setitem(x, 0, rate)"),
        ("step:c", "print(x)"),
        ("step:train", "import mlflow\nmlflow.log_metric('auc', 0.9)\nmlflow.log_param('depth', 3)"),
        ("step:bad", "1 / 0"),
    ]
    path = folder / "nb.ipynb"
    nbformat.write(notebook_node(cells), path)
    pipeline = mlops_lab.load(path)
    begun: list[Future[Run]] = []
    drain = Tracker.drain

    def later(tracker: Tracker, timeout: float) -> None:
        if not begun:
            begun.append(pool.submit(pipeline.run, workers=4, rate=0.7))
            while len(Home.of(folder).list()) < 2 and not begun[0].done():
                time.sleep(0.05)
        drain(tracker, timeout)

    with ThreadPoolExecutor() as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tracker, "drain", later)
        runs = [pipeline.run(workers=4, rate=0.7), begun[0].result()]
    assert not any(isinstance(e, ev.Message) and e.level == "warning" for run in runs for e in run.events())
    client = mlflow.MlflowClient(f"sqlite:///{Home.of(folder).folder / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "nb"]
    return runs, client, client.search_runs([experiment.experiment_id])


def of_run(found, run):
    """The MLflow parent of a run of ours, and its nested runs by step."""
    parent = next(r for r in found if r.data.tags.get("mlops_lab.run") == run.id)
    nested: dict[str, list] = {}
    for each in found:
        if each.data.tags.get("mlflow.parentRunId") == parent.info.run_id:
            nested.setdefault(each.data.tags["mlops_lab.step"], []).append(each)
    return parent, nested


def test_a_parent_run_has_parameters_the_notebook_and_the_environment(finished):
    runs, client, found = finished
    parent, _ = of_run(found, runs[0])
    assert parent.info.run_id == runs[0].state.tracking.run_id
    assert parent.info.status == "FAILED"
    assert parent.data.params["rate"] == "0.7"
    assert parent.data.tags["mlops_lab.status"] == "failed"
    assert {a.path for a in client.list_artifacts(parent.info.run_id)} >= {"notebook", "requirements.txt"}


def test_metrics_logged_in_a_cell_land_on_the_steps_run(finished):
    runs, client, found = finished
    _, nested = of_run(found, runs[0])
    (train,) = nested["train"]
    assert train.data.metrics == {"auc": 0.9}
    assert train.data.params == {"depth": "3"}
    assert train.info.status == "FINISHED"
    assert runs[0].metrics == {"auc": 0.9}
    assert {a.path for a in client.list_artifacts(train.info.run_id)} == {"executed.ipynb", "executed.html"}


def test_failed_and_overtaken_attempts_are_marked(finished):
    runs, _, found = finished
    _, nested = of_run(found, runs[0])
    (bad,) = nested["bad"]
    assert (bad.info.status, bad.data.tags["mlops_lab.failure"]) == ("FAILED", "ZeroDivisionError: division by zero")
    overtaken = [r for r in nested["c"] if "mlops_lab.overtaken" in r.data.tags]
    assert [r.info.status for r in overtaken] == ["KILLED"]
    assert len(nested["c"]) == 2


def test_inputs_are_datasets_with_digests(finished):
    runs, client, found = finished
    _, nested = of_run(found, runs[0])
    inputs = client.get_run(nested["b"][0].info.run_id).inputs.dataset_inputs
    assert {i.dataset.name for i in inputs} == {"x"}
    assert all(len(i.dataset.digest) == 36 for i in inputs)


def test_cached_steps_are_shown_as_of_their_run_and_log_nothing_as_new(finished):
    runs, _, found = finished
    _, nested = of_run(found, runs[1])
    (train,) = nested["train"]
    assert train.data.tags["mlops_lab.cached_from"] == runs[0].id
    assert train.data.metrics == {}
    assert runs[1].state.steps["train"].status == "cached"


def test_tracking_that_is_down_is_reported_once_and_fails_nothing(notebook, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the discard port: nobody listens
    started = time.monotonic()
    run = mlops_lab.load(
        notebook([("step:a", "print(1)"), ("step:b", "import os\nprint(os.environ['MLFLOW_TRACKING_URI'])")])
    ).run()
    assert run.status == "done"
    warnings = [e for e in run.events() if isinstance(e, ev.Message) and e.level == "warning"]
    assert len(warnings) == 1
    assert "can't be reached" in warnings[0].text
    assert warnings[0].text.endswith("Connection refused")  # and not the layers of a client's error around it
    assert time.monotonic() - started < 120


def test_a_notebook_that_keeps_books_of_its_own_leaves_in_the_store_what_it_leaves_from_top_to_bottom(notebook):
    """An experiment by a variable, a run that goes on over steps, and a search that finds no run of ours."""
    path = notebook(
        [
            ("", "import mlflow\nNAME = 'mine'\nexperiment = mlflow.set_experiment(NAME)"),
            ("step:a", "mlflow.start_run(run_name='long')\nmlflow.log_param('p', 1)"),
            ("step:b", "mlflow.log_metric('m', 1.0)\nname = mlflow.active_run().info.run_name"),
            ("step:c", "mlflow.end_run()\nbefore = len(mlflow.search_runs())"),
            ("step:d", "mlflow.log_metric('left_open', 2.0)"),
        ]
    )
    run = mlops_lab.load(path).run()
    assert run.status == "done"
    assert (run.steps["b"].outputs["name"], run.steps["c"].outputs["before"]) == ("long", 1)
    assert (
        run.state.steps["c"].reason == "it asks MLflow's store"
    )  # which others write to as well: it is never taken from the cache
    client = mlflow.MlflowClient(f"sqlite:///{Home.of(path.parent).folder / 'mlflow.db'}")
    made = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert [(r.info.status, r.data.params, r.data.metrics) for r in made] == [
        ("FINISHED", {}, {"left_open": 2.0}),
        ("FINISHED", {"p": "1"}, {"m": 1.0}),
    ]
