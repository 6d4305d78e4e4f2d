"""Tab completion of `%mlops` lines: commands, options, and what their values can be, as the command line completes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_lab.magics import Magics


def complete(magics: Magics, line: str) -> list[str]:
    """What the last word of a line can become."""
    words = line.split()
    words = words[[word.endswith("%mlops") for word in words].index(True) + 1 :]
    begun = "" if line[-1:].isspace() or not words else words.pop()
    if not words:
        return [name for name in magics.commands if name.startswith(begun)]
    if words[0] not in magics.commands:
        return []
    command = magics.command(words[0])
    context = command.make_context(words[0], words[1:], resilient_parsing=True)
    if words[0] == "pull" and not begun.startswith("-"):
        return _values(context, begun)
    option = _option(command, words[-1])
    if option is not None:
        found = option.shell_complete(context, begun)
        return [item.value for item in found]
    if begun.startswith("-"):
        options = [name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)]
        return [name for name in options if name.startswith(begun) and name.startswith("-")]
    given = [p for p in command.params if p.param_type_name == "argument"]
    return [item.value for parameter in given for item in parameter.shell_complete(context, begun)]


def _option(command: Any, word: str) -> Any:
    """The option that waits for its value behind this word; None if none does."""
    options = (p for p in command.params if p.param_type_name == "option" and not p.is_flag)
    return next((p for p in options if word in p.opts), None)


def _values(context: Any, begun: str) -> list[str]:
    """`step.variable` of the run that `pull` would take from."""
    from pathlib import Path

    from mlops_lab.api import find_run

    run = find_run(context.params.get("run") or "last", Path(context.params.get("folder") or "."))
    step, dot, _ = begun.partition(".")
    if not dot:
        return [f"{name}." for name in run.steps if name.startswith(step)]
    names = [f"{step}.{name}" for name in run.steps[step].outputs if name.isidentifier()] if step in run.steps else []
    return [name for name in names if name.startswith(begun)]
