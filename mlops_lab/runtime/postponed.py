"""Configuration of the cells above for modules that a step, or a package of it, imports only while its cells run."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Postponed:
    """Finds modules as others do, and runs code for one of them once it is imported.

    `rows` are the modules, one of which has to be there, and the code.
    """

    def __init__(self, rows: Sequence[tuple[Sequence[str], str]], run: Callable[[str], None]) -> None:
        self.rows, self.run = list(rows), run
        self._looking = False
        if rows:
            sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """What the other finders find, with a loader that tells when the module is there."""
        if self._looking or not any(name in modules for modules, _ in self.rows):
            return None
        self._looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._looking = False
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Telling(spec.loader, self._imported)  # type: ignore[assignment]
        return spec

    def _imported(self, name: str) -> None:
        due = [row for row in self.rows if name in row[0]]
        self.rows = [row for row in self.rows if name not in row[0]]
        if not self.rows and self in sys.meta_path:
            sys.meta_path.remove(self)
        for _, code in due:
            self.run(code)


class _Telling:
    """A module's own loader until the module is there, which then knows of its own loader only."""

    def __init__(self, loader: Any, tell: Callable[[str], None]) -> None:
        self.loader, self.tell = loader, tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        found: ModuleType | None = self.loader.create_module(spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        self.tell(module.__name__)
