"""Commands that run a notebook as a pipeline: run, resume."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.markup import escape

from mlops_lab import runstate, warmup
from mlops_lab.cli.base import (
    EXIT_OF,
    FolderOption,
    JsonOption,
    NotebookArgument,
    RunArgument,
    complete_parameter,
    complete_step,
    err,
    out,
    short,
    writable,
)
from mlops_lab.errors import EXIT_CANCELLED, EXIT_FAILED, RunError, UsageError
from mlops_lab.runs import find

if TYPE_CHECKING:
    from mlops_lab.api import Pipeline
    from mlops_lab.targets import Options

ExecutedOption = Annotated[
    Path | None, typer.Option(metavar="OUT.ipynb", help="Write the notebook, with the outputs of all steps, here.")
]
StepsOption = Annotated[
    list[str] | None,
    typer.Option(metavar="STEP", help="Run only this step; its inputs come from the cache.", autocompletion=complete_step),
]


def run(
    notebook: NotebookArgument,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--parameter",
            metavar="NAME=VALUE",
            help="Give a parameter a value.",
            autocompletion=complete_parameter,
        ),
    ] = None,
    params: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Parameters from a YAML or JSON file; -p goes before it.")
    ] = None,
    executed: ExecutedOption = None,
    start: Annotated[
        str,
        typer.Option("--from", metavar="STEP", help="Run this step and all below it again.", autocompletion=complete_step),
    ] = "",
    end: Annotated[str, typer.Option("--to", metavar="STEP", help="Run up to this step.", autocompletion=complete_step)] = "",
    only: StepsOption = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Run every step, also those that ran before on the same inputs.")
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Steps at once at the most; 0 means one a core.")] = 0,
    experiment: Annotated[str, typer.Option(help="MLflow experiment; by default the pipeline's name.")] = "",
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop everything when a step fails.")] = False,
    no_tracking: Annotated[bool, typer.Option("--no-tracking", help="Leave MLflow out.")] = False,
    fixed_graph: Annotated[
        bool, typer.Option("--fixed-graph", help="Run each step once, as Kubeflow does, under the guard of the graph.")
    ] = False,
    on: Annotated[
        str, typer.Option("--on", metavar="TARGET", help="Where it runs: local, kubeflow, kubeflow:NAME, ...")
    ] = "local",
    learn: Annotated[
        bool, typer.Option("--learn", help="Write what the run saw and the analysis didn't into the notebook's metadata.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a notebook as a pipeline: its steps in parallel, unchanged ones from the cache.

    Steps that don't depend on a failed one still run. Ctrl-C cancels cleanly. Every run is kept in .mlops_lab/runs beside
    the notebook; see [bold]mlops-lab runs[/] and [bold]mlops-lab logs[/].
    """
    if on == "local":
        warmup.begin(Path(notebook), cache=not no_cache)
    if learn and on != "local":
        raise UsageError(
            f"--learn writes down what a run here sees; one on {on} ends where it meets what the graph doesn't show. Run once "
            f"with --learn and without --on, then with --on {on}."
        )
    pipeline, options = request(**locals())
    _run(pipeline.plan, options, executed, as_json, learn, on)


def request(
    notebook: str, parameter: list[str] | None = None, params: Path | None = None, executed: Path | None = None, *,
    start: str = "", end: str = "", only: list[str] | None = None, no_cache: bool = False, workers: int = 0,
    experiment: str = "", fail_fast: bool = False, no_tracking: bool = False, fixed_graph: bool = False, **_: Any,
) -> tuple[Pipeline, Options]:  # fmt: skip
    """What the arguments of `run` ask for: the notebook as a pipeline, and the options, checked."""
    from mlops_lab.api import load
    from mlops_lab.parameters import check as check_values
    from mlops_lab.parameters import load_file, parse
    from mlops_lab.targets import Options

    pipeline = load(notebook)
    values = check_values(pipeline.parameters, load_file(params)) if params else {}
    values |= parse(pipeline.parameters, parameter or [])
    if executed is not None:
        writable(executed, Path(notebook))
    options = Options(values, start, end, tuple(only or ()), not no_cache, workers, experiment, fail_fast)
    return pipeline, replace(options, tracking=not no_tracking, fixed_graph=fixed_graph)


def resume(
    run: RunArgument,
    executed: Annotated[
        Path | None, typer.Option(metavar="OUT.ipynb", help="Write the notebook with all outputs here.")
    ] = None,
    folder: FolderOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that failed, was cancelled or was interrupted: what it finished is taken from it.

    Steps whose code changed since run anew, and so does what depends on them. The parameters are those of the run.
    """
    from mlops_lab.api import to_resume

    plan, options, on = to_resume(find(run, folder))
    if executed is not None:
        writable(executed, plan.pipeline.notebook.path)
    _run(plan, options, executed, as_json, on=on)


def _run(plan: Any, options: Any, executed: Path | None, as_json: bool, learn: bool = False, on: str = "local") -> None:
    from mlops_lab.api import Run
    from mlops_lab.checks import check as find
    from mlops_lab.checks import require_sound
    from mlops_lab.display import Progress, print_diagnostics, print_failures
    from mlops_lab.executed import write
    from mlops_lab.targets import target
    from mlops_lab.tracking import ui_command

    require_sound(plan)
    console = err if as_json else out
    print_diagnostics(find(plan), console)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cancelled by a scheduler: as clean as Ctrl-C
    try:
        with Progress(console) as progress:
            folder = target(on)(plan, options, (progress,))
    except KeyboardInterrupt:  # a second one, while the first was being heeded
        where = escape(short(plan.pipeline.notebook.folder))
        err.print(
            f"[red]Interrupted[/] before the run could end in order; what its steps finished is kept. Go on with: "
            f"mlops-lab resume last -C {where}",
            soft_wrap=True,
        )
        raise typer.Exit(EXIT_CANCELLED) from None
    if not folder.notebook.exists():
        raise RunError(
            f"The run's folder {folder.path} was deleted, or moved away, while the run went on; its results are lost."
        )
    state = Run(folder).state
    print_failures(state, console)
    result = folder.path / "executed.ipynb"
    node = Run(folder).notebook()
    write(node, result)
    if executed is not None:
        write(node, executed)
    learnt = []
    if learn:
        from mlops_lab.learn import learn as learn_from

        learnt = learn_from(plan.pipeline.notebook.path, folder)
    if as_json:
        summary = _summary(state, executed or result) | ({"learnt": [vars(lesson) for lesson in learnt]} if learn else {})
        print(json.dumps(summary, indent=2, ensure_ascii=False))  # noqa: T201
        raise typer.Exit(EXIT_OF.get(state.status, EXIT_FAILED))
    out.print()
    colour = "green" if state.status == "done" else "red"
    out.print(f"[{colour}]{state.status}[/] in {state.seconds:.1f} s   run {state.id}")
    for name, value in state.metrics.items():
        out.print(f"  {escape(name)} = {value:.6g}")
    if learn:
        _print_learnt(learnt, plan)
    out.print(f"executed notebook: {executed or short(result)}", soft_wrap=True)
    if state.tracking:
        out.print(f"MLflow: run {state.tracking.run_id} in experiment {escape(state.experiment)}; to see it:\n  "
                   f"{escape(ui_command(plan.pipeline.notebook.folder))}", soft_wrap=True)  # fmt: skip
    if state.status != "done":
        out.print(
            f"[dim]details: mlops-lab logs {state.id}; go on after a fix: mlops-lab resume {state.id}[/]",
            soft_wrap=True,
        )
    raise typer.Exit(EXIT_OF.get(state.status, EXIT_FAILED))


def _print_learnt(learnt: list[Any], plan: Any) -> None:
    if not learnt:
        out.print("learnt: nothing; the graph already shows what the run did")
        return
    out.print(f"learnt, and written to the settings of the steps in {plan.pipeline.notebook.path.name}:")
    for lesson in learnt:
        out.print(f"  {escape(str(lesson))}", soft_wrap=True)


def _summary(state: runstate.RunState, executed: Path | None) -> dict[str, Any]:
    return {
        "run": state.id,
        "status": state.status,
        "notebook": state.notebook,
        "executed": str(executed) if executed else None,
        "seconds": state.seconds,
        "parameters": state.parameters,
        "metrics": state.metrics,
        "mlflow": msgspec.to_builtins(state.tracking) if state.tracking else None,
        "steps": {
            name: {
                "status": step.status,
                "seconds": step.seconds,
                "attempts": step.attempt,
                "overtaken": step.overtaken,
                "reason": step.reason,
                "from_run": step.from_run,
                "metrics": step.metrics,
                "failure": msgspec.to_builtins(step.failure) if step.failure else None,
                "outputs": msgspec.to_builtins(step.outputs),
            }
            for name, step in state.steps.items()
        },
    }
