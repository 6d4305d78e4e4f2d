"""What the commands share: the consoles, our errors as one message and an exit code, common arguments, completion."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from mlops_lab.errors import EXIT_CANCELLED, EXIT_DONE, EXIT_FAILED, EXIT_REJECTED, CheckError, MlopsLabError, UsageError
from mlops_lab.runs import homes

EXIT_OF = {"done": EXIT_DONE, "failed": EXIT_FAILED, "rejected": EXIT_REJECTED, "cancelled": EXIT_CANCELLED}


_ENDLESS = 160


def _console(stderr: bool = False) -> Console:
    """A console; in a notebook's kernel one that writes coloured text, and not each line as an output of its own."""
    if "ipykernel.zmqshell" in sys.modules and sys.modules["ipykernel.zmqshell"].ZMQInteractiveShell.initialized():
        return Console(
            stderr=stderr, highlight=False, force_jupyter=False, force_terminal=True, color_system="standard", width=110
        )
    # Files and pipes have no edge at which to break lines.
    edge = (sys.stderr if stderr else sys.stdout).isatty() or "COLUMNS" in os.environ
    return Console(stderr=stderr, highlight=False, width=None if edge else _ENDLESS)


out = _console()
err = _console(stderr=True)


class Group(TyperGroup):
    """Turns our errors into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CheckError as error:
            from mlops_lab.display import print_diagnostics

            print_diagnostics(error.diagnostics, err)
            err.print("\n[red]Nothing was run.[/]")
            ctx.exit(error.exit_code)
        except MlopsLabError as error:
            err.print(f"[red]Error:[/] {escape(str(error))}", soft_wrap=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:  # `mlops-lab logs ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_DONE)


def complete_notebook(incomplete: str) -> list[str]:
    """Notebooks and folders that begin so."""
    folder = Path(incomplete).parent if incomplete else Path()
    found = [str(p) for p in folder.glob("*") if p.suffix == ".ipynb" or (p.is_dir() and not p.name.startswith("."))]
    return [p for p in found if p.startswith(incomplete)]


def complete_step(ctx: typer.Context, incomplete: str) -> list[str]:
    """Steps, of the notebook that the command line names, that begin so."""
    from mlops_lab.notebook import read
    from mlops_lab.pipeline import build

    try:
        return [s.name for s in build(read(ctx.params["notebook"])).steps if s.name.startswith(incomplete)]
    except Exception:  # completion must never disturb the shell
        return []


def complete_parameter(ctx: typer.Context, incomplete: str) -> list[str]:
    """`NAME=` for the parameters of the notebook, and after that what values one takes."""
    from mlops_lab.notebook import read
    from mlops_lab.pipeline import build

    try:
        known = build(read(ctx.params["notebook"])).parameters
    except Exception:  # completion must never disturb the shell
        return []
    found = []
    for parameter in known:
        values = parameter.type.choices or ((True, False) if parameter.type.kind == "bool" else (parameter.default,))
        name = f"{parameter.name}="
        found += [f"{name}{value}" for value in values] if incomplete.startswith(name) else [name]
    return [each for each in found if each.startswith(incomplete)]


def complete_run(incomplete: str) -> list[str]:
    """Runs, of this folder and those below it, that begin so."""
    return [run.id for home in homes(Path()) for run in home.list() if run.id.startswith(incomplete)]


NotebookArgument = Annotated[
    str, typer.Argument(metavar="NOTEBOOK", help="The notebook (.ipynb).", autocompletion=complete_notebook)
]
RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run's id, an unambiguous part of it, or 'last'.", autocompletion=complete_run),
]
FolderOption = Annotated[Path, typer.Option("--folder", "-C", help="Look for runs in this folder and those below it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def writable(path: Path, notebook: Path, option: str = "--executed") -> None:
    """Find out before the work, and not after it, that its result has no place."""
    if path.absolute() == notebook.absolute():
        raise UsageError(f"{option} names the notebook itself, {path}; it is never overwritten. Name another file.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"Can't write {path}: there is no folder {path.absolute().parent}.")
    if path.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise UsageError(f"Can't write {path}: {'it is a folder' if path.is_dir() else 'its folder is read-only'}.")


def short(path: Path) -> str:
    """The path as seen from here, where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
