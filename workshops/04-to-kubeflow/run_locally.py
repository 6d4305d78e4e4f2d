"""Run pipeline.yaml with Kubeflow's own local runner, one process a step: `python run_locally.py [NAME=VALUE ...]`.

It needs nothing of MLOps Lab: the pipeline carries its code.
"""

import json
import sys
from pathlib import Path

from kfp import components, local

if __name__ == "__main__":
    here = Path(__file__).parent
    arguments = {name: json.loads(value) for name, _, value in (each.partition("=") for each in sys.argv[1:])}
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(here / "kfp-outputs"))
    status = "FAILURE"
    try:
        components.load_component_from_file(str(here / "pipeline.yaml"))(**arguments)
        status = "SUCCESS"
    finally:
        told = {"status": status, "pipeline": (here / "pipeline.yaml").read_text()}
        (here / "kfp-run.json").write_text(json.dumps(told))
