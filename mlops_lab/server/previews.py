"""Previews of the values that a step read and left: schema, head, shape, size.

What the log knows is given as it is; the rest takes loading the value, which `preview_child.py` does in the interpreter of
the notebook's kernel. A version never changes, so its preview is kept (`store/previews` beside the values).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlops_lab.api import versions_around
from mlops_lab.errors import UsageError
from mlops_lab.events import Output
from mlops_lab.moves import notebook_of
from mlops_lab.results import Version
from mlops_lab.runs import Home, RunFolder
from mlops_lab.runstate import RunState
from mlops_lab.runtime import FORMAT
from mlops_lab.server.errors import NotFound
from mlops_lab.server.runs import Runs

_CHILD = Path(__file__).with_name("preview_child.py")
_LOAD = Path(__file__).parent.parent / "runtime" / "load.py"
_NOTHING_TO_SEE = {"function", "type", "abc.ABCMeta", "module", "builtin_function_or_method"}  # loading them tells no more
_DESCRIPTION = 1  # counts up when `preview_child.describe` tells more: what was kept is then made anew
_AT_ONCE = 200  # values that one request may have loaded


@dataclass(frozen=True)
class Limits:
    """What loading may cost: seconds for all values of a request, bytes of memory."""

    seconds: float = 20.0
    memory: int = 4 * 2**30


@dataclass
class _Asked:
    """A variable, and the versions with which it is to be loaded."""

    name: str
    output: Output
    current: dict[str, Version]
    step: str = ""
    model: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its value's own: the variable in the bundle."""
        return hashlib.sha256(f"{FORMAT}.{_DESCRIPTION} {self.output.version} {self.name}".encode()).hexdigest()[:40]


def previews(runs: Runs, name: str, step: str, names: Collection[str] = (), imports: Mapping[str, list[str]] | None = None,
             limits: Limits | None = None) -> dict[str, Any]:  # fmt: skip
    """Of the step's inputs and outputs (only those with these names, if there are any): variable -> preview.

    Nothing is loaded without limits. `imports` are the import statements of the notebook, by name: what values need.
    """
    run, state, _ = runs.step_of(name, step)
    inputs, outputs = _asked(run, state, step)
    known = {one.name for one in (*inputs, *outputs)}
    for wanted in names:
        if wanted not in known:
            raise NotFound(f"Step {step!r} of run {name} neither read nor left {wanted!r}.")
    chosen = [[one for one in group if not names or one.name in names] for group in (outputs, inputs)]
    for one in (*chosen[0], *chosen[1]):
        out = one.output
        one.model = {"type": out.type, "bytes": out.bytes, "preview": out.preview, "version": out.version}
        if one.step:
            one.model["step"] = one.step
        if out.version.startswith("refused:"):
            one.model |= {"version": "", "error": out.version.partition(":")[2]}
    if limits is not None:
        telling = [o for o in (*chosen[0], *chosen[1]) if "error" not in o.model and o.output.type not in _NOTHING_TO_SEE]
        _load(run, str(notebook_of(run) or state.notebook), telling, imports or {}, limits)
    return {"outputs": {one.name: one.model for one in chosen[0]}, "inputs": {one.name: one.model for one in chosen[1]}}


def _asked(run: RunFolder, state: RunState, step: str) -> tuple[list[_Asked], list[_Asked]]:
    before, after = versions_around(run, state, step)
    own = state.steps[step]
    left: dict[str, tuple[str, Output]] = {}
    for other in state.steps.values():
        if other.name == step:
            break
        left |= {name: (other.name, out) for name, out in other.outputs.items()}
    inputs = []
    for name, version in own.inputs.items():
        maker, out = left.get(name, ("", Output(version=version)))
        if out.version != version:  # of a step that has run again since
            out = Output(version=version, type=out.type)
        inputs.append(_Asked(name, out, {**before, name: before.get(name, [version, version])}, maker))
    outputs = [_Asked(n, out, {**after, n: after.get(n, [out.version, out.version])}) for n, out in own.outputs.items()]
    return inputs, outputs


def _load(run: RunFolder, notebook: str, values: list[_Asked], imports: Mapping[str, list[str]], limits: Limits) -> None:
    """Add what is known only to who loads the values: from what was kept, else by loading them."""
    home = run.home
    kept = home.folder / "store" / "previews"
    missing: dict[str, list[_Asked]] = {}
    for one in values:
        found = _read(kept / f"{one.key}.json")
        if found is not None:
            one.model |= found
        elif len(missing) < _AT_ONCE:
            missing.setdefault(one.key, []).append(one)
    began = time.monotonic()
    while missing and (left := limits.seconds - (time.monotonic() - began)) > 0:
        values = [group[0] for group in missing.values()]
        share = left if len(values) == 1 else left / 2  # something is left for the others where one takes too long
        told, problem = _run_child(run, home, notebook, values, imports, replace(limits, seconds=share))
        for key in [key for key in missing if key in told]:
            if "error" not in told[key]:
                _keep(kept / f"{key}.json", told[key])
            for one in missing.pop(key):
                one.model |= told[key]
        for one in missing.pop(next(iter(missing))) if missing else ():  # the one at which it ended; the others may be fine
            one.model["error"] = problem
    for group in missing.values():
        for one in group:
            one.model["error"] = f"it was not loaded: the values before it took all of the {limits.seconds:g} s"


def _run_child(run: RunFolder, home: Home, notebook: str, values: list[_Asked], imports: Mapping[str, list[str]],
               limits: Limits) -> tuple[dict[str, dict[str, Any]], str]:  # fmt: skip
    """What a child process tells of the values, by key, and why it told no more."""
    import cloudpickle

    order = {
        "memory": limits.memory + sum(one.output.bytes for one in values),
        "folder": str(Path(notebook).parent),
        "cloudpickle": str(Path(cloudpickle.__file__).parent.parent),
        "load": str(_LOAD),
        "store": str(home.bundles),
        "imports": imports,
        "values": [{"key": one.key, "name": one.name, "current": one.current} for one in values],
    }
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **one_thread, "MPLBACKEND": "agg", "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0")}
    problem = ""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [_python(run), str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=said,
            start_new_session=True,
            env=environment,
        )
        try:
            process.communicate(json.dumps(order).encode(), timeout=limits.seconds)
            if process.returncode:
                said.seek(0)
                end = said.read()[-500:].decode(errors="replace").strip().splitlines()
                problem = f"the process that loaded it ended with exit code {process.returncode}" + (
                    f": {end[-1]}" if end else ""
                )
        except subprocess.TimeoutExpired:
            problem = f"loading it took longer than {limits.seconds:.3g} s"
        except OSError as error:
            problem = f"no process could be started to load it: {error.strerror}"
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        lines = [line for line in out.read().splitlines(keepends=True) if line.endswith(b"\n")]
    found = {}
    for line in lines:
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            found[told["key"]] = told["found"]
    return found, problem or "it was not loaded"


def _python(run: RunFolder) -> str:
    """The interpreter of the kernel that the notebook was run with; ours, if that is gone."""
    from mlops_lab.targets.kernels import kernel_python

    try:
        spec = json.loads(run.notebook.read_bytes()).get("metadata", {}).get("kernelspec", {})
        return kernel_python(str(spec.get("name") or "python3"))
    except (OSError, ValueError, AttributeError, UsageError):
        return sys.executable


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _keep(path: Path, found: dict[str, Any]) -> None:
    temporary = path.with_name(f".{secrets.token_hex(4)}.tmp")
    with contextlib.suppress(OSError):  # a full or read-only disk: it is loaded again next time
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(found), encoding="utf-8")
        os.replace(temporary, path)
