"""What some commands do in a session, where there is a kernel to stay free and a page to draw on.

Each function takes the magics, and the arguments of the command of the same name (`cli/`); `pull` is a session's only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_lab.errors import UsageError, did_you_mean
from mlops_lab.widget import in_kernel

if TYPE_CHECKING:
    from mlops_lab.api import Run
    from mlops_lab.magics import Magics
    from mlops_lab.plan import Plan


def run(magics: Magics, **arguments: Any) -> Run:
    """Show the run as starting, start it, and give it back without waiting until it has begun."""
    with _announced(arguments["notebook"]) as shown:
        from mlops_lab.api import Run
        from mlops_lab.background import begin
        from mlops_lab.checks import require_sound
        from mlops_lab.cli.running import request
        from mlops_lab.targets import Options, refuse

        path = Path(arguments["notebook"])
        magics.session.given = path
        if path.exists() and (warning := magics.session.unsaved(path)):
            _warn(warning)
        pipeline, options = request(**arguments)
        order = {name: getattr(options, name) for name in Options.__dataclass_fields__ if name != "resume"}
        order |= {"parameters": dict(options.parameters), "on": arguments["on"]}
        then = {"executed": arguments["executed"], "learn": arguments["learn"]}
        require_sound(pipeline.plan)
        refuse(pipeline.plan, options, arguments["on"])
        run = Run(begin(path, **then, **order))
        magics.session.latest = run
        return _show(run, pipeline.plan, shown, arguments["on"])


def resume(magics: Magics, run: str, executed: Path | None, folder: Path, as_json: bool) -> Run:
    """Go on with a run in the background, and show it."""
    from mlops_lab.api import find_run

    if executed is not None:
        raise UsageError("--executed is for the command line; here: mlops_lab.find_run().notebook() once the run has ended.")
    return _show(find_run(run, folder).resume())


def runs(magics: Magics, **arguments: Any) -> None:
    """List runs with the way to MLflow, and attach to those of this notebook that are in progress."""
    from mlops_lab import mlflow_ui
    from mlops_lab.api import Run
    from mlops_lab.cli import history
    from mlops_lab.runs import homes

    history.runs(**arguments)
    if arguments["as_json"] or not in_kernel():
        return
    with contextlib.suppress(UsageError):  # nothing was tracked
        from mlops_lab.widget.link import show_link

        show_link(*mlflow_ui.store_of(arguments["folder"]), by_click=True)
    for home in homes(arguments["folder"]):
        for folder in home.list():
            if folder.is_active and _is_of(folder, arguments["folder"]):
                _show(Run(folder))


def show(magics: Magics, notebook: str, as_json: bool, graph: Path | None) -> None:
    """Show the steps, and draw the graph into the page."""
    from mlops_lab.cli import notebooks

    if in_kernel() and not as_json:
        from IPython.display import SVG, display

        from mlops_lab.api import load
        from mlops_lab.graph import svg

        display(SVG(svg(load(notebook).plan)))
    notebooks.show(notebook, as_json, graph)


def mlflow(magics: Magics, folder: Path, port: int, no_browser: bool) -> None:
    """Start MLflow's UI beside the kernel, and show the link to it."""
    from mlops_lab import mlflow_ui

    home, uri = mlflow_ui.store_of(folder)
    if in_kernel():
        from mlops_lab.widget.link import show_link

        show_link(home, uri, port)
        return
    address = mlflow_ui.address(uri) or mlflow_ui.Ui.open(home, uri, port=port).url
    print(f"MLflow: {address}")  # noqa: T201


def pull(
    magics: Any,
    values: Annotated[list[str], typer.Argument(metavar="STEP.NAME ...", help="What to fetch: train.model, or train for all.")],
    run: Annotated[str, typer.Option(help="Of which run: its id, a part of it, or 'last'.")] = "last",
    folder: Annotated[Path, typer.Option("--folder", "-C", help="Look for runs in this folder and those below it.")] = Path(),
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="Bind the one value to this name.")] = "",
) -> None:
    """Put values that the steps of a run left into this session."""
    from mlops_lab.api import find_run

    found = find_run(run, folder)
    steps = found.steps
    bound: dict[str, Any] = {}
    for value in values:
        step, _, variable = value.partition(".")
        if step not in steps:
            raise UsageError(f"Run {found.id} has no step {step!r}{did_you_mean(step, steps)}; it has: {', '.join(steps)}.")
        outputs = steps[step].outputs
        wanted = [variable] if variable else [each for each in outputs if each.isidentifier()]
        for each in wanted:
            if each not in outputs:
                left = ", ".join(sorted(outputs)) or "nothing"
                raise UsageError(f"Step {step!r} left no {each!r}{did_you_mean(each, outputs)}; it left: {left}.")
            bound[each] = outputs[each]
    if name and len(bound) != 1:
        raise UsageError(f"--as names one value; these are {len(bound)}.")
    if name and not name.isidentifier():
        raise UsageError(f"--as {name}: that is no name for a variable.")
    magics.shell.user_ns.update({name or each: value for each, value in bound.items()})
    for each, value in bound.items():
        print(f"{name or each}: {type(value).__name__}, from run {found.id}")  # noqa: T201


COMMANDS: dict[str, Callable[..., Any]] = {
    "run": run, "resume": resume, "runs": runs, "show": show, "mlflow": mlflow, "pull": pull,
}  # fmt: skip


@contextlib.contextmanager
def _announced(notebook: str) -> Iterator[str]:
    """Say on the page that a run starts, before what takes its time; gives the name of the place, which is empty elsewhere."""
    if not in_kernel():
        yield ""
        return
    from mlops_lab.widget import announce, take_back

    place = announce(f"The run of {Path(notebook).name} is starting.")
    try:
        yield place
    except BaseException:
        take_back(place)
        raise


def _show(run: Run, plan: Plan | None = None, place: str = "", target: str = "local") -> Run:
    """Show a run: live on a page, followed to its end in a terminal, where Ctrl-C stops the following only."""
    if in_kernel():
        from mlops_lab.widget.run_widget import show

        show(run, plan, place, target)
        run._shown = True
        return run
    from rich.console import Console

    from mlops_lab.display import Progress, print_failures

    console = Console(highlight=False)
    try:
        with Progress(console) as progress:
            run.wait(listener=progress)
    except KeyboardInterrupt:
        console.print(f"The run goes on; stop it with: %mlops cancel {run.id if run.has_begun else ''}")
        return run
    print_failures(run.state, console)
    return run


def _is_of(folder: Any, place: Path) -> bool:
    from mlops_lab.moves import is_of

    return place.suffix != ".ipynb" or is_of(folder, place)


def _warn(text: str) -> None:
    import sys

    print(text, file=sys.stderr)  # noqa: T201
