"""The run's log: event types (schema version 1) and the append-only file `events.jsonl` that holds them.

One JSON object a line, numbered from 1 without gaps, flushed line by line. Everything shown of a run, wherever it is
shown, is a fold of this file (`runstate.py`). Fields are only ever added, with defaults, so that old logs stay readable.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

SCHEMA_VERSION = 1


class Event(msgspec.Struct, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of all events. `seq` and `time` (seconds since 1970, UTC) are set by the log when it is written."""

    seq: int = 0
    time: float = 0.0


class RunStarted(Event, tag="run_started"):
    """The first event. `notebook` is an absolute path; `steps` stand in notebook order."""

    run: str
    notebook: str
    digest: str
    pipeline: str
    steps: list[str]
    target: str = "local"
    parameters: dict[str, Any] = {}
    experiment: str = ""
    options: dict[str, Any] = {}
    resumed_from: str = ""
    mlops_lab: str = ""
    schema: int = SCHEMA_VERSION


class StepStarted(Event, tag="step_started"):
    """An attempt at a step begins. `reason` says why it runs and was not taken from the cache."""

    step: str
    attempt: int
    reason: str = ""
    notebook: str = ""


class CellStarted(Event, tag="cell_started"):
    """`cell` is its number in the notebook; it is the `position`-th of `total` cells of the step."""

    step: str
    attempt: int
    cell: int
    position: int
    total: int


class CellOutput(Event, tag="cell_output"):
    """One output as nbformat stores it; a large one is cut here, whole in the executed notebook."""

    step: str
    attempt: int
    cell: int
    output: dict[str, Any]


class CellFinished(Event, tag="cell_finished"):
    """`status` is `done` or `failed`."""

    step: str
    attempt: int
    cell: int
    seconds: float
    status: str = "done"


class Failure(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Why an attempt did not succeed. `kind` is one of: error, rejected, timeout, died, cancelled, refused."""

    kind: str
    message: str
    cell: int = 0
    line: int = 0
    code: str = ""
    traceback: str = ""


class Output(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A value that a step left: the version it has, its Python type, its size in bytes, a preview for people."""

    version: str
    type: str = ""
    bytes: int = 0
    preview: str = ""


class StepFinished(Event, tag="step_finished"):
    """An attempt ended; `status` is done, failed, rejected or cancelled. `inputs` are names with their versions.

    `data_seconds` are those of `seconds` that went into loading inputs (`load`) and storing outputs (`save`).
    """

    step: str
    attempt: int
    status: str
    seconds: float
    failure: Failure | None = None
    inputs: dict[str, str] = {}
    outputs: dict[str, Output] = {}
    retry_in: float | None = None
    data_seconds: dict[str, float] = {}


class StepCommitted(Event, tag="step_committed"):
    """The attempt's result counts: every input it used is the one that a straight run would have given it."""

    step: str
    attempt: int


class StepOvertaken(Event, tag="step_overtaken"):
    """The attempt's result doesn't count, because what it read had changed meanwhile; the step runs again."""

    step: str
    attempt: int
    because: str


class StepCached(Event, tag="step_cached"):
    """The result of an earlier run is taken, with its outputs; its executed notebook is the one of that run."""

    step: str
    from_run: str
    notebook: str
    inputs: dict[str, str] = {}
    outputs: dict[str, Output] = {}


class StepSkipped(Event, tag="step_skipped"):
    """The step won't run."""

    step: str
    because: str


class Metrics(Event, tag="metrics"):
    """Scalar metrics of a step; later values of one name replace earlier ones. None: not a number, or infinite."""

    step: str
    values: Mapping[str, float | None]


class MetricPoints(Event, tag="metric_points"):
    """Values that a metric of an attempt took as it went, as [step, value]: what plots show while a step still runs.

    They continue those of the events before. A metric with one value so far has no such event.
    """

    step: str
    attempt: int
    name: str
    points: list[tuple[int, float]]


class LoggedModel(Event, tag="logged_model"):
    """A model that the cells of an attempt logged to MLflow."""

    step: str
    attempt: int
    name: str
    model_id: str


class TrackingRun(Event, tag="tracking_run"):
    """The MLflow run of a step's attempt, or, with an empty `step`, of the whole run."""

    step: str
    run_id: str
    attempt: int = 0
    uri: str = ""
    experiment_id: str = ""


class Message(Event, tag="message"):
    """Something to tell the user. `level` is info, warning or error."""

    text: str
    level: str = "info"
    step: str = ""


class RunFinished(Event, tag="run_finished"):
    """The last event. `status` is done, failed, rejected or cancelled."""

    status: str
    seconds: float
    message: str = ""


AnyEvent = (
    RunStarted | StepStarted | CellStarted | CellOutput | CellFinished | StepFinished | StepCommitted | StepOvertaken
    | StepCached | StepSkipped | Metrics | MetricPoints | LoggedModel | TrackingRun | Message | RunFinished
)  # fmt: skip

_DECODER = msgspec.json.Decoder(AnyEvent)


class EventLog:
    """Writes one run's log. Safe to call from several threads of the one process that owns the run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seq = 0
        if path.exists():  # go on behind the last whole line; a crash may have cut one short
            content = path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                os.truncate(path, len(whole))
            self._seq = whole.count(b"\n")
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.listeners: list[Any] = []

    def append(self, event: AnyEvent) -> None:
        """Number the event, write it as one line, and hand it to the listeners in this order.

        Raises `OSError` when the line can't be written (disk full); nothing that follows is then written either.
        """
        with self._lock:
            self._seq += 1
            event.seq, event.time = self._seq, time.time()
            line = msgspec.json.encode(event) + b"\n"
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(28, "No space left on device", str(self.path))
            for listener in list(self.listeners):
                try:
                    listener(event)
                except Exception:  # who looks on (a closed terminal, say) must not disturb the run
                    self.listeners.remove(listener)

    def close(self) -> None:
        os.close(self._file)


class Head(msgspec.Struct):
    """What every line has, also those of later versions."""

    type: str
    seq: int
    time: float = 0.0


_HEAD = msgspec.json.Decoder(Head)
_DAMAGED = "can't be read; what its damaged lines told is left out"


def head(line: bytes) -> Head | None:
    """Type, number and time of the event in a line; None for a damaged one."""
    try:
        return _HEAD.decode(line)
    except msgspec.DecodeError:
        return None


class Damage:
    """Watches the lines of one log as they are read from its beginning, and says once that some can't be."""

    def __init__(self) -> None:
        self._lines, self._last, self._told = 0, (0, 0.0), False

    def whole(self, seq: int, time: float) -> None:
        """The next line could be read; it has this number and time."""
        self._lines, self._last = self._lines + 1, (seq, time)

    def broken(self) -> Message | None:
        """The next line couldn't; the message that stands in its place, if it is the first such."""
        self._lines += 1
        if self._told:
            return None
        self._told = True
        seq, time = self._last
        return Message(text=f"line {self._lines} of the run's log {_DAMAGED}", level="warning", seq=seq + 1, time=time)


def tells_damage(message: Message) -> bool:
    """True for the message of `Damage`."""
    return message.text.endswith(_DAMAGED)


def _decoded(line: bytes, damage: Damage) -> AnyEvent | None:
    try:
        event: AnyEvent = _DECODER.decode(line)
    except msgspec.DecodeError:
        known = head(line)
        if known is None:
            return damage.broken()
        damage.whole(known.seq, known.time)  # of a later version
        return None
    damage.whole(event.seq, event.time)
    return event


def read_events(path: Path, after: int = 0) -> Iterator[AnyEvent]:
    """The events of a log numbered above `after`. A last line that was cut short by a crash is left out."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below, once the generator is exhausted or dropped
    except FileNotFoundError:
        return
    damage = Damage()
    with file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            event = _decoded(line, damage)
            if event is not None and event.seq > after:
                yield event


class Tail:
    """The lines that a growing log has gained; what was read is not read again, however long the log gets."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, 0
        self._damage = Damage()

    def news(self) -> Iterator[AnyEvent]:
        """The events since the last call. A line that is not written to its end is left for the next one."""
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                event = _decoded(line, self._damage)
                if event is not None:
                    yield event
