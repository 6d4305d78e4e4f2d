"""Files that two unrelated steps used, where steps share no disk: the later one did not see what the earlier one wrote.

Steps that wait for each other hand files on. Of two that don't, the graph took for granted that they use different files; what
they really used stands in the ledger, and the first step that comes after both looks. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .filestates import TRACKING, concerns


def conflict(ledger: Mapping[str, Mapping[str, Any]], asks_mlflow: bool = False) -> str:
    """What is wrong, or nothing. `ledger` has the steps in the order of the notebook, each with those `above` it.

    A tracking store that lies in files is the last one's; that matters where a step asks what was logged.
    """
    names = list(ledger)
    for position, late in enumerate(names):
        for early in names[:position]:
            if early not in ledger[late]["above"]:
                path = _shared(ledger[early], ledger[late], () if asks_mlflow else TRACKING)
                if path:
                    return (
                        f"ML202: step {early!r} writes the file {path}, and step {late!r}, which stands below it, uses it "
                        f"too, but doesn't wait for it. Tag {late!r} with after:{early}, or merge the two steps."
                    )
    return ""


def _shared(early: Mapping[str, Any], late: Mapping[str, Any], without: tuple[str, ...]) -> str:
    """The first path that the later step saw, or left, otherwise than it would have after the earlier one."""
    for path, state in sorted(early["writes"].items()):
        wrote = state.lstrip("~")
        if path.startswith(without):
            continue
        seen, left = late["reads"].get(path), late["writes"].get(path)
        if path.endswith("/"):
            if seen is not None and seen != "absent" and not _listed(wrote, seen):
                return str(path)
        elif (seen is not None and not (wrote == seen or (seen.startswith(":") and wrote.endswith(seen)))) or (
            left is not None and left.lstrip("~") != wrote
        ):
            return str(path)
    return ""


def _listed(changes: str, seen: str) -> bool:
    """True if names in a folder were seen as they are after these changes."""
    names, matters = seen.split("/"), concerns(seen)
    came = [(change[:1] == "+", change[1:]) for change in (x.lstrip("~") for x in changes.split("/")) if change]
    return seen[:1] != "#" and all(there == (name in names) for there, name in came if matters(name))
