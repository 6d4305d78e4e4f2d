"""A run on another engine, through the server: it goes on there though nobody here follows it, and is brought up to date."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
from kubeflow.server import Cluster, serve

from .conftest import Server
from .test_runs import process_of


@pytest.fixture
def cluster(server: Server) -> Iterator[Cluster]:
    made = Cluster(token="s3cret-token")
    running = serve(made)
    config = server.root.parent / "config"
    config.mkdir(exist_ok=True)
    row = {"endpoint": running.url, "auth": "token", "secret": "s3cret-token"}
    (config / "kubeflow.json").write_text(json.dumps({"default": "lab", "connections": {"lab": row}}))
    yield made
    running.close()
    (config / "kubeflow.json").unlink()
    assert made.violations == []


def test_a_run_elsewhere_is_followed_by_the_server_once_its_process_is_gone(server, cluster):
    server.write("elsewhere/nb.ipynb", [("step:a", "x = 1"), ("step:b", "print(x)")])
    run = server.run("elsewhere/nb.ipynb", target="kubeflow:lab")
    deadline = time.monotonic() + 60
    while "remote" not in (state := server.get(f"/runs/{run}").content) or not state["remote"]["run_id"]:
        assert time.monotonic() < deadline, state
        time.sleep(0.1)
    os.kill(process_of(server, run), signal.SIGKILL)
    while server.get(f"/runs/{run}")["active"]:
        time.sleep(0.05)
    # Its process is gone, and it isn't interrupted: it goes on there.
    assert server.get(f"/runs/{run}")["status"] == "running"
    assert server.ask("DELETE", f"/runs/{run}").status == 409
    socket = server.stream(run)
    assert json.loads(socket.recv())["type"] == "run_started"
    cluster.task("a", "SUCCEEDED")
    cluster.task("b", "SUCCEEDED")
    cluster.end()
    while True:
        code, data = socket.recv_data()
        if code == 8:
            break
        last = json.loads(data)
    assert (last["type"], last["status"], data[2:]) == ("run_finished", "done", b"done")
    state = server.get(f"/runs/{run}").content
    assert [step["status"] for step in state["step_states"]] == ["done", "done"]
    refused = server.post(f"/runs/{run}/steps/b/open")
    assert (refused.status, "not on this machine" in refused["message"]) == (409, True)


def test_a_run_elsewhere_that_nobody_follows_is_cancelled_there(server, cluster):
    server.write("elsewhere/other.ipynb", [("step:a", "x = 1")])
    run = server.run("elsewhere/other.ipynb", target="kubeflow:lab")
    while not cluster.runs:
        time.sleep(0.05)
    while not server.get(f"/runs/{run}").content.get("remote", {}).get("run_id"):
        time.sleep(0.05)
    os.kill(process_of(server, run), signal.SIGKILL)
    while server.get(f"/runs/{run}")["active"]:
        time.sleep(0.05)
    cancelled = server.post(f"/runs/{run}/cancel")
    assert cancelled.status == 202, cancelled
    assert server.wait(run)["status"] == "cancelled"
