"""What Linux, Kubernetes and KFP take: the size of a component, of a pipeline, and of the workflow that a run of it becomes."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from typing import Any

from mlops_lab.errors import UsageError

ARGUMENT = 131_072  # bytes: the longest single argument of a program on Linux, its end mark included
FILE = 32_000_000  # bytes: the largest pipeline that the API server takes
NAME = 63  # characters of a task's name
WORKFLOW = 1_048_576  # bytes: the largest object that the cluster's database takes by default
_COPIES = 4  # of a container in the state of its run: what its driver gets, its driver's answer, two nodes that get that
_TEMPLATE = 2_000  # bytes that Argo's templates of a task have


def go_json(value: Any) -> str:
    """JSON as Go's standard library writes it, through which everything passes."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def container_size(code: str, requirements: Iterable[str] = ()) -> int:
    """Bytes of a container as the driver of its task gets it, in one argument; the SDK's own script is counted generously."""
    return len(go_json([code, *requirements]).encode("utf-8", "surrogatepass")) + 2_000


def workflow_size(spec: dict[str, Any]) -> int:
    """About how many bytes the workflow has at least when all its steps have run.

    Argo keeps a container once in the workflow's arguments, and some times more in the state of its nodes, which it
    compresses once the whole is too large. The packed runtime can't be made smaller by that.
    """
    executors = [executor["container"] for executor in spec["deploymentSpec"]["executors"].values()]
    texts = [go_json(go_json(container)) for container in executors]
    others = [len(go_json(go_json(one))) for one in (*spec["components"].values(), spec["root"])]
    own = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) + sum(others) + _TEMPLATE * len(texts)
    state = "".join(text * _COPIES for text in texts).encode("utf-8", "surrogatepass")
    return own + min(len(state), len(base64.b64encode(zlib.compress(state))))


def check_size(text: str, spec: dict[str, Any]) -> None:
    """Raise `UsageError` where something is larger than Linux or Kubeflow take."""
    longest = max(spec["root"]["dag"]["tasks"], key=len)
    if len(longest) > NAME:
        raise UsageError(
            f"The name of step {longest!r} is too long for Kubeflow: it has {len(longest)} characters, and a name in "
            f"Kubernetes has {NAME} at the most. Tag the cell with a shorter one."
        )
    for name, executor in spec["deploymentSpec"]["executors"].items():
        size = len(go_json(executor["container"]).encode("utf-8", "surrogatepass")) + 1
        if size > ARGUMENT:
            raise UsageError(
                f"Step {name.removeprefix('exec-')!r} is too large for Kubeflow: its code has {size / 1000:.0f} KB, and a "
                f"container takes {ARGUMENT / 1000:.0f} KB. Cut the step in two, move long texts and tables out of "
                f"its cells into files, or move code into a module of an image of your own."
            )
    size = len(text.encode("utf-8"))
    if size > FILE:
        sizes = {name: len(json.dumps(executor)) for name, executor in spec["deploymentSpec"]["executors"].items()}
        largest = max(sizes, key=lambda name: sizes[name])
        raise UsageError(
            f"The pipeline is too large for Kubeflow: {size / 1e6:.0f} MB, and {FILE / 1e6:.0f} MB is the most. The largest of "
            f"its {len(sizes)} steps is {largest.removeprefix('exec-')!r}. Cut the notebook in two."
        )
