"""Logs that are read as they grow."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlops_lab import events as ev
from mlops_lab.runs import RunFolder
from mlops_lab.server.follow import Logs, raw_events

STARTED = ev.RunStarted(run="r", notebook="/x/nb.ipynb", digest="", pipeline="p", steps=["a"], seq=1, time=1.0)
STEP = ev.StepStarted(step="a", attempt=1, seq=2, time=2.0)
OUTPUT = ev.CellOutput(step="a", attempt=1, cell=1, output={"text": "x"}, seq=3, time=3.0)
DONE = ev.StepFinished(step="a", attempt=1, status="done", seconds=1.0, seq=4, time=4.0)


def line(event: ev.Event) -> bytes:
    return msgspec.json.encode(event) + b"\n"


def test_a_log_is_read_once_and_a_line_only_when_it_is_whole(tmp_path: Path):
    run, logs = RunFolder(tmp_path), Logs()
    run.log.write_bytes(line(STARTED) + line(STEP)[:20])
    followed = logs.follow(run)
    assert (followed.last, followed.state.steps["a"].status) == (1, "waiting")
    with open(run.log, "ab") as file:
        file.write(line(STEP)[20:] + line(OUTPUT))
    assert logs.follow(run) is followed
    assert (followed.last, followed.state.steps["a"].status) == (3, "running")
    read_to = followed.tail.offset
    logs.follow(run)
    assert followed.tail.offset == read_to == run.log.stat().st_size


def test_events_of_a_later_version_and_damaged_lines_are_passed_over(tmp_path: Path):
    run = RunFolder(tmp_path)
    later = b'{"type":"step_dreamt","step":"a","seq":3,"time":3.0}\n'
    run.log.write_bytes(line(STARTED) + b"\x00\xff{]\n" + line(STEP) + later + line(DONE))
    followed = Logs().follow(run)
    assert (followed.last, followed.state.steps["a"].status) == (4, "done")
    assert ["line 2 of the run's log" in message.text for message in followed.state.messages] == [True]
    found, last, more = raw_events(run.log, 2, 10)
    assert ([bytes(each) for each in found], last, more) == ([later.strip(), line(DONE).strip()], 4, False)


def test_a_log_that_is_replaced_is_read_anew(tmp_path: Path):
    run, logs = RunFolder(tmp_path), Logs()
    run.log.write_bytes(line(STARTED) + line(STEP) + line(DONE))
    assert logs.follow(run).state.steps["a"].status == "done"
    run.log.write_bytes(line(STARTED))
    followed = logs.follow(run)
    assert (followed.last, followed.state.steps["a"].status) == (1, "waiting")
