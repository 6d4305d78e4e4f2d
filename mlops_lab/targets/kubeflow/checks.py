"""What Kubeflow will not honour of a notebook, and what will not travel there, found before the run; each with a way out.

One function a code, listed in `CHECKS`, as in `mlops_lab/checks.py`; documented in docs/diagnostics.md.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterator

from mlops_lab.checks import Diagnostic
from mlops_lab.errors import UsageError
from mlops_lab.files import UNKNOWN
from mlops_lab.learn import lessons, results_of
from mlops_lab.notebook import Cell
from mlops_lab.plan import Plan
from mlops_lab.runs import Home
from mlops_lab.targets.kernels import kernel_python
from mlops_lab.targets.kubeflow import files, installed, limits, settings
from mlops_lab.targets.kubeflow.interface import is_given_from_outside
from mlops_lab.targets.kubeflow.prepare import is_reachable_from_afar
from mlops_lab.targets.kubeflow.requirements import (
    local_modules,
    needed,
    normalised,
    pipeline_trees,
)
from mlops_lab.tracking import URI, without_password

Found = Iterator[Diagnostic]
_HERE = re.compile(
    r"\b(?:https?|postgresql|mysql|mongodb|redis|s3|grpc)?(?:\+\w+)?(?:://)(?:[^/@\s]*@)?(?:localhost|127\.0\.0\.1|0\.0\.0\.0)\b"
)
_LOCAL_STORE = re.compile(r"^(?:sqlite:|file:|\.{0,2}/|\w:\\)")
_RUNS = 20  # the newest ones, among which that of a notebook as it is now is looked for
_IN_EVERY_CONTAINER = ("/tmp", "/dev", "/proc", "/usr", "/etc", "/var/tmp", "/sys")


def check(plan: Plan) -> tuple[Diagnostic, ...]:
    """All that stands in the way of running a plan on Kubeflow, errors first, then in the order of the notebook."""
    found = [diagnostic for one in (*CHECKS, seen_here) for diagnostic in one(plan)]
    return tuple(sorted(set(found), key=lambda d: (d.severity != "error", d.cell, d.line, d.code, d.name)))


def _lines(cell: Cell, text: str) -> int:
    """The line of the cell that has a text, or its first one."""
    return next((number for number, line in enumerate(cell.source.splitlines(), 1) if text in line), 1)


def _mounted(plan: Plan) -> tuple[str, ...]:
    every = [plan.pipeline.notebook.settings.kubeflow, *(step.step.settings.kubeflow for step in plan.steps)]
    return tuple(path.rstrip("/") for one in every for path in one.volumes)


def local_path(plan: Plan) -> Found:
    """ML301: a path of this machine, which no container has."""
    mounted = (*_mounted(plan), *_IN_EVERY_CONTAINER)
    for cell in plan.cells:
        effects = plan.cell_effects[cell.number]
        for path in sorted(effects.reads_files | effects.writes_files | effects.mentions_files):
            home = path.startswith("~")
            if not (os.path.isabs(path) or home) or path.startswith(mounted) or not path.strip("/*"):  # noqa: PTH117
                continue
            if path in effects.mentions_files and not home and not os.path.exists(path):
                continue  # a text that looks like a path
            fix = (
                "Put the file beside the notebook and name it by its relative path, mount a volume there "
                "(mlops_lab.kubeflow.volumes), or read it from an object store."
            )
            yield Diagnostic("ML301", "error", f"{path!r} is a path of this machine; no container has it.", fix, cell.number,
                             _lines(cell, path.partition("*")[0]), path)  # fmt: skip


def outside_path(plan: Plan) -> Found:
    """ML302: a file outside the notebook's folder."""
    for cell in plan.cells:
        effects = plan.cell_effects[cell.number]
        for path in sorted(effects.reads_files | effects.writes_files | effects.mentions_files):
            if path == ".." or path.startswith("../"):
                message = f"{path!r} lies outside the notebook's folder, and only what lies in it travels."
                fix = "Move the file, or the notebook, so that it lies beside or below the notebook."
                yield Diagnostic("ML302", "error", message, fix, cell.number, _lines(cell, path), path)


def too_large(plan: Plan) -> Found:
    """ML303: files that are too large to travel inside the pipeline."""
    try:
        files.packed(plan)
    except UsageError as error:
        message, _, fix = str(error).partition(". ")
        name = message.split(" ")[0]
        cell = next((c for c in plan.cells if name in c.source), None)
        line = _lines(cell, name) if cell else 0
        yield Diagnostic("ML303", "error", f"{message}.", fix, cell.number if cell else 0, line, name)
    for name in files.left_behind(plan):
        message = f"{name}, which a module beside the notebook names, is too large to travel inside the pipeline."
        yield Diagnostic("ML303", "warning", message, files.WAYS_OUT, 0, 0, name)


def unknown_path(plan: Plan) -> Found:
    """ML304: files that are read by a path which is only known when the step runs."""
    for cell in plan.cells:
        reads = plan.cell_effects[cell.number].reads_files
        if (
            any(path == UNKNOWN or path.startswith("*") for path in reads)
            and not plan.pipeline.notebook.settings.kubeflow.files
        ):
            message = "the cell reads a file by a path that is only known when it runs, so that the file does not travel."
            fix = (
                "Write the path out, or name what has to travel in mlops_lab.kubeflow.files; what earlier steps write travels."
            )
            yield Diagnostic("ML304", "warning", message, fix, cell.number)


def uninstallable(plan: Plan) -> Found:
    """ML305: a package that pip can't get from an index: an editable install, or one from a folder of this machine."""
    given = {normalised(text) for text in plan.pipeline.notebook.settings.requirements}
    roots = needed(pipeline_trees(plan))
    for root, found in sorted(installed.of_kernel(plan.pipeline.notebook.kernel_name, roots).items()):
        name, why = found.distribution, found.unobtainable
        cell = _importing(plan, root)
        if why and normalised(name) not in given and cell is not None:
            fix = (
                "Publish it to an index, name where it can be had in mlops_lab.requirements "
                f'("{name} @ git+https://..."), put its module beside the notebook, or use an image that has it.'
            )
            message = f"the package {name} {why}, so that no container can install it."
            yield Diagnostic("ML305", "error", message, fix, cell.number, _lines(cell, root), name)


def from_nowhere(plan: Plan) -> Found:
    """ML306: an import that no distribution and no file beside the notebook provides."""
    trees = pipeline_trees(plan)
    files = local_modules(plan.pipeline.notebook, trees)
    beside = {part.removesuffix(".py") for path in files for part in path.split("/")}
    roots = needed(trees)
    there = installed.of_kernel(plan.pipeline.notebook.kernel_name, roots)
    for root in sorted(roots - beside):
        cell, found = _importing(plan, root), there.get(root)
        if cell is None or _guarded(cell, root) or (found and found.distribution):
            continue
        where = f"comes from {found.file}" if found and found.file else "is not installed here"
        message = f"the module {root!r} {where}: it belongs to no package, and doesn't lie beside the notebook."
        fix = "Put it beside the notebook, name the package that has it in mlops_lab.requirements, or use an image that has it."
        yield Diagnostic("ML306", "error", message, fix, cell.number, _lines(cell, root), root)


def this_machine(plan: Plan) -> Found:
    """ML307: an address of this machine: in a container, `localhost` is the container."""
    fix = "Use an address that the cluster reaches, best as a parameter or in the step's env; see mlops-lab connect for MLflow."
    for cell in plan.cells:
        for node in ast.walk(cell.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _HERE.search(node.value):
                message = f"{node.value!r} is an address of this machine; in a container it is the container itself."
                yield Diagnostic("ML307", "warning", message, fix, cell.number, node.lineno, node.value)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "set_tracking_uri":
                for value in node.args:
                    if isinstance(value, ast.Constant) and isinstance(value.value, str) and _LOCAL_STORE.match(value.value):
                        message = f"the tracking store {value.value!r} is a file of this machine: what a step logs is lost."
                        yield Diagnostic("ML307", "warning", message, fix, cell.number, node.lineno, value.value)
    uri = os.environ.get(URI, "")
    logging = next((cell for cell in plan.cells if "mlflow" in cell.source), None)
    if logging is not None and not is_reachable_from_afar(uri) and not _names_a_store(plan):
        what = f"{URI} is {without_password(uri)!r}, which no container reaches" if uri else f"{URI} names no server"
        message = f"{what}: what cells log with mlflow stays in their pods, unless Kubeflow's own MLflow plugin is on."
        yield Diagnostic("ML307", "warning", message, fix, logging.number, _lines(logging, "mlflow"), URI)
    for step in plan.steps:
        for name, text in step.step.settings.env.items():
            if _HERE.search(text):
                message = f"step {step.name!r}: the environment variable {name} is {text!r}, an address of this machine."
                yield Diagnostic("ML307", "warning", message, fix, name=name)


def _names_a_store(plan: Plan) -> bool:
    """True if the notebook or its settings say where MLflow is."""
    told = [{*step.step.settings.env, *settings.of_step(plan, step).secrets, *settings.of_step(plan, step).config_maps}
            for step in plan.steps]  # fmt: skip
    return any(URI in names for names in told) or any("set_tracking_uri(" in cell.source for cell in plan.cells)


def not_honoured(plan: Plan) -> Found:
    """ML308: settings and parameters that Kubeflow doesn't honour as a local run does."""
    for parameter in plan.pipeline.parameters:
        if not is_given_from_outside(parameter):
            message = f"the parameter {parameter.name} ({parameter.annotation}) can't be given there: JSON has no such values."
            yield Diagnostic("ML308", "warning", message, "Write it as a list, a dict, a text or a number.", parameter.cell,
                             parameter.line, parameter.name)  # fmt: skip
    for step in plan.steps:
        asked = step.step.settings
        if step.step.gate and asked.retries:
            message = f"step {step.name!r} is a gate with retries: Kubeflow would also try a rejection again, so it gets none."
            yield Diagnostic("ML308", "warning", message, "Move what may fail for other reasons into a step of its own.",
                             step.step.first, name="retries")  # fmt: skip
        if asked.timeout is not None and asked.timeout > 0 and asked.timeout != round(asked.timeout):
            message = f"step {step.name!r}: timeout is {asked.timeout:g} s; Kubernetes counts whole seconds."
            yield Diagnostic("ML308", "warning", message, "Give whole seconds.", step.step.first, name="timeout")
    kernel = plan.pipeline.notebook.kernel_name
    try:
        kernel_python(kernel)
    except UsageError:
        message = f"the notebook's kernel {kernel!r} is not installed here: steps get the packages of this environment."
        yield Diagnostic(
            "ML308",
            "warning",
            message,
            "Install the kernel, or name an image with its packages in mlops_lab.image.",
            name=kernel,
        )


def wrong_settings(plan: Plan) -> Found:
    """ML309: settings that Kubernetes would not take."""
    for step in plan.steps:
        for name, message, fix in settings.wrong(plan, step):
            yield Diagnostic("ML309", "error", message, fix, name=name)


def too_many(plan: Plan) -> Found:
    """ML310: a pipeline or a step that is larger than the cluster takes."""
    from mlops_lab.targets.kubeflow.compile import compile_pipeline

    try:
        size = limits.workflow_size(compile_pipeline(plan).spec)
    except UsageError as error:
        message, _, fix = str(error).partition(". ")
        if not any(too_large(plan)) and not any(wrong_settings(plan)):
            yield Diagnostic("ML310", "error", f"{message}.", fix)
        return
    if size > limits.WORKFLOW * 0.9:
        message = (
            f"a run of the compiled pipeline becomes a workflow of about {size / 1000:.0f} KB; a cluster whose workflow "
            f"controller doesn't offload large ones takes {limits.WORKFLOW / 1000:.0f} KB."
        )
        yield Diagnostic("ML310", "warning", message, "Merge small steps, or have the controller offload large workflows.")


def seen_here(plan: Plan) -> Found:
    """What a run of this very notebook saw here that no edge of its graph says: the guard would end it there."""
    notebook = plan.pipeline.notebook
    for folder in Home.of(notebook.folder).list()[:_RUNS]:
        started = folder.started
        if started is None or started.target != "local" or started.digest != notebook.digest or not folder.finished:
            continue
        for lesson in lessons(notebook, results_of(folder)):
            cell = next((step.step.first for step in plan.steps if step.step.group == lesson.step), 0)
            message = f"in run {folder.id}, {lesson}; Kubeflow runs no step again, so a run would end there."
            fix = "Have it recorded (mlops-lab run NOTEBOOK --learn), tag the later step with after:, or merge the steps."
            code = "ML204" if lesson.name[0] == "@" and "random" in lesson.name else "ML203"
            yield Diagnostic(code, "warning", message, fix, cell, name=lesson.name)
        return


def _importing(plan: Plan, root: str) -> Cell | None:
    return next((cell for cell in plan.cells if root in needed([cell.tree])), None)


def _guarded(cell: Cell, root: str) -> bool:
    """True if the cell expects that the import may fail."""
    return any(isinstance(node, ast.Try) and root in needed([node]) for node in ast.walk(cell.tree))


CHECKS: tuple[Callable[[Plan], Found], ...] = (
    local_path, outside_path, too_large, unknown_path, uninstallable, from_nowhere, this_machine, not_honoured, wrong_settings,
    too_many,
)  # fmt: skip
