"""What travels from the notebook's folder: the local modules it imports and the data files that it is known to read.

Data comes from the plan's analysis; `source.py` packs it into the first component. What is too large is refused here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from mlops_lab.errors import UsageError
from mlops_lab.files import UNKNOWN
from mlops_lab.plan import Plan
from mlops_lab.targets.kubeflow.packing import compressed_size
from mlops_lab.targets.kubeflow.requirements import local_modules, named_by_modules, pipeline_trees

LIMIT = 22 * 1024  # bytes, compressed: what one argument of a program has room for besides the runtime
_HIDDEN = ("__pycache__", "node_modules")


def packed(plan: Plan) -> dict[str, tuple[int, bytes]]:
    """Relative path -> mode and content. Raises `UsageError` when it is too much to travel."""
    found: dict[str, tuple[int, bytes]] = {}
    for relative, path in sorted(local_files(plan).items()):
        size = path.stat().st_size
        if size > 64 * LIMIT or compressed_size(path.read_bytes()) > LIMIT:
            raise UsageError(_too_large(relative, size))
        found[relative] = (path.stat().st_mode & 0o777, path.read_bytes())
    total = _together(found)
    if total > LIMIT:
        largest = max(found, key=lambda name: compressed_size(found[name][1]))
        raise UsageError(
            f"The {len(found)} files that the notebook reads have {total / 1024:.0f} KB compressed, and {LIMIT // 1024} KB can "
            f"travel inside a pipeline. The largest is {largest}. {WAYS_OUT}"
        )
    return found | {name: (path.stat().st_mode & 0o777, path.read_bytes()) for name, path in _named_and_small(plan, found)}


def left_behind(plan: Plan) -> list[str]:
    """The files that only modules name, and that don't travel for their size: whether they are read is not known."""
    try:
        return sorted(_named(plan).keys() - packed(plan).keys())
    except UsageError:
        return []


def _named(plan: Plan) -> dict[str, Path]:
    folder = plan.pipeline.notebook.folder
    return named_by_modules(folder, local_modules(plan.pipeline.notebook, pipeline_trees(plan)).values())


def _named_and_small(plan: Plan, found: Mapping[str, tuple[int, bytes]]) -> Iterator[tuple[str, Path]]:
    """What modules name by a text, and what there is room for besides what is found."""
    room = LIMIT - _together(found)
    for name, path in _named(plan).items():
        size = compressed_size(path.read_bytes()) if name not in found and path.stat().st_size <= 64 * LIMIT else LIMIT
        if size < room:
            room -= size
            yield name, path


def _together(found: Mapping[str, tuple[int, bytes]]) -> int:
    return compressed_size(b"".join(content for _, content in found.values()))


WAYS_OUT = (
    "Put it on a volume (mlops_lab.kubeflow.volumes in the notebook's metadata) or into an object store, and read it from "
    "there by its path or URI (s3://..., gs://...), as a parameter of the pipeline; or build it into the image."
)


def _too_large(relative: str, size: int) -> str:
    return (
        f"{relative} ({size / 1e6:.1f} MB), which the notebook reads, is too large to travel inside the pipeline: "
        f"{LIMIT // 1024} KB compressed is the most. {WAYS_OUT}"
    )


def local_files(plan: Plan) -> dict[str, Path]:
    """Relative path -> file, of the modules and the data beside the notebook that the pipeline uses before it writes them."""
    notebook = plan.pipeline.notebook
    found = dict(local_modules(notebook, pipeline_trees(plan)))
    written: list[str] = []
    for cell in plan.cells:
        effects = plan.cell_effects[cell.number]
        for pattern in sorted(effects.reads_files | effects.mentions_files):
            if pattern in effects.writes_files and pattern not in effects.reads_files:
                continue
            for relative, path in _matching(notebook.folder, pattern):
                if not any(fnmatchcase(relative, other) for other in written):
                    found.setdefault(relative, path)
        written += [path for path in effects.writes_files if path != UNKNOWN]
    for pattern in notebook.settings.kubeflow.files:
        found.update(_matching(notebook.folder, pattern))
    return found


def _matching(folder: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """The files that a path of the analysis stands for; nothing for one outside the folder or one of which little is known."""
    if pattern == UNKNOWN or Path(pattern).is_absolute() or pattern.startswith("..") or not pattern.strip("*/."):
        return
    exact = folder / pattern
    if "*" not in pattern and exact.is_file():
        yield Path(pattern).as_posix(), exact
    elif "*" in pattern or exact.is_dir():
        wanted = pattern if "*" in pattern else f"{pattern.rstrip('/')}/*"
        start = folder / wanted.partition("*")[0].rpartition("/")[0]
        for path in sorted(_below(start)):
            relative = path.relative_to(folder).as_posix()
            if fnmatchcase(relative, wanted):
                yield relative, path


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _HIDDEN)
        for name in sorted(names):
            if not name.startswith(".") and not name.endswith(".ipynb"):
                yield Path(place, name)
