"""What compiling for Kubeflow costs, and what a step of the compiled pipeline costs where KFP runs it on this machine.

    python benchmarks/compile.py [--sizes N ...] [--run STEPS] [--kale PYTHON]

The notebooks are written here: a chain of steps, two cells each, with tags that Kale reads too. Compiling is timed in processor
seconds, from the notebook's file to the YAML, without imports, and with them from the start of the process ("in all"); bytes
are those of the YAML. `--run` runs a pipeline of so many steps by `kfp.local` (SubprocessRunner, no virtual environment, and
nothing installed by the steps) and gives wall seconds a step. `--kale` names a Python that has kubeflow-kale: it then does the
same with the same notebooks, with its own compiler.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

_OURS = """
import sys, time, json
from mlops_lab import load
from mlops_lab.targets.kubeflow.compile import compile_pipeline
from mlops_lab.imports import defer_grammar
defer_grammar()
import kfp.dsl, kfp.compiler, nbformat.v4
started = time.process_time()
text = compile_pipeline(load(sys.argv[1]).plan, install=False).yaml
seconds = time.process_time() - started
open(sys.argv[2], "w").write(text)
print(json.dumps({"seconds": seconds, "all": time.process_time(), "bytes": len(text.encode())}))
"""
_KALE = """
import sys, time, json, logging, os, contextlib
logging.disable(logging.CRITICAL)
from kale.processors.nbprocessor import NotebookProcessor
from kale.compiler import Compiler
from kale.common import kfputils
import kfp.dsl, kfp.compiler
started = time.process_time()
with contextlib.redirect_stdout(sys.stderr):
    processor = NotebookProcessor(sys.argv[1], {"pipeline_name": "chain", "experiment_name": "chain"})
    script = Compiler(processor.run(), processor.get_imports_and_functions()).compile()
    path = kfputils.compile_pipeline(script, "chain")
seconds = time.process_time() - started
text = open(path).read()
os.replace(path, sys.argv[2])
print(json.dumps({"seconds": seconds, "all": time.process_time(), "bytes": len(text.encode())}))
"""
_RUN = """
import sys, time, json, yaml
from kfp import components, local
document = next(yaml.safe_load_all(open(sys.argv[1])))
for executor in document["deploymentSpec"]["executors"].values():  # what a step needs is there: it installs nothing
    command = executor["container"]["command"]
    if "pip install" in command[2]:
        del command[:3]
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2])
pipeline = components.load_component_from_text(yaml.safe_dump(document))
started = time.monotonic()
pipeline()
print(json.dumps({"seconds": time.monotonic() - started}))
"""


def chain(steps: int) -> Any:
    """A notebook of steps that each read what the one above left."""
    cells = [new_code_cell("import math", metadata={"tags": ["imports"]})]
    for i in range(steps):
        tags = [f"step:s{i}", *([f"prev:s{i - 1}"] if i else [])]
        read = f"x{i - 1}" if i else "[1.0, 2.0]"
        cells.append(new_code_cell(f"x{i} = [math.sqrt(v) + {i} for v in {read}]", metadata={"tags": tags}))
        cells.append(new_code_cell(f"total{i} = sum(x{i})\nprint('step {i}', total{i})"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    kale = {"pipeline_name": "chain", "experiment_name": "chain", "volumes": []}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "kubeflow_notebook": kale})


def ask(python: str, code: str, *arguments: Path, folder: Path) -> dict[str, float]:
    """What a program answers on the last line of its output."""
    done = subprocess.run([python, "-c", code, *map(str, arguments)], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{python} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    """Print a line for each notebook and tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 100, 500])
    parser.add_argument("--run", type=int, default=4, metavar="STEPS", help="0: run nothing")
    parser.add_argument("--kale", metavar="PYTHON", help="a Python that has kubeflow-kale")
    options = parser.parse_args()
    tools = {"MLOps Lab": (sys.executable, _OURS)} | ({"Kale": (options.kale, _KALE)} if options.kale else {})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for steps in options.sizes:
            nbformat.write(chain(steps), folder / "chain.ipynb")
            for name, (python, code) in tools.items():
                got = ask(python, code, folder / "chain.ipynb", folder / "out.yaml", folder=folder)
                print(f"{steps:4} steps  {name:9}  compile {got['seconds']:6.2f} s, in all {got['all']:6.2f} s   "
                      f"{got['bytes']:9} bytes, {got['bytes'] / steps:7.0f} a step")  # fmt: skip
        nbformat.write(chain(options.run), folder / "chain.ipynb")
        for name, (python, code) in tools.items() if options.run else ():
            ask(python, code, folder / "chain.ipynb", folder / "out.yaml", folder=folder)
            got = ask(python, _RUN, folder / "out.yaml", folder / "root", folder=folder)
            print(f"{options.run:4} steps  {name:9}  kfp.local {got['seconds'] / options.run:6.2f} s a step")


if __name__ == "__main__":
    main()
