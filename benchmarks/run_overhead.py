"""What running a notebook as a pipeline costs: wall time of 10 steps in a chain against one straight run, as a ratio.

    python benchmarks/run_overhead.py [--rounds N]

Both run the same notebook in this process, in turn, so that the machine's moods hit both: the straight run in one kernel of
nbclient, the pipeline by the local engine without cache and without tracking. Imports of nbclient and papermill are paid
before the clock starts. The third figure is the same run again with everything in the cache.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

import mlops_lab
from mlops_lab.runtime import execute  # noqa: F401 - so that its import is not timed
from mlops_lab.verify import run_straight

STEPS = 10
LOAD = """import numpy as np
import pandas as pd
rng = np.random.default_rng(0)
df = pd.DataFrame({f"x{i}": rng.normal(size=100_000) for i in range(10)})"""
STEP = """df = df.assign(y{i}=df["x{i}"].rolling(20).mean().fillna(0))
df["y{i}"].describe()"""


def notebook(folder: Path) -> Path:
    """A chain: each step reads what the one above made."""
    cells = [new_code_cell(LOAD, metadata={"tags": ["step:s0"]})]
    cells += [new_code_cell(STEP.format(i=i), metadata={"tags": [f"step:s{i}"]}) for i in range(1, STEPS)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = folder / "chain.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def main() -> None:
    """Time both ways in turn and print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {"straight": [], "pipeline": [], "cached": []}
    with tempfile.TemporaryDirectory() as place:
        path = notebook(Path(place))
        pipeline = mlops_lab.load(path)
        for _ in range(rounds):
            started = time.perf_counter()
            run_straight(pipeline.plan.pipeline.notebook.node, "python3", path.parent)
            times["straight"].append(time.perf_counter() - started)
            for name, cache in (("pipeline", False), ("cached", True)):
                started = time.perf_counter()
                run = pipeline.run(cache=cache, tracking=False)
                times[name].append(time.perf_counter() - started)
                assert run.status == "done", run
    median = {name: statistics.median(values) for name, values in times.items()}
    for name, value in median.items():
        print(f"{name:<9} {value:7.2f} s   {value / median['straight']:.2f} of the straight run")
    print(f"a step costs {(median['pipeline'] - median['straight']) / STEPS:.2f} s more than its cells")


if __name__ == "__main__":
    main()
