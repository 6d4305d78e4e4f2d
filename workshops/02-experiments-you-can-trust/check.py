"""The checks of the second workshop."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from checklist import Work, has_parameters, main

from mlops_lab import Run


def logs(work: Work) -> str | None:
    """Do runs have the metric?"""
    if "log_metric" not in work.source("score"):
        return 'The step score logs nothing. Add mlflow.log_metric("error", error), and import mlflow.'
    return None if any("error" in run.metrics for run in done(work)) else "No run has the metric error yet. Run the notebook."


def compared(work: Work) -> str | None:
    """Are there runs with different rates?"""
    rates = {run.state.parameters.get("rate") for run in done(work) if "error" in run.metrics}
    return None if len(rates) > 2 else f"{len(rates)} values of rate were run with the metric. Try three, with -p rate=..."


def repeated(work: Work) -> str | None:
    """Was an old run made anew, every step of it, and did it give the same values?"""
    runs = done(work)
    for index, new in enumerate(runs):
        anew = {step.status for step in new.steps.values()} == {"done"}
        for old in runs[index + 1 :]:
            if anew and new.state.parameters == old.state.parameters and versions(new) == versions(old):
                return None
    return "No run repeats an older one. Let seed make the data, and run with parameters of an older run and with --no-cache."


def done(work: Work) -> list[Run]:
    """The runs that went to the end."""
    return [run for run in work.runs if run.status == "done"]


def versions(run: Run) -> dict[str, str]:
    """The digest of each value that the steps left."""
    found = [item for step in run.steps.values() for item in step.outputs.describe().items()]
    return {name: output.version for name, output in found if name != "rng"}


main([
    ("rate and seed are parameters with types", has_parameters(rate="float", seed="int")),
    ("the error is logged", logs),
    ("three rates can be compared", compared),
    ("an old run was reproduced exactly", repeated),
])  # fmt: skip
