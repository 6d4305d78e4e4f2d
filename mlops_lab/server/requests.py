"""What is posted to the server, checked while it is decoded; docs/openapi.yaml describes the same."""

from __future__ import annotations

from typing import Any

import msgspec


class PostedCell(msgspec.Struct):
    """A cell of the editor."""

    id: str
    cell_type: str
    source: str
    tags: list[str] = []


class Posted(msgspec.Struct):
    """A notebook as the editor has it; `path` is relative to the server's root."""

    path: str
    cells: list[PostedCell]
    metadata: dict[str, Any] = {}


class RunRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to run and how, as `Pipeline.run` takes it; with `resume` the run to go on with."""

    path: str
    target: str = "local"
    parameters: dict[str, Any] = {}
    start: str = ""
    end: str = ""
    only: list[str] = []
    cache: bool = True
    workers: int = 0
    experiment: str = ""
    fail_fast: bool = False
    tracking: bool = True
    fixed_graph: bool = False
    resume: str = ""


class CompileRequest(msgspec.Struct):
    """Which saved notebook to compile for which target."""

    path: str
    target: str = "kubeflow"


class OpenRequest(msgspec.Struct):
    """Which attempt at a step to open; 0 is the last one."""

    attempt: int = 0
