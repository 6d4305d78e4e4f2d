"""Makes the values of `value_rows.py` and `package_rows.py`, or loads them in another process, and notes what they look like.

    python tests/value_driver.py save|load FOLDER

Both ways go through the runtime's kit, as a step's hidden cells do.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)
from mlops_lab.runtime.load import runtime_module  # noqa: E402
from tests.package_rows import ROWS  # noqa: E402
from tests.portrait import portrait  # noqa: E402
from tests.value_rows import Row  # noqa: E402

kit = runtime_module("kit")


def order(row: Row, folder: Path) -> defaultdict[str, Any]:
    known = {
        "step": "s", "store": str(folder / "store"), "folder": str(folder), "numbers": [1], "sources": [], "reads": [],
        "keep": row.names, "current": {}, "imports": {}, "seeded": False, "modules": [], "configuration": [],
        "own_configuration": [], "result": str(folder / f"{ROWS.index(row)}.json"),
    }  # fmt: skip
    return defaultdict(lambda: None, known)


def short_names() -> dict[str, Any]:
    """Modules by the names that expressions know them by, as far as a value brought them."""
    short = {"numpy": "np", "pandas": "pd", "torch": "torch", "xgboost": "xgboost", "sklearn": "sklearn", "sympy": "sympy"}
    return {name: sys.modules[module] for module, name in short.items() if module in sys.modules}


def look(row: Row, names: dict[str, Any]) -> list[str]:
    lines = portrait([names[name] for name in row.names]) if row.portrait else []
    return [*lines, f"{row.shows} = {eval(row.shows, {**short_names(), **names})!r}"] if row.shows else lines


def run(row: Row, folder: Path, saving: bool) -> list[str]:
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    names = main.__dict__
    names["__builtins__"] = __builtins__
    shell = types.SimpleNamespace(user_ns=names)
    if saving:
        exec(compile(row.code, str(folder / "cell.py"), "exec"), names)
        saver = kit.Kit(order(row, folder), shell)
        saver.keep_all()
        outputs = json.loads(Path(saver.order["result"]).read_text())["outputs"]
        refused = [version["version"][1] for version in outputs.values() if version["version"][0].startswith("refused:")]
        return ["refused", *refused] if refused else ["fine", *look(row, names)]
    outputs = json.loads((folder / f"{ROWS.index(row)}.json").read_text())["outputs"]
    wanted = order(row, folder)
    wanted["current"] = {name: output["version"] for name, output in outputs.items()}
    wanted["reads"] = row.names
    loader = kit.Kit(wanted, shell)
    loader.load()
    digests = [[loader.store.digest_of(kit.pack(loader.space, [name])) for name in row.names] for _ in range(2)]
    assert digests[0] == digests[1], "packing a value twice gives different bytes"
    return ["fine", *look(row, names)]


def main() -> None:
    saving, folder = sys.argv[1] == "save", Path(sys.argv[2])
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(5000)
    found: dict[str, list[str]] = {}
    for row in ROWS:
        missing = [m for m in row.needs.split() if importlib.util.find_spec(m) is None]
        try:
            found[row.name] = ["missing", *missing] if missing else run(row, folder, saving)
        except Exception as error:
            found[row.name] = [
                "refused" if isinstance(error, kit.InputRefused) else "failed",
                f"{type(error).__name__}: {error}",
            ]
    (folder / f"{sys.argv[1]}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
