"""Cells as the editor has them -> steps, edges, parameters, diagnostics with their fixes, as plain data. Writes nothing.

All of it has to happen in one thread, the same for all: see `worker.py`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlops_lab.checks import Diagnostic, check
from mlops_lab.errors import UsageError
from mlops_lab.notebook import Cell, Notebook, StepSettings, from_node, read
from mlops_lab.parameters import Parameter
from mlops_lab.pipeline import build
from mlops_lab.plan import Edge, Plan, StepPlan, make_plan
from mlops_lab.roles import RULES, STEP_NAME, Role, TagRule
from mlops_lab.server.errors import TooLarge
from mlops_lab.server.fixes import fix_for
from mlops_lab.server.requests import Posted
from mlops_lab.suggest import apply, suggest

MOST_CELLS = 10_000
# The parameters' kinds that can be given for a run, because JSON has them.
_GIVEN = {"int", "float", "str", "bool", "list", "dict", "any"}
_SETTINGS = {
    "cpu": ("string", "Cores: 2, or 500m for half of one."),
    "memory": ("string", "As Kubernetes writes it: 512Mi, 4Gi."),
    "gpu": ("string", "How many, or a kind and how many."),
    "retries": ("integer", "How often it is tried again after it failed."),
    "timeout": ("number", "Seconds that one attempt may take."),
    "cache": ("boolean", "Whether an earlier result may be taken. Off for a step that reads the world."),
    "image": ("string", "Container image, on targets that have containers."),
    "env": ("map", "Environment variables of the step."),
    "kubeflow": ("object", "What only Kubeflow has: tolerations, node selectors, volumes and the like."),
    "secrets": ("list", "Names of environment variables that the target's secret store gives."),
}


def notebook_of(posted: Posted, path: Path) -> Notebook:
    """The posted cells as a notebook at `path`. Raises `UsageError` for cells that can't be told apart or are too many."""
    import nbformat

    if len(posted.cells) > MOST_CELLS:
        raise TooLarge(f"The notebook has {len(posted.cells):,} cells; at most {MOST_CELLS:,} are analysed.")
    ids = {cell.id for cell in posted.cells}
    if len(ids) < len(posted.cells) or "" in ids:
        raise UsageError("Each cell needs an id of its own.")
    for key in ("kernelspec", "language_info"):
        if not isinstance(posted.metadata.get(key, {}), dict):
            raise UsageError(f"The notebook's metadata {key!r} must be an object.")
    cells = [
        {"id": cell.id, "cell_type": cell.cell_type, "source": cell.source, "metadata": {"tags": cell.tags}}
        for cell in posted.cells
    ]
    node = nbformat.from_dict({"cells": cells, "metadata": posted.metadata, "nbformat": 4, "nbformat_minor": 5})
    return from_node(node, path)


def analyse(notebook: Notebook, costs: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The notebook as a pipeline, as docs/openapi.yaml describes it; `costs` are the seconds that steps last took."""
    began = time.perf_counter()
    plan = make_plan(build(notebook))
    made = frozenset().union(*(s.writes for s in plan.steps), (p.name for p in plan.pipeline.parameters))
    left = _leaves(plan)
    owners = {number: step for step in plan.steps for number in step.step.numbers}
    model = {
        "name": plan.pipeline.name,
        "description": notebook.settings.description,
        "steps": [_step(step, made, left[step.name], costs or {}) for step in plan.steps],
        "edges": [edge_model(edge) for edge in plan.edges],
        "parameters": [_parameter(notebook, parameter) for parameter in plan.pipeline.parameters],
        "diagnostics": [diagnostic_model(plan, each) for each in check(plan)],
        "cells": {cell.id: _cell(cell, owners.get(cell.number)) for cell in notebook.cells},
    }
    return model | {"milliseconds": round((time.perf_counter() - began) * 1000, 1)}


def _leaves(plan: Plan) -> dict[str, list[str]]:
    """Step -> what a user would call its results: what it binds first, or changes for a later step. No modules, no `_`."""
    found: dict[str, list[str]] = {}
    bound = {parameter.name for parameter in plan.pipeline.parameters}
    new: dict[str, frozenset[str]] = {}
    for step in plan.steps:
        new[step.name] = step.effects.may_bind - bound
        bound |= step.effects.may_bind
    read: frozenset[str] = frozenset()
    for step in reversed(plan.steps):
        results = {name for name in step.writes if name.isidentifier() and name[0] != "_"} - plan.imported
        found[step.name] = sorted(results & (read | new[step.name]))
        read |= step.writes | bound if step.reads is None else step.reads
    return found


def _step(planned: StepPlan, made: frozenset[str], leaves: list[str], costs: Mapping[str, float]) -> dict[str, Any]:
    step = planned.step
    return {
        "name": step.name,
        "group": step.group,
        "cells": [cell.id for cell in step.cells],
        "gate": step.gate,
        "implicit": step.implicit,
        "after": list(step.after),
        "reads": None if planned.reads is None else sorted(planned.reads & made),
        "writes": sorted(planned.writes),
        "leaves": leaves,
        "prelude": [item.code for item in planned.prelude],
        "settings": {k: v for k, v in msgspec.to_builtins(step.settings).items() if v != _DEFAULTS[k]},
        "cost": costs.get(step.name),
    }


_DEFAULTS: dict[str, Any] = msgspec.to_builtins(StepSettings())


def edge_model(edge: Edge) -> dict[str, Any]:
    """An edge as plain data."""
    return {
        "source": edge.source,
        "target": edge.target,
        "variables": [reason.name for reason in edge.reasons if reason.kind == "variable"],
        "reasons": [{"kind": reason.kind, "name": reason.name} for reason in edge.reasons],
    }


def _parameter(notebook: Notebook, parameter: Parameter) -> dict[str, Any]:
    declared = parameter.type
    model: dict[str, Any] = {
        "name": parameter.name,
        "type": parameter.annotation,
        "kind": declared.kind,
        "given": declared.kind in _GIVEN,
        "optional": declared.optional,
        "default": as_json(parameter.default),
        "description": parameter.description,
        "cell": notebook.cells[parameter.cell - 1].id,
        "line": parameter.line,
    }
    if declared.choices:
        model["choices"] = [as_json(choice) for choice in declared.choices]
    if declared.bounds:
        model["bounds"] = dict(declared.bounds)
    if declared.element:
        model["element"] = str(declared.element)
    return model


def as_json(value: Any) -> Any:
    """The value, if JSON has it; else its `repr`."""
    try:
        return value if json.loads(json.dumps(value, allow_nan=False)) == value else repr(value)
    except (TypeError, ValueError, RecursionError):
        return repr(value)


def diagnostic_model(plan: Plan, found: Diagnostic) -> dict[str, Any]:
    """A diagnostic as plain data, with the id of its cell, its columns where they are known, and its fix."""
    cell = plan.pipeline.notebook.cells[found.cell - 1] if found.cell else None
    shift = _lines_left_out(plan.pipeline.notebook, cell) if cell and found.line else 0
    model: dict[str, Any] = {
        "code": found.code,
        "severity": found.severity,
        "cell": cell.id if cell else None,
        "line": found.line + shift,
        "name": found.name,
        "message": found.message,
        "advice": found.fix,
    }
    place = name_in_line(cell, found.line, found.name) if cell else None
    if place:
        model["column"], model["end_column"] = place
    fix = fix_for(plan, found, cell, place if not shift else None)
    return model | ({"fix": fix} if fix else {})


def _lines_left_out(notebook: Notebook, cell: Cell) -> int:
    """Lines that stand in the editor's cell above those that run: a `%%mlops step` above another magic."""
    return int(notebook.node.cells[cell.index].source.count("\n")) - cell.source.count("\n")


def errors_of(path: Path) -> list[dict[str, Any]]:
    """The errors of a saved notebook."""
    plan = make_plan(build(read(path)))
    return [diagnostic_model(plan, each) for each in check(plan) if each.severity == "error"]


def name_in_line(cell: Cell, line: int, name: str) -> tuple[int, int] | None:
    """The columns (in UTF-16 units, as editors count) of a name in a line of a cell, if it stands there once at least."""
    lines = cell.source.splitlines()
    if not name.isidentifier() or not 0 < line <= len(lines):
        return None
    found = re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", lines[line - 1])
    if not found:
        return None
    return _units(lines[line - 1][: found.start()]), _units(lines[line - 1][: found.end()])


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _cell(cell: Cell, owner: StepPlan | None) -> dict[str, Any]:
    begins = cell.has(Role.STEP)
    if not cell.in_pipeline:
        role = "skip" if cell.has(Role.SKIP) else "outside"
    elif cell.has(Role.GATE) or (owner is not None and owner.step.gate):
        role = "gate"
    else:
        tagged = (Role.PARAMETERS, Role.SETUP, Role.IMPORTS, Role.METRICS)
        role = next((r.value for r in tagged if cell.has(r)), "step")
    return {"role": role, "step": owner.name if owner else None, "begins": begins, "number": cell.number}


def suggestion(notebook: Notebook) -> dict[str, Any]:
    """Tags for the notebook's cells, and the pipeline that they would make of it."""
    proposal = suggest(notebook)
    ids = {cell.index: cell.id for cell in notebook.cells}
    return {
        "tags": {ids[index]: list(tags) for index, tags in proposal.tags.items() if index in ids},
        "reasons": {ids[index]: reason for index, reason in proposal.reasons.items() if index in ids},
        "steps": list(proposal.steps),
        "analysis": analyse(from_node(apply(notebook, proposal), notebook.path)),
    }


def roles() -> dict[str, Any]:
    """The table of tags, and the settings that a step can have."""
    from mlops_lab._version import __version__

    def row(rule: TagRule) -> dict[str, Any]:
        return {"role": rule.role.value, "tag": rule.tag, "named": rule.named, "help": rule.help, "kale": rule.kale}

    return {
        "roles": [row(rule) for rule in RULES],
        "settings": [
            {"name": name, "type": kind, "default": _DEFAULTS[name], "help": text} for name, (kind, text) in _SETTINGS.items()
        ],
        "step_name": STEP_NAME.pattern,
        "version": __version__,
    }
