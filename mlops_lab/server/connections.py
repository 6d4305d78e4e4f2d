"""Where a pipeline can run from here: this machine, and what the user has connected.

A run's `target` is the name of one of these; `kubeflow:NAME` is the connection NAME of several.
"""

from __future__ import annotations

from typing import Any

from mlops_lab.errors import MlopsLabError

LOCAL = {"name": "local", "kind": "local", "label": "This machine", "available": True}


def targets() -> list[dict[str, Any]]:
    """The targets to choose from, the local one first."""
    return [LOCAL, *_kubeflow()]


def chosen(target: str) -> tuple[str, dict[str, str]]:
    """The target that a name means, and the environment that chooses the connection."""
    kind, colon, connection = target.partition(":")
    if kind == "kubeflow" and colon:
        from mlops_lab.targets.kubeflow.connections import CONNECTION

        return kind, {CONNECTION: connection}
    return target, {}


def _kubeflow() -> list[dict[str, Any]]:
    from mlops_lab.targets.kubeflow.connections import Connections

    found: list[dict[str, Any]] = []
    try:
        known = Connections()
        names = known.names() or [""]  # Kubeflow's own variables may name one
    except MlopsLabError as error:
        return [_unavailable("kubeflow", "", str(error))]
    for name in names:
        target = f"kubeflow:{name}" if name else "kubeflow"
        try:
            connection = known.get(name)
        except MlopsLabError as error:
            found.append(_unavailable(target, name, str(error)))
            continue
        found.append(
            {
                "name": target,
                "kind": "kubeflow",
                "label": f"Kubeflow: {connection.name}",
                "host": connection.endpoint,
                "namespace": connection.namespace,
                "available": True,
            }
        )
    return found


def _unavailable(target: str, name: str, message: str) -> dict[str, Any]:
    label = f"Kubeflow: {name}" if name else "Kubeflow"
    return {"name": target, "kind": "kubeflow", "label": label, "available": False, "message": message}
