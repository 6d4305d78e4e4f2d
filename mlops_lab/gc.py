"""Makes room where runs are kept: the least recently used runs go first, with the values that no run left needs.

What stays is whole: a run that is kept keeps the values that its steps read and left, and the runs its cached steps came from.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mlops_lab import events as ev
from mlops_lab.errors import BusyError, UsageError
from mlops_lab.quantities import quantity
from mlops_lab.runs import Home, RunFolder

_LATEST = 1  # runs of each notebook that are kept in any case


@dataclass
class Cleared:
    """What was deleted (or would be): runs by id, how many values, and the bytes before and after."""

    runs: list[str] = field(default_factory=list)
    bundles: int = 0
    before: int = 0
    after: int = 0


@dataclass
class _Run:
    folder: RunFolder
    notebook: str
    used: float  # when it ended, or a later run last took one of its results
    size: int
    bundles: set[str]
    sources: set[str]  # runs that its cached steps came from


def parse_size(text: str) -> int:
    """Bytes: `5 GB`, `500MB`, `2GiB`, `0`. Raises `UsageError`."""
    try:
        return int(quantity(re.sub(r"\s+|[bB]$", "", text.strip()).replace("K", "k") if text else ""))
    except ValueError:
        raise UsageError(f"{text!r} is no size; write it as 5GB, 500MB or 2GiB.") from None


def collect(home: Home, keep: int, dry_run: bool = False) -> Cleared:
    """Delete until what is left takes at most `keep` bytes, or nothing more may go.

    Of each notebook the latest run stays. Raises `BusyError` while a run is in progress here.
    """
    with home.exclusive():
        runs = {folder.id: _look_at(folder) for folder in home.list()}
        active = [run.folder.id for run in runs.values() if run.folder.is_active]
        if active:
            raise BusyError(
                f"Run {active[0]} is in progress in {home.folder}. Wait for it, or stop it: mlops-lab cancel {active[0]}"
            )
        for run in runs.values():
            for source in run.sources & runs.keys():
                runs[source].used = max(runs[source].used, run.used)
        stored = {path.name: path for path in _files(home.bundles)}  # and what a killed process left half written
        sizes = {name: path.stat().st_size for name, path in stored.items()}
        # The tracking store is not counted: nothing of it is deleted here.
        total = (
            sum(run.size for run in runs.values()) + sum(sizes.values()) + sum(p.stat().st_size for p in _files(home.results))
        )
        cleared = Cleared(before=total)
        gone = _to_go(runs, sizes, keep, total)
        left = [run for name, run in runs.items() if name not in gone]
        needed = set().union(*(run.bundles for run in left)) if left else set()
        # Values that nobody refers to are left by runs whose folders were deleted by hand.
        bundles = sizes.keys() - needed
        cleared.runs, cleared.bundles = sorted(gone), len(bundles)
        cleared.after = total - sum(runs[name].size for name in gone) - sum(sizes[name] for name in bundles)
        if not dry_run:
            for name in gone:
                shutil.rmtree(runs[name].folder.path)
            for name in bundles:
                stored[name].unlink(missing_ok=True)
            _forget_results(home, {run.folder.id for run in left})
    return cleared


def _to_go(runs: dict[str, _Run], sizes: dict[str, int], keep: int, total: int) -> set[str]:
    """The runs to delete: least recently used first, as long as that is needed and no run that stays refers to them."""
    latest: set[str] = set()
    of: dict[str, list[_Run]] = {}
    for run in runs.values():
        of.setdefault(run.notebook, []).append(run)
    for known in of.values():
        latest.update(run.folder.id for run in sorted(known, key=lambda r: r.folder.id)[-_LATEST:])
    # Elsewhere than here a run goes on without a process of ours.
    latest.update(run.folder.id for run in runs.values() if run.folder.is_remote and run.folder.finished is None)
    users: dict[str, int] = {}
    for run in runs.values():
        for bundle in run.bundles:
            users[bundle] = users.get(bundle, 0) + 1
    total -= sum(size for name, size in sizes.items() if name not in users)
    gone: set[str] = set()
    while total > keep:
        needed = latest.union(*(run.sources for name, run in runs.items() if name not in gone))
        candidates = [run for name, run in runs.items() if name not in gone | needed]
        if not candidates:
            break
        oldest = min(candidates, key=lambda run: (run.used, run.folder.id))
        gone.add(oldest.folder.id)
        total -= oldest.size
        for bundle in oldest.bundles:
            users[bundle] -= 1
            if not users[bundle]:
                total -= sizes.get(bundle, 0)
    return gone


def _look_at(folder: RunFolder) -> _Run:
    notebook, used, sources = "", 0.0, set()
    for event in folder.events():
        used = event.time
        if isinstance(event, ev.RunStarted):
            notebook = event.notebook
        elif isinstance(event, ev.StepCached):
            sources.add(event.from_run)
    bundles = set()
    for path in folder.path.glob("steps/*/*/result.json"):
        with contextlib.suppress(OSError, ValueError):
            news = json.loads(path.read_text(encoding="utf-8"))
            bundles |= {v[0] for v in news.get("inputs", {}).values() if v}
            bundles |= {output["version"][0] for output in news.get("outputs", {}).values() if output}
    size = sum(path.stat().st_size for path in _files(folder.path))
    return _Run(folder, notebook, used, size, bundles, sources - {folder.id})


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _forget_results(home: Home, kept: set[str]) -> None:
    for path in home.results.glob("*/*.json"):
        if path.parent.parent == home.results and path.parent.name != "last":
            with contextlib.suppress(OSError, ValueError):
                if json.loads(path.read_text(encoding="utf-8")).get("run") not in kept:
                    path.unlink()
