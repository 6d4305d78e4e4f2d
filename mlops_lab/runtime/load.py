"""Loads one stored value into any process, for people who look at a run."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any


def runtime_module(name: str) -> ModuleType:
    """A module of the runtime under the name that stored pickles refer to."""
    top = "mlops_lab_runtime"
    if top not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            top,
            os.path.join(os.path.dirname(__file__), "__init__.py"),
            submodule_search_locations=[os.path.dirname(__file__)],
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[top] = module
        spec.loader.exec_module(module)
    return importlib.import_module(f"{top}.{name}")


def value(name: str, current: dict[str, list[str]], store: str) -> Any:
    """The value of a variable under these versions; functions get a namespace with what they need."""
    names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    order = {
        "step": "",
        "store": store,
        "folder": "",
        "current": {n: v for n, v in current.items() if not n.startswith(("module:", "patch:"))},  # their modules are not here
        "reads": [name],
        "keep": [],
        "imports": {},
        "seeded": False,
    }
    kit = runtime_module("kit").Kit(order, SimpleNamespace(user_ns=names))
    kit.load()
    return names[name]
