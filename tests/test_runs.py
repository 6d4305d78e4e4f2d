"""The folder of runs: finding a run, knowing whether it is alive, and one clear error where it can't be written."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from conftest import notebook_node

from mlops_lab.api import Run, to_resume
from mlops_lab.errors import BusyError, UsageError
from mlops_lab.events import EventLog, Message, RunFinished, RunStarted, StepStarted
from mlops_lab.runs import HOME, Home, RunFolder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv(HOME, raising=False)
    home = Home.of(tmp_path)
    home.prepare()
    return home


def made(home: Home, *names: str) -> None:
    for name in names:
        (home.runs / name).mkdir()


def begun(home: Home, *, end: str = "") -> RunFolder:
    run = home.new_run()
    log = EventLog(run.log)
    log.append(RunStarted(run=run.id, notebook="/nb.ipynb", digest="d", pipeline="p", steps=["a"]))
    if end:
        log.append(RunFinished(status=end, seconds=1.0))
    log.close()
    return run


FIND = [
    ("20260101-000000-aaaa", "20260101-000000-aaaa"),
    ("20260101", "20260101-000000-aaaa"),
    ("bbbb", "20260202-000000-bbbb"),
    ("last", "20260202-000001-cccc"),
    ("exact", "exact"),
]


@pytest.mark.parametrize(("name", "found"), FIND)
def test_a_run_is_found_by_its_name_or_a_part_of_it(home: Home, name: str, found: str) -> None:
    made(home, "20260101-000000-aaaa", "20260202-000000-bbbb", "20260202-000001-cccc")
    if name == "exact":
        made(home, "exact", "exact-2")
    assert home.find(name).id == found or name == "last"
    if name == "last":
        assert home.find(name) == home.list()[0]


def test_an_ambiguous_or_unknown_name_is_an_error_that_helps(home: Home) -> None:
    with pytest.raises(UsageError, match="no runs"):
        home.find("last")
    made(home, "20260202-000000-bbbb", "20260202-000001-cccc")
    with pytest.raises(UsageError, match="fits several runs: 20260202-000001-cccc, 20260202-000000-bbbb"):
        home.find("20260202")
    with pytest.raises(UsageError, match="did you mean '20260202-000000-bbbb'"):
        home.find("20260202-000000-bbxb")


def test_runs_are_listed_newest_first_and_files_are_no_runs(home: Home) -> None:
    made(home, "20260101-000000-aaaa", "20260202-000000-bbbb")
    (home.runs / "note.txt").write_text("x")
    assert [r.id for r in home.list()] == ["20260202-000000-bbbb", "20260101-000000-aaaa"]


def test_new_runs_have_names_of_their_own(home: Home) -> None:
    assert len({home.new_run().id for _ in range(20)}) == 20


def test_a_run_is_active_while_its_lock_is_held(home: Home) -> None:
    run = begun(home)
    with run.owned():
        assert run.is_active
        assert Run(run).status == "running"
    assert not run.is_active
    assert Run(run).status == "interrupted"


def test_a_step_that_ran_when_its_process_ended_is_interrupted_too(home: Home) -> None:
    run = begun(home)
    with run.owned():
        log = EventLog(run.log)
        log.append(StepStarted(step="a", attempt=1))
        log.close()
        assert Run(run).state.steps["a"].status == "running"
    assert Run(run).state.steps["a"].status == "interrupted"


def test_a_run_that_ended_is_not_interrupted(home: Home) -> None:
    run = begun(home, end="done")
    assert Run(run).status == "done"
    assert run.finished is not None and run.finished.status == "done"
    assert run.started is not None and run.started.steps == ["a"]


def test_a_run_without_a_log_is_no_error(home: Home) -> None:
    run = home.new_run()
    assert run.started is None and run.finished is None and not run.is_active


def test_a_message_after_the_end_of_a_run_does_not_hide_its_end(home: Home) -> None:
    run = begun(home, end="done")
    log = EventLog(run.log)
    log.append(Message(text="tracking was late"))
    log.close()
    assert Run(run).status == "done"


def test_a_run_that_has_ended_can_be_resumed_while_mlflow_takes_the_rest(home: Home, tmp_path: Path) -> None:
    nbformat.write(notebook_node([("step:a", "x = 1")]), tmp_path / "nb.ipynb")
    run = home.new_run()
    log = EventLog(run.log)
    log.append(RunStarted(run=run.id, notebook=str(tmp_path / "nb.ipynb"), digest="d", pipeline="nb", steps=["a"]))
    with run.owned():
        with pytest.raises(UsageError, match="still in progress"):
            to_resume(run)
        log.append(RunFinished(status="cancelled", seconds=1.0))
        _, options, target = to_resume(run)
    log.close()
    assert (options.resume, target) == ((run.id,), "local")


def test_a_cancel_request_is_seen(home: Home) -> None:
    run = home.new_run()
    assert not run.cancel_requested
    run.request_cancel()
    assert run.cancel_requested


def test_a_second_run_of_a_notebook_is_refused_with_the_first_one_s_name(home: Home, tmp_path: Path) -> None:
    notebook = tmp_path / "nb.ipynb"
    run = home.new_run()
    log = EventLog(run.log)
    log.append(RunStarted(run=run.id, notebook=str(notebook), digest="d", pipeline="p", steps=[]))
    log.close()
    with home.notebook_lock(notebook), run.owned():
        with pytest.raises(BusyError, match=f"mlops-lab cancel {run.id}"), home.notebook_lock(notebook):
            pass
        with home.notebook_lock(tmp_path / "other.ipynb"):
            pass
    with home.notebook_lock(notebook):
        pass


def test_the_folder_is_ignored_by_git_and_prepared_twice(home: Home) -> None:
    home.prepare()
    assert (home.folder / ".gitignore").read_text() == "*\n"
    assert not list((home.folder / "locks").iterdir())


def test_the_folder_may_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(tmp_path / "elsewhere"))
    assert Home.of(tmp_path / "nb").folder == tmp_path / "elsewhere"


@pytest.mark.parametrize("place", ["file", "parent is a file", "proc"])
def test_an_impossible_folder_is_one_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    (tmp_path / "file").write_text("x")
    folder = {"file": tmp_path / "file", "parent is a file": tmp_path / "file" / "x", "proc": Path("/proc/mlops")}[place]
    monkeypatch.setenv(HOME, str(folder))
    with pytest.raises(UsageError, match=HOME):
        Home.of(tmp_path).prepare()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_usage_error(home: Home) -> None:
    for path in (home.folder / "locks", home.folder):
        path.chmod(0o555)
    with pytest.raises(UsageError, match="Can't write"):
        home.prepare()
