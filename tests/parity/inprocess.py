"""Runs a notebook straight and as a pipeline within this process, without kernels, and tells whether they differ.

The analysis, the engine's scheduling and commits (`targets.local._Engine`), and the runtime in the steps are the real ones.
What is replaced is what takes time: an attempt runs here in a fresh namespace when a seeded random order says so, the
store lies in memory and is not synced. `python -m tests.parity.inprocess 0 1000` compares the random programs of these seeds.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib
import io
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat.v4.nbbase
from nbformat import NotebookNode

from mlops_lab import checks
from mlops_lab import notebook as nb
from mlops_lab import plan as plan_module
from mlops_lab.pipeline import build
from mlops_lab.plan import Plan, make_plan
from mlops_lab.results import Recipe, Result
from mlops_lab.runs import Home
from mlops_lab.runtime.load import runtime_module
from mlops_lab.targets import Options

try:
    import mlops_lab.tracking  # noqa: F401
except ImportError:  # it is not there yet, and plays no part here
    sys.modules["mlops_lab.tracking"] = types.ModuleType("mlops_lab.tracking")
    sys.modules["mlops_lab.tracking"].Tracker = object  # type: ignore[attr-defined]
from mlops_lab.targets import local

kit = runtime_module("kit")
ambient = runtime_module("ambient")
pack = runtime_module("pack")
store = runtime_module("store")
_cp = pack._cp
_HIDDEN = frozenset({"numpy", "numpy.random", "pandas", "matplotlib", "torch"})

Cell = tuple[str, str]  # tags (blank-separated) and source


# -- what a process is to a step ---------------------------------------------------------------------------------------


class _Modules:
    """`sys.modules` as it would be in a process that has imported only what this step imported."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def _there(self, name: str) -> bool:
        return name not in _HIDDEN or name.partition(".")[0] in self.seen

    def values(self) -> list[Any]:
        return [module for name, module in list(sys.modules.items()) if self._there(name)]

    def __contains__(self, name: str) -> bool:
        return self._there(name) and name in sys.modules

    def __getitem__(self, name: str) -> Any:
        if not self._there(name):
            raise KeyError(name)
        return sys.modules[name]

    def get(self, name: str, default: Any = None) -> Any:
        return sys.modules.get(name, default) if self._there(name) else default


class _Sys:
    """The `sys` that the runtime sees, with `modules` of the step at hand."""

    modules = _Modules()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


_sys = _Sys()
_import = builtins.__import__


def _recording_import(name: str, *args: Any, **kwargs: Any) -> Any:
    root = name.partition(".")[0]
    if root in _HIDDEN:
        _sys.modules.seen.add(root)
    return _import(name, *args, **kwargs)


def _recorded_import_module(name: str) -> Any:
    _sys.modules.seen.add(name.partition(".")[0])
    return importlib.import_module(name)


class _NoFiles:
    """In place of the audit hook, which could never be taken away again."""

    def __init__(self, folder: str) -> None:
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.watching = False


class _Shell:
    """As much of IPython's shell as the runtime uses."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.user_ns = names
        self.execution_count = 1
        self.callbacks: list[Any] = []
        self.compile = types.SimpleNamespace(cache=lambda *a, **k: "", get_code_name=None)
        self.events = types.SimpleNamespace(register=lambda event, callback: self.callbacks.append(callback))

    def transform_cell(self, source: str) -> str:
        return source


class _Kit(kit.Kit):  # type: ignore[misc, name-defined]
    """The real one, except that its report stays in memory."""

    def _report(self, news: dict[str, Any]) -> None:
        self.reported = {**getattr(self, "reported", {}), **json.loads(json.dumps(news))}


@contextlib.contextmanager
def process(seed: int) -> Iterator[dict[str, Any]]:
    """A namespace that is `__main__` for a while, in what looks like a fresh process."""
    module = types.ModuleType("__main__")
    names = module.__dict__
    names["__builtins__"] = builtins
    names["get_ipython"] = lambda: None
    kept = sys.modules["__main__"], os.environ.copy()
    sys.modules["__main__"] = module
    _sys.modules.seen = set()
    with _cp._DYNAMIC_CLASS_TRACKER_LOCK:
        _cp._DYNAMIC_CLASS_TRACKER_BY_CLASS.clear()
        _cp._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
    warnings.simplefilter("ignore")
    random.seed(seed)
    if "numpy" in sys.modules:
        numpy = sys.modules["numpy"]
        numpy.random.seed(seed % 2**32)
        numpy.set_printoptions(**_PRINT)
    builtins.__import__ = _recording_import
    try:
        yield names
    finally:
        builtins.__import__ = _import
        sys.modules["__main__"] = kept[0]
        if dict(os.environ) != dict(kept[1]):
            os.environ.clear()
            os.environ.update(kept[1])


def _print_options() -> dict[str, Any]:
    import numpy

    return numpy.get_printoptions()


_PRINT = _print_options()


def run_cell(source: str, names: dict[str, Any]) -> tuple[str, str]:
    """What a cell prints, and its error (`Type: message`)."""
    out = io.StringIO()
    error = ""
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(source, "<cell>", "exec"), names)
        except BaseException as raised:
            if isinstance(raised, KeyboardInterrupt):
                raise
            error = f"{type(raised).__name__}: {raised}"
            if os.environ.get("PARITY_TRACE"):
                traceback.print_exc()
    return normalise(out.getvalue()), normalise(error)


def normalise(text: str) -> str:
    return re.sub(r"0x[0-9a-fA-F]{6,}", "0x#", text)


# -- the two ways of running -------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """Cell number -> (printed, error), in the order of the notebook; `refused` ends it early with a reason."""

    cells: dict[int, tuple[str, str]] = field(default_factory=dict)
    refused: str = ""
    broken: str = ""
    attempts: int = 0
    steps: int = 0

    @property
    def until_error(self) -> list[tuple[int, tuple[str, str]]]:
        found = []
        for number, seen in sorted(self.cells.items()):
            found.append((number, seen))
            if seen[1]:
                break
        return found


def read(cells: Sequence[Cell], folder: Path) -> nb.Notebook:
    nodes = [
        NotebookNode(cell_type="code", id=f"c{i}", source=source, outputs=[], execution_count=None,
                     metadata=NotebookNode(tags=tags.split()))
        for i, (tags, source) in enumerate(cells)
    ]  # fmt: skip
    metadata = NotebookNode(kernelspec=NotebookNode(name="python3", language="python", display_name="p"))
    return nb.from_node(NotebookNode(nbformat=4, nbformat_minor=5, metadata=metadata, cells=nodes), folder / "n.ipynb")


def straight(cells: Sequence[Cell], seed: int) -> Outcome:
    found = Outcome()
    with process(seed) as names:
        for number, (tags, source) in enumerate(cells, 1):
            if "skip" in tags.split():
                continue
            found.cells[number] = run_cell(source, names)
            if found.cells[number][1]:
                break
    return found


class _Engine(local._Engine):  # type: ignore[misc, name-defined]
    """The real engine; attempts wait in a list, and one of them, chosen at random, runs whenever it waits."""

    def __init__(self, plan: Plan, home: Home, dice: random.Random, options: Options, versions: bool) -> None:
        folder = home.new_run()
        self.EXECUTOR = _Executor
        super().__init__(plan, options, local.select(plan, options), home, folder, sys.executable, ())
        self.log.close()
        self.dice = self.executor.dice = dice
        self.executor.versions = versions
        self.pending: list[Any] = []
        self.pool = types.SimpleNamespace(submit=self.pending.append)
        self.seen: list[Any] = []

    def emit(self, event: Any) -> None:
        self.seen.append(event)

    def go(self) -> None:
        rounds = 0
        while self.advance():
            rounds += 1
            if rounds > 500:
                raise RuntimeError("the engine makes no progress")
            if not self.pending:
                if not any(t.attempt for t in self.tasks) and rounds > 400:
                    raise RuntimeError("nothing runs and nothing is settled")
                continue
            self.pending.pop(self.dice.randrange(len(self.pending)))()
            while not self.done.empty():
                self._take(*self.done.get())


class _Executor(local.Executor):  # type: ignore[misc, name-defined]
    """The real orders and recipes; a step's cells run here, in a fresh namespace."""

    dice: random.Random
    versions: bool

    def __init__(self, *context: Any) -> None:
        super().__init__(*context)
        self.prints: dict[str, list[tuple[str, str]]] = {}
        self.loud: dict[str, str] = {}

    def recipe(self, planned: Any) -> Recipe:
        if self.versions:
            return super().recipe(planned)
        return Recipe({}, planned.name, {}, {}, None, "", self.plan.seeded)

    def run_notebook(self, planned: Any, attempt: Any, result: Result, order: Any, node: Any) -> None:
        if attempt.ended_by and self.dice.random() < 0.7:
            result.failure = local.ev.Failure(kind="died", message="killed")
            return
        executed = self.executed(planned, attempt)
        order = json.loads(json.dumps(order))
        prints: list[tuple[str, str]] = []
        with process(self.dice.randrange(2**32)) as names:
            shell = _Shell(names)
            runtime, phase, error = None, "", ""
            for cell in node.cells:
                tag = next((t for t in cell.metadata.get("tags", ()) if t.startswith("mlops-lab-")), "")
                phase = tag
                if tag == "mlops-lab-inputs":
                    runtime = _Kit(order, shell)
                    error = _guarded(runtime.begin)
                elif tag == "mlops-lab-outputs":
                    error = _guarded(runtime.end)
                elif tag:
                    _, error = run_cell(cell.source, names)
                else:
                    prints.append(run_cell(cell.source, names))
                    error = prints[-1][1]
                if error:
                    break
        news = getattr(runtime, "reported", None)
        if news:
            for name in set(news) & set(Result.__struct_fields__) - {"files_read", "files_written", "seconds"}:
                setattr(result, name, news[name])
        else:
            reads = planned.reads
            result.inputs = {n: attempt.current.get(n) for n in (reads if reads is not None else attempt.current)}
        result.keep = None if planned.keep is None else sorted(planned.keep)
        result.status = "failed" if error else "done"
        self.prints[f"{planned.name}/{attempt.number}"] = prints
        executed.parent.mkdir(parents=True, exist_ok=True)
        executed.write_text(json.dumps(prints))
        if error and phase:
            self.loud[f"{planned.name}/{attempt.number}"] = f"{phase}: {error}"
        if error:
            result.failure = local.ev.Failure(kind="error", message=error)


def _guarded(call: Any) -> str:
    try:
        call()
    except kit.InputRefused as refused:  # or what the guard of a fixed graph refuses
        return f"InputRefused: {refused}"
    except Exception as error:
        if os.environ.get("PARITY_TRACE"):
            traceback.print_exc()
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
    return ""


def pipeline(cells: Sequence[Cell], seed: int, home: Home, workers: int = 0, versions: bool = False) -> Outcome:
    """Run as a pipeline. With `versions`, recipes are real ones, and results of earlier runs in this home are taken."""
    dice = random.Random(seed)
    found = Outcome()
    plan = make_plan(build(read(cells, home.folder.parent)))
    errors = [d for d in checks.check(plan) if d.severity == "error"]
    if errors:
        found.refused = "; ".join(str(d) for d in errors)
        return found
    options = Options(cache=versions, workers=workers or dice.choice([1, 2, 2, 3, 5]))
    engine = _Engine(plan, home, dice, options, versions)
    engine.go()
    found.steps = len(engine.tasks)
    found.attempts = sum(task.attempts for task in engine.tasks)
    setup = {cell.number for cell in engine.pipeline.setup}
    for task in engine.tasks:
        if task.result is None:
            continue
        if task.result.run == engine.folder.id:
            loud = engine.executor.loud.get(f"{task.name}/{task.result.attempt}", "")
        else:
            loud = ""
        if "outputs: InputRefused" in loud:  # the guard takes back what the step shows
            found.refused = loud
            break
        prints = json.loads(Path(task.result.notebook).read_text()) if Path(task.result.notebook).exists() else []
        for cell, seen in zip(task.planned.step.cells, prints, strict=False):
            found.cells[cell.number] = tuple(seen)
        if "inputs: InputRefused" in loud:
            found.refused = loud
            break
        if loud:
            found.broken = f"{task.name}: {loud}"
            break
        if task.failed:
            break
    for number in setup:
        found.cells.pop(number, None)
    return found


def compare(cells: Sequence[Cell], seed: int, home: Home, versions: bool = False) -> tuple[str, str, Outcome]:
    """(`equal`, `refused` or `different`, what differs, the pipeline's outcome)."""
    hidden = {n for n, (tags, _) in enumerate(cells, 1) if {"setup", "parameters"} & set(tags.split())}
    expected = [(n, seen) for n, seen in straight(cells, seed).until_error if n not in hidden or seen[1]]
    if expected and expected[-1][0] in hidden:
        return "equal", "", Outcome()  # the notebook itself fails in a cell that every step replays
    got = pipeline(cells, seed, home, versions=versions)
    seen = [(n, s) for n, s in got.until_error if n not in hidden]
    if got.refused:
        # What ran before the refusal must be right all the same.
        count = len(seen)
        if seen == expected[:count]:
            return "refused", got.refused, got
        return "different", f"before a refusal: {_first_difference(expected, seen)}", got
    if got.broken:
        return "different", f"broken: {got.broken}", got
    if expected == seen:
        return "equal", "", got
    return "different", _first_difference(expected, seen), got


def _first_difference(expected: list[Any], seen: list[Any]) -> str:
    for position in range(max(len(expected), len(seen))):
        one = expected[position] if position < len(expected) else "nothing"
        two = seen[position] if position < len(seen) else "nothing"
        if one != two:
            return f"straight {one!r}, pipeline {two!r}"
    return ""


def _remembered(function: Any) -> Any:
    """`effects_of`, which plan and checks call for the same cells again and again, computed once."""
    known: dict[Any, Any] = {}

    def call(statements: Any, survey: Any) -> Any:
        statements = list(statements)
        key = (tuple(map(id, statements)), id(survey))
        if key not in known:
            if len(known) > 200:
                known.clear()
            known[key] = (function(statements, survey), statements, survey)
        return known[key][0]

    return call


@contextlib.contextmanager
def quick() -> Iterator[Path]:
    """A folder in memory; nothing is synced, nothing is validated, nothing is watched."""
    kept = os.fsync, kit.OpenedFiles, nbformat.v4.nbbase.validate
    effects = plan_module.effects_of
    plan_module.effects_of = _remembered(effects)
    kit.importlib = types.SimpleNamespace(import_module=_recorded_import_module)
    os.fsync = lambda handle: None  # type: ignore[assignment]
    kit.OpenedFiles = _NoFiles
    for module in (kit, ambient, pack, store):
        module.sys = _sys
    nbformat.v4.nbbase.validate = lambda *a, **k: None
    folder = Path(tempfile.mkdtemp(prefix="parity-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        yield folder
    finally:
        plan_module.effects_of = effects
        kit.importlib = importlib
        os.fsync, kit.OpenedFiles, nbformat.v4.nbbase.validate = kept
        for module in (kit, ambient, pack, store):
            module.sys = sys
        shutil.rmtree(folder, ignore_errors=True)


def fresh_home(folder: Path) -> Home:
    """An empty home, in place of the one before."""
    shutil.rmtree(folder / ".mlops_lab", ignore_errors=True)
    home = Home(folder / ".mlops_lab")
    for path in (home.runs, home.bundles, home.results, home.folder / "locks"):
        path.mkdir(parents=True, exist_ok=True)
    return home


def verdict(cells: Sequence[Cell], seed: int, folder: Path) -> tuple[str, str, Outcome]:
    try:
        return compare(cells, seed, fresh_home(folder))
    except Exception as error:
        if os.environ.get("PARITY_TRACE"):
            traceback.print_exc()
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return "different", f"engine: {type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})", Outcome()


# -- random programs ---------------------------------------------------------------------------------------------------

Program = list[tuple[str, list[str]]]  # cells: tags, statements


def cells_of(program: Program) -> list[Cell]:
    return [(tags, "\n".join(statements)) for tags, statements in program if statements]


def minimise(program: Program, seed: int, folder: Path, kind: str = "different", budget: float = 60.0) -> Program:
    """A smaller program that still differs: cells and statements are left out while that holds."""

    def fails(candidate: Program) -> bool:
        cells = cells_of(candidate)
        if sum("# keep" in s for _, body in candidate for s in body) < kept:
            return False
        return bool(cells) and any(verdict(cells, s, folder)[0] == kind for s in (seed, seed + 1, seed + 2))

    kept = sum("# keep" in s for _, body in program for s in body)
    end = time.monotonic() + budget
    current = [(t, list(s)) for t, s in program]
    changed = True
    while changed and time.monotonic() < end:
        changed = False
        for i in range(len(current) - 1, -1, -1):
            smaller = current[:i] + current[i + 1 :]
            if fails(smaller):
                current, changed = smaller, True
        for i in range(len(current)):
            for j in range(len(current[i][1]) - 1, -1, -1):
                tags, statements = current[i]
                smaller = [*current[:i], (tags, statements[:j] + statements[j + 1 :]), *current[i + 1 :]]
                if fails(smaller):
                    current, changed = smaller, True
        for i in range(len(current)):
            tags, statements = current[i]
            for j, statement in enumerate(statements):
                for plain in _simpler(statement):
                    smaller = [*current[:i], (tags, [*statements[:j], plain, *statements[j + 1 :]]), *current[i + 1 :]]
                    if fails(smaller):
                        current, changed = smaller, True
                        break
    return [(t, s) for t, s in current if s]


def _simpler(statement: str) -> list[str]:
    lines = statement.split("\n")
    if len(lines) < 2:
        return []
    found = []
    if lines[0].startswith(("try:", "if ", "for ")):
        body = []
        for line in lines[1:]:
            if not line.startswith("    "):
                break
            body.append(line[4:])
        found.append("\n".join(body))
    if len(lines) > 2:
        found += ["\n".join(lines[:i] + lines[i + 1 :]) for i in range(len(lines) - 1, 0, -1)]
    return [f for f in found if f.strip() and _compiles(f)]


def _compiles(source: str) -> bool:
    try:
        compile(source, "<cell>", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def show(program: Sequence[Any]) -> str:
    return "\n".join(f"# ---- [{tags}]\n" + (body if isinstance(body, str) else "\n".join(body)) for tags, body in program)


def campaign(low: int, high: int, keep: int = 8, seconds: float = 1e9) -> dict[str, int]:
    import resource

    from .programs import program

    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, resource.RLIM_INFINITY))
    counts = {"programs": 0, "equal": 0, "refused": 0, "different": 0, "steps": 0, "attempts": 0}
    reasons: dict[str, int] = {}
    started = time.monotonic()
    with quick() as folder:
        for seed in range(low, high):
            made = program(random.Random(seed))
            kind, what, outcome = verdict(cells_of(made), seed, folder)
            counts["programs"] += 1
            counts[kind] += 1
            counts["steps"] += outcome.steps
            counts["attempts"] += outcome.attempts
            if kind == "refused":
                why = re.sub(r"'[^']*'|step \S+|cell \d+|variable \S+", "…", what)[:150]
                reasons[why] = reasons.get(why, 0) + 1
            if kind == "different":
                if counts["different"] <= keep:
                    small = minimise(made, seed, folder)
                    again = [verdict(cells_of(small), s, folder) for s in (seed, seed + 1, seed + 2)]
                    why = next((w for k, w, _ in again if k == "different"), what)
                    print(f"==== SEED {seed}: {why}\n{show(small)}\n", flush=True)
                else:
                    print(f"==== SEED {seed}: {what[:300]}", flush=True)
            if seed % 200 == 0:
                gc.collect()
            if time.monotonic() - started > seconds:
                break
    counts["seconds"] = round(time.monotonic() - started)
    for why, number in sorted(reasons.items(), key=lambda r: -r[1])[:12]:
        print(f"  refused {number}: {why}")
    return counts


if __name__ == "__main__":
    if "PYTHONHASHSEED" not in os.environ:
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.parity.inprocess", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    print(campaign(int(sys.argv[1]), int(sys.argv[2]), *(int(a) for a in sys.argv[3:4])))
