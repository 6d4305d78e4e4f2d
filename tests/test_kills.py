"""Kill -9 at random moments: no process is left, no finished step is lost, no artifact is damaged, and resume completes.

The number of rounds is in the environment variable `KILLS`; a hundred take about ten minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mlops_lab
from mlops_lab import events as ev

ROUNDS = int(os.environ.get("KILLS", "6"))
CELLS = [
    ("step:make", "import time\nimport numpy as np\ndata = np.arange(500_000.0)"),
    ("step:left", "time.sleep(0.4)\nleft = data * 2"),
    ("step:right", "time.sleep(0.3)\nright = data + 1"),
    ("step:sum", "total = float((left + right).sum())\nprint(total)"),
]
TOTAL = 374_999_750_000.0


def processes_of(folder: Path) -> dict[int, str]:
    """Process id -> command, of all that run in a folder or were told of it in their environment."""
    found = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit() and int(place.name) != os.getpid():
            with contextlib.suppress(OSError):
                if place.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    continue
                told = place.joinpath("environ").read_bytes() + place.joinpath("cmdline").read_bytes()
                if str(folder).encode() in told or str(place.joinpath("cwd").readlink()).startswith(str(folder)):
                    found[int(place.name)] = place.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def descendants(process: int) -> Iterator[tuple[int, str]]:
    """Process ids and commands of what a process has started, and what that has."""
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (int(c) for c in task.joinpath("children").read_text().split()):
                yield child, Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                yield from descendants(child)


def victims(what: str, engine: int) -> list[int]:
    if what == "engine":
        return [engine]
    below = list(descendants(engine))
    if what == "warm parent":
        return [pid for pid, command in below if "runtime/warm.py" in command and "ipykernel" not in command][:1]
    parents = {pid for pid, command in below if "runtime/warm.py" in command}
    return [pid for pid, _ in below if pid not in parents or any(pid == child for p in parents for child, _ in descendants(p))]


def quiet(folder: Path) -> dict[int, str]:
    """What still runs after a while, which should be nothing."""
    deadline = time.monotonic() + 15
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_killed_at_a_random_moment_it_loses_nothing(notebook: Callable[..., Path], seed: int) -> None:
    dice = random.Random(f"{seed}-{os.environ.get('KILLS_SEED', '')}")
    what = ("kernel", "engine", "warm parent")[seed % 3]
    path = notebook(CELLS)
    command = [sys.executable, "-m", "mlops_lab", "run", path.name, "--no-tracking"]
    engine = subprocess.Popen(command, cwd=path.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    log = path.parent / ".mlops_lab/runs"
    started = time.monotonic()
    while not list(log.glob("*/events.jsonl")) and engine.poll() is None and time.monotonic() - started < 60:
        time.sleep(0.02)
    time.sleep(dice.uniform(0, 4))
    chosen = victims(what, engine.pid)
    if chosen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(dice.choice(chosen), signal.SIGKILL)
    output = engine.communicate(timeout=120)[0].decode()
    assert not quiet(path.parent), f"a process is left after the {what} was killed"
    run = mlops_lab.find_run("last", path.parent)
    finished = {e.step for e in run.events() if isinstance(e, ev.StepCommitted)}
    if run.status != "done":
        assert run.status in ("failed", "interrupted"), output
        resume = [sys.executable, "-m", "mlops_lab", "resume", run.id, "--json"]
        done = subprocess.run(resume, cwd=path.parent, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr + output
        steps = json.loads(done.stdout)["steps"]
        done_before = {name for name in finished if run.steps[name].status == "done"}
        assert all(steps[name]["status"] == "cached" for name in done_before), "a finished step ran again"
        assert not quiet(path.parent)
        run = mlops_lab.find_run("last", path.parent)
    assert run.status == "done"
    assert run.steps["sum"].outputs["total"] == TOTAL
    assert run.steps["make"].outputs["data"].sum() == 124999750000.0
    bundles = [p for p in (path.parent / ".mlops_lab/store/bundles").rglob("*") if p.is_file()]
    assert bundles and not [p for p in bundles if p.name.startswith(".") or "tmp" in p.name], "half an artifact is left"
