"""State that no variable holds passes from step to step: of modules beside the notebook, of packages, of shown warnings."""

from __future__ import annotations

from pathlib import Path

import nbformat as nbf
import pytest
from conftest import notebook_node

import mlops_lab
from mlops_lab.verify import verify

HELPER = """
import collections, threading
LOCK = threading.Lock()
CACHE = {}
COUNT = 0
BY = collections.defaultdict(list)
class Thing:
    made = 0
    def __init__(self):
        Thing.made += 1
def bump():
    global COUNT
    COUNT += 1
    return COUNT
def put(key, value):
    CACHE[key] = value
    BY[key].append(value)
"""
NOISY = "import warnings\ndef warn(): warnings.warn('careful')\n"

NOTEBOOKS = {
    "a module that counts and remembers": [
        ("step:a", "import helper\nfrom helper import CACHE\nx = 1"),
        ("step:b", "n = helper.bump()\nhelper.put('a', [1])\nconfig = helper.CACHE\nt = helper.Thing()"),
        ("step:c", "config['b'] = 2\nprint(helper.COUNT, helper.CACHE, CACHE is helper.CACHE, config is CACHE, dict(helper.BY))"),
        ("step:d", "import helper as h\nprint(h.bump(), h.CACHE, h.Thing.made, x)"),
    ],
    "warnings that Python shows once": [
        ("step:a", "import noisy, warnings\nnoisy.warn()\nx = 1"),
        ("step:b", "noisy.warn()\nnoisy.warn()\nprint(x)"),
        ("step:c", "def f():\n    warnings.warn('own')\nf()\nf()"),
        ("step:d", "f()\nnoisy.warn()"),
        ("step:e", "warnings.simplefilter('always')\nnoisy.warn()\nnoisy.warn()"),
        ("step:f", "noisy.warn()\nf()\nf()"),
    ],
    "functions put into packages": [
        ("step:a", "import collections, json\nlimit = 2\ndef top(self):\n    return self.most_common(limit)\n"
                   "collections.Counter.top = top\nimport helper"),
        ("step:b", "limit = 1\njson.odd = lambda: 'odd'\nhelper.Thing.hi = lambda self: 'hi'"),
        ("step:c", "print(json.odd(), helper.Thing().hi())"),
    ],
    "what is registered with packages, and the last error": [
        ("step:a", "import matplotlib as mpl, matplotlib.pyplot as plt, matplotlib.units as mu, numpy as np\ncolours, seen = ['red'], []\n"
                   "mpl.colormaps.register(mpl.colors.ListedColormap(colours, name='mine'))\nclass Angle: pass\n"
                   "class Degrees(mu.ConversionInterface): pass\nmu.registry[Angle] = Degrees()\ndef note(kind, flag): seen.append(kind)\n"
                   "np.seterrcall(note)\nnp.seterr(divide='call')\nplt.ion()"),
        ("step:b raises-exception", "plt.rcParams['image.cmap'] = 'mine'\nnp.array([1.0]) / 0\nloud = plt.isinteractive()\n{}['b']"),
        ("step:c", "import sys\nprint(plt.get_cmap().name, seen, loud, type(mu.registry[Angle]) is Degrees, sys.last_type, sys.last_value)"),
        ("step:d raises-exception", "%tb"),
    ],
    "a submodule that another step imports": [
        ("step:a", "import xml"),
        ("step:b", "from xml.dom import minidom\nprint(minidom.parseString('<a/>').documentElement.tagName)"),
        ("step:c", "print(xml.dom.minidom.parseString('<b/>').documentElement.tagName)"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_state_passes_from_step_to_step(name: str, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "noisy.py").write_text(NOISY)
    nbf.write(notebook_node(NOTEBOOKS[name]), tmp_path / "nb.ipynb")
    verdict = verify(tmp_path / "nb.ipynb")
    assert verdict.status == "equal", (verdict.message, verdict.differences, verdict.different_variables)


def test_the_state_of_a_module_teaches_the_graph(tmp_path: Path) -> None:
    from mlops_lab.learn import learn

    (tmp_path / "helper.py").write_text(HELPER)
    path = tmp_path / "nb.ipynb"
    nbf.write(
        notebook_node([("step:a", "import helper\nhelper.bump()"), ("step:b", "import helper\nprint(helper.COUNT)")]), path
    )
    run = mlops_lab.load(path).run(tracking=False)
    assert [str(lesson) for lesson in learn(path, run.folder)] == ["step 'a' changes '@helper.COUNT', which concerns b"]
    again = mlops_lab.load(path).run(tracking=False, cache=False, fixed_graph=True)
    assert again.status == "done"
    assert again.notebook().cells[1].outputs[0].text == "1\n"


def test_functions_of_an_unchanged_file_may_be_reloaded_beside_other_steps(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("def f(): return 1\n")
    cells = [
        ("step:a", "import helper\nx = helper.f()"),
        ("step:b", "import importlib, helper\nimportlib.reload(helper)\ny = helper.f()"),
        ("step:c", "z = [1]"),
    ]
    nbf.write(notebook_node(cells), tmp_path / "nb.ipynb")
    run = mlops_lab.load(tmp_path / "nb.ipynb").run(tracking=False, cache=False, fixed_graph=True)
    assert run.status == "done"
