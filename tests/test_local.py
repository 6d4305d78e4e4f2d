"""The local engine with real kernels: order, parallel steps, failures, gates, retries, limits, cache, partial runs."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from conftest import is_alive

import mlops_lab
from mlops_lab import events as ev
from mlops_lab.errors import BusyError, CheckError, UsageError
from mlops_lab.runs import Home


def run(path, **options):
    options.setdefault("tracking", False)
    return mlops_lab.load(path).run(**options)


def text_of(run, cell):
    """What a cell printed, in all attempts that count."""
    for found in run.notebook().cells:
        if found.cell_type == "code" and found.execution_count == cell:
            return "".join(o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in found.outputs)
    raise AssertionError(f"cell {cell} did not run")


def test_values_pass_from_step_to_step_and_outputs_stand_at_their_own_cells(notebook):
    path = notebook(
        [
            "import math",
            ("step:load", "numbers = [3, 1, 2]"),
            ("step:sort", "numbers.sort()\nnumbers"),
            ("step:show", "print(numbers, math.floor(2.5))"),
        ]
    )
    done = run(path)
    assert done.status == "done"
    assert text_of(done, 3) == "[1, 2, 3]"
    assert text_of(done, 4) == "[1, 2, 3] 2\n"
    assert done.steps["sort"].outputs["numbers"] == [1, 2, 3]
    assert done.steps["load"].outputs["numbers"] == [3, 1, 2]


def test_a_step_that_starts_on_a_wrong_guess_runs_again_on_the_right_values(notebook):
    # Nothing in the text of step b shows that it changes `x`, so c starts beside it.
    path = notebook(
        [
            ("step:a", "import operator\nx = [1]"),
            ("step:b", "import time\ntime.sleep(1.5)\nok = operator.setitem(x, 0, 99)"),
            ("step:c", "print(x)"),
        ]
    )
    done = run(path, workers=2)
    assert text_of(done, 3) == "[99]\n"
    assert done.state.steps["c"].overtaken == 1
    assert [e.step for e in done.events() if isinstance(e, ev.StepOvertaken)] == ["c"]


def test_the_process_stays_in_its_folder_while_steps_run_in_its_threads(notebook, tmp_path_factory, monkeypatch):
    """A folder belongs to the process: what one thread changes for a moment, another may take for the place to go back to."""
    path = notebook([("step:a", "x = 1"), ("step:b", "y = 2"), ("step:c", "print(x + y)")])
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    moves = []
    with monkeypatch.context() as patch:
        patch.setattr("os.chdir", moves.append)
        done = run(path, workers=2)
    assert (done.status, moves) == ("done", [])


@pytest.mark.parametrize("seen", [False, True])
def test_a_file_that_a_step_made_too_early_is_taken_back_and_both_steps_run_again(notebook, tmp_path_factory, seen):
    """So does a third step that was running, and has seen the file."""
    gates = tmp_path_factory.mktemp("markers")
    path = notebook(
        [
            ("step:slow", "import os, time\nfrom pathlib import Path\nlook = [os.listdir]\ndef wait_for(step):\n"
                          f"    while not Path({str(gates)!r}, step).exists(): time.sleep(0.05)\n"
                          f"wait_for('low')\nheld = {'out' if seen else 'low'!r} in look[0]({'' if seen else repr(str(gates))})\n"
                          f"say = [open]\nsay[0]({str(gates / 'listed')!r}, 'w').close()\nwait_for('up')"),
            ("step:up", "import os, time\nlook = [os.listdir, os.path.exists]\n"
                        + f"while not look[1]({str(gates / 'listed')!r}): time.sleep(0.05)\n" * seen + "[n for n in look[0]() if n == 'out']"),
            ("step:low", "import os\nuse = [os.makedirs, open]\nmade = use[0]('out')\nnew = use[1]('out/x.txt', 'w')\n"
                         "size = new.write('1')\nnew.close()"),
            ("step:end", "print(open('out/x.txt').read(), size, held)"),
        ]
    )  # fmt: skip

    def listener(event):  # `up` starts when `low` has ended, as the end of the run does not wait for it; `slow` is not done yet
        if isinstance(event, ev.StepFinished):
            (gates / event.step).touch()

    done = run(path, workers=2, listener=listener)
    assert done.status == "done"
    assert (text_of(done, 2), text_of(done, 4)) == ("[]", f"1 1 {not seen}\n")
    if seen:
        assert done.state.steps["slow"].overtaken >= 1
        return
    assert [(e.step, e.because) for e in done.events() if isinstance(e, ev.StepOvertaken)] == [
        (name, "step 'low' changed what is in the folder ./ before step 'up' was done") for name in ("up", "low")
    ]


def test_independent_steps_run_at_the_same_time(notebook):
    """Each waits until both are there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        meet = f"import socket\nwith socket.create_connection({address}, 60) as meeting:\n    print(meeting.recv(9))"

        def let_go():
            there = [server.accept()[0] for _ in range(2)]
            for each in there:
                each.sendall(b"both")
                each.close()

        threading.Thread(target=let_go, daemon=True).start()
        done = run(notebook([("step:a", meet), ("step:b", meet)]), workers=2)
    assert done.status == "done"
    assert [o.text for cell in done.notebook().cells for o in cell.outputs] == ["b'both'\n"] * 2


def test_a_failure_stops_what_depends_on_it_and_lets_the_rest_finish(notebook):
    path = notebook(
        [
            ("step:a", "x = 1"),
            ("step:b", "print('before')\ny = x / 0"),
            ("step:c", "z = x + 1\nprint(z)"),
            ("step:d", "print(y)"),
        ]
    )
    done = run(path)
    steps = done.state.steps
    assert done.status == "failed"
    assert {name: step.status for name, step in steps.items()} == {"a": "done", "b": "failed", "c": "done", "d": "skipped"}
    assert steps["b"].failure.message == "ZeroDivisionError: division by zero"
    assert (steps["b"].failure.cell, steps["b"].failure.line) == (2, 2)
    assert "before" in text_of(done, 2)  # the executed notebook is kept, also on failure
    assert text_of(done, 3) == "2\n"


def test_fail_fast_stops_everything(notebook):
    path = notebook([("step:a", "1 / 0"), ("step:b", "import time\ntime.sleep(60)")])
    started = time.monotonic()
    done = run(path, fail_fast=True, workers=2)
    assert done.status == "failed"
    assert done.state.steps["b"].status in {"cancelled", "skipped"}
    assert time.monotonic() - started < 40


def test_a_gate_rejects_and_nothing_below_it_runs(notebook):
    path = notebook(
        [
            ("step:train", "auc = 0.6"),
            ("step:accept gate", "assert auc > 0.8, f'AUC {auc} is too low'"),
            ("step:deploy", "print('deployed')"),
        ]
    )
    done = run(path)
    assert done.status == "rejected"
    assert done.state.steps["accept"].status == "rejected"
    assert "AUC 0.6 is too low" in done.state.steps["accept"].failure.message
    assert done.state.steps["deploy"].status == "skipped"


@pytest.mark.parametrize(
    ("code", "said"),
    [("import os, signal\nimport time\nprint('so far', flush=True)\ntime.sleep(1)\nos.kill(os.getpid(), signal.SIGKILL)", "killed"),
     ("import os\nimport time\nprint('so far', flush=True)\ntime.sleep(1)\nos._exit(7)", "died")],
)  # fmt: skip
def test_a_kernel_that_dies_is_reported_with_its_cell_and_last_output(notebook, code, said):
    done = run(notebook([("step:a", "x = 1"), ("step:b", "x"), ("step:b", code)]))
    failure = done.state.steps["b"].failure
    assert done.status == "failed"
    assert failure.kind == "died"
    assert failure.cell == 3
    assert said in failure.message
    assert "so far" in failure.message


def test_a_step_over_its_time_limit_is_stopped_with_all_it_started(notebook, tmp_path):
    path = notebook(
        [
            (
                "step:slow",
                "import subprocess, time\np = subprocess.Popen(['sleep', '300'])\nprint(p.pid, flush=True)\ntime.sleep(300)",
            )
        ],
        {"mlops_lab": {"steps": {"slow": {"timeout": 4}}}},
    )
    done = run(path)
    failure = done.state.steps["slow"].failure
    assert (done.status, failure.kind, failure.cell) == ("failed", "timeout", 1)
    child = int(text_of(done, 1))
    assert not is_alive(child)


def test_a_failing_step_is_tried_again_as_often_as_it_may_be(notebook):
    flaky = "from pathlib import Path\nseen = Path('seen')\nn = len(seen.read_text()) if seen.exists() else 0\n"
    flaky += "seen.write_text('x' * (n + 1))\nassert n >= 2\nprint('passed', n)"
    path = notebook([("step:flaky", flaky)], {"mlops_lab": {"steps": {"flaky": {"retries": 3}}}})
    done = run(path)
    assert done.status == "done"
    assert done.state.steps["flaky"].attempt == 3
    assert text_of(done, 1) == "passed 2\n"


def test_unchanged_steps_come_from_the_cache_and_changed_ones_say_why_they_run(notebook):
    cells = [
        ("parameters", "k = 2"),
        ("step:a", "x = list(range(5))"),
        ("step:b", "y = [k * v for v in x]"),
        ("step:c", "print(x)"),
    ]
    first = run(notebook(cells))
    again = run(notebook([cells[0], ("step:a", "# a comment\nx = list( range(5) )"), *cells[2:]]))
    assert {s.status for s in again.state.steps.values()} == {"cached"}
    assert again.state.steps["b"].from_run == first.id
    assert text_of(again, 4) == "[0, 1, 2, 3, 4]\n"
    other = run(notebook(cells), k=3)
    statuses = {n: (s.status, s.reason) for n, s in other.state.steps.items()}
    assert statuses["a"][0] == statuses["c"][0] == "cached"
    assert statuses["b"] == ("done", "parameter k: 2 -> 3")
    # The same value by another way: what depends on it is still taken from the cache.
    cut_off = run(notebook([cells[0], ("step:a", "x = [0, 1, 2, 3, 4]"), *cells[2:]]))
    assert {n: s.status for n, s in cut_off.state.steps.items()} == {"a": "done", "b": "cached", "c": "cached"}
    assert cut_off.state.steps["a"].reason == "the code of cell 2 changed"


def test_a_changed_file_is_a_reason_to_run_again(notebook, tmp_path):
    (tmp_path / "data.txt").write_text("one")
    path = notebook([("step:read", "text = open('data.txt').read()\nprint(text)"), ("step:other", "print(1)")])
    assert text_of(run(path), 1) == "one\n"
    (tmp_path / "data.txt").write_text("two")
    again = run(path)
    assert text_of(again, 1) == "two\n"
    assert again.state.steps["read"].reason == "file data.txt changed"
    assert again.state.steps["other"].status == "cached"


def test_a_changed_environment_variable_that_the_code_names_is_a_reason_to_run_again(notebook, tmp_path, monkeypatch):
    (tmp_path / "place.py").write_text("import os\ndef data():\n    return os.environ.get('DATA_OF_TEST')\n")
    ask = "import place\nprint(place.data())"
    path = notebook([("step:a", "x = 1"), ("step:b", ask)])
    run(path)
    assert {step.status for step in run(path).steps.values()} == {"cached"}
    monkeypatch.setenv("DATA_OF_TEST", "here")
    second = run(path)
    assert second.steps["b"].status == "done" and text_of(second, 2) == "here\n"
    assert second.state.steps["b"].reason == "the environment variable DATA_OF_TEST changed"
    monkeypatch.setenv("ANOTHER", "1")
    assert {step.status for step in run(path).steps.values()} == {"cached"}
    monkeypatch.delenv("DATA_OF_TEST")
    assert text_of(run(path), 2) == "None\n"


def test_only_runs_one_step_on_cached_inputs_and_to_stops_there(notebook):
    path = notebook([("step:a", "x = 1"), ("step:b", "y = x + 1\nprint(y)"), ("step:c", "print(y * 2)")])
    partial = run(path, end="b")
    assert {n: s.status for n, s in partial.state.steps.items()} == {"a": "done", "b": "done", "c": "skipped"}
    only = run(path, only="b")
    assert {n: s.status for n, s in only.state.steps.items()} == {"a": "cached", "b": "done", "c": "skipped"}
    rest = run(path, start="b")
    assert {n: s.status for n, s in rest.state.steps.items()} == {"a": "cached", "b": "done", "c": "done"}


def test_unknown_steps_and_parameters_are_refused_before_anything_runs(notebook):
    path = notebook([("parameters", "rate = 0.1"), ("step:train", "print(rate)")])
    with pytest.raises(UsageError, match="did you mean 'train'"):
        run(path, only="trian")
    with pytest.raises(UsageError, match="did you mean 'rate'"):
        run(path, rat=1.0)
    assert not Home.of(path.parent).list()


def test_a_notebook_with_errors_does_not_start(notebook):
    with pytest.raises(CheckError, match="ML101"):
        run(notebook([("step:a", "def f(:\n    pass")]))


def test_one_notebook_does_not_run_twice_at_once(notebook):
    path = notebook([("step:a", "import time\ntime.sleep(20)")])
    errors: list[Exception] = []

    def second():
        deadline = time.monotonic() + 30
        while not Home.of(path.parent).list() and time.monotonic() < deadline:
            time.sleep(0.05)
        active = Home.of(path.parent).list()[0]
        try:
            run(path)
        except BusyError as error:
            errors.append(error)
        active.request_cancel()

    thread = threading.Thread(target=second)
    thread.start()
    done = run(path)
    thread.join()
    assert done.id in str(errors[0])
    assert done.status == "cancelled"


def test_cancelling_leaves_no_kernel_and_a_closed_log(notebook):
    path = notebook([("step:a", "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(120)"), ("step:b", "print(1)")])
    pids: list[int] = []

    def listener(event):
        if isinstance(event, ev.CellOutput) and event.step == "a":
            pids.append(int(event.output["text"]))
            Home.of(path.parent).list()[0].request_cancel()

    done = run(path, listener=listener)
    events = list(done.events())
    assert done.status == "cancelled"
    assert isinstance(events[-1], ev.RunFinished)
    assert [e.seq for e in events] == list(range(1, len(events) + 1))
    assert not is_alive(pids[0])


def test_a_value_that_cannot_be_passed_is_refused_with_its_name_its_cell_and_the_way_out(notebook):
    path = notebook([("step:a", "y = 1\ngen = (i for i in range(3))"), ("step:b", "print(y)"), ("step:c", "print(next(gen))")])
    done = run(path)
    steps = done.state.steps
    assert steps["b"].status == "done"
    assert steps["c"].status == "failed"
    assert steps["c"].failure.code == "ML201"
    for part in ("'gen'", "generator", "cell 1", "setup"):
        assert part in steps["c"].failure.message


def test_metrics_of_kales_metrics_cell_are_the_steps(notebook):
    path = notebook([("step:train", "acc = 0.5"), ("pipeline-metrics", "print(acc)")])
    assert run(path).metrics == {"acc": 0.5}


def test_the_engine_killed_at_any_moment_leaves_a_readable_log_and_resume_goes_on(notebook, tmp_path):
    import subprocess
    import sys

    path = notebook([("step:a", "x = 41\nprint('a ran')"), ("step:b", "import time\ntime.sleep(3)\nprint(x + 1)")])
    command = [sys.executable, "-m", "mlops_lab.cli", "run", str(path), "--no-tracking", "--no-cache"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    home = Home.of(tmp_path)
    while time.monotonic() < deadline:
        if home.list() and any(isinstance(e, ev.StepStarted) and e.step == "b" for e in home.list()[0].events()):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    broken = mlops_lab.find_run("last", tmp_path)
    assert broken.status == "interrupted"
    resumed = subprocess.run(
        [sys.executable, "-m", "mlops_lab.cli", "resume", "last", "-C", str(tmp_path), "--json"], capture_output=True, text=True
    )
    summary = json.loads(resumed.stdout)
    assert resumed.returncode == 0, resumed.stderr
    assert summary["status"] == "done"
    assert summary["steps"]["a"]["from_run"] == broken.id
    assert text_of(mlops_lab.find_run("last", tmp_path), 2) == "42\n"
    assert Path(summary["executed"]).exists()


def test_the_last_result_may_be_used_in_the_step_that_made_it(notebook):
    path = notebook([("step:a", "6 * 7"), "print(_ + 1, _1)", ("step:b", "print('b')")])
    assert mlops_lab.load(path).diagnostics == ()
    assert text_of(run(path), 2) == "43 42\n"


def test_a_setup_cell_gets_the_imports_it_needs_from_cells_above(notebook):
    path = notebook(["import math", ("setup", "area = math.pi * 4"), ("step:a", "print(round(area, 3))")])
    assert text_of(run(path), 3) == "12.566\n"


def test_a_change_of_a_local_module_is_a_reason_to_run_again(notebook, tmp_path):
    (tmp_path / "helper.py").write_text("VALUE = 1\n")
    path = notebook(["import helper", ("step:a", "print(helper.VALUE)"), ("step:b", "print('b')")])
    assert text_of(run(path), 2) == "1\n"
    (tmp_path / "helper.py").write_text("VALUE = 22\n")
    again = run(path)
    assert text_of(again, 2) == "22\n"
    assert again.state.steps["b"].status == "cached"


def test_the_size_of_what_a_step_leaves_and_the_time_it_took_to_store_are_told(notebook):
    run_ = run(notebook([("step:a", "x = bytes(5_000_000)"), ("step:b", "print(len(x))")]))
    ends = {e.step: e for e in run_.events() if isinstance(e, ev.StepFinished)}
    assert ends["a"].outputs["x"].bytes >= 5_000_000
    assert ends["a"].data_seconds["save"] > 0 and ends["b"].data_seconds["load"] > 0
    assert sum(ends["b"].data_seconds.values()) < ends["b"].seconds


def test_a_clock_that_goes_back_confuses_no_run(notebook, monkeypatch):
    path = notebook([("step:a", "x = 1"), ("step:b", "print(x)")])
    now, told = time.time, iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: now() - 3600 * next(told))
    first = run(path)
    assert first.status == "done"
    again = mlops_lab.load(path).run(tracking=False)
    assert {step.status for step in again.steps.values()} == {"cached"}
    assert [e.seq for e in again.events()] == list(range(1, len(list(again.events())) + 1))
    assert again.steps["a"].state.seconds >= 0


def test_two_engines_share_one_store(notebook, tmp_path):
    import subprocess
    import sys

    cells = [("step:a", "import numpy as np\nx = np.arange(400_000.0)"), ("step:b", "y = x * 2"), ("step:c", "print(y.sum())")]
    paths = [notebook(cells, name=f"{name}.ipynb") for name in ("one", "two")]
    command = [sys.executable, "-m", "mlops_lab", "run", "--no-tracking", "--json"]
    both = [subprocess.Popen([*command, str(p)], stdout=subprocess.PIPE, text=True) for p in paths]
    summaries = [json.loads(process.communicate(timeout=120)[0]) for process in both]
    assert [s["status"] for s in summaries] == ["done", "done"]
    versions = [{n: o["version"] for n, o in s["steps"]["b"]["outputs"].items()} for s in summaries]
    assert versions[0] == versions[1], "equal values are stored once"
    for summary in summaries:
        found = mlops_lab.find_run(summary["run"], tmp_path)
        assert found.steps["b"].outputs["y"].sum() == 159999600000.0
    assert not list((tmp_path / ".mlops_lab/store").rglob(".new-*"))
