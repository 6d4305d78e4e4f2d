"""Where polars' global random generator stands. Rust keeps it and doesn't tell; what it draws tells.

A generator that the notebook has seeded stands at (seed, draws since then): what it would draw next is looked for among what is
drawn after that seed, and then as much is drawn again. Each draw of polars takes one number, whatever it is for.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from .memory import InputRefused
from .noted import rebind
from .postponed import Postponed

_SEED = re.compile(r"\bset_random_seed\(\s*(?:seed\s*=\s*)?(\d+)\s*\)")
_MOST = 20_000  # draws; some seconds

_seed: int | None = None


def watch(code: str) -> None:
    """Begin a step; `code` is the notebook's."""
    global _seed
    _seed = None
    if "polars" in sys.modules:
        _wrap()
        _look_for({int(text) for text in _SEED.findall(code)})
    elif "polars" in code:
        Postponed([(("polars",), "")], lambda _: _wrap())


def _wrap() -> None:
    original: Any = getattr(sys.modules["polars"], "set_random_seed", None)
    if original is None or hasattr(original, "__wrapped__"):
        return

    def set_random_seed(seed: int) -> None:
        global _seed
        original(seed)
        _seed = seed

    rebind("polars", "set_random_seed", original, set_random_seed)


def _look_for(seeds: set[int]) -> None:
    """See whether a setup cell has just seeded it, which has run by now."""
    global _seed
    following = _draw() if seeds else ()
    for seed in sorted(seeds):
        _set(seed, 0)
        if _draw() == following:
            _set(seed, 0)
            _seed = seed
            return
    if seeds:
        _set(int.from_bytes(os.urandom(7), "big"), 0)


def _set(seed: int, count: int) -> None:
    polars: Any = sys.modules["polars"]
    original = polars.set_random_seed
    getattr(original, "__wrapped__", original)(seed)
    for _ in range(count):
        _draw()


def _draw() -> tuple[int, ...]:
    return tuple(sys.modules["polars"].Series(range(16)).shuffle())


def get() -> tuple[int, int] | None:
    """(seed, draws since then; -1 if there were too many to count); None if the notebook has not seeded it."""
    if _seed is None:
        return None
    following = _draw()
    _set(_seed, 0)
    count = next((n for n in range(_MOST) if _draw() == following), -1)
    if count >= 0:
        _set(_seed, count)
    return _seed, count


def put(wanted: tuple[int, int] | None) -> None:
    """Set it as an earlier step left it."""
    global _seed
    if wanted is None:
        return
    seed, count = wanted
    if count < 0:
        raise InputRefused(
            f"ML201: earlier steps drew more than {_MOST} times from polars' random generator since it was seeded, and where "
            f"it stands can't be told. Seed it again in this step, or give the draws a seed of their own (seed=...)."
        )
    _set(seed, count)
    _seed = seed
