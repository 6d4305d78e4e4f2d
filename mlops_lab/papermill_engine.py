"""The entry point of the Papermill engine `mlops_lab` (`papermill --engine mlops_lab`).

Papermill loads its engines while it is being imported itself; this stand-in imports nothing until it is used, so that
neither has to be there first.
"""

from __future__ import annotations

from typing import Any


class _Deferred(type):
    def __getattr__(cls, name: str) -> Any:
        from mlops_lab.runtime.execute import StepEngine

        return getattr(StepEngine, name)


class PapermillEngine(metaclass=_Deferred):
    """`mlops_lab.runtime.execute.StepEngine`, once it is used."""
