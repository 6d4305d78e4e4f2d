"""Who may ask: authentication, XSRF, authorisation, bounds; answers are JSON in any case."""

from __future__ import annotations

import http.cookiejar
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.auth import Authorizer
from websocket import WebSocketBadStatusException, create_connection

from mlops_lab.runs import RunFolder

from .conftest import EXTENSION, TOKEN

CELLS = {"path": "nb.ipynb", "cells": [{"id": "a", "cell_type": "code", "source": "x = 1", "tags": ["step:a"]}]}
EVERY_ROUTE = [
    ("GET", "/roles"), ("POST", "/analyse"), ("POST", "/suggest"), ("POST", "/compile"), ("GET", "/connections"),
    ("GET", "/compare"), ("GET", "/runs"), ("POST", "/runs"), ("GET", "/runs/r"), ("DELETE", "/runs/r"),
    ("GET", "/runs/r/events"), ("GET", "/runs/r/stream"), ("POST", "/runs/r/cancel"), ("POST", "/runs/r/resume"),
    ("GET", "/runs/r/lessons"), ("POST", "/runs/r/mlflow"),
    ("GET", "/runs/r/notebook"), ("GET", "/runs/r/steps/s/log"), ("GET", "/runs/r/steps/s/previews"),
    ("POST", "/runs/r/steps/s/open"), ("GET", "/nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "route"), EVERY_ROUTE)
def test_nothing_is_told_without_a_token(server, method, route):
    assert server.ask(method, route, CELLS if method == "POST" else None, token="wrong").status == 403


def test_a_cookie_alone_does_not_post(server):
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    base = server.url.removesuffix("/mlops-lab/api")
    browser.open(f"{base}/login?token={TOKEN}").read()

    def post(**headers: str) -> int:
        request = urllib.request.Request(f"{server.url}/analyse", json.dumps(CELLS).encode(), headers)
        try:
            with browser.open(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code if json.loads(error.read())["kind"] in ("Forbidden", "NotFound") else 0

    assert post() == 403
    assert post(**{"X-XSRFToken": "made up"}) == 403
    xsrf = next(cookie.value for cookie in jar if cookie.name == "_xsrf")
    assert post(**{"X-XSRFToken": str(xsrf)}) == 200
    assert post(**{"X-XSRFToken": str(xsrf), "Origin": "https://elsewhere.example"}) in (403, 404)


def test_a_page_from_elsewhere_cannot_open_a_stream(server):
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    browser.open(f"{server.url.removesuffix('/mlops-lab/api')}/login?token={TOKEN}").read()
    cookie = "; ".join(f"{each.name}={each.value}" for each in jar)
    address = f"ws{server.url.removeprefix('http')}/runs/r/stream"
    own = create_connection(address, cookie=cookie, origin=f"http://127.0.0.1:{server.port}", timeout=10)
    assert own.recv_data()[0] == 8  # opened, and closed for there is no such run
    with pytest.raises(WebSocketBadStatusException) as refused:
        create_connection(address, cookie=cookie, origin="https://elsewhere.example", timeout=10)
    assert refused.value.status_code == 403


@pytest.mark.parametrize(
    ("body", "says"),
    [(b"{", "input"), (b"[]", "object"), (b"\xff\xfe", "malformed"), (b'{"path": 3, "cells": []}', "path"), (b"", "path"),
     (b'{"path": "nb.ipynb", "cells": [{"id": "a"}]}', "cell_type"), (b"[" * 200_000, "")],
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused_and_says_where(server, body, says):
    answer = server.ask("POST", "/analyse", body)
    assert (answer.status, answer["kind"]) == (400, "UsageError")
    assert says.lower() in answer["message"].lower()


@pytest.mark.parametrize(
    ("path", "status"),
    [("../nb.ipynb", 403), ("a/../../nb.ipynb", 403), (".hidden/nb.ipynb", 404), ("nb.py", 404), ("new/untitled.ipynb", 200)],
)
def test_a_notebook_is_analysed_under_a_path_below_the_root_only(server, path, status):
    assert server.post("/analyse", {**CELLS, "path": path}).status == status


class ReadersOnly(Authorizer):
    """Lets anybody who is logged in read, and nobody do anything."""

    asked: list[tuple[str, str]] = []

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        if resource == "mlops_lab":
            self.asked.append((action, handler.request.path.rpartition("/mlops-lab/api")[2]))
        return action == "read"


class TestWithAnAuthorizer:
    """A server whose authorizer lets users read only, and that takes small requests only."""

    @pytest.fixture
    def jp_server_config(self) -> dict[str, Any]:
        return {
            "ServerApp": {"jpserver_extensions": {"mlops_lab": True}, "authorizer_class": ReadersOnly},
            "MlopsLabApp": {"max_request_bytes": 2000},
        }

    async def test_each_route_asks_for_what_it_does(self, jp_fetch):
        ReadersOnly.asked.clear()
        refused = set()
        for method, route in EVERY_ROUTE:
            parts, body = route.strip("/").split("/"), {"body": "{}"} if method == "POST" else {}
            answer = await jp_fetch("mlops-lab", "api", *parts, method=method, raise_error=False, **body)
            action = ReadersOnly.asked[-1][0]
            assert (answer.code == 403) == (action != "read")
            if answer.code == 403:
                refused.add((method, route, action))
        assert refused == {
            ("POST", "/compile", "execute"), ("POST", "/runs", "execute"), ("POST", "/runs/r/resume", "execute"), ("POST", "/runs/r/mlflow", "execute"),
            ("GET", "/runs/r/stream", "execute"), ("GET", "/runs/r/steps/s/previews", "execute"),
            ("DELETE", "/runs/r", "write"), ("POST", "/runs/r/cancel", "write"), ("POST", "/runs/r/steps/s/open", "write"),
        }  # fmt: skip

    async def test_a_server_that_runs_something_is_not_idle(self, jp_serverapp, jp_fetch, tmp_path):
        [app] = jp_serverapp.extension_manager.extension_apps["mlops_lab"]
        assert app.current_activity() == []
        await jp_fetch("mlops-lab", "api", "roles")
        run = RunFolder(tmp_path / "20260101-000000-aaaa")
        run.path.mkdir()
        app._core.runs._begun.append(run)
        with run.owned():
            assert app.current_activity() == [run.id]
            assert jp_serverapp.extension_manager.any_activity()
        assert app.current_activity() == []

    async def test_more_than_the_server_takes_is_refused(self, jp_fetch):
        body = json.dumps({**CELLS, "metadata": {"x": "y" * 2000}})
        refused = await jp_fetch("mlops-lab", "api", "analyse", method="POST", body=body, raise_error=False)
        assert refused.code == 413
        assert "at most 2,000" in json.loads(refused.body)["message"]
        assert (await jp_fetch("mlops-lab", "api", "analyse", method="POST", body=json.dumps(CELLS))).code == 200


def test_the_extension_adds_little_to_the_servers_start():
    code = """
import sys, json, time
import jupyter_server.serverapp, jupyter_server.extension.application, jupyter_server.extension.handler
before, began = set(sys.modules), time.process_time()
import mlops_lab
[point] = mlops_lab._jupyter_server_extension_points()
took = time.process_time() - began
print(json.dumps({"took": took, "new": sorted(set(sys.modules) - before), "name": point["app"].name}))
"""
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(3)]
    found = [json.loads(text) for text in runs]
    heavy = {
        "kfp",
        "mlflow",
        "papermill",
        "pandas",
        "numpy",
        "sklearn",
        "IPython",
        "nbclient",
        "mlops_lab.plan",
        "mlops_lab.targets",
    }
    assert not heavy & set(found[0]["new"])
    assert min(each["took"] for each in found) < 0.1
    assert found[0]["name"] == "mlops_lab"


def test_answering_the_front_end_imports_neither_kfp_nor_mlflow_nor_papermill():
    code = """
import sys, json
from mlops_lab.server.core import Core
from mlops_lab.server.places import Places
core = Core(Places(sys.argv[1]))
core.runs.page(); core.roles(); core.targets()
print(json.dumps([m for m in ("kfp", "kfp_server_api", "mlflow", "papermill", "pandas", "numpy", "sklearn") if m in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, check=True)
    assert json.loads(done.stdout) == []


def test_pip_enables_the_extension():
    import tomllib

    root = Path(__file__).parent.parent.parent
    shared = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared["jupyter-config/server-config"] == "etc/jupyter/jupyter_server_config.d"
    assert json.loads((root / "jupyter-config/server-config/mlops_lab.json").read_text()) == EXTENSION
