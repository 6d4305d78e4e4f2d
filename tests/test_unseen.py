"""Files that no audit hook tells of, as code written in C and child processes open them: the order, the cache, who it was."""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mlops_lab
from mlops_lab.results import Result, attribute, clash
from mlops_lab.runtime import commands, unseen
from mlops_lab.runtime.files import OpenedFiles

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell of opened files")
LOAD = "import polars as pl\ndef load(path):\n    return pl.read_csv(path)\n"


def statuses(path, **options):
    """Step -> (status, why it ran) of a run."""
    run = mlops_lab.load(path).run(tracking=False, **options)
    assert run.status == "done", run
    return {name: step.status for name, step in run.steps.items()}


READERS = {
    "a package written in C": (LOAD, "print(load('da' + 'ta.csv'))"),
    "a command": ("", "!cat da*.csv"),
    "a command with options": ("", "!head -n 3 data.csv"),
    "a script": ("", "!{sys.executable} script.py"),
    "a subprocess": ("import subprocess, sys", "print(subprocess.run([sys.executable, 'script.py'], capture_output=True))"),
    "a script of the shell": ("", "%%bash\nwhile read line; do echo $line; done < data.csv"),
    "a process of Python's": (
        "import multiprocessing",
        "with multiprocessing.get_context('fork').Pool(1) as pool:\n    print(pool.apply(eval, (code,)))",
    ),
    "a process of Python's that begins anew": (
        "import multiprocessing",
        "with multiprocessing.get_context('spawn').Pool(1) as pool:\n    print(pool.apply(eval, (code,)))",
    ),
    "workers of joblib": ("from joblib import Parallel, delayed", "print(Parallel(2)([delayed(eval)(code)] * 2))"),
}


@LINUX
@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_is_opened_unseen_is_a_reason_to_run_again(notebook, tmp_path, reader):
    imports, code = READERS[reader]
    (tmp_path / "script.py").write_text("print(open('da' + 'ta.csv').read())")
    (tmp_path / "data.csv").write_text("a\n1\n")
    path = notebook([("step:first", f'import sys\n{imports}\ncode = \'open("da" + "ta.csv").read()\''), ("step:use", code)])
    assert statuses(path) == {"first": "done", "use": "done"}
    assert statuses(path) == {"first": "cached", "use": "cached"}
    (tmp_path / "data.csv").write_text("a\n2\n")
    assert statuses(path) == {"first": "cached", "use": "done"}


WRITERS = {
    "a package written in C": (
        "import polars as pl\ndef save(path):\n    pl.DataFrame({'a': [1]}).write_csv(path)",
        "save('o' + 'ut.csv')",
    ),
    "a command": ("", "!echo 1 > out.csv"),
}


@LINUX
@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_that_was_written_unseen_and_is_gone_is_written_again(notebook, tmp_path, writer):
    imports, code = WRITERS[writer]
    path = notebook([("step:first", f"{imports}\nx = 1"), ("step:write", code)])
    statuses(path)
    assert statuses(path) == {"first": "cached", "write": "cached"}
    written = (tmp_path / "out.csv").read_bytes()
    (tmp_path / "out.csv").unlink()
    assert statuses(path) == {"first": "cached", "write": "done"}
    assert (tmp_path / "out.csv").read_bytes() == written


def test_names_in_a_folder_matter_to_a_command_that_lists_it(notebook, tmp_path):
    path = notebook([("step:first", "x = 1"), ("step:list", "!ls")])
    statuses(path)
    assert statuses(path) == {"first": "cached", "list": "cached"}
    (tmp_path / "new.csv").write_text("")
    assert statuses(path) == {"first": "cached", "list": "done"}


def test_a_new_file_of_a_pattern_that_c_code_expands_is_a_reason_to_run_again(notebook, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("a\n1\n")
    path = notebook(
        [("step:first", "import polars as pl\nplaces = ['data/*.csv']"), ("step:use", "print(pl.scan_csv(*places).collect())")]
    )
    statuses(path)
    (tmp_path / "data" / "other.txt").write_text("")
    assert statuses(path) == {"first": "cached", "use": "cached"}
    (tmp_path / "data" / "b.csv").write_text("a\n2\n")
    assert statuses(path)["use"] == "done"


def test_patterns_are_told_from_other_texts():
    code = """f("data/*.csv", 'x?.json', "a * b", "*", "select * from 'in/*.parquet'", r"\\d*.x y")"""
    assert unseen.patterns(code) == ["data/*.csv", "x?.json", "in/*.parquet"]


@LINUX
def test_steps_that_open_nothing_unseen_depend_on_no_file_of_others(notebook, tmp_path):
    (tmp_path / "data.csv").write_text("a\n1\n")
    read = "import time\ntime.sleep(0.5)\nfor _ in range(10):\n    open('da' + 'ta.csv').close()\n    time.sleep(0.05)"
    path = notebook([("step:reads", read), ("step:waits", "import time\ntime.sleep(1)")])
    statuses(path, workers=2)
    (tmp_path / "data.csv").write_text("a\n2\n")
    assert statuses(path, workers=2) == {"reads": "done", "waits": "cached"}


def test_what_another_step_wrote_at_the_same_time_was_opened_there():
    one = Result("one", "", 0, "", 0.0, {}, files_read={"a": "x", "b": "y"}, files_perhaps_read=["a"])
    attribute(one, Result("other", "", 0, "", 0.0, {}, files_written={"a": "x", "b": "y"}))
    assert one.files_read == {"b": "y"}


def _open_in_c(path):
    """As another process does it, or code written in C."""
    c = ctypes.CDLL(None)
    c.close(c.open(os.fsencode(path), os.O_RDONLY))


@LINUX
def test_what_a_step_asked_about_itself_stays_its_own_whoever_opens_it_then(tmp_path):
    (tmp_path / "asked").write_text("x")
    (tmp_path / "other").write_text("x")
    files = OpenedFiles(str(tmp_path), code="import polars")
    files.start()
    try:
        os.stat(tmp_path / "asked")  # noqa: PTH116 - pathlib calls another one
        _open_in_c(tmp_path / "asked")
        _open_in_c(tmp_path / "other")
    finally:
        files.stop()
    assert files.perhaps_read() == ["other"]
    assert set(files.reads()) >= {"asked", "other"}


@LINUX
def test_a_file_that_was_not_there_when_a_step_asked_was_not_read_as_it_is_now(tmp_path):
    files = OpenedFiles(str(tmp_path), code="import polars")
    files.start()
    try:
        assert not (tmp_path / "late").exists()
        with files.paused():  # by somebody else
            (tmp_path / "late").write_text("x")
        _open_in_c(tmp_path / "late")
    finally:
        files.stop()
    assert files.reads()["late"] == "changed"


def test_what_was_read_while_another_step_changed_it_is_not_what_is_there_at_the_end():
    one = Result("one", "", 0, "", 0.0, {}, files_read={"a": "absent"}, files_written={"a": "~absent"})
    other = Result("other", "", 0, "", 0.0, {}, files_written={"a": "absent"})
    assert attribute(one, other) == [one]
    assert (one.files_read, one.files_written) == ({"a": "changed"}, {})


def test_what_a_step_saw_counts_also_where_it_may_have_changed_it_itself():
    above = Result("above", "", 0, "", 0.0, {}, files_read={"a": ":1"}, files_written={"a": "~absent"})
    below = Result("below", "", 0, "", 0.0, {}, files_written={"a": "x:1", "./": "+a"})
    assert clash(above, below) == "a"


@LINUX
def test_more_files_than_the_system_remembers_are_all_told_of(tmp_path):
    (tmp_path / "gone").mkdir()
    opened = unseen.Opened()
    for number in range(3):
        (tmp_path / f"{number}").touch()
    opened.begin(str(tmp_path), "")
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(most + 10):
        (tmp_path / f"{number % 2}").open().close()
    (tmp_path / "gone").rmdir()
    opened.take()
    opened.end()
    assert opened.read == {str(tmp_path / name) for name in "012"}


@LINUX
def test_folders_that_the_code_names_are_watched_too(tmp_path):
    inner, outer = tmp_path / "project", tmp_path / "data" / "deep"
    inner.mkdir()
    outer.mkdir(parents=True)
    (outer / "a").touch()
    opened = unseen.Opened()
    opened.begin(str(inner), "base = '../data/'\nprint('/', \"/nowhere/at/all\", '.csv')")
    (outer / "a").open().close()
    opened.take()
    opened.end()
    assert opened.read == {str(outer / "a")} and opened.changed == {}


@pytest.mark.parametrize(
    ("code", "may"),
    [
        ("import numpy as np, os\nfrom sklearn.svm import SVC\nx = 1", False),
        ("import os, polars as pl", True),
        ("def f():\n    from h5py import File", True),
        ("import pandas as pd\npd.read_csv(p)", False),
        ("import pandas as pd\npd.read_hdf(p)", True),
        ("import helper", True),
        ("from joblib import dump", False),
        ("import joblib\njoblib.Parallel(2)", True),
    ],
)
def test_packages_that_may_open_files_in_c_are_known_by_their_imports(code, may, tmp_path):
    assert unseen.may_open(code, str(tmp_path)) is may


def test_modules_beside_the_notebook_count_by_what_they_import(tmp_path):
    folder = tmp_path / "lightgbm"  # as the notebooks that a package has of itself
    (folder / "deep").mkdir(parents=True)
    (folder / "helper.py").write_text("import numpy")
    (folder / "other.py").write_text("import numpy\nfrom further import f")
    (folder / "further.py").write_text("import duckdb.typing")
    (folder / "deep" / "placed.py").write_text("import duckdb")
    may_open = functools.partial(unseen.may_open, folder=str(folder))
    assert not may_open("import helper")
    assert may_open("import helper, lightgbm")
    assert may_open("import other")
    assert may_open("import placed") and may_open("", modules={"placed": "deep/placed.py"})
    assert may_open("from deep import placed") and may_open("import deep.placed")
    (folder / "deep" / "duckdb.py").write_text("from . import placed")  # of the package, and not what it is named after
    assert may_open("from deep import placed")
    (folder / "deep" / "placed.py").write_text("import json")
    assert not may_open("import placed", modules={"placed": "deep/placed.py"})
    assert may_open("import deep.placed")  # an installed package of the name would be found before a folder of scripts
    (folder / "deep" / "__init__.py").touch()
    assert not may_open("import deep.placed")


@LINUX
@pytest.mark.parametrize(("beside", "told"), [("VALUE = 1", []), ("import duckdb", ["helper.py"])])
def test_what_another_process_opens_counts_only_where_the_code_may_have_done_so(tmp_path, beside, told):
    """As a step beside this one does that imports the module."""
    (tmp_path / "helper.py").write_text(beside)
    reads = [sys.executable, "-c", "input(); open('helper.py').close()"]
    other = subprocess.Popen(reads, cwd=tmp_path, stdin=subprocess.PIPE)
    opened = OpenedFiles(str(tmp_path), code="import helper")
    opened.start()
    other.communicate(b"\n")
    opened.stop()
    assert (other.returncode, opened.perhaps_read()) == (0, told)


def test_paths_and_folders_of_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    assert commands.paths("python 'my script.py' --out=x.csv <in.csv | tee y") == [
        "python", "my script.py", "x.csv", "in.csv", "tee", "y"
    ]  # fmt: skip
    assert commands.listed("ls", "") == ["."]
    assert commands.listed("cat in/*.csv; echo", "") == ["in"]
    assert commands.listed("find in -name x", "") == ["in", "in/deep"]
    assert commands.listed("cat in.csv", "") == []


def test_a_command_that_a_module_of_ones_own_starts_is_the_notebooks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = "from mlops_lab.runtime import commands\ndef started():\n    return commands.told((['x', 'y'],))\n"
    (tmp_path / "site-packages").mkdir()
    for place, name, own in ((".", "starts_here", True), ("site-packages", "starts_there", False)):
        (tmp_path / place / f"{name}.py").write_text(told)
        monkeypatch.syspath_prepend(tmp_path / place)
        assert importlib.import_module(name).started() == ("x y", own)
