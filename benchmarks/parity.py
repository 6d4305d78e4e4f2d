"""How many public notebooks give, as pipelines, what they give when run straight: equal, refused, different, crashed.

    python benchmarks/parity.py FOLDER [--limit N] [--seconds S] [--out results.json]

FOLDER is what `public_notebooks.py` gathers. Each notebook is cut into steps by `mlops-lab suggest`; those that fail by
themselves here (a package is missing, say) are left out of the shares. Results are written as they come, and a second call
with the same --out goes on where the first one stopped.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from pathlib import Path

from mlops_lab.errors import MlopsLabError
from mlops_lab.notebook import read
from mlops_lab.suggest import apply, suggest
from mlops_lab.verify import verify


def judge(path: Path) -> dict[str, object]:
    """The verdict on one notebook, as a row of the results."""
    started = time.monotonic()
    row: dict[str, object] = {"notebook": str(path)}
    try:
        source = read(path)
        proposal = suggest(source)
        row["steps"] = len(proposal.steps)
        verdict = verify(path, node=apply(source, proposal))
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


def main() -> None:
    """Judge the notebooks of a folder and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further notebook after this time")
    parser.add_argument("--out", type=Path, default=Path("parity.jsonl"))
    arguments = parser.parse_args()
    done = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    known = {row["notebook"] for row in done}
    paths = sorted(p for p in arguments.folder.rglob("*.ipynb") if ".mlops_lab" not in p.parts)
    random.Random(0).shuffle(paths)
    started = time.monotonic()
    for path in paths[: arguments.limit or None]:
        if str(path) in known or time.monotonic() - started > arguments.seconds:
            continue
        row = judge(path)
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
