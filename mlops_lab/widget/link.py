"""A link to MLflow's UI: `%mlops mlflow` starts the UI meanwhile, below `%mlops runs` it is started by the click."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from mlops_lab import mlflow_ui
from mlops_lab.errors import MlopsLabError


class LinkWidget(anywidget.AnyWidget):
    """Says that MLflow starts, and then where it is; the page knows its own way to a port of this machine.

    With `by_click` it is a button until then.
    """

    _esm = Path(__file__).parent / "run.js"

    port = traitlets.Int(0).tag(sync=True)
    address = traitlets.Unicode().tag(sync=True)
    origin = traitlets.Unicode().tag(sync=True)
    failure = traitlets.Unicode().tag(sync=True)
    by_click = traitlets.Bool(False).tag(sync=True)

    def __init__(self, home: Path, uri: str, port: int, by_click: bool = False) -> None:
        super().__init__(address=mlflow_ui.address(uri), by_click=by_click)
        self._home, self._uri, self._wanted = home, uri, port
        # The page tells where it is, once it shows the link: MLflow takes requests from pages that it knows.
        self.observe(self._open, "origin")

    def _open(self, _: Any) -> None:
        def work() -> None:
            try:
                origins = [self.origin] if self.origin.startswith("http") else []
                self.port = mlflow_ui.Ui.open(self._home, self._uri, port=self._wanted, origins=origins).port
            except MlopsLabError as error:
                self.failure = str(error)

        if not self.address:
            threading.Thread(target=work, daemon=True).start()


def show_link(home: Path, uri: str, port: int = 0, by_click: bool = False) -> None:
    """Show the link in the notebook."""
    from IPython.display import display

    widget = LinkWidget(home, uri, port, by_click)
    text = f"MLflow: {widget.address}" if widget.address else "MLflow: %mlops mlflow, or mlops-lab mlflow"
    live = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    display({"application/vnd.jupyter.widget-view+json": live, "text/plain": text}, raw=True)
