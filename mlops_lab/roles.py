"""The table of cell tags: which tag gives a cell which role.

The sidebar, the checks and the documentation read this table; adding a role is adding a row. A tag that ends in a colon
takes a name. Kale's tags stand beside ours, so that a notebook made for Kale runs unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from mlops_lab.errors import did_you_mean

STEP_NAME = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")


class Role(Enum):
    """What a code cell is to the pipeline."""

    STEP = "step"
    PARAMETERS = "parameters"
    SETUP = "setup"
    GATE = "gate"
    SKIP = "skip"
    AFTER = "after"
    METRICS = "metrics"
    IMPORTS = "imports"


@dataclass(frozen=True)
class TagRule:
    """One row: the tag as written (with a colon if it takes a name), its role, and one line of help."""

    tag: str
    role: Role
    help: str
    kale: bool = False

    @property
    def named(self) -> bool:
        return self.tag.endswith(":")


RULES: tuple[TagRule, ...] = (
    TagRule("step:", Role.STEP, "Begins, or continues, the step of this name; untagged cells below belong to it too."),
    TagRule("parameters", Role.PARAMETERS, "The pipeline's typed parameters with their defaults."),
    TagRule("setup", Role.SETUP, "Replayed at the start of every later step."),
    TagRule("gate", Role.GATE, "With step: a check. A failing assertion ends the run as rejected."),
    TagRule("skip", Role.SKIP, "Exploration: never part of the pipeline."),
    TagRule("after:", Role.AFTER, "This step runs after that one, though no data shows it."),
    TagRule("prev:", Role.AFTER, "Kale's name for after:.", kale=True),
    TagRule("imports", Role.IMPORTS, "Kale: imports needed by every step; ours are found in the code.", kale=True),
    TagRule("functions", Role.IMPORTS, "Kale: functions needed by every step; ours are found in the code.", kale=True),
    TagRule("pipeline-parameters", Role.PARAMETERS, "Kale's name for parameters.", kale=True),
    TagRule("pipeline-metrics", Role.METRICS, "Kale: the variables named in this cell are the run's metrics.", kale=True),
)

_BY_TAG = {rule.tag: rule for rule in RULES}


def parse_tag(tag: str) -> tuple[TagRule, str] | None:
    """The rule that a tag follows and the name it carries (`""` if none), or None for somebody else's tag."""
    head, colon, name = tag.partition(":")
    rule = _BY_TAG.get(head + colon)
    # Kale stores limits, labels and colours as further colon-separated tags; none of them is ours to read.
    return (rule, name.strip()) if rule else None


def suspicious(tag: str) -> str | None:
    """What the author of an unknown tag probably meant, or None when the tag does not look like one of ours.

    `step train`, `Step:train`, `steps:x` and `paramters` are caught; `solution`, `hide-input` and the like are not.
    """
    if parse_tag(tag):
        return None
    head, separator, name = re.match(r"([\w-]*)(\s*[:=\s]\s*)?(.*)", tag.strip(), re.S).groups()  # type: ignore[union-attr]
    known = [rule.tag.rstrip(":") for rule in RULES]
    word = head.lower().replace("_", "-")
    if word not in known:
        if len(word) < 4 or not did_you_mean(word, known):
            return None
        word = did_you_mean(word, known).split("'")[1]
    rule = _BY_TAG.get(word + ":") if name else _BY_TAG.get(word) or _BY_TAG.get(word + ":")
    if rule is None:
        return None
    return f"{rule.tag}{slug(name)}" if rule.named else rule.tag


def slug(text: str) -> str:
    """A valid step name made from any text: lower-case letters, digits and dashes; `step` if nothing is left."""
    import unicodedata

    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    name = re.sub(r"^[0-9-]+", "", name)
    return name or "step"
