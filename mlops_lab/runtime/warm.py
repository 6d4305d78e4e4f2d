"""The warm parent: a process that has made a notebook's imports, and forks the kernels of its steps.

Run as a program by the kernel's own interpreter, with the path of a Unix socket to listen on and, on its standard input, one
line of JSON: `imports` (statements, in notebook order) and `local` (names of what lies beside the notebook). It prints one line
of JSON when it is ready, `{"ready": true}`, or why it can't be used: `{"unsafe": reason, "import": position}`. It ends, with
all that it forked, when its standard input is closed, as it is when its engine is gone.

A kernel that is forked must be one that was started: so an import that would do something else here than in a kernel (it
prints, warns, starts a thread, asks whether it runs in a notebook) is told of and left out. Standard library only, and what a
kernel imports anyway.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import gc
import importlib
import json
import os
import pdb
import random
import selectors
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

# All that a kernel imports until it runs its first cell; the debugger is a third of the time that it takes to start.
_OF_KERNELS = (
    "ipykernel.ipkernel", "ipykernel.kernelapp", "ipykernel.debugger", "IPython.core.completer", "IPython.core.oinspect",
    "IPython.core.debugger", "IPython.core.completerlib", "IPython.core.logger", "IPython.extensions.storemagic",
    "tornado.platform.asyncio", "sqlite3", "faulthandler",
)  # fmt: skip
_TIED = "matplotlib_inline.backend_inline"  # ties itself to the kernel that it is imported in
# Native threads that stop for a fork and come back after it: those of linear algebra (OpenBLAS) and of a memory allocator.
_STOP_FOR_A_FORK = {"numpy.linalg", "scipy.linalg"}
_ALLOCATOR = "jemalloc_bg_thd"


class Unsafe(Exception):
    """An import that must be left to the kernels: why, and its position."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.position = position


def import_kernel() -> None:
    """Import what a kernel imports, and what runs in it with a step."""
    for name in _OF_KERNELS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)

    debugger: Any = sys.modules.get("IPython.core.debugger")
    if hasattr(debugger, "InterruptiblePdb"):
        # As ipykernel does when it starts, before the notebook's imports: `doctest` derives a class from it.
        debugger.Pdb = debugger.InterruptiblePdb
        pdb.Pdb, pdb.set_trace = debugger.Pdb, debugger.set_trace  # type: ignore[misc]
    boot = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot.py")
    with open(boot, encoding="utf-8") as file:
        exec(compile(file.read(), boot, "exec"), {"PHASE": "import"})
    # As ipykernel does before the first cell: matplotlib reads it when it is imported.
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")


def prepare(statements: list[str], local: list[str], folder: str) -> None:
    """Import the notebook's modules, in its folder, where packages look for settings. Raises `Unsafe`."""
    os.chdir(folder)
    _note_opened(sys.modules["mlops_lab_runtime.files"].opened_for_imports)
    for position, statement in enumerate(statements):
        noticed: list[str] = []
        before, native = set(sys.modules), _native_threads()
        with _watching(noticed), _silence() as printed, contextlib.suppress(Exception):
            # An import that fails does so again in its cell, and is shown there.
            exec(statement, {"__name__": "__main__"})
        if printed():
            noticed.append("prints")
        fresh = set(sys.modules) - before
        if len(threading.enumerate()) > 1 or (_native_threads() > native and not fresh & _STOP_FOR_A_FORK):
            noticed.append("starts a thread")
        if _TIED in sys.modules:
            noticed.append("loads the backend for figures")
        if noticed:
            raise Unsafe(f"`{statement}` {noticed[0]}", position)
    _noting.clear()
    loaded = {name.partition(".")[0] for name in sys.modules}
    if loaded & set(local):
        raise Unsafe(f"{sorted(loaded & set(local))[0]} is also a module beside the notebook", -1)


_noting: list[set[str]] = []  # a hook can't be taken away


def _note_opened(into: set[str]) -> None:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if _noting and event == "open" and isinstance(arguments[0], (str, bytes)):
            _noting[0].add(os.path.abspath(os.fsdecode(arguments[0])))

    _noting.append(into)
    sys.addaudithook(hook)


class _Kernel:
    """What a library finds that looks for the kernel it is imported in: enough to tell it that it is in one."""

    class ZMQInteractiveShell:
        """Of the name that they look for."""

        def __init__(self, noticed: list[str]) -> None:
            self.kernel = True
            self.config: dict[str, Any] = {"IPKernelApp": {}}
            self._noticed = noticed

        def __getattr__(self, name: str) -> Any:
            self._noticed.append(f"uses the kernel's shell ({name})")
            raise AttributeError(name)


@contextlib.contextmanager
def _watching(noticed: list[str]) -> Iterator[None]:
    """Answer as a kernel would, and notice what belongs into the kernel that imports first: warnings, a use of its shell."""
    from IPython.core.interactiveshell import InteractiveShell

    show = warnings.showwarning
    shell = _Kernel.ZMQInteractiveShell(noticed)
    alone = sys.getrefcount(shell)
    kernels: Any = builtins
    kernels.get_ipython = lambda: shell
    kernels.__IPYTHON__ = True
    InteractiveShell.initialized = lambda *arguments: True
    InteractiveShell.instance = lambda *arguments, **options: shell
    warnings.showwarning = lambda *arguments, **options: noticed.append("warns")
    try:
        yield
    finally:
        del InteractiveShell.initialized, InteractiveShell.instance  # inherited again
        del kernels.get_ipython, kernels.__IPYTHON__
        warnings.showwarning = show
        if sys.getrefcount(shell) > alone:
            noticed.append("keeps the kernel's shell")


def _native_threads() -> int:
    count = 0
    for thread in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{thread}/comm") as name:
            count += name.read().strip() != _ALLOCATOR
    return count


@contextlib.contextmanager
def _silence() -> Iterator[Callable[[], int]]:
    """Send both streams to a file meanwhile, and tell afterwards whether anything was written."""
    import tempfile

    with tempfile.TemporaryFile() as file:
        kept = os.dup(1), os.dup(2)
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        written = [0]
        try:
            yield lambda: written[0]
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            os.close(kept[0])
            os.close(kept[1])
            written[0] = os.fstat(file.fileno()).st_size


def serve(path: str, set_by_imports: dict[str, str]) -> None:
    """Fork a kernel for each connection, and tell on it how the kernel ended. Returns when standard input is closed.

    `set_by_imports` are environment variables that the imports set, as they would in the kernel.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(64)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *arguments: None)
    waiting: dict[int, socket.socket] = {}
    selector = selectors.DefaultSelector()
    for source in (listener, woken, 0):
        selector.register(source, selectors.EVENT_READ)
    _answer(ready=True)
    try:
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    connection = listener.accept()[0]
                    order, files = _order(connection)
                    if order is None:
                        connection.close()
                        continue
                    process = os.fork()
                    if not process:
                        selector.close()
                        listener.close()
                        for other in waiting.values():
                            other.close()
                        connection.close()
                        os.close(woken)
                        os.close(wake)
                        _become_kernel(order, files, set_by_imports)
                    for file in files:
                        os.close(file)
                    waiting[process] = connection
                    _send(connection, {"process": process})
                elif key.fileobj == woken:
                    os.read(woken, 4096)
                    _reap(waiting)
                elif not os.read(0, 4096):
                    return
    finally:
        for process in waiting:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.unlink(path)


def _order(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The order for a kernel (one line of JSON) and the file descriptors of its two output streams."""
    data, files, _, _ = socket.recv_fds(connection, 1 << 16, 2)
    while data and not data.endswith(b"\n"):
        data += connection.recv(1 << 16)
    return (json.loads(data), files) if data else (None, files)


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(message).encode() + b"\n")


def _reap(waiting: dict[int, socket.socket]) -> None:
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not process:
            return
        connection = waiting.pop(process, None)
        if connection:
            _send(connection, {"exit": os.waitstatus_to_exitcode(status)})
            connection.close()


def _become_kernel(order: dict[str, Any], files: list[int], set_by_imports: dict[str, str]) -> NoReturn:
    """Never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, file in enumerate((nothing, *files)):
            os.dup2(file, target)
        for file in (nothing, *files):
            if file > 2:
                os.close(file)
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["environment"])
        os.environ.update(set_by_imports)
        random.seed()
        if "numpy.random" in sys.modules:
            sys.modules["numpy.random"].seed()
        from ipykernel import kernelapp

        sys.argv = [
            os.path.join(os.path.dirname(os.path.dirname(kernelapp.__file__)), "ipykernel_launcher.py"),
            *order["arguments"],
            f"--IPKernelApp.parent_handle={os.getppid()}",
        ]
        kernelapp.launch_new_instance()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _answer(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Prepare, serve."""
    path = sys.argv[1]
    del sys.path[0]  # the folder of this file
    source: Any = sys.stdin.buffer
    environment = dict(os.environ)
    import_kernel()  # it may be some time until the work is known
    order = source.raw.readline()  # nothing may be read ahead
    if not order:  # there is no work after all
        return
    work = json.loads(order)
    try:
        prepare(work["imports"], work["local"], work["folder"])
    except Unsafe as reason:
        _answer(unsafe=str(reason), **{"import": reason.position})
        return
    gc.collect()
    gc.freeze()
    sys.modules["mlops_lab_runtime.modules"].remember()
    serve(path, {name: value for name, value in os.environ.items() if environment.get(name) != value})


if __name__ == "__main__":
    main()
