"""Deleting old runs and values: what is kept stays whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mlops_lab
from mlops_lab import gc
from mlops_lab.errors import BusyError, UsageError
from mlops_lab.runs import Home

CELLS = [
    ("parameters", "n = 1"),
    ("step:make", "big = bytes([n]) * 3_000_000"),
    ("step:use", "print(len(big), big[0])"),
]


@pytest.fixture
def path(notebook: Callable[..., Path]) -> Path:
    return notebook(CELLS)


def bundles(home: Home) -> set[str]:
    return {p.name for p in home.bundles.rglob("*") if p.is_file()}


def test_the_least_recently_used_run_goes_first_and_what_is_kept_stays_whole(path: Path) -> None:
    pipeline = mlops_lab.load(path)
    first, second, third = (pipeline.run(n=n, tracking=False) for n in (1, 2, 3))
    again = pipeline.run(n=1, tracking=False)  # takes the results of the first: now the second was used longest ago
    assert all(step.status == "cached" for step in again.steps.values())
    home = Home.of(path.parent)
    cleared = gc.collect(home, 7_000_000)
    assert cleared.runs == [second.id]
    assert cleared.before > cleared.after > 6_000_000
    assert {r.id for r in home.list()} == {first.id, third.id, again.id}
    assert again.steps["make"].outputs["big"] == b"\x01" * 3_000_000
    assert third.steps["make"].outputs["big"] == b"\x03" * 3_000_000
    assert pipeline.run(n=1, tracking=False).steps["make"].status == "cached"
    run = pipeline.run(n=2, tracking=False)
    assert run.steps["make"].status == "done" and run.steps["make"].outputs["big"][0] == 2


def test_the_latest_run_of_each_notebook_stays_however_little_may(path: Path, notebook: Callable[..., Path]) -> None:
    runs = [mlops_lab.load(path).run(n=n, tracking=False) for n in (1, 2)]
    other = mlops_lab.load(notebook([("step:a", "x = 1")], name="other.ipynb")).run(tracking=False)
    home = Home.of(path.parent)
    assert gc.collect(home, 0, dry_run=True).runs == [runs[0].id]
    assert len(home.list()) == 3, "a dry run deletes nothing"
    gc.collect(home, 0)
    assert {r.id for r in home.list()} == {runs[1].id, other.id}
    before = bundles(home)
    assert runs[1].steps["make"].outputs["big"][0] == 2
    gc.collect(home, 0)
    assert bundles(home) == before, "what is needed stays"


def test_values_of_runs_that_were_deleted_by_hand_go(path: Path) -> None:
    one, _ = (mlops_lab.load(path).run(n=n, tracking=False) for n in (1, 2))
    shutil.rmtree(one.folder.path)
    cleared = gc.collect(Home.of(path.parent), 10**12)
    assert cleared.runs == [] and cleared.bundles >= 1
    assert cleared.before - cleared.after > 2_900_000


def test_what_a_killed_process_left_half_written_goes(path: Path) -> None:
    run = mlops_lab.load(path).run(tracking=False)
    home = Home.of(path.parent)
    kept = bundles(home)
    half = next(p for p in home.bundles.iterdir() if p.is_dir()) / ".new-a1b2c3d4"
    half.write_bytes(b"half an artifact")
    assert gc.collect(home, 10**9).bundles == 1
    assert bundles(home) == kept and run.steps["make"].outputs["big"] == b"\x01" * 3_000_000


def test_nothing_is_deleted_while_a_run_is_in_progress(path: Path) -> None:
    home = Home.of(path.parent)
    home.prepare()
    with home.new_run().owned(), pytest.raises(BusyError, match="in progress"):
        gc.collect(home, 0)


@pytest.mark.parametrize(
    ("text", "size"), [("5 GB", 5 * 10**9), ("500MB", 5 * 10**8), ("2GiB", 2 * 2**30), ("0", 0), ("12 kB", 12000)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert gc.parse_size(text) == size


def test_a_wrong_size_is_refused() -> None:
    with pytest.raises(UsageError, match="no size"):
        gc.parse_size("much")


def test_the_command_tells_what_it_deleted(path: Path) -> None:
    for n in (1, 2):
        mlops_lab.load(path).run(n=n, tracking=False)
    command = [sys.executable, "-m", "mlops_lab", "gc", "--keep", "1", "MB", "--json"]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    (cleared,) = json.loads(done.stdout).values()
    assert len(cleared["runs"]) == 1
