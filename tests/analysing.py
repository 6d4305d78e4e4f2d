"""What tests of the analysis share."""

from __future__ import annotations

from mlops_lab.effects import Effects, effects_of, survey
from mlops_lab.syntax import parse


def effects(*cells: str) -> Effects:
    """The effects of the last cell, in the light of all of them."""
    trees = []
    for cell in cells:
        tree, issue = parse(cell)
        assert issue is None, issue
        trees.append(tree)
    return effects_of(trees[-1].body, survey(trees))


def names(text: str) -> set[str]:
    return set(text.split())
