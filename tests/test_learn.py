"""What a run showed becomes settings, and the settings edges, until a fixed graph needs no refusal."""

from __future__ import annotations

import json

import nbformat as nbf
import pytest
from conftest import notebook_node

import mlops_lab
from mlops_lab.learn import learn, lessons, results_of
from mlops_lab.notebook import read

CASES = {
    "a change through a bound method": (
        [("step:a", "rows = [1]"), ("step:b", "done = list(map(rows.append, [2, 3]))"), ("step:c", "print(rows)")],
        {"b": {"changes": ["rows"]}},
    ),
    "draws through a library": (
        [
            ("step:a", "import random\nrandom.seed(1)"),
            ("step:b", "from statistics import NormalDist\nprint(NormalDist().samples(2))"),
            ("step:c", "print(random.random())"),
        ],
        {"b": {"changes": ["@random"]}},
    ),
    "a function in a dict": (
        [
            ("step:a", "limit = 3\nhandlers = {}\nhandlers.setdefault('f', lambda x: x > limit)"),
            ("step:b", "limit = 4"),
            ("step:c", "print(handlers['f'](4))"),
        ],
        {"c": {"uses": ["limit"]}},
    ),
    "an option set behind a function": (
        [
            ("step:a", "import numpy as np\nset_up = [np.set_printoptions]\nvalues = np.arange(3) / 7"),
            ("step:b", "set_up[0](precision=2)"),
            ("step:c", "print(values)"),
        ],
        {"b": {"changes": ["@numpy.print"]}},
    ),
    "files behind names": (
        [
            ("step:a", "import os\nnames = {'made': 'made.txt', 'log': 'log.txt'}\nuse = [open, os.listdir]"),
            ("step:b", "print('nb.ipynb' in use[1]())"),
            ("step:c", "with use[0](names['made'], 'w') as file:\n    size = file.write('1')"),
            ("step:d", "with use[0](names['made']) as file:\n    print(file.read())"),
        ],
        {
            "b": {"uses": ["file:made.txt"]},
            "c": {"changes": ["file:made.txt"]},
            "d": {"uses": ["file:made.txt"]},
        },
    ),
    "what the code shows is not written down": (
        [("step:a", "rows = [1]"), ("step:b", "rows.append(2)"), ("step:c", "print(rows)")],
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_run_teaches_what_a_fixed_graph_lacks(name, tmp_path):
    cells, expected = CASES[name]
    path = tmp_path / "nb.ipynb"
    node = notebook_node(cells)
    nbf.write(node, path)
    if expected and name != "files behind names":  # a file that isn't there yet is an error of the step's own
        refused = mlops_lab.load(path).run(tracking=False, cache=False, fixed_graph=True)
        assert refused.status == "failed"
        assert {s.state.failure.kind for s in refused.steps.values() if s.state.failure} == {"refused"}
    before = path.read_text()
    # One at a time: where `b` lists the folder only once `c` and `d` are done with the new file, the run is refused.
    run = mlops_lab.load(path).run(tracking=False, workers=1)
    found = learn(path, run.folder)
    assert bool(found) == bool(expected)
    written = json.loads(path.read_text())
    assert written["metadata"].pop("mlops_lab", {"steps": {}})["steps"] == expected
    assert written == json.loads(before)
    again = mlops_lab.load(path).run(tracking=False, cache=False, fixed_graph=True)
    assert again.status == "done"
    shown = [[o.get("text") for o in c.outputs] for c in again.notebook().cells]
    assert shown == [[o.get("text") for o in c.outputs] for c in run.notebook().cells]
    assert not lessons(read(path), results_of(again.folder))
