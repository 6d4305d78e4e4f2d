"""Objects of packages that pickle would bring back as something else, or not at all: what they are taken apart into.

Each function here is one row of `REDUCERS`, by the type's module and name; it returns what `__reduce__` returns,
`NotImplemented` where the object's own way is right, or raises `Refused`.
"""

from __future__ import annotations

import copyreg
import functools
import gc
import itertools
import operator
import os
import sys
import tempfile
import types
from collections.abc import Callable
from typing import Any

from . import caches, drawings, formulas, frames, instances, lazyframes, notifying, opened, standard, tensors
from .memory import Refused, name_of

# -- functools -----------------------------------------------------------------------------------------------------


def _update(value: Any, attributes: dict[str, Any]) -> Any:
    value.__dict__.update(attributes)
    return value


def _cached_property(value: Any, _: Any) -> Any:
    attributes = {k: v for k, v in value.__dict__.items() if k != "lock"}  # Python 3.11 has one
    return _make_cached_property, (), attributes, None, None, _update


def _make_cached_property() -> Any:
    return functools.cached_property(repr)  # any function: its own comes with the attributes


def _generic_method(value: Any, _: Any) -> Any:
    attributes = {k: v for k, v in value.__dict__.items() if k != "_method_cache"}  # Python 3.13 has one, of instances
    return _make_generic_method, (), attributes, None, None, _update


def _make_generic_method() -> Any:
    return functools.singledispatchmethod(repr)


def is_generic_function(value: Any) -> bool:
    """True for a function that functools.singledispatch made."""
    return value.__code__ is _DISPATCHER and isinstance(getattr(value, "registry", None), types.MappingProxyType)


def reduce_generic_function(value: Any) -> Any:
    """The function itself, then its implementations in the order of their registration."""
    attributes = {k: v for k, v in value.__dict__.items() if k not in vars(_generic)}
    return _make_generic, (value.registry[object],), (list(value.registry.items()), attributes), None, None, _register


@functools.singledispatch
def _generic(value: Any) -> None:
    """Shows what all generic functions have."""


_DISPATCHER = _generic.__code__  # type: ignore[attr-defined]


def _make_generic(function: Any) -> Any:
    return functools.singledispatch(function)


def _register(value: Any, state: tuple[list[tuple[type, Any]], dict[str, Any]]) -> Any:
    for kind, implementation in state[0]:
        value.register(kind, implementation)
    value.__dict__.update(state[1])
    return value


# -- views and iterators of dictionaries ---------------------------------------------------------------------------


def _dictionary_view(value: Any, _: Any) -> Any:
    """A view (`d.keys()`, a mapping proxy) of the very dictionary, which may change; cloudpickle would copy it."""
    shown = gc.get_referents(value)
    if len(shown) != 1 or not isinstance(shown[0], dict):
        return NotImplemented
    if "__doc__" in shown[0]:  # what a class has is such a proxy, too
        owners = (getattr(held, "__objclass__", None) for held in shown[0].values())
        owner = next((kind for kind in owners if isinstance(kind, type) and vars(kind) == value), None)
        if owner is not None:
            return vars, (owner,)
        if "__module__" in shown[0]:
            raise Refused("it shows what a class has, and nothing tells which")
    return _make_dictionary_view, (shown[0], type(value).__name__.rpartition("_")[2])


def _make_dictionary_view(shown: dict[Any, Any], kind: str) -> Any:
    return types.MappingProxyType(shown) if kind == "mappingproxy" else getattr(shown, kind)()


def _iterator(value: Any, _: Any) -> Any:
    """An iterator of the very dictionary or set, which may change; pickle would make one of a list."""
    over = next((held for held in gc.get_referents(value) if isinstance(held, (dict, set, frozenset))), None)
    if over is None:  # it is at its end
        return NotImplemented
    return _iterate, (over, type(value).__name__, len(over) - operator.length_hint(value))


def _iterate(over: Any, kind: str, done: int) -> Any:
    made = iter(over.items() if "item" in kind else over.values() if "value" in kind else over)
    for _ in range(done):
        next(made)
    return made


# -- NumPy ---------------------------------------------------------------------------------------------------------


def _memmap(value: Any, _: Any) -> Any:
    if getattr(value, "mode", None) in ("r+", "w+"):
        raise Refused(f"what is written to it goes to the file {value.filename!r}")
    return NotImplemented


def _masked(value: Any, _: Any) -> Any:
    """With what numpy.ma leaves out: whether the mask is hard, or shared, and notes."""
    maker, arguments, state = value.__reduce__()
    rest = {name: value.__dict__[name] for name in ("_hardmask", "_sharedmask", "_optinfo") if name in value.__dict__}
    return maker, arguments, (state, rest), None, None, _set_masked


def _set_masked(value: Any, state: tuple[Any, dict[str, Any]]) -> Any:
    value.__setstate__(state[0])
    value.__dict__.update(state[1])
    return value


def _limits(value: Any, _: Any) -> Any:
    return type(value), (value.dtype,)


# -- XGBoost --------------------------------------------------------------------------------------------------------


def _xgboost_data(value: Any, _: Any) -> Any:
    """As XGBoost itself writes it to a file; only it knows its memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "data")
        value.save_binary(path)
        with open(path, "rb") as file:
            content = file.read()
    rest = {name: held for name, held in sorted(value.__dict__.items()) if name != "handle"}
    return _make_xgboost_data, (type(value), content), rest, None, None, _update


def _make_xgboost_data(kind: Any, content: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "data")
        with open(path, "wb") as file:
            file.write(content)
        return kind(path)


# -- Arrow ---------------------------------------------------------------------------------------------------------


def _arrow_buffer(value: Any, packer: Any) -> Any:
    """Slices and columns have handles of their own on one buffer: it is stored once."""
    name = name_of(value)
    first = packer.internal.setdefault(name, value)
    return packer.views.get(name, NotImplemented) if first is value else (_itself, (first,))


def _arrow_array(value: Any) -> Any:
    """With the bitmap of what is missing where nothing is: told that, Arrow leaves it out, and `memory_usage` counts it."""
    made, (data,) = value.__reduce__()
    kind, length, _, *rest = data
    return (made, ((kind, length, -1, *rest),)) if rest[1] and rest[1][0] is not None else (made, (data,))


def _arrow_column(value: Any, _: Any) -> Any:
    """In the chunks that it has: pandas would join them, and leave out what Arrow does."""
    return copyreg.__newobj__, (type(value),), dict(vars(value)), None, None, _update  # type: ignore[attr-defined]


def _itself(value: Any) -> Any:
    return value


# -- matplotlib ----------------------------------------------------------------------------------------------------


def _callbacks(value: Any, _: Any) -> Any:
    """Its own way counts on each time, so that a figure would never look unchanged."""
    state = value.__getstate__()
    value._cid_gen = itertools.count(state["_cid_gen"])
    return copyreg.__newobj__, (type(value),), state  # type: ignore[attr-defined]


REDUCERS: dict[tuple[str, str], Callable[[Any, Any], Any]] = {
    ("functools", "_lru_cache_wrapper"): caches.reduce,
    ("functools", "cached_property"): _cached_property,
    ("functools", "singledispatchmethod"): _generic_method,
    **{("builtins", f"{kind}_{part}"): _dictionary_view for kind in ("dict", "odict") for part in ("keys", "values", "items")},
    ("builtins", "mappingproxy"): _dictionary_view,
    **{("builtins", f"{kind}iterator"): _iterator for kind in ("dict_key", "dict_value", "dict_item", "set_")},
    ("re", "Match"): standard.match,
    ("concurrent.futures._base", "Future"): standard.future,
    **{("queue", kind): standard.queue for kind in ("Queue", "LifoQueue", "PriorityQueue")},
    ("_contextvars", "ContextVar"): standard.context_variable,
    ("builtins", "module"): standard.module,
    ("unittest.mock", "_patch"): standard.patch,
    ("zipfile", "ZipFile"): opened.archive,
    ("tempfile", "_TemporaryFileWrapper"): opened.temporary,
    ("argparse", "_HelpAction"): standard.help_action,
    ("weakref", "ReferenceType"): standard.reference,
    ("weakref", "WeakKeyDictionary"): standard.collection,
    ("weakref", "WeakValueDictionary"): standard.collection,
    ("_weakrefset", "WeakSet"): standard.collection,
    ("numpy", "memmap"): _memmap,
    ("numpy", "finfo"): _limits,
    ("numpy.ma", "MaskedArray"): _masked,
    ("numpy.ma.core", "MaskedArray"): _masked,
    ("pandas._libs.internals", "BlockValuesRefs"): frames.block_references,
    ("pandas.core.internals.managers", "SingleBlockManager"): frames.single_manager,
    ("torch.storage", "TypedStorage"): tensors.typed_storage,
    ("torch.storage", "UntypedStorage"): tensors.storage,
    ("matplotlib.cbook", "CallbackRegistry"): _callbacks,
    **dict.fromkeys(lazyframes.KINDS, lazyframes.reduce),
    **dict.fromkeys(notifying.CONTAINERS, notifying.reduce_container),
    **{("pint", kind): instances.reduce_bare for kind in ("Quantity", "Unit", "Measurement")},  # of their own registry
    ("xgboost.core", "DMatrix"): _xgboost_data,
    ("pyarrow.lib", "Buffer"): _arrow_buffer,
    ("pandas.arrays", "ArrowStringArray"): _arrow_column,
    ("pandas.arrays", "ArrowExtensionArray"): _arrow_column,
    ("pyarrow.lib", "ResizableBuffer"): _arrow_buffer,
}


def reduce(value: Any, packer: Any) -> Any:
    """How a value is taken apart; `NotImplemented` where nothing here knows better than its type."""
    kind = type(value)
    reducer = REDUCERS.get((kind.__module__, kind.__name__))
    if reducer is not None:
        return reducer(value, packer)
    if tensors.is_tensor(value):
        return tensors.reduce_tensor(value)
    if tensors.is_optimizer(value):
        return tensors.reduce_optimizer(value)
    home = kind.__module__ or ""
    if home == "pyarrow.lib" and isinstance(value, sys.modules[home].Array):
        return _arrow_array(value)
    if home.startswith(("patsy.", "statsmodels.")):
        return formulas.reduce(value)
    if home.startswith("plotly."):
        return drawings.reduce(value)
    return frames.reduce(value, packer)
