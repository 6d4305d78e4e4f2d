"""The notebook that this kernel belongs to: where its file is, and what of it was executed since the file was saved.

A kernel is told its notebook's path when it starts (`JPY_SESSION_NAME`), and not when the file is renamed; the server that
started it knows better, and is asked first. VS Code leaves the path in a variable.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_lab.errors import MlopsLabError, UsageError
from mlops_lab.notebook import read
from mlops_lab.step_magic import in_place
from mlops_lab.syntax import is_ours

_VSCODE = "__vsc_ipynb_file__"


@dataclass
class Session:
    """One kernel's session. `executed` are the cells executed in it: cell id -> (source, when)."""

    shell: Any
    given: Path | None = None  # the notebook named last, for kernels that don't know theirs
    latest: Any = None  # the run started last, which may not have begun yet
    executed: dict[str, tuple[str, float]] = field(default_factory=dict)

    def notebook(self) -> Path:
        """The notebook's file. Raises `UsageError` where nothing tells which it is."""
        found = self.shell.user_ns.get(_VSCODE) or _from_server() or os.environ.get("JPY_SESSION_NAME")
        path = Path(found) if found else self.given
        if path is None:
            raise UsageError("This kernel doesn't know its notebook. Name it: %mlops run NOTEBOOK.ipynb")
        if path.suffix != ".ipynb":
            raise UsageError(f"{path.name} is not a notebook (.ipynb). Name one: %mlops run NOTEBOOK.ipynb")
        if not path.exists():
            raise UsageError(
                f"{path} is not there (renamed, or never saved?). Save the notebook, or name it: %mlops run NOTEBOOK"
            )
        return path

    def knows_notebook(self) -> bool:
        """True if `notebook` will find one."""
        try:
            self.notebook()
        except UsageError:
            return False
        return True

    def settle(self) -> None:
        """Wait until the run that was started last has begun, or could not: commands on `last` mean it."""
        if self.latest is not None and not self.latest.has_begun:
            with contextlib.suppress(MlopsLabError):  # its widget tells it
                _ = self.latest.folder

    def note(self, info: Any) -> None:
        """Remember a cell that is about to be executed (IPython's event `pre_run_cell`)."""
        identity = getattr(info, "cell_id", None)
        if identity and info.raw_cell:
            self.executed[identity] = (info.raw_cell, time.time())

    def unsaved(self, path: Path) -> str:
        """What to tell if cells were executed that differ from the file and are newer; empty if the file is up to date.

        A pipeline runs what is in the file. The kernel doesn't see the editor, but it sees what was executed.
        """
        if not self.executed:
            return ""
        saved = path.stat().st_mtime
        source = {cell.id: cell for cell in read(path).cells}
        known = {cell.source.strip() for cell in source.values()}
        for identity, (text, when) in self.executed.items():
            cell = source.get(identity)
            text = in_place(text)[0]
            # VS Code names cells otherwise than their file does: then it is the text that tells.
            same = cell.source.strip() == text.strip() if cell else text.strip() in known
            if when <= saved or is_ours(text) or same:
                continue
            which = f"cell {cell.number}" if cell else "a cell"
            clock = time.strftime("%H:%M:%S", time.localtime(saved))
            return f"{path.name} was saved at {clock}, before {which} was executed as it is now. The saved notebook is run."
        return ""


def _from_server() -> str | None:
    """Ask the Jupyter server that started this kernel for its session's path; None if there is none."""
    server = server_info()
    if not server:
        return None
    try:
        from ipykernel.connect import get_connection_file

        kernel = Path(get_connection_file()).stem.removeprefix("kernel-")
        request = urllib.request.Request(server["url"] + "api/sessions", headers={"Authorization": f"token {server['token']}"})
        with urllib.request.urlopen(request, timeout=2) as answer:
            sessions = json.load(answer)
    except (OSError, ValueError, KeyError, RuntimeError):
        return None
    for session in sessions:
        if session.get("kernel", {}).get("id") == kernel and session.get("path"):
            return str(Path(server["root_dir"]) / session["path"])
    return None


def server_info() -> dict[str, Any] | None:
    """What the Jupyter server that started this kernel has written down of itself: url, token, base_url, root_dir."""
    from jupyter_core.paths import jupyter_runtime_dir

    with contextlib.suppress(OSError, ValueError):
        file = Path(jupyter_runtime_dir()) / f"jpserver-{os.environ.get('JPY_PARENT_PID', os.getppid())}.json"
        found = json.loads(file.read_bytes())
        return dict(found) if {"url", "token", "root_dir"} <= set(found) else None
    return None
