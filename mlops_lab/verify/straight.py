"""Runs a notebook from top to bottom in one kernel, keeps what its variables hold at the end, and compares two such ends."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_lab.errors import RunError
from mlops_lab.results import Version
from mlops_lab.runtime.client import OwnSockets
from mlops_lab.syntax import is_ours
from mlops_lab.targets.kernels import kernel_python

_RUNTIME = Path(__file__).parent.parent / "runtime"
# Objects of many sizes, of which every third, say, is held where no variable sees it: what comes fills the gaps.
_MOVE = 'setattr(__import__("gc"), "_room", [bytes(n * 37 %% 512) for n in range(99999)][::%d])'
# ZeroMQ drops what a slow reader hasn't taken beyond some thousand messages; they wait in the kernel's memory instead.
_KEEP_OUTPUTS = (  # not in brackets, in which it would be taken for a literal
    "get_ipython().kernel.iopub_thread.schedule(lambda: "
    "get_ipython().kernel.iopub_thread.socket.setsockopt(__import__('zmq').SNDHWM, 0))"
)
_IOPUB_SECONDS = 600  # for what a cell has put out to arrive after it is done
_SECONDS = 600.0  # for all comparisons of two ends


@dataclass(frozen=True)
class End:
    """What a run left: an executed notebook, the versions of its variables in a store, and what ended it early.

    `failed_at` is the position of the cell that failed; `error` says how, and is nothing where the kernel died.
    """

    node: Any
    current: dict[str, Version] = field(default_factory=dict)
    store: str = ""
    failed_at: int | None = None
    error: str = ""


class StraightRun:
    """A notebook on its way from top to bottom. `stop`, from another thread, ends it.

    With `moved` its objects lie elsewhere in memory than they would, so that what depends on addresses comes out otherwise;
    another number makes other places.
    """

    def __init__(self, node: Any, kernel: str, folder: Path, place: Path, moved: int = 0) -> None:
        self.node, self.kernel, self.folder, self.place, self.moved = node, kernel, folder, place, moved
        self._client: Any = None
        self._stopped = False

    def run(self) -> End:
        """Run it, and store what its variables hold in `place`."""
        from nbclient.exceptions import CellExecutionError, DeadKernelError
        from nbformat.v4 import new_code_cell

        node = copy.deepcopy(self.node)
        node.metadata.pop("widgets", None)
        for cell in node.cells:
            cell.metadata.pop("execution", None)
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
                if is_ours(cell.source) and "load_ext" not in cell.source:
                    cell.source = "pass"  # a run within the run; it keeps its number
        self.place.mkdir()
        node.cells.append(new_code_cell(_keep(self.folder, self.place)))
        resources = {"metadata": {"path": str(self.folder)}}
        lines = [_KEEP_OUTPUTS, *([_MOVE % (self.moved + 1)] if self.moved else [])]
        before = [f"--IPKernelApp.exec_lines={line}" for line in lines]
        self._client = _client(node, kernel_name=self.kernel, resources=resources, extra_arguments=before)
        environment = {**os.environ, "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0")}
        error, failed = "", False
        try:
            if not self._stopped:
                with tempfile.TemporaryDirectory(prefix="mlops-") as sockets, open(os.devnull, "wb") as nowhere:
                    self._client.sockets = sockets
                    self._client.execute(env=environment, stdout=nowhere, stderr=nowhere)
        except CellExecutionError as ended:
            error, failed = f"{ended.ename}: {ended.evalue}", True
        except DeadKernelError:
            failed = True
            if not any("execution" in cell.metadata for cell in node.cells):
                raise RunError("The notebook's kernel did not start.") from None
        except RuntimeError as ended:  # of jupyter_client
            raise RunError(f"The notebook's kernel did not start: {ended}") from None
        except ValueError as unreadable:
            raise RunError(
                f"The kernel's messages can't be read any more ({unreadable}): a cell has changed what Jupyter itself works "
                f"with, such as the module json."
            ) from None
        started = [index for index, cell in enumerate(node.cells) if "execution" in cell.metadata]
        at = started[-1] if failed and started else None
        if at is not None and at == len(node.cells) - 1:  # the user's cells ran, and keeping the variables failed
            at = None
        node.cells.pop()
        report = self.place / "result.json"
        outputs = json.loads(report.read_text(encoding="utf-8")).get("outputs", {}) if report.exists() else {}
        current = {name: output["version"] for name, output in outputs.items() if output}
        return End(node, current, str(self.place / "bundles"), at, error if at is not None else "")

    def stop(self) -> None:
        """Take its kernel down."""
        self._stopped = True
        process = getattr(getattr(getattr(self._client, "km", None), "provisioner", None), "pid", None)
        if process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process, signal.SIGKILL)


def _client(node: Any, **options: Any) -> Any:
    """An nbclient whose kernel listens on sockets of its own, and which waits for a cell as long as it takes."""
    from nbclient import NotebookClient

    class Client(OwnSockets, NotebookClient):  # type: ignore[misc]
        pass

    return Client(node, timeout=None, iopub_timeout=_IOPUB_SECONDS, **options)


def run_straight(node: Any, kernel: str, folder: Path) -> End:
    """Run a notebook from top to bottom in one kernel, in a folder."""
    return StraightRun(node, kernel, folder, folder.parent / f"{folder.name}-end").run()


def _keep(folder: Path, place: Path) -> str:
    """Code for the kernel that stores all variables as the runtime stores those of a step."""
    import cloudpickle

    order: dict[str, Any] = {
        "step": "straight", "store": str(place / "bundles"), "folder": str(folder), "current": {}, "keep": None,
        "result": str(place / "result.json"),
    }  # fmt: skip
    (place / "bundles").mkdir()
    path = place / "order.json"
    path.write_text(json.dumps(order), encoding="utf-8")
    environment = {
        "MLOPS_LAB_RUNTIME": str(_RUNTIME),
        "MLOPS_LAB_ORDER": str(path),
        "MLOPS_LAB_CLOUDPICKLE": str(Path(cloudpickle.__file__).parent.parent),
    }
    code = f"import os; os.environ.update({environment!r}); PHASE = 'keep'; exec(open({str(_RUNTIME / 'boot.py')!r}).read())"
    return f"exec({code!r}, {{}})"


def differences(one: End, other: End, names: Iterable[str], kernel: str, folder: Path) -> dict[str, str | None]:
    """Name -> where and how the two ends differ (an empty text: they don't; None: that can't be told)."""
    found: dict[str, str | None] = {}
    left = sorted(names)
    until = time.monotonic() + _SECONDS
    while left and time.monotonic() < until:
        lines = _compare(one, other, left, kernel, folder, until - time.monotonic())
        found |= {line[0]: line[1] for line in lines if len(line) == 2}
        if not lines:
            break
        found.setdefault(lines[-1][0], None)  # its value took the process down, or takes too long
        left = [name for name in left if name not in found]
    return {**dict.fromkeys(left), **found}


def _compare(one: End, other: End, names: list[str], kernel: str, folder: Path, seconds: float) -> list[list[Any]]:
    """What one process of the kernel's interpreter says before it ends."""
    with tempfile.TemporaryDirectory(prefix="mlops-lab-compare-") as place:
        work = Path(place, "work.json")
        result = Path(place, "result.jsonl")
        content = {
            "runs": [{"store": run.store, "current": run.current} for run in (one, other)],
            "names": names,
            "folder": str(folder),
            "paths": [str(Path(path).parent.parent) for path in [sys.modules["cloudpickle"].__file__ or ""]],
            "result": str(result),
        }
        work.write_text(json.dumps(content), encoding="utf-8")
        command = [kernel_python(kernel), str(_RUNTIME / "ends.py"), str(work)]
        environment = {**os.environ, "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0"), "MPLBACKEND": "agg"}
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=seconds, check=False)
        if not result.exists():
            return []
        lines = result.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]
