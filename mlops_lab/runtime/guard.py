"""What a step did that the graph of steps doesn't show, and that an engine with a fixed graph therefore can't make good.

Such an engine (Kubeflow, an exported workflow, `--fixed-graph` here) hands a step what the steps it waits for left. That is
what the notebook gives as long as no step changes, behind the analysis, what an unrelated step works with: *unrelated* are two
steps of which none waits for the other, directly or not. The tables come with the step's order (made by `mlops_lab/guard.py`):

    readers    name -> unrelated later steps that may read it
    writers    name -> unrelated later steps that may change it
    holders    name -> unrelated earlier steps that read it, and may still hold what they read
    sources    name -> unrelated earlier steps that are known to change it
    unrelated  unrelated later steps
    drawing    unrelated steps above that draw from the global random generators
    reads      names that the step is known to read
    binds      names that the step surely binds
    changes    names that the step is known to change
    cells      the step's cells, for messages
    draws      true if the step is known to draw
    states     ambient states that the step is known to change: whoever works with them waits for it (may be missing)

Standard library only: it travels into containers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

_WAYS_OUT = "Tag {later!r} with after:{earlier}, merge the two steps, or let a run record it: mlops-lab run NOTEBOOK --learn."


@dataclass(frozen=True)
class Finding:
    """One thing that the graph lacks.

    `record` is what makes it an edge: (step, "changes" or "uses", name), a row for that step's settings.
    """

    code: str
    name: str
    steps: tuple[str, ...]
    message: str
    record: tuple[str, str, str]


def missing_inputs(step: str, tables: Mapping[str, Any], needed: Collection[str]) -> list[Finding]:
    """What the step turned out to need (a function among its inputs reads it) from steps that it doesn't wait for."""
    found = []
    for name in sorted(set(needed) & set(tables["sources"]) - set(tables["reads"])):
        earlier = tables["sources"][name]
        text = (
            f"ML205: a function that step {step!r} ({tables['cells']}) was given needs {name!r}, which step {earlier[-1]!r} "
            f"may have changed, and {step!r} doesn't wait for it. "
        )
        found.append(
            Finding("ML205", name, tuple(earlier), text + _ways_out(earlier[-1], step), (step, "uses", name))
        )  # fmt: skip
    return found


def undeclared(step: str, tables: Mapping[str, Any], inputs: Mapping[str, Any], outputs: Mapping[str, Any],
               states: Collection[str]) -> list[Finding]:  # fmt: skip
    """What the step changed behind the graph.

    `inputs` and `outputs` are those of its result; `states` the ambient states (`@name`) that it left otherwise than its
    configuration statements, replayed, leave them.
    """
    found = []
    who = f"step {step!r} ({tables['cells']})"
    for name, output in outputs.items():
        before = inputs.get(name)
        if name[0] == "@" or (output and output.get("unread")):
            continue
        together = [n for n, version in inputs.items() if before and version and version[0] == before[0]] or [name]
        known = name in tables["changes"]
        if ":" in name:  # a definition or what a module holds
            # Whoever has an instance has the class: the readers of its name are not all that see it.
            later = tables["unrelated"] if before or not name.startswith("def:") or name.startswith("def:setup:/") else []
            shown = name[4:].rpartition("/")[2] if name.startswith("def:") else "@" + name.partition(":")[2]
            if later:
                found.append(_changed(step, who, shown, later))
            continue
        own = name in tables["reads"] or name in tables["binds"]
        stale = tables["sources"].get(name, []) if before and not own else []
        if stale:
            text = (
                f"ML203: {who} leaves {name!r} anew, as it shares an object with what the step works with, and step "
                f"{stale[-1]!r}, which it doesn't wait for, may have changed {name!r}. "
                f"Tag {step!r} with after:{stale[-1]}, or merge the two steps."  # which a run here need not show
            )
            found.append(Finding("ML203", name, tuple(stale), text, (step, "uses", name)))
        if output and before and output["version"][1] == before[1]:
            later = tables["writers"].get(name, [])
            if later:  # the value is as it was, but something else now shares it
                text = (
                    f"ML203: {who} keeps {name!r} inside of something else that it leaves, and step {later[0]!r}, which "
                    f"doesn't wait for it, may change {name!r}. "
                )
                found.append(Finding("ML203", name, tuple(later), text + _ways_out(step, later[0]), (step, "changes", name)))
            continue
        # Whoever reads something that came together with it may pass it on.
        later = _of_any(tables["readers"], [name] if known else together)
        if later:
            found.append(_changed(step, who, name, later))
        holders = _of_any(tables["holders"], together) if not known else []
        if holders:
            text = (
                f"ML203: {who} changes {name!r} in a way that the analysis did not see, and step {holders[-1]!r}, which it "
                f"doesn't wait for, may hold on to what it read. "
            )
            found.append(Finding("ML203", name, tuple(holders), text + _ways_out(holders[-1], step), (step, "changes", name)))
    for name in sorted(set(states) - set(tables.get("states", ()))):
        if "random" not in name:
            if tables["unrelated"]:
                found.append(_changed(step, who, name, tables["unrelated"]))
            continue
        others = [*tables["drawing"], *tables["unrelated"]]
        if others and not tables["draws"]:
            earlier, later = (tables["drawing"][-1], step) if tables["drawing"] else (step, others[0])
            text = (
                f"ML204: {who} draws from the global generator {name[1:]} in a way that the analysis did not see, and "
                f"its place among the draws of step {(earlier if later == step else later)!r} isn't fixed. "
            )
            found.append(Finding("ML204", name, tuple(others), text + _ways_out(earlier, later), (step, "changes", name)))
    return found


def _of_any(table: Mapping[str, list[str]], names: Collection[str]) -> list[str]:
    return list(dict.fromkeys(step for name in names for step in table.get(name, ())))


def _changed(step: str, who: str, name: str, later: list[str]) -> Finding:
    what = name[1:] if name[0] == "@" else repr(name)
    text = (
        f"ML203: {who} changes {what} in a way that the analysis did not see, and step {later[0]!r}, which may read "
        f"it, doesn't wait for {step!r}. "
    )
    return Finding("ML203", name, tuple(later), text + _ways_out(step, later[0]), (step, "changes", name))


def _ways_out(earlier: str, later: str) -> str:
    return _WAYS_OUT.format(earlier=earlier, later=later)
