"""Step -> runnable notebook: prelude, parameters, the loading of inputs, the step's cells unchanged, the storing of outputs.

The notebook is complete: anyone can read it, and Papermill runs it wherever the runtime's environment variables point to
its order (see `runtime/kit.py`). Cells of ours carry a tag that begins with `mlops-lab-`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlops_lab.notebook import Cell
from mlops_lab.parameters import Parameter
from mlops_lab.plan import StepPlan
from mlops_lab.prelude import setup_before
from mlops_lab.roles import Role

if TYPE_CHECKING:
    from mlops_lab.pipeline import Pipeline

_CALL_RUNTIME = (
    'exec(__import__("pathlib").Path(__import__("os").environ["MLOPS_LAB_RUNTIME"], "boot.py").read_text(), '
    '{{"PHASE": "{phase}"}})'
)


def step_parameters(pipeline: Pipeline, planned: StepPlan) -> tuple[Parameter, ...]:
    """The parameters that are injected into a step: the static ones it reads, and those whose cell it runs."""
    own = {cell.number for cell in planned.step.cells}
    read = [p for p in pipeline.static_parameters if planned.reads is None or p.name in planned.reads]
    return tuple(read) + tuple(p for p in pipeline.parameters if p.cell in own)


def assignment(parameter: Parameter) -> str:
    """The statement that gives a parameter its default, without the annotation (whose names may not be imported)."""
    value = ast.parse(parameter.source.strip()).body[0].value  # type: ignore[attr-defined]
    return f"{parameter.name} = {ast.unparse(value)}"


def build(pipeline: Pipeline, planned: StepPlan) -> Any:
    """The notebook of one step (an nbformat 4.5 node); parameters given for the run are left to Papermill to inject."""
    from nbformat.v4 import new_notebook

    def ours(source: str, tag: str) -> Any:
        return _code_cell(source, {"tags": [tag]}, f"{tag}-{len(cells)}")

    cells: list[Any] = []
    setup = {cell.number: cell for cell in setup_before(pipeline.notebook.cells, planned.step.first)}
    items = [(item.cell.number, item.code) for item in planned.prelude] + [(n, c.source) for n, c in setup.items()]
    imports: list[str] = []
    for number, code in sorted(items, key=lambda item: item[0]):
        if number in setup:
            if imports:
                cells.append(ours("\n".join(imports), "mlops-lab-prelude"))
                imports = []
            cells.append(ours(code, "mlops-lab-setup"))
            cells[-1].metadata["mlops_lab_setup"] = number
        else:
            imports.append(code)
    if imports:
        cells.append(ours("\n".join(imports), "mlops-lab-prelude"))
    static = [p for p in step_parameters(pipeline, planned) if p in pipeline.static_parameters]
    if static:
        cells.append(ours("\n".join(assignment(p) for p in static), "mlops-lab-parameters"))
        cells[-1].metadata["tags"].append("parameters")
    if pipeline.notebook.settings.autolog:
        cells.append(ours(_autolog(planned), "mlops-lab-prelude"))
    cells.append(ours(_CALL_RUNTIME.format(phase="begin"), "mlops-lab-inputs"))
    for cell in planned.step.cells:
        cells.append(_own_cell(cell, injects=cell.has(Role.PARAMETERS) and not static))
    cells.append(ours(_CALL_RUNTIME.format(phase="end"), "mlops-lab-outputs"))
    metadata = {"kernelspec": dict(pipeline.notebook.node.metadata.get("kernelspec") or _PYTHON)}
    return new_notebook(cells=cells, metadata=metadata)


def _autolog(planned: StepPlan) -> str:
    """Log to the step's MLflow run what libraries fit; silently, since a straight run says nothing of it either.

    MLflow would end the run after the first fit, and make another for the second. It stays open, unless the cells open it.
    """
    opens = any("start_run" in cell.source for cell in planned.step.cells)
    code = 'if "MLFLOW_RUN_ID" in __import__("os").environ:\n    __import__("mlflow").autolog(silent=True)'
    return code if opens else code + '\n    __import__("mlflow").start_run()'


_PYTHON = {"name": "python3", "display_name": "Python 3", "language": "python"}


def _own_cell(cell: Cell, injects: bool) -> Any:
    keep = [tag for tag in cell.tags if tag in {"raises-exception", "skip-execution"}]
    tags = keep + (["parameters"] if injects else [])
    return _code_cell(cell.source, {"tags": tags, "mlops_lab": {"cell": cell.number}}, cell.id)


def _code_cell(source: str, metadata: dict[str, Any], identifier: str) -> Any:
    """As nbformat's `new_code_cell`, which also validates each cell: most of what making a step's notebook took."""
    from nbformat import from_dict

    return from_dict({"cell_type": "code", "execution_count": None, "id": identifier, "metadata": metadata, "outputs": [],
                      "source": source})  # fmt: skip


def injected(pipeline: Pipeline, planned: StepPlan, values: Mapping[str, Any]) -> dict[str, Any]:
    """Of the values given for the run, those that belong to this step."""
    names = {parameter.name for parameter in step_parameters(pipeline, planned)}
    return {name: value for name, value in values.items() if name in names}
