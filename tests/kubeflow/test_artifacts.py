"""Random notebooks give the same straight and as compiled pipelines, whose steps have nothing but their artifacts."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import notebook_node
from parity import inprocess as parity
from parity.campaign import show
from parity.process import quick
from parity.programs import cells_of, program

from mlops_lab.notebook import from_node
from mlops_lab.pipeline import build
from mlops_lab.plan import make_plan

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


def test_a_large_value_that_only_a_hidden_function_needs_is_refused_and_travels_once_it_is_named(
    folder: Path, tmp_path: Path
) -> None:
    cells = [
        ("step:a", "import builtins\nbig = list(range(300_000))\nmake = getattr(builtins, 'ev' + 'al')\ncalls = [make('lambda: sum(big)')]"),
        ("step:b", "print(big[0])"),
        ("step:c", "print(calls[0]())"),
    ]  # fmt: skip

    def seen(settings: dict[str, object], place: Path) -> object:
        node = notebook_node(cells, {"mlops_lab": {"steps": settings}})
        plan = make_plan(build(from_node(node, folder / "nb.ipynb")))
        return {step.name: (prints, loud) for step, prints, loud in inprocess.run(plan, 0, folder, place)}["c"]

    _, refused = seen({}, tmp_path / "without")
    assert "a function that step 'c' was given needs 'big', which is too large to travel" in refused
    assert seen({"c": {"uses": ["big"]}}, tmp_path / "with") == ([(f"{sum(range(300_000))}\n", "")], "")
