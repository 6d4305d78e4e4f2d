"""Pipeline + effects -> Plan: for each step what it must load, keep and replay, and the edges, each with its reasons.

The edges schedule; they don't decide results. A local run checks the versions of what each step really used and runs
again whatever was started too early, so a missing edge costs time and a superfluous one costs parallelism.
"""

from __future__ import annotations

import ast
import builtins
import graphlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from functools import cached_property

from mlops_lab.effects import Effects, Survey, composed, passage_of, survey, with_shared
from mlops_lab.facts import facts_of
from mlops_lab.files import UNKNOWN, Paths, is_vague
from mlops_lab.logbook import AFTER, ASKS, CHOOSES, LOGS, does
from mlops_lab.notebook import Cell, StepSettings
from mlops_lab.pipeline import Pipeline, Step
from mlops_lab.prelude import Item, import_names, left_over, moves_path, replay, replayable_in, roots_in, setup_before
from mlops_lab.scopes import kinds, once
from mlops_lab.sharing import Sharing
from mlops_lab.syntax import without_collector

_ANNOTATIONS = "__annotations__"
BUILTINS = frozenset({*dir(builtins), "get_ipython", "display", "In", "Out", "exit", "quit"})
FILE = "file:"  # in front of the paths among what a step's settings say that it changes or uses


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
        return self.effects.writes | _variables(self.step.settings.changes)

    @property
    def draws(self) -> bool:
        """True if it seeds or draws from a global random generator, for all that is known."""
        learnt = any(name.startswith("@") and "random" in name for name in self.step.settings.changes)
        return self.effects.draws or self.effects.seeds or learnt


@dataclass(frozen=True)
class Plan:
    """The pipeline with all that the analysis found, steps in notebook order.

    `cell_effects`: number of a cell -> what the cell does by itself; cells outside the pipeline included. With `keep_all`
    those variables are stored, too, that no later step reads; they are not passed on.
    """

    pipeline: Pipeline
    steps: tuple[StepPlan, ...]
    edges: tuple[Edge, ...]
    survey: Survey
    imported: frozenset[str] = frozenset()  # names that only import statements bind
    cell_effects: Mapping[int, Effects] = field(default_factory=dict)
    keep_all: bool = False

    def __getitem__(self, name: str) -> StepPlan:
        return self._by_name[name]

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The code cells that are part of the pipeline."""
        return tuple(cell for cell in self.pipeline.notebook.cells if cell.in_pipeline)

    @cached_property
    def tagged(self) -> tuple[Cell, ...]:
        """Those of them with tags that give them a role."""
        return tuple(cell for cell in self.cells if cell.roles)

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
        place = {step.name: position for position, step in enumerate(self.steps)}
        if all(place[edge.source] < place[edge.target] for edge in self.edges):
            return ()
        try:
            graphlib.TopologicalSorter(self.sources).prepare()
        except graphlib.CycleError as error:
            return tuple(reversed(error.args[1]))
        return ()

    @cached_property
    def ask_mlflow(self) -> frozenset[str]:
        """The steps that ask MLflow's store what was logged: others log there, too, so no earlier result stands for them."""
        return frozenset(name for name, does in _logbooks(self).items() if ASKS in does)

    @cached_property
    def choose_mlflow(self) -> frozenset[str]:
        """The steps that choose MLflow's store, experiment or run: all steps below that use it wait for them."""
        return frozenset(name for name, does in _logbooks(self).items() if CHOOSES in does)

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


@without_collector
def make_plan(pipeline: Pipeline) -> Plan:
    """Analyse a pipeline. Never raises: what is wrong is for `checks.py` to say."""
    cells = [cell for cell in pipeline.notebook.cells if cell.in_pipeline]
    known = survey([cell.tree for cell in cells])
    imported = import_names(cells)
    effects, cell_effects = _effects(pipeline, cells, known)
    items = [item for cell in cells for item in replayable_in(cell, imported)]
    loads = frozenset().union(*(facts.loads for facts in known.facts))
    read_anywhere = loads.union(known.late_names, *(e.reads for e in effects.values()))
    # Builtins are nothing to store. Star imports and opaque code may bind any name.
    certain = not any(item.binds & {"*"} for item in items) and not any(e.opaque for e in effects.values())
    bound = frozenset().union(*(facts.stores for facts in known.facts), *(e.may_bind for e in effects.values()))
    bound |= read_anywhere - BUILTINS  # IPython's startup files may bind it
    no_values = imported | known.fleeting if certain else imported
    passed = bound - no_values if certain else None
    keeps = _kept(pipeline, effects, known.late_names, passed, no_values)
    setup = [(c.number, cell_effects[c.number].reads) for c in setup_before(cells, cells[-1].number + 1 if cells else 0)]
    in_setup = {number for number, _ in setup}
    replayed = [item for item in items if item.cell.number not in in_setup]
    steps = []
    for step in pipeline.steps:
        own = effects[step.name]
        earlier = replayed[: bisect_left(replayed, step.first, key=lambda item: item.cell.number)]
        needed = own.reads | own.may_bind | known.late_names if own.opaque else own.reads
        needed = needed.union(*(reads for number, reads in setup if number < step.first))
        prelude = replay(earlier, needed, read_anywhere, step.cells)
        steps.append(
            StepPlan(
                step,
                own,
                reads=None if own.opaque else own.reads - no_values,
                keep=keeps[step.name],
                prelude=tuple(prelude),
                configuration=tuple(left_over(earlier, prelude)),
                imports=_imports(earlier),
                bound_in={name: number for number in step.numbers for name in cell_effects[number].writes},
            )
        )
    plan = Plan(pipeline, tuple(steps), (), known, imported, cell_effects)
    return replace(plan, edges=_edges(plan))


def _effects(pipeline: Pipeline, cells: Iterable[Cell], known: Survey) -> tuple[dict[str, Effects], dict[int, Effects]]:
    """The effects of each step and of each cell; of what may share an object, only what stands above counts."""
    of_steps: dict[str, Effects] = {}
    of_cells: dict[int, Effects] = {}
    in_steps = {number for step in pipeline.steps for number in step.numbers}
    variables = frozenset().union(*(facts.stores for facts in known.facts))
    above = Sharing(known.modules)
    finalizes = any("def __del__" in cell.source or "weakref.finalize" in cell.source for cell in cells)
    earlier: set[str] = set()
    for cell in cells:
        if cell.number not in in_steps:
            above.add(facts_of(cell.tree))
    for step in pipeline.steps:
        facts = [facts_of(cell.tree) for cell in step.cells]
        above.begin(facts)
        for each in facts:
            above.add(each)
        inner = frozenset().union(*(each.targets for each in facts)) - variables
        for cell in step.cells:
            of_cells[cell.number] = with_shared(passage_of(cell.tree, known).effects, above.groups, inner)
        own = of_cells[step.first]
        if len(step.cells) > 1:
            own = with_shared(composed([cell.tree for cell in step.cells], known), above.groups, inner)
        if finalizes:  # what a name held goes as it is bound anew, and may say so
            own = own._replace(reads=own.reads | (own.may_bind & earlier))
            earlier |= own.may_bind
        of_steps[step.name] = _with_learnt(own, step.settings) if step.settings.uses or step.settings.changes else own
        above.end(facts, variables)
    for cell in pipeline.notebook.cells:
        if cell.number not in of_cells:
            found = passage_of(cell.tree, known).effects
            of_cells[cell.number] = with_shared(found, known.shared) if found.touches else found
    return of_steps, of_cells


def _with_learnt(own: Effects, settings: StepSettings) -> Effects:
    """What the code shows, and what the settings say that the step uses, and which files it changes."""
    return own._replace(
        reads=own.reads | _variables(settings.uses),
        reads_files=own.reads_files | {name.removeprefix(FILE) for name in settings.uses if name.startswith(FILE)},
        writes_files=own.writes_files | {name.removeprefix(FILE) for name in settings.changes if name.startswith(FILE)},
    )


def _variables(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name in names if not name.startswith(FILE))


def _kept(pipeline: Pipeline, effects: Mapping[str, Effects], always: frozenset[str], bound: Set[str] | None,
          no_values: frozenset[str]) -> dict[str, frozenset[str] | None]:  # fmt: skip
    """Step -> the variables that a later one may read (`bound`: those that any code binds); None: all, for an opaque one."""
    found: dict[str, frozenset[str] | None] = {}
    keep: frozenset[str] | None = always - no_values if bound is None else always & bound
    for step in reversed(pipeline.steps):
        found[step.name] = keep
        own = effects[step.name]
        keep = None if own.opaque or keep is None else keep | (own.reads - no_values if bound is None else own.reads & bound)
    return found


def _imports(items: Iterable[Item]) -> dict[str, tuple[str, ...]]:
    """Name -> the import statements that bind it."""
    found: dict[str, tuple[str, ...]] = {}
    for item in items:
        for name in item.binds if item.is_import else ():
            found[name] = (*found.get(name, ()), item.code)
    return found


def _edges(plan: Plan) -> tuple[Edge, ...]:
    reasons: dict[tuple[int, int], set[Reason]] = {}
    position = {step.name: i for i, step in enumerate(plan.steps)}
    writers: dict[str, list[int]] = {}
    before_binding: dict[str, int] = {}  # name -> the last step that surely binds it: whatever is above is overwritten
    opaque: list[int] = []
    gates: list[int] = []
    states: list[tuple[int, str]] = []
    annotated: list[int] = []  # steps that annotate variables, which `__annotations__` collects
    drawing: list[int] = []
    written, used = Paths(), Paths()
    sources = _imported_sources(plan)
    books = _logbooks(plan)
    in_books: dict[str, list[int]] = {CHOOSES: [], LOGS: [], ASKS: []}

    def add(source: int, kind: str, name: str = "") -> None:
        reasons.setdefault((source, here), set()).add(Reason(kind, name))

    for here, step in enumerate(plan.steps):
        effects = step.effects
        for name in step.reads or ():
            for source in reversed(writers.get(name, ())):
                if source < before_binding.get(name, 0):
                    break
                add(source, "variable", name)
        for source in range(here) if effects.opaque else opaque:
            add(source, "opaque")
        for source in gates:
            add(source, "gate")
        for source, name in states:
            add(source, "state", name)
        for source in annotated if _ANNOTATIONS in effects.reads else ():
            add(source, "variable", _ANNOTATIONS)
        does = books.get(step.name, frozenset())
        for what, others in AFTER.items():
            for source in (source for other in others for source in in_books[other] if what in does):
                add(source, "state", "MLflow")
        sure = effects.reads_files | effects.writes_files | sources.get(step.name, frozenset())
        for path in sure | effects.mentions_files:
            for source, other in written.overlapping(path, sure=path in sure):
                add(source, "file", _shown(path, other))
        for path in effects.writes_files:
            for source, other in used.overlapping(path):
                add(source, "file", _shown(other, path))
        for wanted in step.step.after:
            for above in plan.pipeline.group(wanted):
                if above.name != step.name:
                    add(position[above.name], "order")
        if plan.seeded and step.draws:
            for source in drawing[-1:]:
                add(source, "randomness")
            drawing.append(here)
        # What the steps below will find here.
        for name in step.writes:
            writers.setdefault(name, []).append(here)
        before_binding |= dict.fromkeys(effects.binds, here)
        opaque += [here] if effects.opaque else []
        gates += [here] if step.step.gate else []
        annotated += [here] if any(_annotates(cell.tree) for cell in step.step.cells) else []
        states += [(here, n[1:]) for n in step.step.settings.changes if n.startswith("@") and "random" not in n]
        states += [(here, "sys.path")] if any(moves_path(cell, plan.imported) for cell in step.step.cells) else []
        for what in does:
            in_books[what].append(here)
        written.add(here, effects.writes_files)
        used.add(here, sure)
        used.add(here, effects.mentions_files - sure, sure=False)
    names = [step.name for step in plan.steps]
    return tuple(
        Edge(names[source], names[target], tuple(sorted(found))) for (source, target), found in sorted(reasons.items())
    )


@once
def _annotates(tree: ast.AST) -> bool:
    return any(ast.AnnAssign in kinds(statement) for statement in tree.body)  # type: ignore[attr-defined]


def _logbooks(plan: Plan) -> dict[str, frozenset[str]]:
    """Step -> what it does with MLflow, itself or in functions that it reads; nothing where no cell imports it."""
    if not any("mlflow" in roots_in(cell.tree) for cell in plan.cells):
        return {}
    inside: dict[str, frozenset[str]] = {}
    own: dict[int, frozenset[str]] = {}
    for cell in plan.cells:
        definitions = [x for x in cell.tree.body if isinstance(x, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]
        own[cell.number] = frozenset().union(*(does(x) for x in cell.tree.body if x not in definitions))
        for each in definitions:
            inside[each.name] = inside.get(each.name, frozenset()) | does(each)
    return {
        step.name: frozenset().union(
            *(own[cell.number] for cell in step.step.cells), *(inside[name] for name in inside.keys() & step.effects.reads)
        )
        for step in plan.steps
    }


def _imported_sources(plan: Plan) -> dict[str, frozenset[str]]:
    """Step -> the modules that it imports, or imports again, of those that some step writes (`%%writefile helper.py`)."""
    of_root: dict[str, set[str]] = {}
    for step in plan.steps:
        for path in step.effects.writes_files:
            if path.endswith(".py") and not is_vague(path):
                for part in path.removesuffix(".py").split("/"):  # whichever of the folders is on `sys.path`
                    of_root.setdefault(part, set()).add(path)
    if not of_root:
        return {}
    inside: dict[str, frozenset[str]] = {}  # function or class -> the modules that it imports when it is called
    for statement in (statement for cell in plan.cells for statement in cell.tree.body):
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inside[statement.name] = inside.get(statement.name, frozenset()) | roots_in(statement)
    found = {}
    for step in plan.steps:
        roots = frozenset().union(
            *(item.roots for item in step.prelude),
            *(roots_in(cell.tree) for cell in step.step.cells),
            *(inside[name] for name in inside.keys() & step.effects.reads),
        )
        found[step.name] = frozenset().union(*(of_root[root] for root in roots & of_root.keys()))
    return found


def _shown(path: str, other: str) -> str:
    return "of unknown path" if UNKNOWN in (path, other) else path
