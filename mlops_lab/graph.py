"""Draws a plan: as Mermaid text, or as an SVG picture laid out in layers by the longest path.

The picture of a run is the same, with its steps in the colours of their status.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from mlops_lab.errors import UsageError
from mlops_lab.plan import Plan

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 170, 46, 46, 64, 20
_LABEL = 34  # longest edge label shown in the picture; the rest is in its tooltip


def mermaid(plan: Plan) -> str:
    """A Mermaid flowchart; GitHub and JupyterLab draw it in Markdown."""
    ids = {step.name: f"s{i}" for i, step in enumerate(plan.steps)}
    lines = ["flowchart TD"]
    for step in plan.steps:
        shape = '{{"%s"}}' if step.step.gate else '["%s"]'
        lines.append(f"    {ids[step.name]}{shape % _quoted(step.name)}")
    for edge in plan.edges:
        label = _quoted(_short(edge.label))
        lines.append(f'    {ids[edge.source]} -->|"{label}"| {ids[edge.target]}')
    return "\n".join(lines) + "\n"


# Fill and line of a step, by its status; the line alone must tell them apart for who sees no hue, so the status is text too.
COLOURS = {
    "running": ("#e0f2fe", "#0369a1"), "retrying": ("#fef3c7", "#b45309"), "done": ("#e7f6ec", "#15803d"),
    "cached": ("#e5edff", "#3651b5"), "failed": ("#fde8e8", "#b91c1c"), "rejected": ("#f7e6fb", "#86198f"),
    "skipped": ("#f1f3f7", "#66708a"), "cancelled": ("#fff3e0", "#b45309"), "interrupted": ("#fff3e0", "#b45309"),
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A drawn graph: shown by notebooks as it is; `save` writes it to a file."""

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write the picture into an .svg file."""
        if Path(path).suffix != ".svg":
            raise UsageError(f"{path}: the picture is an SVG; choose a name that ends in .svg.")
        try:
            Path(path).write_text(self.svg, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"Can't write {path}: {error.strerror}.") from None

    def __repr__(self) -> str:
        return "<Picture: an SVG of the steps; save it with .save('graph.svg')>"


def svg(plan: Plan, statuses: Mapping[str, str] | None = None) -> str:
    """A self-contained SVG: steps as boxes (gates with cut corners), edges with the variables that make them.

    `statuses` gives steps the colour of their status in a run, and says it in their second line.
    """
    place = _layout(plan)
    columns = max((x for x, _ in place.values()), default=0) + 1
    rows = max((y for _, y in place.values()), default=0) + 1
    width = 2 * _MARGIN + columns * (_WIDTH + _GAP_X) - _GAP_X
    height = 2 * _MARGIN + rows * (_HEIGHT + _GAP_Y) - _GAP_Y
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}" '
        f'role="img" aria-label="{escape(plan.pipeline.name)}" font-family="sans-serif" class="mlops-graph">',
        f"<style>{_style()}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#8a94ad"/></marker></defs>',
        f'<rect class="ground" width="{width:.0f}" height="{height}"/>',
    ]
    for edge in plan.edges:
        x1, y1 = _corner(place[edge.source])
        x2, y2 = _corner(place[edge.target])
        x1, y1, x2 = x1 + _WIDTH / 2, y1 + _HEIGHT, x2 + _WIDTH / 2
        bend = max(24.0, (y2 - y1) / 2)
        parts.append(
            f'<path class="edge" marker-end="url(#tip)" d="M{x1:.1f} {y1:.1f} C{x1:.1f} {y1 + bend:.1f} {x2:.1f} '
            f'{y2 - bend:.1f} {x2:.1f} {y2 - 2:.1f}"><title>{escape(edge.label)}</title></path>'
        )
        # The label stands near the target, where edges of one source have parted.
        lx, ly = x1 + (x2 - x1) * 0.72, y1 + (y2 - y1) * 0.72
        parts.append(f'<text class="label" x="{lx:.1f}" y="{ly:.1f}" text-anchor="middle">{escape(_short(edge.label))}</text>')
    for step in plan.steps:
        x, y = _corner(place[step.name])
        radius = 2 if step.step.gate else 9
        numbers = step.step.numbers
        cells = f"cell {numbers[0]}" if len(numbers) == 1 else f"cells {numbers[0]} to {numbers[-1]}"
        kind = "gate, " if step.step.gate else ""
        status = (statuses or {}).get(step.name, "")
        cells += f", {status}" if status else ""
        parts += [
            f'<g class="step {status}" data-step="{escape(step.name)}">',
            f'<rect class="box{" gate" if step.step.gate else ""}" x="{x:.1f}" y="{y:.1f}" '
            f'width="{_WIDTH}" height="{_HEIGHT}" rx="{radius}"/>',
            f'<text class="name" x="{x + _WIDTH / 2:.1f}" y="{y + 20:.1f}" text-anchor="middle">{escape(step.name)}</text>',
            f'<text class="cells" x="{x + _WIDTH / 2:.1f}" y="{y + 36:.1f}" text-anchor="middle">{kind}{cells}</text></g>',
        ]
    return "\n".join([*parts, "</svg>\n"])


def _style() -> str:
    """The picture's rules. They name its class: inside a page, a style counts for all of it."""
    rules = {
        ".ground": "fill:#fff",
        ".box": "fill:#fff;stroke:#5b6b8c;stroke-width:1.5",
        ".gate": "fill:#fff7e0;stroke:#b8860b",
        ".name": "font-size:14px;font-weight:600;fill:#1f2a44",
        ".cells": "font-size:11px;fill:#55607a",
        ".edge": "fill:none;stroke:#8a94ad;stroke-width:1.3",
        ".label": "font-size:10.5px;fill:#4a5570;paint-order:stroke;stroke:#fff;stroke-width:3px",
    }
    rules |= {f".step.{status} .box": f"fill:{fill};stroke:{line};stroke-width:2" for status, (fill, line) in COLOURS.items()}
    return "".join(f".mlops-graph {selector}{{{style}}}" for selector, style in rules.items())


def _quoted(text: str) -> str:
    return text.replace('"', "'").replace("|", "/")


def _short(label: str) -> str:
    return label if len(label) <= _LABEL else label[: _LABEL - 1] + "…"


def _corner(place: tuple[float, int]) -> tuple[float, float]:
    return _MARGIN + place[0] * (_WIDTH + _GAP_X), _MARGIN + place[1] * (_HEIGHT + _GAP_Y)


def _layout(plan: Plan) -> dict[str, tuple[float, int]]:
    """(column, row) of each step: rows by the longest path, columns by the mean of what is above, without overlap."""
    row: dict[str, int] = {}
    for _ in plan.steps:  # enough rounds for any chain, also through `after:` tags that point upwards
        for step in plan.steps:
            above = [row[s] for s in plan.sources[step.name] if s in row]
            row[step.name] = min(max(above, default=-1) + 1, len(plan.steps) - 1)
    column: dict[str, float] = {}
    for level in range(max(row.values(), default=-1) + 1):
        names = [step.name for step in plan.steps if row[step.name] == level]

        def wish(name: str) -> float:
            above = [column[s] for s in plan.sources[name] if s in column]
            return sum(above) / len(above) if above else 0.0

        taken: list[float] = []
        for name in sorted(names, key=wish):
            taken.append(max(wish(name), taken[-1] + 1) if taken else wish(name))
            column[name] = taken[-1]
        shift = sum(column[n] - wish(n) for n in names) / len(names) / 2 if names else 0.0
        for name in names:
            column[name] -= shift
    left = min(column.values(), default=0.0)
    return {name: (column[name] - left, row[name]) for name in row}
