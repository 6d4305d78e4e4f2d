"""Pipeline + effects -> Plan: for each step what it must load, keep and replay, and the edges, each with its reasons.

The edges schedule; they don't decide results. A local run checks the versions of what each step really used and runs
again whatever was started too early, so a missing edge costs time and a superfluous one costs parallelism.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from mlops_lab.effects import Effects, Survey, effects_of, sharing, survey
from mlops_lab.files import UNKNOWN
from mlops_lab.notebook import Cell
from mlops_lab.pipeline import Pipeline, Step
from mlops_lab.prelude import Item, import_names, is_replayable, items_in, left_over, replay, setup_before
from mlops_lab.scopes import module_names


@dataclass(frozen=True, order=True)
class Reason:
    """Why one step follows another. `kind`: variable, file, order (an `after:` tag), gate, randomness, state, opaque."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return self.name if self.kind == "variable" else f"{self.kind} {self.name}".strip()


@dataclass(frozen=True)
class Edge:
    """`target` runs after `source`."""

    source: str
    target: str
    reasons: tuple[Reason, ...]

    @property
    def label(self) -> str:
        return ", ".join(str(reason) for reason in self.reasons)


@dataclass(frozen=True)
class StepPlan:
    """What the analysis knows of one step.

    `reads`: the variables to load (None: all of them); `keep`: those to store if the step binds or changes them (None:
    all); `prelude`: the statements to replay first; `configuration`: (modules, code) to run if one of these modules comes in
    with the inputs; `imports`: name -> statement, for a name that only a loaded
    function turns out to need; `bound_in`: variable -> number of the last cell of the step that may bind it.
    """

    step: Step
    effects: Effects
    reads: frozenset[str] | None
    keep: frozenset[str] | None
    prelude: tuple[Item, ...] = ()
    configuration: tuple[tuple[list[str], str], ...] = ()
    imports: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bound_in: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def writes(self) -> frozenset[str]:
        """Variables that it may bind, delete or change in place: a guess, better for what a run has learnt."""
        return self.effects.writes | frozenset(self.step.settings.changes)

    @property
    def draws(self) -> bool:
        """True if it seeds or draws from a global random generator, for all that is known."""
        learnt = any(name.startswith("@") and "random" in name for name in self.step.settings.changes)
        return self.effects.draws or self.effects.seeds or learnt


@dataclass(frozen=True)
class Plan:
    """The pipeline with all that the analysis found, steps in notebook order."""

    pipeline: Pipeline
    steps: tuple[StepPlan, ...]
    edges: tuple[Edge, ...]
    survey: Survey
    imported: frozenset[str] = frozenset()  # names that only import statements bind

    def __getitem__(self, name: str) -> StepPlan:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, StepPlan]:
        return {step.name: step for step in self.steps}

    @cached_property
    def sources(self) -> dict[str, frozenset[str]]:
        """Step -> the steps it waits for."""
        found: dict[str, set[str]] = {step.name: set() for step in self.steps}
        for edge in self.edges:
            found[edge.target].add(edge.source)
        return {name: frozenset(names) for name, names in found.items()}

    def upstream(self, names: Iterable[str]) -> frozenset[str]:
        """These steps and all that they wait for, directly or not."""
        return _closure(names, self.sources)

    def downstream(self, names: Iterable[str]) -> frozenset[str]:
        """These steps and all that wait for them."""
        targets: dict[str, set[str]] = {step.name: set() for step in self.steps}
        for edge in self.edges:
            targets[edge.source].add(edge.target)
        return _closure(names, targets)

    @cached_property
    def cycle(self) -> tuple[str, ...]:
        """The steps of a cycle of edges (possible only through `after:`), or nothing."""
        try:
            graphlib.TopologicalSorter(self.sources).prepare()
        except graphlib.CycleError as error:
            return tuple(reversed(error.args[1]))
        return ()

    @cached_property
    def cell_effects(self) -> dict[int, Effects]:
        """Number of a cell -> what the cell does by itself; cells outside the pipeline included."""
        return {cell.number: effects_of(cell.tree.body, self.survey) for cell in self.pipeline.notebook.cells}

    @cached_property
    def seeded(self) -> bool:
        """True if some code seeds a global generator: its state is then passed on from step to step."""
        learnt = any("random" in name for step in self.steps for name in step.step.settings.changes if name.startswith("@"))
        return (
            learnt
            or any(step.effects.seeds for step in self.steps)
            or any(self.cell_effects[cell.number].seeds for cell in self.pipeline.setup)
        )


def _closure(names: Iterable[str], next_of: Mapping[str, Iterable[str]]) -> frozenset[str]:
    seen: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += next_of[name]
    return frozenset(seen)


def make_plan(pipeline: Pipeline) -> Plan:
    """Analyse a pipeline. Never raises: what is wrong is for `checks.py` to say."""
    cells = [cell for cell in pipeline.notebook.cells if cell.in_pipeline]
    known = survey([cell.tree for cell in cells])
    imported = import_names(cells)
    effects: dict[str, Effects] = {}
    above: list[ast.Module] = [cell.tree for cell in cells if not any(cell in step.cells for step in pipeline.steps)]
    for step in pipeline.steps:
        above += [cell.tree for cell in step.cells]
        here = replace(known, shared=sharing(above, known.modules))  # what a step below aliases is no matter here
        own = effects_of([s for cell in step.cells for s in cell.tree.body], here)
        effects[step.name] = replace(own, reads=own.reads | frozenset(step.settings.uses))
    items = [item for cell in cells for item in items_in(cell) if is_replayable(item, imported)]
    read_anywhere = frozenset().union(*(e.reads for e in effects.values()), known.late_names) | _loaded(cells)
    # Names that nothing binds are builtins, and nothing to store; star imports and opaque code may bind any name.
    stars = any(item.binds & {"*"} for item in items)
    stores = [module_names(cell.tree.body)[1] for cell in cells]
    certain = not stars and not any(e.opaque for e in effects.values())
    bound = frozenset[str]().union(*stores, *(e.may_bind for e in effects.values())) if certain else None
    steps = []
    for position, step in enumerate(pipeline.steps):
        own = effects[step.name]
        in_setup = {c.number for c in setup_before(cells, step.first)}
        earlier = [i for i in items if i.cell.number < step.first and i.cell.number not in in_setup]
        needed = own.reads | own.may_bind | known.late_names if own.opaque else own.reads
        needed = needed.union(*(effects_of(c.tree.body, known).reads for c in setup_before(cells, step.first)))
        later = [effects[s.name] for s in pipeline.steps[position + 1 :]]
        keep = None
        if not any(e.opaque for e in later):
            keep = (frozenset[str]().union(*(e.reads for e in later)) | known.late_names) - imported
            keep = keep if bound is None else keep & bound
        prelude = replay(earlier, needed, read_anywhere, step.cells)
        imports: dict[str, tuple[str, ...]] = {}
        for item in earlier:
            for name in item.binds if item.is_import else ():
                imports[name] = (*imports.get(name, ()), item.code)
        steps.append(
            StepPlan(
                step,
                own,
                reads=None if own.opaque else own.reads - imported,
                keep=keep,
                prelude=tuple(prelude),
                configuration=tuple(left_over(earlier, prelude)),
                imports=imports,
                bound_in=_bound_in(step, known),
            )
        )
    plan = Plan(pipeline, tuple(steps), (), known, imported)
    return replace(plan, edges=_edges(plan))


def _loaded(cells: Iterable[Cell]) -> frozenset[str]:
    return frozenset[str]().union(*(module_names(cell.tree.body)[0] for cell in cells))


def _bound_in(step: Step, known: Survey) -> dict[str, int]:
    return {name: cell.number for cell in step.cells for name in effects_of(cell.tree.body, known).writes}


def _edges(plan: Plan) -> tuple[Edge, ...]:
    reasons: dict[tuple[str, str], set[Reason]] = {}

    def add(source: str, target: str, kind: str, name: str = "") -> None:
        if source != target:
            reasons.setdefault((source, target), set()).add(Reason(kind, name))

    steps = plan.steps
    for position, step in enumerate(steps):
        earlier = steps[:position]
        for name in step.reads or ():
            for source in reversed(earlier):
                if name in source.writes:
                    add(source.name, step.name, "variable", name)
                if name in source.effects.binds:
                    break  # whatever is above is overwritten on every path
        for source in earlier:
            for name in source.step.settings.changes:
                if name.startswith("@") and "random" not in name:
                    add(source.name, step.name, "state", name[1:])
            if step.effects.opaque or source.effects.opaque:
                add(source.name, step.name, "opaque")
            if source.step.gate:
                add(source.name, step.name, "gate")
            for path in _shared_files(source.effects, step.effects):
                add(source.name, step.name, "file", path)
        for wanted in step.step.after:
            for source_step in plan.pipeline.group(wanted):
                add(source_step.name, step.name, "order")
    if plan.seeded:
        drawing = [s for s in steps if s.draws]
        for source, target in zip(drawing, drawing[1:], strict=False):
            add(source.name, target.name, "randomness")
    order = {step.name: i for i, step in enumerate(steps)}
    return tuple(
        Edge(source, target, tuple(sorted(found)))
        for (source, target), found in sorted(reasons.items(), key=lambda item: (order[item[0][0]], order[item[0][1]]))
    )


def _shared_files(source: Effects, target: Effects) -> set[str]:
    """Paths that both use and at least one of them writes."""
    found = set()
    for writes, uses in (
        (source.writes_files, target.reads_files | target.writes_files),
        (target.writes_files, source.reads_files | source.writes_files),
    ):
        if UNKNOWN in writes and uses:
            found.add("of unknown path")
        if UNKNOWN in uses and writes:
            found.add("of unknown path")
        found |= {path for path in writes & uses if path != UNKNOWN}
        found |= {path for path in uses - {UNKNOWN} for w in writes if path.startswith(w + "/") or w.startswith(path + "/")}
    return found
