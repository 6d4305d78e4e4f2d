"""What is sent to Kubeflow: the compiled pipeline as this run wants it, and what is said before it is sent.

What is compiled is the same for every run of a notebook, so that KFP's cache hits; what is of one run only is added here.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from mlops_lab.checks import Diagnostic
from mlops_lab.errors import CheckError
from mlops_lab.plan import Plan
from mlops_lab.targets import Options
from mlops_lab.targets.kubeflow.client import Client
from mlops_lab.targets.kubeflow.compile import Compiled


def sound_there(plan: Plan) -> list[Diagnostic]:
    """The warnings of `check --on kubeflow`. Raises `CheckError` where it gives errors."""
    from mlops_lab.targets.kubeflow import checks

    found = checks.check(plan)
    if errors := [diagnostic for diagnostic in found if diagnostic.severity == "error"]:
        raise CheckError(errors)
    return list(found)


def prepared(
    compiled: Compiled, options: Options, extra: Mapping[str, Mapping[str, str]] = MappingProxyType({})
) -> dict[str, Any]:
    """What is sent: the compiled pipeline, with the environment of this run in the steps' containers.

    KFP's cache looks at images, commands and inputs and not at the environment, so unchanged steps still hit it.
    """
    spec = copy.deepcopy(compiled.spec)
    for name, task in spec["root"]["dag"]["tasks"].items():
        if not options.cache:
            task["cachingOptions"] = {}
        label = spec["components"][task["componentRef"]["name"]].get("executorLabel", "")
        container = spec["deploymentSpec"]["executors"].get(label, {}).get("container")
        if container is not None and (wanted := extra.get(name)):
            known = {entry["name"] for entry in container.setdefault("env", [])}
            container["env"] += [{"name": n, "value": v} for n, v in sorted(wanted.items()) if n not in known]
    return {"pipeline_spec": spec, "platform_spec": compiled.platform} if compiled.platform else spec


def plugins_input(client: Client, options: Options, experiment: str) -> dict[str, Any] | None:
    """What KFP's own MLflow plugin is told, where it is at work: our experiment, or to leave this run out."""
    if not client.tracks_in_mlflow():
        return None
    return {"mlflow": {"experiment_name": experiment} if options.tracking else {"disabled": True}}


def environments(plan: Plan, tracker: Any) -> dict[str, dict[str, str]]:
    """Step -> where its cells log to MLflow: a run of its own, made beforehand, below that of the whole run.

    In a notebook that keeps books of its own, it is the store alone: which experiment and run is handed from step to step.
    """
    from mlops_lab.tracking import URI, keeps_own_books, without_password

    uri = os.environ.get(URI, "")
    if tracker is None or not is_reachable_from_afar(uri) or without_password(uri) != uri:
        return {}
    found: dict[str, dict[str, str]] = {}
    own_books = any(keeps_own_books(cell.source) for cell in plan.cells)
    for step in plan.steps:
        code = "\n".join(cell.source for cell in step.step.cells)
        if "mlflow" in code:
            found[step.name] = tracker.environment(step.name, 1, own_books=own_books)
    return found


def is_reachable_from_afar(uri: str) -> bool:
    """False for a tracking store that only this machine has: a file, a database, a server on localhost."""
    parts = urlsplit(uri)
    return parts.scheme in ("http", "https") and parts.hostname not in (None, "localhost", "127.0.0.1", "::1", "0.0.0.0")
