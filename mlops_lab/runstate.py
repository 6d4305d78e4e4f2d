"""The picture of a run: a fold of its events. Everything that shows a run, or asks how it stands, uses this."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_lab import events as ev

UNDER_WAY = frozenset({"running", "retrying"})
FINAL = frozenset({"done", "cached", "failed", "rejected", "skipped", "cancelled"})


@dataclass
class StepState:
    """`status`: waiting, running, retrying, done, cached, failed, rejected, skipped, cancelled; interrupted (by `interrupt`).

    A step that is done counts only once it is `committed`; `overtaken` says how often a result did not count. `points` are the
    values that its metrics took on the way, `models` the MLflow models that it logged, by name.
    """

    name: str
    status: str = "waiting"
    attempt: int = 0
    position: int = 0
    total: int = 0
    cell: int = 0
    seconds: float = 0.0
    started: float = 0.0
    reason: str = ""
    overtaken: int = 0
    committed: bool = False
    failure: ev.Failure | None = None
    notebook: str = ""
    from_run: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, ev.Output] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tracking: ev.TrackingRun | None = None
    points: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)


@dataclass
class RunState:
    """`status`: running, done, failed, rejected, cancelled; a log without an end is for its reader to judge."""

    id: str = ""
    notebook: str = ""
    pipeline: str = ""
    experiment: str = ""
    target: str = "local"
    status: str = "running"
    started: float = 0.0
    seconds: float = 0.0
    resumed_from: str = ""
    message: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, StepState] = field(default_factory=dict)
    messages: list[ev.Message] = field(default_factory=list)
    tracking: ev.TrackingRun | None = None

    @property
    def is_damaged(self) -> bool:
        """True if lines of the log couldn't be read."""
        return any(ev.tells_damage(message) for message in self.messages)

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of all steps, later steps last."""
        return {name: value for step in self.steps.values() for name, value in step.metrics.items()}


def interrupt(state: RunState) -> RunState:
    """The same for a log without an end whose process is gone: what was running there no longer does."""
    state.status = "interrupted"
    for step in state.steps.values():
        if step.status in UNDER_WAY:
            step.status = "interrupted"
    return state


def fold(events: Iterable[ev.AnyEvent]) -> RunState:
    """The state that a sequence of events leads to."""
    state = RunState()
    for event in events:
        apply(state, event)
    return state


def apply(state: RunState, event: ev.AnyEvent) -> None:
    """Take one more event into the picture."""
    step = state.steps.get(getattr(event, "step", ""))
    match event:
        case ev.RunStarted():
            state.id, state.notebook, state.pipeline, state.target = (
                event.run,
                event.notebook,
                event.pipeline,
                event.target,
            )
            state.parameters, state.experiment, state.started = event.parameters, event.experiment, event.time
            state.resumed_from = event.resumed_from
            state.steps = {name: StepState(name) for name in event.steps}
        case ev.RunFinished():
            state.status, state.seconds, state.message = event.status, event.seconds, event.message
        case ev.Message():
            state.messages.append(event)
        case ev.TrackingRun() if not event.step:
            state.tracking = event
    if step is None:
        return
    match event:
        case ev.StepStarted():
            step.status, step.attempt, step.reason, step.started = "running", event.attempt, event.reason, event.time
            step.position, step.failure, step.notebook, step.committed = 0, None, event.notebook, False
            step.points, step.models = {}, {}
        case ev.CellStarted() if event.attempt == step.attempt:
            step.cell, step.position, step.total = event.cell, event.position, event.total
        case ev.StepFinished() if event.attempt == step.attempt:
            step.status = "retrying" if event.retry_in is not None else event.status
            step.seconds, step.failure = event.seconds, event.failure
            step.inputs, step.outputs = event.inputs, event.outputs
        case ev.StepOvertaken():
            step.overtaken += 1
            step.status, step.committed, step.metrics = "waiting", False, {}
        case ev.StepCommitted():
            step.committed = True
        case ev.StepCached():
            step.status, step.from_run, step.notebook = "cached", event.from_run, event.notebook
            step.inputs, step.outputs, step.committed = event.inputs, event.outputs, True
        case ev.StepSkipped():
            step.status, step.reason = "skipped", event.because
        case ev.Metrics():
            step.metrics.update({name: math.nan if value is None else value for name, value in event.values.items()})
        case ev.MetricPoints() if event.attempt == step.attempt:
            step.points.setdefault(event.name, []).extend(event.points)
        case ev.LoggedModel() if event.attempt == step.attempt:
            step.models[event.name] = event.model_id
        case ev.TrackingRun():
            step.tracking = event


def so_far(state: RunState, log: Path, status: str) -> float:
    """Seconds that a run has taken; one without an end: until now, or until its log last grew."""
    if state.seconds or not state.started:
        return state.seconds
    try:
        return max((time.time() if status == "running" else log.stat().st_mtime) - state.started, 0.0)
    except OSError:
        return 0.0
