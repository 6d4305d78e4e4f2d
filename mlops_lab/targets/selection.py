"""Which steps of a plan a run is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from mlops_lab.errors import UsageError, did_you_mean
from mlops_lab.plan import Plan
from mlops_lab.targets import Options


@dataclass(frozen=True)
class Selection:
    """Steps that run or are taken from the cache, and those of them that must run again."""

    needed: frozenset[str]
    forced: frozenset[str]


def select(plan: Plan, options: Options) -> Selection:
    """The steps that `--from`, `--to` and `--only` ask for. Raises `UsageError` for an unknown name."""
    everything = frozenset(step.name for step in plan.steps)
    groups = {step.step.group for step in plan.steps} | everything

    def parts(name: str) -> list[str]:
        found = [step.name for step in plan.pipeline.group(name)]
        if not found:
            known = ", ".join(step.name for step in plan.steps)
            raise UsageError(f"There is no step {name!r}{did_you_mean(name, groups)}. The steps are: {known}.")
        return found

    if options.only:
        forced = frozenset(name for wanted in options.only for name in parts(wanted))
        return Selection(plan.upstream(forced), forced)
    needed, forced = everything, frozenset[str]()
    if options.end:
        needed = plan.upstream(parts(options.end))
    if options.start:
        forced = plan.downstream(parts(options.start)) & needed
        if not forced:
            raise UsageError(f"Step {options.end!r} does not depend on {options.start!r}: nothing would run.")
        needed = plan.upstream(forced) if options.end else everything
    return Selection(needed, forced)
