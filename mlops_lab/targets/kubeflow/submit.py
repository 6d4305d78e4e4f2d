"""A plan -> a run on Kubeflow, followed to its end: compile, send, follow; and what commands do with such runs later on.

A run is sent once, whatever happens on the way: it has a name of its own there, by which it is looked for before it is sent
again. From then on it goes on by itself, and `follow.py` writes down what becomes of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlops_lab import events as ev
from mlops_lab import runstate
from mlops_lab._version import __version__
from mlops_lab.errors import MlopsLabError, RunError
from mlops_lab.plan import Plan
from mlops_lab.runs import Home, RunFolder
from mlops_lab.targets import Listener, Options
from mlops_lab.targets.kubeflow.client import Client, KubeflowError, Unavailable
from mlops_lab.targets.kubeflow.compile import compile_pipeline
from mlops_lab.targets.kubeflow.connections import Connections
from mlops_lab.targets.kubeflow.follow import Follower
from mlops_lab.targets.kubeflow.prepare import environments, plugins_input, prepared, sound_there
from mlops_lab.targets.kubeflow.record import Remote
from mlops_lab.targets.selection import select

_TRIES = 5
_REFRESH = (3, 10)  # seconds for a look in passing
_RETRIED_FROM = frozenset({"done", "cached"})


def run(plan: Plan, options: Options, listeners: tuple[Listener, ...] = (), place: str = "") -> RunFolder:
    """Run a plan on the connected Kubeflow Pipelines; see `targets.Run`. `place` names the connection.

    Without, a run that goes on with another one stays where that is.
    """
    from mlops_lab.tracking import Tracker

    select(plan, options)  # an unknown step is told before anything else
    warnings = sound_there(plan)
    compiled = compile_pipeline(plan, options)
    notebook = plan.pipeline.notebook
    client = Client(Connections().get(place or _place_before(options, Home.of(notebook.folder))))
    experiment = options.experiment or notebook.settings.experiment or plan.pipeline.name
    experiment_id = client.experiment(experiment)
    plugins = plugins_input(client, options, experiment)
    home = Home.of(notebook.folder)
    home.prepare()
    folder = home.new_run()
    with folder.owned(), _log(folder, listeners) as log:
        _begin(plan, options, experiment, folder, log)
        for step in plan.steps:
            if step.name not in compiled.steps:
                log.append(ev.StepSkipped(step=step.name, because="not selected"))
        for warning in warnings:
            log.append(ev.Message(level="warning", text=f"{warning.code}: {warning.message} {warning.fix}"))
        before = _to_retry(plan, options, home)
        tracker = None
        if options.tracking and not plugins:
            tracker = Tracker.start(folder.path, experiment=experiment, notebook=notebook.path, on_message=log.append)
        try:
            if before is None or not _retry(before, folder, client, log):
                spec = prepared(compiled, options, environments(plan, tracker))
                retries = {step.name: step.step.settings.retries for step in plan.steps if step.step.settings.retries}
                remote = Remote(client.connection.name, f"{compiled.name}-{folder.id}", experiment_id, retries=retries)
                parameters = compiled.arguments(options.parameters)
                with _ended_where_not_sent(client, remote, folder, log):
                    _send(client, remote, folder, spec, parameters, notebook.path.name, plugins)
            _follow(folder, client, log, tracker)
        finally:
            if tracker:
                tracker.finish(5)
    return folder


def refuse(plan: Plan, options: Options, place: str = "") -> None:
    """Raise what keeps a plan from being sent, without asking the server; see `targets.refuse`."""
    select(plan, options)
    sound_there(plan)
    Connections().get(place or _place_before(options, Home.of(plan.pipeline.notebook.folder)))


def refresh(folder: RunFolder, follow: bool = False, listeners: tuple[Listener, ...] = ()) -> None:
    """Write down what is new of a run: once, or with `follow` until it ends. Nothing to do where another process follows it.

    Raises `KubeflowError` where the server can't be asked.
    """
    if folder.is_active or folder.finished:
        return
    remote = Remote.read(folder)
    client = _client(remote, follow)
    with _owned_now(folder) as owned:
        if owned:
            _look(folder, remote, client, follow, listeners)


def _look(folder: RunFolder, remote: Remote, client: Client, follow: bool, listeners: tuple[Listener, ...]) -> None:
    with _log(folder, listeners) as log:
        if not _find_sent(client, remote, folder, log):
            return
        if follow:
            _follow(folder, client, log, None)
        else:
            Follower(folder, remote, client, log.append).look()


def cancel(folder: RunFolder) -> None:
    """Cancel a run that no process here follows, and wait until it has ended, for a minute at the longest."""
    remote = Remote.read(folder)
    client = _client(remote, True)
    with folder.owned(), _log(folder, ()) as log:
        if not _find_sent(client, remote, folder, log):
            return
        follower = Follower(folder, remote, client, log.append)
        follower.look()
        if not follower.ended:
            _cancel(follower)


# -- before it is sent ------------------------------------------------------------------------------------------------


def _begin(plan: Plan, options: Options, experiment: str, folder: RunFolder, log: ev.EventLog) -> None:
    import nbformat

    pipeline, notebook = plan.pipeline, plan.pipeline.notebook
    nbformat.write(notebook.node, folder.notebook)
    defaults = {
        p.name: p.default for p in pipeline.parameters if isinstance(p.default, (str, int, float, bool, list, dict, type(None)))
    }
    log.append(
        ev.RunStarted(
            run=folder.id,
            notebook=str(notebook.path),
            digest=notebook.digest,
            pipeline=pipeline.name,
            steps=[step.name for step in plan.steps],
            target="kubeflow",
            parameters=defaults | dict(options.parameters),
            experiment=experiment,
            options={
                k: list(v) if isinstance(v := getattr(options, k), tuple) else v
                for k in ("start", "end", "only", "cache", "tracking")
            },
            resumed_from=options.resume[0] if options.resume else "",
            mlops_lab=__version__,
        )
    )
    if options.fail_fast:
        log.append(ev.Message(level="warning", text="--fail-fast: Kubeflow runs all steps that don't depend on a failed one"))


# -- sending ----------------------------------------------------------------------------------------------------------


def _send(client: Client, remote: Remote, folder: RunFolder, spec: dict[str, Any], parameters: dict[str, Any],
          description: str, plugins: dict[str, Any] | None) -> None:  # fmt: skip
    """Send the run once. `remote` is written before and after, so that nobody loses it in between."""
    remote.write(folder)
    for number in range(_TRIES):
        try:
            made = client.create_run(remote.name, remote.experiment, spec, parameters, f"Notebook {description}", plugins)
            break
        except Unavailable as error:
            if number == _TRIES - 1:
                raise RunError(
                    f"{error}. The run could not be sent for certain. If it was made after all, it is called {remote.name}; "
                    f"`mlops-lab runs` finds it once Kubeflow answers."
                ) from None
            time.sleep(max(error.wait, 0.5 * 2**number))
            found = _found(client, remote)
            if found is not None:
                made = found
                break
        except KubeflowError as error:
            folder.remote.unlink(missing_ok=True)
            raise RunError(f"The run was not started. {error}") from None
    _sent(made, client, remote, folder)


def _found(client: Client, remote: Remote) -> Any:
    try:
        return client.find_run(remote.name, remote.experiment)
    except Unavailable:
        return None


def _sent(made: Any, client: Client, remote: Remote, folder: RunFolder) -> None:
    remote.run_id, remote.submitted = str(made.run_id), True
    remote.url = client.connection.run_url(remote.run_id)
    remote.write(folder)


@contextmanager
def _ended_where_not_sent(client: Client, remote: Remote, folder: RunFolder, log: ev.EventLog) -> Iterator[None]:
    """End the log of a run that was refused, or whose sending was interrupted; it is cancelled there if it was made."""
    try:
        yield
    except KeyboardInterrupt:
        if (found := _found(client, remote)) is not None:
            _sent(found, client, remote, folder)
            _cancel(Follower(folder, remote, client, log.append))
        else:
            log.append(ev.RunFinished(status="cancelled", seconds=0.0, message="before it was sent"))
    except RunError as error:
        if not folder.is_remote:
            log.append(ev.RunFinished(status="failed", seconds=0.0, message=str(error)))
        raise


def _find_sent(client: Client, remote: Remote, folder: RunFolder, log: ev.EventLog) -> bool:
    """Find a run whose answer was lost together with the process that sent it; where it never arrived, it has ended."""
    if not remote.submitted:
        found = client.find_run(remote.name, remote.experiment)
        if found is None:
            log.append(
                ev.RunFinished(status="failed", seconds=0.0, message="It never reached Kubeflow; start it anew, or resume it.")
            )
            return False
        _sent(found, client, remote, folder)
    return True


def _place_before(options: Options, home: Home) -> str:
    """The connection of the run that this one goes on with, if it is still there."""
    before = RunFolder(home.runs / options.resume[0]) if options.resume else None
    if before is None or not before.is_remote:
        return ""
    name = Remote.read(before).connection
    return name if name in Connections().names() else ""


def _to_retry(plan: Plan, options: Options, home: Home) -> RunFolder | None:
    """The run that this one goes on with, if it can go on there as it is: the same notebook and the same parameters."""
    if not options.resume:
        return None
    before = RunFolder(home.runs / options.resume[0])
    started = before.started
    if started is None or not before.is_remote or started.target != "kubeflow":
        return None
    defaults = {p.name: p.default for p in plan.pipeline.parameters}
    same = all(started.parameters.get(name) == value for name, value in (defaults | dict(options.parameters)).items())
    return before if same and started.digest == plan.pipeline.notebook.digest else None


def _retry(before: RunFolder, folder: RunFolder, client: Client, log: ev.EventLog) -> bool:
    """Go on with a run on the server, where it keeps what succeeded. False where the server can't: it is sent anew then."""
    remote = Remote.read(before)
    if not remote.submitted or remote.connection != client.connection.name:
        return False
    try:
        last = client.run(remote.run_id)
        client.retry(remote.run_id)
    except Unavailable:
        raise
    except KubeflowError as error:
        log.append(ev.Message(text=f"The run can't go on where it stopped ({error}); it is sent anew, and Kubeflow's cache "
                                   f"keeps what did not change"))  # fmt: skip
        return False
    remote.since = last.finished_at.timestamp() if last.finished_at else 0.0
    remote.write(folder)
    for name, step in runstate.fold(before.events()).steps.items():
        if step.status in _RETRIED_FROM:
            log.append(ev.StepCached(step=name, from_run=before.id, notebook=step.notebook, outputs=step.outputs))
            if step.metrics:
                log.append(ev.Metrics(step=name, values=step.metrics))
    return True


# -- following --------------------------------------------------------------------------------------------------------


def _follow(folder: RunFolder, client: Client, log: ev.EventLog, tracker: Any) -> None:
    if folder.finished:  # interrupted before it was followed
        return
    remote = Remote.read(folder)
    follower = Follower(folder, remote, client, _drained_first(log, tracker))
    if not any(message.text.startswith("on Kubeflow: ") for message in follower.state.messages):
        follower.emit(ev.Message(text=f"on Kubeflow: {remote.url or remote.run_id}"))
    try:
        follower.until_end()
    except KeyboardInterrupt:
        try:
            _cancel(follower)
        except KubeflowError as error:
            raise RunError(
                f"The run could not be cancelled: {error}. It goes on; try again: mlops-lab cancel {folder.id}"
            ) from None
    except KubeflowError as error:
        raise RunError(
            f"{error}\nThe run itself goes on. To see what became of it: mlops-lab logs {folder.id} --follow"
        ) from None


def _drained_first(log: ev.EventLog, tracker: Any) -> Any:
    """Writes events; before the last one, MLflow gets all others."""

    def emit(event: ev.AnyEvent) -> None:
        if tracker and isinstance(event, ev.RunFinished):
            tracker.drain(60 if event.status != "cancelled" else 10)
        log.append(event)

    return emit


def _cancel(follower: Follower, seconds: float = 60) -> None:
    """Ask the server to end the run, and watch it do so."""
    deadline = time.monotonic() + seconds
    while not follower.ended:
        try:
            if not follower.terminated:
                follower.terminate()
            follower.look()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            raise MlopsLabError(
                f"Kubeflow was asked to cancel run {follower.folder.id}, and has not ended it within {seconds:g} s."
            )
        time.sleep(0 if follower.ended else 0.5)


def _client(remote: Remote, patient: bool) -> Client:
    connection = Connections().get("" if remote.connection == "environment" else remote.connection)
    return Client(connection) if patient else Client(connection, _REFRESH)


@contextmanager
def _owned_now(folder: RunFolder) -> Iterator[bool]:
    """Hold the run's lock, if nobody else does: whoever does writes down what is new."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder.path / "run.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def _log(folder: RunFolder, listeners: tuple[Listener, ...]) -> Iterator[ev.EventLog]:
    log = ev.EventLog(folder.log)
    log.listeners += listeners
    try:
        yield log
    finally:
        log.close()
