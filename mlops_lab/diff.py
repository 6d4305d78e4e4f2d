"""What changed between two pipelines, each a notebook or a compiled Kubeflow pipeline: step by step, the code first.

`picture` makes of either what is compared; `differences` compares two pictures. Notebooks are compiled for it, so that a
notebook and the pipeline made from it compare equal. Nothing is run.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_lab.checks import require_sound
from mlops_lab.errors import UsageError
from mlops_lab.notebook import read
from mlops_lab.pipeline import build
from mlops_lab.plan import make_plan
from mlops_lab.targets.kubeflow import document, files, packing
from mlops_lab.targets.kubeflow.compile import compile_pipeline


@dataclass(frozen=True)
class StepPicture:
    """A step: the text of its cells, of what is replayed before them, and facts by name (image, cpu, requirements, ...)."""

    code: str
    before: str = ""
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A pipeline: facts of its own, its steps in order, the files that travel with it (path -> digest)."""

    facts: Mapping[str, str]
    steps: Mapping[str, StepPicture]
    files: Mapping[str, str]


@dataclass(frozen=True)
class Difference:
    """One change. `step` is empty for the pipeline; `kind` is added, removed, renamed, moved, code, or the name of a fact."""

    step: str
    kind: str
    before: str = ""
    after: str = ""

    @property
    def lines(self) -> list[str]:
        """The change of a text, line by line, as `diff -u` shows it, without a header."""
        found = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), n=2, lineterm="")
        return [line for line in found if not line.startswith(("---", "+++"))]


def picture(path: str | Path) -> Picture:
    """What is compared of a notebook (.ipynb) or a compiled pipeline (YAML or JSON).

    Raises `UsageError` for a file that is neither, `CheckError` for a notebook with errors.
    """
    path = Path(path)
    if path.suffix == ".ipynb":
        plan = make_plan(build(read(path)))
        require_sound(plan)
        made = compile_pipeline(plan, pack=False)
        beside = {name: hashlib.sha256(p.read_bytes()).hexdigest() for name, p in files.local_files(plan).items()}
        return _picture(made.spec, made.platform, beside)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}.") from None
    try:
        return _picture(*document.load(text))
    except UsageError as error:
        raise UsageError(f"{path} is no notebook (.ipynb) and no compiled pipeline. {error}") from None


def _picture(spec: dict[str, Any], platform: dict[str, Any], beside: Mapping[str, str] | None = None) -> Picture:
    root = spec.get("root", {})
    facts = {key: str(value) for key, value in spec.get("pipelineInfo", {}).items()}
    for name, parameter in root.get("inputDefinitions", {}).get("parameters", {}).items():
        facts |= {f"parameter {name}: {key}": json.dumps(value) for key, value in sorted(parameter.items())}
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    of_platform = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    packed: dict[str, str] = {}
    steps: dict[str, tuple[tuple[int, str], StepPicture]] = {}
    for name, task in root.get("dag", {}).get("tasks", {}).items():
        label = spec["components"].get(task.get("componentRef", {}).get("name"), {}).get("executorLabel", "")
        container = executors.get(label, {}).get("container", {})
        found = _constants((container.get("command") or [""])[-1])
        packed |= _files(found)
        if "CELLS" in found and not found["CELLS"]:
            continue  # it runs no cells
        steps[name] = _step(task, container, of_platform.get(label, {}), found)
    for _, step in steps.values():  # helpers of ours are no steps to wait for
        waits = step.facts.get("waits for", "").split(", ")
        step.facts["waits for"] = ", ".join(other for other in waits if other in steps)
    ordered = {name: step for name, (_, step) in sorted(steps.items(), key=lambda item: (item[1][0], item[0]))}
    return Picture(facts, ordered, packed if beside is None else beside)


def _step(task: dict[str, Any], container: dict[str, Any], platform: dict[str, Any],
          found: Mapping[str, Any]) -> tuple[tuple[int, str], StepPicture]:  # fmt: skip
    command = container.get("command") or [""]
    inputs = task.get("inputs", {})
    facts = {"image": container.get("image", "")}
    reads = [
        f"{source['taskOutputArtifact']['outputArtifactKey']} (from {source['taskOutputArtifact']['producerTask']})"
        for source in inputs.get("artifacts", {}).values()
        if "taskOutputArtifact" in source
    ]
    facts["reads"] = ", ".join(sorted(r for r in reads if not r.startswith("state ")))
    facts["waits for"] = ", ".join(sorted(task.get("dependentTasks", ())))
    facts["parameters"] = ", ".join(sorted(inputs.get("parameters", {})))
    facts["requirements"] = "\n".join(re.findall(r"'([^'\s]+(?: @ [^']+)?)'", command[2] if len(command) > 3 else ""))
    facts["caching"] = "on" if task.get("cachingOptions", {}).get("enableCache") else "off"
    facts |= _resources(container.get("resources", {}))
    for key, value in {**task.get("retryPolicy", {}), **platform}.items():
        facts[key] = json.dumps(value, sort_keys=True)
    facts["env"] = "\n".join(f"{row['name']}={row['value']}" for row in container.get("env", ()))
    facts = {key: value for key, value in facts.items() if value}
    if "CELLS" not in found:
        return (0, ""), StepPicture(command[-1], "", facts)
    own = [(m["mlops_lab"]["cell"], source) for m, source in found["CELLS"] if "cell" in m.get("mlops_lab", {})]
    others = [source for m, source in found["CELLS"] if "cell" not in m.get("mlops_lab", {}) and source]
    code = "\n\n".join(source[1:] for _, source in own)
    return (own[0][0] if own else 0, ""), StepPicture(code, "\n".join(source[1:] for source in others), facts)


def _resources(asked: Mapping[str, Any]) -> dict[str, str]:
    """`cpu`, `memory`, `gpu`; the specification has each twice, as text and, from older times, as a number."""
    found = {}
    for name in ("cpu", "memory"):
        values = [
            asked.get(f"resource{name.capitalize()}{bound}", asked.get(f"{name}{bound}")) for bound in ("Request", "Limit")
        ]
        texts = [str(value) for value in dict.fromkeys(values) if value is not None]
        if texts:
            found[name] = " to ".join(texts)
    gpu = asked.get("accelerator", {})
    if gpu:
        found["gpu"] = f"{gpu.get('resourceCount', gpu.get('count'))} {gpu.get('resourceType', gpu.get('type'))}"
    return found


def _constants(source: str) -> dict[str, Any]:
    """The constants of a component of ours; nothing for another one."""
    if "CELLS = [" not in source:
        return {}
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return {}
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in {"CELLS", "FILES"}:
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def _files(found: Mapping[str, Any]) -> dict[str, str]:
    if "FILES" not in found:
        return {}
    try:
        contents = packing.unpacked_files(found["FILES"])
    except (OSError, ValueError):  # packed by another version
        return {}
    return {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}


def differences(one: Picture, other: Picture) -> list[Difference]:
    """What is different, the pipeline first, then step by step in the order of the second pipeline."""
    found = [Difference("", key, one.facts.get(key, ""), other.facts.get(key, "")) for key in _changed(one.facts, other.facts)]
    found += [
        Difference("", f"file {path}", *("there" if path in side else "" for side in (one.files, other.files)))
        if not (path in one.files and path in other.files)
        else Difference("", f"file {path}", one.files[path][:12], other.files[path][:12])
        for path in _changed(one.files, other.files)
    ]
    renamed = dict(_renamed(one, other))
    for name in one.steps:
        if name not in other.steps and name not in renamed:
            found.append(Difference(name, "removed", one.steps[name].code))
    for name, step in other.steps.items():
        former = next((old for old, new in renamed.items() if new == name), name)
        if former != name:
            found.append(Difference(name, "renamed", former, name))
        if former in one.steps:
            found += _of_step(name, one.steps[former], step, renamed)
        else:
            found.append(Difference(name, "added", "", step.code))
    before = [renamed.get(name, name) for name in one.steps if renamed.get(name, name) in other.steps]
    after = [name for name in other.steps if name in before]
    if before != after:
        found.append(Difference("", "order of steps", ", ".join(before), ", ".join(after)))
    return found


def _changed(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return [key for key in dict.fromkeys([*one, *other]) if one.get(key, "") != other.get(key, "")]


def _renamed(one: Picture, other: Picture) -> Iterator[tuple[str, str]]:
    """(old name, new name) of steps with the same code and another name."""
    gone = {step.code: name for name, step in one.steps.items() if name not in other.steps}
    for name, step in other.steps.items():
        if name not in one.steps and step.code in gone:
            yield gone.pop(step.code), name


def _of_step(name: str, one: StepPicture, other: StepPicture, renamed: Mapping[str, str]) -> Iterator[Difference]:
    if one.code != other.code:
        yield Difference(name, "code", one.code, other.code)
    if one.before != other.before:
        yield Difference(name, "imports, setup and parameters before its cells", one.before, other.before)
    for key in _changed(one.facts, other.facts):
        before = one.facts.get(key, "")
        for old, new in renamed.items() if key in {"reads", "waits for"} else ():
            before = re.sub(rf"(?<![\w-]){re.escape(old)}(?![\w-])", new, before)
        if sorted(before.split(", ")) != sorted(other.facts.get(key, "").split(", ")):
            yield Difference(name, key, one.facts.get(key, ""), other.facts.get(key, ""))
