"""The run's log: numbered lines, readable after a crash and by other versions."""

from __future__ import annotations

import json
import math
import os
import threading
from pathlib import Path

import pytest

from mlops_lab.events import (
    CellOutput,
    EventLog,
    Failure,
    Message,
    Metrics,
    Output,
    RunFinished,
    RunStarted,
    StepFinished,
    Tail,
    read_events,
)
from mlops_lab.runstate import fold


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def write(path: Path, count: int) -> EventLog:
    log = EventLog(path)
    for i in range(count):
        log.append(Message(text=str(i)))
    return log


def test_events_are_numbered_from_one_and_timed(path: Path) -> None:
    write(path, 3).close()
    events = list(read_events(path))
    assert [e.seq for e in events] == [1, 2, 3]
    assert 0 < events[0].time <= events[2].time
    assert [json.loads(line)["type"] for line in path.read_text().splitlines()] == ["message"] * 3


def test_reading_begins_after_a_number(path: Path) -> None:
    write(path, 5).close()
    assert [e.seq for e in read_events(path, after=3)] == [4, 5]
    assert list(read_events(path, after=9)) == []


def test_every_event_is_on_the_disk_at_once(path: Path) -> None:
    log = write(path, 1)
    assert len(list(read_events(path))) == 1
    log.close()


def test_what_was_written_is_read_back(path: Path) -> None:
    events = [
        RunStarted(run="r", notebook="/n", digest="d", pipeline="p", steps=["a"], parameters={"x": [1, None, "ü"]}),
        CellOutput(step="a", attempt=1, cell=1, output={"output_type": "stream", "text": "line\nline\u2028"}),
        StepFinished(step="a", attempt=1, status="failed", seconds=1.5, failure=Failure(kind="error", message="m", cell=2),
                     outputs={"x": Output(version="v", type="int")}),
        RunFinished(status="failed", seconds=2.0),
    ]  # fmt: skip
    log = EventLog(path)
    for event in events:
        log.append(event)
    log.close()
    assert list(read_events(path)) == events


def test_metrics_that_are_no_numbers_do_not_hide_the_others(path: Path) -> None:
    log = EventLog(path)
    log.append(RunStarted(run="r", notebook="/n", digest="d", pipeline="p", steps=["a"]))
    log.append(Metrics(step="a", values={"loss": float("nan"), "best": float("-inf"), "auc": 0.9}))
    log.close()
    metrics = fold(read_events(path)).metrics
    assert metrics["auc"] == 0.9
    assert math.isnan(metrics["loss"]) and math.isnan(metrics["best"])


def test_a_missing_log_has_no_events(path: Path) -> None:
    assert list(read_events(path)) == []


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_last_line_cut_short_is_left_out(path: Path, cut: int) -> None:
    write(path, 3).close()
    path.write_bytes(path.read_bytes()[:-cut])
    assert [e.seq for e in read_events(path)] == [1, 2]


def test_a_log_cut_short_can_be_continued(path: Path) -> None:
    write(path, 2).close()
    path.write_bytes(path.read_bytes()[:-5])
    write(path, 2).close()
    found = list(read_events(path))
    assert [e.seq for e in found] == list(range(1, len(found) + 1))
    assert [e.text for e in found if isinstance(e, Message)][-2:] == ["0", "1"]


def test_events_and_fields_of_the_future_are_skipped(path: Path) -> None:
    write(path, 1).close()
    with path.open("a") as file:
        file.write('{"type":"from_the_future","seq":2,"x":1}\n')
        file.write('{"type":"message","seq":3,"text":"known","colour":"red"}\n')
    assert [e.seq for e in read_events(path)] == [1, 3]


def test_damaged_lines_are_told_of_once_in_place_of_the_first(path: Path) -> None:
    write(path, 5).close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\0" * 40 + b"\n" + lines[2] + lines[3][:12] + b"\n")
    tail = Tail(path)
    found = list(tail.news())
    assert found == list(read_events(path))
    assert [(e.seq, e.level) for e in found if isinstance(e, Message)] == [(1, "info"), (2, "warning"), (3, "info")]
    assert "line 2 of the run's log can't be read" in found[1].text
    path.write_bytes(path.read_bytes() + b"{\n" + lines[4])
    assert [e.seq for e in tail.news()] == [5]
    assert fold(read_events(path)).is_damaged


def test_numbering_goes_on_in_an_existing_log(path: Path) -> None:
    write(path, 2).close()
    write(path, 1).close()
    assert [e.seq for e in read_events(path)] == [1, 2, 3]


def test_numbering_goes_on_after_an_event_of_the_future(path: Path) -> None:
    write(path, 1).close()
    with path.open("a") as file:
        file.write('{"type":"from_the_future","seq":2}\n')
    write(path, 1).close()
    assert [e.seq for e in read_events(path)] == [1, 3]


def test_listeners_hear_each_event_in_order_once_it_is_written(path: Path) -> None:
    log, heard = EventLog(path), []
    log.listeners.append(lambda event: heard.append((event.seq, len(list(read_events(path))))))
    log.append(Message(text="a"))
    log.append(Message(text="b"))
    log.close()
    assert heard == [(1, 1), (2, 2)]


def test_threads_may_write_at_once(path: Path) -> None:
    log = EventLog(path)
    threads = [threading.Thread(target=lambda: [log.append(Message(text="x" * 500)) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert [e.seq for e in read_events(path)] == list(range(1, 201))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_os_error(path: Path) -> None:
    log = EventLog(path)
    log.close()
    log._file = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space left"):
        log.append(Message(text="x"))
    log.close()
