"""Each rule of parity is needed: random notebooks that agree differ in silence once it is taken away.

The rules, and the search for the seeds below, are in `mutants.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .mutants import RULES, outcome, placed
from .process import quick

SEEDS: dict[str, tuple[int, ...]] = {
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with quick() as path:
        yield path


@pytest.mark.parametrize("name", RULES)
def test_no_rule_can_be_taken_away(name: str, folder: Path) -> None:
    of = RULES[name]
    with pytest.MonkeyPatch.context() as patch:
        placed(patch, of)
        for seed in SEEDS[name]:
            kind, what = outcome(seed, of, folder)
            assert kind in {"equal", "refused"}, f"with the rule, seed {seed}: {what}"
        of.away(patch)
        without = [outcome(seed, of, folder) for seed in SEEDS[name]]
    assert any(kind == "different" for kind, _ in without), f"without the rule: {without}"
