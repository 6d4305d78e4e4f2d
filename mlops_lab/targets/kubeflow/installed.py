"""What is installed where a notebook's kernel runs: the distribution of each module, and where pip could get it from.

`of_kernel` asks the kernel's own interpreter. Where that is another one than ours it runs this file as a program: its source is
given to it, and the modules on its standard input. Standard library only, therefore.
"""

import functools
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_SECONDS = 60.0


@dataclass(frozen=True)
class Module:
    """A module that is there: its distribution (or nothing) with version, the file; `origin` as PEP 610 has it."""

    distribution: str = ""
    version: str = ""
    file: str = ""
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def unobtainable(self) -> str:
        """Why pip can't get the distribution from an index or a repository, or nothing."""
        if self.origin.get("dir_info", {}).get("editable"):
            return "is an editable install of a folder of this machine"
        if str(self.origin.get("url", "")).startswith("file:"):
            return "was installed from a file of this machine"
        return ""

    @property
    def pin(self) -> str:
        """The requirement that gives this version."""
        if "vcs_info" in self.origin:
            vcs = self.origin["vcs_info"]
            return f"{self.distribution} @ {vcs['vcs']}+{self.origin['url']}@{vcs['commit_id']}"
        return f"{self.distribution}=={self.version}"


def of_kernel(kernel: str, names: frozenset[str]) -> dict[str, Module]:
    """The modules among these that are there for a kernel; ours where it is not installed here."""
    python = python_of(kernel)
    other = (str(place) for place in Path(python).parent.parent.glob("lib/python*/site-packages"))
    places = map(Path, sys.path if python == sys.executable else other)
    return _asked(python, names, tuple(place.stat().st_mtime for place in places if place.is_dir()))


@functools.lru_cache(maxsize=64)
def _asked(python: str, names: frozenset[str], stamp: tuple[float, ...]) -> dict[str, Module]:
    """Asked again once something was installed there, which `stamp` tells."""
    if python == sys.executable:
        return {name: Module(**found) for name, found in look(names).items()}
    try:
        command = [python, "-c", Path(__file__).read_text(encoding="utf-8")]
        done = subprocess.run(command, input=json.dumps(sorted(names)), capture_output=True, text=True, timeout=_SECONDS,
                              check=True, cwd=Path(python).parent)  # fmt: skip
        return {name: Module(**found) for name, found in json.loads(done.stdout.splitlines()[-1]).items()}
    except (OSError, ValueError, LookupError, subprocess.SubprocessError):
        return {name: Module(**found) for name, found in look(names).items()}


def python_of(kernel: str) -> str:
    """The kernel's interpreter; ours where it is not installed here."""
    from mlops_lab.errors import UsageError
    from mlops_lab.targets.kernels import kernel_python

    try:
        return kernel_python(kernel)
    except UsageError:
        return sys.executable


def look(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What is here of these modules."""
    owners: dict[str, metadata.Distribution] = {}
    looked = False
    found = {}
    for name in sorted(names):
        try:
            spec = find_spec(name)
        except (ImportError, ValueError):
            spec = None
        if spec is None or name in sys.builtin_module_names:
            continue
        places = [*(spec.submodule_search_locations or ()), spec.origin or ""]
        distribution = _named(name)
        if distribution is None and not looked:  # looking at all of them is slow
            owners, looked = _owners(names), True
        distribution = distribution or owners.get(name) or _editable(places)
        row: dict[str, Any] = {"file": spec.origin or next(iter(places), "")}
        if distribution is not None:
            row |= {
                "distribution": distribution.metadata["Name"],
                "version": distribution.version,
                "origin": _origin(distribution),
            }
        found[name] = row
    return found


def _named(module: str) -> "metadata.Distribution | None":
    """The distribution that is named like its module, if it has it."""
    try:
        found = metadata.distribution(module)
    except metadata.PackageNotFoundError:
        return None
    return found if module in _has(found, [module]) else None


def _owners(names: Iterable[str]) -> "dict[str, metadata.Distribution]":
    """The distribution that each module comes from; `importlib.metadata` would parse every path of every one."""
    found: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        for name in _has(distribution, names):
            found.setdefault(name, distribution)
    return found


def _has(distribution: metadata.Distribution, names: Iterable[str]) -> list[str]:
    """Which of these modules a distribution has."""
    declared = (distribution.read_text("top_level.txt") or "").split()
    if declared:
        return [name for name in names if name in declared]
    record = "\n" + (distribution.read_text("RECORD") or "")
    return [name for name in names if f"\n{name}/" in record or f"\n{name}." in record]


def _editable(places: list[str]) -> "metadata.Distribution | None":
    """The distribution whose folder has the module; an editable one doesn't list its modules."""
    for distribution in metadata.distributions():
        url = str(_origin(distribution).get("url", ""))
        folder = url.removeprefix("file://")
        if folder != url and any(place.startswith(f"{folder.rstrip('/')}/") for place in places):
            return distribution
    return None


def _origin(distribution: metadata.Distribution) -> dict[str, Any]:
    """Where a distribution was installed from, if not from an index (PEP 610)."""
    try:
        text = distribution.read_text("direct_url.json")
        return dict(json.loads(text)) if text else {}
    except ValueError:
        return {}


if __name__ == "__main__":
    print(json.dumps(look(json.load(sys.stdin))))  # noqa: T201
