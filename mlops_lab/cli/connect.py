"""Commands about where runs can go: connect to Kubeflow Pipelines, schedule runs there."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from mlops_lab.cli.base import JsonOption, err, out
from mlops_lab.errors import MlopsLabError, UsageError

if TYPE_CHECKING:
    from mlops_lab.targets.kubeflow.connections import Connection, Connections
    from mlops_lab.targets.kubeflow.schedule import Schedule


def connect(
    url: Annotated[
        str, typer.Argument(metavar="[URL]", help="The address of Kubeflow Pipelines, as your browser shows it.")
    ] = "",
    name: Annotated[str, typer.Option(help="A name for the connection; by default the host.")] = "",
    namespace: Annotated[str, typer.Option(help="Your namespace, where Kubeflow serves several users.")] = "",
    auth: Annotated[
        str, typer.Option(metavar="KIND", help="How to authenticate: none, token, service-account, cookies or kubeconfig.")
    ] = "",
    secret_file: Annotated[
        str, typer.Option(metavar="FILE", help="Read the token or the cookies from this file; - for standard input.")
    ] = "",
    token_path: Annotated[
        str, typer.Option(metavar="FILE", help="The service account's token file, read anew for each call.")
    ] = "",
    context: Annotated[str, typer.Option(help="The kubeconfig's context; by default the current one.")] = "",
    service_namespace: Annotated[
        str, typer.Option(help="With kubeconfig: the namespace that Kubeflow Pipelines itself is in.")
    ] = "kubeflow",
    ca: Annotated[str, typer.Option(metavar="FILE", help="The certificate of the authority that signed the server's.")] = "",
    insecure: Annotated[bool, typer.Option("--insecure", help="Don't check the server's certificate.")] = False,
    untested: Annotated[bool, typer.Option("--no-test", help="Keep the connection without trying it.")] = False,
    remove: Annotated[str, typer.Option(metavar="NAME", help="Forget a connection and its secret.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Connect to Kubeflow Pipelines; without arguments, list the connections. The newest is the default one.

    A token or cookies are asked for, or read with --secret-file; they are kept in the system's keyring where there is one
    (package keyring), else in the configuration, which only you can read. They are never printed.
    """
    from mlops_lab.targets.kubeflow.connections import DEFAULT_TOKEN_FILE, KINDS, Connection, Connections, endpoint_of, named

    known = Connections()
    if remove:
        known.remove(remove)
        out.print(f"Forgot the connection {escape(remove)}.")
        return
    if not url and auth != "kubeconfig":
        if auth or name or namespace:
            raise UsageError(
                "Name the address of Kubeflow Pipelines: mlops-lab connect URL (or --auth kubeconfig, which has it)."
            )
        _list(known, as_json)
        return
    if auth and auth not in KINDS:
        raise UsageError(f"--auth {auth}: choose one of {', '.join(KINDS)}.")
    if ca and not Path(ca).is_file():
        raise UsageError(f"--ca {ca}: there is no such file.")
    kind = auth or ("token" if secret_file else "none")
    path = (
        (token_path or DEFAULT_TOKEN_FILE) if kind == "service-account" else service_namespace if kind == "kubeconfig" else ""
    )
    connection = named(
        Connection(
            name="",
            endpoint=endpoint_of(url) if url and kind != "kubeconfig" else "",
            ui=endpoint_of(url) if url and kind == "kubeconfig" else "",
            namespace=namespace,
            auth=kind,
            path=str(Path(path).absolute()) if kind == "service-account" else path,
            context=context,
            ca=str(Path(ca).absolute()) if ca else "",
            verify=not insecure,
        ),
        name,
    )
    if kind in ("token", "cookies"):
        connection = replace(connection, secret=_secret(kind, secret_file))
    if not untested:
        connection = _tested(connection)
    where = known.put(connection)
    kept = {"keyring": "; the secret is in the keyring", "file": f"; the secret is in {known.path}, which only you can read"}
    result = "Kept" if untested else "Connected"
    out.print(f"{result} {escape(connection.shown)}{kept.get(where, '')}.", soft_wrap=True)
    out.print("Run a notebook there with: mlops-lab run NOTEBOOK --on kubeflow")


def _tested(connection: Connection) -> Connection:
    from mlops_lab.targets.kubeflow.client import Client, KubeflowError

    try:
        Client(connection, (10, 20)).check()
    except (KubeflowError, UsageError) as error:
        raise UsageError(f"{error}\nNothing was kept. (--no-test keeps a connection without trying it.)") from None
    return connection


def _secret(kind: str, file: str) -> str:
    try:
        if file == "-":
            text = sys.stdin.read()
        elif file:
            text = Path(file).read_text(encoding="utf-8")
        elif sys.stdin.isatty():
            text = typer.prompt(f"The {kind} (is not shown)", hide_input=True)
        else:
            raise UsageError(f"--auth {kind} asks for the {kind} on a terminal; here, give it with --secret-file FILE.")
    except OSError as error:
        raise UsageError(f"Can't read {file}: {error.strerror}.") from None
    text = text.strip()
    if not text or "\n" in text:
        raise UsageError(f"The {kind} is {'empty' if not text else 'more than one line'}.")
    return text.removeprefix("Bearer ").strip() if kind == "token" else text.removeprefix("Cookie: ").strip()


def _list(known: Connections, as_json: bool) -> None:
    rows = []
    for position, name in enumerate(known.names()):
        try:
            found = known.get(name)
        except MlopsLabError as error:
            err.print(f"[yellow]{escape(str(error))}[/]", soft_wrap=True)
            continue
        rows.append({"name": name, "endpoint": found.endpoint, "namespace": found.namespace, "auth": found.auth,
                     "default": position == 0})  # fmt: skip
    if as_json:
        print(json.dumps(rows, indent=2))  # noqa: T201
        return
    if not rows:
        out.print("Kubeflow Pipelines is not connected. Connect it with: mlops-lab connect URL")
    for row in rows:
        mark = "*" if row["default"] else " "
        space = f"  namespace {row['namespace']}" if row["namespace"] else ""
        out.print(
            f"{mark} [bold]{escape(str(row['name']))}[/]  {escape(str(row['endpoint']))}{escape(space)}  auth {row['auth']}"
        )


def schedule(
    notebook: Annotated[str, typer.Argument(metavar="[NOTEBOOK]", help="The notebook (.ipynb).")] = "",
    cron: Annotated[
        str, typer.Option(help='When to run, in UTC: "minute hour day month weekday", or @hourly, @daily, @weekly, @monthly.')
    ] = "",
    every: Annotated[str, typer.Option(metavar="PERIOD", help="Run every 90s, 15m, 6h, 1d.")] = "",
    on: Annotated[
        str, typer.Option("--on", metavar="TARGET", help="Where it runs: kubeflow, or kubeflow:NAME for one of several.")
    ] = "kubeflow",
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="Give a parameter a value.")
    ] = None,
    name: Annotated[
        str, typer.Option(help="The schedule's name; by default the pipeline's. One of this name is replaced.")
    ] = "",
    experiment: Annotated[str, typer.Option(help="Experiment; by default the pipeline's name.")] = "",
    catch_up: Annotated[bool, typer.Option("--catch-up", help="Run what was missed while the schedule was off.")] = False,
    at_once: Annotated[int, typer.Option(min=1, max=10, help="Runs at once at the most.")] = 1,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every step each time.")] = False,
    pause: Annotated[str, typer.Option(metavar="NAME", help="Pause a schedule.")] = "",
    go_on: Annotated[str, typer.Option("--continue", metavar="NAME", help="Go on with a paused schedule.")] = "",
    remove: Annotated[str, typer.Option(metavar="NAME", help="End a schedule.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Run a notebook on Kubeflow again and again; without a notebook, list, pause, continue or end schedules.

    The pipeline is sent as the notebook is now: schedule it again when it has changed.
    """
    from mlops_lab.targets import split

    target, place = split(on)
    if target != "kubeflow":
        raise UsageError(f"--on {on}: schedules run on kubeflow. Here, use cron with: mlops-lab run {notebook or 'NOTEBOOK'}")
    from mlops_lab.targets.kubeflow import schedule as schedules
    from mlops_lab.targets.kubeflow.client import Client

    for wanted, action, said in ((pause, "disable", "Paused"), (go_on, "enable", "Goes on:"), (remove, "delete", "Ended")):
        if wanted:
            client = Client.of(place)
            found = schedules.recurring(client, wanted)
            client.change_recurring(found.recurring_run_id, action)
            out.print(f"{said} {escape(found.display_name)}.")
            return
    if not notebook:
        rows = [schedules.row(found) for found in Client.of(place).list_recurring()]
        if as_json:
            print(json.dumps(rows, indent=2))  # noqa: T201
        for row in [] if as_json else rows:
            out.print(f"[bold]{escape(row['name'])}[/]  {escape(row['when'])}  {row['status']}  {row['id']}", soft_wrap=True)
        if not rows and not as_json:
            out.print('There are no schedules. Make one with: mlops-lab schedule NOTEBOOK --cron "0 6 * * *"')
        return
    if bool(cron) == bool(every):
        raise UsageError('Say when: --cron "0 6 * * *", or --every 6h (one of the two).')
    when = schedules.Schedule(
        cron=schedules.cron_of(cron) if cron else "",
        every=schedules.period_of(every) if every else 0,
        catch_up=catch_up,
        at_once=at_once,
    )
    _schedule(notebook, parameter or [], when, name, experiment, not no_cache, as_json, place)


def _schedule(
    notebook: str, parameter: list[str], when: Schedule, name: str, experiment: str, cache: bool, as_json: bool, place: str
) -> None:
    from mlops_lab.api import load
    from mlops_lab.checks import require_sound
    from mlops_lab.parameters import parse
    from mlops_lab.targets import Options
    from mlops_lab.targets.kubeflow import schedule as schedules

    pipeline = load(notebook)
    require_sound(pipeline.plan)
    options = Options(parameters=parse(pipeline.parameters, parameter), experiment=experiment, cache=cache)
    row = schedules.row(schedules.schedule(pipeline.plan, options, when, name, place))
    if as_json:
        print(json.dumps(row, indent=2))  # noqa: T201
    else:
        out.print(f"Scheduled {escape(row['name'])}: {escape(row['when'])} (UTC).  id {row['id']}", soft_wrap=True)
