"""What finished steps left, kept on disk: the memory that makes the cache, resume and partial runs one mechanism.

A result is a function of the step's *recipe* (its code, prelude, parameters, packages, interpreter) and of the versions of
what it read. Results are filed under the digest of the recipe; a lookup takes the first whose inputs all have, now, the
versions that it was made from.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlops_lab.events import Failure
from mlops_lab.runtime import FORMAT
from mlops_lab.runtime.files import file_digest

Version = list[str]  # [bundle, content]: the bundle that holds a value, and the digest of the value alone
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
    files_written: dict[str, str] = {}
    metrics: dict[str, float] = {}
    notebook: str = ""
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
    for path, content in result.files_written.items():
        current[f"file:{path}"] = [content, content]


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
    for path, content in result.files_read.items():
        now = current.get(f"file:{path}")
        if now is not None and now[1] != content:
            return f"file {path}"
    return None


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
        if then.interpreter != recipe.interpreter:
            return f"Python {then.interpreter} -> {recipe.interpreter}"
        if then.digest != recipe.digest:
            return "its settings, or what the analysis says it reads, changed"
        stale = stale_input(last, current)
        if stale:
            return stale + " changed" if stale.startswith("file ") else f"input {stale} changed"
        for path, content in last.files_read.items():
            if f"file:{path}" not in current and file_digest(str(self.base / path)) != content:
                return f"file {path} changed"
        if not _covers(last.keep, keep):
            return "a later step now reads more of what it leaves"
        return "its stored results are gone"

    def _usable(self, result: Result, current: Mapping[str, Version], keep: list[str] | None) -> bool:
        if stale_input(result, current) or not _covers(result.keep, keep) or not os.path.exists(result.notebook):
            return False
        bundles = [o["version"][0] for o in result.outputs.values() if o]
        if not all(b.startswith("refused:") or self.has_bundle(b) for b in bundles):
            return False
        on_disk = {p: c for p, c in result.files_read.items() if f"file:{p}" not in current} | result.files_written
        return all(file_digest(str(self.base / path)) == content for path, content in on_disk.items())

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
