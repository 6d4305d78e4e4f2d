"""The warm parent of a run, which kernels are forked from by the provisioner that Jupyter starts them with (`forked.py`).

A kernel that is started imports its interpreter's modules, Jupyter's, and the notebook's, a second or more; a forked one
(`runtime/warm.py`) has them. Where forking isn't safe, kernels are started as ever, and the reason is logged at debug level.
"""

from __future__ import annotations

import ast
import logging
import sys
import threading
from collections.abc import Collection, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager

from mlops_lab import warmup
from mlops_lab.forked import LAUNCHER, SOCKET, ForkedProcess, ForkProvisioner
from mlops_lab.notebook import Notebook
from mlops_lab.warmup import ParentProcess

__all__ = ["PROVISIONER", "SOCKET", "ForkProvisioner", "ForkedProcess", "WarmParent", "parent_for"]
PROVISIONER = "mlops-lab-fork"
# The environment, the places of modules, the backend of matplotlib: imports may look at them.
_CHANGES_IMPORTS = ("environ", "putenv", "dotenv", "'env'", "'set_env'", "sys.path", "sys.modules", "matplotlib.use", "mpl.use",
                    "'cd'", "chdir", "meta_path", "setlocale")  # fmt: skip
_TRIES = 4  # each leaves out one more import
_log = logging.getLogger(__name__)


def parent_for(notebook: Notebook, python: str) -> WarmParent | None:
    """Begin to warm up a parent for a notebook's kernels; None where they can't be forked (another kernel or system).

    None, too, where this package isn't installed but only found, so that Jupyter doesn't know the provisioner.
    """
    if not entry_points(group="jupyter_client.kernel_provisioners", name=PROVISIONER):
        return None
    kernel = KernelSpecManager().get_kernel_spec(notebook.kernel_name)
    if sys.platform != "linux" or kernel.argv[1:3] != LAUNCHER or kernel.env:
        return None
    beside = {path.stem for path in notebook.folder.glob("*.py")}
    beside |= {path.parent.name for path in notebook.folder.glob("*/__init__.py")}
    return WarmParent(python, _imports(notebook, beside), sorted(beside), notebook.folder)


def _imports(notebook: Notebook, beside: Collection[str]) -> list[str]:
    """The import statements, up to where the notebook changes what imports depend on."""
    found: list[str] = []
    for cell in notebook.cells:
        for statement in cell.tree.body if cell.in_pipeline else ():
            if isinstance(statement, ast.Import):
                roots = {alias.name.partition(".")[0] for alias in statement.names}
            elif isinstance(statement, ast.ImportFrom):
                roots = {(statement.module or "").partition(".")[0]} if not statement.level else {"__future__"}
            else:
                text = ast.unparse(statement)
                if any(word in text for word in _CHANGES_IMPORTS):
                    return found
                continue
            if not roots & {*beside, "__future__"}:
                found.append(ast.unparse(statement))
    return found


class WarmParent:
    """A warm parent for one interpreter and one notebook; started in the background, stopped with `close`."""

    def __init__(self, python: str, imports: Sequence[str], local: Sequence[str], folder: Path) -> None:
        self._python, self._imports, self._local, self._folder = python, list(imports), list(local), folder.absolute()
        self._process: ParentProcess | None = None
        self._settled = threading.Event()
        self._ready = False
        self._closed = False
        self._lock = threading.Lock()
        threading.Thread(target=self._start, name="warm-parent", daemon=True).start()

    def _start(self) -> None:
        try:
            for _ in range(_TRIES):
                answer = self._try()
                if answer.get("ready"):
                    self._ready = True
                    break
                _log.debug("no warm parent with all imports: %s", answer.get("unsafe", "it ended"))
                if answer.get("import", -1) < 0:
                    break
                del self._imports[answer["import"]]
        except (OSError, ValueError) as error:
            _log.debug("no warm parent: %s", error)
        finally:
            self._settled.set()

    def _try(self) -> dict[str, Any]:
        with self._lock:
            if self._closed:
                return {}
            if self._process is not None:
                self._process.end()
            self._process = warmup.take(self._python)
        return self._process.prepare(self._imports, self._local, self._folder)

    @property
    def socket(self) -> str:
        """Where it listens, once it is ready."""
        assert self._process is not None
        return self._process.socket

    def wait(self, seconds: float) -> bool:
        """True if kernels can be forked; waits until that is known."""
        self._settled.wait(seconds)
        return self.alive

    @property
    def alive(self) -> bool:
        return self._ready and self._process is not None and self._process.alive

    def is_gone(self) -> bool:
        """True if it ended, or is ending, by itself: its kernels end with it."""
        return not self._closed and self._process is not None and self._process.is_gone()

    def close(self) -> None:
        """End the parent, and any kernel that it forked."""
        with self._lock:
            self._closed = True
        if self._process is not None:
            self._process.end()
