"""Compares what two runs left in their variables, as a program of the notebook's kernel interpreter: `ends.py WORK`.

WORK is a JSON file: `runs`, a list of two `{"store", "current"}` (versions of variables, as the runtime stores them), `names`,
`folder` and `paths` to find modules, and `result`, the file to write. A line is written for each name when its turn comes, and
a second one with why the two differ (an empty text: they don't; null: that can't be told), so that a value that takes the
process down is known.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import warnings
from types import SimpleNamespace
from typing import Any

_TOP = "mlops_lab_runtime"


class End:
    """The variables of one run, loaded when they are asked for."""

    def __init__(self, run: dict[str, Any], kit: Any) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
        current = {n: v for n, v in run["current"].items() if n.isidentifier() or n.startswith("def:")}
        order = {"step": "", "store": run["store"], "folder": "", "current": current, "reads": [], "keep": []}
        self._kit = kit.Kit(order, SimpleNamespace(user_ns=self.names))
        self._kit.load()

    def value(self, name: str) -> Any:
        """A variable, with what it needs. Raises what loading raises."""
        self._kit.wanted = [name]
        for wanted in self._kit.wanted:  # grows by what functions use
            self._kit._load(wanted)
        return self.names[name]


def main() -> None:
    """Compare two runs."""
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or ".") != folder]
    with open(sys.argv[1], encoding="utf-8") as file:
        work = json.load(file)
    sys.path[:0] = [work["folder"], *work["paths"]]
    sys.setrecursionlimit(20_000)
    warnings.simplefilter("ignore")
    top = os.path.join(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location(_TOP, top, submodule_search_locations=[folder])
    assert spec is not None and spec.loader is not None
    sys.modules[_TOP] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[_TOP])
    kit, compare = (importlib.import_module(f"{_TOP}.{name}") for name in ("kit", "compare"))
    comparison = compare.Comparison()
    one, other = (End(run, kit) for run in work["runs"])
    with open(work["result"], "a", encoding="utf-8") as result:
        for name in work["names"]:
            print(json.dumps([name]), file=result, flush=True)
            try:
                found = comparison.variable(one.value(name), other.value(name), name)
            except Exception:  # whatever a user's own methods raise
                found = None
            print(json.dumps([name, found]), file=result, flush=True)


if __name__ == "__main__":
    main()
