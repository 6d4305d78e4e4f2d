"""Diagnostics: what is wrong with a notebook as a pipeline, found without running it.

One function a code, listed in `CHECKS`; each yields its findings. An error stops a run before it starts; a warning is
told and the run goes on. Codes are stable and documented in docs/diagnostics.md, which a test holds against this file.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mlops_lab.errors import CheckError, did_you_mean
from mlops_lab.facts import facts_of
from mlops_lab.notebook import Cell
from mlops_lab.pipeline import IMPLICIT
from mlops_lab.plan import BUILTINS, Plan, StepPlan
from mlops_lab.prelude import items_in
from mlops_lab.quantities import quantity
from mlops_lab.roles import STEP_NAME, Role, slug, suspicious
from mlops_lab.scopes import kinds, once
from mlops_lab.syntax import is_ours


@dataclass(frozen=True)
class Diagnostic:
    """A finding: `cell` is the number that the cell has in a straight run (0: the notebook as a whole)."""

    code: str
    severity: str
    message: str
    fix: str
    cell: int = 0
    line: int = 0
    name: str = ""

    def __str__(self) -> str:
        where = f"cell {self.cell}" + (f", line {self.line}" if self.line else "") if self.cell else "notebook"
        return f"{self.code} {self.severity}, {where}: {self.message} {self.fix}"


Found = Iterator[Diagnostic]


def check(plan: Plan) -> tuple[Diagnostic, ...]:
    """All diagnostics of a plan, errors first, then in notebook order."""
    found = [diagnostic for one in CHECKS for diagnostic in one(plan)]
    return tuple(sorted(found, key=lambda d: (d.severity != "error", d.cell, d.line, d.code)))


def require_sound(plan: Plan) -> None:
    """Raise `CheckError` with the errors of a plan, if it has any."""
    errors = [d for d in check(plan) if d.severity == "error"]
    if errors:
        raise CheckError(errors)


def _error(code: str, message: str, fix: str, cell: Cell | None = None, line: int = 0, name: str = "") -> Diagnostic:
    return Diagnostic(code, "error", message, fix, cell.number if cell else 0, line, name)


def _warning(code: str, message: str, fix: str, cell: Cell | None = None, line: int = 0, name: str = "") -> Diagnostic:
    return Diagnostic(code, "warning", message, fix, cell.number if cell else 0, line, name)


def syntax_error(plan: Plan) -> Found:
    """ML101: a cell is not valid Python."""
    for cell in plan.cells:
        if cell.syntax_issue:
            issue = cell.syntax_issue
            yield _error(
                "ML101",
                f"this is not valid Python: {issue.message}.",
                "Correct the cell, or tag it skip.",
                cell,
                issue.line,
            )


def misspelt_tag(plan: Plan) -> Found:
    """ML102: a tag that looks like one of ours but isn't."""
    for cell in plan.pipeline.notebook.cells:
        for tag in cell.tags:
            meant = suspicious(tag)
            if meant and not is_ours(cell.source):
                yield _error("ML102", f"the tag {tag!r} means nothing.", f"Did you mean {meant!r}?", cell, name=tag)


def invalid_step_name(plan: Plan) -> Found:
    """ML103: a step name that isn't lower-case letters, digits and dashes."""
    for cell in plan.tagged:
        for name in cell.names(Role.STEP):
            if not STEP_NAME.fullmatch(name):
                message = f"{name!r} is no step name: names are lower-case letters, digits and dashes, and begin with a letter."
                yield _error("ML103", message, f"Write step:{slug(name)}.", cell, name=name)


def unknown_step(plan: Plan) -> Found:
    """ML104: an `after:` tag or a setting for a step that doesn't exist."""
    known = {name for step in plan.steps for name in (step.name, step.step.group)}
    for cell in plan.tagged:
        for name in cell.names(Role.AFTER):
            if name not in known:
                fix = f"The steps are: {', '.join(s.name for s in plan.steps)}."
                yield _error(
                    "ML104", f"there is no step {name!r} to run after{did_you_mean(name, known)}.", fix, cell, name=name
                )
    groups = {step.step.group for step in plan.steps}
    for name in plan.pipeline.notebook.settings.steps:
        if name not in groups:  # the parts of a step share its settings
            message = f"the notebook's metadata has settings for a step {name!r} that doesn't exist{did_you_mean(name, known)}."
            yield _error("ML104", message, "Correct the name under mlops_lab.steps, or remove it.", name=name)


def cyclic(plan: Plan) -> Found:
    """ML105: steps that wait for each other."""
    if plan.cycle:
        path = " -> ".join(plan.cycle)
        cell = plan[plan.cycle[0]].step.cells[0]
        yield _error(
            "ML105",
            f"these steps wait for each other: {path}.",
            "Remove one of their after: tags.",
            cell,
            name=plan.cycle[0],
        )


def two_meanings(plan: Plan) -> Found:
    """ML106: one step name used for two different things."""
    parts: dict[str, list[Cell]] = {}
    gates: dict[str, set[bool]] = {}
    for step in plan.steps:
        parts.setdefault(step.step.group, []).append(step.step.cells[0])
        gates.setdefault(step.step.group, set()).add(step.step.gate)
    for group, both in gates.items():
        if len(both) > 1:
            numbers = ", ".join(str(cell.number) for cell in parts[group])
            message = f"the step {group!r} is a gate in one place and not in another (it begins at cells {numbers})."
            yield _error("ML106", message, "Give one of them another name.", parts[group][1], name=group)
    for cell in plan.tagged:
        names = cell.names(Role.STEP)
        if len(set(names)) > 1:
            message = f"this cell has the tags of several steps: {', '.join(names)}."
            yield _error("ML106", message, "Keep one of them.", cell, name=names[1])


def conflicting_roles(plan: Plan) -> Found:
    """ML107: tags that can't go together on one cell."""
    exclusive = (Role.STEP, Role.PARAMETERS, Role.SETUP, Role.SKIP)
    for cell in plan.pipeline.notebook.cells:
        if not cell.roles:
            continue
        roles = [role.value for role in exclusive if cell.has(role)]
        if len(roles) > 1:
            yield _error("ML107", f"a cell can't be {' and '.join(roles)} at once.", "Keep one of these tags.", cell)
        elif cell.has(Role.GATE) and not cell.has(Role.STEP) and cell.in_pipeline:
            owner = next((s for s in plan.steps if cell in s.step.cells), None)
            if owner is None or owner.step.implicit:
                yield _error("ML107", "the tag gate stands on a cell that is in no step.", "Add a step: tag to it.", cell)


def hidden_history(plan: Plan) -> Found:
    """ML108: a step uses IPython's history (`_`, `Out[2]`, `In[1]`, `%macro`), which each process has for itself."""
    for step in plan.steps:
        for cell in step.step.cells:
            for line, name in plan.cell_effects[cell.number].history:
                if _made_here(step.step.cells, cell, name):
                    continue
                if name[0] == "%":
                    message = f"{name} takes the text of cells run before; another step doesn't have it."
                    fix = "Write the code out, or make the cells above part of this step."
                    yield _error("ML108", message, fix, cell, line, name)
                    continue
                message = f"{name} is the result or the text of a cell run before; another step doesn't have it."
                yield _error("ML108", message, "Give the value a name where it is made, and use the name.", cell, line, name)


def _made_here(cells: tuple[Cell, ...], reader: Cell, name: str) -> bool:
    """True if an earlier cell of the same step leaves the result that a name of IPython's history means."""
    earlier = {c.number for c in cells if c.number < reader.number}
    if name == "_":
        # Should that cell show nothing after all, the name isn't there: an error, not another value.
        return any(c.tree.body and isinstance(c.tree.body[-1], ast.Expr) for c in cells if c.number in earlier)
    if name[0] == "%":
        return earlier.issuperset(range(1, reader.number))
    if name[1:].isdigit():
        return int(name[1:]) in earlier
    if name != "Out":
        return False
    uses = [n for n in ast.walk(reader.tree) if isinstance(n, ast.Name) and n.id == "Out"]
    keys = [
        n.slice.value
        for n in ast.walk(reader.tree)
        if isinstance(n, ast.Subscript) and n.value in uses and isinstance(n.slice, ast.Constant)
    ]
    return len(keys) == len(uses) and set(keys) <= earlier


def opaque(plan: Plan) -> Found:
    """ML109: code whose reads and writes can't be known: its step exchanges every variable and runs alone."""
    for step in plan.steps:
        for cell in step.step.cells:
            for found in plan.cell_effects[cell.number].opaque[:1]:
                message = f"what {found.reason} reads and binds can't be known before it runs."
                fix = f"Step {step.name!r} therefore exchanges all variables and runs alone; name the variables to avoid it."
                yield _warning("ML109", message, fix, cell, found.line, found.reason)


def setup_with_inputs(plan: Plan) -> Found:
    """ML110: a setup cell that needs a value which a step makes."""
    imported = plan.imported
    for cell in plan.pipeline.setup:
        reads = plan.cell_effects[cell.number].reads - imported
        others = [c for c in plan.pipeline.setup if c.number < cell.number]
        given = {name for c in others for name in plan.cell_effects[c.number].may_bind}
        given |= {p.name for p in plan.pipeline.static_parameters}
        for step in plan.steps:
            wanted = sorted((reads & step.effects.may_bind) - given)
            if wanted and step.step.first < cell.number:
                message = f"this setup cell reads {wanted[0]!r}, which step {step.name!r} makes; setup runs before inputs."
                yield _error(
                    "ML110",
                    message,
                    "Move the line to the steps that need it, or drop the setup tag.",
                    cell,
                    name=wanted[0],
                )


def skipped_but_read(plan: Plan) -> Found:
    """ML111: a cell tagged skip binds or changes what a step reads."""
    for cell in plan.pipeline.notebook.cells:
        if not cell.has(Role.SKIP) or cell.syntax_issue:
            continue
        effects = plan.cell_effects[cell.number]
        for step in plan.steps:
            used = sorted(effects.writes & (step.reads if step.reads is not None else frozenset()))
            if used and step.step.cells[-1].number > cell.number:
                message = f"this cell is tagged skip, but step {step.name!r} reads {used[0]!r}, which it makes or changes."
                yield _error("ML111", message, "Remove the tag, or move that line to a cell of a step.", cell, name=used[0])
                break


def never_bound(plan: Plan) -> Found:
    """ML112: a step reads a name that nothing above it binds."""
    if any(step.effects.opaque for step in plan.steps) or any("*" in c.source and _star(c.tree) for c in plan.cells):
        return
    bound = plan.imported.union(p.name for p in plan.pipeline.parameters)
    bound |= {name for cell in plan.pipeline.setup for name in plan.cell_effects[cell.number].may_bind}
    skipped = [cell for cell in plan.pipeline.notebook.cells if cell.has(Role.SKIP) and not cell.syntax_issue]
    for step in plan.steps:
        for cell in step.step.cells:
            effects = plan.cell_effects[cell.number]
            missing = effects.reads - bound - effects.may_bind - BUILTINS
            bound |= effects.may_bind
            if not missing:
                continue
            for each in skipped:
                if each.number < cell.number:
                    missing -= plan.cell_effects[each.number].writes  # ML111
            missing -= {name for _, name in effects.history}
            later = {name for step in plan.steps for name in step.effects.may_bind}
            nodes = list(ast.walk(cell.tree))
            direct = {n.id: n.lineno for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
            guarded = any(isinstance(n, ast.Try) for n in nodes)
            for name in sorted(missing):
                if name in direct and not guarded and not name.startswith("__"):
                    when = "only a cell below binds it" if name in later else "nothing binds it"
                    fix = "Bind it above, or correct the name; run from top to bottom, the notebook fails here too."
                    yield _warning("ML112", f"{name!r} is read, but {when}.", fix, cell, direct[name], name)


@once
def _star(tree: ast.AST) -> bool:
    statements = tree.body  # type: ignore[attr-defined]
    return any(n.names[0].name == "*" for each in statements for n in kinds(each).get(ast.ImportFrom, ()))


def no_steps(plan: Plan) -> Found:
    """ML113: no cell has a step tag, so that the whole notebook is one step."""
    if all(step.step.implicit for step in plan.steps):
        fix = "Tag cells with step:NAME, or see what mlops-lab suggest proposes."
        if not plan.steps:
            yield _error("ML113", "there is no code to run.", "Add a code cell that is not tagged skip.")
        else:
            yield _warning("ML113", f"no cell has a step: tag: the whole notebook runs as one step, {IMPLICIT!r}.", fix)


def parameter_cell(plan: Plan) -> Found:
    """ML114: the cell tagged parameters has none that could be given from outside."""
    for cell in plan.cells:
        if (
            cell.has(Role.PARAMETERS)
            and not cell.syntax_issue
            and not any(p.cell == cell.number for p in plan.pipeline.parameters)
        ):
            message = "the cell tagged parameters assigns no literal, so that no parameter can be given."
            yield _warning("ML114", message, "Write them as name = value or name: type = value.", cell)


def bad_requests(plan: Plan) -> Found:
    """ML115: settings of a step that no machine can honour."""
    for name, step in plan.pipeline.notebook.settings.steps.items():
        for key in ("retries", "timeout", "cpu", "gpu"):
            value = getattr(step, key)
            if (isinstance(value, (int, float)) and value < 0) or (key == "timeout" and value == 0):
                message = f"step {name!r}: {key} is {value}."
                yield _error("ML115", message, f"Give {key} as a number above zero, or leave it out.", name=key)
        for key in ("cpu", "memory"):
            try:
                quantity(getattr(step, key) or 0)
            except ValueError:
                message = f"step {name!r}: {key} is {getattr(step, key)!r}, which is no amount."
                yield _error("ML115", message, "Write it as Kubernetes does: 2, 500m, 4Gi.", name=key)


def parallel_draws(plan: Plan) -> Found:
    """ML116: steps that draw from a seeded global generator run one after the other."""
    chained = [edge for edge in plan.edges if any(reason.kind == "randomness" for reason in edge.reasons)]
    for edge in chained:
        if all(reason.kind == "randomness" for reason in edge.reasons):
            message = (
                f"steps {edge.source!r} and {edge.target!r} share the global random generator, so that they can't run at once."
            )
            fix = "Give each its own generator (rng = np.random.default_rng(seed)) to run them in parallel."
            yield _warning("ML116", message, fix, plan[edge.target].step.cells[0], name=edge.target)


def rewritten_module(plan: Plan) -> Found:
    """ML117: a module that cells have imported is written anew, and a step below that imports it again."""
    if not any(path.endswith(".py") for cell in plan.cells for path in plan.cell_effects[cell.number].writes_files):
        return
    seen: set[str] = set()  # top-level modules that the cells above import
    for cell in plan.cells:
        for path in sorted(plan.cell_effects[cell.number].writes_files):
            roots = seen & set(path.removesuffix(".py").split("/")) if path.endswith(".py") else set()
            step = _first_to_import(plan, cell, roots) if roots else None
            if step is not None:
                message = (
                    f"this cell writes {path}, which a cell above has imported: run from top to bottom, the notebook goes on "
                    f"with the old module, but step {step.name!r} would import the new one."
                )
                fix = "Import it below this cell only, or reload it (importlib.reload) in a cell below this one."
                yield _error("ML117", message, fix, cell, name=path)
        seen |= {root for item in items_in(cell) for root in item.roots}


def _first_to_import(plan: Plan, writer: Cell, roots: set[str]) -> StepPlan | None:
    """The first other step below the writer that imports one of these modules before any cell reloads it."""
    below = [c for c in plan.cells if c.number >= writer.number]
    fresh = next((c.number for c in below if "reload" in c.source or "sys.modules" in c.source), float("inf"))
    if any("%autoreload" in cell.source for cell in plan.cells):
        return None
    for step in plan.steps:
        last = step.step.cells[-1].number
        if step.step.first > writer.number and last < fresh:
            items = (*step.prelude, *(item for cell in step.step.cells for item in items_in(cell)))
            if any(roots & item.roots for item in items):
                return step
    return None


def kept_by_the_interpreter(plan: Plan) -> Found:
    """ML118: code asks for the size of an object, or who refers to it, that comes from another step."""
    above: set[str] = set()
    for step in plan.steps:
        for cell in step.step.cells:
            if facts_of(cell.tree).words.isdisjoint(_OF_THE_INTERPRETER):
                continue
            for call in (node for statement in cell.tree.body for node in kinds(statement).get(ast.Call, ())):
                asked = getattr(call.func, "attr", getattr(call.func, "id", ""))
                names = {node.id for part in call.args for node in kinds(part).get(ast.Name, ())}
                given = sorted(names & step.effects.reads & above - plan.imported)
                if asked in _OF_THE_INTERPRETER and given:
                    message = (
                        f"{asked}() tells how Python keeps {given[0]!r} in memory, which may be otherwise in another step."
                    )
                    fix = "Ask in the step that makes it; or take the number for about right."
                    yield _warning("ML118", message, fix, cell, call.lineno, given[0])
        above |= step.effects.may_bind


_OF_THE_INTERPRETER = frozenset({"getsizeof", "asizeof", "getrefcount", "get_referrers"})

CHECKS: tuple[Callable[[Plan], Found], ...] = (
    syntax_error, misspelt_tag, invalid_step_name, unknown_step, cyclic, two_meanings, conflicting_roles, hidden_history,
    opaque, setup_with_inputs, skipped_but_read, never_bound, no_steps, parameter_cell, bad_requests, parallel_draws,
    rewritten_module, kept_by_the_interpreter,
)  # fmt: skip

RUNTIME_CODES = {
    "ML201": "a value that another step needs can't be passed on",
    "ML202": "two steps used one file at once in the wrong order",
    "ML203": "on a fixed graph, a step changed what a step that doesn't wait for it works with",
    "ML204": "on a fixed graph, a step drew random numbers behind the analysis",
    "ML205": "on a fixed graph, a step turned out to need what a step it doesn't wait for may have changed",
    "ML206": "pyplot's current figure is one that an earlier step left open",
    "ML207": "a cell that each step runs again reads a file that a step has changed",
    "ML208": "a cell that each step runs again gives another value each time",
}
