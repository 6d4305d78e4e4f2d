"""Commands about a notebook: show, check, suggest, verify."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from mlops_lab.cli.base import JsonOption, NotebookArgument, err, out, writable
from mlops_lab.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, UsageError


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
        print_plan(pipeline.plan, out)
    if graph:
        _draw(pipeline.plan, graph)
        err.print(f"Drew the graph into {graph}")
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


def check(
    notebook: NotebookArgument,
    on: Annotated[str, typer.Option("--on", metavar="TARGET", help="Also list what would not work there: kubeflow.")] = "local",
    as_json: JsonOption = False,
) -> None:
    """List what is wrong with a notebook as a pipeline. Exit code 2 when there are errors."""
    from mlops_lab.api import load
    from mlops_lab.display import print_diagnostics
    from mlops_lab.targets import check as check_target

    pipeline = load(notebook)
    found = (*pipeline.diagnostics, *check_target(pipeline.plan, on))
    if as_json:
        print(json.dumps([asdict(d) for d in found], indent=2, ensure_ascii=False))  # noqa: T201
    else:
        print_diagnostics(found, out)
        errors = sum(d.severity == "error" for d in found)
        warnings = len(found) - errors
        out.print(f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}")
    if any(d.severity == "error" for d in found):
        raise typer.Exit(EXIT_USAGE)


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
    if write:
        writable(write, Path(notebook), "--write")
    proposal = propose(source)
    pipeline = Pipeline(make_plan(build(from_node(apply(source, proposal), source.path))))
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
            out.print(f"cell {numbers.get(index, '?')}: [bold]{escape(', '.join(tags))}[/]  [dim]{reason}[/]")
        if not proposal.tags:
            for reason in proposal.reasons.values():
                out.print(escape(reason))
        out.print()
        print_plan(pipeline.plan, out)
    if write:
        write_notebook(apply(source, proposal), write)
        err.print(f"\nWrote {write}; run it with: mlops-lab run {write}")
    if any(diagnostic.severity == "error" for diagnostic in pipeline.diagnostics):
        raise typer.Exit(EXIT_USAGE)


def verify(
    notebook: NotebookArgument,
    suggested: Annotated[bool, typer.Option("--suggest", help="Cut an untagged notebook into the proposed steps.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Steps at once at the most; 0 means one a core.")] = 0,
    at_once: Annotated[bool, typer.Option("--at-once", help="Run straight and as a pipeline at the same time.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a notebook straight and as a pipeline, in copies of its folder, and compare outputs and final variables.

    What straight runs don't agree on is left out. Exit code 1 when something differs, 2 when the pipeline can't run
    the notebook or the notebook fails by itself.
    """
    from mlops_lab import suggest as proposals
    from mlops_lab.display import print_verdict
    from mlops_lab.notebook import read
    from mlops_lab.verify import verify as compare

    source = read(notebook)
    node = proposals.apply(source, proposals.suggest(source)) if suggested else None
    told = (lambda text: None) if as_json else (lambda text: err.print(f"[dim]{text} ...[/]"))
    verdict = compare(source.path, workers=workers, at_once=at_once, node=node, told=told)
    if as_json:
        print(json.dumps(asdict(verdict), indent=2, ensure_ascii=False))  # noqa: T201
    else:
        print_verdict(verdict, out)
    raise typer.Exit({"equal": EXIT_DONE, "different": EXIT_FAILED}.get(verdict.status, EXIT_USAGE))
