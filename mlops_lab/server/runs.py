"""Runs as plain data, and what can be done to them: start, resume, cancel, delete. Its truth are their folders and logs."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mlops_lab import background
from mlops_lab import events as ev
from mlops_lab.checks import require_sound
from mlops_lab.errors import BusyError, MlopsLabError, UsageError, did_you_mean
from mlops_lab.moves import Notebooks
from mlops_lab.notebook import read
from mlops_lab.parameters import check as check_values
from mlops_lab.pipeline import build
from mlops_lab.plan import make_plan
from mlops_lab.runs import Home, RunFolder
from mlops_lab.runstate import UNDER_WAY, RunState, StepState, so_far
from mlops_lab.server.connections import chosen
from mlops_lab.server.errors import NotFound
from mlops_lab.server.follow import Followed, Logs, RawTail, head, raw_events
from mlops_lab.server.places import Places
from mlops_lab.server.requests import RunRequest
from mlops_lab.server.states import finite, remote_model, step_model, tracking_model
from mlops_lab.targets import Options, refresh, target
from mlops_lab.targets import cancel as cancel_elsewhere
from mlops_lab.targets.selection import select

STATUSES = ("running", "done", "failed", "rejected", "cancelled", "interrupted")
_LOG_TEXT = 1 << 20  # characters of a step's log that are given, from its end


class Runs:
    """The runs below a server's root. Its methods read files, so call them from a thread; they may be called from several."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.logs = Logs()
        self._begun: list[RunFolder] = []  # from here

    # -- looking -------------------------------------------------------------------------------------------------

    def page(self, path: str = "", status: str = "", limit: int = 50, before: str = "") -> dict[str, Any]:
        """A page of runs of a notebook, or of those in a folder and below it, the newest first."""
        wanted = {word.strip() for word in status.split(",") if word.strip()}
        for word in wanted - set(STATUSES):
            raise UsageError(f"There is no status {word!r}{did_you_mean(word, STATUSES)}. Known: {', '.join(STATUSES)}.")
        only = self.places.notebook(path, must_exist=False) if path.endswith(".ipynb") else None
        folder = self.places.path_of(self.places.below(path)) if path.strip("/") and only is None else ""
        runs = [(run, known) for h in self.places.homes(path) for known in [Notebooks(h)] for run in h.list()]
        found: list[dict[str, Any]] = []
        for run, known in sorted(runs, key=lambda each: each[0].id, reverse=True):
            if (before and run.id >= before) or run.path.is_symlink():
                continue
            followed = self.logs.follow(run)
            recorded = followed.state.notebook
            at = self.places.path_of(known.now(run, recorded, followed.state.started)) if recorded else None
            if at is None or (only and at != self.places.path_of(only)) or (folder and not at.startswith(f"{folder}/")):
                continue
            summary = self._summary(run, followed, at)
            if not wanted or summary["status"] in wanted:
                if len(found) == limit:
                    return {"runs": found, "more": True}
                found.append(summary)
        return {"runs": found, "more": False}

    def summary(self, name: str) -> dict[str, Any]:
        """A run in short."""
        run, path = self.places.run(name)
        return self._summary(run, self.logs.follow(run), path)

    def state(self, name: str, outline: Mapping[str, Any]) -> dict[str, Any]:
        """The picture of a run; `outline` is what `outline` gives for its notebook."""
        run, path = self.places.run(name)
        followed = self.logs.follow(run)
        summary = self._summary(run, followed, path)
        with followed.lock:
            state = followed.state
            active = run.is_active if state.status == "running" else False
            model = summary | {
                "last": followed.last,
                "active": active,
                "cancelling": active and run.cancel_requested,
                "step_states": [step_model(step, outline) for step in state.steps.values()],
                "edges": outline["edges"],
                "cells": outline["cells"],
                "cell_indices": outline["indices"],
                "messages": [msgspec.to_builtins(message) for message in state.messages],
                "options": followed.options,
            }
            if summary["status"] == "interrupted":
                for step in model["step_states"]:
                    step["status"] = "interrupted" if step["status"] in UNDER_WAY else step["status"]
            if run.is_remote:
                model["remote"] = remote_model(run)
            if state.tracking:
                model["tracking"] = tracking_model(state.tracking)
        report = background.exit_report(run)
        return model | ({"exit": report} if report else {})

    def _summary(self, run: RunFolder, followed: Followed, path: str) -> dict[str, Any]:
        with followed.lock:
            state = followed.state
            status = state.status
            # An old log without an end is what a crash leaves; who runs it holds its lock, unless it runs elsewhere.
            if status == "running" and not run.is_active and not run.is_remote:
                followed.advance()  # it may have ended between the two looks
                status = state.status if state.status != "running" else "interrupted"
            return {
                "id": run.id,
                "path": path,
                "pipeline": state.pipeline,
                "status": status,
                "started": state.started,
                "seconds": so_far(state, followed.tail.path, status),
                "target": state.target,
                "steps": len(state.steps),
                "steps_done": sum(step.status in ("done", "cached") for step in state.steps.values()),
                "failed_step": next((s.name for s in state.steps.values() if s.status in ("failed", "rejected")), ""),
                "metrics": finite(state.metrics),
                "parameters": state.parameters,
                "experiment": state.experiment,
                "resumed_from": state.resumed_from,
                "message": state.message,
            }

    def events(self, name: str, after: int, limit: int) -> dict[str, Any]:
        """Some events of a run, as they stand in its log."""
        run, _ = self.places.run(name)
        found, last, more = raw_events(run.log, after, limit)
        return {"events": found, "last": last, "more": more}

    def open_log(self, name: str, after: int) -> OpenLog:
        """A run's log to be followed."""
        run, _ = self.places.run(name)
        return OpenLog(self, run, after)

    def status(self, run: RunFolder) -> str:
        """How a run stands."""
        return str(self._summary(run, self.logs.follow(run), "")["status"])

    def follow(self, name: str) -> tuple[RunFolder, Followed]:
        """A run and its fold."""
        run, _ = self.places.run(name)
        return run, self.logs.follow(run)

    def step_of(self, name: str, step: str) -> tuple[RunFolder, RunState, StepState]:
        """A run, its state and one of its steps. Raises `NotFound` for a step that it doesn't have."""
        run, followed = self.follow(name)
        with followed.lock:
            if step not in followed.state.steps:
                known = ", ".join(followed.state.steps)
                raise NotFound(f"Run {name} has no step {step!r}{did_you_mean(step, followed.state.steps)}; it has: {known}.")
            return run, followed.state, followed.state.steps[step]

    def step_log(self, name: str, step: str, attempt: int = 0) -> dict[str, Any]:
        """What a step's kernel wrote outside of its cells, and the text of its cells."""
        run, _, state = self.step_of(name, step)
        attempt = attempt or state.attempt
        folder = run.attempt(step, attempt)
        if state.status == "cached" and not attempt:
            folder = run.here(state.notebook).parent
        elif not folder.is_dir():
            if not attempt or attempt > state.attempt:
                state_text = f"has had {state.attempt} attempts" if state.attempt else "did not run"
                if attempt:
                    raise NotFound(f"Step {step!r} of run {name} {state_text}; there is no attempt {attempt}.")
            return {"text": "", "attempt": attempt, "cut": False}
        text = "\n".join(filter(None, [_cell_texts(run, step, attempt), _kernel_log(folder)]))
        return {"text": text[-_LOG_TEXT:], "attempt": attempt, "cut": len(text) > _LOG_TEXT}

    # -- doing ---------------------------------------------------------------------------------------------------

    def start(self, request: RunRequest) -> str:
        """Begin a run in a process of its own, and give its id once its log has begun."""
        notebook = self.places.notebook(request.path)
        if request.resume:
            run, path = self.places.run(request.resume)
            if path != self.places.path_of(notebook):
                raise UsageError(f"Run {request.resume} is one of {path}, not of {request.path}.")
            return self.resume(request.resume)
        options = {name: getattr(request, name) for name in RunRequest.__struct_fields__ if name not in _NOT_OPTIONS}
        on, environment = chosen(request.target)
        run = background.start(notebook, environment=environment, on=on, **options)
        self.places.remember(notebook)
        self._begun.append(run)
        return run.id

    def resume(self, name: str) -> str:
        """Go on with a run in a new one, and give its id."""
        run, _ = self.places.run(name)
        begun = background.resume(run)
        self._begun.append(begun)
        return begun.id

    def in_progress(self) -> list[str]:
        """The runs begun from here that have not ended."""
        self._begun = [run for run in self._begun if run.is_active]
        return [run.id for run in self._begun]

    def cancel(self, name: str) -> str:
        """Ask a run to end."""
        run, _ = self.places.run(name)
        if goes_on_elsewhere(run):
            cancel_elsewhere(run)
            return run.id
        if not run.is_active:
            raise BusyError(f"Run {name} is not in progress.")
        run.request_cancel()
        return run.id

    def delete(self, name: str, force: bool = False) -> None:
        """Remove a run's folder; unless by force, not that of a run from which others show the outputs of steps."""
        run, _ = self.places.run(name)
        home = run.home
        with home.exclusive():
            if run.is_active or goes_on_elsewhere(run):
                raise BusyError(f"Run {name} is in progress. Cancel it first.")
            users = [] if force else self._users_of(run, home)
            if users:
                others = "a later run" if len(users) == 1 else f"{len(users)} later runs"
                raise BusyError(
                    f"Run {name} is needed by {others} ({', '.join(users[:3])}), whose cached steps show its outputs."
                )
            # The log goes first: without it the folder is no run, even if something in it can't be removed.
            run.log.unlink(missing_ok=True)
            self.logs.forget(run)
            shutil.rmtree(run.path, ignore_errors=True)

    def _users_of(self, run: RunFolder, home: Home) -> list[str]:
        """The runs that took a step's result from this one."""
        found = []
        for other in home.list():
            if other.id > run.id:
                followed = self.logs.follow(other)
                with followed.lock:
                    if any(step.from_run == run.id for step in followed.state.steps.values()):
                        found.append(other.id)
        return found

    def refresh(self, name: str) -> None:
        """Ask the engine elsewhere that has the run how it stands; where it can't be asked, the log shows what was known."""
        run, _ = self.places.run(name)
        with contextlib.suppress(MlopsLabError):
            refresh(run)


@dataclass
class OpenLog:
    """A run's log, followed from the event numbered `after`."""

    runs: Runs
    run: RunFolder
    after: int

    def __post_init__(self) -> None:
        self.tail = RawTail(self.run.log)

    def is_active(self) -> bool:
        """True while more may come."""
        return self.run.is_active or self.is_elsewhere()

    def is_elsewhere(self) -> bool:
        """True if somebody has to ask another engine for what comes."""
        return goes_on_elsewhere(self.run)

    def news(self) -> list[bytes]:
        """The events that have come, each as it stands in the log."""
        found: list[bytes] = []
        while not found and (lines := self.tail.lines()):
            found = [line.rstrip(b"\n") for line in lines if (known := head(line)) and known[1] > self.after]
        return found

    def status(self) -> str:
        """How the run stands."""
        return self.runs.status(self.run)


def goes_on_elsewhere(run: RunFolder) -> bool:
    """True for a run on another engine that no process here follows, and that hasn't ended for all that is known."""
    return run.is_remote and not run.is_active and run.finished is None


def require_startable(notebook: Path, request: RunRequest) -> None:
    """Find out at once, and not once a process for the run has started, what would keep it from running. It parses.

    Raises what the run would raise.
    """
    plan = make_plan(build(read(notebook)))
    target(chosen(request.target)[0])
    require_sound(plan)
    check_values(plan.pipeline.parameters, request.parameters)
    select(plan, Options(start=request.start, end=request.end, only=tuple(request.only)))


_NOT_OPTIONS = {"path", "target", "resume"}


def _cell_texts(run: RunFolder, step: str, attempt: int) -> str:
    texts = []
    for event in run.events():
        if isinstance(event, ev.CellOutput) and event.step == step and event.attempt == attempt:
            output = event.output
            data = output.get("data") or {}
            text = output.get("text") or data.get("text/plain") or "\n".join(output.get("traceback", []))
            texts.append("".join(text) if isinstance(text, list) else str(text))
    return "".join(text if text.endswith("\n") else f"{text}\n" for text in texts if text)


def _kernel_log(folder: Path) -> str:
    try:
        with open(folder / "kernel.log", "rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - _LOG_TEXT, 0))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
