"""What the handlers call, put together once: the server's root, its runs, the thread that analyses.

It imports the compiler and all it needs, so it is imported with the first request and not at the server's start.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mlops_lab.api import Run
from mlops_lab.errors import NotebookError, UsageError
from mlops_lab.executed import assemble
from mlops_lab.notebook import Notebook, read
from mlops_lab.pipeline import Pipeline, build
from mlops_lab.server import analysis, comparison
from mlops_lab.server.changes import changes
from mlops_lab.server.compiling import compile_for
from mlops_lab.server.connections import targets
from mlops_lab.server.errors import NotFound
from mlops_lab.server.lessons import lessons_of
from mlops_lab.server.opened import open_step
from mlops_lab.server.places import Places
from mlops_lab.server.previews import Limits, previews
from mlops_lab.server.requests import AnalyseRequest, Posted, RunRequest
from mlops_lab.server.runs import Runs, goes_on_elsewhere, require_startable
from mlops_lab.server.states import NO_OUTLINE, costs, outline
from mlops_lab.server.tracked import Trackers
from mlops_lab.server.worker import Worker, key_of

_REMEMBERED = 64  # analyses
_REFRESH = 5.0  # seconds between two questions to an engine elsewhere


@dataclass
class Core:
    """Shared by all requests. Looking is quick, starting a run or loading values takes seconds: neither waits for the other."""

    places: Places
    limits: Limits = Limits()
    runs: Runs = field(init=False)
    readers: Worker = field(default_factory=lambda: Worker("read", threads=4))
    starters: Worker = field(default_factory=lambda: Worker("start", threads=4))
    loaders: Worker = field(default_factory=lambda: Worker("load", threads=2))
    analyst: Worker = field(default_factory=lambda: Worker("analysis", remember=_REMEMBERED))

    trackers: Trackers = field(default_factory=Trackers)

    _refreshed: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.runs = Runs(self.places)

    # -- what is parsed --------------------------------------------------------------------------------------------

    def roles(self) -> dict[str, Any]:
        """The table of tags."""
        return analysis.roles()

    async def analyse(self, posted: AnalyseRequest) -> dict[str, Any]:
        """The posted cells as a pipeline, under a version; what has changed since another version, if that one is known."""
        path = await self.readers.run(self.places.notebook, posted.path, False)
        took = await self.readers.run(costs, self.places, posted.path)

        def work() -> dict[str, Any]:
            return analysis.analyse(_as_posted(posted, path), took)

        question = msgspec.json.encode(["analyse", posted.path, posted.cells, posted.metadata, took])
        before, version = self.analyst.remembered(posted.since), key_of(question)
        model = await self.analyst.once(question, work)
        if before is None or "diagnostics" not in before:  # forgotten, or the answer to another question
            return {"version": version} | model
        return {"version": version, "since": posted.since, "milliseconds": model["milliseconds"]} | changes(before, model)

    async def suggest(self, posted: Posted) -> dict[str, Any]:
        """Tags for the posted cells."""
        path = await self.readers.run(self.places.notebook, posted.path, False)

        def work() -> dict[str, Any]:
            return analysis.suggestion(_as_posted(posted, path))

        return await self.analyst.once(msgspec.json.encode(["suggest", posted]), work)

    async def errors_of(self, notebook: Path) -> list[dict[str, Any]]:
        """Why a saved notebook does not run."""
        return await self.analyst.run(lambda: analysis.errors_of(notebook))

    async def state(self, name: str) -> dict[str, Any]:
        """The picture of a run, with the cells, steps and edges of the notebook as it was run."""
        run, _ = await self.readers.run(self.places.run, name)
        if await self.readers.run(goes_on_elsewhere, run):
            await self.refresh(name)
        return await self.readers.run(self.runs.state, name, await self.outline(name))

    async def refresh(self, name: str) -> None:
        """Bring the log of a run on another engine up to date, not more often than every few seconds."""
        if time.monotonic() - self._refreshed.get(name, -_REFRESH) >= _REFRESH:
            self._refreshed[name] = time.monotonic()
            await self.starters.once(f"refresh {name}".encode(), lambda: self.runs.refresh(name))

    async def outline(self, name: str) -> dict[str, Any]:
        """Cells, steps and edges of the notebook as it was run: they never change, so they are found once."""
        run, _ = await self.readers.run(self.places.run, name)
        try:
            return await self.analyst.once(f"outline {run.path}".encode(), lambda: outline(run.notebook))
        except UsageError:  # damaged, or removed
            return NO_OUTLINE

    async def compare(self, names: list[str]) -> dict[str, Any]:
        """Runs side by side."""
        outlines = {name: await self.outline(name) for name in names[: comparison.MOST]}
        return await self.readers.run(comparison.compare, self.runs, names, outlines)

    async def open(self, name: str, step: str, attempt: int) -> dict[str, Any]:
        """A notebook that stands where a step stood."""
        return await self.analyst.run(open_step, self.runs, name, step, attempt)

    async def lessons(self, name: str) -> dict[str, Any]:
        """What a run saw that its notebook doesn't say."""
        return await self.analyst.run(lessons_of, self.runs, name)

    async def tracked(self, name: str, step: str, origin: str) -> dict[str, Any]:
        """Where a run is shown in MLflow."""
        return await self.starters.run(self.trackers.page, self.runs, name, step, origin)

    async def start(self, request: RunRequest) -> str:
        """Begin a run, and give its id."""
        notebook = await self.readers.run(self.places.notebook, request.path)
        if not request.resume:
            await self.analyst.run(require_startable, notebook, request)
        return await self.starters.run(self.runs.start, request)

    # -- what takes its time -----------------------------------------------------------------------------------------

    def targets(self) -> list[dict[str, Any]]:
        """Where a pipeline can run."""
        return targets()

    async def compile(self, notebook: Path, target: str) -> dict[str, str]:
        """A saved notebook for a target."""
        return await self.starters.run(compile_for, notebook, target)

    async def notebook(self, name: str) -> Any:
        """The notebook as it was run, with the outputs so far."""
        run, _ = await self.readers.run(self.places.run, name)
        try:
            pipeline = await self.analyst.run(lambda: build(read(run.notebook)))
        except NotebookError as error:
            raise NotFound(str(error)) from None
        return await self.readers.run(_assembled, Run(run), pipeline)

    async def previews(self, name: str, step: str, names: tuple[str, ...], load: bool) -> dict[str, Any]:
        """The values of a step."""
        if not load:
            return await self.readers.run(previews, self.runs, name, step, names)
        imports = (await self.outline(name))["imports"]
        question = msgspec.json.encode(["previews", name, step, names])
        return await self.loaders.once(question, lambda: previews(self.runs, name, step, names, imports, self.limits))

    def close(self) -> None:
        """Let the threads end. Runs go on without us; nothing of theirs is ours to end."""
        self.trackers.close()
        for worker in (self.readers, self.starters, self.loaders, self.analyst):
            worker.close()


def _as_posted(posted: Posted, path: Path) -> Notebook:
    """The posted cells as a notebook. What is wrong with it is told by the path that the front end knows."""
    try:
        return analysis.notebook_of(posted, path)
    except NotebookError as error:
        raise NotebookError(str(error).replace(str(path), posted.path)) from None


def _assembled(run: Run, pipeline: Pipeline) -> Any:
    """The notebook with the outputs of the run's steps; of one that is being written just now as soon as it can be read."""
    for _ in range(3):
        with contextlib.suppress(ValueError):
            return assemble(pipeline, run.step_notebooks)
        time.sleep(0.1)
    ended = {name for name, step in run.state.steps.items() if step.status != "running"}
    return assemble(pipeline, {name: path for name, path in run.step_notebooks.items() if name in ended})
