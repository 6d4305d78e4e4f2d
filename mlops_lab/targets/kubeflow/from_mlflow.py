"""What a step left in MLflow, for a follower that can't read its log: how it ended, its metrics, its executed notebook.

`runtime/handback.py` puts it there. MLflow is asked by a process of its own (this module's `main`: a question as JSON on its
standard input, an answer on its output), since it takes seconds to import, and waits long for what is down.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_lab.runtime.handback import ENDED_TAG, STEP_TAG

_SECONDS = 90.0
NOTEBOOK = "executed.ipynb"


@dataclass(frozen=True)
class Left:
    """What MLflow has of a step. `ended` is the step's last event as the runtime wrote it."""

    run_id: str
    ended: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    has_notebook: bool = False


def find(uri: str, experiment: str, parent: str, step: str, folder: Path) -> Left | None:
    """What the MLflow run of a step below the one of a whole run holds; its notebook is put into the folder.

    None where there is no such run, or nothing of ours in it. Raises `OSError` with the reason where MLflow can't be asked.
    """
    question = {"experiment": experiment, "parent": parent, "step": step, "folder": str(folder)}
    environment = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10", **os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "mlops_lab.targets.kubeflow.from_mlflow"],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env={**environment, "MLFLOW_TRACKING_URI": uri},
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"MLflow did not answer within {_SECONDS:g} s") from None
    if done.returncode:
        raise OSError((done.stderr.strip().splitlines() or ["it ended without a word"])[-1][:300])
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return Left(**answer) if answer else None


def _answer(question: dict[str, str]) -> dict[str, Any] | None:
    from mlflow import MlflowClient

    client = MlflowClient()
    runs = client.search_runs([question["experiment"]], f"tags.`mlflow.parentRunId` = '{question['parent']}'")
    mine = [run for run in runs if run.data.tags.get(STEP_TAG) == question["step"] and ENDED_TAG in run.data.tags]
    if not mine:
        return None
    latest = max(mine, key=lambda run: run.info.start_time)
    known = any(found.path == NOTEBOOK for found in client.list_artifacts(latest.info.run_id))
    if known:
        Path(question["folder"]).mkdir(parents=True, exist_ok=True)
        client.download_artifacts(latest.info.run_id, NOTEBOOK, question["folder"])
    ended = json.loads(latest.data.tags[ENDED_TAG])
    return {"run_id": latest.info.run_id, "ended": ended, "metrics": dict(latest.data.metrics), "has_notebook": known}


def _main() -> None:
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        answer = _answer(json.load(sys.stdin))
    except Exception as error:  # MLflow and its HTTP layer raise unrelated types
        sys.exit((str(error).splitlines() or [type(error).__name__])[0][:300])
    print(json.dumps(answer))  # noqa: T201


if __name__ == "__main__":
    _main()
