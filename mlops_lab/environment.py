"""The environment variables that a notebook's code names: what they are set to is part of what a cached result depends on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

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
