"""Where a pipeline can run from here: this machine, and what the user has connected."""

from __future__ import annotations

from typing import Any


def targets() -> list[dict[str, Any]]:
    """The targets to choose from; what to pass as a run's `target` is their name."""
    return [{"name": "local", "kind": "local", "label": "This machine", "available": True}]
