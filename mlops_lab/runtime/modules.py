"""State of the user's own modules, beside the notebook or elsewhere: what their functions change at module level passes on.

A module's attribute is a member of the step like a variable, called `module:NAME.ATTRIBUTE` (or `module:NAME.CLASS.ATTRIBUTE`),
so that it shares its bundle with the variables that hold the same object. Functions and classes themselves are code, which each
step imports; modules that are installed are left alone, but for what is put into them from outside (`patch:...`).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import itertools
import os
import sys
import types
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from . import installed, registries, reloaded, running, session

HELD, PATCH = "module:", "patch:"
KINDS = (HELD, PATCH)
_OURS = {"__main__", "mlops_lab", "mlops_lab_runtime"}
_LARGE = 50  # modules of one package that are loaded
_NOTHING = object()
_CODE = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type, property, staticmethod, classmethod,
         types.MemberDescriptorType, types.GetSetDescriptorType)  # fmt: skip

_MADE_BY_CODE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: other classes can't be changed
_PLAIN = {str, int, float, bool, tuple, dict, list, type(None), types.MemberDescriptorType, types.GetSetDescriptorType,
          types.BuiltinFunctionType, types.WrapperDescriptorType, types.MethodDescriptorType}  # fmt: skip


def own(folder: str) -> dict[str, types.ModuleType]:
    """The imported modules whose source lies in a folder, or where nothing is installed (`installed.py`)."""
    found = {}
    for name, module in list(sys.modules.items()):
        if isinstance(module, types.ModuleType) and installed.is_own(vars(module).get("__file__") or "", folder):
            found[name] = module
    return {name: module for name, module in found.items() if name.partition(".")[0] not in _OURS}


def local(folder: str) -> dict[str, types.ModuleType]:
    """Those of them whose state passes from step to step: all but large packages that are being worked on elsewhere."""
    found = own(folder)
    base = os.path.realpath(folder) + os.sep
    many = Counter(name.partition(".")[0] for name in found)
    large = {root for root, count in many.items() if count > _LARGE}
    return {
        name: module for name, module in found.items()
        if name.partition(".")[0] not in large or os.path.realpath(module.__file__ or "").startswith(base)
    }  # fmt: skip


def members(folder: str, only: str = "") -> dict[str, Any]:
    """Member -> value, for the data at the top level of local modules (of all, or of one) and of their classes."""
    found = {}
    for name, module in local(folder).items():
        if only and name != only:
            continue
        for attribute, value in _data(module):
            found[f"{HELD}{name}.{attribute}"] = value
        for attribute, value in list(vars(module).items()):
            if isinstance(value, type) and value.__module__ == name and "." not in value.__qualname__:
                for inner, content in _data(value):
                    found[f"{HELD}{name}.{attribute}.{inner}"] = content
    return found


def _data(holder: Any) -> Iterator[tuple[str, Any]]:
    for name, value in list(vars(holder).items()):
        if not name.startswith("__") and not isinstance(value, _CODE) and not name.startswith("_abc_"):
            yield name, value


def put_into() -> dict[str, Any]:
    """Member -> value, for what was put into IPython and registries of packages, and what runs on; it is quickly found."""
    return session.members() | registries.members(sys.modules) | running.members()


def patches() -> dict[str, Any]:
    """Member -> function (or property, accessor), for what was put into packages from outside.

    That is code of the notebook anywhere, and ways to display a class that another package made and set while it ran, as
    seaborn does to matplotlib's colour maps.
    """
    fresh = _fresh_modules()
    if _before is None or _may_have_patched(_before, fresh):
        return put_into() | _scan(sys.modules)
    found = put_into() | _scan(fresh)
    for member in _before.found:
        with contextlib.suppress(AttributeError):
            found[member] = value(member)
    return found


class _Before(NamedTuple):
    """What the parent of this kernel had, where kernels are forked."""

    last: str  # the module that was imported last
    found: tuple[str, ...]
    young: list[None]  # an object that was made after the freeze, and so is among those that the collector looks at


_before: _Before | None = None


def remember() -> None:
    """In the parent that kernels are forked from, once it has frozen its objects: kernels look at what is new.

    To look at an object writes its reference count; in a forked process the memory around it is copied at that, which for all
    functions of the large packages takes longer than a small step.
    """
    global _before
    registries.members(sys.modules)
    _before = _Before(next(reversed(sys.modules)), tuple(_scan(sys.modules)), [])


def _fresh_modules() -> dict[str, types.ModuleType]:
    names = itertools.takewhile(lambda name: _before is None or name != _before.last, reversed(sys.modules))
    return {name: sys.modules[name] for name in names}


def _may_have_patched(before: _Before, fresh: Collection[str]) -> bool:
    """True unless all that could have been put into packages is only referred to by objects that are new, too."""
    young = gc.get_objects()
    if any(thing is _Before for thing in young) or not any(thing is before.young for thing in young):
        return True  # the notebook itself has thawed or frozen objects
    referred = Counter(map(id, gc.get_referents(*young)))
    for thing in young:
        if issubclass(type(thing), type):
            home = sys.modules.get(thing.__module__) if thing.__module__ not in {"__main__", *fresh} else None
            if home is not None and any(value is thing for value in list(vars(home).values())):
                return True  # a new class in a module that isn't
        # Three references are the list's, the loop's and the call's.
        elif _could_be_patch(thing) and sys.getrefcount(thing) > referred[id(thing)] + 3:
            return True
    return False


def _could_be_patch(thing: Any) -> bool:
    function = thing if type(thing) is types.FunctionType else _code_in(thing)
    if function is None:
        return False
    name = getattr(function, "__name__", "")
    return getattr(function, "__module__", None) == "__main__" or name.startswith("_repr_")


def _scan(searched: Mapping[str, types.ModuleType]) -> dict[str, Any]:
    found = {}
    for name, module in list(searched.items()):
        root = name.partition(".")[0]
        if root in {"__main__", "__mp_main__", "mlops_lab_runtime"} or not hasattr(module, "__dict__"):
            continue
        items = list(vars(module).items())
        for attribute, content in items:
            if type(content) is types.FunctionType and content.__module__ == "__main__":
                found[f"{PATCH}{name}.{attribute}"] = content
        for attribute, content in items:
            if not isinstance(content, type) or content.__module__ != name or not content.__flags__ & _MADE_BY_CODE:
                continue
            for inner, held in list(vars(content).items()):
                kind = type(held)
                if kind in _PLAIN:
                    continue
                function = held if kind is types.FunctionType else _code_in(held)
                if function is not None and _is_from_outside(inner, function, root):
                    found[f"{PATCH}{name}.{attribute}.{inner}"] = held
    return found


def _code_in(held: Any) -> Any:
    """The function behind a property or the like, the class behind an accessor of pandas or xarray or polars."""
    kind = type(held)
    if kind is property:
        return held.fget
    if kind is staticmethod or kind is classmethod:
        return held.__func__
    if kind.__dictoffset__ and kind.__name__.endswith(("Accessor", "NameSpace")):
        return vars(held).get("_ns") or vars(held).get("_accessor")
    return None


def _is_from_outside(name: str, function: Any, root: str) -> bool:
    home = getattr(function, "__module__", None) or ""
    if home == "__main__" or not name.startswith("_repr_"):
        return bool(home == "__main__")
    return home.partition(".")[0] != root and "<locals>" in function.__qualname__


def value(member: str) -> Any:
    """The value of a member, which exists. Raises `AttributeError` or `KeyError` if it doesn't."""
    if member.startswith(session.MARK):
        return session.value(member)
    if member.startswith(registries.MARK):
        return registries.value(member)
    if member.startswith(running.MARK):
        return running.value(member)
    holder, attribute = _holder(member)
    try:
        return vars(holder)[attribute]  # and not what a property or an accessor gives for it
    except KeyError:
        raise AttributeError(member) from None


def put(member: str, new: Any, names: dict[str, Any]) -> None:
    """Give a member its value; its module is imported if need be. What held the old object now holds the new one.

    `names` is the namespace of the notebook: `from helper import TABLE` binds the module's object there.
    """
    if member.startswith(session.MARK):
        session.put(member, new)
        return
    if member.startswith(registries.MARK):
        registries.put(member, new)
        return
    holder, attribute = _holder(member)
    old = vars(holder).get(attribute, _NOTHING)
    place = member.partition(":")[2]
    if member.startswith(PATCH) and f"{getattr(old, '__module__', '')}.{getattr(old, '__qualname__', '')}" == place:
        _originals.setdefault(place, old)
    if member.startswith(PATCH) and type(old) is type(new) is dict:  # which other modules of the package may hold as well
        old.clear()
        old.update(new)
    else:
        setattr(holder, attribute, new)
    if member.startswith(PATCH) or isinstance(old, (int, float, complex, str, bytes, type(None), types.FunctionType)):
        return  # what took a function's place took it there only
    for space in (names, *(vars(m) for m in list(sys.modules.values()) if _beside(m, holder))):
        for name, known in list(space.items()):
            if known is old:
                space[name] = new


_originals: dict[str, Any] = {}  # function of a package -> what it was before the notebook put its own there


def replaced(function: Any) -> str:
    """The name of a package's function that isn't found by it any more, as code of the notebook has taken its place."""
    place = f"{function.__module__}.{function.__qualname__}"
    try:
        holder, attribute = _holder(f"{PATCH}{place}")
        found = getattr(holder, attribute)
    except (AttributeError, ImportError, ValueError):
        return ""
    is_packages = getattr(function, "__globals__", None) is getattr(sys.modules.get(function.__module__), "__dict__", ())
    if found is function or not (is_packages or type(function) is types.BuiltinFunctionType):
        return ""
    return place if getattr(found, "__module__", None) == "__main__" else ""


def original(place: str) -> Any:
    """That function."""
    if place in _originals:
        return _originals[place]
    holder, attribute = _holder(f"{PATCH}{place}")
    return getattr(holder, attribute)


def _beside(module: Any, holder: Any) -> bool:
    home = getattr(sys.modules.get(getattr(holder, "__module__", "") or holder.__name__), "__file__", None) or ""
    path = getattr(module, "__file__", None) or ""
    return bool(home) and os.path.dirname(path).startswith(os.path.dirname(home))


def _holder(member: str) -> tuple[Any, str]:
    """The module or class that has the attribute, and the attribute's name."""
    parts = member.partition(":")[2].split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            holder: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:-1]:
            holder = getattr(holder, part)
        return holder, parts[-1]
    raise AttributeError(member)


class Watch(importlib.abc.MetaPathFinder):
    """Calls `imported(name)` right after the body of a local module has run, while it is active."""

    def __init__(self, folder: str, imported: Callable[[str], None]) -> None:
        self.folder = folder
        self.imported = imported

    def start(self) -> None:
        sys.meta_path[:] = [self, *(finder for finder in sys.meta_path if not isinstance(finder, Watch))]

    def stop(self) -> None:
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The spec that the other finders give, its loader made to tell when it is done."""
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target) if finder is not self else None
            if spec is None:
                continue
            if installed.is_own(spec.origin or "", self.folder) and hasattr(spec.loader, "exec_module"):
                loader: Any = spec.loader
                loader.exec_module = self._telling(loader.exec_module, target is not None)
            return spec
        return None

    def _telling(self, execute: Callable[[types.ModuleType], None], reloads: bool) -> Callable[[types.ModuleType], None]:
        def exec_module(module: types.ModuleType) -> None:
            reloaded.runs(module, reloads)
            execute(module)
            self.imported(module.__name__)

        return exec_module


class Compiled(importlib.abc.MetaPathFinder):
    """Finds the modules that `%%cython` cells were compiled to: Cython's magic loads them from a folder that is on no path."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if not name.startswith("_cython_magic_"):
            return None
        from IPython.paths import get_ipython_cache_dir

        return importlib.machinery.PathFinder.find_spec(name, [os.path.join(get_ipython_cache_dir(), "cython")])


sys.meta_path.append(Compiled())  # before values are loaded that such a module has made, in whatever process
