"""Runs that come to no good end on the cluster: pods that don't start or are killed, runs that others cancel or delete."""

from __future__ import annotations

import mlops_lab

from .cluster import CELLS, Pod, command, later, succeeds


def test_a_pod_that_can_not_start_is_told_with_what_may_keep_it_and_where_to_look(cluster, notebook, tmp_path):
    settings = {"train": {"image": "registry/missing:1", "cpu": 64, "gpu": 2}}
    cells = [*CELLS[:2], ("step:train", "print(len(numbers))")]
    path = notebook(cells, {"mlops_lab": {"steps": settings}})
    long_ago = {"create_time": "2026-01-01T00:00:00Z", "start_time": "2026-01-01T00:00:00Z"}
    later(cluster, succeeds(cluster, tmp_path, "numbers", 2), lambda: cluster.task("train", "RUNNING", **long_ago),
          lambda: cluster.task("train", "RUNNING", **long_ago), succeeds(cluster, tmp_path, "train", 3), cluster.end)  # fmt: skip
    run = mlops_lab.load(path).run(on="kubeflow", tracking=False)
    assert run.status == "done"
    (told,) = [message.text for message in run.state.messages if "has not started" in message.text]
    assert "The pod of step 'train' has not started for 5 minutes" in told
    assert "(registry/missing:1)" in told and "(cpu 64, gpu 2)" in told
    assert f"kubectl get pods -l pipeline/runid={cluster.run['run_id']}" in told


def test_a_pod_that_was_killed_is_told_with_what_the_step_asked_for(cluster, notebook, tmp_path):
    path = notebook([*CELLS[:2], ("step:train", "print(len(numbers))")], {"mlops_lab": {"steps": {"train": {"memory": "1Gi"}}}})
    pod = Pod("train", 3).begin().print("epoch 1\n")
    later(cluster, succeeds(cluster, tmp_path, "numbers", 2),
          lambda: cluster.task("train", "FAILED", pod.log, end_time="2026-01-01T00:00:00Z"), lambda: cluster.end("FAILED"))  # fmt: skip
    run = mlops_lab.load(path).run(on="kubeflow", tracking=False)
    message = run.steps["train"].state.failure.message
    assert "killed (out of memory, say)" in message and "epoch 1" in message and "asks for memory 1Gi" in message


def test_a_run_that_was_deleted_there_ends_here(cluster, notebook, tmp_path):
    later(cluster, succeeds(cluster, tmp_path, "numbers", 2), lambda: cluster.task("total", "RUNNING", Pod("total", 3).log),
          lambda: cluster.runs.popitem())  # fmt: skip
    run = mlops_lab.load(notebook(CELLS)).run(on="kubeflow", tracking=False)
    assert run.status == "cancelled" and [step.status for step in run.steps.values()] == ["done", "cancelled"]
    assert run.state.message.startswith("The run was deleted on Kubeflow. What came back before is kept")


def test_a_run_that_was_cancelled_in_kfps_own_interface_is_cancelled_here(cluster, notebook, tmp_path):
    later(cluster, succeeds(cluster, tmp_path, "numbers", 2), lambda: cluster.task("total", "RUNNING", Pod("total", 3).log),
          lambda: cluster.run_service_terminate_run(cluster.run["run_id"]))  # fmt: skip
    result = command("run", notebook(CELLS), "--on", "kubeflow", "--no-tracking")
    assert result.exit_code == 130, result.output
    run = mlops_lab.find_run("last", tmp_path)
    assert run.status == "cancelled" and [step.status for step in run.steps.values()] == ["done", "cancelled"]


def test_a_404_of_a_proxy_does_not_end_a_run(cluster, notebook, tmp_path):
    def no_such_page():
        cluster.trouble_at = ("GET", f"/apis/v2beta1/runs/{cluster.run['run_id']}", [404])

    later(cluster, succeeds(cluster, tmp_path, "numbers", 2), no_such_page)
    result = command("run", notebook(CELLS), "--on", "kubeflow", "--no-tracking")
    assert result.exit_code == 1 and "The run itself goes on" in result.output
    later(cluster, succeeds(cluster, tmp_path, "total", 3), cluster.end)
    assert command("logs", "last", "-f", "-C", tmp_path).exit_code == 0
    assert mlops_lab.find_run("last", tmp_path).status == "done"
