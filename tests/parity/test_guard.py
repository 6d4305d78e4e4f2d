"""On a fixed graph, random notebooks give the same straight and as a pipeline, or the guard refuses; and what it names, helps."""

from __future__ import annotations

import functools
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_lab.targets import Options

from . import inprocess
from .campaign import show
from .inprocess import verdict
from .process import quick
from .programs import cells_of, program

SEEDS = int(os.environ.get("PARITY_SEEDS", "250"))
SECONDS = 30.0


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with quick() as path:
        yield path


@pytest.fixture(autouse=True)
def fixed_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inprocess, "Options", functools.partial(Options, fixed_graph=True))


def test_random_notebooks_agree_or_are_refused(folder: Path) -> None:
    started = time.monotonic()
    refused = count = 0
    for seed in range(SEEDS):
        if time.monotonic() - started > SECONDS:
            break
        made = program(random.Random(seed))
        kind, what, outcome = verdict(cells_of(made), seed, folder)
        assert kind != "different", f"seed {seed}: {what}\n{show(made)}"
        assert outcome.attempts <= outcome.steps, "a step ran twice"
        refused += kind == "refused"
        count += 1
    assert refused < count / 2, "the graph should say most of what there is"
