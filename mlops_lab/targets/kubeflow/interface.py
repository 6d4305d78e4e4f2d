"""What goes into a step's component and what comes out of it: its parameters and its typed artifacts, by the names they have.

Data comes from the plan; `source.py` writes it as the component's signature, `compile.py` wires components by it.
"""

from __future__ import annotations

import ast
import json
import keyword
import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mlops_lab.errors import UsageError
from mlops_lab.parameters import Parameter
from mlops_lab.plan import Plan, StepPlan
from mlops_lab.scopes import every_node
from mlops_lab.stepnb import step_parameters
from mlops_lab.targets.kubeflow.packing import in_json, is_replaced

_NATIVE = {"int": int, "float": float, "str": str, "bool": bool}
_LARGEST = 2**53  # whole numbers travel as JSON numbers, which are exact up to here
_FROM_OUTSIDE = frozenset({*_NATIVE, "list", "dict", "any"})
_MODEL_CLASS = re.compile(r"(Classifier|Regressor|Regression|Forest|Boost\w*|SVC|SVR|KMeans|Pipeline|Sequential|Module|Model|"
                          r"Ridge|Lasso|GridSearchCV|RandomizedSearchCV|NB|PCA|Net)$")  # fmt: skip
_MODEL_NAME = re.compile(r"(^|_)(model|clf|classifier|regressor|estimator|pipe|pipeline|net|network|forest|booster)s?\d*$")
_DATA_CALL = re.compile(r"^(read_\w+|scan_\w+|from_pandas|DataFrame|Series|LazyFrame|train_test_split|get_dummies|concat|merge|"
                        r"fetch_\w+|load_dataset|load_(iris|digits|wine|breast_cancer|diabetes|linnerud)|groupby|dropna|fillna|"
                        r"drop_duplicates|reset_index|set_index|sort_values|pivot_table|melt|to_frame|query|"
                        r"make_(classification|regression|blobs|moons|circles))$")  # fmt: skip
_DATA_NAME = re.compile(r"(^|_)(df|data|dataset|frame|table|raw|[Xy](_\w+)?|train|test|features)\d*$")
_METRIC_NAME = re.compile(
    r"(^|_)(acc|accuracy|auc|f1|loss|mae|mape|mse|rmse|r2|score|precision|recall|error|sensitivity|specificity)(_|\d*$)"
)


@dataclass(frozen=True)
class Port:
    """An artifact that a step takes or leaves: the component's argument, the variable, its KFP type; an input's source."""

    argument: str
    variable: str
    type: str
    source: str = ""


@dataclass(frozen=True)
class Value:
    """A parameter of a step. `native` is its KFP type; what KFP's numbers and texts can't hold exactly goes as JSON text.

    `inject`: Papermill gives it to the step's cells; else only a function that comes along may need it.
    """

    argument: str
    parameter: Parameter
    native: str
    inject: bool = True

    @property
    def is_json(self) -> bool:
        return self.native == "json"

    def of(self, value: Any) -> Any:
        """A value as KFP takes it."""
        if self.is_json:
            return as_json(value)
        if self.native == "str" and is_replaced(value):
            raise UsageError(
                f"The parameter {self.parameter.name} is {value!r}. On the way to a step, Kubernetes makes one $ of two and "
                f"replaces $(NAME), and Argo replaces what stands between two braces. Give it a default with such a sign in "
                f"the notebook (it then travels as JSON text, which arrives as it is), or write it without."
            )
        return float(value) if self.native == "float" else value


@dataclass
class Interface:
    """The arguments of one step's component, all different."""

    values: list[Value] = field(default_factory=list)
    inputs: list[Port] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)  # step that is waited for -> argument
    outputs: list[Port] = field(default_factory=list)
    state: str = ""
    executed: str = ""
    page: str = ""
    metrics: str = ""
    metric_names: tuple[str, ...] = ()


def as_json(value: Any) -> str:
    """A value as JSON text that arrives in a container as it is."""
    return in_json(json.dumps(value, ensure_ascii=False))


def native_type(parameter: Parameter) -> str:
    """The KFP type of a parameter, or `json` for one that travels as JSON text."""
    kind: str = parameter.type.kind
    default: Any = parameter.default
    if parameter.type.optional or kind not in _NATIVE or isinstance(default, bool) != (kind == "bool"):
        return "json"
    if kind == "float" and (not isinstance(default, (int, float)) or not math.isfinite(default)):
        return "json"
    if not isinstance(default, (int, float) if kind == "float" else _NATIVE[kind]):
        return "json"
    if kind == "str" and any(is_replaced(str(value)) for value in (default, *parameter.type.choices)):
        return "json"
    return "json" if kind == "int" and abs(parameter.default) > _LARGEST else kind


def is_given_from_outside(parameter: Parameter) -> bool:
    """True if the parameter is one of the pipeline: a tuple or a set can't be written as JSON."""
    if parameter.type.kind not in _FROM_OUTSIDE:
        return False
    try:
        return bool(json.loads(json.dumps(parameter.default)) == parameter.default)
    except (TypeError, ValueError):
        return False


class Interfaces:
    """The interfaces of all steps of a plan, of which those named run; all of them by default.

    With `prepare`, a task of its own brings the runtime, else each step that waits for none does.
    """

    def __init__(self, plan: Plan, run: Collection[str] | None = None, prepare: bool = False) -> None:
        self.plan = plan
        self.run = frozenset(step.name for step in plan.steps) if run is None else frozenset(run)
        self.parameters = [p for p in plan.pipeline.parameters if is_given_from_outside(p)]
        names = {step.name for step in plan.steps}
        self.pack = next(n for n in ("prepare", "prepare-steps", "prepare-all-steps") if n not in names) if prepare else ""

    def __getitem__(self, name: str) -> Interface:
        return self._all[name]

    @cached_property
    def waits_for(self) -> dict[str, tuple[str, ...]]:
        """Step -> the steps it waits for directly: an edge is left out where a longer way leads to the same step."""
        above: dict[str, frozenset[str]] = {}
        found: dict[str, tuple[str, ...]] = {}
        for step in self.plan.steps:
            sources = self.plan.sources[step.name]
            through = frozenset[str]().union(*(above[s] for s in sources))
            found[step.name] = tuple(s.name for s in self.plan.steps if s.name in sources - through)
            above[step.name] = through | sources
        return found

    @cached_property
    def finish(self) -> str:
        """The task at the end that sees whether unrelated steps used the same files; a single last step does that by itself."""
        names = {step.name for step in self.plan.steps}
        return next(n for n in ("finish", "finish-steps", "finish-all-steps") if n not in names) if len(self._last) > 1 else ""

    @cached_property
    def _last(self) -> list[str]:
        """The steps that run and that no other one which runs waits for."""
        above = {name for step in self.run for name in self.waits_for[step]}
        return [step.name for step in self.plan.steps if step.name in self.run - above]

    @cached_property
    def types(self) -> dict[tuple[str, str], str]:
        """(step, variable) -> KFP's artifact type, for what the step leaves."""
        found: dict[tuple[str, str], str] = {}
        latest: dict[str, str] = {}
        for step in self.plan.steps:
            guessed = _types_in(step)
            for name in sorted(self._leaves[step.name]):
                kind = guessed.get(name) or latest.get(name) or _by_name(name)
                found[step.name, name] = latest[name] = kind
        return found

    @cached_property
    def _leaves(self) -> dict[str, set[str]]:
        """Step -> the variables that are artifacts of its own: those read below, and those it binds last."""
        found: dict[str, set[str]] = {step.name: set() for step in self.plan.steps}
        for edge in self.plan.edges:
            found[edge.source] |= {reason.name for reason in edge.reasons if reason.kind == "variable"}
        later: set[str] = set()
        for step in reversed(self.plan.steps):
            found[step.name] |= {n for n in _assigned(step) if n not in later and not n.startswith("_")}
            later |= step.writes
        return found

    @cached_property
    def _all(self) -> dict[str, Interface]:
        outputs: dict[str, dict[str, Port]] = {}
        found: dict[str, Interface] = {self.pack: Interface(state="state")} if self.pack else {}
        for step in self.plan.steps:
            found[step.name] = self._interface(step, outputs)
        if self.finish:
            names = Names()
            found[self.finish] = Interface(states={name: names.new(f"state_from_{name}") for name in self._last})
        return found

    def _interface(self, step: StepPlan, outputs: dict[str, dict[str, Port]]) -> Interface:
        names = Names()
        made = Interface()
        injected = step_parameters(self.plan.pipeline, step)
        for parameter in self.parameters:
            late = parameter in self.plan.pipeline.static_parameters and parameter.cell < step.step.first
            if parameter in injected or (late and (step.reads is None or parameter.name in self.plan.survey.late_names)):
                argument = names.new(parameter.name)
                made.values.append(Value(argument, parameter, native_type(parameter), parameter in injected))
        for variable in sorted(self._leaves[step.name]):
            made.outputs.append(Port(names.new(variable), variable, self.types[step.name, variable]))
        outputs[step.name] = {port.variable: port for port in made.outputs}
        made.state, made.executed, made.page = names.new("state"), names.new("executed"), names.new("notebook")
        made.metric_names = self._metric_names(step)
        made.metrics = names.new("metrics") if made.metric_names else ""
        for edge in self.plan.edges:
            if edge.target == step.name:
                for reason in edge.reasons:
                    if reason.kind == "variable":
                        port = outputs[edge.source][reason.name]
                        argument = names.new(f"{port.variable}_from_{edge.source}")
                        made.inputs.append(Port(argument, port.variable, port.type, edge.source))
        for source in self.waits_for[step.name] or ((self.pack,) if self.pack else ()):
            made.states[source] = names.new(f"state_from_{source}")
        return made

    def _metric_names(self, step: StepPlan) -> tuple[str, ...]:
        from mlops_lab.scopes import module_names

        cells = [cell for cell in step.step.cells if cell in self.plan.pipeline.metric_cells]
        tagged = {name for cell in cells for names in module_names(cell.tree.body) for name in names}
        return tuple(sorted(tagged | {name for name in _assigned(step) if _METRIC_NAME.search(name.lower())}))


class Names:
    """Names for the arguments of a function: ASCII, no keyword, all different."""

    def __init__(self) -> None:
        self._taken = {"locals", "self", "_run"}

    def new(self, wanted: str) -> str:
        name = re.sub(r"[^a-zA-Z0-9_]", "_", wanted)
        if keyword.iskeyword(name) or not re.match("[a-zA-Z]", name):
            name = f"v_{name.lstrip('_')}"
        base, number = name, 1
        while name.lower() in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name.lower())
        return name


def _assignments(step: StepPlan) -> Iterable[tuple[ast.expr, ast.expr]]:
    """(target, value) of the assignments at the top level of the step's cells."""
    for cell in step.step.cells:
        for node in cell.tree.body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    yield target, node.value
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                yield node.target, node.value


def _assigned(step: StepPlan) -> set[str]:
    return {node.id for target, _ in _assignments(step) for node in ast.walk(target)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}  # fmt: skip


def _types_in(step: StepPlan) -> dict[str, str]:
    """Variable -> artifact type, as far as the calls that it is assigned from, or that fit it, tell it."""
    fitted = (node for cell in step.step.cells for node in every_node(cell.tree))
    found = {node.func.value.id: "Model" for node in fitted
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
             and node.func.attr in ("fit", "partial_fit")}  # fmt: skip
    for target, value in _assignments(step):
        called = {n.func.attr if isinstance(n.func, ast.Attribute) else n.func.id for n in every_node(value)
                  if isinstance(n, ast.Call) and isinstance(n.func, (ast.Attribute, ast.Name))}  # fmt: skip
        outer = value.func if isinstance(value, ast.Call) else None
        name = outer.attr if isinstance(outer, ast.Attribute) else outer.id if isinstance(outer, ast.Name) else ""
        kind = ""
        if name in ("fit", "make_pipeline") or _MODEL_CLASS.search(name):
            kind = "Model"
        elif name not in {"predict", "predict_proba", "score", "len", "sum", "mean"} and any(map(_DATA_CALL.search, called)):
            kind = "Dataset"
        for node in ast.walk(target):
            if kind and isinstance(node, ast.Name):
                found[node.id] = kind
    return found


def _by_name(name: str) -> str:
    if _METRIC_NAME.search(name.lower()):
        return "Artifact"  # a number, such as `auc_forest`: it is among the metrics
    if _MODEL_NAME.search(name.lower()):
        return "Model"
    return "Dataset" if _DATA_NAME.search(name) else "Artifact"
