"""The package as a whole: its public names, what importing it costs, what a broken example would hide."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import mlops_lab
from mlops_lab.targets import TARGETS, target

ROOT = Path(__file__).parent.parent
HEAVY = {"papermill", "mlflow", "kfp", "sklearn", "pandas", "numpy", "IPython", "nbconvert"}


def test_the_public_names_are_these():
    assert sorted(mlops_lab.__all__) == ["MlopsLabError", "Pipeline", "Run", "__version__", "find_run", "load"]
    assert all(hasattr(mlops_lab, name) for name in mlops_lab.__all__)
    with pytest.raises(AttributeError):
        _ = mlops_lab.no_such_name


@pytest.mark.parametrize(
    "module", ["mlops_lab", "mlops_lab.cli", "mlops_lab.api", "mlops_lab.targets.local", "mlops_lab.tracking"]
)
def test_importing_does_not_import_heavy_packages(module):
    code = f"import sys, json, {module}; print(json.dumps([m for m in {sorted(HEAVY)!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.ipynb")), ids=lambda p: p.stem)
def test_the_examples_have_no_diagnostics(path):
    pipeline = mlops_lab.load(path)
    assert pipeline.diagnostics == ()
    assert len(pipeline.steps) > 4


def test_the_two_models_of_the_example_are_trained_in_parallel():
    plan = mlops_lab.load(ROOT / "examples" / "heart-disease.ipynb").plan
    assert "train-forest" not in plan.upstream(["train-logistic"])
    assert "train-logistic" not in plan.upstream(["train-forest"])


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_has_a_run_function(name):
    assert callable(target(name))


def test_an_unknown_target_is_refused_with_the_known_ones():
    with pytest.raises(mlops_lab.MlopsLabError, match="local"):
        target("lokal")


def test_the_data_of_the_examples_is_what_their_scripts_make(tmp_path):
    for script in sorted((ROOT / "examples" / "data").glob("make_*.py")):
        made = script.with_name(script.stem.removeprefix("make_").replace("_", "-") + ".csv")
        before = made.read_bytes()
        subprocess.run([sys.executable, str(script)], check=True, cwd=script.parent, capture_output=True)
        assert made.read_bytes() == before, script.name
