"""What the notebook sets or registers with functions written in C, as `codecs.register_error`, `sqlite3.register_adapter` and
`pyarrow.set_cpu_count` are: nothing tells afterwards what was set. So these calls are noted, and made again in later steps.
"""

from __future__ import annotations

import functools
import re
import sys
import types
from collections.abc import Iterable
from typing import Any

from .postponed import Postponed

# Those of any package are known by what they are called; these are not, or are not seen to be of C.
_FUNCTIONS = {
    "codecs": ("register", "register_error", "unregister"),
    "sys": ("addaudithook",),
    "sqlite3": ("register_adapter", "register_converter"),
    "copyreg": ("add_extension",),
    "xgboost": ("set_config",),
    "torch": ("set_flush_denormal", "set_float32_matmul_precision", "set_default_device", "set_deterministic_debug_mode"),
}
_SETS = re.compile(r"(?!.*(?:seed|rng|state))(?:set|(?:un)?register|enable|disable|install)(?:[A-Z_]\w*)?", re.IGNORECASE)
_OF_STATES = {
    "sys",
    "gc",
    "os",
    "locale",
    "random",
    "signal",
    "threading",
    "numpy",
    "logging",
    "warnings",
    "faulthandler",
    "tracemalloc",
}  # which are compared, in `ambient.py`
Call = tuple[tuple[Any, ...], dict[str, Any]]

_calls: dict[str, list[Call]] = {}  # MODULE:FUNCTION -> what the notebook called it with
_wrapped: set[str] = set()


def watch(code: str, called: Iterable[str]) -> None:
    """Note such calls from now on; `called` are the functions (`MODULE.NAME`) that the code calls without use of the result."""
    _calls.clear()
    named = {f"{module}:{name}" for module, names in _FUNCTIONS.items() for name in names if re.search(rf"\b{name}\b", code)}
    for place in called:
        module, _, name = place.rpartition(".")
        if _SETS.fullmatch(name) and module.partition(".")[0] not in _OF_STATES:
            named.add(f"{module}:{name}")
    for place in named - _wrapped:
        module = place.partition(":")[0]
        if module in sys.modules:
            _wrap(place)
        elif module:
            Postponed([((module,), place)], _wrap)


def _wrap(place: str) -> None:
    module, _, name = place.partition(":")
    original = getattr(sys.modules[module], name, None)
    if not callable(original) or isinstance(original, type) or place in _wrapped:
        return
    if isinstance(original, (types.FunctionType, types.MethodType)) and name not in _FUNCTIONS.get(module, ()):
        return  # its code tells what it sets (`called.py`)
    _wrapped.add(place)

    def noting(*arguments: Any, **options: Any) -> Any:
        made = original(*arguments, **options)
        if sys._getframe(1).f_globals.get("__name__") == "__main__":
            _note(place, (arguments, options))
        return made

    rebind(module, name, original, noting)


def rebind(module: str, name: str, original: Any, wrapped: Any) -> None:
    """Put a function in place of a package's, also where the notebook has imported that by name."""
    functools.update_wrapper(wrapped, original)
    setattr(sys.modules[module], name, wrapped)
    space = vars(sys.modules["__main__"])
    for known in [known for known, held in list(space.items()) if held is original]:
        space[known] = wrapped


def _note(place: str, call: Call) -> None:
    known = _calls.setdefault(place, [])
    known[:] = [*(other for other in known if other[0][:1] != call[0][:1]), call]


def members() -> dict[str, list[Call]]:
    """`MODULE:FUNCTION` -> the calls."""
    return {place: list(calls) for place, calls in _calls.items()}


def put(place: str, calls: list[Call]) -> None:
    """Make them again."""
    module, _, name = place.partition(":")
    __import__(module)
    for arguments, options in calls:
        getattr(sys.modules[module], name)(*arguments, **options)
        _note(place, (arguments, options))
