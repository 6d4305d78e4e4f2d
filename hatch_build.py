"""Puts the prebuilt JupyterLab extension into the wheel, building it first where it isn't built.

An editable install leaves it out, so that `make demo` needs no Node; `make lab` builds it and links it (see the Makefile).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = "mlops_lab/labextension"
INSTALLED = "share/jupyter/labextensions/@mlops-lab/labextension"


class LabExtensionHook(BuildHookInterface):
    """hatchling calls `initialize` before it collects the files."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        if not (Path(self.root) / BUILT / "package.json").exists():
            from hatch_jupyter_builder import npm_builder

            npm_builder(self.target_name, version, npm=["jlpm"], build_cmd="build:prod")
        (Path(self.root) / BUILT / "build_log.json").unlink(missing_ok=True)  # paths of this machine, of no use elsewhere
        if self.target_name == "wheel":
            build_data["shared_data"][BUILT] = INSTALLED
            build_data["shared_data"]["install.json"] = f"{INSTALLED}/install.json"
