"""Notebooks for tests: made in a folder of their own, from cells given as `(tags, source)` or just the source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat as nbf
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
CellSpec = str | tuple[str, str]


def notebook_node(cells: Sequence[CellSpec], metadata: dict[str, Any] | None = None) -> Any:
    """A notebook node; tags are separated by spaces (`"step:a gate"`), and `md` makes a Markdown cell."""
    made = []
    for cell in cells:
        tags, source = cell if isinstance(cell, tuple) else ("", cell)
        if tags == "md":
            made.append(new_markdown_cell(source))
        else:
            made.append(new_code_cell(source, metadata={"tags": tags.split()} if tags else {}))
    return new_notebook(cells=made, metadata={"kernelspec": KERNEL, **(metadata or {})})


@pytest.fixture
def notebook(tmp_path: Path) -> Callable[..., Path]:
    """Writes a notebook into the test's folder and returns its path."""

    def write(cells: Sequence[CellSpec], metadata: dict[str, Any] | None = None, name: str = "nb.ipynb") -> Path:
        path = tmp_path / name
        nbf.write(notebook_node(cells, metadata), path)
        return path

    return write


def is_alive(process: int) -> bool:
    """True while a process runs; one that has ended and waits to be collected by its parent does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
