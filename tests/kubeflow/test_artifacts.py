"""Random notebooks give the same straight and as compiled pipelines, whose steps have nothing but their artifacts."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from parity import inprocess as parity
from parity.campaign import show
from parity.process import quick
from parity.programs import cells_of, program

from . import inprocess

SEEDS = int(os.environ.get("PARITY_SEEDS", "250"))
SECONDS = float(os.environ.get("PARITY_SECONDS", "30"))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with quick() as path:
        yield path


def test_random_notebooks_agree_or_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "pipeline", inprocess.pipeline)
    started = time.monotonic()
    refused = count = 0
    for seed in range(SEEDS):
        if time.monotonic() - started > SECONDS:
            break
        made = program(random.Random(seed))
        kind, what, outcome = parity.verdict(cells_of(made), seed, folder)
        assert kind != "different", f"seed {seed}: {what}\n{show(made)}"
        assert outcome.attempts <= outcome.steps, "a step ran twice"
        refused += kind == "refused"
        count += 1
    assert refused < count / 2, "the graph should say most of what there is"
