"""A run's picture as HTML without scripts: what a saved notebook, nbconvert and GitHub show of it.

Viewers clean what they show, GitHub down to plain tables: no style, no class, no picture that is not a file. So all that is
said is text in tables, the edges of the graph too; the drawing is an extra.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

MARKS = {
    "waiting": "·", "running": "▶", "retrying": "↻", "done": "✓", "cached": "=", "failed": "✗", "rejected": "✗",
    "skipped": "-", "cancelled": "✗", "interrupted": "✗",
}  # fmt: skip

# Where the live widget stands below, it takes the place of this; where it can't be had, its empty place is not shown.
_STYLE = """<style>
.jp-OutputArea-child:has(.mlops-run-static):has(+ .jp-OutputArea-child .mlops-run){display:none}
.jp-OutputArea-child:has(.mlops-run-static) + .jp-OutputArea-child:not(:has(.mlops-run)){display:none}
</style>"""


def text(picture: dict[str, Any]) -> str:
    """The run in plain text, a line for each step."""
    run = f"run {picture['id']}" if picture["id"] else "a run"
    lines = [f"{run} of {picture['notebook']}: {picture['status']}"]
    width = max((len(step["name"]) for step in picture["steps"]), default=0)
    lines += [f" {MARKS.get(s['status'], ' ')} {s['name']:<{width}}  {status(s)}" for s in picture["steps"]]
    return "\n".join(lines)


def status(step: dict[str, Any]) -> str:
    """A step's status in words."""
    said = str(step["status"])
    if said == "running" and step["position"]:
        said = f"running cell {step['position']} of {step['total']}"
    elif said in ("done", "failed", "rejected"):
        said = f"{said} {'in' if said == 'done' else 'after'} {step['seconds']:.1f} s"
    elif said == "cached":
        said = f"cached from run {step['from_run']}"
    failure = step["failure"]
    if failure and step["status"] in ("failed", "rejected", "retrying"):
        where = f"cell {failure['cell']}" + (f", line {failure['line']}" if failure["line"] else "") + ": "
        said += f"; {where if failure['cell'] else ''}{failure['message']}"
    return said


def html(picture: dict[str, Any], graph: str, after: Mapping[str, Sequence[str]]) -> str:
    """The run as HTML: its status, the graph, a table of steps, its metrics.

    `graph` is an SVG, `after` the steps that each step follows.
    """
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(picture["started"]))
    seconds = f" in {picture['seconds']:.1f} s" if picture["seconds"] else ""
    run = f"run {escape(picture['id'])}, started {started}" if picture["id"] else f"asked for at {started}"
    told = f"<p>{escape(picture['message'])}</p>" if picture["message"] else ""
    # An <img>: front ends that clean HTML drop an inline <svg>, and its style can't reach the page.
    drawn = base64.b64encode(graph.encode()).decode()
    image = f'<img alt="Graph of the steps" src="data:image/svg+xml;base64,{drawn}"/>' if graph else ""
    return (
        f'{_STYLE}<div class="mlops-run-static" data-run="{escape(picture["id"])}">'
        f"<p><b>{escape(picture['pipeline'])}</b>: {escape(picture['status'])}{seconds} ({run})</p>{told}{image}"
        f"{_table(('step', 'runs after', 'status', 'left'), _rows(picture, after))}"
        f"{_metrics(picture)}{_links(picture)}</div>"
    )


def _table(head: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"


def _rows(picture: dict[str, Any], after: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for step in picture["steps"]:
        left = ", ".join(f"{out['name']} ({out['preview'] or out['type']})" for out in step["outputs"][:6])
        name = f"{MARKS.get(step['status'], '')} {step['name']}"
        rows.append((name, ", ".join(after.get(step["name"], ())), status(step), left))
    return rows


def _metrics(picture: dict[str, Any]) -> str:
    rows = [(step["name"], name, number(value)) for step in picture["steps"] for name, value in step["metrics"].items()]
    return _table(("step", "metric", "value"), rows) if rows else ""


def _links(picture: dict[str, Any]) -> str:
    mlflow = picture["mlflow"]
    if mlflow and mlflow["address"]:
        return f'<p><a href="{escape(mlflow["address"] + mlflow["place"])}">MLflow run</a></p>'
    return ""


def number(value: float | str) -> str:
    """A metric as people read it."""
    return value if isinstance(value, str) else f"{value:.6g}"
