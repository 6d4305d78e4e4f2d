"""What a cached result depends on outside of the notebook's folder: environment variables that its code names, and what IPython
runs before the first cell."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

_ASKS = re.compile(r"environ|getenv|%env|\$|expandvars")
_NAMED = re.compile(r"""["'](\w+)["']|\$\{?(\w+)|%env[ \t]+(\w+)|["'][^"'\n]*%(\w+)%""")
_OF_THE_SHELL = frozenset({"_", "SHLVL", "COLUMNS", "LINES", "OLDPWD"})


def named(sources: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Name -> digest of the value, of the variables that are set and that these sources name; some are secrets."""
    names: set[str] = set()
    for source in sources:
        if _ASKS.search(source):
            names.update(*_NAMED.findall(source))
    known = names & environment.keys() - _OF_THE_SHELL
    return {name: hashlib.sha256(environment[name].encode(errors="surrogateescape")).hexdigest()[:16] for name in sorted(known)}


def startup(environment: Mapping[str, str]) -> str:
    """The digest of what every kernel runs first, files of IPython's profile and `PYTHONSTARTUP`; nothing if there are none."""
    profile = Path(environment.get("IPYTHONDIR") or "~/.ipython").expanduser() / "profile_default"
    found = sorted([*profile.glob("startup/*.py"), *profile.glob("startup/*.ipy"), *profile.glob("ipython*_config.*")])
    found += [Path(environment["PYTHONSTARTUP"])] if environment.get("PYTHONSTARTUP") else []
    read = [file.read_bytes() for file in found if file.is_file() and os.access(file, os.R_OK)]
    return hashlib.sha256(b"\n".join(read)).hexdigest()[:16] if read else ""
