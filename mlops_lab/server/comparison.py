"""Runs side by side: parameters, metrics, durations, outputs, and what changed in the code from each to the next."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mlops_lab.errors import UsageError
from mlops_lab.runs import RunFolder
from mlops_lab.runstate import RunState, StepState
from mlops_lab.server.runs import Runs
from mlops_lab.server.states import finite

MOST = 10
Outline = dict[str, Any]


def compare(runs: Runs, names: list[str], outlines: dict[str, Outline]) -> dict[str, Any]:
    """The runs of these ids; `outlines` has, for each, what `runs.outline` gives for its notebook."""
    if not 2 <= len(names) <= MOST or len(set(names)) < len(names):
        raise UsageError(f"Give the ids of two to ten different runs, separated by commas; these are {len(names)}.")
    found = [runs.follow(name) for name in names]
    states = [followed.state for _, followed in found]
    steps = list(dict.fromkeys(name for state in states for name in state.steps))
    code = _code(list(zip(names, [run for run, _ in found], [outlines[n] for n in names], strict=True)))
    changed = {each["step"] for each in code}
    return {
        "runs": [runs.summary(name) for name in names],
        "parameters": _rows([state.parameters for state in states]),
        "metrics": [
            row | {"step": step} for step in steps for row in _rows([_of(s, step, lambda x: finite(x.metrics)) for s in states])
        ],
        "steps": [
            {
                "name": step,
                "status": [_of(s, step, lambda x: x.status, None) for s in states],
                "seconds": [_of(s, step, _seconds, None) for s in states],
                "changed": step in changed,
                "outputs": _outputs(states, step),
            }
            for step in steps
        ],
        "code": code,
    }


_NOTHING: dict[str, Any] = {}


def _of(state: RunState, step: str, what: Callable[[StepState], Any], other: Any = _NOTHING) -> Any:
    return what(state.steps[step]) if step in state.steps else other


def _seconds(step: StepState) -> float | None:
    return step.seconds if step.attempt and step.status not in ("running", "waiting") else None


def _rows(tables: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a name, with the value that each table has of it."""
    names = dict.fromkeys(name for table in tables for name in table)
    rows = []
    for name in names:
        values = [table.get(name) for table in tables]
        present = all(name in table for table in tables)
        rows.append({"name": name, "values": values, "same": present and all(v == values[0] for v in values)})
    return rows


def _outputs(states: list[RunState], step: str) -> list[dict[str, Any]]:
    """What the step left: type and size in each run; equal versions are equal values."""
    tables = [_of(s, step, lambda x: x.outputs) for s in states]
    rows = []
    for row in _rows(tables):
        versions = {value.version for value in row["values"] if value}
        shown = [v and {"version": v.version, "type": v.type, "bytes": v.bytes, "preview": v.preview} for v in row["values"]]
        rows.append(row | {"values": shown, "same": len(versions) == 1 and None not in row["values"]})
    return rows


def _code(runs: list[tuple[str, RunFolder, Outline]]) -> list[dict[str, Any]]:
    """The cells that differ between one run and the next, each with its difference."""
    found = []
    for (one, before, outline), (other, after, later) in zip(runs, runs[1:], strict=False):
        owner = {cell: step for known in (outline, later) for step, each in known["steps"].items() for cell in each["cells"]}
        for cell, old, new in _pairs(_cells(before), _cells(after)):
            if old != new:
                diff = difflib.unified_diff(_lines(old), _lines(new), n=3, lineterm="")
                text = "\n".join(list(diff)[2:])  # without the header
                found.append({"from": one, "to": other, "step": owner.get(cell), "cell": cell, "diff": text})
    return found


_Cell = tuple[str, str | None, str]  # the id that it has in the outline, its own id if it has one, its source


def _cells(run: RunFolder) -> list[_Cell]:
    """The notebook's code cells as they were run."""
    try:
        cells: Iterable[dict[str, Any]] = json.loads(run.notebook.read_bytes())["cells"]
        return [
            (str(cell.get("id") or f"cell-{index}"), cell.get("id"), "".join(cell["source"]))
            for index, cell in enumerate(cells)
            if cell["cell_type"] == "code" and "".join(cell["source"]).strip()
        ]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _pairs(old: list[_Cell], new: list[_Cell]) -> Iterator[tuple[str, str | None, str | None]]:
    """Which cell became which: by their ids; in old notebooks, whose cells have none, by what they say."""
    if all(own for _, own, _ in (*old, *new)):
        before, after = {name: text for name, _, text in old}, {name: text for name, _, text in new}
        yield from ((name, before.get(name), after.get(name)) for name in dict.fromkeys((*after, *before)))
        return
    matcher = difflib.SequenceMatcher(None, [text for *_, text in old], [text for *_, text in new], autojunk=False)
    for _, i, i_end, j, j_end in matcher.get_opcodes():
        for was, now in itertools.zip_longest(old[i:i_end], new[j:j_end]):
            yield (now or was)[0], was[2] if was else None, now[2] if now else None


def _lines(source: str | None) -> list[str]:
    return source.splitlines() if source is not None else []
