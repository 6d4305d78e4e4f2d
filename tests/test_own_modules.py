"""Modules that the user has written and that lie elsewhere than beside the notebook, and settings in its folder."""

from __future__ import annotations

import pytest

import mlops_lab
from mlops_lab.verify import verify

MODULE = """
count, table = 0, {}
class Mode:
    name = "slow"
def bump():
    global count
    count += RATE
    table[count] = "x"
    Mode.name = "fast"
    return count
"""
SHOW = "print(elsewhere.count, elsewhere.table, elsewhere.Mode.name)"


def said(path):
    """How each step went, and all that its cells have printed."""
    run = mlops_lab.load(path).run(tracking=False)
    assert run.status == "done", run
    printed = ["".join(o.get("text", "") for o in cell.outputs).strip() for cell in run.notebook().cells]
    return [step.status for step in run.steps.values()], list(filter(None, printed))


@pytest.fixture(params=["a folder that the notebook names", "PYTHONPATH"])
def elsewhere(request, tmp_path_factory, monkeypatch):
    """The folder of a module, and what a notebook needs to import it."""
    folder = tmp_path_factory.mktemp("src")
    if request.param == "PYTHONPATH":
        monkeypatch.setenv("PYTHONPATH", str(folder))
        return folder, "import elsewhere"
    return folder, f"import sys\nsys.path.insert(0, {str(folder)!r})\nimport elsewhere"


def test_what_its_functions_keep_in_it_passes_on_and_a_change_of_it_runs_again(notebook, elsewhere):
    folder, imports = elsewhere
    (folder / "elsewhere.py").write_text(MODULE.replace("RATE", "1"))
    cells = [("step:a", "x = elsewhere.bump()"), ("step:b", "y = [elsewhere.bump() for i in range(2)]\n" + SHOW)]
    cells += [("step:c", "elsewhere.table['k'] = 5\nelsewhere.Mode.name += '!'"), ("step:d", SHOW)]
    path = notebook([("setup", imports), *cells])
    printed = ["3 {1: 'x', 2: 'x', 3: 'x'} fast", "3 {1: 'x', 2: 'x', 3: 'x', 'k': 5} fast!"]
    assert said(path) == (["done"] * 4, printed)
    assert said(path) == (["cached"] * 4, printed)
    (folder / "elsewhere.py").write_text(MODULE.replace("RATE", "10"))
    printed = ["30 {10: 'x', 20: 'x', 30: 'x'} fast", "30 {10: 'x', 20: 'x', 30: 'x', 'k': 5} fast!"]
    assert said(path) == (["done"] * 4, printed)


def test_settings_in_the_notebooks_folder_hold_for_its_imports(notebook, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "matplotlibrc").write_text("figure.figsize: 2, 3\n")
    show = "print(plt.rcParams['figure.figsize'])"
    path = notebook([("step:a", "import matplotlib.pyplot as plt\n" + show), ("step:b", show)])
    assert said(path) == (["done", "done"], ["[2.0, 3.0]"] * 2)
    assert said(path) == (["cached", "cached"], ["[2.0, 3.0]"] * 2)
    (tmp_path / "matplotlibrc").write_text("figure.figsize: 4, 5\n")
    assert said(path) == (["done", "done"], ["[4.0, 5.0]"] * 2)


def test_what_ipythons_startup_files_bind_passes_on(notebook, tmp_path, monkeypatch):
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    (startup / "00-first.py").write_text("found = [K := 1]\ndef double(): return 2 * K")
    cells = [
        ("step:a", "found.append(2)"),
        ("step:b", "print(found, double())\nfound.append(3)"),
        ("step:c", "print(found)"),
    ]
    path = notebook(cells)
    assert said(path) == (["done"] * 3, ["[1, 2] 2", "[1, 2, 3]"])
    assert verify(path).status == "equal"
    (startup / "00-first.py").write_text("found = [0]\nK = 1\ndef double(): return 3 * K")
    assert said(path) == (["done"] * 3, ["[0, 2] 3", "[0, 2, 3]"])
