"""Holds a pipeline run against the notebook run from top to bottom: cell by cell, output by output.

Both run in copies of the notebook's folder, so that nothing of the user's is touched. The notebook runs straight twice; what
these two runs do not agree on (times, unseeded draws) can't be asked of the pipeline and is left out.
"""

from __future__ import annotations

import base64
import io
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_lab.api import Run
from mlops_lab.checks import require_sound
from mlops_lab.notebook import from_node, read
from mlops_lab.pipeline import build
from mlops_lab.plan import make_plan
from mlops_lab.targets import Options, target

_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "node_modules")
# What names a place in memory, a process or a counter of one, and not a value.
_ACCIDENTAL = [
    (re.compile(r"\b0x[0-9a-fA-F]{6,}\b"), "0x"),
    (re.compile(r"ipykernel_\d+/\d+\.py"), "ipykernel.py"),
    (re.compile(r"\S*[/\\]\.ipykernel[/\\][\d-]+\.py"), "ipykernel.py"),
    (re.compile(r"\S*ipykernel\.py"), "ipykernel.py"),
    (re.compile(r"sk-(container|estimator)-id-\d+"), "sk-id"),
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
]


@dataclass(frozen=True)
class CellVerdict:
    """`status`: equal, different, unstable (the two straight runs differ), or not run by the pipeline (`missing`)."""

    cell: int
    step: str
    status: str
    straight: str = ""
    pipeline: str = ""


@dataclass(frozen=True)
class Verdict:
    """`status`: equal, different, refused (the pipeline said why it can't), or failed (the notebook fails by itself)."""

    status: str
    cells: tuple[CellVerdict, ...]
    message: str = ""
    overtaken: int = 0

    @property
    def differences(self) -> tuple[CellVerdict, ...]:
        return tuple(cell for cell in self.cells if cell.status in {"different", "missing"})


def verify(notebook: Path, *, workers: int = 0, node: Any = None, told: Callable[[str], None] = lambda text: None) -> Verdict:
    """Compare; `node` stands for the notebook's content where it differs from the file (proposed tags, say).

    Raises `CheckError` when the notebook has errors as a pipeline, `NotebookError` when it can't be read.
    """
    source = from_node(node, notebook) if node is not None else read(notebook)
    plan = make_plan(build(source))
    require_sound(plan)
    with tempfile.TemporaryDirectory(prefix="mlops-lab-verify-") as place:
        folders = [Path(place, name) for name in ("straight", "again", "pipeline")]
        for folder in folders:
            shutil.copytree(source.folder, folder, ignore=_LEFT_OUT, symlinks=True)
        told("running the notebook from top to bottom")
        straight, error = run_straight(source.node, source.kernel_name, folders[0])
        told("running it as a pipeline")
        copy = from_node(source.node, folders[2] / source.path.name)
        options = Options(cache=False, workers=workers, tracking=False)
        run = Run(target("local")(make_plan(build(copy)), options))
        state, result = run.state, run.notebook()
        pairs = [(cell, straight.cells[cell.index], result.cells[cell.index]) for cell in source.cells if cell.in_pipeline]
        differing = [cell.number for cell, one, other in pairs if _shown(one) != _shown(other)]
        unstable: set[int] = set()
        if differing:
            told("running the notebook once more, to see what is stable")
            again, _ = run_straight(source.node, source.kernel_name, folders[1])
            unstable = {c.number for c, one, _ in pairs if _shown(one) != _shown(again.cells[c.index])}
    step_of = {number: step.name for step in plan.pipeline.steps for number in step.numbers}
    cells = []
    for cell, one, other in pairs:
        status = "equal"
        if cell.number in unstable:
            status = "unstable"
        elif cell.number in differing:
            status = "different" if other.execution_count is not None else "missing"
        cells.append(
            CellVerdict(cell.number, step_of.get(cell.number, ""), status, _text(one), _text(other))
            if status != "equal"
            else CellVerdict(cell.number, step_of.get(cell.number, ""), status)
        )
    overtaken = sum(step.overtaken for step in state.steps.values())
    failures = [step.failure for step in state.steps.values() if step.failure and step.status in {"failed", "rejected"}]
    if error:
        same = any(failure.message == error for failure in failures)
        message = f"the notebook fails by itself: {error}" + ("; so does the pipeline" if same else "")
        return Verdict("failed" if failures else "different", tuple(cells), message, overtaken)
    if failures:
        refused = [failure for failure in failures if failure.kind == "refused"]
        message = (refused or failures)[0].message
        return Verdict("refused" if refused else "different", tuple(cells), message, overtaken)
    different = any(cell.status in {"different", "missing"} for cell in cells)
    return Verdict("different" if different else "equal", tuple(cells), "", overtaken)


def run_straight(node: Any, kernel: str, folder: Path) -> tuple[Any, str]:
    """Run a notebook from top to bottom in one kernel: the executed node, and the error that ended it (or nothing)."""
    import copy

    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    node = copy.deepcopy(node)
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(node, timeout=None, kernel_name=kernel, resources={"metadata": {"path": str(folder)}})
    environment = {**os.environ, "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0")}
    try:
        with open(os.devnull, "wb") as nowhere:
            client.execute(env=environment, stdout=nowhere, stderr=nowhere)
    except CellExecutionError as error:
        return node, f"{error.ename}: {error.evalue}"
    return node, ""


def _shown(cell: Any) -> list[Any]:
    """What a cell shows, without what is accidental: addresses, and how its two streams were interleaved."""
    shown: list[Any] = []
    for is_stream, outputs in itertools.groupby(cell.outputs, lambda output: output.output_type == "stream"):
        if is_stream:
            texts: dict[str, str] = {}
            for output in outputs:
                texts[output.name] = texts.get(output.name, "") + output.text
            shown += [("stream", name, texts[name]) for name in sorted(texts)]
        else:
            shown += [one for output in outputs for one in _rich(output)]
    return [tuple(_plain(part) if isinstance(part, str) else part for part in one) for one in shown]


def _rich(output: Any) -> list[Any]:
    kind = output.output_type
    if kind == "error":
        return [("error", output.ename, output.evalue)]
    return [
        (kind, mime, _pixels(data) if mime.startswith("image/") and "svg" not in mime else data)
        for mime, data in sorted(output.data.items())
    ]


def _plain(text: str) -> str:
    for pattern, replacement in _ACCIDENTAL:
        text = pattern.sub(replacement, text)
    return re.sub(r"mlops-lab-verify-\w+/(straight|again|pipeline)", "folder", text)


def _pixels(data: str) -> Any:
    """A picture as its pixels, where something is there to decode it: its file may hold a date."""
    try:
        from PIL import Image

        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            return (picture.size, picture.convert("RGBA").tobytes())
    except Exception:
        return data


def _text(cell: Any) -> str:
    parts = [f"[{one[0]} {one[1]}] {one[2] if isinstance(one[2], str) else '(picture)'}" for one in _shown(cell)]
    return "\n".join(parts)[:2000]
