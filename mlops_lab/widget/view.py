"""A run's state -> what its views show: plain data, the same for the live widget and the static HTML."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_lab import mlflow_ui, runstate
from mlops_lab.events import TrackingRun
from mlops_lab.plan import Plan

UNDERWAY = ("starting", "sending", "running")  # the first two are of a run that has not begun: here, or on another engine
_TEXT = 4000  # characters of a failure's traceback, a message or a parameter that are shown
_CURVE = 120  # points of a plot
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def picture(state: runstate.RunState, folder: Path | None, expected: Mapping[str, float], active: bool) -> dict[str, Any]:
    """What to show of a run; `expected` are the seconds that its steps took before."""
    status = "interrupted" if state.status == "running" and not active else state.status
    return {
        "id": state.id,
        "pipeline": state.pipeline,
        "notebook": Path(state.notebook).name,
        "target": state.target,
        "status": status,
        "started": state.started,
        "now": time.time(),
        "seconds": state.seconds,
        "message": state.message[:_TEXT],
        "resumed_from": state.resumed_from,
        "folder": str(folder or ""),
        "parameters": {name: short(value) for name, value in state.parameters.items()},
        "mlflow": _mlflow(state.tracking),
        "messages": [{"level": m.level, "text": m.text[:_TEXT]} for m in state.messages if m.level != "info"][-5:],
        "steps": [_step(step, expected.get(step.name), status) for step in state.steps.values()],
    }


def starting(plan: Plan, target: str = "local") -> runstate.RunState:
    """What is known of a run of a plan before it has begun."""
    pipeline = plan.pipeline
    steps = {step.name: runstate.StepState(step.name) for step in plan.steps}
    status = "starting" if target == "local" else "sending"
    return runstate.RunState(
        notebook=str(pipeline.notebook.path),
        pipeline=pipeline.name,
        target=target,
        status=status,
        started=time.time(),
        steps=steps,
    )


def _step(step: runstate.StepState, expected: float | None, run_status: str) -> dict[str, Any]:
    over = run_status not in UNDERWAY and step.status in ("running", "retrying", "waiting")
    status = ("interrupted" if step.status == "running" else "skipped") if over else step.status
    failure = step.failure
    return {
        "name": step.name,
        "status": status,
        "position": step.position,
        "total": step.total,
        "cell": step.cell,
        "seconds": step.seconds,
        "started": step.started,
        "expected": expected,
        "attempt": step.attempt,
        "reason": step.reason[:_TEXT],
        "overtaken": step.overtaken,
        "from_run": step.from_run,
        "failure": failure
        and {
            "message": failure.message[:_TEXT],
            "cell": failure.cell,
            "line": failure.line,
            "traceback": _ANSI.sub("", failure.traceback)[-_TEXT:],
        },
        "outputs": [
            {"name": name, "type": out.type, "preview": short(out.preview, 80)}
            for name, out in step.outputs.items()
            if not name.startswith(("@", "file:", "def:", "module:"))
        ],
        "metrics": {name: number(value) for name, value in step.metrics.items()},
        "mlflow": _mlflow(step.tracking),
        "models": _models(step),
        "curves": {name: thinned(points) for name, points in step.points.items() if len(points) > 1},
    }


def _models(step: runstate.StepState) -> list[dict[str, str]]:
    run = step.tracking
    return [{"name": n, "place": mlflow_ui.place(run, i)} for n, i in step.models.items()] if run else []


def thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Points enough for a small plot, the first and the last among them."""
    every = math.ceil(len(points) / _CURVE)
    return [*points[:-1:every], points[-1]]


def _mlflow(run: TrackingRun | None) -> dict[str, str] | None:
    """Where an MLflow run is: `address` is empty for a local store, whose UI has to be started first."""
    if run is None:
        return None
    return {"address": mlflow_ui.address(run.uri), "place": mlflow_ui.place(run), "run": run.run_id}


def number(value: float) -> float | str:
    """A number that JSON has, or its name."""
    return value if math.isfinite(value) else str(value)


def short(value: Any, most: int = 200) -> str:
    """A value on one short line."""
    text = " ".join((value if isinstance(value, str) else repr(value)).split())
    return text if len(text) <= most else text[: most - 1] + "…"
