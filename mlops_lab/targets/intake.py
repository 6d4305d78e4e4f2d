"""What becomes of an attempt that has ended: told of, filed as a result, or tried again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlops_lab import events as ev
from mlops_lab.notebook import Notebook
from mlops_lab.results import Result, ResultStore
from mlops_lab.targets import journals
from mlops_lab.targets.attempt import Attempt
from mlops_lab.targets.task import Task
from mlops_lab.targets.undo import Undo

_RETRYABLE = {"error", "died", "timeout"}


@dataclass(frozen=True)
class Intake:
    """Takes the attempts of one run's steps; `fixed_graph` as in `Options`."""

    tasks: Sequence[Task]
    results: ResultStore
    notebook: Notebook
    fixed_graph: bool
    emit: Callable[[ev.AnyEvent], None]
    undo: Undo

    def take(self, task: Task, attempt: Attempt, result: Result) -> None:
        """An attempt ended: report it, file its result, or see to it that it is tried again."""
        if attempt is not task.attempt:  # a kernel that was to be kept ready did not start
            task.prepared = None
            return
        task.attempt = None
        attempt.ended = time.monotonic()
        task.taken.append((attempt, result))
        task.last_outputs, task.last_inputs = frozenset(result.outputs), frozenset(result.inputs)
        task.made_from = attempt.current
        if result.status != "done":
            result.files_written = journals.changes(attempt.journal, self.undo.folder) | result.files_written
        too_early = journals.ended_itself(attempt.journal) if result.status != "done" else ""
        overtaken = "what it reads changed while it ran" if attempt.ended_by == "overtaken" and result.status != "done" else ""
        seen = self.undo.seen_before(task, attempt, result) if attempt.ended_by != "cancelled" else ""
        if too_early or overtaken or seen:
            attempt.void, task.alone = True, task.alone or bool(too_early)
            conflict = self.undo.conflict(task, attempt, result)
            if not conflict or conflict.above is task or self.undo.make_good(conflict):
                self.emit(ev.StepOvertaken(step=task.name, attempt=attempt.number, because=too_early or overtaken or seen))
                return
        if attempt.ended_by and result.status != "done":
            limit = task.planned.step.settings.timeout
            message = f"it took longer than its {limit:g} s" if attempt.ended_by == "timeout" else "cancelled"
            cell = result.failure.cell if result.failure else 0
            result.failure = ev.Failure(kind=attempt.ended_by, message=message, cell=cell)
            result.status = "failed" if attempt.ended_by == "timeout" else "cancelled"
        conflict = self.undo.conflict(task, attempt, result) if result.status == "done" or attempt.void else None
        made_good = conflict is not None and not self.fixed_graph and self.undo.make_good(conflict)
        if conflict:
            self.results.discard((conflict.first if conflict.below is task else conflict.second)[1])
        if conflict and not made_good:
            result.status, result.failure = "failed", conflict.failure
        retry_in = None
        kind = result.failure.kind if result.status == "failed" and result.failure else ""
        if kind and attempt.orphaned:
            self.undo.warn(task, result.files_written)
            retry_in = 0.0  # no fault of the step's; kernels are started from here on, not forked
        elif kind in _RETRYABLE and task.tries < task.planned.step.settings.retries:
            retry_in = min(2.0**task.tries, 60.0)
            task.tries += 1
            task.not_before = time.monotonic() + retry_in
        self.emit(
            ev.StepFinished(step=task.name, attempt=attempt.number, status=result.status, seconds=result.seconds,
                            failure=result.failure, inputs=input_versions(result), outputs=outputs_told(result),
                            retry_in=retry_in, data_seconds={k: round(v, 4) for k, v in result.data_seconds.items()})
        )  # fmt: skip
        if result.metrics:
            self.emit(ev.Metrics(step=task.name, values=result.metrics))
        if conflict and made_good:
            because = f"step {conflict.below.name!r} {conflict.change} before step {conflict.above.name!r} was done"
            for name, (overtaken_one, _) in ((conflict.above.name, conflict.first), (conflict.below.name, conflict.second)):
                self.emit(ev.StepOvertaken(step=name, attempt=overtaken_one.number, because=because))
            return
        if result.status == "done":
            try:
                self.results.save(result, self.notebook.path.stem)
            except OSError as error:
                self.emit(
                    ev.Message(
                        level="warning",
                        step=task.name,
                        text=f"its result can't be kept for later runs: {error.strerror}",
                    )
                )
        if retry_in is None and result.status != "cancelled":
            task.result = result
        elif result.status == "cancelled":
            task.skipped = "cancelled"


def input_versions(result: Result) -> dict[str, str]:
    """Variable -> version, of what a step was given; as events tell it."""
    return {name: version[0] for name, version in result.inputs.items() if version and ":" not in name}


def outputs_told(result: Result) -> dict[str, ev.Output]:
    """Variable -> what events tell of it, of what a step left."""
    found = {}
    for name, output in result.outputs.items():
        if output and ":" not in name and name[0] != "@":
            found[name] = ev.Output(version=output["version"][0], type=output.get("type", ""), bytes=output.get("bytes", 0),
                                    preview=output.get("preview", ""))  # fmt: skip
    return found
