"""Whether two variables are one text, number or tuple, where the notebook's code asks for that (`a is b`, `mode is "train"`).

Values that can't change are stored one by one, so that one object held by two variables comes back as two. Which pairs are
compared the code tells; which of these are one object, and which texts are interned as the compiler's own are, is a member of
the step (`patch:IPython:same/names`, see `session.py`).
"""

from __future__ import annotations

import re
import sys
from typing import Any

_IS = re.compile(r"\b([^\W\d]\w*)\s+is\s+(?:not\s+)?([^\W\d]\w*|['\"])")
_IDS = re.compile(r"\bid\((\w+)\)\s*[!=]=\s*id\((\w+)\)")
_CONSTANTS = {"None", "True", "False", "Ellipsis", "NotImplemented", "not"}
_ATOMS = (str, bytes, int, float, complex, tuple, frozenset)

_pairs: set[tuple[str, str]] = set()
_texts: set[str] = set()
_came: tuple[set[tuple[str, str]], set[str]] | None = None
_loaded: dict[str, Any] = {}  # name -> what it was before the step's cells


def watch(code: str) -> None:
    """Begin a step; `code` is the notebook's."""
    global _came
    found = [pair for pair in (*_IS.findall(code), *_IDS.findall(code)) if not _CONSTANTS & set(pair)]
    _pairs.clear()
    _pairs.update((min(pair), max(pair)) for pair in found if pair[1] not in "'\"")
    _texts.clear()
    _texts.update(name for pair in found for name in pair if name not in "'\"")
    _loaded.clear()
    _came = None


def get(names: dict[str, Any]) -> str:
    """What is so now, of variables that the step doesn't have what came; empty if there is nothing to tell."""
    pairs, texts = _came or (set(), set())
    same = {pair for pair in _pairs if _is_same(pair, names, pair in pairs)}
    interned = {name for name in _texts if (_is_interned(names[name]) if name in names else name in texts)}
    if not (same or interned or _came):
        return ""
    return ";".join([*map(" ".join, sorted(same)), *sorted(interned)]) or ";"


def put(new: str) -> None:
    """Remember what an earlier step has left, until all variables are there."""
    global _came
    words = [part.split(" ") for part in new.split(";") if part]
    _came = {(w[0], w[1]) for w in words if len(w) == 2}, {w[0] for w in words if len(w) == 1}


def settle(names: dict[str, Any]) -> None:
    """Make one of what was one, once the step's inputs are there."""
    pairs, texts = _came or (set(), set())
    for name in texts & names.keys():
        if type(names[name]) is str:
            names[name] = sys.intern(names[name])
    for one, two in sorted(pairs):
        if one in names and two in names and type(names[one]) is type(names[two]) and names[one] == names[two]:
            names[two] = names[one]
    _loaded.update((name, names[name]) for name in _texts & names.keys())


def _is_same(pair: tuple[str, str], names: dict[str, Any], came: bool) -> bool:
    one, two = pair
    if one in names and two in names:
        return names[one] is names[two] and isinstance(names[one], _ATOMS)
    return came and all(name not in names or names[name] is _loaded.get(name) for name in pair)


def _is_interned(value: Any) -> bool:
    return type(value) is str and len(value) > 1 and sys.intern("".join([value[:1], value[1:]])) is value
