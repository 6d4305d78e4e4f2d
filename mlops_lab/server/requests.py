"""What is posted to the server, checked while it is decoded; docs/openapi.yaml describes the same."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Path = Annotated[str, Meta(max_length=4096)]


class PostedCell(msgspec.Struct):
    """A cell of the editor."""

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    cell_type: Literal["code", "markdown", "raw"]
    source: str
    tags: list[str] = []


class Posted(msgspec.Struct):
    """A notebook as the editor has it; `path` is relative to the server's root."""

    path: Path
    cells: list[PostedCell]
    metadata: dict[str, Any] = {}


class AnalyseRequest(Posted):
    """`since` is the version of the analysis that the asker has: it is answered what differs from that one."""

    since: Annotated[str, Meta(max_length=200)] = ""


class RunRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to run and how, as `Pipeline.run` takes it; with `resume` the run to go on with."""

    path: Path
    target: str = "local"
    parameters: dict[str, Any] = {}
    start: str = ""
    end: str = ""
    only: list[str] = []
    cache: bool = True
    workers: Annotated[int, Meta(ge=0, le=1000)] = 0
    experiment: str = ""
    fail_fast: bool = False
    tracking: bool = True
    fixed_graph: bool = False
    resume: str = ""


class CompileRequest(msgspec.Struct):
    """Which saved notebook to compile for which target."""

    path: Path
    target: str = "kubeflow"


class OpenRequest(msgspec.Struct):
    """Which attempt at a step to open; 0 is the last one."""

    attempt: Annotated[int, Meta(ge=1, le=100_000)] = 0


class TrackedRequest(msgspec.Struct):
    """Which MLflow run to show: that of a step, or that of the whole run."""

    step: Annotated[str, Meta(max_length=200)] = ""
