"""A step on its way through a run of the local engine, and what decides whether it may start, must wait, or counts no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlops_lab import events as ev
from mlops_lab.plan import Plan, StepPlan
from mlops_lab.results import Result, Version
from mlops_lab.targets.attempt import Attempt
from mlops_lab.targets.schedule import Resources


@dataclass
class Task:
    """A step on its way through the run."""

    planned: StepPlan
    forced: bool = False
    attempt: Attempt | None = None
    attempts: int = 0
    tries: int = 0
    result: Result | None = None
    last_outputs: frozenset[str] = frozenset()
    last_inputs: frozenset[str] = frozenset()
    made_from: dict[str, Version] | None = None
    taken: list[tuple[Attempt, Result]] = field(default_factory=list)
    committed: bool = False
    follows: frozenset[str] = frozenset()  # steps above that it turned out to share files with
    skipped: str = ""
    looked: bool = False
    not_before: float = 0.0
    alone: bool = False  # it does what can't be taken back, and begins only once the steps above have settled
    prepared: Attempt | None = None  # with a kernel that is started already, or starting
    wanted: Resources = Resources(1, 0)

    @property
    def name(self) -> str:
        return self.planned.name

    @property
    def keep(self) -> list[str] | None:
        """The variables to store, as its results are filed."""
        return None if self.planned.keep is None else sorted(self.planned.keep)

    @property
    def failed(self) -> bool:
        return self.result is not None and self.result.status != "done"


def blocked_by(task: Task, tasks: Sequence[Task], plan: Plan) -> str:
    """Why the step can't run any more: a step that it depends on failed, or won't run for such a reason."""
    for name in sorted(plan.sources[task.name]):
        source = next(t for t in tasks if t.name == name)
        if source.committed and source.failed:
            word = "rejected the run" if source.result and source.result.status == "rejected" else "failed"
            return f"step {name!r} {word}"
        if source.skipped and source.skipped != "not selected":
            return f"step {name!r} did not run"
    return ""


def waits(task: Task, unsettled: Sequence[Task], tasks: Sequence[Task], plan: Plan) -> bool:
    """True while a step above, that may still change what this one reads, isn't settled."""
    sources = plan.sources[task.name]
    for other in unsettled:
        if other.name in sources or other.name in task.follows or _feeds(other, task):
            return True
    later = {t.name for t in tasks[tasks.index(task) + 1 :] if not t.result and not t.skipped}
    return bool(sources & later)


def _feeds(other: Task, task: Task) -> bool:
    """True if the last attempts of two steps showed an edge that the analysis did not see."""
    reads = task.planned.reads
    for name in other.last_outputs:
        if name.startswith("@"):
            if "random" not in name or name in task.last_outputs:
                return True
        elif reads is None or name in reads or name in task.last_inputs:
            return True
    return False


def overtaken(task: Task, current: Mapping[str, Version]) -> bool:
    """True if a running step began with a version that has been replaced since."""
    assert task.attempt is not None
    reads = task.planned.reads
    names = reads if reads is not None else {n for n in current if n[0] != "@"}
    # Only the content counts: the sharing of values is looked at when the result is there.
    return any((task.attempt.current.get(n) or ["", ""])[1] != (current.get(n) or ["", ""])[1] for n in names)


@dataclass(frozen=True)
class Conflict:
    """Two steps that used a file at once in the wrong order: the attempts and results of the one above and the one below."""

    path: str
    above: Task
    first: tuple[Attempt, Result]
    below: Task
    second: tuple[Attempt, Result]

    @property
    def change(self) -> str:
        return f"changed what is in the folder {self.path}" if self.path.endswith("/") else f"wrote the file {self.path}"

    @property
    def failure(self) -> ev.Failure:
        what = "folder" if self.path.endswith("/") else "file"
        message = (
            f"ML202: step {self.below.name!r} {self.change} while step {self.above.name!r}, which stands above it and uses "
            f"that {what} too, was not done. Restore the {what}, tag {self.below.name!r} with after:{self.above.name}, and "
            "run again."
        )
        return ev.Failure(kind="refused", code="ML202", message=message)
