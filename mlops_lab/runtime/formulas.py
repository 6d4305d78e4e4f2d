"""Formulas of patsy, and models of statsmodels that were fitted by one: taken apart as they are.

patsy refuses to be pickled, and statsmodels evaluates a formula again when it is loaded, where the notebook's functions that it
names may not be there yet. What a formula has evaluated, and the environment that it looks names up in, are plain attributes.
"""

from __future__ import annotations

import copyreg
import importlib
import types
from typing import Any


def reduce(value: Any) -> Any:
    """What `__reduce__` returns; `NotImplemented` for anything else."""
    kind = type(value)
    package = (kind.__module__ or "").partition(".")[0]
    if package == "patsy" and not isinstance(value, (type, types.FunctionType, tuple)) and kind.__dictoffset__:
        if hasattr(value, "__array_finalize__"):
            made: Any = importlib.import_module("numpy").ndarray.__reduce__(value)
            return (*made[:2], (made[2], value.__dict__), None, None, _set_matrix)
        return copyreg.__newobj__, (kind,), value.__dict__, None, None, _update  # type: ignore[attr-defined]
    by_formula = type(getattr(value, "__dict__", {}).get("model_spec")).__module__.startswith("patsy")
    if package == "statsmodels" and by_formula and getattr(kind, "__setstate__", None) is _model_data().__setstate__:
        return copyreg.__newobj__, (kind,), value.__dict__, None, None, _update  # type: ignore[attr-defined]
    return NotImplemented


def _model_data() -> Any:
    return importlib.import_module("statsmodels.base.data").ModelData


def _set_matrix(value: Any, state: tuple[Any, dict[str, Any]]) -> Any:
    value.__setstate__(state[0])
    return _update(value, state[1])


def _update(value: Any, attributes: dict[str, Any]) -> Any:
    value.__dict__.update(attributes)
    return value
