"""The local engine: runs steps in parallel by the plan's edges, and commits their results in notebook order.

A step starts as soon as the steps that it is known to wait for have finished. That is a guess; what decides is the
walk over the steps in notebook order after each change (`_Engine.advance`): with the versions that the steps above
left, a result counts if all it read has those versions, and else the step runs again. So a result that counts is the one
that running the notebook from top to bottom would give, and it can be kept and taken again whenever its inputs recur.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_lab import events as ev
from mlops_lab import stepnb
from mlops_lab._version import __version__
from mlops_lab.errors import MlopsLabError, RunError, UsageError, did_you_mean
from mlops_lab.packages import imported_roots, versions
from mlops_lab.plan import Plan, StepPlan
from mlops_lab.prelude import setup_before
from mlops_lab.results import Recipe, Result, ResultStore, Version, apply_outputs, stale_input
from mlops_lab.runs import Home, RunFolder
from mlops_lab.targets import Listener, Options

if TYPE_CHECKING:
    from mlops_lab.tracking import Tracker

_RUNTIME = Path(__file__).parent.parent / "runtime"
_EVENT_TEXT = 64 * 1024  # longest text of an output that the log holds; the executed notebook has all of it
_RETRYABLE = {"error", "died", "timeout"}


def run(plan: Plan, options: Options, listeners: tuple[Listener, ...] = ()) -> RunFolder:
    """Run a plan on this machine; see `targets.Run`."""
    notebook = plan.pipeline.notebook
    selection = _select(plan, options)
    python = _kernel_python(notebook.kernel_name)
    home = Home.of(notebook.folder)
    home.prepare()
    with home.notebook_lock(notebook.path):
        folder = home.new_run()
        with folder.owned():
            _Engine(plan, options, selection, home, folder, python, listeners).run()
    return folder


@dataclass
class _Attempt:
    """A step being executed in a thread of its own."""

    number: int
    current: dict[str, Version]
    recipe: Recipe
    ended: float = 0.0
    started: float = field(default_factory=time.monotonic)
    process: int | None = None
    ended_by: str = ""  # timeout, cancelled or overtaken, once we have decided to end it
    last_output: str = ""


@dataclass
class _Task:
    """A step on its way through the run."""

    planned: StepPlan
    forced: bool = False
    attempt: _Attempt | None = None
    attempts: int = 0
    tries: int = 0
    result: Result | None = None
    last_outputs: frozenset[str] = frozenset()
    last_inputs: frozenset[str] = frozenset()
    made_from: dict[str, Version] | None = None
    taken: list[tuple[_Attempt, Result]] = field(default_factory=list)
    committed: bool = False
    skipped: str = ""
    looked: bool = False
    not_before: float = 0.0

    @property
    def name(self) -> str:
        return self.planned.name

    @property
    def failed(self) -> bool:
        return self.result is not None and self.result.status != "done"


@dataclass(frozen=True)
class _Selection:
    """Steps that run or are taken from the cache, and those of them that must run again."""

    needed: frozenset[str]
    forced: frozenset[str]


def _select(plan: Plan, options: Options) -> _Selection:
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
        return _Selection(plan.upstream(forced), forced)
    needed, forced = everything, frozenset[str]()
    if options.end:
        needed = plan.upstream(parts(options.end))
    if options.start:
        forced = plan.downstream(parts(options.start)) & needed
        if not forced:
            raise UsageError(f"Step {options.end!r} does not depend on {options.start!r}: nothing would run.")
        needed = plan.upstream(forced) if options.end else everything
    return _Selection(needed, forced)


def _kernel_python(name: str) -> str:
    """The interpreter of the notebook's kernel. Raises `UsageError` when it isn't installed or isn't Python."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    manager = KernelSpecManager()
    try:
        spec = manager.get_kernel_spec(name)
    except NoSuchKernel:
        known = sorted(manager.find_kernel_specs())
        raise UsageError(
            f"The notebook's kernel {name!r} is not installed here{did_you_mean(name, known)}. Installed: "
            f"{', '.join(known) or 'none'}. Install it (python -m ipykernel install --user --name {name}), or choose "
            f"another kernel in the notebook."
        ) from None
    if spec.language.lower() != "python":
        raise UsageError(f"The notebook's kernel {name!r} runs {spec.language}; only Python notebooks can be pipelines.")
    first = spec.argv[0]
    # jupyter_client runs a bare `python` with the interpreter that it runs in.
    return sys.executable if re.fullmatch(r"python[\d.]*", first) else first


class _Engine:
    def __init__(self, plan: Plan, options: Options, selection: _Selection, home: Home, folder: RunFolder, python: str,
                 listeners: Iterable[Listener]) -> None:  # fmt: skip
        self.plan, self.options, self.home, self.folder, self.python = plan, options, home, folder, python
        self.pipeline = plan.pipeline
        self.notebook = plan.pipeline.notebook
        self.tasks = [_Task(step, forced=step.name in selection.forced) for step in plan.steps]
        for task in self.tasks:
            if task.name not in selection.needed:
                task.skipped = "not selected"
        self.results = ResultStore(home.results, self.notebook.folder, lambda b: (home.bundles / b[:2] / b).exists())
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.workers = options.workers or cores
        self.done: queue.Queue[tuple[_Task, _Attempt, Result]] = queue.Queue()
        self.fatal: BaseException | None = None
        self.cancelled = False
        self.pool = ThreadPoolExecutor(max(self.workers, 1), thread_name_prefix="step")
        self.log = ev.EventLog(folder.log)
        self.log.listeners += listeners
        self.tracker: Tracker | None = None
        self.started = time.monotonic()
        self.experiment = options.experiment or self.notebook.settings.experiment or self.pipeline.name
        logging.getLogger("papermill").setLevel(logging.ERROR)

    # -- the run -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        status, message = "failed", ""
        try:
            self._begin()
            while self.advance():
                self._wait()
            status = self._status()
        except KeyboardInterrupt:
            status = "cancelled"
        except _Fatal as error:
            message = str(error)
        finally:
            self._stop_all("cancelled")
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
                    k: getattr(self.options, k) for k in ("start", "end", "only", "cache", "workers", "fail_fast", "tracking")
                },
                resumed_from=self.options.resume[0] if self.options.resume else "",
                mlops_lab=__version__,
            )
        )
        if self.options.tracking:
            from mlops_lab.tracking import Tracker

            self.tracker = Tracker.start(
                self.folder.path, experiment=self.experiment, notebook=self.notebook.path, on_message=self.emit
            )
        for task in self.tasks:
            if task.skipped:
                self.emit(ev.StepSkipped(step=task.name, because=task.skipped))

    def _end(self, status: str, message: str) -> None:
        try:
            if self.tracker:
                self.tracker.drain(60 if status != "cancelled" else 10)
            self.emit(ev.RunFinished(status=status, seconds=time.monotonic() - self.started, message=message))
        finally:
            self.log.close()
            if self.tracker:
                self.tracker.finish(5)

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
        try:
            task, attempt, result = self.done.get(timeout=0.2)
        except queue.Empty:
            pass
        else:
            self._take(task, attempt, result)
        if self.fatal is not None:
            raise _Fatal(f"Can't write the run's log {self.folder.log}: {getattr(self.fatal, 'strerror', None) or self.fatal}.")
        if self.folder.cancel_requested and not self.cancelled:
            raise KeyboardInterrupt
        for task in self.tasks:
            limit = task.planned.step.settings.timeout
            if task.attempt and limit and time.monotonic() - task.attempt.started > limit:
                self._stop(task.attempt, "timeout")

    def _stop(self, attempt: _Attempt, why: str) -> None:
        from mlops_lab.runtime.execute import kill

        attempt.ended_by = attempt.ended_by or why
        kill(attempt.process)

    def _stop_all(self, why: str) -> None:
        deadline = time.monotonic() + 30
        while any(task.attempt for task in self.tasks) and time.monotonic() < deadline:
            for task in self.tasks:
                if task.attempt:
                    self._stop(task.attempt, why)
            try:
                task, attempt, result = self.done.get(timeout=0.2)
            except queue.Empty:
                continue
            self._take(task, attempt, result)
        self.pool.shutdown(wait=False, cancel_futures=True)

    # -- scheduling and commit -----------------------------------------------------------------------------------

    def advance(self) -> bool:
        """Walk the steps in notebook order: settle, commit, start. False when nothing is left to do."""
        current: dict[str, Version] = {}
        unsettled: list[_Task] = []
        for task in self.tasks:
            if task.skipped:
                if task.skipped == "not selected" and not unsettled:
                    self._left_out(task, current)
                    if task.result:
                        apply_outputs(current, task.result)
                continue
            because = self._blocked_by(task)
            if because and not task.attempt:
                task.skipped, task.result = because, None
                self.emit(ev.StepSkipped(step=task.name, because=because))
                continue
            waits = self._waits(task, unsettled)
            if task.attempt:
                if not waits and self._overtaken(task, current):
                    self._stop(task.attempt, "overtaken")
                unsettled.append(task)
                continue
            if task.result and not waits:
                # Made from these very versions it is what they give, whatever else it says that it depends on.
                sure = task.committed or task.made_from == current
                stale = None if sure else stale_input(task.result, current)
                if stale:
                    self._tell_written_twice(task)
                    self.emit(ev.StepOvertaken(step=task.name, attempt=task.result.attempt, because=f"{stale} changed"))
                    task.result = None
            if not task.result and not waits and task.not_before <= time.monotonic():
                self._start(task, dict(current))
            if task.result and not waits and not (task.failed and unsettled):
                apply_outputs(current, task.result)
                if not unsettled and not task.committed:
                    task.committed = True
                    self.emit(ev.StepCommitted(step=task.name, attempt=task.result.attempt))
                    if task.failed and self.options.fail_fast:
                        self._skip_rest(f"step {task.name!r} failed")
                continue
            unsettled.append(task)
        return bool(unsettled)

    def _tell_written_twice(self, task: _Task) -> None:
        written = sorted(task.result.files_written) if task.result else []
        if written and task.result and task.result.run == self.folder.id:
            text = f"the step runs twice and writes {', '.join(written[:3])} both times; what it appends is there twice"
            self.emit(ev.Message(level="warning", step=task.name, text=text))

    def _left_out(self, task: _Task, current: dict[str, Version]) -> None:
        """A step that was not selected may still have changed what the steps below read: its stored result tells."""
        if task.looked or not any(not t.skipped for t in self.tasks[self.tasks.index(task) :]):
            return
        task.looked = True
        keep = None if task.planned.keep is None else sorted(task.planned.keep)
        task.result = self.results.find(self._recipe(task.planned), current, keep)
        if task.result is None:
            text = "it was left out and has no stored result; the steps below run as if it changed nothing that they read"
            self.emit(ev.Message(level="warning", step=task.name, text=text))

    def _blocked_by(self, task: _Task) -> str:
        """Why the step can't run any more: a step that it depends on failed, or won't run for such a reason."""
        for name in sorted(self.plan.sources[task.name]):
            source = next(t for t in self.tasks if t.name == name)
            if source.committed and source.failed:
                word = "rejected the run" if source.result and source.result.status == "rejected" else "failed"
                return f"step {name!r} {word}"
            if source.skipped and source.skipped != "not selected":
                return f"step {name!r} did not run"
        return ""

    def _waits(self, task: _Task, unsettled: list[_Task]) -> bool:
        """True while a step above, that may still change what this one reads, isn't settled."""
        sources = self.plan.sources[task.name]
        for other in unsettled:
            if other.name in sources or self._feeds(other, task):
                return True
        later = {t.name for t in self.tasks[self.tasks.index(task) + 1 :] if not t.result and not t.skipped}
        return bool(sources & later)

    @staticmethod
    def _feeds(other: _Task, task: _Task) -> bool:
        """True if the last attempts of two steps showed an edge that the analysis did not see."""
        reads = task.planned.reads
        for name in other.last_outputs:
            if name.startswith("@"):
                if "random" not in name or name in task.last_outputs:
                    return True
            elif reads is None or name in reads or name in task.last_inputs:
                return True
        return False

    @staticmethod
    def _overtaken(task: _Task, current: dict[str, Version]) -> bool:
        """True if a running step began with a version that has been replaced since."""
        assert task.attempt is not None
        reads = task.planned.reads
        names = reads if reads is not None else {n for n in current if n[0] != "@"}
        # Only the content counts: the sharing of values is looked at when the result is there.
        return any((task.attempt.current.get(n) or ["", ""])[1] != (current.get(n) or ["", ""])[1] for n in names)

    def _skip_rest(self, because: str) -> None:
        for task in self.tasks:
            if not task.committed and not task.skipped:
                if task.attempt:
                    self._stop(task.attempt, "cancelled")
                else:
                    task.skipped, task.result = because, None
                    self.emit(ev.StepSkipped(step=task.name, because=because))

    def _start(self, task: _Task, current: dict[str, Version]) -> None:
        recipe = self._recipe(task.planned)
        keep = None if task.planned.keep is None else sorted(task.planned.keep)
        if task.attempts == 0:
            cached = None
            if self.options.cache and task.planned.step.settings.cache and not task.forced:
                cached = self.results.find(recipe, current, keep)
            elif self.options.resume:
                cached = self.results.find(recipe, current, keep, of_runs=self.options.resume)
            if cached:
                task.result = cached
                task.last_outputs, task.last_inputs = frozenset(cached.outputs), frozenset(cached.inputs)
                self.emit(
                    ev.StepCached(step=task.name, from_run=cached.run, notebook=cached.notebook,
                                  inputs=_input_versions(cached), outputs=_outputs(cached))
                )  # fmt: skip
                return
        if sum(1 for t in self.tasks if t.attempt) >= self.workers:
            return
        reason = "asked for" if task.forced else ""
        if task.attempts:
            reason = "its inputs changed" if not task.tries else "retry"
        elif not reason:
            why = self.results.why(self.notebook.path.stem, task.name, recipe, current, keep)
            reason = why if self.options.cache and task.planned.step.settings.cache else "the cache is off"
        import mlops_lab.runtime.execute  # noqa: F401 - slow; here, so that the step threads don't race for it

        task.attempts += 1
        attempt = _Attempt(task.attempts, current, recipe)
        task.attempt = attempt
        executed = self.folder.attempt(task.name, attempt.number) / "executed.ipynb"
        self.emit(ev.StepStarted(step=task.name, attempt=attempt.number, reason=reason, notebook=str(executed)))
        # All analysis happens in this thread: the interpreter's parser is not safe to use from several (CPython 3.11).
        order, node = self._order(task, attempt, executed.parent), stepnb.build(self.pipeline, task.planned)
        self.pool.submit(self._execute, task, attempt, executed, order, node)

    def _recipe(self, planned: StepPlan) -> Recipe:
        step = planned.step
        setup = setup_before(self.notebook.cells, step.first)
        trees = [cell.tree for cell in (*step.cells, *setup, *{item.cell for item in planned.prelude})]
        given = self.options.parameters
        parameters = {p.name: repr(given.get(p.name, p.default)) for p in stepnb.step_parameters(self.pipeline, planned)}
        return Recipe(
            cells={cell.number: cell.normalised for cell in step.cells},
            prelude="\n".join(
                [
                    *(item.code for item in planned.prelude),
                    *(code for _, code in planned.configuration),
                    *(cell.normalised for cell in setup),
                ]
            ),
            parameters=parameters,
            packages=versions(imported_roots(trees), self.python),
            reads=None if planned.reads is None else sorted(planned.reads),
            interpreter=f"{sys.version.split()[0]} {self.python} {os.environ.get('PYTHONHASHSEED', '0')}",
            seeded=self.plan.seeded,
            settings=dict(step.settings.env),
        )

    # -- an attempt ----------------------------------------------------------------------------------------------

    def _execute(self, task: _Task, attempt: _Attempt, executed: Path, order: dict[str, Any], node: Any) -> None:
        """Run one attempt, in a thread; its result goes to `done`, whatever happens."""
        result = Result(
            task.name, self.folder.id, attempt.number, "failed", 0.0, {}, notebook=str(executed), recipe=attempt.recipe
        )
        try:
            self._run_notebook(task, attempt, executed, result, order, node)
        except OSError as error:
            text = f"can't write the step's files in {executed.parent}: {error.strerror or error}"
            result.failure = ev.Failure(kind="error", message=text)
        except Exception as error:  # a defect of ours or of a library: the run goes on and says so
            result.failure = ev.Failure(kind="error", message=f"{type(error).__name__}: {error}")
            logging.getLogger(__name__).debug("attempt failed", exc_info=True)
        result.seconds = time.monotonic() - attempt.started
        self.done.put((task, attempt, result))

    def _run_notebook(self, task: _Task, attempt: _Attempt, executed: Path, result: Result, order: dict[str, Any],
                      node: Any) -> None:  # fmt: skip
        import nbformat

        from mlops_lab.runtime.execute import execute, kill

        folder = executed.parent
        folder.mkdir(parents=True)
        order_path = folder / "order.json"
        order_path.write_text(json.dumps(order), encoding="utf-8")
        source = folder / "notebook.ipynb"
        nbformat.write(node, source)

        def report(kind: str, **fields: Any) -> None:
            if kind == "kernel_started":
                attempt.process = fields["process"]
                if attempt.ended_by:
                    kill(attempt.process)
            elif kind == "cell_started":
                self.emit(ev.CellStarted(step=task.name, attempt=attempt.number, **fields))
            elif kind == "cell_finished":
                self.emit(ev.CellFinished(step=task.name, attempt=attempt.number, **fields))
            elif kind == "cell_output":
                attempt.last_output = fields["output"].get("text") or attempt.last_output
                self.emit(
                    ev.CellOutput(step=task.name, attempt=attempt.number, cell=fields["cell"], output=_cut(fields["output"]))
                )

        outcome = execute(
            str(source),
            str(executed),
            parameters=stepnb.injected(self.pipeline, task.planned, self.options.parameters),
            kernel=self.notebook.kernel_name,
            folder=str(self.notebook.folder),
            environment=self._environment(task, attempt, order_path),
            report=report,
        )
        kill(attempt.process)  # what the step's cells started in the background ends with it
        written = folder / "result.json"
        if written.exists():
            news = json.loads(written.read_text(encoding="utf-8"))
            for name in ("inputs", "states", "late_states", "outputs", "files_read", "files_written", "metrics"):
                setattr(result, name, news.get(name, getattr(result, name)))
        else:  # it ended before it had loaded its inputs
            reads = task.planned.reads
            result.inputs = {n: attempt.current.get(n) for n in (reads if reads is not None else attempt.current)}
        result.keep = None if task.planned.keep is None else sorted(task.planned.keep)
        if outcome.kind:
            result.failure = _failure(outcome, attempt)
            rejected = task.planned.step.gate and outcome.name == "AssertionError"
            result.status = "rejected" if rejected else "failed"
            if rejected:
                result.failure.kind = "rejected"
        elif "outputs" not in json.loads(written.read_text(encoding="utf-8")):
            result.failure = ev.Failure(kind="error", message="the step ended without storing its outputs")
        else:
            result.status = "done"

    def _order(self, task: _Task, attempt: _Attempt, folder: Path) -> dict[str, Any]:
        planned, notebook = task.planned, self.notebook
        values = {p.name: stepnb.assignment(p) for p in self.pipeline.static_parameters if p.cell < planned.step.first}
        values |= {n: f"{n} = {v!r}" for n, v in self.options.parameters.items() if n in values}
        metrics = {n for c in planned.step.cells for m in self.pipeline.metric_cells if m is c for n in _names(c)}
        return {
            "step": planned.name,
            "store": str(self.home.bundles),
            "folder": str(notebook.folder),
            "numbers": list(planned.step.numbers),
            "sources": [[cell.number, cell.source] for cell in notebook.cells],
            "reads": None if planned.reads is None else sorted(planned.reads),
            "keep": None if planned.keep is None else sorted(planned.keep),
            "current": {n: v for n, v in attempt.current.items() if not n.startswith("file:")},
            "imports": {n: [s] for n, s in values.items()} | {n: list(s) for n, s in planned.imports.items()},
            "configuration": planned.configuration,
            "seeded": self.plan.seeded,
            "modules": sorted(imported_roots(cell.tree for cell in planned.step.cells)),
            "bound_in": dict(planned.bound_in),
            "metrics": sorted(metrics),
            "result": str(folder / "result.json"),
        }

    def _environment(self, task: _Task, attempt: _Attempt, order: Path) -> dict[str, str]:
        import cloudpickle

        step = task.planned.step
        text = "\n".join([*(item.code for item in task.planned.prelude), *(cell.source for cell in step.cells)])
        tracking: dict[str, str] = {}
        if self.tracker:
            # Only a step that uses MLflow waits until its run exists.
            uses = "mlflow" in text
            of_step = self.tracker.environment
            tracking = of_step(task.name, attempt.number, code=text) if uses else self.tracker.base_environment()
        return {
            # One hash seed for all steps: the order of a set must not change on its way from one to the next.
            "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0"),
            "MLOPS_LAB_RUNTIME": str(_RUNTIME),
            "MLOPS_LAB_ORDER": str(order),
            "MLOPS_LAB_CLOUDPICKLE": str(Path(cloudpickle.__file__).parent.parent),
            **tracking,
            **step.settings.env,
        }

    def _take(self, task: _Task, attempt: _Attempt, result: Result) -> None:
        """An attempt ended: report it, file its result, or see to it that it is tried again."""
        task.attempt = None
        attempt.ended = time.monotonic()
        task.taken.append((attempt, result))
        task.last_outputs, task.last_inputs = frozenset(result.outputs), frozenset(result.inputs)
        task.made_from = attempt.current
        if attempt.ended_by == "overtaken" and result.status != "done":
            self.emit(ev.StepOvertaken(step=task.name, attempt=attempt.number, because="what it reads changed while it ran"))
            return
        if attempt.ended_by and result.status != "done":
            limit = task.planned.step.settings.timeout
            message = f"it took longer than its {limit:g} s" if attempt.ended_by == "timeout" else "cancelled"
            cell = result.failure.cell if result.failure else 0
            result.failure = ev.Failure(kind=attempt.ended_by, message=message, cell=cell)
            result.status = "failed" if attempt.ended_by == "timeout" else "cancelled"
        if result.status == "done":
            self._refuse_file_conflict(task, attempt, result)
        retry_in = None
        settings = task.planned.step.settings
        if result.status == "failed" and result.failure and result.failure.kind in _RETRYABLE and task.tries < settings.retries:
            retry_in = min(2.0**task.tries, 60.0)
            task.tries += 1
            task.not_before = time.monotonic() + retry_in
        self.emit(
            ev.StepFinished(step=task.name, attempt=attempt.number, status=result.status, seconds=result.seconds,
                            failure=result.failure, inputs=_input_versions(result), outputs=_outputs(result), retry_in=retry_in)
        )  # fmt: skip
        if result.metrics:
            self.emit(ev.Metrics(step=task.name, values=result.metrics))
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

    def _refuse_file_conflict(self, task: _Task, attempt: _Attempt, result: Result) -> None:
        """Fail a step when it and another one used a file at once in the wrong order: files have no versions to go back to."""
        place = self.tasks.index(task)
        for other in self.tasks:
            for known, before in other.taken:
                if other is task or known is attempt:
                    continue
                above = other if self.tasks.index(other) < place else task
                (first, early), (second, late) = (
                    ((known, before), (attempt, result)) if above is other else ((attempt, result), (known, before))
                )
                used = set(early.files_read) | set(early.files_written)
                shared = sorted(used & set(late.files_written))
                if shared and second.started < first.ended:
                    below = task if above is other else other
                    self.results.discard(before)
                    result.status = "failed"
                    result.failure = ev.Failure(
                        kind="refused",
                        code="ML202",
                        message=f"ML202: step {below.name!r} wrote the file {shared[0]} while step {above.name!r}, which "
                        f"stands above it and uses that file too, was not done. Restore the file, tag {below.name!r} with "
                        f"after:{above.name}, and run again.",
                    )
                    return


_PHASES = {
    "mlops-lab-prelude": "in the imports and configuration replayed from the cells above",
    "mlops-lab-setup": "in a setup cell",
    "mlops-lab-inputs": "while loading its inputs",
    "mlops-lab-outputs": "while storing what it leaves",
}


class _Fatal(MlopsLabError):
    """The run can't go on."""


def _failure(outcome: Any, attempt: _Attempt) -> ev.Failure:
    message = outcome.message
    if outcome.phase in _PHASES and outcome.kind != "refused":
        message = f"{_PHASES[outcome.phase]}: {message}"
    if outcome.kind == "died" and attempt.last_output:
        message += f"; its last output was: {attempt.last_output.strip()[-300:]}"
    code = match[1] if (match := re.match(r"(ML\d+): ", message)) else ""
    line = int(found[-1]) if (found := re.findall(rf"Cell In\[{outcome.cell}\], line (\d+)", _plain(outcome.traceback))) else 0
    return ev.Failure(
        kind=outcome.kind,
        message=message,
        cell=outcome.cell,
        line=line,
        code=code,
        traceback=outcome.traceback[-20_000:],
    )


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _input_versions(result: Result) -> dict[str, str]:
    return {name: version[0] for name, version in result.inputs.items() if version and not name.startswith("def:")}


def _outputs(result: Result) -> dict[str, ev.Output]:
    found = {}
    for name, output in result.outputs.items():
        if output and not name.startswith(("def:", "@")):
            found[name] = ev.Output(version=output["version"][0], type=output.get("type", ""), bytes=output.get("bytes", 0),
                                    preview=output.get("preview", ""))  # fmt: skip
    return found


def _cut(output: dict[str, Any]) -> dict[str, Any]:
    """An output small enough for the log."""
    output = json.loads(json.dumps(output))
    texts = output.get("data", output)
    for key, value in list(texts.items()):
        if isinstance(value, str) and len(value) > _EVENT_TEXT:
            if "data" in output and key != "text/plain":
                texts[key] = ""  # half a picture is none
            else:
                texts[key] = value[:_EVENT_TEXT] + f"\n[{len(value) - _EVENT_TEXT} characters cut; see the executed notebook]"
    return dict(output)


def _names(cell: Any) -> set[str]:
    from mlops_lab.scopes import module_names

    loads, stores = module_names(cell.tree.body)
    return loads | stores


def _is_json(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)  # a tuple comes back as a list
    except (TypeError, ValueError):
        return False
