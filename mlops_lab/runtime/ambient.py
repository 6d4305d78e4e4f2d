"""State outside variables that one step leaves to the next: random generators, working folder, environment, options.

Each row of `STATES` can be read, set, and compared by the digest of its pickled form, like any variable. Steps that never
load the module a state belongs to neither read nor leave it.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cloudpickle

from . import shown
from .store import digest


class InputRefused(Exception):
    """A step needs what could not be passed on."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


# Set by Jupyter, by us, or by what runs around a kernel; never the notebook's own doing.
_FOREIGN_ENVIRONMENT = (
    "JPY_", "MLFLOW_", "MPLBACKEND", "PYDEVD_", "IPYKERNEL", "TERM", "COLUMNS", "LINES", "CLICOLOR", "PAGER", "GIT_PAGER",
    "KMP_", "OMP_", "MKL_", "OPENBLAS_", "FORCE_COLOR", "PYTHONHASHSEED", "_", "PWD", "OLDPWD", "JUPYTER", "LOKY",
)  # fmt: skip


@dataclass(frozen=True)
class State:
    """A row: the module that must be loaded for the state to exist, how to read it and how to set it."""

    module: str
    get: Callable[[], Any]
    set: Callable[[Any], None]
    random: bool = False
    lazy: bool = False  # not worth an import: set only where the step loads the module anyway
    roots: frozenset[str] = frozenset()  # modules whose import brings the state's module, without printing anything


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN_ENVIRONMENT)}


def _set_environment(wanted: dict[str, str]) -> None:
    for key in _environment().keys() - wanted.keys():
        del os.environ[key]
    os.environ.update(wanted)


def _get_mpl() -> Any:
    import matplotlib

    # The backend belongs to the process, not to the notebook.
    return {k: v for k, v in dict.items(matplotlib.rcParams) if k not in {"backend", "interactive", "backend_fallback"}}


def _set_mpl(wanted: Any) -> None:
    import matplotlib

    for key, value in wanted.items():
        dict.__setitem__(matplotlib.rcParams, key, value)


def _pandas_config() -> Any:
    from pandas._config import config

    return vars(config)["_global_config"]


def _set_pandas(wanted: Any, into: Any = None) -> None:
    into = _pandas_config() if into is None else into
    for key, value in wanted.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _set_pandas(value, into[key])
        else:
            into[key] = value


def _numpy() -> Any:
    return sys.modules["numpy"]


def _get_random() -> Any:
    import random

    return random.getstate()


def _set_random(state: Any) -> None:
    import random

    random.setstate(state)


step = ""  # the name of the step at hand
_left_open: list[tuple[int, str]] = []  # figures that earlier steps left open: number, step


def _open_figures() -> list[tuple[int, str]]:
    manager = sys.modules["matplotlib._pylab_helpers"].Gcf
    return [*_left_open, *((number, step) for number in manager.figs)]


def _expect_figures(left_open: list[tuple[int, str]]) -> None:
    """Refuse, once pyplot is asked for a current figure that only an earlier step has. Closing all figures ends that."""
    manager = sys.modules["matplotlib._pylab_helpers"].Gcf
    get_active, destroy_all = manager.get_active, manager.destroy_all
    _left_open[:] = left_open

    def active() -> Any:
        if not manager.figs and _left_open:
            raise InputRefused(
                f"ML206: pyplot's current figure is here one that step {_left_open[-1][1]!r} left open, and open figures can't "
                f"be passed on. Draw on a figure in the step that makes it, pass it on in variables (fig, ax), close it there, "
                f"or merge the two steps."
            )
        return get_active()

    def none_left() -> None:
        _left_open.clear()
        destroy_all()

    manager.get_active, manager.destroy_all = active, none_left


STATES: dict[str, State] = {
    "@random": State("random", _get_random, _set_random, random=True),
    "@numpy.random": State("numpy.random", lambda: _numpy().random.get_state(legacy=True),
                           lambda s: _numpy().random.set_state(s), random=True),
    "@torch.random": State("torch", lambda: bytes(sys.modules["torch"].get_rng_state().numpy()),
                           lambda s: sys.modules["torch"].set_rng_state(
                               sys.modules["torch"].frombuffer(bytearray(s), dtype=sys.modules["torch"].uint8)),
                           random=True, lazy=True),
    "@cwd": State("os", os.getcwd, os.chdir),
    "@environ": State("os", _environment, _set_environment),
    "@sys.path": State("sys", lambda: list(sys.path), lambda p: sys.path.__setitem__(slice(None), p)),
    "@matplotlib": State("matplotlib", _get_mpl, _set_mpl, roots=frozenset({"matplotlib", "seaborn"})),
    "@pandas": State("pandas", _pandas_config, _set_pandas, roots=frozenset({"pandas", "seaborn"})),
    "@numpy.print": State("numpy", lambda: _numpy().get_printoptions(), lambda o: _numpy().set_printoptions(**o),
                          roots=frozenset({"numpy", "pandas"})),
    "@numpy.err": State("numpy", lambda: _numpy().geterr(), lambda o: _numpy().seterr(**o),
                        roots=frozenset({"numpy", "pandas"})),
    "@pyplot": State("matplotlib.pyplot", _open_figures, _expect_figures, lazy=True),
    "@warnings": State("warnings", shown.get, shown.put),
}  # fmt: skip


def read(name: str) -> tuple[str, bytes] | None:
    """(digest, pickled state), or None where its module isn't loaded or the state can't be read."""
    state = STATES[name]
    if state.module not in sys.modules:
        return None
    sink = io.BytesIO()
    pickler = pickle.Pickler(sink, 5)
    pickler.fast = True  # without a memo: equal states give equal bytes, whichever of their strings are one object
    try:
        pickler.dump(state.get())
    except Exception:
        try:  # a function of the notebook as a setting, say
            data = cloudpickle.dumps(state.get(), 5)
        except Exception:  # a library that moved its settings: then this state is not carried
            return None
        return digest(data), data
    return digest(sink.getvalue()), sink.getvalue()


def write(name: str, data: bytes) -> None:
    """Set a state from its pickled form; its module is imported if it is not there yet."""
    __import__(STATES[name].module)
    STATES[name].set(pickle.loads(data))
