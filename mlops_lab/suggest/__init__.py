"""Proposes tags for a notebook that has none: its steps, its parameters, and what is no part of a pipeline.

Data comes from a `notebook.Notebook`; `suggest` gives tags by cell, `apply` puts them into a copy of its node. Steps come
from the author's headings, else from what the cells do (load, split, train, ...), else from where few variables cross. No
cut is made where a value would have to pass that can't (an open file, a figure, a connection): parity before beauty. What
a value is, is guessed from names: a wrong guess merges two steps, or ends in the error that names the variable.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlops_lab.effects import survey
from mlops_lab.notebook import Notebook
from mlops_lab.prelude import import_names
from mlops_lab.roles import Role
from mlops_lab.suggest.cuts import Part, cut_up
from mlops_lab.suggest.looks import look_at
from mlops_lab.suggest.naming import step_names
from mlops_lab.suggest.outside import parameters_cell, setup_cells, skippable
from mlops_lab.suggest.ties import glued_cells

if TYPE_CHECKING:
    from nbformat import NotebookNode


@dataclass(frozen=True)
class Suggestion:
    """Tags to add and the reason for them, by the cell's index in the notebook; `steps` are their names in order."""

    tags: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)
    steps: tuple[str, ...] = ()


def suggest(notebook: Notebook) -> Suggestion:
    """Propose tags. A notebook with step tags gets none, and the reason at the first cell that has one."""
    tagged = next((cell for cell in notebook.cells if cell.has(Role.STEP)), None)
    if tagged:
        return Suggestion(reasons={tagged.index: "The notebook has step: tags already; nothing is added to its author's cut."})
    skipped = skippable(notebook.cells)
    cells = [cell for cell in notebook.cells if cell.in_pipeline and cell.index not in skipped]
    known = survey([cell.tree for cell in cells])
    looks = look_at(notebook, cells, known)
    setup = setup_cells(looks)
    looks = [look for look in looks if look.cell.index not in setup]
    glued = glued_cells(looks, known)
    start = next((k for k, look in enumerate(looks) if not look.idle), 0)
    while start in glued:
        start -= 1
    parts = cut_up(looks, start, glued, import_names(cells))
    names = step_names(looks, parts)
    tags = dict.fromkeys(skipped, ("skip",)) | dict.fromkeys(setup, ("setup",))
    reasons = {**skipped, **setup}
    for index, reason in parameters_cell(cells, looks, start).items():
        tags[index], reasons[index] = ("parameters",), reason
    for part, name in zip(parts, names, strict=True):
        index = looks[part.first].cell.index
        tags[index], reasons[index] = (f"step:{name}",), _reason(part, glued, alone=len(parts) == 1)
    return Suggestion(dict(sorted(tags.items())), dict(sorted(reasons.items())), tuple(names))


def apply(notebook: Notebook, suggestion: Suggestion) -> NotebookNode:
    """A copy of the notebook's node with the suggested tags added; everything else is kept."""
    node = copy.deepcopy(notebook.node)
    for index, tags in suggestion.tags.items():
        metadata = node.cells[index].metadata
        present = list(metadata.get("tags", ()))
        metadata["tags"] = present + [tag for tag in tags if tag not in present]
    return node


def _reason(part: Part, glued: Mapping[int, str], alone: bool) -> str:
    kept = next((glued[k] for k in range(part.first + 1, part.end) if k in glued), "")
    why = "nothing divides it well" if alone else part.why
    return (f"kept together: {kept}" if alone else f"{why}; kept together: {kept}") if kept else why
