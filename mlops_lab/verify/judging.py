"""The verdict on two runs: which cells and variables differ, and which of these differ by chance.

What is random or tells the time differs between any two runs, and two straight runs may agree on it by luck (a coin that
fell the same way twice). So, as long as something differs, the notebook is run straight again, up to three times in all: what
the straight runs don't agree on is left out, and so is what a cell shows of a variable on which they don't; the kinds of a
cell's outputs (text, HTML, a picture, an error) are held to what they agree on all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlops_lab.events import Failure
from mlops_lab.notebook import Cell, Notebook
from mlops_lab.plan import Plan
from mlops_lab.scopes import module_names
from mlops_lab.verify.shown import plain, shown, text, without_durations
from mlops_lab.verify.straight import End, differences
from mlops_lab.verify.verdict import CellVerdict, VariableVerdict, Verdict, short_difference

_STRAIGHT_RUNS = 3  # at the most


@dataclass(frozen=True)
class PipelineEnd(End):
    """What the pipeline run left; `holders`: variable -> the last step that left it.

    `outdated` are variables that no later step reads, so that they were not passed on, while a later step changed something
    that they share an object with: they are as their step left them.
    """

    holders: dict[str, str] | None = None
    outdated: frozenset[str] = frozenset()
    failures: tuple[Failure, ...] = ()
    overtaken: int = 0


def judge(source: Notebook, plan: Plan, straight: End, pipeline: PipelineEnd, once_more: Callable[[int], End],
          folder: Path) -> Verdict:  # fmt: skip
    """The verdict. `once_more` runs the notebook straight for the nth time; `folder` is where, for the modules in it."""
    refusals = [failure for failure in pipeline.failures if failure.kind == "refused"]
    end = straight.failed_at if straight.failed_at is not None else len(source.node.cells)
    cells = [cell for cell in source.cells if cell.in_pipeline and cell.index <= end]
    pairs = {cell: (shown(straight.node, cell.index), shown(pipeline.node, cell.index)) for cell in cells}
    differing = [cell for cell, (one, other) in pairs.items() if one != other]
    same_end = straight.failed_at is None and not pipeline.failures
    why = _variables(plan, straight, pipeline, source.kernel_name, folder) if same_end else {}
    failed_alike = straight.failed_at is not None and _fails_alike(source, straight, pipeline.failures)
    others: list[End] = []
    unstable: set[int] = set()
    uncertain: set[str] = set()
    message = ""
    open_cells, open_names = {cell.number for cell in differing}, {name for name, text in why.items() if text}
    while (
        not refusals
        and len(others) + 1 < _STRAIGHT_RUNS
        and (open_cells or open_names or not (same_end or failed_alike or message))
    ):
        again = once_more(len(others) + 2)
        others.append(again)
        uncertain |= _uncertain(straight, again, source.kernel_name, folder)
        unstable = {cell.number for cell in differing if _is_unstable(cell, pairs[cell], others, uncertain)}
        if (again.failed_at, plain(again.error)) != (straight.failed_at, plain(straight.error)):
            message = "two straight runs of the notebook don't end alike; "
            failed_alike = not same_end
        open_cells, open_names = open_cells - unstable, open_names - uncertain
    verdict = Verdict(
        "equal",
        _cells(plan, pairs, {cell.number for cell in differing}, unstable, pipeline.node),
        overtaken=pipeline.overtaken,
        variables=tuple(
            VariableVerdict(
                name,
                (pipeline.holders or {}).get(name, ""),
                "incomparable" if text is None else "equal" if not text else "unstable" if name in uncertain else "different",
                text or "",
            )
            for name, text in sorted(why.items())
        ),
        straight_runs=1 + len(others),
    )
    if refusals:
        return replace(verdict, status="refused", message=refusals[0].message)
    if verdict.differences or verdict.different_variables:
        verdict = replace(verdict, status="different")
    if same_end and not message:
        return verdict
    if straight.failed_at is not None:
        number = next((cell.number for cell in source.cells if cell.index == straight.failed_at), 0)
        message += f"the notebook fails by itself, in cell {number}: {straight.error or 'its kernel died'}"
    if failed_alike or same_end:
        message += "; so does the pipeline" if not message.startswith("two") else ""
        return replace(verdict, status="failed" if verdict.status == "equal" else "different", message=message)
    found = f"the pipeline: {pipeline.failures[0].message}" if pipeline.failures else "the pipeline does not fail"
    return replace(verdict, status="different", message=f"{message}; {found}" if message else found)


def _variables(plan: Plan, straight: End, pipeline: PipelineEnd, kernel: str, folder: Path) -> dict[str, str | None]:
    """Variable -> why it differs at the end; what the cells replayed in every step bind is left out, and so are imports."""
    notebook = plan.pipeline.notebook
    replayed = {name for cell in (*plan.pipeline.setup, *_static_cells(plan)) for name in module_names(cell.tree.body)[1]}
    static = {parameter.name for parameter in plan.pipeline.static_parameters}
    outside = {name for cell in notebook.cells if not cell.in_pipeline for name in module_names(cell.tree.body)[1]}
    names = {name for end in (straight, pipeline) for name in end.current if name.isidentifier()} - set(plan.imported)
    both = {name for name in names if name in straight.current and name in pipeline.current}
    found = {
        **differences(straight, pipeline, both - pipeline.outdated, kernel, folder),
        **dict.fromkeys(both & pipeline.outdated),
    }
    bound = (
        names
        if any(effects.opaque for effects in plan.cell_effects.values())
        else frozenset[str]().union(*(effects.may_bind for effects in plan.cell_effects.values()), pipeline.current)
    )  # the others are of IPython's startup files
    for name in (names & bound) - both - replayed - static - outside:
        found[name] = f"{name}: only the {'straight run' if name in straight.current else 'pipeline'} has it at the end"
    return found


def _static_cells(plan: Plan) -> Iterable[Cell]:
    numbers = {parameter.cell for parameter in plan.pipeline.static_parameters}
    return (cell for cell in plan.pipeline.notebook.cells if cell.number in numbers)


def _fails_alike(source: Notebook, straight: End, failures: tuple[Failure, ...]) -> bool:
    """True if the pipeline's first failure is that of the straight run: the same cell and error, or a kernel that died."""
    if not failures:
        return False
    numbers = {cell.index: cell.number for cell in source.cells}
    if failures[0].cell and failures[0].cell != numbers.get(straight.failed_at if straight.failed_at is not None else -1):
        return False
    if not straight.error:
        return failures[0].kind == "died"
    return plain(failures[0].message) == plain(straight.error)


def _uncertain(straight: End, again: End, kernel: str, folder: Path) -> set[str]:
    """The variables on which two straight runs don't agree."""
    names = {name for name in straight.current if name.isidentifier()}
    there = {name for name in names if name in again.current}
    return {name for name, text in differences(straight, again, there, kernel, folder).items() if text} | (names - there)


def _is_unstable(cell: Cell, pair: tuple[Any, Any], others: Iterable[End], uncertain: set[str]) -> bool:
    one, other = pair
    kinds = _kinds(one)
    if kinds != _kinds(other) and all(kinds == _kinds(shown(again.node, cell.index)) for again in others):
        return False  # a text in place of a picture, say: that much the straight runs agree on
    if any(one != shown(again.node, cell.index) for again in others) or without_durations(one) == without_durations(other):
        return True
    loads, stores = module_names(cell.tree.body)
    return bool((loads | stores) & uncertain)


def _kinds(outputs: list[Any]) -> list[tuple[str, str]]:
    return [(kind, name) for kind, name, _ in outputs]


def _cells(plan: Plan, pairs: Any, differing: set[int], unstable: set[int], executed: Any) -> tuple[CellVerdict, ...]:
    step_of = {number: step.name for step in plan.pipeline.steps for number in step.numbers}
    cells = []
    for cell, (one, other) in pairs.items():
        step = step_of.get(cell.number, "")
        if cell.number not in differing:
            cells.append(CellVerdict(cell.number, step, "equal"))
            continue
        status = "different" if executed.cells[cell.index].execution_count is not None else "missing"
        left, right = text(one), text(other)
        why = short_difference(left, right)
        status = "unstable" if cell.number in unstable else status
        cells.append(CellVerdict(cell.number, step, status, left[:2000], right[:2000], why))
    return tuple(cells)
