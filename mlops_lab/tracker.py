"""The tracker process (`python -m mlops_lab.tracker RUN_FOLDER`): mirrors a run's log into MLflow as it grows.

A parent run stands for the pipeline run and a nested run for each attempt at a step. It hears from the engine on its
standard input (`reserve` a step's run, `drain`) and answers on its standard output, a JSON object a line; see `tracking.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import select
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from mlops_lab import events as ev
from mlops_lab import runstate
from mlops_lab.imports import defer_grammar
from mlops_lab.runs import RunFolder
from mlops_lab.tracking import URI, without_password

_STATUS = {"done": "FINISHED", "failed": "FAILED", "rejected": "FAILED", "cancelled": "KILLED"}
_TRIES = 3
_POINTS = 500  # at the most in one event; of more, every so many
_WATCH = 1.0  # seconds between looks at the metrics of steps that run
_SAID = 300  # characters of why the store failed
_ENDING = 60.0  # seconds that an earlier run may take to end whose steps have
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
        self.open: set[str] = set()
        self.metrics: dict[tuple[str, int], dict[str, float]] = {}
        self.watched: dict[tuple[str, int], Watch] = {}  # steps that run and are known to use MLflow
        self.failures = 0
        self.down = False

    def connect(self) -> None:
        """Import MLflow, open the store and the experiment."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        import mlflow
        from filelock import FileLock

        mlflow.set_tracking_uri(self.uri)
        # Two runs that start at once would both create the tables of a new store, which making the client does.
        with FileLock(self.folder.path.parent.parent / "locks" / "mlflow.lock"):
            self.client = mlflow.MlflowClient(self.uri)
            known = self.client.get_experiment_by_name(self.experiment)
            if known is None:
                self.experiment_id = self.client.create_experiment(self.experiment, artifact_location=self.artifacts)
            else:
                self.experiment_id = known.experiment_id
                if known.lifecycle_stage == "deleted":
                    self.client.restore_experiment(self.experiment_id)

    def attempt(self, what: Callable[[], Any], essential: bool = False) -> Any:
        """Do one thing with the store, which must be safe to do again; after a few tries in vain, say so and go on.

        The store counts as down, and is left alone, once something essential or several things in a row have failed.
        """
        if self.down:
            return None
        tries = 1 if self.failures else _TRIES
        for number in range(tries):
            try:
                found = what()
            except Exception as error:  # MLflow, its HTTP layer and its database raise unrelated types
                if number < tries - 1:
                    time.sleep(0.5 * 2**number)
                    continue
                self.failures += 1
                self.down = essential or self.failures >= _TRIES
                reason = _reason(error)
                lost = "can't be reached or used, this run is not recorded there" if self.down else "has not taken everything"
                self.say(warning=without_password(f"{self.uri} {lost}: {reason}"))
            else:
                self.failures = 0
                return found
        return None

    def reserve(self, step: str, attempt: int, started: float | None = None, **tags: str) -> str | None:
        """The nested run of an attempt, made if it isn't there; its id is told, or that there is none."""
        if (step, attempt) not in self.runs:
            tags |= {"mlflow.parentRunId": self.parent, "mlops_lab.step": step, "mlops_lab.attempt": str(attempt)}
            if not self.parent or not self._create(step, attempt, step, tags, started or time.time()):
                self.say(no_run={"step": step, "attempt": attempt})
        return self.runs.get((step, attempt))

    def _create(self, step: str, attempt: int, name: str, tags: dict[str, str], started: float) -> bool:
        made = self.attempt(
            lambda: self.client.create_run(self.experiment_id, int(started * 1000), tags, name), essential=not step
        )
        if made is None:
            return False
        run_id = self.runs[step, attempt] = made.info.run_id
        self.open.add(run_id)
        where = {"uri": without_password(self.uri), "experiment_id": self.experiment_id}
        self.say(tracking_run={"step": step, "attempt": attempt, "run_id": run_id, **where})
        return True

    def _end(self, run_id: str, status: str, ended: float) -> None:
        self.attempt(lambda: self.client.set_terminated(run_id, status, int(ended * 1000)))
        self.open.discard(run_id)

    def take(self, event: ev.AnyEvent) -> None:
        """Mirror one event."""
        match event:
            case ev.RunStarted():
                self._start(event)
            case ev.StepStarted():
                self.reserve(event.step, event.attempt, event.time)
                self.notebooks[event.step, event.attempt] = event.notebook
            case ev.StepFinished():
                self._finish_step(event)
            case ev.StepCommitted():
                # Only now do they count: those of an attempt that is overtaken are not the step's.
                if found := self.metrics.pop((event.step, event.attempt), None):
                    self.say(metrics={"step": event.step, "values": found})
            case ev.StepOvertaken():
                self._overtaken(event)
            case ev.StepCached():
                self._cached(event)
            case ev.Metrics():
                # Also on the parent, where a search for runs finds them.
                finite = {name: value for name, value in event.values.items() if value is not None}
                self._log_metrics(self.parent, finite, event.time)
            case ev.RunFinished(status=status, time=ended):
                self.finish(status, ended)

    def _start(self, event: ev.RunStarted) -> None:
        self.attempt(self.connect, essential=True)
        tags = {
            "mlflow.source.name": event.notebook,
            "mlflow.source.type": "NOTEBOOK",
            "mlops_lab.run": event.run,
            "mlops_lab.pipeline": event.pipeline,
            "mlops_lab.notebook_digest": event.digest,
            "mlops_lab.version": event.mlops_lab,
        }
        tags |= {"mlops_lab.resumed_from": event.resumed_from} if event.resumed_from else {}
        if not self._create("", 0, event.run, tags, event.time):
            return self.say(no_run={"step": "", "attempt": 0})
        self.parent = self.runs["", 0]
        for name, value in event.parameters.items():
            self.attempt(partial(self.client.log_param, self.parent, name, value))
        self.attempt(partial(self.client.log_artifact, self.parent, str(self.folder.notebook), "notebook"))
        self.attempt(partial(self.client.log_text, self.parent, _environment(), "requirements.txt"))

    def _finish_step(self, event: ev.StepFinished) -> None:
        if not (run_id := self.runs.get((event.step, event.attempt))):
            return
        if event.failure:
            self.attempt(partial(self.client.set_tag, run_id, "mlops_lab.failure", event.failure.message[:5000]))
        self._end(run_id, _STATUS.get(event.status, "FAILED"), event.time)
        key = (event.step, event.attempt)
        logged = self.attempt(lambda: self.client.get_run(run_id).data.metrics) or {}
        self.metrics[key] = {name: value for name, value in logged.items() if math.isfinite(value)}  # JSON has no others
        if watch := self.watched.pop(key, None):
            self.attempt(partial(self._watch, key, watch))
            self.attempt(partial(self._tell_models, key, run_id))
        self._log_files(run_id, event.inputs, self.notebooks.get((event.step, event.attempt), ""))

    def watch(self) -> None:
        """Tell what the metrics of running steps have become since the last look."""
        for key, watch in list(self.watched.items()):
            if key in self.runs:
                self.attempt(partial(self._watch, key, watch))

    def _watch(self, key: tuple[str, int], watch: Watch) -> None:
        """A metric counts as a curve once it has two values."""
        run_id = self.runs[key]
        values = self.client.get_run(run_id).data.metrics
        for name in [name for name, value in values.items() if watch.last.get(name) != value]:
            points = [(m.step, m.value) for m in self.client.get_metric_history(run_id, name) if math.isfinite(m.value)]
            told = watch.told.get(name, 0)
            if len(points) > max(told, 1):
                new = points[told:]
                shown = new[:: math.ceil(len(new) / _POINTS)]
                self.say(metric_points={"step": key[0], "attempt": key[1], "name": name, "points": shown})
                watch.told[name] = len(points)
        watch.last = values

    def _tell_models(self, key: tuple[str, int], run_id: str) -> None:
        outputs = self.client.get_run(run_id).outputs
        for made in outputs.model_outputs if outputs else ():
            name = self.client.get_logged_model(made.model_id).name
            self.say(logged_model={"step": key[0], "attempt": key[1], "name": name, "model_id": made.model_id})

    def _log_metrics(self, run_id: str, values: dict[str, float], when: float) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(name, value, int(when * 1000), 0) for name, value in values.items()]
        if run_id and metrics:
            self.attempt(lambda: self.client.log_batch(run_id, metrics=metrics))

    def _log_files(self, run_id: str, inputs: dict[str, str], notebook: str) -> None:
        self.attempt(partial(self._log_inputs, run_id, inputs))
        self.attempt(partial(self._log_notebook, run_id, notebook))

    def _log_inputs(self, run_id: str, inputs: dict[str, str]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        context = [InputTag("mlflow.data.context", "input")]
        found = [
            DatasetInput(Dataset(name, version[:36], "mlops_lab", json.dumps({"version": version})), context)
            for name, version in inputs.items()
        ]
        if found:
            self.client.log_inputs(run_id, found)

    def _log_notebook(self, run_id: str, path: str) -> None:
        if not path or not Path(path).exists():
            return
        self.client.log_artifact(run_id, path)
        with contextlib.suppress(Exception):  # a notebook that can't be rendered is still there as it is
            html, _ = self._exporter.from_filename(path)
            self.client.log_text(run_id, html, "executed.html")

    @cached_property
    def _exporter(self) -> Any:
        defer_grammar()
        from nbconvert import HTMLExporter

        return HTMLExporter(exclude_input_prompt=True)

    def _overtaken(self, event: ev.StepOvertaken) -> None:
        if run_id := self.runs.get((event.step, event.attempt)):
            self.attempt(lambda: self.client.set_tag(run_id, "mlops_lab.overtaken", event.because))
            self._end(run_id, "KILLED", event.time)

    def _cached(self, event: ev.StepCached) -> None:
        if run_id := self.reserve(event.step, 0, event.time, **{"mlops_lab.cached_from": event.from_run}):
            # The pipeline's metrics are the same as if the step had run; nothing is logged as new in the step's own run.
            made = _told(RunFolder(self.folder.path.parent / event.from_run)).steps.get(event.step)
            if made and made.metrics:
                self.say(metrics={"step": event.step, "values": made.metrics})
            self._end(run_id, "FINISHED", event.time)
            self._log_files(run_id, event.inputs, event.notebook)

    def finish(self, status: str, ended: float) -> None:
        """End the run, and with it the attempts that nobody will end any more."""
        for run_id in self.open - {self.parent}:
            self._end(run_id, "KILLED", ended)
        if self.parent:
            self.attempt(lambda: self.client.set_tag(self.parent, "mlops_lab.status", status))
            self._end(self.parent, _STATUS.get(status, "FAILED"), ended)


def _told(run: RunFolder) -> runstate.RunState:
    """The picture of an earlier run; if its steps have ended, but MLflow is still taking what they logged, after that."""
    deadline = time.monotonic() + _ENDING
    while True:
        active = run.is_active
        state = runstate.fold(run.events())
        ending = active and state.status == "running" and all(s.status in runstate.FINAL for s in state.steps.values())
        if not ending or time.monotonic() > deadline:
            return state
        time.sleep(0.1)


@dataclass
class Watch:
    """What was told of an attempt's metrics: the values seen last, and how many points of each."""

    last: dict[str, float] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)


def _reason(error: Exception) -> str:
    """Why the store failed, in one line: of the layers of an HTTP error the innermost."""
    text = (str(error).splitlines() or [type(error).__name__])[0].strip()
    if cause := re.search(r"\(Caused by \w+\((.+?)\)*$", text):
        text = (cause[1].rpartition("): ")[2] or cause[1]).strip("\"'")
    return text if len(text) <= _SAID else f"{text[:_SAID]}…"


def _environment() -> str:
    from importlib import metadata

    found = {f"{d.metadata['Name']}=={d.version}" for d in metadata.distributions() if d.metadata["Name"]}
    return f"# Python {sys.version.split()[0]}\n" + "\n".join(sorted(found, key=str.lower)) + "\n"


class Requests:
    """What the engine asks on standard input; `gone` once it has closed that."""

    def __init__(self) -> None:
        self.gone, self._pending = False, b""

    def take(self, wait: float) -> list[dict[str, Any]]:
        """The requests that have arrived; waits so many seconds for the first."""
        if not select.select([] if self.gone else [0], [], [], wait)[0]:
            return []
        data = os.read(0, 65536)
        self.gone = not data
        *lines, self._pending = (self._pending + data).split(b"\n")
        return [json.loads(line) for line in lines if line]


def main() -> None:
    """Follow the log until the run ends, or until its engine is gone."""
    parser = argparse.ArgumentParser(prog="mlops_lab.tracker", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--artifacts")
    arguments = parser.parse_args()
    os.nice(10)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print is not an answer

    def say(**message: Any) -> None:
        with contextlib.suppress(OSError):  # the engine is gone
            answers.write(json.dumps(message) + "\n")

    folder = RunFolder(arguments.folder)
    mirror = Mirror(folder, arguments.experiment, os.environ[URI], arguments.artifacts, say)
    follow(mirror, folder, ev.Tail(folder.log), Requests(), say)


def follow(mirror: Mirror, folder: RunFolder, tail: ev.Tail, requests: Requests, say: Callable[..., None]) -> None:
    """Take events as they come. A step waits for its run, so that is answered before the next event is taken."""
    draining, last_news, last_watch = False, time.monotonic(), 0.0

    def answer(wait: float) -> None:
        nonlocal draining
        for request in requests.take(wait):
            draining |= "drain" in request
            if "reserve" in request:
                mirror.reserve(**request["reserve"])
                mirror.watched[request["reserve"]["step"], request["reserve"]["attempt"]] = Watch()

    while True:
        quiet = True
        for event in tail.news():
            quiet, last_news = False, time.monotonic()
            mirror.take(event)
            if isinstance(event, ev.RunFinished):
                return
            answer(0)
        if quiet and draining:
            draining = False
            say(drained=True)
        if requests.gone and not folder.is_active and time.monotonic() - last_news > _QUIET_END:
            mirror.finish("cancelled", time.time())
            return
        if mirror.watched and time.monotonic() - last_watch > _WATCH:
            mirror.watch()
            last_watch = time.monotonic()
        answer(0.1)


if __name__ == "__main__":
    main()
