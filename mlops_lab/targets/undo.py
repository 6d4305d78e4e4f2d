"""Takes back what attempts that don't count did to files, as far as that disturbs none that does."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mlops_lab import events as ev
from mlops_lab.results import Result, attribute, clash
from mlops_lab.runtime.filestates import TRACKING
from mlops_lab.targets import journals
from mlops_lab.targets.attempt import Attempt
from mlops_lab.targets.task import Conflict, Task

Taken = tuple[Task, Attempt, Result]


@dataclass(frozen=True)
class Undo:
    """Does so for the steps of one run. `stop` ends a running attempt that was overtaken, `discard` forgets a filed result."""

    tasks: Sequence[Task]
    folder: Path  # of the notebook, without symbolic links
    emit: Callable[[ev.AnyEvent], None]
    stop: Callable[[Attempt], None]
    discard: Callable[[Result], None]

    def settle(self, task: Task) -> bool:
        """Take back what attempts of a step did that don't count; False as long as that must wait for others to end.

        Where it can't be, the step fails, since what it would do now adds to what it has done.
        """
        todo = [(task, attempt, result) for attempt, result in task.taken if attempt.void and not attempt.taken_back]
        if not todo:
            return True
        others = self._disturbed(todo)
        above = [other for other, _, _ in others if self.tasks.index(other) < self.tasks.index(task)]
        running = [other.attempt for other, attempt, _ in others if other.attempt is attempt and other.attempt]
        if running:
            for attempt in running:
                if not any(attempt is other.attempt for other in above):
                    self.stop(attempt)
            return False
        done = sorted([*todo, *others], key=lambda taken: taken[1].ended)
        taken_back = not above and self._take_back(done)
        for _, attempt, result in done if taken_back else ():
            left = result.files_written.keys() - journals.touched(attempt.journal, self.folder)
            self.warn(task, left)  # what processes of packages wrote
        if not taken_back:
            for _, attempt, _ in todo:
                attempt.taken_back = time.monotonic()  # as far as it will be
            self._refuse(task, *todo[-1][1:])
            return True
        for other in others:
            self._overtake(*other, f"step {task.name!r} runs again, and what it did to files has been taken back")
        return True

    def clear_below(self, task: Task) -> bool:
        """Take back what attempts of the steps below did to files so far, where that can be; False as long as that must wait
        for others to end."""
        below = self.tasks[self.tasks.index(task) + 1 :]
        running = [other.attempt for other in below if other.attempt and self._changed(other.attempt)]
        for attempt in running:
            self.stop(attempt)
        if running:
            return False
        because = f"step {task.name!r} starts a process, for which what the step did to files has been taken back"
        for other in reversed(below):
            todo = [(other, *taken) for taken in other.taken if not taken[0].taken_back and self._changed(taken[0])]
            done = [*todo, *self._disturbed(todo)]
            known = all(one in below and attempt.ended for one, attempt, _ in done)  # none is running, or of a step above
            if known and self._take_back(sorted(done, key=lambda taken: taken[1].ended)):
                for one in done:
                    self._overtake(*one, because)
        return True

    @staticmethod
    def forget(task: Task) -> None:
        """The step's result counts: what was kept to take its changes back is needed no more."""
        for attempt, _ in task.taken:
            journals.drop_copies(attempt.journal)

    def settle_rest(self) -> None:
        """At a run's end: take back what attempts did that were ended before they were done, and forget the rest."""
        for task in reversed(self.tasks):
            todo = [(task, attempt, result) for attempt, result in task.taken if attempt.early and not attempt.taken_back]
            done = task.committed or any(result.status == "done" and not attempt.void for _, attempt, result in todo)
            if not done and not self._disturbed(todo):
                self._take_back(todo)
        for task in self.tasks:
            self.forget(task)

    def make_good(self, conflict: Conflict) -> bool:
        """Take back what the step below made too early, and let it wait for the one above; False if that can't be.

        It can as long as the result of the step above doesn't count yet. Who is running and has seen it is told by
        `seen_before` when it ends; of who has ended, steps above are conflicts of their own, and steps below depend on it.
        """
        above, below = conflict.above, conflict.below
        both = [(above, *conflict.first), (below, *conflict.second)]
        if above.committed or below.committed:
            return False
        if self._disturbed(both) or not self._take_back(sorted(both, key=lambda taken: taken[1].ended)):
            return False
        for task, attempt, _ in both:
            attempt.void, task.result = True, None
        below.follows |= {above.name}
        return True

    def seen_before(self, task: Task, attempt: Attempt, result: Result) -> str:
        """Why an attempt that has just ended doesn't count: it used a file that another one had changed too early.

        That has been taken back since, or the other one, of a step below, is still running: then it is stopped.
        """
        place = self.tasks.index(task)
        for other in self.tasks:
            for known, left in other.taken if other is not task else ():
                if known.taken_back and attempt.started < known.taken_back and known.started < attempt.ended:
                    path = self._seen(attempt, result, known, left)
                    if path:
                        break
            else:
                path = self._seen_of_running(attempt, result, other) if self.tasks.index(other) > place else ""
            if path:
                if self.tasks.index(other) > place:
                    other.follows |= {task.name}
                return f"it used {path}, which step {other.name!r} had changed too early"
        return ""

    def _seen(self, attempt: Attempt, result: Result, known: Attempt, left: Result) -> str:
        """What an attempt has used of what another one had left until that was taken back."""
        wrote_later = journals.touched(attempt.journal, self.folder, since=known.taken_back)
        read_later = {
            path for path in left.files_written
            if not path.endswith("/") and path in result.files_read and path not in result.files_written
            and ":" in result.files_read[path][1:]  # the content that it has now
        }  # fmt: skip
        return clash(result, journals.without(left, wrote_later | read_later))

    def _seen_of_running(self, attempt: Attempt, result: Result, other: Task) -> str:
        if other.attempt is None or other.attempt.started >= attempt.ended:
            return ""
        left = Result(other.name, "", 0, "", 0.0, {}, files_written=journals.changes(other.attempt.journal, self.folder))
        path = clash(result, journals.without(left, journals.touched(other.attempt.journal, self.folder, since=attempt.ended)))
        if path:
            self.stop(other.attempt)
        return path

    def conflict(self, task: Task, attempt: Attempt, result: Result) -> Conflict | None:
        """A step that used a file at once with this one, in the wrong order. Files have no versions to go back to."""
        place = self.tasks.index(task)
        for other in self.tasks:
            for known, before in other.taken if other is not task else ():
                if known.taken_back:
                    continue
                (above, first), (below, second) = (other, (known, before)), (task, (attempt, result))
                if self.tasks.index(other) > place:
                    (above, first), (below, second) = (below, second), (above, first)
                if second[0].started < first[0].ended:
                    if first[0].started < second[0].ended:
                        for mistaken in attribute(first[1], second[1]):
                            self.discard(mistaken)
                    later = journals.touched(second[0].journal, self.folder, since=first[0].ended)
                    shared = clash(first[1], journals.without(second[1], later))
                    if shared:
                        return Conflict(shared, above, first, below, second)
        return None

    def _changed(self, attempt: Attempt) -> bool:
        return any(not path.startswith(TRACKING) for path in journals.touched(attempt.journal, self.folder))

    def _overtake(self, task: Task, attempt: Attempt, result: Result, because: str) -> None:
        attempt.void = True
        if task.result is result:
            task.result = None
            self.emit(ev.StepOvertaken(step=task.name, attempt=attempt.number, because=because))

    def _disturbed(self, todo: Sequence[Taken]) -> list[Taken]:
        """The attempts of other steps, also running ones, that have touched what these have touched, since they began."""
        found = list(todo)
        for one in found:  # grows
            for other in self.tasks:
                running = [(other.attempt, Result(other.name, "", 0, "", 0.0, {}))] if other.attempt else []
                for attempt, result in [*other.taken, *running]:
                    if (
                        other is not one[0]
                        and not attempt.taken_back
                        and not (attempt.ended and attempt.ended <= one[1].started)
                        and all(attempt is not known for _, known, _ in found)
                        and journals.disturbs(one[1].journal, attempt.journal)
                    ):
                        found.append((other, attempt, result))
        return found[len(todo) :]

    def _take_back(self, done: Sequence[Taken]) -> bool:
        """Take back what these attempts did, of which the last ended last."""
        if not journals.can_be_taken_back([(attempt.journal, result) for _, attempt, result in done], self.folder):
            return False
        try:
            journals.take_back(attempt.journal for _, attempt, _ in done)
        except OSError:
            return False
        for _, attempt, _ in done:
            attempt.taken_back = time.monotonic()
        return True

    def warn(self, task: Task, written: Collection[str]) -> None:
        """Tell what a step will have written twice."""
        files = sorted(path for path in written if not path.endswith("/"))
        if files:
            text = f"the step runs twice and writes {', '.join(files[:3])} both times; what it appends is there twice"
            self.emit(ev.Message(level="warning", step=task.name, text=text))

    def _refuse(self, task: Task, attempt: Attempt, result: Result) -> None:
        written = next((path for path in sorted(result.files_written) if not path.endswith("/")), "a file")
        message = (
            f"ML202: step {task.name!r} began before the steps above it were done, has changed {written}, and must run again. "
            f"But others have used or changed that file, too, so it can't be given its content back. Restore it, tag "
            f"{task.name!r} with after: and the name of the step above, and run again."
        )
        failure = ev.Failure(kind="refused", code="ML202", message=message)
        task.result = msgspec.structs.replace(result, status="failed", outputs={}, failure=failure)
        number, seconds = attempt.number, result.seconds
        self.emit(ev.StepFinished(step=task.name, attempt=number, status="failed", seconds=seconds, failure=failure))
