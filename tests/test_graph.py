"""Pictures of a plan: Mermaid text and an SVG."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

import pytest
from conftest import CellSpec, notebook_node

from mlops_lab.graph import mermaid, svg
from mlops_lab.notebook import from_node
from mlops_lab.pipeline import build
from mlops_lab.plan import Plan, make_plan

PLANS: dict[str, list[CellSpec]] = {
    "empty": [],
    "one step": ["x = 1"],
    "a diamond with a gate": [("step:a", "x = 1"), ("step:b", "y = x"), ("step:c", "z = x"), ("step:d gate", "assert y < z"),
                              ("step:e", "w = 1")],
    "a path that must be escaped": [("step:a", "open('<a&\"b\">', 'w')"), ("step:b", "open('<a&\"b\">')")],
    "a step name that must be escaped": [('step:a<b>&"c"', "x = 1"), ("step:b", "y = x")],
    "a cycle": [("step:a after:b", "x = 1"), ("step:b", "y = x")],
    "many variables": [("step:a", "a1 = a2 = a3 = a4 = a5 = a6 = a7 = a8 = a9 = 1"),
                       ("step:b", "f(a1, a2, a3, a4, a5, a6, a7, a8, a9)")],
    "thirty steps": [(f"step:s{i}", f"v{i} = v{i - 1} + v{i // 2}") for i in range(30)],
}  # fmt: skip


def plan(cells: Sequence[CellSpec]) -> Plan:
    metadata = {"mlops_lab": {"name": '<the> & "name"'}}
    return make_plan(build(from_node(notebook_node(cells, metadata), "nb.ipynb")))


@pytest.mark.parametrize("cells", PLANS.values(), ids=PLANS)
def test_the_svg_is_xml_with_all_steps_and_edges_and_no_boxes_on_each_other(cells: list[CellSpec]) -> None:
    made = plan(cells)
    root = ElementTree.fromstring(svg(made))
    space = "{http://www.w3.org/2000/svg}"
    texts = root.findall(f".//{space}text")
    assert [t.text for t in texts if t.get("class") == "name"] == [s.name for s in made.steps]
    paths = [p for p in root.findall(f"{space}path") if p.get("class") == "edge"]
    assert [p.findtext(f"{space}title") for p in paths] == [e.label for e in made.edges]
    boxes = [b for b in root.findall(f".//{space}rect") if (b.get("class") or "").startswith("box")]
    places = [(float(b.get("x", 0)), float(b.get("y", 0))) for b in boxes]
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    assert all(x >= 0 and x + 170 <= width and y >= 0 and y + 46 <= height for x, y in places)
    assert all(y1 != y2 or abs(x1 - x2) >= 170 for i, (x1, y1) in enumerate(places) for x2, y2 in places[:i])


@pytest.mark.parametrize("cells", PLANS.values(), ids=PLANS)
def test_the_mermaid_text_has_a_line_for_each_step_and_edge(cells: list[CellSpec]) -> None:
    made = plan(cells)
    lines = mermaid(made).splitlines()
    assert lines[0] == "flowchart TD"
    assert len(lines) == 1 + len(made.steps) + len(made.edges)
    assert all(line.count('"') == 2 for line in lines[1:])


def test_the_mermaid_text_of_a_small_plan() -> None:
    made = plan([("step:a", "x = 1"), ("step:b gate", "assert x")])
    assert mermaid(made) == 'flowchart TD\n    s0["a"]\n    s1{{"b"}}\n    s0 -->|"x"| s1\n'


def test_an_edge_points_downwards() -> None:
    root = ElementTree.fromstring(svg(plan(PLANS["a diamond with a gate"])))
    rows = [float(b.get("y", 0)) for b in root.iter() if (b.get("class") or "").startswith("box")]
    assert rows[0] < rows[1] == rows[2] < rows[3] < rows[4]


def test_the_picture_of_a_run_has_the_status_of_each_step_as_colour_and_text() -> None:
    drawn = svg(plan(PLANS["a diamond with a gate"]), {"a": "done", "d": "rejected"})
    root = ElementTree.fromstring(drawn)
    steps = {g.get("data-step"): g for g in root.iter() if (g.get("class") or "").startswith("step")}
    assert [steps[name].get("class") for name in ("a", "b", "d")] == ["step done", "step ", "step rejected"]
    assert "cell 1, done" in "".join(steps["a"].itertext())
    assert ".mlops-graph .step.rejected .box{" in drawn
