"""Commands about Kubeflow that run nothing: compile, diff."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mlops_lab.cli.base import JsonOption, NotebookArgument, err, out, writable
from mlops_lab.errors import EXIT_FAILED, UsageError


def compile(
    notebook: NotebookArgument,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT.yaml", help="Write here; by default beside the notebook. - prints it."),
    ] = None,
    no_install: Annotated[
        bool, typer.Option("--no-install", help="The images have all packages: install nothing when a step starts.")
    ] = False,
) -> None:
    """Compile a notebook to a Kubeflow pipeline (KFP v2 IR YAML): one component a step, with its code inside.

    Equal notebooks give equal files, to the byte. What would not work there is listed, as by [bold]check --on kubeflow[/].
    """
    from mlops_lab.api import load
    from mlops_lab.checks import Diagnostic, require_sound
    from mlops_lab.display import print_diagnostics
    from mlops_lab.errors import CheckError
    from mlops_lab.targets import check
    from mlops_lab.targets.kubeflow.compile import compile_pipeline

    plan = load(notebook).plan
    if output is not None and str(output) != "-":
        writable(output, Path(notebook), "--output")
    require_sound(plan)
    found: tuple[Diagnostic, ...] = check(plan, "kubeflow")
    errors = [diagnostic for diagnostic in found if diagnostic.severity == "error"]
    if errors:
        raise CheckError(errors)
    print_diagnostics(found, err)
    made = compile_pipeline(plan, install=not no_install)
    if output is not None and str(output) == "-":
        print(made.yaml, end="")  # noqa: T201
        return
    path = output or Path(notebook).with_suffix(".yaml")
    try:
        path.write_text(made.yaml, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"Can't write {path}: {error.strerror}.") from None
    size = len(made.yaml.encode("utf-8")) / 1000
    err.print(f"Compiled {len(made.steps)} steps into {escape(str(path))} ({size:.0f} KB)", soft_wrap=True)


def diff(
    one: Annotated[str, typer.Argument(metavar="A", help="A notebook (.ipynb) or a compiled pipeline (.yaml).")],
    other: Annotated[str, typer.Argument(metavar="B", help="What to compare it with: a notebook or a compiled pipeline.")],
    as_json: JsonOption = False,
) -> None:
    """Show what changed from A to B, step by step: code, data, resources, requirements. Exit code 1 when they differ."""
    from mlops_lab.diff import differences, picture

    found = differences(picture(one), picture(other))
    if as_json:
        rows = [{"step": d.step, "kind": d.kind, "before": d.before, "after": d.after} for d in found]
        print(json.dumps(rows, indent=2, ensure_ascii=False))  # noqa: T201
    elif not found:
        out.print("no difference")
    else:
        heading = None
        for difference in found:
            if difference.step != heading:
                heading = difference.step
                out.print(f"[bold]step {escape(heading)}[/]" if heading else "[bold]pipeline[/]")
            _print(difference.kind, difference.before, difference.after, difference.lines)
    if found:
        raise typer.Exit(EXIT_FAILED)


def _print(kind: str, before: str, after: str, lines: list[str]) -> None:
    if kind in {"added", "removed"}:
        out.print(f"  [{'green' if kind == 'added' else 'red'}]{kind}[/]")
    elif "\n" not in before + after and kind != "code":
        shown = f"{escape(before) or '[dim]none[/]'} -> {escape(after) or '[dim]none[/]'}"
        out.print(f"  {escape(kind)}: {shown}", soft_wrap=True)
        return
    else:
        out.print(f"  {escape(kind)}:")
    for line in lines:
        colour = {"+": "green", "-": "red", "@": "dim"}.get(line[:1], "")
        out.print(f"    [{colour}]{escape(line)}[/]" if colour else f"    {escape(line)}", soft_wrap=True)
