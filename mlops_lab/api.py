"""The Python interface: load a notebook as a pipeline, look at it, run it, read what the run left.

pipeline = mlops_lab.load("notebook.ipynb")
run = pipeline.run(lr=0.2)
run.steps["train"].outputs["model"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_lab import executed, runstate
from mlops_lab.checks import Diagnostic, check, require_sound
from mlops_lab.errors import MlopsLabError, UsageError, did_you_mean
from mlops_lab.events import AnyEvent, Output, RunStarted
from mlops_lab.moves import notebook_of
from mlops_lab.notebook import read
from mlops_lab.parameters import Parameter
from mlops_lab.parameters import check as check_values
from mlops_lab.pipeline import build
from mlops_lab.plan import Edge, Plan, make_plan
from mlops_lab.runs import Home, RunFolder, find
from mlops_lab.targets import Options, refresh, target
from mlops_lab.targets import cancel as cancel_elsewhere

if TYPE_CHECKING:
    from mlops_lab.graph import Picture

if TYPE_CHECKING:
    from mlops_lab.results import Version


def load(path: str | Path) -> Pipeline:
    """Read a notebook as a pipeline; nothing is run and the file is not changed.

    Raises `NotebookError` when the file is missing, is no notebook, or is not for a Python kernel. What is wrong with
    its cells and tags is in `diagnostics`.
    """
    return Pipeline(make_plan(build(read(path))))


class Pipeline:
    """A notebook as a pipeline: steps, edges, parameters, diagnostics."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @property
    def name(self) -> str:
        """The pipeline's name: from the notebook's metadata, else its file name."""
        return self.plan.pipeline.name

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of the steps, in notebook order."""
        return tuple(step.name for step in self.plan.steps)

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Which step follows which, and the variables and other reasons that make it so."""
        return self.plan.edges

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The typed parameters with their defaults."""
        return self.plan.pipeline.parameters

    @cached_property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What is wrong, errors first; a pipeline with errors does not run."""
        return check(self.plan)

    def show(self) -> None:
        """Print the steps, their edges, the parameters and the diagnostics."""
        from mlops_lab.display import print_plan

        print_plan(self.plan)

    def run(
        self,
        parameters: Mapping[str, Any] | None = None,
        *,
        start: str = "",
        end: str = "",
        only: str | Sequence[str] = (),
        cache: bool = True,
        workers: int = 0,
        experiment: str = "",
        fail_fast: bool = False,
        tracking: bool = True,
        fixed_graph: bool = False,
        on: str = "local",
        listener: Callable[[AnyEvent], None] | None = None,
        background: bool = False,
        **values: Any,
    ) -> Run:
        """Run the pipeline to its end and return the run, whatever its status.

        `parameters` and further keywords are values for the pipeline's parameters. `start`, `end` and `only` name steps:
        run from, up to, or only these; what they need of others comes from the cache. `workers` is the largest number of
        steps at once (0: one a core). `listener` is called with each event; `tracking=False` leaves MLflow out. With
        `fixed_graph` each step runs once, as on a target that can't go back, and what the graph doesn't show is refused.
        With `background` it runs the notebook's file in a process of its own, and the run is returned once it has begun; it
        goes on when this process ends. `Run.wait` waits for it.

        Raises `UsageError` for an unknown parameter or step or a wrong value, `CheckError` when the notebook has errors,
        `BusyError` while another run of it is in progress, and `RunError` when the log can't be written.
        """
        require_sound(self.plan)
        options = Options(
            parameters=check_values(self.parameters, {**(parameters or {}), **values}),
            start=start,
            end=end,
            only=(only,) if isinstance(only, str) else tuple(only),
            cache=cache,
            workers=workers,
            experiment=experiment,
            fail_fast=fail_fast,
            tracking=tracking,
            fixed_graph=fixed_graph,
        )
        if background:
            return self._start(options, on, listener)
        return Run(target(on)(self.plan, options, (listener,) if listener else ()))

    def _start(self, options: Options, on: str, listener: Callable[[AnyEvent], None] | None) -> Run:
        from mlops_lab.background import start

        if listener:
            raise UsageError("A run in the background has no listener; follow it with run.wait(listener=...).")
        order = {name: getattr(options, name) for name in Options.__dataclass_fields__ if name != "resume"}
        return Run(start(self.plan.pipeline.notebook.path, on=on, **order | {"parameters": dict(options.parameters)}))

    def __repr__(self) -> str:
        return f"<Pipeline {self.name}: {' -> '.join(self.steps)}>"


class Run:
    """A run, finished or not: a view of its folder. Of one that has not begun yet, all answers wait until it has."""

    def __init__(self, folder: RunFolder | Future[RunFolder]) -> None:
        self._folder = folder
        self._shown = False  # by the magic that made it: as the value of its cell it would be shown twice

    @property
    def folder(self) -> RunFolder:
        """Where it is kept. Raises why it could not begin, if it couldn't."""
        return self._folder.result() if isinstance(self._folder, Future) else self._folder

    @property
    def has_begun(self) -> bool:
        """False while its process gets ready; true also once it is known that it can't begin."""
        return not isinstance(self._folder, Future) or self._folder.done()

    @property
    def id(self) -> str:
        return self.folder.id

    @property
    def state(self) -> runstate.RunState:
        """The picture that the log gives now."""
        state = runstate.fold(self.folder.events())
        if state.status == "running" and not self.folder.is_active and not self.folder.is_remote:
            return runstate.interrupt(state)
        return state

    @property
    def status(self) -> str:
        """`running`, `done`, `failed`, `rejected`, `cancelled`, or `interrupted` when its process is gone."""
        return self.state.status

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of all steps."""
        return self.state.metrics

    def metrics_frame(self) -> Any:
        """The metrics as a pandas frame: a row for each metric of a step, with the columns step, metric, value."""
        import pandas as pd

        rows = [(step.name, name, value) for step in self.state.steps.values() for name, value in step.metrics.items()]
        return pd.DataFrame(rows, columns=["step", "metric", "value"])

    def figure(self) -> Picture:
        """The graph of steps as a picture, in the colours of what they have come to."""
        from mlops_lab.graph import Picture, svg

        plan = make_plan(build(read(self.folder.notebook)))
        return Picture(svg(plan, {name: step.status for name, step in self.state.steps.items()}))

    def events(self, after: int = 0) -> Iterator[AnyEvent]:
        """The events of the log numbered above `after`."""
        return self.folder.events(after)

    def wait(self, timeout: float | None = None, listener: Callable[[AnyEvent], None] | None = None) -> Run:
        """Wait until the run has ended, whatever its status, and return it; interrupting the wait leaves the run going.

        `listener` is called with each event, those so far first. Raises `TimeoutError` after `timeout` seconds.
        """
        for event in self.folder.follow(timeout):
            if listener:
                listener(event)
        if timeout is None:
            refresh(self.folder, follow=True, listeners=(listener,) if listener else ())
        return self

    def cancel(self) -> None:
        """Ask the run to end; `wait` waits until it has. Raises `UsageError` if it is not in progress."""
        if not self.folder.is_active and self.folder.is_remote and self.folder.finished is None:
            cancel_elsewhere(self.folder)
            return
        if not self.folder.is_active:
            raise UsageError(f"Run {self.id} is not in progress.")
        self.folder.request_cancel()

    def resume(self) -> Run:
        """Go on, in a new run in the background, with a run that did not get to its end.

        Raises `UsageError` for a run that is in progress or done, and what `Pipeline.run` raises.
        """
        from mlops_lab.background import resume

        return Run(resume(self.folder))

    def _ipython_display_(self) -> None:
        # Only notebooks show it live: IPython in a terminal is told by the error to print `repr`.
        from mlops_lab.widget import display_run

        if self._shown:
            self._shown = False
            return
        display_run(self)

    @property
    def steps(self) -> Mapping[str, RunStep]:
        """The steps by name."""
        return {name: RunStep(step, self.folder) for name, step in self.state.steps.items()}

    def notebook(self) -> Any:
        """The notebook as it was run (an nbformat node), with the outputs of all steps at their own cells."""
        return executed.assemble(build(read(self.folder.notebook)), self.step_notebooks)

    @property
    def step_notebooks(self) -> dict[str, Path]:
        """The executed notebook of each step that has one; that of a step that runs is still being written."""
        paths = {name: self.folder.here(step.notebook) for name, step in self.state.steps.items() if step.notebook}
        return {name: path for name, path in paths.items() if path.exists()}

    def __repr__(self) -> str:
        return f"<Run {self.id}: {self.status}>" if self.has_begun else "<Run: starting>"


class RunStep:
    """One step of a run; `state` has its status, timing, failure, metrics."""

    def __init__(self, state: runstate.StepState, folder: RunFolder) -> None:
        self.state = state
        self._folder = folder

    @property
    def status(self) -> str:
        return self.state.status

    @property
    def metrics(self) -> dict[str, float]:
        return self.state.metrics

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The variables that the step bound or changed; a value is loaded when it is asked for.

        Loading runs code (it is pickle): only open runs that you trust.
        """
        return _Outputs(self.state, self._folder)

    def __repr__(self) -> str:
        return f"<RunStep {self.state.name}: {self.status}>"


class _Outputs(Mapping[str, Any]):
    def __init__(self, state: runstate.StepState, folder: RunFolder) -> None:
        self._state = state
        self._folder = folder

    def describe(self) -> dict[str, Output]:
        """Type, size and preview of each output, without loading it."""
        return dict(self._state.outputs)

    def __getitem__(self, name: str) -> Any:
        known = self._state.outputs
        if name not in known:
            left = ", ".join(sorted(known)) or "nothing"
            raise KeyError(f"step {self._state.name!r} left no {name!r}{did_you_mean(name, known)}; it left: {left}")
        version = known[name].version
        if version.startswith("refused:"):
            raise UsageError(version.partition(":")[2])
        if self._folder.is_remote:
            raise UsageError(
                f"The value of {name!r} is on the engine that ran step {self._state.name!r}, among the artifacts of its task. "
                f"To have it here, run the pipeline here."
            )
        return _load_value(self._folder, self._state.name, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._state.outputs)

    def __len__(self) -> int:
        return len(self._state.outputs)


def _load_value(folder: RunFolder, step: str, name: str) -> Any:
    """Load one value as the step left it, with the versions that were current right after it."""
    from mlops_lab.prelude import imports_in
    from mlops_lab.runtime import load as runtime_load

    imports = imports_in(read(folder.notebook).cells) if folder.notebook.exists() else {}
    _, after = versions_around(folder, runstate.fold(folder.events()), step)
    return runtime_load.value(name, after, str(Home(folder.path.parent.parent).bundles), imports)


def versions_around(folder: RunFolder, state: runstate.RunState, step: str) -> tuple[dict[str, Version], dict[str, Version]]:
    """The versions of all values right before a step of a run, and right after it with those that nothing reads later.

    `state` is the fold of the run's log.
    """
    from mlops_lab.results import Result, apply_outputs

    current: dict[str, Version] = {}
    for each in state.steps.values():
        before = dict(current)
        outputs = _raw_outputs(Path(each.notebook).parent / "result.json") if each.notebook else {}
        apply_outputs(current, Result(each.name, folder.id, each.attempt, "done", 0.0, {}, outputs=outputs))
        if each.name == step:
            unread = {n: o["version"] for n, o in outputs.items() if o and o.get("unread")}
            return before, {**current, **unread}
    raise MlopsLabError(f"run {folder.id} has no step {step!r}")


def _raw_outputs(path: Path) -> dict[str, Any]:
    import json

    try:
        return dict(json.loads(path.read_text(encoding="utf-8")).get("outputs", {}))
    except OSError:
        return {}


def to_resume(folder: RunFolder) -> tuple[Plan, Options, str]:
    """What to run, how and on which target, to go on with a run; its parameters are those of the run.

    Raises `UsageError` for a run that is in progress or done.
    """
    refresh(folder)
    started, finished = folder.started, folder.finished
    if started is None:
        raise UsageError(f"Run {folder.id} has no log to go on from.")
    if finished is None and (folder.is_active or folder.is_remote):  # once it has ended, only MLflow takes the rest of it
        raise UsageError(f"Run {folder.id} is still in progress; follow it with: mlops-lab logs {folder.id} --follow")
    if finished and finished.status == "done":
        raise UsageError(f"Run {folder.id} is done: there is nothing to resume.")
    pipeline = load(notebook_of(folder) or started.notebook)
    defaults = {p.name: p.default for p in pipeline.parameters}
    given = {k: v for k, v in started.parameters.items() if k in defaults and v != defaults[k]}
    lineage: list[str] = []
    current: RunStarted | None = started
    while current is not None and current.run not in lineage:
        lineage.append(current.run)
        before = RunFolder(folder.path.parent / current.resumed_from)
        current = before.started if current.resumed_from else None
    called = {k: v for k, v in started.options.items() if k in Options.__dataclass_fields__}
    called |= {"parameters": check_values(pipeline.parameters, given), "only": tuple(called.get("only", ()))}
    options = Options(**called | {"experiment": started.experiment, "resume": tuple(lineage)})
    return pipeline.plan, options, started.target


def find_run(name: str = "last", folder: str | Path = ".") -> Run:
    """A run of the notebooks in a folder: by its id, by an unambiguous part of it, or the last one."""
    return Run(find(name, Path(folder)))
