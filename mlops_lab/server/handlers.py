"""The routes. Each handler takes a request apart, calls what knows no server, and answers with what that gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlops_lab.errors import CheckError
from mlops_lab.server.base import Handler, UnknownRoute, authorise, may
from mlops_lab.server.requests import AnalyseRequest, CompileRequest, OpenRequest, Posted, RunRequest, TrackedRequest
from mlops_lab.server.stream import Stream


class Roles(Handler):
    """GET /roles."""

    @may("read")
    async def get(self) -> None:
        self.reply(self.core.roles())


class Analyse(Handler):
    """POST /analyse."""

    @may("read")
    async def post(self) -> None:
        posted = self.body(AnalyseRequest)
        self.reply(await self.while_connected(self.core.analyse(posted)))


class Suggest(Handler):
    """POST /suggest."""

    @may("read")
    async def post(self) -> None:
        posted = self.body(Posted)
        self.reply(await self.while_connected(self.core.suggest(posted)))


class Compile(Handler):
    """POST /compile."""

    @may("execute")
    async def post(self) -> None:
        request = self.body(CompileRequest)
        self.notebook = await self.core.readers.run(self.core.places.notebook, request.path)
        self.reply(await self.while_connected(self.core.compile(self.notebook, request.target)))

    notebook: Path

    async def diagnostics(self, error: CheckError) -> list[dict[str, Any]]:
        """Those of the notebook as it is saved."""
        return await self.core.errors_of(self.notebook)


class Connections(Handler):
    """GET /connections."""

    @may("read")
    async def get(self) -> None:
        self.reply({"targets": await self.core.readers.run(self.core.targets)})


class RunList(Handler):
    """GET and POST /runs."""

    @may("read")
    async def get(self) -> None:
        path, status = self.get_query_argument("path", ""), self.get_query_argument("status", "")
        limit, before = self.whole("limit", 50, 1, 1000), self.get_query_argument("before", "")
        await self.app.settled()
        self.reply(await self.core.readers.run(self.core.runs.page, path, status, limit, before))

    @may("execute")
    async def post(self) -> None:
        request = self.body(RunRequest)
        self.notebook = await self.core.readers.run(self.core.places.notebook, request.path)
        self.reply({"id": await self.core.start(request)}, 201)

    notebook: Path

    async def diagnostics(self, error: CheckError) -> list[dict[str, Any]]:
        """Those of the notebook as it is saved, with the ids of its cells and their fixes."""
        return await self.core.errors_of(self.notebook)


class OneRun(Handler):
    """GET and DELETE /runs/ID."""

    @may("read")
    async def get(self, name: str) -> None:
        self.reply(await self.core.state(name))

    @may("write")
    async def delete(self, name: str) -> None:
        await self.core.readers.run(self.core.runs.delete, name, self.flag("force", False))
        self.set_status(204)
        self.finish()


class RunEvents(Handler):
    """GET /runs/ID/events."""

    @may("read")
    async def get(self, name: str) -> None:
        after, limit = self.whole("after", 0), self.whole("limit", 1000, 1, 10_000)
        self.reply(await self.core.readers.run(self.core.runs.events, name, after, limit))


class Cancel(Handler):
    """POST /runs/ID/cancel."""

    @may("write")
    async def post(self, name: str) -> None:
        self.reply({"id": await self.core.starters.run(self.core.runs.cancel, name)}, 202)


class Resume(Handler):
    """POST /runs/ID/resume."""

    @may("execute")
    async def post(self, name: str) -> None:
        _, path = await self.core.readers.run(self.core.places.run, name)
        self.notebook = self.core.places.below(path)
        self.reply({"id": await self.core.starters.run(self.core.runs.resume, name)}, 201)

    notebook: Path
    diagnostics = RunList.diagnostics


class ExecutedNotebook(Handler):
    """GET /runs/ID/notebook."""

    @may("read")
    async def get(self, name: str) -> None:
        self.reply(await self.core.notebook(name))


class Lessons(Handler):
    """GET /runs/ID/lessons."""

    @may("read")
    async def get(self, name: str) -> None:
        self.reply(await self.core.lessons(name))


class Tracked(Handler):
    """POST /runs/ID/mlflow: it may start MLflow's UI."""

    @may("execute")
    async def post(self, name: str) -> None:
        request = self.body(TrackedRequest)
        self.reply(await self.core.tracked(name, request.step, self.request.headers.get("Origin", "")))


class StepLog(Handler):
    """GET /runs/ID/steps/STEP/log."""

    @may("read")
    async def get(self, name: str, step: str) -> None:
        attempt = self.whole("attempt", 0, 1, 100_000)
        self.reply(await self.core.readers.run(self.core.runs.step_log, name, step, attempt))


class Previews(Handler):
    """GET /runs/ID/steps/STEP/previews: to read, unless values are loaded, which runs code."""

    @may("read")
    async def get(self, name: str, step: str) -> None:
        load = self.flag("load", True)
        if load:
            await authorise(self, "execute")
        names = tuple(dict.fromkeys(filter(None, self.get_query_argument("names", "").split(","))))
        self.reply(await self.while_connected(self.core.previews(name, step, names, load)))


class OpenStep(Handler):
    """POST /runs/ID/steps/STEP/open."""

    @may("write")
    async def post(self, name: str, step: str) -> None:
        request = self.body(OpenRequest)
        self.reply(await self.core.open(name, step, request.attempt), 201)


class Compare(Handler):
    """GET /compare."""

    @may("read")
    async def get(self) -> None:
        names = [name.strip() for name in self.get_query_argument("runs", "").split(",") if name.strip()]
        self.reply(await self.core.compare(names))


_API = r"/mlops-lab/api"
_RUN = _API + r"/runs/([^/]+)"
HANDLERS: tuple[tuple[str, type], ...] = (
    (_API + r"/roles", Roles),
    (_API + r"/analyse", Analyse),
    (_API + r"/suggest", Suggest),
    (_API + r"/compile", Compile),
    (_API + r"/connections", Connections),
    (_API + r"/compare", Compare),
    (_API + r"/runs", RunList),
    (_RUN, OneRun),
    (_RUN + r"/events", RunEvents),
    (_RUN + r"/stream", Stream),
    (_RUN + r"/cancel", Cancel),
    (_RUN + r"/resume", Resume),
    (_RUN + r"/notebook", ExecutedNotebook),
    (_RUN + r"/lessons", Lessons),
    (_RUN + r"/mlflow", Tracked),
    (_RUN + r"/steps/([^/]+)/log", StepLog),
    (_RUN + r"/steps/([^/]+)/previews", Previews),
    (_RUN + r"/steps/([^/]+)/open", OpenStep),
    (_API + r"/.*", UnknownRoute),
)
