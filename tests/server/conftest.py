"""A real Jupyter server for the tests of its extension: one process for the whole session, on a free port of 127.0.0.1.

The fixtures of pytest-jupyter (a server in the test's own process) are here as well, for what takes another configuration.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import CellSpec, notebook_node
from pytest_jupyter.jupyter_server import *  # noqa: F403 - fixtures
from websocket import create_connection

TOKEN = "only-for-tests"
EXTENSION = {"ServerApp": {"jpserver_extensions": {"mlops_lab": True}}}


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    """pytest-jupyter: enable our extension."""
    return copy.deepcopy(EXTENSION)  # the server writes into it


@dataclass
class Answer:
    """Status and content of an answer."""

    status: int
    content: Any
    headers: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.content[key]


@dataclass
class Server:
    """A Jupyter server in a process of its own."""

    root: Path
    process: subprocess.Popen[bytes] | None = None
    port: int = 0

    def start(self, *arguments: str) -> None:
        """Start the server and wait until it answers."""
        here = self.root.parent / "jupyter"
        places = {f"JUPYTER_{name}_DIR": str(here / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        here.mkdir(exist_ok=True)
        config = here / "config.json"
        config.write_text(json.dumps(EXTENSION))
        command = [
            *(sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser", "--ip=127.0.0.1", "--port=0"),
            *(f"--ServerApp.root_dir={self.root}", f"--IdentityProvider.token={TOKEN}", f"--config={config}", *arguments),
        ]
        places["MLOPS_LAB_CONFIG"] = str(self.root.parent / "config")  # connections to Kubeflow
        environment = {**os.environ, **places, "JUPYTER_NO_CONFIG": "1"}
        self.log = self.root.parent / "server.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        told = here / "runtime" / f"jpserver-{self.process.pid}.json"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(OSError, ValueError):
                self.port = json.loads(told.read_text())["port"]
                if self.get("/roles").status == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"the server did not start: {self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        """End the server as Ctrl-C does; runs go on."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def end_runs(self) -> None:
        """Leave no run behind of a test that failed on its way."""
        for runs in self.root.rglob(".mlops_lab/runs"):
            for folder in runs.iterdir():
                (folder / "cancel").touch()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mlops-lab/api"

    def ask(self, method: str, route: str, body: Any = None, token: str = TOKEN, base: str = "") -> Answer:
        """Ask the server; whatever the status, the answer's content is decoded."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}
        request = urllib.request.Request((base or self.url) + route, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, text, found = answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            status, text, found = error.code, error.read(), dict(error.headers)
        return Answer(status, json.loads(text) if text else None, found)

    def get(self, route: str) -> Answer:
        return self.ask("GET", route)

    def post(self, route: str, body: Any = None) -> Answer:
        return self.ask("POST", route, body)

    def contents(self, method: str, path: str, body: Any = None) -> Answer:
        """Ask Jupyter's own contents API, as its file browser does."""
        return self.ask(method, path, body, base=f"http://127.0.0.1:{self.port}/api/contents/")

    def write(self, name: str, cells: Sequence[CellSpec], metadata: dict[str, Any] | None = None) -> Path:
        """A notebook below the server's root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook_node(cells, metadata), path)
        return path

    def run(self, name: str, **request: Any) -> str:
        """Start a run without tracking, and give its id."""
        answer = self.post("/runs", {"path": name, "tracking": False, **request})
        assert answer.status == 201, answer
        return str(answer["id"])

    def wait(self, run: str, status: str = "", seconds: float = 90, process: bool = False) -> dict[str, Any]:
        """The state of a run once it has ended (with this status), and its process, too, if that is asked for."""
        deadline = time.monotonic() + seconds
        while (state := self.get(f"/runs/{run}").content)["status"] == "running" or (process and "exit" not in state):
            assert time.monotonic() < deadline, state
            time.sleep(0.1)
        assert not status or state["status"] == status, state
        return state

    def stream(self, run: str, after: int = 0) -> Any:
        """A websocket on a run's events."""
        url = f"ws{self.url.removeprefix('http')}/runs/{run}/stream?after={after}"
        return create_connection(url, header=[f"Authorization: token {TOKEN}"], timeout=60)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that all tests ask."""
    root = tmp_path_factory.mktemp("server") / "root"
    root.mkdir()
    server = Server(root)
    server.start()
    yield server
    server.stop()
    server.end_runs()


@pytest.fixture(scope="session")
def finished(server: Server) -> dict[str, Any]:
    """The state of a run that is done: a table, an array, a gate, a parameter, something that can't be passed on."""
    server.write("done/table.ipynb", DONE)
    return server.wait(server.run("done/table.ipynb", parameters={"rows": 30}), "done", process=True)


@pytest.fixture(scope="session")
def failed(server: Server) -> dict[str, Any]:
    """The state of a run whose second step failed in its second cell."""
    server.write("failed/broken.ipynb", FAILED, {"mlops_lab": {"steps": {"divide": {"env": {"GREETING": "hello"}}}}})
    return server.wait(server.run("failed/broken.ipynb", parameters={"n": 5}), "failed", process=True)


DONE: list[CellSpec] = [
    ("md", "# A table"),
    ("parameters", "rows: int = 3  # how many"),
    ("setup", "import pandas as pd\nimport numpy as np"),
    ("step:make", "table = pd.DataFrame({'n': range(rows), 'half': [i / 2 if i else None for i in range(rows)]})\n"
     "grid = np.arange(12.0).reshape(3, 4)\nlines = (line for line in 'ab')\nprint('made', rows)"),
    ("step:check gate", "assert len(table) == rows"),
    ("step:sum", "total = table.n.sum() + grid.sum()\nnames = {'total': int(total)}\ntable"),
]  # fmt: skip

FAILED: list[CellSpec] = [
    ("parameters", "n = 3"),
    ("setup", "base = 10\nimport os"),
    ("step:make", "numbers = list(range(n))\ndef scaled(v):\n    return v * base"),
    ("step:divide", "scaled_numbers = [scaled(v) for v in numbers]\nprint(scaled_numbers, os.environ.get('GREETING'))"),
    "quotient = scaled_numbers[2] // (n - 5)",
]
