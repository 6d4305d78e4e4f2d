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
    "ordered commit": (12, 27, 965),
    "a binding that does not happen passes the earlier value on": (2, 6, 8),
    "deletions are passed on": (0, 6, 21),
    "files have versions": (3, 6, 9),
    "names that share an object travel together": (64, 171, 210),
    "arrays that share memory do so again": (41, 104, 108),
    "arrays keep their strides and their flags": (37, 107, 110),
    "sets keep their order": (0, 13, 15),
    "closures share their cells": (6, 14, 15),
    "the global generators are not copied": (0, 17, 51),
    "exceptions come back with what they hold": (4, 20, 23),
    "code of the notebook does not run again to make an instance": (16, 18, 23),
    "what can't be passed is refused": (53, 86, 127),
    "what a step loaded is digested again after it": (12, 15, 20),
    "functions read their globals when they are called": (14, 26, 33),
    "what functions need comes along with them": (222, 631),
    "a class is one object for all its instances": (7, 11, 15),
    "reads in short circuits are sound": (0, 1, 9),
    "reads around if are sound": (309, 362, 412),
    "reads around try are sound": (2, 12, 13),
    "reads around loops are sound": (154, 204, 209),
    "reads around match are sound": (223, 239),
    "reads around with are sound": (135, 689),
    "code that can't be analysed reads everything": (0, 2, 4),
    "imports are replayed": (0, 4, 5),
    "configuration is replayed": (2, 120, 389),
    "what a step changes of a setup cell is passed on": (771, 820, 1342),
    "random generators are variables": (0, 3, 4),
    "the working folder is passed on": (89, 145, 194),
    "the environment is passed on": (0, 11, 12),
    "sys.path is passed on": (43,),
    "options of pandas are passed on": (59, 115, 206),
    "options of NumPy are passed on": (27, 29, 48),
    "cells have their numbers": (46, 156, 166),
    "results of other steps' cells are refused": (81, 83, 87),
    "the cache key has the code": (1, 3, 4),
    "the cache key has the setup cells": (0, 1, 3),
    "the cache key has the parameters": (0, 1, 3),
    "the cache key has the input versions": (0, 1, 3),
    "the cache key has the files that were read": (0, 1, 3),
    "a result that lacks what a later step now reads is no hit": (1, 3, 4),
    "a fixed graph is guarded": (12, 27),
    "warning filters are passed on": (70,),
    "levels of loggers are passed on": (25,),
    "the context of decimals is passed on": (15, 27, 67),
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
