"""Recurring runs: a notebook's pipeline on Kubeflow, again and again by a cron expression or a period.

Kubeflow starts them by itself; what they do is seen there. `schedule` sends the pipeline as it is now, so a changed notebook is
scheduled again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mlops_lab.errors import UsageError, did_you_mean
from mlops_lab.plan import Plan
from mlops_lab.targets import Options
from mlops_lab.targets.kubeflow.client import Client
from mlops_lab.targets.kubeflow.compile import compile_pipeline

_MACROS = {
    "@yearly": "0 0 0 1 1 *", "@annually": "0 0 0 1 1 *", "@monthly": "0 0 0 1 * *", "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *", "@midnight": "0 0 0 * * *", "@hourly": "0 0 * * * *",
}  # fmt: skip
_FIELDS = (
    ("second", 0, 59),
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 0, 6),
)
_MONTHS = dict(zip("jan feb mar apr may jun jul aug sep oct nov dec".split(), range(1, 13), strict=True))
_DAYS = dict(zip("sun mon tue wed thu fri sat".split(), range(7), strict=True))
_PERIOD = re.compile(r"(\d+)\s*(s|m|h|d)")


@dataclass(frozen=True)
class Schedule:
    """When to run: `cron` (six fields, in UTC) or `every` so many seconds; with `catch_up`, what was missed is run."""

    cron: str = ""
    every: int = 0
    start: datetime | None = None
    end: datetime | None = None
    catch_up: bool = False
    at_once: int = 1


def schedule(plan: Plan, options: Options, when: Schedule, name: str = "", place: str = "") -> Any:
    """Start a recurring run of a plan, in place of one of the same name; what the server made of it. `place`: the connection.

    Raises `UsageError` for a plan that can't be compiled, and `CheckError` for one that can't run there.
    """
    from mlops_lab.targets.kubeflow.prepare import plugins_input, prepared, sound_there

    sound_there(plan)
    compiled = compile_pipeline(plan, options)
    client = Client.of(place)
    models = client.models
    name = name or compiled.name
    older = [found for found in client.list_recurring() if found.display_name == name]
    trigger = (
        models.V2beta1Trigger(
            cron_schedule=models.V2beta1CronSchedule(cron=when.cron, start_time=when.start, end_time=when.end)
        )
        if when.cron
        else models.V2beta1Trigger(
            periodic_schedule=models.V2beta1PeriodicSchedule(
                interval_second=str(when.every), start_time=when.start, end_time=when.end
            )
        )
    )
    experiment = options.experiment or plan.pipeline.notebook.settings.experiment or plan.pipeline.name
    made = client.create_recurring(
        models.V2beta1RecurringRun(
            display_name=name,
            description=f"Notebook {plan.pipeline.notebook.path.name}",
            experiment_id=client.experiment(experiment),
            pipeline_spec=prepared(compiled, options),
            runtime_config=models.V2beta1RuntimeConfig(parameters=compiled.arguments(options.parameters)),
            trigger=trigger,
            mode="ENABLE",
            max_concurrency=str(when.at_once),
            no_catchup=not when.catch_up,
            namespace=client.connection.namespace or None,
            plugins_input=plugins_input(client, options, experiment),
        )
    )
    for found in older:  # only now: a schedule that can't be made must not end the one that works
        client.change_recurring(found.recurring_run_id, "delete")
    return made


def recurring(client: Client, name: str) -> Any:
    """The recurring run of a name or an id. Raises `UsageError` where there is none, or several."""
    found = list(client.list_recurring())
    fits = [each for each in found if name in (each.display_name, each.recurring_run_id)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise UsageError(f"Several schedules are called {name!r}; name one by its id: "
                         f"{', '.join(each.recurring_run_id for each in fits)}.")  # fmt: skip
    names = [each.display_name for each in found]
    raise UsageError(f"There is no schedule {name!r}{did_you_mean(name, names)}. Known: {', '.join(names) or 'none'}.")


def row(found: Any) -> dict[str, Any]:
    """A recurring run for people and machines."""
    trigger = found.trigger
    cron = trigger.cron_schedule.cron if trigger and trigger.cron_schedule else ""
    period = trigger.periodic_schedule.interval_second if trigger and trigger.periodic_schedule else ""
    return {
        "name": found.display_name,
        "id": found.recurring_run_id,
        "status": str(found.status or "").lower(),
        "when": cron or (f"every {timedelta(seconds=int(period))}" if period else ""),
        "created": found.created_at.isoformat() if found.created_at else None,
        "error": found.error.message if found.error else "",
    }


def cron_of(text: str) -> str:
    """A cron expression of five fields or six, or a macro such as @daily, as KFP takes it: six fields, the first the second.

    Raises `UsageError`, naming the field that is wrong.
    """
    words = text.split()
    if len(words) == 1 and words[0] in _MACROS:
        return _MACROS[words[0]]
    if len(words) not in (5, 6):
        raise UsageError(
            f"The cron expression {text!r} has {len(words)} fields, not 5: minute, hour, day of the month, month, day of the "
            f'week, as in "0 6 * * mon-fri" (or 6, with the second in front; or one of {", ".join(sorted(_MACROS))}).'
        )
    words = ["0", *words] if len(words) == 5 else words
    names: list[Mapping[str, int]] = [{}, {}, {}, {}, _MONTHS, _DAYS]
    for word, (field, low, high), known in zip(words, _FIELDS, names, strict=True):
        for part in word.split(","):
            if not _sound(part, low, high, known):
                raise UsageError(f"The cron expression {text!r}: {part!r} is no {field} ({low} to {high}, *, A-B, */N).")
    return " ".join(words)


def _sound(part: str, low: int, high: int, names: Mapping[str, int]) -> bool:
    span, slash, step = part.partition("/")
    if slash and not (step.isdigit() and int(step) > 0):
        return False
    if span in ("*", "?"):
        return True
    ends = [names.get(end.lower(), int(end) if end.isdigit() else -1) for end in span.split("-")]
    return len(ends) <= 2 and all(low <= end <= high for end in ends) and ends == sorted(ends)


def period_of(text: str) -> int:
    """Seconds of a period such as `90s`, `15m`, `6h`, `1d`. Raises `UsageError`."""
    found = _PERIOD.fullmatch(text.strip())
    if not found or int(found[1]) == 0:
        raise UsageError(f"{text!r} is no period. Write a number and s, m, h or d, as in 6h.")
    return int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]
