"""Cells grouped into steps: the frozen `Pipeline` that everything else reads.

Data comes from `notebook.Notebook`; `plan.py` adds the edges, `stepnb.py` makes runnable notebooks of the steps. The
pipeline knows nothing of targets and runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mlops_lab.notebook import Cell, Notebook, StepSettings
from mlops_lab.parameters import Parameter, is_static, parameters_in
from mlops_lab.roles import Role
from mlops_lab.scopes import module_names

IMPLICIT = "start"


@dataclass(frozen=True)
class Step:
    """Cells that run together in one process.

    A step whose cells stand on both sides of another step is cut into parts, which run as steps of their own: the
    second part of `train` has the name `train-2` and the group `train`.
    """

    name: str
    cells: tuple[Cell, ...]
    group: str
    implicit: bool = False
    gate: bool = False
    after: tuple[str, ...] = ()
    settings: StepSettings = StepSettings()

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(cell.number for cell in self.cells)

    @property
    def first(self) -> int:
        """The number of its first cell."""
        return self.cells[0].number


@dataclass(frozen=True)
class Pipeline:
    """A notebook as steps in notebook order, with its parameters and the cells that every step replays.

    `static_parameters` are those whose cell holds literals only, so that it need not run; the cell of the others is
    part of a step.
    """

    notebook: Notebook
    steps: tuple[Step, ...]
    parameters: tuple[Parameter, ...] = ()
    static_parameters: tuple[Parameter, ...] = ()
    setup: tuple[Cell, ...] = ()
    metric_cells: tuple[Cell, ...] = field(default=())

    @property
    def name(self) -> str:
        return self.notebook.name

    def step(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)

    def group(self, name: str) -> tuple[Step, ...]:
        """The parts of the step that the user calls by this name."""
        return tuple(step for step in self.steps if name in (step.name, step.group))


def build(notebook: Notebook) -> Pipeline:
    """Group a notebook's cells into steps. Never raises: what is wrong with the tags is for `checks.py` to say."""
    runs: list[tuple[str, list[Cell]]] = []
    setup: list[Cell] = []
    parameters: list[Parameter] = []
    static: list[Parameter] = []
    current = ""
    for cell in notebook.cells:
        if not cell.in_pipeline:
            continue
        if cell.has(Role.PARAMETERS):
            found = parameters_in(cell)
            parameters += found
            if is_static(cell) and not _mentioned(found, notebook.cells[: cell.number - 1]):
                static += found
                continue
        elif cell.has(Role.SETUP) or cell.has(Role.IMPORTS):
            setup.append(cell)
            continue
        else:
            named = cell.names(Role.STEP)
            current = named[0] if named else current
        if runs and runs[-1][0] == current:
            runs[-1][1].append(cell)
        else:
            runs.append((current, [cell]))
    taken = {name for name, _ in runs}
    implicit = _unused(IMPLICIT, taken)
    settings = notebook.settings.steps
    steps: list[Step] = []
    for group, cells in runs:
        name = _unused(group or implicit, {step.name for step in steps} | (taken - {group}))
        steps.append(
            Step(
                name,
                tuple(cells),
                group or implicit,
                implicit=not group,
                gate=any(cell.has(Role.GATE) for cell in cells),
                after=tuple(dict.fromkeys(n for cell in cells for n in cell.names(Role.AFTER) if n)),
                settings=settings.get(group or implicit, StepSettings()),
            )
        )
    metrics = tuple(cell for cell in notebook.cells if cell.in_pipeline and cell.has(Role.METRICS))
    return Pipeline(notebook, tuple(steps), tuple(parameters), tuple(static), tuple(setup), metrics)


def _mentioned(parameters: tuple[Parameter, ...], cells: tuple[Cell, ...]) -> bool:
    """True if code above the parameters' cell uses one of their names: the cell must then run in its place."""
    names = {parameter.name for parameter in parameters}
    for cell in cells:
        if cell.in_pipeline:
            loads, stores = module_names(cell.tree.body)
            if names & (loads | stores):
                return True
    return False


def _unused(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}-{number}", number + 1
    return candidate
