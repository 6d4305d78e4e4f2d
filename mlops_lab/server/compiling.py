"""A saved notebook, compiled for a target: in a process of its own, since compilers import what is slow and large.

As a program it reads `{"notebook": ..., "target": ...}` from its standard input and writes `{"filename": ..., "text": ...}`,
or the error, to its standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlops_lab.checks import Diagnostic
from mlops_lab.errors import CheckError, MlopsLabError, NotebookError, RunError, UsageError, did_you_mean
from mlops_lab.plan import Plan
from mlops_lab.server.errors import NotAvailable

SECONDS = 180.0


def compile_for(notebook: Path, target: str) -> dict[str, str]:
    """The name and the text of the file that a target's compiler makes of a notebook.

    Raises `CheckError` for a notebook with errors, `UsageError` for a target that compiles nothing, `NotAvailable` where its
    compiler isn't installed.
    """
    if target not in _COMPILERS:
        known = ", ".join(_COMPILERS)
        raise UsageError(f"There is nothing to compile for {target!r}{did_you_mean(target, _COMPILERS)}. Known: {known}.")
    order = json.dumps({"notebook": str(notebook), "target": target}).encode()
    command = [sys.executable, "-P", "-m", "mlops_lab.server.compiling"]
    try:
        done = subprocess.run(command, input=order, capture_output=True, timeout=SECONDS, cwd=notebook.parent, check=False)
    except subprocess.TimeoutExpired:
        raise RunError(f"The compiler of {target} took longer than {SECONDS:g} s.") from None
    if done.returncode:
        raise RunError(f"The compiler of {target} failed: {done.stderr.decode(errors='replace').strip()[-1500:]}")
    answer = json.loads(done.stdout)
    if "kind" not in answer:
        return answer  # type: ignore[no-any-return]
    if answer["kind"] == "CheckError":
        raise CheckError([Diagnostic(**each) for each in answer["diagnostics"]])
    kinds = {kind.__name__: kind for kind in (NotAvailable, NotebookError, UsageError)}
    raise kinds.get(answer["kind"], MlopsLabError)(answer["message"])


def _kubeflow(plan: Plan) -> dict[str, str]:
    try:
        from mlops_lab.targets.kubeflow.compile import compile_pipeline
    except ImportError as error:
        raise NotAvailable(f"Kubeflow's compiler is not installed here: {error}.") from None
    return {"filename": f"{plan.pipeline.notebook.path.stem}.yaml", "text": compile_pipeline(plan).yaml}


_COMPILERS: dict[str, Callable[[Plan], dict[str, str]]] = {"kubeflow": _kubeflow}


def main() -> None:
    """Compile what the standard input says."""
    from mlops_lab.api import load
    from mlops_lab.checks import require_sound

    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what compilers print is no answer
    order = json.loads(sys.stdin.buffer.read())
    answer: dict[str, Any]
    try:
        plan = load(order["notebook"]).plan
        require_sound(plan)
        answer = _COMPILERS[order["target"]](plan)
    except CheckError as error:
        answer = {"kind": "CheckError", "diagnostics": [asdict(found) for found in error.diagnostics]}
    except MlopsLabError as error:
        answer = {"kind": type(error).__name__, "message": str(error)}
    json.dump(answer, out)
    out.close()


if __name__ == "__main__":
    main()
