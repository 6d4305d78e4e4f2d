"""Files where steps share no disk: as the steps above left them before a step, what the step changed after it.

Which files a step changed in the notebook's folder is seen by looking at it before and after: it is the step's alone. What it
wrote elsewhere is known from watching it (`files.py`). The state of a path is
`absent`, `folder`, or [digest, mode]; contents are kept by digest. Standard library only: it travels into containers.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_NOT_THE_STEPS = frozenset({".mlops_lab", ".ipynb_checkpoints", ".ipykernel", "__pycache__"})

State = Any  # "absent", "folder" or [digest, mode]
Look = dict[str, tuple[int, ...]]  # path -> what changes when the file does


def look(folder: Path) -> Look:
    """What lies in a folder now."""
    found: Look = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NOT_THE_STEPS]
        for name in folders:
            found[os.path.relpath(os.path.join(place, name), folder)] = ()
        for name in names:
            path = os.path.join(place, name)
            if os.path.isfile(path):
                status = os.stat(path)  # noqa: PTH116
                found[os.path.relpath(path, folder)] = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode)
    return found


def changes(folder: Path, before: Look, contents: Path) -> dict[str, State]:
    """What is otherwise than before; new contents are kept."""
    now = look(folder)
    found: dict[str, State] = dict.fromkeys(before.keys() - now.keys(), "absent")
    for path, seen in now.items():
        if before.get(path) != seen:
            found[path] = _keep(folder / path, contents) if seen else "folder"
    return dict(sorted(found.items()))


def elsewhere(paths: Iterable[str], not_in: Path, contents: Path) -> dict[str, State]:
    """The state of what a step wrote by absolute paths, in a temporary folder say; its contents are kept."""
    found: dict[str, State] = {}
    for path in map(Path, sorted(paths)):
        if path.is_absolute() and not path.is_relative_to(not_in):
            found[str(path)] = _keep(path, contents) if path.is_file() else "folder" if path.is_dir() else "absent"
    return found


def current(states: Iterable[Mapping[str, State]]) -> dict[str, State]:
    """The state of each path after all these changes, folders before what lies in them."""
    found: dict[str, State] = {}
    for one in states:
        found |= one
    return dict(sorted(found.items()))


def restore(folder: Path, states: Mapping[str, State], contents: Path) -> None:
    """Bring a folder into this state."""
    for path, state in states.items():
        target = folder / path
        if state == "absent":
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
        elif state == "folder":
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(contents / state[0], target)
            target.chmod(state[1])


def _keep(path: Path, contents: Path) -> State:
    sink = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            sink.update(block)
    kept = contents / sink.hexdigest()
    if not kept.exists():
        shutil.copyfile(path, kept)
    return [kept.name, path.stat().st_mode & 0o777]
