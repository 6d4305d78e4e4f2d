"""Notebooks for tests: made in a folder of their own, from cells given as `(tags, source)` or just the source."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat as nbf
import pytest
from filelock import FileLock
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


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of the checkout, built once, whichever of the processes of a test run asks first."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "sdist"
    with FileLock(folder.with_suffix(".lock")):
        if not list(folder.glob("*.tar.gz")):
            command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder]
            done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("*.tar.gz")
    return made
