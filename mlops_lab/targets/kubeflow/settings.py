"""The settings of steps as what Kubeflow and Kubernetes are asked for: resources, retries, secrets, volumes, places to run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mlops_lab.errors import UsageError, did_you_mean
from mlops_lab.notebook import KubeflowSettings
from mlops_lab.plan import Plan, StepPlan
from mlops_lab.roles import slug
from mlops_lab.targets.kubeflow.packing import is_replaced

GPU = "nvidia.com/gpu"
# The SDK's retries end after an hour in all if no longest wait is given (kubeflow/pipelines#14245).
_LONGEST_WAIT = "3600s"


def of_step(plan: Plan, step: StepPlan) -> KubeflowSettings:
    """The step's settings for Kubeflow, on top of those of the pipeline."""
    import msgspec

    common, own = plan.pipeline.notebook.settings.kubeflow, step.step.settings.kubeflow
    merged: dict[str, Any] = {}
    for key in KubeflowSettings.__struct_fields__:
        one, other = getattr(common, key), getattr(own, key)
        own_one = one if other is None else other
        merged[key] = {**one, **other} if isinstance(one, dict) else [*one, *other] if isinstance(one, list) else own_one
    return msgspec.convert(merged, KubeflowSettings)


def apply(task: Any, plan: Plan, step: StepPlan, anew: bool = False) -> None:
    """Ask Kubeflow for what the step's settings say; with `anew`, not to look into its cache.

    Raises `UsageError` for a setting that it would refuse.
    """
    for _, message, fix in wrong(plan, step):
        raise UsageError(f"{message[0].upper()}{message[1:]} {fix}")
    asked = step.step.settings
    if asked.cpu is not None:
        task.set_cpu_request(_cores(asked.cpu)).set_cpu_limit(_cores(asked.cpu))
    if asked.memory is not None:
        task.set_memory_request(asked.memory).set_memory_limit(asked.memory)
    wanted = of_step(plan, step)
    if asked.gpu:
        count, kind = gpu(asked.gpu)
        task.set_accelerator_type(wanted.gpu_type or kind).set_accelerator_limit(count)
    if asked.retries and not step.step.gate:
        task.set_retry(asked.retries, backoff_duration="1s", backoff_factor=2.0, backoff_max_duration=_LONGEST_WAIT)
    task.set_caching_options(asked.cache and not anew and step.name not in plan.ask_mlflow)
    for name, value in sorted(asked.env.items()):
        task.set_env_variable(name, value)
    _kubernetes(task, plan, step, wanted)


def gpu(wanted: int | str) -> tuple[int, str]:
    """Count and resource: `2`, `"amd.com/gpu"` or `"amd.com/gpu:2"`."""
    if isinstance(wanted, int):
        return wanted, GPU
    kind, _, count = wanted.rpartition(":") if re.search(r":\d+$", wanted) else (wanted, "", "1")
    return (int(kind), GPU) if kind.isdigit() else (int(count), kind)


def _cores(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def secret_of(plan: Plan, step: StepPlan) -> dict[str, tuple[str, str]]:
    """Environment variable -> Kubernetes secret and key; a name alone is a key of the secret called like the pipeline."""
    found = {name: (slug(plan.pipeline.name), name) for name in step.step.settings.secrets}
    return found | {name: _place(place, name) for name, place in of_step(plan, step).secrets.items()}


def wrong(plan: Plan, step: StepPlan) -> Iterator[tuple[str, str, str]]:
    """(setting, what is wrong, what to do) of the step's settings that Kubernetes or KFP would refuse."""
    who = f"step {step.name!r}: "
    for key, pattern in _QUANTITIES.items():
        value = getattr(step.step.settings, key)
        if isinstance(value, str) and not pattern.fullmatch(value):
            yield key, f"{who}{key} is {value!r}, which is no quantity of Kubernetes.", "Write 2 or 500m (cpu), 512Mi or 4Gi."
    for name, value in step.step.settings.env.items():
        if is_replaced(value):
            message = (
                f"{who}the environment variable {name} is {value!r}, of which Kubernetes changes $$, $(...) and {{{{...}}}}."
            )
            yield "env", message, "Keep it in a secret or a config map (mlops_lab.kubeflow.secrets, config_maps)."
    wanted = of_step(plan, step)
    for path, claim in wanted.volumes.items():
        if not path.startswith("/"):
            message = f"{who}the volume {claim!r} is mounted at {path!r}, a relative path."
            yield "volumes", message, 'Write {"/path/in/the/container": "claim"}.'
    for setting in ("secrets", "config_maps"):
        for name, place in getattr(wanted, setting).items():
            if not place.partition("/")[0] or place.count("/") > 1:
                message = f"{who}{setting} has {place!r} for {name}."
                yield setting, message, f"Write NAME/KEY, or NAME where the key is {name}."
    for toleration in wanted.tolerations:
        unknown = sorted(toleration.keys() - _TOLERATION)
        if unknown:
            message = f"{who}a toleration has the key {unknown[0]!r}{did_you_mean(unknown[0], _TOLERATION)}."
            yield "tolerations", message, f"Known: {', '.join(sorted(_TOLERATION))}."


_TOLERATION = {"key", "operator", "value", "effect", "toleration_seconds"}
_QUANTITIES = {
    "cpu": re.compile(r"\d+(\.\d+)?m?"),
    "memory": re.compile(r"\d+(\.\d+)?([KMGTPE]i?)?"),
}


def _place(text: str, name: str) -> tuple[str, str]:
    owner, _, key = text.partition("/")
    return owner, key or name


def _kubernetes(task: Any, plan: Plan, step: StepPlan, wanted: KubeflowSettings) -> None:
    asked = step.step.settings
    secrets = secret_of(plan, step)
    if not (secrets or asked.timeout or any(getattr(wanted, key) for key in _OF_KUBERNETES)):
        return
    from kfp import kubernetes

    if asked.timeout:
        kubernetes.set_timeout(task, max(1, round(asked.timeout)))
    for name, (secret, key) in sorted(secrets.items()):
        kubernetes.use_secret_as_env(task, secret_name=secret, secret_key_to_env={key: name})
    for name, place in sorted(wanted.config_maps.items()):
        config_map, key = _place(place, name)
        kubernetes.use_config_map_as_env(task, config_map_name=config_map, config_map_key_to_env={key: name})
    for path, claim in sorted(wanted.volumes.items()):
        kubernetes.mount_pvc(task, pvc_name=claim, mount_path=path)
    for key, value in sorted(wanted.node_selector.items()):
        kubernetes.add_node_selector(task, label_key=key, label_value=value)
    for toleration in wanted.tolerations:
        kubernetes.add_toleration(task, **toleration)
    if wanted.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(wanted.image_pull_secrets))


_OF_KUBERNETES = ("config_maps", "volumes", "node_selector", "tolerations", "image_pull_secrets")
