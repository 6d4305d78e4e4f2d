"""The way from a run to its page in MLflow: that of the store's server, or MLflow's UI on this machine, started then."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from mlops_lab import mlflow_ui
from mlops_lab.moves import notebook_of
from mlops_lab.server.errors import NotFound
from mlops_lab.server.runs import Runs
from mlops_lab.tracking import store_of


class Trackers:
    """MLflow's UIs that were started from here; they end with the server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started: list[mlflow_ui.Ui] = []

    def page(self, runs: Runs, name: str, step: str, origin: str) -> dict[str, Any]:
        """Where the MLflow run of a run, or of one of its steps, is shown: `url`, or `place` below a `port` of this machine.

        `origin` is the page that asks, and will show it. It takes seconds where the UI has to be started.
        """
        run, followed = runs.follow(name)
        with followed.lock:
            state = followed.state
            if step and step not in state.steps:
                raise NotFound(f"Run {name} has no step {step!r}.")
            tracked = state.steps[step].tracking if step else state.tracking
        if tracked is None:
            what = f"Step {step!r} of run {name}" if step else f"Run {name}"
            raise NotFound(f"{what} has no MLflow run: it was not tracked, or its store could not be reached.")
        place = mlflow_ui.place(tracked)
        server = mlflow_ui.address(tracked.uri)
        if server:
            return {"url": server + place, "place": place}
        folder = (notebook_of(run) or Path(state.notebook)).parent
        uri = store_of(tracked.uri, folder / "notebook.ipynb", run.home.folder)
        with self._lock:
            ui = mlflow_ui.Ui.open(folder, uri, origins=[origin] if origin.startswith(("http://", "https://")) else [])
            if ui.process:
                self._started.append(ui)
        return {"port": ui.port, "place": place}

    def close(self) -> None:
        """End those that are ours."""
        for ui in self._started:
            ui.close()
