"""What a step replays of the cells above it."""

from __future__ import annotations

import pytest
from conftest import notebook_node

from mlops_lab.notebook import Cell, from_node
from mlops_lab.pipeline import build
from mlops_lab.plan import Plan, make_plan
from mlops_lab.prelude import import_names, items_in
from mlops_lab.syntax import parse


def cell(source: str) -> Cell:
    tree, issue = parse(source)
    assert issue is None
    return Cell(0, 1, "a", source, (), tree)


def plan(*cells: tuple[str, str]) -> Plan:
    return make_plan(build(from_node(notebook_node(cells), "nb.ipynb")))


def prelude(step: str, *cells: tuple[str, str]) -> list[str]:
    return [item.code for item in plan(*cells)[step].prelude]


ITEMS = [
    ("an import", "import a.b as c, d", "c d", True),
    ("a from-import", "from a import b", "b", True),
    ("a star import", "from a import *", "*", True),
    ("a try around imports", "try:\n    import a as j\nexcept ImportError:\n    import b as j", "j", True),
    (
        "a try that notes what is there",
        "try:\n    import a\n    HAS = True\nexcept ImportError:\n    HAS = False",
        "a HAS",
        True,
    ),
    ("a style", "plt.style.use('ggplot')", "", False),
    ("an option", "pd.set_option('display.max_rows', 5)", "", False),
    ("warnings", "warnings.filterwarnings('ignore')", "", False),
    ("a theme", "sns.set_theme()", "", False),
    ("equivalencies of units", "u.set_enabled_equivalencies(u.spectral())", "", False),
    ("defaults of control", "ct.set_defaults('statesp', latex_repr_type='separate')", "", False),
    ("rcParams", "plt.rcParams['figure.dpi'] = 120", "", False),
    ("an option by attribute", "pd.options.display.max_rows = 8", "", False),
    ("the environment", "os.environ['A'] = '1'", "", False),
    ("the path", "sys.path.append('lib')", "", False),
    ("a magic", "%matplotlib inline", "", False),
    ("the way to show plots", "hv.extension('bokeh', 'matplotlib', logo=False)", "", False),
    ("defaults of plots", "opts.defaults(opts.Curve(width=600))", "", False),
    ("plots in the notebook", "output_notebook()", "", False),
    ("the precision of JAX", "jax.config.update('jax_enable_x64', True)", "", False),
]


@pytest.mark.parametrize(("source", "binds", "is_import"), [pytest.param(*rest, id=n) for n, *rest in ITEMS])
def test_imports_and_configuration_are_items_to_replay(source: str, binds: str, is_import: bool) -> None:
    (item,) = items_in(cell(source))
    assert item.binds == set(binds.split())
    assert item.is_import is is_import


@pytest.mark.parametrize(
    "source",
    [
        "x = 1",
        "df = pd.read_csv('a.csv')",
        "np.random.seed(0)",
        "print(1)",
        "try:\n    import a\nexcept ImportError:\n    download()",
        "if x:\n    import a",
        "!pip install a",
        "%cd data",
        "plt.plot([1])",
    ],
)
def test_other_statements_are_not(source: str) -> None:
    assert items_in(cell(source)) == []


def test_a_name_is_an_import_only_if_nothing_else_binds_it() -> None:
    cells = [cell("import a, b, c, d"), cell("b = 1"), cell("def f():\n    global c\n    c = 1"), cell("for d in []: pass")]
    assert import_names(cells) == {"a"}


PRELUDES = [
    ("an import that is read", [("step:a", "import m, n\nx = 1"), ("step:b", "m.f()")], ["import m, n"]),
    ("no import that is not read", [("step:a", "import m\nm.f()"), ("step:b", "y = 1")], []),
    ("an import that nothing reads is there for its effect", [("step:a", "import m"), ("step:b", "y = 1")], ["import m"]),
    ("an import that a called function reads",
     [("step:a", "import m\ndef f(): return m.x"), ("step:b", "f()")], ["import m"]),
    ("a star import", [("step:a", "from m import *"), ("step:b", "y = 1")], ["from m import *"]),
    ("configuration of a module that is read",
     [("step:a", "import pandas as pd\npd.set_option('a', 1)"), ("step:b", "pd.x")],
     ["import pandas as pd", "pd.set_option('a', 1)"]),
    ("configuration in notebook order",
     [("step:a", "import p as plt\nplt.style.use('a')\nplt.style.use('b')"), ("step:b", "plt.plot()")],
     ["import p as plt", "plt.style.use('a')", "plt.style.use('b')"]),
    ("configuration that needs a variable is not replayed",
     [("step:a", "import pandas as pd\nn = f()\npd.set_option('a', n)"), ("step:b", "pd.x")], ["import pandas as pd"]),
    ("an import of a later cell is not replayed", [("step:b", "y = 1"), ("step:a", "import m\nm.f()")], []),
    ("an import inside a step's own cells is not replayed", [("step:b", "import m\nm.f()")], []),
    ("an import of a setup cell is replayed with its cell", [("setup", "import m"), ("step:b", "m.f()")], []),
    ("an import of a skipped cell is not replayed", [("skip", "import m"), ("step:b", "m.f()")], []),
    ("an import in the implicit step", [("", "import m"), ("step:b", "m.f()")], ["import m"]),
    ("an import in the parameters cell", [("parameters", "import m\nx = 1"), ("step:b", "m.f(x)")], ["import m"]),
    ("a fallback import", [("step:a", "try:\n    import u as j\nexcept ImportError:\n    import j"), ("step:b", "j.x")],
     ["try:\n    import u as j\nexcept ImportError:\n    import j"]),
    ("everything, for code that can read anything",
     [("step:a", "import m\ndef f(): return m.x\nm.g()"), ("step:b", "f()\nexec(code)")], ["import m"]),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "expected"), [pytest.param(c, e, id=n) for n, c, e in PRELUDES])
def test_a_step_replays_what_it_needs(cells: list[tuple[str, str]], expected: list[str]) -> None:
    assert prelude("b", *cells) == expected


def test_an_imported_name_is_never_loaded_as_a_value() -> None:
    found = plan(("step:a", "import m\nx = m.f()"), ("step:b", "m.g(x)"))
    assert found["b"].reads == {"x"}
    assert found["a"].keep == {"x"}


def test_a_module_name_that_is_bound_otherwise_too_is_a_value() -> None:
    found = plan(("step:a", "import m\nm = m.f()"), ("step:b", "m.g()"))
    assert "m" in (found["b"].reads or ())


def test_imports_are_known_by_name_for_functions_that_turn_out_to_need_them() -> None:
    found = plan(("step:a", "import m\nm.f()"), ("step:b", "y = 1"))
    assert found["b"].imports == {"m": ("import m",)}
