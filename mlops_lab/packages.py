"""Which distributions, in which versions, a notebook's imports come from, in the environment of its kernel."""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
from collections.abc import Collection, Iterable
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


@functools.lru_cache(maxsize=32)
def versions(roots: frozenset[str], python: str = sys.executable) -> dict[str, str]:
    """Distribution -> version for these modules; modules that no distribution claims (local ones) are left out."""
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
    for root in roots:
        try:  # most distributions are named like their module; looking at all of them is slow
            found[root] = metadata.version(root)
        except metadata.PackageNotFoundError:
            unknown.add(root)
    if unknown:
        for distribution in owners(unknown).values():
            found[distribution.metadata["Name"]] = distribution.version
    return found


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


_SCRIPT = (
    "import json, sys; from importlib import metadata as m; o = m.packages_distributions(); "
    "print(json.dumps({n: m.version(n) for r in json.loads(sys.argv[-1]) for n in o.get(r, ())[:1]}))"
)
