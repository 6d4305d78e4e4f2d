"""The outputs of a run's steps, put back at the cells of the user's notebook."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_output

from mlops_lab import stepnb
from mlops_lab.errors import UsageError
from mlops_lab.executed import assemble, write
from mlops_lab.notebook import read
from mlops_lab.pipeline import Pipeline, build
from mlops_lab.plan import make_plan
from mlops_lab.runtime import WIDGETS


def ran(pipeline: Pipeline, step: str, folder: Path, *, count: int = 0) -> Path:
    """A step notebook as it is after its run: each own and setup cell shows its source; the rest shows noise."""
    node = stepnb.build(pipeline, make_plan(pipeline)[step])
    for number, cell in enumerate(node.cells, start=7):
        if count and "cell" in cell.metadata.get("mlops_lab", {}):
            count -= 1
            if not count:
                break
        shown = new_output("execute_result", {"text/plain": cell.source}, execution_count=number)
        cell.outputs, cell.execution_count = [new_output("stream", text="noise"), shown], number
    path = folder / f"{step}.ipynb"
    nbformat.write(node, path)
    return path


def shown(node: Any) -> list[tuple[int | None, str]]:
    """(execution count, last output's text) of the code cells."""
    texts = [c.outputs[-1].data["text/plain"] if c.outputs else "" for c in node.cells if c.cell_type == "code"]
    return list(zip([c.execution_count for c in node.cells if c.cell_type == "code"], texts, strict=True))


CELLS = [
    ("md", "# Title"), ("parameters", "lr = 0.1"), ("setup", "k = 1"), "", ("step:a", "x = k"), "x + 1",
    ("skip", "x + 2"), ("step:b", "y = x + lr"),
]  # fmt: skip


def test_outputs_stand_at_their_cells_with_the_numbers_of_a_straight_run(notebook: Callable[..., Path], tmp_path: Path) -> None:
    path = notebook(CELLS)
    before = path.read_bytes()
    pipeline = build(read(path))
    node = assemble(pipeline, {s: ran(pipeline, s, tmp_path) for s in ("a", "b")})
    assert shown(node) == [
        (1, ""), (2, "k = 1"), (None, ""), (3, "x = k"), (4, "x + 1"), (None, ""), (6, "y = x + lr"),
    ]  # fmt: skip
    assert all(o.execution_count == c.execution_count for c in node.cells if c.cell_type == "code" for o in c.outputs[1:])
    assert [c.source for c in node.cells] == [c.source for c in pipeline.notebook.node.cells]
    assert path.read_bytes() == before


def test_cells_of_other_steps_show_nothing_even_what_they_showed_before(notebook: Callable[..., Path], tmp_path: Path) -> None:
    pipeline = build(read(notebook(CELLS)))
    for cell in pipeline.notebook.node.cells[-1:]:
        cell.outputs, cell.execution_count = [new_output("stream", text="old")], 99
    node = assemble(pipeline, {"a": ran(pipeline, "a", tmp_path)})
    assert shown(node)[-1] == (None, "")
    assert pipeline.notebook.node.cells[-1].outputs[0].text == "old"
    assert all(c.execution_count is None for c in assemble(pipeline, {}).cells if c.cell_type == "code")


def test_cells_that_a_failed_step_did_not_reach_show_nothing(notebook: Callable[..., Path], tmp_path: Path) -> None:
    pipeline = build(read(notebook(CELLS)))
    node = assemble(pipeline, {"a": ran(pipeline, "a", tmp_path, count=2)})
    assert shown(node)[3:5] == [(3, "x = k"), (None, "")]


def test_a_step_whose_notebook_was_cut_short_shows_nothing(notebook: Callable[..., Path], tmp_path: Path) -> None:
    pipeline = build(read(notebook(CELLS)))
    whole, cut = ran(pipeline, "a", tmp_path), ran(pipeline, "b", tmp_path)
    cut.write_bytes(cut.read_bytes()[:500])
    node = assemble(pipeline, {"a": whole, "b": cut})
    assert shown(node)[3] == (3, "x = k") and shown(node)[-1] == (None, "")


def test_a_step_s_notebook_may_be_of_a_time_when_its_cells_stood_elsewhere(
    notebook: Callable[..., Path], tmp_path: Path
) -> None:
    old = build(read(notebook(CELLS)))
    executed = {"b": ran(old, "b", tmp_path)}
    new = build(read(notebook([("skip", "1"), ("skip", "2"), *CELLS], name="new.ipynb")))
    assert shown(assemble(new, executed))[-1] == (8, "y = x + lr")


def test_widget_states_of_all_steps_are_joined(notebook: Callable[..., Path], tmp_path: Path) -> None:
    pipeline = build(read(notebook(CELLS)))
    executed = {}
    for step in ("a", "b"):
        executed[step] = ran(pipeline, step, tmp_path)
        node = nbformat.read(executed[step], 4)
        node.metadata["widgets"] = {WIDGETS: {"version_major": 2, "version_minor": 0, "state": {step: {"v": 1}}}}
        nbformat.write(node, executed[step])
    assert set(assemble(pipeline, executed).metadata.widgets[WIDGETS]["state"]) == {"a", "b"}


def test_a_notebook_is_written_whole(notebook: Callable[..., Path], tmp_path: Path) -> None:
    node = read(notebook(CELLS)).node
    write(node, tmp_path / "out.ipynb")
    assert nbformat.read(tmp_path / "out.ipynb", 4) == node
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nb.ipynb", "out.ipynb"]


def test_a_notebook_that_cannot_be_written_leaves_what_was_there(notebook: Callable[..., Path], tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    node = read(notebook(CELLS)).node
    (tmp_path / "out.ipynb").write_text("before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        write(node, tmp_path / "out.ipynb")
    assert (tmp_path / "out.ipynb").read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nb.ipynb", "out.ipynb"]


@pytest.mark.parametrize("place", ["none/out.ipynb", "folder"])
def test_an_impossible_place_is_a_usage_error(notebook: Callable[..., Path], tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_text("x")
    with pytest.raises(UsageError, match="Can't write"):
        write(read(notebook(CELLS)).node, tmp_path / place)


def test_a_display_shows_what_a_cell_of_another_step_put_there(notebook: Callable[..., Path], tmp_path: Path) -> None:
    pipeline = build(read(notebook([("step:a", "h = 1"), ("step:b", "h + 1"), ("step:c", "h + 2")])))
    paths = {s: ran(pipeline, s, tmp_path) for s in ("a", "b", "c")}
    noted = {
        "a": {"displays": {"h": [1]}},
        "b": {"updates": {"h": {"data": {"text/plain": "new"}, "metadata": {"m": 1}}}},
        "c": {"updates": {"other": {"data": {}, "metadata": {}}}},
    }
    for step, path in paths.items():
        done = nbformat.read(path, as_version=4)
        (own,) = (c for c in done.cells if "cell" in c.metadata.get("mlops_lab", {}))
        own.metadata["mlops_lab"].update(noted[step])
        nbformat.write(done, path)
    node = assemble(pipeline, paths)
    assert [text for _, text in shown(node)] == ["new", "h + 1", "h + 2"]
    assert node.cells[0].outputs[1].metadata == {"m": 1}
