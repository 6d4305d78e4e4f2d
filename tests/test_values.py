"""Values come back exactly: each row of `value_rows.py` and `package_rows.py` is made in one process and loaded in another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.package_rows import ROWS
from tests.value_rows import Row


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[str]]]:
    """What the values look like in the process that made them, and in one that loaded them."""
    folder = tmp_path_factory.mktemp("values")
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    found = []
    for phase in ("save", "load"):
        call = [sys.executable, str(Path(__file__).parent / "value_driver.py"), phase, str(folder)]
        done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads((folder / f"{phase}.json").read_text()))
    return found


def test_names_of_rows_are_unique() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_a_value_comes_back_exactly_or_is_refused(row: Row, seen: list[dict[str, list[str]]]) -> None:
    (saved, *before), (loaded, *after) = (phase[row.name] for phase in seen)
    if saved == "missing":
        pytest.skip(f"{before} not installed")
    if row.refused:
        assert saved == "refused" and row.refused in " ".join(before), before
        return
    assert (saved, loaded) == ("fine", "fine"), (before, after)
    different = [(one, two) for one, two in zip(before, after, strict=False) if one != two]
    assert not different, "\n".join(map(str, different[:5]))
    assert len(before) == len(after)
