"""What a cell or a step does to the namespace: which names it reads, binds, deletes and may change in place.

Data comes from the trees of `notebook.Cell`; it goes to `plan.py` (edges) and `checks.py` (diagnostics). Reads are
*sound*: a name is left out only when the code surely binds it first, on every path. Everything else is a guess that
makes the schedule. Standard library only.

Two passes: `late.survey` looks at the whole notebook once (what its functions need when they are called, which names may
share an object), then `effects_of` reads one piece of code in the light of that survey.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from mlops_lab.flow import Flow, Opaque
from mlops_lab.late import Late, Survey, survey
from mlops_lab.scopes import module_names

__all__ = ["Effects", "Late", "Opaque", "Survey", "effects_of", "survey"]


@dataclass(frozen=True)
class Effects:
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


def effects_of(statements: Iterable[ast.stmt], known: Survey) -> Effects:
    """The effects of statements that run in this order in one namespace."""
    statements = list(statements)
    flow = Flow(known)
    flow.run(statements)
    touches = flow.late_touches.union(*(known.changed_by(statement) for statement in statements))
    touches = touches.union(*(known.shared.get(name, ()) for name in touches))
    _, stores = module_names(statements)
    return Effects(
        reads=frozenset(flow.need),
        binds=frozenset(flow.sure),
        may_bind=frozenset(stores | flow.late_stores | flow.extra_stores),
        touches=frozenset(touches),
        reads_files=frozenset(path for kind, path in flow.files if kind == "read"),
        writes_files=frozenset(path for kind, path in flow.files if kind == "write"),
        mentions_files=frozenset(path for kind, path in flow.files if kind == "mention"),
        draws=flow.draws,
        seeds=flow.seeds,
        opaque=tuple(flow.opaque),
        history=tuple(flow.history),
    )
