"""What a run saw that the analysis did not, as settings of the steps: `changes` and `uses`, which become edges.

A run of the local engine is right whatever the analysis missed; it only runs some steps twice. On a target with a fixed graph
the guard would stop it. So what a run found out can be written down once, in the notebook's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from mlops_lab import guard
from mlops_lab.executed import write_text
from mlops_lab.files import overlap
from mlops_lab.notebook import Notebook, StepSettings, read
from mlops_lab.pipeline import build
from mlops_lab.plan import FILE, Plan, make_plan
from mlops_lab.results import Result
from mlops_lab.runs import RunFolder
from mlops_lab.runstate import fold
from mlops_lab.runtime.filestates import TRACKING, concerns
from mlops_lab.runtime.guard import missing_inputs, undeclared

_ROUNDS = 20  # each adds edges, which end some findings and can't start others without end


@dataclass(frozen=True)
class Lesson:
    """A row for the settings of a step (by the name that its tags carry): `key` is `changes` or `uses`."""

    step: str
    key: str
    name: str
    seen_by: tuple[str, ...]

    def __str__(self) -> str:
        others = ", ".join(self.seen_by)
        if self.key == "changes":
            return f"step {self.step!r} changes {self.name!r}, which concerns {others}"
        return f"step {self.step!r} needs {self.name!r}, which {others} may change"


def results_of(folder: RunFolder) -> dict[str, Result]:
    """What the committed steps of a run reported: step -> result."""
    found = {}
    for name, state in fold(folder.events()).steps.items():
        report = Path(state.notebook).with_name("result.json") if state.notebook else None
        if state.status in {"done", "cached"} and report and report.exists():
            news = json.loads(report.read_text(encoding="utf-8"))
            known = {key: value for key, value in news.items() if key in Result.__struct_fields__ and key != "seconds"}
            found[name] = Result(name, folder.id, state.attempt, "done", 0.0, **known)
    return found


def lessons(notebook: Notebook, results: Mapping[str, Result]) -> list[Lesson]:
    """What these results show of the notebook's steps that neither its code nor its settings say."""
    found: dict[tuple[str, str, str], Lesson] = {}
    for _ in range(_ROUNDS):
        plan = make_plan(build(notebook))
        fresh = [lesson for lesson in _findings(plan, results) if (lesson.step, lesson.key, lesson.name) not in found]
        if not fresh:
            break
        found |= {(lesson.step, lesson.key, lesson.name): lesson for lesson in fresh}
        steps = dict(notebook.settings.steps)
        for lesson in fresh:
            before = steps.get(lesson.step, StepSettings())
            names = sorted({*getattr(before, lesson.key), lesson.name})
            steps[lesson.step] = msgspec.structs.replace(before, **{lesson.key: names})
        notebook = replace(notebook, settings=msgspec.structs.replace(notebook.settings, steps=steps))
    return list(found.values())


def learn(path: Path, folder: RunFolder) -> list[Lesson]:
    """Write what a run showed into the settings of the notebook's steps; nothing else in the file changes.

    Raises `NotebookError` when the file can't be read any more, `UsageError` when it can't be written.
    """
    found = lessons(read(path), results_of(folder))
    if found:
        raw = json.loads(path.read_text(encoding="utf-8"))
        steps = raw.setdefault("metadata", {}).setdefault("mlops_lab", {}).setdefault("steps", {})
        for lesson in found:
            settings = steps.setdefault(lesson.step, {})
            settings[lesson.key] = sorted({*settings.get(lesson.key, ()), lesson.name})
        write_text(json.dumps(raw, indent=1, ensure_ascii=False) + "\n", path)
    return found


def _findings(plan: Plan, results: Mapping[str, Result]) -> list[Lesson]:
    found = []
    for name, table in guard.tables(plan).items():
        if name not in results:
            continue
        result, actual = results[name], _actual(table, results)
        seen = missing_inputs(name, actual, result.needed)
        seen += undeclared(name, actual, result.inputs, result.outputs, result.undeclared_states)
        for finding in seen:
            step, key, what = finding.record
            found.append(Lesson(plan[step].step.group, key, what, finding.steps))
    return found + _shared_files(plan, results)


def _shared_files(plan: Plan, results: Mapping[str, Result]) -> list[Lesson]:
    """Files that two steps used of which neither waits for the other: one of each pair, which makes the edge."""
    found = []
    ran = [step.name for step in plan.steps if step.name in results]
    for position, below in enumerate(ran):
        upstream = plan.upstream([below])
        for above in ran[:position]:
            if above in upstream or below in plan.upstream([above]):
                continue
            path = next(_of_both(results[above], results[below]), None)
            if path is None:
                continue
            for name, other in ((above, below), (below, above)):
                key = "changes" if path in _written(results[name]) else "uses"
                effects = plan[name].effects
                if not any(
                    overlap(path, known) for known in (effects.writes_files if key == "changes" else effects.reads_files)
                ):
                    found.append(Lesson(plan[name].step.group, key, FILE + path, (other,)))
    return found


def _of_both(one: Result, other: Result) -> Iterator[str]:
    wrote, also = _written(one), _written(other)
    for path in sorted(wrote | also):
        folder, _, name = path.rpartition("/")
        uses = [
            r.files_written.get(path) or r.files_read.get(path) or _listed(r, f"{folder or '.'}/", name) for r in (one, other)
        ]
        if all(uses):
            yield path


def _written(result: Result) -> set[str]:
    """The files that the step surely wrote itself; folders are there for all, and a tracking store has its own locks."""
    return {
        path
        for path, state in result.files_written.items()
        if not path.endswith("/") and state[:1] != "~" and state != "folder" and not path.startswith(TRACKING)
    }


def _listed(result: Result, folder: str, name: str) -> bool:
    """True if the step looked for such names in the folder."""
    state = result.files_read.get(folder)
    return state is not None and concerns(state)(name)


def _actual(table: Mapping[str, Any], results: Mapping[str, Result]) -> dict[str, Any]:
    """A guard table with what other steps really did in place of what they might do."""

    def those(steps: list[str], name: str, of: str) -> list[str]:
        return [step for step in steps if step in results and getattr(results[step], of).get(name) is not None]

    def rows(key: str, of: str) -> dict[str, list[str]]:
        return {name: kept for name, steps in table[key].items() if (kept := those(steps, name, of))}

    drew = [s for s in table["drawing"] if s in results and any("random" in n for n in results[s].outputs if n[0] == "@")]
    return {
        **table,
        "readers": rows("readers", "inputs"),
        "writers": rows("writers", "outputs"),
        "holders": rows("holders", "inputs"),
        "sources": rows("sources", "outputs"),
        "drawing": drew,
    }
