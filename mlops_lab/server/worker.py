"""Work in threads, so that the server's event loop stays free; equal questions share one answer."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def key_of(question: bytes) -> str:
    """The key under which the answer to a question is remembered."""
    return hashlib.sha256(question).hexdigest()


class Worker:
    """A few threads. Work that nobody waits for any more isn't begun; the last `remember` answers are kept.

    Whatever parses belongs into a worker with one thread, and always the same: the interpreter's parser isn't safe to use
    from several (CPython 3.11).
    """

    def __init__(self, name: str, threads: int = 1, remember: int = 0) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"mlops-lab-{name}")
        self._remember = remember
        self._answers: OrderedDict[str, Any] = OrderedDict()
        self._asked: dict[str, asyncio.Task[Any]] = {}
        self._waiting: dict[str, int] = {}

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do some work in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*arguments))

    def remembered(self, key: str) -> Any:
        """The answer that `once` gave under this key, or None if it isn't kept any more."""
        return self._answers.get(key)

    async def once(self, question: bytes, work: Callable[[], T]) -> T:
        """The answer to a question that its bytes tell from all others."""
        key = key_of(question)
        if key in self._answers:
            self._answers.move_to_end(key)
            return self._answers[key]  # type: ignore[no-any-return]
        task = self._asked.get(key)
        if task is None or task.cancelling():
            task = self._asked[key] = asyncio.ensure_future(self.run(work))
            task.add_done_callback(lambda done: self._done(key, done))
        self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            # Whoever goes away ends its own waiting only; the work is dropped with the last of those who wait.
            return await asyncio.shield(task)
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
                task.cancel()

    def _done(self, key: str, task: asyncio.Task[Any]) -> None:
        if self._asked.get(key) is task:
            del self._asked[key]
        if self._remember and not task.cancelled() and task.exception() is None:
            self._answers[key] = task.result()
            while len(self._answers) > self._remember:
                self._answers.popitem(last=False)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)
