"""The Python interface: load a notebook as a pipeline, look at it, run it, read what the run left.

pipeline = mlops_lab.load("notebook.ipynb")
run = pipeline.run(lr=0.2)
run.steps["train"].outputs["model"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mlops_lab import executed, runstate
from mlops_lab.checks import Diagnostic, check, require_sound
from mlops_lab.errors import MlopsLabError, UsageError, did_you_mean
from mlops_lab.events import AnyEvent, Output, RunStarted
from mlops_lab.notebook import read
from mlops_lab.parameters import Parameter
from mlops_lab.parameters import check as check_values
from mlops_lab.pipeline import build
from mlops_lab.plan import Edge, Plan, make_plan
from mlops_lab.runs import Home, RunFolder, find
from mlops_lab.targets import Options, target


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
        **values: Any,
    ) -> Run:
        """Run the pipeline to its end and return the run, whatever its status.

        `parameters` and further keywords are values for the pipeline's parameters. `start`, `end` and `only` name steps:
        run from, up to, or only these; what they need of others comes from the cache. `workers` is the largest number of
        steps at once (0: one a core). `listener` is called with each event; `tracking=False` leaves MLflow out. With
        `fixed_graph` each step runs once, as on a target that can't go back, and what the graph doesn't show is refused.

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
        return Run(target(on)(self.plan, options, (listener,) if listener else ()))

    def __repr__(self) -> str:
        return f"<Pipeline {self.name}: {' -> '.join(self.steps)}>"


class Run:
    """A run, finished or not: a view of its folder."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    @property
    def id(self) -> str:
        return self.folder.id

    @property
    def state(self) -> runstate.RunState:
        """The picture that the log gives now."""
        state = runstate.fold(self.folder.events())
        if state.status == "running" and not self.folder.is_active:
            state.status = "interrupted"
        return state

    @property
    def status(self) -> str:
        """`running`, `done`, `failed`, `rejected`, `cancelled`, or `interrupted` when its process is gone."""
        return self.state.status

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of all steps."""
        return self.state.metrics

    def events(self, after: int = 0) -> Iterator[AnyEvent]:
        """The events of the log numbered above `after`."""
        return self.folder.events(after)

    @property
    def steps(self) -> Mapping[str, RunStep]:
        """The steps by name."""
        return {name: RunStep(step, self.folder) for name, step in self.state.steps.items()}

    def notebook(self) -> Any:
        """The notebook as it was run (an nbformat node), with the outputs of all steps at their own cells."""
        pipeline = build(read(self.folder.notebook))
        return executed.assemble(
            pipeline,
            {
                name: Path(step.notebook)
                for name, step in self.state.steps.items()
                if step.notebook and Path(step.notebook).exists()
            },
        )

    def __repr__(self) -> str:
        return f"<Run {self.id}: {self.status}>"


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
        return _load_value(self._folder, self._state.name, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._state.outputs)

    def __len__(self) -> int:
        return len(self._state.outputs)


def _load_value(folder: RunFolder, step: str, name: str) -> Any:
    """Load one value as the step left it, with the versions that were current right after it."""
    from mlops_lab.results import Result, Version, apply_outputs
    from mlops_lab.runtime import load as runtime_load

    home = Home(folder.path.parent.parent)
    state = runstate.fold(folder.events())
    current: dict[str, Version] = {}
    for each in state.steps.values():
        outputs = _raw_outputs(Path(each.notebook).parent / "result.json") if each.notebook else {}
        apply_outputs(current, Result(each.name, folder.id, each.attempt, "done", 0.0, {}, outputs=outputs))
        if each.name == step:
            unread = {n: o["version"] for n, o in outputs.items() if o and o.get("unread")}
            return runtime_load.value(name, {**current, **unread}, str(home.bundles))
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
    started, finished = folder.started, folder.finished
    if started is None:
        raise UsageError(f"Run {folder.id} has no log to go on from.")
    if folder.is_active:
        raise UsageError(f"Run {folder.id} is still in progress; follow it with: mlops-lab logs {folder.id} --follow")
    if finished and finished.status == "done":
        raise UsageError(f"Run {folder.id} is done: there is nothing to resume.")
    pipeline = load(started.notebook)
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
