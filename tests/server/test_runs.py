"""Runs through the server: started, looked at, followed, cancelled, resumed, deleted; the server may go away meanwhile."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
from conftest import is_alive
from websocket import WebSocketBadStatusException, create_connection

from .conftest import Server


def test_a_run_is_started_and_its_state_is_the_fold_of_its_log(server, finished):
    assert finished["path"] == "done/table.ipynb"
    assert finished["parameters"] == {"rows": 30}
    assert [(s["name"], s["status"], s["gate"]) for s in finished["step_states"]] == [
        ("make", "done", False), ("check", "done", True), ("sum", "done", False)]  # fmt: skip
    ids = [c.id for c in nbformat.read(server.root / "done/table.ipynb", 4).cells]
    assert finished["step_states"][0]["cells"] == [ids[3]]
    assert finished["cells"] == {"1": ids[1], "2": ids[2], "3": ids[3], "4": ids[4], "5": ids[5]}
    assert finished["cell_indices"]["3"] == 3
    edge = next(e for e in finished["edges"] if (e["source"], e["target"]) == ("make", "sum"))
    assert {"grid", "table"} <= set(edge["variables"])
    assert finished["step_states"][0]["outputs"]["table"]["type"] == "pandas.DataFrame"
    assert finished["exit"]["code"] == 0
    assert (finished["steps"], finished["steps_done"], finished["active"]) == (3, 3, False)


def test_what_keeps_a_run_from_starting_is_said_at_once(server):
    server.write("wrong/nb.ipynb", [("parameters", "n: int = 1"), ("step:a", "x = n"), ("step:b", "x +")])
    server.write("right/nb.ipynb", [("parameters", "n: int = 1"), ("step:a", "x = n")])
    broken = server.post("/runs", {"path": "wrong/nb.ipynb"})
    assert (broken.status, broken["kind"]) == (400, "CheckError")
    [found] = broken["diagnostics"]
    assert found["code"] == "ML101"
    assert found["cell"] == nbformat.read(server.root / "wrong/nb.ipynb", 4).cells[2].id
    for request, status, text in [
        ({"path": "right/nb.ipynb", "parameters": {"n": "many"}}, 400, "n"),
        ({"path": "right/nb.ipynb", "parameters": {"m": 1}}, 400, "no parameter 'm'"),
        ({"path": "right/nb.ipynb", "start": "z"}, 400, "no step 'z'"),
        ({"path": "right/nb.ipynb", "target": "mars"}, 400, "no target 'mars'"),
        ({"path": "right/nb.ipynb", "workers": -1}, 400, "workers"),
        ({"path": "right/nb.ipynb", "worker": 1}, 400, "worker"),
        ({"path": "nowhere.ipynb"}, 404, "no notebook"),
        ({}, 400, "path"),
    ]:
        answer = server.post("/runs", request)
        assert answer.status == status, (request, answer)
        assert text in answer["message"]
    assert server.get("/runs?path=right/nb.ipynb")["runs"] == []


def test_a_run_is_gone_on_with_under_the_path_of_its_own_notebook_only(server, failed):
    server.write("right/nb.ipynb", [("step:a", "x = 1")])
    other = server.post("/runs", {"path": "right/nb.ipynb", "resume": failed["id"]})
    assert (other.status, "failed/broken.ipynb" in other["message"]) == (400, True)
    assert server.post("/runs", {"path": "right/nb.ipynb", "resume": "20200101-000000-0000"}).status == 404


def test_events_are_given_in_pages_as_they_stand_in_the_log(server, finished):
    log = (server.root / "done/.mlops_lab/runs" / finished["id"] / "events.jsonl").read_text().splitlines()
    first = server.get(f"/runs/{finished['id']}/events?limit=4")
    assert first["events"] == [json.loads(line) for line in log[:4]]
    assert (first["last"], first["more"]) == (4, True)
    rest = server.get(f"/runs/{finished['id']}/events?after=4")
    assert [e["seq"] for e in rest["events"]] == list(range(5, len(log) + 1))
    assert (rest["last"], rest["more"]) == (len(log), False) == (finished["last"], False)


def test_a_stream_replays_from_anywhere_and_closes_with_the_status(server, finished):
    def all_of(after: int) -> tuple[list[int], str]:
        socket = server.stream(finished["id"], after)
        found = []
        while True:
            code, data = socket.recv_data()
            if code == 8:
                return found, f"{int.from_bytes(data[:2], 'big')} {data[2:].decode()}"
            found.append(json.loads(data)["seq"])

    assert all_of(0) == (list(range(1, finished["last"] + 1)), "1000 done")
    assert all_of(finished["last"] - 2) == ([finished["last"] - 1, finished["last"]], "1000 done")


def test_outputs_reach_the_stream_while_their_cell_runs_and_a_run_can_be_cancelled(server):
    path = server.write(
        "slow/nb.ipynb", [("step:a", "import time\nprint('begun', flush=True)\ntime.sleep(600)"), ("step:b", "x = 1")]
    )
    run = server.run("slow/nb.ipynb")
    socket = server.stream(run)
    while (event := json.loads(socket.recv()))["type"] != "cell_output":
        pass
    assert event["output"]["text"] == "begun\n"
    assert server.get(f"/runs/{run}")["active"] is True
    notebook = server.get(f"/runs/{run}/notebook")
    assert (notebook.status, len(notebook["cells"])) == (200, 2)
    busy = server.post("/runs", {"path": "slow/nb.ipynb"})
    assert (busy.status, busy["kind"]) == (409, "BusyError")
    assert run in busy["message"]
    assert server.ask("DELETE", f"/runs/{run}").status == 409
    began = time.monotonic()
    assert server.post(f"/runs/{run}/cancel").status == 202
    while (event := json.loads(socket.recv()))["type"] != "run_finished":
        pass
    assert event["status"] == "cancelled"
    assert time.monotonic() - began < 10
    assert server.wait(run)["status"] == "cancelled"
    assert server.post(f"/runs/{run}/cancel").status == 409
    # Gone on with, it gets to its end with the cell corrected.
    node = nbformat.read(path, 4)
    node.cells[0].source = "print('quick')"
    nbformat.write(node, path)
    again = server.post(f"/runs/{run}/resume")
    assert again.status == 201
    state = server.wait(again["id"], "done")
    assert state["resumed_from"] == run
    assert [r["id"] for r in server.get("/runs?path=slow/nb.ipynb")["runs"]] == [again["id"], run]
    assert [r["id"] for r in server.get("/runs?path=slow&status=cancelled")["runs"]] == [run]
    refused = server.post(f"/runs/{again['id']}/resume")
    assert (refused.status, "nothing to resume" in refused["message"]) == (400, True)
    # And deleted, it is gone, while the other one stays.
    assert server.ask("DELETE", f"/runs/{run}?force=true").status == 204
    assert server.get(f"/runs/{run}").status == 404
    assert server.get(f"/runs/{again['id']}").status == 200


def test_a_run_goes_on_while_the_server_is_restarted(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    server = Server(root)
    server.start()
    try:
        wait = "import time, os\nwhile not os.path.exists('go'):\n    time.sleep(0.05)\nprint('went')"
        server.write("deep/er/nb.ipynb", [("step:a", "x = 1"), ("step:b", wait)])
        run = server.run("deep/er/nb.ipynb")
        socket = server.stream(run)
        while json.loads(socket.recv())["type"] != "step_started":
            pass
        server.stop()
        assert (root / "deep/er/.mlops_lab/runs" / run / "run.lock").exists()
        server.start()
        assert server.get(f"/runs/{run}")["status"] == "running"
        (root / "deep/er/go").touch()
        state = server.wait(run, "done", process=True)
        assert state["exit"]["code"] == 0
    finally:
        server.stop()
        server.end_runs()


def test_a_run_whose_process_was_killed_is_interrupted_and_says_how_it_ended(server):
    server.write("killed/nb.ipynb", [("step:a", "import os, time\nprint(os.getppid(), flush=True)\ntime.sleep(600)")])
    run = server.run("killed/nb.ipynb")
    socket = server.stream(run)
    while json.loads(socket.recv())["type"] != "cell_output":
        pass
    process = process_of(server, run)
    os.kill(process, 9)
    while True:
        code, data = socket.recv_data()
        if code == 8:
            break
    assert data[2:] == b"interrupted"
    deadline = time.monotonic() + 10
    while "exit" not in (state := server.get(f"/runs/{run}").content) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (state["status"], state["exit"]["code"]) == ("interrupted", -9)
    assert not is_alive(process)
    assert server.get("/runs?status=interrupted")["runs"][0]["id"] == run


def process_of(server: Server, run: str) -> int:
    """The process that holds the run's lock: the child of the server that has the run's folder open."""
    assert server.process
    tasks = Path(f"/proc/{server.process.pid}/task")
    for pid in {int(p) for task in tasks.iterdir() for p in (task / "children").read_text().split()}:
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if run in str(handle.readlink()):
                    return pid
    raise AssertionError("no process runs it")


def test_the_executed_notebook_has_the_outputs_at_the_cells_and_keeps_their_ids(server, finished):
    node = server.get(f"/runs/{finished['id']}/notebook").content
    original = nbformat.read(server.root / "done/table.ipynb", 4)
    assert [c["id"] for c in node["cells"]] == [c.id for c in original.cells]
    assert node["cells"][3]["outputs"][0]["text"] == "made 30\n"
    nbformat.validate(nbformat.from_dict(node))


def test_the_log_of_a_step_is_its_texts_and_what_its_kernel_wrote(server, finished, failed):
    assert "made 30\n" in server.get(f"/runs/{finished['id']}/steps/make/log")["text"]
    assert "ZeroDivisionError" in server.get(f"/runs/{failed['id']}/steps/divide/log?attempt=1")["text"]
    assert server.get(f"/runs/{failed['id']}/steps/divide/log?attempt=2").status == 404
    unknown = server.get(f"/runs/{failed['id']}/steps/devide/log")
    assert (unknown.status, "did you mean 'divide'" in unknown["message"]) == (404, True)


def test_a_failure_names_its_cell_by_id(server, failed):
    step = next(s for s in failed["step_states"] if s["name"] == "divide")
    cell = nbformat.read(server.root / "failed/broken.ipynb", 4).cells[4]
    assert step["failure"]["cell"] == cell.id == step["cell"]
    assert (step["failure"]["kind"], step["failure"]["line"]) == ("error", 1)
    assert "ZeroDivisionError" in step["failure"]["traceback"]
    assert failed["failed_step"] == "divide"


def test_runs_are_listed_in_pages_and_only_those_asked_for(server, finished, failed):
    everything = [run["id"] for run in server.get("/runs?limit=1000")["runs"]]
    assert everything == sorted(everything, reverse=True)
    page = server.get("/runs?limit=1")
    assert ([r["id"] for r in page["runs"]], page["more"]) == (everything[:1], True)
    assert server.get(f"/runs?limit=1&before={everything[0]}")["runs"][0]["id"] == everything[1]
    assert [r["id"] for r in server.get("/runs?path=done")["runs"]] == [finished["id"]]
    assert [r["id"] for r in server.get("/runs?path=/failed/broken.ipynb&status=failed,done")["runs"]] == [failed["id"]]
    assert server.get("/runs?path=don")["runs"] == []
    assert "did you mean 'failed'" in server.get("/runs?status=faild")["message"]


def test_runs_are_compared_side_by_side(server, failed):
    path = server.root / "failed/broken.ipynb"
    node = nbformat.read(path, 4)
    node.cells[4].source = "quotient = scaled_numbers[2] // (n - 4)"
    nbformat.write(node, path)
    other = server.wait(server.run("failed/broken.ipynb", parameters={"n": 6}), "done")
    node.cells[4].source = "quotient = scaled_numbers[2] // (n - 5)"
    nbformat.write(node, path)
    found = server.get(f"/compare?runs={failed['id']},{other['id']}").content
    assert found["parameters"] == [{"name": "n", "values": [5, 6], "same": False}]
    steps = {step["name"]: step for step in found["steps"]}
    assert steps["divide"]["status"] == ["failed", "done"]
    assert (steps["make"]["changed"], steps["divide"]["changed"]) == (False, True)
    numbers = next(row for row in steps["make"]["outputs"] if row["name"] == "numbers")
    assert ([v["preview"] for v in numbers["values"]], numbers["same"]) == (["5 items", "6 items"], False)
    [change] = found["code"]
    assert change["cell"] == node.cells[4].id
    assert "-quotient = scaled_numbers[2] // (n - 5)\n+quotient = scaled_numbers[2] // (n - 4)" in change["diff"]
    assert server.get(f"/compare?runs={failed['id']}").status == 400
    assert server.get(f"/compare?runs={failed['id']},20200101-000000-0000").status == 404


def test_a_stream_of_no_run_is_closed_and_one_without_a_token_is_refused(server, finished):
    socket = server.stream("20200101-000000-0000")
    code, data = socket.recv_data()
    assert (code, int.from_bytes(data[:2], "big")) == (8, 4404)
    with pytest.raises(WebSocketBadStatusException) as refused:
        create_connection(f"ws{server.url.removeprefix('http')}/runs/{finished['id']}/stream", timeout=10)
    assert refused.value.status_code == 403


def test_a_run_whose_outputs_a_later_one_shows_is_deleted_by_force_only(server):
    server.write("kept/nb.ipynb", [("step:a", "print('one')"), ("step:b", "print('two')")])
    first = server.wait(server.run("kept/nb.ipynb"), "done")["id"]
    second = server.wait(server.run("kept/nb.ipynb"), "done")
    assert {step["from_run"] for step in second["step_states"]} == {first}
    refused = server.ask("DELETE", f"/runs/{first}")
    assert (refused.status, second["id"] in refused["message"]) == (409, True)
    assert server.ask("DELETE", f"/runs/{first}?force=true").status == 204
    node = server.get(f"/runs/{second['id']}/notebook").content
    assert [cell["outputs"] for cell in node["cells"]] == [[], []]


def test_connections_are_targets_and_tell_no_secret(server):
    config = server.root.parent / "config"
    config.mkdir(exist_ok=True)
    told = {
        "default": "prod",
        "connections": {
            "prod": {
                "endpoint": "https://kubeflow.example.com/pipeline",
                "namespace": "ada",
                "auth": "token",
                "secret": "s3cret",
            },
            "old": {"endpoint": "https://old.example.com", "auth": "none"},
        },
    }
    (config / "kubeflow.json").write_text(json.dumps(told))
    found = server.get("/connections").content["targets"]
    assert [(t["name"], t["available"]) for t in found] == [
        ("local", True), ("kubeflow:prod", True), ("kubeflow:old", True)]  # fmt: skip
    assert found[1]["host"] == "https://kubeflow.example.com/pipeline"
    assert "s3cret" not in json.dumps(found)
    server.write("remote/nb.ipynb", [("step:a", "x = 1")])
    missing = server.post("/runs", {"path": "remote/nb.ipynb", "target": "kubeflow:nowhere"})
    (config / "kubeflow.json").unlink()
    assert (missing.status, "nowhere" in missing["message"]) == (400, True)


def test_a_run_whose_notebook_is_lost_is_still_shown(server):
    server.write("lost/nb.ipynb", [("step:a", "x = 1")])
    run = server.wait(server.run("lost/nb.ipynb"), "done")["id"]
    (server.root / "lost/.mlops_lab/runs" / run / "notebook.ipynb").write_text("{")
    server.stop()
    server.start()  # what was remembered is forgotten
    state = server.get(f"/runs/{run}").content
    assert (state["status"], state["cells"], state["step_states"][0]["cells"]) == ("done", {}, [])
    lost = server.get(f"/runs/{run}/notebook")
    assert (lost.status, "not a notebook" in lost["message"]) == (404, True)


def test_a_notebook_that_is_renamed_or_moved_in_jupyter_keeps_its_runs(server):
    server.write("before/a.ipynb", [("step:a", "x = 1"), ("step:b", "print(x)\nassert x == 2")])
    run = server.run("before/a.ipynb")
    server.wait(run, "failed")

    def renamed(old: str, new: str) -> None:
        assert server.contents("PATCH", old, {"path": new}).status == 200
        assert server.get(f"/runs?path={old}")["runs"] == []

    def listed(path: str) -> list[str]:
        return [each["id"] for each in server.get(f"/runs?path={path}")["runs"]]

    renamed("before/a.ipynb", "before/b.ipynb")
    assert listed("before/b.ipynb") == [run]
    (server.root / "after").mkdir()
    renamed("before/b.ipynb", "after/b.ipynb")
    assert listed("after/b.ipynb") == [run]
    server.contents("PATCH", "after", {"path": "renamed"})
    assert listed("renamed/b.ipynb") == [run]
    server.contents("PATCH", "before", {"path": "kept"})
    assert server.get(f"/runs/{run}")["path"] == "renamed/b.ipynb"
    assert listed("renamed/b.ipynb") == [run], "where its runs are kept was renamed"
    again = server.post(f"/runs/{run}/resume")
    assert again.status == 201, again
    resumed = again["id"]
    assert server.wait(resumed, "failed")["path"] == "renamed/b.ipynb"
    assert server.get(f"/runs/{run}/notebook")["cells"][1]["outputs"][0]["text"] == "1\n"
    opened = server.post(f"/runs/{run}/steps/b/open", {})
    assert (opened.status, opened["path"]) == (201, f"renamed/b-b-{run}.ipynb")
