"""Which warnings were shown: Python shows most only once for each place in a process, and a pipeline has many processes.

Python keeps a registry in each module that warns; the registries count until the warning filters change next, which is when
they begin anew. That is so within one process, and here from step to step.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import warnings
from typing import Any

_count = 0
_ONCE = ""  # stands for the registry of the action `once`, which belongs to no module


def watch() -> None:
    """Count the warnings that are shown from now on."""
    global _count
    _count = 0
    original = warnings._showwarnmsg  # type: ignore[attr-defined]
    if original.__module__ != __name__:

        def showwarnmsg(message: Any) -> None:
            global _count
            _count += 1
            original(message)

        warnings._showwarnmsg = showwarnmsg  # type: ignore[attr-defined]


def any_shown() -> bool:
    """True if a warning was shown, or recorded, since `watch` was called."""
    return _count > 0


def _version() -> object:
    """What Python numbers the present filters with; it tells that only to a registry that is used."""
    global _count
    registry: dict[Any, Any] = {}
    counted, show = _count, warnings.showwarning
    warnings.showwarning = lambda *arguments, **options: None
    try:
        with contextlib.suppress(Warning):  # where warnings are errors
            warnings.warn_explicit("", UserWarning, "", 0, module="", registry=registry)
    finally:
        warnings.showwarning, _count = show, counted
    return registry.get("version")


def get() -> dict[str, list[tuple[str, str, str, int]]]:
    """Module -> (text, category's module and name, line) of each warning that would not be shown again."""
    found = {}
    version = None
    for name, module in list(sys.modules.items()):
        registry = getattr(module, "__dict__", {}).get("__warningregistry__")
        if not registry or len(registry) < 2:
            continue
        version = _version() if version is None else version
        if registry.get("version") == version:
            found[name] = sorted(_row(key) for key in registry if isinstance(key, tuple) and len(key) == 3)
    once = [_row((text, category, 0)) for text, category in warnings.onceregistry]  # type: ignore[attr-defined]
    return {name: rows for name, rows in {**found, _ONCE: sorted(once)}.items() if rows}


def _row(key: tuple[str, type, int]) -> tuple[str, str, str, int]:
    text, category, line = key
    return str(text), category.__module__, category.__qualname__, line


def put(shown: dict[str, list[tuple[str, str, str, int]]]) -> None:
    """Take these warnings as shown, in the modules that are loaded."""
    version = _version()
    for name, rows in shown.items():
        keys = {key: 1 for row in rows if (key := _key(*row))}
        if name == _ONCE:
            warnings.onceregistry.update({key[:2]: 1 for key in keys})  # type: ignore[attr-defined]
        elif name in sys.modules:
            registry: dict[Any, Any] = vars(sys.modules[name]).setdefault("__warningregistry__", {})
            if registry.get("version") != version:
                registry.clear()
            registry.update(keys)
            registry["version"] = version


def _key(text: str, module: str, name: str, line: int) -> tuple[str, Any, int] | None:
    try:
        category: Any = sys.modules["__main__"] if module == "__main__" else importlib.import_module(module)
        for part in name.split("."):
            category = getattr(category, part)
    except (ImportError, AttributeError):
        return None
    return text, category, line
