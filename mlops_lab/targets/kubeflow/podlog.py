"""A pod's log -> events of its step: what the runtime says there in lines of its own, and what the cells print between them.

A log is read again from its beginning each time, by whoever follows the run just then. Which of its lines are in the run's log
already is counted there, so nothing is told twice and nothing is left out.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from mlops_lab import events as ev
from mlops_lab.runtime.remote import EVENT

_TOLD: dict[str, type[ev.Event]] = {
    "cell_started": ev.CellStarted,
    "cell_finished": ev.CellFinished,
    "metrics": ev.Metrics,
    "tracking_run": ev.TrackingRun,
}
_LONGEST = 65_536  # characters of text in one event, as the local engine cuts them
_KEPT = 30  # lines at the end of a log that are shown when a step failed without a word from the runtime


class PodLog:
    """The log of one attempt at a step. `told` are the events of it that the run's log has already."""

    def __init__(self, step: str, attempt: int, told: Iterable[ev.AnyEvent] = ()) -> None:
        self.step, self.attempt = step, attempt
        self.result: dict[str, Any] | None = None  # what the runtime said when the step ended
        self.started = False
        self._cell = 0
        self._at = 0
        self._text: list[str] = []
        self._parts: dict[int, str] = {}
        self._last: list[str] = []
        self._events_to_skip: Counter[str] = Counter()
        self._lines_to_skip = 0
        for event in told:
            if getattr(event, "step", "") != step or getattr(event, "attempt", attempt) != attempt:
                continue
            if isinstance(event, ev.CellOutput):
                self._lines_to_skip += event.output["text"].count("\n")
            elif isinstance(event, tuple(_TOLD.values())):
                self._events_to_skip[type(event).__struct_config__.tag] += 1  # type: ignore[index]

    def read(self, content: bytes, ended: bool = False) -> list[ev.AnyEvent]:
        """The events of what is new in the log. A line that isn't whole yet waits, unless the pod has ended."""
        found: list[ev.AnyEvent] = []
        new = content[self._at :]
        whole = len(new) if ended else new.rfind(b"\n") + 1
        self._at += whole
        for line in new[:whole].decode(errors="replace").splitlines(keepends=True):
            text, mark, said = line.partition(EVENT)
            if text:
                self._print(text if text.endswith("\n") else text + "\n", found)
            if mark:
                self._take(said, found)
        self._flush(found)
        return found

    @property
    def notebook(self) -> bytes | None:
        """The executed notebook, if the log holds it."""
        try:
            packed = "".join(self._parts[i] for i in range(len(self._parts)))
            return zlib.decompress(base64.b85decode(packed)) if packed else None
        except (KeyError, ValueError, zlib.error):
            return None  # its end is missing

    @property
    def tail(self) -> str:
        """The last lines that are no events."""
        return "".join(self._last).strip()

    def _print(self, text: str, found: list[ev.AnyEvent]) -> None:
        self._last = [*self._last, text][-_KEPT:]
        if not self._cell:
            return
        if self._lines_to_skip:
            self._lines_to_skip -= 1
            return
        self._text.append(text)
        if sum(map(len, self._text)) > _LONGEST:
            self._flush(found)

    def _flush(self, found: list[ev.AnyEvent]) -> None:
        if self._text:
            output = {"output_type": "stream", "name": "stdout", "text": "".join(self._text)}
            found.append(ev.CellOutput(step=self.step, attempt=self.attempt, cell=self._cell, output=output))
            self._text = []

    def _take(self, said: str, found: list[ev.AnyEvent]) -> None:
        try:
            row = json.loads(said)
            kind = row["type"]
        except (ValueError, KeyError, TypeError):
            return  # a cell printed something that looks like an event
        if kind == "executed_notebook":
            self._parts[int(row["part"])] = str(row["data"])
        elif kind == "step_started":
            self.started = True
        elif kind == "step_finished":
            self._flush(found)
            self._cell = 0
            self.result = row
        elif kind in _TOLD:
            self._flush(found)
            try:
                # Whatever it says, it is about this step.
                event = msgspec.convert({**row, "step": self.step, "attempt": self.attempt}, _TOLD[kind])
            except msgspec.ValidationError:
                return
            if isinstance(event, ev.CellStarted):
                self._cell = event.cell
            elif isinstance(event, ev.CellFinished):
                self._cell = 0
            if self._events_to_skip[kind]:
                self._events_to_skip[kind] -= 1
            else:
                found.append(event)  # type: ignore[arg-type]


def pods_of(step: str, children: Iterable[str], retries: int, attempt: int) -> list[str]:
    """The names that the pod of an attempt may have, the likeliest first.

    The server tells the ids of Argo's nodes below the step's task. A pod is called like its node, or by Argo's newer rule, with
    the template's name inside. The ids are hashes of names, so those of further attempts follow from the first.
    """
    names: list[str] = []
    for child in children:
        workflow, _, number = child.rpartition("-")
        node = f"{workflow}.root.{step}.executor"
        tried = _fnv1a(f"{node}({attempt - 1})") if _fnv1a(node) == number else ""
        plain = [f"{workflow}-system-container-impl-{number}", child] if attempt == 1 else []
        again = [f"{workflow}-retry-system-container-impl-{tried}", f"{workflow}-{tried}"] if tried else []
        names += [*again, *plain] if retries else [*plain, *again]
    return list(dict.fromkeys(names))


def is_name_of_pod(name: str) -> bool:
    """True for a name that is no id of one of Argo's nodes."""
    return "-system-container-impl-" in name


def is_executor(node: str, step: str) -> bool:
    """True if a node's id is the one that Argo gives to the node which runs a step."""
    workflow, _, number = node.rpartition("-")
    return _fnv1a(f"{workflow}.root.{step}.executor") == number


def _fnv1a(text: str) -> str:
    """The hash that Argo makes ids of: 32-bit FNV-1a."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return str(value)
