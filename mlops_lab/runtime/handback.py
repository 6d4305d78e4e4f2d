"""What a step in a container gives back to whoever follows its run: its executed notebook, in the pod's log and in MLflow.

The artifacts of a task can't be read through KFP's interface (its answers have their ids only), its log can. So the notebook
stands there, packed, in lines of events. Where an MLflow run was opened for the task, `MLFLOW_RUN_ID` names it, and it gets the
notebook, too, and as tags the step's name and how it ended: for whoever may not read logs, or comes when they are gone.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LARGEST = 4 * 2**20  # bytes, packed; a larger notebook is only among the artifacts
STEP_TAG, ENDED_TAG = "mlops_lab.step", "mlops_lab.step_finished"
_TAG = 5_000  # characters that a tag has room for in every version of MLflow
_LINE = 12_000  # characters; container runtimes cut lines at 16 KiB


def notebook(path: Path, emit: Callable[[dict[str, Any]], None]) -> None:
    """Write a step's executed notebook into the pod's log, in parts."""
    if not path.exists():
        return
    packed = base64.b85encode(zlib.compress(path.read_bytes(), 9)).decode()
    if len(packed) > LARGEST:
        print(f"The executed notebook is too large for the log ({len(packed)} bytes); it is an artifact.")  # noqa: T201
        return
    for part, start in enumerate(range(0, len(packed), _LINE)):
        emit({"type": "executed_notebook", "part": part, "data": packed[start : start + _LINE]})


def to_mlflow(path: Path, metrics: Mapping[str, float], ended: dict[str, Any], emit: Callable[[dict[str, Any]], None]) -> None:
    """Log the executed notebook, the metrics and the last event of a step to the MLflow run that was opened for it, if any.

    Tracking that is down never fails a step.
    """
    run_id, uri = os.environ.get("MLFLOW_RUN_ID"), os.environ.get("MLFLOW_TRACKING_URI")
    if not run_id or not uri:
        return
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    try:
        from mlflow import MlflowClient
    except ImportError:
        return  # the notebook does not use it, and it is too large to install for this
    try:
        client = MlflowClient(uri)
        for name, value in metrics.items():
            client.log_metric(run_id, name, value)
        if path.exists():
            client.log_artifact(run_id, str(path))
        client.set_tag(run_id, STEP_TAG, ended["step"])
        client.set_tag(run_id, ENDED_TAG, _short(ended))
        found = client.get_run(run_id)
    except Exception as error:  # MLflow and its HTTP layer raise unrelated types
        print(f"MLflow did not take the step's notebook: {(str(error).splitlines() or [type(error).__name__])[0][:300]}")  # noqa: T201
        return
    emit({"type": "tracking_run", "run_id": run_id, "experiment_id": found.info.experiment_id})
    if found.data.metrics:
        emit({"type": "metrics", "values": dict(found.data.metrics)})


def _short(ended: dict[str, Any]) -> str:
    """The event as JSON that a tag has room for: without its outputs, and in the end with half of a message."""
    text = json.dumps(ended)
    if len(text) > _TAG:
        text = json.dumps({key: value for key, value in ended.items() if key != "outputs"})
    if len(text) > _TAG:
        failure = {**ended["failure"], "message": ended["failure"]["message"][: _TAG // 8]}
        text = json.dumps({"type": ended["type"], "step": ended["step"], "status": ended["status"], "failure": failure})
    return text
