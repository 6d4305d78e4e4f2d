"""What the command line and `Pipeline.show` print: plans, diagnostics, the progress of a run, lists of runs."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mlops_lab import events as ev
from mlops_lab import runstate
from mlops_lab.checks import Diagnostic, check
from mlops_lab.plan import Plan

if TYPE_CHECKING:
    from mlops_lab.verify import Verdict

_LOOK = {
    "waiting": ("·", "dim"), "running": ("▶", "cyan"), "retrying": ("↻", "yellow"), "done": ("✓", "green"),
    "cached": ("=", "blue"),
    "failed": ("✗", "red"), "rejected": ("✗", "magenta"), "skipped": ("-", "dim"), "cancelled": ("✗", "yellow"),
}  # fmt: skip


def model(plan: Plan) -> dict[str, Any]:
    """The whole plan as plain data: what `show --json` prints and other front ends read."""
    return {
        "name": plan.pipeline.name,
        "notebook": str(plan.pipeline.notebook.path),
        "parameters": [
            {"name": p.name, "type": p.annotation, "default": p.default if _plain(p.default) else repr(p.default),
             "description": p.description, "cell": p.cell, "line": p.line}
            for p in plan.pipeline.parameters
        ],
        "steps": [
            {"name": s.name, "cells": list(s.step.numbers), "gate": s.step.gate, "implicit": s.step.implicit,
             "reads": None if s.reads is None else sorted(s.reads & _made(plan)), "writes": sorted(s.writes),
             "after": list(s.step.after), "prelude": [item.code for item in s.prelude]}
            for s in plan.steps
        ],
        "edges": [
            {"source": e.source, "target": e.target, "reasons": [{"kind": r.kind, "name": r.name} for r in e.reasons]}
            for e in plan.edges
        ],
        "diagnostics": [asdict(d) for d in check(plan)],
    }  # fmt: skip


def _made(plan: Plan) -> frozenset[str]:
    return frozenset().union(*(s.writes for s in plan.steps), {p.name for p in plan.pipeline.parameters})


def _plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def print_plan(plan: Plan, console: Console | None = None) -> None:
    """Print steps, edges, parameters and diagnostics for people."""
    console = console or Console()
    console.print(f"[bold]{escape(plan.pipeline.name)}[/]  {len(plan.steps)} steps")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("step", "cells", "runs after"):
        table.add_column(heading)
    for step in plan.steps:
        after = [f"{escape(e.source)} [dim]({escape(e.label)})[/]" for e in plan.edges if e.target == step.name]
        kind = " [yellow]gate[/]" if step.step.gate else " [dim]implicit[/]" if step.step.implicit else ""
        cells = ", ".join(str(number) for number in step.step.numbers)
        table.add_row(f"[bold]{escape(step.name)}[/]{kind}", cells, "\n".join(after) or "[dim]nothing[/]")
    console.print(table)
    if plan.pipeline.parameters:
        console.print("\n[dim]parameters[/]")
        for p in plan.pipeline.parameters:
            about = f"  [dim]{escape(p.description)}[/]" if p.description else ""
            console.print(f"  {escape(p.name)}: {escape(p.annotation)} = {escape(repr(p.default))}{about}", highlight=False)
    print_diagnostics(check(plan), console)


def print_diagnostics(diagnostics: Iterable[Diagnostic], console: Console) -> None:
    """Print diagnostics, one a paragraph."""
    for d in diagnostics:
        colour = "red" if d.severity == "error" else "yellow"
        where = f"cell {d.cell}" + (f", line {d.line}" if d.line else "") if d.cell else "notebook"
        console.print(f"\n[{colour}]{d.code} {d.severity}[/] {where}: {escape(d.message)}\n  {escape(d.fix)}", highlight=False)


class Progress:
    """Shows a run as it goes: one line a step, live on a terminal, one line an event elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.state = runstate.RunState()
        self.live = Live(console=console, refresh_per_second=8, get_renderable=self._render) if console.is_terminal else None

    def __enter__(self) -> Progress:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, event: ev.AnyEvent) -> None:
        # Rich ends the program, or the thread that prints, once nobody reads the other end of a pipe; the run goes on.
        with contextlib.suppress(SystemExit):
            self._show(event)

    def _show(self, event: ev.AnyEvent) -> None:
        runstate.apply(self.state, event)
        if isinstance(event, ev.Message) and event.level != "info":
            self.console.print(f"[yellow]{event.level}[/]: {escape(event.text)}", highlight=False)
        if self.live is None and isinstance(
            event, (ev.StepStarted, ev.StepFinished, ev.StepCached, ev.StepSkipped, ev.StepOvertaken, ev.CellStarted)
        ):
            self.console.print(self._line(self.state.steps[event.step]), highlight=False)

    def _render(self) -> Group:
        return Group(*(self._line(step) for step in self.state.steps.values()))

    def _line(self, step: runstate.StepState) -> Text:
        mark, colour = _LOOK[step.status]
        width = max(len(name) for name in self.state.steps)
        return Text.assemble(
            (f" {mark} ", colour), (f"{step.name:<{width}}  ", "bold"), (_status(step), colour), (_detail(step), "dim")
        )


def _status(step: runstate.StepState) -> str:
    if step.status == "running":
        spent = time.time() - step.started
        return f"running cell {step.position} of {step.total} ({spent:.0f} s)" if step.position else f"starting ({spent:.0f} s)"
    if step.status in ("done", "failed", "rejected"):
        return (
            f"{step.status} in {step.seconds:.1f} s" if step.status == "done" else f"{step.status} after {step.seconds:.1f} s"
        )
    if step.status == "cached":
        return f"cached from run {step.from_run}"
    return step.status


_PLAIN_REASONS = {"", "never run", "the cache is off", "asked for"}


def _detail(step: runstate.StepState) -> str:
    parts = []
    if step.overtaken:
        parts.append(f"ran again {step.overtaken} times" if step.overtaken > 1 else "ran again: its inputs had changed")
    elif step.status in ("running", "done") and step.reason not in _PLAIN_REASONS:
        parts.append(step.reason)
    if step.status == "skipped":
        parts.append(step.reason)
    if step.failure and step.status in ("failed", "rejected", "retrying"):
        parts.append(step.failure.message.splitlines()[0][:100])
    return "  " + "; ".join(parts) if parts else ""


def print_failures(state: runstate.RunState, console: Console) -> None:
    """Print why steps failed: where, what, and the end of the traceback."""
    for step in state.steps.values():
        failure = step.failure
        if failure is None or step.status not in ("failed", "rejected"):
            continue
        where = f", cell {failure.cell}" + (f", line {failure.line}" if failure.line else "") if failure.cell else ""
        console.print(f"\n[red]Step {escape(step.name)}{where} {step.status}[/]: {escape(failure.message)}", highlight=False)
        if failure.traceback and failure.kind == "error" and failure.cell:
            lines = failure.traceback.splitlines()
            console.print(Text.from_ansi("\n".join(["    " + line for line in lines if line.strip()][-14:])))


def print_runs(rows: list[dict[str, Any]], console: Console) -> None:
    """Print a table of runs, newest first."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    headings = ["run", "notebook", "status", "started", "took", "steps", "metrics"]
    narrow = console.width < 100
    if narrow:
        headings.remove("started")  # the run's id begins with it
    for heading in headings:
        table.add_column(heading, no_wrap=heading not in {"notebook", "metrics"}, overflow="fold")
    for row in rows:
        status = row["status"]
        colour = {"done": "green", "failed": "red", "rejected": "magenta", "running": "cyan"}.get(status, "yellow")
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["started"])) if row["started"] else ""
        metrics = ", ".join(f"{k} {v:.4g}" for k, v in list(row["metrics"].items())[:4])
        cells = (row["run"], escape(row["notebook"]), f"[{colour}]{status}[/]", started, f"{row['seconds']:.1f} s",
                 f"{row['steps_done']}/{row['steps']}", escape(metrics))  # fmt: skip
        table.add_row(*(cell for cell in cells if not narrow or cell is not started))
    console.print(table)


def print_verdict(verdict: Verdict, console: Console) -> None:
    """Print how a pipeline compares with the straight run of its notebook."""
    for cell in verdict.differences:
        console.print(f"\n[red]cell {cell.cell}[/] (step {escape(cell.step)}) is {cell.status}", highlight=False)
        console.print(Text(cell.why or "it shows the same, otherwise put together"))
    for variable in verdict.different_variables:
        console.print(
            Text(f"\nvariable {variable.name} (left by step {variable.step}) differs after the last cell: {variable.why}")
        )
    unstable = sum(cell.status == "unstable" for cell in verdict.cells)
    equal = sum(cell.status == "equal" for cell in verdict.cells)
    colour = "green" if verdict.status == "equal" else "red"
    left_out = f", {unstable} left out (straight runs differ there)" if unstable else ""
    compared = [variable for variable in verdict.variables if variable.status != "incomparable"]
    same = sum(variable.status == "equal" for variable in compared)
    variables = f"; {same} of {len(compared)} variables equal at the end" if compared else ""
    console.print(f"[{colour}]{verdict.status}[/]: {equal} of {len(verdict.cells)} cells equal{left_out}{variables}")
    if verdict.message:
        console.print(Text(verdict.message))
