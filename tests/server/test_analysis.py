"""What the editor is told about its cells; quick fixes make their diagnostics go away."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import CellSpec, notebook_node

from mlops_lab.errors import NotebookError, UsageError
from mlops_lab.notebook import StepSettings
from mlops_lab.server import analysis
from mlops_lab.server.changes import changes
from mlops_lab.server.errors import TooLarge
from mlops_lab.server.requests import Posted, PostedCell
from mlops_lab.server.worker import Worker

ROOT = Path(__file__).parent.parent.parent
AT = Path("/somewhere/nb.ipynb")


def posted(cells: list[CellSpec], metadata: dict[str, Any] | None = None) -> Posted:
    """Cells as the editor posts them, with the ids c0, c1, ..."""
    node = notebook_node(cells, metadata)
    found = [PostedCell(f"c{i}", c.cell_type, c.source, list(c.metadata.get("tags", []))) for i, c in enumerate(node.cells)]
    return Posted("nb.ipynb", found, json.loads(json.dumps(node.metadata)))


def analysed(cells: list[CellSpec], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    return analysis.analyse(analysis.notebook_of(posted(cells, metadata), AT))


def test_cells_come_back_as_steps_edges_and_roles_by_the_ids_of_the_editor():
    found = analysed([
        "import math",
        ("parameters", "n: int = 3  # how many\nmode: Literal['a', 'b'] = 'a'\nrate: Annotated[float, Ge(0)] = 0.5\nwhen = (1, 2)"),
        ("md", "# text"),
        ("setup", "import json"),
        ("step:a", "x = list(range(n))"),
        "y = math.pi",
        ("skip", "print(x)"),
        ("step:check gate", "assert x"),
        ("step:b after:check", "z = sum(x)"),
        "%mlops run",
        "",
    ])  # fmt: skip
    assert [(s["name"], s["cells"], s["gate"], s["implicit"]) for s in found["steps"]] == [
        ("start", ["c0"], False, True),
        ("a", ["c4", "c5"], False, False),
        ("check", ["c7"], True, False),
        ("b", ["c8"], False, False),
    ]
    assert found["steps"][1]["reads"] == ["n"]
    assert found["steps"][1]["prelude"] == ["import math"]
    assert [s["leaves"] for s in found["steps"]] == [[], ["x", "y"], [], ["z"]]
    assert {(e["source"], e["target"], *e["variables"]) for e in found["edges"]} >= {("a", "check", "x"), ("a", "b", "x")}
    assert {"kind": "order", "name": ""} in next(e for e in found["edges"] if e["source"] == "check")["reasons"]
    roles = {cell: (each["role"], each["step"], each["begins"]) for cell, each in found["cells"].items()}
    assert roles == {
        "c0": ("step", "start", False), "c1": ("parameters", None, False), "c3": ("setup", None, False),
        "c4": ("step", "a", True), "c5": ("step", "a", False), "c6": ("skip", None, False),
        "c7": ("gate", "check", True), "c8": ("step", "b", True), "c9": ("outside", None, False),
    }  # fmt: skip
    given = {p["name"]: p for p in found["parameters"]}
    assert (given["n"]["kind"], given["n"]["default"], given["n"]["description"]) == ("int", 3, "how many")
    assert given["mode"]["choices"] == ["a", "b"]
    assert given["rate"]["bounds"] == {"ge": 0}
    assert (given["when"]["given"], given["when"]["default"]) == (False, "(1, 2)")
    assert all(p["cell"] == "c1" for p in given.values())


@pytest.mark.parametrize(
    ("cells", "leaves"),
    [
        ([("step:a", "import time\nfrom os import path as p\n_ = time.time()\n_own = x = 1"), ("step:b", "print(x)")], [["x"], []]),
        ([("step:a", "rows = []"), ("step:b", "rows.append(1)"), ("step:c", "print(rows)")], [["rows"], ["rows"], []]),
        ([("step:a", "rows = [2, 1]"), ("step:b", "rows.sort()\nprint(rows)")], [["rows"], []]),
        ([("step:a", "x = 1"), ("step:b", "x = 2\ny = x"), ("step:c", "exec('print(x)')")], [["x"], ["x", "y"], []]),
        ([("parameters", "n = 1"), ("step:a", "n = n + 1\ndef f(): pass")], [["f"]]),
    ],
)  # fmt: skip
def test_a_step_leaves_what_a_user_calls_its_results(cells, leaves):
    assert [step["leaves"] for step in analysed(cells)["steps"]] == leaves


EDITS: list[tuple[str, Callable[[list[CellSpec]], Any]]] = [
    ("nothing", lambda cells: None),
    ("a value", lambda cells: cells.__setitem__(4, "y4 = 5")),
    ("a problem", lambda cells: cells.__setitem__(-1, ("step:end", "print(nothing_like_it)"))),
    ("another step", lambda cells: cells.insert(3, ("step:more", "z = y1"))),
    ("a step less", lambda cells: cells.__delitem__(slice(2, 5))),
    ("parameters", lambda cells: cells.insert(0, ("parameters", "n: int = 3"))),
    ("other cells", lambda cells: cells.__setitem__(slice(None), [("step:only", "x = 1")])),
    ("nothing at all", lambda cells: cells.clear()),
]


def merged(before: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What a front end makes of an analysis and its changes."""
    after = before | {name: found[name] for name in found.keys() & {"name", "description"}}
    for name in found.keys() & {"steps", "edges", "parameters", "diagnostics"}:
        after[name] = list(before[name])
        for splice in reversed(found[name]):
            after[name][splice["at"] : splice["at"] + splice["remove"]] = splice["items"]
    cells = before["cells"] | found.get("cells", {})
    return after | {"cells": {cell: each for cell, each in cells.items() if each}}


@pytest.mark.parametrize(("what", "edit"), EDITS, ids=[what for what, _ in EDITS])
def test_the_changes_of_an_analysis_make_the_next_one_of_it(what, edit):
    cells: list[CellSpec] = [(f"step:s{i // 2}" if i % 2 == 0 else "", f"y{i} = {f'y{i - 1}' if i else 0}") for i in range(12)]
    before = analysed(cells)
    edit(cells)
    after = analysed(cells)
    for one, other in ((before, after), (after, before)):
        found = changes(one, other)
        assert merged(one, found) | {"milliseconds": 0} == other | {"milliseconds": 0}
        assert bool(found) == (what != "nothing")
    if what == "a value":  # the names that it leaves and reads, and the edge to it
        assert sum(len(s["items"]) for name in ("steps", "edges", "diagnostics") for s in found.get(name, [])) < 6, found


def test_a_diagnostic_says_where_its_name_stands_in_the_units_of_an_editor():
    found = analysed([("step:a", "total = 1\nprint('🎈', totl)")])["diagnostics"]
    [typo] = [d for d in found if d["code"] == "ML112"]
    assert (typo["cell"], typo["line"], typo["column"], typo["end_column"]) == ("c0", 2, 12, 16)


FIXABLE: list[tuple[str, list[CellSpec], dict[str, Any]]] = [
    ("ML101", [("step:a", "x = 1"), ("step:b", "x +")], {}),
    ("ML102", [("step:a", "x = 1"), ("Step:b", "y = x")], {}),
    ("ML102", [("paramters", "n = 1"), ("step:a", "x = n")], {}),
    ("ML103", [("step:Train It", "x = 1"), ("step:b after:Train It", "y = 2"), ("step:Train It", "z = 3")], {}),
    ("ML103", [("step:Train_It", "x = 1"), ("step:train-it", "y = 2")], {"steps": {"Train_It": {"cpu": 2}}}),
    ("ML104", [("step:make", "x = 1"), ("step:b after:mak", "y = 2")], {}),
    ("ML104", [("step:make", "x = 1"), ("step:b after:nothing-like-it", "y = 2")], {}),
    ("ML104", [("step:make", "x = 1")], {"steps": {"maek": {"cpu": 2}}}),
    ("ML104", [("step:make", "x = 1")], {"steps": {"make": {}, "maek": {"cpu": 2}}}),
    ("ML105", [("step:a after:b", "x = 1"), ("step:b", "y = x")], {}),
    ("ML105", [("step:a after:c", "x = 1"), ("step:b", "y = x"), ("step:c after:b", "z = 1")], {}),
    ("ML106", [("step:a step:b", "x = 1")], {}),
    ("ML106", [("step:a gate", "x = 1"), ("step:b", "y = 1"), ("step:a", "z = 1")], {}),
    ("ML107", [("setup step:a", "x = 1"), ("step:b", "y = 1")], {}),
    ("ML107", [("parameters skip", "x = 1"), ("step:b", "y = 1")], {}),
    ("ML107", [("gate", "assert 1"), ("step:b", "y = 1")], {}),
    ("ML110", [("step:a", "x = 1"), ("setup", "y = x"), ("step:b", "print(y)")], {}),
    ("ML111", [("skip", "x = 1"), ("step:b", "print(x)")], {}),
    ("ML112", [("step:a", "total = 1"), ("step:b", "print(1, totl)")], {}),
    ("ML114", [("parameters", "n = int('3')"), ("step:b", "print(n)")], {}),
    ("ML115", [("step:a", "x = 1")], {"steps": {"a": {"timeout": -5, "retries": 1}}}),
]


@pytest.mark.parametrize(("code", "cells", "settings"), FIXABLE, ids=lambda v: v if isinstance(v, str) else "")
def test_a_fix_makes_its_diagnostic_go_away_and_brings_no_other(code, cells, settings):
    before = posted(cells, {"mlops_lab": settings} if settings else {})
    found = analysis.analyse(analysis.notebook_of(before, AT))["diagnostics"]
    fixable = [d for d in found if d["code"] == code and "fix" in d]
    assert fixable, found
    while fixable:  # one after the other, as a user applies them
        apply(before, fixable[0]["fix"]["edits"])
        left = analysis.analyse(analysis.notebook_of(before, AT))["diagnostics"]
        assert len(left) < len(found), (fixable[0], left)
        found, fixable = left, [d for d in left if d["code"] == code and "fix" in d]
    assert code not in {d["code"] for d in found}


def test_tags_that_a_cell_has_from_its_text_are_left_to_its_author():
    gate, skip = "%%mlops step a --gate\nassert 1", "%%mlops step b\nx = 1"
    for tags, source in (("gate", gate), ("skip", skip), ("skip parameters", skip), ("Step:c", skip)):
        edits = [
            e for d in analysed([(tags, source), ("step:z", "x")])["diagnostics"] for e in d.get("fix", {"edits": []})["edits"]
        ]
        assert not any("step:b" in e.get("tags", ()) or e.get("tags") == tags.split() for e in edits), edits
    below = analysed([("", "%%mlops step b\n%%time\ntotal = 1\nprint(totl)")])["diagnostics"]
    assert [(d["code"], d["line"]) for d in below if d["code"] == "ML112"] == [("ML112", 4)]


def apply(notebook: Posted, edits: list[dict[str, Any]]) -> None:
    """What a front end does with the edits of a fix."""
    by_id = {cell.id: cell for cell in notebook.cells}
    steps = notebook.metadata.get("mlops_lab", {}).get("steps", {})
    for edit in edits:
        match edit["kind"]:
            case "set_tags":
                by_id[edit["cell"]].tags = edit["tags"]
            case "replace":
                lines = by_id[edit["cell"]].source.splitlines()
                line = lines[edit["line"] - 1]
                lines[edit["line"] - 1] = line[: edit["column"]] + edit["text"] + line[edit["end_column"] :]
                by_id[edit["cell"]].source = "\n".join(lines)
            case "set_setting":
                steps[edit["step"]].pop(edit["key"])
            case "rename_settings":
                moved = steps.pop(edit["step"])
                if edit["to"] is not None:
                    steps[edit["to"]] = moved


def test_a_suggestion_comes_with_the_pipeline_that_it_would_make():
    node = nbformat.read(ROOT / "examples/heart-disease.ipynb", 4)
    cells = [("md" if c.cell_type == "markdown" else "", c.source) for c in node.cells]
    found = analysis.suggestion(analysis.notebook_of(posted(cells), AT))
    assert len(found["steps"]) >= 4
    assert [s["name"] for s in found["analysis"]["steps"] if not s["implicit"]] == found["steps"]
    assert {tag for tags in found["tags"].values() for tag in tags} >= {f"step:{name}" for name in found["steps"]}
    assert set(found["tags"]) == set(found["reasons"])
    tagged = analysis.suggestion(analysis.notebook_of(posted([("step:a", "x = 1")]), AT))
    assert (tagged["tags"], list(tagged["reasons"])) == ({}, ["c0"])


@pytest.mark.parametrize(
    ("wrong", "kind", "says"),
    [
        (Posted("nb.ipynb", [PostedCell("a", "code", "1"), PostedCell("a", "code", "2")]), UsageError, "id of its own"),
        (Posted("nb.ipynb", [PostedCell("", "code", "1")]), UsageError, "id of its own"),
        (Posted("nb.ipynb", [PostedCell(str(i), "code", "") for i in range(10_001)]), TooLarge, "10,000"),
        (Posted("nb.ipynb", [], {"mlops_lab": {"setps": {}}}), NotebookError, "steps"),
        (Posted("nb.ipynb", [], {"mlops_lab": 3}), NotebookError, "must be an object"),
        (Posted("nb.ipynb", [], {"kernelspec": "python3"}), UsageError, "kernelspec"),
        (Posted("nb.ipynb", [], {"kernelspec": {"language": "R"}}), NotebookError, "only Python"),
    ],
)
def test_what_is_no_notebook_of_ours_is_refused_in_one_sentence(wrong, kind, says):
    with pytest.raises(kind, match=says):
        analysis.analyse(analysis.notebook_of(wrong, AT))


def test_every_setting_of_a_step_is_in_the_table_that_forms_are_made_of():
    told = {row["name"] for row in analysis.roles()["settings"]}
    learnt = {"changes", "uses"}  # written by runs, not by people
    assert told == set(StepSettings.__struct_fields__) - learnt


def test_a_hundred_cells_are_analysed_while_one_types():
    cells: list[CellSpec] = []
    for i in range(25):
        cells.append((f"step:s{i}", f"frame{i} = [v * {i} for v in range(100)]\ntotal{i} = sum(frame{i})"))
        cells += [f"part{i}_{k} = [frame{i}[j] + total{max(i - 1, 0)} for j in range({k + 1})]" for k in range(3)]
    took = []
    for edit in range(5):
        cells[50] = f"edited = {edit}"
        began = time.process_time()
        assert len(analysed(cells)["steps"]) == 25
        took.append(time.process_time() - began)
    # 300 ms is what a user is promised from key to graph, of which the analysis is one part.
    assert min(took) < 0.15, took


def test_equal_questions_are_answered_once_and_those_nobody_waits_for_are_not_begun():
    async def story() -> None:
        worker, done, gate = Worker("test", remember=2), [], threading.Event()

        def work(name: str) -> str:
            gate.wait(10)
            done.append(name)
            return name

        async def ask(name: str) -> str:
            return await worker.once(name.encode(), lambda: work(name))

        first, same = asyncio.ensure_future(ask("a")), asyncio.ensure_future(ask("a"))
        dropped, kept = asyncio.ensure_future(ask("b")), asyncio.ensure_future(ask("c"))
        await asyncio.sleep(0.05)
        same.cancel()
        dropped.cancel()
        await asyncio.sleep(0.05)
        gate.set()
        assert (await first, await kept, await ask("a")) == ("a", "c", "a")
        assert done == ["a", "c"]
        worker.close()

    asyncio.run(story())


def test_the_server_answers_what_changed_since_the_version_that_is_named_and_all_where_it_knows_none(server):
    def ask(source: str, since: str | None = None) -> dict[str, Any]:
        cells = [{"id": "a", "cell_type": "code", "source": "x = 1", "tags": ["step:a"]}]
        cells.append({"id": "b", "cell_type": "code", "source": source, "tags": ["step:b"]})
        body = {"path": "not-there.ipynb", "cells": cells} | ({} if since is None else {"since": since})
        answer = server.post("/analyse", body)
        assert answer.status == 200, answer
        return answer.content  # type: ignore[no-any-return]

    first = ask("print(x)")
    changed = ask("print(x)\ny = 2", first["version"])
    assert changed["since"] == first["version"] != changed["version"]
    assert [s["items"][0]["leaves"] for s in changed["steps"]] == [["y"]]
    assert changed.keys().isdisjoint({"cells", "edges", "name", "diagnostics"})
    back = ask("print(x)", changed["version"])
    assert back["version"] == first["version"]
    for unknown in ("", "0" * 64):
        assert {k: v for k, v in ask("print(x)", unknown).items() if k != "milliseconds"} == {
            k: v for k, v in first.items() if k != "milliseconds"
        }
