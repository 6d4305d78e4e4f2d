"""Which distributions, in which versions, a notebook's imports come from, in the environment of its kernel."""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import re
import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import Distribution


def imported_roots(trees: Iterable[ast.AST]) -> frozenset[str]:
    """The top-level modules that some code imports, outside the standard library."""
    roots: set[str] = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                roots |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                roots.add(node.module.partition(".")[0])
    return frozenset(roots - sys.stdlib_module_names)


def versions(roots: frozenset[str], python: str = sys.executable) -> dict[str, str]:
    """Distribution -> version for these modules, and for all that these distributions require.

    Modules that no distribution claims (local ones) are left out.
    """
    places = map(Path, sys.path if python == sys.executable else ())
    return _versions(roots, python, tuple(place.stat().st_mtime_ns for place in places if place.is_dir()))


@functools.lru_cache(maxsize=32)
def _versions(roots: frozenset[str], python: str, installed: tuple[int, ...]) -> dict[str, str]:
    """`installed` changes when a distribution is installed or removed."""
    if not roots:
        return {}
    if python != sys.executable:
        code = _SCRIPT
        try:
            done = subprocess.run([python, "-c", code, json.dumps(sorted(roots))], capture_output=True, text=True, timeout=30)
            return dict(json.loads(done.stdout))
        except (OSError, ValueError, subprocess.SubprocessError):
            return {}
    from importlib import metadata

    found: dict[str, str] = {}
    unknown = set()
    for root in sorted(roots):
        try:  # most distributions are named like their module; looking at all of them is slow
            found[root] = metadata.version(root)
        except metadata.PackageNotFoundError:
            unknown.add(root)
    if unknown:
        for distribution in owners(unknown).values():
            found[distribution.metadata["Name"]] = distribution.version
    todo = list(found)
    for name in todo:  # grows
        for required in _required(name, installed):
            if required not in found:
                with contextlib.suppress(metadata.PackageNotFoundError):  # of another platform, or of an older Python
                    found[required] = metadata.version(required)
                    todo.append(required)
    return found


@functools.lru_cache(maxsize=1024)
def _required(name: str, installed: tuple[int, ...]) -> list[str]:
    """The distributions that one requires, those of its extras left out."""
    from importlib import metadata

    lines = metadata.requires(name) or []
    return [re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in lines if not re.search(r";.*\bextra\b", line)]


def owners(roots: Collection[str]) -> dict[str, Distribution]:
    """The installed distribution that each module comes from; `importlib.metadata` would parse every path of every one."""
    from importlib import metadata

    wanted = "|".join(map(re.escape, roots))
    line = re.compile(rf"^({wanted})(?:/[^,\n]*\.py|(?:\.[\w.-]+)?\.(?:py|so|pyd)),", re.MULTILINE)
    found: dict[str, Distribution] = {}
    for distribution in metadata.distributions():
        declared = (distribution.read_text("top_level.txt") or "").split()
        here = set(declared) & set(roots) if declared else set(line.findall(distribution.read_text("RECORD") or ""))
        for root in here:
            found.setdefault(root, distribution)
    return found


_SCRIPT = """
import json, re, sys
from importlib import metadata as m
owners = m.packages_distributions()
todo = [name for root in json.loads(sys.argv[-1]) for name in owners.get(root, ())[:1]]
found = {}
for name in todo:
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        continue
    for line in m.requires(name) or []:
        required = re.split(r"[^\\w.-]", line, maxsplit=1)[0].lower()
        if required not in todo and not re.search(r";.*\\bextra\\b", line):
            todo.append(required)
print(json.dumps(found))
"""
