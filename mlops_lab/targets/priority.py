"""The priority of each step among those that run at once, for the system's scheduler.

The threads of linear algebra and OpenMP wait for each other by spinning. Where two steps have as many threads as the machine
has cores, each stops threads that the other's wait for, and both take many times as long as one after the other would
(docs/decisions/001). With different priorities the first has the cores while it can use them, the second what is left. How
many threads a step has stays as in a straight run, since that may change the last digits of its results.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator

_GAP = 10  # in nice values: the lower of two has a tenth of a core that both want
_LOWEST = 19
_TRIES, _BETWEEN = 4, 0.1  # the system lets an ordinary user change a session's priority ten times a second


class Priorities:
    """Of the steps of one run, at most `workers` at once."""

    def __init__(self, workers: int) -> None:
        self._gap = min(_GAP, _LOWEST // max(workers - 1, 1))
        self._taken: set[int] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def of_its_own(self, process: int | None) -> Iterator[None]:
        """Give a kernel that is about to begin its step a priority below those that are running. None: no kernel."""
        with self._lock:
            place = next(n for n in range(len(self._taken) + 1) if n not in self._taken)
            self._taken.add(place)
        try:
            if process and place and self._gap:
                _lower(process, place * self._gap)
            yield
        finally:
            with self._lock:
                self._taken.discard(place)


def _lower(process: int, by: int) -> None:
    # The process among those of its control group; the session, each kernel has one, where sessions share the cores.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process, min(os.getpriority(os.PRIO_PROCESS, process) + by, _LOWEST))
    for _ in range(_TRIES):
        try:
            with open(f"/proc/{process}/autogroup", "w", encoding="ascii") as session:
                session.write(str(min(by, _LOWEST)))
        except BlockingIOError:
            time.sleep(_BETWEEN)
        except OSError:
            return
        else:
            return
