"""The folder `.mlops_lab` beside a notebook: runs, the store of values, locks. One place that knows its layout.

.mlops_lab/
  .gitignore
  runs/ID/          events.jsonl, notebook.ipynb (as it was run), run.lock, steps/NAME/ATTEMPT/...
  store/bundles/    values, by digest          store/results/   finished steps, by what they depend on
  locks/            one a notebook, held while it runs
  moved.jsonl       notebooks that were renamed or moved after they were run (moves.py)
  mlflow.db         the default tracking store
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from mlops_lab.errors import BusyError, RunError, UsageError, did_you_mean
from mlops_lab.events import AnyEvent, Message, RunFinished, RunStarted, Tail, read_events, tells_damage

HOME = "MLOPS_LAB_DIR"  # environment variable: keep runs elsewhere than beside the notebook
MOVED = "moved.jsonl"


@dataclass(frozen=True)
class Home:
    """Where the runs of the notebooks of one folder live."""

    folder: Path

    @classmethod
    def of(cls, notebook_folder: Path) -> Home:
        elsewhere = os.environ.get(HOME)
        return cls(Path(elsewhere).absolute() if elsewhere else notebook_folder.absolute() / ".mlops_lab")

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def bundles(self) -> Path:
        return self.folder / "store" / "bundles"

    @property
    def results(self) -> Path:
        return self.folder / "store" / "results"

    def prepare(self) -> None:
        """Make the folders. Raises `RunError` where that can't be done (read-only, no space)."""
        try:
            for path in (self.runs, self.bundles, self.results, self.folder / "locks"):
                path.mkdir(parents=True, exist_ok=True)
            ignore = self.folder / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
            probe = self.folder / "locks" / f".probe-{os.getpid()}-{secrets.token_hex(2)}"
            probe.write_text("x", encoding="utf-8")
            probe.unlink()
        except OSError as error:
            raise UsageError(
                f"Can't write to {self.folder}: {error.strerror}. Runs are kept there: make the folder writable, copy the "
                f"notebook to one that is, or name another place in the environment variable {HOME}."
            ) from None

    @contextmanager
    def notebook_lock(self, notebook: Path) -> Iterator[Callable[[], None]]:
        """Held while a notebook runs: two runs at once would write each other's files. What it gives lets go of it early."""
        lock = FileLock(self.folder / "locks" / f"{notebook.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            active = next((r.id for r in self.list() if r.is_active and r.started and r.started.notebook == str(notebook)), "")
            advice = f" Wait for it, or stop it with: mlops-lab cancel {active}" if active else " Wait for it to end."
            raise BusyError(f"{notebook.name} is being run already{f' (run {active})' if active else ''}.{advice}") from None
        try:
            yield lock.release
        finally:
            lock.release()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Held while runs and values are deleted; a run that begins meanwhile waits."""
        (self.folder / "locks").mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "locks" / "gc.lock"):
            yield

    def new_run(self) -> RunFolder:
        """A fresh folder, named by the time so that names sort by it."""
        while True:
            name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
            try:
                (self.runs / name / "steps").mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise RunError(f"Can't make a folder for the run in {self.runs}: {error.strerror}.") from None
            return RunFolder(self.runs / name)

    def elsewhere(self) -> list[Home]:
        """Where else earlier runs of the notebooks of this folder are kept: those of notebooks that were moved here."""
        places = (Path(os.path.normpath(self.folder / move.runs)) for move in read_moves(self) if move.runs)
        return [Home(path) for path in dict.fromkeys(places) if path != self.folder and (path / "runs").is_dir()]

    def all(self) -> list[Home]:
        """This one and `elsewhere`."""
        return [self, *self.elsewhere()]

    def last_seconds(self, notebook: Path) -> dict[str, float]:
        """How long the steps of a notebook took when they last ran, by their names."""
        found: dict[str, float] = {}
        for file in (self.results / "last" / notebook.stem).glob("*.json"):
            with contextlib.suppress(OSError, msgspec.DecodeError):
                found[file.stem] = msgspec.json.decode(file.read_bytes(), type=_Seconds).seconds
        return found

    def list(self) -> list[RunFolder]:
        """All runs, the newest first."""
        if not self.runs.is_dir():
            return []
        with os.scandir(self.runs) as entries:  # of thousands of runs none is looked into
            names = sorted((entry.name for entry in entries if entry.is_dir()), reverse=True)
        return [RunFolder(self.runs / name) for name in names]

    def find(self, name: str) -> RunFolder:
        """The run of this name, of this unambiguous beginning or ending, or the `last` one."""
        runs = self.list()
        if not runs:
            raise UsageError(f"There are no runs in {self.runs}.")
        if name == "last":
            return runs[0]
        matches = [r for r in runs if r.id == name] or [r for r in runs if r.id.startswith(name) or r.id.endswith(name)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise UsageError(f"{name!r} fits several runs: {', '.join(r.id for r in matches[:5])}.")
        raise UsageError(f"There is no run {name!r} in {self.runs}{did_you_mean(name, [r.id for r in runs])}.")


class _Seconds(msgspec.Struct):
    seconds: float


class Move(msgspec.Struct, omit_defaults=True):
    """A line of `moved.jsonl`, its paths relative to the home: `source` became `target`; or earlier runs are kept in `runs`."""

    time: float
    source: str = ""
    target: str = ""
    runs: str = ""


def read_moves(home: Home) -> list[Move]:
    """What is noted of notebooks that were moved, in its order; damaged lines are left out."""
    try:
        lines = (home.folder / MOVED).read_bytes().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError):
            found.append(msgspec.json.decode(line, type=Move))
    return found


def homes(folder: Path) -> list[Home]:
    """The places below a folder (or beside a notebook) where runs are kept: two levels deep, hidden folders left out."""
    if os.environ.get(HOME):
        return [Home.of(folder)]
    if folder.suffix == ".ipynb":
        return Home.of(folder.absolute().parent).all()
    depth = len(folder.absolute().parts)
    found = [Home.of(folder)]
    for pattern in ("*/.mlops_lab", "*/*/.mlops_lab"):
        below = sorted(folder.absolute().glob(pattern))
        found += [Home(p) for p in below if not any(x.startswith(".") for x in p.parts[depth:-1])]
    return [home for home in found if home.runs.is_dir()]


def find(name: str, folder: Path) -> RunFolder:
    """A run of the notebooks in a folder and those below it, named as for `Home.find`."""
    known = homes(folder)
    if not known:
        raise UsageError(f"There are no runs in {folder.absolute()} or below it. Name another folder with --folder.")
    if name == "last":
        return max((r for home in known for r in home.list()[:1]), key=lambda r: r.id, default=known[0].find(name))
    for home in known[:-1]:
        try:
            return home.find(name)
        except UsageError:
            continue
    return known[-1].find(name)


@dataclass(frozen=True)
class RunFolder:
    """One run's files."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def home(self) -> Home:
        return Home(self.path.parent.parent)

    @property
    def log(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def notebook(self) -> Path:
        """The notebook as it was when the run began."""
        return self.path / "notebook.ipynb"

    def here(self, file: str) -> Path:
        """A file of an attempt by the path that it had when it was written; the folder with the runs may have moved since."""
        here = self.path.parent.joinpath(*Path(file).parts[-5:])  # RUN/steps/STEP/ATTEMPT/FILE
        return here if here.exists() else Path(file)

    @property
    def quiet(self) -> Path:
        """The file that a step asks by that those below it change no files (`runtime/journal.py`)."""
        return self.path / "quiet"

    def attempt(self, step: str, attempt: int) -> Path:
        return self.path / "steps" / step / str(attempt)

    def events(self, after: int = 0) -> Iterator[AnyEvent]:
        return read_events(self.log, after)

    def follow(self, timeout: float | None = None) -> Iterator[AnyEvent]:
        """The events so far, and then those to come, until the run has ended or its process is gone.

        Raises `TimeoutError` when that takes longer than `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        tail = Tail(self.log)
        while True:
            active = self.is_active  # asked before reading: what it wrote before it ended is then still read
            for event in tail.news():
                yield event
                if isinstance(event, RunFinished):
                    return
            if not active:
                return
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"Run {self.id} had not ended after {timeout:g} s; it goes on.")
            time.sleep(0.1)

    @property
    def started(self) -> RunStarted | None:
        first = next(self.events(), None)
        return first if isinstance(first, RunStarted) else None

    @property
    def finished(self) -> RunFinished | None:
        last = None
        for event in self.events():
            last = last if isinstance(event, Message) and tells_damage(event) else event
        return last if isinstance(last, RunFinished) else None

    @property
    def remote(self) -> Path:
        """Says which run this is on the engine that runs it, where that is not a process here."""
        return self.path / "remote.json"

    @property
    def is_remote(self) -> bool:
        """True once another engine has the run: it goes on there whether or not a process here follows it."""
        return self.remote.exists()

    @property
    def is_active(self) -> bool:
        """True while the process that runs it is alive: it holds the lock, which ends with the process."""
        lock = FileLock(self.path / "run.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            return False
        lock.release()
        return False

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the run's lock: this process is the one that runs it."""
        with FileLock(self.path / "run.lock"):
            yield

    def request_cancel(self) -> None:
        (self.path / "cancel").touch()

    @property
    def cancel_requested(self) -> bool:
        return (self.path / "cancel").exists()
