"""What is known of the commands that a notebook starts, by their names."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import sys
from typing import Any

from . import installed

READ_NOTHING = {
    "", "echo", "printf", "date", "sleep", "true", "pwd", "whoami", "hostname", "uname", "free", "nproc", "lscpu",
    "lsb_release", "nvidia-smi", "nvcc", "which", "pip", "pip3", "conda", "mamba", "apt", "apt-get", "mkdir", "kill",
    "ps", "uptime",
}  # fmt: skip
_LIST = {"ls": 1, "dir": 1, "find": 1000, "du": 1000, "tree": 1000}  # -> how many folders at most
_ASKED = {"--version", "-version", "-V", "--help"}
_STARTERS = {
    "subprocess", "os", "pty", "pexpect", "ptyprocess", "IPython", "ipykernel", "asyncio", "multiprocessing", "multiprocess",
    "concurrent", "joblib", "pathos",
}  # fmt: skip


def told(arguments: tuple[Any, ...]) -> tuple[str, bool]:
    """The command, as far as can be told, and whether code of the notebook or of the user's own modules starts it."""
    words = [word for argument in arguments for word in (argument if isinstance(argument, (list, tuple)) else [argument])]
    parts = [os.fsdecode(word) for word in words if isinstance(word, (str, bytes, os.PathLike))]
    frame: Any = sys._getframe(1)
    home = ""
    while frame is not None:
        home = str(frame.f_globals.get("__name__", ""))
        if home.rpartition(".")[0] != __package__ and home.partition(".")[0] not in _STARTERS:
            break
        if home.partition(".")[0] in {"IPython", "ipykernel"} and isinstance(frame.f_locals.get("cmd"), str):
            parts = [frame.f_locals["cmd"]]  # which a shell in a terminal of its own gets
        frame = frame.f_back
    if "-c" in parts and os.path.basename(parts[parts.index("-c") - 1]) in {"sh", "bash"}:
        parts = parts[parts.index("-c") + 1 :]
    own = frame is not None and (home == "__main__" or installed.is_own(frame.f_code.co_filename, os.getcwd()))
    return " ".join(dict.fromkeys(parts)), own


def read_no_files(command: str) -> bool:
    """True if none of the programs of a shell command reads files of the notebook's."""
    return programs(command) <= READ_NOTHING


def paths(command: str) -> list[str]:
    """The words of a shell command that may be paths."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError:
        words = command.split()
    return [os.path.expanduser(part) for word in words for part in re.split(r"[=<>;|&]", word) if part and part[0] != "-"]


def listed(command: str, folder: str) -> list[str]:
    """The folders of which the names matter to a shell command that is run in a folder."""
    found = []
    for part in re.split(r"[;&|\n(`]+", command):
        words = [os.path.join(folder, word) for word in paths(part)[1:]]
        found += [os.path.dirname(word) or "." for word in words if re.search(r"[*?[]", word)]
        most = _LIST.get(_program(part), 0)
        for top in [word for word in words if os.path.isdir(word)] or [folder or "."]:
            found += [inner for inner, _, _ in itertools.islice(os.walk(top), most)]
    return [place for place in dict.fromkeys(found) if os.path.isdir(place)]


def programs(command: str) -> set[str]:
    """The programs that a shell command runs."""
    return {_program(part) for part in re.split(r"[;&|\n(`]+", command)}


def _program(command: str) -> str:
    """The program of a simple command; `pip` for one that Python runs."""
    words = [word for word in command.split() if "=" not in word]
    if words[-1:] and words[-1] in _ASKED:
        return ""
    if "-m" in words and words[words.index("-m") + 1 :][:1] == ["pip"]:
        return "pip"
    return os.path.basename(words[0]) if words else ""
