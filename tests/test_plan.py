"""Which step follows which, and why; what each step loads and keeps."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from conftest import CellSpec, notebook_node

from mlops_lab.files import overlap
from mlops_lab.notebook import from_node
from mlops_lab.pipeline import build
from mlops_lab.plan import Plan, make_plan


def plan(cells: Sequence[CellSpec], settings: dict[str, Any] | None = None) -> Plan:
    metadata = {"mlops_lab": settings} if settings else None
    return make_plan(build(from_node(notebook_node(cells, metadata), "nb.ipynb")))


def steps(*sources: str, tags: dict[str, str] | None = None) -> list[CellSpec]:
    """One cell a step: a, b, c, ..."""
    return [(f"step:{n} {(tags or {}).get(n, '')}".strip(), s) for n, s in zip("abcdefgh", sources, strict=False)]


# Expected edges as "a>b: reasons; a>c: reasons"
EDGES: list[tuple[str, list[CellSpec], str]] = [
    ("a variable", steps("x = 1", "y = x"), "a>b: x"),
    ("several variables", steps("x = z = 1", "y = x + z"), "a>b: x, z"),
    ("nothing shared", steps("x = 1", "y = 2"), ""),
    ("a chain", steps("x = 1", "y = x", "z = y"), "a>b: x; b>c: y"),
    ("a sure binding cuts", steps("x = 1", "x = 2", "y = x"), "b>c: x"),
    ("a conditional binding passes through", steps("x = 1", "if f(): x = 2", "y = x"), "a>c: x; b>c: x"),
    ("a binding in a loop passes through", steps("x = 1", "for x in g(): pass", "y = x"), "a>c: x; b>c: x"),
    ("a binding in try passes through", steps("x = 1", "try: x = f()\nexcept E: pass", "y = x"), "a>c: x; b>c: x"),
    ("a binding in both branches cuts", steps("x = 1", "if f(): x = 2\nelse: x = 3", "y = x"), "b>c: x"),
    ("a deletion", steps("x = 1", "del x", "print('x' in y, x)"), "a>b: x; a>c: x; b>c: x"),
    ("a comprehension variable is no variable", steps("x = 1", "y = [x for x in z]", "w = x"), "a>c: x"),
    ("a lambda parameter is no variable", steps("x = 1", "y = lambda x: x", "w = x"), "a>c: x"),
    ("a change in place", steps("x = []", "x.append(1)", "y = x"), "a>b: x; a>c: x; b>c: x"),
    ("a reader above a change need not wait for it", steps("x = []", "y = x[0]", "x.append(1)"), "a>b: x; a>c: x"),
    ("a new column", steps("df = f()", "df['z'] = 1", "g(df.z)"), "a>b: df; a>c: df; b>c: df"),
    ("two models that fit the same data", steps("X = y = f()", "m = A()\nm.fit(X, y)", "n = B()\nn.fit(X, y)"),
     "a>b: X, y; a>c: X, y"),
    ("a change through another name", steps("x = []\ny = x", "y.append(1)", "z = x"), "a>b: y; a>c: x; b>c: x"),
    ("an alias made below is no matter above", steps("x = []", "x.append(1)", "y = f()\ny = x"),
     "a>b: x; a>c: x; b>c: x"),
    ("a function of another step", steps("x = 1\ndef f(): return x", "x = 2", "f()"), "a>c: f; b>c: x"),
    ("a function that changes its argument", steps("def clean(d): d['z'] = 1\ndf = g()", "clean(df)", "h(df)"),
     "a>b: clean, df; a>c: df; b>c: df"),
    ("a global of a function", steps("n = 0\ndef inc():\n    global n\n    n += 1", "inc()", "print(n)"),
     "a>b: inc, n; a>c: n; b>c: n"),
    ("a file", steps("df.to_csv('a.csv')", "pd.read_csv('a.csv')"), "a>b: file a.csv"),
    ("a file by a constant", [("", "p = 'a.csv'"), *steps("df.to_csv(p)", "pd.read_csv('a.csv')")],
     "start>a: p; a>b: file a.csv"),
    ("two readers of a file", steps("x = pd.read_csv('a.csv')", "y = pd.read_csv('a.csv')"), ""),
    ("what looks through MLflow's store", steps("import mlflow\nmlflow.log_metric('a', 1)", "mlflow.search_runs()", "mlflow.log_metric('b', 1)"),
     "a>b: state MLflow; b>c: state MLflow"),
    ("who logs to MLflow need not wait", steps("import mlflow\nwith mlflow.start_run(): f()", "mlflow.log_metric('b', 1)"), ""),
    ("a choice for MLflow, in a function",
     steps("import mlflow\ndef begin(): mlflow.start_run()", "begin()", "mlflow.log_metric('b', 1)", "x = 1", "mlflow.end_run()"),
     "a>b: begin; b>c: state MLflow; b>e: state MLflow; c>e: state MLflow"),
    ("two writers of a file", steps("df.to_csv('a.csv')", "df.to_csv('a.csv')"), "a>b: file a.csv"),
    ("a reader and then a writer", steps("pd.read_csv('a.csv')", "df.to_csv('a.csv')"), "a>b: file a.csv"),
    ("a file in a folder", steps("os.makedirs('out')", "df.to_csv('out/a.csv')"), "a>b: file out, file out/a.csv"),
    ("other files", steps("df.to_csv('a.csv')", "pd.read_csv('b.csv')"), ""),
    ("a module that is imported, and then written", steps("import h", "open('h.py', 'w').write(x)"), "a>b: file h.py"),
    ("a module that is written, and then imported", steps("open('h.py', 'w').write(x)", "import h", "h.f()"),
     "a>b: file h.py; a>c: file h.py"),
    ("a module that a function imports where it is called, and then written",
     steps("def f():\n    import h", "f()", "importlib.import_module('h')", "open('h.py', 'w').write(x)"),
     "a>b: f; a>d: file h.py; b>d: file h.py; c>d: file h.py"),
    ("an unknown path", steps("df.to_csv('a.csv')", "pd.read_csv(f())"), "a>b: file of unknown path"),
    ("a shell command", steps("df.to_csv('a.csv')", "!wc a.csv"), "a>b: file of unknown path"),
    ("an address is no file", steps("df.to_csv('a.csv')", "pd.read_csv('https://example.org/b.csv')"), ""),
    ("a file that a function writes", steps("def save(d, n): d.to_csv(f'out/{n}.csv')", "save(df, 'a')", "pd.read_csv('out/a.csv')"),
     "a>b: save; b>c: file out/a.csv"),
    ("a file whose path is known in part", steps("for i in x: df.to_csv(f'out/{i}.csv')", "pd.read_csv('out/1.csv')", "open('b.txt')"),
     "a>b: file out/1.csv"),
    ("a file that some function is given", steps("df.to_csv('a.csv')", "mine('a.csv')", "mine('b.csv')"), "a>b: file a.csv"),
    ("a file that some function was given", steps("mine('a.csv')", "df.to_csv('a.csv')"), "a>b: file a.csv"),
    ("%%writefile and its reader", steps("%%writefile a.yaml\nx: 1", "open('a.yaml')"), "a>b: file a.yaml"),
    ("a gate", steps("x = 1", "assert f()", "y = 2", "z = 3", tags={"b": "gate"}), "b>c: gate; b>d: gate"),
    ("after", steps("x = 1", "y = 2", tags={"b": "after:a"}), "a>b: order"),
    ("Kale's prev", steps("x = 1", "y = 2", tags={"b": "prev:a"}), "a>b: order"),
    ("after a step below", steps("x = 1", "y = 2", tags={"a": "after:b"}), "b>a: order"),
    ("after itself", steps("x = 1", tags={"a": "after:a"}), ""),
    ("opaque code waits for all and is waited for", steps("x = 1", "exec(code)", "y = 2"), "a>b: opaque; b>c: opaque"),
    ("a seed and draws", steps("import numpy as np\nnp.random.seed(0)", "x = np.random.rand()", "y = np.random.rand()"),
     "a>b: randomness; b>c: randomness"),
    ("a function that draws", steps("import numpy as np\nnp.random.seed(0)\ndef f(): return np.random.rand()", "x = f()", "y = f()"),
     "a>b: randomness, f; a>c: f; b>c: randomness"),
    ("calls with their own seed", steps("import random\nrandom.seed(0)", "x = split(a, random_state=0)", "y = a.sample(3, random_state=1)"),
     ""),
    ("variables of comprehensions", steps("a = [1]\nb = [c for c in a]", "d = [2]\ne = [c for c in d]", "d.append(1)", "f(a)"),
     "a>d: a; b>c: d"),
    ("a name bound anew", steps("a = [1]\nc = a", "d = [2]\nc = d", "c.append(1)", "f(a)", "f(d)"),
     "a>d: a; b>c: c; b>e: d; c>e: d"),
    ("the name of an exception", steps("try: f()\nexcept E as e: print(e)", "try: g()\nexcept E as e: print(e)"), ""),
    ("the name of an exception that is a variable too", steps("e = 1", "try: g()\nexcept E as e: print(e)", "h(e)"),
     "a>b: e; a>c: e; b>c: e"),
    ("draws without a seed", steps("x = np.random.rand()", "y = np.random.rand()"), ""),
    ("a seed in setup", [("setup", "np.random.seed(0)"), *steps("x = np.random.rand()", "y = np.random.rand()")],
     "a>b: randomness"),
    ("an own generator", steps("rng = np.random.RandomState(0)", "x = rng.normal()", "y = rng.normal()"),
     "a>b: rng; a>c: rng; b>c: rng"),
    ("cells above the first step", [("", "x = 1"), ("step:a", "y = x")], "start>a: x"),
    ("a step called start", [("", "x = 1"), ("step:start", "y = x")], "start-2>start: x"),
    ("an untagged cell continues the step", [("step:a", "x = 1"), ("", "z = 2"), ("step:b", "y = z")], "a>b: z"),
    ("a skipped cell", [("step:a", "x = 1"), ("skip", "x = 2"), ("step:b", "y = x")], "a>b: x"),
    ("our magics", [("step:a", "x = 1"), "%mlops run", ("step:b", "y = x")], "a>b: x"),
    ("a setup cell's value is not a step's", [("setup", "k = 1"), *steps("x = k", "y = k")], ""),
    ("a setup cell's value that a step changes", [("setup", "k = []"), *steps("k.append(1)", "y = k")], "a>b: k"),
    ("a static parameter", [("parameters", "lr = 0.1"), *steps("x = lr", "y = lr")], ""),
    ("a parameter that a step reassigns", [("parameters", "lr = 0.1"), *steps("lr = lr * 2", "y = lr")], "a>b: lr"),
    ("parameters that are computed", [("parameters", "n = 2\nm = n * f()"), *steps("x = m")], "start>a: m"),
    ("imports are no values", steps("import m\nx = m.f()", "m.g()"), ""),
    ("a step on both sides of another", [("step:a", "x = 1"), ("step:b", "y = x"), ("step:a", "z = y")],
     "a>b: x; b>a-2: y"),
    ("after a step in two parts", [("step:a", "x = 1"), ("step:b", "y = 1"), ("step:a", "z = 1"), ("step:c after:a", "w = 1")],
     "a>c: order; a-2>c: order"),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "expected"), [pytest.param(c, e, id=n) for n, c, e in EDGES])
def test_edges_have_their_reasons(cells: list[CellSpec], expected: str) -> None:
    found = [f"{edge.source}>{edge.target}: {edge.label}" for edge in plan(cells).edges]
    assert "; ".join(found) == expected


@pytest.mark.parametrize("seed", range(20))
def test_edges_are_those_of_each_pair_of_steps(seed: int) -> None:
    r = random.Random(seed)
    lines = ["x = 1", "y = x", "if q: x = 2", "x.append(y)", "open('d/a', 'w')", "open('d/a')", "open(f'd/{x}')", "mine('d/a.b')",
             "open(x)", "open('d/a.b', 'w')", "del y", "z = y", "os.remove('d')"]  # fmt: skip
    made = plan([(f"step:s{i}", "\n".join(r.sample(lines, 2))) for i in range(8)])
    found = {(e.source, e.target): {(x.kind, x.name) for x in e.reasons} for e in made.edges}
    for j, target in enumerate(made.steps):
        for i, source in enumerate(made.steps[:j]):
            between = made.steps[i + 1 : j]
            names = {n for n in target.reads or () if n in source.writes and not any(n in s.effects.binds for s in between)}
            one, other = source.effects, target.effects
            sure = [s.reads_files | s.writes_files for s in (one, other)]
            files = any(overlap(w, u) for w in one.writes_files for u in sure[1])
            files |= any(overlap(w, u) for w in other.writes_files for u in sure[0])
            files |= bool(one.writes_files & other.mentions_files or other.writes_files & one.mentions_files)
            reasons = found.get((source.name, target.name), set())
            assert {name for kind, name in reasons if kind == "variable"} == names
            assert any(kind == "file" for kind, _ in reasons) is files


def test_what_a_run_has_learnt_becomes_an_edge() -> None:
    cells = steps("x = f()", "other = g(x)", "y = x")
    assert [e.label for e in plan(cells).edges if e.source == "b"] == []
    learnt = plan(cells, {"steps": {"b": {"changes": ["x"]}}})
    assert [(e.target, e.label) for e in learnt.edges if e.source == "b"] == [("c", "x")]


READS = [
    ("what it reads", steps("x = w = 1", "y = x"), "b", {"x"}),
    ("what a function it calls reads", steps("x = 1\ndef f(): return x", "f()"), "b", {"f", "x"}),
    ("all, if it is opaque", steps("x = 1", "exec(code)"), "b", None),
    ("nothing that it binds surely", steps("x = 1", "x = 2\ny = x"), "b", set()),
    ("what it binds perhaps and reads", steps("x = 1", "if 1: x = 2\ny = x"), "b", {"x"}),
]


@pytest.mark.parametrize(("cells", "step", "expected"), [pytest.param(*rest, id=n) for n, *rest in READS])
def test_a_step_loads(cells: list[CellSpec], step: str, expected: set[str] | None) -> None:
    assert plan(cells)[step].reads == expected


KEEPS = [
    ("what a later step reads", steps("x = w = 1", "y = x"), "a", {"x"}),
    ("also what a step reads that is not the next", steps("x = 1", "y = 1", "z = x"), "a", {"x"}),
    ("all, if a later step is opaque", steps("x = 1", "exec(code)"), "a", None),
    ("what a function reads, whoever calls it", steps("k = 1", "def f(): return k"), "a", {"k"}),
    ("what a function in a text reads", steps("k = 1", "exec('def f(): return k')"), "a", {"f", "k"}),
    ("nothing at the end", steps("x = 1", "y = x"), "b", set()),
    ("nothing for a step above", steps("y = x", "x = 1"), "b", set()),
]


@pytest.mark.parametrize(("cells", "step", "expected"), [pytest.param(*rest, id=n) for n, *rest in KEEPS])
def test_a_step_keeps(cells: list[CellSpec], step: str, expected: set[str] | None) -> None:
    assert plan(cells)[step].keep == expected


def test_a_step_knows_the_last_cell_that_may_bind_a_variable() -> None:
    found = plan([("step:a", "x = 1"), "x = 2\ny = 1", "y.append(1)"])
    assert found["a"].bound_in == {"x": 2, "y": 3}


def test_parts_of_a_step_have_its_group_and_settings() -> None:
    found = plan([("step:a", "x = 1"), ("step:b", "y = x"), ("step:a", "z = y")], {"steps": {"a": {"retries": 3}}}).pipeline
    assert [(s.name, s.group, s.numbers) for s in found.steps] == [("a", "a", (1,)), ("b", "b", (2,)), ("a-2", "a", (3,))]
    assert [s.settings.retries for s in found.steps] == [3, 0, 3]
    assert [s.name for s in found.group("a")] == ["a", "a-2"]


def test_a_part_never_takes_the_name_of_another_step() -> None:
    found = plan([("step:a", "1"), ("step:a-2", "2"), ("step:a", "3")]).pipeline
    assert [s.name for s in found.steps] == ["a", "a-2", "a-3"]


def test_upstream_and_downstream_include_the_steps_themselves() -> None:
    found = plan(steps("x = 1", "y = x", "z = y", "w = 1"))
    assert found.upstream(["b"]) == {"a", "b"}
    assert found.downstream(["b"]) == {"b", "c"}
    assert found.sources["c"] == {"b"}


def test_a_cycle_is_found_and_named() -> None:
    assert plan(steps("x = 1", "y = x", tags={"a": "after:b"})).cycle[:1] in {("a",), ("b",)}
    assert plan(steps("x = 1", "y = x")).cycle == ()


@pytest.mark.parametrize(
    "cells",
    [
        [],
        [""],
        [("md", "text")],
        ["x = ("],
        [("step:", "x = 1")],
        [("step:A B", "x = 1")],
        [("step:a step:b", "x = 1")],
        [("after:", "x = 1")],
        [("parameters setup", "x = 1")],
        [("step:a after:nowhere", "x = 1")],
        [("parameters", "f(")],
        [("skip", "x = 1")],
    ],
)
def test_no_notebook_makes_the_plan_fail(cells: list[CellSpec]) -> None:
    made = plan(cells)
    assert made.cell_effects is not None
