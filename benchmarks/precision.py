"""How good the guesses of the analysis are: edges that no run needs, steps that run twice, parallelism that is lost.

    python benchmarks/precision.py FOLDER [--limit N]

FOLDER is what `public_notebooks.py` gathers. Each notebook is cut into steps by `mlops-lab suggest` and run in a copy of its
folder. An edge is *needed* if the later step loaded what the earlier one left last, or if it orders files, draws or gates.
*Parallelism lost* is how much longer the longest way through the plan's graph is than through the graph of needed edges, by the
seconds that the steps took.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from pathlib import Path

from mlops_lab.api import Run
from mlops_lab.checks import require_sound
from mlops_lab.errors import MlopsLabError
from mlops_lab.learn import results_of
from mlops_lab.notebook import from_node, read
from mlops_lab.pipeline import build
from mlops_lab.plan import Plan, make_plan
from mlops_lab.results import Result
from mlops_lab.suggest import apply, suggest
from mlops_lab.targets import Options, target


def needed(plan: Plan, results: dict[str, Result]) -> set[tuple[str, str]]:
    """The edges that these results stand on."""
    left_by: dict[str, str] = {}
    found = {
        (edge.source, edge.target)
        for edge in plan.edges
        if any(reason.kind in {"file", "gate", "order", "randomness"} for reason in edge.reasons)
    }
    for step in plan.steps:
        result = results[step.name]
        for name, version in result.inputs.items():
            if version and name in left_by:
                found.add((left_by[name], step.name))
        left_by.update(dict.fromkeys(result.outputs, step.name))
    return found


def longest(plan: Plan, edges: set[tuple[str, str]], seconds: dict[str, float]) -> float:
    """Seconds of the longest way through the steps."""
    ends: dict[str, float] = {}
    for step in plan.steps:  # edges go forward, but for those of `after:`
        before = max((ends.get(source, 0.0) for source, target in edges if target == step.name), default=0.0)
        ends[step.name] = before + seconds[step.name]
    return max(ends.values())


def measure(path: Path) -> dict[str, float] | None:
    """The figures of one notebook; None if it has a single step or doesn't run to its end."""
    source = read(path)
    node = apply(source, suggest(source))
    with tempfile.TemporaryDirectory(prefix="mlops-lab-precision-") as place:
        folder = Path(place, "run")
        shutil.copytree(path.parent, folder, ignore=shutil.ignore_patterns(".*", "*.ipynb"))
        plan = make_plan(build(from_node(node, folder / path.name)))
        require_sound(plan)
        run = Run(target("local")(plan, Options(cache=False, tracking=False), ()))
        if run.status != "done" or len(plan.steps) < 2:
            return None
        results, steps = results_of(run.folder), run.state.steps
        seconds = {name: step.seconds for name, step in steps.items()}
        planned = {(edge.source, edge.target) for edge in plan.edges}
        real = needed(plan, results)
        return {
            "steps": len(plan.steps),
            "edges": len(planned),
            "superfluous": len(planned - real),
            "unseen": len(real - planned),
            "twice": sum(step.overtaken for step in steps.values()),
            "planned": longest(plan, planned, seconds),
            "possible": longest(plan, real, seconds),
        }


def main() -> None:
    """Measure the notebooks of a folder and print the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=20)
    arguments = parser.parse_args()
    paths = sorted(p for p in arguments.folder.rglob("*.ipynb") if ".mlops_lab" not in p.parts)
    random.Random(1).shuffle(paths)
    rows: list[dict[str, float]] = []
    for path in paths:
        if len(rows) >= arguments.limit:
            break
        try:
            row = measure(path)
        except MlopsLabError as error:
            print(f"left out: {path.name}: {str(error).splitlines()[0]}")
            continue
        if row:
            rows.append(row)
            print(f"{path.parent.name}/{path.name}: " + ", ".join(f"{k} {v:.3g}" for k, v in row.items()), flush=True)
    total = {key: sum(row[key] for row in rows) for key in rows[0]}
    print(
        f"\n{len(rows)} notebooks, {total['steps']:.0f} steps, {total['edges']:.0f} edges\n"
        f"  edges that the run did not need    {total['superfluous'] / max(total['edges'], 1):.1%}\n"
        f"  edges that the analysis missed     {total['unseen']:.0f}\n"
        f"  steps that ran twice               {total['twice'] / total['steps']:.1%}\n"
        f"  the longest way is longer by       {total['planned'] / total['possible'] - 1:.1%}"
    )


if __name__ == "__main__":
    main()
