"""Ways to cut a notebook into steps, to judge the compiler by: as a careful user would, and as nobody should.

`suggest` is what `mlops-lab suggest` proposes. `cells` makes each code cell below the imports a step of its own. `random`
draws groups of neighbouring cells from a seed, lets some steps go on behind another one, and gives cells the roles that
they could have: setup where they hold imports and definitions only, parameters where they hold literals only.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable

from nbformat import NotebookNode

from mlops_lab.notebook import Cell, Notebook
from mlops_lab.parameters import is_static
from mlops_lab.suggest import apply, suggest

_IMPORTS = (ast.Import, ast.ImportFrom)
_DEFINITIONS = (*_IMPORTS, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def by_suggest(notebook: Notebook, seed: int) -> NotebookNode:
    """As `mlops-lab suggest` proposes."""
    return apply(notebook, suggest(notebook))


def by_cells(notebook: Notebook, seed: int) -> NotebookNode:
    """Each code cell below the imports is a step."""
    cells = _below_imports(notebook)
    return _tagged(notebook, {cell.index: f"step:cell-{cell.number}" for cell in cells})


def by_random(notebook: Notebook, seed: int) -> NotebookNode:
    """Groups and roles drawn from a seed; the same for the same notebook and seed."""
    draw = random.Random(f"{notebook.path.name} {seed}")
    cells = _below_imports(notebook)
    above = [cell for cell in notebook.cells if cell.in_pipeline and (not cells or cell.number < cells[0].number)]
    tags = {cell.index: "setup" for cell in above if draw.random() < 0.3}
    # The first group may stay without a tag: it is then the implicit first step.
    names = [""] if draw.random() < 0.3 else []
    current, left = names[0] if names else None, draw.randint(1, 4)
    for cell in cells:
        if _only(cell, _DEFINITIONS) and _self_contained(cell) and draw.random() < 0.3:
            tags[cell.index] = "setup"
            continue
        if is_static(cell) and "parameters" not in tags.values() and draw.random() < 0.5:
            tags[cell.index] = "parameters"
            continue
        if current is None or not left:
            again = [name for name in names[:-1] if name]
            if again and draw.random() < 0.15:
                current = draw.choice(again)
            else:
                current = f"step-{len(names) + 1}"
                names.append(current)
            left = draw.choice((1, 1, 1, 2, 2, 3, 4, 6))
        left -= 1
        if current:
            tags[cell.index] = f"step:{current}"
    return _tagged(notebook, tags)


CUTS: dict[str, Callable[[Notebook, int], NotebookNode]] = {"suggest": by_suggest, "cells": by_cells, "random": by_random}


def _below_imports(notebook: Notebook) -> list[Cell]:
    """The cells of the pipeline without those at the top that only import."""
    cells = [cell for cell in notebook.cells if cell.in_pipeline and cell.source.strip()]
    first = next((k for k, cell in enumerate(cells) if not _only(cell, _IMPORTS)), len(cells))
    return cells[first:]


def _only(cell: Cell, kinds: tuple[type[ast.stmt], ...]) -> bool:
    return not cell.syntax_issue and all(isinstance(statement, kinds) or _text(statement) for statement in cell.tree.body)


def _text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _self_contained(cell: Cell) -> bool:
    """True if making its functions and classes evaluates no name: no decorators, defaults, base classes, annotations."""
    for statement in cell.tree.body:
        if isinstance(statement, ast.ClassDef):
            return False
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = statement.args
            evaluated = [
                *statement.decorator_list,
                *arguments.defaults,
                *filter(None, arguments.kw_defaults),
                statement.returns,
            ]
            every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
            evaluated += [argument.annotation for argument in every]
            if any(isinstance(node, ast.Name) for part in evaluated if part for node in ast.walk(part)):
                return False
    return True


def _tagged(notebook: Notebook, tags: dict[int, str]) -> NotebookNode:
    node = copy.deepcopy(notebook.node)
    for index, tag in tags.items():
        node.cells[index].metadata["tags"] = [*node.cells[index].metadata.get("tags", ()), tag]
    return node
