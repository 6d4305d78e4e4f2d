"""Functions and classes of the notebook: what identifies them, how they are taken apart and put together again.

Functions are bound late: their globals are those of the namespace that they are loaded into. A class, and a function that
closes over nothing, is a *definition* with a key such as `load/Model`, stored once and referred to by that key, so that it is
one object however many variables refer to it. It comes back in two parts: an empty shell, then the state that fills it.
"""

from __future__ import annotations

import importlib
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

from cloudpickle import cloudpickle as _cp

from . import called, modules, tables

_TypedDictMeta: Any = type(typing.TypedDict("_", {}))  # type: ignore[operator]
_REPLAYED = "setup:"  # in place of a step's name, which has no colon
HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: classes made by running code
_BUILTIN_ODDITIES = {type(None), type(NotImplemented), type(...), *_cp._BUILTIN_TYPE_NAMES}


class Space:
    """A kernel's namespace with the definitions that live in it, known by key."""

    def __init__(self, names: dict[str, Any], step: str) -> None:
        self.names = names
        self.step = step
        self.objects: dict[str, Any] = {}  # key -> definition; also keeps it alive, so that ids stay unique
        self._keys: dict[int, str] = {}

    def value(self, member: str) -> Any:
        """A variable's value, or that of a local module's attribute (`module:NAME.ATTRIBUTE`)."""
        return modules.value(member) if member.startswith(modules.KINDS) else self.names[member]

    def key_of(self, definition: Any) -> str | None:
        return self._keys.get(id(definition))

    def add(self, key: str, definition: Any) -> None:
        self.objects[key] = definition
        self._keys[id(definition)] = key
        if isinstance(definition, type):
            # cloudpickle identifies classes by a random number; ours must be equal from run to run.
            _cp._DYNAMIC_CLASS_TRACKER_BY_CLASS[definition] = key
            _cp._DYNAMIC_CLASS_TRACKER_BY_ID[key] = definition
            for place in called.registered(definition):
                tables.note(*place)

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
            return is_notebook_class(value)
        return isinstance(value, types.FunctionType) and value.__globals__ is self.names and not value.__closure__


def name_replayed(space: Space, sources: Iterable[str]) -> list[str]:
    """Name what the prelude has just defined by the names that it is bound to: a setup cell defines it in every step alike.

    Only what the notebook's code binds once; two definitions of one name are told apart by the step that has them.
    """
    text = "\n".join(sources)
    found = []
    for name, value in list(space.names.items()):
        if not space.is_definition(value) or space.key_of(value):
            continue
        binding = rf"^[ \t]*(?:(?:async[ \t]+)?def[ \t]+|class[ \t]+){name}\b|^[ \t]*{name}[ \t]*(?::[^=\n]*)?=(?!=)"
        if len(re.findall(binding, text, re.MULTILINE)) == 1:
            space.add(f"{_REPLAYED}/{name}", value)
            found.append(f"{_REPLAYED}/{name}")
    return found


class State:
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
            # `__slotnames__` is what `copy` and `pickle` remember in a class once they have met an instance.
            for name in ("__slots__", "__slotnames__", *getattr(definition, "__members__", ())):
                ordered.pop(name, None)
            # What the shell is made from stands here, too, so that it is found and passed on.
            return _fill_class, (self.key, (ordered, slots), skeleton(definition)[1])
        return _fill_function, (self.key, function_state(definition))


def skeleton(definition: Any) -> tuple[Any, tuple[Any, ...]]:
    """What makes a definition's empty shell: a maker and its arguments."""
    if not isinstance(definition, type):
        return make_function, function_arguments(definition)
    maker, arguments = _cp._dynamic_class_reduce(definition)[:2]
    if maker is _cp._make_skeleton_class:
        return _make_class, _class_arguments(definition)
    if maker is _cp._make_skeleton_enum:  # cloudpickle leaves the aliases of members out
        members = {name: member.value for name, member in definition.__members__.items()}  # type: ignore[attr-defined]
        arguments = (*arguments[:3], members, *arguments[4:])
    return maker, arguments


def free_globals(function: types.FunctionType) -> set[str]:
    """The global names that a function's code refers to."""
    return set(_cp._extract_code_globals(function.__code__))


def is_notebook_class(value: type) -> bool:
    """True for a class that no package has."""
    return getattr(value, "__module__", None) == "__main__" or (
        value not in _BUILTIN_ODDITIES and not _cp._should_pickle_by_reference(value)
    )


def function_arguments(function: types.FunctionType) -> tuple[Any, ...]:
    """What `make_function` needs."""
    return function.__code__, function.__name__, function.__closure__


def function_state(function: types.FunctionType) -> dict[str, Any]:
    """What `set_function` needs."""
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


# -- what unpickling calls -----------------------------------------------------------------------------------------

loaders: list[Any] = []  # the last one is at work: references look their definitions up in it


def find(key: str) -> Any:
    """The definition that a reference names."""
    return loaders[-1].definition(key)


def of_process(module: str, name: str) -> Any:
    """The object of that name that this process has one of; without a module, the notebook's namespace."""
    if not module:
        return loaders[-1].space.names
    found = getattr(importlib.import_module(module), name.removesuffix("()"))
    return found() if name.endswith("()") else found


def of_module(module: str, name: str, kind: Any) -> Any:
    """The instance that a module has under a name; a new one where a call in another step has put it there (`_db = None`)."""
    home = importlib.import_module(module)
    found = getattr(home, name, None)
    if type(found) is not kind:
        found = kind.__new__(kind)
        setattr(home, name, found)
    return found


def hold_of_process(module: str, name: str) -> list[Any]:
    """It, held as pickle's persistent objects are."""
    return [of_process(module, name)]


def make_function(code: types.CodeType, name: str, closure: tuple[Any, ...] | None) -> types.FunctionType:
    """A function without its state, whose globals are those of the namespace that it is loaded into."""
    return types.FunctionType(code, loaders[-1].space.names, name, None, closure)


def set_function(function: types.FunctionType, state: dict[str, Any]) -> types.FunctionType:
    """Give a function its attributes."""
    function.__dict__.clear()  # a function of the prelude has what it had before an earlier step changed it
    function.__dict__.update(state["dict"])
    for name, value in state["slots"].items():
        setattr(function, name, value)
    return function


def make_cell() -> Any:
    """An empty cell of a closure."""
    return types.CellType()


def set_cell(cell: Any, state: tuple[Any]) -> Any:
    """Fill a cell."""
    cell.cell_contents = state[0]
    return cell


def _fill_class(key: str, state: Any, _: Any) -> None:
    definition = loaders[-1].definition_to_fill(key)
    if definition is not None:
        if key.startswith(_REPLAYED):  # what an earlier step deleted
            for name in _cp._dynamic_class_reduce(definition)[2][0].keys() - state[0].keys():
                type.__delattr__(definition, name)
        _cp._class_setstate(definition, state)
        if not called.registered(definition):  # when it was made it had nothing to tell yet
            called.register(definition)


def _fill_function(key: str, state: Any) -> None:
    definition = loaders[-1].definition_to_fill(key)
    if definition is not None:
        set_function(definition, state)


def _make_class(meta: Any, name: str, bases: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """The empty class; no code of the notebook runs, since it ran when the class was made."""
    library_meta = next(m for m in meta.__mro__ if m.__module__ != "__main__")
    hooked = [c for b in bases for c in b.__mro__ if c.__module__ == "__main__" and "__init_subclass__" in c.__dict__]
    hooks = [(c, c.__dict__["__init_subclass__"]) for c in dict.fromkeys(hooked)]
    for owner, _ in hooks:
        type.__delattr__(owner, "__init_subclass__")
    try:
        if meta is _TypedDictMeta:  # whose `__new__` asks for what its classes no longer have as bases
            return type.__new__(meta, name, (dict,), attributes)
        if library_meta is meta:
            return types.new_class(name, bases, {"metaclass": meta}, lambda names: names.update(attributes))
        return library_meta.__new__(meta, name, bases, dict(attributes))
    finally:
        for owner, hook in hooks:
            type.__setattr__(owner, "__init_subclass__", hook)
