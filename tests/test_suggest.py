"""What is proposed for an untagged notebook: where its steps are cut, how they are called, and what must stay together."""

from __future__ import annotations

import copy
import re
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import mlops_lab
from mlops_lab.checks import check
from mlops_lab.notebook import Notebook, from_node
from mlops_lab.pipeline import build
from mlops_lab.plan import make_plan
from mlops_lab.roles import STEP_NAME
from mlops_lab.suggest import Suggestion, apply, suggest

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def lab(*cells: str | tuple[float, str] | tuple[str, str]) -> Notebook:
    """A notebook: Markdown cells begin with `#` and a blank (or `md:`), code may come with its seconds or its tags."""
    made = []
    for cell in cells:
        first, source = cell if isinstance(cell, tuple) else ("", cell)
        if not isinstance(cell, tuple) and (source.startswith("md:") or re.match(r"#+ ", source)):
            made.append(new_markdown_cell(source.removeprefix("md:")))
            continue
        metadata: dict[str, Any] = {"tags": first.split()} if isinstance(first, str) and first else {}
        if isinstance(first, float):
            begun = datetime(2026, 1, 1)
            times = (begun, begun + timedelta(seconds=first))
            keys = ("iopub.execute_input", "shell.execute_reply")
            metadata["execution"] = {key: at.isoformat() + "Z" for key, at in zip(keys, times, strict=True)}
        made.append(new_code_cell(source, metadata=metadata))
    return from_node(new_notebook(cells=made, metadata={"kernelspec": KERNEL}), "lab.ipynb")


def tagged(notebook: Notebook, suggestion: Suggestion) -> Notebook:
    return from_node(apply(notebook, suggestion), notebook.path)


def step_of(notebook: Notebook) -> dict[int, str]:
    """Number of each cell -> name of the step that it would be in."""
    pipeline = build(tagged(notebook, suggest(notebook)))
    return {cell.number: step.name for step in pipeline.steps for cell in step.cells}


LOAD, SPLIT = "df = pd.read_csv('a.csv')", "train, test = train_test_split(df)"
FIT, SCORE, PLOT, SAVE = "m.fit(train)", "r2_score(m.predict(test), test)", "plt.plot(test)", "df.to_csv('b.csv')"
WORK = "y = np.sqrt(x)"

CUTS: dict[str, tuple[list[Any], list[str]]] = {
    "a section is a step": (
        ["# House prices", "import pandas as pd", "## Load", LOAD, "## Train the model", FIT, FIT, "## Results", SCORE],
        ["load", "train-the-model", "results"],
    ),
    "underlined and HTML headings count": (
        ["md:Load\n====", LOAD, "md:<h1 id='x'>Train</h1>", FIT, "md:text\n\nResults\n---", SCORE],
        ["load", "train", "results"],
    ),
    "a rule, a table and a fence are no headings": (
        ["md:text\n\n---\n", LOAD, "md:| a |\n|---|\n| 1 |", FIT, "md:```\n# no\n```", SCORE],
        ["load", "train", "evaluate"],
    ),
    "top-level sections are steps too": (["# Load", LOAD, "# Train", FIT, "# Plot", PLOT], ["load", "train", "plot"]),
    "code between the title and the first section is a step if it works": (
        ["# Study", "import pandas as pd", LOAD, "## Fit", FIT, "## Look", PLOT],
        ["load", "fit", "look"],
    ),
    "sections that only import, define or configure join the next step": (
        ["# S", "## Setup", "import numpy as np", "np.random.seed(0)", "## Load", LOAD, "## Helpers", "def f(): pass", "## Train", FIT],
        ["load", "train"],
    ),
    "a section that only makes an object joins the one that uses it": (
        ["# S", "## Load", LOAD, "## Model", "m = Ridge(alpha=1)", "## Train", FIT, "## Score", SCORE],
        ["load", "train", "score"],
    ),
    "a section that only looks joins the one above": (
        ["# S", "## Load", LOAD, "## Inspect", "df.head()", "df.describe()", "## Train", FIT],
        ["load", "train"],
    ),
    "two sections of one name are two steps": (["# S", "## Fit", FIT, "## Plot", PLOT, "## Fit", FIT], ["fit", "plot", "fit-2"]),
    "start is the name of the implicit step": (["# S", "## Start", LOAD, "## End", FIT], ["start-2", "end"]),
    "headings without a Latin letter give way to what the cells do": (
        ["# Данные", "## Загрузка", LOAD, "## 模型", FIT, "## 🎉 Résultats & plots", PLOT],
        ["load", "train", "resultats-and-plots"],
    ),
    "without headings the cells' work tells": (
        ["import pandas as pd", LOAD, "df.head()", SPLIT, "m = Ridge()", FIT, SCORE, SAVE],
        ["load", "split", "train", "evaluate", "save"],
    ),
    "plots above the training explore": ([LOAD, PLOT, "df = df.dropna()", FIT, PLOT], ["load", "explore", "prepare", "train", "plot"]),
    "what no call tells comes first as prepare": ([WORK, FIT, PLOT], ["prepare", "train", "plot"]),
    "fitting a scaler is no training": ([LOAD, "scaler.fit(df)", FIT], ["load", "prepare", "train"]),
    "without any sign the cut is where nothing crosses": (
        [*(f"a{i} = np.sqrt(a{i - 1})" for i in range(5)), *(f"b{i} = np.sqrt(b{i - 1})" for i in range(5))],
        ["step-1", "step-2"],
    ),
    "a short notebook without any sign is one step": ([WORK, WORK, WORK], ["main"]),
    "a notebook of imports is one step": (["import os", "def f(): pass"], ["main"]),
    "an empty notebook has no step": ([], []),
    "cells that can't be read from outside stay together": (
        ["# S", "## Load", LOAD, "## A", "exec(a)", "## B", "exec(b)", "## Plot", PLOT],
        ["load", "a-and-b", "plot"],
    ),
    "a gate is a step of its own": (
        ["# S", "## Load", LOAD, "## Train", FIT, ("gate", "assert m.score(test) > 0.8"), "## Plot", PLOT],
        ["load", "train", "check", "plot"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("cells", "steps"), CUTS.values(), ids=CUTS)
def test_where_the_steps_are_cut(cells: list[Any], steps: list[str]) -> None:
    assert list(suggest(lab(*cells)).steps) == steps


def test_deeper_headings_are_used_only_where_the_upper_ones_give_too_few_steps() -> None:
    chapters = [f"## {chapter}\n\ntext" for chapter in ("One", "Two", "Three", "Four")]
    fine = [part for chapter in chapters for part in (chapter, "### A", WORK, "### B", WORK)]
    assert suggest(lab("# T", *fine)).steps == ("one", "two", "three", "four")
    assert suggest(lab("# T", "## All", "### Load", LOAD, "### Train", FIT, "### Look", PLOT)).steps == (
        "load",
        "train",
        "look",
    )
    many = [cell for i in range(40) for cell in (f"## Part {chr(97 + i % 26)}{i}", WORK)]
    assert len(suggest(lab("# T", *many)).steps) == 12


NAMES = {
    "3.1 Train the model": "train-the-model",
    "1) Load": "load",
    "Step 2: Clean the data": "clean-the-data",
    "Part 3 - Results": "results",
    "IV. Discussion": "discussion",
    "A. Appendix data": "appendix-data",
    "Exercise 2": "exercise-2",
    "A closer look": "a-closer-look",
    "2D plots": "step-2d-plots",
    "Use [`fit`](http://x.org) <a id='a'></a>**now**": "use-fit-now",
    "R&D": "r-and-d",
    "Scaling with $x^2$ ¶": "scaling",
    "Don't panic": "dont-panic",
    "First experiment: fixed ground truth labels and growing number of clusters": "first-experiment",
    "Compute the regularization path of the whole family": "compute-regularization-path",
    "HistGradientBoostingRegressor": "hist-gradient-boosting-regressor",
    "Pneumonoultramicroscopicsilicovolcanoconiosis": "pneumonoultramicroscopicsilicovo",
}


@pytest.mark.parametrize(("heading", "name"), NAMES.items())
def test_names_are_made_from_headings(heading: str, name: str) -> None:
    found = suggest(lab("# T", f"## {heading}", LOAD, "## Other", FIT, "## Third", PLOT)).steps[0]
    assert found == name
    assert STEP_NAME.fullmatch(found)
    assert len(found) <= 32


# -- what can't be passed ----------------------------------------------------------------------------------------

TOGETHER: dict[str, tuple[str, str]] = {
    "open file": ("f = open('a.txt')", "print(f.read())"),
    "closed file": ("with open('a.txt') as f:\n    t = f.read()", "print(f.closed)"),
    "generator": ("g = (i for i in range(3))", "print(next(g))"),
    "iterator": ("it = iter(loader)", "print(next(it))"),
    "zip": ("z = zip(a, b)", "print(list(z))"),
    "rows": ("rows = df.iterrows()", "print(next(rows))"),
    "chunks": ("reader = pd.read_csv('a.csv', chunksize=9)", "print(next(reader))"),
    "flat": ("v = arr.flat", "print(next(v))"),
    "connection": ("conn = sqlite3.connect('a.db')", "pd.read_sql('select 1', conn)"),
    "cursor": ("cur = db.cursor()", "cur.execute('select 1')"),
    "C function": ("ftype = ctypes.CFUNCTYPE(ctypes.c_double)", "print(ftype(math.log)(2))"),
    "lock": ("lock = threading.Lock()", "with lock:\n    print(1)"),
    "pool": ("pool = ThreadPoolExecutor(2)", "list(pool.map(str, [1]))"),
    "future": ("future = executor.submit(str, 1)", "print(future.result())"),
    "progress bar": ("bar = tqdm(total=3)", "bar.update()"),
    "figure and axes": ("fig, ax = plt.subplots()", "ax.plot([1])\nfig"),
    "axes from pandas": ("ax = df.plot()", "ax.set_title('t')"),
    "figure in a list": ("figs = []\nfigs.append(plt.figure())", "figs[0].show()"),
    "alias": ("f = open('a')\nother = f", "print(other.read())"),
    "in a dict": ("d = {'f': open('a')}", "print(d['f'].read())"),
    "attribute": ("job.log = open('a')", "job.log.read()"),
    "from a function": ("def get():\n    c = sqlite3.connect('a')\n    return c\nc = get()", "c.close()"),
    "generator function": ("def count():\n    yield 1\nc = count()", "print(next(c))"),
    "read by a function": ("log = open('a')\ndef say(t):\n    log.write(t)", "say('x')"),
    "remembering function": (
        "import functools\n@functools.lru_cache\ndef f(x): return x\nprint(f(1))",
        "print(f(1), f.cache_info())",
    ),
    "cached property": ("class C:\n    @cached_property\n    def p(self): return 1\nc = C()\nprint(c.p)", "print(c.p)"),
    "single dispatch": ("@singledispatch\ndef f(x): return 1\nprint(f(1))", "@f.register\ndef g(x: str): return 2"),
    "coroutine": ("async def ask(): return 1\nc = ask()", "print(await c)"),
    "display handle": ("h = display(1, display_id=True)", "h.update(2)"),
    "widget": ("w = widgets.IntSlider()\nnp.sqrt(1)", "w.value"),
    "module object": ("mod = importlib.import_module('json')", "mod.dumps(1)"),
    "logger": ("log.addHandler(h)", "log.info('x')"),
    "last result": ("1 + np.sqrt(4)", "print(_)"),
    "numbered result": ("1 + np.sqrt(4)", "print(Out[2])"),
    "opaque": ("with open('a') as f:\n    t = f.read()", "globals().update(t)"),
    "module written": ("%%writefile tool.py\nX = 1", "import tool\nprint(tool.X)"),
    "module changed": ("import pandas as pd\npd.DataFrame.double = double", "pd.DataFrame({'a': [1]}).double()"),
    "folder and back": ("%cd data\nnp.sqrt(1)", "os.chdir('..')"),
    "logged run": ("import mlflow\nmlflow.start_run()\nnp.sqrt(1)", "mlflow.log_metric('a', 1)"),
    "interactive figure": ("%matplotlib widget\nimport matplotlib.pyplot as plt\nplt.plot([1])", "plt.title('t')"),
}


@pytest.mark.parametrize(("binds", "reads"), TOGETHER.values(), ids=TOGETHER)
def test_what_cannot_be_passed_stays_in_one_step(binds: str, reads: str) -> None:
    notebook = lab("# T", "## Load", LOAD, "## Make", binds, "## Between", SAVE, "## Use", reads, "## Train", FIT)
    found = step_of(notebook)
    assert found[2] == found[3] == found[4]
    assert len({found[1], found[2], found[5]}) == 3
    assert "kept together" in suggest(notebook).reasons[4]


APART: dict[str, tuple[str, str]] = {
    "data of a file": ("data = open('a').read()", "np.sqrt(data)"),
    "rows in a list": ("rows = list(zip(a, b))", "np.sqrt(rows)"),
    "unpacked": ("a, b = zip(*pairs)", "np.sqrt(a)"),
    "Series.map": ("s = s.map(str)", "np.sqrt(s)"),
    "DataFrame.filter": ("s = df.filter(like='a')", "np.sqrt(s)"),
    "awaited": ("async def ask(): return 1\nc = await ask()", "np.sqrt(c)"),
    "groups": ("g = df.groupby('a')", "np.sqrt(g)"),
    "an image": ("im = Image.open('a.png')", "np.sqrt(im)"),
    "bound anew": ("fig, ax = plt.subplots()", "fig, ax = plt.subplots()\nax.plot([1])"),
    "made a list": ("g = (i for i in range(9))\ng = list(g)", "np.sqrt(g)"),
    "own function of the name": ("def filter(x): return np.sqrt(x)\ny = filter(2)", "np.sqrt(y)"),
    "remembering, but not called yet": ("@lru_cache\ndef f(x): return x\nnp.sqrt(1)", "np.sqrt(f(1))"),
    "environment": ("os.environ['A'] = '1'\nnp.sqrt(1)", "np.sqrt(float(os.environ['A']))"),
    "loop variable": ("for _ in range(3):\n    np.sqrt(1)", "for _ in range(2):\n    np.sqrt(2)"),
}


@pytest.mark.parametrize(("binds", "reads"), APART.values(), ids=APART)
def test_what_can_be_passed_does_not_hold_steps_together(binds: str, reads: str) -> None:
    found = step_of(lab("# T", "## Load", LOAD, "## Make", binds, "## Use", reads, "## Plot", PLOT))
    assert len(set(found.values())) == 4


def test_a_connection_made_at_the_top_draws_the_first_step_up_to_it() -> None:
    notebook = lab(
        "import sqlite3", "N = 3", "conn = sqlite3.connect('a.db')", "## Read", "df = pd.read_sql('', conn)", "## Plot", PLOT
    )
    suggestion = suggest(notebook)
    assert suggestion.tags[2] == ("step:read",)
    assert suggestion.tags[1] == ("parameters",)


# -- cost --------------------------------------------------------------------------------------------------------


def test_an_expensive_cell_gets_a_step_of_its_own() -> None:
    notebook = lab(
        "# T", "## Load", (0.5, LOAD), "## Modelling", (0.4, "X = f(df)"), (90.0, FIT), (0.2, PLOT), "## End", (0.1, SAVE)
    )
    suggestion = suggest(notebook)
    assert suggestion.steps == ("load", "prepare-modelling", "modelling", "plot", "end")
    assert "takes long" in suggestion.reasons[5]


def test_papermill_durations_count_as_well() -> None:
    notebook = lab(LOAD, FIT, "x = f(m)", PLOT)
    notebook.node.cells[2].metadata["papermill"] = {"duration": 50.0}
    notebook.node.cells[1].metadata["papermill"] = {"duration": None}
    assert step_of(notebook)[3] != step_of(notebook)[2]


# -- other tags --------------------------------------------------------------------------------------------------

SKIPPED = {
    "%pip install -q 'pandas>=2'": True,
    "!pip install a b": True,
    "import sys\n!{sys.executable} -m pip install a": True,
    "%conda install x": True,
    "%%bash\n# tools\npip install a\napt-get install -y b > /dev/null": True,
    "%load_ext autoreload\n%autoreload 2": True,
    "%load_ext lab_black": True,
    "help(pd.DataFrame)": True,
    "pd.DataFrame?": True,
    "# x = 1\n# y = 2": True,
    "!pip install a && python build.py": False,
    "!pip freeze > requirements.txt": False,
    "!python train.py": False,
    "%load_ext sql": False,
    "help(print(1))": False,
    "import pandas\n%pip list": True,
    "import numpy as np\n%pip list": False,
    "df.head()": False,
    "%pip install a\nx = 1": False,
    "'a text'": False,
}


@pytest.mark.parametrize(("source", "skipped"), SKIPPED.items())
def test_only_what_is_surely_no_part_of_a_pipeline_is_skipped(source: str, skipped: bool) -> None:
    suggestion = suggest(lab(LOAD, ("", source), FIT, "y = np.sqrt(x)"))
    assert (suggestion.tags.get(1) == ("skip",)) is skipped


def test_an_extension_is_kept_while_other_cells_use_its_magics() -> None:
    notebook = lab("%load_ext autoreload", "import numpy as np\n%autoreload 2", LOAD, WORK, FIT)
    assert 0 not in suggest(notebook).tags


PARAMETERS: dict[str, tuple[list[str], int | None]] = {
    "literals above the first step": (["import os", "N = 100\nseed = 42\nrate = 0.5\nname = 'a'", LOAD, FIT], 1),
    "annotated": (["N: int = 3", LOAD, FIT], 0),
    "the cell with most of them": (["a = 1", "b = 2\nc = 3", LOAD, FIT], 1),
    "not if one is bound anew": (["N = 100", LOAD, "N = 5", FIT], None),
    "not if a function binds it": (["N = 100", "def f():\n    global N\n    N = 1", LOAD, FIT], None),
    "not if a list of them is changed": (["N = 1\nseen = []", LOAD, "seen.append(1)", FIT], None),
    "not if used above": (["def f(): return N", "N = 100", LOAD, FIT], None),
    "not with an expression, whose output would be lost": (["N = 100\nN", LOAD, FIT], None),
    "not with a magic, whose output would be lost": (["%%time\nN = 100", LOAD, FIT], None),
    "not with anything that must run": (["N = 100\nM = len('abc')", LOAD, FIT], None),
    "not without a simple one": (["names = ['a']", LOAD, FIT], None),
    "not below the first step": ([LOAD, "N = 100", FIT], None),
}


@pytest.mark.parametrize(("cells", "index"), PARAMETERS.values(), ids=PARAMETERS)
def test_settings_at_the_top_become_parameters(cells: list[str], index: int | None) -> None:
    found = [i for i, tags in suggest(lab(*cells)).tags.items() if "parameters" in tags]
    assert found == ([] if index is None else [index])


def test_the_authors_parameters_stand() -> None:
    assert 0 not in suggest(lab("A = 1\nB = 2", ("parameters", "N = 1"), LOAD, FIT)).tags


def test_what_every_process_needs_becomes_setup() -> None:
    notebook = lab("from bokeh.io import output_notebook, show\noutput_notebook()", LOAD, FIT, "show(df)")
    suggestion = suggest(notebook)
    assert suggestion.tags[0] == ("setup",)
    assert len(suggestion.steps) > 1


def test_a_notebook_with_steps_is_left_alone() -> None:
    notebook = lab(LOAD, ("step:train", FIT), PLOT)
    suggestion = suggest(notebook)
    assert (suggestion.tags, suggestion.steps) == ({}, ())
    assert "step: tags already" in suggestion.reasons[1]
    assert apply(notebook, suggestion) == notebook.node


def test_tags_of_other_kinds_are_respected() -> None:
    notebook = lab(("setup", "import os"), ("skip", "x = 1"), ("mine", LOAD), FIT)
    node = apply(notebook, suggest(notebook))
    assert [cell.metadata.tags for cell in node.cells] == [["setup"], ["skip"], ["mine", "step:load"], ["step:train"]]


# -- properties --------------------------------------------------------------------------------------------------

_POOL = [
    "import numpy as np", "import pandas as pd\npd.set_option('display.width', 9)", "N = 3\nrate = 0.5", LOAD, SPLIT, FIT, SCORE, PLOT, SAVE,
    WORK, "df.head()", "f = open('a')", "print(f.read())", "f = 1", "fig, ax = plt.subplots()", "ax.plot(x)", "g = (i for i in x)",
    "print(next(g))", "print(_)", "x + 1", "exec(code)", "%cd a", "os.chdir('..')", "%pip install a", "def f(): return ax", "f()", "# nothing",
    "x = (", "@cache\ndef h(q): return q", "h(1)", "del f", "for f in x:\n    pass", "!ls", "%whos", "%unknown magic", "", "  ",
    "with open('a') as f:\n    pass", "if N:\n    g = 2",
]  # fmt: skip
_TEXTS = [
    "# Title",
    "## Load",
    "## Load",
    "### 1.2 Train: the *best* model",
    "## 训练",
    "plain text",
    "md:A\n---",
    "## Start",
    "#### x",
    "## 7",
]
_CELLS = st.lists(
    st.one_of(
        st.sampled_from(_POOL),
        st.sampled_from(_TEXTS).map(lambda text: text if text.startswith(("#", "md:")) else f"md:{text}"),
        st.tuples(st.sampled_from([0.1, 3.0, 60.0]), st.sampled_from(_POOL[:12])),
        st.tuples(st.sampled_from(["gate", "setup", "skip", "parameters", "other", "after:x"]), st.sampled_from(_POOL[:12])),
    ),
    max_size=30,
)
_UNPASSABLE = {
    "f = open('a')": "f",
    "with open('a') as f:\n    pass": "f",
    "fig, ax = plt.subplots()": "ax",
    "g = (i for i in x)": "g",
}
_READS = {"print(f.read())": "f", "ax.plot(x)": "ax", "print(next(g))": "g"}
_BINDS = {"f = 1": "f", "del f": "f", "def f(): return ax": "f"}


@settings(max_examples=300, deadline=None)
@example([("parameters", "f = open('a')"), "print(f.read())"])
@given(_CELLS)
def test_any_notebook_gets_a_pipeline_that_is_just_what_was_said(cells: list[Any]) -> None:
    notebook = lab(*cells)
    before = copy.deepcopy(notebook.node)
    suggestion = suggest(notebook)
    node = apply(notebook, suggestion)
    assert notebook.node == before
    steps = [step for step in build(from_node(node, notebook.path)).steps if not step.implicit]
    assert tuple(step.name for step in steps) == suggestion.steps
    assert all(STEP_NAME.fullmatch(name) and len(name) <= 36 for name in suggestion.steps)
    assert len(set(suggestion.steps)) == len(suggestion.steps)
    assert [f"step:{step.name}" in step.cells[0].tags for step in steps] == [True] * len(steps)
    assert sum(f"step:{name}" in tags for name in suggestion.steps for tags in suggestion.tags.values()) == len(steps)
    assert suggestion.tags.keys() == suggestion.reasons.keys()
    assert all(reason and "\n" not in reason for reason in suggestion.reasons.values())
    held: dict[str, int] = {}
    where = {cell.number: step.name for step in build(from_node(node, notebook.path)).steps for cell in step.cells}
    for cell in notebook.cells:
        if cell.number in where:
            name = _READS.get(cell.source, "")
            if name in held:
                assert where[held[name]] == where[cell.number]
            held.pop(_BINDS.get(cell.source, ""), None)
            if cell.source in _UNPASSABLE and "parameters" not in cell.tags:  # a cell that has its role keeps it
                held[_UNPASSABLE[cell.source]] = cell.number


def test_apply_keeps_outputs_and_all_metadata() -> None:
    notebook = lab("# T", "## A", LOAD, "## B", FIT)
    cell = notebook.node.cells[2]
    cell.outputs = [new_output("stream", text="read")]
    cell.execution_count = 7
    cell.metadata.update({"tags": ["keep"], "collapsed": True})
    node = apply(notebook, suggest(notebook))
    assert node.cells[2].metadata.tags == ["keep", "step:a"]
    assert node.cells[2].metadata.collapsed is True
    assert (node.cells[2].outputs, node.cells[2].execution_count) == (cell.outputs, 7)
    nbformat.validate(node)
    for new, old in zip(node.cells, notebook.node.cells, strict=True):
        new.metadata.pop("tags", None)
        old.metadata.pop("tags", None)
    assert node == notebook.node


def test_a_suggested_pipeline_has_no_errors() -> None:
    notebook = lab("# T", "import pandas as pd", "N = 3", "## A", LOAD, "## B", FIT, "## C", SCORE, "## D", PLOT)
    plan = make_plan(build(tagged(notebook, suggest(notebook))))
    assert not [d for d in check(plan) if d.severity == "error"]


def test_a_thousand_cells_take_seconds_at_most() -> None:
    cells = [
        cell
        for i in range(500)
        for cell in (f"## Part {i}", f"v{i} = f(v{i // 2}, w)\nw = g(v{i})", f"fig, ax = plt.subplots()\nax.plot(v{i})")
    ]
    notebook = lab(*cells)
    begun = time.process_time()
    suggestion = suggest(notebook)
    assert time.process_time() - begun < 10
    assert 2 < len(suggestion.steps) <= 16


def test_a_suggested_pipeline_runs_and_gives_what_the_notebook_gives(tmp_path: Path) -> None:
    from nbclient import NotebookClient

    notebook = lab(
        "# Numbers", "import random\nimport os", "COUNT = 5\nSEED = 3", "# nothing here",
        "## Draw", "random.seed(SEED)\nnumbers = [random.random() for _ in range(COUNT)]\nnumbers",
        "## Squares", "squares = (n * n for n in numbers)\nprint(next(squares))", "## Rest", "print(list(squares), random.random())",
        "## Folder", "os.makedirs('d', exist_ok=True)\nos.chdir('d')\nprint(os.path.basename(os.getcwd()))", "## Sum",
        "sum(numbers) * COUNT", "print(os.path.basename(os.getcwd()), random.random())",
    )  # fmt: skip
    suggestion = suggest(notebook)
    assert suggestion.steps == ("draw", "squares-and-rest", "folder", "sum")
    node = apply(notebook, suggestion)
    nbformat.write(node, tmp_path / "lab.ipynb")
    straight = copy.deepcopy(node)
    NotebookClient(straight, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    run = mlops_lab.load(tmp_path / "lab.ipynb").run(tracking=False)
    assert run.status == "done"
    for expected, seen in zip(straight.cells, run.notebook().cells, strict=True):
        if expected.cell_type == "code":
            assert [(o.output_type, o.get("text"), o.get("data")) for o in expected.outputs] == [
                (o.output_type, o.get("text"), o.get("data")) for o in seen.outputs
            ]
