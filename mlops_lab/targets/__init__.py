"""Where a pipeline can run. A target is a module with a `run` function of the shape of `Run`; `TARGETS` is their table.

To add one, write the module and add its row (docs/contributing.md); packages of others add theirs by the entry point
group `mlops_lab.targets`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Protocol

from mlops_lab.checks import Diagnostic
from mlops_lab.errors import UsageError, did_you_mean
from mlops_lab.events import AnyEvent
from mlops_lab.plan import Plan
from mlops_lab.runs import RunFolder

Listener = Callable[[AnyEvent], None]


@dataclass(frozen=True)
class Options:
    """How to run. `start`, `end` and `only` name steps (`--from`, `--to`, `--only`); `workers` 0 means one a core.

    With `fixed_graph` each step runs once, as on a target that can't go back, and its guard refuses what the graph of steps
    doesn't show. `parameters` are checked values; `resume` are the runs whose finished steps are taken even where the cache is
    off.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    start: str = ""
    end: str = ""
    only: tuple[str, ...] = ()
    cache: bool = True
    workers: int = 0
    experiment: str = ""
    fail_fast: bool = False
    resume: tuple[str, ...] = ()
    tracking: bool = True
    fixed_graph: bool = False


class Run(Protocol):
    """Run a plan to its end and return its folder; events go to its log, and from there to the listeners.

    Raises `UsageError` for what is wrong before the run starts. `KeyboardInterrupt` in the calling thread cancels it.
    """

    def __call__(self, plan: Plan, options: Options, listeners: tuple[Listener, ...] = ()) -> RunFolder: ...


TARGETS: dict[str, str] = {"local": "mlops_lab.targets.local", "kubeflow": "mlops_lab.targets.kubeflow"}


def target(name: str) -> Run:
    """The `run` function of a target. Raises `UsageError` for an unknown name.

    `NAME:PLACE` names one of several places that a target can run in, such as a connection to Kubeflow; the module of such a
    target has `PLACES`, a word for them, and its `run` takes `place`.
    """
    kind, place = split(name)
    run: Run = partial(_module(kind).run, place=place) if place else _module(kind).run
    return run


def split(name: str) -> tuple[str, str]:
    """Target and place, as `kubeflow:lab` names them. Raises `UsageError` where the target has no places."""
    kind, colon, place = name.partition(":")
    word = getattr(_module(kind), "PLACES", "")
    if colon and not (word and place):
        what = f"name one of its {word} after the colon" if word else f"{kind} is one place: leave out {colon + place!r}"
        raise UsageError(f"--on {name}: {what}.")
    return kind, place


def check(plan: Plan, name: str) -> tuple[Diagnostic, ...]:
    """What a target will not honour of a plan and what will not travel there; nothing for one that says nothing of it.

    A target's module may have a function `check(plan)`. Raises `UsageError` for an unknown name.
    """
    find: Callable[[Plan], tuple[Diagnostic, ...]] | None = getattr(_module(split(name)[0]), "check", None)
    return find(plan) if find else ()


def refuse(plan: Plan, options: Options, name: str) -> None:
    """Raise what keeps a run from beginning, as far as this machine knows: for who starts it elsewhere, to tell it at once.

    A target's module may have a function `refuse(plan, options, place)`. Raises `UsageError` for an unknown name.
    """
    kind, place = split(name)
    find: Callable[[Plan, Options, str], None] | None = getattr(_module(kind), "refuse", None)
    if find:
        find(plan, options, place)


def refresh(folder: RunFolder, follow: bool = False, listeners: tuple[Listener, ...] = ()) -> None:
    """Bring the log of a run that goes on elsewhere up to date; with `follow`, until it ends. Nothing to do for other runs.

    A target whose runs go on without a process here has a function `refresh` of this shape. Raises `RunError` where the other
    side can't be asked.
    """
    if folder.is_remote and not folder.is_active and folder.finished is None and (started := folder.started):
        _module(started.target).refresh(folder, follow, listeners)


def cancel(folder: RunFolder) -> None:
    """Cancel a run that goes on elsewhere and that no process here follows, and wait for its end."""
    if started := folder.started:
        _module(started.target).cancel(folder)


def _module(name: str) -> ModuleType:
    known = TARGETS | {point.name: point.value for point in entry_points(group="mlops_lab.targets")}
    if name not in known:
        raise UsageError(f"There is no target {name!r}{did_you_mean(name, known)}. Known: {', '.join(sorted(known))}.")
    return import_module(known[name])
