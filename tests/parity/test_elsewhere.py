"""What C code, IPython and packages keep for themselves, set in one step and looked at in a later one, with real kernels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .rows import Row, alone
from .test_table import differences

ROWS = [
    alone(
        "the size of a pickle, in which names of the code are there once",
        (
            "step:a",
            "import pickle\nfrom sklearn.ensemble import RandomForestClassifier\nclass Holder: pass\nheld = Holder()\nheld.name = 'name'\n"
            "text = ''.join(['na', 'me'])\npair = ['name', text]\n"
            "model = RandomForestClassifier(n_estimators=2, random_state=0).fit([[0], [1], [2]], [0, 1, 1])",
        ),
        ("step:b", "print(len(pickle.dumps(model)), len(pickle.dumps(vars(held))), len(pickle.dumps(pair)))\npair.append('name')"),
        ("step:c", "print(len(pickle.dumps([pair, model.n_estimators])))"),
    ),
    alone(
        "a limit of csv, contexts and flags of decimal",
        ("step:a", "import csv, decimal, io\nfrom csv import field_size_limit\nexact = decimal.getcontext().flags[decimal.Inexact]"),
        (
            "step:b",
            "def f(n):\n    field_size_limit(n)\n    decimal.DefaultContext.prec = n\n    return decimal.Decimal(1) / 3\nf(10)",
        ),
        (
            "step:c",
            "import threading\nt = threading.Thread(target=lambda: print(decimal.getcontext().prec))\nt.start()\nt.join()\n"
            "print(exact, decimal.getcontext().flags[decimal.Inexact])\n"
            "try:\n    next(csv.reader(io.StringIO('a' * 20)))\nexcept csv.Error as error:\n    print(error)",
        ),
    ),
    alone(
        "draws of polars, seeded in a function",
        (
            "step:a",
            "import polars as pl\nfrom polars import set_random_seed\ndef seed(n): set_random_seed(n)\nseed(3)\n"
            "print(pl.Series(range(1000)).sample(2).to_list())",
        ),
        ("step:b", "n = 5"),
        ("step:c", "print(pl.DataFrame({'a': range(1000)}).select(pl.col('a').sample(2))['a'].to_list())"),
        ("step:d", "print(pl.Series(range(n)).shuffle().to_list(), pl.Series(range(1000)).sample(2, seed=1).to_list())"),
        ("step:e", "print(pl.Series(range(1000)).sample(2).to_list())"),
    ),
    alone(
        "draws of polars, seeded in a setup cell",
        ("setup", "import polars as pl\npl.set_random_seed(3)"),
        ("step:a", "print(pl.Series(range(1000)).sample(2).to_list())"),
        ("step:b", "print(pl.Series(range(1000)).sample(2).to_list())"),
    ),
    alone(
        "settings of IPython",
        (
            "step:a",
            "def run(*line): get_ipython().run_line_magic(*line)\nrun('automagic', 'off')\nrun('autoawait', 'off')\nrun('unalias', 'ls')\n"
            "run('alias_magic', 'pp pprint')\nrun('alias', 'say echo said')\nrun('config', 'InlineBackend.close_figures = False')\n"
            "get_ipython().show_rewritten_input = False\nget_ipython().display_formatter.formatters['text/html'].enabled = False",
        ),
        ("step:b", "import pandas as pd\npd.DataFrame({'u': [1]})"),
        (
            "step:c",
            "from matplotlib_inline.config import InlineBackend\nip = get_ipython()\n"
            "print(ip.automagic, ip.autoawait, ip.show_rewritten_input, InlineBackend.instance(parent=ip).close_figures)\n"
            "print('ls' in dict(ip.alias_manager.aliases))\n%say so\n%pp",
        ),
        ("step:d", "ip.automagic = ip.show_rewritten_input = True"),
        ("step:e", "print(ip.automagic, ip.autoawait, ip.show_rewritten_input)"),
    ),
    alone(
        "functions of packages that show a type",
        (
            "step:a",
            "import html\nshows = get_ipython().display_formatter\nold = shows.formatters['text/html'].for_type(str, html.escape)\n"
            "old = shows.ipython_display_formatter.for_type(int, lambda n: print('shown', n))",
        ),
        ("step:b", "'<b>'"),
        ("step:c", "5"),
    ),
    alone(
        "what is called at the end of the kernel",
        (
            "step:a",
            "import atexit, weakref\nfrom atexit import register\nimport helper\nclass G: pass\ng = G()\n"
            "gone = weakref.finalize(g, lambda: open('d.txt', 'w').close())\ndel gone\n"
            "@register\ndef one():\n    open('a.txt', 'w').close()\n    print('bye')\natexit.register(open, 'b.txt', 'w')",
        ),
        ("step:b", "import glob\nimport helper"),
        ("step:c", "print(glob.glob('*.txt'))"),
        files={"helper.py": "import atexit\natexit.register(open, 'c.txt', 'w')\n"},
    ),
    alone(
        "entries of tables and attributes of objects of packages",
        (
            "step:a",
            "import mimetypes, jinja2, networkx as nx\nimport matplotlib.style as style\ndef set_up(v):\n    del mimetypes.types_map['.html']\n"
            "    jinja2.defaults.DEFAULT_FILTERS['loud'] = str.upper\n    nx.config.fallback_to_nx = v\n"
            "    nx.config.warnings_to_ignore.add('cache')\n    style.library.pop('ggplot')\n    style.library['mine'] = {'axes.grid': v}\nset_up(True)",
        ),
        ("step:b", "n = 1"),
        (
            "step:c",
            "print('.html' in mimetypes.types_map, jinja2.Template('{{ \"a\" | loud }}').render(), nx.config, 'ggplot' in style.library)\n"
            "print(style.library['mine'])",
        ),
        ("step:d", "mimetypes.types_map['.html'] = 'text/html'\nnx.config.warnings_to_ignore.clear()\nstyle.library['mine'] = {}"),
        ("step:e", "print(mimetypes.types_map['.html'], nx.config, style.library['mine'], n)"),
    ),
    alone(
        "texts and numbers in several places",
        (
            "step:a",
            "class C: pass\nbest, num = 'some text ' * 2, 12345.5\nrows = ['a b', best]\nd = {'k': num, 'm': [num, 10**20]}\n"
            "big = d['m'][1]\nc = C()\nc.name = best\nt = (best, num, 'a b')",
        ),
        ("step:b", "rows.append('x y' * 2)"),
        (
            "step:c",
            "print([r is best for r in rows], d['k'] is num, d['m'][0] is num, d['m'][1] is big, c.name is rows[1], t[0] is best)\n"
            "rows[1] = ' '.join(['some text', 'some text '])",
        ),
        ("step:d", "print([r is best for r in rows], rows[1] == best, c.name is best, c.name is rows[1], t[2] is rows[0])"),
    ),
    *[
        alone(f"the id of an object in {what}", ("step:a", f"x = (1, 2)\nkept = {code}\nn = 1"), ("step:b", "print(n)"),
              ("step:c", "print(kept)"), expect="refused", says="ML201 kept id()")
        for what, code in [("a dictionary", "{id(x): 'x'}"), ("a variable", "id(x)"), ("a list of sets", "[{id(x)}]")]
    ],
    alone(
        "what a package keeps where nothing shows it, but for a function",
        (
            "step:a",
            "import sys\nsys.path.insert(0, 'site-packages')\nimport hiding\nfrom hiding import set_mode\ndef up(n): hiding.set_level(n)\nup(3)\nset_mode('fast')",
        ),
        ("step:b", "print(hiding.get_level(), hiding.mode())"),
        ("step:c", "hiding.reset()\nn = 1"),
        ("step:d", "print(hiding.get_level(), hiding.mode(), n)"),
        files={
            "site-packages/hiding.py": "def _make(held):\n    def set_to(value): held[0] = value\n    def get(): return held[0]\n    return set_to, get\n"
            "set_level, get_level = _make([1])\nset_mode, mode = _make(['slow'])\ndef reset():\n    set_level(1)\n"
        },
    ),
    alone(
        "tags of YAML",
        (
            "step:a",
            "import yaml\nclass P: pass\ndef up():\n    yaml.add_constructor('!p', lambda loader, node: P(), Loader=yaml.SafeLoader)\n"
            "    yaml.SafeDumper.add_representer(P, lambda dumper, p: dumper.represent_scalar('!p', 'x'))\nup()",
        ),
        ("step:b", "print(type(yaml.safe_load('!p x')), yaml.safe_dump(P()), '!p' in yaml.constructor.SafeConstructor.yaml_constructors)"),
    ),
    *[
        alone(f"a formatter of a package, {what}", ("step:a", f"from rich import pretty\n{code}"), ("step:b", "n = 1"),
              ("step:c", "{'a': n}"), expect=expect, says=says)
        for what, code, expect, says in [
            ("installed at the top level", "pretty.install()", "equal", ""),
            ("installed in a function", "def f(): pretty.install()\nf()", "refused", "ML201 formatter"),
        ]
    ],
    *[
        alone(f"the connection of duckdb itself, {what}",
              (tags, "import duckdb\nduckdb.sql('create table t as select 1 a')" + own),
              ("step:b", more), ("step:c", "print(duckdb.sql('select sum(a) from t').fetchall())"), expect=expect, says=says)
        for what, tags, own, more, expect, says in [
            ("with a table", "step:a", "", "n = 1", "refused", "ML201 DuckDB"),
            ("with a table that is dropped", "step:a", "\nduckdb.sql('drop table t')\nt = duckdb.sql('select 5 a').df()", "n = 1", "equal", ""),
            ("with a table of a setup cell", "setup", "", "print(duckdb.sql('from t').fetchall())", "equal", ""),
            ("with a table of a setup cell that a step fills", "setup", "", "duckdb.sql('insert into t values (5)')",
             "refused", "ML201 DuckDB"),
        ]
    ],
    alone(
        "a stream that is put back",
        ("step:a", "import sys, io\nkept = sys.stdout\nsys.stdout = io.StringIO()\nprint('a')\nsaid = sys.stdout.getvalue()\nsys.stdout = kept"),
        ("step:b", "print('b', said)"),
    ),
    alone(
        "a stream that is not put back",
        ("step:a", "import sys, io\nsys.stdout = io.StringIO()"),
        ("step:b", "print('b')"),
        expect="refused",
        says="ML201 sys.stdout",
    ),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_pipeline_gives_what_the_notebook_gives(row: Row, tmp_path: Path) -> None:
    for package in ("polars", "networkx", "jinja2", "yaml", "rich"):
        if any(re.search(rf"\b{package}\b", source) for _, source in row.cells):
            pytest.importorskip(package)
    assert differences([row], tmp_path) == {}
