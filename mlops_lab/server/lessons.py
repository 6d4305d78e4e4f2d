"""What a run saw that the analysis did not, as edits of the notebook's settings. The editor makes them: nothing is written."""

from __future__ import annotations

from typing import Any

from mlops_lab.learn import lessons, results_of
from mlops_lab.notebook import read
from mlops_lab.server.runs import Runs


def lessons_of(runs: Runs, name: str) -> dict[str, Any]:
    """The lessons of a run for its notebook as it is saved now, with the edits that write them into its settings. It parses."""
    run, path = runs.places.run(name)
    notebook = read(runs.places.notebook(path))
    found = lessons(notebook, results_of(run))
    edits = []
    for step, key in dict.fromkeys((lesson.step, lesson.key) for lesson in found):
        settings = notebook.settings.steps.get(step)
        known = getattr(settings, key) if settings else ()
        names = sorted({*known, *(each.name for each in found if (each.step, each.key) == (step, key))})
        edits.append({"kind": "set_setting", "step": step, "key": key, "value": names})
    rows = [{"step": e.step, "key": e.key, "name": e.name, "seen_by": list(e.seen_by), "text": str(e)} for e in found]
    return {"lessons": rows, "edits": edits}
