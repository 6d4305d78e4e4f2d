"""What the analysis of a notebook costs: from the node as read to the plan with its edges and diagnostics, without a run.

    python benchmarks/analysis.py [--rounds N] [--sizes N ...] [--shapes] [--kale PYTHON] [--in-a-row]

The notebooks are written here, of cells as data scientists write them, five to a step, for 10, 100 and 1000 code cells. They
carry Kale's tags, which both tools read. Two figures each, in a process that has analysed others before:

- `edit`: one cell has changed since the last time, as in an editor; another one each round, with a text that no cache has
  seen. Rounds take turns at what is typed: a statement below, a number in the cell, a line in the functions' cell;
- `first`: a notebook of which no text was seen before: the names in its cells are new in each round.

`--kale` names a Python that has kubeflow-kale: its way from the very same notebooks to its graph
(`NotebookProcessor.to_pipeline`: tags, dependency detection; no compiling, no cluster) is then timed in the same run, in
turn with ours, or, with `--in-a-row`, all of Kale's rounds after all of ours: in turn, each finds the processor's caches full
of the other's. Each figure is processor time (both have one thread), the median of the rounds after one that is not counted.
`--shapes` adds notebooks that bring out what is not linear: chained functions, one name that every cell touches, steps that
all read each other. `--route` times what the server does for its route `analyse` instead, from the posted bytes to those it
answers with.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from mlops_lab.checks import check
from mlops_lab.notebook import from_node
from mlops_lab.pipeline import build
from mlops_lab.plan import Plan, make_plan

PATH = Path("nb.ipynb").absolute()  # as an editor's server has it
IMPORTS = """import os
from pathlib import Path
import numpy as np
import pandas as pd
import matplotlib.pyplot as plt
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split"""
FUNCTIONS = """FOLDER = Path("data")

def clean(frame, column):
    frame = frame.dropna(subset=[column])
    return frame[frame[column] > frame[column].quantile(0.01)]

def describe(frame, columns):
    return {c: (frame[c].mean(), frame[c].std()) for c in columns if c in frame}

def report(scores):
    for name, score in sorted(scores.items()):
        print(f"{name:<20} {score:.3f}")"""
STEP = [
    """raw{i} = pd.read_csv("data/part{i}.csv", parse_dates=["day"])
raw{i}["weekday"] = raw{i}["day"].dt.weekday
df{i} = clean(raw{i}, "price").merge(df{j}, on="key", how="left", suffixes=("", "_old"))
df{i}.head()""",
    """features{i} = [c for c in df{i}.columns if c not in ("key", "day") and df{i}[c].dtype != object]
for column in features{i}:
    low, high = df{i}[column].quantile([0.05, 0.95])
    df{i}[column] = df{i}[column].clip(low, high)
if df{i}[features{i}].isna().any().any():
    df{i} = df{i}.fillna(df{i}[features{i}].median())
summary{i} = describe(df{i}, features{i})""",
    """X_train{i}, X_test{i}, y_train{i}, y_test{i} = train_test_split(
    df{i}[features{i}], df{i}["label"], test_size=0.2, random_state=0)
model{i} = RandomForestClassifier(n_estimators=100, max_depth=4, random_state=0)
model{i}.fit(X_train{i}, y_train{i})""",
    """try:
    predicted{i} = model{i}.predict(X_test{i})
except ValueError as error:
    print("no prediction:", error)
    predicted{i} = np.zeros(len(y_test{i}))
score{i} = accuracy_score(y_test{i}, predicted{i})
scores = {{**(scores if {i} else {{}}), "model{i}": score{i}}}
report(scores)""",
    """fig, ax = plt.subplots(figsize=(8, 4))
ax.bar(range(len(features{i})), model{i}.feature_importances_)
ax.set_title(f"model {i}: {{score{i}:.3f}}")
fig.savefig("out/model{i}.png")
df{i}.assign(predicted=0).query("price > 0").to_parquet(FOLDER / "clean{i}.parquet")""",
]


def notebook(count: int, new: int = 0) -> Any:
    """A notebook of `count` code cells with Kale's tags: imports, functions, then steps in a chain; `new` is in its names."""
    head = f"# {new}\n" if new else ""
    cells = [_cell(head + IMPORTS, "imports"), _cell(head + FUNCTIONS, "functions")]
    first = new * 10_000
    cells.append(_cell(f"df{first} = pd.DataFrame()", "step:start"))
    while len(cells) < count:
        step, part = divmod(len(cells) - 3, len(STEP))
        tags = [f"step:s{step + 1}", f"prev:s{step}" if step else "prev:start"] if part == 0 else []
        cells.append(_cell(STEP[part].format(i=first + step + 1, j=first + step), *tags))
    return _node(cells)


def edited(node: Any, turn: int) -> Any:
    """The notebook with another text in one cell, which it did not have in other turns."""
    node = copy.deepcopy(node)
    place = 1 if turn % 3 == 2 else 3 + turn * 7 % (len(node.cells) - 3)
    cell = node.cells[place]
    if turn % 3 == 0:
        cell.source += f"\nnote{turn} = {turn}\nprint(note{turn})"
    elif turn % 3 == 1:
        for number in ("0.2", "0.95", "4)", '"price"'):
            cell.source = cell.source.replace(number, f"{number[:-1]}{turn}{number[-1]}")
        cell.source += f"  # {turn}"
    else:
        cell.source = cell.source.replace("scores.items()", f"list(scores.items())[:{turn}]")
    return node


def chained_functions(count: int) -> Any:
    """Functions of which each calls the one above, and a step that calls the last."""
    cells = [_cell("def f0(x):\n    return x + offset", "step:a"), *(_cell(f"def f{i}(x):\n    return f{i - 1}(x) + k{i}")
                                                                   for i in range(1, count))]  # fmt: skip
    return _node([*cells, _cell(f"print(f{count - 1}(1))", "step:b")])


def one_name(count: int) -> Any:
    """Cells that all read and change one name, five to a step."""
    return _node([_cell(f"df['c{i}'] = df['c{i - 1}'] + 1\ndf.head()", *([f"step:s{i}"] if i % 5 == 0 else []))
                  for i in range(count)])  # fmt: skip


def many_edges(count: int) -> Any:
    """Steps of which each reads what the five above it made."""
    return _node([_cell(f"v{i} = " + " + ".join([f"v{j}" for j in range(max(0, i - 5), i)] or ["1"]), f"step:s{i}")
                  for i in range(count)])  # fmt: skip


SHAPES: list[tuple[str, Callable[[int], Any], int]] = [
    ("chained functions", chained_functions, 1000), ("one name for all", one_name, 1000), ("many edges", many_edges, 200),
]  # fmt: skip


def _cell(source: str, *tags: str) -> Any:
    return new_code_cell(source, metadata={"tags": list(tags)})


def _node(cells: list[Any]) -> Any:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    kale = {"pipeline_name": "analysis", "experiment_name": "analysis", "volumes": []}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "kubeflow_notebook": kale})


def analyse(node: Any) -> Plan:
    """All that an editor needs after a change: cells, steps, edges, diagnostics."""
    plan = make_plan(build(from_node(node, PATH)))
    check(plan)
    return plan


# What the other Python runs: it reads a path a line and answers with the seconds that the analysis took, or what failed.
_KALE = """
import json, sys, time, logging
logging.disable(logging.CRITICAL)
from kale.processors.nbprocessor import NotebookProcessor
for line in sys.stdin:
    try:
        processor = NotebookProcessor(line.strip())
        started = time.process_time()
        processor.to_pipeline()
        answer = {"seconds": time.process_time() - started, "steps": len(processor.pipeline.nodes),
                  "edges": len(processor.pipeline.edges)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    sys.__stdout__.write(json.dumps(answer) + chr(10))
    sys.__stdout__.flush()
"""


class Kale:
    """Kale in a process of its own, kept warm between the notebooks."""

    def __init__(self, python: str, folder: Path) -> None:
        script = folder / "kale_times.py"
        script.write_text(_KALE)
        self.process = subprocess.Popen([python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def time(self, path: Path) -> float:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or '{"error": "it ended"}')
        if "error" in answer:
            raise SystemExit(f"Kale could not analyse {path.name}: {answer['error']}")
        return float(answer["seconds"])

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def _seconds(node: Any) -> float:
    started = time.process_time()
    analyse(node)
    return time.process_time() - started


def main() -> None:
    """Time the notebooks and print medians, and Kale's beside them if it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 100, 1000], help="code cells of the notebooks")
    parser.add_argument("--shapes", action="store_true", help="also notebooks of odd shapes")
    parser.add_argument("--kale", metavar="PYTHON", help="a Python that has kubeflow-kale")
    parser.add_argument("--in-a-row", action="store_true", help="all rounds of one after each other")
    parser.add_argument("--route", action="store_true", help="time the server's route analyse")
    options = parser.parse_args()
    if options.route:
        for count in options.sizes:
            print(f"{count:>5} cells, route analyse after an edit: {_route(notebook(count), options.rounds) * 1000:.1f} ms")
        return
    with tempfile.TemporaryDirectory() as place:
        kale = Kale(options.kale, Path(place)) if options.kale else None
        for count in options.sizes:
            node = notebook(count)
            analyse(node)
            _compare(
                f"{count} cells, edit",
                [edited(node, turn) for turn in range(options.rounds + 1)],
                Path(place),
                kale,
                options.in_a_row,
            )
            new = [notebook(count, turn + 1) for turn in range(options.rounds + 1)]
            _compare(f"{count} cells, first", new, Path(place), kale, options.in_a_row)
        for name, make, count in SHAPES if options.shapes else []:
            node = make(count)
            _compare(f"{count} {name}, first", [node], Path(place), None)
            _compare(f"{count} {name}, again", [node] * options.rounds, Path(place), None)
        if kale:
            kale.close()


def _compare(name: str, nodes: list[Any], place: Path, kale: Kale | None, in_a_row: bool = False) -> None:
    """Time the analysis of these notebooks, and print the median without the first, with Kale's beside it."""
    ours, theirs = [_seconds(node) for node in nodes] if in_a_row else [], []
    for node in nodes:
        path = place / "analysed.ipynb"
        nbformat.write(node, path)
        if not in_a_row:
            ours.append(_seconds(node))
        theirs.append(kale.time(path) if kale else 0.0)
    plan = analyse(nodes[-1])
    mine, other = statistics.median(ours[1:] or ours), statistics.median(theirs[1:] or theirs)
    line = f"{name:<30} {len(plan.steps):>4} steps {len(plan.edges):>5} edges {mine * 1000:9.1f} ms"
    print(line + (f"   Kale {other * 1000:10.1f} ms   {other / mine:6.1f} times ours" if kale else ""), flush=True)


def _route(node: Any, rounds: int) -> float:
    """What the server computes for `POST /analyse` after an edit: decode, analyse, encode; without HTTP and threads."""
    from mlops_lab.server.analysis import analyse as model_of
    from mlops_lab.server.analysis import notebook_of
    from mlops_lab.server.requests import Posted

    took = []
    for turn in range(rounds + 1):
        cells = [
            {"id": f"cell{i}", "cell_type": "code", "source": cell.source, "tags": cell.metadata.tags}
            for i, cell in enumerate(edited(node, turn).cells)
        ]
        body = msgspec.json.encode({"path": "nb.ipynb", "cells": cells, "metadata": dict(node.metadata)})
        started = time.process_time()
        msgspec.json.encode(model_of(notebook_of(msgspec.json.decode(body, type=Posted), Path("/tmp/nb.ipynb"))))
        took.append(time.process_time() - started)
    return statistics.median(took[1:])


if __name__ == "__main__":
    main()
