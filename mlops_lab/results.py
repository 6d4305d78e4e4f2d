"""What finished steps left, kept on disk: the memory that makes the cache, resume and partial runs one mechanism.

A result is a function of the step's *recipe* (its code, prelude, parameters, packages, interpreter) and of the versions of
what it read. Results are filed under the digest of the recipe; a lookup takes the first whose inputs all have, now, the
versions that it was made from.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlops_lab.events import Failure
from mlops_lab.runtime import FORMAT
from mlops_lab.runtime.filestates import concerns, state_of

Version = list[str]  # [bundle, content]: the bundle that holds a value, and the digest of the value alone
_MISSING = re.compile(r"No module named '([\w.]+)'|cannot import name .* from '([\w.]+)'")
_KEPT = 20  # results looked at for one recipe, newest first


class Recipe(msgspec.Struct, frozen=True):
    """All that a step's result depends on besides its inputs; each field is a reason why it may have to run again."""

    cells: dict[int, str]
    prelude: str
    parameters: dict[str, str]
    packages: dict[str, str]
    reads: list[str] | None
    interpreter: str
    seeded: bool
    settings: dict[str, str] = {}
    environment: dict[str, str] = {}
    format: int = FORMAT

    @property
    def digest(self) -> str:
        # Cell numbers are left out: a cell added above changes none of what this step does.
        content = [list(self.cells.values()), *(getattr(self, f) for f in self.__struct_fields__[1:])]
        return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()[:40]


class Result(msgspec.Struct, omit_defaults=True):
    """What one attempt at a step gave.

    `inputs`: what it loaded, with the versions used (None: it wasn't there). `states`: the ambient state it began with;
    `needed`: those of the inputs that it or a function in it reads, and not only came together with one.
    `late_states`: that of modules which it loaded by itself; `undeclared_states`: what it left otherwise than its text says.
    `outputs`: what it bound or changed (None: deleted), as the runtime wrote it. `keep`: what it was asked to store.
    """

    step: str
    run: str
    attempt: int
    status: str
    seconds: float
    inputs: dict[str, Version | None]
    states: dict[str, str] = {}
    late_states: list[str] = []
    undeclared_states: list[str] = []
    needed: list[str] = []
    outputs: dict[str, dict[str, Any] | None] = {}
    keep: list[str] | None = None
    files_read: dict[str, str] = {}
    files_perhaps_read: list[str] = []  # of these, what another step may have opened that ran at the same time
    files_replayed: dict[str, int] = {}  # of these, what a cell read that every step runs again -> its number
    replayed: dict[str, str] = {}  # variable -> digest, of what such a cell bound and the step read
    files_written: dict[str, str] = {}
    metrics: dict[str, float] = {}
    notebook: str = ""
    data_seconds: dict[str, float] = {}
    failure: Failure | None = None
    made: float = 0.0
    recipe: Recipe | None = None


def apply_outputs(current: dict[str, Version], result: Result) -> None:
    """Advance the versions by what a step left. Files it wrote appear as `file:PATH`."""
    for name, output in result.outputs.items():
        if output is None:
            current.pop(name, None)
        elif not output.get("unread"):
            current[name] = output["version"]
    for path, state in result.files_written.items():
        if not path.endswith("/"):
            current[f"file:{path}"] = [state.lstrip("~")] * 2


def stale_input(result: Result, current: Mapping[str, Version]) -> str | None:
    """The first thing the result depends on that is now another version; None if the result counts."""
    moved = []
    for name, used in result.inputs.items():
        now = current.get(name)
        if used is None or now is None:
            if used is not now and not (used is None and now is None):
                return name
        elif used != now:
            # The same value in another bundle: the step still saw the right thing, unless it changed it (then whoever
            # shares it now must see that) or used two values of which the sharing is now different.
            if used[1] != now[1] or name in result.outputs:
                return name
            moved.append(name)
    for name in current:
        if name.startswith("patch:") and name not in result.inputs:
            return name  # the step knew the package as it is installed
    if moved:
        present = [n for n, v in result.inputs.items() if v is not None]
        if _sharing({n: result.inputs[n][0] for n in present}) != _sharing({n: current[n][0] for n in present}):  # type: ignore[index]
            return moved[0]
    for name, used_state in result.states.items():
        now = current.get(name)
        if now is not None and now[1] != used_state and (not name.endswith("random") or name in result.outputs):
            return name
    for name in result.late_states:
        if name in current and (not name.endswith("random") or name in result.outputs):
            return name  # it came with the state that the module has when it is fresh
    for path, state in result.files_read.items():
        now = current.get(f"file:{path}")
        if path.endswith("/"):
            names, matters = state.split("/"), concerns(state)
            if any((name in names) != there and matters(name) for name, there in _names_in(path, current).items()):
                return f"file {path}"
        elif now is not None and not _same_file(state, now[1]):
            return f"file {path}"
    missing = _MISSING.search(result.failure.message) if result.failure else None
    for path in _files_of(missing[1] or missing[2]) if missing else ():
        if path not in result.files_read and current.get(f"file:{path}", ["", "absent"])[1] != "absent":
            return f"file {path}"  # the failed import would find it now
    return None


def _same_file(seen: str, now: str) -> bool:
    """True if a file of this state now is as a step saw it, which may only have asked for its size."""
    return now.endswith(seen) if seen.startswith(":") else now == seen


def _names_in(folder: str, current: Mapping[str, Version]) -> dict[str, bool]:
    """Name -> whether it is there, of what steps left in a folder."""
    found: dict[str, bool] = {}
    start = "file:" + folder.removeprefix("./")
    for path, version in current.items():
        name, inside, _ = path.removeprefix(start).partition("/") if path.startswith(start) else ("", "", "")
        if name and (version[1] != "absent" or not inside):
            found[name] = found.get(name, False) or version[1] != "absent"
    return found


def _files_of(module: str) -> tuple[str, ...]:
    path = module.replace(".", "/")
    return f"{path}.py", f"{path}/__init__.py"


def clash(above: Result, below: Result) -> str:
    """The first file that the step below changed and the step above may have seen so, if it ran too early; or nothing."""
    for path, wrote in sorted(below.files_written.items()):
        seen, written = above.files_read.get(path), above.files_written.get(path)
        if path.endswith("/"):
            names, matters = (seen or "").split("/"), concerns(seen or "")
            changes = [(change[:1] == "+", change[1:]) for change in _surely(wrote)]
            if seen is not None and (seen[:1] == "#" or any(came == (n in names) and matters(n) for came, n in changes)):
                return path
        elif written is not None and wrote != "folder" and "~" not in (wrote[0], written[0]):
            return path
        elif seen in {"absent", "folder"} or (seen or "").startswith(":"):
            folder, _, name = path.rpartition("/")
            made = f"+{name}" in _surely(below.files_written.get(f"{folder or '.'}/", ""))
            if wrote == "absent" if seen == "absent" else made and wrote != "folder":
                return path
        elif seen is not None:
            return path
    return ""


def _surely(changes: str) -> list[str]:
    return [change.lstrip("~") for change in changes.split("/") if change]


def attribute(one: Result, other: Result) -> list[Result]:
    """Of two steps that ran at once: what one of them wrote was not opened by the other, if that is not sure; and what one
    of them surely wrote was not the other's child process.

    Returns those that have read something else than they say: a file that the other one has changed meanwhile.
    """
    mistaken = []
    for sure, perhaps in ((one, other), (other, one)):
        for path in perhaps.files_perhaps_read:
            if path in sure.files_written:
                perhaps.files_read.pop(path, None)
        for path, state in list(perhaps.files_written.items()):
            if path.endswith("/"):
                known = _surely(sure.files_written.get(path, ""))
                kept = [change for change in state.split("/") if change[:1] != "~" or change[1:] not in known]
                perhaps.files_written[path] = "/".join(kept)
            elif state.startswith("~") and not sure.files_written.get(path, "~").startswith("~"):
                del perhaps.files_written[path]
                if path in perhaps.files_read:
                    perhaps.files_read[path] = "changed"
                    mistaken.append(perhaps)
    return mistaken


def _sharing(bundles: Mapping[str, str]) -> set[frozenset[str]]:
    groups: dict[str, set[str]] = {}
    for name, bundle in bundles.items():
        groups.setdefault(bundle, set()).add(name)
    return {frozenset(names) for names in groups.values()}


class ResultStore:
    """The results of one notebook folder."""

    def __init__(self, folder: Path, base: Path, has_bundle: Callable[[str], bool]) -> None:
        self.folder = folder
        self.base = base  # the notebook's folder: relative paths of files begin there
        self.has_bundle = has_bundle

    def save(self, result: Result, notebook: str) -> None:
        """File a successful result. Raises `OSError` when it can't be written."""
        assert result.recipe is not None
        result.made = time.time()
        data = msgspec.json.encode(result)
        self._write(self.folder / result.recipe.digest / f"{int(result.made * 1e6)}-{result.run}-{result.step}.json", data)
        self._write(self._last(notebook, result.step), data)

    def discard(self, result: Result) -> None:
        """Forget a result that turned out not to be trusted."""
        if result.recipe is not None:
            name = f"{int(result.made * 1e6)}-{result.run}-{result.step}.json"
            (self.folder / result.recipe.digest / name).unlink(missing_ok=True)

    def find(self, recipe: Recipe, current: Mapping[str, Version], keep: list[str] | None,
             of_runs: Collection[str] = ()) -> Result | None:  # fmt: skip
        """A result for this recipe that counts for these versions; `of_runs` limits the search to some runs'."""
        for result in self._filed(recipe):
            if of_runs and result.run not in of_runs:
                continue
            if self._usable(result, current, keep):
                return result
        return None

    def why(self, notebook: str, step: str, recipe: Recipe, current: Mapping[str, Version], keep: list[str] | None) -> str:
        """Why a step can't be taken from the cache: what differs from the time when it last ran."""
        try:
            last = msgspec.json.decode(self._last(notebook, step).read_bytes(), type=Result)
        except (OSError, msgspec.DecodeError):
            return "never run"
        then = last.recipe
        if then is None:
            return "never run"
        for number, code in recipe.cells.items():
            if code not in then.cells.values():
                return f"the code of cell {number} changed"
        if list(then.cells.values()) != list(recipe.cells.values()):
            return "its cells were removed or moved"
        if then.prelude != recipe.prelude:
            return "the imports or the setup it needs changed"
        for name, value in recipe.parameters.items():
            if then.parameters.get(name) != value:
                return f"parameter {name}: {then.parameters.get(name, 'none')} -> {value}"
        for name, version in recipe.packages.items():
            if then.packages.get(name) != version:
                return f"{name} {then.packages.get(name, 'not there')} -> {version}"
        for name in {**then.environment, **recipe.environment}:
            if then.environment.get(name) != recipe.environment.get(name):
                return f"the environment variable {name} changed"
        if then.interpreter != recipe.interpreter:
            return f"Python {then.interpreter} -> {recipe.interpreter}"
        if then.digest != recipe.digest:
            return "its settings, or what the analysis says it reads, changed"
        stale = stale_input(last, current)
        if stale:
            return stale + " changed" if stale.startswith("file ") else f"input {stale} changed"
        for path, state in last.files_read.items():
            if not self._is_on_disk(path, state, current):
                return f"file {path} changed"
        if not _covers(last.keep, keep):
            return "a later step now reads more of what it leaves"
        return "its stored results are gone"

    def _usable(self, result: Result, current: Mapping[str, Version], keep: list[str] | None) -> bool:
        if stale_input(result, current) or not _covers(result.keep, keep) or not os.path.exists(result.notebook):
            return False
        bundles = [o["version"][0] for o in result.outputs.values() if o]
        if not all(b.startswith(("refused:", "deleted:")) or self.has_bundle(b) for b in bundles):
            return False
        written = {path: state.lstrip("~") for path, state in result.files_written.items() if not path.endswith("/")}
        return all(self._is_on_disk(p, s, {}) for p, s in written.items()) and all(
            self._is_on_disk(p, s, current) for p, s in result.files_read.items() if p not in written
        )

    def _is_on_disk(self, path: str, state: str, current: Mapping[str, Version]) -> bool:
        """True if a file is as a step saw it, or if that is for the versions of the steps above to say."""
        if f"file:{path}" in current:
            return True
        full = os.path.join(self.base, path)  # keeps the `/` of a listing
        if state.startswith(":"):  # the content doesn't matter, and reading it may take long
            file = Path(full)
            return file.is_file() and f":{file.stat().st_size}" == state
        now = state_of(full)
        if path.endswith("/") and not {"absent", "#"} & {state, now, state[:1], now[:1]}:
            matters = concerns(state)
            changed = set(now.split("/")[1:]) ^ set(state.split("/")[1:])
            return {name for name in changed if matters(name)} <= _names_in(path, current).keys()
        return now == state

    def _filed(self, recipe: Recipe) -> Iterator[Result]:
        folder = self.folder / recipe.digest
        names = sorted(os.listdir(folder), reverse=True) if folder.is_dir() else []
        for name in names[:_KEPT]:
            try:
                yield msgspec.json.decode((folder / name).read_bytes(), type=Result)
            except (OSError, msgspec.DecodeError):
                continue

    def _last(self, notebook: str, step: str) -> Path:
        return self.folder / "last" / notebook / f"{step}.json"

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{secrets.token_hex(4)}.tmp")
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _covers(kept: list[str] | None, wanted: list[str] | None) -> bool:
    return kept is None or (wanted is not None and set(wanted) <= set(kept))
