"""What many runs and many steps cost: listing stored runs, and a pipeline of 200 steps with 1,000 edges.

    python benchmarks/many.py [--runs 5000] [--steps 200]

The newest 20 of the stored runs are listed as `mlops-lab runs` does it, each read from its log. The steps do next to nothing,
so that what is timed is analysis, scheduling, kernels and committing, and then all but the kernels, with everything cached.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

import mlops_lab
from mlops_lab.api import Run
from mlops_lab.runs import Home, homes

SHOWN = 20
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def listing(place: Path, count: int) -> float:
    """Seconds to list the newest runs of `count` copies of a real one."""
    cells = [new_code_cell("x = 1", metadata={"tags": ["step:a"]}), new_code_cell("print(x)", metadata={"tags": ["step:b"]})]
    path = place / "one.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), path)
    log = mlops_lab.load(path).run(tracking=False).folder.log.read_text()
    runs = Home.of(place).runs
    for number in range(count - 1):
        folder = runs / f"20200101-000000-{number:05d}"
        folder.mkdir()
        (folder / "events.jsonl").write_text(log)
    started = time.perf_counter()
    found = sorted((run for home in homes(place) for run in home.list()), key=lambda run: run.id, reverse=True)
    for run in found[:SHOWN]:
        _ = Run(run).state
    return time.perf_counter() - started


def steps(place: Path, count: int) -> tuple[int, float, float, float]:
    """Edges; seconds to analyse, to run the first time, and to take everything from the cache."""
    cells = []
    for i in range(count):
        reads = " + ".join(f"v{j}" for j in range(max(0, i - 5), i)) or "0"
        cells.append(new_code_cell(f"v{i} = ({reads}) % 7 + 1", metadata={"tags": [f"step:s{i}"]}))
    path = place / "many.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), path)
    started = time.perf_counter()
    pipeline = mlops_lab.load(path)
    edges = len(pipeline.edges)
    analysed = time.perf_counter()
    assert pipeline.run(tracking=False).status == "done"
    ran = time.perf_counter()
    assert pipeline.run(tracking=False).status == "done"
    return edges, analysed - started, ran - analysed, time.perf_counter() - ran


def main() -> None:
    """Measure both and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        print(
            f"{options.runs} runs: the newest {SHOWN} listed in {listing(Path(place), options.runs) * 1000:.0f} ms", flush=True
        )
    with tempfile.TemporaryDirectory() as place:
        edges, analysed, ran, cached = steps(Path(place), options.steps)
    print(f"{options.steps} steps with {edges} edges: analysed in {analysed:.2f} s, run in {ran:.1f} s "
          f"({ran / options.steps:.2f} s a step), taken from the cache in {cached:.2f} s")  # fmt: skip


if __name__ == "__main__":
    main()
