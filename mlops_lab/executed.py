"""Puts the outputs of a run's steps back at the cells of the user's notebook, numbered as a straight run numbers them."""

from __future__ import annotations

import copy
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_lab.errors import UsageError
from mlops_lab.pipeline import Pipeline
from mlops_lab.runtime import WIDGETS


def assemble(pipeline: Pipeline, executed: Mapping[str, Path]) -> Any:
    """The notebook with the outputs of these steps (name -> executed step notebook); other cells show none."""
    import nbformat

    node = copy.deepcopy(pipeline.notebook.node)
    node.metadata.pop("widgets", None)
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    ran = {number for name in executed for number in pipeline.step(name).numbers}
    static = {parameter.cell for parameter in pipeline.static_parameters}
    for cell in pipeline.notebook.cells:
        if cell.number in static and ran:
            node.cells[cell.index].execution_count = cell.number
    setup_seen: set[int] = set()
    noted: dict[int, Mapping[str, Any]] = {}  # position of a cell -> what the runtime noted of its displays
    for name, path in executed.items():
        step = pipeline.step(name)
        try:
            done = nbformat.read(path, as_version=4)
        except (OSError, ValueError):  # cut short, as where the disk was full: the run's log says so
            continue
        # By position and not by number: a cached step may come from a time when its cells stood elsewhere.
        own = [c for c in done.cells if "cell" in c.metadata.get("mlops_lab", {})]
        for cell, result in zip(step.cells, own, strict=False):
            if result.get("execution_count") is not None or result.get("outputs"):
                _put(node.cells[cell.index], result, cell.number)
                noted[cell.index] = result.metadata["mlops_lab"]
        by_index = {c.number: c.index for c in pipeline.setup}
        for result in done.cells:
            number = result.metadata.get("mlops_lab_setup")
            if number in by_index and number not in setup_seen:
                setup_seen.add(number)
                _put(node.cells[by_index[number]], result, number)
        widgets = done.metadata.get("widgets", {}).get(WIDGETS)
        if widgets:
            node.metadata.setdefault("widgets", {}).setdefault(WIDGETS, {**widgets, "state": {}})["state"].update(
                widgets["state"]
            )
    _update_displays(node, noted)
    return node


def _update_displays(node: Any, noted: Mapping[int, Mapping[str, Any]]) -> None:
    """Change displays as the cells below theirs have, by their names (`display_id`); within a step that is done already."""
    named: dict[str, list[Any]] = {}
    for index in sorted(noted):
        outputs = node.cells[index].outputs
        news = dict(noted[index].get("updates", {}))
        for name, places in noted[index].get("displays", {}).items():
            own = [outputs[place] for place in places if place < len(outputs)]
            if own:
                news.setdefault(name, own[-1])
            named.setdefault(name, []).extend(own)
        for name, content in news.items():
            for output in named.get(name, ()):
                output.data, output.metadata = copy.deepcopy(content["data"]), copy.deepcopy(content["metadata"])


def _put(target: Any, result: Any, number: int) -> None:
    target.execution_count = number
    target.outputs = copy.deepcopy(result.outputs)
    for output in target.outputs:
        if output.output_type == "execute_result":
            output.execution_count = number


def write(node: Any, path: Path) -> None:
    """Write a notebook whole or not at all. Raises `UsageError` where it can't be written."""
    import nbformat

    write_text(nbformat.writes(node) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write a file whole or not at all. Raises `UsageError` where it can't be written."""
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise UsageError(f"Can't write {path}: {error.strerror}.") from None
