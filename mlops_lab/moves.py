"""Where the notebook of a run is now: it may have been renamed or moved since, alone or with its folder.

A log names the notebook's path as it was when the run began. Runs are kept beside their notebook, so a folder that is moved
takes them along. What is renamed or moved in Jupyter is noted by `record` in `moved.jsonl` beside the runs, so that no log is
ever changed. A notebook that went another way (`mv`, `git mv`) is known by its cells: a run keeps a copy of what it ran.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import time
from pathlib import Path

import msgspec

from mlops_lab.errors import MlopsLabError
from mlops_lab.runs import HOME, MOVED, Home, Move, RunFolder, read_moves

_EXECUTED = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")  # a run's id in its name: a copy of ours, and not the notebook that moved
_MOST = 500  # notebooks of a folder that are looked into


class Notebooks:
    """The notebooks of the runs of one home, where they are now. Made for one question: it does not look twice."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._moves = [move for move in read_moves(home) if move.source]
        self._lost: dict[Path, Path] = {}

    def now(self, run: RunFolder, recorded: str, began: float) -> Path:
        """Where the notebook is that a run ran: `recorded` and `began` as its log has them. The file may be gone."""
        path = self.noted(recorded, began)
        if path.exists():
            return path
        if path not in self._lost:
            # Not here, nor under another name: it is where it was, or gone from there.
            self._lost[path] = _same_cells(run.notebook, path.parent) or self._followed(Path(recorded), began)
        return self._lost[path]

    def noted(self, recorded: str, began: float) -> Path:
        """Where it is as far as it was noted."""
        path = Path(recorded)
        if _beside_notebooks(self.home):
            path = self.home.folder.parent / path.name
        return self._followed(path, began)

    def folders(self) -> set[Path]:
        """Where notebooks that were moved from here are now."""
        return {self._followed(self._absolute(move.target), move.time).parent for move in self._moves}

    def _followed(self, path: Path, since: float) -> Path:
        for move in self._moves:
            if move.time > since:
                path = _moved(path, self._absolute(move.source), self._absolute(move.target))
        return path

    def _absolute(self, path: str) -> Path:
        return Path(os.path.normpath(self.home.folder / path))


def notebook_of(run: RunFolder) -> Path | None:
    """Where the notebook of a run is now; None if the run's log doesn't begin yet."""
    started = run.started
    return Notebooks(run.home).now(run, started.notebook, started.time) if started else None


def is_of(run: RunFolder, notebook: Path) -> bool:
    """True for a run of this notebook."""
    found = notebook_of(run)
    return found is not None and os.path.realpath(found) == os.path.realpath(notebook)


def record(old: Path, new: Path) -> None:
    """Note that a notebook, or a folder with notebooks, was renamed or moved: its earlier runs stay its runs.

    Nothing is written for what has no runs, nor where nothing can be written.
    """
    if old == new:
        return
    with contextlib.suppress(OSError, MlopsLabError):
        if new.is_dir():
            _record_folder(old, new)
            return
        there = Home.of(new.parent)
        for home in [home for home in Home.of(old.parent).all() if new.suffix == ".ipynb" and _has_runs_of(home, old)]:
            _note(home, old, new)
            _keep_last(home, there, old.stem, new.stem)
            _lead(there, home)


def _record_folder(old: Path, new: Path) -> None:
    """Runs beside their notebooks have gone along; those that have been parted know each other by their old places."""
    home = Home.of(new)
    if os.environ.get(HOME):
        _note(home, old, new)
        return
    for other in home.elsewhere():
        _note(other, old, new)
    for folder in Notebooks(home).folders():
        if folder.is_dir():
            _lead(Home.of(folder), home)


def _note(home: Home, old: Path, new: Path) -> None:
    source, target = (os.path.relpath(path, home.folder) for path in (old, new))
    _append(home, Move(time=time.time(), source=source, target=target))


def _lead(there: Home, home: Home) -> None:
    """Earlier runs of what is `there` now are found in this home."""
    if there != home:
        there.prepare()
        _append(there, Move(time=time.time(), runs=os.path.relpath(home.folder, there.folder)))


def _append(home: Home, move: Move) -> None:
    with open(home.folder / MOVED, "ab") as file:
        file.write(msgspec.json.encode(move) + b"\n")


def _has_runs_of(home: Home, notebook: Path) -> bool:
    known = Notebooks(home)
    return any((s := run.started) and known.noted(s.notebook, s.time) == notebook for run in home.list())


def _keep_last(old: Home, new: Home, stem: str, to: str) -> None:
    """How long its steps took, and why they ran: kept by the name of the notebook."""
    source, target = old.results / "last" / stem, new.results / "last" / to
    if source.is_dir() and not target.exists():
        shutil.copytree(source, target)


def _beside_notebooks(home: Home) -> bool:
    return not os.environ.get(HOME) and home.folder.name == ".mlops_lab"


def _moved(path: Path, source: Path, target: Path) -> Path:
    if path == source:
        return target
    return target / path.relative_to(source) if source in path.parents else path


# -- notebooks that are known by their cells ------------------------------------------------------------------------


class _Cell(msgspec.Struct):
    cell_type: str = ""
    id: str = ""
    source: str | list[str] = ""


class _Content(msgspec.Struct):
    cells: list[_Cell] = []


def _same_cells(ran: Path, folder: Path) -> Path | None:
    """The notebook in a folder that has most of the cells, at least half, of the one that was run."""
    ids, texts = _cells(ran)
    best, most = None, 0.5
    with contextlib.suppress(OSError):
        for path in [p for p in sorted(folder.glob("*.ipynb"))[:_MOST] if not _EXECUTED.search(p.name)]:
            other_ids, other_texts = _cells(path)
            share = max(len(ids & other_ids) / max(len(ids), 1), len(texts & other_texts) / max(len(texts), 1))
            if share > most or (share == most and best is None):
                best, most = path, share
    return best


def _cells(notebook: Path) -> tuple[frozenset[str], frozenset[str]]:
    """The ids and the texts of a notebook's code cells; old formats have no ids."""
    try:
        status = notebook.stat()
    except OSError:
        return frozenset(), frozenset()
    return _read(notebook, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=2000)
def _read(notebook: Path, _changed: int, _size: int) -> tuple[frozenset[str], frozenset[str]]:
    try:
        found = msgspec.json.decode(notebook.read_bytes(), type=_Content).cells
    except (OSError, msgspec.DecodeError):
        return frozenset(), frozenset()
    code = [cell for cell in found if cell.cell_type == "code"]
    texts = ("".join(cell.source).strip() for cell in code)
    return frozenset(cell.id for cell in code if cell.id), frozenset(text for text in texts if text)
