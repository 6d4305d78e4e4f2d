"""The way to MLflow: addresses of runs in a store, and MLflow's own UI for a store that has no server.

A remote store (`http:`, `databricks:`) has an address of its own. For a local one, `Ui.open` starts `mlflow server` on
127.0.0.1; `python -m mlops_lab.mlflow_ui` is the process between, which ends the UI once its standard input closes: with the
kernel or the command that asked for it. Behind JupyterHub or Binder, jupyter-server-proxy passes the port on.
"""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from mlops_lab.errors import MlopsLabError, UsageError
from mlops_lab.events import TrackingRun
from mlops_lab.runs import Home, homes
from mlops_lab.tracking import URI, default_uri, without_password

START_SECONDS = 120.0  # importing MLflow and making the tables of a new store take their time on a cold machine
_RECORD = "mlflow-ui.json"


def address(uri: str) -> str:
    """The web address of a store's UI, without a slash at its end; empty for a local store, which has none."""
    if uri.startswith(("http://", "https://")):
        return without_password(uri).partition("#")[0].rstrip("/")
    if uri.partition(":")[0] in ("databricks", "databricks-uc"):
        return _databricks_host(uri.partition("://")[2])
    return ""


def place(run: TrackingRun, model: str = "") -> str:
    """Where a run, or a model that it logged, stands below the address of its store's UI."""
    databricks = run.uri.startswith("databricks")
    kind = f"models/{model}" if model else f"runs/{run.run_id}"
    return f"/ml/experiments/{run.experiment_id}/{kind}" if databricks else f"/#/experiments/{run.experiment_id}/{kind}"


def _databricks_host(profile: str) -> str:
    """The workspace that MLflow's `databricks` or `databricks://PROFILE` means; empty if nothing says it."""
    if not profile and os.environ.get("DATABRICKS_HOST"):
        return _site(os.environ["DATABRICKS_HOST"])
    known = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(configparser.Error, OSError):
        known.read(os.environ.get("DATABRICKS_CONFIG_FILE") or Path.home() / ".databrickscfg")
    wanted = profile.partition(":")[0] or os.environ.get("DATABRICKS_CONFIG_PROFILE") or "DEFAULT"
    return _site(known[wanted].get("host", "")) if wanted in known else ""


def _site(host: str) -> str:
    """A workspace's address without what is copied along from a browser: a path, `?o=123`; names alone are taken, too."""
    host = host.strip()
    parts = urlsplit(host if "://" in host else f"https://{host}")
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def store_of(place: Path) -> tuple[Path, str]:
    """The notebook folder whose store to show, and the store's address: the last that was written below a folder.

    Raises `UsageError` where there is none yet.
    """
    if os.environ.get(URI):
        return (place.parent if place.suffix == ".ipynb" else place), os.environ[URI]
    found = [home for home in homes(place) if (home.folder / "mlflow.db").exists()]
    if not found:
        raise UsageError(
            f"There is no MLflow store in {place.absolute()} or below it: nothing has been run there with tracking."
        )
    home = max(found, key=lambda each: (each.folder / "mlflow.db").stat().st_mtime)
    return home.folder.parent, f"sqlite:///{home.folder / 'mlflow.db'}"


def command(port: int) -> list[str]:
    """The command line of MLflow's UI; the store stands in the environment, where no other user sees a password."""
    return [sys.executable, "-P", "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]


def environment(uri: str, origins: Sequence[str] = ()) -> dict[str, str]:
    """What MLflow's UI has in its environment. `origins` are pages that may talk to it besides those of this machine."""
    hosts = [origin.partition("://")[2] for origin in origins]
    allowed = ["localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*", "[::1]", "[::1]:*", *hosts]
    return {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(allowed),
        **({"MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins)} if origins else {}),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # prompt optimisation and the like: processes that nobody needs here
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


@dataclass
class Ui:
    """MLflow's UI on this machine; `process` is ours if we started it, and ends with us."""

    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address on this machine."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End it, if it is ours."""
        if self.process and self.process.stdin:
            self.process.stdin.close()
            self.process.wait()

    @classmethod
    def open(cls, folder: Path, uri: str = "", *, port: int = 0, origins: Sequence[str] = ()) -> Ui:
        """The UI of a notebook folder's store: the one that runs already, else a new one.

        Raises `MlopsLabError` when it does not come up.
        """
        uri = uri or default_uri(folder)
        record = Home.of(folder).folder / _RECORD
        known = _running(record, uri, origins)
        if known and port in (0, known):
            return cls(known)
        port = port or free_port()
        record.parent.mkdir(parents=True, exist_ok=True)
        with open(record.with_suffix(".log"), "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "mlops_lab.mlflow_ui", str(port)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment(uri, origins),
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                end = record.with_suffix(".log").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
                raise MlopsLabError(f"MLflow's UI for {without_password(uri)} did not start: {''.join(end)[:300]}")
            time.sleep(0.2)
        written = {"port": port, "process": process.pid, "uri": without_password(uri), "origins": list(origins)}
        record.write_text(json.dumps(written), encoding="utf-8")
        return cls(port, process)


def _running(record: Path, uri: str, origins: Sequence[str]) -> int | None:
    """The port of the UI that somebody has started for this store, if it is still there and takes these pages."""
    try:
        known: dict[str, Any] = json.loads(record.read_bytes())
        os.kill(known["process"], 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    fits = known["uri"] == without_password(uri) and set(origins) <= set(known["origins"])
    return int(known["port"]) if fits and _answers(known["port"]) else None


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def open_when_ready(port: int) -> None:
    """Show the UI in the browser as soon as it answers."""

    def wait() -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if _answers(port):
                webbrowser.open(f"http://127.0.0.1:{port}")
                return
            time.sleep(0.3)

    threading.Thread(target=wait, daemon=True).start()


def server_proxy() -> dict[str, Any]:
    """The launcher's item (an entry point of jupyter-server-proxy): MLflow's UI on the last store below the server's root."""
    root = "."
    with contextlib.suppress(ImportError):
        from jupyter_server.serverapp import ServerApp

        if ServerApp.initialized():
            root = ServerApp.instance().root_dir
    local = {"Host": "127.0.0.1:{port}", "Origin": "http://127.0.0.1:{port}"}  # the Jupyter server has checked both already
    return {
        "command": [sys.executable, "-P", "-m", "mlops_lab.cli", "mlflow", root, "--port", "{port}", "--no-browser"],
        "timeout": START_SECONDS,
        "request_headers_override": local,
        "new_browser_tab": True,
        "launcher_entry": {"title": "MLflow runs", "icon_path": str(Path(__file__).parent / "widget" / "mlflow.svg")},
    }


def serve(port: int, env: dict[str, str], lifeline: IO[bytes] | None = None) -> int:
    """Run the UI until it ends, until we are told to, or until the lifeline closes; its exit code."""
    process = subprocess.Popen(command(port), env=env, start_new_session=True)

    def end(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)

    def watch(pipe: IO[bytes]) -> None:
        pipe.read()
        end()
        time.sleep(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    if lifeline:
        threading.Thread(target=watch, args=(lifeline,), daemon=True).start()
    try:
        return process.wait()
    except KeyboardInterrupt:
        end()
        return process.wait()


if __name__ == "__main__":
    sys.exit(serve(int(sys.argv[1]), dict(os.environ), sys.stdin.buffer))
