"""Runs a notebook straight and as a pipeline within this process, without kernels, and tells whether they differ.

The analysis, the engine's scheduling and commits (`targets.local._Engine`), and the runtime in the steps are the real ones.
What is replaced is what takes time: an attempt runs here in a fresh namespace (`process.py`) when a seeded random order says
so, the store lies in memory and is not synced. `python -m tests.parity.inprocess 0 1000` compares the random programs of these
seeds (`campaign.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from mlops_lab import checks, stepnb
from mlops_lab import notebook as nb
from mlops_lab.pipeline import build
from mlops_lab.plan import Plan, make_plan
from mlops_lab.results import Recipe, Result
from mlops_lab.runs import Home
from mlops_lab.targets import Options, local

from . import process as place
from .process import kit, process, run_cell, sweep
from .programs import Cell, Edited


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


def straight(cells: Sequence[Cell], seed: int, folder: Path) -> Outcome:
    found = Outcome()
    with process(seed, folder) as shell:
        for number, (tags, source) in enumerate(cells, 1):
            if "skip" in tags.split():
                continue
            shell.execution_count = number
            found.cells[number] = shell.run(source)
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
        self.pool = types.SimpleNamespace(submit=lambda call, *given: self.pending.append(lambda: call(*given)))
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
                self.intake.take(*self.done.get())


class _Executor(local.Executor):  # type: ignore[misc, name-defined]
    """The real orders and recipes; a step's cells run here, in a fresh namespace."""

    dice: random.Random
    versions: bool

    def __init__(self, *context: Any) -> None:
        super().__init__(*context)
        self.prints: dict[str, list[tuple[str, str]]] = {}
        self.loud: dict[str, str] = {}

    def warm_up(self) -> None:
        """There are no kernels here."""

    def recipe(self, planned: Any) -> Recipe:
        if self.versions:
            return super().recipe(planned)
        return Recipe({}, planned.name, {}, {}, None, "", self.plan.seeded)

    def run_notebook(self, planned: Any, attempt: Any, result: Result, node: Any, closing: Any) -> None:
        if attempt.ended_by and self.dice.random() < 0.7:
            result.failure = local.ev.Failure(kind="died", message="killed")
            return
        executed = self.executed(planned, attempt)
        order = json.loads(json.dumps(attempt.order))
        prints: list[tuple[str, str]] = []
        with process(self.dice.randrange(2**32), self.notebook.folder) as shell:
            runtime, phase, error = None, "", ""
            for cell in node.cells:
                tag = next((t for t in cell.metadata.get("tags", ()) if t.startswith("mlops-lab-")), "")
                phase = tag
                if tag == "mlops-lab-inputs":
                    runtime = place.Kit(order, shell)
                    error = _guarded(runtime.begin)
                elif tag == "mlops-lab-outputs":
                    error = _guarded(runtime.end)
                elif tag:
                    _, error = run_cell(cell.source, shell.user_ns)
                else:
                    prints.append(shell.run(cell.source))
                    error = prints[-1][1]
                if "parameters" in cell.metadata.get("tags", ()):  # as Papermill does
                    shell.user_ns.update(stepnb.injected(self.pipeline, planned, self.options.parameters))
                if error:
                    break
        news = getattr(runtime, "reported", None)
        if news:
            for name in set(news) & set(Result.__struct_fields__) - {"seconds"}:
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
            rejected = planned.step.gate and error.startswith("AssertionError")
            result.status = "rejected" if rejected else "failed"
            result.failure = local.ev.Failure(kind=result.status if rejected else "error", message=error)


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


def pipeline(cells: Sequence[Cell], seed: int, home: Home, versions: bool = False,
             parameters: Mapping[str, Any] | None = None) -> Outcome:  # fmt: skip
    """Run as a pipeline. With `versions`, recipes are real ones, and results of earlier runs in this home are taken."""
    dice = random.Random(seed)
    found = Outcome()
    plan = make_plan(build(read(cells, home.folder.parent)))
    errors = [d for d in checks.check(plan) if d.severity == "error"]
    if errors:
        found.refused = "; ".join(str(d) for d in errors)
        return found
    options = Options(cache=versions, workers=dice.choice([1, 2, 2, 3, 5]), parameters=parameters or {})
    engine = _Engine(plan, home, dice, options, versions)
    engine.go()
    found.steps = len(engine.tasks)
    found.attempts = sum(task.attempts for task in engine.tasks)
    setup = {cell.number for cell in engine.pipeline.setup}
    for task in engine.tasks:
        if task.result is None:
            continue
        failure = task.result.failure
        if failure is not None and failure.kind == "refused":  # by the engine
            found.refused = failure.message
            break
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
    expected = _expected(cells, seed, home)
    if expected is None:
        return "equal", "", Outcome()
    with _clean(home):
        got = pipeline(cells, seed, home, versions)
    return _judge(cells, expected, got)


def twice(first: Sequence[Cell], then: Sequence[Cell], seed: int, folder: Path, files: Sequence[Mapping[str, str]] = ({}, {}),
          parameters: Mapping[str, Any] | None = None) -> tuple[str, str, Outcome]:  # fmt: skip
    """The same for a notebook that is run, edited, and run again with the cache on.

    `files` are what lies beside it before either run. `parameters` are given to the second run; `then` has them as its defaults.
    """
    home = fresh_home(folder)
    expected = []
    for cells, beside in zip((first, then), files, strict=True):
        _write(home, beside)
        found = _expected(cells, seed, home, keep=True)
        if found is None:
            sweep(home.folder.parent)
            return "equal", "", Outcome()
        expected.append(found)
    with _clean(home):
        sweep(home.folder.parent)
        for cells, beside, given, wanted in zip((first, then), files, (None, parameters), expected, strict=True):
            _write(home, beside)
            got = pipeline(first if given else cells, seed, home, True, given)
            kind, what, got = _judge(cells, wanted, got)
            if kind != "equal":
                break
    return kind, what, got


def _write(home: Home, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (home.folder.parent / name).write_text(text)


@contextlib.contextmanager
def _clean(home: Home) -> Iterator[None]:
    try:
        yield
    finally:
        sweep(home.folder.parent)


def _expected(cells: Sequence[Cell], seed: int, home: Home, keep: bool = False) -> list[Any] | None:
    """What a straight run shows, setup and parameters left out; None if one of these fails, as it then does in every step."""
    hidden = _hidden(cells)
    with contextlib.nullcontext() if keep else _clean(home):
        expected = [
            (n, seen) for n, seen in straight(cells, seed, home.folder.parent).until_error if n not in hidden or seen[1]
        ]
    return None if expected and expected[-1][0] in hidden else expected


def _hidden(cells: Sequence[Cell]) -> set[int]:
    return {n for n, (tags, _) in enumerate(cells, 1) if {"setup", "parameters"} & set(tags.split())}


def _judge(cells: Sequence[Cell], expected: list[Any], got: Outcome) -> tuple[str, str, Outcome]:
    hidden = _hidden(cells)
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


def fresh_home(folder: Path) -> Home:
    """An empty home, in place of the one before."""
    shutil.rmtree(folder / ".mlops_lab", ignore_errors=True)
    home = Home(folder / ".mlops_lab")
    for path in (home.runs, home.bundles, home.results, home.folder / "locks"):
        path.mkdir(parents=True, exist_ok=True)
    return home


def verdict(cells: Sequence[Cell], seed: int, folder: Path) -> tuple[str, str, Outcome]:
    """What `compare` says of cells; an exception of the engine's is a difference, too."""
    return _guard_engine(lambda: compare(cells, seed, fresh_home(folder)))


def verdict_twice(made: Edited, seed: int, folder: Path) -> tuple[str, str, Outcome]:
    """The same for a notebook that is edited between two runs."""
    return _guard_engine(lambda: twice(made.first, made.then, seed, folder, made.files, made.parameters))


def _guard_engine(call: Callable[[], tuple[str, str, Outcome]]) -> tuple[str, str, Outcome]:
    try:
        return call()
    except Exception as error:
        if os.environ.get("PARITY_TRACE"):
            traceback.print_exc()
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return "different", f"engine: {type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})", Outcome()


if __name__ == "__main__":
    from .campaign import main

    main("tests.parity.inprocess")
