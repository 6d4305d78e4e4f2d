"""Which notebook a kernel belongs to: under a real Jupyter server, also after a rename, and in VS Code, by what it leaves there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat as nbf
import pytest
from conftest import notebook_node
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

from mlops_lab.mlflow_ui import free_port

TOKEN = "only-for-tests"
CELLS = ["%load_ext mlops_lab", ("parameters", "many: int = 2"), ("step:load", "x = list(range(many))")]
PATH = "str(get_ipython().mlops_lab_magics.session.notebook())"


class Server:
    """A real Jupyter server on a folder."""

    def __init__(self, root: Path, runtime: Path) -> None:
        self.root, self.runtime = root, runtime
        self.url = f"http://127.0.0.1:{free_port()}"
        command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ip=127.0.0.1",
                   f"--port={self.url.rpartition(':')[2]}", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root}"]  # fmt: skip
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JPY_")}
        environment = {**kept, "JUPYTER_RUNTIME_DIR": str(runtime)}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 240
        while True:
            try:
                self.ask("GET", "api/status")
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline
                time.sleep(0.2)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"token {TOKEN}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def client(self, kernel: str) -> BlockingKernelClient:
        """The kernel, as a front end talks to it."""
        made = BlockingKernelClient(connection_file=str(self.runtime / f"kernel-{kernel}.json"))
        made.load_connection_file()
        made.start_channels()
        deadline = time.monotonic() + 240
        while True:
            try:
                made.wait_for_ready(timeout=60)
                return made
            except RuntimeError:  # a heartbeat that is late on a busy machine counts as death
                assert time.monotonic() < deadline

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(240)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "root" / "sub").mkdir(parents=True)
    made = Server(tmp_path / "root", tmp_path / "runtime")
    yield made
    made.close()


def value(client: Any, code: str) -> Any:
    """An expression's value; `print` goes unheard."""
    reply = client.execute("", user_expressions={"it": f"__import__('json').dumps({code})"}, reply=True, timeout=240)
    found = reply["content"]["user_expressions"]["it"]
    assert found["status"] == "ok", found
    return json.loads(found["data"]["text/plain"][1:-1].replace("\\\\", "\\"))


def test_a_renamed_notebook_is_found_by_the_session_of_its_kernel(server):
    nbf.write(notebook_node(CELLS), server.root / "sub" / "before.ipynb")
    session = server.ask("POST", "api/sessions", {
        "path": "sub/before.ipynb", "name": "before.ipynb", "type": "notebook", "kernel": {"name": "python3"},
    })  # fmt: skip
    client = server.client(session["kernel"]["id"])
    try:
        client.execute("%load_ext mlops_lab", reply=True, timeout=240)
        assert value(client, PATH) == str(server.root / "sub" / "before.ipynb")
        # What JupyterLab does when a notebook that is open is renamed and moved.
        server.ask("PATCH", "api/contents/sub/before.ipynb", {"path": "after.ipynb"})
        server.ask("PATCH", f"api/sessions/{session['id']}", {"path": "after.ipynb", "name": "after.ipynb"})
        assert value(client, PATH) == str(server.root / "after.ipynb")
        assert value(client, "__import__('os').environ['JPY_SESSION_NAME']").endswith("before.ipynb")  # which is why
        client.execute("run = get_ipython().run_line_magic('mlops', 'run --no-tracking')", reply=True, timeout=240)
        assert value(client, "(run.wait().status, run.state.notebook)") == ["done", str(server.root / "after.ipynb")]
    finally:
        client.stop_channels()


def test_in_vs_code_the_notebook_is_that_of_its_variable_and_a_run_needs_widgets_only(tmp_path):
    node = notebook_node(CELLS)
    nbf.write(node, tmp_path / "nb.ipynb")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JPY_")}
    manager, client = start_new_kernel(cwd="/", env=environment)
    heard: list[dict[str, Any]] = []

    def execute(code: str, number: int) -> dict[str, Any]:
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        uri = f"vscode-notebook-cell:{tmp_path}/nb.ipynb#W{number}sZmlsZQ%3D%3D"  # not the id that the file has
        message = client.session.msg("execute_request", content | {"stop_on_error": True}, metadata={"cellId": uri})
        client.shell_channel.send(message)
        while True:
            heard.append(client.get_iopub_msg(timeout=240))
            last = heard[-1]
            mine = last["parent_header"].get("msg_id") == message["header"]["msg_id"]
            if mine and last["msg_type"] == "status" and last["content"]["execution_state"] == "idle":
                break
        while (reply := client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != message["header"]["msg_id"]:
            pass
        return dict(reply["content"])

    def said() -> str:
        return "".join(m["content"]["text"] for m in heard if m["msg_type"] == "stream")

    try:
        # The extension of VS Code does this when it starts a notebook's kernel.
        execute(f"__vsc_ipynb_file__ = {str(tmp_path / 'nb.ipynb')!r}", 0)
        for number, cell in enumerate(node.cells, 1):
            assert execute(cell.source, number)["status"] == "ok"
        assert execute("run = %mlops run --no-tracking", 7)["status"] == "ok", said()
        assert "was saved at" not in said()  # all that was executed is in the file
        assert execute("assert run.wait().status == 'done'", 8)["status"] == "ok", said()
        opened = {m["content"]["target_name"] for m in heard if m["msg_type"] == "comm_open"}
        assert opened == {"jupyter.widget"}
        execute("x = list(range(many + 5))", 3)
        execute("run = %mlops run --no-tracking", 7)
        assert "nb.ipynb was saved at" in said()
        execute("run.wait()", 8)
        untitled = execute("__vsc_ipynb_file__ = '/nowhere/Untitled-1.ipynb'\n%mlops run", 9)
        assert (untitled["ename"], "never saved?" in untitled["evalue"]) == ("UsageError", True)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
