"""A cell with IPython's syntax becomes Python that the analysis can read; what isn't Python is reported with its line."""

from __future__ import annotations

import ast

import pytest

from mlops_lab import syntax
from mlops_lab.syntax import ipython_call, is_ours, line_magic, parse

OPENED = [
    ("%time with a statement", "%time x = f(1)", "x = f(1)"),
    ("%time with an expression", "%time f(1)", "f(1)"),
    ("the result of %time", "x = %time f(1)", "x = f(1)"),
    ("%prun", "%prun f(1)", "f(1)"),
    ("%time between other lines", "a = 1\n%time b = a\nc = b", "a = 1\nb = a\nc = b"),
    ("%time in a block", "if a:\n    %time b = 1", "if a:\n    b = 1"),
    ("%%time", "%%time\nx = 1\ny = x", "x = 1\ny = x"),
    ("%%time below blank lines", "\n\n%%time\nx = 1", "x = 1"),
    ("%%time over %time", "%%time\n%time x = 1", "x = 1"),
    ("%%capture", "%%capture\nx = 1", "x = 1"),
    ("%%capture with a name", "%%capture out\nx = 1", "x = 1\nout = object()"),
    ("%%capture with an option and a name", "%%capture --no-stderr out\nx = 1", "x = 1\nout = object()"),
    ("%%prun", "%%prun -s cumulative\nx = 1", "x = 1"),
    ("Python", "x = 1  # comment", "x = 1"),
    ("a line that starts with the % operator", "x = (17\n% 5)", "x = 17 % 5"),
    ("a line in a string that looks like a magic", "x = '''\n%time y\n!ls\n'''", "x = '\\n%time y\\n!ls\\n'"),
    ("nothing", "", ""),
    ("only a comment", "# %time", ""),
]  # fmt: skip


@pytest.mark.parametrize(("source", "python"), [pytest.param(s, p, id=n) for n, s, p in OPENED])
def test_magics_that_run_python_are_opened_up(source: str, python: str) -> None:
    tree, issue = parse(source)
    assert issue is None
    assert ast.unparse(tree) == ast.unparse(ast.parse(python))


CALLS = [
    ("!ls", "system", ["ls"]),
    ("!!ls", "getoutput", ["ls"]),
    ("x = !ls", "getoutput", ["ls"]),
    ("%matplotlib inline", "run_line_magic", ["matplotlib", "inline"]),
    ("x?", "run_line_magic", ["pinfo", "x"]),
    ("?x", "run_line_magic", ["pinfo", "x"]),
    ("x??", "run_line_magic", ["pinfo2", "x"]),
    ("%%bash\nls\n", "run_cell_magic", ["bash", "", "ls\n"]),
    ("%%html\n<b>\n", "run_cell_magic", ["html", "", "<b>\n"]),
    ("%%writefile a.py\nx = 1\n", "run_cell_magic", ["writefile", "a.py", "x = 1\n"]),
]


@pytest.mark.parametrize(("source", "method", "arguments"), CALLS, ids=[c[0] for c in CALLS])
def test_other_magics_stay_the_calls_that_ipython_makes(source: str, method: str, arguments: list[str]) -> None:
    tree, issue = parse(source)
    assert issue is None
    found = [call for node in ast.walk(tree) if (call := ipython_call(node))]
    assert found == [(method, arguments)]


def test_a_line_magic_is_told_from_other_calls() -> None:
    tree, _ = parse("%env A=1\nf(1)\n!ls")
    assert [line_magic(statement.value) for statement in tree.body] == [("env", "A=1"), None, None]  # type: ignore[attr-defined]


def test_timeit_binds_nothing_and_reads_its_body() -> None:
    tree, issue = parse("%%timeit\nx = y")
    assert issue is None
    assert [type(s).__name__ for s in tree.body] == ["FunctionDef", "Expr", "Delete"]


@pytest.mark.parametrize(
    "source", ["await f()", "async for x in y: pass", "async with a as b: pass", "x = [v async for v in g()]"]
)
def test_await_at_top_level_is_python(source: str) -> None:
    assert parse(source)[1] is None


ISSUES = [
    ("a missing bracket", "x = 1\ny = (2\n", 2),
    ("return outside a function", "x = 1\nreturn x", 2),
    ("yield outside a function", "x = 1\n\nyield x", 3),
    ("break outside a loop", "if x:\n    break", 2),
    ("an indented line", "x = 1\n  y = 2", 2),
    ("return in %%time", "%%time\nx = 1\nreturn x", 3),
    ("a mistake in %%capture", "%%capture\nx = (", 2),
    ("Python 2", "print 'a'", 1),
    ("a null byte", "x = 1\0", 1),
    ("a mistake below a magic", "%matplotlib inline\nx = = 1", 2),
]


@pytest.mark.parametrize(("source", "line"), [pytest.param(s, n, id=name) for name, s, n in ISSUES])
def test_what_is_not_python_is_an_issue_with_its_line(source: str, line: int) -> None:
    tree, issue = parse(source)
    assert tree.body == []
    assert issue is not None and issue.message
    assert issue.line == line


ONLY_COMPILED = [
    "f(a=1, a=2)", "x = g(1, k=[f(a=1, b=2, a=3)])", "if x:\n    return 1", "if x:\n    y = 1\nelse:\n    continue", "*a = b", "*a, *b = c",
    "x = [(yield 1)]", "x = {**a, 'b': (yield from c)}", "__debug__ = 1", "f(__debug__=1)", "x.__debug__ = 1", "x = 1\nglobal x",
    "nonlocal x", "from __future__ import nothing", "x = 1\nfrom __future__ import annotations", "[y := 1 for y in z]", "x = lambda a, a: 1",
    "class C(a=1, a=2): pass", "try:\n    x = 1\nexcept:\n    pass\nexcept E:\n    pass", "match x:\n    case y: pass\n    case z: pass",
    "def f():\n    x = 1\n    nonlocal x", "for x in y:\n    def f():\n        break", "x = f'{(yield)}'", "with a as b:\n    return b",
]  # fmt: skip


@pytest.mark.parametrize("source", ONLY_COMPILED)
def test_what_only_the_compiler_finds_is_found(source: str) -> None:
    ast.parse(source)
    for text in (source, f"first = 1\n{source}", f"{source}\nlast = f(a=1, b=2)"):
        with pytest.raises(SyntaxError) as refused:
            compile(text, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        assert parse(text)[1] == syntax.SyntaxIssue(refused.value.lineno or 1, refused.value.msg)


@pytest.mark.parametrize("source", ["x = 1\n\n%time y = 2", "%%time\n\ny = 2", "%%capture out\n\ny = 2", "%cd a\n\ny = 2"])
def test_line_numbers_are_those_of_the_cell(source: str) -> None:
    tree, _ = parse(source)
    assert [s.lineno for s in tree.body if ast.unparse(s) == "y = 2"] == [3]


@pytest.mark.parametrize(
    ("source", "ours"),
    [
        ("%mlops run", True),
        ("%load_ext mlops_lab", True),
        ("%load_ext mlops_lab\n# a comment\n\n%mlops run", True),
        ("%%mlops run\nlr: 0.1", True),
        ("%%mlops step train\nx = 1", False),
        ("run = %mlops run\nrun", True),
        ("run = %mlops run -p x=1\nmodel = run.wait().steps['a'].outputs['m']\nprint(model)  # %mlops", True),
        ("run = %mlops run\nrun.wait(timeout)", False),
        ("# of the run\nx = 1\n# %mlops", False),
        ("run = %mlops run\nx = 1", False),
        ("run = %mlops run\nother.wait()", False),
        ("%mlops run\nx = 1", False),
        ("%load_ext autoreload", False),
        ("%mlopsy", False),
        ("x = 1", False),
        ("", False),
        ("# %mlops run", False),
    ],
)
def test_a_cell_of_our_magics_only_is_ours(source: str, ours: bool) -> None:
    assert is_ours(source) is ours


@pytest.mark.parametrize(
    "below",
    [
        "return a",
        "global a",
        "from __future__ import annotations",
        "def f():\n    global b\n    b = 1\n    return b",
        "a = (",
        "c = 3",
    ],
)
def test_a_statement_below_known_ones_has_its_errors(below: str) -> None:
    above = "import os\na = 1\n"
    syntax.forget()
    fresh = syntax.parse(above + below)
    syntax.forget()
    first, _ = syntax.parse(above)
    tree, issue = syntax.parse(above + below)
    assert (ast.dump(tree), issue) == (ast.dump(fresh[0]), fresh[1])
    assert issue or all(one is other for one, other in zip(first.body, tree.body, strict=False))


@pytest.mark.parametrize(
    "source", ["a = 1; b = 2", "@f\ndef g():\n    pass", "x = '''\na = 1\n'''", "a = 1\r\nb = 2", "a = '\x0c'\nb = 1"]
)
def test_statements_that_stand_in_other_texts_as_well_keep_their_places(source: str) -> None:
    def places(tree: ast.Module) -> list[tuple[int, int, int | None]]:
        return [(n.lineno, n.col_offset, n.end_lineno) for n in ast.walk(tree) if isinstance(n, ast.stmt)]

    syntax.forget()
    for text in (source, "\n" + source, source + "\nb = 2", "c = 1\n" + source, "a = 1;  b = 2"):
        assert places(syntax.parse(text)[0]) == places(ast.parse(text))
