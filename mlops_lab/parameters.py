"""The pipeline's typed parameters, as the cell tagged `parameters` declares them, and the values given for a run.

`parameters_in` reads a `notebook.Cell` without running it; `pipeline.py` collects what it finds. Values come from Python
callers, from `parse` (command line) or `load_file` (YAML, JSON); `check` holds them against the declarations, so that a
wrong one stops the run before it starts. Standard library only (and PyYAML, in `load_file`). Papermill's own inference,
by regular expressions, misreads values with `=` in them, dotted annotations and values of several lines.
"""

from __future__ import annotations

import ast
import copy
import io
import json
import operator
import re
import tokenize
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_lab.errors import UsageError, did_you_mean
from mlops_lab.scopes import module_names

if TYPE_CHECKING:
    from mlops_lab.notebook import Cell

# The kinds whose values can be given from outside, because JSON has them; a tuple, a set or bytes can't.
_JSON: dict[str, tuple[type, ...]] = {kind.__name__: (kind,) for kind in (int, float, str, bool, list, dict)}
_JSON["any"] = (int, float, str, bool, list, dict)
_KINDS = {kind: kind for kind in (*_JSON, "tuple", "set", "frozenset", "bytes", "complex")}
_KINDS |= {"List": "list", "Sequence": "list", "Dict": "dict", "Mapping": "dict", "Tuple": "tuple", "Set": "set"}
_KINDS |= {"Any": "any", "object": "any"}
_NOT_TEXT_KEYS = "dict with other keys than text"
_BOUNDS = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_NOT_LITERAL = (ValueError, TypeError, ArithmeticError, LookupError, SyntaxError, RecursionError, MemoryError)
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
_PRAGMA = re.compile(r"^type:\s*\S+|(^|#\s*)(noqa\b|pylint:|pragma:|fmt:|@param\b).*")


@dataclass(frozen=True)
class ParameterType:
    """What a parameter takes. `element` is the type of a list's elements or of a dict's values, where it is declared.

    `bounds` are pairs such as `("ge", 0)`. The kind "unknown" occurs only while an annotation is being read.
    """

    kind: str = "any"
    optional: bool = False
    choices: tuple[Any, ...] = ()
    bounds: tuple[tuple[str, float], ...] = ()
    element: ParameterType | None = None

    def __str__(self) -> str:
        text = f"Literal[{', '.join(map(repr, self.choices))}]" if self.choices else self.kind
        if self.element:
            text = f"list[{self.element}]" if self.kind == "list" else f"dict[str, {self.element}]"
        if self.optional and text != "any":
            text += " | None"
        low = next((f"{bound} {'<=' if name == 'ge' else '<'} " for name, bound in self.bounds if name[0] == "g"), "")
        high = next((f" {'<=' if name == 'le' else '<'} {bound}" for name, bound in self.bounds if name[0] == "l"), "")
        return f"{text}, {low}x{high}" if self.bounds else text


@dataclass(frozen=True)
class Parameter:
    """One assignment of a parameters cell: `source` is its text, `line` its line in the cell (1-based)."""

    name: str
    type: ParameterType
    default: Any
    source: str
    cell: int
    line: int
    description: str = ""

    @property
    def annotation(self) -> str:
        """The type as shown to the user: `int | None`, `Literal['a', 'b']`, `float, 0 < x < 1`."""
        return str(self.type)

    def __str__(self) -> str:
        return f"{self.name}: {self.annotation} = {_short(self.default)}"


def parameters_in(cell: Cell) -> tuple[Parameter, ...]:
    """The cell's top-level assignments of a literal to one name; for a name assigned twice, the last.

    A name that the cell then binds in another way is left out: its literal isn't the value that the notebook uses.
    """
    found: dict[str, Parameter] = {}
    comments = _comments(cell.source)
    for node in cell.tree.body:
        for name in module_names([node])[1]:
            found.pop(name, None)
        if assigned := _assigned(node):
            name, annotation, default = assigned
            declared, described = _declared(annotation, default), _description(node, comments)
            source = _source(node, cell.source)
            found[name] = Parameter(name, declared, default, source, cell.number, node.lineno, described)
    return tuple(found.values())


def is_static(cell: Cell) -> bool:
    """True if the cell holds literal assignments, constant expressions and comments only: it need not run."""
    return cell.syntax_issue is None and all(
        _assigned(node) or (isinstance(node, ast.Expr) and _evaluated(node.value)) for node in cell.tree.body
    )


# Given values


def check(parameters: Sequence[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given values as the parameters take them. Raises one `UsageError`, with a line for each that doesn't fit."""
    return _checked(parameters, given, [])


def parse(parameters: Sequence[Parameter], assignments: Sequence[str]) -> dict[str, Any]:
    """The values of the command line's `name=value` texts, read by each parameter's type and then checked."""
    known = {parameter.name: parameter for parameter in parameters}
    given: dict[str, Any] = {}
    problems: list[str] = []
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if equals and name:
            given[name] = _read(known[name].type, text) if name in known else text
        else:
            problems.append(f"{assignment!r} gives no parameter a value: write -p name=value, for example -p lr=0.1.")
    return _checked(parameters, given, problems)


def load_file(path: str | Path) -> dict[str, Any]:
    """The parameters that a YAML or JSON file holds, not yet checked."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads `1e-3` as the number it is in YAML 1.2; in PyYAML's YAML 1.1 it is text."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, [*"-+0123456789"])
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.load(text, Loader)
    except OSError as error:
        raise UsageError(f"{path}: the parameter file can't be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not a parameter file: it is not UTF-8 text.") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}.") from None
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise UsageError(f"{where}: not valid YAML: {problem or error}.") from None
    except ValueError as error:  # an impossible date such as 2024-13-45
        raise UsageError(f"{path}: not valid YAML: {error}; put a date in quotes to give it as text.") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path} must hold a mapping, `name: value`; it holds {type(content).__name__}.")
    for key in content:
        if not isinstance(key, str):
            raise UsageError(f"{path}: the name {key!r} is not text but {type(key).__name__}; put it in quotes.")
    return content


def _checked(parameters: Sequence[Parameter], given: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    known = {parameter.name: parameter for parameter in parameters}
    has = f"It has: {', '.join(map(str, known.values()))}" if known else "It has no cell tagged `parameters`."
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            problems.append(f"pipeline has no parameter {name!r}{did_you_mean(str(name), known)}. {has}")
            continue
        try:
            values[name] = _fit(known[name].type, value, f"parameter {name!r}")
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))
    return values


def _fit(wanted: ParameterType, value: Any, where: str) -> Any:
    """The value as the type takes it, its lists and dicts copied. A `UsageError` says what doesn't fit, and where."""
    anything = wanted.kind == "any" and not wanted.choices
    if value is None and (wanted.optional or anything):
        return None
    if wanted.kind not in _JSON:
        hint = "use a list, or a dict with text as keys, in the parameters cell"
        raise UsageError(f"{where}: a {wanted} can't be given from outside, so not {_short(value)}: {hint}.")
    if isinstance(value, date):
        raise UsageError(f"{where} takes {wanted}, not the date {value}: put it in quotes to give it as text.")
    if wanted.kind == "float" and type(value) is int and value.bit_length() < 1024:
        value = float(value)
    fits = isinstance(value, _JSON[wanted.kind]) and (not isinstance(value, bool) or wanted.kind in ("bool", "any"))
    if wanted.choices:
        fits = fits and any(type(choice) is type(value) and choice == value for choice in wanted.choices)
    if isinstance(value, (int, float)):
        fits = fits and all(_BOUNDS[name](value, bound) for name, bound in wanted.bounds)
    if not fits:
        takes = "a JSON value (text, number, true, false, null, list, dict)" if anything else str(wanted)
        near = did_you_mean(value, map(str, wanted.choices)) if isinstance(value, str) else ""
        raise UsageError(f"{where} takes {takes}, not {_short(value)} ({type(value).__name__}){near}.")
    element = wanted.element or ParameterType()
    if isinstance(value, list):
        return [_fit(element, inner, f"{where} at [{index}]") for index, inner in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise UsageError(f"{where} takes text as keys, not {key!r} ({type(key).__name__}).")
        return {key: _fit(element, inner, f"{where} at [{key!r}]") for key, inner in value.items()}
    return float(value) if isinstance(value, float) else value  # NumPy's float64 is a float, but prints as its own


def _read(wanted: ParameterType, text: str) -> Any:
    """What the text means to the type. Text that means nothing to it is returned as it is, for `_fit` to refuse."""
    for choice in wanted.choices:
        if str(choice) == text:
            return choice
    if wanted.optional and (text in ("None", "null") or (wanted.kind != "str" and text.lower() in ("none", "null", ""))):
        return None
    if wanted.kind == "bool":
        return _BOOLEANS.get(text.strip().lower(), text)
    readers: dict[str, tuple[Callable[[str], Any], ...]] = {"str": (), "int": (int,), "float": (float,)}
    for reader in readers.get(wanted.kind, (json.loads, ast.literal_eval)):
        try:
            return reader(text)
        except _NOT_LITERAL:
            continue
    return text


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# Literals


def _assigned(node: ast.stmt) -> tuple[str, ast.expr | None, Any] | None:
    """(name, annotation, value) of an assignment of a literal to one name; None for any other statement."""
    match node:
        case ast.Assign([ast.Name(name)], value):
            annotation = None
        case ast.AnnAssign(ast.Name(name), annotation, ast.expr() as value):
            pass
        case _:
            return None
    literal = _evaluated(value)
    return (name, annotation, literal[0]) if literal else None


def _evaluated(node: ast.expr) -> tuple[Any] | None:
    """The value of a literal, in a tuple of one; None for an expression that has to be run."""
    try:
        return (ast.literal_eval(_Arithmetic().visit(copy.deepcopy(node))),)
    except _NOT_LITERAL:
        return None


class _Arithmetic(ast.NodeTransformer):
    """Replaces `60 * 60` and `float("inf")` by their values, so that `ast.literal_eval` can read them."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        left, right = ast.literal_eval(self.visit(node.left)), ast.literal_eval(self.visit(node.right))
        if not isinstance(left, (int, float, complex)) or not isinstance(right, (int, float, complex)):
            raise TypeError("not numbers")
        if isinstance(node.op, ast.Pow) and isinstance(left, int) and left.bit_length() * abs(right) > 10_000:
            raise OverflowError("10**10**10 would take for ever")
        return ast.Constant(_ARITHMETIC[type(node.op)](left, right))

    def visit_Call(self, node: ast.Call) -> ast.expr:
        match node:
            case ast.Call(ast.Name("float"), [ast.Constant(str(text))], []):
                return ast.Constant(float(text))
        return node


# Annotations


def _declared(annotation: ast.expr | None, default: Any) -> ParameterType:
    """The annotated type; where there is none that we know, the default's."""
    declared = _type(annotation) if annotation else ParameterType("unknown")
    if declared.kind == "unknown":
        declared = replace(declared, kind="any" if default is None else type(default).__name__)
    if declared.kind == "dict" and isinstance(default, dict) and not all(isinstance(key, str) for key in default):
        declared = ParameterType(_NOT_TEXT_KEYS)
    return replace(declared, optional=declared.optional or (default is None and declared.kind != "any"))


def _type(node: ast.expr) -> ParameterType:
    match node:
        case ast.Constant(str(text)):
            try:
                return _type(ast.parse(text.strip(), mode="eval").body)
            except (SyntaxError, ValueError):
                return ParameterType("unknown")
        case ast.BinOp(left, ast.BitOr(), right):
            return _union([left, right])
        case ast.Subscript(generic, inside):
            return _generic(_last(generic), inside.elts if isinstance(inside, ast.Tuple) else [inside])
    return ParameterType(_KINDS.get(_last(node), "unknown"))


def _generic(name: str, arguments: list[ast.expr]) -> ParameterType:
    first, kind = arguments[0], _KINDS.get(name, "unknown")
    if name == "Optional":
        return _union([first, ast.Constant(None)])
    if name == "Union":
        return _union(arguments)
    if name in ("Annotated", "Final"):
        return replace(_type(first), bounds=_type(first).bounds + _bounds(arguments[1:]))
    if name == "Literal" and (literal := _evaluated(ast.List(arguments))):
        choices = tuple(choice for choice in literal[0] if choice is not None)
        kinds = {type(choice).__name__ for choice in choices}
        return ParameterType(kinds.pop() if len(kinds) == 1 else "any", None in literal[0], choices)
    if kind == "dict" and _type(first).kind not in ("str", "any", "unknown"):
        return ParameterType(_NOT_TEXT_KEYS)
    element = _type(arguments[-1])
    return ParameterType(kind, element=element if kind in ("list", "dict") and element.kind != "unknown" else None)


def _union(members: list[ast.expr]) -> ParameterType:
    """`X | None`; several types besides None are any."""
    types = [_type(member) for member in members if not (isinstance(member, ast.Constant) and member.value is None)]
    only = types[0] if len(types) == 1 else ParameterType()
    return replace(only, optional=only.optional or len(types) < len(members))


def _bounds(metadata: list[ast.expr]) -> tuple[tuple[str, float], ...]:
    """The bounds in `Ge(0)`, `Interval(gt=0, le=1)`, `Field(ge=0)`, `Meta(ge=0)`, whichever library they come from."""
    pairs: list[tuple[str, ast.expr]] = []
    for call in metadata:
        if isinstance(call, ast.Call):
            pairs += [(_last(call.func).lower(), argument) for argument in call.args[:1]]
            pairs += [(keyword.arg or "", keyword.value) for keyword in call.keywords]
    found = [(name, literal[0]) for name, value in pairs if name in _BOUNDS and (literal := _evaluated(value))]
    return tuple((name, bound) for name, bound in found if isinstance(bound, (int, float)))


def _last(node: ast.expr) -> str:
    """`List` of `List` and of `typing.List`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


# Texts


def _source(node: ast.stmt, source: str) -> str:
    """The statement as written; inside a magic, where positions are not those of the cell, as Python prints it."""
    try:
        text = ast.get_source_segment(source, node) or ""
        if ast.dump(ast.parse(text).body[0]) == ast.dump(node):
            return text
    except (SyntaxError, ValueError, IndexError):
        pass
    return ast.unparse(node)


def _comments(source: str) -> dict[int, tuple[str, bool]]:
    """Each line's comment, and whether it stands alone there. Of pragmas and rulers nothing is left."""
    found: dict[int, tuple[str, bool]] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                text = _PRAGMA.sub("", token.string.lstrip("#: ")).strip()
                found[token.start[0]] = (text if re.search(r"\w", text) else "", token.start[1] == 0)
    except (tokenize.TokenError, SyntaxError):
        pass  # IPython's syntax: the comments above it are found
    return found


def _description(node: ast.stmt, comments: dict[int, tuple[str, bool]]) -> str:
    """The comment behind the assignment, else the comments directly above it."""
    line = node.end_lineno or node.lineno
    if line in comments and comments[line][0]:
        return comments[line][0]
    above: list[str] = []
    line = node.lineno - 1
    while line in comments and comments[line][1]:
        above.insert(0, comments[line][0])
        line -= 1
    return " ".join(filter(None, above))
