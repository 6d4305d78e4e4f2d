"""What the notebook sets or registers with functions written in C, as `codecs.register_error`, `sqlite3.register_adapter` and
`pyarrow.set_cpu_count` are: nothing tells afterwards what was set. So these calls are noted, and made again in later steps.

A function of a package that has its counterpart (`set_level`, `get_level`) may keep what it sets anywhere. Such a call is made
again where the counterpart doesn't give in a later step what it gave before.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

from .ipython import is_plain
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
    "matplotlib",
    "mlflow",
}  # which are compared, in `ambient.py`
Call = tuple[tuple[Any, ...], dict[str, Any]]
_GIVES = "gives"  # marks, in place of arguments, what the counterpart gives

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
    told = isinstance(original, (types.FunctionType, types.MethodType)) and name not in _FUNCTIONS.get(module, ())
    if told and _counterpart(place) is None:
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


def _counterpart(place: str) -> Callable[[], Any] | None:
    """The function that gives what another one sets."""
    module, _, name = place.partition(":")
    if not name.startswith("set_"):
        return None
    for other in (f"get_{name[4:]}", name[4:]):
        found = getattr(sys.modules.get(module), other, None)
        if callable(found) and not isinstance(found, type):
            try:
                inspect.signature(found).bind()
            except (TypeError, ValueError):
                continue
            return found  # type: ignore[no-any-return]
    return None


def _given(place: str) -> list[Any]:
    """What the counterpart of a function gives now, if there is one and that is plain."""
    counterpart = _counterpart(place)
    try:
        value = counterpart() if counterpart is not None else ...
    except Exception:
        return []
    return [value] if is_plain(value) else []


def members() -> dict[str, list[Any]]:
    """`MODULE:FUNCTION` -> the calls, and what then is so."""
    return {place: [*calls, *((_GIVES, value) for value in _given(place))] for place, calls in _calls.items()}


def put(place: str, new: list[Any]) -> None:
    """Make them again."""
    module, _, name = place.partition(":")
    __import__(module)
    calls: list[Call] = [call for call in new if call[0] != _GIVES]
    is_so = any(_given(place) == [value] for mark, value in new if mark == _GIVES)
    for arguments, options in calls:
        if not is_so:
            getattr(sys.modules[module], name)(*arguments, **options)
        _note(place, (arguments, options))
