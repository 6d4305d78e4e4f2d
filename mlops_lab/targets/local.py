"""The local engine: runs steps in parallel by the plan's edges, and commits their results in notebook order.

A step starts as soon as the steps that it is known to wait for have finished. That is a guess; what decides is the
walk over the steps in notebook order after each change (`_Engine.advance`): with the versions that the steps above
left, a result counts if all it read has those versions, and else the step runs again. So a result that counts is the one
that running the notebook from top to bottom would give, and it can be kept and taken again whenever its inputs recur.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from mlops_lab import events as ev
from mlops_lab import stepnb
from mlops_lab._version import __version__
from mlops_lab.errors import MlopsLabError, RunError
from mlops_lab.plan import Plan
from mlops_lab.results import Result, ResultStore, Version, apply_outputs, stale_input
from mlops_lab.runs import Home, RunFolder
from mlops_lab.runtime import replays
from mlops_lab.runtime.guard import missing_inputs, undeclared
from mlops_lab.targets import Listener, Options, schedule
from mlops_lab.targets.attempt import Attempt, Executor
from mlops_lab.targets.intake import Intake, input_versions, outputs_told
from mlops_lab.targets.kernels import kernel_python
from mlops_lab.targets.priority import Priorities
from mlops_lab.targets.quiet import Quiet
from mlops_lab.targets.selection import Selection, select
from mlops_lab.targets.task import Task, blocked_by, overtaken, waits
from mlops_lab.targets.undo import Undo


def run(plan: Plan, options: Options, listeners: tuple[Listener, ...] = ()) -> RunFolder:
    """Run a plan on this machine; see `targets.Run`."""
    notebook = plan.pipeline.notebook
    selection = select(plan, options)
    python = kernel_python(notebook.kernel_name)
    home = Home.of(notebook.folder)
    home.prepare()
    with home.notebook_lock(notebook.path) as let_go:
        folder = home.new_run()
        with folder.owned():
            with home.exclusive():  # once nothing is being deleted any more: who deletes looks for runs first
                pass
            engine = _Engine(plan, options, selection, home, folder, python, listeners)
            engine.after_steps = let_go  # what MLflow still has to take need not hold up the next run
            engine.run()
    return folder


def refuse(plan: Plan, options: Options, place: str = "") -> None:
    """Raise what keeps a run from beginning here; see `targets.refuse`."""
    select(plan, options)
    kernel_python(plan.pipeline.notebook.kernel_name)
    home = Home.of(plan.pipeline.notebook.folder)
    home.prepare()
    with home.notebook_lock(plan.pipeline.notebook.path):
        pass


class _Engine:
    EXECUTOR = Executor

    def __init__(self, plan: Plan, options: Options, selection: Selection, home: Home, folder: RunFolder, python: str,
                 listeners: Iterable[Listener]) -> None:  # fmt: skip
        self.plan, self.options, self.home, self.folder = plan, options, home, folder
        self.pipeline = plan.pipeline
        self.notebook = plan.pipeline.notebook
        self.tasks = [Task(step, forced=step.name in selection.forced) for step in plan.steps]
        for task in self.tasks:
            if task.name not in selection.needed:
                task.skipped = "not selected"
        self.results = ResultStore(home.results, self.notebook.folder, lambda b: (home.bundles / b[:2] / b).exists())
        self.machine = schedule.machine()
        self.workers = options.workers or max(int(self.machine.cpu), 1)
        for task in self.tasks:
            task.wanted = schedule.request(task.planned.step.settings, self.machine, self.workers)
        self.path = schedule.critical_path(plan, home.last_seconds(self.notebook.path))
        self.done: queue.Queue[tuple[Task, Attempt, Result]] = queue.Queue()
        self.fatal: BaseException | None = None
        self.cancelled = False
        # As many steps as may run, kernels that are kept ready, and kernels that are ending.
        self.pool = ThreadPoolExecutor(3 * self.workers, thread_name_prefix="step")
        self.log = ev.EventLog(folder.log)
        self.log.listeners += listeners
        self.executor = self.EXECUTOR(plan, options, home, folder, python, self.emit, Priorities(self.workers))
        place = self.notebook.folder.resolve()
        stop: Callable[[Attempt], None] = lambda attempt: self._stop(attempt, "overtaken")  # noqa: E731
        self.undo = Undo(self.tasks, place, self.emit, stop, self.results.discard)
        self.quiet = Quiet(folder.quiet, self.tasks, self.undo)
        self.intake = Intake(self.tasks, self.results, self.notebook, options.fixed_graph, self.emit, self.undo)
        self.started = time.monotonic()
        self.after_steps: Callable[[], None] = lambda: None
        self.experiment = options.experiment or self.notebook.settings.experiment or self.pipeline.name

    # -- the run -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        status, message = "failed", ""
        try:
            self._begin()
            while self.advance():
                self._prepare()
                self._wait()
            status = self._status()
        except KeyboardInterrupt:
            status = "cancelled"
        except _Fatal as error:
            message = str(error)
        finally:
            self._stop_all("cancelled")
            self.undo.settle_rest()
            self.executor.close()
            self.after_steps()
            self._end(status, message)
        if self.fatal is not None:
            raise RunError(message or str(self.fatal))

    def _begin(self) -> None:
        import nbformat

        nbformat.write(self.notebook.node, self.folder.notebook)
        self.emit(
            ev.RunStarted(
                run=self.folder.id,
                notebook=str(self.notebook.path),
                digest=self.notebook.digest,
                pipeline=self.pipeline.name,
                steps=[task.name for task in self.tasks],
                parameters={p.name: p.default for p in self.pipeline.parameters if _is_json(p.default)}
                | dict(self.options.parameters),
                experiment=self.experiment,
                options={
                    k: getattr(self.options, k)
                    for k in ("start", "end", "only", "cache", "workers", "fail_fast", "tracking", "fixed_graph")
                },
                resumed_from=self.options.resume[0] if self.options.resume else "",
                mlops_lab=__version__,
            )
        )
        if self.options.tracking:
            from mlops_lab.tracking import Tracker

            self.executor.tracker = Tracker.start(
                self.folder.path, experiment=self.experiment, notebook=self.notebook.path, on_message=self.emit
            )
        for task in self.tasks:
            if task.skipped:
                self.emit(ev.StepSkipped(step=task.name, because=task.skipped))

    def _end(self, status: str, message: str) -> None:
        try:
            if self.executor.tracker:
                self.executor.tracker.drain(60 if status != "cancelled" else 10)
            self.emit(ev.RunFinished(status=status, seconds=time.monotonic() - self.started, message=message))
        finally:
            self.log.close()
            if self.executor.tracker:
                self.executor.tracker.finish(5)

    def _status(self) -> str:
        if self.cancelled:
            return "cancelled"
        statuses = {task.result.status for task in self.tasks if task.result and not task.skipped}
        return "failed" if "failed" in statuses else "rejected" if "rejected" in statuses else "done"

    def emit(self, event: ev.AnyEvent) -> None:
        """Write an event. The first failure to do so ends the run; nothing is raised into the step threads."""
        if self.fatal is None:
            try:
                self.log.append(event)
            except OSError as error:
                self.fatal = error

    def _wait(self) -> None:
        """Take finished attempts, and look after time limits and requests to cancel."""
        for _ in range(4):
            with contextlib.suppress(queue.Empty):
                self.intake.take(*self.done.get(timeout=0.05))
                break
            if self.quiet.asked:
                break
        if self.fatal is not None:
            raise _Fatal(f"Can't write the run's log {self.folder.log}: {getattr(self.fatal, 'strerror', None) or self.fatal}.")
        if self.folder.cancel_requested and not self.cancelled:
            raise KeyboardInterrupt
        for task in self.tasks:
            limit = task.planned.step.settings.timeout
            if task.attempt and limit and self.quiet.overdue(task.attempt, limit):
                self._stop(task.attempt, "timeout")

    def _stop(self, attempt: Attempt, why: str) -> None:
        from mlops_lab.runtime.execute import kill

        attempt.ended_by = attempt.ended_by or why
        kill(attempt.process)

    def _stop_all(self, why: str) -> None:
        for task in self.tasks:
            self._abandon(task)
        deadline = time.monotonic() + 30
        while any(task.attempt for task in self.tasks) and time.monotonic() < deadline:
            for task in self.tasks:
                if task.attempt:
                    self._stop(task.attempt, why)
            try:
                task, attempt, result = self.done.get(timeout=0.2)
            except queue.Empty:
                continue
            self.intake.take(task, attempt, result)
        self.pool.shutdown(wait=False, cancel_futures=True)

    # -- scheduling and commit -----------------------------------------------------------------------------------

    def advance(self) -> bool:
        """Settle, commit and start what can be. False when nothing is left to do."""
        self.quiet.keep()
        return self._advance_fixed() if self.options.fixed_graph else self._advance_in_order()

    def _advance_fixed(self) -> bool:
        """As an engine with a fixed graph: each step once, on what those that it waits for left, under its guard."""
        by_name = {task.name: task for task in self.tasks}
        ready: list[tuple[Task, dict[str, Version]]] = []
        for task in self.tasks:
            if task.committed or task.attempt or (task.skipped and (task.skipped != "not selected" or task.looked)):
                continue
            because = blocked_by(task, self.tasks, self.plan)
            if because and not task.skipped:
                task.skipped = because
                self.emit(ev.StepSkipped(step=task.name, because=because))
                continue
            above = self.plan.upstream([task.name]) - {task.name}
            if not all(by_name[name].committed or by_name[name].skipped for name in self.plan.sources[task.name]):
                continue
            current: dict[str, Version] = {}
            for other in self.tasks:
                if other.name in above and other.result:
                    apply_outputs(current, other.result)
            if task.skipped:
                self._left_out(task, current)
                task.looked = True
                continue
            if not task.result and task.not_before <= time.monotonic():
                self._take_cached(task, current)
                self._refuse_cached(task)
                if not task.result:
                    ready.append((task, current))
            if task.result:
                self._refuse_replayed(task)
                task.committed = True
                self.emit(ev.StepCommitted(step=task.name, attempt=task.result.attempt))
                if task.failed and self.options.fail_fast:
                    self._skip_rest(f"step {task.name!r} failed")
        self._start_all(ready)
        return any(task.attempt or not (task.committed or task.skipped) for task in self.tasks)

    def _refuse_cached(self, task: Task) -> None:
        """A result that comes from the cache was not held against this graph when it was made."""
        if task.result is None:
            return
        tables, result = self.executor.guards[task.name], task.result
        found = missing_inputs(task.name, tables, result.needed)
        found += undeclared(task.name, tables, result.inputs, result.outputs, result.undeclared_states)
        if found:
            failure = ev.Failure(kind="refused", code=found[0].code, message=found[0].message)
            task.result = msgspec.structs.replace(result, status="failed", outputs={}, failure=failure)
            self.emit(ev.StepFinished(step=task.name, attempt=0, status="failed", seconds=0.0, failure=failure))

    def _refuse_replayed(self, task: Task) -> None:
        """Refuse a result for which a setup cell read, or gave, something else than from top to bottom."""
        result = task.result
        if result is None or result.status != "done" or not (result.files_replayed or result.replayed):
            return
        above = [(other, other.result) for other in self.tasks[: self.tasks.index(task)] if other.result]
        writers = [(other.name, max(other.planned.step.numbers), found.files_written) for other, found in above]
        message = replays.changed(task.name, result.files_replayed, result.files_read, writers)
        message = message or replays.differing(task.name, result.replayed, [(o.name, found.replayed) for o, found in above])
        if message:
            self.results.discard(result)
            failure = ev.Failure(kind="refused", code=message[:5], message=message)
            task.result = msgspec.structs.replace(result, status="failed", outputs={}, failure=failure)
            number, seconds = result.attempt, result.seconds
            self.emit(ev.StepFinished(step=task.name, attempt=number, status="failed", seconds=seconds, failure=failure))

    def _advance_in_order(self) -> bool:
        """Walk the steps in notebook order: what a step left counts once nothing above it can change what it read."""
        current: dict[str, Version] = {}
        unsettled: list[Task] = []
        ready: list[tuple[Task, dict[str, Version]]] = []
        for task in self.tasks:
            if task.skipped:
                if task.skipped == "not selected" and not unsettled:
                    self._left_out(task, current)
                    if task.result:
                        apply_outputs(current, task.result)
                continue
            because = blocked_by(task, self.tasks, self.plan)
            if because and not task.attempt:
                self._void(task)
                task.skipped = because
                self.emit(ev.StepSkipped(step=task.name, because=because))
                continue
            waiting = waits(task, unsettled, self.tasks, self.plan)
            if task.attempt:
                if not waiting and overtaken(task, current):
                    self._stop(task.attempt, "overtaken")
                unsettled.append(task)
                continue
            if task.result and not waiting:
                # Made from these very versions it is what they give, whatever else it says that it depends on.
                refused = task.result.failure is not None and task.result.failure.code == "ML202"
                sure = task.committed or refused or task.made_from == current
                stale = None if sure else stale_input(task.result, current)
                if stale:
                    self.emit(ev.StepOvertaken(step=task.name, attempt=task.result.attempt, because=f"{stale} changed"))
                    self._void(task)
            clean = bool(task.result) or self.undo.settle(task)
            held = not clean or (task.alone and bool(unsettled)) or any(t.attempt and t.attempt.ended_by for t in self.tasks)
            if not (task.result or waiting or held) and task.not_before <= time.monotonic():
                self._take_cached(task, current)
                if not task.result:
                    ready.append((task, dict(current)))
            if task.result and not waiting and not (task.failed and unsettled):
                if not unsettled and not task.committed:
                    self._refuse_replayed(task)
                apply_outputs(current, task.result)
                if not unsettled and not task.committed:
                    task.committed = True
                    self.undo.forget(task)
                    self.emit(ev.StepCommitted(step=task.name, attempt=task.result.attempt))
                    if task.failed and self.options.fail_fast:
                        self._skip_rest(f"step {task.name!r} failed")
                continue
            unsettled.append(task)
        self._start_all(ready)
        return bool(unsettled)

    @staticmethod
    def _void(task: Task) -> None:
        """The result that a step has doesn't count."""
        for attempt, result in task.taken:
            attempt.void = attempt.void or result is task.result
        task.result = None

    def _left_out(self, task: Task, current: dict[str, Version]) -> None:
        """A step that was not selected may still have changed what the steps below read: its stored result tells."""
        if task.looked or not any(not t.skipped for t in self.tasks[self.tasks.index(task) :]):
            return
        task.looked = True
        task.result = self.results.find(self.executor.recipe(task.planned), current, task.keep)
        if task.result is None:
            text = "it was left out and has no stored result; the steps below run as if it changed nothing that they read"
            self.emit(ev.Message(level="warning", step=task.name, text=text))

    def _skip_rest(self, because: str) -> None:
        for task in self.tasks:
            if not task.committed and not task.skipped:
                if task.attempt:
                    self._stop(task.attempt, "cancelled")
                else:
                    task.skipped, task.result = because, None
                    self.emit(ev.StepSkipped(step=task.name, because=because))

    def _may_be_cached(self, task: Task) -> bool:
        return self.options.cache and task.planned.step.settings.cache and task.name not in self.plan.ask_mlflow

    def _take_cached(self, task: Task, current: dict[str, Version]) -> None:
        """Take the result of an earlier run, if there is one for these versions."""
        if task.attempts:
            return
        recipe, keep = self.executor.recipe(task.planned), task.keep
        cached = None
        if self._may_be_cached(task) and not task.forced:
            cached = self.results.find(recipe, current, keep)
        elif self.options.resume:
            cached = self.results.find(recipe, current, keep, of_runs=self.options.resume)
        if cached:
            self._abandon(task)
            task.result = cached
            task.last_outputs, task.last_inputs = frozenset(cached.outputs), frozenset(cached.inputs)
            self.emit(
                ev.StepCached(step=task.name, from_run=cached.run, notebook=cached.notebook,
                              inputs=input_versions(cached), outputs=outputs_told(cached))
            )  # fmt: skip

    def _start_all(self, ready: list[tuple[Task, dict[str, Version]]]) -> None:
        """Start what there is room for, those first that the end of the run waits for longest."""
        for task, current in sorted(ready, key=lambda pair: -self.path[pair[0].name]):
            running = [t.wanted for t in self.tasks if t.attempt]
            if task.skipped or len(running) >= self.workers or not schedule.fits(task.wanted, running, self.machine):
                continue
            self._start(task, current)

    def _start(self, task: Task, current: dict[str, Version]) -> None:
        reason = self._reason(task, current)
        if sum(1 for t in self.tasks if not t.result and not t.skipped) > 1:
            self.executor.warm_up()
        import mlops_lab.runtime.execute  # noqa: F401 - slow; here, so that the step threads don't race for it

        attempt = task.prepared or self._submit(task)
        task.prepared, task.attempt, task.attempts = None, attempt, attempt.number
        attempt.current, attempt.started = current, time.monotonic()
        attempt.early = any(not (t.committed or t.skipped) for t in self.tasks[: self.tasks.index(task)])
        executed = self.executor.executed(task.planned, attempt)
        self.emit(ev.StepStarted(step=task.name, attempt=attempt.number, reason=reason, notebook=str(executed)))
        attempt.journal = None if self.options.fixed_graph else executed.with_name("undo")
        attempt.order = self.executor.order(task.planned, attempt)
        attempt.go.set()

    def _reason(self, task: Task, current: dict[str, Version]) -> str:
        """Why the step runs and is not taken from the cache."""
        if task.attempts:
            if task.taken and task.taken[-1][0].orphaned:
                return "its kernel ended with the process that it was forked from"
            return "its inputs changed" if not task.tries else "retry"
        if task.forced:
            return "asked for"
        if not self._may_be_cached(task):
            return "it asks MLflow's store" if task.name in self.plan.ask_mlflow else "the cache is off"
        why = self.results.why(self.notebook.path.stem, task.name, self.executor.recipe(task.planned), current, task.keep)
        if found := re.fullmatch(r"input (.+) changed", why):
            sources = [t.name for t in self.tasks if t.result and found[1] in t.result.outputs]
            return f"input {found[1]} from {sources[-1]} changed" if sources else why
        return why

    def _submit(self, task: Task) -> Attempt:
        # All analysis happens in this thread: the interpreter's parser is not safe to use from several (CPython 3.11).
        attempt = Attempt(task.attempts + 1, self.executor.recipe(task.planned))
        node = stepnb.build(self.pipeline, task.planned)

        deliver: Callable[[Result], None] = lambda result: self.done.put((task, attempt, result))  # noqa: E731
        self.pool.submit(self.executor.execute, task.planned, attempt, node, deliver)
        return attempt

    def _prepare(self) -> None:
        """Start kernels for the steps that will run next, while those that they wait for are running."""
        for task in self.tasks:
            if task.skipped or task.result:
                self._abandon(task)
        settled = {t.name for t in self.tasks if t.attempt or t.result}
        under_way = settled | {t.name for t in self.tasks if t.prepared}
        room = self.workers - sum(1 for t in self.tasks if t.prepared)
        if not any(t.attempt for t in self.tasks):
            return
        waiting = [t for t in self.tasks if not (t.prepared or t.attempt or t.result or t.skipped)]
        # The next first, then the ones after these: a short step is over before its successor's kernel has started.
        for task in sorted(waiting, key=lambda t: (not self.plan.sources[t.name] <= settled, -self.path[t.name])):
            if room <= 0:
                return
            if self.plan.sources[task.name] <= under_way and self.executor.can_prepare(task.planned):
                task.prepared = self._submit(task)
                under_way.add(task.name)
                room -= 1

    def _abandon(self, task: Task) -> None:
        if task.prepared:
            task.prepared.abandoned = True
            task.prepared.go.set()
            task.prepared = None


class _Fatal(MlopsLabError):
    """The run can't go on."""


def _is_json(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)  # a tuple comes back as a list
    except (TypeError, ValueError):
        return False
