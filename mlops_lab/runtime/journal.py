"""What an attempt does to files, written down before it does it: so what began too early can be taken back.

A journal is a file of JSON lists, [monotonic time in ns, word, path, more], with full paths. The words tell what was there:

    made PATH           nothing
    kept PATH COPY      a file, of which COPY has the content; null if none was made
    link PATH TARGET    a symbolic link
    folder PATH         a folder
    early WHY           the attempt has ended itself, for what it was about to do can't be taken back

A process that a step starts may see all that lies in a folder, and must see nothing that a step below has made too early. So
the attempt asks for quiet first: it makes an empty file, into which the engine writes once it has taken back what steps below
have done. Until that file is gone again, steps below wait with all that they are about to change.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import commands

_CHANGE_NOTHING = (commands.READ_NOTHING - {"mkdir"}) | {
    "ls", "cat", "head", "tail", "wc", "grep", "egrep", "fgrep", "zcat", "du", "df", "file", "stat", "tree", "md5sum",
    "sha256sum", "diff", "cmp", "cut", "tr", "basename", "dirname", "realpath", "lsof", "top",
}  # fmt: skip
_POLL = 0.01  # seconds
_BESIDE_DATABASE = ("", "-journal", "-wal", "-shm")


def change_no_files(command: str) -> bool:
    """True if none of the programs of a shell command makes or changes files, nor what the shell does with their output."""
    heard = re.sub(r"\d?>\s*(&\d|/dev/null)", "", command)
    return ">" not in heard and commands.programs(heard) <= _CHANGE_NOTHING


class Journal:
    """The journal of this process's step, in a folder of its own. `early`: it began before the steps above had settled.
    `quiet`: the file of the whole run."""

    def __init__(self, folder: str, early: bool, quiet: str) -> None:
        self.folder, self.early, self.quiet = folder, early, quiet
        self._noted: set[str] = set()
        self._file = -1

    def before(self, path: str) -> None:
        """Note a path that is about to be written, made or removed, if that is the first time; if it is a link, both ends."""
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        real = os.path.realpath(path)
        if real != path and os.path.realpath(real) == real:  # not so for links that lead back to themselves
            self.before(real)
        if path in self._noted:
            self._wait_for_quiet_to_end()
            return
        self._noted.add(path)
        self._wait_for_quiet_to_end()
        self._note(path)
        self._wait_for_quiet_to_end()  # it may have begun after the first look, and before there was a note

    def _note(self, path: str) -> None:
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            self._write("made", path)
            return
        if stat.S_ISLNK(mode):
            self._write("link", path, str(Path(path).readlink()))
        elif stat.S_ISDIR(mode):
            self._write("folder", path)
        elif stat.S_ISREG(mode):
            self._write("kept", path, self._copy(path) if self.early else None)

    def before_all(self, path: str, target: str = "") -> None:
        """Note a folder that is about to be removed with all that is in it, or to become `target`."""
        tree = [os.path.join(top, name) for top, folders, files in os.walk(path) for name in (*folders, *files)]
        for one in (path, *tree):
            self.before(one)
            if target:
                self.before(os.path.normpath(os.path.join(target, os.path.relpath(one, path))))

    def before_database(self, path: str) -> None:
        """Note a database that SQLite is about to open, and what it keeps beside it."""
        for end in _BESIDE_DATABASE:
            self.before(path + end)

    def before_process(self, command: str) -> None:
        """Called before the step starts a process by a command, or one without: it may see and change any file."""
        if command and change_no_files(command):
            return
        what = f"the command {command[:80]!r}" if command else "a process"
        self.too_early(f"it starts {what}, which may change files")
        Path(self.quiet).touch()
        while os.path.exists(self.quiet) and not Path(self.quiet).stat().st_size:
            time.sleep(_POLL)

    @staticmethod
    def hear_of_processes(tell: Callable[[Any], object]) -> None:
        """Call this with the words of the processes that notebooks start in the way of joblib, which tells no audit hook."""
        with contextlib.suppress(ImportError):  # on Windows
            import _posixsubprocess

            real = inspect.unwrap(_posixsubprocess.fork_exec)

            @functools.wraps(real)
            def telling(words: Any, *more: Any) -> Any:
                if commands.told((words,))[1]:
                    tell(words)
                return real(words, *more)

            _posixsubprocess.fork_exec = telling

    def too_early(self, why: str) -> None:
        """End this process if its attempt may not count: it runs again once it surely does."""
        if self.early:
            self._write("early", why)
            os._exit(1)

    def _wait_for_quiet_to_end(self) -> None:
        while self.early and os.path.exists(self.quiet):
            time.sleep(_POLL)

    def _copy(self, path: str) -> str:
        copy = os.path.join(self.folder, f"{time.monotonic_ns()}-{len(self._noted)}")
        try:
            os.makedirs(self.folder, exist_ok=True)
            shutil.copy2(path, copy)
        except OSError:
            self.too_early(f"it changes {path}, of which there can't be a copy")
        return copy

    def _write(self, *entry: str | None) -> None:
        if self._file < 0:
            os.makedirs(self.folder, exist_ok=True)
            self._file = os.open(os.path.join(self.folder, "journal"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._file, json.dumps([time.monotonic_ns(), *entry]).encode() + b"\n")
