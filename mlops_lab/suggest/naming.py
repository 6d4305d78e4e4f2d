"""Names of the proposed steps: from headings, else from what the cells do; valid and unique."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlops_lab.notebook import Cell
from mlops_lab.pipeline import IMPLICIT
from mlops_lab.roles import slug
from mlops_lab.suggest.cuts import Part, phase_in
from mlops_lab.suggest.looks import Look

_LONGEST_NAME = 32

_NUMBERING = re.compile(
    r"\s*((step|part|section|chapter|task|stage)\s+)?(\d+(\.\d+)+\.?[):]?|\d+[.):]|\d+(?=\s)|[IVX]+[.)]|[A-Za-z][.)])(\s+[-–—:]|[:])?\s+"
    r"|(step|part|section|chapter|task|stage)\s+(\d+|[IVX]+)\s*[-–—:.]\s*",
    re.IGNORECASE,
)

_ARTICLES = frozenset("a an the".split())

_TRAILING = _ARTICLES | frozenset("and as at by for from in into is of on or our this to using via vs with".split())


def _name_of(title: str) -> str:
    """A valid step name made from a heading, or nothing if no letter of it can be part of one."""
    number = _NUMBERING.match(title)
    text = title[number.end() :].strip() or title if number else title
    text = re.sub(r"\b\w{12,}\b", lambda word: re.sub(r"(?<=[a-z\d])(?=[A-Z])", " ", word[0]), text)
    if len(slug(text)) > _LONGEST_NAME:
        clause = re.split(r"[:;(?!—–]| - ", text, maxsplit=1)[0].strip()
        text = clause if len(clause) > 7 else text
    name = slug(f"step {text}" if text[:1].isdigit() else text.replace("&", " and "))
    if name == "step" and "step" not in text.lower():
        return ""
    words = name.split("-")
    if len(name) > _LONGEST_NAME:
        words = [word for word in words if word not in _ARTICLES] or words
    while len("-".join(words)) > _LONGEST_NAME and len(words) > 1:
        words.pop()
    while len(words) > 1 and words[-1] in _TRAILING:
        words.pop()
    return "-".join(words)[:_LONGEST_NAME].strip("-")


def step_names(looks: Sequence[Look], parts: Sequence[Part]) -> list[str]:
    """A name for each part, no two alike: one name in two places would be one step."""
    if len(parts) == 1:
        return ["main"]
    taken = {IMPLICIT}
    found = []
    for number, part in enumerate(parts, 1):
        own = [look for look in looks[part.first : part.end] if not look.idle]
        titles = [_name_of(title) for title in part.titles]
        base = _name_of(part.title) or phase_in(looks, part.first, part.end) or f"step-{number}"
        if len(titles) == 2 and all(titles) and titles[0] != titles[1] and len("-and-".join(titles)) <= _LONGEST_NAME:
            base = "-and-".join(titles)
        if base in taken:
            base = next((name for look in own if (name := _comment(look.cell)) and name not in taken), base)
        name, count = base, 2
        while name in taken:
            name, count = f"{base}-{count}", count + 1
        taken.add(name)
        found.append(name)
    return found


def _comment(cell: Cell) -> str:
    """A name made from the comment that a cell begins with, if it reads like a title."""
    match = re.match(r"\s*#+\s*([A-Z][\w ,'&/-]{3,40}?)[.:\s-]*(\n|$)", cell.source)
    words = match[1].split() if match else []
    return (
        _name_of(match[1])
        if match and len(words) <= 6 and words[0] not in {"Author", "Authors", "License", "Copyright"}
        else ""
    )
