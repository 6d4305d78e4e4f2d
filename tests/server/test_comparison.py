"""Which code changed from one run to the next."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from mlops_lab.runs import RunFolder
from mlops_lab.server.comparison import _code

NO_STEPS = {"steps": {}}


def kept(folder: Path, sources: list[str], ids: list[str] | None) -> RunFolder:
    folder.mkdir()
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    for index, cell in enumerate(node.cells):
        if ids is None:
            del cell["id"]
        else:
            cell["id"] = ids[index]
    node.nbformat_minor = 4 if ids is None else 5
    nbformat.write(node, folder / "notebook.ipynb")
    return RunFolder(folder)


@pytest.mark.parametrize("with_ids", [True, False])
def test_a_cell_that_is_added_above_makes_no_other_cell_differ(tmp_path, with_ids):
    before = kept(tmp_path / "a", ["x = 1", "y = 2", "z = 3"], ["x", "y", "z"] if with_ids else None)
    after = kept(tmp_path / "b", ["w = 0", "x = 1", "y = 20", "z = 3"], ["w", "x", "y", "z"] if with_ids else None)
    found = _code([("a", before, NO_STEPS), ("b", after, NO_STEPS)])
    assert [each["diff"].splitlines()[1:] for each in found] == [["+w = 0"], ["-y = 2", "+y = 20"]]
    assert [each["cell"] for each in found] == (["w", "y"] if with_ids else ["cell-0", "cell-2"])
    back = _code([("b", after, NO_STEPS), ("a", before, NO_STEPS)])
    assert sorted(each["diff"].splitlines()[1:] for each in back) == [["-w = 0"], ["-y = 20", "+y = 2"]]


def test_the_same_notebook_differs_in_nothing(tmp_path):
    before, after = kept(tmp_path / "a", ["x = 1"], ["x"]), kept(tmp_path / "b", ["x = 1"], ["x"])
    assert _code([("a", before, NO_STEPS), ("b", after, NO_STEPS)]) == []
