"""A notebook keeps its runs: renamed or moved in Jupyter, moved with its folder, or moved by other means."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import notebook_node
from nbformat import write
from typer.testing import CliRunner

from mlops_lab.cli import app
from mlops_lab.events import EventLog, RunFinished, RunStarted
from mlops_lab.moves import is_of, notebook_of, record
from mlops_lab.runs import HOME, Home, RunFolder, homes

CELLS = [("step:load", "numbers = [3, 1, 2]"), ("step:sort", "numbers.sort()"), ("step:show", "print(numbers)")]


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HOME, raising=False)


def notebook(path: Path, cells: list[tuple[str, str]] = CELLS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(notebook_node(cells), path)
    return path


def ran(path: Path) -> RunFolder:
    """A run of a notebook, as it is found once it has ended."""
    home = Home.of(path.parent)
    home.prepare()
    run = home.new_run()
    shutil.copy(path, run.notebook)
    log = EventLog(run.log)
    log.append(RunStarted(run=run.id, notebook=str(path), digest="d", pipeline=path.stem, steps=["load"]))
    log.append(RunFinished(status="done", seconds=1.0))
    log.close()
    return run


def moved(old: Path, new: Path) -> Path:
    """As Jupyter does it."""
    new.parent.mkdir(parents=True, exist_ok=True)
    old.rename(new)
    record(old, new)
    return new


def listed(path: Path) -> set[str]:
    return {run.id for home in homes(path) for run in home.list() if is_of(run, path)}


def test_a_renamed_notebook_keeps_its_runs_and_a_new_one_of_its_old_name_has_none(tmp_path: Path) -> None:
    old = notebook(tmp_path / "Untitled.ipynb")
    first = ran(old)
    new = moved(old, tmp_path / "sales.ipynb")
    notebook(old, [("", "print('something else')")])
    second, other = ran(new), ran(old)
    assert listed(new) == {first.id, second.id}
    assert listed(old) == {other.id}
    assert first.started is not None and first.started.notebook == str(old), "logs are never changed"
    back = moved(new, tmp_path / "again.ipynb")
    assert listed(back) == {first.id, second.id}


def test_a_notebook_that_is_moved_to_another_folder_keeps_its_runs_wherever_it_goes(tmp_path: Path) -> None:
    path = notebook(tmp_path / "inbox" / "a.ipynb")
    stays = notebook(tmp_path / "inbox" / "b.ipynb")
    runs = {ran(path).id}
    other = ran(stays)
    for place in ("work/a.ipynb", "work/deep/c.ipynb", "inbox/d.ipynb"):
        path = moved(path, tmp_path / place)
        assert listed(path) == runs, place
        runs.add(ran(path).id)
        assert listed(path) == runs, place
    assert listed(stays) == {other.id}


def test_nothing_is_written_for_a_notebook_without_runs(tmp_path: Path) -> None:
    ran(notebook(tmp_path / "in" / "other.ipynb"))
    before = {path for path in tmp_path.rglob("*") if path.name != "a.ipynb"}
    moved(notebook(tmp_path / "in" / "a.ipynb"), tmp_path / "out.ipynb")
    assert {path for path in tmp_path.rglob("*") if path.name != "out.ipynb"} == before


def test_a_folder_takes_its_runs_along_and_a_copy_of_it_has_its_own(tmp_path: Path) -> None:
    run = ran(notebook(tmp_path / "project" / "a.ipynb"))
    (tmp_path / "project").rename(tmp_path / "archive")
    run = RunFolder(tmp_path / "archive" / ".mlops_lab" / "runs" / run.id)
    assert notebook_of(run) == tmp_path / "archive" / "a.ipynb"
    shutil.copytree(tmp_path / "archive", tmp_path / "project")
    assert listed(tmp_path / "project" / "a.ipynb") == {run.id} == listed(tmp_path / "archive" / "a.ipynb")


def test_a_renamed_folder_keeps_the_runs_of_what_was_moved_into_it(tmp_path: Path) -> None:
    path = notebook(tmp_path / "inbox" / "a.ipynb")
    run = ran(path)
    moved(path, tmp_path / "work" / "a.ipynb")
    moved(tmp_path / "work", tmp_path / "done")
    assert listed(tmp_path / "done" / "a.ipynb") == {run.id}


def test_runs_that_are_kept_elsewhere_follow_notebooks_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(tmp_path / "elsewhere"))
    path = notebook(tmp_path / "work" / "a.ipynb")
    run = ran(path)
    moved(path, tmp_path / "work" / "b.ipynb")
    moved(tmp_path / "work", tmp_path / "done")
    assert listed(tmp_path / "done" / "b.ipynb") == {run.id}


def edited(path: Path) -> None:
    text = path.read_text().replace("print(numbers)", "print('all', numbers)")
    path.write_text(text)


BY_OTHER_MEANS: list[tuple[str, Callable[[Path], None], bool]] = [
    ("as it was", lambda path: None, True),
    ("and edited", edited, True),
    ("in favour of another one", lambda path: notebook(path, [("", "1"), ("", "2"), ("", "3")]) and None, False),
]


@pytest.mark.parametrize(("what", "then", "found"), BY_OTHER_MEANS, ids=[row[0] for row in BY_OTHER_MEANS])
def test_a_notebook_that_was_moved_by_other_means_is_known_by_its_cells(
    tmp_path: Path, what: str, then: Callable[[Path], None], found: bool
) -> None:
    path = notebook(tmp_path / "a.ipynb")
    run = ran(path)
    notebook(tmp_path / "0.ipynb", [("", "nothing"), ("", "of it")])
    shutil.copy(path, tmp_path / f"a.{run.id}.ipynb")  # an executed notebook that was opened: no notebook that moved
    new = path.rename(tmp_path / "b.ipynb")
    then(new)
    assert listed(new) == ({run.id} if found else set())
    assert notebook_of(run) == (new if found else path)


def test_damage_to_the_list_of_moves_is_passed_over(tmp_path: Path) -> None:
    path = notebook(tmp_path / "a.ipynb")
    run = ran(path)
    with open(run.home.folder / "moved.jsonl", "a") as file:
        file.write('{"time": "now"}\nnothing\n')
    new = moved(path, tmp_path / "b.ipynb")
    assert listed(new) == {run.id}


def test_the_terminal_lists_the_runs_of_a_renamed_notebook(tmp_path: Path) -> None:
    path = notebook(tmp_path / "a.ipynb")
    run = ran(path)
    new = moved(path, tmp_path / "sub" / "b.ipynb")

    def told(place: Path) -> list[tuple[str, str]]:
        return [
            (row["run"], row["notebook"]) for row in json.loads(CliRunner().invoke(app, ["runs", str(place), "--json"]).output)
        ]

    assert told(new) == [(run.id, "b.ipynb")]
    notebook(path)
    assert told(path) == []
