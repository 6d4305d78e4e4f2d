"""Loads a step's inputs into its kernel, and stores what the step leaves. Called by the step notebook's hidden cells.

`begin` runs after the prelude and the parameters; `end` after the step's cells. Both work from the step's order, a JSON
file that its engine wrote:

    step       its name, used to name what it defines
    store      folder of the bundles
    folder     the notebook's folder
    numbers    the execution counts that its cells have in the whole notebook
    sources    [execution count, source] of the notebook's cells, for tracebacks
    reads      variables to load (null: all)
    keep       variables to store if they were bound or changed (null: all)
    current    name -> [bundle, content]: the versions to start from; `def:KEY` for definitions, `@name` for states
    imports    name -> import statements, for what only a loaded function needs
    configuration  [modules, code] to run when one of these modules is there once the inputs are
    seeded     true if the state of the random generators is passed on
    modules    modules that the step's own cells import
    result     file to write to
    dotted     chains of names in the notebook's code, of which parts may be submodules
    threads    how many threads linear algebra may use (0: as it finds it)
    own_configuration  the step's configuration statements, as later steps replay them
    guard      what unrelated steps work with, where the engine's graph is fixed (see `guard.py`); else null
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import types
from collections.abc import Iterable
from typing import Any

from . import (
    ambient,
    assigned,
    books,
    called,
    counters,
    guard,
    held,
    modules,
    opened,
    registries,
    replays,
    running,
    session,
    shown,
    twins,
    unflushed,
)
from .ambient import InputRefused
from .files import OpenedFiles
from .loading import DELETED, IPYTHONS_OWN, Loader
from .pack import Packed, Refused, ends_early, numpy_atoms, pack, pack_skeleton
from .preview import preview
from .sharing import ordered, partition
from .store import Store

_MAY_PATCH = re.compile(r"^\s*\w+(\.\w+)+\s*=[^=]|\bsetattr\(", re.MULTILINE)
_ALIKE = (str, bytes, int, float, tuple, type(None))  # alike wherever configuration is replayed
_SMALL = 16 * 2**20  # bytes; what nothing reads later is kept for people only up to this size


class GuardRefused(InputRefused):
    """A step did what the fixed graph of its engine doesn't show."""


class Kit(Loader):
    """One step's loading and storing, in the namespace of its kernel."""

    def __init__(self, order: dict[str, Any], shell: Any) -> None:
        super().__init__(order, shell)
        self.before: dict[tuple[str, ...], str] = {}
        self.seconds = {"load": 0.0, "save": 0.0}
        self.replayed_values: dict[str, str] = {}
        self.imports = modules.Watch(order["folder"], self._note_module)

    # -- before the cells ----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Load the inputs, remember what they look like, and write down which versions they have."""
        started = time.perf_counter()
        ambient.step = self.order["step"]
        code = "\n".join(source for _, source in self.order["sources"])
        registries.watch(code, called.places([code], self.names))
        session.watch(code)
        running.watch()
        unflushed.put([])
        ambient.watch(self.order["folder"], code)
        counters.watch(code, self.names)
        files = _files or _watched(self.order)
        replaying = files.prelude
        files.pause()
        prelude = set(self.names)
        with files.noticing():
            self.states.import_own()  # which reads settings as an import of the step would
        applied = self.restore()
        twins.settle(self.names)
        self._baseline(prelude)
        self._note_replayed(replaying)
        self.states.look(applied)
        self.seconds["load"] = time.perf_counter() - started
        needed = sorted(name for name in set(self.wanted) if self.inputs.get(name))
        self._report({"inputs": self.inputs, "states": self.states.given, "needed": needed})
        if self.order["guard"]:
            self._refuse(guard.missing_inputs(self.order["step"], self.order["guard"], needed))
        self._number_cells()
        for name in ("_", "__", "___"):  # the last result belongs to another step until this one has a result
            self.names.pop(name, None)
        self.prelude = prelude
        self.files = files
        self.shell.events.register("post_run_cell", self._report_files_of_failure)
        files.start()
        opened.announce()
        self.generators.start(self.names)
        self.imports.start()
        shown.watch()

    def _note_replayed(self, prelude: replays.Prelude | None) -> None:
        """Which values of the prelude the step reads: they must be those that other steps have had."""
        own = {word for n, source in self.order["sources"] if n in self.order["numbers"] for word in re.findall(r"\w+", source)}
        for name in own if self.order["reads"] is None else self.order["reads"]:
            if prelude and self.inputs.get(name, "") is None and (known := prelude.value(name, self.names.get(name, ...))):
                self.replayed_values[name] = known

    def _baseline(self, prelude: set[str]) -> None:
        """Digest what was loaded, and what the prelude bound, as it is before the step's first cell."""
        numpy_atoms()
        together: dict[str, list[str]] = {}
        storable = set(self._storable(self.names))
        for member, bundle in self.origin.items():
            if ":" in member or member in storable:
                together.setdefault(bundle, []).append(member)
        for members in together.values():
            group = ordered(members)
            for subset in {group, *((m,) for m in group)}:
                self.before[subset] = self.store.digest_of(pack(self.space, subset))
        self._name_functions()
        self._note([*self._storable(prelude), *self.replayed])
        self._note_module()
        set_by_calls = self._called()  # which tells where to look for what is put into packages
        if any(_MAY_PATCH.search(source) for _, source in self.order["sources"]):
            self._note({**modules.patches(), **self._assigned()})  # what the prelude has put into packages
        else:
            self._note(modules.put_into())
        self._note(set_by_calls)

    def _note(self, members: Iterable[str]) -> None:
        """Digest what did not come with the inputs."""
        for member in members:
            if member not in self.origin:
                try:
                    self.before[(member,)] = self.store.digest_of(pack(self.space, [member]))
                except Exception:
                    self.before[(member,)] = f"unknown {id(self._value(member))}"

    def _note_module(self, name: str = "") -> None:
        """Digest what local modules hold: all, or the one whose body has just run."""
        members = modules.members(self.order["folder"], name)
        self._note(members)
        self.inputs.update({member: None for member in members if member not in self.inputs})

    def _storable(self, names: Any) -> list[str]:
        return [n for n in self._storable_names(names) if n in self.names]

    def _storable_names(self, names: Any) -> list[str]:
        keep = self.order["keep"]
        return sorted(n for n in names if not IPYTHONS_OWN.fullmatch(n) and (keep is None or n in keep))

    def _name_functions(self) -> None:
        for name, value in list(self.names.items()):
            if not IPYTHONS_OWN.fullmatch(name) and self.space.is_definition(value):
                self.space.name_definition(value)

    def _number_cells(self) -> None:
        """Give the cells the numbers, and their code the file names, that they have in a run of the whole notebook."""
        compiler = self.shell.compile
        names = {source: f"{self.order['folder']}/.ipykernel/{number}.py" for number, source in self.order["sources"]}

        def code_name(raw: str, transformed: str, number: int) -> str:
            return names.get(raw) or f"{self.order['folder']}/.ipykernel/{number}-{len(raw)}.py"

        compiler.get_code_name = code_name
        for number, source in self.order["sources"]:
            if number < self.order["numbers"][0]:
                compiler.cache(self.shell.transform_cell(source), number, raw_code=source)
        numbers = list(self.order["numbers"])
        self.shell.execution_count = numbers.pop(0)

        def next_number(result: Any) -> None:
            if result.info.store_history and numbers:
                self.shell.execution_count = numbers.pop(0)

        self.shell.events.register("post_run_cell", next_number)

    def keep_all(self) -> None:
        """Store every variable of a kernel that ran a whole notebook."""
        self.prelude, self.files = set(), OpenedFiles(self.order["folder"])
        self.end()

    # -- after the cells -----------------------------------------------------------------------------------------

    def end(self) -> None:
        """Store what the step bound or changed, and write the result."""
        with held.searched_once():
            self._end()

    def _end(self) -> None:
        self.files.stop()
        self.generators.stop()
        self.imports.stop()
        started = time.perf_counter()
        numpy_atoms()
        self._name_functions()
        outputs: dict[str, Any] = {}
        refused: dict[str, str] = {}
        storable = set(self._storable(self.names))
        names = [name for name in self.names if name in storable]
        packed: dict[str, Packed] = {}
        set_by_calls = self._set_by_calls()
        assigned_to = {**modules.members(self.order["folder"]), **modules.patches(), **self._own_assigned(), **set_by_calls}
        todo = [*names, *assigned_to, *self.replayed, *(m for m in self.origin if m.startswith("def:"))]
        for member in todo:  # grows by the definitions that are referred to
            if member in packed or member in refused:
                continue
            try:
                if ":" not in member:
                    twins.refuse_ids(self.names[member], self.names)
                packed[member] = pack(self.space, [member])
            except Exception as error:
                refused[member] = self._refusal(member, error)
                continue
            todo += sorted(f"def:{key}" for key in packed[member].references)
        for group in partition(packed):
            self._store_group(group, packed, outputs)
        for member, reason in refused.items():
            known = self.before.get((member,), "")
            if not known.startswith("unknown") or known != f"unknown {id(self._value(member))}":
                outputs[member] = {"version": [f"refused:{reason}", reason], "type": self._type(member)}
        for member in self.origin:
            if (":" not in member and member not in self.names) or (
                member not in packed and member not in refused and self._is_taken_back(member)
            ):
                outputs[member] = None
        for name in self._storable_names(self.prelude):
            if name not in self.names and name not in self.origin and (self.inputs.get(name) or [""])[0] != DELETED:
                outputs[name] = {"version": [DELETED, DELETED], "type": "deleted"}  # for the prelude binds it in each step
        unflushed.look(self.files.opened_to_write(), self.order["step"])
        self.states.store(outputs, self.store)
        undeclared = self.states.undeclared(outputs)
        books.close()
        self._keep_for_people(names, outputs)
        self.seconds["save"] = time.perf_counter() - started
        self._leave_finalizers()
        self._report(
            {
                "inputs": self.inputs,  # with what the cells' own imports brought
                "states": self.states.used(),
                "outputs": outputs,
                **_used(self.files),
                "replayed": self.replayed_values,
                "late_states": self.states.late(),
                "undeclared_states": undeclared,
                "seconds": self.seconds,
                "metrics": self._metrics(),
            }
        )
        if self.order["guard"]:
            self._refuse(guard.undeclared(self.order["step"], self.order["guard"], self.inputs, outputs, undeclared))

    def _assigned(self) -> dict[str, Any]:
        sources = [source for _, source in self.order["sources"]]
        return assigned.members(assigned.places(sources), modules.local(self.order["folder"]))

    def _own_assigned(self) -> dict[str, Any]:
        """Those that this step may have set otherwise than its configuration does, which later steps replay."""
        own = assigned.places([s for n, s in self.order["sources"] if n in self.order["numbers"] or "import" in s])
        code = "\n".join(self.order["own_configuration"])
        return {
            member: value for member, value in self._assigned().items()
            if ((member,) in self.before or member.removeprefix("patch:") in own)
            and (member in self.origin or not isinstance(value, _ALIKE) or f".{member.rpartition('.')[2]} = " not in code)
        }  # fmt: skip

    def _called(self, own: bool = False) -> dict[str, Any]:
        sources = [s for n, s in self.order["sources"] if not own or n in self.order["numbers"] or "import" in s]
        return called.members(called.places(sources, self.names), modules.local(self.order["folder"]))

    def _set_by_calls(self) -> dict[str, Any]:
        """What calls may have set; of a module that the step itself has brought in, what isn't as the module begins with."""
        found = {}
        own = self._called(own=True)
        for member, value in self._called().items():
            fresh = None if (member,) in self.before else called.is_default(member, value)
            if fresh is False or (fresh is None and member in {**own, **self.origin}) or (member,) in self.before:
                found[member] = value
        return found

    def _is_taken_back(self, member: str) -> bool:
        """True if the step has put a package's own function back in place of the notebook's."""
        if not member.startswith(modules.PATCH) or member.startswith((session.MARK, registries.MARK)):
            return False
        return self._value(member) is not self.patched[member]

    def _report_files_of_failure(self, result: Any) -> None:
        _report_failure(result, self.files, self.order["result"])

    def _refuse(self, findings: list[guard.Finding]) -> None:
        if findings:
            raise GuardRefused(findings[0].message)

    def _value(self, member: str) -> Any:
        if member.startswith("def:"):
            return self.space.objects.get(member[4:])
        try:
            return self.space.value(member)
        except (AttributeError, KeyError):
            return None

    def _store_group(self, group: tuple[str, ...], packed: dict[str, Packed], outputs: dict[str, Any]) -> None:
        single = {m: self.store.digest_of(packed[m]) for m in group}
        same = {m: single[m] == self.before.get((m,)) for m in group}
        try:
            joint = packed[group[0]] if len(group) == 1 else pack(self.space, group)
            if ends_early(self.space, group, joint):
                raise Refused("it holds weak references to something that no variable passed on holds")
        except Exception as error:
            for member in group:
                outputs[member] = {"version": [f"refused:{self._refusal(member, error)}"] * 2, "type": self._type(member)}
            return
        origins = {self.origin.get(m) for m in group}
        if len(origins) == 1 and all(same.values()):
            origin = origins.pop()
            # What came together must still be together: sharing that ended is a change, too.
            together = {m for m, b in self.origin.items() if b == origin and m in packed} if origin else set(group)
            if together == set(group) and (len(group) == 1 or self.before.get(group) == self.store.digest_of(joint)):
                return
        definitions = [m[4:] for m in group if m.startswith("def:")]
        skeletons = {key: pack_skeleton(self.space, key) for key in definitions}
        names_of = {id(v): n for n, v in self.names.items()}
        bound = {k: [names_of[id(self.space.objects[k])]] for k in definitions if id(self.space.objects[k]) in names_of}
        parts = [joint, *skeletons.values()]
        name, size = self.store.save(
            list(group),
            joint.stream,
            joint.buffers,
            skeletons={key: s.stream for key, s in skeletons.items()},
            needs=set().union(*(p.needs for p in parts)),
            references=set().union(*(p.references for p in parts)) - set(definitions),
            bound=bound,
        )
        for member in group:
            loaded = self.inputs.get(member)
            content = loaded[1] if loaded and same[member] else single[member]
            outputs[member] = {
                "version": [name, content],
                "type": self._type(member),
                "bytes": size,
                "preview": preview(self.names[member]) if member in self.names else "",
            }

    def _leave_finalizers(self) -> None:
        """Let `__del__` of the notebook's classes be: what ends with this kernel lives on in the notebook and later steps."""
        for value in [*self.names.values(), *self.space.objects.values()]:
            if isinstance(value, type) and value.__module__ == "__main__" and "__del__" in vars(value):
                del value.__del__  # type: ignore[attr-defined]

    def _keep_for_people(self, names: list[str], outputs: dict[str, Any]) -> None:
        """Values that the step bound and nothing reads later: kept where that is cheap, so that people can look."""
        known = set(names) | self.prelude | set(self.origin)
        for name in sorted(set(self.names) - known):
            value = self.names[name]
            if name.startswith("_") or IPYTHONS_OWN.fullmatch(name) or isinstance(value, types.ModuleType):
                continue
            if self.space.is_definition(value) or sys.getsizeof(value, 0) > _SMALL:
                continue
            try:
                packed = pack(self.space, [name])
                if packed.references or len(packed.stream) + sum(b.nbytes for b in packed.buffers) > _SMALL:
                    continue
                bundle, size = self.store.save([name], packed.stream, packed.buffers, needs=packed.needs)
            except Exception:
                continue
            outputs[name] = {"version": [bundle, bundle], "type": self._type(name), "bytes": size,
                             "preview": preview(value), "unread": True}  # fmt: skip

    def _metrics(self) -> dict[str, float]:
        found = {}
        for name in self.order.get("metrics", ()):
            try:
                found[name] = float(self.names[name])
            except (KeyError, TypeError, ValueError):
                continue
        return found

    def _type(self, member: str) -> str:
        kind = type(self._value(member))
        return kind.__qualname__ if kind.__module__ in {"builtins", "__main__"} else f"{kind.__module__}.{kind.__qualname__}"

    def _refusal(self, member: str, error: Exception) -> str:
        cell = self.order.get("bound_in", {}).get(member)
        where = f"step {self.order['step']!r}" + (f", cell {cell}" if cell else "")
        if isinstance(self._value(member), running.Running):
            return f"ML201: {error}. It is from {where}. Or merge that step and the ones below it that see what it does."
        name = member.partition(":")[2].rpartition("/")[2] if ":" in member else member
        reason = str(error) or type(error).__name__
        return (
            f"ML201: the variable {name!r} ({self._type(member)}, from {where}) can't be passed to another step: {reason}. "
            f"Create it in the step that uses it, put it in a setup cell, or merge the two steps."
        )

    def _report(self, news: dict[str, Any]) -> None:
        _write_down(self.order["result"], news)


def _write_down(path: str, news: dict[str, Any]) -> None:
    known = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            known = json.load(file)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump({**known, **news}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)


def _used(files: OpenedFiles) -> dict[str, Any]:
    with files.paused():
        return {
            "files_read": files.reads(),
            "files_perhaps_read": files.perhaps_read(),
            "files_written": files.writes(),
            "files_replayed": files.replayed,
        }


def _report_failure(result: Any, files: OpenedFiles, path: str) -> None:
    """A step that failed for want of a file must run again once a step above has written it."""
    if getattr(result, "error_before_exec", None) or getattr(result, "error_in_exec", None):
        used = _used(files)
        with files.paused():
            _write_down(path, used)


def before_prelude(order: dict[str, Any], shell: Any) -> None:
    """Watch what the prelude reads, and look for its modules where a step above has said."""
    global _files
    _files = _watched(order)
    _files.begin(replays.Prelude(shell, order["sources"]))
    shell.events.register("post_run_cell", lambda result: _of_prelude(result, order["result"]))
    if "@sys.path" in order["current"]:
        bundle = Store(order["store"]).open(order["current"]["@sys.path"][0])
        ambient.write("@sys.path", bundle.part(bundle.header.stream).tobytes())


def _of_prelude(result: Any, path: str) -> None:
    if _files is not None and _files.prelude is not None:
        _report_failure(result, _files, path)


_files: OpenedFiles | None = None


def _watched(order: dict[str, Any]) -> OpenedFiles:
    journal = order.get("journal")
    if journal:
        from .journal import Journal  # which stays beside the engine

        journal = Journal(**journal)
    code = "\n".join(source for _, source in order["sources"])
    return OpenedFiles(order["folder"], journal or None, code)
