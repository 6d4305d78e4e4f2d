"""Runs a compiled pipeline with `kfp.local`, as a program of an interpreter that can't import MLOps Lab: `bare.py WORK.json`.

WORK: `pipeline` (YAML file), `root` (folder for artifacts), `arguments`, `result` (file to write: the status of the run, and of
each step the folder of its artifacts).
"""

import importlib.util
import json
import sys
from pathlib import Path


def main():
    work = json.loads(Path(sys.argv[1]).read_text())
    assert importlib.util.find_spec("mlops_lab") is None, "MLOps Lab must not be there"
    from kfp import components, local

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=work["root"], raise_on_error=False)
    pipeline = components.load_component_from_file(work["pipeline"])
    pipeline(**work["arguments"])
    print("returned")


if __name__ == "__main__":
    main()
