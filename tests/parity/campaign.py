"""Compares many random programs, and makes those that differ small enough to look at."""

from __future__ import annotations

import gc
import os
import random
import re
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .inprocess import verdict
from .process import quick
from .programs import Program, cells_of, program


def minimise(program: Program, seed: int, folder: Path, kind: str = "different", budget: float = 60.0) -> Program:
    """A smaller program that still differs: cells and statements are left out while that holds."""

    def fails(candidate: Program) -> bool:
        cells = cells_of(candidate)
        if sum("# keep" in s for _, body in candidate for s in body) < kept:
            return False
        return bool(cells) and any(verdict(cells, s, folder)[0] == kind for s in (seed, seed + 1, seed + 2))

    kept = sum("# keep" in s for _, body in program for s in body)
    end = time.monotonic() + budget
    current = [(t, list(s)) for t, s in program]
    changed = True
    while changed and time.monotonic() < end:
        changed = False
        for i in range(len(current) - 1, -1, -1):
            smaller = current[:i] + current[i + 1 :]
            if fails(smaller):
                current, changed = smaller, True
        for i in range(len(current)):
            for j in range(len(current[i][1]) - 1, -1, -1):
                tags, statements = current[i]
                smaller = [*current[:i], (tags, statements[:j] + statements[j + 1 :]), *current[i + 1 :]]
                if fails(smaller):
                    current, changed = smaller, True
        for i in range(len(current)):
            tags, statements = current[i]
            for j, statement in enumerate(statements):
                for plain in _simpler(statement):
                    smaller = [*current[:i], (tags, [*statements[:j], plain, *statements[j + 1 :]]), *current[i + 1 :]]
                    if fails(smaller):
                        current, changed = smaller, True
                        break
    return [(t, s) for t, s in current if s]


def _simpler(statement: str) -> list[str]:
    lines = statement.split("\n")
    if len(lines) < 2:
        return []
    found = []
    if lines[0].startswith(("try:", "if ", "for ")):
        body = []
        for line in lines[1:]:
            if not line.startswith("    "):
                break
            body.append(line[4:])
        found.append("\n".join(body))
    if len(lines) > 2:
        found += ["\n".join(lines[:i] + lines[i + 1 :]) for i in range(len(lines) - 1, 0, -1)]
    return [f for f in found if f.strip() and _compiles(f)]


def _compiles(source: str) -> bool:
    try:
        compile(source, "<cell>", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def show(program: Sequence[Any]) -> str:
    return "\n".join(f"# ---- [{tags}]\n" + (body if isinstance(body, str) else "\n".join(body)) for tags, body in program)


def campaign(low: int, high: int, keep: int = 8, seconds: float = 1e9) -> dict[str, int]:
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, resource.RLIM_INFINITY))
    counts = {"programs": 0, "equal": 0, "refused": 0, "different": 0, "steps": 0, "attempts": 0}
    reasons: dict[str, int] = {}
    started = time.monotonic()
    with quick() as folder:
        for seed in range(low, high):
            made = program(random.Random(seed))
            kind, what, outcome = verdict(cells_of(made), seed, folder)
            counts["programs"] += 1
            counts[kind] += 1
            counts["steps"] += outcome.steps
            counts["attempts"] += outcome.attempts
            if kind == "refused":
                why = re.sub(r"'[^']*'|step \S+|cell \d+|variable \S+", "…", what)[:150]
                reasons[why] = reasons.get(why, 0) + 1
            if kind == "different":
                if counts["different"] <= keep:
                    small = minimise(made, seed, folder)
                    again = [verdict(cells_of(small), s, folder) for s in (seed, seed + 1, seed + 2)]
                    why = next((w for k, w, _ in again if k == "different"), what)
                    print(f"==== SEED {seed}: {why}\n{show(small)}\n", flush=True)
                else:
                    print(f"==== SEED {seed}: {what[:300]}", flush=True)
            if seed % 200 == 0:
                gc.collect()
            if time.monotonic() - started > seconds:
                break
    counts["seconds"] = round(time.monotonic() - started)
    for why, number in sorted(reasons.items(), key=lambda r: -r[1])[:12]:
        print(f"  refused {number}: {why}")
    return counts


def main(module: str) -> None:
    """`python -m MODULE LOW HIGH [KEEP [SECONDS]]`, under a fixed order of sets."""
    if "PYTHONHASHSEED" not in os.environ:
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"})
    print(campaign(int(sys.argv[1]), int(sys.argv[2]), *(int(a) for a in sys.argv[3:5])))
