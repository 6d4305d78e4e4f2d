"""What a parameters cell declares, and which values given from outside it accepts."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_lab.errors import UsageError
from mlops_lab.notebook import Cell
from mlops_lab.parameters import Parameter, check, is_static, load_file, parameters_in, parse
from mlops_lab.syntax import parse as parse_source


def cell(source: str) -> Cell:
    tree, issue = parse_source(source)
    return Cell(0, 3, "abc", source, ("parameters",), tree, issue)


def only(source: str) -> Parameter:
    (parameter,) = parameters_in(cell(source))
    return parameter


def refusal(source: str, **values: Any) -> str:
    with pytest.raises(UsageError) as caught:
        check(parameters_in(cell(source)), values)
    return str(caught.value)


DEFAULTS: list[tuple[str, Any, str]] = [
    ("x = 1", 1, "int"),
    ("x = -1", -1, "int"),
    ("x = True", True, "bool"),
    ("x = 1e-3", 0.001, "float"),
    ("x = 'a'", "a", "str"),
    ("x = None", None, "any"),
    ("x = [1, -2, [3]]", [1, -2, [3]], "list"),
    ("x = {'a': {'b': [1]}}", {"a": {"b": [1]}}, "dict"),
    ("x = (1, 2)", (1, 2), "tuple"),
    ("x = 1, 2", (1, 2), "tuple"),
    ("x = {1, 2}", {1, 2}, "set"),
    ("x = set()", set(), "set"),
    ("x = b'a'", b"a", "bytes"),
    ("x = 1 + 2j", 1 + 2j, "complex"),
    ("x = {1: 'a'}", {1: "a"}, "dict with other keys than text"),
    ("x = 60 * 60", 3600, "int"),
    ("x = 2**10", 1024, "int"),
    ("x = -(2**3)", -8, "int"),
    ("x = 1 / 4", 0.25, "float"),
    ("x = [60 * 60, {'a': 2 ** -1}]", [3600, {"a": 0.5}], "list"),
    ("x = float('inf')", math.inf, "float"),
    ("x = -float('inf')", -math.inf, "float"),
    # What Papermill's regular expressions get wrong.
    ("x = 'a=b'", "a=b", "str"),
    ("x = 'a = b'  # c = d", "a = b", "str"),
    ("x: str = 'k=v=w'", "k=v=w", "str"),
    ("x = {'a=b': '='}", {"a=b": "="}, "dict"),
    ("x = '# no comment'", "# no comment", "str"),
    ('x = "it\'s"', "it's", "str"),
    ("x = 'say \"hi\"'", 'say "hi"', "str"),
    ("x = 'größe ≥ 1 🙂'", "größe ≥ 1 🙂", "str"),
    ("x = [\n    1,  # one\n    2,\n]", [1, 2], "list"),
    ("x = '''a = 1\n# b = 2\n'''", "a = 1\n# b = 2\n", "str"),
    ("x = (\n    'a'\n    'b=c'\n)", "ab=c", "str"),
    ("x = 1 + \\\n    2", 3, "int"),
    # Annotations.
    ("x: int = 1", 1, "int"),
    ("x: float = 1", 1, "float"),
    ("x: 'float' = 1", 1, "float"),
    ("x: list = []", [], "list"),
    ("x: List[int] = []", [], "list[int]"),
    ("x: typing.List[int] = []", [], "list[int]"),
    ("x: list[list[float]] = []", [], "list[list[float]]"),
    ("x: list['int'] = []", [], "list[int]"),
    ("x: list[Path] = []", [], "list"),
    ("x: dict[str, float] = {}", {}, "dict[str, float]"),
    ("x: t.Dict[str, List[int]] = {}", {}, "dict[str, list[int]]"),
    ("x: dict[int, str] = {}", {}, "dict with other keys than text"),
    ("x: tuple[int, int] = (1, 2)", (1, 2), "tuple"),
    ("x: Literal['a', 'b'] = 'a'", "a", "Literal['a', 'b']"),
    ("x: typing.Literal['a=b', '#'] = '#'", "#", "Literal['a=b', '#']"),
    ("x: Literal['a', None] = None", None, "Literal['a'] | None"),
    ("x: Literal[-1, 'auto'] = -1", -1, "Literal[-1, 'auto']"),
    ("x: Literal[Color.RED] = 'r'", "r", "str"),
    ("x: Optional[int] = None", None, "int | None"),
    ("x: typing.Optional[List[str]] = None", None, "list[str] | None"),
    ("x: Union[int, None] = 1", 1, "int | None"),
    ("x: int | None = None", None, "int | None"),
    ("x: None | int = None", None, "int | None"),
    ("x: 'int | None' = None", None, "int | None"),
    ("x: int = None", None, "int | None"),
    ("x: int | str = 1", 1, "any"),
    ("x: int | str | None = 1", 1, "any"),
    ("x: Any = 1", 1, "any"),
    ("x: Final[float] = 1", 1, "float"),
    ("x: Final = 1", 1, "int"),
    ("x: Path = 'data'", "data", "str"),
    ("x: Path | None = 'data'", "data", "str | None"),
    ("x: Path = None", None, "any"),
    ("x: 'no type(' = 1", 1, "int"),
    ("x: Annotated[float, Gt(0), Lt(1)] = 0.1", 0.1, "float, 0 < x < 1"),
    ("x: Annotated[int, annotated_types.Ge(1)] = 1", 1, "int, 1 <= x"),
    ("x: Annotated[int, Interval(gt=0, le=2**4)] = 1", 1, "int, 0 < x <= 16"),
    ("x: Annotated[float, pydantic.Field(ge=-1, description='d')] = 1", 1, "float, -1 <= x"),
    ("x: Annotated[float, msgspec.Meta(le=1.5)] = 1", 1, "float, x <= 1.5"),
    ("x: Annotated[float, Ge(LOW), 'learning rate', Ge] = 1", 1, "float"),
    ("x: Optional[Annotated[int, Ge(0)]] = None", None, "int | None, 0 <= x"),
    ("x: list[Annotated[int, Ge(0)]] = []", [], "list[int, 0 <= x]"),
]


@pytest.mark.parametrize(("source", "default", "annotation"), DEFAULTS, ids=[case[0] for case in DEFAULTS])
def test_a_literal_assignment_is_a_parameter(source: str, default: Any, annotation: str) -> None:
    parameter = only(source)
    assert (parameter.name, parameter.default, parameter.annotation) == ("x", default, annotation)
    assert type(parameter.default) is type(default)
    assert is_static(cell(source))


def test_nan_is_a_literal() -> None:
    assert math.isnan(only("x = float('nan')").default)


NOT_PARAMETERS = [
    "x = compute()",
    "x = y",
    "x = [y]",
    "x = f'{y}'",
    "x = 'a' * 3",
    "x = {**{}}",
    "x = [*[]]",
    "x = {[]: 1}",
    "x = 1 / 0",
    "x = 10**10**10",
    "x = -'a'",
    "x = float('a')",
    "x = float(1, 2)",
    "x = y = []",
    "x, y = 1, 2",
    "x.y = 1",
    "x['y'] = 1",
    "x: int",
    "x += 1",
    "if True:\n    x = 1",
    "!ls",
    "x = !ls",
    "%matplotlib inline",
    "import os",
    "del x",
    "print(1)",
]


@pytest.mark.parametrize("source", NOT_PARAMETERS)
def test_anything_else_is_no_parameter_and_makes_the_cell_run(source: str) -> None:
    assert parameters_in(cell(source)) == ()
    assert not is_static(cell(source))
    assert [p.name for p in parameters_in(cell("a = 1\n" + source))] == ["a"]
    assert not is_static(cell("a = 1\n" + source))


@pytest.mark.parametrize("source", ["x = ", "x = (1", "x = 08", "return 1", "x = 1\n  y = 2", "x = 'a\0b'"])
def test_a_cell_that_is_not_python_has_no_parameters_and_is_not_static(source: str) -> None:
    assert parameters_in(cell(source)) == ()
    assert not is_static(cell(source))


@pytest.mark.parametrize("source", ["# only a comment", "'''Docs'''\nx = 1", "x = 1; y = 2", "0.1", "...", "%%time\nx = 1"])
def test_literals_docstrings_and_comments_leave_a_cell_static(source: str) -> None:
    assert is_static(cell(source))


def test_of_two_assignments_the_last_counts() -> None:
    parameters = parameters_in(cell("x = 1\ny = 2\nx: str = 'b'"))
    assert [(p.name, p.default, p.line) for p in parameters] == [("y", 2, 2), ("x", "b", 3)]


@pytest.mark.parametrize(
    "rebinding",
    ["x = f()", "x += 1", "del x", "if y:\n    x = 2", "for x in y: pass", "import x", "def x(): pass", "x = z = 3"],
)
def test_a_literal_that_the_cell_replaces_is_no_parameter(rebinding: str) -> None:
    assert parameters_in(cell(f"x = 1\n{rebinding}")) == ()


def test_using_a_parameter_leaves_it_one() -> None:
    assert only("x = 1\nprint(x + 1)").default == 1


SOURCES = [
    ("# c\nx = 'a=b'  # d", "x = 'a=b'", 2),
    ("\n\nx = [\n  1,  # one\n]\n", "x = [\n  1,  # one\n]", 3),
    ("a = 'é🙂'; x: 'int' = 1; b = 2", "x: 'int' = 1", 1),
    ("%matplotlib inline\nx  =  1", "x  =  1", 2),
    ("%time x  =  1", "x = 1", 1),
    ("%%time\nx  =  1", "x  =  1", 2),
    ("x = 1\r\ny = 2", "x = 1", 1),
    ("t = '\u2028\x0c'\nx = 1", "x = 1", 2),
]


@pytest.mark.parametrize(("text", "source", "line"), SOURCES)
def test_a_parameter_knows_its_source_text_its_line_and_its_cell(text: str, source: str, line: int) -> None:
    parameter = next(p for p in parameters_in(cell(text)) if p.name == "x")
    assert (parameter.source, parameter.line, parameter.cell) == (source, line, 3)


DESCRIPTIONS = [
    ("x = 1", ""),
    ("x = 1  # steps of = training", "steps of = training"),
    ("x = '# a'  # b", "b"),
    ("x = '''\n# a\n'''  # b", "b"),
    ("x = [\n  1,  # one\n]  # all", "all"),
    ("x = [\n  1,  # one\n]", ""),
    ("# above\nx = 1", "above"),
    ("# one\n# two\nx = 1", "one two"),
    ("#: above\nx = 1  # behind", "behind"),
    ("# far\n\nx = 1", ""),
    ("a = 1  # other\nx = 1", ""),
    ("a = '''\n# '''  # other\nx = 1", ""),
    ("# -----\n# above\n# -----\nx = 1", "above"),
    ("x = 1  # -1 for all", "-1 for all"),
    ("x = 1  # noqa: E501", ""),
    ("x = 1  # größe  # noqa", "größe"),
    ("x = 1  # type: int  how many", "how many"),
    ("x = 1  # its type: whole", "its type: whole"),
    ("# above\nx = 1  #@param {type: 'slider'}", "above"),
    ("# above\n!ls\n# near\nx = 1", "near"),
]


@pytest.mark.parametrize(("source", "description"), DESCRIPTIONS)
def test_the_comment_of_an_assignment_describes_it(source: str, description: str) -> None:
    assert next(p for p in parameters_in(cell(source)) if p.name == "x").description == description


ACCEPTED: list[tuple[str, Any, Any]] = [
    ("x = 0.1", 1, 1.0),
    ("x = 0.1", math.inf, math.inf),
    ("x = 1", 2, 2),
    ("x = True", False, False),
    ("x = 'a'", "", ""),
    ("x = None", {"a": [1, None]}, {"a": [1, None]}),
    ("x: int = None", None, None),
    ("x: int | None = 1", 2, 2),
    ("x: list[float] = []", [1, 2.5], [1.0, 2.5]),
    ("x: dict[str, list[int]] = {}", {"a": [1]}, {"a": [1]}),
    ("x: list[int | None] = []", [1, None], [1, None]),
    ("x: Literal['a', 'b'] = 'a'", "b", "b"),
    ("x: Literal['a', None] = 'a'", None, None),
    ("x: Literal[1, 'a'] = 'a'", 1, 1),
    ("x: Annotated[float, Ge(0)] = 1", 0, 0.0),
    ("x: Annotated[int, Ge(0)] | None = 1", None, None),
    ("x: int | str = 1", "a", "a"),
]


@pytest.mark.parametrize(("source", "value", "expected"), ACCEPTED)
def test_a_value_that_fits_is_accepted(source: str, value: Any, expected: Any) -> None:
    result = check(parameters_in(cell(source)), {"x": value})["x"]
    assert result == expected
    assert type(result) is type(expected)


REFUSED: list[tuple[str, Any, str]] = [
    ("x = 1", True, "takes int, not True (bool)"),
    ("x = 1", 1.0, "takes int, not 1.0 (float)"),
    ("x = 1", "1", "takes int, not '1' (str)"),
    ("x = 1", None, "takes int, not None"),
    ("x = 0.1", True, "takes float, not True (bool)"),
    ("x = 0.1", 10**400, "takes float, not 1000"),
    ("x = True", 1, "takes bool, not 1 (int)"),
    ("x = 'a'", 1, "takes str, not 1 (int)"),
    ("x = [1]", (1, 2), "takes list, not (1, 2) (tuple)"),
    ("x: list[int] = []", [1, "a"], "at [1] takes int, not 'a' (str)"),
    ("x: list[list[int]] = []", [[1], [True]], "at [1] at [0] takes int, not True (bool)"),
    ("x: dict[str, int] = {}", {"a": 0.5}, "at ['a'] takes int, not 0.5"),
    ("x = {}", {1: 2}, "takes text as keys, not 1 (int)"),
    ("x = {}", {"a": {1}}, "at ['a'] takes a JSON value"),
    ("x = None", {1, 2}, "takes a JSON value"),
    ("x = None", b"a", "takes a JSON value"),
    (
        "x: Literal['relu', 'gelu'] = 'relu'",
        "rellu",
        "takes Literal['relu', 'gelu'], not 'rellu' (str) (did you mean 'relu'?)",
    ),
    ("x: Literal[1, 2] = 1", True, "takes Literal[1, 2], not True"),
    ("x: Literal[1, 'a'] = 1", None, "takes Literal[1, 'a'], not None"),
    ("x: Annotated[float, Gt(0), Lt(1)] = 0.1", 1, "takes float, 0 < x < 1, not 1.0"),
    ("x: Annotated[float, Ge(0)] = 0.1", math.nan, "takes float, 0 <= x, not nan"),
    ("x: list[Annotated[int, Ge(0)]] = []", [-1], "at [0] takes int, 0 <= x, not -1"),
    ("x = (1, 2)", [1, 2], "a tuple can't be given from outside, so not [1, 2]: use a list"),
    ("x = {1, 2}", [1, 2], "a set can't be given from outside"),
    ("x = b''", "a", "a bytes can't be given from outside"),
    ("x = {1: 2}", {"1": 2}, "dict with other keys than text can't be given from outside"),
    ("x: list[tuple[int, int]] = []", [[1, 2]], "at [0]: a tuple can't be given from outside"),
]


@pytest.mark.parametrize(("source", "value", "message"), REFUSED)
def test_a_value_that_does_not_fit_is_refused_by_name_type_and_value(source: str, value: Any, message: str) -> None:
    text = refusal(source, x=value)
    assert text.startswith("parameter 'x'")
    assert message in text


def test_an_unknown_name_is_refused_with_the_nearest_one_and_the_list() -> None:
    assert refusal("lr: float = 0.1\nepochs = 3", lrr=1) == (
        "pipeline has no parameter 'lrr' (did you mean 'lr'?). It has: lr: float = 0.1, epochs: int = 3"
    )
    assert "no cell tagged `parameters`" in refusal("# nothing", lr=1)


def test_all_problems_are_reported_at_once() -> None:
    parameters = parameters_in(cell("a = 1\nb = 'b'\nc = 3"))
    with pytest.raises(UsageError) as caught:
        parse(parameters, ["a=x", "b=y", "c", "d=4", "=5"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "'c' gives no parameter a value: write -p name=value" in lines[0]


def test_a_date_from_yaml_is_refused_with_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("x: 2024-01-31")
    assert "put it in quotes" in refusal("x = 'a'", **load_file(file))
    assert "put it in quotes" in refusal("x = None", **load_file(file))
    assert "put it in quotes" in refusal("x = []", x=[load_file(file)["x"]])


def test_given_lists_and_dicts_are_copied() -> None:
    given_value = {"a": [1]}
    result = check(parameters_in(cell("x = {}")), {"x": given_value})
    given_value["a"].append(2)
    assert result == {"x": {"a": [1]}}


def test_numbers_of_numpy_become_plain_ones() -> None:
    numpy = pytest.importorskip("numpy")
    assert type(check(parameters_in(cell("x = 0.1")), {"x": numpy.float64(0.5)})["x"]) is float
    assert "(int64)" in refusal("x = 1", x=numpy.int64(1))


TEXTS: list[tuple[str, str, Any]] = [
    ("x = 'a'", "b=c = d", "b=c = d"),
    ("x = 'a'", "", ""),
    ("x = 'a'", "1", "1"),
    ("x = 'a'", " None ", " None "),
    ("x = 'a'", "None", "None"),
    ("x = 'a'", "'q'", "'q'"),
    ("x = 'a'", "grün", "grün"),
    ("x = 1", "-2", -2),
    ("x = 0.1", "1", 1.0),
    ("x = 0.1", "1e-3", 0.001),
    ("x = 0.1", "inf", math.inf),
    ("x = True", "false", False),
    ("x = True", "No", False),
    ("x = True", "1", True),
    ("x: str | None = None", "None", None),
    ("x: str | None = None", "null", None),
    ("x: str | None = None", "none", "none"),
    ("x: str | None = None", "", ""),
    ("x: int | None = 1", "none", None),
    ("x: int | None = 1", "", None),
    ("x: int | None = None", "5", 5),
    ("x: list[int] | None = None", "[1]", [1]),
    ("x: list[float] = []", "[1, 2.5]", [1.0, 2.5]),
    ("x = []", "['a=b', True, None]", ["a=b", True, None]),
    ("x = {}", '{"a": true}', {"a": True}),
    ("x = {}", "{'a': 1}", {"a": 1}),
    ("x = None", "5", 5),
    ("x = None", "None", None),
    ("x = None", "null", None),
    ("x = None", "True", True),
    ("x = None", "true", True),
    ("x = None", "some text", "some text"),
    ("x = None", "2024-01-31", "2024-01-31"),
    ("x = None", "", ""),
    ("x: int | str = 1", "a", "a"),
    ("x: Literal['a', 'b'] = 'a'", "b", "b"),
    ("x: Literal[1, 'auto'] = 1", "auto", "auto"),
    ("x: Literal[1, '2'] = 1", "2", "2"),
    ("x: Literal[1, 2] = 1", "2", 2),
    ("x: Literal['None', 'a'] = 'a'", "None", "None"),
]


@pytest.mark.parametrize(("source", "text", "expected"), TEXTS)
def test_text_from_the_command_line_is_read_by_type(source: str, text: str, expected: Any) -> None:
    result = parse(parameters_in(cell(source)), [f"x={text}"])["x"]
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("source", "text"),
    [("x = 1", "1.0"), ("x = 1", ""), ("x = 1", "True"), ("x = 0.1", "fast"), ("x = True", "maybe"), ("x = True", "2"),
     ("x = []", "a,b"), ("x = []", "1,2"), ("x = {}", "{1: 2}"), ("x = (1, 2)", "(1, 2)"), ("x = None", "(1, 2)"),
     ("x: Literal['a'] = 'a'", "b"), ("x: Annotated[int, Ge(0)] = 1", "-1"), ("x: list[int] = []", "['a']")],
)  # fmt: skip
def test_text_that_the_type_cannot_read_is_refused(source: str, text: str) -> None:
    with pytest.raises(UsageError, match="^parameter 'x'"):
        parse(parameters_in(cell(source)), [f"x={text}"])


@pytest.mark.parametrize("assignment", ["x", "", "=1", "--x", "x:1"])
def test_an_assignment_without_name_or_value_shows_the_form(assignment: str) -> None:
    with pytest.raises(UsageError, match="write -p name=value"):
        parse(parameters_in(cell("x = 1")), [assignment])


FILES: list[tuple[str, str, dict[str, Any]]] = [
    ("p.yaml", "lr: 0.1\nlayers: [1, 2]\nname: 'a=b'\n", {"lr": 0.1, "layers": [1, 2], "name": "a=b"}),
    ("p.yml", "lr: 1e-3\nsteps: 1.5E4", {"lr": 0.001, "steps": 15000.0}),
    ("p.yaml", "name: grün", {"name": "grün"}),
    ("p.yaml", "# all by default\n", {}),
    ("p.json", '{\t"lr": 1e-3, "x": null}', {"lr": 0.001, "x": None}),
    ("p.JSON", '\ufeff{"lr": 1}', {"lr": 1}),
]


@pytest.mark.parametrize(("name", "text", "expected"), FILES)
def test_a_parameter_file_is_yaml_or_json(tmp_path: Path, name: str, text: str, expected: dict[str, Any]) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert load_file(tmp_path / name) == load_file(str(tmp_path / name)) == expected


BAD_FILES = [
    ("p.yaml", b"a: 1\nb: [1\nc: 2\n", r"p\.yaml, line 3: not valid YAML"),
    ("p.yaml", b"a: !!python/object:os.system 1", r"line 1: not valid YAML"),
    ("p.yaml", b"a: \x01", "not valid YAML"),
    ("p.yaml", b"- 1\n- 2", "must hold a mapping.*it holds list"),
    ("p.yaml", b"a: 2024-13-45", "put a date in quotes"),
    ("p.yaml", b"1: a", "the name 1 is not text but int"),
    ("p.yaml", b"on: a", "the name True is not text"),
    ("p.yaml", b"a: \xff", "not UTF-8"),
    ("p.json", b'{\n"a": 1,\n}', r"p\.json, line \d: not valid JSON"),
    ("p.json", b"[1]", "it holds list"),
    ("p.json", b"", "line 1: not valid JSON"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_a_malformed_file_is_refused_with_its_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        load_file(tmp_path / name)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_file(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="directory"):
        load_file(tmp_path)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON_VALUES = st.recursive(SCALARS, lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=10)
HASHABLE = SCALARS | st.binary() | st.complex_numbers(allow_nan=False, allow_infinity=False)
LITERALS = st.recursive(
    HASHABLE,
    lambda v: st.lists(v) | st.dictionaries(HASHABLE, v) | st.sets(HASHABLE) | st.lists(v).map(tuple),
    max_leaves=10,
)


@settings(deadline=None)
@given(LITERALS)
def test_any_literal_comes_back_equal(value: Any) -> None:
    parameter = only(f"x = {value!r}  # note")
    assert parameter.default == value
    assert repr(parameter.default) == repr(value) or isinstance(value, (set, list, dict, tuple, complex))
    assert parameter.source == f"x = {value!r}"
    assert parameter.description == "note"


@settings(deadline=None)
@given(JSON_VALUES)
def test_any_json_value_is_accepted_by_a_parameter_that_has_it_as_default(value: Any) -> None:
    parameters = parameters_in(cell(f"x = {value!r}"))
    assert check(parameters, {"x": value}) == {"x": value}


@settings(deadline=None)
@given(JSON_VALUES)
def test_any_json_value_can_be_written_on_the_command_line(value: Any) -> None:
    text = value if isinstance(value, str) else repr(value)
    assert parse(parameters_in(cell(f"x = {value!r}")), [f"x={text}"]) == {"x": value}


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, mlops_lab.parameters; print({'papermill', 'yaml', 'IPython', 'nbformat', 'msgspec'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
