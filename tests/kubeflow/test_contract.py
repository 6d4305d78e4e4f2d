"""Our calls to Kubeflow Pipelines against a server that is held to its specification: what passes, what fails, and how."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from mlops_lab.targets.kubeflow import client as client_module
from mlops_lab.targets.kubeflow.client import Client, KubeflowError, Unavailable
from mlops_lab.targets.kubeflow.connections import Connection
from mlops_lab.targets.kubeflow.podlog import pods_of

from .server import Cluster, serve


@pytest.fixture
def cluster():
    made = Cluster()
    server = serve(made)
    made.url = server.url
    yield made
    server.close()


@pytest.fixture
def client(cluster):
    return Client(Connection("lab", cluster.url), (2, 1))


def start(client, name="run", **parameters):
    return client.create_run(name, client.experiment("e"), {"root": {}}, parameters, "Notebook nb.ipynb")


def test_every_call_follows_the_specification(cluster, client):
    client.check()
    client.tracks_in_mlflow()
    made = start(client, limit=5, text="ä", flags=[1.5, None])
    assert client.find_run("run", made.experiment_id).run_id == made.run_id
    assert client.find_run("other", made.experiment_id) is None
    cluster.task("train", "RUNNING", "hello\n")
    found = client.run(made.run_id)
    assert str(found.state) == "RUNNING" and found.runtime_config.parameters == {"limit": 5, "text": "ä", "flags": [1.5, None]}
    child = next(d for d in found.run_details.task_details if d.display_name == "train").child_tasks[0].pod_name
    assert next(client.log(made.run_id, pod) for pod in pods_of("train", [child], 0, 1)) == b"hello\n"
    assert client.log(made.run_id, "no-such-pod") is None
    assert client.archived_log(made.run_id, child) is None
    cluster.archive = {}
    cluster.task("train", "SUCCEEDED", "hello\nbye\n")
    assert client.archived_log(made.run_id, child) == b"hello\nbye\n"
    client.terminate(made.run_id)
    cluster.end("CANCELED")
    client.retry(made.run_id)
    models = client.models
    trigger = models.V2beta1Trigger(cron_schedule=models.V2beta1CronSchedule(cron="0 0 6 * * *"))
    recurring = client.create_recurring(models.V2beta1RecurringRun(display_name="daily", trigger=trigger, mode="ENABLE"))
    for action in ("disable", "enable", "delete"):
        client.change_recurring(recurring.recurring_run_id, action)
    assert list(client.list_recurring()) == []
    assert cluster.violations == []


def test_a_request_that_is_not_as_specified_is_refused(cluster):
    body = json.dumps({"display_name": 3, "unheard_of": True}).encode()
    request = urllib.request.Request(f"{cluster.url}/apis/v2beta1/runs?color=red", body, method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 400
    assert set(cluster.violations) == {
        "query color is not known to run_service_create_run",
        "body.display_name is no str: 3",
        "body.unheard_of is not in V2beta1Run",
    }


def test_an_answer_that_is_not_as_specified_is_noticed(cluster, client):
    start(client)
    cluster.run["state"] = "EXPLODED"
    client.run(cluster.run["run_id"])
    assert "answer of run_service_get_run.state is not one of" in cluster.violations[0]


@pytest.mark.parametrize(
    ("trouble", "kind", "words"),
    [
        (401, KubeflowError, "does not know who you are"),
        (403, KubeflowError, "does not let you do this"),
        (404, KubeflowError, "has no such thing"),
        (409, KubeflowError, "refused"),
        (429, Unavailable, "asks for fewer calls"),
        (500, Unavailable, "has trouble (HTTP 500)"),
        (503, Unavailable, "has trouble (HTTP 503)"),
        ("slow", Unavailable, "timed out"),
        ("drop", Unavailable, "can't be reached"),
        ("login page", KubeflowError, "does not answer as Kubeflow Pipelines does"),
    ],
)
def test_each_trouble_is_told_as_what_it_is(cluster, client, trouble, kind, words):
    made = start(client)
    cluster.trouble(trouble)
    with pytest.raises(KubeflowError) as caught:
        client.run(made.run_id)
    assert type(caught.value) is kind and words in str(caught.value)
    assert cluster.calls.count(("GET", f"/apis/v2beta1/runs/{made.run_id}")) == 1  # who calls decides when to try again
    assert str(client.run(made.run_id).state) == "PENDING"


def test_an_overloaded_server_says_how_long_to_wait(cluster, client):
    cluster.trouble(429)
    with pytest.raises(Unavailable) as caught:
        client.check()
    assert caught.value.wait == 1.0


def test_a_server_that_is_gone_is_told_in_words(client):
    gone = Client(Connection("lab", "http://127.0.0.1:1"))
    with pytest.raises(Unavailable, match=r"^lab \(http://127.0.0.1:1\) can't be reached: .*Connection refused$"):
        gone.check()


def test_lists_are_read_to_their_last_page(cluster, client, monkeypatch):
    monkeypatch.setattr(client_module, "_PAGE", 2)
    models = client.models
    for number in range(5):
        client.create_recurring(models.V2beta1RecurringRun(display_name=f"s{number}", mode="ENABLE"))
        start(client, f"run-{number}")
    assert [r.display_name for r in client.list_recurring()] == ["s0", "s1", "s2", "s3", "s4"]
    assert cluster.calls.count(("GET", "/apis/v2beta1/recurringruns")) == 3
    assert len(cluster.experiments) == 1  # `experiment` found the one that it made


def test_an_archived_experiment_is_told_of(cluster, client):
    client.experiment("e")
    next(iter(cluster.experiments.values()))["storage_state"] = "ARCHIVED"
    with pytest.raises(KubeflowError, match="archived"):
        client.experiment("e")


def test_pods_are_called_as_a_real_cluster_called_them():
    """Names of a workflow on a cluster with KFP 2.15: its task, the id of the node below it, and the pod that ran."""
    names = pods_of("workspace-name", ["general-cpu-rnggt-807657059"], 1, 1)
    assert names[0] == "general-cpu-rnggt-retry-system-container-impl-1467617326"
