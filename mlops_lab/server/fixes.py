"""Diagnostics that have a mechanical remedy -> edits that a front end applies in one click, and undoes as one.

`FIXES` has a function for each code that has one; each gives a title and edits, or None where it takes a person. The edits'
kinds are those of `Edit` in docs/openapi.yaml.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from mlops_lab.checks import Diagnostic
from mlops_lab.notebook import Cell
from mlops_lab.plan import Plan
from mlops_lab.roles import STEP_NAME, Role, parse_tag, slug, suspicious

Place = tuple[int, int] | None
Edits = tuple[str, list[dict[str, Any]]]


def fix_for(plan: Plan, found: Diagnostic, cell: Cell | None, place: Place) -> dict[str, Any] | None:
    """The fix of a diagnostic; `place` are the columns of its name in its line, if they are known."""
    make = FIXES.get(found.code)
    made = make(plan, found, cell, place) if make else None
    edits = _of_metadata(plan, made[1]) if made else None
    return {"title": made[0], "edits": edits} if made and edits else None


def _of_metadata(plan: Plan, edits: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """The edits without the tags that a cell has from its text (`%%mlops step`); None where one of these would have to go."""
    notebook = plan.pipeline.notebook
    by_id = {cell.id: cell for cell in notebook.cells}
    found = []
    for edit in edits:
        if edit["kind"] == "set_tags":
            own = list(notebook.node.cells[by_id[edit["cell"]].index].metadata.get("tags", ()))
            written = set(by_id[edit["cell"]].tags) - set(own)
            if not written <= set(edit["tags"]):
                return None
            edit = edit | {"tags": [tag for tag in edit["tags"] if tag not in written]}
            if edit["tags"] == own:
                continue
        found.append(edit)
    return found


def _tags(cell: Cell, tags: list[str]) -> dict[str, Any]:
    return {"kind": "set_tags", "cell": cell.id, "tags": list(dict.fromkeys(tags))}


def _without(cell: Cell, *roles: Role) -> list[str]:
    return [tag for tag in cell.tags if not ((rule := parse_tag(tag)) and rule[0].role in roles)]


def _nearest(word: str, known: list[str]) -> str:
    return next(iter(get_close_matches(word, known, n=1, cutoff=0.6)), "")


def _skip(plan: Plan, found: Diagnostic, cell: Cell | None, place: Place) -> Edits | None:
    if cell is None or cell.has(Role.PARAMETERS):
        return None
    roles = (Role.STEP, Role.SETUP, Role.GATE, Role.AFTER, Role.IMPORTS, Role.METRICS)
    return "Leave this cell out of the pipeline (tag it skip)", [_tags(cell, [*_without(cell, *roles), "skip"])]


def _spell(plan: Plan, found: Diagnostic, cell: Cell | None, place: Place) -> Edits | None:
    meant = suspicious(found.name)
    if cell is None or not meant:
        return None
    return f"Write {meant}", [_tags(cell, [meant if tag == found.name else tag for tag in cell.tags])]


def _rename_step(plan: Plan, found: Diagnostic, cell: Cell | None, place: Place) -> Edits | None:
    """Everywhere: in the tags of all its cells, in `after:` tags, in the settings."""
    old, new = found.name, slug(found.name)
    if not STEP_NAME.fullmatch(new):
        return None
    taken = {name for each in plan.cells for name in each.names(Role.STEP)} - {old}
    number, base = 2, new
    while new in taken:
        new, number = f"{base}-{number}", number + 1
    edits = []
    for each in plan.pipeline.notebook.cells:
        tags = [
            f"{rule[0].tag}{new}" if (rule := parse_tag(tag)) and rule[0].named and rule[1] == old else tag for tag in each.tags
        ]
        if tags != list(each.tags):
            edits.append(_tags(each, tags))
    if old in plan.pipeline.notebook.settings.steps:
        edits.append({"kind": "rename_settings", "step": old, "to": new})
    return f"Name the step {new}", edits


def _known_step(plan: Plan, found: Diagnostic, cell: Cell | None, place: Place) -> Edits | None:
    near = _nearest(found.name, [name for step in plan.steps for name in (step.name, step.step.group)])
    if cell is None:
        taken = near in plan.pipeline.notebook.settings.steps
        title = f"Make them the settings of {near}" if near and not taken else f"Remove the settings of {found.name}"
        return title, [{"kind": "rename_settings", "step": found.name, "to": near if near and not taken else None}]
    tags = []
    for tag in cell.tags:
        rule = parse_tag(tag)
        if not (rule and rule[0].role is Role.AFTER and rule[1] == found.name):
            tags.append(tag)
        elif near:
            tags.append(f"{rule[0].tag}{near}")
    return (f"Run after {near}" if near else f"Don't wait for {found.name}"), [_tags(cell, tags)]


def _cut_cycle(plan: Plan, found: Diagnostic, cell: Cell | None, place: Place) -> Edits | None:
    """Take away an `after:` tag of the cycle, if possible one that points downwards: only it can be what closes the cycle."""
    order = {step.name: number for number, step in enumerate(plan.steps)}
    pairs = list(zip(plan.cycle, plan.cycle[1:], strict=False))
    # In the cycle's path each step is followed by one that waits for it, or the other way about: look at both.
    for source, target in sorted({p for pair in pairs for p in (pair, pair[::-1])}, key=lambda p: order[p[1]] - order[p[0]]):
        group = plan[source].step.group
        for each in plan[target].step.cells:
            wanted = {source, group} & set(each.names(Role.AFTER))
            if wanted:
                tags = [t for t in each.tags if not ((r := parse_tag(t)) and r[0].role is Role.AFTER and r[1] in wanted)]
                return f"Don't make {target} wait for {source}", [_tags(each, tags)]
    return None


def _one_meaning(plan: Plan, found: Diagnostic, cell: Cell | None, place: Place) -> Edits | None:
    if cell is None:
        return None
    names = cell.names(Role.STEP)
    if len(set(names)) > 1:
        kept = [tag for tag in cell.tags if not ((r := parse_tag(tag)) and r[0].role is Role.STEP and r[1] != names[0])]
        return f"Keep step:{names[0]}", [_tags(cell, kept)]
    parts = [step.step for step in plan.steps if step.step.group == found.name and not step.step.gate]
    heads = [next((c for c in part.cells if c.has(Role.STEP)), part.cells[0]) for part in parts]
    return f"Make every part of {found.name} a gate", [_tags(head, [*head.tags, "gate"]) for head in heads]


def _one_role(plan: Plan, found: Diagnostic, cell: Cell | None, place: Place) -> Edits | None:
    if cell is None:
        return None
    exclusive = (Role.STEP, Role.PARAMETERS, Role.SETUP, Role.SKIP)
    present = [role for role in exclusive if cell.has(role)]
    if len(present) < 2:
        return "Remove the tag gate", [_tags(cell, _without(cell, Role.GATE))]
    others = [role for role in exclusive if role is not present[0]]
    kept = _without(cell, *others)
    title = next(tag for tag in kept if (rule := parse_tag(tag)) and rule[0].role is present[0])
    return f"Keep {title}", [_tags(cell, kept)]


def _no_setup(plan: Plan, found: Diagnostic, cell: Cell | None, place: Place) -> Edits | None:
    return ("Remove the tag setup", [_tags(cell, _without(cell, Role.SETUP, Role.IMPORTS))]) if cell else None


def _no_skip(plan: Plan, found: Diagnostic, cell: Cell | None, place: Place) -> Edits | None:
    return ("Make this cell part of the pipeline", [_tags(cell, _without(cell, Role.SKIP))]) if cell else None


def _spell_name(plan: Plan, found: Diagnostic, cell: Cell | None, place: Place) -> Edits | None:
    """A name that nothing binds, where one that is much like it is bound above."""
    if cell is None or place is None:
        return None
    known = {name for each in plan.cells if each.number <= cell.number for name in plan.cell_effects[each.number].may_bind}
    known |= {p.name for p in plan.pipeline.parameters} | plan.imported | set(dir(builtins))
    near = next(iter(get_close_matches(found.name, sorted(known - {found.name}), n=1, cutoff=0.75)), "")
    if not near:
        return None
    edit = {
        "kind": "replace",
        "cell": cell.id,
        "line": found.line,
        "column": place[0],
        "end_column": place[1],
        "text": near,
    }
    return f"Write {near}", [edit]


def _no_parameters(plan: Plan, found: Diagnostic, cell: Cell | None, place: Place) -> Edits | None:
    return ("Remove the tag parameters", [_tags(cell, _without(cell, Role.PARAMETERS))]) if cell else None


def _no_request(plan: Plan, found: Diagnostic, cell: Cell | None, place: Place) -> Edits | None:
    """The setting goes away, so that its default holds; the diagnostic's name is the key."""
    key = found.name
    for name, settings in plan.pipeline.notebook.settings.steps.items():
        value = getattr(settings, key, None)
        if f"step {name!r}" in found.message and value is not None:
            return f"Leave {key} out", [{"kind": "set_setting", "step": name, "key": key, "value": None}]
    return None


FIXES: dict[str, Callable[[Plan, Diagnostic, Cell | None, Place], Edits | None]] = {
    "ML101": _skip,
    "ML102": _spell,
    "ML103": _rename_step,
    "ML104": _known_step,
    "ML105": _cut_cycle,
    "ML106": _one_meaning,
    "ML107": _one_role,
    "ML110": _no_setup,
    "ML111": _no_skip,
    "ML112": _spell_name,
    "ML114": _no_parameters,
    "ML115": _no_request,
}
