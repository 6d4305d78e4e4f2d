"""How many public notebooks give, as pipelines, what they give when run straight: equal, refused, different, crashed.

    python benchmarks/parity.py FOLDER [--cut suggest|cells|random] [--seed N] [--after RESULTS ...]
                                       [--limit N] [--seconds S] [--out results.jsonl]

FOLDER is what `public_notebooks.py` gathers. Each notebook is cut into steps as `cuts.py` says; those that fail by
themselves here (a package is missing, say) are left out of the shares. Results are written as they come, and a second call
with the same --out goes on where the first one stopped. With --after, the results of other calls say which notebooks to
take: those that ran, the quickest first, by turns from each package.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from itertools import zip_longest
from pathlib import Path

from cuts import CUTS

from mlops_lab.errors import MlopsLabError
from mlops_lab.notebook import from_node, read
from mlops_lab.pipeline import build
from mlops_lab.verify import verify


def judge(path: Path, cut: str = "suggest", seed: int = 0) -> dict[str, object]:
    """The verdict on one notebook, as a row of the results."""
    started = time.monotonic()
    row: dict[str, object] = {"notebook": str(path), "cut": cut, "seed": seed}
    try:
        node = CUTS[cut](read(path), seed)
        row["steps"] = len(build(from_node(node, path)).steps)
        verdict = verify(path, node=node)
        row |= {"status": verdict.status, "message": verdict.message, "overtaken": verdict.overtaken}
        row["differences"] = [vars(cell) for cell in verdict.differences[:3]]
        row["variables"] = [vars(variable) for variable in verdict.different_variables[:5]]
        row["unstable"] = sum(cell.status == "unstable" for cell in verdict.cells)
        row["ends"] = Counter(variable.status for variable in verdict.variables)
    except MlopsLabError as error:
        row |= {"status": "refused", "message": str(error)}
    except Exception as error:  # what must never happen, and is counted
        row |= {"status": "crashed", "message": f"{type(error).__name__}: {error}"}
    row["seconds"] = round(time.monotonic() - started, 1)
    return row


def by_turns(paths: list[Path], results: list[Path]) -> list[Path]:
    """The notebooks that ran according to these results, the quickest first, by turns from each folder."""
    rows = [json.loads(line) for file in results for line in file.read_text().splitlines()]
    seconds = {row["notebook"]: row["seconds"] for row in rows if row["status"] != "failed"}
    folders: dict[Path, list[Path]] = {}
    for path in sorted((p for p in paths if str(p) in seconds), key=lambda p: seconds[str(p)]):
        folders.setdefault(path.parent, []).append(path)
    turns = zip_longest(*folders.values())
    return [path for turn in turns for path in turn if path]


def main() -> None:
    """Judge the notebooks of a folder and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cut", choices=CUTS, default="suggest")
    parser.add_argument("--seed", type=int, default=0, help="of the cut random")
    parser.add_argument("--after", type=Path, nargs="*", default=[], help="results of other calls")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further notebook after this time")
    parser.add_argument("--out", type=Path, default=Path("parity.jsonl"))
    arguments = parser.parse_args()
    done = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    known = {row["notebook"] for row in done}
    paths = sorted(p for p in arguments.folder.rglob("*.ipynb") if ".mlops_lab" not in p.parts)
    random.Random(0).shuffle(paths)
    if arguments.after:
        paths = by_turns(paths, arguments.after)
    started = time.monotonic()
    for path in paths[: arguments.limit or None]:
        if str(path) in known or time.monotonic() - started > arguments.seconds:
            continue
        row = judge(path, arguments.cut, arguments.seed)
        done.append(row)
        with arguments.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(
            f"{row['status']:<10} {row['seconds']:>6} s  {path.parent.name}/{path.name}  {str(row['message'])[:110]}",
            flush=True,
        )
    counts = Counter(row["status"] for row in done)
    ends = sum((Counter(row.get("ends", {})) for row in done), Counter[str]())
    judged = sum(counts.values()) - counts["failed"]
    print(f"\n{judged} notebooks judged, {counts['failed']} fail by themselves")
    for status in ("equal", "refused", "different", "crashed"):
        print(f"  {status:<10} {counts[status]:>4}  {counts[status] / max(judged, 1):.1%}")
    print(f"final variables: {', '.join(f'{count} {status}' for status, count in sorted(ends.items())) or 'none'}")


if __name__ == "__main__":
    main()
