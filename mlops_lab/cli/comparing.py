"""The command that puts runs side by side: compare."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mlops_lab.cli.base import FolderOption, JsonOption, complete_run, out
from mlops_lab.errors import UsageError
from mlops_lab.moves import notebook_of
from mlops_lab.runs import find


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN ...", help="Ids of runs, unambiguous parts of them, or 'last'.", autocompletion=complete_run
        ),
    ],
    folder: FolderOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Put runs side by side: parameters, metrics, times, outputs, and what changed in the code from each to the next."""
    from mlops_lab.server.comparison import compare as side_by_side
    from mlops_lab.server.places import Places
    from mlops_lab.server.runs import Runs
    from mlops_lab.server.states import outline

    found = [find(name, folder) for name in runs]
    if len({run.id for run in found}) < max(len(found), 2):
        raise UsageError(f"Name two to ten different runs; {' and '.join(runs)} {'are one' if len(found) > 1 else 'is one'}.")
    started = [run.started for run in found]
    for run, begin in zip(found, started, strict=True):
        if begin is None:
            raise UsageError(f"Run {run.id} has no log to compare.")
    root = os.path.commonpath([place.parent for run in found if (place := notebook_of(run))])
    table = side_by_side(
        Runs(Places(root, allow_hidden=True)), [run.id for run in found], {run.id: outline(run.notebook) for run in found}
    )
    if as_json:
        print(json.dumps(table, indent=2, ensure_ascii=False))  # noqa: T201
    else:
        _print(table, [run.id for run in found])


def _print(table: dict[str, Any], names: list[str]) -> None:
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", *names):
        shown.add_column(heading)
    shown.add_row("status", *(run["status"] for run in table["runs"]))
    shown.add_row("took", *(f"{run['seconds']:.1f} s" for run in table["runs"]))
    for row in table["parameters"]:
        _add(shown, f"parameter {row['name']}", row, repr)
    for row in table["metrics"]:
        _add(shown, f"{row['step']}: {row['name']}", row, "{:.6g}".format)
    for step in table["steps"]:
        times = [
            None if s is None else f"{status} {s:.1f} s" for s, status in zip(step["seconds"], step["status"], strict=True)
        ]
        _add(shown, f"step {step['name']}", {"values": times, "same": not step["changed"]}, str)
    out.print(shown)
    for change in table["code"]:
        out.print(f"\n[bold]step {escape(str(change['step'] or 'none'))}[/] changed, {change['from']} -> {change['to']}:")
        out.print(Text(change["diff"]))


def _add(shown: Table, name: str, row: dict[str, Any], text: Any) -> None:
    style = "" if row["same"] else "bold yellow"
    shown.add_row(escape(name), *(Text("-" if value is None else text(value), style=style) for value in row["values"]))
