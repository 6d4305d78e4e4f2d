"""The rules that KFP's API server and its compiler to Argo hold a pipeline to, for a compiled file."""

from __future__ import annotations

import re

import yaml
from google.protobuf import json_format
from kfp import components
from kfp.pipeline_spec import pipeline_spec_pb2

FILE = 32 * 1024 * 1024
ARGUMENT = 128 * 1024
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

REPLACED = ("{{", "$$", "$(")  # by Argo and by Kubernetes, in whatever passes through them


def arrives(text):
    """What a container gets of a text: Kubernetes makes one dollar sign of two, and puts in what it knows of `$(NAME)`."""
    return re.sub(r"\$(\$|\(KFP_POD_NAME\))", lambda found: "$" if found[1] == "$" else "pod-1", text)


def hold(text):
    """Assert that a compiled pipeline follows the rules; returns its specification as a message."""
    documents = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    spec = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
    platform = json_format.ParseDict(documents[1] if len(documents) > 1 else {}, pipeline_spec_pb2.PlatformSpec())
    assert components.load_component_from_text(text).pipeline_spec == spec
    assert len(text.encode()) < FILE
    assert spec.schema_version == "2.1.0"
    assert spec.sdk_version.startswith("kfp-2.")
    assert len(spec.pipeline_info.name) <= 128
    assert NAME.fullmatch(spec.pipeline_info.name)
    executors = json_format.MessageToDict(spec.deployment_spec)["executors"]
    tasks = spec.root.dag.tasks
    assert tasks
    for name, task in tasks.items():
        assert NAME.fullmatch(name) and len(name) <= 63
        component = spec.components[task.component_ref.name]
        container = executors[component.executor_label]["container"]
        assert all(len(part.encode()) < ARGUMENT for part in [*container["command"], *container["args"]])
        assert not [sign for sign in REPLACED if sign in container["command"][-1]]
        assert container["image"]
        declared = component.input_definitions
        assert set(task.inputs.parameters) <= set(declared.parameters)
        required = {key for key, one in declared.artifacts.items() if not one.is_optional}
        assert required <= set(task.inputs.artifacts) <= set(declared.artifacts)
        for key, given in task.inputs.parameters.items():
            assert given.WhichOneof("kind") == "component_input_parameter"
            outer = spec.root.input_definitions.parameters[given.component_input_parameter]
            assert outer.parameter_type == declared.parameters[key].parameter_type
        for key, given in task.inputs.artifacts.items():
            source = given.task_output_artifact
            assert source.producer_task in task.dependent_tasks
            left = spec.components[tasks[source.producer_task].component_ref.name].output_definitions.artifacts
            assert left[source.output_artifact_key].artifact_type == declared.artifacts[key].artifact_type
    assert "{{" not in json_format.MessageToJson(spec.root)
    for parameter in spec.root.input_definitions.parameters.values():
        assert parameter.HasField("default_value")
        assert not parameter.literals or parameter.default_value in parameter.literals
    labels = set()
    for one in platform.platforms.values():
        labels |= set(json_format.MessageToDict(one.deployment_spec).get("executors", {}))
    assert labels <= set(executors)
    in_order(tasks)
    return spec


def in_order(tasks):
    """Assert that the graph has no cycle."""
    done = set()
    while len(done) < len(tasks):
        ready = {name for name, task in tasks.items() if name not in done and set(task.dependent_tasks) <= done}
        assert ready, "a cycle"
        done |= ready
