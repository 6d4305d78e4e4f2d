"""Events -> MLflow, seen from the engine: starts the tracker in a process of its own, and hears from it.

Importing MLflow takes seconds, and its store may be slow or down; none of that may hold up a step. So `tracker.py` runs
beside the run, reads its log, and tells what it did in JSON lines. Tracking that is down never fails a run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlops_lab import events as ev
from mlops_lab.runs import Home

URI = "MLFLOW_TRACKING_URI"


def default_uri(folder: Path) -> str:
    """The store of a notebook's folder: what the environment names, else a SQLite file beside the runs."""
    return os.environ.get(URI) or f"sqlite:///{Home.of(folder).folder / 'mlflow.db'}"


def ui_command(folder: Path) -> str:
    """The command line that shows the runs of a notebook's folder."""
    uri = default_uri(folder)
    if uri.startswith(("http:", "https:")):
        return f"open {uri}"
    command = "mlflow" if shutil.which("mlflow") else os.path.relpath(Path(sys.executable).with_name("mlflow"))
    return f"{command} ui --backend-store-uri {uri}"


class Tracker:
    """The tracking of one run. Safe to call from the step threads."""

    def __init__(
        self, process: subprocess.Popen[str], on_message: Callable[[ev.AnyEvent], None], uri: str, experiment: str
    ) -> None:
        self._process = process
        self._on_message = on_message
        self._uri, self._experiment = uri, experiment
        self._changed = threading.Condition()
        self._runs: dict[tuple[str, int], ev.TrackingRun] = {}
        self._drained = self._gone = self._warned = False
        self._reader = threading.Thread(target=self._read, daemon=True, name="tracking")
        self._reader.start()

    @classmethod
    def start(cls, run_folder: Path, *, experiment: str, notebook: Path, on_message: Callable[[ev.AnyEvent], None]) -> Tracker:
        """Start tracking a run; what the tracker has to say reaches `on_message` as events, from a thread."""
        uri = default_uri(notebook.parent)
        command = [sys.executable, "-m", "mlops_lab.tracker", str(run_folder), "--experiment", experiment, "--uri", uri]
        if uri.startswith("sqlite:") and not os.environ.get(URI):
            command += ["--artifacts", (Home.of(notebook.parent).folder / "mlartifacts").as_uri()]
        with open(run_folder / "tracker.log", "wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        return cls(process, on_message, uri, experiment)

    def base_environment(self) -> dict[str, str]:
        """Where MLflow is, for a step that isn't known to use it; costs no waiting."""
        return {URI: self._uri, "MLFLOW_EXPERIMENT_NAME": self._experiment}

    def environment(self, step: str, attempt: int, timeout: float = 120) -> dict[str, str]:
        """The same with the step's own MLflow run, so that `mlflow.log_metric` in a cell lands there. Waits for the run."""
        self._tell({"reserve": {"step": step, "attempt": attempt}})
        with self._changed:
            self._changed.wait_for(lambda: (step, attempt) in self._runs or self._gone, timeout)
            run = self._runs.get((step, attempt))
        if run is None:
            self._warn(f"MLflow gave no run for step {step!r}; what its cells log goes to a run of its own")
            return self.base_environment()
        return {URI: self._uri, "MLFLOW_RUN_ID": run.run_id, "MLFLOW_EXPERIMENT_ID": run.experiment_id}

    def drain(self, timeout: float) -> None:
        """Wait until all events so far are in MLflow."""
        self._tell({"drain": True})
        with self._changed:
            self._changed.wait_for(lambda: self._drained or self._gone, timeout)
            late = not (self._drained or self._gone)
        if late:
            self._warn(f"MLflow had not taken everything after {timeout:g} s; see tracker.log in the run's folder")

    def finish(self, timeout: float) -> None:
        """Let the tracker see the end of the log and end by itself; end it when it doesn't."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(1)

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            assert self._process.stdin is not None
            with self._changed:
                self._process.stdin.write(json.dumps(message) + "\n")
                self._process.stdin.flush()
        except (OSError, ValueError):
            with self._changed:
                self._gone = True

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if "tracking_run" in message:
                run = ev.TrackingRun(**message["tracking_run"])
                self._on_message(run)
                with self._changed:
                    self._runs[run.step, run.attempt] = run
                    self._changed.notify_all()
            elif "metrics" in message:
                self._on_message(ev.Metrics(**message["metrics"]))
            elif "warning" in message:
                self._warn(message["warning"])
            elif "drained" in message:
                with self._changed:
                    self._drained = True
                    self._changed.notify_all()
        with self._changed:
            self._gone = True
            self._changed.notify_all()

    def _warn(self, text: str) -> None:
        """Say once that tracking has trouble."""
        if not self._warned:
            self._warned = True
            self._on_message(ev.Message(level="warning", text=f"tracking: {text}"))
