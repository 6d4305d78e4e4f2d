"""Which files are the interpreter's, the system's and installed packages'; all others are the user's own."""

from __future__ import annotations

import functools
import os
import site
import sys
import sysconfig
from pathlib import Path

_SYSTEM = ("/proc", "/sys", "/dev", "/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/System", "/Library")
_FOLDERS_IN_ENVIRONMENT = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "MPLCONFIGDIR", "IPYTHONDIR",
                           "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "PYTHONPYCACHEPREFIX")  # fmt: skip


@functools.cache
def places() -> tuple[str, ...]:
    """Their folders, each with a separator at its end, and hidden ones of the user."""
    home = os.path.expanduser("~")
    known = {os.path.dirname(__file__), sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values(),
             *site.getsitepackages(), site.getusersitepackages(), *_SYSTEM,
             *filter(None, map(os.environ.get, _FOLDERS_IN_ENVIRONMENT))}  # fmt: skip
    every = {os.path.join(os.path.realpath(p), "") for p in known} | {os.path.join(p, "") for p in known}
    hidden = () if home in {"/", ""} else (os.path.join(home, "."), os.path.join(os.path.realpath(home), "."))
    return tuple(sorted((every - {os.sep}) | set(hidden)))


@functools.lru_cache(100_000)
def is_own(path: str, folder: str) -> bool:
    """True for a source file that lies in the notebook's folder, or where nothing is installed: in a folder on `sys.path`, or
    in the one of an editable install."""
    if not path.endswith(".py"):
        return False
    base = os.path.realpath(folder) + os.sep
    inside = path.startswith((base, folder))
    if not inside and path.startswith(places()):  # before anything slow: there are thousands of modules
        return False
    path = os.path.realpath(path)
    if path.startswith(base):
        below = path[len(base) :]
        return "site-packages" not in below and not below.startswith(".")
    return "site-packages" not in path and not path.startswith(places()) and not any(map(_has_installed, _on_path(path)))


def _on_path(file: str) -> list[str]:
    """The folders on `sys.path` that a file lies in."""
    known = {os.path.realpath(folder) for folder in sys.path if isinstance(folder, str)}
    return [folder for folder in map(str, Path(file).parents) if folder in known]


@functools.lru_cache(1000)
def _has_installed(folder: str) -> bool:
    """True for a folder that pip has installed something into (`--target`)."""
    try:
        return any(name.endswith(".dist-info") for name in os.listdir(folder))
    except OSError:
        return False
