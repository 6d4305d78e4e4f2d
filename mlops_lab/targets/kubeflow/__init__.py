"""Kubeflow Pipelines as a target: the same steps, compiled to a KFP pipeline, submitted and followed.

Heavy packages (kfp, its Kubernetes client) are imported by what uses them, never here.
"""

from __future__ import annotations

from mlops_lab.checks import Diagnostic
from mlops_lab.plan import Plan
from mlops_lab.runs import RunFolder
from mlops_lab.targets import Listener, Options


def check(plan: Plan) -> tuple[Diagnostic, ...]:
    """What Kubeflow will not honour of a plan, and what will not travel there."""
    from mlops_lab.targets.kubeflow import checks

    return checks.check(plan)


PLACES = "connections (mlops-lab connect lists them)"


def run(plan: Plan, options: Options, listeners: tuple[Listener, ...] = (), place: str = "") -> RunFolder:
    """Run a plan on Kubeflow; see `targets.Run`. `place` names the connection, in place of the default one."""
    from mlops_lab.targets.kubeflow import submit

    return submit.run(plan, options, listeners, place)


def refuse(plan: Plan, options: Options, place: str = "") -> None:
    """Raise what keeps a plan from being sent, without asking the server; see `targets.refuse`."""
    from mlops_lab.targets.kubeflow import submit

    submit.refuse(plan, options, place)


def refresh(folder: RunFolder, follow: bool = False, listeners: tuple[Listener, ...] = ()) -> None:
    """Write down what is new of a run that goes on on Kubeflow; see `targets.refresh`."""
    from mlops_lab.targets.kubeflow import submit

    submit.refresh(folder, follow, listeners)


def cancel(folder: RunFolder) -> None:
    """Cancel a run on Kubeflow that no process here follows; see `targets.cancel`."""
    from mlops_lab.targets.kubeflow import submit

    submit.cancel(folder)
