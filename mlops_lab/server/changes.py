"""What differs between two analyses of a notebook, as plain data: most edits change a step or two of hundreds.

Lists change by splices, with positions of the list as it was; cells by their ids, where None takes one away. The front end
puts the two together again (labextension/src/analysis.ts), and draws again only what has come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LISTS = ("steps", "edges", "parameters", "diagnostics")
_WORDS = ("name", "description")


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What makes `after` of `before`; what is equal isn't mentioned."""
    model: dict[str, Any] = {word: after[word] for word in _WORDS if before[word] != after[word]}
    model |= {name: found for name in _LISTS if (found := splices(before[name], after[name]))}
    old, new = before["cells"], after["cells"]
    cells = {cell: each for cell, each in new.items() if old.get(cell) != each} | dict.fromkeys(old.keys() - new.keys())
    return model | ({"cells": cells} if cells else {})


def splices(before: Sequence[Any], after: Sequence[Any]) -> list[dict[str, Any]]:
    """At which places of `before` how many items are removed, and which stand there instead."""
    if len(before) == len(after):
        places = [at for at, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
        return [{"at": at, "remove": 1, "items": [after[at]]} for at in places]
    shorter = min(len(before), len(after))
    head = next((at for at in range(shorter) if before[at] != after[at]), shorter)
    rest = shorter - head
    tail = next((at for at in range(rest) if before[-1 - at] != after[-1 - at]), rest)
    return [{"at": head, "remove": len(before) - head - tail, "items": list(after[head : len(after) - tail])}]
