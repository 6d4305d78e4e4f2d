"""Runs a plan as its compiled form does, within this process: each step once, with nothing but its artifacts.

What the compiler writes of the steps and what `runtime/remote.py` does with artifacts is real; a step's cells run in a fresh
namespace of `tests/parity/process.py`, and KFP, which only carries files, is left out.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import random
import shutil
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from parity import process as place
from parity.inprocess import Outcome, _guarded, read
from parity.process import process, run_cell, sweep
from parity.programs import Cell

from mlops_lab import checks
from mlops_lab.pipeline import build
from mlops_lab.plan import Plan, make_plan
from mlops_lab.runs import Home
from mlops_lab.runtime import remote
from mlops_lab.targets.kubeflow.compile import _Compiler

_numbers = itertools.count()


class _Work(remote._Work):  # type: ignore[misc]
    """The real one, except that the notebook runs here."""

    seed = 0

    def run_cells(self) -> tuple[list[tuple[str, str]], str]:
        """What the step's cells print, and (`phase: error`) what failed outside of them."""
        order = json.loads(json.dumps(self._order(self.given())))
        prints: list[tuple[str, str]] = []
        loud = ""
        with process(self.seed, self.folder) as shell:
            runtime = None
            for metadata, source in self.cells:
                tag = next((t for t in metadata.get("tags", ()) if t.startswith("mlops-lab-")), "")
                if tag == "mlops-lab-inputs":
                    runtime = place.Kit(order, shell)
                    error = _guarded(runtime.begin)
                elif tag == "mlops-lab-outputs":
                    error = _guarded(runtime.end)
                elif tag:
                    _, error = run_cell(source, shell.user_ns)
                else:
                    prints.append(shell.run(source))
                    error = prints[-1][1]
                if error:
                    loud = f"{tag}: {error}" if tag else ""
                    break
        self.result = getattr(runtime, "reported", {})
        return prints, loud or ("" if error == "" else "cell")

    def _hand_on_notebook(self) -> None:
        """There is none."""

    def hand_back(self, ended: dict[str, Any]) -> None:
        """Nobody follows."""


def run(plan: Plan, seed: int, folder: Path, artifacts: Path) -> Iterator[tuple[Any, list[tuple[str, str]], str]]:
    """(step, what its cells print, what failed) of the steps that run, in a random order that the graph allows."""
    compiler = _Compiler(plan, install=False)
    dice = random.Random(seed)
    left: dict[str, Path] = {}
    todo = [n for n in (compiler.interfaces.pack, *(step.name for step in plan.steps), compiler.interfaces.finish) if n]
    failed: set[str] = set()
    while True:
        ready = [name for name in todo if all(above in left for above in compiler.interfaces[name].states)]
        if not ready:
            return
        name = dice.choice(ready)
        todo.remove(name)
        interface = compiler.interfaces[name]
        (artifacts / name).mkdir(parents=True)
        arguments: dict[str, Any] = {value.argument: value.of(value.parameter.default) for value in interface.values}

        def artifact(path: Path) -> Any:
            return types.SimpleNamespace(path=str(path), metadata={}, log_metric=lambda *a: None)

        for port in interface.inputs:
            argument = next(p for p in compiler.interfaces[port.source].outputs if p.variable == port.variable).argument
            arguments[port.argument] = artifact(left[port.source] / argument)
        for above, argument in interface.states.items():
            arguments[argument] = artifact(left[above] / compiler.interfaces[above].state)
        own = [port.argument for port in interface.outputs]
        for argument in (*own, interface.state, interface.executed, interface.page, interface.metrics):
            arguments[argument] = artifact(artifacts / name / argument)
        room = artifacts / f"room-{name}"
        for part in ("notebook", "store", "run"):
            (room / part).mkdir(parents=True)
        planned = plan[name] if name not in (compiler.interfaces.pack, compiler.interfaces.finish) else None
        content = compiler.content(planned, interface) if planned else compiler.helper_content(name)
        carried = {} if interface.states else {"files": compiler.packed}
        work = _Work(json.loads(json.dumps(content)), [], arguments, carried, room)
        sweep(folder)
        work.folder, work.seed = folder, dice.randrange(2**32)
        work.gather()
        if conflict := work.conflict():
            yield planned or plan.steps[0], [], f"mlops-lab-outputs: InputRefused: {conflict['failure']['message']}"
            continue
        error = ""
        if planned:
            work.cells = compiler.cells(planned)
            prints, error = work.run_cells()
            yield planned, prints, error
        if error:
            failed.add(name)
            continue
        with contextlib.redirect_stdout(io.StringIO()):  # its events
            work.hand_on()
        left[name] = artifacts / name


def pipeline(cells: Sequence[Cell], seed: int, home: Home, versions: bool = False,
             parameters: Mapping[str, Any] | None = None) -> Outcome:  # fmt: skip
    """In the place of `tests.parity.inprocess.pipeline`: what a compiled pipeline's cells show."""
    found = Outcome()
    folder = home.folder.parent
    plan = make_plan(build(read(cells, folder)))
    errors = [d for d in checks.check(plan) if d.severity == "error"]
    if errors:
        found.refused = "; ".join(str(d) for d in errors)
        return found
    artifacts = folder.parent / f"artifacts-{next(_numbers)}"
    results = {}
    try:
        for step, prints, loud in run(plan, seed, folder, artifacts):
            results[step.name] = (prints, loud)
    finally:
        shutil.rmtree(artifacts, ignore_errors=True)
    found.steps, found.attempts = len(plan.steps), len(results)
    for step in plan.steps:
        prints, loud = results.get(step.name, ([], ""))
        if "outputs: InputRefused" in loud:
            found.refused = loud
            break
        for cell, seen in zip(step.step.cells, prints, strict=False):
            found.cells[cell.number] = seen
        if "inputs: InputRefused" in loud:
            found.refused = loud
            break
        if loud:
            found.broken = f"{step.name}: {loud}" if loud != "cell" else ""
            break
    for cell in plan.pipeline.setup:
        found.cells.pop(cell.number, None)
    return found
