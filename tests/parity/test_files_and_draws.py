"""Files that the code doesn't name, and the states of random generators, are as they are in a run from top to bottom.

The rows' steps stand beside each other in one notebook. In each row the step that a later one depends on waits before it does
what matters, and nothing in the text tells of it, so that the later one starts too early and has to run again.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

import mlops_lab
from mlops_lab.events import StepOvertaken, StepStarted

from .test_table import KERNEL

WAIT = "import time; time.sleep(4)"

# Name -> cells, of which the last prints, and what it prints.
ROWS: dict[str, tuple[list[str], str]] = {
    "a file outside of the folder": (
        ["import os, tempfile\nplace = tempfile.mkdtemp()\nfile = os.path.join(place, 'x')",
         f"{WAIT}\nopen(file, 'w').write('1')",
         "print(os.path.exists(file), os.listdir(place))"], "True ['x']"),
    "a listing that grows by one file and not by a later one": (
        ["import os\nfolder = 'made'\nos.makedirs(folder, exist_ok=True)\nseen = [folder + '/' + n for n in 'pq']",
         f"{WAIT}\nopen(seen[0], 'w').write('1')",
         "print(sorted(os.listdir(folder)))",
         f"{WAIT}\nopen('apart.txt', 'w').write('1')",
         "from pathlib import Path\nprint(sorted(p.name for p in Path(folder).iterdir()))"], "['p']"),
    "a pattern that files of a later step don't match": (
        [f"import glob\n{WAIT}\nprint(glob.glob('*.gone'), glob.glob('*.' + 'none'))",
         "from pathlib import Path\nPath('later.' + 'pkl').write_text('1')\nprint([p.name for p in Path('.').glob('later.*')])"],
        "['later.pkl']"),
    "a file that a child process writes": (
        ["import os, subprocess, sys\nchild = 'child.txt'\ncode = f'open({child!r}, chr(119)).write(chr(120))'",
         f"{WAIT}\nsubprocess.run([sys.executable, '-c', code])",
         "print(os.path.exists(child))"], "True"),
    "a command that reads what is not there yet": (
        ["import subprocess\nword = ''.join(['wo', 'rd.txt'])",
         f"{WAIT}\nopen(word, 'w').write('1')",
         "print(subprocess.run(['cat', word], capture_output=True, text=True).stdout)"], "1"),
    "a file that is removed": (
        ["import os\ngone = ''.join(['go', 'ne.txt'])\nopen(gone, 'w').write('1')",
         f"{WAIT}\nos.remove(gone)",
         "print(os.path.exists(gone))"], "False"),
    "a step that fails for want of a file": (
        ["late = ''.join(['la', 'te.txt'])", f"{WAIT}\nopen(late, 'w').write('7')", "print(open(late).read())"], "7"),
    "a module that a step writes": (
        ["source = 'helper_' + 'm.py'", f"{WAIT}\nopen(source, 'w').write('x = 5')", "import helper_m\nprint(helper_m.x)",
         "print(helper_m.x + 1)"], "6"),
    "the state of a generator that is only looked at": (
        ["import random\nimport numpy as np", f"{WAIT}\nrandom.seed(3)\nnp.random.seed(3)",
         "looks = [getattr(random, 'get' + 'state'), getattr(np.random, 'get_' + 'state')]",
         "print(looks[0]()[1][:2], looks[1]()[1][:2])"], "(2147483648, 507801126) [         3 1142332464]"),
    "a generator that is seeded once more": (
        ["import random\nrandom.seed(8)", f"{WAIT}\ndrawn = getattr(random, 'random')()",
         "getattr(random, 'se' + 'ed')(8)", "print(getattr(random, 'random')())"], "0.2267058593810488"),
}  # fmt: skip


def written(folder: Path) -> Path:
    cells = []
    for number, (sources, _) in enumerate(ROWS.values()):
        for step, source in enumerate(sources):
            cells.append(new_code_cell(source, metadata={"tags": [f"step:row{number}-{step}"]}))
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), folder / "nb.ipynb")
    return folder / "nb.ipynb"


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs).strip()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[mlops_lab.api.Run]:
    pipeline = mlops_lab.load(written(tmp_path_factory.mktemp("files")))
    return [pipeline.run(workers=8, tracking=False), pipeline.run(workers=8, tracking=False)]


@pytest.mark.parametrize("name", ROWS)
def test_what_the_text_does_not_tell_comes_out_right(name: str, runs: list[mlops_lab.api.Run]) -> None:
    failures = {step: s.failure for step, s in runs[0].state.steps.items() if s.failure}
    assert not failures
    last = [sources[-1] for sources, _ in ROWS.values()].index(ROWS[name][0][-1])
    cells = [cell for cell in runs[0].notebook().cells if cell.cell_type == "code"]
    position = sum(len(sources) for sources, _ in list(ROWS.values())[: last + 1]) - 1
    assert printed(cells[position]) == ROWS[name][1]


def test_steps_run_again_only_a_few_times(runs: list[mlops_lab.api.Run]) -> None:
    started = Counter(event.step for event in runs[0].events() if isinstance(event, StepStarted))
    # A step may run again for each step above that changes what it reads; these are four at the most.
    assert max(started.values()) <= 5
    assert any(isinstance(event, StepOvertaken) for event in runs[0].events())
