"""What a cell or a step does to the namespace: which names it reads, binds, deletes and may change in place.

Data comes from the trees of `notebook.Cell`; it goes to `plan.py` (edges) and `checks.py` (diagnostics). Reads are
*sound*: a name is left out only when the code surely binds it first, on every path. Everything else is a guess that
makes the schedule. Standard library only.

Two passes: `survey` looks at the whole notebook once (what its functions need when they are called, which names may
share an object), then a `Passage` is made of each cell's code in the light of that survey, and `composed` puts together
those that run in one namespace. A passage is kept on the cell's tree, with that of the survey on which it depends.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from mlops_lab import mutation
from mlops_lab.facts import facts_of
from mlops_lab.flow import GUARDED, Flow
from mlops_lab.late import Late, Names
from mlops_lab.reflection import Opaque
from mlops_lab.scopes import remembered
from mlops_lab.survey import Survey, survey

__all__ = ["Effects", "Late", "Opaque", "Survey", "composed", "effects_of", "passage_of", "survey", "with_shared"]


class Effects(NamedTuple):
    """The effects of one piece of code. `reads` is sound; `binds` is certain; the rest is what may happen.

    `mentions_files` are paths given to a call of which it isn't known what it does with them.
    """

    reads: frozenset[str] = frozenset()
    binds: frozenset[str] = frozenset()
    may_bind: frozenset[str] = frozenset()
    touches: frozenset[str] = frozenset()
    reads_files: frozenset[str] = frozenset()
    writes_files: frozenset[str] = frozenset()
    mentions_files: frozenset[str] = frozenset()
    draws: bool = False
    seeds: bool = False
    opaque: tuple[Opaque, ...] = ()
    history: tuple[tuple[int, str], ...] = ()

    @property
    def writes(self) -> frozenset[str]:
        return self.may_bind | self.touches


class Passage(NamedTuple):
    """What a cell does where nothing is bound before it: `effects`, without what shares an object with what it touches.

    `firm` is the part of its reads that stays where earlier code has bound all names; `lost` are names that it may unbind.
    """

    effects: Effects
    firm: frozenset[str]
    lost: frozenset[str]


def effects_of(statements: Iterable[ast.stmt], known: Survey) -> Effects:
    """The effects of statements that run in this order in one namespace."""
    return with_shared(passage_of(ast.Module(list(statements), []), known).effects, known.shared)


def with_shared(found: Effects, shared: Mapping[str, Set[str]], inner: Set[str] = frozenset()) -> Effects:
    """Effects that touch also what may share an object with what they touch; `shared`: name -> such names.

    `inner` are names that live in comprehensions only: what shares with them is touched, but they are no variables.
    """
    if not found.touches:
        return found
    groups = {id(group): group for name in found.touches if (group := shared.get(name))}
    touches = found.touches.union(*groups.values()) - inner
    return found if touches == found.touches else found._replace(touches=touches)


def passage_of(tree: ast.Module, known: Survey) -> Passage:
    """What a cell does by itself, found again only if something that it asks of the survey has changed."""
    stage, facts = known.stage, facts_of(tree)
    number, found = tree.__dict__.get("_last", (0, None))
    if found and (
        number == stage.number or (number == stage.before and not facts.pickles and stage.changed.isdisjoint(facts.words))
    ):
        passage: Passage = found
    else:
        names = stage.names.only(facts.words, facts.pickles)
        passage = remembered(tree, "_passages", names, lambda: _passage(tree, names))
    tree.__dict__["_last"] = stage.number, passage
    return passage


def _passage(tree: ast.Module, names: Names) -> Passage:
    flow = Flow(names)
    flow.run(tree.body)
    touches = [
        mutation.touched(mutation.own_kinds(statement), names.modules, names.stateful, names.parameters)
        for statement in tree.body
    ]
    effects = Effects(
        reads=frozenset(flow.need),
        binds=frozenset(flow.sure),
        may_bind=facts_of(tree).stores.union(flow.late_stores, flow.extra_stores),
        touches=frozenset(flow.late_touches.union(*touches)),
        reads_files=frozenset(path for kind, path in flow.files if kind == "read"),
        writes_files=frozenset(path for kind, path in flow.files if kind == "write"),
        mentions_files=frozenset(path for kind, path in flow.files if kind == "mention"),
        draws=flow.draws,
        seeds=flow.seeds,
        opaque=tuple(flow.opaque),
        history=tuple(flow.history),
    )
    return Passage(effects, frozenset(flow.firm), frozenset(flow.lost))


def composed(trees: Sequence[ast.Module], known: Survey) -> Effects:
    """The effects of cells that run in this order in one namespace."""
    passages = [passage_of(tree, known) for tree in trees]
    found: Effects | None = remembered(trees[0], "_composed", passages, lambda: _composed(passages))
    if found is None:
        return passage_of(ast.Module([statement for tree in trees for statement in tree.body], []), known).effects
    return found


def _composed(passages: Sequence[Passage]) -> Effects | None:
    """The effects of passages one behind the other; None if one binds a name by which another would be read differently."""
    first, *others = passages
    if not others:
        return first.effects
    reads, bound = set(first.effects.reads), set(first.effects.binds)
    for passage in others:
        own = passage.effects
        if not bound.isdisjoint(GUARDED) or any(name in bound for _, name in own.history):
            return None
        reads |= passage.firm
        reads |= own.reads - bound
        bound -= passage.lost
        bound |= own.binds
    every = [passage.effects for passage in passages]
    return Effects(
        reads=frozenset(reads),
        binds=frozenset(bound),
        may_bind=frozenset().union(*(each.may_bind for each in every)),
        touches=frozenset().union(*(each.touches for each in every)),
        reads_files=frozenset().union(*(each.reads_files for each in every)),
        writes_files=frozenset().union(*(each.writes_files for each in every)),
        mentions_files=frozenset().union(*(each.mentions_files for each in every)),
        draws=any(each.draws for each in every),
        seeds=any(each.seeds for each in every),
        opaque=tuple(found for each in every for found in each.opaque),
        history=tuple(found for each in every for found in each.history),
    )
