"""Setup cells and imports, which every step runs again, and the files that they read: with real kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

import mlops_lab
from mlops_lab.runtime.replays import changed

from .rows import Row, alone
from .test_table import differences

READ = "def read(name):\n    with open(name) as file:\n        return file.read()\n"
WRITE = "def write(name, text):\n    with open(name, 'w') as file:\n        file.write(text)\n"
FILES = {"limit.txt": "1", "in/a.csv": "", "helper.py": "with open('limit.txt') as file:\n    limit = file.read()\n"}


def refused(name: str, setup: str, between: str, after: str) -> Row:
    return alone(name, ("setup", setup), ("step:a", between), ("step:b", after), expect="refused", says="ML207", files=FILES)


ROWS = [
    refused("a file", "with open('limit.txt') as file:\n    limit = file.read()", "with open('limit.txt', 'w') as file:\n    file.write('2')",
            "print(limit)"),
    refused("a file by a name in a function", READ + "limit = read('limit' + '.txt')", WRITE + "write('limit' + '.txt', '2')", "print(limit)"),
    refused("the names in a folder", "import glob\nnames = glob.glob('in/*.csv')", "open('in/b.csv', 'w').close()", "print(names)"),
    alone("a module that reads as it is imported", ("", "import helper"), ("step:a", WRITE + "write('limit.txt', '2')"),
          ("step:b", "print(helper.limit)"), expect="refused", says="limit.txt", files=FILES),
    alone("other names in a folder", ("setup", "import glob\nnames = glob.glob('in/*.csv')"), ("step:a", "open('in/b.txt', 'w').close()"),
          ("step:b", "print(names)"), files=FILES),
    alone("a file that was written above the setup cell", ("step:a", WRITE + "write('limit.txt', '2')"),
          ("setup", READ + "limit = read('limit.txt')"), ("step:b", "print(limit)"), ("step:c", "print(limit)"), files=FILES),
    alone("a file that the setup cell writes itself", ("setup", WRITE + READ + "write('made.txt', '1')\ntext = read('made.txt')"),
          ("step:a", "print(text)"), ("step:b", "print(read('made.txt'))")),
    alone("a folder that the setup cell makes", ("setup", "import os\nos.makedirs('out', exist_ok=True)"),
          ("step:a", "open('out/a.txt', 'w').close()"), ("step:b", "print(os.listdir('out'))")),
    alone("a file that a step only reads", ("setup", READ + "limit = read('limit.txt')"), ("step:a", "x = read('limit.txt')"),
          ("step:b", "print(limit, x)"), files=FILES),
    alone("a value that is another each time", ("setup", "import uuid\nname = uuid.uuid4()"), ("step:a", "mine = name"),
          ("step:b", "print(mine == name)"), expect="refused", says="ML208 'name'"),
    alone("a table that is another each time, in an instance", ("setup", "import numpy as np, pandas as pd\nclass Data:\n    def __init__(self):\n        self.lock = __import__('threading').Lock()\n"
          "        self.table = pd.DataFrame({'x': np.random.rand(4), 'day': 'mo'}, index=pd.date_range('2024', periods=4))\ndata = Data()"), ("step:a", "mine = data.table.x.sum()"),
          ("step:b", "print(data.table.x.sum() == mine)"), expect="refused", says="ML208 'data'"),
    alone("a value that is another each time and that a function reads", ("setup", "import uuid\nname = uuid.uuid4()"), ("setup", "def named(text):\n    return f'{text} {name}'"),
          ("step:a", "mine = named('x')"), ("step:b", "print(mine == named('x'))"), expect="refused", says="ML208 'name'"),
    alone("tables and instances that are the same each time", ("setup", "import numpy as np, pandas as pd, types\nfrom sklearn.linear_model import LinearRegression\n"
          "table = pd.DataFrame({'x': np.arange(4.0), 's': ['a', None, 'b', 'a'], 'c': pd.Categorical(['u', 'v', 'u', None])}).set_index(['s', 'c'])\n"
          "held = types.SimpleNamespace(model=LinearRegression().fit(table, table.x), rows=[table.x, object()], names={'b', 'a'}, itself=[])\nheld.itself.append(held)"),
          ("step:a", "print(held.model.coef_.round(3), len(table))"), ("step:b", "print(held.model.coef_.round(3), table.x.sum())")),
    alone("draws without a seed that an opaque step hands on", ("setup", "import numpy as np\ndrawn = [np.random.rand(3)]"), ("step:a", "n = len(drawn)\nexec('m = drawn')"),
          ("step:b", "exec('print(m[0] is drawn[0], drawn[0] == m[0])')")),
    alone("draws with a seed", ("setup", "import numpy as np, random\nnp.random.seed(1)\ndrawn = [np.random.rand(3), random.Random(1).random()]\nnames = {'b', 'a'}"),
          ("step:a", "mine = drawn[1]\nprint(drawn, sorted(names))"), ("step:b", "print(drawn, sorted(names), mine == drawn[1])")),
    alone("a value that another setup cell binds anew", ("setup", "mode = 'x'"), ("step:a", "print(mode)"), ("setup", "mode += 'y'"),
          ("step:b", "print(mode)"), ("step:c", "print(mode)")),
    alone("a value that is another each time, read by one step", ("setup", "import time\nbegan = time.time()"), ("step:a", "x = 1"),
          ("step:b", "print(x, began > 0)")),
    alone("a value that is another each time and that a step binds anew", ("setup", "import uuid\nname = uuid.uuid4()"), ("step:a", "name = 'one'"),
          ("step:b", "print(name)"), ("step:c", "print(name)")),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_what_replayed_cells_read_is_what_they_read_from_top_to_bottom(row: Row, tmp_path: Path) -> None:
    assert differences([row], tmp_path) == {}


@pytest.mark.parametrize(
    "cell",
    [("setup", READ + "limit = read('limit' + '.txt')"), ("", "import helper\nlimit = helper.limit")],
    ids=["setup", "import"],
)
def test_a_changed_file_that_a_replayed_cell_reads_is_a_reason_to_run_again(notebook, tmp_path, cell):
    for name in ("helper.py", "limit.txt"):
        (tmp_path / name).write_text(FILES[name])
    cells = [("step:a", "x = 1"), ("step:b", "print(limit)" if cell[0] else "print(helper.limit)")]
    path = notebook([cell, *cells] if cell[0] else [("", "import helper"), *cells])

    def statuses() -> dict[str, str]:
        run = mlops_lab.load(path).run(tracking=False)
        return {name: step.status for name, step in run.steps.items()}

    statuses()
    assert set(statuses().values()) == {"cached"}
    (tmp_path / "limit.txt").write_text("2")
    assert statuses()["b"] == "done"


def test_the_message_names_the_cell_the_file_and_both_steps():
    writers = [("early", 1, {"a": "x"}), ("late", 9, {"a": "x", "in/": "+b.csv"})]
    said = changed("use", {"a": 3}, {"a": "x"}, writers)
    assert all(word in said for word in ("ML207", "cell 3", "'use'", "reads a,", "'late'"))
    assert changed("use", {"a": 9}, {"a": "x"}, writers) == ""
    assert changed("use", {"in/": 3}, {"in/": r"?.*\.txt/c.txt"}, writers) == ""
    assert changed("use", {"in/": 3}, {"in/": r"?.*\.csv/c.csv"}, writers) != ""
