"""What MLflow goes by in a notebook that chooses its experiment or store itself: these, and the runs that are open.

The engine asks for it in such notebooks (`MLOPS_LAB_BOOKS`); in all others what a step logs lands on a run of the step.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def get() -> dict[str, Any]:
    """The store, the registry, the experiment and the open runs, outermost first."""
    if "MLOPS_LAB_BOOKS" not in os.environ:
        raise LookupError("the notebook does not keep books of its own")
    fluent = sys.modules["mlflow.tracking.fluent"]
    return {
        "store": sys.modules["mlflow.tracking._tracking_service.utils"]._tracking_uri,
        "registry": sys.modules["mlflow.tracking._model_registry.utils"]._registry_uri,
        "experiment": fluent._active_experiment_id,
        "open": [run.info.run_id for run in fluent._active_run_stack.get()],
    }


def close() -> None:
    """End the runs that are open, as the end of a notebook's kernel does: what goes on with one below opens it again."""
    if "MLOPS_LAB_BOOKS" in os.environ and "mlflow.tracking.fluent" in sys.modules:
        import mlflow

        while mlflow.active_run():
            mlflow.end_run()


def put(wanted: dict[str, Any]) -> None:
    """Choose the same, and go on with the runs that earlier steps left open: MLflow ended them with those steps' kernels."""
    if "MLOPS_LAB_BOOKS" not in os.environ:
        return
    import mlflow

    now = get()
    if wanted["store"] != now["store"]:
        mlflow.set_tracking_uri(wanted["store"] or "")
    if wanted["registry"] != now["registry"]:
        mlflow.set_registry_uri(wanted["registry"] or "")
    if wanted["experiment"] and wanted["experiment"] != now["experiment"]:
        mlflow.set_experiment(experiment_id=wanted["experiment"])
    if wanted["open"] != now["open"]:
        while mlflow.active_run():
            mlflow.end_run()
        for position, run in enumerate(wanted["open"]):
            mlflow.start_run(run_id=run, nested=position > 0)
