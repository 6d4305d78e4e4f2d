"""Steps that read and change the same few files, and nothing in their text tells of it: equal to the notebook, or refused.

Each step is a few lines, with pauses between them, so that steps overlap in ever new ways. Names of files are made when the
code runs, and children are started that list, read and append.
"""

from __future__ import annotations

import random
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from mlops_lab.verify import Verdict, verify

from .test_table import KERNEL

_BEGIN = (
    "import glob, os, shutil, subprocess, sys, time\nfrom concurrent.futures import ProcessPoolExecutor\nfrom pathlib import Path\n"
    "n = [''.join(['q', c]) for c in 'abc']\n"
    "def child(code):\n    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout"
)
_LINES = (
    "with open(n[{i}], 'a') as f: f.write('{step}')",
    "open(n[{i}], 'w').write('{step}')",
    "print(open(n[{i}]).read() if os.path.exists(n[{i}]) else None)",
    "print(sorted(x for x in os.listdir('.') if x.startswith('q')))",
    "print([p.exists() for p in map(Path, n)])",
    "if os.path.exists(n[{i}]): os.remove(n[{i}])",
    "print(subprocess.run(['cat', n[{i}]], capture_output=True, text=True).stdout)",
    "print(child('import os; print([(x, open(x).read()) for x in sorted(os.listdir()) if x[0] == chr(113)])'))",
    "child(f'open({{n[{i}]!r}}, chr(97)).write(chr(122))')",
    "print(sorted(glob.glob('q*')))",
    "if os.path.exists(n[{i}]): os.replace(n[{i}], n[{j}])",
    "print(list(ProcessPoolExecutor(1).map(os.path.exists, n)))",
    "if os.path.exists(n[{i}]) and {i} != {j}: shutil.copy(n[{i}], n[{j}])",
)  # fmt: skip
_PAUSES = (0.2, 0.5, 1, 1.8)

# Steps that once were different in silence.
_SEEN_BEFORE_THE_COMMAND = [
    "print(list(ProcessPoolExecutor(1).map(os.path.exists, n)))",
    f"time.sleep(0.2)\n{_LINES[4]}\ntime.sleep(1.8)\n{_LINES[7]}",
    f"{_LINES[0]}\n{_LINES[0]}\ntime.sleep(0.2)\n{_LINES[9]}".format(i=1, j=0, step=2),
    f"time.sleep(1)\n{_LINES[2]}\n{_LINES[5]}\ntime.sleep(0.2)\n{_LINES[3]}".format(i=0, j=0, step=3),
]
_READ_WHILE_REMOVED = [
    f"{_LINES[7]}\ntime.sleep(1)\n" + _LINES[0].format(i=2, step=0),
    f"{_LINES[8]}\n{_LINES[3]}\ntime.sleep(1)\n".format(i=0) + _LINES[5].format(i=2),
    f"time.sleep(1)\n{_LINES[1]}\ntime.sleep(1)\n{_LINES[10]}\n{_LINES[9]}".format(i=2, j=1, step=4),
    f"time.sleep(1)\n{_LINES[5]}".format(i=0),
    f"time.sleep(1)\n{_LINES[12]}".format(i=0, j=2),
    _LINES[9],
]


def _drawn(seed: int) -> list[str]:
    """The steps of a notebook."""
    draw = random.Random(seed)
    steps = []
    for step in range(draw.randint(4, 7)):
        lines = []
        for _ in range(draw.randint(1, 3)):
            lines += [f"time.sleep({draw.choice(_PAUSES)})"] if draw.random() < 0.5 else []
            lines.append(draw.choice(_LINES).format(i=draw.randrange(3), j=draw.randrange(3), step=step))
        steps.append("\n".join(lines))
    return steps


def _verdict(folder: Path, steps: list[str]) -> Verdict:
    cells = [new_code_cell(code, metadata={"tags": [f"step:s{number}"]}) for number, code in enumerate([_BEGIN, *steps])]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), folder / "nb.ipynb")
    return verify(folder / "nb.ipynb", workers=6)


@pytest.mark.parametrize("steps", [_SEEN_BEFORE_THE_COMMAND, _READ_WHILE_REMOVED], ids=["seen before", "read while removed"])
def test_races_that_once_were_lost(tmp_path, steps):
    verdict = _verdict(tmp_path, steps)
    assert verdict.status == "equal", verdict


@pytest.mark.parametrize("seed", range(3))
def test_random_races_are_equal_or_refused(tmp_path, seed):
    verdict = _verdict(tmp_path, _drawn(seed))
    assert verdict.status in {"equal", "refused"}, verdict
