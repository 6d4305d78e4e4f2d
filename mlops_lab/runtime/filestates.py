"""The states of files and folders, as a step found or left them.

A path is relative to the notebook's folder if it lies in it, else absolute; with `/` at its end it stands for the list of
names in that folder. The state of a path is one of these texts:

    absent        there is nothing
    folder        there is a folder
    DIGEST:SIZE   a file; `:SIZE` if the step only asked about it
    /NAME/NAME    the names in a folder; `#DIGEST` if there are very many; with `?PATTERN` in front, a regular
                  expression, those that it matches: the step looked for no others (`glob("*.csv")`)
    changed       a file that somebody else changed after the step had opened it

What a step wrote has its state afterwards, with `~` in front if it may have been another step: the file changed while a
process ran that the step had started, or code written in C. For a folder it is `+NAME` and `-NAME` of what came and went,
joined by `/`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

TRACKING = ("mlflow.db", "mlruns", "mlartifacts")  # MLflow's store of one's own, where there is no server
_MANY_NAMES = 20_000
# Ours, Jupyter's and the interpreter's.
NOT_THE_STEPS = frozenset({".mlops_lab", ".ipynb_checkpoints", ".ipykernel", "__pycache__"})
Signature = tuple[int, int, int]


def state_of(path: str) -> str:
    """The state of a path, as this module's text describes it."""
    if path.endswith("/"):
        try:
            names = sorted(set(os.listdir(path)) - NOT_THE_STEPS)
        except OSError:
            return "absent"
        return "".join(f"/{name}" for name in names) if len(names) <= _MANY_NAMES else f"#{file_digest(path)}"
    if os.path.isdir(path):
        return "folder"
    digest = file_digest(path)
    return digest if digest == "absent" else f"{digest}:{Path(path).stat().st_size}"


def file_digest(path: str) -> str:
    """The digest of a file's bytes; `absent` if there is none; of a folder, of the names in it."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:40]
    except IsADirectoryError:
        return hashlib.sha256("\n".join(sorted(os.listdir(path))).encode()).hexdigest()[:40]
    except OSError:
        return "absent"


def narrowed(state: str, pattern: str) -> str:
    """The state of the names in a folder for who looks for those of a pattern only."""
    if not pattern or "/" in pattern or state[:1] not in {"", "/"}:
        return state
    return "".join([f"?{pattern}", *(f"/{name}" for name in state.split("/")[1:] if re.match(pattern, name))])


def joined(known: str | None, state: str) -> str:
    """The state of the names in a folder that was listed twice; of a name that mattered both times, what was seen first."""
    if known is None or state[:1] not in {"", "/", "?"}:
        return state
    concerned = concerns(known)
    before, *first = known.split("/")
    pattern, *now = state.split("/")
    if pattern:
        pattern = before if pattern[1:] in before else f"{before}|{pattern[1:]}"
    return "".join([pattern, *(f"/{name}" for name in sorted({*first, *(n for n in now if not concerned(n))}))])


def concerns(state: str) -> Callable[[str], bool]:
    """Whether a name in a folder, that is there or not, is part of this state of the folder's names."""
    if state[:1] != "?":
        return lambda name: True
    return lambda name: re.match(state[1:].partition("/")[0], name) is not None


def signature(path: str) -> Signature | None:
    """What changes when a file is written; None if there is nothing."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
