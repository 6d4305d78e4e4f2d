"""State outside variables that one step leaves to the next: random generators, working folder, environment, options.

Each row of `STATES` can be read, set, and compared by the digest of its pickled form, like any variable. Steps that never
load the module a state belongs to neither read nor leave it.
"""

from __future__ import annotations

import contextlib
import decimal
import functools
import importlib
import io
import locale
import os
import pickle
import re
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cloudpickle

from . import books, counters, duck, ipython, logs, ofprocess, polarseed, reloaded, session, shown, unflushed
from .memory import InputRefused as InputRefused
from .store import digest

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


def _environment() -> dict[str, str | None]:
    """The variables that are the notebook's; None for one that it has removed from what a container gives each step anew."""
    given = _given()
    gone = dict.fromkeys(key for key in given if key not in os.environ and not key.startswith(_FOREIGN_ENVIRONMENT))
    now = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN_ENVIRONMENT) and given.get(k) != v}
    return {**gone, **now}


@functools.cache
def _given() -> dict[str, str]:
    """The environment that a container was started with: secrets and names of pods are not passed on. Elsewhere nothing."""
    if "MLOPS_LAB_REMOTE" not in os.environ:
        return {}
    with open("/proc/self/environ", "rb") as file:
        rows = [row.partition(b"=") for row in file.read().split(b"\0") if row]
    return {os.fsdecode(key): os.fsdecode(value) for key, _, value in rows}


def _set_environment(wanted: dict[str, str | None]) -> None:
    for key in _environment().keys() - wanted.keys():
        if key in _given():
            os.environ[key] = _given()[key]
        else:
            del os.environ[key]
    for key, value in wanted.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value


def _get_mpl() -> Any:
    import matplotlib

    # The backend belongs to the process, not to the notebook. Whether pyplot is interactive changes as a backend is loaded.
    found = {k: v for k, v in dict.items(matplotlib.rcParams) if k not in {"backend", "interactive", "backend_fallback"}}
    if _interactive:
        found[_INTERACTIVE] = matplotlib.is_interactive(), _has_backend()
    return found


_INTERACTIVE = "mlops_lab.interactive"
_interactive = False  # whether the notebook's code asks for that, or changes it


def _has_backend() -> bool:
    return getattr(sys.modules.get("matplotlib.pyplot"), "_backend_mod", None) is not None


def _set_mpl(wanted: Any) -> None:
    import matplotlib

    interactive, loaded = wanted.pop(_INTERACTIVE, (None, False))
    if loaded and not _has_backend():
        pyplot = importlib.import_module("matplotlib.pyplot")
        pyplot.switch_backend(pyplot.get_backend())
    if interactive is not None:
        matplotlib.interactive(interactive)
    for key, value in wanted.items():
        dict.__setitem__(matplotlib.rcParams, key, value)
    if wanted.get("image.cmap") not in matplotlib.colormaps:  # seaborn's own, which it registers when it is imported
        with contextlib.suppress(ImportError):
            importlib.import_module("seaborn")


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


# -- warning filters, the decimal context ---------------------------------------------------------

_Filter = tuple[Any, ...]  # a warning filter by names and texts
_folder = os.sep  # the notebook's
_filters: set[_Filter] = set()  # there before the step's inputs and cells: Python's, the kernel's, those of replayed imports
_passed_on: set[_Filter] = set()  # left by earlier steps
_imported_filters: set[_Filter] = set()  # what a package sets when it is imported is set wherever it is imported


def watch(folder: str, code: str) -> None:
    """Take what is set now as given, and tell what the notebook sets from now on from what imports of packages set."""
    global _flags, _folder, _interactive
    _flags = bool(session.ABOUT_FLAGS.search(code))
    polarseed.watch(code)
    _interactive = bool(re.search(r"interactive|\bio(n|ff)\(", code))
    _folder = os.path.realpath(folder) + os.sep
    for known in (_filters, _passed_on, _imported_filters):
        known.clear()
    _filters.update(map(_filter_row, warnings.filters))
    add_filter: Any = getattr(warnings, "_add_filter", None)
    if add_filter is not None and add_filter.__module__ != __name__:

        def _add_filter(*item: Any, **options: Any) -> None:
            add_filter(*item, **options)
            if _importing():
                _imported_filters.add(_filter_row(item))

        warnings._add_filter = _add_filter  # type: ignore[attr-defined]
    logs.watch(_importing, "propagate" in code)
    ofprocess.watch()


def _importing() -> bool:
    """True within the import of a package; one of a module beside the notebook is the notebook's own doing."""
    frame = sys._getframe(2)
    below = ""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return "site-packages" in below or not os.path.realpath(below).startswith(_folder)
        below = frame.f_code.co_filename
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _filter_row(item: Any) -> _Filter:
    action, message, category, module, line = item
    texts = [(t.pattern, t.flags) if isinstance(t, re.Pattern) else t for t in (message, module)]
    return action, texts[0], category.__module__, category.__qualname__, texts[1], line


def _filter_of(row: _Filter) -> Any:
    """The filter; None for a category that isn't here, so that nothing can be of it."""
    action, message, home, name, module, line = row
    try:
        category: Any = sys.modules[home] if home == "__main__" else importlib.import_module(home)
        for part in name.split("."):
            category = getattr(category, part)
    except (ImportError, AttributeError):
        return None
    texts = [re.compile(*t) if isinstance(t, tuple) else t for t in (message, module)]
    return action, texts[0], category, texts[1], line


def _get_filters() -> tuple[list[_Filter], list[_Filter]]:
    """The filters, and those that were there and are gone."""
    now = [_filter_row(item) for item in warnings.filters]
    gone = sorted((_filters | _passed_on).difference(now), key=repr)
    return [row for row in now if row not in _imported_filters or row in _filters], gone


def _set_filters(wanted: tuple[list[_Filter], list[_Filter]]) -> None:
    rows, gone = wanted
    now = {_filter_row(item): item for item in warnings.filters}
    own = [row for row in now if row in _filters | _imported_filters and row not in rows and row not in gone]
    _passed_on.update(rows, gone)
    if [*own, *rows] == list(now):
        return  # Python shows warnings anew once the filters are touched
    items: list[Any] = [now.get(row) or _filter_of(row) for row in (*own, *rows)]
    warnings.resetwarnings()
    warnings.filters[:] = [item for item in items if item is not None]  # type: ignore[index]


def _set_locale(wanted: str) -> None:
    locale.setlocale(locale.LC_ALL, wanted)


def _get_torch() -> tuple[str, bool, bool]:
    torch = sys.modules["torch"]
    return str(torch.get_default_dtype()).removeprefix("torch."), torch.is_grad_enabled(), torch.is_anomaly_enabled()


def _set_torch(wanted: tuple[str, bool, bool]) -> None:
    torch = sys.modules["torch"]
    torch.set_default_dtype(getattr(torch, wanted[0]))
    torch.set_grad_enabled(wanted[1])
    if torch.is_anomaly_enabled() != wanted[2]:
        torch.autograd.set_detect_anomaly(wanted[2])


_DIALECT = ("delimiter", "doublequote", "escapechar", "lineterminator", "quotechar", "quoting", "skipinitialspace", "strict")


def _get_csv() -> tuple[dict[str, dict[str, Any]], int]:
    import csv

    return _dialects(), csv.field_size_limit()


def _dialects() -> dict[str, dict[str, Any]]:
    import csv

    return {name: {part: getattr(csv.get_dialect(name), part) for part in _DIALECT} for name in sorted(csv.list_dialects())}


def _set_csv(wanted: tuple[dict[str, dict[str, Any]], int]) -> None:
    import csv

    dialects, limit = wanted
    csv.field_size_limit(limit)
    for name in set(csv.list_dialects()) - set(dialects):
        csv.unregister_dialect(name)
    for name, parts in dialects.items():
        csv.register_dialect(name, **parts)


_DECIMAL = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
_flags = False  # whether the notebook's code looks at the flags of a context, which any inexact result sets


def _contexts() -> list[decimal.Context]:
    """The present one, and those that others are copied from, as that of each new thread is."""
    return [decimal.getcontext(), decimal.DefaultContext, decimal.BasicContext, decimal.ExtendedContext]


def _get_decimal() -> list[tuple[dict[str, Any], list[str], list[str] | None]]:
    return [
        (
            {name: getattr(context, name) for name in _DECIMAL},
            sorted(signal.__name__ for signal, on in context.traps.items() if on),
            sorted(signal.__name__ for signal, on in context.flags.items() if on) if _flags else None,
        )
        for context in _contexts()
    ]


def _set_decimal(wanted: list[tuple[dict[str, Any], list[str], list[str] | None]]) -> None:
    for context, (parts, traps, flags) in zip(_contexts(), wanted, strict=True):
        for name, value in parts.items():
            setattr(context, name, value)
        for signal in context.traps:
            context.traps[signal] = signal.__name__ in traps
        for signal in context.flags if _flags else ():
            context.flags[signal] = signal.__name__ in (flags or ())


STATES: dict[str, State] = {
    "@random": State("random", _get_random, _set_random, random=True),
    "@numpy.random": State("numpy.random", lambda: sys.modules["numpy.random"].get_state(legacy=True),
                           lambda s: _numpy().random.set_state(s), random=True),
    "@torch.random": State("torch", lambda: bytes(sys.modules["torch"].get_rng_state().numpy()),
                           lambda s: sys.modules["torch"].set_rng_state(
                               sys.modules["torch"].frombuffer(bytearray(s), dtype=sys.modules["torch"].uint8)),
                           random=True, lazy=True),
    "@ipython": State("IPython", ipython.get, ipython.put),  # before NumPy's print options, which it may set
    "@cwd": State("os", os.getcwd, os.chdir),
    "@environ": State("os", _environment, _set_environment),
    "@sys.path": State("sys", lambda: list(sys.path), lambda p: sys.path.__setitem__(slice(None), p)),
    "@matplotlib": State("matplotlib", _get_mpl, _set_mpl, roots=frozenset({"matplotlib", "seaborn"})),
    "@pandas": State("pandas", _pandas_config, _set_pandas, roots=frozenset({"pandas", "seaborn"})),
    "@numpy.print": State("numpy", lambda: _numpy().get_printoptions(), lambda o: _numpy().set_printoptions(**o),
                          roots=frozenset({"numpy", "pandas"})),
    "@numpy.err": State("numpy", lambda: _numpy().geterr(), lambda o: _numpy().seterr(**o),
                        roots=frozenset({"numpy", "pandas"})),
    "@numpy.buffer": State("numpy", lambda: _numpy().getbufsize(), lambda size: _numpy().setbufsize(size),
                           roots=frozenset({"numpy", "pandas"})),
    "@pyplot": State("matplotlib.pyplot", _open_figures, _expect_figures, lazy=True),
    "@logging": State("logging", logs.get, lambda wanted: logs.put(wanted, InputRefused)),
    "@sklearn": State("sklearn", lambda: sys.modules["sklearn"].get_config(), lambda c: sys.modules["sklearn"].set_config(**c),
                      lazy=True, roots=frozenset({"sklearn"})),
    "@torch": State("torch", _get_torch, _set_torch, lazy=True, roots=frozenset({"torch"})),
    "@duckdb": State("duckdb", duck.get, duck.put, lazy=True, roots=frozenset({"duckdb"})),
    "@polars": State("polars", lambda: sys.modules["polars"].Config.save(), lambda c: sys.modules["polars"].Config.load(c),
                     lazy=True, roots=frozenset({"polars"})),
    "@polars.random": State("polars", polarseed.get, polarseed.put, lazy=True, roots=frozenset({"polars"})),
    "@locale": State("locale", lambda: locale.setlocale(locale.LC_ALL), _set_locale),
    "@timezone": State("time", lambda: time.tzname, lambda _: time.tzset()),  # after the environment, which tells it
    "@calendar": State("calendar", lambda: sys.modules["calendar"].firstweekday(),
                       lambda day: sys.modules["calendar"].setfirstweekday(day)),
    "@csv": State("csv", _get_csv, _set_csv),
    "@digits": State("sys", sys.get_int_max_str_digits, sys.set_int_max_str_digits),
    "@sockets": State("socket", lambda: sys.modules["socket"].getdefaulttimeout(),
                      lambda seconds: sys.modules["socket"].setdefaulttimeout(seconds)),
    "@gc": State("gc", lambda: sys.modules["gc"].isenabled(),
                 lambda on: sys.modules["gc"].enable() if on else sys.modules["gc"].disable()),
    "@recursionlimit": State("sys", sys.getrecursionlimit, sys.setrecursionlimit),
    "@process": State("os", ofprocess.get, ofprocess.put),
    "@pushd": State("IPython", ipython.get_pushed, ipython.put_pushed),
    "@aliases": State("IPython", ipython.get_aliases, ipython.put_aliases),
    "@decimal": State("decimal", _get_decimal, _set_decimal),
    "@mlflow": State("mlflow", books.get, books.put, lazy=True, roots=frozenset({"mlflow"})),
    "@unflushed": State("io", unflushed.get, unflushed.put),
    "@modules": State("importlib", reloaded.get, reloaded.put),
    "@counters": State("sys", counters.get, counters.put),
    "@warnings.filters": State("warnings", _get_filters, _set_filters),  # before those shown, which a change of it forgets
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
