"""Random notebooks: what people write in cells, and what they hardly ever write, in short.

`program(random)` gives cells as (tags, statements). Statements are made from the templates of a few themes (`themes/*.txt`), and
draw their names from few variables, so that steps meet.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

Program = list[tuple[str, list[str]]]
Cell = tuple[str, str]

# In the templates: X Y Z W stand for variables, F G for functions, C D for classes, O P for objects, U V for arrays, R S for
# frames, K for a digit.
NAMES = "abcde"
FUNCTIONS = "fgh"
CLASSES = "CD"
OBJECTS = "op"
ARRAYS = "uvw"
FRAMES = "rs"
_POOLS = (("XYZW", NAMES), ("FG", FUNCTIONS), ("CD", CLASSES), ("OP", OBJECTS), ("UV", ARRAYS), ("RS", FRAMES))
_WORD = re.compile(r"\b_?[XYZWFGCDOPUVRS]\b|(?<![A-Za-z_])K(?![A-Za-z_])|(?<=[a-z])K\b|\bK(?=>)")
_LATER_LINE = (" ", "except", "finally", "else", "elif", "case")
_GOES_WITH_THE_NEXT = ("import ", "from ", "@")


def _statements(text: str) -> list[str]:
    """One template for each statement, imports and decorators joined with what follows them."""
    found: list[str] = []
    joined = False
    for line in text.strip("\n").split("\n"):
        starts = not line.startswith(_LATER_LINE)
        if starts and not joined:
            found.append(line)
        else:
            found[-1] += "\n" + line
        joined = starts and line.startswith(_GOES_WITH_THE_NEXT)
    return found


THEMES = {path.stem: _statements(path.read_text()) for path in sorted((Path(__file__).parent / "themes").glob("*.txt"))}
# Statements that configure a process count where they stand at the top level; they are never nested.
CONFIGURATION = THEMES.pop("configuration")


def _fill(template: str, r: random.Random) -> str:
    chosen: dict[str, str] = {}
    for letters, pool in _POOLS:
        picks = [r.choice(pool) for _ in letters]
        if letters == "CD" and picks[0] == picks[1] and "class C(D)" in template:
            picks[1] = next(c for c in pool if c != picks[0])
        chosen.update(zip(letters, picks, strict=True))

    def put(match: re.Match[str]) -> str:
        word = match.group()
        if word == "K":
            return str(r.randrange(5))
        if word.startswith("_"):
            return "_" + chosen[word[1:]]
        return chosen[word]

    return _WORD.sub(put, template)


def _indent(text: str) -> str:
    return text.replace("\n", "\n    ")


def statement(r: random.Random, themes: list[str], depth: int = 0) -> str:
    """A statement of one of the themes, often one that a cell survives."""
    made = _fill(r.choice(THEMES[r.choice(themes)]), r)
    if depth < 2 and r.random() < 0.15:
        inner = _indent(statement(r, themes, depth + 1))
        made = r.choice(
            [
                f"if {r.choice(NAMES)}:\n    {inner}",
                f"for _i in range(2):\n    {inner}",
                f"try:\n    {inner}\nexcept Exception:\n    {_indent(statement(r, themes, 2))}",
                f"if {r.choice(NAMES)}:\n    {inner}\nelse:\n    {_indent(statement(r, themes, 2))}",
            ]
        )
    if "import *" in made and depth:
        return "pass"
    if r.random() < (0.75 if depth == 0 else 0.1) and "import *" not in made:
        made = f"try:\n    {_indent(made)}\nexcept Exception as ex_:\n    print(type(ex_).__name__)"
    return made


_VALUES = ["[1, 2]", "[]", "{}", "'s'", "[[1], [2]]", "[0, 1, 2]", "{'k': [1]}", "{'k': [1], 'j': 2}"]
_CLASSES = [
    "class C:\n    q = 1\n    def add(self, t=1): return [self.q, a]",
    "class D:\n    items = []\n    count = 0\n    def __init__(self, q=None): self.q = q\n    def add(self, t=2):\n"
    "        self.items.append(t)\n        return self.items",
    "o = D(a)",
    "p = C()",
]


def _start(r: random.Random, themes: list[str]) -> list[str]:
    """What the first step binds."""
    made = ["import contextlib, asyncio"] if r.random() < 0.8 else []
    made += [f"{n} = {r.choice(_VALUES)}" for n in NAMES]
    made += ["def f(q=None): return q", "def g(q=None): return a", "h = lambda q=None: b"]
    if {"classes", "instances"} & set(themes) or r.random() < 0.1:
        made += _CLASSES
    if "frames" in themes:
        made += ["import pandas as pd", "r = pd.DataFrame({'x': [2, 0, 1], 'y': [1.0, None, 3.0]})", "s = r[['x']]"]
    if {"arrays", "ambient", "files"} & set(themes):
        made += ["import numpy as np"]
    if "arrays" in themes:
        made += ["u = np.arange(6)", "v = u[1:4]", "w = np.ones(1000)"]
    if "ambient" in themes:
        made += ["import os, sys, warnings, logging, decimal", "import pandas as pd"]
    if "files" in themes:
        made += ["import os, glob, json, pickle, shutil, sqlite3, tempfile, zipfile", "from pathlib import Path",
                 "Path('1.txt').write_text('first')"]  # fmt: skip
    if "random" in themes:
        made.append(f"import random; random.seed({r.randrange(9)})  # keep")
        if "arrays" in themes or r.random() < 0.4:
            made.append(f"import numpy as np; np.random.seed({r.randrange(9)})  # keep")
    return made


_SETUP = ["import math", "limit = 3", "tools = {'n': [1]}", "def scale(q, by=2): return [q, by, limit]", "class Conf: rate = 1"]
_OF_SETUP = [
    "print(limit)", "limit += 1", "print(math.floor(2.5))", "tools['n'].append(limit)", "print(tools)", "print(scale(1))",
    "Conf.rate += 1", "print(Conf.rate, scale(Conf.rate))", "tools = {'n': []}",
    "def scale(q): return [q]",
]  # fmt: skip
_PARAMETERS = ["alpha = 2", "beta = [1]", "gamma: str = 'g'"]
_OF_PARAMETERS = ["print(alpha)", "alpha += 1", "beta.append(1)", "print(beta)", "if alpha > 2: gamma = 'h'", "print(gamma)"]


def _end(r: random.Random, themes: list[str]) -> list[str]:
    """What the last step shows."""
    last = list(NAMES) if r.random() < 0.7 else r.sample(NAMES, 2)
    made = [f"try: print('{n}', {n})\nexcept Exception as ex_: print('{n}', type(ex_).__name__)" for n in last]
    if "arrays" in themes:
        made += ["print(u, v)", "print(w)"]
    if "frames" in themes:
        made += ["print(r, s, sep='\\n')"]
    if "classes" in themes:
        made += [f"try: print({n}.q, {n}.add())\nexcept Exception as ex_: print(type(ex_).__name__)" for n in OBJECTS]
        made += [f"print({n}.__name__, {{k: vars({n})[k] for k in ('items', 'count', 'known', 'made') if k in vars({n})}}, "
                 f"isinstance(o, {n}))" for n in CLASSES]  # fmt: skip
    if {"calls", "closures"} & set(themes):
        made += [f"try: print({n}())\nexcept Exception as ex_: print(type(ex_).__name__)" for n in FUNCTIONS]
    if "random" in themes:
        made += ["print(random.random())"]
    if "ambient" in themes:
        made += ["print(os.environ.get('PARITY_A'), np.array([1 / 3]), pd.Series([1 / 3]).to_list(), decimal.Decimal(1) / 3)"]
    if "files" in themes:
        made += ["print([Path(p).read_text() for p in sorted(glob.glob('*.txt'))])"]
    return made


def _themes(r: random.Random) -> list[str]:
    found = ["core"] + r.sample(sorted(set(THEMES) - {"core"}), r.choice([1, 1, 2]))
    if r.random() < 0.05:
        found = list(THEMES)
    if r.random() < 0.5 and len(found) > 1:
        found += found[1:]
    return found


def program(r: random.Random, about: Sequence[str] = ()) -> Program:
    """A notebook: cells as (tags, statements), about some themes (random ones if none are given)."""
    themes = list(about) or _themes(r)
    start = _start(r, themes)
    cells: Program = []
    first = r.random()
    with_setup, with_parameters = first < 0.15, first > 0.85
    if with_setup:
        cells.append(("setup", ["import math", *r.sample(_SETUP[1:], r.randint(1, 4))]))
    if with_parameters:
        cells.append(("parameters", list(_PARAMETERS)))
    cells.append(("" if r.random() < 0.3 else "step:init", start))
    names: list[str] = []
    for i in range(r.randint(2, 7)):
        name = r.choice(names) if names and r.random() < 0.1 else f"s{i}"
        names.append(name)
        body = [statement(r, themes) for _ in range(r.randint(1, 4))]
        if "random" in themes and "np.random" not in "\n".join(start):
            body = [s for s in body if "np." not in s] or ["pass"]
        if with_setup and r.random() < 0.3:
            body.append(r.choice(_OF_SETUP))
        if with_parameters and r.random() < 0.3:
            body.append(r.choice(_OF_PARAMETERS))
        if "ambient" in themes and r.random() < 0.3:
            body.append(_fill(r.choice(CONFIGURATION), r))
        cells.append((f"step:{name}", body))
        if r.random() < 0.1:
            cells.append(("", [statement(r, [t for t in themes if t != "random"])]))
        if r.random() < 0.05:
            cells.append(("skip", ["print('exploring')"]))
        if r.random() < 0.05:
            cells.append((f"step:check{i} gate", [f"assert {r.choice(NAMES)} is not None, 'gate'", "print('passed')"]))
    if r.random() < 0.03:
        cells.append(("step:looks-back", ["print(_)"]))  # at what another step displayed, if anything
    cells.append(("step:last", _end(r, themes)))
    return cells


def cells_of(made: Program) -> list[Cell]:
    """The cells as (tags, source)."""
    return [(tags, "\n".join(statements)) for tags, statements in made if statements]


@dataclass(frozen=True)
class Edited:
    """A notebook that is run, edited, and run again: its cells, the files beside it, the parameters given to the second run."""

    first: list[Cell]
    then: list[Cell]
    files: tuple[dict[str, str], dict[str, str]] = ({}, {})
    parameters: dict[str, object] = field(default_factory=dict)


_LOOKS_FOR_FILES = re.compile(r"glob\(|listdir\(|exists\(")
EDITS = ("nothing", "code", "value", "move", "comment", "show", "setup", "parameter", "file")


def edited(r: random.Random, how: str = "") -> Edited:
    """A random notebook, edited in one of the ways of `EDITS`."""
    how = how or r.choice(EDITS)
    # What a step sees of a folder, other than the content of files, is no part of its key so far.
    made = [(tags, [s for s in body if not _LOOKS_FOR_FILES.search(s)]) for tags, body in program(r)]
    steps = [i for i, (tags, _) in enumerate(made) if tags.startswith("step:s")]
    readers = r.sample(steps, min(2, len(steps)))
    own = {"setup": "setup", "parameter": "parameters"}.get(how)  # put in place of the program's own
    first = [(tags, list(body)) for tags, body in made if tags != own]
    shift = len(made) - len(first)
    if how in ("setup", "parameter"):
        first.insert(
            0, ("setup", ["base = 1", "def shifted(n): return n + base"]) if how == "setup" else ("parameters", ["base = 1"])
        )
        shift -= 1
    for i in readers:
        if how in ("setup", "parameter"):
            first[i - shift][1].append("print(base)" if how == "parameter" or r.random() < 0.5 else "print(shifted(1))")
            first[i - shift][1].append(f"{r.choice(NAMES)} = [base]")
        elif how == "file":
            first[i][1].append(f"{r.choice(NAMES)} = [open('given.dat').read()]")
    then = [(tags, list(body)) for tags, body in first]
    at = r.choice([i for i, (tags, _) in enumerate(then) if tags.startswith("step:s")])
    body = then[at][1]
    if how == "code":
        body.insert(r.randrange(len(body) + 1), f"{r.choice(NAMES)} = [{r.randrange(5)}, 'edited']")
    elif how == "value":
        start = next(body for _, body in then if any(s.startswith("a = ") for s in body))
        name = r.choice(NAMES)
        place = next(i for i, s in enumerate(start) if s.startswith(f"{name} = "))
        start[place] = start[place][:4] + "[7, 'edited']"
    elif how == "show":  # what nothing has read so far
        first[at][1].append("unread = [1]")
        body.append("unread = [1]")
        then[-1][1].append("print(unread)")
    elif how == "move" and len(body) > 1:
        body.reverse()
    elif how == "comment":
        body.insert(0, "# a comment")
    elif how in ("setup", "parameter"):
        then[0][1][0] = "base = 5"
    given = {"base": 5} if how == "parameter" else {}
    files: tuple[dict[str, str], dict[str, str]] = ({}, {})
    if how == "file":
        files = {"given.dat": "old"}, {"given.dat": "new"}
    return Edited(cells_of(first), cells_of(then), files, given)
