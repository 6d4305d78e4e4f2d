"""A notebook that stands where a step stood: its inputs as they were, its imports and setup, and its cells, to go on from.

What the attempt was told to load (`order.json`) is still there, and so are the versions it names; the notebook's first
cell hands them to the same runtime that loaded them for the step.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlops_lab import events as ev
from mlops_lab.errors import BusyError, NotebookError
from mlops_lab.executed import write, write_text
from mlops_lab.moves import notebook_of
from mlops_lab.notebook import read
from mlops_lab.runs import RunFolder
from mlops_lab.runstate import StepState
from mlops_lab.server.errors import Forbidden, NotFound
from mlops_lab.server.runs import Runs
from mlops_lab.tracking import URI, default_uri

_RUNTIME = Path(__file__).parent.parent / "runtime"
_MARK = "mlops_lab_opened"  # in the metadata of notebooks that were made here
_FIRST = """\
# Step {step!r} of run {run}, attempt {attempt}: this cell runs its imports and setup and loads its inputs as they were.
# Run it once in a fresh kernel; the step's own cells follow.
exec(open({boot!r}).read(), {{"PHASE": "restore", "ORDER": {order!r}}})
"""


def open_step(runs: Runs, name: str, step: str, attempt: int = 0) -> dict[str, Any]:
    """Write the notebook beside the one that was run, unless it is there already, and tell where to go in it. It parses."""
    run, state, known = runs.step_of(name, step)
    folder, attempt = _attempt_of(run, known, attempt)
    notebook = notebook_of(run) or Path(state.notebook)
    executed = _cells(folder, name, step)
    first_ours = [cell for cell in executed if "cell" not in cell["metadata"].get("mlops_lab", {})]
    own = [cell for cell in executed if cell not in first_ours]
    failed = _failed_cell(run, known, attempt)
    at = next((i for i, cell in enumerate(own) if cell["metadata"]["mlops_lab"]["cell"] == failed[0]), 0)
    order = folder / "open.json"
    _write_order(run, notebook, folder, step, first_ours, order, state.experiment)
    suffix = f"-{attempt}" if attempt > 1 else ""
    path = notebook.with_name(f"{notebook.stem}-{step}-{name}{suffix}.ipynb")
    if runs.places.path_of(path) is None:
        raise Forbidden(f"{path.name} would be written outside of the server's root.")
    mark = {"run": name, "step": step, "attempt": attempt}
    created = not _is_ours(path, mark)
    if created:
        if path.exists():
            raise BusyError(f"{path.name} is there already and is no notebook of this step; rename it and try again.")
        first = _FIRST.format(step=step, run=name, attempt=attempt, boot=str(_RUNTIME / "boot.py"), order=str(order))
        write(_notebook(run, first, own, mark), path)
    spec = _spec(run)
    return {
        "path": runs.places.path_of(path),
        "created": created,
        "kernel": {"name": spec.get("name", "python3"), "display_name": spec.get("display_name", spec.get("name", "Python 3"))},
        "cell": at + 1,
        "cell_id": own[at].get("id", "") if own else "",
        "line": failed[1],
        "run_first": list(range(at + 1)),
    }


def _attempt_of(run: RunFolder, step: StepState, attempt: int) -> tuple[Path, int]:
    """Folder and number of the attempt that is meant."""
    if not attempt and step.status == "cached":
        folder = run.here(step.notebook).parent
        return folder, int(folder.name)
    if attempt > step.attempt:
        raise NotFound(f"Step {step.name!r} of run {run.id} has no attempt {attempt}; it had {step.attempt}.")
    if not step.attempt:
        raise BusyError(f"Step {step.name!r} of run {run.id} did not run ({step.reason or step.status}): it had no inputs.")
    return run.attempt(step.name, attempt or step.attempt), attempt or step.attempt


def _cells(folder: Path, name: str, step: str) -> list[dict[str, Any]]:
    """The code cells of a step's notebook, as it was executed (with the parameters that were given) if it got so far."""
    for file in ("executed.ipynb", "notebook.ipynb"):
        try:
            node = json.loads((folder / file).read_bytes())
            return [cell for cell in node["cells"] if cell["cell_type"] == "code"]
        except (OSError, ValueError, LookupError, TypeError):
            continue
    raise BusyError(f"What step {step!r} of run {name} worked with is not on this machine (any more).")


def _failed_cell(run: RunFolder, step: StepState, attempt: int) -> tuple[int, int]:
    """Number of the cell that failed in an attempt, and the line; zeros if none did."""
    for event in run.events():
        if isinstance(event, ev.StepFinished) and (event.step, event.attempt) == (step.name, attempt) and event.failure:
            return event.failure.cell, event.failure.line
    return 0, 0


def _write_order(
    run: RunFolder, notebook: Path, folder: Path, step: str, ours: list[dict[str, Any]], path: Path, experiment: str
) -> None:
    import cloudpickle

    try:
        order = json.loads((folder / "order.json").read_bytes())
    except (OSError, ValueError):
        raise BusyError(f"What step {step!r} of run {run.id} had to load is not on this machine (any more).") from None
    before = []
    for cell in ours:
        if "mlops-lab-inputs" in cell["metadata"].get("tags", ()):
            break
        before.append("".join(cell["source"]))
    try:
        settings = read(run.notebook).settings.steps
    except NotebookError:
        settings = {}
    own = next((value.env for key, value in settings.items() if step == key or step.startswith(f"{key}-")), {})
    environment = {
        "MLOPS_LAB_RUNTIME": str(_RUNTIME),
        "MLOPS_LAB_CLOUDPICKLE": str(Path(cloudpickle.__file__).parent.parent),
        URI: default_uri(notebook.parent),
        "MLFLOW_EXPERIMENT_NAME": experiment,
        **own,
    }
    write_text(json.dumps(order | {"before": before, "environment": environment, "guard": None}), path)


def _is_ours(path: Path, mark: dict[str, Any]) -> bool:
    try:
        return bool(json.loads(path.read_bytes())["metadata"].get(_MARK) == mark)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _notebook(run: RunFolder, first: str, own: list[dict[str, Any]], mark: dict[str, Any]) -> Any:
    from nbformat.v4 import new_code_cell, new_notebook

    cells = [new_code_cell(first, id="inputs")]
    for index, cell in enumerate(own):
        tags = [tag for tag in cell["metadata"].get("tags", ()) if tag == "raises-exception"]
        source = "".join(cell["source"])
        cells.append(new_code_cell(source, id=cell.get("id") or f"cell-{index}", metadata={"tags": tags} if tags else {}))
    return new_notebook(cells=cells, metadata={"kernelspec": _spec(run), _MARK: mark})


def _spec(run: RunFolder) -> dict[str, Any]:
    try:
        spec = json.loads(run.notebook.read_bytes())["metadata"]["kernelspec"]
        return dict(spec)
    except (OSError, ValueError, LookupError, TypeError):
        return {"name": "python3", "display_name": "Python 3", "language": "python"}
