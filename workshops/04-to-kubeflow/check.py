"""The checks of the fourth workshop."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from checklist import Work, main


def travels(work: Work) -> str | None:
    """Will everything work there?"""
    from mlops_lab.targets.kubeflow import checks

    found = checks.check(work.pipeline.plan)
    return f"{found[0].code} in cell {found[0].cell}: {found[0].message} {found[0].fix}" if found else None


def asks(work: Work) -> str | None:
    """Does the step ask for resources and retries?"""
    settings = {each.step.name: each.step.settings for each in work.pipeline.plan.steps}.get("warm")
    if settings is None or settings.memory is None or not settings.retries:
        return 'The step warm asks for nothing. Give it memory (such as "512Mi") and retries in the sidebar.'
    return None


def compiled(work: Work) -> str | None:
    """Is the file what the notebook compiles to?"""
    from mlops_lab.targets.kubeflow.compile import compile_pipeline

    file = work.path.with_name("pipeline.yaml")
    if not file.exists():
        return f"There is no pipeline.yaml. Compile: mlops-lab compile {work.path.name} --no-install -o pipeline.yaml"
    if file.read_text() != compile_pipeline(work.pipeline.plan, install=False).yaml:
        return "pipeline.yaml was compiled from an earlier version of the notebook. Compile it again."
    return None


def ran(work: Work) -> str | None:
    """Did Kubeflow's local runner run this file?"""
    result = work.path.with_name("kfp-run.json")
    if not result.exists():
        return "The pipeline was not run yet. Run: python run_locally.py"
    told = json.loads(result.read_text())
    if told["pipeline"] != work.path.with_name("pipeline.yaml").read_text():
        return "Another pipeline.yaml was run. Run again: python run_locally.py"
    return None if told["status"] == "SUCCESS" else f"The run ended as {told['status']}. What it printed says why."


main([
    ("everything travels", travels),
    ("the step warm asks for memory and retries", asks),
    ("pipeline.yaml is compiled from the notebook", compiled),
    ("Kubeflow's local runner ran it", ran),
])  # fmt: skip
