"""Which files a step really used; `filestates.py` says how their paths and states are written."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from . import commands, installed, modules, reloaded, unflushed, unseen
from .filestates import NOT_THE_STEPS, TRACKING, Signature, joined, narrowed, signature, state_of

if TYPE_CHECKING:
    from .journal import Journal  # which stays beside the engine
    from .replays import Prelude

_SCANNED = 5_000  # entries of the notebook's folder that are looked at around a child process
# Modules that look for modules and packages: what they list and read is no data.
_FINDERS = ("importlib", "_frozen_importlib", "pkgutil", "pkg_resources", "zipimport", "linecache", "tokenize", "inspect")
_LISTING = (*_FINDERS, "IPython", "ipykernel")  # for completions; the `open` of a notebook is a function of IPython's

opened_for_imports: set[str] = set()  # full paths, by the process that this kernel was forked from

_UNKNOWN = (0, 0, 0)  # the signature of a file that was there before


class OpenedFiles:
    """Watches what a process does with files: through an audit hook, and in `os.stat` and `os.access`, which tell no hook."""

    def __init__(self, folder: str, journal: Journal | None = None, code: str = "") -> None:
        """`code` is that of the step and those above."""
        self.folder = os.path.realpath(folder) + os.sep
        self._journal: Journal | None = None
        self._journal_of_step = journal
        self._names_of_folder = tuple({self.folder, os.path.abspath(folder) + os.sep})
        self._ignored = _ignored(self.folder)
        self.watching = False
        self._began = 0
        self._opened: dict[str, Signature | None] = {}  # to be read -> as it was then
        self._seen: dict[str, str] = {}  # asked about or listed -> state
        self._written: dict[str, Signature | None] = {}  # -> as it was before
        self._databases: dict[str, Signature | None] = {}
        self._before: dict[str, Signature] | None = None  # the notebook's folder before the first child process
        self._code = code
        self.prelude: Prelude | None = None
        self._rewritten: set[str] = set()  # by the prelude, as it does in every step
        self.replayed: dict[str, int] = {}  # what the prelude opened or listed -> the cell
        self._unseen, self._processes_read = unseen.Opened(), False
        self._own = threading.local()
        self._wrapped: dict[str, Any] = {}
        sys.addaudithook(self._hook)

    def begin(self, prelude: Prelude) -> None:
        """Begin to watch, while the prelude runs: what it writes counts as no step's."""
        self.prelude = prelude
        self._look()

    def pause(self) -> None:
        """The prelude has run, and what the step reads is loaded now."""
        if self.prelude is not None:
            self.prelude.end()
        self.prelude, self.watching = None, False
        self._unseen.take()

    def start(self) -> None:
        """Begin to watch the step itself."""
        if self._began:
            self._unseen.forget()
            self.watching = True
        else:
            self._look()
        self._journal = self._journal_of_step
        for name in ("stat", "access"):
            real = getattr(os, name)
            wrapped = self._telling(real, name)
            for support in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids):
                if real in support:
                    support.add(wrapped)
            self._wrapped[name] = real
            setattr(os, name, wrapped)
        if self._journal:
            self._journal.hear_of_processes(lambda words: self._hook("subprocess.Popen", (words,)))

    def _look(self) -> None:
        if unseen.may_open(self._code, self.folder):
            self._unseen.begin(self.folder, self._code)
            for pattern in unseen.patterns(self._code):
                folder, name = os.path.split(self._full(os.path.expanduser(pattern)))
                if self._name(folder) is not None and os.path.isdir(folder):
                    self._note_names(f"{self._name(folder)}/", state_of(f"{folder}/"), fnmatch.translate(name))
        for name in filter(None, map(self._name, opened_for_imports)):
            if self._is_file(name):
                self._opened.setdefault(name, signature(self._full(name)))
        self.watching = True
        self._began = time.time_ns()

    def stop(self) -> None:
        """Watch no longer. What was seen stays."""
        self.watching = False
        self._unseen.take()
        self._unseen.end()
        if self._before is not None:
            for path, before, _ in self._changed():
                if before is not None:
                    reloaded.writes(self._full(path))
        for name, real in self._wrapped.items():
            if getattr(getattr(os, name), "__wrapped__", None) is real:
                setattr(os, name, real)
        self._wrapped = {}

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Without noticing what is done meanwhile."""
        watching, self.watching = self.watching, False
        self._unseen.take()
        try:
            yield
        finally:
            self._unseen.forget()
            self.watching = watching

    @contextlib.contextmanager
    def noticing(self) -> Iterator[None]:
        """Notice what is done meanwhile as the step's, though that has not begun."""
        self.watching = True
        try:
            yield
        finally:
            self.watching = False

    def writes(self) -> dict[str, str]:
        """Path -> state, of what the step wrote, made or removed."""
        found: dict[str, str] = {}
        changes: dict[str, list[str]] = {}
        for path, before, sure in [*((p, b, True) for p, b in self._written.items()), *self._changed()]:
            state = state_of(self._full(path))
            if (before is None and state == "absent") or (before is not None and state == "folder"):
                continue
            found[path] = state if sure else "~" + state
            if (before is None) != (state == "absent"):
                change = ("" if sure else "~") + ("-" if state == "absent" else "+") + os.path.basename(path)
                changes.setdefault((os.path.dirname(path) or ".") + "/", []).append(change)
        return found | {folder: "/".join(sorted(names)) for folder, names in changes.items()}

    def opened_to_write(self) -> list[str]:
        """Full paths of what the step wrote, made or removed itself."""
        return [self._full(path) for path in self._written]

    def perhaps_read(self) -> list[str]:
        """What was opened by the step or by somebody else, of which the step asked nothing."""
        return sorted(self._opened_unseen() - self._seen.keys())

    def _opened_unseen(self) -> set[str]:
        """What was opened where the hook is not told, by the step or by somebody else."""
        known = {*self._opened, *self._databases, *self._written, *(path for path, _, _ in self._changed())}
        found = map(self._name, self._unseen.read if self._unseen.read and self._may_open_unseen() else ())
        return {path for path in found if path and not path.startswith(TRACKING) and self._is_file(path)} - known

    def _modules(self) -> dict[str, str]:
        """The imported modules that are no installed package's, and their source files."""
        found = {name: self._name(module.__file__ or "") for name, module in modules.own(self.folder).items()}
        return {name: path for name, path in found.items() if path}

    def reads(self) -> dict[str, str]:
        """Path -> state, of what the step opened, asked about or listed, and of the modules that are no installed package's."""
        own = {*self._written, *(path for path, _, _ in self._changed())}
        found = dict(self._seen)
        for path in sorted({*self._opened, *self._databases, *self._modules().values(), *self._opened_unseen()}):
            full = self._full(path)
            now = signature(full)
            if path in self._opened:
                others = now != self._opened[path]
            else:
                others = now is not None and path not in self._databases and now[0] > self._began
            state, asked = state_of(full), self._seen.get(path, "")
            others = others or not state.endswith(asked)  # it came or grew since the step asked
            found[path] = "changed" if others and path not in own else state
        return dict(sorted(found.items()))

    # -- what happens --------------------------------------------------------------------------------------------

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        handle = _EVENTS.get(event) if self.watching else None
        if handle is not None:
            self._note(handle, *arguments)

    def _note(self, handle: Callable[..., None], *arguments: Any) -> None:
        """Handle what happened, without noticing what that does itself."""
        if getattr(self._own, "busy", False):
            return
        self._own.busy = True
        try:
            with contextlib.suppress(OSError, ValueError, TypeError):
                handle(self, *arguments)
        finally:
            self._own.busy = False

    def _telling(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(real)
        def wrapped(path: Any, *args: Any, **options: Any) -> Any:
            try:
                return real(path, *args, **options)
            finally:
                if self.watching and options.get("dir_fd") is None:
                    self._note(OpenedFiles._asked, path)

        wrapped.__module__, wrapped.__qualname__ = "os", name  # where pickle looks for it
        return wrapped

    def _open(self, path: Any, mode: Any, flags: int) -> None:
        name = self._name(path)
        if name is None or (name.startswith(os.sep) and _called_by(_FINDERS)):
            return
        unflushed.refuse(self._full(name))
        writes = bool(set(mode) & set("wax+")) if isinstance(mode, str) else bool(flags & (os.O_WRONLY | os.O_RDWR))
        if writes:
            self._writes(name)
        elif name not in self._written and name not in self._rewritten:
            self._opened.setdefault(name, signature(self._full(name)))
            self._replay(name)

    def _change(self, *paths: Any) -> None:
        for path in paths:
            name = self._name(path)
            if name is not None:
                self._writes(name)

    def _replay(self, name: str) -> None:
        if self.prelude is not None and not name.startswith(TRACKING) and not _called_by(_FINDERS):
            self.replayed.setdefault(name, self.prelude.cell())

    def _writes(self, name: str) -> None:
        if self.prelude is not None:
            self._rewritten.add(name)
            return
        reloaded.writes(self._full(name))
        self._written.setdefault(name, signature(self._full(name)))
        if self._journal:
            self._journal.before(self._full(name))

    def _link(self, source: Any, target: Any) -> None:
        if self._journal and self._name(source) is not None:
            self._journal.before(os.path.abspath(os.fsdecode(source)))  # which is written through the other name, too
        self._change(target)

    def _rename(self, source: Any, target: Any) -> None:
        if self._journal and (self._name(source) is not None or self._name(target) is not None):
            self._journal.before_all(os.path.abspath(os.fsdecode(source)), os.path.abspath(os.fsdecode(target)))
        self._change(source, target)

    def _remove_all(self, path: Any, folder: Any = None) -> None:
        if folder is None:
            if self._journal and self._name(path) is not None:
                self._journal.before_all(os.path.abspath(os.fsdecode(path)))
            self._change(path, *(os.path.join(top, n) for top, _, names in os.walk(path) for n in names))

    def _asked(self, path: Any) -> None:
        name = self._name(path)
        if name is None or name in self._seen or name in self._written:
            return
        found = signature(self._full(name))
        folder = found is not None and os.path.isdir(self._full(name))
        self._seen[name] = "absent" if found is None else "folder" if folder else f":{found[1]}"

    def _list(self, path: Any = None) -> None:
        name = self._name("." if path is None else path)
        known = self._seen.get(f"{name}/")
        if name is not None and (known is None or known[:1] == "?") and not _called_by(_LISTING):
            self._note_names(f"{name}/", state_of(self._full(name) + "/"), _looked_for())
            self._replay(f"{name}/")

    def _note_names(self, folder: str, state: str, pattern: str) -> None:
        self._seen[folder] = joined(self._seen.get(folder), narrowed(state, pattern))

    def _glob(self, pattern: Any) -> None:
        if not any(c in os.fsdecode(pattern) for c in "*?["):
            self._asked(pattern)

    def _connect(self, database: Any) -> None:
        path = os.fsdecode(database)
        path = path.removeprefix("file:").partition("?")[0] if path.startswith("file:") else path
        name = self._name(path) if path and path != ":memory:" else None
        if name is not None and self.prelude is None:
            self._databases.setdefault(name, signature(self._full(name)))
            if self._journal and "mode=ro" not in os.fsdecode(database):
                self._journal.before_database(self._full(name))

    def _start_process(self, *arguments: Any) -> None:
        unflushed.refuse_process(*arguments)
        command, is_notebooks = commands.told(arguments)
        if self._journal and is_notebooks:
            with self.paused():  # what is taken back meanwhile is not this step's doing
                self._journal.before_process(command)
        if not (command and commands.read_no_files(command)):
            self._processes_read = True
            self._unseen.begin(self.folder, self._code)
            home = next((os.fsdecode(x) for x in arguments[2:3] if isinstance(x, (str, bytes, os.PathLike))), "")
            for path in commands.paths(command):
                self._given(os.path.join(home, path))
            for folder in commands.listed(command, home):
                self._list(folder)
                if " -" in command:  # `ls -l`, `du -h`: sizes, too
                    for name in os.listdir(folder):
                        self._asked(os.path.join(folder, name))
        if self._before is None and self.prelude is None:
            self._before = dict(self._scan())

    def _may_open_unseen(self) -> bool:
        own = {name: path for name, path in self._modules().items() if not path.startswith(os.sep)}
        return self._processes_read or unseen.may_open(self._code, self.folder, own)

    def _given(self, path: str) -> None:
        """A command was given this word, which may be a path."""
        name = self._name(path)
        if name is not None and os.path.isfile(path):
            if name not in self._written:
                self._opened.setdefault(name, signature(path))
        elif name is not None and len(path) < 256 and " " not in path:
            self._asked(path)
        if os.sep in path:
            self._unseen.add_around(path)

    # -- names and states ----------------------------------------------------------------------------------------

    def _full(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _name(self, path: Any) -> str | None:
        """The path as results have it; None for what is no data of the notebook's."""
        if isinstance(path, int):
            return None
        full = os.path.abspath(os.fsdecode(path))
        if not full.startswith(self._names_of_folder):
            full = os.path.join(_real(os.path.dirname(full)), os.path.basename(full))
        base = next((b for b in self._names_of_folder if (full + os.sep).startswith(b)), "")
        name = full[len(base) :] or "."
        if full.endswith((".pyc", ".lock")) or not NOT_THE_STEPS.isdisjoint(name.split("/")):
            return None
        return None if full.startswith(self._ignored[bool(base)]) else name

    def _is_file(self, name: str) -> bool:
        return os.path.isfile(self._full(name))

    def _changed(self) -> Iterator[tuple[str, Signature | None, bool]]:
        """(path, as it was, whether surely the step did it) of what changed without being opened here."""
        for path, before in self._databases.items():
            if path not in self._written and signature(self._full(path)) != before:
                yield path, before, True
        perhaps: dict[str, Signature | None] = {}
        if self._unseen.changed and self._may_open_unseen():
            names = {path: self._name(path) or "" for path in self._unseen.changed}
            perhaps = {
                name: None if self._unseen.changed[path] else _UNKNOWN
                for path, name in names.items()
                if not name.startswith(TRACKING)
            }
        if self._before is not None:
            after = dict(self._scan())
            folders = {os.path.dirname(path) for path in self._before} | {""}
            for path in sorted(self._before.keys() | after):
                known = path in self._before or os.path.dirname(path) in folders or len(self._before) < _SCANNED
                before = self._before.get(path)
                if known and before != after.get(path) and (path in after or not os.path.lexists(self._full(path))):
                    perhaps[path] = before
        for path in sorted(perhaps.keys() - self._written.keys() - self._databases.keys() - {""}):
            yield path, perhaps[path], False

    def _scan(self) -> Iterator[tuple[str, Signature]]:
        """What lies in the notebook's folder, folder by folder, hidden things left out."""
        folders, count = [""], 0
        while folders and count < _SCANNED:
            folder = folders.pop(0)
            with contextlib.suppress(OSError), os.scandir(self.folder + folder) as entries:
                for entry in entries:
                    path = os.path.join(folder, entry.name)
                    if entry.name.startswith(".") or self._name(self.folder + path) is None:
                        continue
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(path)
                        yield path, (0, 0, 0)  # its time changes with what is in it
                    else:
                        found = entry.stat()
                        yield path, (found.st_mtime_ns, found.st_size, found.st_ino)


_EVENTS: dict[str, Callable[..., None]] = {
    "open": OpenedFiles._open,
    "os.listdir": OpenedFiles._list,
    "os.scandir": OpenedFiles._list,
    "glob.glob": lambda files, pattern, recursive: files._glob(pattern),
    "os.mkdir": lambda files, path, mode, folder: files._change(*([path] if folder == -1 else [])),
    "os.rmdir": lambda files, path, folder: files._change(*([path] if folder == -1 else [])),
    "os.remove": lambda files, path, folder: files._change(*([path] if folder == -1 else [])),
    "os.truncate": lambda files, path, length: files._change(path),
    "os.rename": lambda files, source, target, *folders: files._rename(source, target) if folders == (-1, -1) else None,
    "os.link": lambda files, source, target, *folders: files._link(source, target) if folders == (-1, -1) else None,
    "os.symlink": lambda files, source, target, folder: files._change(*([target] if folder == -1 else [])),
    "shutil.rmtree": OpenedFiles._remove_all,
    "sqlite3.connect": lambda files, database: files._connect(database),
    **dict.fromkeys(
        ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.spawn", "os.fork", "os.forkpty", "pty.spawn"),
        OpenedFiles._start_process,
    ),
}


def _ignored(folder: str) -> dict[bool, tuple[str, ...]]:
    """The folders that are not watched, of those inside the notebook's folder (True) and of all (False)."""
    ignored = installed.places()
    return {True: tuple(p for p in ignored if p.startswith(folder) and p != folder), False: ignored}


def _looked_for() -> str:
    """The regular expression that the names matter by to what has made the audit hook list a folder; nothing if all do."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] in {"glob", "pathlib"}:
        names, found = frame.f_locals, ""
        if frame.f_code.co_name == "_glob1":
            found = fnmatch.translate(os.fsdecode(names["pattern"]))
        elif frame.f_code.co_name in {"_select_from", "select_wildcard"}:  # of pathlib up to Python 3.12, and above
            match = names.get("match") or getattr(names.get("self"), "match", None)
            found = str(getattr(getattr(match, "__self__", None), "pattern", ""))
        if found:
            return re.sub(r"\\z$", r"\\Z", found.replace("[^/]", "."))  # as later Pythons write it
        frame = frame.f_back
    return ""


@functools.lru_cache(4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _called_by(modules: tuple[str, ...]) -> bool:
    """True if it is one of these modules that has called the audit hook."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")).startswith(modules)
