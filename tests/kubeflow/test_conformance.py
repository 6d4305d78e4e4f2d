"""Compiled pipelines against KFP's own code: run by `kfp.local` where MLOps Lab can't be imported, they give what local runs give."""

from __future__ import annotations

from pathlib import Path

import mlops_lab
from mlops_lab.targets.kubeflow.compile import compile_pipeline

EXAMPLES = Path(__file__).parents[2] / "examples"


def shown(node):
    """What the user's cells show, by cell."""
    return [[clean(output) for output in cell.outputs] for cell in node.cells if "cell" in cell.metadata.get("mlops_lab", {})]


def clean(output):
    return {k: v for k, v in output.items() if k not in {"metadata"}}


def test_an_example_gives_what_a_local_run_gives(run_locally, tmp_path):
    import shutil

    shutil.copytree(EXAMPLES, tmp_path / "ex")
    pipeline = mlops_lab.load(tmp_path / "ex" / "heart-disease.ipynb")
    run = run_locally(compile_pipeline(pipeline.plan, install=False))
    assert run.returned == 0, run.log
    local = pipeline.run(tracking=False)
    import nbformat

    for step in pipeline.steps:
        assert shown(run.executed(step)) == shown(nbformat.read(local.steps[step].state.notebook, as_version=4)), step
