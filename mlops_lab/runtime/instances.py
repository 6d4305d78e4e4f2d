"""Instances of the notebook's classes: taken apart and put together without running code of the notebook, which ran already.

What a class says of its pickling (`__getstate__`, `__reduce__`, ...) is made for files. In the notebook's own process its
instances are simply there, with all that they hold; so they come as they are. Where something in them can't be passed on (a
lock, a connection), the class's own way is the only one, and it is taken (`own_way`).
"""

from __future__ import annotations

import copyreg
import types
import weakref
from collections.abc import Iterator
from typing import Any, cast

from . import sets, settables
from .memory import Refused

_SET_REDUCES: tuple[Any, ...] = (set.__reduce__, frozenset.__reduce__)
_HOOKS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")
_NEW_ARGUMENTS = ("__getnewargs__", "__getnewargs_ex__")
_PLAIN: Any = object
_NOTHING = object()
_WITH_VALUE: tuple[Any, ...] = (
    tuple,
    str,
    bytes,
    int,
    float,
    complex,
)  # what an instance of a subclass is made from is its value
_BUILT_ON = (*_WITH_VALUE, list, dict)


def reduce(value: Any, own_way: bool) -> Any:
    """How an instance of a notebook class is pickled; None where its class's way runs no code of the notebook."""
    kind = type(value)
    if isinstance(value, (set, frozenset)) and kind.__reduce__ in _SET_REDUCES:
        return _reduce_set(value)
    _refuse_watched(value)
    if not own_way and says_how(kind):
        made = _as_it_is(value)
        if made is not None:
            return made
    if any("__reduce__" in c.__dict__ or "__reduce_ex__" in c.__dict__ for c in kind.__mro__[:-1]):
        return None
    if isinstance(kind.__new__, types.FunctionType) and not (
        hasattr(kind, "__getnewargs__") or hasattr(kind, "__getnewargs_ex__")
    ):
        runs_code = kind.__new__.__module__ == "__main__"
    else:
        runs_code = False
    # pickle asks the new, still empty instance for `__setstate__`.
    asks = any(
        "__getattr__" in c.__dict__ or "__getattribute__" in c.__dict__ for c in kind.__mro__ if c.__module__ == "__main__"
    )
    if not runs_code and not asks and not isinstance(value, (list, dict)):
        return None
    _, arguments, state, items, pairs = cast("tuple[Any, ...]", object.__reduce_ex__(value, 5))
    content = (state, None if items is None else list(items), None if pairs is None else list(pairs))
    return _new_instance, arguments, content, None, None, _fill_instance


def says_how(kind: type) -> bool:
    """True if code of the notebook says how instances are pickled; what `dataclass` and `namedtuple` write doesn't count."""
    return kind in copyreg.dispatch_table or any(
        _is_notebooks(c.__dict__[name])
        for c in kind.__mro__
        if c.__module__ == "__main__"
        for name in _HOOKS
        if name in c.__dict__
    )


def _is_notebooks(function: Any) -> bool:
    function = getattr(function, "__func__", function)
    return getattr(function, "__globals__", {}).get("__name__") == "__main__"


def _as_it_is(value: Any) -> Any:
    """By its attributes, slots and elements; None where a package's class knows what else there is."""
    kind = type(value)
    packages = [c for c in kind.__mro__[:-1] if c.__module__ != "__main__" and c not in _BUILT_ON]
    if any(name in c.__dict__ for c in packages for name in _HOOKS):
        return None
    slots = {name: held for name, held in _slots(value) if held is not _NOTHING}
    base = next((c for c in _BUILT_ON if isinstance(value, c)), object)
    if kind.__basicsize__ > base.__basicsize__ + 8 * (2 + len(list(_slots(value)))):  # its attributes, its weak references
        return None  # C code keeps something there
    attributes = dict(object.__getattribute__(value, "__dict__")) if kind.__dictoffset__ else {}
    arguments = next((c.__getnewargs__(value) for c in _WITH_VALUE if isinstance(value, c)), ())
    items = list(list.__iter__(value)) if isinstance(value, list) else []
    pairs = list(dict.items(value)) if isinstance(value, dict) else []
    return _new_instance, (kind, *arguments), (attributes, slots, items, pairs), None, None, _fill_as_it_is


def _slots(value: Any) -> Iterator[tuple[str, Any]]:
    for kind in type(value).__mro__:
        for name, place in kind.__dict__.items():
            if type(place) is types.MemberDescriptorType and kind not in _BUILT_ON:
                try:
                    yield name, place.__get__(value)
                except AttributeError:
                    yield name, _NOTHING


def asks_for_more(kind: Any) -> bool:
    """True for a package's class whose `__new__` can't be called without arguments, where pickling gives it none."""
    new = kind.__new__
    if type(new) is not types.FunctionType or kind in copyreg.dispatch_table:
        return False
    if kind.__reduce_ex__ is not _PLAIN.__reduce_ex__ or kind.__reduce__ is not _PLAIN.__reduce__:
        return False
    if any(hasattr(kind, name) for name in _NEW_ARGUMENTS):
        return False
    code = new.__code__
    by_name = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    return code.co_argcount > 1 + len(new.__defaults__ or ()) or not set(by_name) <= set(new.__kwdefaults__ or ())


def asks_itself(kind: Any) -> bool:
    """True for a package's class whose `__getattr__` pickle would ask for `__setstate__` while it has nothing to answer by."""
    return (
        any(type(c.__dict__.get("__getattr__")) is types.FunctionType for c in kind.__mro__)
        and kind.__reduce_ex__ is _PLAIN.__reduce_ex__
        and kind.__reduce__ is _PLAIN.__reduce__
        and kind.__getstate__ is _PLAIN.__getstate__
        and kind not in copyreg.dispatch_table
        and not any(name in c.__dict__ for c in kind.__mro__ for name in ("__setstate__", *_NEW_ARGUMENTS))
    )


def reduce_bare(value: Any, _: Any = None) -> Any:
    """An instance made by the `__new__` of the interpreter's class that its own is built on, and given its attributes."""
    if type(value).__reduce__ is not _PLAIN.__reduce__:  # which forgets something: pint's, of which registry a quantity is
        state = _PLAIN.__getstate__(value)
        return _new_bare, (type(value),), (state, None, None), None, None, _fill_instance
    _, arguments, state, items, pairs = cast("tuple[Any, ...]", object.__reduce_ex__(value, 5))
    content = (state, None if items is None else list(items), None if pairs is None else list(pairs))
    return _new_bare, arguments, content, None, None, _fill_instance


def _refuse_watched(value: Any) -> None:
    """An instance whose end the notebook waits for ends with the process of its step."""
    for watch in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        found = watch.peek()
        if found is not None and found[0] is value and getattr(found[1], "__module__", "") in {"__main__", "builtins"}:
            raise Refused("what weakref.finalize calls once it is gone would be called when its step ends")


def _reduce_set(value: Any) -> Any:
    kind = type(value)
    _, (items,), state = cast("tuple[Any, ...]", value.__reduce__())
    made = sets.recipe(value) if sets.is_odd(value) else sets.Recipe(((items, []),))
    if made is None:
        raise Refused(f"the order of the elements of a {kind.__name__} can't be had again")
    if isinstance(value, frozenset):
        return _new_frozenset, (kind, made), (state, None, None), None, None, _fill_instance
    return _new_instance, (kind,), (state, made, None), None, None, _fill_instance


# -- what unpickling calls -----------------------------------------------------------------------------------------


def _new_instance(kind: Any, *arguments: Any) -> Any:
    maker = next(c.__dict__["__new__"] for c in kind.__mro__ if "__new__" in c.__dict__ and c.__module__ != "__main__")
    return maker(kind, *arguments) if arguments else maker(kind)


def _new_bare(kind: Any, *arguments: Any) -> Any:
    makers = (c.__dict__["__new__"] for c in kind.__mro__ if "__new__" in c.__dict__)
    return next(maker for maker in makers if isinstance(maker, types.BuiltinFunctionType))(kind, *arguments)


def _new_frozenset(kind: Any, made: sets.Recipe | settables.Table) -> Any:
    return sets.build(made, lambda elements: _new_instance(kind, elements))


def _fill_instance(value: Any, content: tuple[Any, Any, Any]) -> Any:
    state, items, pairs = content
    if items is not None:
        sets.fill(value, items) if isinstance(value, set) else list.extend(value, items)
    for key, item in pairs or ():
        dict.__setitem__(value, key, item)
    if state is not None and hasattr(type(value), "__setstate__"):
        value.__setstate__(state)
    elif state is not None:
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        for name, item in {**(attributes or {}), **(slots or {})}.items():
            object.__setattr__(value, name, item)
    return value


def _fill_as_it_is(value: Any, content: tuple[Any, Any, Any, Any]) -> Any:
    attributes, slots, items, pairs = content
    if attributes:
        object.__getattribute__(value, "__dict__").update(attributes)
    for name, item in slots.items():
        object.__setattr__(value, name, item)
    if items:
        list.extend(value, items)
    for key, item in pairs:
        dict.__setitem__(value, key, item)
    return value
