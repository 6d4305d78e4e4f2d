"""Runs as processes of their own: who starts one (the Jupyter server, a notebook's kernel) may go away, and the run goes on.

`start` and `resume` begin a run and return its folder once its log has begun, `begin` returns a future of it at once; from
then on the run's log is all there is to know.
The process that runs it is this module's `main`: it is told on its standard input what to run, says on its standard output
what became of that, in one line of JSON, and writes anything else into `process.log` in the run's folder. How it ended
stands in `exit.json` there; where that is missing, the process was killed while nobody watched.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from mlops_lab import warmup
from mlops_lab.checks import Diagnostic
from mlops_lab.errors import BusyError, CheckError, MlopsLabError, NotebookError, RunError, StartTimeout, UsageError
from mlops_lab.events import AnyEvent, RunStarted
from mlops_lab.runs import Home, RunFolder

START_SECONDS = 120.0  # analysis, the kernel's specification and the run's folder; a cold machine imports slowly
LOG, EXIT = "process.log", "exit.json"
_ERRORS = {kind.__name__: kind for kind in (UsageError, NotebookError, BusyError, RunError, MlopsLabError)}


def start(notebook: Path, *, executed: Path | None = None, learn: bool = False, timeout: float = START_SECONDS,
          environment: Mapping[str, str] | None = None, **options: Any) -> RunFolder:  # fmt: skip
    """Run a notebook as `Pipeline.run` does with these options (`parameters`, `start`, `only`, `on`, ...).

    `environment` are variables to set for it. At its end the notebook with all outputs is written to `executed`, too, and what
    `learn` finds into the notebook. Raises `UsageError` for a parameter's value that JSON doesn't have, and what `load` and
    `Pipeline.run` raise before a run begins.
    """
    order = _order(notebook, executed, learn, environment, options)
    return _begun(*_spawn(order, notebook.absolute().parent), timeout)


def begin(notebook: Path, *, executed: Path | None = None, learn: bool = False, timeout: float = START_SECONDS,
          **options: Any) -> Future[RunFolder]:  # fmt: skip
    """As `start`, but without waiting for the run to begin: its folder, or why there is none, comes by the future."""
    process, chatter = _spawn(_order(notebook, executed, learn, None, options), notebook.absolute().parent)
    future: Future[RunFolder] = Future()

    def wait() -> None:
        try:
            future.set_result(_begun(process, chatter, timeout))
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=wait, daemon=True, name=f"begin of a run of {notebook.name}").start()
    return future


def resume(run: RunFolder, *, timeout: float = START_SECONDS) -> RunFolder:
    """Go on with a run that did not get to its end, in a new one. Raises `UsageError` where that can't be."""
    return _begun(*_spawn({"resume": str(run.path.absolute())}, run.path), timeout)


def exit_report(run: RunFolder) -> dict[str, Any] | None:
    """How the run's process ended: `code` (negative for a signal) and `text`, what it wrote last; None if nobody knows."""
    try:
        found = json.loads((run.path / EXIT).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _order(notebook: Path, executed: Path | None, learn: bool, environment: Mapping[str, str] | None,
           options: Mapping[str, Any]) -> dict[str, Any]:  # fmt: skip
    then = {"executed": str(executed.absolute()) if executed else "", "learn": learn}
    order = {"notebook": str(notebook.absolute()), "options": options, "then": then, "environment": dict(environment or {})}
    try:
        json.dumps(order)
    except (TypeError, ValueError) as error:
        raise UsageError(f"A parameter's value can't be handed to the process of the run: {error}.") from None
    return order


def _spawn(order: Mapping[str, Any], folder: Path) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """The process of a run, which knows its order, and the file that holds what it says before the run begins."""
    chatter = tempfile.TemporaryFile()  # noqa: SIM115 - `_begun` closes it
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "mlops_lab.background"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=chatter,
        cwd=folder if folder.is_dir() else None,
        start_new_session=True,  # neither Ctrl-C in the server's terminal nor the server's end reaches it
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(order).encode())
        process.stdin.close()
    return process, chatter


def _begun(process: subprocess.Popen[bytes], chatter: IO[bytes], timeout: float) -> RunFolder:
    """Wait until the run has begun, or raise what hinders it."""
    assert process.stdout is not None
    timer = threading.Timer(timeout, process.kill)
    timer.start()
    with chatter:
        try:
            line = process.stdout.readline()
            process.stdout.close()
        finally:
            late = not timer.is_alive()
            timer.cancel()
        if not line:
            code = process.wait()
            if late:
                raise StartTimeout(f"The run had not begun after {timeout:g} s and was given up. Is the machine overloaded?")
            chatter.seek(0)
            said = chatter.read().decode(errors="replace").strip()[-2000:]
            raise RunError(f"The process of the run ended with exit code {code} before the run began. {said}".strip())
        answer = json.loads(line)
        if "run" not in answer:
            process.wait()
            raise _error(answer)
    run = RunFolder(Path(answer["run"]))
    threading.Thread(target=_watch, args=(process, run), daemon=True, name=f"run {run.id}").start()
    return run


def _watch(process: subprocess.Popen[bytes], run: RunFolder) -> None:
    """Collect the process when it ends, and write down how, where it could not do so itself."""
    code = process.wait()
    if run.path.is_dir() and not (run.path / EXIT).exists():
        with contextlib.suppress(OSError):
            _write_exit(run.path, code)


def _error(answer: Mapping[str, Any]) -> MlopsLabError:
    if answer["kind"] == "CheckError":
        return CheckError([Diagnostic(**each) for each in answer["diagnostics"]])
    return _ERRORS.get(answer["kind"], MlopsLabError)(answer["message"])


def _write_exit(folder: Path, code: int) -> None:
    text = ""
    with contextlib.suppress(OSError):
        text = (folder / LOG).read_bytes()[-4000:].decode(errors="replace")
    temporary = folder / f".{EXIT}"
    temporary.write_text(json.dumps({"code": code, "text": text}), encoding="utf-8")
    os.replace(temporary, folder / EXIT)


class _Reporter:
    """Tells the starter once what became of the run, and then lets go of it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.pipe: IO[bytes] | None = pipe
        self.folder: Path | None = None

    def say(self, answer: Mapping[str, Any]) -> None:
        if self.pipe is not None:
            with contextlib.suppress(OSError):  # who started us is gone; the run goes on
                self.pipe.write(json.dumps(answer).encode() + b"\n")
                self.pipe.flush()
            self.pipe.close()
            self.pipe = None

    def begun(self, folder: Path) -> None:
        self.folder = folder
        log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        self.say({"run": str(folder)})


def main() -> int:
    """Run what the standard input says."""
    from mlops_lab.errors import EXIT_CANCELLED, EXIT_DONE, EXIT_FAILED, EXIT_REJECTED

    # What is printed must not be taken for the answer.
    reporter = _Reporter(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended from outside: as clean as a cancelled run
    order = json.loads(sys.stdin.buffer.read())
    os.environ.update(order.get("environment", {}))
    code = EXIT_FAILED
    try:
        state = _run(order, reporter)
        codes = {"done": EXIT_DONE, "rejected": EXIT_REJECTED, "cancelled": EXIT_CANCELLED}
        code = codes.get(state, EXIT_FAILED)
    except CheckError as error:
        reporter.say({"kind": "CheckError", "message": str(error), "diagnostics": [asdict(d) for d in error.diagnostics]})
    except MlopsLabError as error:
        kind = next(k.__name__ for k in type(error).__mro__ if k.__name__ in _ERRORS)
        reporter.say({"kind": kind, "message": str(error)})
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - into process.log
    finally:
        if reporter.folder is not None and reporter.folder.is_dir():
            with contextlib.suppress(OSError):
                _write_exit(reporter.folder, code)
    return code


def _run(order: Mapping[str, Any], reporter: _Reporter) -> str:
    from mlops_lab.api import Run, load, to_resume
    from mlops_lab.executed import write
    from mlops_lab.targets import target

    runs = Path()  # the folder that the run's own will be in

    def listen(event: AnyEvent) -> None:
        if isinstance(event, RunStarted):
            reporter.begun(runs / event.run)

    if "resume" in order:
        plan, options, on = to_resume(RunFolder(Path(order["resume"])))
        runs = Home.of(plan.pipeline.notebook.folder).runs  # the notebook may have been moved
        run = Run(target(on)(plan, options, (listen,)))
    else:
        if order["options"].get("on", "local") == "local":
            warmup.begin(Path(order["notebook"]), cache=order["options"].get("cache", True))
        pipeline = load(order["notebook"])
        runs = Home.of(pipeline.plan.pipeline.notebook.folder).runs
        run = pipeline.run(listener=listen, **order["options"])
    node, then = run.notebook(), order.get("then", {})
    for path in filter(None, (run.folder.path / "executed.ipynb", then.get("executed"))):
        write(node, Path(path))
    if then.get("learn"):
        from mlops_lab.learn import learn

        learn(Path(order["notebook"]), run.folder)
    return run.status


if __name__ == "__main__":
    sys.exit(main())
