"""Objects of packages that pickle would bring back as something else, or not at all: what they are taken apart into.

Each function here is one row of `REDUCERS`, by the type's module and name; it returns what `__reduce__` returns,
`NotImplemented` where the object's own way is right, or raises `Refused`.
"""

from __future__ import annotations

import copyreg
import functools
import gc
import importlib
import itertools
import os
import sys
import tempfile
import types
import weakref
from collections.abc import Callable
from typing import Any

from . import caches, formulas, history, lazyframes, notifying
from .memory import OWNED, Refused, name_of, span


def _module(name: str) -> Any:
    return importlib.import_module(name)


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


# -- views of dictionaries -----------------------------------------------------------------------------------------


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


# -- weak references, files in memory ------------------------------------------------------------------------------


def _weak(value: Any, _: Any) -> Any:
    if len(value):
        raise Refused("it holds weak references, and nothing tells whether what they refer to is passed on as well")
    return type(value), ()


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


# -- pandas --------------------------------------------------------------------------------------------------------


def lists_of_classes() -> set[int]:
    """Ids of the lists that pandas' classes have, and each frame and column shows as a part of itself."""
    pandas = sys.modules.get("pandas")
    found: set[int] = set()
    todo: list[type] = [base for base in pandas.DataFrame.__mro__ if base.__name__ == "NDFrame"] if pandas else []
    for kind in todo:  # it grows
        todo += kind.__subclasses__()
        if "_metadata" in kind.__dict__:
            found.add(id(kind.__dict__["_metadata"]))
    return found


def copies_on_write() -> bool:
    """True if pandas never lets two of its objects see each other's changes."""
    pandas = sys.modules.get("pandas")
    version = getattr(pandas, "__version__", "3")
    return int(version.partition(".")[0]) >= 3 or pandas.options.mode.copy_on_write is True  # type: ignore[union-attr]


def _block(value: Any, packer: Any) -> Any:
    """With the record of who shares its memory, after which pandas decides whether to copy before it writes."""
    if copies_on_write():
        packer.copied.update(map(id, arrays_of(value.values)))
    if not hasattr(value, "refs"):
        return NotImplemented
    return _make_block, (type(value), value.values, value.mgr_locs.indexer, value.ndim, value.refs)


def _make_block(kind: Any, values: Any, places: Any, ndim: int, shared: Any) -> Any:
    internals = _module("pandas._libs.internals")
    return kind(values, internals.BlockPlacement(places), ndim=ndim, refs=shared)


def _single_manager(value: Any, _: Any) -> Any:
    """A series by its block, as frames are: its own way keeps the array only, and not who shares it."""
    return _make_single_manager, (type(value), value.blocks[0], value.axes[0])


def _make_single_manager(kind: Any, block: Any, axis: Any) -> Any:
    return kind(block, axis)


def _block_references(value: Any, _: Any) -> Any:
    return _make_block_references, ()


def _make_block_references() -> Any:
    return _module("pandas._libs.internals").BlockValuesRefs()


def arrays_of(values: Any) -> list[Any]:
    """The NumPy arrays in a pandas array."""
    numpy = sys.modules["numpy"]
    if isinstance(values, numpy.ndarray):
        return [values]
    inner = [getattr(values, name, None) for name in ("_ndarray", "_data", "_mask", "_left", "_right", "_sparse_values")]
    return [found for v in inner if isinstance(v, numpy.ndarray) or _is_pandas(v) for found in arrays_of(v)]


def _frame(value: Any) -> Any:
    """A frame or series with the attributes that its own pickling leaves out, as patsy sets them; accessors are made anew."""
    kind = type(value)
    rest = {
        name: held
        for name, held in value.__dict__.items()
        if not hasattr(kind, name) and name not in _FRAMES_OWN and name not in value._metadata
    }
    if not rest:
        return NotImplemented
    made = value.__reduce_ex__(5)
    return (*made[:2], (made[2], rest), None, None, _set_frame)


def _set_frame(value: Any, content: tuple[Any, dict[str, Any]]) -> Any:
    value.__setstate__(content[0])
    value.__dict__.update(content[1])
    return value


def _is_pandas(value: Any) -> bool:
    return type(value).__module__.startswith("pandas.core.arrays")


# -- PyTorch -------------------------------------------------------------------------------------------------------


def is_tensor(value: Any) -> bool:
    """True for tensors, parameters and buffers of PyTorch."""
    torch = sys.modules.get("torch")
    return isinstance(value, getattr(torch, "Tensor", ()))


def reduce_tensor(value: Any, packer: Any) -> Any:
    """A tensor with its gradient, which its own pickling leaves out."""
    if history.is_past(value):
        return history.reduce(value)
    if value._backward_hooks or getattr(value, "_post_accumulate_grad_hooks", None):
        raise Refused("it is a tensor with hooks")
    if value.grad_fn is not None:
        return history.reduce(value)
    made = value.__reduce_ex__(5)
    if value.grad is None:
        return made
    if len(made) != 2:
        raise Refused(f"it is a {type(value).__name__} with a gradient")
    return (*made, value.grad, None, None, _set_gradient)


def _set_gradient(tensor: Any, gradient: Any) -> Any:
    tensor.grad = gradient
    return tensor


def is_optimizer(value: Any) -> bool:
    """True for optimizers of PyTorch, which exist only where that part of it is loaded."""
    return isinstance(value, getattr(sys.modules.get("torch.optim"), "Optimizer", ()))


def reduce_optimizer(value: Any) -> Any:
    """An optimizer with what its own pickling leaves out: hooks, and that a scheduler counts its steps."""
    state = value.__getstate__()
    if not isinstance(state, dict):
        return NotImplemented
    rest = {k: v for k, v in sorted(value.__dict__.items()) if k not in state}
    counted = hasattr(rest.get("step"), "_wrapped_by_lr_sched")
    if counted:
        del rest["step"]
    return copyreg.__newobj__, (type(value),), (state, rest, counted), None, None, _set_optimizer  # type: ignore[attr-defined]


def _set_optimizer(value: Any, content: tuple[dict[str, Any], dict[str, Any], bool]) -> Any:
    state, rest, counted = content
    value.__setstate__(state)
    value.__dict__.update(rest)
    if counted:  # as a scheduler does when it is made
        function, reference = value.step.__func__, weakref.ref(value)

        @functools.wraps(function)
        def step(*arguments: Any, **named: Any) -> Any:
            optimizer: Any = reference()
            optimizer._opt_called = True
            return function.__get__(optimizer, type(optimizer))(*arguments, **named)

        step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
        value.step = step
    return value


def _typed_storage(value: Any, packer: Any) -> Any:
    return _make_typed_storage, (value._untyped_storage, value.dtype)


def _make_typed_storage(storage: Any, dtype: Any) -> Any:
    return _module("torch").storage.TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)


def _storage(value: Any, packer: Any) -> Any:
    if value.is_shared():
        raise Refused("its memory is shared with other processes")
    content = value.cpu()
    memory = span(content.data_ptr(), content.data_ptr() + content.nbytes()) if content.nbytes() else b""
    packer.internal[id(memory)] = (memory, content)
    return _make_storage, (memory, value.device.type if value.device.index is None else str(value.device))


def _make_storage(memory: Any, device: str) -> Any:
    torch = _module("torch")
    if not len(memory):
        return torch.UntypedStorage(0, device=device)
    mapped = torch.from_numpy(memory)
    if device != "cpu":
        return mapped.to(device).untyped_storage()
    return mapped.clone().untyped_storage() if len(memory) < OWNED else mapped.untyped_storage()


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


def _itself(value: Any) -> Any:
    return value


# -- matplotlib ----------------------------------------------------------------------------------------------------


def _callbacks(value: Any, _: Any) -> Any:
    """Its own way counts on each time, so that a figure would never look unchanged."""
    state = value.__getstate__()
    value._cid_gen = itertools.count(state["_cid_gen"])
    return copyreg.__newobj__, (type(value),), state  # type: ignore[attr-defined]


_FRAMES_OWN = {"_mgr", "_attrs", "_flags", "_name", "_item_cache", "_typ"}

REDUCERS: dict[tuple[str, str], Callable[[Any, Any], Any]] = {
    ("functools", "_lru_cache_wrapper"): caches.reduce,
    ("functools", "cached_property"): _cached_property,
    ("functools", "singledispatchmethod"): _generic_method,
    **{("builtins", f"{kind}_{part}"): _dictionary_view for kind in ("dict", "odict") for part in ("keys", "values", "items")},
    ("builtins", "mappingproxy"): _dictionary_view,
    ("weakref", "WeakSet"): _weak,
    ("weakref", "WeakKeyDictionary"): _weak,
    ("weakref", "WeakValueDictionary"): _weak,
    ("_weakrefset", "WeakSet"): _weak,
    ("numpy", "memmap"): _memmap,
    ("numpy", "finfo"): _limits,
    ("numpy.ma", "MaskedArray"): _masked,
    ("numpy.ma.core", "MaskedArray"): _masked,
    ("pandas._libs.internals", "BlockValuesRefs"): _block_references,
    ("pandas.core.internals.managers", "SingleBlockManager"): _single_manager,
    ("torch.storage", "TypedStorage"): _typed_storage,
    ("torch.storage", "UntypedStorage"): _storage,
    ("matplotlib.cbook", "CallbackRegistry"): _callbacks,
    **dict.fromkeys(lazyframes.KINDS, lazyframes.reduce),
    **dict.fromkeys(notifying.CONTAINERS, notifying.reduce_container),
    ("xgboost.core", "DMatrix"): _xgboost_data,
    ("pyarrow.lib", "Buffer"): _arrow_buffer,
    ("pyarrow.lib", "ResizableBuffer"): _arrow_buffer,
}


def reduce(value: Any, packer: Any) -> Any:
    """How a value is taken apart; `NotImplemented` where nothing here knows better than its type."""
    kind = type(value)
    reducer = REDUCERS.get((kind.__module__, kind.__name__))
    if reducer is not None:
        return reducer(value, packer)
    if is_tensor(value):
        return reduce_tensor(value, packer)
    if is_optimizer(value):
        return reduce_optimizer(value)
    home = kind.__module__ or ""  # sympy makes classes that have none
    if home.startswith(("patsy.", "statsmodels.")):
        return formulas.reduce(value)
    if home == "pandas.core.internals.blocks":
        return _block(value, packer)
    if home.startswith("pandas") and copies_on_write():
        data = value.__dict__.get("_data") if hasattr(value, "__dict__") else None
        if data is not None:
            packer.copied.update(map(id, arrays_of(data)))
    if hasattr(kind, "_internal_names") and "_mgr" in getattr(value, "__dict__", ()):
        return _frame(value)
    return NotImplemented
