"""Which files a step really opened, and the digests of files."""

from __future__ import annotations

import hashlib
import os
import sys
from typing import Any


class OpenedFiles:
    """Watches `open` through an audit hook: which files below a folder were read and which written."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.realpath(folder) + os.sep
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.watching = False
        self._hidden = (self.folder + ".mlops_lab" + os.sep, self.folder + ".ipynb_checkpoints" + os.sep)
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not self.watching:
            return
        path, mode, flags = arguments
        if not isinstance(path, (str, bytes)):
            return
        full = os.path.abspath(os.fsdecode(path))
        if not full.startswith(self.folder) or full.startswith(self._hidden) or full.endswith(".pyc"):
            return
        relative = full[len(self.folder) :]
        writes = bool(set(mode) & set("wax+")) if isinstance(mode, str) else bool(flags & (os.O_WRONLY | os.O_RDWR))
        if writes:
            self.written.add(relative)
        elif relative not in self.written:
            self.read.add(relative)


def file_digest(path: str) -> str:
    """The digest of a file's bytes; `absent` if there is none; of a folder, of the names in it."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:40]
    except IsADirectoryError:
        return hashlib.sha256("\n".join(sorted(os.listdir(path))).encode()).hexdigest()[:40]
    except OSError:
        return "absent"
