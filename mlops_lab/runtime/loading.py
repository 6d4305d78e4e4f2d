"""Loads what a step works with into its kernel: variables, the definitions and functions that they need, states.

A variable comes with its whole bundle, the definitions that it refers to before it, what its functions use after it. Names and
bundles are those of the step's order (see `kit.py`).
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import sys
import types
from typing import Any

from . import ambient, modules, reloaded
from .definitions import name_replayed
from .generators import GeneratorUse
from .memory import InputRefused
from .pack import Space, unpack, unpack_skeleton
from .postponed import Postponed
from .states import StateUse
from .store import Bundle, Store

IPYTHONS_OWN = re.compile(r"_|__|___|_\d+|_i{1,3}|_i\d+|_ih|_oh|_dh|_exit_code|In|Out|get_ipython|exit|quit|open|__\w+__")
DELETED = "deleted:"  # in place of a version's bundle
# What the order of a caller may leave out that only loads or only stores.
_UNLESS_ORDERED: dict[str, Any] = {
    "sources": (), "reads": None, "keep": None, "current": {}, "imports": {}, "configuration": (), "seeded": False,
    "modules": (), "dotted": (), "own_configuration": (), "guard": None, "threads": 0,
}  # fmt: skip


class Loader:
    """One step's inputs, in the namespace of its kernel."""

    def __init__(self, order: dict[str, Any], shell: Any) -> None:
        self.order = {**_UNLESS_ORDERED, **order}
        self.shell = shell
        self.names: dict[str, Any] = shell.user_ns
        self.current: dict[str, list[str]] = self.order["current"]
        self.store = Store(order["store"])
        self.space = Space(self.names, order["step"])
        self.bundles: dict[str, Bundle] = {}
        self.origin: dict[str, str] = {}  # loaded member -> its bundle
        self.applied: set[str] = set()
        self.patched: dict[str, Any] = {}  # loaded member of a module or package -> its value
        self.wanted: list[str] = []
        self.inputs: dict[str, list[str] | None] = {}
        self.replayed: list[str] = []  # members `def:KEY` of what setup cells define, alike in every step
        self.loading: list[str] = []
        self.figures = False  # whether a figure came with the inputs
        self.generators = GeneratorUse()
        self.states = StateUse(self.order, self.current, self.generators, shell)

    def restore(self) -> list[str]:
        """Make the kernel what it is when the step begins, and give the names of the states that were put back."""
        self.states.import_own()
        reloaded.watch(self.order["folder"], self.order["step"], self.order["sources"], self.order["numbers"])
        if "@modules" in self.current:  # before values are loaded that hold something of these
            ambient.write("@modules", self._content(self.current["@modules"][0]))
        self.replayed = [f"def:{key}" for key in name_replayed(self.space, [source for _, source in self.order["sources"]])]
        self.load()
        self._import_submodules()
        self._configure()
        if self.order["threads"]:  # a forked kernel has its libraries loaded: they no longer look at the environment
            with contextlib.suppress(ImportError):
                importlib.import_module("threadpoolctl").threadpool_limits(self.order["threads"])
        applied = self.states.put_back(self._content)
        reloaded.begin(modules.local(self.order["folder"]), self.names)
        return applied

    def load(self) -> None:
        """Bind the variables to be read, and what the functions among them need in turn."""
        reads = self.order["reads"]
        everything = [n for n in self.current if n[0] != "@" and ":" not in n]
        # What the prelude bound may have a newer version, which the step might see or replace.
        replayed = [n for n in self.names if n in self.current]
        # Reads don't tell which modules a step's functions end up in, so what local modules hold always comes along.
        held = [n for n in self.current if n.startswith(modules.KINDS)]
        # Nor which instances and functions come along, whose replayed classes and functions a step above has changed.
        changed = [
            n for n in self.replayed
            if n in self.current and (
                reads is None or n.partition("/")[2] in reads or not self.current[n][0].startswith("refused:"))
        ]  # fmt: skip
        wanted = {*(everything if reads is None else reads), *replayed, *held, *changed}
        # As they came to be, which `__subclasses__()` tells.
        place = {name: i for i, name in enumerate(self.current)}
        self.wanted = sorted(wanted, key=lambda name: (place.get(name, len(place)), name))
        for name, value in self.names.items():
            if name not in self.current and not isinstance(value, types.ModuleType) and not IPYTHONS_OWN.fullmatch(name):
                self.inputs[name] = None  # bound by the prelude as long as no step above binds it
        self.inputs.update({name: None for name in self.replayed if name not in self.current})
        for name in self.wanted:  # grows while functions tell what else they need
            self._load(name)

    def _import_submodules(self) -> None:
        """Import what the code names as a part of a package (`mpl.pyplot`), where a step above has brought that part in."""
        for root, *chain in self.order["dotted"]:
            module = self.names.get(root)
            for attribute in chain:
                if not isinstance(module, types.ModuleType) or not hasattr(module, "__path__"):
                    break
                if attribute not in vars(module):
                    with contextlib.suppress(ImportError, AttributeError, ValueError):
                        if importlib.util.find_spec(f"{module.__name__}.{attribute}"):
                            importlib.import_module(f"{module.__name__}.{attribute}")
                module = getattr(module, attribute, None)

    def _configure(self) -> None:
        """Run the configuration of the cells above for modules that only came in with the inputs, or once they come in."""
        if self.figures:
            # Figures are shown by a formatter that exists once pyplot has loaded its backend.
            pyplot = importlib.import_module("matplotlib.pyplot")
            if not pyplot.get_fignums():
                pyplot.switch_backend(pyplot.get_backend())

        def run(code: str) -> None:
            exec(code, {"__name__": "__main__", "get_ipython": lambda: self.shell})

        waiting = []
        for configured, code in self.order["configuration"]:
            if any(module in sys.modules for module in configured):
                run(code)
            else:
                waiting.append((configured, code))
        Postponed(waiting, run)

    def _load(self, name: str) -> None:
        if name in self.inputs:
            return
        version = self.current.get(name)
        self.inputs[name] = version
        if version is None:
            if name not in self.names:
                for statement in self.order["imports"].get(name, ()):
                    exec(statement, self.names)
            return
        if version[0] == DELETED:
            self.names.pop(name, None)
            return
        if version[0].startswith("refused:"):
            raise InputRefused(version[0].partition(":")[2])
        if self.order["guard"] and version[0] not in self.store:  # where steps share no disk
            step = self.order["step"]
            raise InputRefused(
                f"a function that step {step!r} was given needs {name!r}, which is too large to travel to every step. Name it "
                f"in the notebook's metadata, mlops_lab.steps.{step}.uses, or let a run record it: mlops-lab run "
                f"NOTEBOOK --learn."
            )
        self._load_bundle(version[0])

    def _load_bundle(self, name: str) -> None:
        if name in self.applied:
            return
        self.applied.add(name)
        bundle = self._open(name)
        for key in bundle.header.references:
            self._load(f"def:{key}")
        self.loading.append(name)
        try:
            stream = bundle.part(bundle.header.stream)
            self.figures |= b"matplotlib.figure" in bytes(stream)
            content = unpack(stream, bundle.buffers(), self)
        except (InputRefused, ImportError, OSError, MemoryError):
            raise
        except Exception as error:  # its class takes no state back that its own pickling gave, say
            raise InputRefused(_not_loaded(bundle.header.members, error)) from error
        finally:
            self.loading.pop()
        for member, value in content.items():
            if self.current.get(member, ("",))[0] == name:
                self.origin[member] = name
                self.inputs[member] = self.current[member]
                if member.startswith(modules.KINDS):
                    modules.put(member, value, self.names)
                    self.patched[member] = value
                elif not member.startswith("def:"):
                    self.names[member] = value
        self.wanted += bundle.header.needs
        self.wanted += [n for key, names in bundle.header.bound.items() if f"def:{key}" in content for n in names]

    def _open(self, name: str) -> Bundle:
        if name not in self.bundles:
            self.bundles[name] = self.store.open(name)
        return self.bundles[name]

    def _content(self, name: str) -> bytes:
        bundle = self._open(name)
        return bundle.part(bundle.header.stream).tobytes()

    def definition(self, key: str) -> Any:
        """The definition of a key, as an empty shell if its state wasn't loaded yet."""
        if key not in self.space.objects:
            if f"def:{key}" not in self.current:
                raise InputRefused(
                    f"ML201: {key.rpartition('/')[2]!r} of a setup cell is no longer what it was when a value that this step "
                    f"reads was made. Define it once, in a cell that is no setup cell."
                )
            bundle = self._open(self.current[f"def:{key}"][0])
            self.space.add(key, unpack_skeleton(bundle.part(bundle.header.skeletons[key]), self))
        return self.space.objects[key]

    def definition_to_fill(self, key: str) -> Any:
        """The shell that a bundle's state belongs to; None if a later step left another version of it."""
        if self.current[f"def:{key}"][0] != self.loading[-1]:
            return None
        return self.definition(key)


def _not_loaded(members: list[str], error: Exception) -> str:
    names = ", ".join(repr(member.partition("/")[2] or member) for member in members[:3])
    return (
        f"ML201: {names} can't be passed to another step: what was stored can't be put together again ("
        f"{type(error).__name__}: {error}). Create it in the step that uses it, put it in a setup cell, or merge the two steps."
    )
