"""What a run teaches its notebook, and where it stands in MLflow."""

from __future__ import annotations

import json
import shutil
import urllib.request
from typing import Any

import pytest

CELLS = [("step:a", "rows = [1]"), ("step:b", "done = list(map(rows.append, [2, 3]))"), ("step:c", "print(rows)")]


def test_what_a_run_saw_comes_as_edits_of_the_settings_and_nothing_is_written(server):
    path = server.write("learns/nb.ipynb", CELLS, {"mlops_lab": {"steps": {"b": {"changes": ["other"]}}}})
    before = path.read_bytes()
    run = server.wait(server.run("learns/nb.ipynb"), "done")["id"]
    found = server.get(f"/runs/{run}/lessons")
    assert found["edits"] == [{"kind": "set_setting", "step": "b", "key": "changes", "value": ["other", "rows"]}]
    assert [(e["step"], e["name"], e["seen_by"]) for e in found["lessons"]] == [("b", "rows", ["c"])]
    assert "changes 'rows'" in found["lessons"][0]["text"]
    assert path.read_bytes() == before
    node = json.loads(before)
    node["metadata"]["mlops_lab"]["steps"]["b"]["changes"] = ["other", "rows"]
    path.write_text(json.dumps(node))
    assert server.get(f"/runs/{run}/lessons").content == {"lessons": [], "edits": []}
    path.unlink()
    assert server.get(f"/runs/{run}/lessons").status == 404


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("http://tracking.example:5000/mlflow/", "http://tracking.example:5000/mlflow/#/experiments/3/runs/abc"),
        ("https://user:secret@tracking.example", "https://tracking.example/#/experiments/3/runs/abc"),
    ],
)
def test_a_run_in_a_store_with_a_server_leads_to_its_page_there(server, finished, uri, url):
    run = tracked_copy(server, finished, uri)
    assert server.post(f"/runs/{run}/mlflow")["url"] == url
    assert server.get(f"/runs/{run}")["tracking"]["url"] == url
    of_step = server.post(f"/runs/{run}/mlflow", {"step": "make"})
    assert (of_step.status, of_step["message"].startswith("Step 'make' of run")) == (404, True)


def test_a_run_in_a_local_store_leads_to_mlflows_ui_which_is_started_once(server, finished):
    run = tracked_copy(server, finished, f"sqlite:///{server.root / 'done' / '.mlops_lab' / 'mlflow.db'}")
    found = server.post(f"/runs/{run}/mlflow")
    assert (found.status, found["place"]) == (200, "/#/experiments/3/runs/abc"), found
    assert "url" not in found.content
    with urllib.request.urlopen(f"http://127.0.0.1:{found['port']}/health", timeout=30) as answer:
        assert answer.status == 200
    assert server.post(f"/runs/{run}/mlflow")["port"] == found["port"]


def test_a_run_that_was_not_tracked_says_so(server, finished):
    answer = server.post(f"/runs/{finished['id']}/mlflow")
    assert (answer.status, "was not tracked" in answer["message"]) == (404, True)


def tracked_copy(server: Any, finished: dict[str, Any], uri: str) -> str:
    """The id of a run as one that is in an MLflow store has it in its log."""
    runs = server.root / "done" / ".mlops_lab" / "runs"
    name = f"{finished['id']}-{abs(hash(uri)):x}"
    shutil.copytree(runs / finished["id"], runs / name)
    *events, end = (runs / name / "events.jsonl").read_text().splitlines()
    told = {
        "type": "tracking_run",
        "step": "",
        "seq": len(events) + 1,
        "time": 1.0,
        "run_id": "abc",
        "uri": uri,
        "experiment_id": "3",
    }
    events += [json.dumps(told), json.dumps(json.loads(end) | {"seq": len(events) + 2})]
    (runs / name / "events.jsonl").write_text("\n".join(events) + "\n")
    return name
