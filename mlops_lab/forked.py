"""A kernel forked from a warm parent (`runtime/warm.py`), as Jupyter's provisioners see a process that they have started.

Standard library and jupyter_client only: also loaded by its path, where MLOps Lab isn't installed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jupyter_client.provisioning import LocalProvisioner

SOCKET = "MLOPS_LAB_WARM"  # environment variable for a kernel's launch: where its warm parent listens
LAUNCHER = ["-m", "ipykernel_launcher"]
_log = logging.getLogger(__name__)


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
        if path and cmd[1:3] == LAUNCHER:
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
