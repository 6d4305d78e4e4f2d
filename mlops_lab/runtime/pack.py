"""Turns variables into bytes and back: pickle 5 with cloudpickle, large buffers out of band, sharing kept.

Three things differ from plain cloudpickle:
- functions are bound late: their globals are those of the namespace that they are loaded into;
- functions and classes of the notebook are *definitions* with an identity of their own (a key such as `load/Model`),
  stored once and referred to by that key, so that a class is one object however many variables refer to it;
- what would come back as something else (open files, cut-off temporary folders) is refused.
"""

from __future__ import annotations

import io
import pickle
import sys
import types
import weakref
from collections.abc import Iterable
from typing import Any

import cloudpickle
from cloudpickle import cloudpickle as _cp

IN_BAND = 4096  # bytes; smaller buffers stay in the pickle


class Refused(Exception):
    """A value that can't be passed on; the message says why."""


class Space:
    """A kernel's namespace with the definitions that live in it, known by key."""

    def __init__(self, names: dict[str, Any], step: str) -> None:
        self.names = names
        self.step = step
        self.objects: dict[str, Any] = {}  # key -> definition; also keeps it alive, so that ids stay unique
        self._keys: dict[int, str] = {}

    def key_of(self, definition: Any) -> str | None:
        return self._keys.get(id(definition))

    def add(self, key: str, definition: Any) -> None:
        self.objects[key] = definition
        self._keys[id(definition)] = key
        if isinstance(definition, type):
            # cloudpickle identifies classes by a random number; ours must be equal from run to run.
            _cp._DYNAMIC_CLASS_TRACKER_BY_CLASS[definition] = key
            _cp._DYNAMIC_CLASS_TRACKER_BY_ID[key] = definition

    def name_definition(self, definition: Any) -> str:
        """The definition's key; a new one is made from the step and the qualified name, in order of discovery."""
        known = self.key_of(definition)
        if known:
            return known
        key = base = f"{self.step}/{definition.__qualname__}"
        number = 1
        while key in self.objects:
            number += 1
            key = f"{base}#{number}"
        self.add(key, definition)
        return key

    def is_definition(self, value: Any) -> bool:
        """True for a class of the notebook, and for a function of it that closes over nothing."""
        if isinstance(value, type):
            return _is_notebook_class(value)
        return isinstance(value, types.FunctionType) and value.__globals__ is self.names and not value.__closure__


_active: list[Any] = []  # the loader at work; unpickled references look their definitions up in it


class Packed:
    """The bytes of some members, with all that is needed to find what they share."""

    def __init__(self, stream: bytes, buffers: list[pickle.PickleBuffer], packer: _Packer) -> None:
        self.stream = stream
        self.buffers = [buffer.raw() for buffer in buffers]
        self.needs = packer.needs
        self.references = packer.references
        self.kept = packer.memo.copy()  # id -> (index, object): holding it keeps every id unique
        self._tame = packer.tame

    def mutable_ids(self) -> set[int]:
        """Ids of the objects in here that could be changed in place."""
        return {i for i, (_, value) in self.kept.items() if not isinstance(value, _ATOMS) and not _is_reference(value)}

    def arrays(self) -> list[Any]:
        """NumPy arrays through which shared memory could be seen to change."""
        numpy = sys.modules.get("numpy")
        if numpy is None:
            return []
        return [v for _, v in self.kept.values() if isinstance(v, numpy.ndarray) and v.size and id(v) not in self._tame]


def pack(space: Space, members: Iterable[str]) -> Packed:
    """Serialize names (`x`) and definitions (`def:KEY`) of a space together.

    Raises `Refused`, or whatever an object's own pickling raises.
    """
    content = {m: _Definition(m[4:], space) if m.startswith("def:") else space.names[m] for m in members}
    packed = _dump(space, content, {})
    views = _views(packed.arrays())
    return _dump(space, content, views) if views else packed


def pack_skeleton(space: Space, key: str) -> Packed:
    """Serialize what makes a definition's empty shell: for a class its name and bases, for a function its code."""
    definition = space.objects[key]
    if isinstance(definition, type):
        return _dump(space, (_make_class, _cp._dynamic_class_reduce(definition)[:2]), {})
    packed = _dump(space, (_make_function, _function_arguments(definition)), {})
    packed.needs |= set(_cp._extract_code_globals(definition.__code__))
    return packed


def unpack(stream: Any, buffers: list[Any], loader: Any) -> Any:
    """Load a stream; references to definitions are resolved by `loader.definition(key)`."""
    _active.append(loader)
    try:
        return pickle.loads(stream, buffers=buffers)
    finally:
        _active.pop()


def unpack_skeleton(stream: Any, loader: Any) -> Any:
    """Make the empty shell of a definition."""
    _active.append(loader)
    try:
        maker, arguments = pickle.loads(stream)
        return maker(*arguments)
    finally:
        _active.pop()


def _dump(space: Space, content: Any, views: dict[int, Any]) -> Packed:
    file = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    packer = _Packer(file, space, buffers, views)
    packer.dump(content)
    return Packed(file.getvalue(), buffers, packer)


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, space: Space, buffers: list[pickle.PickleBuffer], views: dict[int, Any]) -> None:
        def out_of_band(buffer: pickle.PickleBuffer) -> bool:
            if buffer.raw().nbytes < IN_BAND:
                return True
            buffers.append(buffer)
            return False

        super().__init__(file, protocol=5, buffer_callback=out_of_band)
        self.space = space
        self.views = views
        self.needs: set[str] = set()
        self.references: set[str] = set()
        self.tame: set[int] = set()

    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        if kind is types.FunctionType:
            if value.__globals__ is not self.space.names:
                return super().reducer_override(value)
            key = self.space.key_of(value)
            if key:
                return self._refer(key)
            self.needs |= set(_cp._extract_code_globals(value.__code__))
            return _make_function, _function_arguments(value), _function_state(value), None, None, _set_function
        if isinstance(value, type):
            if _is_notebook_class(value):
                return self._refer(self.space.name_definition(value))
            return super().reducer_override(value)
        if kind is types.CellType:
            # cloudpickle copies cells, so that two closures over one variable would part.
            try:
                return _make_cell, (), (value.cell_contents,), None, None, _set_cell
            except ValueError:
                return _make_cell, ()
        if kind is memoryview:
            raise Refused("a memoryview shows the memory of another object")
        if id(value) in self.views:
            return self.views[id(value)]
        if isinstance(value, _UNSAFE) and not isinstance(value, (io.BytesIO, io.StringIO)):
            raise Refused(_UNSAFE_REASON)
        if kind.__name__ == "_lru_cache_wrapper" and kind.__module__ == "functools":
            return _cached_function(value)
        if kind.__module__.startswith("pandas"):
            self._note_pandas(value)
        return super().reducer_override(value)

    def _refer(self, key: str) -> Any:
        self.references.add(key)
        return _definition, (key,)

    def _note_pandas(self, value: Any) -> None:
        """pandas copies on write: memory shared between two of its own objects can't be seen to change."""
        for block in getattr(value, "blocks", ()) if type(value).__name__.endswith("BlockManager") else ():
            self.tame.add(id(block.values))
        data = value.__dict__.get("_data") if hasattr(value, "__dict__") else None
        if data is not None:
            self.tame.add(id(data))


class _Definition:
    """Stands for a definition's state in a pickle: unpickling it fills the shell that the key names."""

    def __init__(self, key: str, space: Space) -> None:
        self.key, self.space = key, space

    def __reduce__(self) -> Any:
        definition = self.space.objects[self.key]
        if isinstance(definition, type):
            attributes, slots = _cp._dynamic_class_reduce(definition)[2]
            # cloudpickle sorts the attributes by name; their order can be seen.
            ordered = {k: attributes[k] for k in (*definition.__dict__, *attributes) if k in attributes}
            return _fill_class, (self.key, (ordered, slots))
        return _fill_function, (self.key, _function_state(definition))


# -- what unpickling calls -----------------------------------------------------------------------------------------


def _definition(key: str) -> Any:
    return _active[-1].definition(key)


def _fill_class(key: str, state: Any) -> None:
    definition = _active[-1].definition_to_fill(key)
    if definition is not None:
        _cp._class_setstate(definition, state)


def _fill_function(key: str, state: Any) -> None:
    definition = _active[-1].definition_to_fill(key)
    if definition is not None:
        _set_function(definition, state)


def _make_class(maker: Any, arguments: tuple[Any, ...]) -> Any:
    """The empty class; no code of the notebook runs, since it ran when the class was made."""
    if maker is not _cp._make_skeleton_class:
        return maker(*arguments)
    meta, name, bases, attributes, *_ = arguments
    library_meta = next(m for m in meta.__mro__ if m.__module__ != "__main__")
    hooked = [c for b in bases for c in b.__mro__ if c.__module__ == "__main__" and "__init_subclass__" in c.__dict__]
    hooks = [(c, c.__dict__["__init_subclass__"]) for c in dict.fromkeys(hooked)]
    for owner, _ in hooks:
        type.__delattr__(owner, "__init_subclass__")
    try:
        if library_meta is meta:
            return types.new_class(name, bases, {"metaclass": meta}, lambda names: names.update(attributes))
        return library_meta.__new__(meta, name, types.resolve_bases(bases), dict(attributes))
    finally:
        for owner, hook in hooks:
            type.__setattr__(owner, "__init_subclass__", hook)


def _make_function(code: types.CodeType, name: str, closure: tuple[Any, ...] | None) -> types.FunctionType:
    return types.FunctionType(code, _active[-1].space.names, name, None, closure)


def _set_function(function: types.FunctionType, state: dict[str, Any]) -> types.FunctionType:
    function.__dict__.update(state["dict"])
    for name, value in state["slots"].items():
        setattr(function, name, value)
    return function


def _make_cell() -> Any:
    return types.CellType()


def _set_cell(cell: Any, state: tuple[Any]) -> Any:
    cell.cell_contents = state[0]
    return cell


def _make_view(root: Any, offset: int, shape: Any, strides: Any, dtype: Any, writeable: bool) -> Any:
    import numpy

    view = numpy.ndarray(shape, dtype, buffer=root, offset=offset, strides=strides)
    view.flags.writeable = writeable
    return view


def _make_cached(function: Any, maxsize: Any, typed: bool) -> Any:
    import functools

    return functools.lru_cache(maxsize, typed)(function)


# -- how it is taken apart -----------------------------------------------------------------------------------------


def _function_arguments(function: types.FunctionType) -> tuple[Any, ...]:
    return function.__code__, function.__name__, function.__closure__


def _function_state(function: types.FunctionType) -> dict[str, Any]:
    slots: dict[str, Any] = {
        "__defaults__": function.__defaults__,
        "__kwdefaults__": function.__kwdefaults__,
        "__annotations__": function.__annotations__,
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
    }
    return {"slots": slots, "dict": function.__dict__}


def _cached_function(wrapper: Any) -> Any:
    if wrapper.cache_info().currsize:
        raise Refused("it remembers the results of its calls (functools.lru_cache), and that memory can't be passed on")
    parameters = wrapper.cache_parameters()
    return _make_cached, (wrapper.__wrapped__, parameters["maxsize"], parameters["typed"])


def _is_notebook_class(value: type) -> bool:
    return getattr(value, "__module__", None) == "__main__" or (
        value not in _BUILTIN_ODDITIES and not _cp._should_pickle_by_reference(value)
    )


def _is_reference(value: Any) -> bool:
    """True for what is pickled as a reference: functions and classes of packages, definitions of the notebook."""
    return isinstance(value, (type, types.BuiltinFunctionType, types.ModuleType, types.CodeType)) or (
        isinstance(value, types.FunctionType) and not value.__closure__
    )


def _views(arrays: list[Any]) -> dict[int, Any]:
    """id -> reduction, for arrays that show memory of another one here: they come back as views of one base."""
    if len(arrays) < 2:
        return {}
    import numpy
    from numpy.lib.array_utils import byte_bounds

    ranges = sorted(((*byte_bounds(array), array) for array in arrays), key=lambda r: (r[0], r[1]))
    sharing: dict[int, Any] = {}
    reach, last = 0, None
    for low, high, array in ranges:
        if last is not None and low < reach and (array.flags.writeable or last.flags.writeable):
            sharing[id(last)] = last
            sharing[id(array)] = array
        if high > reach:
            reach, last = high, array
    reductions: dict[int, Any] = {}
    roots: dict[int, Any] = {}
    for identity, array in sharing.items():
        root = array
        while isinstance(root.base, numpy.ndarray):
            root = root.base
        roots[id(root)] = root
        if root is array:
            continue
        if type(array) is not numpy.ndarray or type(root) is not numpy.ndarray or not root.flags.c_contiguous:
            raise Refused(f"it holds a {type(array).__name__} that shows the memory of another array")
        offset = array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        reductions[identity] = (
            _make_view,
            (root, offset, array.shape, array.strides, array.dtype, array.flags.writeable),
        )
    if len(roots) > 1:
        bounds = sorted(byte_bounds(root) for root in roots.values())
        if any(after[0] < before[1] for before, after in zip(bounds, bounds[1:], strict=False)):
            raise Refused("it holds arrays that show one piece of memory without a common base array")
    return reductions


_UNSAFE = (io.IOBase, weakref.finalize)
_UNSAFE_REASON = "it is, or holds, an open file or a resource that ends with its process"
_BUILTIN_ODDITIES = {type(None), type(NotImplemented), type(...), *_cp._BUILTIN_TYPE_NAMES}


def _atoms() -> tuple[type, ...]:
    import datetime
    import decimal
    import enum
    import fractions
    import pathlib
    import re
    import uuid

    return (
        str, bytes, int, float, complex, bool, type(None), tuple, frozenset, range, slice, type(...), decimal.Decimal,
        fractions.Fraction, datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, pathlib.PurePath,
        re.Pattern, uuid.UUID, enum.Enum, types.CodeType, types.ModuleType, pickle.PickleBuffer, _Definition, property,
    )  # fmt: skip


_ATOMS: tuple[type, ...] = _atoms()


def numpy_atoms() -> None:
    """Count NumPy's immutable types among the atoms, once NumPy is there."""
    global _ATOMS
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "generic") and numpy.generic not in _ATOMS:
        _ATOMS = (*_ATOMS, numpy.generic, numpy.dtype)
