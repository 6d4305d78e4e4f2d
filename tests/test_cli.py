"""The command as a user calls it: exit codes, one clear message for bad input, nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from conftest import is_alive
from typer.testing import CliRunner

from mlops_lab import events as ev
from mlops_lab.cli import app
from mlops_lab.runs import Home


def call(*arguments):
    """Run the command in this process: exit code, standard output, standard error."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def one_line(text):
    return " ".join(text.split())


def test_show_prints_steps_edges_parameters_and_draws_the_graph(notebook, tmp_path):
    path = notebook(
        [("parameters", "rate: float = 0.5  # learning rate"), ("step:load", "x = 1"), ("step:use", "print(x * rate)")]
    )
    code, out, _ = call("show", path, "--graph", tmp_path / "g.svg")
    assert code == 0
    assert "load (x)" in out
    assert "rate: float = 0.5" in out
    assert "learning rate" in out
    assert (tmp_path / "g.svg").read_text().startswith("<svg")
    code, out, _ = call("show", path, "--json")
    model = json.loads(out)
    assert [s["name"] for s in model["steps"]] == ["load", "use"]
    assert model["edges"] == [{"source": "load", "target": "use", "reasons": [{"kind": "variable", "name": "x"}]}]


def test_run_writes_the_users_notebook_with_outputs_numbered_as_a_straight_run(notebook, tmp_path):
    path = notebook(
        ["import math", "", ("md", "# Title"), ("skip", "1 / 0"), ("step:a", "x = 2"), ("step:b", "math.pow(x, 3)")]
    )
    before = path.read_bytes()
    code, out, _ = call("run", path, "--executed", tmp_path / "out.ipynb", "--no-tracking")
    assert code == 0, out
    node = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert [c.get("execution_count") for c in node.cells] == [1, None, None, None, 3, 4]
    assert node.cells[5].outputs[0].data["text/plain"] == "8.0"
    assert node.cells[5].outputs[0].execution_count == 4
    assert path.read_bytes() == before


def test_parameters_are_given_by_option_and_by_file(notebook, tmp_path):
    path = notebook([("parameters", "n: int = 1\nname = 'x'"), ("step:a", "print(n, name)")])
    (tmp_path / "p.yaml").write_text("n: 5\nname: from file\n")
    code, _, _ = call(
        "run", path, "--params", tmp_path / "p.yaml", "-p", "n=7", "--executed", tmp_path / "o.ipynb", "--no-tracking"
    )
    assert code == 0
    assert nbformat.read(tmp_path / "o.ipynb", as_version=4).cells[1].outputs[0].text == "7 from file\n"


def test_json_output_is_one_object_on_standard_output(notebook):
    code, out, _ = call("run", notebook([("step:a", "x = 1")]), "--json", "--no-tracking")
    summary = json.loads(out)
    assert code == 0
    assert (summary["status"], summary["steps"]["a"]["status"]) == ("done", "done")
    assert Path(summary["executed"]).exists()


@pytest.mark.parametrize(
    ("cells", "expected"),
    [([("step:a", "1 / 0")], 1), ([("step:a gate", "assert False, 'no'")], 3), ([("step:a", "x = (")], 2)],
    ids=["failed", "rejected", "wrong notebook"],
)
def test_exit_codes(notebook, cells, expected):
    assert call("run", notebook(cells), "--no-tracking")[0] == expected


BAD_NOTEBOOKS = {
    "missing file": (None, "there is no such file"),
    "not JSON": ("hello", "is not a notebook"),
    "truncated": ('{"cells": [{"cell_type": "code", "sour', "cut short"),
    "empty": ("", "it is empty"),
    "JSON but no notebook": ('{"a": 1}', "has no list of cells"),
    "merge conflict": ('<<<<<<< HEAD\n{"cells": []}\n=======\n', "holds an unresolved merge conflict"),
}


@pytest.mark.parametrize("case", BAD_NOTEBOOKS)
@pytest.mark.parametrize("command", ["show", "run", "suggest", "check"])
def test_a_file_that_is_no_notebook_gets_one_message(tmp_path, case, command):
    content, message = BAD_NOTEBOOKS[case]
    path = tmp_path / "bad.ipynb"
    if content is not None:
        path.write_text(content)
    code, _, err = call(command, path)
    assert code == 2
    assert message in one_line(err)
    assert "Traceback" not in err
    assert not (tmp_path / ".mlops_lab").exists()


BAD_TAGS = {
    "syntax error": ([("step:a", "x = 1\ny = (1,\nprint(")], ["ML101", "cell 1, line"]),
    "cycle of after": ([("step:a after:b", "x = 1"), ("step:b after:a", "y = 1")], ["ML105", "a", "b"]),
    "name with two meanings": (
        [("step:a gate", "assert True"), ("step:b", "x = 1"), ("step:a", "y = 2")],
        ["ML106", "'a'", "gate"],
    ),
    "tag with a space": ([(["step train"], "x = 1")], ["ML102", "step:train"]),
    "misspelt tag": ([("steps:load", "x = 1")], ["ML102", "step:load"]),
    "invalid name": ([("step:Load_Data", "x = 1")], ["ML103", "step:load-data"]),
    "unknown after": ([("step:a", "x = 1"), ("step:b after:aa", "y = 1")], ["ML104", "did you mean 'a'"]),
    "skip that is read": ([("skip", "x = 1"), ("step:a", "print(x)")], ["ML111", "'x'"]),
    "history": ([("step:a", "1 + 1"), ("step:b", "print(_)")], ["ML108", "_"]),
}


@pytest.mark.parametrize("case", BAD_TAGS)
def test_a_wrong_tag_stops_the_run_with_its_code_and_place(tmp_path, case):
    from nbformat.v4 import new_code_cell, new_notebook

    cells, parts = BAD_TAGS[case]
    made = [
        new_code_cell(source, metadata={"tags": tags if isinstance(tags, list) else tags.split()}) for tags, source in cells
    ]
    path = tmp_path / "nb.ipynb"
    nbformat.write(new_notebook(cells=made), path)
    code, _, err = call("run", path, "--no-tracking")
    assert code == 2
    for part in parts:
        assert part in one_line(err)
    assert "Nothing was run" in err
    assert not (tmp_path / ".mlops_lab").exists()


BAD_CALLS = {
    "unknown parameter": (["-p", "rte=1"], "did you mean 'rate'"),
    "wrong type": (["-p", "rate=fast"], "rate"),
    "no equals sign": (["-p", "rate"], "="),
    "unknown step": (["--only", "trane"], "did you mean 'train'"),
    "missing params file": (["--params", "none.yaml"], "none.yaml"),
    "executed into a missing folder": (["--executed", "/no/such/folder/out.ipynb"], "there is no folder"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_a_wrong_call_is_refused_before_anything_runs(notebook, tmp_path, case):
    arguments, message = BAD_CALLS[case]
    path = notebook([("parameters", "rate = 0.5"), ("step:train", "print(rate)")])
    code, _, err = call("run", path, "--no-tracking", *arguments)
    assert code == 2
    assert message in one_line(err)
    assert not list((tmp_path / ".mlops_lab" / "runs").glob("*"))


@pytest.mark.parametrize(("command", "option"), [("run", "--executed"), ("suggest", "--write"), ("compile", "--output")])
def test_the_notebook_itself_is_never_overwritten(notebook, command, option):
    path = notebook(["x = 1"])
    code, _, err = call(command, path, option, path)
    assert code == 2
    assert f"{option} names the notebook itself" in one_line(err)
    assert "never overwritten" in one_line(err)


def test_a_notebook_of_nearly_this_name_is_proposed(notebook):
    path = notebook([("step:a", "x = 1")], name="iris.ipynb")
    assert "did you mean 'iris.ipynb'?" in one_line(call("run", path.with_name("irsi.ipynb"))[2])
    assert "did you mean 'iris.ipynb'?" in one_line(call("show", path.with_suffix(""))[2])


def test_runs_of_a_folder_that_is_not_there_are_no_empty_list(tmp_path):
    code, _, err = call("runs", tmp_path / "gone")
    assert (code, "there is no such folder" in one_line(err)) == (2, True)


def test_one_run_is_not_compared_with_itself(notebook, tmp_path):
    assert call("run", notebook([("step:a", "x = 1")]), "--no-tracking")[0] == 0
    code, _, err = call("compare", "last", "last", "--folder", tmp_path)
    assert (code, "two to ten different runs" in one_line(err)) == (2, True)


@pytest.mark.parametrize("damage", [lambda log: log.write_bytes(b"\x00\xff\n"), lambda log: log.unlink()])
def test_a_run_whose_log_is_damaged_or_gone_says_so(notebook, tmp_path, damage):
    assert call("run", notebook([("step:a", "x = 1")]), "--no-tracking")[0] == 0
    (run,) = Home.of(tmp_path).list()
    damage(run.log)
    for command in ("logs", "resume"):
        code, _, err = call(command, run.id, "--folder", tmp_path)
        assert (code, f"Run {run.id} has no log" in one_line(err)) == (2, True)
    code, said, _ = call("runs", tmp_path)
    assert (code, run.id in said, "interrupted" in said) == (0, True, True)


def test_a_run_whose_folder_is_deleted_meanwhile_says_so(notebook, tmp_path):
    path = notebook(
        [("step:a", "import shutil, pathlib\nfor each in pathlib.Path('.mlops_lab/runs').iterdir(): shutil.rmtree(each)")]
    )
    code, _, err = call("run", path, "--no-tracking")
    assert (code, "was deleted, or moved away" in one_line(err), "Traceback" in err) == (1, True, False)


def test_a_kernel_that_is_not_installed_is_named_with_those_that_are(notebook):
    path = notebook([("step:a", "x = 1")], {"kernelspec": {"name": "python2.7", "display_name": "old", "language": "python"}})
    code, _, err = call("run", path, "--no-tracking")
    assert code == 2
    assert "'python2.7' is not installed" in one_line(err)
    assert "python3" in err


def test_a_kernel_that_is_not_python_is_refused(notebook):
    path = notebook([("step:a", "x <- 1")], {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}})
    code, _, err = call("run", path, "--no-tracking")
    assert code == 2
    assert "only Python notebooks" in one_line(err)


def test_a_folder_that_cannot_be_written_gets_one_message(notebook, tmp_path):
    path = notebook([("step:a", "x = 1")])
    (tmp_path / ".mlops_lab").write_text("in the way")  # works for root too, whom no permission stops
    code, _, err = call("run", path, "--no-tracking")
    assert code == 2
    assert "Can't write to" in one_line(err)
    assert "MLOPS_LAB_DIR" in one_line(err)
    assert (tmp_path / ".mlops_lab").read_text() == "in the way"


def test_runs_can_be_kept_elsewhere(notebook, tmp_path, monkeypatch):
    path = notebook([("step:a", "x = 1")])
    monkeypatch.setenv("MLOPS_LAB_DIR", str(tmp_path / "elsewhere"))
    assert call("run", path, "--no-tracking")[0] == 0
    assert not (tmp_path / ".mlops_lab").exists()
    assert len(Home.of(tmp_path).list()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_gives_one_message_and_no_half_value(notebook, tmp_path, monkeypatch):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("a small disk can't be mounted here")
    try:
        path = notebook([("step:big", "import os\nbig = os.urandom(8_000_000)"), ("step:use", "print(len(big))")])
        monkeypatch.setenv("MLOPS_LAB_DIR", str(small))
        code, out, err = call("run", path, "--no-tracking")
        assert code == 1
        assert "No space left on device" in one_line(out + err)
        assert "Traceback (most recent call last)" not in err
        store = small / "store" / "bundles"
        assert not [p for p in store.rglob("*") if p.is_file()]
        assert not list(store.rglob(".new-*"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_runs_and_logs_show_what_happened(notebook, tmp_path):
    path = notebook([("step:a", "print('from a')"), ("step:b", "print('from b')")])
    call("run", path, "--no-tracking")
    code, out, _ = call("runs", tmp_path, "--json")
    (row,) = json.loads(out)
    assert (code, row["status"], row["steps_done"]) == (0, "done", 2)
    assert row["run"] in call("runs", tmp_path)[1]
    code, out, _ = call("logs", "last", "-C", tmp_path)
    assert "from a" in out
    assert "from b" in out
    code, out, _ = call("logs", row["run"], "--step", "b", "-C", tmp_path)
    assert "from a" not in out
    log = Home.of(tmp_path).find(row["run"]).log
    with log.open("ab") as file:  # where a disk lost what was on it
        file.write(b"\0\0\n{\n")
    for command in (("runs", tmp_path), ("logs", row["run"], "--step", "b", "-C", tmp_path)):
        code, out, err = call(*command)
        assert (code, one_line(out + err).count("can't be read")) == (0, 1)
    assert call("logs", "last", "--step", "zzz", "-C", tmp_path)[0] == 2
    assert call("logs", "nonsense", "-C", tmp_path)[0] == 2
    assert call("cancel", "last", "-C", tmp_path)[0] == 2
    code, _, err = call("resume", "last", "-C", tmp_path)
    assert code == 2
    assert "nothing to resume" in one_line(err)


def test_resume_takes_what_was_finished_and_runs_the_rest(notebook, tmp_path):
    cells = [("step:a", "x = 20"), ("step:b", "y = x / zero\nprint(y)")]
    path = notebook([("setup", "zero = 0"), *cells])
    assert call("run", path, "--no-tracking", "--no-cache")[0] == 1
    notebook([("setup", "zero = 2"), *cells])  # the fix
    code, out, err = call("resume", "last", "-C", tmp_path, "--json")
    assert code == 0, err
    assert json.loads(out)["steps"]["b"]["status"] == "done"


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_kernels_closes_the_log_and_exits_with_130(notebook, tmp_path, sent):
    path = notebook([("step:a", "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(120)")])
    process = subprocess.Popen(
        [sys.executable, "-m", "mlops_lab.cli", "run", str(path), "--no-tracking"], stdout=subprocess.DEVNULL
    )
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    process.send_signal(sent)
    assert process.wait(60) == 130
    assert not is_alive(int((tmp_path / "pid").read_text()))
    (run,) = Home.of(tmp_path).list()
    assert isinstance(run.finished, ev.RunFinished)
    assert run.finished.status == "cancelled"


def test_a_run_goes_on_when_nobody_reads_what_it_prints_any_more(notebook):
    path = notebook([("step:a", "x = 1"), ("step:b", "y = x + 1"), ("step:c", "print(y)")])
    command = [sys.executable, "-m", "mlops_lab", "run", path.name, "--no-tracking"]
    process = subprocess.Popen(command, cwd=path.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()  # as `head -1` does
    assert process.wait(120) == 0
    assert process.stderr.read() == ""
    assert Home.of(path.parent).find("last").finished.status == "done"


def test_cancel_and_follow_work_from_another_process(notebook, tmp_path):
    path = notebook([("step:a", "import time\nprint('begun', flush=True)\ntime.sleep(120)")])
    command = [sys.executable, "-m", "mlops_lab.cli"]
    run = subprocess.Popen([*command, "run", str(path), "--no-tracking"], stdout=subprocess.DEVNULL)
    wait_for(lambda: Home.of(tmp_path).list())
    follow = subprocess.Popen([*command, "logs", "last", "-f", "-C", str(tmp_path)], stdout=subprocess.PIPE, text=True)
    folder = Home.of(tmp_path).list()[0]
    wait_for(lambda: any(isinstance(e, ev.CellOutput) for e in folder.events()))
    (listed,) = json.loads(call("runs", tmp_path, "--json")[1])
    assert (listed["status"], listed["seconds"] > 0) == ("running", True)
    assert subprocess.run([*command, "cancel", "last", "-C", str(tmp_path)], capture_output=True).returncode == 0
    assert run.wait(60) == 130
    printed, _ = follow.communicate(timeout=60)
    assert "begun" in printed
    assert "run cancelled" in printed


def test_suggest_shows_a_proposal_and_writes_it_to_another_file(notebook, tmp_path):
    path = notebook(["import math", ("md", "# Load the data"), "x = 2", ("md", "# Compute"), "y = math.sqrt(x)\ny"])
    before = path.read_bytes()
    code, out, _ = call("suggest", path, "--write", tmp_path / "tagged.ipynb")
    assert code == 0, out
    assert path.read_bytes() == before
    assert call("run", tmp_path / "tagged.ipynb", "--no-tracking", "--executed", tmp_path / "o.ipynb")[0] == 0
    assert nbformat.read(tmp_path / "o.ipynb", as_version=4).cells[4].outputs[0].data["text/plain"].startswith("1.414")


def test_help_teaches_every_command_and_the_exit_codes():
    code, out, _ = call("--help")
    assert code == 0
    for command in ("show", "run", "suggest", "check", "runs", "logs", "cancel", "resume", "verify"):
        assert command in out
    assert "130 cancelled" in one_line(out)
