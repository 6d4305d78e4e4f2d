"""Kernels forked from a warm parent: the provisioner that Jupyter starts them with, and the parent itself.

A kernel that is started imports its interpreter's modules, Jupyter's, and the notebook's, a second or more; a forked one
(`runtime/warm.py`) has them. Where forking isn't safe, kernels are started as ever, and the reason is logged at debug level.
"""

from __future__ import annotations

import ast
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.provisioning import LocalProvisioner

from mlops_lab import warmup
from mlops_lab.notebook import Notebook
from mlops_lab.warmup import ParentProcess

SOCKET = "MLOPS_LAB_WARM"  # environment variable for a kernel's launch: where its warm parent listens
PROVISIONER = "mlops-lab-fork"
_LAUNCHER = ["-m", "ipykernel_launcher"]
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
    if sys.platform != "linux" or kernel.argv[1:3] != _LAUNCHER or kernel.env:
        return None
    beside = {path.stem for path in notebook.folder.glob("*.py")}
    beside |= {path.parent.name for path in notebook.folder.glob("*/__init__.py")}
    return WarmParent(python, _imports(notebook, beside), sorted(beside))


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

    def __init__(self, python: str, imports: Sequence[str], local: Sequence[str]) -> None:
        self._python, self._imports, self._local = python, list(imports), list(local)
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
        return self._process.prepare(self._imports, self._local)

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


class ForkedProcess:
    """A forked kernel, with the part of `subprocess.Popen` that Jupyter uses."""

    stdin = stdout = stderr = None

    def __init__(self, path: str, order: dict[str, Any], files: Sequence[int]) -> None:
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(30)
        self._connection.connect(path)
        socket.send_fds(self._connection, [json.dumps(order).encode() + b"\n"], list(files))
        self._read = b""
        self.pid = int(json.loads(self._line())["process"])
        self._connection.setblocking(False)
        self.returncode: int | None = None

    def _line(self) -> bytes:
        while b"\n" not in self._read:
            data = self._connection.recv(4096)
            if not data:
                raise OSError("the warm parent is gone")
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        if self.returncode is None:
            try:
                self.returncode = int(json.loads(self._line())["exit"])
            except BlockingIOError:
                return None
            except OSError:  # its parent is gone, and it ends with its parent
                self.returncode = -9
            self._connection.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises `subprocess.TimeoutExpired`."""
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("kernel", timeout or 0)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(9)

    def terminate(self) -> None:
        self.send_signal(15)


class ForkProvisioner(LocalProvisioner):  # type: ignore[misc]
    """Forks a kernel from the warm parent that the launch's environment names, or starts one as `LocalProvisioner` does."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        environment = dict(kwargs.get("env") or {})
        path = environment.pop(SOCKET, "")
        kwargs["env"] = environment
        if path and cmd[1:3] == _LAUNCHER:
            order = {"folder": str(kwargs.get("cwd") or os.getcwd()), "environment": environment, "arguments": cmd[3:]}
            try:
                with open(os.devnull, "wb") as nowhere:
                    files = [(kwargs.get(name) or nowhere).fileno() for name in ("stdout", "stderr")]
                    self.process = ForkedProcess(path, order, files)
            except (OSError, ValueError, KeyError) as error:
                _log.debug("kernel started, not forked: %s", error)
            else:
                self.pid = self.pgid = self.process.pid
                self.cwd = kwargs.get("cwd", Path.cwd())
                return self.connection_info
        return await super().launch_kernel(cmd, **kwargs)
