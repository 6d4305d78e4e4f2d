"""Each rule of parity, and what takes it away: a narrow change of the real analysis, engine or runtime.

`RULES` says which random programs show that a rule is needed: they agree with it, and differ without it. To find seeds for a rule
(after a change of the programs, say): `python -m tests.parity.mutants [RULE...]`, which prints rows for `SEEDS` in `test_rules.py`.
"""

from __future__ import annotations

import ast
import functools
import os
import random
import re
import sys
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlops_lab import flow, results
from mlops_lab import plan as plan_module
from mlops_lab.results import Recipe, ResultStore
from mlops_lab.runtime.load import runtime_module
from mlops_lab.scopes import children
from mlops_lab.syntax import forget
from mlops_lab.targets import Options, local, undo

from . import inprocess, process
from .inprocess import verdict, verdict_twice
from .process import ambient, definitions, kit, pack, quick
from .programs import cells_of, edited, program

Away = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Rule:
    """`about`: themes of the programs (random ones if empty); `tag`: one that a cell must have, for the search to look at a program.

    `edit`: run an edited notebook twice instead, edited in this way.
    """

    name: str
    away: Away
    about: tuple[str, ...] = ()
    edit: str = ""
    fixed_graph: bool = False
    tag: str = ""


RULES: dict[str, Rule] = {}


def rule(name: str, *about: str, edit: str = "", fixed_graph: bool = False, tag: str = "") -> Callable[[Away], Away]:
    def add(away: Away) -> Away:
        RULES[name] = Rule(name, away, about, edit, fixed_graph, tag)
        return away

    return add


def outcome(seed: int, of: Rule, folder: Path) -> tuple[str, str]:
    """(`equal`, `refused`, `different` or `broken`, what differs): broken is a difference that the user is told of."""
    forget()  # what the analysis has found with a rule, or without, is kept on the trees
    if of.edit:
        kind, what, _ = verdict_twice(edited(random.Random(seed), of.edit), seed, folder)
    else:
        kind, what, _ = verdict(cells_of(program(random.Random(seed), of.about)), seed, folder)
    loud = kind == "different" and what.startswith(("broken", "engine"))
    return "broken" if loud else kind, what


def placed(patch: pytest.MonkeyPatch, of: Rule) -> None:
    """What programs of a rule run under, with the rule and without."""
    if of.fixed_graph:
        patch.setattr(inprocess, "Options", functools.partial(Options, fixed_graph=True))


# -- the engine --------------------------------------------------------------------------------------------------------


@rule("ordered commit", "core")
def _no_commit(patch: pytest.MonkeyPatch) -> None:
    """Results that were made from versions which have been replaced count."""
    patch.setattr(local, "stale_input", lambda *arguments: None)


@rule("a binding that does not happen passes the earlier value on", "core")
def _no_pass_through(patch: pytest.MonkeyPatch) -> None:
    """A name comes from the latest step that may bind it, whether or not it did."""
    plans: list[Any] = []
    make_plan, apply_outputs = plan_module.make_plan, results.apply_outputs

    def made(pipeline: Any) -> Any:
        plans.append(make_plan(pipeline))
        return plans[-1]

    def apply(current: dict[str, Any], result: Any) -> None:
        effects = plans[-1][result.step].effects
        for name in effects.may_bind - effects.binds - result.outputs.keys():
            current.pop(name, None)
        apply_outputs(current, result)

    patch.setattr(inprocess, "make_plan", made)
    patch.setattr(local, "apply_outputs", apply)


@rule("deletions are passed on", "core")
def _no_deletions(patch: pytest.MonkeyPatch) -> None:
    def apply(current: dict[str, Any], result: Any) -> None:
        kept = {name: output for name, output in result.outputs.items() if output is not None}
        results.apply_outputs(current, msgspec.structs.replace(result, outputs=kept))

    patch.setattr(local, "apply_outputs", apply)


@rule("files have versions", "core", "files", "files")
def _no_file_versions(patch: pytest.MonkeyPatch) -> None:
    """Neither edges nor stale inputs nor refusals come from files."""
    patch.setattr(plan_module.Paths, "overlapping", lambda self, path, sure=True: iter(()))
    patch.setattr(local, "apply_outputs", _without_files(results.apply_outputs))
    patch.setattr(undo.Undo, "conflict", lambda self, task, attempt, result: None)
    patch.setattr(undo.Undo, "seen_before", lambda self, task, attempt, result: "")


def _without_files(apply_outputs: Callable[..., None]) -> Callable[..., None]:
    return lambda current, result: apply_outputs(current, msgspec.structs.replace(result, files_written={}))


# -- bundles and values ------------------------------------------------------------------------------------------------


@rule("names that share an object travel together", "core")
def _no_bundles(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(kit, "partition", lambda packed: [(member,) for member in packed])


@rule("arrays that share memory do so again", "core", "arrays", "arrays")
def _no_views(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pack.mem, "pieces", lambda values, copied, internal: [])


@rule("arrays keep their strides and their flags", "core", "arrays", "arrays")
def _no_strides(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pack.mem, "reduce_array", lambda value, packer: NotImplemented)


@rule("sets keep their order", "sets")
def _no_set_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pack.sets, "is_odd", lambda value: False)


@rule("closures share their cells", "closures")
def _no_cells(patch: pytest.MonkeyPatch) -> None:
    """Each function takes copies of the cells that it closes over."""
    arguments_of = definitions.function_arguments

    def function_arguments(function: Any) -> Any:
        code, name, closure = arguments_of(function)
        return code, name, closure and tuple(types.CellType(cell.cell_contents) for cell in closure)

    patch.setattr(definitions, "function_arguments", function_arguments)


@rule("the global generators are not copied", "core", "random", "random", "calls")
def _no_singletons(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pack.standins, "_SINGLETONS", ())


@rule("exceptions come back with what they hold", "exceptions", "core")
def _no_exceptions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pack.exceptions, "reduce", lambda value: NotImplemented)


@rule("code of the notebook does not run again to make an instance", "instances", "classes", "core")
def _no_instances(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pack.instances, "reduce", lambda value, own_way: None)


@rule("what can't be passed is refused", "core")
def _no_refusals(patch: pytest.MonkeyPatch) -> None:
    """It is left out instead."""

    class Kit(process.Kit):
        def _report(self, news: dict[str, Any]) -> None:
            outputs = {n: o for n, o in news.get("outputs", {}).items() if not (o and o["version"][0].startswith("refused:"))}
            super()._report({**news, "outputs": outputs} if outputs else news)

    patch.setattr(process, "Kit", Kit)


@rule("what a step loaded is digested again after it", "core")
def _no_change_detection(patch: pytest.MonkeyPatch) -> None:
    """Only what a step binds anew is stored."""

    class Kit(process.Kit):
        def begin(self) -> None:
            super().begin()
            self.loaded = {m: self._value(m) for m in self.origin}

        def _store_group(self, group: tuple[str, ...], packed: Any, outputs: Any) -> None:
            if not all(m in self.loaded and self._value(m) is self.loaded[m] for m in group):
                super()._store_group(group, packed, outputs)

    patch.setattr(process, "Kit", Kit)


# -- functions and classes ---------------------------------------------------------------------------------------------


@rule("functions read their globals when they are called", "core", "calls", "calls")
def _no_late_binding(patch: pytest.MonkeyPatch) -> None:
    """They get a copy of the namespace that they are loaded into."""

    def make_function(code: Any, name: str, closure: Any) -> Any:
        return types.FunctionType(code, dict(loaders[-1].space.names), name, None, closure)  # type: ignore[name-defined] # noqa: F821

    patch.setattr(definitions.make_function, "__code__", make_function.__code__)  # pickles refer to the function itself


@rule("what functions need comes along with them", "core", "calls", "calls")
def _no_needs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(definitions, "free_globals", lambda function: set())


@rule("a class is one object for all its instances", "core", "classes", "classes")
def _no_class_identity(patch: pytest.MonkeyPatch) -> None:
    """Each reference to a class makes a class of its own, with the same content."""

    def find(key: str) -> Any:
        found = loaders[-1].definition(key)  # type: ignore[name-defined] # noqa: F821
        if type(found) is not type:
            return found
        own = {k: v for k, v in vars(found).items() if k not in ("__dict__", "__weakref__")}
        return type(found.__name__, found.__bases__, own)

    patch.setattr(definitions.find, "__code__", find.__code__)


# -- the analysis ------------------------------------------------------------------------------------------------------


def _all_paths(*kinds: type[ast.AST]) -> Away:
    """All that these statements may bind counts as bound."""

    def away(patch: pytest.MonkeyPatch) -> None:
        for kind in kinds:
            patch.setitem(flow._VISITS, kind, lambda walk, node: walk.run(children(node)))

    return away


rule("reads in short circuits are sound", "paths")(_all_paths(ast.BoolOp, ast.IfExp, ast.Compare))
rule("reads around if are sound", "paths")(_all_paths(ast.If))
rule("reads around try are sound", "paths")(_all_paths(ast.Try))
rule("reads around loops are sound", "core")(_all_paths(ast.For, ast.While))
rule("reads around match are sound", "core")(_all_paths(ast.Match))
rule("reads around with are sound", "core")(_all_paths(ast.With))


@rule("code that can't be analysed reads everything", "core", "reflection", "reflection")
def _no_opaque(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(flow, "_REFLECTION", frozenset())


@rule("imports are replayed", "core", "random")
def _no_imports(patch: pytest.MonkeyPatch) -> None:
    replay = plan_module.replay
    patch.setattr(plan_module, "replay", lambda *arguments: [item for item in replay(*arguments) if not item.is_import])


@rule("configuration is replayed", "core", "ambient")
def _no_configuration(patch: pytest.MonkeyPatch) -> None:
    replay = plan_module.replay
    patch.setattr(plan_module, "replay", lambda *arguments: [item for item in replay(*arguments) if item.is_import])
    patch.setattr(plan_module, "left_over", lambda items, chosen: [])


@rule("what a step changes of a setup cell is passed on", tag="setup")
def _no_changed_setup(patch: pytest.MonkeyPatch) -> None:
    """What the replayed cells bound stays as they bound it."""

    class Kit(process.Kit):
        def load(self) -> None:
            current = self.current
            self.current = {name: version for name, version in current.items() if name not in self.names}
            super().load()
            self.inputs.update({name: current[name] for name in current.keys() - self.current.keys()})

    patch.setattr(process, "Kit", Kit)


# -- state outside variables -------------------------------------------------------------------------------------------


@rule("random generators are variables", "core", "random", "random")
def _no_randomness(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plan_module.Plan, "seeded", False)


def _no_state(*names: str) -> Away:
    def away(patch: pytest.MonkeyPatch) -> None:
        for name in names:
            patch.delitem(ambient.STATES, name)

    return away


rule("the working folder is passed on", "ambient", "core")(_no_state("@cwd"))
rule("the environment is passed on", "ambient", "core")(_no_state("@environ"))
rule("sys.path is passed on", "ambient", "core")(_no_state("@sys.path"))
rule("options of pandas are passed on", "ambient", "core")(_no_state("@pandas"))
rule("options of NumPy are passed on", "ambient", "core")(_no_state("@numpy.print", "@numpy.err"))
rule("warning filters are passed on", "ambient", "core")(_no_state("@warnings.filters"))
rule("levels of loggers are passed on", "ambient", "core")(_no_state("@logging"))
rule("the context of decimals is passed on", "ambient", "core")(_no_state("@decimal"))


@rule("cells have their numbers", "core")
def _no_numbers(patch: pytest.MonkeyPatch) -> None:
    class Kit(process.Kit):
        def _number_cells(self) -> None:
            pass

    patch.setattr(process, "Kit", Kit)


@rule("results of other steps' cells are refused", "core")
def _no_history(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(flow, "_HISTORY", re.compile("(?!)"))


# -- the cache ---------------------------------------------------------------------------------------------------------


def _key_without(field: str, empty: Any) -> Away:
    def away(patch: pytest.MonkeyPatch) -> None:
        whole = Recipe.digest.fget  # type: ignore[attr-defined]
        patch.setattr(Recipe, "digest", property(lambda self: whole(msgspec.structs.replace(self, **{field: empty}))))

    return away


rule("the cache key has the code", edit="code")(_key_without("cells", {}))
rule("the cache key has the setup cells", edit="setup")(_key_without("prelude", ""))
rule("the cache key has the parameters", edit="parameter")(_key_without("parameters", {}))


@rule("the cache key has the input versions", edit="value")
def _no_inputs_in_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(results, "stale_input", lambda *arguments: None)


@rule("the cache key has the files that were read", edit="file")
def _no_files_in_key(patch: pytest.MonkeyPatch) -> None:
    usable = ResultStore._usable

    def of_files_of_steps(self: Any, result: Any, current: Any, keep: Any) -> bool:
        read = {path: content for path, content in result.files_read.items() if f"file:{path}" in current}
        return usable(self, msgspec.structs.replace(result, files_read=read), current, keep)

    patch.setattr(ResultStore, "_usable", of_files_of_steps)


@rule("a result that lacks what a later step now reads is no hit", edit="show")
def _no_cover(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(results, "_covers", lambda kept, wanted: True)


# -- fixed graphs ------------------------------------------------------------------------------------------------------


@rule("a fixed graph is guarded", "core", fixed_graph=True)
def _no_guard(patch: pytest.MonkeyPatch) -> None:
    guard = runtime_module("guard")
    patch.setattr(guard, "undeclared", lambda *arguments: [])
    patch.setattr(guard, "missing_inputs", lambda *arguments: [])


# -- the search for seeds ----------------------------------------------------------------------------------------------


def search(of: Rule, folder: Path, wanted: int = 3, seconds: float = 40.0) -> tuple[list[int], int]:
    """(seeds that agree with the rule and silently differ without it, seeds tried)."""
    found: list[int] = []
    started = time.monotonic()
    seed = -1
    while len(found) < wanted and time.monotonic() - started < seconds:
        seed += 1
        if of.tag and all(of.tag not in tags for tags, _ in program(random.Random(seed), of.about)):
            continue
        with pytest.MonkeyPatch.context() as patch:
            placed(patch, of)
            with pytest.MonkeyPatch.context() as inner:
                of.away(inner)
                differs = outcome(seed, of, folder)[0] == "different"
            if differs and outcome(seed, of, folder)[0] in {"equal", "refused"}:
                found.append(seed)
    return found, seed + 1


def main(names: Sequence[str]) -> None:
    if "PYTHONHASHSEED" not in os.environ:
        os.execve(sys.executable, [sys.executable, "-m", "tests.parity.mutants", *names], {**os.environ, "PYTHONHASHSEED": "0"})
    with quick() as folder:
        for name in names or RULES:
            found, tried = search(RULES[name], folder)
            print(f"    {name!r}: {tuple(found)},  # of {tried}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
