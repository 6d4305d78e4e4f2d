"""A websocket that sends a run's events: those so far, then those to come, each once and in order.

It reads the log, as everybody does, so it needs no word from the process that runs; a client that lost the connection goes
on with `after`. How fast it sends is for the client to say: what wasn't sent yet stays in the file.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from mlops_lab.server.base import AUTH_RESOURCE, authorise, error_body
from mlops_lab.server.errors import NotFound

if TYPE_CHECKING:
    from mlops_lab.server.core import Core

_PAUSE = 0.1  # seconds between two looks at the log
_NO_SUCH_RUN = 4404


class Stream(WebSocketMixin, WebSocketHandler, JupyterHandler):  # type: ignore[misc]
    """GET /runs/ID/stream."""

    auth_resource = AUTH_RESOURCE
    _task: asyncio.Task[None] | None = None
    _after = 0

    def set_default_headers(self) -> None:
        """Those of pages make no sense for a websocket."""

    def write_error(self, status_code: int, **about: Any) -> None:
        """A stream that isn't opened is refused as any request."""
        self.set_header("Content-Type", "application/json")
        self.finish(error_body(status_code, about))

    def get_compression_options(self) -> Any:
        """Outputs are text, mostly."""
        return self.settings.get("websocket_compression_options", {})

    @ws_authenticated  # type: ignore[untyped-decorator]
    async def get(self, name: str) -> None:
        await authorise(self, "execute")
        after = self.get_query_argument("after", "0")
        if not after.isascii() or not after.isdigit() or len(after) > 16:
            raise HTTPError(400, f"after is {after[:40]!r}; give a whole number.")
        self._after = int(after)
        await super().get(name)

    def open(self, name: str) -> None:
        """Begin to send."""
        super().open()
        self._task = asyncio.ensure_future(self._send(name))

    def on_message(self, message: str | bytes) -> None:
        """There is nothing to tell us."""

    def on_close(self) -> None:
        """Whoever listened is gone."""
        if self._task is not None:
            self._task.cancel()

    async def _send(self, name: str) -> None:
        core: Core = await self.settings["mlops_lab"].core()
        with contextlib.suppress(WebSocketClosedError):
            try:
                log = await core.readers.run(core.runs.open_log, name, self._after)
            except NotFound as error:
                self.close(_NO_SUCH_RUN, str(error)[:100])
                return
            while True:
                # Asked before reading: what it wrote before it ended is then still read.
                active = await core.readers.run(log.is_active)
                lines = await core.readers.run(log.news)
                for line in lines:
                    await self.write_message(line.decode())
                if not lines and not active:
                    self.close(1000, await core.readers.run(log.status))
                    return
                if not lines and await core.readers.run(log.is_elsewhere):
                    await core.refresh(name)
                if not lines:
                    await asyncio.sleep(_PAUSE)
