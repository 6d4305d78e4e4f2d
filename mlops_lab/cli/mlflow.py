"""The command that opens MLflow's own UI on the store of some runs."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from mlops_lab.cli.base import out
from mlops_lab.errors import EXIT_DONE, EXIT_FAILED


def mlflow(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER|NOTEBOOK]", help="Whose store; by default the last one of this folder and below.")
    ] = Path(),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1; 0 takes a free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Open MLflow's UI on the store of the runs; for a local store it is started here, until Ctrl-C.

    MLFLOW_TRACKING_URI names the store, as for [bold]mlops-lab run[/].
    """
    from mlops_lab import mlflow_ui
    from mlops_lab.tracking import without_password

    home, uri = mlflow_ui.store_of(folder)
    remote = mlflow_ui.address(uri)
    if remote:
        out.print(f"MLflow: {remote}", soft_wrap=True, markup=False)
        if not no_browser:
            webbrowser.open(remote)
        return
    port = port or mlflow_ui.free_port()
    out.print(f"MLflow on {without_password(uri)}: http://127.0.0.1:{port}  (Ctrl-C ends it)", soft_wrap=True, markup=False)
    if not no_browser:
        mlflow_ui.open_when_ready(port)
    code = mlflow_ui.serve(port, mlflow_ui.environment(uri))
    raise typer.Exit(EXIT_DONE if code in (0, -15, -2) else EXIT_FAILED)
