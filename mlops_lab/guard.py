"""What the graph of steps takes for granted, as tables that the guard in a step checks (`runtime/guard.py`).

An engine with a fixed graph gives each step what the steps that it waits for left, and can't go back. So each step carries
along which *unrelated* steps (none waits for the other, directly or not) work with which names.
"""

from __future__ import annotations

from typing import Any

from mlops_lab.plan import Plan
from mlops_lab.prelude import is_replayable, items_in, left_over


def tables(plan: Plan) -> dict[str, dict[str, Any]]:
    """Step -> its guard tables, as `runtime/guard.py` describes them (JSON)."""
    steps = plan.steps
    place = {step.name: position for position, step in enumerate(steps)}
    above = [frozenset(place[name] for name in plan.upstream([step.name])) for step in steps]
    found: list[dict[str, Any]] = [
        {"readers": {}, "writers": {}, "holders": {}, "sources": {}, "unrelated": [], "drawing": [],
         "reads": sorted(step.reads or ()), "binds": sorted(step.effects.binds), "changes": sorted(step.writes),
         "draws": step.draws, "cells": _cells(step.step.numbers),
         **({"states": ["@mlflow"]} if step.name in plan.choose_mlflow else {})}
        for step in steps
    ]  # fmt: skip
    binders: dict[str, list[int]] = {}
    for position, step in enumerate(steps):
        unrelated = [early for early in range(position) if early not in above[position]]
        late = plan.survey.late_names if unrelated else frozenset()
        for early in unrelated:
            found[early]["unrelated"].append(step.name)
            if steps[early].draws:
                found[position]["drawing"].append(steps[early].name)
            for name in steps[early].reads or ():
                found[position]["holders"].setdefault(name, []).append(steps[early].name)
        for early in unrelated:
            for name in steps[early].writes:
                if early >= binders.get(name, [0])[-1]:
                    found[position]["sources"].setdefault(name, []).append(steps[early].name)
        for name in (step.reads or frozenset()) | late | step.writes:
            # What is above a step that surely binds the name is nothing to this one.
            since = binders.get(name, [0])[-1]
            for early in unrelated:
                if early < since:
                    continue
                # A change that is known is found out by the later step, once a function in it needs the name.
                if name in (step.reads or ()) or (name in late and name not in steps[early].writes):
                    found[early]["readers"].setdefault(name, []).append(step.name)
                if name in step.effects.touches or name in step.step.settings.changes:
                    found[early]["writers"].setdefault(name, []).append(step.name)
        for name in step.effects.binds:
            binders.setdefault(name, []).append(position)
    return {step.name: table for step, table in zip(steps, found, strict=True)}


def _cells(numbers: tuple[int, ...]) -> str:
    if len(numbers) == 1:
        return f"cell {numbers[0]}"
    return f"cells {numbers[0]} to {numbers[-1]}"


def own_configuration(plan: Plan, name: str) -> list[str]:
    """The configuration statements of a step's cells, each with the imports it needs, as later steps replay them."""
    step = plan[name].step
    cells = [cell for cell in plan.pipeline.notebook.cells if cell.in_pipeline and cell.number <= step.cells[-1].number]
    items = [item for cell in cells for item in items_in(cell) if is_replayable(item, plan.imported)]
    others = [item for item in items if not item.is_import and item.cell.number not in step.numbers]
    return [code for _, code in left_over(items, others)]
