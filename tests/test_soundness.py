"""The analysis misses nothing: random programs that are given only what it says they read do the same."""

from __future__ import annotations

import ast
import builtins
import copy
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_lab.effects import effects_of, survey

# Soundness, by running random programs

_VARIABLES = [*"abcdehijklmnopq"]  # many, so that most are read once at most
_FUNCTIONS = ["f", "g"]


class _Program:
    """Writes a random program of whole numbers, with every construct that can make or hide a read."""

    def __init__(self, r: random.Random) -> None:
        self.r = r

    def name(self) -> str:
        return self.r.choice(_VARIABLES)

    def expression(self, depth: int = 2) -> str:
        r, e = self.r, lambda: self.expression(depth - 1)
        if depth <= 0 or r.random() < 0.4:
            return r.choice([self.name(), str(r.randrange(3))])
        u = r.choice("uv")
        return r.choice([
            lambda: f"({e()} + {e()})", lambda: f"({self.name()} := {e()})", lambda: f"({e()} if {e()} % 2 else {e()})",
            lambda: f"({e()} % 2 and {e()})", lambda: f"({e()} % 2 or {e()})", lambda: f"({e()} < {e()} % 3 < {e()})",
            lambda: f"sum([{e()} for {u} in range({e()} % 3)])", lambda: f"sum({u} + {e()} for {u} in [{e()}] if {e()})",
            lambda: f"(lambda {self.name()}, k={e()}: {e()} + k)({e()})", lambda: f"len({{{e()}: {e()}, {e()}: {e()}}})",
            lambda: f"[{e()}, {e()}][0]", lambda: f"len(f'{{{e()}}}{{{e()}}}')", lambda: f"{r.choice(_FUNCTIONS)}({e()})",
            lambda: f"max(*[{e()}], {e()})", lambda: f"eval('{self.name()} + {self.name()}')", lambda: f"K().m({e()})",
            lambda: f"box[{e()} % 2]", lambda: f"int({self.name()}, **{{}})", lambda: f"(not {e()})",
        ])()  # fmt: skip

    def block(self, depth: int, in_loop: bool = False, count: int = 2) -> list[str]:
        return [line for _ in range(self.r.randint(1, count)) for line in self.statement(depth, in_loop)]

    def inside(self, head: str, depth: int, in_loop: bool = False) -> list[str]:
        return [head, *("    " + line for line in self.block(depth - 1, in_loop))]

    def statement(self, depth: int, in_loop: bool) -> list[str]:
        r, e, n = self.r, self.expression, self.name
        simple = [
            lambda: [f"{n()} = {e()}"], lambda: [f"{n()} = {e()}"], lambda: [f"{n()}, {n()} = {e()}, {e()}"],
            lambda: [f"{n()} += {e()}"], lambda: [f"{n()}: int = {e()}"], lambda: [f"{n()}: {e()}"], lambda: [f"del {n()}"],
            lambda: [f"box[{e()} % 2] = {e()}"], lambda: [f"box[{e()} % 2] += {e()}"], lambda: [f"{n()}, *rest = {e()}, {e()}"],
            lambda: [f"assert {e()} or True, {e()}"], lambda: [f"{n()} = {n()} = {e()}"],
            lambda: [f"exec('{n()} = {n()} + 1')"], lambda: [e()], lambda: [f"if {e()} > 12: raise KeyError"],
            lambda: [r.choice(["break", "continue"]) if in_loop else "pass"],
        ]  # fmt: skip
        if depth <= 0 or r.random() < 0.4:
            return r.choice(simple)()
        inside = self.inside
        return r.choice([
            lambda: inside(f"if {e()} % 2:", depth, in_loop),
            lambda: inside(f"if {e()} % 2:", depth, in_loop) + inside("else:", depth, in_loop),
            lambda: inside(f"for {n()} in range({e()} % 3):", depth, True) + (inside("else:", depth) if r.random() < 0.3 else []),
            lambda: inside(f"while spend() and {e()} % 2:", depth, True) + (inside("else:", depth) if r.random() < 0.3 else []),
            lambda: inside("try:", depth) + inside(f"except Exception{r.choice(['', ' as ' + n()])}:", depth)
            + (inside("else:", depth) if r.random() < 0.3 else []) + (inside("finally:", depth) if r.random() < 0.3 else []),
            lambda: inside("try:", depth) + inside("finally:", depth),
            lambda: inside("try:", depth) + inside("except NameError:", depth),
            lambda: inside(f"with manager({e()}) as {n()}:", depth, in_loop),
            lambda: [f"match [{e()}, {e()}]:", f"    case [0, {n()}]:", *("    " + s for s in inside("", depth)[1:]),
                     f"    case [{n()}, _] if {e()}:", *("    " + s for s in inside("", depth)[1:])],
            lambda: [f"def {r.choice(_FUNCTIONS)}({n()}={e()}, *rest):", "    spend()",
                     *([f"    global {(g := n())}", f"    {r.choice([g + ' = ' + e(1), g + ' += 1', 'del ' + g])}"]
                       if r.random() < 0.3 else []), f"    return {e()}"],
            lambda: [f"class K{r.choice(['', '(Base)'])}:", f"    {n()} = {e()}",
                     *(["    @called"] if r.random() < 0.2 else []), "    def m(self, x=1):", f"        return {e()} + x"],
            lambda: [f"@called\ndef {n()}(x=1):", f"    return {e()}"],
        ])()  # fmt: skip

    def source(self) -> str:
        return "\n".join(self.block(3, count=9))


class _Manager:
    """Swallows the exceptions of its body, but for those of an odd value."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __enter__(self) -> int:
        return self.value

    def __exit__(self, *error: object) -> bool:
        return not self.value % 2


class _SpentError(BaseException):
    pass


def _run(source: str, variables: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """(final variables, exception) of the program when it begins with these variables."""
    left = [60]

    def spend() -> bool:
        left[0] -= 1
        if left[0] < 0:
            raise _SpentError
        return True

    offered = {"spend": spend, "manager": _Manager, "Base": object, "called": lambda f: f() if f.__name__ != "m" else f(None)}
    space = {**copy.deepcopy(variables), "__builtins__": {**vars(builtins), **offered}, "__name__": "cell"}
    error = ""
    try:
        exec(compile(source, "<program>", "exec"), space)
    except (Exception, _SpentError) as caught:
        error = repr(caught)
    final = {name: value for name, value in space.items() if name not in {"__builtins__", "__name__", "__annotations__"}}
    return final, error


def _plain(variables: dict[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value if isinstance(value, int) else getattr(value, "__name__", type(value).__name__)

    return {name: plain(value) for name, value in variables.items()}


@st.composite
def _cases(draw: Any) -> tuple[str, dict[str, Any]]:
    r = random.Random(draw(st.integers(0, 2**32)))
    source = _Program(r).source()
    present = [name for name in [*_VARIABLES, "u", "v"] if r.random() < 0.85]
    return source, {**{name: 10 + i for i, name in enumerate(present)}, "box": [1, 2]}


_EARLIER = "def f(x): return a + x\ndef g(x): return f(x) + b\nclass K:\n    def m(self, x): return c + x"


def _limited(names: frozenset[str] | None, variables: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The earlier definitions and variables that a step loads: functions are bound to the namespace they are loaded in."""
    kept = [s for s in ast.parse(_EARLIER).body if names is None or s.name in names]  # type: ignore[attr-defined]
    return "\n".join(map(ast.unparse, kept)) + "\n", {n: v for n, v in variables.items() if names is None or n in names}


@settings(max_examples=200, deadline=None)
@given(_cases())
def test_a_program_that_is_given_only_what_it_reads_does_the_same(drawn: tuple[str, dict[str, Any]]) -> None:
    source, variables = drawn
    try:
        tree = ast.parse(source)
        compile(source, "<program>", "exec")
    except SyntaxError:
        return  # such as a comprehension that rebinds its own variable
    found = effects_of(tree.body, survey([ast.parse(_EARLIER), tree]))
    if found.opaque:
        return  # its step loads every variable
    definitions, given = _limited(None, variables)
    full, full_error = _run(definitions + source, given)
    definitions, given = _limited(found.reads, variables)
    limited, limited_error = _run(definitions + source, given)
    assert limited_error == full_error
    assert found.reads | found.writes >= {n for n in full if n not in variables and n not in {"f", "g", "K"}}
    passed_on = {name: value for name, value in full.items() if name not in found.reads}
    assert _plain({**passed_on, **limited}) == _plain(full)
    assert set(limited) <= set(full), "left though a straight run deletes it"
    if not full_error:
        assert found.binds <= set(full), "said to be bound, but isn't"
