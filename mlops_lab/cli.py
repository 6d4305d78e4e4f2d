"""The command `mlops-lab`: a thin layer over `api.py`, with the exit codes that `errors.py` lists.

Heavy packages (papermill, mlflow, kfp) are imported by the commands that use them, never here.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from mlops_lab import events as ev
from mlops_lab import runstate
from mlops_lab._version import __version__
from mlops_lab.errors import (
    EXIT_CANCELLED,
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_REJECTED,
    EXIT_USAGE,
    CheckError,
    MlopsLabError,
    UsageError,
)
from mlops_lab.runs import Home, RunFolder

_EXIT = {"done": EXIT_DONE, "failed": EXIT_FAILED, "rejected": EXIT_REJECTED, "cancelled": EXIT_CANCELLED}
_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)


class _Group(TyperGroup):
    """Turns our errors into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CheckError as error:
            from mlops_lab.display import print_diagnostics

            print_diagnostics(error.diagnostics, _err)
            _err.print("\n[red]Nothing was run.[/]")
            ctx.exit(error.exit_code)
        except MlopsLabError as error:
            _err.print(f"[red]Error:[/] {escape(str(error))}", soft_wrap=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:  # `mlops-lab logs ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_DONE)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Turn an ordinary Jupyter notebook into a pipeline: look at it ([bold]show[/]), run it ([bold]run[/]), have steps "
    "proposed ([bold]suggest[/]).",
    epilog="Exit codes: 0 done; 1 a step failed; 2 the notebook or the call is wrong, nothing was run; 3 rejected by a gate; "
    "130 cancelled.",
)


def _complete_notebook(incomplete: str) -> list[str]:
    folder = Path(incomplete).parent if incomplete else Path()
    found = [str(p) for p in folder.glob("*") if p.suffix == ".ipynb" or (p.is_dir() and not p.name.startswith("."))]
    return [p for p in found if p.startswith(incomplete)]


def _complete_step(ctx: typer.Context, incomplete: str) -> list[str]:
    from mlops_lab.notebook import read
    from mlops_lab.pipeline import build

    try:
        return [s.name for s in build(read(ctx.params["notebook"])).steps if s.name.startswith(incomplete)]
    except Exception:  # completion must never disturb the shell
        return []


def _complete_run(incomplete: str) -> list[str]:
    return [run.id for home in _homes(Path()) for run in home.list() if run.id.startswith(incomplete)]


NotebookArgument = Annotated[
    str, typer.Argument(metavar="NOTEBOOK", help="The notebook (.ipynb).", autocompletion=_complete_notebook)
]
RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run's id, an unambiguous part of it, or 'last'.", autocompletion=_complete_run),
]
FolderOption = Annotated[Path, typer.Option("--folder", "-C", help="Look for runs in this folder and those below it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def _version(wanted: bool) -> None:
    if wanted:
        _out.print(f"mlops-lab {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


@app.command()
def show(
    notebook: NotebookArgument,
    as_json: JsonOption = False,
    graph: Annotated[
        Path | None, typer.Option(metavar="OUT.svg|OUT.mmd", help="Draw the graph of steps into this file.")
    ] = None,
) -> None:
    """Show a notebook's steps, what makes each edge between them, its parameters and its diagnostics.

    Nothing is run. With errors among the diagnostics the exit code is 2.
    """
    from mlops_lab.api import load
    from mlops_lab.display import model, print_plan

    pipeline = load(notebook)
    if as_json:
        print(json.dumps(model(pipeline.plan), indent=2, ensure_ascii=False))  # noqa: T201
    else:
        print_plan(pipeline.plan, _out)
    if graph:
        _draw(pipeline.plan, graph)
        _err.print(f"Drew the graph into {graph}")
    if any(d.severity == "error" for d in pipeline.diagnostics):
        raise typer.Exit(EXIT_USAGE)


def _draw(plan: Any, path: Path) -> None:
    from mlops_lab.graph import mermaid, svg

    drawers = {".svg": svg, ".mmd": mermaid}
    if path.suffix not in drawers:
        raise UsageError(f"{path}: graphs are drawn as .svg or .mmd (Mermaid); choose one of these endings.")
    try:
        path.write_text(drawers[path.suffix](plan), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"Can't write {path}: {error.strerror}.") from None


@app.command()
def check(notebook: NotebookArgument, as_json: JsonOption = False) -> None:
    """List what is wrong with a notebook as a pipeline. Exit code 2 when there are errors."""
    from mlops_lab.api import load
    from mlops_lab.display import print_diagnostics

    found = load(notebook).diagnostics
    if as_json:
        print(json.dumps([asdict(d) for d in found], indent=2, ensure_ascii=False))  # noqa: T201
    else:
        print_diagnostics(found, _out)
        errors = sum(d.severity == "error" for d in found)
        _out.print(f"{errors} errors, {len(found) - errors} warnings")
    if any(d.severity == "error" for d in found):
        raise typer.Exit(EXIT_USAGE)


ExecutedOption = Annotated[
    Path | None, typer.Option(metavar="OUT.ipynb", help="Write the notebook, with the outputs of all steps, here.")
]
StepsOption = Annotated[
    list[str] | None,
    typer.Option(metavar="STEP", help="Run only this step; its inputs come from the cache.", autocompletion=_complete_step),
]


@app.command()
def run(
    notebook: NotebookArgument,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="Give a parameter a value.")
    ] = None,
    params: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Parameters from a YAML or JSON file; -p goes before it.")
    ] = None,
    executed: ExecutedOption = None,
    start: Annotated[
        str,
        typer.Option("--from", metavar="STEP", help="Run this step and all below it again.", autocompletion=_complete_step),
    ] = "",
    end: Annotated[str, typer.Option("--to", metavar="STEP", help="Run up to this step.", autocompletion=_complete_step)] = "",
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
    learn: Annotated[
        bool, typer.Option("--learn", help="Write what the run saw and the analysis didn't into the notebook's metadata.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a notebook as a pipeline: its steps in parallel, unchanged ones from the cache.

    Steps that don't depend on a failed one still run. Ctrl-C cancels cleanly. Every run is kept in .mlops_lab/runs beside
    the notebook; see [bold]mlops-lab runs[/] and [bold]mlops-lab logs[/].
    """
    from mlops_lab.api import load
    from mlops_lab.parameters import check as check_values
    from mlops_lab.parameters import load_file, parse
    from mlops_lab.targets import Options

    pipeline = load(notebook)
    values = check_values(pipeline.parameters, load_file(params)) if params else {}
    values |= parse(pipeline.parameters, parameter or [])
    if executed is not None:
        _writable(executed, Path(notebook))
    options = Options(values, start, end, tuple(only or ()), not no_cache, workers, experiment, fail_fast)
    options = replace(options, tracking=not no_tracking, fixed_graph=fixed_graph)
    _run(pipeline.plan, options, executed, as_json, learn)


def _writable(path: Path, notebook: Path) -> None:
    """Find out before the run, and not after it, that its result has no place."""
    if path.absolute() == notebook.absolute():
        raise UsageError(f"--executed names the notebook itself, {path}; it is never overwritten. Name another file.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"Can't write {path}: there is no folder {path.absolute().parent}.")
    if path.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise UsageError(f"Can't write {path}: {'it is a folder' if path.is_dir() else 'its folder is read-only'}.")


def _run(plan: Any, options: Any, executed: Path | None, as_json: bool, learn: bool = False) -> None:
    from mlops_lab.api import Run
    from mlops_lab.checks import check as find
    from mlops_lab.checks import require_sound
    from mlops_lab.display import Progress, print_diagnostics, print_failures
    from mlops_lab.executed import write
    from mlops_lab.learn import learn as learn_from
    from mlops_lab.targets import target
    from mlops_lab.tracking import ui_command

    require_sound(plan)
    console = _err if as_json else _out
    print_diagnostics(find(plan), console)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cancelled by a scheduler: as clean as Ctrl-C
    with Progress(console) as progress:
        folder = target("local")(plan, options, (progress,))
    state = Run(folder).state
    print_failures(state, console)
    result = folder.path / "executed.ipynb"
    node = Run(folder).notebook()
    write(node, result)
    if executed is not None:
        write(node, executed)
    learnt = learn_from(plan.pipeline.notebook.path, folder) if learn else []
    if as_json:
        summary = _summary(state, executed or result) | ({"learnt": [vars(lesson) for lesson in learnt]} if learn else {})
        print(json.dumps(summary, indent=2, ensure_ascii=False))  # noqa: T201
        raise typer.Exit(_EXIT.get(state.status, EXIT_FAILED))
    _out.print()
    colour = "green" if state.status == "done" else "red"
    _out.print(f"[{colour}]{state.status}[/] in {state.seconds:.1f} s   run {state.id}")
    for name, value in state.metrics.items():
        _out.print(f"  {escape(name)} = {value:.6g}")
    if learn:
        _print_learnt(learnt, plan)
    _out.print(f"executed notebook: {executed or _short(result)}", soft_wrap=True)
    if state.tracking:
        _out.print(f"MLflow: run {state.tracking.run_id} in experiment {escape(state.experiment)}; to see it:\n  "
                   f"{escape(ui_command(plan.pipeline.notebook.folder))}", soft_wrap=True)  # fmt: skip
    if state.status != "done":
        _out.print(
            f"[dim]details: mlops-lab logs {state.id}; go on after a fix: mlops-lab resume {state.id}[/]",
            soft_wrap=True,
        )
    raise typer.Exit(_EXIT.get(state.status, EXIT_FAILED))


def _print_learnt(learnt: list[Any], plan: Any) -> None:
    if not learnt:
        _out.print("learnt: nothing; the graph already shows what the run did")
        return
    _out.print(f"learnt, and written to the settings of the steps in {plan.pipeline.notebook.path.name}:")
    for lesson in learnt:
        _out.print(f"  {escape(str(lesson))}", soft_wrap=True)


def _short(path: Path) -> str:
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


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


@app.command()
def verify(
    notebook: NotebookArgument,
    suggested: Annotated[bool, typer.Option("--suggest", help="Cut an untagged notebook into the proposed steps.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Steps at once at the most; 0 means one a core.")] = 0,
    at_once: Annotated[bool, typer.Option("--at-once", help="Run straight and as a pipeline at the same time.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a notebook straight and as a pipeline, in copies of its folder, and compare outputs and final variables.

    What two straight runs don't agree on is left out. Exit code 1 when something differs, 2 when the pipeline can't run
    the notebook or the notebook fails by itself.
    """
    from mlops_lab import suggest as proposals
    from mlops_lab.display import print_verdict
    from mlops_lab.notebook import read
    from mlops_lab.verify import verify as compare

    source = read(notebook)
    node = proposals.apply(source, proposals.suggest(source)) if suggested else None
    told = (lambda text: None) if as_json else (lambda text: _err.print(f"[dim]{text} ...[/]"))
    verdict = compare(source.path, workers=workers, at_once=at_once, node=node, told=told)
    if as_json:
        print(json.dumps(asdict(verdict), indent=2, ensure_ascii=False))  # noqa: T201
    else:
        print_verdict(verdict, _out)
    raise typer.Exit({"equal": EXIT_DONE, "different": EXIT_FAILED}.get(verdict.status, EXIT_USAGE))


@app.command()
def suggest(
    notebook: NotebookArgument,
    write: Annotated[
        Path | None, typer.Option(metavar="OUT.ipynb", help="Write the notebook with the proposed tags here.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Propose steps for an untagged notebook, from its headings, its data flow and its cells' cost.

    The notebook itself is never changed; without --write the proposal is only shown.
    """
    from mlops_lab.api import Pipeline
    from mlops_lab.display import print_plan
    from mlops_lab.executed import write as write_notebook
    from mlops_lab.notebook import from_node, read
    from mlops_lab.pipeline import build
    from mlops_lab.plan import make_plan
    from mlops_lab.suggest import apply
    from mlops_lab.suggest import suggest as propose

    source = read(notebook)
    proposal = propose(source)
    node = apply(source, proposal)
    numbers = {cell.index: cell.number for cell in source.cells}
    if as_json:
        found = [
            {"cell": numbers.get(i), "tags": list(tags), "reason": proposal.reasons.get(i, "")}
            for i, tags in proposal.tags.items()
        ]
        print(json.dumps({"steps": list(proposal.steps), "cells": found}, indent=2, ensure_ascii=False))  # noqa: T201
    else:
        for index, tags in proposal.tags.items():
            reason = escape(proposal.reasons.get(index, ""))
            _out.print(f"cell {numbers.get(index, '?')}: [bold]{escape(', '.join(tags))}[/]  [dim]{reason}[/]")
        if not proposal.tags:
            for reason in proposal.reasons.values():
                _out.print(escape(reason))
        _out.print()
        print_plan(Pipeline(make_plan(build(from_node(node, source.path)))).plan, _out)
    if write:
        _writable(write, Path(notebook))
        write_notebook(node, write)
        _err.print(f"\nWrote {write}; run it with: mlops-lab run {write}")


def _homes(folder: Path) -> list[Home]:
    """The places below a folder where runs are kept (two levels deep, hidden folders left out)."""
    if os.environ.get("MLOPS_LAB_DIR"):
        return [Home.of(folder)]
    if folder.suffix == ".ipynb":
        return [Home.of(folder.absolute().parent)]
    found = [Home.of(folder)]
    for pattern in ("*/.mlops_lab", "*/*/.mlops_lab"):
        found += [
            Home(p)
            for p in sorted(folder.absolute().glob(pattern))
            if not any(x.startswith(".") for x in p.parts[len(folder.absolute().parts) : -1])
        ]
    return [home for home in found if home.runs.is_dir()]


def _find(run: str, folder: Path) -> RunFolder:
    homes = _homes(folder)
    if not homes:
        raise UsageError(f"There are no runs in {folder.absolute()} or below it. Name another folder with --folder.")
    if run == "last":
        return max((r for home in homes for r in home.list()[:1]), key=lambda r: r.id, default=homes[0].find(run))
    for home in homes[:-1]:
        try:
            return home.find(run)
        except UsageError:
            continue
    return homes[-1].find(run)


@app.command()
def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER|NOTEBOOK]", help="Whose runs; by default those of this folder and below.")
    ] = Path(),
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many, newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List runs, newest first. A run whose process is gone without an end is shown as interrupted."""
    from mlops_lab.api import Run
    from mlops_lab.display import print_runs

    folders = sorted((r for home in _homes(folder) for r in home.list()), key=lambda r: r.id, reverse=True)
    rows = []
    for each in folders:
        state = Run(each).state
        if folder.suffix == ".ipynb" and state.notebook != str(folder.absolute()):
            continue
        finished = sum(s.status in ("done", "cached") for s in state.steps.values())
        rows.append(
            {
                "run": each.id,
                "notebook": Path(state.notebook).name,
                "status": state.status,
                "started": state.started,
                "seconds": state.seconds,
                "steps": len(state.steps),
                "steps_done": finished,
                "metrics": state.metrics,
            }
        )
        if len(rows) == limit:
            break
    if as_json:
        print(json.dumps(rows, indent=2))  # noqa: T201
    elif rows:
        print_runs(rows, _out)
    else:
        _out.print(f"There are no runs in {folder.absolute()} or below it.")


@app.command()
def logs(
    run: RunArgument,
    step: Annotated[str, typer.Option(help="Only this step.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the run does, until it ends.")] = False,
    folder: FolderOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Print what the steps of a run put out, and how they ended."""
    found = _find(run, folder)
    started = found.started
    if step and started and step not in started.steps:
        raise UsageError(f"Run {found.id} has no step {step!r}; it has: {', '.join(started.steps)}.")
    for event in _follow(found) if follow else found.events():
        if step and getattr(event, "step", step) != step:
            continue
        if as_json:
            print(msgspec.json.encode(event).decode(), flush=True)  # noqa: T201
        else:
            _print_event(event)


def _follow(run: RunFolder) -> Iterator[ev.AnyEvent]:
    seen = 0
    while True:
        active = run.is_active  # asked before reading: what it wrote before it ended is then still read
        for event in run.events(seen):
            seen = event.seq
            yield event
            if isinstance(event, ev.RunFinished):
                return
        if not active:
            return
        time.sleep(0.2)


def _print_event(event: ev.AnyEvent) -> None:
    clock = time.strftime("%H:%M:%S", time.localtime(event.time))
    name = getattr(event, "step", "")
    head = f"[dim]{clock}[/] [bold]{escape(name)}[/]" if name else f"[dim]{clock}[/]"
    match event:
        case ev.RunStarted():
            _out.print(f"{head} run {event.run} of {escape(event.notebook)}", soft_wrap=True)
        case ev.StepStarted():
            _out.print(f"{head} starts, attempt {event.attempt} [dim]({escape(event.reason)})[/]")
        case ev.CellStarted():
            _out.print(f"{head} [dim]cell {event.cell} ({event.position} of {event.total})[/]")
        case ev.CellOutput():
            output = event.output
            text = output.get("text") or output.get("data", {}).get("text/plain") or "\n".join(output.get("traceback", []))
            _out.print(str(text).rstrip("\n"), markup=False, soft_wrap=True)
        case ev.StepFinished():
            failure = f": {escape(event.failure.message)}" if event.failure else ""
            again = f"; tried again in {event.retry_in:g} s" if event.retry_in is not None else ""
            _out.print(f"{head} {event.status} in {event.seconds:.1f} s{failure}{again}", soft_wrap=True)
        case ev.StepCached():
            _out.print(f"{head} cached from run {event.from_run}")
        case ev.StepSkipped() | ev.StepOvertaken():
            _out.print(f"{head} {'skipped' if isinstance(event, ev.StepSkipped) else 'overtaken'}: {escape(event.because)}")
        case ev.Message():
            _out.print(f"{head} {event.level}: {escape(event.text)}", soft_wrap=True)
        case ev.RunFinished():
            _out.print(f"{head} run {event.status} in {event.seconds:.1f} s {escape(event.message)}")


@app.command()
def cancel(run: RunArgument, folder: FolderOption = Path()) -> None:
    """Cancel a run that is in progress, and wait until its kernels are gone."""
    found = _find(run, folder)
    if not found.is_active:
        raise UsageError(f"Run {found.id} is not in progress.")
    found.request_cancel()
    deadline = time.monotonic() + 60
    while found.is_active and time.monotonic() < deadline:
        time.sleep(0.1)
    if found.is_active:
        raise MlopsLabError(f"Run {found.id} did not end within a minute.")
    _out.print(f"Cancelled run {found.id}.")


@app.command()
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
    from mlops_lab.api import load
    from mlops_lab.parameters import check as check_values
    from mlops_lab.targets import Options

    found = _find(run, folder)
    started = found.started
    if started is None:
        raise UsageError(f"Run {found.id} has no log to go on from.")
    if found.is_active:
        raise UsageError(f"Run {found.id} is still in progress; follow it with: mlops-lab logs {found.id} --follow")
    finished = found.finished
    if finished and finished.status == "done":
        raise UsageError(f"Run {found.id} is done: there is nothing to resume.")
    pipeline = load(started.notebook)
    defaults = {p.name: p.default for p in pipeline.parameters}
    given = {k: v for k, v in started.parameters.items() if k in defaults and v != defaults[k]}
    values = check_values(pipeline.parameters, given)
    if executed is not None:
        _writable(executed, Path(started.notebook))
    lineage: list[str] = []
    current: ev.RunStarted | None = started
    home = Home(found.path.parent.parent)
    while current is not None and current.run not in lineage:
        lineage.append(current.run)
        current = RunFolder(home.runs / current.resumed_from).started if current.resumed_from else None
    before = started.options
    options = Options(
        values,
        before.get("start", ""),
        before.get("end", ""),
        tuple(before.get("only", ())),
        before.get("cache", True),
        before.get("workers", 0),
        started.experiment,
        before.get("fail_fast", False),
        tuple(lineage),
        before.get("tracking", True),
        before.get("fixed_graph", False),
    )
    _run(pipeline.plan, options, executed, as_json)


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
