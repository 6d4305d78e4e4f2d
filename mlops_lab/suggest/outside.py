"""Cells that are no part of a step: environment management and help (skip), settings (setup), the parameters."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Sequence

from mlops_lab.notebook import Cell
from mlops_lab.parameters import is_static, parameters_in
from mlops_lab.roles import Role
from mlops_lab.scopes import module_names
from mlops_lab.suggest.looks import Look, process_setting
from mlops_lab.syntax import ipython_call

_INSTALL = re.compile(
    r"\s*(sudo\s+)?(-\S+\s+)*(\S*python[\d.]*\s+-m\s+|\{sys\.executable\}\s+-m\s+)?"
    r"((uv\s+)?pip[\d.]*|conda|mamba|apt|apt-get|uv)\s+(-\S+\s+)*"
    r"(install|uninstall|list|show|check|update|upgrade|add)\b[^;|&`]*(2?>\s*/dev/null\s*|2>&1\s*)*"
)

_MANAGERS = frozenset("pip conda mamba uv".split())

_DOCS = frozenset("pinfo pinfo2 psource pdoc pfile pdef quickref".split())

_EXTENSIONS = frozenset("autoreload nb_black lab_black jupyter_black blackcellmagic pycodestyle_magic".split())


def skippable(cells: Sequence[Cell]) -> dict[int, str]:
    """Index -> reason, of the cells that manage packages, help with editing, look up documentation, or hold no code."""
    found: dict[int, str] = {}
    for cell in cells:
        if cell.in_pipeline and not cell.syntax_issue and not cell.roles:
            why = {_inert(s) for s in cell.tree.body if not isinstance(s, ast.Import)}
            if None not in why and (why or not cell.tree.body):
                found[cell.index] = " and ".join(sorted(w for w in why if w)) or "it holds comments only"
    # `import sys` before `!{sys.executable} -m pip` may be for other cells too, and so may an extension's magics.
    used = frozenset().union(*(module_names(cell.tree.body)[0] for cell in cells if cell.index not in found))
    found = {c.index: found[c.index] for c in cells if c.index in found and not module_names(c.tree.body)[1] & used}
    kept = [cell.source for cell in cells if cell.index not in found]
    reloading = any(re.search(r"%a(utoreload|import)\b", source) for source in kept)
    return {c.index: found[c.index] for c in cells if c.index in found and not (reloading and "load_ext" in c.source)}


def _inert(statement: ast.stmt) -> str | None:
    """Why a statement is no part of a pipeline, or None if it is."""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return None
    call = statement.value
    if isinstance(call.func, ast.Name) and call.func.id == "help":
        simple = not call.keywords and all(
            isinstance(n, (ast.Name, ast.Attribute, ast.expr_context)) for a in call.args for n in ast.walk(a)
        )
        return "it looks up documentation" if simple else None
    magic = ipython_call(call)
    if not magic or None in magic[1]:
        return None
    method, arguments = magic[0], [text or "" for text in magic[1]]
    managing = "it manages installed packages, which is not a pipeline's work"
    if method in {"system", "getoutput"}:
        return managing if _INSTALL.fullmatch(arguments[0]) else None
    if method == "run_cell_magic" and arguments[0] in {"bash", "sh", "capture"}:
        lines = [line for line in arguments[-1].splitlines() if line.strip() and not line.lstrip().startswith("#")]
        return managing if lines and all(_INSTALL.fullmatch(line) for line in lines) else None
    if method == "run_line_magic" and arguments:
        if arguments[0] in _MANAGERS and _INSTALL.fullmatch(" ".join(arguments)):
            return managing
        if arguments[0] in _DOCS:
            return "it looks up documentation"
        if arguments[0] == "autoreload" or (arguments[0] == "load_ext" and arguments[-1] in _EXTENSIONS):
            return "it helps with editing only"
    return None


def setup_cells(looks: Sequence[Look]) -> dict[int, str]:
    """Index -> reason, of the cells above all work that have to hold in every process and need no other cell."""
    found: dict[int, str] = {}
    for look in looks:
        if not look.idle:
            break
        if any(map(process_setting, look.cell.tree.body)) and all(hasattr(builtins, name) for name in look.effects.reads):
            found[look.cell.index] = "it sets up the process that it runs in, so that every step needs it"
    return found


def parameters_cell(cells: Sequence[Cell], looks: Sequence[Look], start: int) -> dict[int, str]:
    """Index -> reason, of the cell above the first step that holds most settings as literals which nothing changes."""
    if any(cell.has(Role.PARAMETERS) for cell in cells):
        return {}
    names_in = {cell.index: module_names(cell.tree.body) for cell in cells}
    best, most = -1, 0
    for look in looks[:start]:
        cell, body = look.cell, look.cell.tree.body
        # Such a cell isn't run: what an expression shows, or a cell magic, would be lost.
        if not all(isinstance(s, (ast.Assign, ast.AnnAssign)) for s in body) or cell.source.lstrip().startswith("%"):
            continue
        if not is_static(cell) or len(cell.source) > 4000:
            continue
        found = parameters_in(cell)
        names = {p.name for p in found}
        mutable = {p.name for p in found if not isinstance(p.default, (bool, int, float, str, type(None)))}
        settings = [p for p in found if isinstance(p.default, (bool, int, float, str)) and not p.name.startswith("_")]
        others = [(c.number < cell.number, *names_in[c.index]) for c in cells if c is not cell]
        free = not any(names & stores or (above and names & loads) for above, loads, stores in others)
        if free and len(settings) > most:
            below = [other.effects for other in looks if other is not look]
            if not any(names & effects.may_bind or mutable & effects.touches for effects in below):
                best, most = cell.index, len(settings)
    return {best: "settings written as literals, which nothing changes: a run can be given others"} if most else {}
