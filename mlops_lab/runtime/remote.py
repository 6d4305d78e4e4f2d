"""Runs one step where steps share no disk, as the main program of its container: what it reads comes as files, and so leaves.

Each step hands on, besides one artifact a variable, a *state*: a ZIP file with

    ledger.json   step -> place in the notebook, outputs with their versions, files, sources of its cells; of all steps above
    bundles/      what no declared artifact has: definitions, states outside of variables, what local modules hold, small values
    files/        what steps wrote in the notebook's folder, and what travels from there, by digest
    runtime/      this package

From the states of the steps that it waits for, a step knows which version of each name is the current one, as a local run
does, and finds the bytes in its artifacts or in a state. Standard library and Papermill only.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import conflicts, folder, handback, replays
from .filestates import state_of
from .page import Page

EVENT = "::mlops-lab "  # in front of the lines of a pod's log that are events, as `mlops_lab/events.py` describes them
EXIT_FAILED, EXIT_REJECTED = 1, 3
_SMALL = 2**20  # bytes; a value up to this size also travels with the state, in case a function needs it
_PACKED = ""  # stands for a step above all others: what the compiler packed
_CALL = (
    'exec(__import__("pathlib").Path(__import__("os").environ["MLOPS_LAB_RUNTIME"], "boot.py").read_text(), '
    '{{"PHASE": "{phase}"}})'
)
_CALLS = {"mlops-lab-inputs": _CALL.format(phase="begin"), "mlops-lab-outputs": _CALL.format(phase="end")}

# Where KFP's own MLflow plugin has a task log; MLflow refuses this run in an experiment that the notebook chose.
_RUN_OF_THE_TASK = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
# What the ledger says of a step that did nothing.
_NOTHING: dict[str, Any] = {
    "outputs": {},
    "files": {},
    "sources": [],
    "dotted": [],
    "above": [],
    "reads": {},
    "writes": {},
    "last": 0,
    "replayed": {},
}

Version = list[str]


def main(step: dict[str, Any], cells: list[Any], arguments: dict[str, Any], carried: dict[str, Any]) -> None:
    """Run a step and leave its artifacts; ends the process with exit code 1 if it failed, 3 if it rejected the run.

    `step` is what the compiler wrote of it, `cells` its notebook as (metadata, source), `arguments` the component's (artifacts
    with `path` and `metadata`, and values), `carried` what the compiler packed into this very component (`files`).
    """
    _have_a_home()
    with _workplace(step["pipeline"]) as place:
        work = _Work(step, cells, arguments, carried, place)
        work.gather()
        failure = work.conflict() or (work.execute() if cells else None)
        if failure:
            work.hand_back({"type": "step_finished", "step": step["name"], "attempt": 1, "seconds": 0.0, **failure})
            print(f"\n{failure['status']}: {failure['failure']['message']}", file=sys.stderr, flush=True)  # noqa: T201
            sys.exit(EXIT_REJECTED if failure["status"] == "rejected" else EXIT_FAILED)
        work.hand_on()


def _have_a_home() -> None:
    """Jupyter does nothing without one: a user that the image doesn't know has none where HOME isn't set either."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = tempfile.gettempdir()


def emit(event: dict[str, Any]) -> None:
    """Write an event into the pod's log."""
    print(EVENT + json.dumps(event), flush=True)  # noqa: T201


@contextmanager
def _workplace(pipeline: str) -> Iterator[Path]:
    """An empty folder that has the same path in every step, as the notebook's has: paths are passed on in values."""
    place = Path(tempfile.gettempdir()).resolve() / "mlops-lab" / pipeline
    place.mkdir(parents=True, exist_ok=True)
    with open(place / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a container runs one step; a test may run several
        for name in ("notebook", "store", "run"):
            shutil.rmtree(place / name, ignore_errors=True)
            (place / name).mkdir()
        yield place


class _Work:
    """One step's work in its container."""

    def __init__(self, step: dict[str, Any], cells: list[Any], arguments: dict[str, Any], carried: dict[str, Any],
                 place: Path) -> None:  # fmt: skip
        self.step, self.cells, self.arguments, self.carried = step, cells, arguments, carried
        self.name: str = step["name"]
        self.folder, self.run = place / "notebook", place / "run"
        self.bundles, self.blobs = place / "store" / "bundles", place / "store" / "files"
        self.blobs.mkdir()
        self.ledger: dict[str, dict[str, Any]] = {}  # in the order of the notebook
        self.result: dict[str, Any] = {}
        self.before: folder.Look = {}  # what lies in the folder before the step's first cell

    # -- before ---------------------------------------------------------------------------------------------------

    def gather(self) -> None:
        """Take the states of the steps above, the artifacts, and the files as these steps left them."""
        found: dict[str, dict[str, Any]] = {}
        for argument in self.step["states"]:
            with zipfile.ZipFile(self.arguments[argument].path) as state:
                found |= json.loads(state.read("ledger.json"))
                for member in state.namelist():
                    kind, _, name = member.partition("/")
                    if kind == "bundles":
                        self._put(state, member, self._bundle(name))
                    elif kind == "files":
                        self._put(state, member, self.blobs / name)
        if self.carried.get("files"):
            found[_PACKED] = {**_NOTHING, "place": -1, "files": self._packed()}
        self.ledger = dict(sorted(found.items(), key=lambda item: item[1]["place"]))
        for argument, (source, variable) in self.step["inputs"].items():
            output = self.ledger[source]["outputs"].get(variable)
            path = Path(self.arguments[argument].path)
            if output and not output["version"][0].startswith("refused:") and path.is_file() and path.stat().st_size:
                bundle = self._bundle(output["version"][0])
                if not bundle.exists():
                    bundle.symlink_to(path.absolute())
        folder.restore(self.folder, self._files(), self.blobs)
        self.before = folder.look(self.folder)

    def conflict(self) -> dict[str, Any] | None:
        """What went wrong between the steps above, if something did."""
        message = conflicts.conflict(self.ledger, self.step.get("asks_mlflow", False)) or self._differing()
        failure = {"kind": "refused", "message": message, "code": message[:5]}
        return {"status": "failed", "failure": failure} if message else None

    def _differing(self) -> str:
        values = [(name, entry["replayed"]) for name, entry in self.ledger.items()]
        told = (replays.differing(name, found, values[:place]) for place, (name, found) in enumerate(values))
        return next(filter(None, told), "")

    def _put(self, state: zipfile.ZipFile, member: str, target: Path) -> None:
        if not target.exists():
            with state.open(member) as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink, 2**20)

    def _packed(self) -> dict[str, Any]:
        files = {}
        for path, (mode, content) in self.carried["files"].items():
            name = hashlib.sha256(content).hexdigest()
            (self.blobs / name).write_bytes(content)
            files[path] = [name, mode]
        return files

    def _files(self) -> dict[str, Any]:
        return folder.current(entry["files"] for entry in self.ledger.values())

    def _bundle(self, name: str) -> Path:
        path = self.bundles / name[:2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def current(self) -> dict[str, Version]:
        """Name -> version after all steps known here, in the order of the notebook."""
        return {name: version for name, (version, _) in self._current().items()}

    def _current(self) -> dict[str, tuple[Version, str]]:
        found: dict[str, tuple[Version, str]] = {}
        for step, entry in self.ledger.items():
            for name, output in entry["outputs"].items():
                if output is None:
                    found.pop(name, None)
                else:
                    found[name] = output["version"], step
        return found

    # -- the step -------------------------------------------------------------------------------------------------

    def given(self) -> dict[str, Any]:
        """The parameters that were given another value than their default."""
        found = {}
        for name, parameter in self.step["parameters"].items():
            value = self.arguments[parameter["argument"]]
            value = json.loads(value) if parameter["json"] else value
            if value != parameter["default"] or isinstance(value, bool) != isinstance(parameter["default"], bool):
                found[name] = value
        return found

    def execute(self) -> dict[str, Any] | None:
        """Run the step's notebook in a kernel; what went wrong, if something did."""
        import cloudpickle

        from .execute import execute, kill

        self.page = Page()
        given = self.given()
        order = self.run / "order.json"
        order.write_text(json.dumps(self._order(given)), encoding="utf-8")
        notebook, executed = self.run / "notebook.ipynb", self.run / "executed.ipynb"
        notebook.write_text(json.dumps(self._notebook()), encoding="utf-8")
        process: list[int] = []

        def report(kind: str, **fields: Any) -> None:
            if kind == "kernel_started":
                process.append(fields["process"])
            elif kind == "cell_output":
                _show(fields["output"])
            else:
                emit({"type": kind, "step": self.name, "attempt": 1, **fields})

        emit({"type": "step_started", "step": self.name, "attempt": 1})
        outcome = execute(
            str(notebook),
            str(executed),
            parameters={name: value for name, value in given.items() if self.step["parameters"][name]["inject"]},
            kernel="python3",
            folder=str(self.folder),
            environment={
                "PYTHONHASHSEED": "0",
                "MLOPS_LAB_REMOTE": "1",
                "MLOPS_LAB_RUNTIME": os.path.dirname(os.path.abspath(__file__)),
                "MLOPS_LAB_ORDER": str(order),
                "MLOPS_LAB_CLOUDPICKLE": str(Path(cloudpickle.__file__).parent.parent),
                **({"MLOPS_LAB_BOOKS": "own"} if self.step.get("own_books") else {}),
            },
            without=_RUN_OF_THE_TASK if self.step.get("own_books") else (),
            report=report,
        )
        kill(process[0] if process else None)
        written = self.run / "result.json"
        if written.exists():
            self.result = json.loads(written.read_text(encoding="utf-8"))
        if outcome.kind:
            rejected = self.step["gate"] and outcome.name == "AssertionError"
            code = match[1] if (match := re.match(r"(ML\d+): ", outcome.message)) else ""
            print(outcome.traceback, file=sys.stderr)  # noqa: T201
            failure = {"kind": "rejected" if rejected else outcome.kind, "message": outcome.message, "cell": outcome.cell}
            return {"status": "rejected" if rejected else "failed", "failure": {**failure, "code": code}}
        if "outputs" not in self.result:
            return {"status": "failed", "failure": {"kind": "error", "message": "the step ended without storing its outputs"}}
        above = [
            (name, entry["last"], entry["writes"]) for name, entry in self.ledger.items() if entry["place"] < self.step["place"]
        ]
        message = replays.changed(self.name, self.result.get("files_replayed", {}), self.result.get("files_read", {}), above)
        values = [(name, entry["replayed"]) for name, entry in self.ledger.items()]
        message = message or replays.differing(self.name, self.result.get("replayed", {}), values)
        failure = {"kind": "refused", "message": message, "code": message[:5]}
        return {"status": "failed", "failure": failure} if message else None

    def _order(self, given: dict[str, Any]) -> dict[str, Any]:
        order = dict(self.step["order"])
        above = [row for entry in self.ledger.values() for row in entry["sources"]]
        rows = {row[0]: row for row in [*above, *self._sources()]}
        order["sources"] = [[0, self.step["rest"]], *(rows[number] for number in sorted(rows))]
        chains = [tuple(row) for entry in self.ledger.values() for row in entry["dotted"]]
        order["dotted"] = sorted({*chains, *map(tuple, self.step["order"]["dotted"])})
        assignments = {n: [f"{n} = {v!r}"] for n, v in given.items() if n in order["imports"]}
        return order | {
            "store": str(self.bundles),
            "folder": str(self.folder),
            "current": self.current(),
            "imports": order["imports"] | assignments,
            "result": str(self.run / "result.json"),
            "remote": True,
        }

    def _sources(self) -> list[list[Any]]:
        found = []
        for metadata, source in self.cells:
            number = metadata.get("mlops_lab", {}).get("cell") or metadata.get("mlops_lab_setup")
            if number:
                found.append([number, source])
        return found

    def _notebook(self) -> dict[str, Any]:
        cells = [
            {"cell_type": "code", "execution_count": None, "id": f"cell-{i}", "metadata": metadata, "outputs": [],
             "source": source or _CALLS[metadata["tags"][0]]}
            for i, (metadata, source) in enumerate(self.cells)
        ]  # fmt: skip
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}

    # -- after ----------------------------------------------------------------------------------------------------

    def hand_on(self) -> None:
        """Write the artifacts: each variable, the state, the executed notebook, metrics."""
        outputs = self.result.get("outputs", {})
        self._hand_on_variables(outputs)
        if self.step["state"]:
            self._hand_on_state(outputs)
        if self.cells:
            self._hand_on_notebook()
            self._hand_on_metrics()
            shown = {
                name: {key: output[key] for key in ("type", "bytes", "preview") if key in output}
                | {"version": output["version"][0]}
                for name, output in outputs.items()
                if output and ":" not in name and name[0] != "@"
            }
            seconds = sum(self.result.get("seconds", {}).values())
            self.hand_back({"type": "step_finished", "step": self.name, "attempt": 1, "status": "done", "seconds": seconds,
                            "outputs": shown})  # fmt: skip

    def hand_back(self, ended: dict[str, Any]) -> None:
        """Give the executed notebook and how the step ended to whoever follows the run."""
        executed = self.run / "executed.ipynb"
        handback.notebook(executed, emit)
        handback.to_mlflow(executed, self.result.get("metrics", {}), ended, emit)
        emit(ended)

    def _hand_on_variables(self, outputs: dict[str, Any]) -> None:
        for variable, argument in self.step["outputs"].items():
            artifact, output = self.arguments[argument], outputs.get(variable)
            path = Path(artifact.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            artifact.metadata["variable"] = variable
            if output is None or output["version"][0].startswith("refused:"):
                path.write_bytes(b"")  # it was not bound or changed; the state says what holds instead
                artifact.metadata["changed"] = False
                continue
            shutil.copyfile(self._bundle(output["version"][0]), path)
            for key in ("type", "preview"):
                if output.get(key):
                    artifact.metadata[key] = output[key].replace("{{", "{ {")  # Argo would look for a value to put in
            artifact.metadata["digest"] = output["version"][1]

    def _hand_on_state(self, outputs: dict[str, Any]) -> None:
        mine: dict[str, Any] = {**_NOTHING, "place": self.step["place"], "outputs": {}, "above": sorted(self.ledger)}
        mine |= {"reads": self.result.get("files_read", {}), "writes": dict(self.result.get("files_written", {}))}
        for name, output in outputs.items():
            if output is None:
                mine["outputs"][name] = None
            elif not output.get("unread"):
                mine["outputs"][name] = {"version": output["version"], "declared": name in self.step["outputs"]}
        mine["replayed"] = self.result.get("replayed", {})
        mine["last"] = max(self.step["order"].get("numbers", ()), default=0)
        written = [path for path in self.result.get("files_written", {}) if not path.endswith("/")]
        mine["files"] = folder.changes(self.folder, self.before, self.blobs)
        for path in mine["files"].keys() - mine["writes"].keys():  # by a library or a process that isn't watched
            mine["writes"][path] = state_of(str(self.folder / path))
        mine["files"] |= folder.elsewhere(written, self.folder.parent, self.blobs)
        mine["sources"], mine["dotted"] = self._sources(), self.step["order"].get("dotted", [])
        self.ledger[self.name] = mine
        self.ledger = dict(sorted(self.ledger.items(), key=lambda item: item[1]["place"]))
        artifact = self.arguments[self.step["state"]]
        Path(artifact.path).parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(artifact.path, "w") as state:
            state.writestr("ledger.json", json.dumps(self.ledger), zipfile.ZIP_DEFLATED)
            for path in sorted(Path(__file__).parent.glob("*.py")):
                state.write(path, f"runtime/{path.name}", zipfile.ZIP_DEFLATED)
            for name in sorted(self._to_carry()):
                state.write(self._bundle(name), f"bundles/{name}")
            for name in sorted({kept[0] for kept in self._files().values() if not isinstance(kept, str)}):
                state.write(self.blobs / name, f"files/{name}")

    def _to_carry(self) -> set[str]:
        """The bundles that steps below may need and don't get as an artifact of their own."""
        keep = self.step["order"].get("keep")
        found = set()
        for name, (version, step) in self._current().items():
            bundle = version[0]
            if bundle.startswith("refused:") or not self._bundle(bundle).exists():
                continue
            special = ":" in name or name[0] == "@"
            undeclared = not self.ledger[step]["outputs"][name]["declared"] and (keep is None or name in keep)
            if special or undeclared or self._bundle(bundle).stat().st_size <= _SMALL:
                found.add(bundle)
        return found

    def _hand_on_notebook(self) -> None:
        executed = self.run / "executed.ipynb"
        artifact = self.arguments[self.step["executed"]]
        Path(artifact.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(executed, artifact.path)
        page = self.arguments[self.step["page"]]
        Path(page.path).parent.mkdir(parents=True, exist_ok=True)
        Path(page.path).write_text(self.page.of(json.loads(executed.read_text(encoding="utf-8"))), encoding="utf-8")

    def _hand_on_metrics(self) -> None:
        if self.step["metrics"]:
            artifact = self.arguments[self.step["metrics"]]
            for name, value in self.result.get("metrics", {}).items():
                artifact.log_metric(name, value)
            path = Path(artifact.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.result.get("metrics", {})), encoding="utf-8")
            emit({"type": "metrics", "step": self.name, "values": self.result.get("metrics", {})})


def _show(output: dict[str, Any]) -> None:
    """Write what a cell shows into the pod's log."""
    text = output.get("text") or output.get("data", {}).get("text/plain") or "\n".join(output.get("traceback", ()))
    print(text, end="" if text.endswith("\n") else "\n", flush=True)  # noqa: T201
