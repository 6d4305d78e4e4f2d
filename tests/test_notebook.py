"""Reading a notebook file: every format that Jupyter has written, and a clear error for what is no notebook."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlops_lab.errors import NotebookError
from mlops_lab.notebook import StepSettings, read
from mlops_lab.roles import Role

V3 = {
    "nbformat": 3, "nbformat_minor": 0, "metadata": {"name": "old"},
    "worksheets": [{"metadata": {}, "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": "text"},
        {"cell_type": "code", "language": "python", "metadata": {}, "collapsed": False, "input": "x = 1", "outputs": []},
    ]}],
}  # fmt: skip
V40 = {
    "nbformat": 4, "nbformat_minor": 0, "metadata": {},
    "cells": [{"cell_type": "code", "execution_count": None, "metadata": {"tags": ["step:a"]}, "outputs": [],
               "source": ["x = 1\n", "y = 2"]}],
}  # fmt: skip


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "source"),
    [
        pytest.param(V3, "x = 1", id="nbformat 3"),
        pytest.param(V40, "x = 1\ny = 2", id="nbformat 4.0"),
        pytest.param({**V40, "nbformat_minor": 5}, "x = 1\ny = 2", id="nbformat 4.5 without ids"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_every_format_is_read_and_the_file_is_left_alone(tmp_path: Path, content: Any, source: str) -> None:
    path = write(tmp_path / "nb.ipynb", content)
    before = path.read_bytes(), path.stat().st_mtime_ns
    (cell,) = read(path).cells
    assert cell.source == source
    assert cell.id
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


REFUSED = [
    ("an empty file", "", "it is empty"),
    ("blanks", "  \n", "it is empty"),
    ("damaged JSON", '{"cells": [', "damaged or cut short"),
    ("text", "# a script\nx = 1", "damaged or cut short"),
    ("a list", "[]", "no list of cells"),
    ("a dict without cells", "{}", "no list of cells"),
    ("cells that are no list", '{"cells": 1, "nbformat": 4, "metadata": {}}', "no list of cells"),
    ("a number", "1", "no list of cells"),
    ("a cell without a source", {**V40, "cells": [{"cell_type": "code", "metadata": {}}]}, "not a valid notebook"),
    ("a cell that is no object", {**V40, "cells": [1]}, "not a valid notebook"),
    ("metadata that is no object", {**V40, "metadata": []}, "not a valid notebook"),
    ("a format of the future", {**V40, "nbformat": 99}, "not a valid notebook"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "says"), [pytest.param(c, s, id=n) for n, c, s in REFUSED])
def test_what_is_no_notebook_is_refused_with_the_reason(tmp_path: Path, content: Any, says: str) -> None:
    path = write(tmp_path / "nb.ipynb", content)
    with pytest.raises(NotebookError, match=says) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_a_folder_and_other_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match="no such file"):
        read(tmp_path / "none.ipynb")
    with pytest.raises(NotebookError, match="is a folder"):
        read(tmp_path)
    (tmp_path / "latin.ipynb").write_bytes('{"cells": ["é"]}'.encode("latin-1"))
    with pytest.raises(NotebookError, match="not UTF-8"):
        read(tmp_path / "latin.ipynb")


@pytest.mark.parametrize(
    "metadata",
    [
        {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}},
        {"kernelspec": {"name": "ir", "display_name": "R"}, "language_info": {"name": "R"}},
        {"language_info": {"name": "julia"}},
    ],
)
def test_a_notebook_for_another_language_is_refused(tmp_path: Path, metadata: dict[str, Any]) -> None:
    path = write(tmp_path / "nb.ipynb", {**V40, "metadata": metadata})
    with pytest.raises(NotebookError, match="only Python"):
        read(path)


SETTINGS = [
    ("an unknown key", {"nmae": "x"}, "unknown key 'nmae' (did you mean 'name'?)"),
    (
        "an unknown key of a step",
        {"steps": {"a": {"memmory": "1Gi"}}},
        "steps.a: unknown key 'memmory' (did you mean 'memory'?)",
    ),
    ("an unknown key without a near one", {"zzz": 1}, "unknown key 'zzz'. Known: name"),
    ("settings that are no object", [], "must be an object, not list"),
    ("steps that are no object", {"steps": []}, "$.steps"),
    ("a step that is no object", {"steps": {"a": 1}}, "$.steps"),
    ("a name that is no text", {"name": 1}, "$.name"),
    ("retries that are no number", {"steps": {"a": {"retries": "two"}}}, "retries"),
    ("requirements that are no list", {"requirements": "pandas"}, "$.requirements"),
]


@pytest.mark.parametrize(("settings", "says"), [pytest.param(s, t, id=n) for n, s, t in SETTINGS])
def test_wrong_settings_are_refused_with_the_key(notebook: Callable[..., Path], settings: Any, says: str) -> None:
    path = notebook(["x = 1"], {"mlops_lab": settings})
    with pytest.raises(NotebookError) as caught:
        read(path)
    assert says in str(caught.value)


def test_settings_are_read(notebook: Callable[..., Path]) -> None:
    steps = {"a": {"cpu": "500m", "memory": "4Gi", "retries": 2, "timeout": 10, "cache": False, "env": {"A": "1"}}}
    found = read(notebook(["x = 1"], {"mlops_lab": {"name": "demo", "steps": steps}}))
    assert found.name == "demo"
    assert found.settings.steps["a"] == StepSettings(
        cpu="500m", memory="4Gi", retries=2, timeout=10, cache=False, env={"A": "1"}
    )


def test_cells_are_numbered_as_a_straight_run_numbers_them(notebook: Callable[..., Path]) -> None:
    found = read(notebook(["x = 1", ("md", "text"), "", "  \n", ("skip", "y = 2"), "%mlops run", "z = ("]))
    assert [(c.index, c.number) for c in found.cells] == [(0, 1), (4, 2), (5, 3), (6, 4)]
    assert [c.in_pipeline for c in found.cells] == [True, False, False, True]
    assert found.cells[-1].syntax_issue is not None


def test_a_cell_knows_its_roles(notebook: Callable[..., Path]) -> None:
    (cell,) = read(notebook([("step:a gate after:b after:c mine", "x = 1")])).cells
    assert cell.has(Role.GATE) and not cell.has(Role.SKIP)
    assert cell.names(Role.STEP) == ("a",)
    assert cell.names(Role.AFTER) == ("b", "c")


@pytest.mark.parametrize(
    ("other", "equal"),
    [("x  =  1 # a comment", True), ("x = (1)", True), ("x = 2", False), ("y = 1", False)],
)
def test_comments_and_formatting_do_not_count(notebook: Callable[..., Path], other: str, equal: bool) -> None:
    one, two = read(notebook(["x = 1", other])).cells
    assert (one.normalised == two.normalised) is equal


def test_the_digest_counts_code_tags_and_settings_only(notebook: Callable[..., Path]) -> None:
    def digest(cells: Any, metadata: dict[str, Any] | None = None) -> str:
        return read(notebook(cells, metadata)).digest

    base = digest(["x = 1"])
    assert digest([("md", "text"), "x = 1"]) == base
    assert digest([("step:a", "x = 1")]) != base
    assert digest(["x = 2"]) != base
    assert digest(["x = 1"], {"mlops_lab": {"name": "n"}}) != base
