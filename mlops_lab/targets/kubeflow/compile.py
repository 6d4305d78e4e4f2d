"""Plan -> a Kubeflow pipeline: IR YAML of the KFP SDK, one lightweight component a step, the same bytes for the same notebook.

`interface.py` says what each component takes and leaves, `source.py` writes its code, `settings.py` its resources, `files.py`
what travels along; the SDK makes the specification. `submit.py` sends what comes out.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import keyword
import linecache
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_lab import guard, stepnb
from mlops_lab.plan import Plan, StepPlan
from mlops_lab.prelude import setup_before
from mlops_lab.roles import slug
from mlops_lab.runtime import called
from mlops_lab.runtime.session import looks_in
from mlops_lab.scopes import every_node, kinds, module_names
from mlops_lab.targets import Options
from mlops_lab.targets.attempt import dotted, order_of
from mlops_lab.targets.kubeflow import document, files, limits, settings, source
from mlops_lab.targets.kubeflow.interface import Interface, Interfaces, Names, Value, as_json, native_type
from mlops_lab.targets.kubeflow.packing import in_words
from mlops_lab.targets.kubeflow.requirements import python_version, requirements
from mlops_lab.targets.selection import Selection, select
from mlops_lab.tracking import keeps_own_books

_NAMES_OF_SOURCE = {"kfp", "dsl", "print", "_run"}
_DEFAULT_OPTIONS = Options()
_PLAIN = inspect.Parameter.POSITIONAL_OR_KEYWORD
# As `runtime/kit.py` and `runtime/definitions.py` ask.
_MAY_PATCH = re.compile(r"^\s*\w+(\.\w+)+\s*=[^=]|\bsetattr\(", re.MULTILINE)
_BINDING = r"^[ \t]*(?:(?:async[ \t]+)?def[ \t]+|class[ \t]+){name}\b|^[ \t]*{name}[ \t]*(?::[^=\n]*)?=(?!=)"


@dataclass(frozen=True)
class Compiled:
    """A compiled pipeline. `steps` are the steps in notebook order; each is a task of that name, and `tasks` are all tasks.

    `spec` and `platform` are the two documents of `yaml` (`platform` is empty where there is nothing to say for Kubernetes).
    """

    name: str
    yaml: str
    spec: dict[str, Any]
    platform: dict[str, Any]
    steps: tuple[str, ...]
    tasks: tuple[str, ...]
    interfaces: Mapping[str, Interface] = field(repr=False, default_factory=dict)
    values: tuple[Value, ...] = ()

    def arguments(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Checked values of parameters as the pipeline takes them: structured ones as JSON text."""
        by_name = {value.parameter.name: value for value in self.values}
        return {by_name[name].argument: by_name[name].of(value) for name, value in parameters.items()}


def compile_pipeline(plan: Plan, options: Options = _DEFAULT_OPTIONS, *, install: bool = True, pack: bool = True) -> Compiled:
    """Compile a plan. With `install` off, the images have all packages, and nothing is installed when a step starts.

    Where the options ask for some steps only, there are the tasks of these and of what they depend on. They are those of the
    whole pipeline to the byte, so that KFP's cache has what ran before; what has to run again is left out of the cache.

    With `pack` off, the files beside the notebook are left out: to look at, not to run.

    Raises `UsageError` for a step or a pipeline that is larger than Kubeflow takes, naming it and the way out.
    """
    return _Compiler(plan, install, pack, select(plan, options)).compile()


def pipeline_name(plan: Plan) -> str:
    """The pipeline's name as KFP takes it: lower-case letters, digits and dashes."""
    return slug(plan.pipeline.name)[:128].strip("-") or "pipeline"


class _Compiler:
    """Compiles one plan."""

    def __init__(self, plan: Plan, install: bool, pack: bool = True, selection: Selection | None = None) -> None:
        self.plan, self.install = plan, install
        self.selection = selection or select(plan, _DEFAULT_OPTIONS)
        self.steps = [step for step in plan.steps if step.name in self.selection.needed]
        self.name = pipeline_name(plan)
        self.packed = files.packed(plan) if pack else {}
        self.needs = requirements(plan) if install else ()
        self.guards = guard.tables(plan)
        self.rest = _rest(plan)
        self.interfaces = Interfaces(plan, self.selection.needed)
        if not self._can_be_carried_by_step():
            self.interfaces = Interfaces(plan, self.selection.needed, prepare=True)
        names = Names()
        self.values = tuple(Value(names.new(p.name), p, native_type(p)) for p in self.interfaces.parameters)

    def _can_be_carried_by_step(self) -> bool:
        """True if one step waits for none, and can bring the runtime and the files (docs/decisions/002).

        Asked of the whole pipeline, so that parts of it have the same tasks.
        """
        first = [step for step in self.plan.steps if not self.interfaces.waits_for[step.name]]
        return len(first) == 1 and limits.container_size(self._code(first[0]), self.needs) <= limits.ARGUMENT

    def compile(self) -> Compiled:
        from kfp import dsl

        components = {step.name: self._component(step) for step in self.steps}
        first, last = self.interfaces.pack, self.interfaces.finish
        file = self.plan.pipeline.notebook.path.name
        pack = (
            self._helper(first, f"Brings the runtime and the files that travel with {file} to the first steps.")
            if first
            else None
        )
        finish = (
            self._helper(last, f"Looks whether steps of {file} that don't wait for each other used one file.") if last else None
        )

        def body(*channels: Any) -> None:
            given = dict(zip((value.parameter.name for value in self.values), channels, strict=True))
            tasks: dict[str, Any] = {first: pack()} if pack is not None else {}
            for step in self.steps:
                tasks[step.name] = components[step.name](**self._arguments(step.name, given, tasks))
                settings.apply(tasks[step.name], self.plan, step, anew=step.name in self.selection.forced)
            if finish is not None:
                finish(**self._arguments(last, given, tasks))

        kinds = {"int": int, "float": float, "str": str, "bool": bool, "json": str}
        body.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(v.argument, _PLAIN, default=v.of(v.parameter.default), annotation=kinds[v.native])
                for v in self.values
            ]
        )
        described = self.plan.pipeline.notebook.settings.description
        graph: Any = dsl.pipeline(body, name=self.name, description=described or None)
        _describe(graph.pipeline_spec, self.values)
        spec, platform = document.as_dicts(graph.pipeline_spec, graph.platform_spec)
        carriers = [first] if first else [step.name for step in self.steps if not self.interfaces.waits_for[step.name]]
        text = document.write(self.plan, spec, platform, carriers)
        limits.check_size(text, spec)
        steps = tuple(step.name for step in self.steps)
        tasks = tuple(name for name in (first, *steps, last) if name)
        return Compiled(self.name, text, spec, platform, steps, tasks, {s: self.interfaces[s] for s in steps}, self.values)

    def _arguments(self, step: str, given: Mapping[str, Any], tasks: Mapping[str, Any]) -> dict[str, Any]:
        interface = self.interfaces[step]
        found = {value.argument: given[value.parameter.name] for value in interface.values}
        for port in interface.inputs:
            left = next(p for p in self.interfaces[port.source].outputs if p.variable == port.variable)
            found[port.argument] = tasks[port.source].outputs[left.argument]
        for above, argument in interface.states.items():
            found[argument] = tasks[above].outputs[self.interfaces[above].state]
        return found

    def _component(self, step: StepPlan) -> Any:
        interface = self.interfaces[step.name]
        installs = settings.of_step(self.plan, step).install is not False
        return self._made(step.name, interface, self._code(step), step.step.settings.image, self.needs, installs)

    def _code(self, step: StepPlan) -> str:
        interface = self.interfaces[step.name]
        return source.component_source(
            _function(step.name),
            _summary(self.plan, step, interface),
            interface,
            self.content(step, interface),
            self.cells(step),
            None if interface.states else self.packed,
        )

    def cells(self, step: StepPlan) -> list[source.Cell]:
        """The step's notebook as (metadata, source); the cells that call the runtime are left empty, which puts that in."""
        node = stepnb.build(self.plan.pipeline, step)
        return [(json.loads(json.dumps(cell.metadata)), "" if _is_ours(cell) else cell.source) for cell in node.cells]

    def _helper(self, name: str, summary: str) -> Any:
        """The component of a task that runs no cells: `prepare` or `finish`."""
        interface = self.interfaces[name]
        carried = None if interface.states else self.packed
        code = source.component_source(_function(name), [summary], interface, self.helper_content(name), [], carried)
        return self._made(name, interface, code, None, (), self.plan.pipeline.notebook.settings.kubeflow.install is not False)

    def helper_content(self, name: str) -> dict[str, Any]:
        """What the runtime is told in a task that runs no cells."""
        interface = self.interfaces[name]
        return {"name": name, "pipeline": self.name, "place": -2, "states": list(interface.states.values()), "inputs": {},
                "outputs": {}, "order": {}, "state": interface.state, **self._books()}  # fmt: skip

    def _books(self) -> dict[str, Any]:
        """What the runtime is told of a notebook that chooses MLflow's experiment itself, or asks what was logged."""
        own = any(keeps_own_books(cell.source) for cell in self.plan.cells)
        return {**({"own_books": True} if own else {}), **({"asks_mlflow": True} if self.plan.ask_mlflow else {})}

    def _made(self, name: str, interface: Interface, code: str, image: str | None, needs: tuple[str, ...],
              installs: bool) -> Any:  # fmt: skip
        """The SDK's component for a signature, with our source in place of the function's."""
        from kfp import dsl

        image = (
            image
            or self.plan.pipeline.notebook.settings.image
            or f"python:{python_version(self.plan.pipeline.notebook.kernel_name)}"
        )
        function = _function(name)
        stub = f"def {function}({', '.join(source.signature(interface))}):\n    pass\n"
        filename = f"<component {name}>"
        linecache.cache[filename] = (len(stub), None, stub.splitlines(True), filename)
        namespace: dict[str, Any] = {}
        exec("from kfp.dsl import *", namespace)
        try:
            exec(compile(stub, filename, "exec", dont_inherit=True), namespace)
            made: Any = dsl.component(
                namespace[function],
                base_image=image,
                packages_to_install=list(needs) if installs else [],
                install_kfp_package=self.install and installs,
            )
        finally:
            del linecache.cache[filename]
        made.component_spec.name = name
        made.component_spec.implementation.container.command[-1] = code
        return made

    def content(self, step: StepPlan, interface: Interface) -> dict[str, Any]:
        """What the runtime is told of the step (`runtime/remote.py`)."""
        parameters = {
            v.parameter.name: {"argument": v.argument, "json": v.is_json, "default": v.parameter.default, "inject": v.inject}
            for v in interface.values
        }
        return {
            "name": step.name,
            "pipeline": self.name,
            "place": self.plan.steps.index(step),
            "gate": step.step.gate,
            "states": list(interface.states.values()),
            "inputs": {port.argument: [port.source, port.variable] for port in interface.inputs},
            "outputs": {port.variable: port.argument for port in interface.outputs},
            "parameters": parameters,
            "state": interface.state,
            "executed": interface.executed,
            "page": interface.page,
            "metrics": interface.metrics,
            "order": self._order(step, interface),
            "rest": self.rest,
            **self._books(),
        }

    def _order(self, step: StepPlan, interface: Interface) -> dict[str, Any]:
        """The step's order, without what comes with the states of the steps above: a change there must not change this step."""
        order = order_of(self.plan, step, {})
        setup = setup_before(self.plan.pipeline.notebook.cells, step.step.first)
        trees = [cell.tree for cell in (*step.step.cells, *setup, *{item.cell for item in step.prelude})]
        return {
            **{key: value for key, value in order.items() if key != "sources"},
            "dotted": dotted(trees),
            "metrics": sorted({*order["metrics"], *interface.metric_names}),
            "guard": self.guards[step.name],
        }


def _called_inside(plan: Plan) -> set[str]:
    """`MODULE.FUNCTION` for what the notebook's functions call without use of the result."""
    cells = [cell for cell in plan.pipeline.notebook.cells if cell.in_pipeline]
    functions = [f for cell in cells for f in every_node(cell.tree) if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inner = [node for function in functions for node in ast.walk(function) if isinstance(node, ast.Expr)]
    calls = {f"{ast.unparse(node.value.func)}()" for node in inner if isinstance(node.value, ast.Call)}
    return called.places([line for cell in cells for line in cell.source.splitlines() if "import" in line] + sorted(calls))


def _is_ours(cell: Any) -> bool:
    """True for the cells that call the runtime, which puts in by itself how it is called."""
    return bool({"mlops-lab-inputs", "mlops-lab-outputs"} & set(cell.metadata.get("tags", ())))


def _describe(spec: Any, values: tuple[Value, ...]) -> None:
    """Say of the pipeline's parameters what the SDK's functions can't: what they mean and which values they take."""
    for value in values:
        declared = spec.root.input_definitions.parameters[value.argument]
        parameter = value.parameter
        texts = [parameter.description] if parameter.description else []
        if value.is_json or parameter.type.bounds:
            texts.append(parameter.annotation + (", as JSON text" if value.is_json else ""))
        declared.description = in_words("; ".join(texts))
        for choice in parameter.type.choices:
            literal = declared.literals.add()
            if isinstance(choice, str) or value.is_json:
                literal.string_value = as_json(choice) if value.is_json else choice
            elif isinstance(choice, bool):
                literal.bool_value = choice
            else:
                literal.number_value = choice


def _function(step: str) -> str:
    name = step.replace("-", "_")
    return f"step_{name}" if keyword.iskeyword(name) or hasattr(builtins, name) or name in _NAMES_OF_SOURCE else name


def _summary(plan: Plan, step: StepPlan, interface: Interface) -> list[str]:
    numbers = step.step.numbers
    cells = f"cell {numbers[0]}" if len(numbers) == 1 else f"cells {numbers[0]} to {numbers[-1]}"
    lines = [f"Step {step.name!r} of {plan.pipeline.notebook.path.name}: {cells}."]
    if interface.inputs:
        lines.append("Reads: " + ", ".join(f"{p.variable} (from {p.source})" for p in interface.inputs))
    if interface.outputs:
        lines.append("Leaves: " + ", ".join(f"{p.variable} ({p.type})" for p in interface.outputs))
    return lines


def _rest(plan: Plan) -> str:
    """Code in place of all cells for what the runtime asks of their whole text, so that a step has not to bring them.

    It asks which names of setup cells are bound more than once, whether anything is put into packages, which functions of
    packages are called for what they set (those of the step's own lines it finds by itself), and what some step looks at that
    those above must leave for it.
    """
    text = "\n".join(cell.source for cell in plan.pipeline.notebook.cells)
    names = set().union(*(module_names(cell.tree.body)[1] for cell in plan.pipeline.setup))
    again = [name for name in sorted(names) if len(re.findall(_BINDING.format(name=name), text, re.MULTILINE)) > 1]
    patches = ["patched.name = None"] if _MAY_PATCH.search(text) else []
    calls = [
        f"import {module}\n{module}.{name}()" for module, _, name in (p.rpartition(".") for p in sorted(_called_inside(plan)))
    ]
    trees = [cell.tree for cell in plan.pipeline.notebook.cells if cell.in_pipeline]
    compared = {ast.unparse(node) for tree in trees for node in kinds(tree).get(ast.Compare, ()) if _is_of_identity(node)}
    rest = [line for name in again for line in [f"{name} = None"] * 2]
    return "\n".join([*rest, *patches, *calls, *looks_in(text), *sorted(compared)])


def _is_of_identity(node: ast.Compare) -> bool:
    """`a is b` and `id(a) == id(b)`, but not `a is None`."""
    sides = [node.left, *node.comparators]
    if any(isinstance(side, ast.Constant) and not isinstance(side.value, (str, bytes)) for side in sides):
        return False
    of_ids = all(isinstance(side, ast.Call) and getattr(side.func, "id", "") == "id" for side in sides)
    return of_ids or any(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops)
