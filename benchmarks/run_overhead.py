"""What running a notebook as a pipeline costs, each figure against a peer in the same run.

    python benchmarks/run_overhead.py [--rounds N] [--kale PYTHON] [--elyra PYTHON] [--only chain branches empty]

chain     ten steps of pandas and scikit-learn in a chain: the whole command `mlops-lab run`, without cache, against
          `jupyter nbconvert --execute` of the same notebook, and then the same with everything cached
branches  two branches of pure computation on two cores, against nbconvert
threads   two branches of linear algebra and of OpenMP, each with as many threads as there are cores, against nbconvert
empty     a pipeline of ten empty steps, divided by ten: against Papermill alone (one call a step, in one process), Kale's
          compiled pipeline through kfp.local's SubprocessRunner and Elyra's local mode, where their interpreters are named

Commands are run in turn, so that the machine's moods hit all alike; medians of the rounds, and their ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

STEPS = 10
LOAD = """import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler
rng = np.random.default_rng(0)
df = pd.DataFrame({f"x{i}": rng.normal(size=20_000) for i in range(12)})
df["y"] = (df.x0 + df.x1 * df.x2 + rng.normal(size=len(df)) > 0).astype(int)"""
FEATURE = """df["r{i}"] = df["x{i}"].rolling(50).mean().fillna(0)
for w in (10, 20, 40, 80):
    df[f"m{i}_{{w}}"] = df["x{i}"].rolling(w).apply(lambda v: v.max() - v.min(), raw=True).fillna(0)"""
CHAIN = {
    "load": LOAD,
    "clean": "df['x3'] = df['x3'].fillna(0)\ndf = df[df.x4 > -3]\ndf.describe()",
    **{f"features-{i}": FEATURE.format(i=i) for i in range(3)},
    "scale": "X, y = df.drop(columns='y'), df.y\nX = pd.DataFrame(StandardScaler().fit_transform(X), columns=X.columns)",
    "train": "model = RandomForestClassifier(60, random_state=0).fit(X, y)",
    "validate": "scores = cross_val_score(RandomForestClassifier(20, random_state=0), X[:4000], y[:4000], cv=3)\nscores.mean()",
    "explain": "importance = pd.Series(model.feature_importances_, X.columns).sort_values()\nimportance.tail()",
    "report": "print(scores.mean().round(3), importance.index[-1], model.score(X, y))",
}
WORK = """def work_{name}(k):
    total = 0
    for i in range(k):
        total += i * i % 7
    return total
{name} = work_{name}(60_000_000)"""
BRANCHES = {"start": "k = 1", "left": WORK.format(name="a"), "right": WORK.format(name="b"), "end": "print(a + b)"}
ALGEBRA = """import numpy as np
from sklearn.cluster import KMeans
draws = np.random.default_rng({seed})
matrix = draws.random((700, 700))
for _ in range(6):
    {name} = np.linalg.svd(matrix, compute_uv=False).sum()
{name} += KMeans(20, n_init=3, random_state=0, max_iter=60).fit(draws.random((40_000, 20))).inertia_"""
THREADS = {"left": ALGEBRA.format(name="a", seed=0), "right": ALGEBRA.format(name="b", seed=1), "end": "print(a + b)"}
EMPTY = {f"s{i}": f"x{i} = {f'x{i - 1} + 1' if i else 0}" for i in range(STEPS)}
FIGURES = ("chain", "branches", "threads", "empty")
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def write(path: Path, steps: dict[str, str]) -> Path:
    """A notebook with one cell a step."""
    cells = [new_code_cell(code, metadata={"tags": [f"step:{name}"]}) for name, code in steps.items()]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), path)
    return path


def timed(*command: str, folder: Path) -> float:
    """Seconds that a command takes; it must succeed."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return seconds


def ours(path: Path, *options: str) -> float:
    """`mlops-lab run` of a notebook, without tracking."""
    return timed(sys.executable, "-m", "mlops_lab", "run", path.name, "--no-tracking", *options, folder=path.parent)


def nbconvert(path: Path) -> float:
    """`jupyter nbconvert --execute` of a notebook."""
    return timed(
        sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook", "--output", f"straight-{path.name}", path.name,
        folder=path.parent,
    )  # fmt: skip


def papermill(folder: Path) -> float:
    """One notebook a step through Papermill, in one process."""
    for name in EMPTY:
        write(folder / f"{name}.ipynb", {name: "x = 0"})
    call = "papermill.execute_notebook(n + '.ipynb', n + '-out.ipynb', progress_bar=False)"
    code = f"import papermill\nfor n in {list(EMPTY)!r}: {call}"
    return timed(sys.executable, "-c", code, folder=folder)


def kale(python: str, folder: Path) -> Callable[[], float]:
    """Kale's compiled pipeline, run by kfp.local; compiling is not timed."""
    cells = []
    for i, code in enumerate(EMPTY.values()):
        tags = [f"step:s{i}"] + ([f"prev:s{i - 1}"] if i else [])
        cells.append(new_code_cell(code, metadata={"tags": tags}))
    settings = {"pipeline_name": "empty", "experiment_name": "empty", "base_image": "", "volumes": [], "steps_defaults": []}
    node = new_notebook(cells=cells, metadata={"kernelspec": KERNEL, "kubeflow_notebook": settings})
    nbformat.write(node, folder / "kale.ipynb")
    timed(python, "-m", "kale.cli", "--nb", "kale.ipynb", folder=folder)
    script = next(path for path in (folder / ".kale").glob("*.py"))
    code = (
        f"import importlib.util, inspect\nfrom kfp import local\nlocal.init(local.SubprocessRunner(use_venv=False))\n"
        f"spec = importlib.util.spec_from_file_location('p', {str(script)!r})\nm = importlib.util.module_from_spec(spec)\n"
        f"spec.loader.exec_module(m)\n"
        f"from kfp.dsl.graph_component import GraphComponent\n"
        f"[v for v in vars(m).values() if isinstance(v, GraphComponent)][0]()\n"
    )
    return lambda: timed(python, "-c", code, folder=folder)


def elyra(python: str, folder: Path) -> Callable[[], float]:
    """Elyra's local mode: one notebook a node, in a chain."""
    nodes = []
    for i, name in enumerate(EMPTY):
        write(folder / f"{name}.ipynb", {name: "x = 0"})
        links = [{"id": f"l{i}", "node_id_ref": f"n{i - 1}", "port_id_ref": "outPort"}] if i else []
        component = {"filename": f"{name}.ipynb", "runtime_image": "any", "dependencies": [], "outputs": [], "env_vars": []}
        nodes.append({
            "id": f"n{i}", "type": "execution_node", "op": "execute-notebook-node",
            "app_data": {"label": name, "component_parameters": component, "ui_data": {}},
            "inputs": [{"id": "inPort", "app_data": {}, "links": links}],
            "outputs": [{"id": "outPort", "app_data": {}}],
        })  # fmt: skip
    about = {"name": "empty", "version": 8, "properties": {"name": "empty"}, "ui_data": {}}
    inner = {"id": "p", "nodes": nodes, "app_data": about, "runtime_ref": ""}
    whole = {"doc_type": "pipeline", "version": "3.0", "id": "e", "primary_pipeline": "p", "pipelines": [inner], "schemas": []}
    (folder / "empty.pipeline").write_text(json.dumps(whole))
    command = str(Path(python).with_name("elyra-pipeline"))
    return lambda: timed(command, "run", "empty.pipeline", folder=folder)


def measure(rounds: int, ways: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Medians over rounds in which each way is taken once, in turn."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(way())
    return {name: statistics.median(values) for name, values in times.items()}


def chain(place: Path, options: argparse.Namespace) -> Iterator[str]:
    """The chain, uncached and cached."""
    path = write(place / "chain.ipynb", CHAIN)
    ways = {"nbconvert": lambda: nbconvert(path), "first": lambda: ours(path, "--no-cache"), "cached": lambda: ours(path)}
    seconds = measure(options.rounds, ways)
    straight, first, cached = seconds["nbconvert"], seconds["first"], seconds["cached"]
    yield f"chain     nbconvert {straight:.2f} s, pipeline {first:.2f} s: {first / straight:.2f}"
    yield f"cached    {cached:.2f} s: {cached / first:.3f} of the first run"


def branches(place: Path, options: argparse.Namespace) -> Iterator[str]:
    """Two independent branches."""
    return at_once("branches", write(place / "branches.ipynb", BRANCHES), options)


def threads(place: Path, options: argparse.Namespace) -> Iterator[str]:
    """Two independent branches of many threads."""
    return at_once("threads", write(place / "threads.ipynb", THREADS), options)


def at_once(name: str, path: Path, options: argparse.Namespace) -> Iterator[str]:
    """A notebook of independent branches, against nbconvert."""
    seconds = measure(options.rounds, {"nbconvert": lambda: nbconvert(path), "ours": lambda: ours(path, "--no-cache")})
    straight, pipeline = seconds["nbconvert"], seconds["ours"]
    yield f"{name:<9} nbconvert {straight:.2f} s, pipeline {pipeline:.2f} s: {pipeline / straight:.2f}"


def empty(place: Path, options: argparse.Namespace) -> Iterator[str]:
    """Ten empty steps."""
    path = write(place / "empty.ipynb", EMPTY)
    ways: dict[str, Callable[[], float]] = {"mlops-lab": lambda: ours(path, "--no-cache")}
    for name in ("papermill", "kale", "elyra"):
        (place / name).mkdir()
    ways["papermill"] = lambda: papermill(place / "papermill")
    if options.kale:
        ways["kale"] = kale(options.kale, place / "kale")
    if options.elyra:
        ways["elyra"] = elyra(options.elyra, place / "elyra")
    seconds = measure(options.rounds, ways)
    for name, value in seconds.items():
        yield f"empty     {name:<10} {value / STEPS:.2f} s a step, {value / seconds['mlops-lab']:.2f} of ours"


def main() -> None:
    """Measure what is asked for and print a line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kale", help="an interpreter that has kubeflow-kale")
    parser.add_argument("--elyra", help="an interpreter that has elyra")
    parser.add_argument("--only", nargs="*", choices=FIGURES, default=FIGURES)
    options = parser.parse_args()
    os.environ.pop("MLOPS_LAB_DIR", None)
    for name in options.only:
        with tempfile.TemporaryDirectory() as place:
            for line in globals()[name](Path(place), options):
                print(line, flush=True)


if __name__ == "__main__":
    main()
