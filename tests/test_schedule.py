"""Which steps start first, and whether there is room for them."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import mlops_lab
from mlops_lab import events as ev
from mlops_lab.quantities import quantity
from mlops_lab.targets.priority import Priorities
from mlops_lab.targets.schedule import Resources, critical_path, fits, machine


@pytest.mark.parametrize(
    ("text", "number"), [(2, 2), ("500m", 0.5), ("4Gi", 4 * 2**30), ("1.5", 1.5), ("2k", 2000), ("1G", 10**9), (0.25, 0.25)]
)
def test_quantities_are_read_as_kubernetes_reads_them(text: str | float, number: float) -> None:
    assert quantity(text) == number


@pytest.mark.parametrize("text", ["", "many", "4 GiB!", "-1", "1e3x", "m"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        quantity(text)


def test_the_limits_of_the_control_group_count(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("1073741824\n")
    assert machine(tmp_path) == Resources(0.5, 2**30)


def test_without_limits_it_is_the_machine(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    found = machine(tmp_path)
    assert found.cpu >= 1 and found.memory > 2**28


def test_the_limits_of_older_control_groups_count(tmp_path: Path) -> None:
    for name, text in {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine(tmp_path).cpu <= 1.5


def test_one_step_always_fits_and_more_only_where_there_is_room() -> None:
    small = Resources(2, 4 * 2**30)
    assert fits(Resources(2, 2**40), [], small)
    assert fits(Resources(1, 2**30), [Resources(1, 3 * 2**30)], small)
    assert not fits(Resources(1, 2 * 2**30), [Resources(1, 3 * 2**30)], small)
    assert not fits(Resources(1.5, 0), [Resources(1, 0)], small)


def test_the_critical_path_is_the_longest_way_to_the_end(notebook: Callable[..., Path]) -> None:
    path = notebook([
        ("step:a", "a = 1"), ("step:short", "s = a"), ("step:long", "x = a"), ("step:longer", "y = x"), ("step:end", "print(s, y)"),
    ])  # fmt: skip
    plan = mlops_lab.load(path).plan
    assert critical_path(plan, {"long": 10, "end": 2}) == {"a": 14, "short": 3, "long": 13, "longer": 3, "end": 2}


def test_a_chain_of_thousands_of_steps_is_no_problem() -> None:
    class Step:
        def __init__(self, name: str) -> None:
            self.name = name

    class Chain:
        steps = [Step(str(i)) for i in range(5000)]
        sources = {str(i): frozenset({str(i - 1)} if i else ()) for i in range(5000)}

    assert critical_path(Chain(), {})["0"] == 5000  # type: ignore[arg-type]


def started(run: mlops_lab.Run) -> list[str]:
    return [e.step for e in run.events() if isinstance(e, ev.StepStarted)]


def test_steps_that_ask_for_more_than_there_is_run_one_after_the_other(notebook: Callable[..., Path]) -> None:
    work = "import time\nt0 = time.time()\ntime.sleep(0.6)\n{0} = (t0, time.time())"
    settings = {"mlops_lab": {"steps": {name: {"memory": "4000Ti"} for name in "ab"}}}
    path = notebook([("step:a", work.format("a")), ("step:b", work.format("b"))], settings)
    run = mlops_lab.load(path).run(tracking=False, workers=2)
    (a0, a1), (b0, b1) = run.steps["a"].outputs["a"], run.steps["b"].outputs["b"]
    assert a1 <= b0 or b1 <= a0


def test_of_those_that_are_ready_the_one_on_the_longest_way_starts_first(notebook: Callable[..., Path]) -> None:
    cells = [("step:quick", "q = 1"), ("step:first", "x = 1"), ("step:second", "y = x + 1"), ("step:third", "print(y)")]
    run = mlops_lab.load(notebook(cells)).run(tracking=False, workers=1)
    assert started(run)[0] == "first"
    assert [e.step for e in run.events() if isinstance(e, ev.StepCommitted)] == ["quick", "first", "second", "third"]


def test_linear_algebra_has_as_many_threads_as_the_step_asks_for_cores(notebook: Callable[..., Path]) -> None:
    pytest.importorskip("threadpoolctl")
    ask = "import os, numpy, threadpoolctl\n{0} = [p['num_threads'] for p in threadpoolctl.threadpool_info()], os.environ.get('OMP_NUM_THREADS')"
    path = notebook([("step:a", ask.format("a")), ("step:b", ask.format("b"))], {"mlops_lab": {"steps": {"a": {"cpu": "1"}}}})
    run = mlops_lab.load(path).run(tracking=False)
    threads, told = run.steps["a"].outputs["a"]
    assert set(threads) <= {1} and told == "1"
    assert run.steps["b"].outputs["b"][1] != "1"


def test_kernels_are_started_before_their_steps_are(notebook: Callable[..., Path]) -> None:
    cells = [("step:a", "import time\nx = 1\ntime.sleep(2)"), ("step:b", "y = x\nprint(y)")]
    run = mlops_lab.load(notebook(cells)).run(tracking=False)
    begun = next(e.time for e in run.events() if isinstance(e, ev.StepStarted) and e.step == "b")
    made = (run.folder.path / "steps/b/1/notebook.ipynb").stat().st_mtime
    assert begun - made > 0.5, "it was prepared while the first step ran"
    assert time.time() > begun


def test_steps_that_run_at_once_have_different_priorities(notebook: Callable[..., Path]) -> None:
    """Else their threads, as many as in a straight run, would stop each other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wait = f"import os, socket\nsocket.create_connection({listener.getsockname()!r}).recv(1)\n"
        path = notebook([(f"step:{name}", wait + f"{name} = os.getpriority(os.PRIO_PROCESS, 0)") for name in "ab"])

        def let_both_go() -> None:
            for connection in [listener.accept()[0] for _ in "ab"]:
                connection.close()

        gate = threading.Thread(target=let_both_go)
        gate.start()
        run = mlops_lab.load(path).run(tracking=False, workers=2)
        gate.join()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert sorted((run.steps["a"].outputs["a"], run.steps["b"].outputs["b"])) == [own, min(own + 10, 19)]


def test_a_priority_that_is_free_again_is_given_to_the_next() -> None:
    priorities = Priorities(workers=3)
    with subprocess.Popen(["sleep", "60"]) as first, subprocess.Popen(["sleep", "60"]) as second:
        try:
            with priorities.of_its_own(None), priorities.of_its_own(first.pid):
                pass
            with priorities.of_its_own(second.pid):
                nice = [os.getpriority(os.PRIO_PROCESS, process.pid) for process in (first, second)]
        finally:
            first.kill()
            second.kill()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert nice == [min(own + 9, 19), own]
