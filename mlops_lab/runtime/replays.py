"""What the cells read and bind that are run again in each step (setup cells, imports and what they configure).

From top to bottom they ran once. Where a step below them has changed such a file, a later step would read it changed; and what
they draw or take from a clock is another value in each step. Standard library only.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Mapping, Set
from itertools import chain
from typing import Any

from .filestates import concerns

_PLAIN = (str, bytes, bool, int, float, complex, type(None))
_HOMES = {"datetime", "uuid", "decimal", "fractions", "pathlib"}  # of values that show all that they are
Writer = tuple[str, int, Mapping[str, str]]  # a step, its last cell, what it wrote


class Prelude:
    """The cells of the notebook that a step's kernel runs before those of the step."""

    def __init__(self, shell: Any, sources: Iterable[tuple[int, str]]) -> None:
        self._shell, self._sources, self._code = shell, list(sources), ""
        self._ran: list[str] = []
        shell.events.register("pre_run_cell", self._begins)

    def cell(self) -> int:
        """The number of the cell at work; 0 if it can't be told."""
        frame: Any = sys._getframe(1)
        while frame is not None and frame.f_globals is not self._shell.user_ns:
            frame = frame.f_back
        line = self._code.splitlines()[frame.f_lineno - 1 : frame.f_lineno] if frame is not None else []
        whole = [number for number, source in self._sources if source == self._code]
        part = [number for number, source in self._sources for text in line if text.strip() and text.strip() in source]
        return (whole or part or [0])[0]

    def end(self) -> None:
        """The cells of the step begin."""
        self._shell.events.unregister("pre_run_cell", self._begins)

    def value(self, name: str, value: Any) -> str:
        """`CODE:CONTENT`, digests of the cells that name a variable, and of its value; nothing where that can't be told."""
        content = digest(value)
        code = "\n".join(cell for cell in self._ran if re.search(rf"\b{re.escape(name)}\b", cell))
        return content and f"{digest(code)}:{content}"

    def _begins(self, info: Any) -> None:
        self._code = info.raw_cell
        self._ran.append(info.raw_cell)


def changed(step: str, replayed: Mapping[str, int], reads: Mapping[str, str], writers: Iterable[Writer]) -> str:
    """What is wrong, or nothing. `replayed`: path -> the cell that read it; `reads`: its state; `writers`: the steps above."""
    for writer, last, writes in writers:
        for path, cell in replayed.items():
            names = [change.lstrip("~")[1:] for change in writes.get(path, "").split("/") if change]
            if last > cell and path in writes and (path[-1:] != "/" or any(map(concerns(reads.get(path, "")), names))):
                return (
                    f"ML207: cell {cell} is run again in step {step!r} and reads {path}, which step {writer!r} has changed: "
                    f"from top to bottom, it was read before that. Read it in a step, or write to another file."
                )
    return ""


def digest(value: Any) -> str:
    """The digest of all in a value that shows what it is: texts, numbers, dates, arrays, tables, and what the notebook's own
    instances and containers hold of them; nothing where there is none. What else they hold counts by its type alone."""
    shown: list[Any] = []
    try:
        content = _content(value, shown, set())
    except (TypeError, ValueError, RecursionError):
        return ""
    return hashlib.sha256(repr(content).encode("utf-8", "surrogatepass")).hexdigest()[:16] if shown else ""


def _content(value: Any, shown: list[Any], above: Set[int]) -> Any:
    """What digests are made of. `shown` grows by what shows what it is; `above` are the ids of what holds the value."""
    kind = type(value)
    home = kind.__module__.partition(".")[0]
    if kind in _PLAIN or home in _HOMES:
        shown.append(value)
        return value
    if home == "numpy" and hasattr(value, "tobytes") and not value.dtype.hasobject:
        shown.append(value)
        return str(value.dtype), value.shape, hashlib.sha256(value.tobytes()).hexdigest()
    if home == "pandas" and kind.__name__ in {"DataFrame", "Series", "Index"}:
        hashes = sys.modules["pandas"].util.hash_pandas_object(value)
        shown.append(value)
        names = [str(name) for name in getattr(value, "columns", ())]
        return kind.__name__, names, hashlib.sha256(hashes.to_numpy().tobytes()).hexdigest()
    if home in {"__main__", "types"} and isinstance(getattr(value, "__dict__", None), dict):
        held: Any = vars(value)
    else:
        held = value if kind in {list, tuple, set, frozenset, dict} else ()
    if id(value) in above or not held:
        return kind.__name__
    above = above | {id(value)}
    if isinstance(held, dict):
        held = list(chain.from_iterable(held.items()))
    parts = [_content(part, shown, above) for part in held]
    return kind.__name__, *(sorted(map(repr, parts)) if kind in {set, frozenset} else parts)


def differing(step: str, values: Mapping[str, str], above: Iterable[tuple[str, Mapping[str, str]]]) -> str:
    """What is wrong, or nothing. `values`: variable that such a cell bound and the step reads -> `CODE:CONTENT`; also of those
    above. Another setup cell may have bound it anew between the steps."""
    for other, theirs in above:
        for name in values.keys() & theirs.keys():
            (code, content), (same, there) = values[name].split(":"), theirs[name].split(":")
            if code == same and content != there:
                return (
                    f"ML208: {name!r} is another value in step {step!r} than in step {other!r}: the cell that binds it is run "
                    f"again in each step, and gives another value each time (a random number, the time). Bind it in a step, so "
                    f"that it is passed on."
                )
    return ""
