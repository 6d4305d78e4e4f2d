"""Turns variables into bytes and back: pickle 5 with cloudpickle, large buffers out of band, sharing kept.

Three things differ from plain cloudpickle:
- functions are bound late: their globals are those of the namespace that they are loaded into;
- functions and classes of the notebook are *definitions* with an identity of their own (a key such as `load/Model`),
  stored once and referred to by that key, so that a class is one object however many variables refer to it;
- what would come back as something else (open files, cut-off temporary folders) is refused.
"""

from __future__ import annotations

import array
import io
import itertools
import pickle
import sys
import types
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, cast

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

    def memory(self) -> list[tuple[int, int, Any]]:
        """(first address, end, object) of what shows memory that could be seen to change: arrays and bytearrays."""
        numpy = sys.modules.get("numpy")
        if numpy is None:
            return []
        from numpy.lib.array_utils import byte_bounds

        found = []
        for _, value in self.kept.values():
            if isinstance(value, numpy.ndarray) and value.size and id(value) not in self._tame:
                found.append((*byte_bounds(value), value))
            elif isinstance(value, (bytearray, array.array)) and len(value):
                start = numpy.frombuffer(value, numpy.uint8).__array_interface__["data"][0]
                found.append((start, start + memoryview(value).nbytes, value))
        return found


def pack(space: Space, members: Iterable[str]) -> Packed:
    """Serialize names (`x`) and definitions (`def:KEY`) of a space together.

    Raises `Refused`, or whatever an object's own pickling raises.
    """
    content = {m: _Definition(m[4:], space) if m.startswith("def:") else space.names[m] for m in members}
    packed = _dump(space, content, {})
    views = _views(packed.memory())
    return _dump(space, content, views) if views else packed


def pack_skeleton(space: Space, key: str) -> Packed:
    """Serialize what makes a definition's empty shell: for a class its name and bases, for a function its code."""
    definition = space.objects[key]
    if isinstance(definition, type):
        maker, arguments = _cp._dynamic_class_reduce(definition)[:2]
        if maker is _cp._make_skeleton_class:
            maker, arguments = _make_class, _class_arguments(definition)
        elif maker is _cp._make_skeleton_enum:  # cloudpickle leaves the aliases of members out
            members = {name: member.value for name, member in definition.__members__.items()}  # type: ignore[attr-defined]
            arguments = (*arguments[:3], members, *arguments[4:])
        return _dump(space, (maker, arguments), {})
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
                if not value.__flags__ & _HEAP_TYPE:
                    raise Refused(f"the type {value.__name__!r} of the interpreter has no name to find it by")
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
        numpy = sys.modules.get("numpy")
        if numpy is not None and kind is numpy.ndarray and id(value) not in self.views:
            return _array(value)
        if numpy is not None and isinstance(value, numpy.ndarray) and not value.flags.writeable and kind is not numpy.ndarray:
            raise Refused(f"a read-only {kind.__name__} would come back writeable")
        if kind.__module__ == "__main__":
            made = _instance(value)
            return super().reducer_override(value) if made is None else made
        for module, name in _SINGLETONS:
            if module in sys.modules and value is getattr(sys.modules[module], name, None):
                return getattr, (sys.modules[module], name)
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
            # Given when the class is made: slots would be plain attributes later, members (and their aliases) can't be set.
            for name in ("__slots__", *getattr(definition, "__members__", ())):
                ordered.pop(name, None)
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


def _make_class(meta: Any, name: str, bases: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """The empty class; no code of the notebook runs, since it ran when the class was made."""
    library_meta = next(m for m in meta.__mro__ if m.__module__ != "__main__")
    hooked = [c for b in bases for c in b.__mro__ if c.__module__ == "__main__" and "__init_subclass__" in c.__dict__]
    hooks = [(c, c.__dict__["__init_subclass__"]) for c in dict.fromkeys(hooked)]
    for owner, _ in hooks:
        type.__delattr__(owner, "__init_subclass__")
    try:
        if library_meta is meta:
            return types.new_class(name, bases, {"metaclass": meta}, lambda names: names.update(attributes))
        return library_meta.__new__(meta, name, bases, dict(attributes))
    finally:
        for owner, hook in hooks:
            type.__setattr__(owner, "__init_subclass__", hook)


def _new_instance(kind: Any, *arguments: Any) -> Any:
    maker = next(c.__dict__["__new__"] for c in kind.__mro__ if "__new__" in c.__dict__ and c.__module__ != "__main__")
    return maker(kind, *arguments) if arguments else maker(kind)


def _fill_instance(value: Any, content: tuple[Any, Any, Any]) -> Any:
    state, items, pairs = content
    if items is not None:
        set.update(value, items) if isinstance(value, set) else list.extend(value, items)
    for key, item in pairs or ():
        dict.__setitem__(value, key, item)
    if state is not None and hasattr(value, "__setstate__"):
        value.__setstate__(state)
    elif state is not None:
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        for name, item in {**(attributes or {}), **(slots or {})}.items():
            object.__setattr__(value, name, item)
    return value


def _read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


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


def _class_arguments(definition: type) -> tuple[Any, ...]:
    attributes: dict[str, Any] = {"__module__": definition.__module__, "__qualname__": definition.__qualname__}
    attributes |= {k: definition.__dict__[k] for k in ("__slots__", "__orig_bases__") if k in definition.__dict__}
    return type(definition), definition.__name__, definition.__bases__, attributes


def _array(value: Any) -> Any:
    if not value.flags.writeable and not value.flags.forc:
        return _read_only, (value.copy(),)  # pickle copies it, and forgets that it can't be written to
    if value.nbytes < IN_BAND and value.flags.owndata and value.flags.writeable and value.dtype.isnative:
        return value.__reduce__()  # a small array owns its memory again, as it did
    return NotImplemented


def _instance(value: Any) -> Any:
    """An instance of a notebook class that pickle would make by running code of the notebook: that ran already."""
    kind = type(value)
    if isinstance(value, (set, frozenset)) and kind.__reduce__ in _SET_REDUCES:
        _, (items,), state = cast("tuple[Any, ...]", value.__reduce__())
        if isinstance(value, frozenset):
            return _new_instance, (kind, items), (state, None, None), None, None, _fill_instance
        return _new_instance, (kind,), (state, items, None), None, None, _fill_instance
    if any("__reduce__" in c.__dict__ or "__reduce_ex__" in c.__dict__ for c in kind.__mro__[:-1]):
        return None
    if isinstance(kind.__new__, types.FunctionType) and not (
        hasattr(kind, "__getnewargs__") or hasattr(kind, "__getnewargs_ex__")
    ):
        runs_code = kind.__new__.__module__ == "__main__"
    else:
        runs_code = False
    if not runs_code and not isinstance(value, (list, dict)):
        return None
    _, arguments, state, items, pairs = cast("tuple[Any, ...]", object.__reduce_ex__(value, 5))
    content = (state, None if items is None else list(items), None if pairs is None else list(pairs))
    return _new_instance, arguments, content, None, None, _fill_instance


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


def overlaps(memory: list[tuple[int, int, Any]]) -> Iterator[tuple[Any, Any]]:
    """Pairs of objects that show the same memory, where at least one of them can write to it."""
    reach, last = 0, None
    for low, high, value in sorted(memory, key=lambda m: m[:2]):
        if last is not None and low < reach and value is not last and (_writes(value) or _writes(last)):
            yield last, value
        if high > reach:
            reach, last = high, value


def _writes(value: Any) -> bool:
    return bool(value.flags.writeable) if hasattr(value, "flags") else True


def _views(memory: list[tuple[int, int, Any]]) -> dict[int, Any]:
    """id -> reduction, for arrays that show memory of another one here: they come back as views of one base."""
    if len(memory) < 2:
        return {}
    sharing = {id(value): value for pair in overlaps(memory) for value in pair}
    if not sharing:
        return {}
    import numpy
    from numpy.lib.array_utils import byte_bounds

    reductions: dict[int, Any] = {}
    roots: dict[int, Any] = {}
    for identity, array_ in sharing.items():
        root = array_
        while isinstance(getattr(root, "base", None), numpy.ndarray):
            root = root.base
        roots[id(root)] = root
        if root is array_:
            continue
        if type(array_) is not numpy.ndarray or type(root) is not numpy.ndarray or not root.flags.c_contiguous:
            raise Refused(f"it holds a {type(array_).__name__} that shows the memory of another array")
        if array_.flags.writeable and not root.flags.writeable:
            raise Refused("it holds a writeable view of an array that is read-only")
        offset = array_.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        reductions[identity] = (
            _make_view,
            (root, offset, array_.shape, array_.strides, array_.dtype, array_.flags.writeable),
        )
    bounds = sorted(byte_bounds(root) for root in roots.values() if isinstance(root, numpy.ndarray))
    if len(bounds) < len(roots) or any(after[0] < before[1] for before, after in itertools.pairwise(bounds)):
        raise Refused("it holds objects that show one piece of memory without a common base array")
    return reductions


# The generators behind `random.random` and `np.random.rand`: a copy of one would draw on its own.
_SINGLETONS = (("random", "_inst"), ("numpy.random.mtrand", "_rand"))
_UNSAFE = (io.IOBase, weakref.finalize)
_SET_REDUCES: tuple[Any, ...] = (set.__reduce__, frozenset.__reduce__)
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: classes made by running code
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
