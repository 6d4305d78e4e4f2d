"""What the tests of runs on Kubeflow share: what the cluster does, and what is seen of it."""

from __future__ import annotations

import json
import threading
import time

import nbformat
from typer.testing import CliRunner

import mlops_lab
from mlops_lab.cli import app
from mlops_lab.runtime import handback

TOKEN = "s3cret-token"


CELLS = [
    ("parameters", "limit = 5"),
    ("step:numbers", "numbers = list(range(limit))\nprint('have', len(numbers))"),
    ("step:total", "total = sum(numbers)\nprint('total', total)"),
]


class Pod:
    """What a step's pod writes, as `runtime/remote.py` writes it."""

    def __init__(self, step, cell=2):
        self.step, self.cell = step, cell
        self.log = "Collecting pandas==2.2\n"
        self.say(type="step_started", step=step, attempt=1)

    def say(self, **event):
        self.log += f"::mlops-lab {json.dumps(event)}\n"
        return self

    def begin(self):
        return self.say(type="cell_started", step=self.step, attempt=1, cell=self.cell, position=1, total=1)

    def print(self, text):
        self.log += text
        return self

    def end(self, tmp_path, **fields):
        self.say(type="cell_finished", step=self.step, attempt=1, cell=self.cell, seconds=0.1)
        cell = nbformat.v4.new_code_cell(f"# {self.step}", metadata={"mlops_lab": {"cell": self.cell}}, execution_count=1)
        cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": f"<b>{self.step}</b>"})]
        path = tmp_path / f"{self.step}.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
        handback.notebook(path, lambda event: self.say(**event))
        return self.say(
            **{"type": "step_finished", "step": self.step, "attempt": 1, "seconds": 0.1, "status": "done", **fields}
        )


def later(cluster, *actions, pause=0.15, runs=1):
    """Do something on the cluster once so many runs are there, one after another."""

    def act():
        while len(cluster.runs) < runs:
            time.sleep(0.02)
        for action in actions:
            time.sleep(pause)
            action()

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def succeeds(cluster, tmp_path, step, cell, **fields):
    pod = Pod(step, cell).begin().print(f"this is {step}\n").end(tmp_path, **fields)
    return lambda: cluster.task(step, "SUCCEEDED", pod.log)


def command(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def printed(run, step):
    return "".join(e.output["text"] for e in run.events() if e.__struct_config__.tag == "cell_output" and e.step == step)


def kinds(run):
    return [e.__struct_config__.tag for e in run.events()]


def failed_run(cluster, path, tmp_path):
    failure = {"kind": "error", "message": "OSError: gone", "cell": 3}
    pod = Pod("total", 3).begin().end(tmp_path, status="failed", failure=failure)
    later(cluster, succeeds(cluster, tmp_path, "numbers", 2), lambda: cluster.task("total", "FAILED", pod.log),
          lambda: cluster.end("FAILED"))  # fmt: skip
    run = mlops_lab.load(path).run(on="kubeflow", tracking=False, limit=6)
    assert run.status == "failed"
    return run
