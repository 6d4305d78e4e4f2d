"""`%mlops` in a real kernel: what it prints and displays, what it leaves in the session, what it says when it can't."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat as nbf
import pytest
from conftest import notebook_node
from jupyter_client.manager import start_new_kernel
from kubeflow.server import Cluster, serve

import mlops_lab
from mlops_lab import checks
from mlops_lab.notebook import StepSettings, from_node
from mlops_lab.pipeline import build
from mlops_lab.plan import make_plan
from mlops_lab.step_magic import in_place, parse

CELLS = [
    "%load_ext mlops_lab",
    "%mlops run --no-tracking",
    ("parameters", "rate: float = 0.5  # how fast\nmany: int = 2"),
    ("step:load", "x = list(range(many))"),
    "%%mlops step train --retries 1\nmodel = {'rate': rate, 'x': x}\nprint('trained')",
]


class Session:
    """A kernel that a notebook belongs to, as a front end would have it."""

    def __init__(self, path: Path | None, folder: Path) -> None:
        named = {"JPY_SESSION_NAME": str(path)} if path else {}
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JPY_")}
        self.manager, self.client = start_new_kernel(cwd=str(folder), env=environment | named)
        self.run("%load_ext mlops_lab")

    def run(self, code: str, cell: str = "") -> tuple[str, str, list[dict[str, Any]]]:
        """Status, printed text, and the messages that displayed something."""
        said, shown = [], []

        def hear(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                said.append(message["content"]["text"])
            elif "data" in message["content"] and not message["msg_type"].startswith("comm"):
                shown.append(message)

        metadata = {"cellId": cell} if cell else {}
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        message = self.client.session.msg("execute_request", content | {"stop_on_error": False}, metadata=metadata)
        self.client.shell_channel.send(message)
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            heard = self.client.get_iopub_msg(timeout=90)
            if (
                heard["parent_header"].get("msg_id") != message["header"]["msg_id"]
                and heard["msg_type"] != "update_display_data"
            ):
                continue
            hear(heard)
            if heard["msg_type"] == "status" and heard["content"]["execution_state"] == "idle":
                break
        while (reply := self.client.get_shell_msg(timeout=90))["parent_header"].get("msg_id") != message["header"]["msg_id"]:
            pass
        return reply["content"]["status"], "".join(said), shown

    def value(self, expression: str) -> str:
        """The text of an expression's value."""
        status, said, shown = self.run(expression)
        assert status == "ok", said
        (result,) = (message for message in shown if message["msg_type"] == "execute_result")  # others redraw a run
        return str(result["content"]["data"]["text/plain"])

    def complete(self, line: str) -> list[str]:
        reply = self.client.complete(line, len(line), reply=True, timeout=60)
        return list(reply["content"]["matches"])

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("session")
    nbf.write(notebook_node(CELLS), folder / "nb.ipynb")
    return folder / "nb.ipynb"


@pytest.fixture(scope="module")
def session(path: Path) -> Iterator[Session]:
    made = Session(path, path.parent)
    yield made
    made.close()


@pytest.fixture(scope="module")
def ran(session: Session) -> tuple[str, str, list[dict[str, Any]]]:
    """The first run of the module's session, waited for."""
    found = session.run("run = %mlops run --no-tracking -p many=3")
    assert found[0] == "ok", found[1]
    session.run("run.wait()")
    return found


def test_run_is_shown_as_starting_and_given_back_while_it_goes_on(ran, session):
    _, _, shown = ran
    kinds = [(message["msg_type"], *sorted(message["content"]["data"])) for message in shown]
    assert kinds[:3] == [
        ("display_data", "text/html", "text/plain"), ("update_display_data", "text/html", "text/plain"),
        ("display_data", "application/vnd.jupyter.widget-view+json", "text/plain"),
    ]  # fmt: skip
    assert "nb.ipynb is starting" in shown[0]["content"]["data"]["text/html"]
    assert "train" in shown[1]["content"]["data"]["text/html"]
    assert shown[0]["content"]["transient"] == shown[1]["content"]["transient"]
    assert session.value("run.status") == "'done'"
    assert session.value("(run.steps['load'].status, run.steps['train'].outputs['model'])") == (
        "('done', {'rate': 0.5, 'x': [0, 1, 2]})"
    )


def test_the_kernel_is_free_while_a_run_is_in_progress_and_interrupting_the_wait_leaves_it_going(tmp_path):
    nbf.write(notebook_node([("step:a", "import time\ntime.sleep(120)\nx = 1")]), tmp_path / "slow.ipynb")
    slow = Session(tmp_path / "slow.ipynb", tmp_path)
    try:
        assert slow.run("run = %mlops run --no-tracking")[0] == "ok"
        assert slow.value("run.status") == "'running'"
        message = slow.client.execute("run.wait()")
        time.sleep(1)
        slow.manager.interrupt_kernel()
        while (reply := slow.client.get_shell_msg(timeout=30))["parent_header"]["msg_id"] != message:
            pass
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        assert mlops_lab.find_run(folder=tmp_path).status == "running"
        slow.manager.restart_kernel(now=True)
        slow.client.wait_for_ready(timeout=60)
        slow.run("%load_ext mlops_lab")
        _, said, shown = slow.run("%mlops runs")
        assert "running" in said
        assert any("application/vnd.jupyter.widget-view+json" in message["content"]["data"] for message in shown)
        _, said, _ = slow.run("%mlops cancel")
        assert "Cancelled run" in said
        assert mlops_lab.find_run(folder=tmp_path).status == "cancelled"
    finally:
        slow.close()


def test_pull_puts_values_of_a_run_into_the_session(ran, session):
    status, said, _ = session.run("%mlops pull train.model --as fetched")
    assert (status, said.split(",")[0]) == ("ok", "fetched: dict")
    assert session.value("fetched['x']") == "[0, 1, 2]"
    session.run("%mlops pull load")
    assert session.value("x") == "[0, 1, 2]"


BAD_LINES = {
    "%mlops rum": "did you mean 'run'",
    "%mlops run --fro x": "No such option",
    "%mlops run -p rte=1": "did you mean 'rate'",
    "%mlops run nothere.ipynb": "there is no such file",
    "%mlops run --only trane": "did you mean 'train'",
    "%mlops pull trian.model": "did you mean 'train'",
    "%mlops pull train.modle": "did you mean 'model'",
    "%mlops pull load --as a-b": "no name for a variable",
    "%mlops cancel": "is not in progress",
    "%mlops resume": "nothing to resume",
    "%mlops runs --where 'metrics.a >> 1'": "Invalid comparator",
    "%mlops run 'unclosed": "No closing quotation",
    "%%mlops run\nx": "one to a line",
    "%%mlops step\nx = 1": "needs the step's name",
    "%%mlops step a --cpuu 2\nx = 1": "did you mean 'cpu'",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_wrong_line_gets_one_message_and_no_traceback(ran, session, line):
    status, said, _ = session.run(line)
    assert status == "error"
    assert said.startswith("UsageError: ")
    assert BAD_LINES[line] in said
    assert "Traceback" not in said


def test_help_is_that_of_the_command_line(session):
    _, said, _ = session.run("%mlops run?")
    assert "Usage: %mlops run [OPTIONS] [NOTEBOOK]" in said
    assert "--parameter NAME=VALUE" in said
    _, said, _ = session.run("%mlops")
    for name in ("run", "show", "check", "runs", "resume", "cancel", "compare", "params", "suggest", "verify", "compile",
                 "mlflow", "pull"):  # fmt: skip
        assert f"%mlops {name} " in said


def test_show_params_and_check_are_of_this_notebook(session):
    _, said, shown = session.run("%mlops show")
    assert "load" in said and "train" in said
    assert any("image/svg+xml" in message["content"]["data"] for message in shown)
    assert "how fast" in session.run("%mlops params")[1]
    assert "0 errors, 0 warnings" in session.run("%mlops check")[1]


def test_commands_steps_parameters_and_values_are_completed(ran, session):
    assert {"run", "runs"} <= set(session.complete("%mlops ru"))
    assert session.complete("%mlops run --from tr") == ["train"]
    assert session.complete("%mlops run -p ra") == ["rate="]
    assert session.complete("run = %mlops run -p rate=") in (["rate=0.5"], ["0.5"])
    assert "--fail-fast" in session.complete("%mlops run --f")
    assert session.complete("%mlops pull train.m") == ["train.model"]


def test_two_runs_are_compared(ran, session):
    session.run("again = %mlops run --no-tracking -p many=4")
    session.run("again.wait()")
    _, said, _ = session.run("get_ipython().run_line_magic('mlops', f'compare {run.id} {again.id}')")
    assert "parameter many" in said
    assert "3" in said and "4" in said


def test_a_search_finds_untracked_runs_by_their_log(ran, session):
    _, said, _ = session.run("%mlops runs --where \"params.many = '3'\" --json")
    assert [row.split('"')[3] for row in said.splitlines() if '"run":' in row] == [session.value("run.id").strip("'")]


def test_a_step_cell_runs_in_the_session_as_if_its_first_line_were_not_there(session):
    status, said, shown = session.run("%%mlops step train --cpu 2\nhere = 1\nhere + 1")
    assert (status, said, shown[-1]["content"]["data"]["text/plain"]) == ("ok", "", "2")
    assert session.value("here") == "1"
    status, _, _ = session.run("%%mlops step timed\n%%time\nhere = 5")
    assert (status, session.value("here")) == ("ok", "5")


def test_a_notebook_that_is_newer_in_the_kernel_than_on_disk_is_told(ran, session, path):
    node = nbf.read(path, as_version=4)
    cell = node.cells[3]
    session.run("many = 2")
    session.run(cell.source, cell=cell.id)
    assert session.run("r = %mlops run --no-tracking")[1] == ""
    session.run("r.wait()")
    session.run("x = list(range(many + 1))", cell=cell.id)
    assert "nb.ipynb was saved at" in session.run("r = %mlops run --no-tracking")[1]
    session.run("r.wait()")
    cell.source = "x = list(range(many + 1))"
    time.sleep(0.05)
    nbf.write(node, path)
    assert session.run("r = %mlops run --no-tracking")[1] == ""
    session.run("r.wait()")
    assert session.value("r.steps['load'].outputs['x']") == "[0, 1, 2]"


def test_a_notebook_with_errors_is_not_run_and_the_diagnostics_are_told(tmp_path):
    nbf.write(notebook_node([("step:a", "x = (")]), tmp_path / "bad.ipynb")
    made = Session(tmp_path / "bad.ipynb", tmp_path)
    try:
        status, said, _ = made.run("%mlops run")
        assert status == "error"
        assert "ML101" in said
        assert "nothing was run" in said
        nowhere = Session(None, tmp_path)
        try:
            assert (
                "doesn't know its notebook"
                in nowhere.run("%mlops show 'bad.ipynb'\n%mlops check")[1] + nowhere.run("%mlops run")[1]
            )
        finally:
            nowhere.close()
    finally:
        made.close()


def test_a_cell_that_runs_does_not_wait_until_the_run_has_begun(ran, session):
    # The process of the run takes seconds; the cell's own work, once everything is imported, is little.
    assert session.run("again = %mlops run --no-tracking -p many=3\nseen = (again.has_begun, repr(again))")[0] == "ok"
    assert session.value("seen") == "(False, '<Run: starting>')"
    assert session.value("again.wait().status") == "'done'"  # waits for its begin, too
    assert session.value("again.has_begun") == "True"


def test_a_second_run_of_a_notebook_is_refused_in_the_cell(ran, session):
    session.run("busy = %mlops run --no-tracking --no-cache -p many=3")
    # The one that was asked for before is waited for; this notebook is then being run.
    status, said, shown = session.run("%mlops run --no-tracking")
    assert (status, "is being run already" in said) == ("error", True)
    assert shown[-1]["content"]["data"] == {"text/plain": ""}  # the announcement is taken back
    assert session.value("busy.wait().status") == "'done'"


def test_a_run_on_kubeflow_leaves_the_kernel_free_while_it_is_sent(tmp_path, monkeypatch):
    cluster, answer = Cluster(), threading.Event()
    experiments = Cluster.experiment_service_list_experiments
    cluster.experiment_service_list_experiments = lambda **query: answer.wait(100) and experiments(cluster, **query)
    running = serve(cluster)
    lab = {"endpoint": running.url, "auth": "none"}
    (tmp_path / "kubeflow.json").write_text(json.dumps({"default": "lab", "connections": {"lab": lab}}))
    monkeypatch.setenv("MLOPS_LAB_CONFIG", str(tmp_path))
    nbf.write(notebook_node([("step:load", "x = 1")]), tmp_path / "nb.ipynb")
    made = Session(tmp_path / "nb.ipynb", tmp_path)
    try:
        status, said, _ = made.run("%mlops run --on kubeflow:lob")
        assert (status, "lob" in said) == ("error", True)  # a mistake that needs no server is told by the cell
        status, said, shown = made.run("run = %mlops run --on kubeflow --no-tracking\nseen = run.has_begun")
        assert (status, made.value("seen")) == ("ok", "False"), said
        assert "sending" in shown[1]["content"]["data"]["text/plain"]
        answer.set()
        assert made.value("run.status") == "'running'"
        deadline = time.monotonic() + 60
        while not cluster.runs and time.monotonic() < deadline:
            time.sleep(0.1)
        cluster.task("load", "SUCCEEDED")
        cluster.end()
        assert made.value("run.wait().status") == "'done'"
    finally:
        answer.set()
        made.close()
        running.close()


# The tag as text


def plan(cells: list[Any], metadata: dict[str, Any] | None = None) -> Any:
    return make_plan(build(from_node(notebook_node(cells, metadata), "nb.ipynb")))


def test_a_step_written_as_text_is_the_step_of_the_tag():
    tagged = plan(
        [("step:a", "x = 1"), ("step:b gate after:a", "assert x")],
        {"mlops_lab": {"steps": {"b": {"cpu": 2, "env": {"A": "1"}}}}},
    )
    text = plan(["%%mlops step a\nx = 1", "\n%%mlops step b --gate --after a --cpu 2 --env A=1\nassert x"])
    assert [s.step.name for s in text.steps] == [s.step.name for s in tagged.steps]
    assert text.steps[1].step.settings == tagged.steps[1].step.settings
    assert (text.steps[1].step.gate, text.steps[1].step.after) == (True, ("a",))
    assert [(e.source, e.target, e.label) for e in text.edges] == [(e.source, e.target, e.label) for e in tagged.edges]
    assert [c.normalised for s in text.steps for c in s.step.cells] == [
        c.normalised for s in tagged.steps for c in s.step.cells
    ]


def test_what_a_cell_says_of_its_step_goes_before_the_metadata():
    made = plan(["%%mlops step a --retries 3\nx = 1"], {"mlops_lab": {"steps": {"a": {"retries": 1, "memory": "1Gi"}}}})
    assert made.steps[0].step.settings == StepSettings(retries=3, memory="1Gi")


@pytest.mark.parametrize(
    ("line", "message"),
    [("", "needs the step's name"), ("a b", "takes one name"), ("a --retries x", "--retries"), ("a --env A", "NAME=VALUE"),
     ("a --cpu", "needs a value"), ("a --colour red", "has no option")],
)  # fmt: skip
def test_a_wrong_step_line_is_a_diagnostic_of_its_cell(line, message):
    with pytest.raises(ValueError, match=message):
        parse(line, StepSettings)
    found = checks.check(plan([f"%%mlops step {line}\nx = 1"]))
    assert [(d.code, d.cell, d.line) for d in found if message in d.message] == [("ML101", 1, 1)]


def test_lines_of_a_step_cell_keep_their_numbers():
    assert in_place("%%mlops step a\nx = 1\n1 / 0") == ("# step\nx = 1\n1 / 0", "a")
    assert in_place("x = 1\n%%mlops step a") == ("x = 1\n%%mlops step a", None)
