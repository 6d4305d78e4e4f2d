"""Logs that are read as they grow: each line once, however often somebody asks how a run stands.

`Logs` keeps the fold of each run that was asked for; `tail` gives the lines themselves. Lines go to the front end as they
stand in the file.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mlops_lab import events as ev
from mlops_lab import runstate
from mlops_lab.runs import RunFolder

_REMEMBERED = 2000  # runs
_CHUNK = 1 << 20  # bytes read at once
_EVENT = msgspec.json.Decoder(ev.AnyEvent)


@dataclass
class RawTail:
    """A place in a log; `lines` goes on from it."""

    path: Path
    offset: int = 0
    damage: ev.Damage = field(default_factory=ev.Damage)

    def lines(self, most: int = _CHUNK) -> list[bytes]:
        """The whole lines that follow, some `most` bytes of them (one line at least); none if there is nothing new.

        In place of the first damaged line stands the message that there are some; the others are left out.
        """
        try:
            with open(self.path, "rb") as file:
                if os.fstat(file.fileno()).st_size < self.offset:  # another file under this name
                    self.restart()
                file.seek(self.offset)
                found: list[bytes] = []
                while (most > 0 or not found) and (line := file.readline()).endswith(b"\n"):
                    most -= len(line)
                    self.offset += len(line)
                    if known := ev.head(line):
                        self.damage.whole(known.seq, known.time)
                        found.append(line)
                    elif message := self.damage.broken():
                        found.append(msgspec.json.encode(message) + b"\n")
        except OSError:
            return []
        return found

    def restart(self) -> None:
        """Begin at the beginning: it is another file."""
        self.offset, self.damage = 0, ev.Damage()


def head(line: bytes) -> tuple[str, int] | None:
    """Type and number of the event in a line; None for a damaged one."""
    found = ev.head(line)
    return (found.type, found.seq) if found else None


def raw_events(path: Path, after: int, limit: int) -> tuple[list[msgspec.Raw], int, bool]:
    """Up to `limit` events numbered above `after`, the number of the last of them, and whether more follow."""
    found: list[msgspec.Raw] = []
    last, tail, size = after, RawTail(path), 0
    while lines := tail.lines():
        for line in lines:
            known = head(line)
            if known is None or known[1] <= after:
                continue
            if len(found) == limit or (found and size + len(line) > 8 * _CHUNK):
                return found, last, True
            found.append(msgspec.Raw(line.rstrip(b"\n")))
            last, size = known[1], size + len(line)
    return found, last, False


@dataclass
class Followed:
    """A run's fold, as far as its log was read."""

    tail: RawTail
    state: runstate.RunState = field(default_factory=runstate.RunState)
    options: dict[str, Any] = field(default_factory=dict)
    last: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def advance(self) -> None:
        """Take in what the log has more."""
        if self.tail.offset and not self.tail.path.exists():
            self.tail.restart()
        while lines := self.tail.lines():
            for line in lines:
                known = head(line)
                if known is None:
                    continue
                self.last = known[1]
                if known[0] == "cell_output":
                    continue  # most of a log, and no part of the picture
                try:
                    event = _EVENT.decode(line)
                except msgspec.DecodeError:
                    continue  # of a later version
                if isinstance(event, ev.RunStarted):
                    self.options = event.options
                runstate.apply(self.state, event)


class Logs:
    """The folds of the runs that were asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._followed: OrderedDict[Path, Followed] = OrderedDict()

    def follow(self, run: RunFolder) -> Followed:
        """The run's fold, up to now. Hold its `lock` while reading it."""
        with self._lock:
            found = self._followed.setdefault(run.log, Followed(RawTail(run.log)))
            self._followed.move_to_end(run.log)
            while len(self._followed) > _REMEMBERED:
                self._followed.popitem(last=False)
        with found.lock:
            found.advance()
        return found

    def forget(self, run: RunFolder) -> None:
        """The run is gone."""
        with self._lock:
            self._followed.pop(run.log, None)
