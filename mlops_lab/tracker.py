"""The tracker process (`python -m mlops_lab.tracker RUN_FOLDER`): mirrors a run's log into MLflow as it grows.

A parent run stands for the pipeline run and a nested run for each attempt at a step. It hears from the engine on its
standard input (`reserve` a step's run, `drain`) and answers on its standard output, a JSON object a line; see `tracking.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlops_lab import events as ev
from mlops_lab.runs import RunFolder

_STATUS = {"done": "FINISHED", "failed": "FAILED", "rejected": "FAILED", "cancelled": "KILLED"}
_TRIES = 3
_QUIET_END = 5.0  # seconds without news after which a run whose engine is gone is taken as killed


class Mirror:
    """Writes a run's events to MLflow."""

    def __init__(self, folder: RunFolder, experiment: str, uri: str, artifacts: str | None, say: Callable[..., None]) -> None:
        self.folder, self.experiment, self.uri, self.artifacts, self.say = folder, experiment, uri, artifacts, say
        self.client: Any = None
        self.experiment_id = ""
        self.parent = ""
        self.runs: dict[tuple[str, int], str] = {}
        self.notebooks: dict[tuple[str, int], str] = {}
        self.down = False

    def connect(self) -> None:
        """Import MLflow, open the store and the experiment."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        import mlflow
        from filelock import FileLock

        mlflow.set_tracking_uri(self.uri)
        self.client = mlflow.MlflowClient(self.uri)
        # Two runs that start at once would both create the tables of a new store.
        with FileLock(self.folder.path.parent.parent / "locks" / "mlflow.lock"):
            known = self.client.get_experiment_by_name(self.experiment)
            if known is None:
                self.experiment_id = self.client.create_experiment(self.experiment, artifact_location=self.artifacts)
            else:
                self.experiment_id = known.experiment_id
                if known.lifecycle_stage == "deleted":
                    self.client.restore_experiment(self.experiment_id)

    def attempt(self, what: Callable[[], Any]) -> Any:
        """Do something with the store; after a few tries in vain, say so once and do without from then on."""
        if self.down:
            return None
        for number in range(_TRIES):
            try:
                return what()
            except Exception as error:  # MLflow, its HTTP layer and its database raise unrelated types
                if number == _TRIES - 1:
                    self.down = True
                    self.say(
                        warning=f"{self.uri} can't be reached or used, this run is not recorded there: {_first_line(error)}"
                    )
                    return None
                time.sleep(0.5 * 2**number)
        return None

    def reserve(self, step: str, attempt: int) -> None:
        """Make the nested run of an attempt, if it isn't there, and tell its id."""
        if (step, attempt) in self.runs or not self.parent:
            return
        tags = {"mlflow.parentRunId": self.parent, "mlops_lab.step": step, "mlops_lab.attempt": str(attempt)}
        made = self.attempt(lambda: self.client.create_run(self.experiment_id, tags=tags, run_name=step))
        if made:
            self._made(step, attempt, made.info.run_id)

    def _made(self, step: str, attempt: int, run_id: str) -> None:
        self.runs[step, attempt] = run_id
        self.say(
            tracking_run={
                "step": step,
                "attempt": attempt,
                "run_id": run_id,
                "uri": self.uri,
                "experiment_id": self.experiment_id,
            }
        )

    def take(self, event: ev.AnyEvent) -> None:
        """Mirror one event."""
        match event:
            case ev.RunStarted():
                self.attempt(lambda: self._start(event))
            case ev.StepStarted():
                self.reserve(event.step, event.attempt)
                self.notebooks[event.step, event.attempt] = event.notebook
            case ev.StepFinished():
                self.attempt(lambda: self._finish_step(event))
            case ev.StepOvertaken():
                self.attempt(lambda: self._overtaken(event))
            case ev.StepCached():
                self.attempt(lambda: self._cached(event))
            case ev.RunFinished():
                self.attempt(lambda: self._finish(event.status))

    def _start(self, event: ev.RunStarted) -> None:
        if self.client is None:
            self.connect()
        tags = {
            "mlflow.source.name": event.notebook,
            "mlflow.source.type": "NOTEBOOK",
            "mlops_lab.run": event.run,
            "mlops_lab.pipeline": event.pipeline,
            "mlops_lab.notebook_digest": event.digest,
            "mlops_lab.version": event.mlops_lab,
        }
        if event.resumed_from:
            tags["mlops_lab.resumed_from"] = event.resumed_from
        self.parent = self.client.create_run(self.experiment_id, tags=tags, run_name=event.run).info.run_id
        self._made("", 0, self.parent)
        for name, value in event.parameters.items():
            self.client.log_param(self.parent, name, value)
        self.client.log_artifact(self.parent, str(self.folder.notebook), "notebook")
        self.client.log_text(self.parent, _environment(), "requirements.txt")

    def _finish_step(self, event: ev.StepFinished) -> None:
        run_id = self.runs.get((event.step, event.attempt))
        if run_id is None:
            return
        self._log_inputs(run_id, event.inputs)
        self._log_notebook(run_id, self.notebooks.get((event.step, event.attempt), ""))
        if event.failure:
            self.client.set_tag(run_id, "mlops_lab.failure", event.failure.message[:5000])
        self.client.set_terminated(run_id, _STATUS.get(event.status, "FAILED"))
        metrics = self.client.get_run(run_id).data.metrics
        if metrics:
            self.say(metrics={"step": event.step, "values": metrics})

    def _log_inputs(self, run_id: str, inputs: dict[str, str]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        found = [
            DatasetInput(
                Dataset(name=name, digest=version[:36], source_type="mlops_lab", source=json.dumps({"version": version})),
                [InputTag("mlflow.data.context", "input")],
            )
            for name, version in inputs.items()
        ]
        if found:
            self.client.log_inputs(run_id, found)

    def _log_notebook(self, run_id: str, path: str) -> None:
        if not path or not Path(path).exists():
            return
        self.client.log_artifact(run_id, path)
        with contextlib.suppress(Exception):  # a notebook that can't be rendered is still there as it is
            from nbconvert import HTMLExporter

            html, _ = HTMLExporter(exclude_input_prompt=True).from_filename(path)
            self.client.log_text(run_id, html, "executed.html")

    def _overtaken(self, event: ev.StepOvertaken) -> None:
        run_id = self.runs.get((event.step, event.attempt))
        if run_id:
            self.client.set_tag(run_id, "mlops_lab.overtaken", event.because)
            self.client.set_terminated(run_id, "KILLED")

    def _cached(self, event: ev.StepCached) -> None:
        tags = {
            "mlflow.parentRunId": self.parent,
            "mlops_lab.step": event.step,
            "mlops_lab.cached_from": event.from_run,
        }
        run_id = self.client.create_run(self.experiment_id, tags=tags, run_name=event.step).info.run_id
        self.client.set_terminated(run_id, "FINISHED")

    def _finish(self, status: str) -> None:
        self.client.set_tag(self.parent, "mlops_lab.status", status)
        self.client.set_terminated(self.parent, _STATUS.get(status, "FAILED"))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _environment() -> str:
    from importlib import metadata

    found = {f"{d.metadata['Name']}=={d.version}" for d in metadata.distributions() if d.metadata["Name"]}
    return f"# Python {sys.version.split()[0]}\n" + "\n".join(sorted(found, key=str.lower)) + "\n"


def main() -> None:
    """Follow the log until the run ends, or until its engine is gone."""
    parser = argparse.ArgumentParser(prog="mlops_lab.tracker", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--uri", required=True)
    parser.add_argument("--artifacts")
    arguments = parser.parse_args()
    os.nice(10)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print is not an answer

    def say(**message: Any) -> None:
        with contextlib.suppress(OSError):  # the engine is gone
            answers.write(json.dumps(message) + "\n")

    folder = RunFolder(arguments.folder)
    mirror = Mirror(folder, arguments.experiment, arguments.uri, arguments.artifacts, say)
    seen, pending, asked, last_news = 0, b"", True, time.monotonic()
    requests: list[dict[str, Any]] = []
    while True:
        news = list(folder.events(seen))
        for event in news:
            seen, last_news = event.seq, time.monotonic()
            mirror.take(event)
            if isinstance(event, ev.RunFinished):
                return
        for request in requests:
            if "reserve" in request:
                mirror.reserve(**request["reserve"])
            elif "drain" in request:
                for event in folder.events(seen):
                    seen = event.seq
                    mirror.take(event)
                say(drained=True)
        requests = []
        if not asked and not folder.is_active and time.monotonic() - last_news > _QUIET_END:
            mirror.attempt(lambda: mirror._finish("cancelled"))
            return
        if asked and select.select([0], [], [], 0.1)[0]:
            data = os.read(0, 65536)
            asked = bool(data)  # an empty read means that the engine is gone
            *lines, pending = (pending + data).split(b"\n")
            requests = [json.loads(line) for line in lines if line]
        elif not asked:
            time.sleep(0.2)


if __name__ == "__main__":
    main()
