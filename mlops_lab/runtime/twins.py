"""Whether two variables are one text, number or tuple, where the notebook's code asks for that (`a is b`, `mode is "train"`).

Where it asks so of what variables hold (`rows[0] is best`, `[r is best for r in rows]`), all places that hold one such object
are told of. A number that `id` gave is that of no object in another process: it is refused.

Values that can't change are stored one by one, so that one object held by two variables comes back as two. Which pairs are
compared the code tells; which of these are one object, and which texts are interned as the compiler's own are, is a member of
the step (`patch:IPython:same/names`, see `session.py`).
"""

from __future__ import annotations

import contextlib
import re
import sys
import types
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from .memory import Refused

_IS = re.compile(r"\b([^\W\d]\w*)\s+is\s+(?:not\s+)?([^\W\d]\w*|['\"])")
_IDS = re.compile(r"\bid\((\w+)\)\s*[!=]=\s*id\((\w+)\)")
_CONSTANTS = {"None", "True", "False", "Ellipsis", "NotImplemented", "not"}
_ATOMS = (str, bytes, int, float, complex, tuple, frozenset)

_NESTED = re.compile(r"([^\s(,]+)\s+is\s+(?:not\s+)?(?!(?:None|True|False|Ellipsis|NotImplemented|not|type)\b)([^\s),:]+)")
_ID = re.compile(r"\bid\(")
PICKLES = re.compile(r"\b(?:pickle|joblib|dill|cloudpickle|shelve|to_pickle|asizeof)\b")
_IDS_OF = re.compile(r"\bid\((.+?)\)\s*[!=]=\s*id\((.+?)\)")
_LARGEST = 20_000  # objects that are worth a look
_ADDRESSES = 2**32  # larger numbers may be some

_nested = _asks_id = _pickles = False
_groups: list[list[str]] = []  # paths, as `rows/i0`, `d/k2`, `c/aname`, that held one object in an earlier step
_settled: dict[str, Any] = {}  # path -> what it was before the step's cells
_pairs: set[tuple[str, str]] = set()
_texts: set[str] = set()
_came: tuple[set[tuple[str, str]], set[str]] | None = None
_loaded: dict[str, Any] = {}  # name -> what it was before the step's cells


def watch(code: str) -> None:
    """Begin a step; `code` is the notebook's."""
    global _asks_id, _came, _nested, _pickles
    _pickles = bool(PICKLES.search(code))
    _asks_id = bool(_ID.search(code))
    sides = [side for found in (*_NESTED.findall(code), *_IDS_OF.findall(code)) if "type(" not in found[0] for side in found]
    _nested = any("." in side or "[" in side or re.search(rf"\bfor\b[^:\n]*\b{re.escape(side)}\b", code) for side in sides)
    _groups.clear()
    _settled.clear()
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
    groups = sorted("=".join(sorted(group)) for group in _groups_now(names))
    if not (same or interned or groups or _came):
        return ""
    return ";".join([*map(" ".join, sorted(same)), *sorted(interned), *groups]) or ";"


def put(new: str) -> None:
    """Remember what an earlier step has left, until all variables are there."""
    global _came
    words = [part.split(" ") for part in new.split(";") if part and "=" not in part]
    _groups[:] = [part.split("=") for part in new.split(";") if "=" in part]
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
    _settle_groups(names)
    _loaded.update((name, names[name]) for name in _texts & names.keys())


def _is_same(pair: tuple[str, str], names: dict[str, Any], came: bool) -> bool:
    one, two = pair
    if one in names and two in names:
        return names[one] is names[two] and isinstance(names[one], _ATOMS)
    return came and all(name not in names or names[name] is _loaded.get(name) for name in pair)


def _is_interned(value: Any) -> bool:
    return type(value) is str and len(value) > 1 and sys.intern("".join([value[:1], value[1:]])) is value


def interned(held: Collection[Any]) -> list[str]:
    """Which of these are interned texts, as far as the notebook can tell: a pickle that it makes is shorter where one that is a
    name in the code, too, is the same object."""
    if not _pickles or len(held) > _LARGEST:
        return []
    return [value for value in held if _is_interned(value)]


def refuse_ids(value: Any, names: Mapping[str, Any]) -> None:
    """Raise `Refused` if a value holds the `id` of an object that is there."""
    if not _asks_id:
        return
    numbers = {n for _, held in _walk({"": value}) for n in _numbers(held)}
    if numbers and any(id(held) in numbers for _, held in _walk(names)):
        raise Refused("it holds the id() of an object, which is another in each step; keep the object itself, or a name for it")


def _numbers(value: Any) -> Iterator[int]:
    keys = value if isinstance(value, (dict, set, frozenset)) and len(value) <= _LARGEST else (value,)
    yield from (key for key in keys if type(key) is int and key > _ADDRESSES)


def _walk(names: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(path, object) of variables and what they hold."""
    todo = deque((name, value) for name, value in list(names.items()) if name[:1] != "_" and name not in {"In", "Out"})
    seen: set[int] = set()
    count = 0
    while todo and count < _LARGEST:
        path, value = todo.popleft()
        count += 1
        yield path, value
        if isinstance(value, (type, types.ModuleType, types.FunctionType, *_PLAIN)) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, (list, tuple)):
            todo.extend((f"{path}/i{n}", held) for n, held in enumerate(value[:_LARGEST]))
        elif isinstance(value, dict):
            todo.extend((f"{path}/k{n}", held) for n, held in enumerate(list(value.values())[:_LARGEST]))
        elif type(value).__module__ == "__main__" and hasattr(value, "__dict__"):
            todo.extend((f"{path}/a{name}", held) for name, held in vars(value).items() if not set("/;=") & set(name))


_PLAIN = (str, bytes, int, float, complex)
_SIZED = (str, bytes, tuple, frozenset)


def _groups_now(names: dict[str, Any]) -> list[set[str]]:
    """The places that hold one object, those that the step has not loaded as they were."""
    if not (_nested or _groups):
        return []
    held: dict[int, set[str]] = {}
    now: dict[str, Any] = {}
    for path, value in _walk(names):
        if (
            isinstance(value, _ATOMS)
            and (value or not isinstance(value, _SIZED))  # there is one empty text, and one empty tuple
            and not (type(value) is int and -6 < value < 257)
        ):
            now[path] = value
            held.setdefault(id(value), set()).add(path)
    found = list(held.values())
    for group in _groups:
        away = {path for path in group if path.partition("/")[0] not in names}
        kept = {path for path in group if path in now and now[path] is _settled.get(path)}
        if away and kept:
            for path in kept:
                held[id(now[path])].update(away)
        elif away:
            found.append(away)
    return [group for group in found if len(group) > 1 and any("/" in path for path in group)]


def _settle_groups(names: dict[str, Any]) -> None:
    """Make one object of what was one in several places."""
    for group in _groups:
        there = [place for place in (_place(path, names) for path in group) if place is not None]
        there.sort(key=lambda place: not isinstance(place[0], tuple))  # which can't be changed
        for holder, key in there[1:]:
            one, other = there[0][0][there[0][1]], holder[key]
            with contextlib.suppress(ValueError):  # of arrays in a tuple
                if type(one) is type(other) and one == other and not isinstance(holder, tuple):
                    holder[key] = one
    _settled.update((path, place[0][place[1]]) for group in _groups for path in group if (place := _place(path, names)))


def _place(path: str, names: dict[str, Any]) -> tuple[Any, Any] | None:
    """What holds the object at a path, and the key or index there."""
    name, *steps = path.split("/")
    holder: Any = names
    key: Any = name
    for step in steps:
        if (isinstance(holder, dict) and key not in holder) or (not isinstance(holder, dict) and key >= len(holder)):
            return None
        value: Any = holder[key]
        if step[0] == "a":
            holder, key = getattr(value, "__dict__", {}), step[1:]
        elif not isinstance(value, dict if step[0] == "k" else (list, tuple)) or int(step[1:]) >= len(value):
            return None
        else:
            holder, key = value, list(value)[int(step[1:])] if step[0] == "k" else int(step[1:])
    return (holder, key) if not isinstance(holder, dict) or key in holder else None
