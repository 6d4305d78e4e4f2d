"""Parts of a run as plain data, as docs/openapi.yaml has them; and what is known of the notebook that was run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlops_lab import events as ev
from mlops_lab.notebook import read
from mlops_lab.pipeline import build
from mlops_lab.plan import make_plan
from mlops_lab.prelude import imports_in
from mlops_lab.runs import RunFolder
from mlops_lab.runstate import StepState
from mlops_lab.server.analysis import edge_model
from mlops_lab.server.places import Places


def outline(notebook: Path) -> dict[str, Any]:
    """Of the notebook as it was run: cell number -> id and index, the cells of each step, edges, imports. It parses."""
    plan = make_plan(build(read(notebook)))
    cells = plan.pipeline.notebook.cells
    return {
        "cells": {str(cell.number): cell.id for cell in cells},
        "indices": {str(cell.number): cell.index for cell in cells},
        "steps": {s.name: {"cells": [cell.id for cell in s.step.cells], "gate": s.step.gate} for s in plan.steps},
        "edges": [edge_model(edge) for edge in plan.edges],
        "imports": imports_in(plan.cells),
    }


NO_OUTLINE: dict[str, Any] = {"cells": {}, "indices": {}, "steps": {}, "edges": [], "imports": {}}


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers as JSON has them: NaN and the infinities become null."""
    return {name: value if abs(value) < float("inf") else None for name, value in values.items()}


def step_model(step: StepState, outline: Mapping[str, Any]) -> dict[str, Any]:
    """A step of a run; `outline` is that of the notebook that was run."""
    known = outline["steps"].get(step.name, {"cells": [], "gate": False})
    model: dict[str, Any] = {
        "name": step.name,
        "status": step.status,
        "gate": known["gate"],
        "cells": known["cells"],
        "attempt": step.attempt,
        "position": step.position,
        "total": step.total,
        "cell": outline["cells"].get(str(step.cell)),
        "seconds": step.seconds,
        "started": step.started,
        "reason": step.reason,
        "overtaken": step.overtaken,
        "committed": step.committed,
        "from_run": step.from_run,
        "inputs": step.inputs,
        "outputs": {
            name: {"version": out.version, "type": out.type, "bytes": out.bytes, "preview": out.preview}
            for name, out in step.outputs.items()
        },
        "metrics": finite(step.metrics),
    }
    if step.failure:
        failure = msgspec.to_builtins(step.failure)
        model["failure"] = failure | {"cell": outline["cells"].get(str(step.failure.cell))}
    if step.tracking:
        model["tracking"] = tracking_model(step.tracking)
    return model


def tracking_model(found: ev.TrackingRun) -> dict[str, Any]:
    """The MLflow run of a step or of a run, and its page where the store has a server."""
    from mlops_lab.mlflow_ui import address, place
    from mlops_lab.tracking import without_password

    model = {"run_id": found.run_id, "experiment_id": found.experiment_id, "uri": without_password(found.uri)}
    server = address(found.uri)
    return model | ({"url": server + place(found)} if server else {})


def remote_model(run: RunFolder) -> dict[str, Any]:
    """Which run it is on the engine that has it, and its page there."""
    try:
        known = json.loads(run.remote.read_bytes())
        return {"run_id": str(known.get("run_id", "")), "url": str(known.get("url", ""))}
    except (OSError, ValueError, AttributeError):
        return {"run_id": "", "url": ""}


def costs(places: Places, path: str) -> dict[str, float]:
    """Seconds that the steps of a notebook last took, as their last results tell."""
    found: dict[str, float] = {}
    for home in places.homes(path):
        last = home.results / "last" / Path(path).stem
        for file in last.glob("*.json") if last.is_dir() else ():
            try:
                found[file.stem] = round(_SECONDS.decode(file.read_bytes()).seconds, 3)
            except (OSError, msgspec.DecodeError):
                continue
    return found


class _Seconds(msgspec.Struct):
    seconds: float


_SECONDS = msgspec.json.Decoder(_Seconds)
