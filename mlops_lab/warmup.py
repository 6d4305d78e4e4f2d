"""The process that a run's kernels are forked from, as the engine sees it: begun early, told its work, ended with the run.

What every kernel imports takes longer than a notebook's analysis; `begin` starts on it while that goes on, before anything is
known of the notebook. Nothing slow may be imported here.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlops_lab.runs import Home

PROGRAM = Path(__file__).parent / "runtime" / "warm.py"
_GONE_SECONDS = 1.0
_begun: list[ParentProcess] = []


def begin(notebook: Path, *, cache: bool) -> None:
    """Start a parent where a run of the notebook will surely need one; if it doesn't, the parent ends with this process."""
    likely_cached = cache and Home.of(notebook.parent).last_seconds(notebook)
    if sys.platform == "linux" and not _begun and not likely_cached:
        with contextlib.suppress(OSError):
            _begun.append(ParentProcess(sys.executable))  # nearly always the kernel's own


def take(python: str) -> ParentProcess:
    """A parent for a kernel of this interpreter: the one begun early, or a new one. Raises `OSError`."""
    while _begun:
        process = _begun.pop()
        if process.python == python and process.alive:
            return process
        process.end()
    return ParentProcess(python)


@atexit.register
def _end_begun() -> None:
    for process in _begun:
        process.kill()
        process.end()


def runtime_environment() -> dict[str, str]:
    """Where a kernel finds the step runtime, and cloudpickle if its own environment has none (`runtime/boot.py`)."""
    cloudpickle = find_spec("cloudpickle")
    assert cloudpickle is not None and cloudpickle.origin is not None
    return {
        "MLOPS_LAB_RUNTIME": str(PROGRAM.parent),
        "MLOPS_LAB_CLOUDPICKLE": str(Path(cloudpickle.origin).parent.parent),
    }


class ParentProcess:
    """One start of `runtime/warm.py`, in a folder of its own."""

    def __init__(self, python: str) -> None:
        self.python = python
        self._place = tempfile.mkdtemp(prefix="mlops-")
        self.socket = os.path.join(self._place, "w")
        try:
            self._process = subprocess.Popen(
                [python, str(PROGRAM), self.socket],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0"), **runtime_environment()},
                cwd=self._place,
                start_new_session=True,
            )
        except OSError:
            shutil.rmtree(self._place, ignore_errors=True)
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def is_gone(self) -> bool:
        """True if it has ended, or does within a moment: its connections are closed before its end can be seen."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GONE_SECONDS)
        return not self.alive

    def prepare(self, imports: Sequence[str], local: Sequence[str], folder: Path) -> dict[str, Any]:
        """Have it make these imports in the notebook's folder, and wait for its answer (`runtime/warm.py`).

        That is empty if it ended. Raises `OSError`.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(
            json.dumps({"imports": list(imports), "local": list(local), "folder": str(folder)}).encode() + b"\n"
        )
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline() or b"{}"))

    def kill(self) -> None:
        """End it at once; only for one that hasn't forked anything."""
        self._process.kill()

    def end(self) -> None:
        """End it, and any kernel that it forked."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._place, ignore_errors=True)
