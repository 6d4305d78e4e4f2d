"""Events -> MLflow, seen from the engine: starts the tracker in a process of its own, and hears from it.

Importing MLflow takes seconds, and its store may be slow or down; none of that may hold up a step. So `tracker.py` runs
beside the run, reads its log, and tells what it did in JSON lines. Tracking that is down never fails a run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
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
        return f"open {without_password(uri)}"
    command = "mlops-lab" if shutil.which("mlops-lab") else os.path.relpath(Path(sys.executable).with_name("mlops-lab"))
    return shlex.join([command, "mlflow", os.path.relpath(folder)])


def store_of(told: str, notebook: Path, home: Path) -> str:
    """The store that a log tells of, with its password where the environment names it, for logs have none.

    `home` is the folder of the runs: it may have been moved with its store.
    """
    known = (default_uri(notebook.parent), f"sqlite:///{home / 'mlflow.db'}")
    return next((uri for uri in known if without_password(uri) == without_password(told)), told)


def without_password(text: str) -> str:
    """The text with the user and password of any address in it left out: logs and terminals are shared."""
    return re.sub(r"(?<=://)[^/@\s]*@", "", text)


_OWN_BOOKS = re.compile(
    r"\b(set_experiment|set_tracking_uri|search_runs|search_logged_models|last_active_run|get_experiment_by_name)\s*\("
)


def keeps_own_books(code: str) -> bool:
    """True if a notebook names its own experiment or store, or looks through one.

    MLflow refuses a run of ours in another experiment than the notebook's; and a search would find the runs of pipelines.
    """
    return _OWN_BOOKS.search(code) is not None


class Tracker:
    """The tracking of one run. Safe to call from the step threads."""

    def __init__(
        self, process: subprocess.Popen[str] | None, on_message: Callable[[ev.AnyEvent], None], uri: str, experiment: str
    ) -> None:
        self._process = process
        self._on_message = on_message
        self._uri, self._experiment = uri, experiment
        self._changed = threading.Condition()
        self._runs: dict[tuple[str, int], ev.TrackingRun] = {}
        self._refused: set[tuple[str, int]] = set()
        self._drained = self._warned = False
        self._gone = process is None
        self._speaking = threading.Lock()
        self._muted = False
        self._reader = threading.Thread(target=self._read, daemon=True, name="tracking")
        self._reader.start()

    @classmethod
    def start(cls, run_folder: Path, *, experiment: str, notebook: Path, on_message: Callable[[ev.AnyEvent], None]) -> Tracker:
        """Start tracking a run; what the tracker has to say reaches `on_message` as events, from a thread."""
        uri = default_uri(notebook.parent)
        # -P: a file of the user's called select.py is not the one to import. The address may hold a password, which others
        # could read on a command line. Cells run in the notebook's folder, where a relative address has to mean the same.
        command = [sys.executable, "-P", "-m", "mlops_lab.tracker", str(run_folder.absolute()), "--experiment", experiment]
        if uri.startswith("sqlite:") and not os.environ.get(URI):
            command += ["--artifacts", (Home.of(notebook.parent).folder / "mlartifacts").as_uri()]
        try:
            with open(run_folder / "tracker.log", "wb") as log:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    start_new_session=True,
                    cwd=notebook.parent,
                    env={**os.environ, URI: uri},
                )
        except OSError as error:
            tracker = cls(None, on_message, uri, experiment)
            tracker._warn(f"can't start: {error.strerror}")
            return tracker
        return cls(process, on_message, uri, experiment)

    def base_environment(self) -> dict[str, str]:
        """Where MLflow is, for a step that isn't known to use it; costs no waiting."""
        # MLflow raises when an experiment's id and name are both set and differ; the user's own id wins.
        named = {} if os.environ.get("MLFLOW_EXPERIMENT_ID") else {"MLFLOW_EXPERIMENT_NAME": self._experiment}
        return {URI: self._uri, **named}

    def environment(self, step: str, attempt: int, timeout: float = 120, own_books: bool = False) -> dict[str, str]:
        """The same with the step's own MLflow run, so that `mlflow.log_metric` in a cell lands there. Waits for the run.

        A notebook with `own_books` gets no run and no experiment of ours, but waits as well: while the tracker creates the
        tables of a new store, MLflow in the cell would try to create them too, and fail.
        """
        key = ("", 0) if own_books else (step, attempt)
        if not own_books:
            self._tell({"reserve": {"step": step, "attempt": attempt}})
        with self._changed:
            self._changed.wait_for(lambda: key in self._runs or key in self._refused or self._gone, timeout)
            run = self._runs.get(key)
        if run is None:
            self._warn(f"MLflow gave no run for step {step!r}; what its cells log goes to a run of its own")
        if own_books:
            return {URI: self._uri}
        if run is None:
            return self.base_environment()
        return {URI: self._uri, "MLFLOW_RUN_ID": run.run_id, "MLFLOW_EXPERIMENT_ID": run.experiment_id}

    def drain(self, timeout: float) -> None:
        """Wait until all events so far are in MLflow. Nothing is said after this: the log ends here."""
        self._tell({"drain": True})
        with self._changed:
            self._changed.wait_for(lambda: self._drained or self._gone, timeout)
            late = not (self._drained or self._gone)
        if late:
            self._warn(f"MLflow had not taken everything after {timeout:g} s; see tracker.log in the run's folder")
        with self._speaking:
            self._muted = True

    def finish(self, timeout: float) -> None:
        """Let the tracker see the end of the log and end by itself; end it when it doesn't."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(1)

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            if self._process is None or self._process.stdin is None:
                return
            with self._changed:
                self._process.stdin.write(json.dumps(message) + "\n")
                self._process.stdin.flush()
        except (OSError, ValueError):
            with self._changed:
                self._gone = True

    def _read(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        for line in self._process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if "tracking_run" in message:
                run = ev.TrackingRun(**message["tracking_run"])
                self._say(run)
                with self._changed:
                    self._runs[run.step, run.attempt] = run
                    self._changed.notify_all()
            elif "no_run" in message:
                with self._changed:
                    self._refused.add((message["no_run"]["step"], message["no_run"]["attempt"]))
                    self._changed.notify_all()
            elif "metrics" in message:
                self._say(ev.Metrics(**message["metrics"]))
            elif "metric_points" in message:
                self._say(ev.MetricPoints(**message["metric_points"]))
            elif "logged_model" in message:
                self._say(ev.LoggedModel(**message["logged_model"]))
            elif "warning" in message:
                self._warn(message["warning"])
            elif "drained" in message:
                with self._changed:
                    self._drained = True
                    self._changed.notify_all()
        if not self._drained:
            self._warn("the tracker has ended before the run; see tracker.log in the run's folder")
        with self._changed:
            self._gone = True
            self._changed.notify_all()

    def _say(self, event: ev.AnyEvent) -> None:
        with self._speaking:
            if not self._muted:
                self._on_message(event)

    def _warn(self, text: str) -> None:
        """Say once that tracking has trouble."""
        if not self._warned:
            self._warned = True
            self._say(ev.Message(level="warning", text=f"tracking: {text}"))
