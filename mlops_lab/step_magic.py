"""`%%mlops step NAME`: a step's tag and settings written as the first line of a cell, for front ends without tags.

The line means what the tag `step:NAME` means, and its options what the step's settings mean. It runs nothing: where the cell
runs, in a session or as a step, a comment stands in its place, so that the lines of the cell keep their numbers.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

import msgspec

from mlops_lab.errors import did_you_mean

_LINE = re.compile(r"%%mlops[ \t]+step\b[ \t]*(.*)")
_NUMBER: dict[Any, str] = {int: r"\d+", float: r"\d*\.\d+"}
_TAGS = {"gate": "gate"}


def in_place(source: str) -> tuple[str, str | None]:
    """The cell as it runs, and what its line says after `%%mlops step`; None for a cell without such a line."""
    if "%%mlops" not in source:
        return source, None
    lines = source.splitlines(keepends=True)
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    found = _LINE.fullmatch(lines[first].rstrip()) if first is not None else None
    if found is None or first is None:
        return source, None
    rest = lines[first + 1 :]
    # Another cell magic below has to be on top.
    mark = [] if rest and rest[0].startswith("%%") else ["# step\n" if rest else "# step"]
    return "".join([*lines[:first], *mark, *rest]), found[1]


def parse(line: str, struct: type[msgspec.Struct]) -> tuple[list[str], dict[str, Any]]:
    """The tags that a line stands for, and the settings in it: `NAME --cpu 2 --after OTHER` (fields of `struct`).

    Raises `ValueError` with a message for people.
    """
    words = shlex.split(line)
    tags: list[str] = []
    settings: dict[str, Any] = {}
    types = {each.name: each.type for each in msgspec.structs.fields(struct) if not _is_struct(each.type)}
    names = {name.replace("_", "-"): name for name in types}
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            if tags and tags[0].startswith("step:"):
                raise ValueError(f"%%mlops step takes one name; {word!r} is one more")
            tags.insert(0, f"step:{word}")
            continue
        option, given, value = word[2:].partition("=")
        if option in _TAGS and not given:
            tags.append(_TAGS[option])
            continue
        off = option.removeprefix("no-")
        if off != option and types.get(names.get(off, "")) is bool:
            settings[names[off]] = False
            continue
        if option != "after" and option not in names:
            known = [*names, "after", *_TAGS]
            raise ValueError(f"%%mlops step has no option --{option}{did_you_mean(option, known)}; it has: {', '.join(known)}")
        if types.get(names.get(option, "")) is bool and not given:
            settings[names[option]] = True
            continue
        if not given:
            if not words:
                raise ValueError(f"%%mlops step: --{option} needs a value")
            value = words.pop(0)
        if option == "after":
            tags.append(f"after:{value}")
        else:
            _set(settings, names[option], value, types[names[option]])
    if not tags or not tags[0].startswith("step:"):
        raise ValueError("%%mlops step needs the step's name: %%mlops step train")
    return tags, settings


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _set(settings: dict[str, Any], name: str, text: str, kind: Any) -> None:
    """Take one option; those of lists and tables (`--env A=1`) may be repeated."""
    origin = getattr(kind, "__origin__", kind)
    if origin is list:
        settings.setdefault(name, []).extend(text.split(","))
    elif origin is dict:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"%%mlops step: --{name} takes NAME=VALUE, not {text!r}")
        settings.setdefault(name, {})[key] = value
    else:
        try:
            # A number where one is taken: 2 is no other setting than 2 in the metadata.
            numbers = [convert(text) for convert in (int, float) if re.fullmatch(_NUMBER[convert], text)]
            settings[name] = msgspec.convert(numbers[0] if numbers else text, kind)
        except msgspec.ValidationError as error:
            raise ValueError(f"%%mlops step: --{name} {text}: {error}") from None
