"""The compiled pipeline as a file: a header that says what it is made from, YAML whose code is plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from mlops_lab._version import __version__
from mlops_lab.errors import UsageError
from mlops_lab.plan import Plan

_HEADER = "# PIPELINE DEFINITION"


def as_dicts(spec: Any, platform: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two messages as plain data."""
    from google.protobuf import json_format

    return json_format.MessageToDict(spec), json_format.MessageToDict(platform)


def write(plan: Plan, spec: dict[str, Any], platform: dict[str, Any], carriers: Iterable[str] = ()) -> str:
    """The file's text. `carriers` are the tasks that bring the runtime."""
    import kfp

    notebook = plan.pipeline.notebook
    lines = [_HEADER, f"# Name: {spec['pipelineInfo']['name']}"]
    if notebook.settings.description:
        lines.append("# Description: " + " ".join(notebook.settings.description.split()))
    lines += [
        f"# Notebook: {notebook.path.name}, sha256 {notebook.digest}",
        f"# Compiled by: mlops-lab {__version__}, kfp {kfp.__version__}",
        "# Steps: " + ", ".join(_step(plan, step.name) for step in plan.steps),
    ]
    if carriers:
        lines.append(f"# Runtime: comes with {' and '.join(carriers)}, and from there with the states that steps hand on")
    lines += [f"# Parameter: {parameter}" for parameter in plan.pipeline.parameters]
    documents = [_dump(spec)] + ([_dump(platform)] if platform else [])
    return "\n".join(" ".join(line.split("\n")) for line in lines) + "\n" + "---\n".join(documents)


def _step(plan: Plan, name: str) -> str:
    above = sorted(plan.sources[name])
    return f"{name} (after {', '.join(above)})" if above else name


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they stand, also where lines end with spaces, which YAML allows and PyYAML avoids."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._analyses: dict[str, Any] = {}  # the same keys and names stand in every step

    def analyze_scalar(self, scalar: str) -> Any:
        analysis = self._analyses.get(scalar)
        if analysis is None:
            analysis = self._analyses[scalar] = super().analyze_scalar(scalar)
            if "\n" in scalar and scalar.strip() and not _NOT_PLAIN.search(scalar) and scalar[0] not in " \n":
                analysis.allow_block = True
        return analysis

    def represent_text(self, value: str) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    def ignore_aliases(self, data: Any) -> bool:
        return True


# What a literal block can't hold: control characters, other line breaks, a byte order mark, lone surrogates.
_NOT_PLAIN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
_Dumper.add_representer(str, _Dumper.represent_text)


def _dump(content: dict[str, Any]) -> str:
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=2**30))


def load(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The specification and the platform's part of a compiled pipeline. Raises `UsageError` when the text is none."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        documents = [d for d in yaml.load_all(text, Loader=loader) if d]
    except yaml.YAMLError as error:
        raise UsageError(f"It is not YAML: {str(error).splitlines()[0]}.") from None
    if not documents or not all(isinstance(d, dict) for d in documents) or "pipelineInfo" not in documents[0]:
        raise UsageError("It is no compiled Kubeflow pipeline: it has no pipelineInfo.")
    return documents[0], documents[1] if len(documents) > 1 else {}
