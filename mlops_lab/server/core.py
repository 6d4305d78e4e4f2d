"""What the handlers call, put together once: the server's root, its runs, the thread that analyses.

It imports the compiler and all it needs, so it is imported with the first request and not at the server's start.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mlops_lab.api import Run
from mlops_lab.errors import UsageError
from mlops_lab.server import analysis
from mlops_lab.server.analysis import Analyst
from mlops_lab.server.places import Places
from mlops_lab.server.requests import Posted
from mlops_lab.server.runs import NO_OUTLINE, Runs, costs, outline

T = TypeVar("T")


@dataclass
class Core:
    """Shared by all requests. `read` and `start` do work in threads: looking is quick, starting a run takes seconds."""

    places: Places
    runs: Runs = field(init=False)
    analyst: Analyst = field(default_factory=Analyst)
    readers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, thread_name_prefix="mlops-lab-read"))
    starters: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, thread_name_prefix="mlops-lab-start"))

    def __post_init__(self) -> None:
        self.runs = Runs(self.places)

    async def read(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do some reading of files in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.readers, functools.partial(work, *arguments))

    async def start(self, work: Callable[..., T], *arguments: Any) -> T:
        """Wait in a thread for another process to begin its work, or to do it."""
        return await asyncio.get_running_loop().run_in_executor(self.starters, functools.partial(work, *arguments))

    # -- what is parsed --------------------------------------------------------------------------------------------

    def roles(self) -> dict[str, Any]:
        """The table of tags."""
        return analysis.roles()

    async def analyse(self, posted: Posted) -> dict[str, Any]:
        """The posted cells as a pipeline."""
        path = await self.read(self.places.notebook, posted.path, False)
        took = await self.read(costs, self.places, posted.path)

        def work() -> dict[str, Any]:
            return analysis.analyse(analysis.notebook_of(posted, path), took)

        return await self.analyst.once(msgspec.json.encode(["analyse", posted, took]), work)

    async def suggest(self, posted: Posted) -> dict[str, Any]:
        """Tags for the posted cells."""
        path = await self.read(self.places.notebook, posted.path, False)

        def work() -> dict[str, Any]:
            return analysis.suggestion(analysis.notebook_of(posted, path))

        return await self.analyst.once(msgspec.json.encode(["suggest", posted]), work)

    async def errors_of(self, notebook: Path) -> list[dict[str, Any]]:
        """Why a saved notebook does not run."""
        return await self.analyst.run(lambda: analysis.errors_of(notebook))

    async def state(self, name: str) -> dict[str, Any]:
        """The picture of a run, with the cells, steps and edges of the notebook as it was run."""
        run, _ = await self.read(self.places.run, name)
        try:  # they never change, so they are found once
            known = await self.analyst.once(f"outline {run.path}".encode(), lambda: outline(run.notebook))
        except UsageError:  # damaged, or removed
            known = NO_OUTLINE
        return await self.read(self.runs.state, name, known)

    async def notebook(self, name: str) -> Any:
        """The notebook as it was run, with the outputs so far."""
        run, _ = await self.read(self.places.run, name)
        return await self.analyst.run(lambda: Run(run).notebook())

    def close(self) -> None:
        """Let the threads end. Runs go on without us; nothing of theirs is ours to end."""
        self.analyst.close()
        for pool in (self.readers, self.starters):
            pool.shutdown(wait=False, cancel_futures=True)
