"""Which steps start first, and whether there is room: the critical path, and the machine's cores and memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlops_lab.notebook import StepSettings
from mlops_lab.plan import Plan
from mlops_lab.quantities import quantity

_CGROUP = Path("/sys/fs/cgroup")  # version 2; version 1 has `cpu/cpu.cfs_quota_us` and `memory/memory.limit_in_bytes`
UNKNOWN_SECONDS = 1.0  # of a step that never ran


@dataclass(frozen=True)
class Resources:
    """Cores, and memory in bytes: of the machine, or asked for by a step."""

    cpu: float
    memory: float


def machine(cgroup: Path = _CGROUP) -> Resources:
    """What this process may use: its CPU affinity, the machine's memory, and the limits of its control group."""
    cores: float = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = float("inf")
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    quota, period = (*_words(cgroup / "cpu.max"), "", "")[:2]
    if not quota:
        quota = (*_words(cgroup / "cpu/cpu.cfs_quota_us"), "")[0]
        period = (*_words(cgroup / "cpu/cpu.cfs_period_us"), "")[0]
    if quota.isdigit() and period.isdigit() and int(period):
        cores = min(cores, int(quota) / int(period))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = (*_words(cgroup / name), "")[0]
        if limit.isdigit():
            memory = min(memory, float(limit))
    return Resources(cores, memory)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return []


def request(settings: StepSettings, of: Resources, workers: int) -> Resources:
    """What a step asks for, at the most what there is: one that asks for more runs alone.

    By default one core, or less where more `workers` than cores are asked for.
    """
    cpu = quantity(settings.cpu) if settings.cpu is not None else min(1.0, of.cpu / workers)
    memory = quantity(settings.memory) if settings.memory is not None else 0.0
    return Resources(min(cpu, of.cpu), min(memory, of.memory))


def fits(wanted: Resources, running: Iterable[Resources], of: Resources) -> bool:
    """True if there is room for one more step. One always runs, however little there is."""
    taken = list(running)
    return not taken or (
        wanted.cpu + sum(r.cpu for r in taken) <= of.cpu + 1e-9 and wanted.memory + sum(r.memory for r in taken) <= of.memory
    )


def critical_path(plan: Plan, seconds: Mapping[str, float]) -> dict[str, float]:
    """Step -> seconds from its start to the end of the longest chain of steps that wait for it."""
    longest: dict[str, float] = {}
    followers: dict[str, list[str]] = {step.name: [] for step in plan.steps}
    for name, sources in plan.sources.items():
        for source in sources:
            followers[source].append(name)

    def measure(start: str) -> None:
        waiting = [start]  # not by recursion: chains of steps may be long
        while waiting:
            name = waiting[-1]
            missing = [f for f in followers[name] if f not in longest]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            longest[name] = seconds.get(name, UNKNOWN_SECONDS) + max((longest[f] for f in followers[name]), default=0.0)

    for step in plan.steps:
        measure(step.name)
    return longest
