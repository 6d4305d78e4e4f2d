"""One attempt at a step on this machine: its recipe and order, its notebook run in a kernel, its result.

`local.py` decides when and from which versions a step runs; what happens then is here.
"""

from __future__ import annotations

import ast
import contextlib
import json
import logging
import math
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_lab import environment, guard, stepnb
from mlops_lab import events as ev
from mlops_lab.packages import imported_roots, versions
from mlops_lab.plan import Plan, StepPlan
from mlops_lab.prelude import setup_before
from mlops_lab.quantities import quantity
from mlops_lab.results import Recipe, Result, Version
from mlops_lab.runs import Home, RunFolder
from mlops_lab.scopes import once
from mlops_lab.targets import Options
from mlops_lab.targets.priority import Priorities

if TYPE_CHECKING:
    from mlops_lab.tracking import Tracker
    from mlops_lab.warm import WarmParent

_WARM_SECONDS = 120.0  # a kernel of its own is started where the warm parent takes longer
_EVENT_TEXT = 64 * 1024  # longest text of an output that the log holds; the executed notebook has all of it


_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def threads_of(planned: StepPlan) -> int:
    """How many threads the step's linear algebra may use: as many as it asks for cores. 0: as many as in a straight run.

    Left alone where nothing was asked for: another number of threads adds up in another order, and so changes last digits.
    """
    return max(1, math.ceil(quantity(planned.step.settings.cpu))) if planned.step.settings.cpu is not None else 0


def order_of(plan: Plan, planned: StepPlan, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a step's order (`runtime/kit.py`) that is the same wherever the step runs."""
    pipeline, notebook = plan.pipeline, plan.pipeline.notebook
    values = {p.name: stepnb.assignment(p) for p in pipeline.static_parameters if p.cell < planned.step.first}
    values |= {n: f"{n} = {v!r}" for n, v in parameters.items() if n in values}
    metrics = {n for c in planned.step.cells for m in pipeline.metric_cells if m is c for n in _names(c)}
    return {
        "step": planned.name,
        "numbers": list(planned.step.numbers),
        "sources": [[cell.number, cell.source] for cell in notebook.cells],
        "reads": None if planned.reads is None else sorted(planned.reads),
        "keep": None if planned.keep is None else sorted(planned.keep),
        "imports": {n: [s] for n, s in values.items()} | {n: list(s) for n, s in planned.imports.items()},
        "configuration": planned.configuration,
        "seeded": plan.seeded,
        "modules": sorted(imported_roots(cell.tree for cell in planned.step.cells)),
        "dotted": dotted(cell.tree for cell in notebook.cells if cell.in_pipeline),
        "bound_in": dict(planned.bound_in),
        "metrics": sorted(metrics),
        "own_configuration": guard.own_configuration(plan, planned.name),
        "threads": threads_of(planned),
    }


class Abandoned(Exception):
    """A kernel that was kept ready is not needed after all."""


@dataclass
class Attempt:
    """A step being executed in a thread of its own, or a kernel that is kept ready for it until `go` is set.

    `order` is what the runtime in the kernel is told (`runtime/kit.py`), known by then.
    """

    number: int
    recipe: Recipe
    current: dict[str, Version] = field(default_factory=dict)
    order: dict[str, Any] = field(default_factory=dict)
    early: bool = False  # it began before the steps above had settled
    go: threading.Event = field(default_factory=threading.Event)
    abandoned: bool = False
    ended: float = 0.0
    waited: float = 0.0  # at most, in seconds, until a step above was done with a process (`quiet.py`)
    started: float = field(default_factory=time.monotonic)
    process: int | None = None
    ended_by: str = ""  # timeout, cancelled or overtaken, once we have decided to end it
    last_output: str = ""
    journal: Path | None = None  # the folder with what it wrote down of its changes of files
    void: bool = False  # it does not count, and what it did to files is to be taken back
    taken_back: float = 0.0  # when what it did to files was taken back
    orphaned: bool = False  # its kernel ended since the process that it was forked from had


class Executor:
    """Executes the steps of one run. `emit` takes the events of their cells; `guards` are the tables of a fixed graph."""

    def __init__(self, plan: Plan, options: Options, home: Home, folder: RunFolder, python: str,
                 emit: Callable[[ev.AnyEvent], None], priorities: Priorities) -> None:  # fmt: skip
        self.plan, self.options, self.home, self.folder, self.python, self.emit = plan, options, home, folder, python, emit
        self.priorities = priorities
        self.pipeline = plan.pipeline
        self.notebook = plan.pipeline.notebook
        self.tracker: Tracker | None = None
        self.warm: WarmParent | None = None
        self.guards: Mapping[str, dict[str, Any]] = guard.tables(plan) if options.fixed_graph else {}
        logging.getLogger("papermill").setLevel(logging.ERROR)

    def warm_up(self) -> None:
        """Begin to make the notebook's imports once for all kernels that will be started, where that can be done."""
        from mlops_lab.warm import parent_for

        self.warm = self.warm or parent_for(self.notebook, self.python)

    def can_prepare(self, planned: StepPlan) -> bool:
        """True if a kernel may be started before the step is: where that is cheap, and nothing is known only later."""
        return self.warm is not None and self.warm.alive and not (self.tracker and "mlflow" in _code(planned))

    def close(self) -> None:
        """Let go of what was started for the kernels."""
        if self.warm:
            self.warm.close()

    def recipe(self, planned: StepPlan) -> Recipe:
        """All that the step's result will depend on, besides the versions of its inputs."""
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
                    *(["mlflow.autolog()"] if self.notebook.settings.autolog else []),
                ]
            ),
            parameters=parameters,
            packages=versions(imported_roots(trees), self.python),
            reads=None if planned.reads is None else sorted(planned.reads),
            interpreter=" ".join(filter(None, self._interpreter)),
            seeded=self.plan.seeded,
            settings=dict(step.settings.env),
            environment=self._environment_named,
        )

    @cached_property
    def _interpreter(self) -> tuple[str, ...]:
        """Version, path, hash seed, and what IPython runs at its start."""
        seed = os.environ.get("PYTHONHASHSEED", "0")
        return sys.version.split()[0], str(self.python), seed, environment.startup(os.environ)

    @cached_property
    def _environment_named(self) -> dict[str, str]:
        """By the notebook, and by the modules beside it that it imports; a function of one step may ask in another."""
        roots = imported_roots(cell.tree for cell in self.plan.cells)
        beside = [self.notebook.folder / place for root in roots for place in (f"{root}.py", f"{root}/__init__.py")]
        modules = [module.read_text("utf-8", "replace") for module in beside if module.is_file()]
        return environment.named([*(cell.source for cell in self.plan.cells), *modules], os.environ)

    def execute(self, planned: StepPlan, attempt: Attempt, node: Any, deliver: Callable[[Result], None]) -> None:
        """Run one attempt to its end and deliver its result, which has what went wrong. Safe to call from a thread.

        An attempt that was only prepared delivers nothing.
        """
        executed = self.executed(planned, attempt)
        result = Result(
            planned.name, self.folder.id, attempt.number, "failed", 0.0, {}, notebook=str(executed), recipe=attempt.recipe
        )
        closing = contextlib.ExitStack()
        try:
            self.run_notebook(planned, attempt, result, node, closing)
            if result.status != "done" or result.files_written:
                closing.close()  # what it still has to write is written when it ends
        except Abandoned:
            closing.close()
            shutil.rmtree(executed.parent, ignore_errors=True)
            return
        except OSError as error:
            text = f"can't write the step's files in {executed.parent}: {error.strerror or error}"
            result.failure = ev.Failure(kind="error", message=text)
        except BaseException as error:  # a defect of ours or of a library: the run goes on, and would wait for ever
            result.failure = ev.Failure(kind="error", message=f"{type(error).__name__}: {error}")
            logging.getLogger(__name__).debug("attempt failed", exc_info=True)
        result.seconds = time.monotonic() - attempt.started
        deliver(result)
        closing.close()

    def executed(self, planned: StepPlan, attempt: Attempt) -> Path:
        """Where the attempt's executed notebook is written."""
        return self.folder.attempt(planned.name, attempt.number) / "executed.ipynb"

    def run_notebook(self, planned: StepPlan, attempt: Attempt, result: Result, node: Any, closing: ExitStack) -> None:
        """Run the step's notebook in a kernel, and take what it reported into the result. `closing` ends the kernel."""
        import nbformat

        from mlops_lab.runtime.execute import execute, kill
        from mlops_lab.warm import PROVISIONER, SOCKET

        executed = self.executed(planned, attempt)
        folder = executed.parent
        folder.mkdir(parents=True, exist_ok=True)
        order_path = folder / "order.json"
        source = folder / "notebook.ipynb"
        nbformat.write(node, source)

        def report(kind: str, **fields: Any) -> None:
            if kind == "kernel_started":
                attempt.process = fields["process"]
                if attempt.ended_by:
                    kill(attempt.process)
            elif kind == "cell_started":
                self.emit(ev.CellStarted(step=planned.name, attempt=attempt.number, **fields))
            elif kind == "cell_finished":
                self.emit(ev.CellFinished(step=planned.name, attempt=attempt.number, **fields))
            elif kind == "cell_output":
                attempt.last_output = fields["output"].get("text") or attempt.last_output
                self.emit(
                    ev.CellOutput(step=planned.name, attempt=attempt.number, cell=fields["cell"], output=_cut(fields["output"]))
                )

        def ready() -> None:
            attempt.go.wait()
            if attempt.abandoned:
                raise Abandoned
            closing.enter_context(self.priorities.of_its_own(attempt.process))
            order_path.write_text(json.dumps(attempt.order), encoding="utf-8")

        closing.callback(lambda: kill(attempt.process))  # what the step's cells started in the background ends with it
        environment = self._environment(planned, attempt, order_path)
        # What a step has in its environment may matter to an import, which a forked kernel has made already.
        warm = self.warm if self.warm and not planned.step.settings.env and self.warm.wait(_WARM_SECONDS) else None
        if warm:
            environment[SOCKET] = warm.socket
        outcome = execute(
            str(source),
            str(executed),
            parameters=stepnb.injected(self.pipeline, planned, self.options.parameters),
            kernel=self.notebook.kernel_name,
            folder=str(self.notebook.folder),
            environment=environment,
            report=report,
            provisioner=PROVISIONER if warm else "",
            ready=ready,
            closing=closing,
        )
        attempt.orphaned = outcome.kind == "died" and warm is not None and warm.is_gone()
        written = folder / "result.json"
        news = json.loads(written.read_text(encoding="utf-8")) if written.exists() else {}
        if news:
            for name in (
                "inputs",
                "states",
                "late_states",
                "undeclared_states",
                "needed",
                "outputs",
                "files_read",
                "files_perhaps_read",
                "files_replayed",
                "replayed",
                "files_written",
                "metrics",
            ):
                setattr(result, name, news.get(name, getattr(result, name)))
            result.data_seconds = news.get("seconds", {})
            if self.plan.keep_all and planned.keep is not None:
                for name, output in result.outputs.items():
                    if output and name.isidentifier() and name not in planned.keep:
                        output["unread"] = True
        if "inputs" not in news:  # it ended before it had loaded its inputs
            reads = planned.reads
            result.inputs = {n: attempt.current.get(n) for n in (reads if reads is not None else attempt.current)}
        result.keep = None if planned.keep is None else sorted(planned.keep)
        if outcome.kind:
            result.failure = _failure(outcome, attempt)
            rejected = planned.step.gate and outcome.name == "AssertionError"
            result.status = "rejected" if rejected else "failed"
            if rejected:
                result.failure.kind = "rejected"
        elif "outputs" not in news:
            result.failure = ev.Failure(kind="error", message="the step ended without storing its outputs")
        else:
            result.status = "done"

    def order(self, planned: StepPlan, attempt: Attempt) -> dict[str, Any]:
        """What the runtime in the kernel is told (`runtime/kit.py`)."""
        return {
            **order_of(self.plan, planned, self.options.parameters),
            **({"keep": None} if self.plan.keep_all else {}),
            "store": str(self.home.bundles),
            "folder": str(self.notebook.folder),
            "current": {n: v for n, v in attempt.current.items() if not n.startswith("file:")},
            "result": str(self.executed(planned, attempt).with_name("result.json")),
            "guard": self.guards.get(planned.name),
            "journal": attempt.journal
            and {"folder": str(attempt.journal), "early": attempt.early, "quiet": str(self.folder.quiet)},
        }

    @cached_property
    def _keeps_own_books(self) -> bool:
        from mlops_lab.tracking import keeps_own_books

        return any(keeps_own_books(cell.source) for cell in self.plan.cells)

    def _environment(self, planned: StepPlan, attempt: Attempt, order: Path) -> dict[str, str]:
        from mlops_lab.warmup import runtime_environment

        step, text = planned.step, _code(planned)
        tracking: dict[str, str] = {}
        uses = "mlflow" in text or self.notebook.settings.autolog
        own = uses and self._keeps_own_books
        if self.tracker:
            # Only a step that uses MLflow waits until its run exists.
            of_step = self.tracker.environment
            tracking = of_step(planned.name, attempt.number, own_books=own) if uses else self.tracker.base_environment()
        if own:
            tracking["MLOPS_LAB_BOOKS"] = "own"
        return {
            # One hash seed for all steps: the order of a set must not change on its way from one to the next.
            "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0"),
            "MLOPS_LAB_ORDER": str(order),
            **runtime_environment(),
            **tracking,
            **dict.fromkeys(_THREADS if step.settings.cpu is not None else (), str(threads_of(planned))),
            **step.settings.env,
        }


def _code(planned: StepPlan) -> str:
    logged = (code for _, code in planned.configuration if "autolog(" in code)  # it may be run after all
    return "\n".join([*(item.code for item in planned.prelude), *logged, *(cell.source for cell in planned.step.cells)])


_PHASES = {
    "mlops-lab-prelude": "in the imports and configuration replayed from the cells above",
    "mlops-lab-setup": "in a setup cell",
    "mlops-lab-inputs": "while loading its inputs",
    "mlops-lab-outputs": "while storing what it leaves",
}


def _failure(outcome: Any, attempt: Attempt) -> ev.Failure:
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


def _cut(output: dict[str, Any]) -> dict[str, Any]:
    """An output small enough for the log."""
    output = {key: dict(value) if isinstance(value, Mapping) else value for key, value in output.items()}
    texts = output.get("data", output)
    for key, value in list(texts.items()):
        if isinstance(value, str) and len(value) > _EVENT_TEXT:
            if "data" in output and key != "text/plain":
                texts[key] = ""  # half a picture is none
            else:
                texts[key] = value[:_EVENT_TEXT] + f"\n[{len(value) - _EVENT_TEXT} characters cut; see the executed notebook]"
    return dict(output)


def dotted(trees: Iterable[ast.AST]) -> list[list[str]]:
    """The chains of names in some code, such as `matplotlib.pyplot.show`: some of their parts may be modules."""
    return sorted(map(list, set[tuple[str, ...]]().union(*map(_chains, trees))))


@once
def _chains(tree: ast.AST) -> frozenset[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    inner: set[int] = set()
    for node in ast.walk(tree):
        chain: list[str] = []
        part = node
        while isinstance(part, ast.Attribute):
            chain.append(part.attr)
            inner.add(id(part.value))
            part = part.value
        if chain and isinstance(part, ast.Name) and id(node) not in inner:
            found.add((part.id, *reversed(chain)))
    return frozenset(found)


def _names(cell: Any) -> set[str]:
    from mlops_lab.scopes import module_names

    loads, stores = module_names(cell.tree.body)
    return loads | stores
