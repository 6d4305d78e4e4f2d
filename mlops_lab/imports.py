"""Makes the import of nbformat cheap: of what it brings, one grammar costs more than all our own modules.

nbformat imports jsonschema, and that, where Jupyter Server's extras are installed, the package `rfc3987_syntax`, which builds a
parser of internationalised addresses when it is imported: 2 seconds of processor time in each process, and notebooks have none.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

_GRAMMAR = "rfc3987_syntax"


def defer_grammar() -> None:
    """Import jsonschema so that the grammar is only built once an address is checked with it. Checks are the same as ever."""
    if "jsonschema" in sys.modules or _GRAMMAR in sys.modules or find_spec(_GRAMMAR) is None:
        return

    def is_valid_syntax(term: str, value: str) -> bool:
        return bool(import_module(_GRAMMAR).is_valid_syntax(term, value))

    stand_in = ModuleType(_GRAMMAR)
    stand_in.is_valid_syntax = is_valid_syntax  # type: ignore[attr-defined]
    sys.modules[_GRAMMAR] = stand_in
    try:
        import_module("jsonschema")
    finally:
        sys.modules.pop(_GRAMMAR, None)
