"""Which runs a search such as `metrics.auc > 0.9` finds, in MLflow's own syntax.

Runs that are in a store are searched for there; those that were not tracked are held against the same filter, as MLflow
reads it, by what their logs say. All of it needs MLflow, whose import takes seconds, so it happens in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlops_lab import runstate
from mlops_lab.errors import MlopsLabError, UsageError
from mlops_lab.runs import RunFolder
from mlops_lab.tracking import store_of, without_password

_PAGE = 1000


def matching(runs: Iterable[RunFolder], where: str) -> frozenset[Path]:
    """The folders of those runs that the search finds. Raises `UsageError` for a search that MLflow can't read."""
    order = {"where": where, "runs": [str(run.path) for run in runs]}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mlops_lab.where"],
        input=json.dumps(order).encode(),
        capture_output=True,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
    )
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise MlopsLabError(f"The search failed: {done.stderr.decode(errors='replace').strip()[-300:]}") from None
    if "message" in answer:
        raise UsageError(answer["message"])
    return frozenset(map(Path, answer["found"]))


def _search(order: dict[str, Any]) -> list[str]:
    from mlflow.utils.search_utils import SearchUtils

    states = {path: runstate.fold(RunFolder(Path(path)).events()) for path in order["runs"]}
    SearchUtils.parse_search_filter(order["where"])  # a mistake is one for every store
    stores: dict[str, dict[str, str]] = {}  # store -> MLflow's id of a run -> our folder
    untracked = {}
    for path, state in states.items():
        if state.tracking:
            uri = store_of(state.tracking.uri, Path(state.notebook), Path(path).parent.parent)
            stores.setdefault(uri, {})[state.tracking.run_id] = path
        else:
            untracked[path] = state
    found = [path for uri, runs in stores.items() for path in _of_store(uri, runs, states, order["where"])]
    local = SearchUtils.filter([_as_mlflow(path, state) for path, state in untracked.items()], order["where"])
    return found + [run.info.run_id for run in local]


def _of_store(uri: str, runs: dict[str, str], states: dict[str, runstate.RunState], where: str) -> list[str]:
    import mlflow

    client = mlflow.MlflowClient(uri)
    experiments = {t.experiment_id for path in runs.values() if (t := states[path].tracking)}
    found, token = [], None
    while True:
        page = client.search_runs(sorted(experiments), where, max_results=_PAGE, page_token=token)
        found += [runs[run.info.run_id] for run in page if run.info.run_id in runs]
        token = page.token
        if not token:
            return found


def _as_mlflow(path: str, state: runstate.RunState) -> Any:
    """The run as MLflow would have it, by its log; its id is our folder."""
    from mlflow.entities import LifecycleStage, Metric, Param, Run, RunData, RunInfo, RunStatus, RunTag

    status = {"done": "FINISHED", "running": "RUNNING", "cancelled": "KILLED"}.get(state.status, "FAILED")
    begun, ended = int(state.started * 1000), int((state.started + state.seconds) * 1000)
    info = RunInfo(path, state.experiment, "", RunStatus.from_string(status), begun, ended, LifecycleStage.ACTIVE)
    tags = {"mlops_lab.run": state.id, "mlops_lab.status": state.status, "mlops_lab.pipeline": state.pipeline}
    return Run(
        info,
        RunData(
            [Metric(name, value, ended, 0) for name, value in state.metrics.items()],
            [Param(name, str(value)) for name, value in state.parameters.items()],
            [RunTag(name, value) for name, value in tags.items()],
        ),
    )


def main() -> None:
    """Answer the order on standard input with one line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    order = json.load(sys.stdin)
    from mlflow.exceptions import MlflowException

    try:
        answer: dict[str, Any] = {"found": _search(order)}
    except MlflowException as error:
        answer = {"message": f"--where {order['where']!r}: {without_password(str(error)).splitlines()[0]}"}
    answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
