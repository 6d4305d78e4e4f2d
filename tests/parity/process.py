"""What looks like a fresh kernel, within this process: a namespace that is `__main__` for a while, numbered cells, a shell.

The runtime in it is the real one; what it sees of the process is reset before each: the modules it has imported, its working
folder and environment, the options of libraries, warnings, random generators.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import copy
import decimal
import functools
import importlib
import inspect
import io
import json
import logging
import os
import random
import re
import shutil
import sys
import tempfile
import traceback
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat.v4.nbbase
import numpy
import pandas._config.config as pandas_config

from mlops_lab.runtime.load import runtime_module

kit = runtime_module("kit")
loading = runtime_module("loading")
ambient = runtime_module("ambient")
pack = runtime_module("pack")
store = runtime_module("store")
modules = runtime_module("modules")
shown = runtime_module("shown")
definitions = runtime_module("definitions")
_cp = pack._cp
_HIDDEN = frozenset({"numpy", "numpy.random", "pandas", "matplotlib", "torch"})


class _Modules:
    """`sys.modules` as it would be in a process that has imported only what this step imported."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def _there(self, name: str) -> bool:
        return name not in _HIDDEN or name.partition(".")[0] in self.seen

    def items(self) -> list[tuple[str, Any]]:
        return [(name, module) for name, module in list(sys.modules.items()) if self._there(name)]

    def values(self) -> list[Any]:
        return [module for _, module in self.items()]

    def __contains__(self, name: str) -> bool:
        return self._there(name) and name in sys.modules

    def __getitem__(self, name: str) -> Any:
        if not self._there(name):
            raise KeyError(name)
        return sys.modules[name]

    def get(self, name: str, default: Any = None) -> Any:
        return sys.modules.get(name, default) if self._there(name) else default


class _Sys:
    """The `sys` that the runtime sees, with `modules` of the step at hand."""

    modules = _Modules()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


class _Loaded:
    """`sys.modules` without what was there before the first program: to look through thousands of modules takes long."""

    base: frozenset[str] = frozenset()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.modules, name)

    def __contains__(self, name: str) -> bool:
        return name in sys.modules

    def __getitem__(self, name: str) -> Any:
        return sys.modules[name]

    def names(self) -> set[str]:
        return (sys.modules.keys() - self.base) | {"__main__"} | (_sys.modules.seen & sys.modules.keys())

    def items(self) -> list[tuple[str, Any]]:
        return [(name, sys.modules[name]) for name in sorted(self.names())]

    def values(self) -> list[Any]:
        return [module for _, module in self.items()]


class _SysOfLoaded(_Sys):
    modules = _Loaded()  # type: ignore[assignment]


_sys = _Sys()
_sys_of_loaded = _SysOfLoaded()
_import = builtins.__import__


def _recording_import(name: str, *args: Any, **kwargs: Any) -> Any:
    root = name.partition(".")[0]
    if root in _HIDDEN:
        _sys.modules.seen |= {"numpy", root}
    return _import(name, *args, **kwargs)


def _recorded_import_module(name: str) -> Any:
    _sys.modules.seen.add(name.partition(".")[0])
    return importlib.import_module(name)


class _Files(kit.OpenedFiles):  # type: ignore[misc, name-defined]
    """The real one, without its audit hook, which could never be taken away again: one hook tells whoever watches."""

    now: _Files | None = None

    def __init__(self, folder: str, *arguments: Any) -> None:
        audit, sys.addaudithook = sys.addaudithook, lambda hook: None
        try:
            super().__init__(folder, *arguments)
        finally:
            sys.addaudithook = audit
        _Files.now = self


@functools.cache
def _hook_files() -> None:
    # As if it stood in the module of the real hook, which looks at who called it.
    names: dict[str, Any] = {"files": _Files}
    source = (
        "def hook(event, arguments):\n    if files.now is not None and files.now.watching: files.now._hook(event, arguments)"
    )
    exec(compile(source, sys.modules[kit.OpenedFiles.__module__].__file__ or "", "exec"), names)
    sys.addaudithook(names["hook"])


class Shell:
    """As much of IPython's shell as the runtime uses, and its display hook: the last result is shown, and kept in `Out`."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.user_ns = names
        self.execution_count = 1
        self.callbacks: list[Any] = []
        self.compile = types.SimpleNamespace(cache=lambda *a, **k: "", get_code_name=None)
        self.events = types.SimpleNamespace(register=lambda event, callback: self.callbacks.append(callback))
        self.last: dict[str, Any] = {"_": "", "__": "", "___": ""}
        names.update(self.last, Out={}, get_ipython=lambda: None)

    def transform_cell(self, source: str) -> str:
        return source

    def run(self, source: str) -> tuple[str, str]:
        """Run a cell as the notebook's: what it prints, and its error (`Type: message`)."""
        seen = run_cell(source, self.user_ns, self._show)
        self.execution_count += 1
        for callback in self.callbacks:
            callback(types.SimpleNamespace(info=types.SimpleNamespace(store_history=True)))
        return seen

    def _show(self, value: Any) -> None:
        if value is None:
            return
        print(f"Out[{self.execution_count}]: {value!r}")
        names = self.user_ns
        names["Out"][self.execution_count] = names[f"_{self.execution_count}"] = value
        if all(n not in names or names[n] is known for n, known in self.last.items()):  # no variable of the user's own
            self.last = {"_": value, "__": self.last["_"], "___": self.last["__"]}
            names.update(self.last)


class Kit(kit.Kit):  # type: ignore[misc, name-defined]
    """The real one, except that its report stays in memory."""

    def _report(self, news: dict[str, Any]) -> None:
        self.reported = {**getattr(self, "reported", {}), **json.loads(json.dumps(news))}


@functools.cache
def _compiled(source: str) -> tuple[Any, Any]:
    """Code of a cell, and of the expression that it ends with."""
    tree = ast.parse(source)
    last = tree.body.pop().value if tree.body and isinstance(tree.body[-1], ast.Expr) else None  # type: ignore[attr-defined]
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    shown = compile(ast.Expression(last), "<cell>", "eval", flags) if last else None
    return compile(tree, "<cell>", "exec", flags), shown


def run_cell(source: str, names: dict[str, Any], show: Any = lambda value: None) -> tuple[str, str]:
    """What a cell prints, and its error (`Type: message`); its last expression is handed to `show`."""
    out = io.StringIO()
    error = ""
    with contextlib.redirect_stdout(out):
        try:
            body, shown = _compiled(source)
            _run(body, names)
            if shown:
                show(_run(shown, names))
        except BaseException as raised:
            if isinstance(raised, KeyboardInterrupt):
                raise
            error = f"{type(raised).__name__}: {raised}"
            if os.environ.get("PARITY_TRACE"):
                traceback.print_exc()
    return normalise(out.getvalue()), normalise(error)


def _run(code: types.CodeType, names: dict[str, Any]) -> Any:
    if not code.co_flags & inspect.CO_COROUTINE:
        return eval(code, names)
    return asyncio.run(types.FunctionType(code, names)())


def normalise(text: str) -> str:
    """Without addresses."""
    return re.sub(r"0x[0-9a-fA-F]{6,}", "0x#", text)


# -- one process after the other ---------------------------------------------------------------------------------------

_PRINT = numpy.get_printoptions()
_ERRORS = numpy.geterr()
_PANDAS = copy.deepcopy(vars(pandas_config)["_global_config"])


def _reset_pandas(kept: Any, now: Any) -> None:
    for key, value in kept.items():
        if isinstance(value, dict):
            _reset_pandas(value, now[key])
        elif now[key] is not value:
            now[key] = value


@contextlib.contextmanager
def process(seed: int, folder: Path) -> Iterator[Shell]:
    """A shell whose namespace is `__main__` for a while, in what looks like a fresh process that works in a folder."""
    module = types.ModuleType("__main__")
    names = module.__dict__
    names["__builtins__"] = builtins
    kept = sys.modules["__main__"], os.environ.copy(), list(sys.path), list(sys.meta_path), os.getcwd()
    root = logging.getLogger()
    logs = list(root.handlers), root.level
    root.handlers[:] = []
    root.setLevel(logging.WARNING)
    sys.modules["__main__"] = module
    _sys.modules.seen = set()
    with _cp._DYNAMIC_CLASS_TRACKER_LOCK:
        _cp._DYNAMIC_CLASS_TRACKER_BY_CLASS.clear()
        _cp._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    numpy.set_printoptions(**_PRINT)
    numpy.seterr(**_ERRORS)
    _reset_pandas(_PANDAS, vars(pandas_config)["_global_config"])
    decimal.setcontext(decimal.Context())
    logging.getLogger("parity").setLevel(logging.NOTSET)
    for library in (decimal, logging):  # what random programs put there
        vars(library).pop("parity", None)
    _forget_modules(folder)
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    builtins.__import__ = _recording_import
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield Shell(names)
    finally:
        builtins.__import__ = _import
        root.handlers[:] = logs[0]
        root.setLevel(logs[1])
        if _Files.now is not None:
            _Files.now.stop()
            _Files.now = None
        os.chdir(kept[4])
        sys.modules["__main__"] = kept[0]
        sys.path[:], sys.meta_path[:] = kept[2:4]
        _forget_modules(folder)
        if dict(os.environ) != dict(kept[1]):
            os.environ.clear()
            os.environ.update(kept[1])


def _forget_modules(folder: Path) -> None:
    """Modules that lie in the folder; the others stay."""
    new = sys.modules.keys() - _Loaded.base
    local = [n for n in new if str(getattr(sys.modules[n], "__file__", None) or "").startswith(f"{folder}{os.sep}")]
    for name in local:
        del sys.modules[name]
    if local:
        importlib.invalidate_caches()
    if len(new) > len(local):
        _Loaded.base = frozenset(sys.modules)


def sweep(folder: Path) -> None:
    """Delete all that programs have written into a folder, what engines keep there left out."""
    for entry in os.scandir(folder):
        if entry.name == ".mlops_lab":
            continue
        shutil.rmtree(entry.path) if entry.is_dir() else os.unlink(entry.path)


@contextlib.contextmanager
def quick() -> Iterator[Path]:
    """A folder in memory; nothing is synced, nothing is validated."""
    _hook_files()
    kept = os.fsync, kit.OpenedFiles, nbformat.v4.nbbase.validate
    loading.importlib = types.SimpleNamespace(import_module=_recorded_import_module)
    os.fsync = lambda handle: None  # type: ignore[assignment]
    kit.OpenedFiles = _Files
    patches, modules.patches = modules.patches, dict  # this process has some of its own
    for module in (kit, loading, ambient, pack, store):
        module.sys = _sys
    for module in (modules, shown):
        module.sys = _sys_of_loaded
    nbformat.v4.nbbase.validate = lambda *a, **k: None
    folder = Path(tempfile.mkdtemp(prefix="parity-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        yield folder
    finally:
        loading.importlib = importlib
        os.fsync, kit.OpenedFiles, nbformat.v4.nbbase.validate = kept
        modules.patches = patches
        for module in (kit, loading, ambient, pack, store, modules, shown):
            module.sys = sys
        shutil.rmtree(folder, ignore_errors=True)
