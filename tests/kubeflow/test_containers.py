"""Steps in containers that are not as this machine is: another Python, a user that the image does not know."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import notebook_node

from mlops_lab.notebook import from_node
from mlops_lab.pipeline import build
from mlops_lab.plan import make_plan
from mlops_lab.targets.kubeflow.compile import compile_pipeline


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can become a user whom the system doesn't know")
def test_a_user_whom_the_image_does_not_know_gets_a_home():
    code = (
        "import os; from pathlib import Path; from mlops_lab.runtime import remote; os.environ.pop('HOME', None); "
        "os.setuid(54321); remote._have_a_home(); print(Path.home())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip(), done.stderr


def test_an_image_with_an_old_python_is_told_in_one_line():
    plan = make_plan(build(from_node(notebook_node([("step:a", "x = 1")]), "nb.ipynb")))
    source = compile_pipeline(plan).spec["deploymentSpec"]["executors"]["exec-a"]["container"]["command"][-1]
    own = source[source.index("def _run(") :]  # what is above needs KFP's SDK
    code = f"import sys\nsys.version_info = (3, 9, 18)\n{own}\n_run({{}})\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "This image has Python 3.9, and steps need 3.11 or newer: name another image (mlops_lab.image).\n"


def test_a_generator_that_comes_in_with_a_module_was_not_drawn_from():
    code = """
import sys
from mlops_lab.runtime import ambient
from mlops_lab.runtime.generators import GeneratorUse
from mlops_lab.runtime.states import StateUse
assert "numpy.random" not in sys.modules
use = StateUse({"step": "start", "seeded": True, "modules": [], "own_configuration": [], "sources": []}, {}, GeneratorUse(), None)
use.look([])
import numpy.random
class Nowhere:
    def save(self, names, state, shared):
        return "bundle", 0
def left():
    outputs = {}
    use.store(outputs, Nowhere())
    return [name for name in outputs if ambient.STATES[name].random]
first = left()
numpy.random.rand()
print(first, left())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[] ['@numpy.random']", done.stderr
