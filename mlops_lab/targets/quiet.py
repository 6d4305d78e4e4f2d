"""Keeps from the processes that a step starts what steps below it have done too early: they may see all that lies in a folder.

The step asks by a file, and the steps below wait with their changes for as long as it is there (`runtime/journal.py`).
"""

from __future__ import annotations

import time
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
    since: float = 0.0

    @property
    def asked(self) -> bool:
        """True if a step has begun to ask."""
        return self.asked_by is None and self.file.exists()

    def overdue(self, attempt: Attempt, limit: float) -> bool:
        """True if an attempt has taken longer than its limit, in seconds, without what it may have waited."""
        waits = self.asked_by is not None and attempt.early
        return not waits and time.monotonic() - attempt.started - attempt.waited > limit

    def keep(self) -> None:
        """Grant what is asked for as soon as that can be, and end it with the attempt that asked."""
        if self.asked:
            self.asked_by = next((task.attempt for task in self.tasks if task.attempt and not task.attempt.early), None)
            self.since = time.monotonic()
        task = next((task for task in self.tasks if task.attempt and task.attempt is self.asked_by), None)
        if task is None and self.asked_by:
            for other in (other.attempt for other in self.tasks if other.attempt and other.attempt.early):
                other.waited += time.monotonic() - max(self.since, other.started)
            self.asked_by = None
        if task is None:
            self.file.unlink(missing_ok=True)
        elif self.file.exists() and not self.file.stat().st_size and self.undo.clear_below(task):
            self.file.write_text(task.name, "utf-8")
