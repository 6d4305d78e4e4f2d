"""The checks of the third workshop."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from checklist import Work, has_parameters, has_steps, main, without_errors


def is_gate(work: Work) -> str | None:
    """Is the data check a gate?"""
    steps = [each.step for each in work.pipeline.plan.steps if each.step.name == "check"]
    if not steps or not steps[0].gate:
        return "The step check is no gate. Press P G on its cell, or choose the gate in the sidebar."
    return None


def rejects(work: Work) -> str | None:
    """Was broken data rejected, and good data not?"""
    broken = [run.status for run in work.runs if run.state.parameters.get("broken") is True]
    if not broken:
        return "Show that the gate works: run with -p broken=true."
    if broken[0] != "rejected":
        return f"The newest run with broken data was {broken[0]}. Let the schema ask for -40 to 85, and assert found.empty."
    good = [run.status for run in work.runs if not run.state.parameters.get("broken")]
    return None if good and good[0] == "done" else "Run with good data as well; it has to pass the gate."


def listens(work: Work) -> str | None:
    """Does the number of odd readings follow the parameter?"""
    shares = {run.state.parameters.get("contamination") for run in work.runs if run.status == "done"}
    reads = "contamination=contamination" in work.source("detect").replace(" ", "")
    if not reads:
        return "The forest has a fixed contamination. Give it the parameter: contamination=contamination."
    return None if len(shares) > 1 else "Run with another share, with -p contamination=0.02."


def draws(work: Work) -> str | None:
    """Does the report have a picture?"""
    for run in work.runs:
        if run.status == "done":
            outputs = [output for cell in run.notebook().cells for output in cell.get("outputs", [])]
            pictures = [output for output in outputs if "image/png" in output.get("data", {})]
            return None if pictures else "The newest finished run has no picture. Draw one in the step report."
    return "No run went to the end yet."


main([
    ("contamination and broken are parameters with types", has_parameters(contamination="float", broken="bool")),
    ("the steps are those of the page", has_steps("load", "check", "detect", "report")),
    ("there are no diagnostics", without_errors),
    ("the data check is a gate", is_gate),
    ("broken data is rejected, good data passes", rejects),
    ("the share of odd readings is a parameter of the run", listens),
    ("the report has a picture", draws),
])  # fmt: skip
