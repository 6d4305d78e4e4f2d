"""Turns variables into bytes and back: pickle 5 with cloudpickle, large buffers out of band, sharing kept.

What differs from plain cloudpickle:
- functions and classes of the notebook are bound late and keep their identity (`definitions.py`);
- objects that show the same memory do so again (`memory.py`), sets keep their order (`sets.py`), and what packages would
  bring back as something else is taken apart in other ways (`libraries.py`, `exceptions.py`);
- what can't come back as it was (open files, cut-off temporary folders) is refused.
"""

from __future__ import annotations

import contextvars
import copyreg
import gc
import io
import logging
import math
import pickle
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from cloudpickle import cloudpickle as _cp

from . import (
    defaults,
    definitions,
    exceptions,
    frames,
    held,
    instances,
    libraries,
    logs,
    modules,
    opened,
    reloaded,
    sets,
    standins,
)
from . import memory as mem
from .definitions import Space, State
from .memory import Refused, overlaps

__all__ = [
    "Packed", "Refused", "Space", "ends_early", "numpy_atoms", "overlaps", "pack", "pack_skeleton", "unpack", "unpack_skeleton",
]  # fmt: skip

_HOLDING = (standins.OddSet, standins.Interned, defaults.Default)
_DEPTH, _STACK = 50_000, 128 * 2**20  # calls, and bytes for them, of which only what is used is taken
IN_BAND = 4096  # bytes; smaller buffers stay in the pickle
_ASKED = b"S"  # in front of a pickle in which things stand for others: sets whose tables are rebuilt, not-a-numbers


class Packed:
    """The bytes of some members, with all that is needed to find what they share."""

    def __init__(self, stream: bytes, buffers: list[pickle.PickleBuffer], packer: _Packer) -> None:
        self.stream = stream
        self.buffers = [buffer.raw() for buffer in buffers]
        self.needs = packer.needs
        self.references = packer.references
        self.weak = packer.weak
        # id -> (index, object): holding it keeps every id unique.
        self.kept = packer.memo.copy()
        self.kept.update((i, (0, holder.value)) for i, holder in packer.odd.items() if isinstance(holder, _HOLDING))
        self.kept.update((i, (0, holder.value)) for i, holder in packer.nans.items())
        self.nans = set(packer.nans)
        self.special = [v for _, v in self.kept.values() if type(v) not in _INERT]
        self._memory = mem.pieces(self.special, packer.copied, set(packer.internal))

    def mutable_ids(self) -> set[int]:
        """Ids of the objects in here that could be changed in place, or are equal to nothing but themselves."""
        changing = {i for i, (_, value) in self.kept.items() if not isinstance(value, _ATOMS) and not _is_reference(value)}
        return (changing - frames.lists_of_classes()) | self.nans

    def memory(self) -> mem.Memory:
        """What shows memory that could be seen to change."""
        return self._memory


def pack(space: Space, members: Iterable[str]) -> Packed:
    """Serialize names (`x`) and definitions (`def:KEY`) of a space together.

    Raises `Refused`, or whatever an object's own pickling raises.
    """
    return _dump(space, {m: State(m[4:], space) if m.startswith("def:") else space.value(m) for m in members})


def ends_early(space: Space, members: Iterable[str], packed: Packed) -> bool:
    """True if these members hold something only by weak references: it would be gone as soon as they are loaded."""
    if not packed.weak:
        return False
    way = _Way(odd=standins.plain_of_process(space), weakly=False)
    kept = _dump_once(space, {m: State(m[4:], space) if m.startswith("def:") else space.value(m) for m in members}, way).kept
    return not packed.weak.keys() <= kept.keys()


def pack_skeleton(space: Space, key: str) -> Packed:
    """Serialize what makes a definition's empty shell: for a class its name and bases, for a function its code."""
    definition = space.objects[key]
    packed = _dump(space, definitions.skeleton(definition))
    if isinstance(definition, types.FunctionType):
        packed.needs |= definitions.free_globals(definition)
    return packed


def unpack(stream: Any, buffers: list[Any], loader: Any) -> Any:
    """Load a stream; references to definitions are resolved by `loader.definition(key)`."""
    definitions.loaders.append(loader)
    try:
        if stream[:1] == _ASKED or reloaded.is_any():
            return _Unpickler(io.BytesIO(stream[stream[:1] == _ASKED :]), buffers=buffers).load()
        return pickle.loads(stream, buffers=buffers)
    finally:
        definitions.loaders.pop()


def unpack_skeleton(stream: Any, loader: Any) -> Any:
    """Make the empty shell of a definition."""
    definitions.loaders.append(loader)
    try:
        maker, arguments = unpack(stream, [], loader)
        return maker(*arguments)
    finally:
        definitions.loaders.pop()


def _dump(space: Space, content: Any) -> Packed:
    try:
        return _dump_here(space, content)
    except (RecursionError, pickle.PicklingError) as error:
        if "recursion" not in str(error):
            raise
    return _with_room(lambda: _dump_here(space, content))


def _with_room(call: Callable[[], Packed]) -> Packed:
    """What a call gives in a thread with a large stack: pickle goes as deep as a linked list is long."""
    done: list[Any] = []

    def run() -> None:
        try:
            done.extend((call(), None))
        except Exception as error:
            done.extend((None, error))

    limit, size = sys.getrecursionlimit(), threading.stack_size(_STACK)
    try:
        sys.setrecursionlimit(max(limit, _DEPTH))
        thread = threading.Thread(target=contextvars.copy_context().run, args=(run,))
        thread.start()
        thread.join()
    finally:
        sys.setrecursionlimit(limit)
        threading.stack_size(size)
    made, error = done
    if error is not None:
        raise error
    return cast("Packed", made)


def _dump_here(space: Space, content: Any) -> Packed:
    collecting = gc.isenabled()
    gc.disable()  # much is made here and nothing of it is garbage
    try:
        # pickle asks about plain lists, dicts and numbers only where it is told to ask about everything, which takes long.
        of_process = standins.plain_of_process(space)
        named = {i: of_process[i] for i in map(id, content.values()) if i in of_process} if isinstance(content, dict) else {}
        way = _Way(odd=named)
        try:
            packed = _dump_once(space, content, way)
        except Exception:  # it holds `sys.modules`, say, or an instance whose class leaves out what can't be passed on
            way = _Way(odd=of_process, own_way=way.has_own_way)
            try:
                packed = _dump_once(space, content, way)
            except Exception as error:
                way.held = held.places()
                packed = _dump_referring(space, content, way, error)
        way.views = mem.views(packed.memory())
        odd: dict[int, standins.Odd] = {
            id(s): standins.OddSet(s) for s in packed.special if type(s) in (set, frozenset) and sets.is_odd(s)
        }
        inside = {i: odd_one for i, odd_one in of_process.items() if i in packed.kept} | defaults.among(packed.kept)
        odd |= standins.interned(packed.kept.values())
        way.nans = any(mark in packed.stream for mark in standins.NANS)
        if not (way.views or odd or inside or way.nans):
            return packed
        way.odd = {**way.odd, **odd, **inside}
        return _dump_once(space, content, way)
    finally:
        if collecting:
            gc.enable()


def _dump_referring(space: Space, content: Any, way: _Way, error: Exception) -> Packed:
    """As packages have it under a name; where that doesn't do either, the reason is what was there before."""
    try:
        return _dump_once(space, content, way)
    except Exception as last:
        raise (last if isinstance(error, _AsksForMore) else error) from None


class _AsksForMore(Refused):
    """Its class makes no instance without arguments: what can be done about it is done where nothing else helps."""


@dataclass
class _Way:
    """How something is packed, as far as a first attempt tells."""

    views: dict[Any, Any] = field(default_factory=dict)
    odd: dict[int, standins.Odd] = field(default_factory=dict)
    nans: bool = False  # whether there may be some, each of which is one object wherever it is found
    own_way: bool = False  # instances are taken apart as their class says
    has_own_way: bool = False  # there are such instances
    weakly: bool = True  # weak references are followed
    held: dict[int, tuple[str, str]] = field(default_factory=dict)  # what is referred to as packages have it, by id


def _dump_once(space: Space, content: Any, way: _Way) -> Packed:
    file = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    asks = bool(way.odd or way.nans)
    packer = (_AskingPacker if asks else _Packer)(file, space, buffers, way)
    packer.dump(content)
    return Packed((_ASKED if asks else b"") + file.getvalue(), buffers, packer)


class _Packer(_cp.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, space: Space, buffers: list[pickle.PickleBuffer], way: _Way) -> None:
        def out_of_band(buffer: pickle.PickleBuffer) -> bool:
            if buffer.raw().nbytes < IN_BAND:
                return True
            buffers.append(buffer)
            return False

        super().__init__(file, protocol=5, buffer_callback=out_of_band)
        self.space = space
        self.way = way
        self.views = way.views
        self.odd = way.odd
        self.nans: dict[int, standins.NaN] = {}
        self.of_process = standins.of_process()
        self.module_names: dict[str, dict[int, str]] = {}  # module -> id of what it has -> its name
        self.needs: set[str] = set()
        self.references: set[str] = set()
        self.copied: set[int] = set()  # ids of arrays of pandas
        self.weak: dict[int, Any] = {}  # what weak references refer to, by id
        self.internal: dict[Any, Any] = {}  # what packing made, by id, and by what it stands for

    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        defaults.look_at(kind)
        if id(value) in self.way.held:
            return held.reduce(value, self.way.held[id(value)])
        if reloaded.is_any() and (kind is types.FunctionType or isinstance(value, type)):
            made = reloaded.reduce(value)
            if made is not NotImplemented:
                return made
        if kind is types.FunctionType:
            return self._function(value)
        if isinstance(value, type):
            if definitions.is_notebook_class(value):
                if not value.__flags__ & definitions.HEAP_TYPE:
                    raise Refused(f"the type {value.__name__!r} of the interpreter has no name to find it by")
                return self._refer(self.space.name_definition(value))
            return super().reducer_override(value)
        if kind is types.CellType:
            # cloudpickle copies cells, so that two closures over one variable would part.
            try:
                return definitions.make_cell, (), (value.cell_contents,), None, None, definitions.set_cell
            except ValueError:
                return definitions.make_cell, ()
        if kind is types.BuiltinFunctionType and isinstance(value.__self__, types.ModuleType):
            place = modules.replaced(value)
            return (modules.original, (place,)) if place else super().reducer_override(value)
        if kind is memoryview:
            raise Refused("a memoryview shows the memory of another object")
        if id(value) in self.views:
            return self.views[id(value)]
        numpy = sys.modules.get("numpy")
        if numpy is not None and kind is numpy.ndarray:
            made = mem.reduce_array(value, self)
            return super().reducer_override(value) if made is NotImplemented else made
        if numpy is not None and isinstance(value, numpy.ndarray):
            made = libraries.reduce(value, self)
            made = mem.reduce_subclass(value) if made is NotImplemented else made
            if not value.flags.writeable and value is not getattr(numpy.ma, "masked", None):
                return mem.reduce_read_only(value, made)
            return super().reducer_override(value) if made is NotImplemented else made
        if numpy is not None and isinstance(value, numpy.dtype) and not value.names and value.char in numpy.typecodes["All"]:
            if numpy.dtype(value.str) is value:
                return numpy.dtype, (value.str,)  # there is one of it; pickle makes another one
            return super().reducer_override(value)
        if isinstance(value, BaseException):
            made = exceptions.reduce(value)
            return super().reducer_override(value) if made is NotImplemented else made
        if isinstance(value, logging.Handler):
            return logs.reduce(value)
        if kind.__module__ == "__main__":
            self.way.has_own_way = self.way.has_own_way or instances.says_how(kind)
            made = instances.reduce(value, self.way.own_way)
            return super().reducer_override(value) if made is None else made
        if id(value) in self.of_process:
            return definitions.of_process, self.of_process[id(value)]
        if kind is weakref.finalize:
            raise Refused("what it calls would be called when its step ends")
        if isinstance(value, io.IOBase) and not isinstance(value, (io.BytesIO, io.StringIO)):
            for name in _STREAMS:  # each step has its own, which show what is written to them at its cells
                if value is getattr(sys, name):
                    return getattr, (sys, name)
            return opened.reduce(value)
        made = libraries.reduce(value, self)
        if made is NotImplemented:
            made = self._of_module(value)
        if made is NotImplemented and (instances.asks_itself(kind) or instances.asks_for_more(kind)):
            if not self.way.held and instances.asks_for_more(kind):
                raise _AsksForMore(f"the class {kind.__name__} makes no instance without arguments")
            made = instances.reduce_bare(value)
        return super().reducer_override(value) if made is NotImplemented else made

    def _of_module(self, value: Any) -> Any:
        """An instance that the module of its class has under a name (`scipy.stats.norm`): that very one, in its state."""
        module = type(value).__module__
        if module not in self.module_names:
            there = vars(sys.modules[module]) if module in sys.modules else {}
            self.module_names[module] = {id(v): name for name, v in there.items() if type(v).__dictoffset__}
        name = self.module_names[module].get(id(value))
        own_way = {type(value).__reduce_ex__, type(value).__reduce__} != {object.__reduce_ex__, object.__reduce__}
        if name is None or own_way or type(value) in copyreg.dispatch_table:
            return NotImplemented
        _, _, state, items, pairs = cast("tuple[Any, ...]", value.__reduce_ex__(5))
        if items is not None or pairs is not None:
            return NotImplemented
        return definitions.of_module, (module, name, type(value)), state

    def _function(self, value: types.FunctionType) -> Any:
        of_package = (
            value.__module__ != "__main__" and vars(sys.modules.get(value.__module__, object)).get(value.__name__) is value
        )
        if libraries.is_generic_function(value) and not of_package:
            return libraries.reduce_generic_function(value)
        if value.__globals__ is not self.space.names:
            place = modules.replaced(value)
            if place:
                return modules.original, (place,)
            return super().reducer_override(value)
        key = self.space.key_of(value)
        if key:
            return self._refer(key)
        self.needs |= definitions.free_globals(value)
        arguments, state = definitions.function_arguments(value), definitions.function_state(value)
        return definitions.make_function, arguments, state, None, None, definitions.set_function

    def refers(self, thing: Any) -> bool:
        """Note what a weak reference refers to. True if it is to be packed with it."""
        if self.way.weakly and not isinstance(thing, (type, types.FunctionType)):
            self.weak[id(thing)] = thing
        return self.way.weakly

    def _refer(self, key: str) -> Any:
        self.references.add(key)
        return definitions.find, (key,)


class _AskingPacker(_Packer):
    def persistent_id(self, value: Any) -> Any:
        if type(value) is float and not math.isfinite(value):
            return self._not_finite(value)
        return self.odd.get(id(value))

    def _not_finite(self, value: float) -> Any:
        for module in ("numpy", "math"):
            for name in ("nan", "inf"):
                if module in sys.modules and getattr(sys.modules[module], name, None) is value:
                    return standins.constant(module, name)
        return self.nans.setdefault(id(value), standins.NaN(value)) if math.isnan(value) else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, holder: Any) -> Any:
        return holder[0]

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        reloaded.check(module, name, found)
        return found


def _is_reference(value: Any) -> bool:
    """True for what is pickled as a reference: functions, classes and constants of packages, definitions of the notebook."""
    if isinstance(value, (type, types.BuiltinFunctionType, types.ModuleType, types.CodeType, standins.OfProcess)):
        return True
    if isinstance(value, types.FunctionType):
        return not value.__closure__
    if not callable(value) or type(value).__module__ == "__main__":
        return False
    # Functions that aren't written in Python: NumPy's, Cython's.
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    return isinstance(name, str) and getattr(sys.modules.get(module), name, None) is value  # type: ignore[arg-type]


_STREAMS = ("stdout", "stderr", "stdin", "__stdout__", "__stderr__")
_INERT = {dict, list, tuple, str, bytes, int, float, complex, bool, type(None)}  # neither show memory, nor are sets


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
        re.Pattern, uuid.UUID, enum.Enum, types.CodeType, types.ModuleType, pickle.PickleBuffer, State, property,
    )  # fmt: skip


_ATOMS: tuple[type, ...] = _atoms()


def numpy_atoms() -> None:
    """Count NumPy's immutable types among the atoms, once NumPy is there."""
    global _ATOMS
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "generic") and numpy.generic not in _ATOMS:
        _ATOMS = (*_ATOMS, numpy.generic, numpy.dtype)
