"""A run's picture as HTML without scripts: what a saved notebook, nbconvert and GitHub show of it."""

from __future__ import annotations

import base64
import time
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
    lines = [f"run {picture['id']} of {picture['notebook']}: {picture['status']}"]
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


def html(picture: dict[str, Any], graph: str) -> str:
    """The run as HTML: its status, the graph, a table of steps, its metrics. `graph` is an SVG."""
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(picture["started"]))
    seconds = f" in {picture['seconds']:.1f} s" if picture["seconds"] else ""
    told = f"<p>{escape(picture['message'])}</p>" if picture["message"] else ""
    # An <img>: front ends that clean HTML drop an inline <svg>, and its style can't reach the page.
    drawn = base64.b64encode(graph.encode()).decode()
    image = f'<img alt="Graph of the steps" src="data:image/svg+xml;base64,{drawn}"/>' if graph else ""
    return (
        f'{_STYLE}<div class="mlops-run-static" data-run="{escape(picture["id"])}">'
        f"<p><b>{escape(picture['pipeline'])}</b>: {escape(picture['status'])}{seconds} "
        f"(run {escape(picture['id'])}, started {started})</p>{told}{image}"
        f"<table><thead><tr><th>step</th><th>status</th><th>left</th></tr></thead><tbody>{_rows(picture)}</tbody></table>"
        f"{_metrics(picture)}{_links(picture)}</div>"
    )


def _rows(picture: dict[str, Any]) -> str:
    rows = []
    for step in picture["steps"]:
        left = ", ".join(f"{out['name']} ({out['preview'] or out['type']})" for out in step["outputs"][:6])
        cells = (f"{MARKS.get(step['status'], '')} {step['name']}", status(step), left)
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return "".join(rows)


def _metrics(picture: dict[str, Any]) -> str:
    rows = [
        f"<tr><td>{escape(step['name'])}</td><td>{escape(name)}</td><td>{number(value)}</td></tr>"
        for step in picture["steps"]
        for name, value in step["metrics"].items()
    ]
    head = "<table><thead><tr><th>step</th><th>metric</th><th>value</th></tr></thead><tbody>"
    return f"{head}{''.join(rows)}</tbody></table>" if rows else ""


def _links(picture: dict[str, Any]) -> str:
    mlflow = picture["mlflow"]
    if mlflow and mlflow["address"]:
        return f'<p><a href="{escape(mlflow["address"] + mlflow["place"])}">MLflow run</a></p>'
    return ""


def number(value: float | str) -> str:
    """A metric as people read it."""
    return value if isinstance(value, str) else f"{value:.6g}"
