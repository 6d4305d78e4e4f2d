"""Runs a notebook from top to bottom in one kernel, keeps what its variables hold at the end, and compares two such ends."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_lab.results import Version

_RUNTIME = Path(__file__).parent.parent / "runtime"
_SECONDS = 600.0  # for one comparison


@dataclass(frozen=True)
class Straight:
    """An executed notebook, the error that ended it (or nothing), and the versions of its variables in a store."""

    node: Any
    error: str
    current: dict[str, Version] = field(default_factory=dict)
    store: str = ""


def run_straight(node: Any, kernel: str, folder: Path) -> Straight:
    """Run a notebook from top to bottom in one kernel, in a folder."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError
    from nbformat.v4 import new_code_cell

    node = copy.deepcopy(node)
    node.metadata.pop("widgets", None)
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    place = folder.parent / f"{folder.name}-end"
    place.mkdir()
    node.cells.append(new_code_cell(_keep(folder, place)))
    client = NotebookClient(node, timeout=None, kernel_name=kernel, resources={"metadata": {"path": str(folder)}})
    environment = {**os.environ, "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0")}
    error = ""
    try:
        with open(os.devnull, "wb") as nowhere:
            client.execute(env=environment, stdout=nowhere, stderr=nowhere)
    except CellExecutionError as failed:
        error = f"{failed.ename}: {failed.evalue}"
    except DeadKernelError as failed:
        error = str(failed)
    last = node.cells.pop()
    if error and last.get("outputs"):  # all of the user's cells ran, and keeping the variables failed
        error = ""
    report = place / "result.json"
    outputs = json.loads(report.read_text(encoding="utf-8"))["outputs"] if report.exists() else {}
    current = {name: output["version"] for name, output in outputs.items() if output}
    return Straight(node, error, current, str(place / "bundles"))


def _keep(folder: Path, place: Path) -> str:
    """Code for the kernel that stores all variables as the runtime stores those of a step."""
    import cloudpickle

    order: dict[str, Any] = {
        "step": "straight", "store": str(place / "bundles"), "folder": str(folder), "numbers": [], "sources": [], "reads": [],
        "keep": None, "current": {}, "imports": {}, "configuration": [], "seeded": False, "modules": [], "dotted": [],
        "bound_in": {}, "metrics": [], "own_configuration": [], "guard": None, "result": str(place / "result.json"),
    }  # fmt: skip
    (place / "bundles").mkdir()
    path = place / "order.json"
    path.write_text(json.dumps(order), encoding="utf-8")
    environment = {
        "MLOPS_LAB_RUNTIME": str(_RUNTIME),
        "MLOPS_LAB_ORDER": str(path),
        "MLOPS_LAB_CLOUDPICKLE": str(Path(cloudpickle.__file__).parent.parent),
    }
    code = f"import os; os.environ.update({environment!r}); PHASE = 'keep'; exec(open({str(_RUNTIME / 'boot.py')!r}).read())"
    return f"exec({code!r}, {{}})"


def differences(one: Straight, other: Straight, names: list[str], kernel: str, folder: Path) -> dict[str, str | None]:
    """Name -> where and how the two ends differ (an empty text: they don't; None: that can't be told)."""
    from mlops_lab.targets.local import kernel_python

    if not names:
        return {}
    with tempfile.TemporaryDirectory(prefix="mlops-lab-compare-") as place:
        work = Path(place, "work.json")
        result = Path(place, "result.json")
        content = {
            "runs": [{"store": run.store, "current": run.current} for run in (one, other)],
            "names": sorted(names),
            "folder": str(folder),
            "paths": [str(Path(path).parent.parent) for path in [sys.modules["cloudpickle"].__file__ or ""]],
            "result": str(result),
        }
        work.write_text(json.dumps(content), encoding="utf-8")
        command = [kernel_python(kernel), str(_RUNTIME / "compare.py"), str(work)]
        environment = {**os.environ, "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0"), "MPLBACKEND": "agg"}
        try:
            subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=_SECONDS, check=False)
            found: dict[str, str | None] = json.loads(result.read_text(encoding="utf-8"))
        except (OSError, ValueError, subprocess.SubprocessError):
            return dict.fromkeys(names)  # a value took the process down
        return found
