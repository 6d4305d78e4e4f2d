"""Executes one step notebook through Papermill, with an engine that reports cells and outputs as they happen.

This is the one place where a step runs: the local engine calls it in a thread, a container calls it as its main program.
It imports Papermill and the standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jupyter_client.kernelspec import NoSuchKernel
from jupyter_core.utils import ensure_async, run_sync
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from .client import OwnSockets
from .outputs import Cap


@contextlib.contextmanager
def _without(*names: str) -> Iterator[None]:
    """As if these modules were not installed, those that are imported already left alone."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


# Papermill looks for a client of each object store that it can write to, which takes longer than the rest of it; step
# notebooks are files.
with _without("pyarrow.fs", "boto3", "azure.datalake.store", "azure.storage.blob", "gcsfs", "github"):
    import papermill
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, papermill_engines
    from papermill.exceptions import PapermillExecutionError
    from papermill.iorw import LocalHandler, papermill_io

ENGINE = "mlops_lab"
_STATUS_OF_SIGNAL = {
    9: "killed (by hand, or out of memory)",
    11: "crashed (segmentation fault)",
    6: "aborted",
    15: "terminated",
}

Report = Callable[..., None]
_EXIT_SECONDS = 2.5  # that a kernel has to run its exit functions
_POLL_SECONDS = 0.005
_SAVE_SECONDS, _SAVE_SHARE = 1.0, 20  # at least between two saves of a notebook that runs: seconds, and times what one takes
# Run in a kernel that waits for its step: the first cell of all costs more than the others.
_CALL = (
    'exec(__import__("pathlib").Path(__import__("os").environ["MLOPS_LAB_RUNTIME"], "boot.py").read_text(), '
    '{{"PHASE": "{phase}"}})'
)
_IOPUB_SECONDS = 600  # for what a cell has put out to arrive after it is done: a flood on a busy machine takes long


@dataclass(frozen=True)
class Outcome:
    """How an execution ended. `kind` is empty if all went well, else error, died, timeout or refused.

    `cell` is the number of the failing cell, or 0: then `phase` is the tag of the hidden cell that failed.
    """

    kind: str = ""
    message: str = ""
    cell: int = 0
    phase: str = ""
    name: str = ""
    traceback: str = ""


class StepEngine(NBClientEngine):  # type: ignore[misc]
    """Papermill engine `mlops_lab`: Papermill's own, reporting as it goes."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, start_timeout: int = 60, report: Report | None = None,
                                 kernel_arguments: dict[str, Any] | None = None, provisioner: str = "",
                                 ready: Callable[[], None] | None = None, closing: contextlib.ExitStack | None = None,
                                 **kwargs: Any) -> None:  # fmt: skip
        with contextlib.ExitStack() as at_once:
            stack = closing or at_once
            sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="mlops-", ignore_cleanup_errors=True))
            order = (kernel_arguments or {}).get("env", {}).get("MLOPS_LAB_ORDER", "")
            client = _Client(nb_man, report, sockets, provisioner, ready, order, timeout=None, startup_timeout=start_timeout,
                             iopub_timeout=_IOPUB_SECONDS, kernel_name=kernel_name)  # fmt: skip
            stack.callback(client.end_kernel)
            with _saved_now_and_then(nb_man):
                client.execute(cleanup_kc=False, **(kernel_arguments or {}))


@contextlib.contextmanager
def _saved_now_and_then(nb_man: Any) -> Iterator[None]:
    """Papermill saves the whole notebook when each cell begins and ends; while this is open, only once in a while."""
    save = nb_man.save
    due = 0.0

    def save_if_due(**kwargs: Any) -> None:
        nonlocal due
        started = time.monotonic()
        if started >= due:
            save(**kwargs)
            ended = time.monotonic()
            due = ended + max(_SAVE_SECONDS, _SAVE_SHARE * (ended - started))

    nb_man.save = save_if_due
    try:
        yield
    finally:
        nb_man.save = save


class _Client(OwnSockets, PapermillNotebookClient):  # type: ignore[misc]
    def __init__(self, nb_man: Any, report: Report | None, sockets: str, provisioner: str, ready: Callable[[], None] | None,
                 order: str = "", **kwargs: Any) -> None:  # fmt: skip
        super().__init__(nb_man, **kwargs)
        self.sockets, self.provisioner, self.ready = sockets, provisioner, ready
        self.order = order
        self.report: Report = report or (lambda kind, **fields: None)
        self.folder = os.path.dirname(nb_man.nb.metadata.papermill.get("output_path") or "")
        self.cap: Cap | None = None
        self.visible = [c for c in nb_man.nb.cells if c.cell_type == "code" and not is_hidden(c)]

    def create_kernel_manager(self) -> Any:
        manager = super().create_kernel_manager()
        if self.provisioner:
            metadata = {**manager.kernel_spec.metadata, "kernel_provisioner": {"provisioner_name": self.provisioner}}
            manager.kernel_spec.metadata = metadata
        return manager

    async def async_start_new_kernel(self, **kwargs: Any) -> None:
        await super().async_start_new_kernel(**kwargs)
        assert self.km is not None
        self.report("kernel_started", process=getattr(self.km.provisioner, "pid", None))

    start_new_kernel = run_sync(async_start_new_kernel)

    async def _async_cleanup_kernel(self) -> None:
        # nbclient's own interrupts the kernel first, which may then miss the request, and looks ten times a second.
        manager, provisioner = self.km, getattr(self.km, "provisioner", None)
        if manager is not None and provisioner is not None and provisioner.has_process and self.kc is not None:
            with contextlib.suppress(Exception):
                await ensure_async(manager.request_shutdown())
                deadline = time.monotonic() + _EXIT_SECONDS
                while await provisioner.poll() is None and time.monotonic() < deadline:
                    await asyncio.sleep(_POLL_SECONDS)
            kill(getattr(provisioner, "pid", None))
        await super()._async_cleanup_kernel()

    _cleanup_kernel = run_sync(_async_cleanup_kernel)

    def end_kernel(self) -> None:
        """End the kernel, if there is one."""
        if self.km is not None:
            self._cleanup_kernel()

    def papermill_execute_cells(self) -> None:
        # Papermill's own loop marks a cell that died or timed out, and all that follow, as completed.
        if self.ready:
            assert self.kc is not None
            self.kc.execute(_CALL.format(phase="import"), silent=True, store_history=False, allow_stdin=False)
            self.ready()
        if os.path.exists(self.order):  # before the prelude, which imports and may read files
            assert self.kc is not None
            self.kc.execute(_CALL.format(phase="prelude"), silent=True, store_history=False, allow_stdin=False)
        for index, cell in enumerate(self.nb.cells):
            if cell.cell_type != "code":
                continue
            hidden = is_hidden(cell)
            number = cell.metadata.get("mlops_lab", {}).get("cell", 0)
            started = time.monotonic()
            status = "failed"
            self.nb_man.cell_start(cell, index)
            if not hidden:
                position = next(i for i, c in enumerate(self.visible) if c is cell) + 1
                self.report("cell_started", cell=number, position=position, total=len(self.visible))
            self.cap = Cap(self.folder, number) if self.folder and not hidden else None
            try:
                self.execute_cell(cell, index, store_history=not hidden)
                status = "done"
            except CellExecutionError as error:
                self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                raise _CellFailed(cell, error) from error
            except (DeadKernelError, CellTimeoutError) as error:
                self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                raise _CellFailed(cell, error, self._exit_status()) from error
            except BaseException as error:
                self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                raise
            finally:
                if not hidden:
                    self._note_displays(cell, index)
                if self.cap:
                    self.cap.end(cell.outputs)
                self.nb_man.cell_complete(cell, cell_index=index)
                if not hidden:
                    self.report("cell_finished", cell=number, seconds=time.monotonic() - started, status=status)

    def _note_displays(self, cell: Any, index: int) -> None:
        """Which outputs have a name (`display_id`), by which a cell of another step may change them."""
        places = {name: cells[index] for name, cells in self._display_id_map.items() if cells.get(index)}
        if places:
            cell.metadata["mlops_lab"]["displays"] = places

    def _exit_status(self) -> str:
        process = getattr(getattr(self.km, "provisioner", None), "process", None)
        code = process.poll() if process is not None else None
        if code is None:
            return "its process is gone"
        if code < 0:
            return f"its process was {_STATUS_OF_SIGNAL.get(-code, signal.Signals(-code).name)}"
        return f"its process ended with exit code {code}"

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] == "update_display_data" and not is_hidden(cell):
            content = msg["content"]
            updates = cell.metadata["mlops_lab"].setdefault("updates", {})
            updates[content["transient"]["display_id"]] = {"data": content["data"], "metadata": content["metadata"]}
        output = super().process_message(msg, cell, cell_index)
        if msg["msg_type"] == "clear_output" and self.cap:
            self.cap.clear()
        if output is not None and not is_hidden(cell):
            self.report("cell_output", cell=cell.metadata.get("mlops_lab", {}).get("cell", 0), output=dict(output))
            if self.cap:
                self.cap.take(cell.outputs, output)
        return output


class _CellFailed(Exception):
    def __init__(self, cell: Any, error: Exception, status: str = "") -> None:
        super().__init__(str(error))
        self.cell = cell.metadata.get("mlops_lab", {}).get("cell", 0)
        self.phase = "" if self.cell else (cell.metadata.get("tags") or [""])[0]
        self.error, self.status = error, status
        # As the cell shows it; the error's own text begins with the whole cell.
        shown = [output.traceback for output in cell.get("outputs", ()) if output.output_type == "error"]
        self.traceback = "\n".join(shown[-1]) if shown else ""


def is_hidden(cell: Any) -> bool:
    """True for the cells of a step notebook that are not the user's."""
    return "cell" not in cell.metadata.get("mlops_lab", {})


def execute(notebook: str, output: str, *, parameters: dict[str, Any], kernel: str, folder: str, environment: dict[str, str],
            report: Report, without: tuple[str, ...] = (), start_timeout: int = 120, provisioner: str = "",
            ready: Callable[[], None] | None = None, closing: contextlib.ExitStack | None = None) -> Outcome:  # fmt: skip
    """Run a step notebook; the executed one is saved to `output` now and then, and at the end, also when it fails.

    `provisioner` names the Jupyter kernel provisioner to start the kernel with, if not the one of its specification. `ready`
    is called when the kernel is, before the first cell; what it raises ends the execution. With `closing` the kernel lives
    until that is closed, in the same thread.
    The kernel gets our environment with this one on top, and `without` some variables.

    Raises `NoSuchKernel` when the kernel isn't installed, and `OSError` when the output can't be written.
    """
    papermill_engines.register(ENGINE, StepEngine)
    notebook, output = os.path.abspath(notebook), os.path.abspath(output)
    for path in (notebook, output):
        _leave_the_working_folder(path)
    # What a kernel writes outside its cells (a crash, a library's own chatter) belongs in a file of its attempt.
    chatter = open(os.path.join(os.path.dirname(output), "kernel.log"), "wb")  # noqa: SIM115 - closed below
    try:
        papermill.execute_notebook(
            notebook,
            output,
            parameters=parameters,
            engine_name=ENGINE,
            kernel_name=kernel,
            progress_bar=False,
            start_timeout=start_timeout,
            report=report,
            provisioner=provisioner,
            ready=ready,
            closing=closing,
            kernel_arguments={
                "cwd": folder,
                "env": {**{name: value for name, value in os.environ.items() if name not in without}, **environment},
                "stdout": chatter,
                "stderr": chatter,
            },
        )
    except _CellFailed as failed:
        error = failed.error
        if isinstance(error, CellExecutionError):
            kind = "refused" if error.ename in {"InputRefused", "GuardRefused"} else "error"
            message = f"{error.ename}: {error.evalue}" if kind == "error" else str(error.evalue)
            return Outcome(kind, message, failed.cell, failed.phase, error.ename, failed.traceback or error.traceback)
        what = f"the kernel died: {failed.status}" if isinstance(error, DeadKernelError) else str(error)
        return Outcome("died", what, failed.cell, failed.phase)
    except PapermillExecutionError:
        pass  # raised at the end for a cell tagged `raises-exception`, which is allowed to fail
    except NoSuchKernel:
        raise
    except RuntimeError as error:  # the kernel died while it started, or did not get ready in time
        return Outcome("died", f"the kernel did not start: {error}")
    finally:
        chatter.close()
    return Outcome()


def _leave_the_working_folder(path: str) -> None:
    """Have Papermill read and write absolute paths such as this one where they are.

    Its handler of files changes the process's working folder for each, to the one of the start; two steps at once, each
    in its thread, can leave the process in another than they found.
    """
    root = pathlib.PurePath(path).anchor
    if not any(scheme == root for scheme, _ in papermill_io._handlers):
        papermill_io.register(root, LocalHandler())  # changes to a folder only when told of one, as the one for "local" is


def kill(process: int | None) -> None:
    """End a kernel with everything that it started (a kernel leads a process group of its own)."""
    if process:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process, signal.SIGKILL)
