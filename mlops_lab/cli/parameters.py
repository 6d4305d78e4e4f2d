"""The command that lists a notebook's parameters: params."""

from __future__ import annotations

import json

from rich.markup import escape
from rich.table import Table

from mlops_lab.cli.base import JsonOption, NotebookArgument, out


def params(notebook: NotebookArgument, as_json: JsonOption = False) -> None:
    """List a notebook's parameters: type, default, what they are for. Give them values with [bold]run -p NAME=VALUE[/]."""
    from mlops_lab.api import load
    from mlops_lab.display import model

    pipeline = load(notebook)
    if as_json:
        print(json.dumps(model(pipeline.plan)["parameters"], indent=2, ensure_ascii=False))  # noqa: T201
        return
    if not pipeline.parameters:
        out.print(f"{escape(notebook)} has no parameters: no cell has the tag 'parameters'.", soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("parameter", "type", "default", "cell", ""):
        table.add_column(heading)
    for each in pipeline.parameters:
        table.add_row(
            escape(each.name), escape(each.annotation), escape(repr(each.default)), str(each.cell), escape(each.description)
        )
    out.print(table)
