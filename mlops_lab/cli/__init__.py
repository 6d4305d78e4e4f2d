"""The command `mlops-lab`: a thin layer over `api.py`, with the exit codes that `errors.py` lists.

One module a family of commands; the table below puts them in the order of the help. Heavy packages (papermill, mlflow,
kfp) are imported by the commands that use them, never here.
"""

from __future__ import annotations

from typing import Annotated

import typer

from mlops_lab._version import __version__
from mlops_lab.cli import comparing, connect, history, kubeflow, mlflow, notebooks, parameters, running
from mlops_lab.cli.base import Group, out
from mlops_lab.imports import defer_grammar

COMMANDS = (
    notebooks.show,
    notebooks.check,
    parameters.params,
    running.run,
    notebooks.verify,
    notebooks.suggest,
    kubeflow.compile,
    kubeflow.diff,
    history.runs,
    comparing.compare,
    history.logs,
    history.cancel,
    history.gc,
    running.resume,
    connect.connect,
    connect.schedule,
    mlflow.mlflow,
)

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Turn an ordinary Jupyter notebook into a pipeline: look at it ([bold]show[/]), run it ([bold]run[/]), have steps "
    "proposed ([bold]suggest[/]).",
    epilog="Exit codes: 0 done; 1 a step failed; 2 the notebook or the call is wrong, nothing was run; 3 rejected by a gate; "
    "130 cancelled.",
)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"mlops-lab {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


for _command in COMMANDS:
    app.command()(_command)


def main() -> None:
    """Entry point of the command."""
    defer_grammar()
    app()
