"""Random notebooks give the same in real kernels: straight by nbclient, and as a pipeline by the local engine.

Kernels are slow to start, so several random programs, renamed apart, run beside each other in the steps of one notebook. They are
programs that agree in process and fail in no cell. `PARITY_KERNEL_SEEDS` is how many programs a theme gets.
"""

from __future__ import annotations

import ast
import builtins
import os
import random
from collections.abc import Iterable, Iterator
from itertools import count, zip_longest
from pathlib import Path

import pytest

from mlops_lab.scopes import module_names

from .inprocess import verdict
from .process import quick
from .programs import Program, cells_of, program
from .rows import Row
from .test_table import Refusal, run_pipeline, shown, straight, write

SEEDS = int(os.environ.get("PARITY_KERNEL_SEEDS", "8"))
THEMES = [("core", "calls"), ("core", "classes"), ("core", "arrays", "random"), ("core", "frames")]


class _Renamed(ast.NodeTransformer):
    """Gives global names an ending, wherever they occur; what attributes and strings say stays."""

    def __init__(self, names: Iterable[str], ending: str) -> None:
        self.names, self.ending = frozenset(names), ending

    def _new(self, name: str) -> str:
        return name + self.ending if name in self.names else name

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for field in ("id", "arg", "name", "rest", "asname"):
            if isinstance(getattr(node, field, None), str) and not isinstance(node, (ast.alias, ast.keyword)):
                setattr(node, field, self._new(getattr(node, field)))
        if isinstance(node, ast.alias) and node.asname:
            node.asname = self._new(node.asname)
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            node.names = [self._new(name) for name in node.names]
        return super().generic_visit(node)


def renamed(sources: list[str], ending: str) -> list[str]:
    """The cells of a program, its variables renamed; names of imported modules and builtins stay."""
    trees = [ast.parse(source) for source in sources]
    imports = [n for t in trees for n in ast.walk(t) if isinstance(n, (ast.Import, ast.ImportFrom))]
    fixed = {
        a.asname or a.name.partition(".")[0] for n in imports for a in n.names if not a.asname or isinstance(n, ast.ImportFrom)
    }
    stored = set().union(*(module_names(tree.body)[1] for tree in trees)) - fixed - set(dir(builtins))
    return [ast.unparse(ast.fix_missing_locations(_Renamed(stored, ending).visit(tree))) for tree in trees]


def plain(made: Program) -> list[str]:
    """The sources of the cells that belong to steps."""
    return [source for tags, source in cells_of(made) if not {"skip", "setup", "parameters"} & set(tags.split())]


def sound(themes: tuple[str, ...], folder: Path) -> Iterator[list[str]]:
    """Programs, as cells of steps of their own, that run to their end and agree in process."""
    for seed in count():
        sources = plain(program(random.Random(seed), themes))
        if any("import *" in source for source in sources):
            continue  # it would bind names in all the programs beside it
        cells = [(f"step:s{i}", source) for i, source in enumerate(sources)]
        kind, _, outcome = verdict(cells, seed, folder)
        if kind == "equal" and not any(error for _, error in outcome.cells.values()):
            yield sources


@pytest.mark.parametrize("themes", THEMES, ids=" ".join)
def test_random_notebooks_agree_in_kernels(themes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    with quick() as folder:
        found = [sources for _, sources in zip(range(SEEDS), sound(themes, folder), strict=False)]
    beside = zip_longest(*(renamed(sources, f"_{number}") for number, sources in enumerate(found)))
    row = Row("", ())
    cells = [(f"step:s{i}", source, row) for i, sources in enumerate(beside) for source in sources if source]
    try:
        got, failures = run_pipeline(write(cells, tmp_path / "pipeline"))
    except Refusal as refusal:
        pytest.fail(f"each of them runs alone, but: {refusal}")
    expected = straight(write(cells, tmp_path / "straight"))
    for (step, source, _), want, have in zip(cells, shown(expected, tmp_path), shown(got, tmp_path), strict=True):
        assert have == want, f"{step}\n{source}\n{failures}"
    assert not failures
