"""Commands about runs that were started: runs, logs, cancel."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from mlops_lab import events as ev
from mlops_lab.cli.base import FolderOption, JsonOption, RunArgument, err, out
from mlops_lab.errors import MlopsLabError, UsageError
from mlops_lab.moves import Notebooks
from mlops_lab.runs import RunFolder, find, homes
from mlops_lab.runstate import so_far
from mlops_lab.targets import cancel as cancel_elsewhere
from mlops_lab.targets import refresh


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER|NOTEBOOK]", help="Whose runs; by default those of this folder and below.")
    ] = Path(),
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many, newest first.")] = 20,
    where: Annotated[
        str, typer.Option(metavar="SEARCH", help="Only these, as MLflow searches: \"metrics.auc > 0.9 and params.n = '3'\".")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List runs, newest first. A run whose process is gone without an end is shown as interrupted."""
    from mlops_lab.api import Run
    from mlops_lab.display import print_runs

    if not folder.exists():
        raise UsageError(f"{folder}: there is no such {'notebook' if folder.suffix == '.ipynb' else 'folder'}.")
    notebooks = {home: Notebooks(home) for home in homes(folder)}
    folders = sorted((r for home in notebooks for r in home.list()), key=lambda r: r.id, reverse=True)
    if where:
        from mlops_lab.where import matching

        found = matching(folders, where)
        folders = [each for each in folders if each.path in found]
    rows, damaged = [], []
    unreachable: set[str] = set()
    for each in folders:
        _bring_up_to_date(each, unreachable)
        state = Run(each).state
        notebook = notebooks[each.home].now(each, state.notebook, state.started)
        if folder.suffix == ".ipynb" and os.path.realpath(notebook) != os.path.realpath(folder):
            continue
        damaged += [each] if state.is_damaged else []
        finished = sum(s.status in ("done", "cached") for s in state.steps.values())
        rows.append(
            {
                "run": each.id,
                "notebook": notebook.name,
                "status": state.status,
                "target": state.target,
                "started": state.started,
                "seconds": so_far(state, each.log, state.status),
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
        print_runs(rows, out)
    else:
        which = f"for which {where}" if where else ""
        place = f"of {folder.name}" if folder.suffix == ".ipynb" else f"in {folder.absolute()} or below it"
        out.print(f"There are no runs {place}{which and ' ' + which}.", soft_wrap=True, markup=False)
    if damaged:
        more = f" and in the logs of {len(damaged) - 1} more runs" if len(damaged) > 1 else ""
        text = f"some lines in {damaged[0].log}{more} can't be read"
        err.print(f"[yellow]Damaged:[/] {escape(text)}; what they told is left out here.", soft_wrap=True)


def logs(
    run: RunArgument,
    step: Annotated[str, typer.Option(help="Only this step.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the run does, until it ends.")] = False,
    folder: FolderOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Print what the steps of a run put out, and how they ended."""
    found = find(run, folder)
    started = found.started
    if started is None and not found.is_active:
        raise UsageError(
            f"Run {found.id} has no log that can be read: {found.log} is {'damaged' if found.log.exists() else 'gone'}."
        )
    if step and started and step not in started.steps:
        raise UsageError(f"Run {found.id} has no step {step!r}; it has: {', '.join(started.steps)}.")

    def show(event: ev.AnyEvent) -> None:
        if step and getattr(event, "step", step) != step and not (isinstance(event, ev.Message) and ev.tells_damage(event)):
            return
        if as_json:
            print(msgspec.json.encode(event).decode(), flush=True)  # noqa: T201
        else:
            _print_event(event)

    elsewhere = found.is_remote and not found.is_active
    if elsewhere and not follow:
        _bring_up_to_date(found, set())
    for event in found.follow() if follow and not elsewhere else found.events():
        show(event)
    if elsewhere and follow:
        refresh(found, follow=True, listeners=(show,))


def _bring_up_to_date(run: RunFolder, unreachable: set[str]) -> None:
    """Ask the engine that has the run how it stands; say once if that can't be done. Its log then shows what was known."""
    if not run.is_remote or unreachable:
        return
    try:
        refresh(run)
    except MlopsLabError as error:
        unreachable.add(str(error))
        err.print(f"[yellow]Not up to date:[/] {escape(str(error))}", soft_wrap=True)


def _print_event(event: ev.AnyEvent) -> None:
    clock = time.strftime("%H:%M:%S", time.localtime(event.time))
    name = getattr(event, "step", "")
    head = f"[dim]{clock}[/] [bold]{escape(name)}[/]" if name else f"[dim]{clock}[/]"
    match event:
        case ev.RunStarted():
            out.print(f"{head} run {event.run} of {escape(event.notebook)}", soft_wrap=True)
        case ev.StepStarted():
            out.print(f"{head} starts, attempt {event.attempt} [dim]({escape(event.reason)})[/]")
        case ev.CellStarted():
            out.print(f"{head} [dim]cell {event.cell} ({event.position} of {event.total})[/]")
        case ev.CellOutput():
            output = event.output
            text = output.get("text") or output.get("data", {}).get("text/plain") or "\n".join(output.get("traceback", []))
            out.print(str(text).rstrip("\n"), markup=False, soft_wrap=True)
        case ev.StepFinished():
            failure = f": {escape(event.failure.message)}" if event.failure else ""
            again = f"; tried again in {event.retry_in:g} s" if event.retry_in is not None else ""
            out.print(f"{head} {event.status} in {event.seconds:.1f} s{failure}{again}", soft_wrap=True)
        case ev.StepCached():
            out.print(f"{head} cached from run {event.from_run}")
        case ev.StepSkipped() | ev.StepOvertaken():
            out.print(f"{head} {'skipped' if isinstance(event, ev.StepSkipped) else 'overtaken'}: {escape(event.because)}")
        case ev.Message():
            out.print(f"{head} {event.level}: {escape(event.text)}", soft_wrap=True)
        case ev.RunFinished():
            out.print(f"{head} run {event.status} in {event.seconds:.1f} s {escape(event.message)}")


def cancel(run: RunArgument, folder: FolderOption = Path()) -> None:
    """Cancel a run that is in progress, and wait until its kernels are gone."""
    found = find(run, folder)
    if found.is_remote and not found.is_active and found.finished is None:
        cancel_elsewhere(found)
        finished = found.finished
        ended = finished is not None and finished.status != "cancelled"
        out.print(
            f"Run {found.id} had ended already: {finished.status}." if finished and ended else f"Cancelled run {found.id}."
        )
        return
    if not found.is_active:
        raise UsageError(f"Run {found.id} is not in progress.")
    found.request_cancel()
    deadline = time.monotonic() + 60
    while found.is_active and time.monotonic() < deadline:
        time.sleep(0.1)
    if found.is_active:
        raise MlopsLabError(f"Run {found.id} did not end within a minute.")
    if found.is_remote and found.finished is None:  # who held it only had a look
        cancel_elsewhere(found)
    ended = found.finished
    late = ended is not None and ended.status != "cancelled"  # its steps had, and MLflow was taking the rest
    out.print(f"Run {found.id} had ended already: {ended.status}." if ended and late else f"Cancelled run {found.id}.")


def gc(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER|NOTEBOOK]", help="Where the runs are kept.")] = Path(),
    keep: Annotated[str, typer.Option(metavar="SIZE", help="How much may stay: 5GB, 500MB, 0.")] = "5GB",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be deleted.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make room: delete the least recently used runs, and the values that no other run refers to.

    Of each notebook the latest run stays, with all that it refers to.
    """
    from dataclasses import asdict

    from mlops_lab import gc as collector

    if str(folder).upper() in {"B", "KB", "MB", "GB", "TB"}:  # `--keep 5 GB`
        keep, folder = f"{keep} {folder}", Path()
    size = collector.parse_size(keep)
    found = homes(folder)
    if not found:
        raise UsageError(f"There are no runs in {folder.absolute()} or below it. Name another folder.")
    cleared = {str(home.folder): collector.collect(home, size, dry_run) for home in found}
    if as_json:
        print(json.dumps({place: asdict(one) for place, one in cleared.items()}, indent=2))  # noqa: T201
        return
    for place, one in cleared.items():
        word = "would delete" if dry_run else "deleted"
        out.print(
            f"{escape(place)}: {word} {len(one.runs)} runs and {one.bundles} values; "
            f"{one.before / 1e6:.1f} MB -> {one.after / 1e6:.1f} MB",
            soft_wrap=True,
        )
        if one.after > size:
            out.print(f"[dim]what is left is needed by the latest run of each notebook ({size / 1e6:.1f} MB were asked for)[/]")
