"""A cluster to talk to; an interpreter with all packages but MLOps Lab, and runs of compiled pipelines by `kfp.local` in it."""

from __future__ import annotations

import json
import os
import re
import site
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from mlops_lab import forked, warm, warmup
from mlops_lab.targets.kubeflow import follow, packing
from mlops_lab.targets.kubeflow.compile import Compiled, compile_pipeline
from mlops_lab.targets.kubeflow.connections import Connection, Connections
from mlops_lab.targets.kubeflow.podlog import PodLog

from .cluster import TOKEN
from .rules import arrives
from .server import Cluster, serve

BARE = Path(__file__).with_name("bare.py")
SLOW = re.compile(r"\b(numpy|pandas|matplotlib|scipy|sklearn|seaborn|torch|mlflow)\b")
# MLOps Lab; and what no step's container has, since only Jupyter Server asks for it, and which takes 2 s to import.
NOT_THERE = ("mlops_lab", "_mlops_lab", "__editable__", "rfc3987_syntax")


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory):
    """A virtual environment with links to the packages of this one, MLOps Lab and all editable installs left out."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    for place in map(Path, site.getsitepackages()):
        for entry in place.iterdir():
            if not entry.name.startswith(NOT_THERE) and entry.suffix != ".pth":
                (packages / entry.name).symlink_to(entry)
    (folder / "share").symlink_to(Path(sys.prefix) / "share")
    return folder / "bin" / "python"


@dataclass
class LocalRun:
    """What `kfp.local` left of a run."""

    compiled: Compiled
    root: Path
    log: str

    def artifact(self, step, name):
        found = [p for p in self.root.glob(f"*/{step}/{name}") if p.is_file()]
        assert len(found) == 1, (step, name, found, self.log[-3000:])
        return found[0]

    def has(self, step):
        """True if the step ran to its end."""
        return any(self.root.glob(f"*/{step}/{self.compiled.interfaces[step].state}"))

    def pod_log(self, step):
        """What the step's task wrote, as a pod's log is read."""
        plain = re.sub(r"\x1b\[\d+m", "", self.log)
        own = plain.partition(f"Executing task '{step}'")[2].partition(f"Task '{step}' finished")[0]
        found = PodLog(step, 1)
        found.read(own.encode(), True)
        return found

    def executed(self, step):
        return nbformat.read(self.artifact(step, self.compiled.interfaces[step].executed), as_version=4)

    def ledger(self, step):
        with zipfile.ZipFile(self.artifact(step, self.compiled.interfaces[step].state)) as state:
            return json.loads(state.read("ledger.json"))

    def value(self, step, variable):
        """A variable as it is after a step and all above it."""
        from mlops_lab.runtime import load, remote  # noqa: F401

        store = self.root / "store"
        current = {}
        for entry in self.ledger(step).values():
            for name, output in entry["outputs"].items():
                if output is None:
                    current.pop(name, None)
                else:
                    current[name] = output["version"]
        for state in self.root.glob("*/*/state"):
            with zipfile.ZipFile(state) as archive:
                for member in archive.namelist():
                    if member.startswith("bundles/"):
                        self._put(store, member[8:], archive.read(member))
        for entry_step, entry in self.ledger(step).items():
            interface = self.compiled.interfaces.get(entry_step)
            for port in interface.outputs if interface else ():
                output = entry["outputs"].get(port.variable)
                if output and not output["version"][0].startswith("refused:"):
                    self._put(store, output["version"][0], self.artifact(entry_step, port.argument).read_bytes())
        return load.value(variable, current, str(store))

    @staticmethod
    def _put(store, name, content):
        path = store / name[:2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def run_locally(bare_python, tmp_path):
    """Runs a compiled pipeline in the bare interpreter and returns what it left."""

    def run(compiled, **arguments):
        return run_all(bare_python, tmp_path / "kfp", [(compiled, arguments)])[0]

    return run


@pytest.fixture
def run_all_locally(bare_python, tmp_path):
    """Compiles pipelines and runs them in one process of the bare interpreter, which forks their tasks; see `bare.py`."""

    def run(plans, **how):
        work = [(compile_pipeline(plan, install=False, **how), {}) for plan in plans]
        with kernels(bare_python, tmp_path / "runtime", plans) as sockets:
            return run_all(bare_python, tmp_path / "kfp", work, sockets)

    return run


@contextmanager
def kernels(python, folder, plans):
    """For each plan the socket of a process that forks kernels which have made the plan's imports, and the packed runtime's."""
    folder.mkdir()
    for name, text in packing.unpacked(packing.runtime()).items():
        (folder / name).write_text(text)
    environment = {**warmup.runtime_environment(), "MLOPS_LAB_RUNTIME": str(folder)}
    parents = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warmup, "runtime_environment", lambda: environment)
        keys = [key_of(plan.pipeline.notebook) for plan in plans]
        try:
            for key in dict.fromkeys(keys):
                parents[key] = warm.WarmParent(str(python), *key, folder)
            yield [parents[key].socket if parents[key].wait(300) else "" for key in keys]
        finally:
            for parent in parents.values():
                parent.close()


def key_of(notebook):
    """The imports that take long, and what else may lie beside the notebook: notebooks with the same ones share a process."""
    beside = tuple(sorted(path.stem for path in notebook.folder.glob("*.py")))
    slow = [found for found in warm._imports(notebook, beside) if SLOW.search(found)]
    return tuple(slow), beside


def run_all(python, folder, work, sockets=(), runner="subprocess"):
    """Run compiled pipelines with their arguments by `kfp.local`, one after another, in one process.

    With sockets, one a pipeline, their tasks are forked, and their kernels where these listen.
    """
    folder.mkdir(exist_ok=True)
    rows = []
    for number, (compiled, arguments) in enumerate(work):
        place = folder / str(number)
        place.mkdir()
        (place / "pipeline.yaml").write_text(arrives(compiled.yaml))
        rows.append({"pipeline": str(place / "pipeline.yaml"), "root": str(place / "root"), "log": str(place / "log"),
                     "arguments": arguments, **({"kernels": sockets[number]} if sockets else {})})  # fmt: skip
    described = {"runs": rows, "fork": bool(sockets), "forked": forked.__file__, "runner": runner}
    (folder / "work.json").write_text(json.dumps(described))
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MLFLOW_TRACKING_URI")}
    environment |= {"TMPDIR": str(folder), "NO_COLOR": "1"}
    done = subprocess.run([python, BARE, folder / "work.json"], cwd=folder, env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=1800)  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    return [
        LocalRun(compiled, Path(row["root"]), Path(row["log"]).read_text())
        for (compiled, _), row in zip(work, rows, strict=True)
    ]


@pytest.fixture
def quickly(monkeypatch):
    monkeypatch.setattr(follow, "SHORTEST", 0.02)
    monkeypatch.setattr(follow, "LONGEST", 0.1)


@pytest.fixture
def cluster(tmp_path, monkeypatch, quickly):
    """A server that follows KFP's specification, the connection to it, and polls in quick succession."""
    monkeypatch.setenv("MLOPS_LAB_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("MLOPS_LAB_KUBEFLOW", raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)
    made = Cluster(token=TOKEN)
    server = serve(made)
    made.url = server.url
    Connections().put(Connection("lab", server.url, auth="token", secret=TOKEN))
    yield made
    server.close()
    assert made.violations == []
    for path in tmp_path.rglob("*"):  # what gives access stands in the user's configuration and nowhere else
        if path.is_file() and path.parent.name != "config":
            assert TOKEN.encode() not in path.read_bytes(), path
