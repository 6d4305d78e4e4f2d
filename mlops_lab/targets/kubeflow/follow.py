"""Kubeflow's picture of a run -> our event log, again and again until the run has ended.

Each look asks for the run and for the logs of the steps that are at work, and writes down what is new since the last one. All
that is needed for that is in the run's folder: `remote.json` says which run it is, and the event log what is known of it. So
any process can go on where another one stopped, and an outage only makes it wait.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

from mlops_lab import events as ev
from mlops_lab import runstate
from mlops_lab.errors import MlopsLabError
from mlops_lab.notebook import read
from mlops_lab.pipeline import build
from mlops_lab.plan import Plan, make_plan
from mlops_lab.runs import RunFolder
from mlops_lab.targets.kubeflow import from_mlflow, waiting
from mlops_lab.targets.kubeflow.client import Client, KubeflowError, Unavailable
from mlops_lab.targets.kubeflow.podlog import PodLog, is_executor, is_name_of_pod, pods_of
from mlops_lab.targets.kubeflow.record import Remote
from mlops_lab.tracking import URI, without_password

_CACHE = "Kubeflow's cache"
_ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})
_PATIENCE, _LATE = 3, 30.0  # looks or seconds that a log may take to appear, or to be whole, after its step has ended
SHORTEST, LONGEST = 1.0, 10.0  # seconds between two looks; longer while nothing happens
GIVE_UP = 3600.0  # seconds of outage after which following ends; the run goes on


class Follower:
    """Writes what Kubeflow knows of one run into its event log. `look` once, or `until_end`."""

    def __init__(self, folder: RunFolder, remote: Remote, client: Client, emit: Callable[[ev.AnyEvent], None]) -> None:
        self.folder, self.remote, self.client = folder, remote, client
        self._write = emit
        self.told = list(folder.events())
        self.state = runstate.fold(self.told)
        self.logs: dict[tuple[str, int], PodLog] = {}
        self.pods: dict[tuple[str, int], str] = {}
        self.waited: dict[str, int] = {}
        self.terminated = self.mlflow_is_down = self.logs_are_refused = False
        self.news = 0  # events written
        self.taken = 0  # steps whose results KFP took from its cache

    @property
    def ended(self) -> bool:
        """True once the log has its last event."""
        return self.state.status != "running"

    def emit(self, event: ev.AnyEvent) -> None:
        """Write an event, and take it into our picture."""
        self.news += 1
        runstate.apply(self.state, event)
        self._write(event)

    def until_end(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Look until the run has ended; cancel it there once that is asked for here.

        Raises `KubeflowError` when the server refuses us, or can't be reached for an hour: the run goes on all the same.
        """
        wait, outage, told = SHORTEST, 0.0, False
        while not self.ended:
            seen = self.news
            try:
                if self.folder.cancel_requested and not self.terminated:
                    self.terminate()
                self.look()
            except Unavailable as error:
                outage = outage or time.monotonic()
                wait = max(error.wait, min(wait * 2, LONGEST))
                if time.monotonic() - outage > GIVE_UP:
                    raise
                if not told and time.monotonic() - outage > 2 * SHORTEST:
                    told = True
                    self.emit(
                        ev.Message(level="warning", text=f"{error}; the run goes on, and is followed again once it can be")
                    )
            else:
                if told:
                    self.emit(ev.Message(text=f"{self.client.connection.shown} can be reached again"))
                outage, told = 0.0, False
                wait = SHORTEST if self.news != seen else min(wait * 1.5, LONGEST)
            if not self.ended:
                self._pause(wait, sleep)

    def terminate(self) -> None:
        """Ask the server to end the run, if it has not ended meanwhile."""
        try:
            self.client.terminate(self.remote.run_id)
        except Unavailable:
            raise
        except KubeflowError as error:
            if error.status not in (400, 409):
                raise
        self.terminated = True

    def _pause(self, seconds: float, sleep: Callable[[float], None]) -> None:
        """Wait, but not longer than somebody who cancels would like to."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self.folder.cancel_requested and not self.terminated:
                return
            sleep(min(left, 0.5))

    # -- one look -------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Ask once, and write down what is new."""
        if self.ended:
            return
        try:
            run = self.client.run(self.remote.run_id)
        except KubeflowError as error:
            # A proxy whose server is down says 404, too; a list without the run comes from Kubeflow alone.
            if error.status != 404 or self.client.find_run(self.remote.name, self.remote.experiment) is not None:
                raise
            self._deleted()
            return
        over = str(run.state) in _ENDED and not self._is_old(run.finished_at)
        self._plugins(run)
        details = self._details(run)
        open_steps = False
        for name, step in self.state.steps.items():
            if step.status not in runstate.FINAL:
                self._step(name, step, details.get(name), over, run)
                open_steps |= step.status not in runstate.FINAL
        if over and not open_steps:
            self._end(run)

    def _deleted(self) -> None:
        """The run is not there any more: nobody will learn how its steps ended."""
        why = "the run was deleted on Kubeflow"
        for name, step in self.state.steps.items():
            if step.status == "waiting":
                self.emit(ev.StepSkipped(step=name, because=why))
            elif step.status not in runstate.FINAL:
                failure = ev.Failure(kind="cancelled", message=why)
                self.emit(
                    ev.StepFinished(step=name, attempt=max(step.attempt, 1), status="cancelled", seconds=0.0, failure=failure)
                )
        message = f"{why[0].upper()}{why[1:]}. What came back before is kept; mlops-lab resume sends it anew."
        self.emit(ev.RunFinished(status="cancelled", seconds=0.0, message=message))

    def _details(self, run: Any) -> dict[str, Any]:
        """Step -> its task. Argo's own nodes may have the same name: the one whose child is the step's by its id goes first."""
        found: dict[str, Any] = {}
        tasks = (run.run_details and run.run_details.task_details) or ()
        self.taken = sum(task.display_name == "executor" and str(task.state) == "SKIPPED" for task in tasks)

        def rank(task: Any) -> tuple[bool, bool, float]:
            children = [child.pod_name for child in task.child_tasks or () if child.pod_name]
            return any(is_executor(child, task.display_name) for child in children), bool(children), _seconds(task.start_time)

        for task in tasks:
            old = self._is_old(task.end_time) and str(task.state) != "SUCCEEDED"
            known = found.get(task.display_name)
            if task.display_name in self.state.steps and not old and (known is None or rank(task) >= rank(known)):
                found[task.display_name] = task
        return found

    def _is_old(self, ended: datetime | None) -> bool:
        return bool(self.remote.since) and 0 < _seconds(ended) <= self.remote.since

    def _step(self, name: str, step: runstate.StepState, detail: Any, over: bool, run: Any) -> None:
        state = str(detail.state) if detail is not None else ""
        if state == "SKIPPED" or (over and (detail is None or state in ("PENDING", "None", "RUNTIME_STATE_UNSPECIFIED"))):
            why = "the run was cancelled" if str(run.state) == "CANCELED" else self._held_up(name)
            self.emit(ev.StepSkipped(step=name, because=why))
            return
        if detail is None or state in ("PENDING", "None", "RUNTIME_STATE_UNSPECIFIED"):
            if detail is not None and waiting.is_stalled(detail):
                self._say_stalled(name)
            return
        ended = state in _ENDED or over
        log = self._read_logs(name, step, detail, ended)
        if log is None and not ended and not self.logs_are_refused and waiting.is_stalled(detail):
            self._say_stalled(name)
        if ended:
            self._finish(name, step, detail, state, log, run)

    @cached_property
    def plan(self) -> Plan | None:
        """The plan of the notebook as it was sent; None where its copy in the run's folder is gone."""
        try:
            return make_plan(build(read(self.folder.notebook)))
        except MlopsLabError:
            return None

    def _held_up(self, name: str) -> str:
        """Why a step did not run, as the local engine says it."""
        for source in sorted(self.plan.sources[name]) if self.plan and name in self.plan.sources else ():
            status = self.state.steps[source].status
            if status in ("failed", "rejected"):
                return f"step {source!r} {'rejected the run' if status == 'rejected' else 'failed'}"
            if status in ("skipped", "cancelled"):
                return f"step {source!r} did not run"
        return "a step that it waits for did not succeed"

    def _is_gate(self, name: str) -> bool:
        return any(step.name == name and step.step.gate for step in self.plan.steps) if self.plan else False

    def _start(self, name: str, attempt: int) -> None:
        notebook = self.folder.attempt(name, attempt) / "executed.ipynb"
        reason = "on Kubeflow" if attempt == 1 else "tried again by Kubeflow"
        self.emit(ev.StepStarted(step=name, attempt=attempt, reason=reason, notebook=str(notebook)))

    def _read_logs(self, name: str, step: runstate.StepState, detail: Any, ended: bool) -> PodLog | None:
        """Read the logs of the step's attempts, from the one that is known to be at work; the last one that there is."""
        log = None
        attempt = max(step.attempt, 1)
        while True:
            content = self._content(name, detail, attempt, ended)
            if content is None and (attempt > 1 or step.status != "waiting" or not self._ran(detail)):
                return log
            if step.attempt < attempt or step.status == "waiting":
                if log is not None:
                    self._tried_again(name, step, log)
                self._start(name, attempt)
            if content is None:
                return None
            log = self.logs.setdefault((name, attempt), PodLog(name, attempt, self.told))
            for event in log.read(content, ended):
                self.emit(event)
            if attempt > self.remote.retries.get(name, 0) or not (log.result or ended):
                return log
            attempt += 1

    def _ran(self, detail: Any) -> bool:
        """False for a task whose pod may have been skipped, because its result was in KFP's cache."""
        told = sum(step.status == "cached" and step.from_run == _CACHE for step in self.state.steps.values())
        return not (str(detail.state) == "SUCCEEDED" and told < self.taken)

    def _content(self, name: str, detail: Any, attempt: int, ended: bool) -> bytes | None:
        """What an attempt has written so far: its pod's log, or what Argo keeps of it where that is gone or hidden from us."""
        children = [child.pod_name for child in detail.child_tasks or () if child.pod_name]
        pods = pods_of(name, children, self.remote.retries.get(name, 0), attempt)
        content = self._of_pods(name, detail, attempt, pods)
        if content is None and ended and self._ran(detail):
            kept = (self.client.archived_log(self.remote.run_id, node) for node in pods if not is_name_of_pod(node))
            content = next((one for one in kept if one is not None), None)
        return content

    def _of_pods(self, name: str, detail: Any, attempt: int, pods: list[str]) -> bytes | None:
        known = self.pods.get((name, attempt))
        told = [detail.pod_name] if detail.pod_name and attempt == 1 and not self.remote.retries.get(name) else []
        for pod in [known] if known else [*told, *pods]:
            try:
                content = self.client.log(self.remote.run_id, pod)
            except Unavailable:
                raise
            except KubeflowError as error:  # who may see runs may not always see logs; their states are still worth having
                self.logs_are_refused = True
                self._say_once(f"The logs of the steps can't be read: {error}")
                return None
            if content is not None:
                self.pods[name, attempt] = pod
                return content
        return None

    def _say_once(self, text: str) -> None:
        if not any(message.text == text for message in self.state.messages):
            self.emit(ev.Message(level="warning", text=text))

    def _say_stalled(self, name: str) -> None:
        namespace = self.client.connection.namespace
        self._say_once(waiting.why_stalled(name, self.plan, self.remote.run_id, namespace, self.remote.url))

    # -- the end of a step and of the run -------------------------------------------------------------------------

    def _tried_again(self, name: str, step: runstate.StepState, log: PodLog) -> None:
        failure = self._failure(log, None, log.result)
        self.emit(ev.StepFinished(step=name, attempt=step.attempt, status="failed", seconds=0.0, failure=failure, retry_in=0.0))

    def _finish(self, name: str, step: runstate.StepState, detail: Any, state: str, log: PodLog | None, run: Any) -> None:
        whole = log is not None and log.result is not None
        if not whole and state in ("SUCCEEDED", "FAILED") and self._ran(detail):
            self.waited[name] = self.waited.get(name, 0) + 1
            if self.waited[name] < _PATIENCE and time.time() - _seconds(detail.end_time) < _LATE:
                return
        seconds = max(_seconds(detail.end_time) - _seconds(detail.start_time), 0.0) if detail.end_time else 0.0
        attempt = max(step.attempt, 1)
        if log is not None and (content := log.notebook) is not None:
            path = self.folder.attempt(name, attempt) / "executed.ipynb"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        result = (log.result if log else None) or self._from_mlflow(name, attempt, detail)
        if state == "SUCCEEDED":
            if log is None and not self._ran(detail):
                self.emit(ev.StepCached(step=name, from_run=_CACHE, notebook=""))
                return
            if not result:
                self.emit(ev.Message(
                    level="warning", step=name,
                    text=f"The log of step {name!r} is not there (any more): what it printed and its executed notebook stay on "
                         f"Kubeflow, among its artifacts.{f' See {self.remote.url}' if self.remote.url else ''}"))  # fmt: skip
            outputs = {n: ev.Output(**{k: v for k, v in row.items() if k in ev.Output.__struct_fields__})
                       for n, row in result.get("outputs", {}).items()}  # fmt: skip
            self.emit(ev.StepFinished(step=name, attempt=attempt, status="done", seconds=seconds, outputs=outputs))
            self.emit(ev.StepCommitted(step=name, attempt=attempt))
            return
        failed = result.get("status") in ("failed", "rejected")
        if not failed and (state == "CANCELED" or str(run.state) in ("CANCELED", "CANCELING")):
            failure = ev.Failure(kind="cancelled", message="the run was cancelled")
            self.emit(ev.StepFinished(step=name, attempt=attempt, status="cancelled", seconds=seconds, failure=failure))
            return
        status = "rejected" if result.get("status") == "rejected" else "failed"
        failure = self._failure(log, detail, result)
        if failure.kind == "died" and log is not None and log.started and (asked := waiting.asked(name, self.plan)):
            failure.message += f" (the step asks for {asked}; mlops_lab.steps.{name} in the notebook's metadata says so)"
        if not result and log is None and self._is_gate(name):
            failure.message = (
                f"this gate ended the run for what depends on it. Its log can't be read, so it is not known here whether its "
                f"check failed or it could not run: {failure.message}"
            )
        self.emit(ev.StepFinished(step=name, attempt=attempt, status=status, seconds=seconds, failure=failure))
        self.emit(ev.StepCommitted(step=name, attempt=attempt))

    def _from_mlflow(self, name: str, attempt: int, detail: Any) -> dict[str, Any]:
        """How a step ended whose log can't be read, where its MLflow run says it; its notebook and metrics come along."""
        tracking = self.state.tracking
        named = os.environ.get(URI, "")
        uri = named or (tracking.uri if tracking else "")
        # The store beside the notebook has nothing that came from a pod.
        if not tracking or not (named or uri.startswith("http")) or self.mlflow_is_down or not self._ran(detail):
            return {}
        try:
            left = from_mlflow.find(uri, tracking.experiment_id, tracking.run_id, name, self.folder.attempt(name, attempt))
        except OSError as error:
            self.mlflow_is_down = True
            self._say_once(f"MLflow can't be asked for what the steps left: {error}")
            return {}
        if left is None:
            return {}
        if self.state.steps[name].tracking is None:
            shown = without_password(uri)
            self.emit(ev.TrackingRun(step=name, attempt=attempt, run_id=left.run_id, uri=shown,
                                     experiment_id=tracking.experiment_id))  # fmt: skip
        if left.metrics:
            self.emit(ev.Metrics(step=name, values=left.metrics))
        return left.ended

    def _failure(self, log: PodLog | None, detail: Any, result: Mapping[str, Any] | None) -> ev.Failure:
        told = (result or {}).get("failure")
        if told:
            known = {key: value for key, value in told.items() if key in ev.Failure.__struct_fields__}
            return ev.Failure(**{"traceback": log.tail if log else "", **known})
        said = detail.error.message if detail is not None and detail.error and detail.error.message else ""
        if log is not None and not log.started:
            text = (
                said or "the pod ended before the step began: its packages could not be installed, or its image has no Python"
            )
        else:
            text = said or "the pod ended before the step did: killed (out of memory, say), evicted, or its node is gone"
        where = f" See {self.remote.url}" if self.remote.url and log is None else ""
        last = f". It wrote last: {log.tail.splitlines()[-1]}" if log and log.tail else ""
        return ev.Failure(kind="died", message=text + last + where, traceback=log.tail if log else "")

    def _plugins(self, run: Any) -> None:
        """Where KFP's own MLflow plugin tracks the run."""
        found = (run.plugins_output or {}).get("mlflow")
        entries = (found.entries or {}) if found is not None else {}
        values = {key: str(entry.value) for key, entry in entries.items() if entry is not None and entry.value is not None}
        run_id = next((v for k, v in values.items() if k.endswith("run_id")), "")
        if run_id and (self.state.tracking is None or self.state.tracking.run_id != run_id):
            uri = next((v for k, v in values.items() if "uri" in k or "endpoint" in k), "")
            experiment = next((v for k, v in values.items() if k.endswith("experiment_id")), "")
            self.emit(ev.TrackingRun(step="", run_id=run_id, uri=uri, experiment_id=experiment))
        if found is not None and str(found.state).endswith("FAILED"):
            self._say_once(f"tracking: Kubeflow's MLflow plugin failed: {found.state_message or 'it does not say why'}")

    def _end(self, run: Any) -> None:
        statuses = {step.status for step in self.state.steps.values()}
        state = str(run.state)
        message = run.error.message if run.error and run.error.message else ""
        if state == "CANCELED":
            status = "cancelled"
        elif state == "SUCCEEDED" and not statuses & {"failed", "rejected"}:
            status = "done"
        else:
            status = "rejected" if "rejected" in statuses and "failed" not in statuses else "failed"
            if status == "failed" and "failed" not in statuses:
                message = message or f"Kubeflow ended the run before a step of it failed. See {self.remote.url}"
        begun, ended = _seconds(run.created_at), _seconds(run.finished_at)
        self.emit(ev.RunFinished(status=status, seconds=max(ended - max(begun, self.remote.since), 0.0), message=message))


def _seconds(moment: datetime | None) -> float:
    """Seconds since 1970; 0 for no moment, which KFP also writes as 1970."""
    return moment.timestamp() if moment is not None else 0.0
