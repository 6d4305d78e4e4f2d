"""What attempts that don't count did to files is taken back: in a folder of random changes, and in runs with real kernels."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import mlops_lab
from mlops_lab import events as ev
from mlops_lab.runtime.files import OpenedFiles
from mlops_lab.runtime.journal import Journal, change_no_files
from mlops_lab.targets import journals

_NAMES = ("a", "b", "d/a", "d/e/a", "link", "d", "d/e", "new/x")


def _append(path: Path, other: Path) -> None:
    with path.open("a") as file:
        file.write("+")


def _insert(path: Path, other: Path) -> None:
    with contextlib.closing(sqlite3.connect(path.with_suffix(".db"))) as database, database:
        database.execute("create table if not exists t (x)")
        database.execute("insert into t values (1)")


_CHANGES: tuple[Callable[[Path, Path], object], ...] = (
    _append,
    _insert,
    lambda path, other: path.write_text("new"),
    lambda path, other: os.truncate(path, 1),
    lambda path, other: path.unlink(),
    lambda path, other: path.rename(other),
    lambda path, other: path.symlink_to(other),
    lambda path, other: path.hardlink_to(other),
    lambda path, other: path.mkdir(parents=True),
    lambda path, other: path.rmdir(),
    lambda path, other: shutil.rmtree(path),
    lambda path, other: shutil.copy(path, other),
    lambda path, other: shutil.move(path, other),
)


def _tree(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = f"-> {path.readlink()}" if path.is_symlink() else "folder" if path.is_dir() else path.read_bytes().hex()
        found[str(path.relative_to(folder))] = kind
    return found


@settings(max_examples=150, deadline=None, phases=set(Phase) - {Phase.shrink})
@given(st.lists(st.tuples(st.sampled_from(_CHANGES), st.sampled_from(_NAMES), st.sampled_from(_NAMES)), max_size=8))
def test_a_folder_is_as_it_was_whatever_was_done_in_it(tmp_path_factory, changes):
    folder, kept = tmp_path_factory.mktemp("folder"), tmp_path_factory.mktemp("kept")
    (folder / "d/e").mkdir(parents=True)
    for name in ("a", "d/a", "d/e/a"):
        (folder / name).write_text(f"old {name}")
    (folder / "link").symlink_to("d/a")
    before = _tree(folder)
    files = OpenedFiles(str(folder), Journal(str(kept), early=True, quiet=str(kept / "quiet")))
    files.start()
    try:
        for change, path, other in changes:
            with contextlib.suppress(OSError, shutil.Error, sqlite3.Error):
                change(folder / path, folder / other)
    finally:
        files.stop()
    assert journals.can_be_taken_back([(kept, _nothing_told())], folder)
    journals.take_back([kept])
    assert _tree(folder) == before


def _nothing_told() -> mlops_lab.results.Result:
    return mlops_lab.results.Result("s", "", 1, "failed", 0.0, {})


def test_what_two_did_in_turns_is_taken_back_to_what_was_before_the_first(tmp_path):
    file = tmp_path / "log"
    file.write_text("begin ")
    for turn in "one", "two":
        Journal(str(tmp_path / turn), early=True, quiet=str(tmp_path / "quiet")).before(str(file))
        with file.open("a") as opened:
            opened.write(turn)
    assert journals.disturbs(tmp_path / "one", tmp_path / "two")
    journals.take_back([tmp_path / "one", tmp_path / "two"])
    assert file.read_text() == "begin "


def test_links_that_lead_back_to_themselves_are_put_back(tmp_path):
    (tmp_path / "one").symlink_to("two/x")
    (tmp_path / "two").symlink_to("one")
    Journal(str(tmp_path / "journal"), early=True, quiet=str(tmp_path / "quiet")).before(str(tmp_path / "one"))
    (tmp_path / "one").unlink()
    journals.take_back([tmp_path / "journal"])
    assert str((tmp_path / "one").readlink()) == "two/x"


@pytest.mark.parametrize(
    ("command", "changes"),
    [
        ("ls -l | grep x", False),
        ("nvidia-smi 2>/dev/null", False),
        ("dot --version", False),
        ("echo x >> log.txt", True),
        ("python train.py", True),
        ("cat a; sort -o b b", True),
    ],
)
def test_commands_that_may_change_files(command, changes):
    assert change_no_files(command) is not changes


# -- in runs -------------------------------------------------------------------------------------------------------------------

_START = (
    "import operator, sqlite3, subprocess, time\nfrom pathlib import Path\nvalues = [1]\nopen('log.txt', 'a').write('begin\\n')"
)
_APPEND = "with open('log.txt', 'a') as log:\n    _ = log.write(f'{values}\\n')"
_DATABASE = (
    "database = sqlite3.connect('log.db')\nwith database:\n    database.execute('create table if not exists t (x)')\n"
    "    database.execute('insert into t values (?)', (str(values),))\n"
    "Path('log.txt').write_text(str(database.execute('select * from t').fetchall()))\ndatabase.close()"
)


@pytest.fixture
def race(notebook, tmp_path_factory):
    """Runs a notebook whose step `slow`, in the middle, changes `values` only once the first attempt at `early`, below it, has
    ended (or, `stopped`, has run `body`). Returns the run and what is in log.txt then."""
    marks = tmp_path_factory.mktemp("marks")

    def go(body: str, stopped: bool = False, below: tuple[tuple[str, str], ...] = (), listener=None, slow: str = "", **options):
        # Nothing in its text says that it uses files, since the step below waited for it then.
        wait = f"there = operator.methodcaller('exists')\nwhile not there(Path({str(marks)!r}, '.early')): time.sleep(0.02)\n"
        stay = "\nif len(values) == 1:\n    print('here', flush=True)\n    time.sleep(60)" if stopped else ""
        path = notebook(
            [
                ("step:start", _START),
                ("step:slow", wait + slow + "more = operator.iconcat(values, [2])"),
                ("step:early", body + stay),  # which is told by what it prints, since a file would be an edge
                *below,
                ("step:show", "print(Path('log.txt').read_text() if Path('log.txt').exists() else None, len(values))"),
            ]
        )

        def mark(event):
            if listener:
                listener(event, path.parent)
            ended = isinstance(event, ev.StepFinished | ev.StepOvertaken | ev.CellOutput)
            if ended and event.step == (below[-1][0].removeprefix("step:") if below else "early"):
                (marks / ".early").touch()  # hidden, since a watching step would be taken for its writer

        done = mlops_lab.load(path).run(listener=mark, tracking=False, workers=2, **options)
        log = path.with_name("log.txt")
        return done, log.read_text() if log.exists() else None

    return go


@pytest.mark.parametrize("stopped", [False, True], ids=["ended", "stopped"])
@pytest.mark.parametrize(
    ("body", "left"),
    [
        (_APPEND, "begin\n[1, 2]\n"),
        (_DATABASE, "[('[1, 2]',)]"),
        ("if len(values) == 1:\n    Path('log.txt').unlink()", "begin\n"),
        (
            "Path('log.txt').rename('old.txt')\nPath('log.txt').write_text(Path('old.txt').read_text() + str(values))",
            "begin\n[1, 2]",
        ),
    ],
    ids=["append", "database", "remove", "rename"],
)
def test_a_step_that_began_too_early_changes_a_file_once(race, body, left, stopped):
    done, log = race(body, stopped)
    assert (done.status, log) == ("done", left)
    assert done.state.steps["early"].overtaken >= 1
    shown = done.notebook().cells[-1].outputs[0].text
    assert shown == f"{left} 2\n"
    assert not [e for e in done.events() if isinstance(e, ev.Message)]


@pytest.mark.parametrize("command", ["!echo {len(values)} >> log.txt", "subprocess.run(['sh', '-c', 'echo x >> log.txt'])"])
def test_a_command_that_may_change_files_waits_until_its_step_surely_counts(race, command):
    done, log = race(command)
    assert (done.status, log) == ("done", "begin\n2\n" if command[0] == "!" else "begin\nx\n")
    because = [e.because for e in done.events() if isinstance(e, ev.StepOvertaken) and e.step == "early"]
    assert len(because) == 1
    assert because[0].startswith("it starts the command")


_LISTING = "sorted(name for name in os.listdir() if name.startswith('la'))"


@pytest.mark.parametrize("running", [False, True], ids=["begun again", "running"])
@pytest.mark.parametrize(
    "body",
    [
        f"print(subprocess.run([sys.executable, '-c', \"import os; print({_LISTING})\"], capture_output=True, text=True).stdout)",
        "from concurrent.futures import ProcessPoolExecutor\nwith ProcessPoolExecutor(1) as pool:\n"
        "    print(list(pool.map(os.path.exists, [''.join(['la', 'ter'])])))",
        f"from joblib import Parallel, delayed\ndef listing(n):\n    import os\n    return {_LISTING}\n"
        "print(Parallel(2)(delayed(listing)(n) for n in [1]))",
    ],
    ids=["command", "pool", "joblib"],
)
def test_a_process_sees_nothing_that_a_step_below_has_made(race, body, running):
    body = f"import os, sys\n{body}"
    make = "Path(''.join(['la', 'ter'])).write_text('too early')\nprint(Path(''.join(['la', 'ter'])).read_text())"
    done, _ = race(
        make if running else body, slow=f"{body}\n" if running else "", below=() if running else (("step:below", make),)
    )
    assert done.status == "done"
    cells = done.notebook().cells
    assert cells[1 if running else 2].outputs[0].text.strip() in {"[]", "[False]", "[[]]"}
    assert cells[2 if running else 3].outputs[0].text == "too early\n"
    assert done.state.steps["early" if running else "below"].overtaken >= 1


def test_what_a_step_waits_for_a_process_above_is_not_counted_to_its_time_limit(notebook):
    path = notebook(
        [
            ("step:above", "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import time; time.sleep(5)'])"),
            ("step:below", "import time\ntime.sleep(1)\nprint(open(''.join(['a', 'b']), 'w').write('x'))"),
        ],
        {"mlops_lab": {"steps": {"below": {"timeout": 4}}}},
    )
    done = mlops_lab.load(path).run(tracking=False, workers=2)
    assert done.status == "done"
    assert done.state.steps["below"].seconds > 4


def test_what_steps_below_added_is_taken_back_with_it(race):
    done, log = race(_APPEND, below=(("step:second", "with open('log.txt', 'a') as log:\n    _ = log.write('second\\n')"),))
    assert (done.status, log) == ("done", "begin\n[1, 2]\nsecond\n")


def test_a_file_that_somebody_else_has_changed_since_is_left_and_the_step_refused(race):
    def somebody(event, folder):
        if isinstance(event, ev.StepFinished) and event.step == "early":
            (folder / "log.txt").write_text("somebody else's")

    done, log = race(_APPEND, listener=somebody)
    assert (done.status, log) == ("failed", "somebody else's")
    assert done.state.steps["early"].failure.code == "ML202"
    assert "log.txt" in done.state.steps["early"].failure.message


def test_a_step_above_that_has_read_what_is_taken_back_runs_again(race):
    """It opens the file before the step below is stopped, and reads it again afterwards."""
    look = "seen = operator.methodcaller('read_text')(Path('txt.gol'[::-1])).count('1')\n"
    done, log = race(_APPEND, True, slow=look)
    assert (done.status, log) == ("done", "begin\n[1, 2]\n")
    assert done.steps["slow"].outputs["seen"] == 0


def test_what_a_cancelled_run_had_begun_too_early_is_taken_back(race):
    done, log = race(_APPEND, True, slow="time.sleep(1)\n1 / 0\n", fail_fast=True)
    assert (done.status, log) == ("failed", "begin\n")


def test_no_copies_are_left_behind(race):
    done, _ = race(_APPEND)
    kept = list(done.folder.path.rglob("undo/*"))
    assert {path.name for path in kept} == {"journal"}
