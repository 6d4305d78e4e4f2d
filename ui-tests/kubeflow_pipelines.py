"""Kubeflow Pipelines as its published interface describes it, for one run: says that each of the steps named has succeeded.

python kubeflow_pipelines.py FOLDER STEP ...: writes the connection `lab` into the folder, and serves until its input closes.
"""

import json
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from kubeflow.server import Cluster, serve


def succeed(cluster: Cluster, steps: list[str]) -> None:
    """Let the run that is submitted go to its end, step by step."""
    while not cluster.runs:
        time.sleep(0.1)
    for step in steps:
        cluster.task(step, "SUCCEEDED")
        time.sleep(0.2)
    cluster.end()


def main() -> None:
    """Serve."""
    folder, *steps = sys.argv[1:]
    cluster = Cluster()
    running = serve(cluster)
    config = Path(folder) / "kubeflow.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps({"default": "lab", "connections": {"lab": {"endpoint": running.url, "auth": "none"}}}))
    threading.Thread(target=succeed, args=(cluster, steps), daemon=True).start()
    print("ready", flush=True)  # noqa: T201 - read by the test
    sys.stdin.read()
    config.unlink()
    running.close()


main()
