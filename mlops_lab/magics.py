"""`%mlops` in notebooks and IPython: the commands of the command line, on the notebook that this kernel belongs to.

A command is parsed by the command line's own command object, so options, help and completion are the same. Some then act in
the session (`session_commands.py`: a run goes on in the background, shown by a widget), the others run as they are.
`%%mlops step NAME` is taken out of a cell before it is compiled (`step_magic.py`).
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import os
import re
import shlex
import sys
from functools import cached_property
from typing import Any

from mlops_lab.errors import CheckError, MlopsLabError, UsageError, did_you_mean
from mlops_lab.session import Session
from mlops_lab.step_magic import in_place, parse

_MARKUP = re.compile(r"\[/?\w*\]")
_ON_RUNS = {"run", "runs", "resume", "cancel", "compare", "logs", "pull", "verify", "gc"}
_HELP = re.compile(r"^(\s*)%mlops\b(.*?)\?+\s*$")


class Magics:
    """The magics of one IPython shell."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.session = Session(shell)

    def install(self) -> None:
        """Register with the shell."""
        self.shell.register_magic_function(self.line, "line", "mlops")
        self.shell.register_magic_function(self.cell, "cell", "mlops")
        self.shell.input_transformers_cleanup.append(transform)
        self.shell.events.register("pre_run_cell", self.session.note)
        from IPython.core.completer import context_matcher

        # A matcher, not the older hook: only matchers keep the names that Jedi knows out of these lines.
        self.matcher = context_matcher(identifier="mlops_lab")(lambda context: self.complete(context))
        self.shell.Completer.custom_matchers.append(self.matcher)

    def remove(self) -> None:
        """Take everything back."""
        transformers = self.shell.input_transformers_cleanup
        transformers[:] = [each for each in transformers if each is not transform]
        self.shell.events.unregister("pre_run_cell", self.session.note)
        self.shell.Completer.custom_matchers.remove(self.matcher)
        for kind in ("line", "cell"):
            self.shell.magics_manager.magics[kind].pop("mlops", None)

    # -- commands ------------------------------------------------------------------------------------------------------

    @cached_property
    def commands(self) -> dict[str, Any]:
        """The command objects by name: the command line's, some with what they do in a session, and `pull`."""
        import typer

        from mlops_lab import cli, session_commands

        group: Any = typer.main.get_command(cli.app)
        app = typer.Typer()
        for name, act in session_commands.COMMANDS.items():
            app.command(name)(self._bound(act, group.commands.get(name)))
        ours: Any = typer.main.get_command(app)
        return {**group.commands, **ours.commands}

    def _bound(self, act: Any, command: Any) -> Any:
        """A function that acts in this session, with the signature of the command line's; its own where there is none."""

        def called(**arguments: Any) -> Any:
            return act(self, **arguments)

        like = _unwrapped(command.callback) if command else act
        functools.update_wrapper(called, like)
        signature = inspect.signature(like, eval_str=True)
        kept = [parameter for name, parameter in signature.parameters.items() if name != "magics"]
        called.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
        return called

    def line(self, line: str) -> Any:
        """%mlops COMMAND [OPTIONS]: what `mlops-lab COMMAND` does, on this notebook. `%mlops run?` shows a command's help."""
        from IPython.core.error import UsageError as IPythonUsageError

        try:
            name, *arguments = shlex.split(line) or ["--help"]
            return self._call(name, arguments)
        except CheckError as error:
            _tell_diagnostics(error)
            raise IPythonUsageError("The notebook has errors; nothing was run.") from None
        except (MlopsLabError, ValueError) as error:
            raise IPythonUsageError(str(error)) from None

    def cell(self, line: str, cell: str) -> Any:
        """%%mlops step NAME [--cpu 2 ...]: this cell begins, or continues, the step NAME, as the tag `step:NAME` says it."""
        from IPython.core.error import UsageError as IPythonUsageError

        from mlops_lab.notebook import StepSettings

        if line.split()[:1] != ["step"]:
            raise IPythonUsageError("%%mlops knows only `%%mlops step NAME`; the other commands are %mlops, one to a line.")
        try:
            parse(line.partition("step")[2], StepSettings)
        except ValueError as error:
            raise IPythonUsageError(str(error)) from None
        raise IPythonUsageError("%%mlops step has to stand in the first line of its cell.")

    def _call(self, name: str, arguments: list[str]) -> Any:
        import typer

        if name in ("--help", "-h", "help"):
            return self._overview()
        if name not in self.commands:
            raise UsageError(
                f"%mlops has no command {name!r}{did_you_mean(name, self.commands)}. It has: {', '.join(self.commands)}."
            )
        command = self.command(name)
        if name in _ON_RUNS:
            self.session.settle()
        try:
            with command.make_context(f"%mlops {name}", arguments) as context:
                return command.invoke(context)
        except typer.Exit:
            return None  # the exit code is for shells; what was printed says it here
        except typer.Abort:
            raise UsageError("Aborted.") from None
        except Exception as error:
            if getattr(getattr(error, "param", None), "name", "") == "notebook":
                self.session.notebook()  # says why there is none, where that is what is missing
            if hasattr(error, "format_message"):  # click's own, wherever typer keeps it
                raise UsageError(f"%mlops {name}: {error.format_message()}") from None
            raise

    def command(self, name: str) -> Any:
        """A copy of a command whose notebook, folder and run have this session's for defaults."""
        command = copy.copy(self.commands[name])
        command.params = [copy.copy(parameter) for parameter in command.params]
        command.rich_markup_mode, command.help = None, _MARKUP.sub("", command.help or "")  # help as plain text
        if self.session.knows_notebook():
            notebook = self.session.notebook()
            folder = notebook if name in ("runs", "mlflow") else notebook.parent
            defaults = {"notebook": str(notebook), "folder": str(folder), "run": "last"}
            for parameter in command.params:
                if parameter.name in defaults and (parameter.required or parameter.name == "folder"):
                    parameter.required, parameter.default = False, defaults[parameter.name]
        return command

    def _overview(self) -> None:
        width = max(map(len, self.commands))
        print("%mlops runs this notebook as a pipeline. Commands (each with ? for its help, as in %mlops run?):\n")  # noqa: T201
        for name, command in self.commands.items():
            first = _MARKUP.sub("", command.help or "").strip().splitlines()[0]
            print(f"  %mlops {name:<{width}}  {first}")  # noqa: T201
        print("\n%%mlops step NAME, as the first line of a cell, is the tag step:NAME written as text.")  # noqa: T201

    # -- completion ----------------------------------------------------------------------------------------------------

    def complete(self, context: Any) -> dict[str, Any]:
        """IPython's completion, of what stands behind %mlops."""
        from IPython.core.completer import SimpleCompletion

        from mlops_lab.completion import complete

        line = context.text_until_cursor
        found: list[str] = []
        if re.match(r"\s*(\w+\s*=\s*)?%mlops\s", line):
            with contextlib.suppress(Exception):  # completion must never disturb who types
                found = complete(self, line)
        # IPython replaces its token only, which may be the end of a word (`-p rate=`).
        begun = "" if line[-1:].isspace() else line.split()[-1]
        kept = len(begun) - len(context.token) if begun.endswith(context.token) else 0
        return {"completions": [SimpleCompletion(each[kept:], type="magic") for each in found], "suppress": bool(found)}


def transform(lines: list[str]) -> list[str]:
    """IPython's input transformer: takes `%%mlops step` out of a cell, and makes `%mlops run --help` of `%mlops run?`."""
    text, said = in_place("".join(lines))
    if said is None:
        return [_HELP.sub(r"\1%mlops\2 --help", line) if line.lstrip().startswith("%mlops") else line for line in lines]
    from mlops_lab.notebook import StepSettings

    try:
        parse(said, StepSettings)
    except ValueError:
        return lines  # left to the cell magic, which says what is wrong
    return text.splitlines(keepends=True)


def _unwrapped(callback: Any) -> Any:
    return getattr(callback, "__wrapped__", callback)


def _tell_diagnostics(error: CheckError) -> None:
    from rich.console import Console

    from mlops_lab.display import print_diagnostics

    print_diagnostics(error.diagnostics, Console(file=sys.stderr, highlight=False, force_jupyter=False, width=_width()))


def _width() -> int:
    return int(os.environ.get("COLUMNS", 110))


def install(shell: Any) -> None:
    """What `%load_ext mlops_lab` does."""
    remove(shell)
    shell.mlops_lab_magics = Magics(shell)
    shell.mlops_lab_magics.install()


def remove(shell: Any) -> None:
    """What `%unload_ext mlops_lab` does."""
    magics = getattr(shell, "mlops_lab_magics", None)
    if magics:
        magics.remove()
        del shell.mlops_lab_magics
