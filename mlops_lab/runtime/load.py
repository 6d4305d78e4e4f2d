"""Loads one stored value into any process, for people who look at a run."""

from __future__ import annotations

import contextlib
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


def value(name: str, current: dict[str, list[str]], store: str, imports: dict[str, list[str]] | None = None) -> Any:
    """The value of a variable under these versions; functions get a namespace with what they need.

    `imports` are the import statements of the notebook, by the name that each binds.
    """
    names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    order = {
        "step": "",
        "store": store,
        "folder": "",
        "current": {n: v for n, v in current.items() if not n.startswith(("module:", "patch:"))},  # their modules are not here
        "reads": [name],
        "keep": [],
        "imports": imports or {},
        "seeded": False,
    }
    kit = runtime_module("kit").Kit(order, SimpleNamespace(user_ns=names))
    _import_needed(kit, name, imports or {})
    kit.load()
    return names[name]


def _import_needed(kit: Any, name: str, imports: dict[str, list[str]]) -> None:
    """Make the imports that the value's own code may need while it is loaded, as the prelude of a step does."""
    todo, seen = [name], set()
    while todo:
        wanted = todo.pop()
        version = kit.current.get(wanted)
        if wanted in seen or (version and (version[0] in seen or version[0].startswith("refused:"))):
            continue
        seen.add(wanted)
        if version is None:
            for statement in imports.get(wanted, ()):
                with contextlib.suppress(ImportError):  # perhaps nobody will miss it
                    exec(statement, kit.names)
            continue
        seen.add(version[0])
        header = kit._open(version[0]).header
        todo += [*header.needs, *(f"def:{key}" for key in header.references), *(n for ns in header.bound.values() for n in ns)]
