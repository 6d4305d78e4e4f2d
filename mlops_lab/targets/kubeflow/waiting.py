"""What a step waits for whose pod does not start, and what it may have lacked when its pod ended without a word.

Kubeflow tells neither: a step whose image can't be pulled is just running, for days. The plan says what the step asked for.
"""

from __future__ import annotations

import time
from typing import Any

from mlops_lab.plan import Plan

PATIENCE = 300.0  # seconds that a pod may take to start before it is said that it does not


def is_stalled(detail: Any) -> bool:
    """True for a task that is there for long; whoever asks has found no log of its pod."""
    begun = detail.start_time or detail.create_time
    return begun is not None and begun.timestamp() > 0 and time.time() - begun.timestamp() > PATIENCE


def why_stalled(name: str, plan: Plan | None, run_id: str, namespace: str, url: str) -> str:
    """What may keep a step's pod from starting, and where to look."""
    place = f"-n {namespace} " if namespace else ""
    return (
        f"The pod of step {name!r} has not started for {PATIENCE / 60:g} minutes. Perhaps its image can't be pulled"
        f"{_in_brackets(_image(name, plan))}, no node has what it asks for{_in_brackets(asked(name, plan))}, or a quota is "
        f"used up. Kubernetes knows: kubectl get pods {place}-l pipeline/runid={run_id}, and kubectl describe pod. The step "
        f"starts once it can; mlops-lab cancel ends the run.{f' See {url}' if url else ''}"
    )


def asked(name: str, plan: Plan | None) -> str:
    """What a step's settings ask for: `cpu 2, memory 4Gi`."""
    step = next((step.step for step in plan.steps if step.name == name), None) if plan else None
    if step is None:
        return ""
    wanted = {key: getattr(step.settings, key) for key in ("cpu", "memory", "gpu")}
    return ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in wanted.items() if v)


def _image(name: str, plan: Plan | None) -> str:
    step = next((step.step for step in plan.steps if step.name == name), None) if plan else None
    if plan is None or step is None:
        return ""
    return step.settings.image or plan.pipeline.notebook.settings.image or ""


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""
