"""Compiled pipelines, run by KFP's own `kfp.local` where MLOps Lab can't be imported, give what the notebooks give.

With KFP_ALL=1 every example and every notebook of the parity table is run; else one notebook for each group of the table's rows,
and notebooks about what only a compiled pipeline has to do. The others are compared in process.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from conftest import notebook_node
from parity import inprocess as parity
from parity.everyday import EVERYDAY
from parity.process import quick
from parity.test_table import MISSING, OPEN, ROWS, batches, cells_of, clean, outputs, straight, write

import mlops_lab
from mlops_lab.executed import assemble
from mlops_lab.runtime import remote
from mlops_lab.targets.kubeflow.compile import compile_pipeline

from . import inprocess

EXAMPLES = Path(__file__).parents[2] / "examples"
ALL = bool(os.environ.get("KFP_ALL"))


def groups():
    """The rows of each group that a pipeline gives as the notebook does, all in one notebook; with ALL, also those that stand alone."""
    found = {}
    for row in (*ROWS, *EVERYDAY):
        usual = row.expect == "equal" and row.group != "alone" and row.name not in OPEN
        if usual and not any(MISSING.search(source) for _, source in row.cells):
            found.setdefault(row.group, []).append(row)
    return [*found.values(), *(rows for rows in batches() if ALL and len(rows) == 1 and rows[0].expect == "equal")]


def shown(cell, folder):
    """What a cell shows, without paths of the places where it ran."""
    found = outputs(cell, folder)
    return clean(found, Path("/")) if not found else [_without_places(part) for part in found]


def _without_places(value):
    if isinstance(value, list):
        return [_without_places(v) for v in value]
    if isinstance(value, dict):
        return {k: _without_places(v) for k, v in value.items()}
    if not isinstance(value, str):
        return value
    value = re.sub(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d", "<time>", value)
    return re.sub(r"/[\w/.-]*/mlops-lab/[\w-]+/notebook", "<folder>", value)


def executed(run, pipeline):
    """The notebook with the outputs of all steps."""
    interfaces = run.compiled.interfaces
    found = {step: run.artifact(step, interfaces[step].executed) for step in run.compiled.steps if run.has(step)}
    return assemble(pipeline.plan.pipeline, found)


@pytest.mark.parametrize("rows", groups(), ids=lambda rows: rows[0].group if len(rows) > 1 else rows[0].name)
def test_rows_of_the_parity_table_give_what_the_notebook_gives(rows, run_locally, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    cells = cells_of(rows)
    path = write(cells, tmp_path / "pipeline")
    pipeline = mlops_lab.load(path)
    run = run_locally(compile_pipeline(pipeline.plan, install=False))
    got, expected = executed(run, pipeline), straight(write(cells, tmp_path / "straight"))
    kept = [cell for cell in got.cells if "skip" not in cell.metadata.get("tags", ())]
    for (tags, source, row), want, have in zip(cells, expected.cells, kept, strict=True):
        assert shown(have, tmp_path / "pipeline") == shown(want, tmp_path / "straight"), (
            f"{row.name}: {tags} {source}\n{run.log[-3000:]}"
        )
        if any(output[0] == "error" for output in outputs(want, tmp_path)):
            break


@pytest.mark.skipif(not ALL, reason="eleven kernels one after the other; KFP_ALL=1 runs the examples")
@pytest.mark.parametrize("name", ["heart-disease", "temperature-anomalies"])
def test_an_example_gives_what_a_local_run_gives(name, run_locally, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    pipeline = mlops_lab.load(tmp_path / "examples" / f"{name}.ipynb")
    run = run_locally(compile_pipeline(pipeline.plan, install=False))
    local = pipeline.run(tracking=False)
    for have, want in zip(executed(run, pipeline).cells, local.notebook().cells, strict=True):
        if want.cell_type == "code":
            assert shown(have, tmp_path) == shown(want, tmp_path), want.source


def test_notebooks_that_stand_alone_agree_or_are_refused_with_nothing_but_their_artifacts(monkeypatch):
    """Those that the harness without kernels can run at all: there are no magics, and what is put into packages stays there."""
    count = 0
    with quick() as folder:
        for rows in batches():
            row = rows[0]
            if len(rows) > 1 or row.expect != "equal" or row.files or row.name in OPEN:
                continue
            if parity.verdict(list(row.cells), 0, folder)[0] != "equal":
                continue
            with monkeypatch.context() as patch:
                patch.setattr(parity, "pipeline", inprocess.pipeline)
                kind, what, _ = parity.verdict(list(row.cells), 0, folder)
            assert kind != "different", f"{row.name}: {what}"
            count += kind == "equal"
    assert count > 20


def test_what_only_a_compiled_pipeline_has_to_carry_is_carried(run_locally, tmp_path, monkeypatch):
    """Parameters, modules and data beside the notebook, files of steps, the environment, deleted names, random draws, large data."""
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    cells = [
        ("", "import os, random\nimport numpy as np\nfrom pathlib import Path\nfrom helpers import Counter, total\nrandom.seed(7)"),
        ("parameters", "rate: float = 0.5\nsizes = [1, 2]\nname: str | None = None"),
        ("setup", "LIMIT = 3\ndef scaled(x):\n    return x * rate"),
        ("step:load", "rows = [int(n) for n in open('data/rows.txt')]\nbig = np.arange(500_000)\nview = big[10:]\nold = 1\n"
         "Path('out').mkdir()\nPath('out/a.txt').write_text('a')\nget = os.environ\nget.update(MODE='fast')"),
        ("step:change", "del old\nview[0] = -1\ntotal(rows)\nPath('out/b.txt').write_text(name or 'none')\nos.remove('data/rows.txt')\n"
         "def late():\n    return LIMIT + len(sizes)"),
        ("step:show", "print(rate, sizes, name, scaled(2), late(), rows, big[10], np.shares_memory(view, big), Counter.count)\n"
         "print(sorted(p.name for p in Path('out').iterdir()), Path('data/rows.txt').exists(), 'old' in globals(), os.environ['MODE'])\n"
         "print(random.random())"),
    ]  # fmt: skip
    given = {"rate": 0.25, "sizes": [4, 5, 6], "name": "x"}

    def made(folder):
        (folder / "data").mkdir(parents=True)
        (folder / "data" / "rows.txt").write_text("1\n2\n")
        (folder / "helpers.py").write_text(
            "class Counter:\n    count = 0\n\ndef total(rows):\n    Counter.count += 1\n    rows.append(sum(rows))\n"
        )
        nbformat.write(notebook_node(cells), folder / "nb.ipynb")
        return mlops_lab.load(folder / "nb.ipynb")

    pipeline = made(tmp_path / "remote")
    compiled = compile_pipeline(pipeline.plan, install=False)
    run = run_locally(compiled, **compiled.arguments(given))
    local = made(tmp_path / "local").run(given, tracking=False, fixed_graph=True)
    assert local.status == "done"
    last = executed(run, pipeline).cells[-1].outputs
    assert [output.text for output in last] == [output.text for output in local.notebook().cells[-1].outputs]
    assert "0.25 [4, 5, 6] x 0.5 6 [1, 2, 3] -1 True 1" in last[0].text
    assert run.value("change", "rows") == [1, 2, 3]


def test_a_gate_ends_the_run_before_the_steps_that_depend_on_it_and_tells_that_it_did(run_locally, notebook):
    path = notebook(
        [("step:train", "accuracy = 0.4"), ("step:check gate", "assert accuracy > 0.5, 'too low'"), ("step:use", "print(1)")]
    )
    run = run_locally(compile_pipeline(mlops_lab.load(path).plan, install=False))
    assert run.has("train") and not run.has("check") and not run.has("use")
    (line,) = [line for line in run.log.splitlines() if '"step_finished"' in line and '"check"' in line]
    event = json.loads(line.partition(remote.EVENT)[2])
    assert event["status"] == "rejected"
    assert event["failure"]["message"] == "AssertionError: too low"
    assert "rejected: AssertionError: too low" in run.log


def test_a_change_behind_the_graph_is_refused_in_the_step_that_makes_it(run_locally, notebook):
    cells = [
        ("step:a", "box = [1]\nchange = {'f': lambda: box.append(2)}"),
        ("step:b", "change['f']()"),
        ("step:c", "print(box)"),
    ]
    run = run_locally(compile_pipeline(mlops_lab.load(notebook(cells)).plan, install=False))
    assert "ML203: " in run.log or "ML205: " in run.log


def test_unrelated_steps_that_use_one_file_are_refused_by_the_first_step_after_both(run_locally, notebook):
    code = "import subprocess, sys\ndone = subprocess.run([sys.executable, '-c', f'open({name!r}, \"w\")']).returncode"
    cells = [("step:start", "name = 'x.txt'"), ("step:write", code), ("step:read", "import os\nprint(os.path.exists(name))")]
    plan = mlops_lab.load(notebook(cells)).plan
    assert "write" not in plan.sources["read"], "else there is nothing to find out"
    run = run_locally(compile_pipeline(plan, install=False))
    assert run.has("write") and run.has("read")
    assert "ML202: step 'write' writes the file x.txt, and step 'read', which stands below it, uses it too" in run.log
