"""Makes the import of nbformat cheap: of what it brings, one grammar costs more than all our own modules.

nbformat imports jsonschema, and that, where Jupyter Server's extras are installed, the package `rfc3987_syntax`, which builds a
parser of internationalised addresses when it is imported: 2 seconds of processor time in each process, and notebooks have none.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_GRAMMAR = "rfc3987_syntax"


def defer_grammar() -> None:
    """Have the grammar built when something is first checked with it. Checks are the same as ever."""
    spec = None if _GRAMMAR in sys.modules else find_spec(_GRAMMAR)
    if spec is None:
        return
    stand_in = ModuleType(_GRAMMAR)
    stand_in.__spec__, stand_in.__path__ = spec, spec.submodule_search_locations or []  # else importing it asks for them

    def real(name: str) -> Any:
        if sys.modules.get(_GRAMMAR) is stand_in:
            del sys.modules[_GRAMMAR]
        return getattr(import_module(_GRAMMAR), name)

    def is_valid_syntax(term: str, value: str) -> bool:
        return bool(real("is_valid_syntax")(term, value))

    stand_in.is_valid_syntax = is_valid_syntax  # type: ignore[attr-defined]  # what jsonschema takes when it is imported
    stand_in.__getattr__ = real  # type: ignore[method-assign]
    sys.modules[_GRAMMAR] = stand_in
