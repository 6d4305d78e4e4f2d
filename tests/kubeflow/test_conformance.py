"""Compiled pipelines, run by KFP's own `kfp.local` where MLOps Lab can't be imported, give what the notebooks give.

With KFP_ALL=1 every example and every notebook of the parity table is run; else one notebook for each group of the table's rows,
an example, and notebooks about what only a compiled pipeline has to do. The others are compared in process.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from parity import inprocess as parity
from parity.everyday import EVERYDAY
from parity.process import quick
from parity.test_table import MISSING, OPEN, ROWS, batches, cells_of, clean, outputs, straight, write

import mlops_lab
from mlops_lab.executed import assemble
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


@pytest.mark.parametrize("name", ["heart-disease", *(["temperature-anomalies"] if ALL else [])])
def test_an_example_gives_what_a_local_run_gives(name, run_locally, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    pipeline = mlops_lab.load(tmp_path / "examples" / f"{name}.ipynb")
    run = run_locally(compile_pipeline(pipeline.plan, install=False))
    local = pipeline.run(tracking=False)
    for have, want in zip(executed(run, pipeline).cells, local.notebook().cells, strict=True):
        if want.cell_type == "code":
            assert shown(have, tmp_path) == shown(want, tmp_path), want.source
    for step in pipeline.steps:
        left = local.steps[step].outputs.describe()
        for name, output in run.ledger(step)[step]["outputs"].items():
            if output and name.isidentifier():
                assert left[name].version == output["version"][0], f"{step}: {name}"


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
