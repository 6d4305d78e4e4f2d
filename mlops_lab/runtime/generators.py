"""Which global random generators a step sets or looks at, even where their states stay the same.

A draw shows in the state that a step leaves. Reading the state does not, nor does seeding with what is there already; and
both make a difference once another step above draws.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

# State -> its module, and the functions that read or set it without drawing.
_FUNCTIONS = {
    "@random": ("random", ("getstate", "setstate", "seed")),
    "@numpy.random": ("numpy.random", ("get_state", "set_state", "seed")),
    "@torch.random": ("torch", ("get_rng_state", "set_rng_state", "manual_seed", "seed", "initial_seed")),
}


class GeneratorUse:
    """Watches the functions of the loaded modules, also under other names in a namespace."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.watching = False
        self._wrap({})  # before the inputs are loaded, some of which may be these functions

    def start(self, names: dict[str, Any]) -> None:
        """Begin to watch."""
        self._wrap(names)
        self.watching = True

    def _wrap(self, names: dict[str, Any]) -> None:
        for state, (module_name, functions) in _FUNCTIONS.items():
            module = sys.modules.get(module_name)
            for function in functions if module else ():
                real = getattr(module, function, None)
                if real is None:
                    continue
                real = getattr(real, "__wrapped__", real)
                wrapped = self._telling(state, real, module_name, function)
                setattr(module, function, wrapped)
                for name in [name for name, value in names.items() if value is real]:
                    names[name] = wrapped

    def stop(self) -> None:
        """Watch no longer. What was seen stays in `used`; the functions stay, since variables may hold them."""
        self.watching = False

    def _telling(self, state: str, real: Callable[..., Any], module: str, name: str) -> Callable[..., Any]:
        @functools.wraps(real)
        def wrapped(*args: Any, **options: Any) -> Any:
            if self.watching:
                self.used.add(state)
            return real(*args, **options)

        wrapped.__module__, wrapped.__qualname__ = module, name  # where pickle looks for it
        return wrapped
