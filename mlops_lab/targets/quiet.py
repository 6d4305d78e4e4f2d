"""Keeps from the processes that a step starts what steps below it have done too early: they may see all that lies in a folder.

The step asks by a file, and the steps below wait with their changes for as long as it is there (`runtime/journal.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_lab.targets.attempt import Attempt
from mlops_lab.targets.task import Task
from mlops_lab.targets.undo import Undo


@dataclass
class Quiet:
    """Sees to it for the steps of one run."""

    file: Path
    tasks: Sequence[Task]
    undo: Undo
    asked_by: Attempt | None = None

    @property
    def asked(self) -> bool:
        """True if a step has begun to ask."""
        return self.asked_by is None and self.file.exists()

    def keep(self) -> None:
        """Grant what is asked for as soon as that can be, and end it with the attempt that asked."""
        if self.asked:
            self.asked_by = next((task.attempt for task in self.tasks if task.attempt and not task.attempt.early), None)
        task = next((task for task in self.tasks if task.attempt and task.attempt is self.asked_by), None)
        if task is None:
            self.file.unlink(missing_ok=True)
            self.asked_by = None
        elif self.file.exists() and not self.file.stat().st_size and self.undo.clear_below(task):
            self.file.write_text(task.name, "utf-8")
