"""The extension as the Jupyter server finds it: what can be configured, the routes, and what they share.

Imported at the server's start, so it imports nothing that is slow; a test measures it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from jupyter_server.extension.application import ExtensionApp
from traitlets import Float, Integer

from mlops_lab.server.handlers import HANDLERS

if TYPE_CHECKING:
    from mlops_lab.server.core import Core


_CONTENTS = "https://events.jupyter.org/jupyter_server/contents_service/v1"


class MlopsLabApp(ExtensionApp):  # type: ignore[misc]
    """Notebooks as pipelines, in the Jupyter server."""

    name = "mlops_lab"
    load_other_extensions = True

    max_request_bytes = Integer(
        32 * 2**20, help="Largest request that is taken; a notebook's cells are posted without their outputs."
    ).tag(config=True)
    preview_seconds = Float(20.0, help="How long values may take to be loaded for their previews.").tag(config=True)
    preview_memory = Integer(4 * 2**30, help="How many bytes of memory the loading of values for previews may take.").tag(
        config=True
    )

    _core: Core | None = None
    _moves: asyncio.Lock

    def initialize_handlers(self) -> None:
        """The routes, below the server's base URL; and what the contents manager tells."""
        self.handlers.extend((pattern, handler) for pattern, handler in HANDLERS)
        self._moves = asyncio.Lock()
        self.serverapp.event_logger.add_listener(schema_id=_CONTENTS, listener=self._on_contents)

    async def _on_contents(self, *, data: dict[str, Any], **_: Any) -> None:
        """A notebook that was renamed or moved in Jupyter keeps its runs."""
        if data.get("action") == "rename":
            async with self._moves:
                core = await self.core()
                await asyncio.to_thread(core.places.moved, data["source_path"], data["path"])

    async def settled(self) -> None:
        """Wait until what was just renamed is known under its new name."""
        async with self._moves:
            pass

    async def core(self) -> Core:
        """What all requests share; made, in a thread, for the first of them."""
        if self._core is None:
            made = await asyncio.to_thread(self._make_core)
            self._core = self._core or made
        return self._core

    def _make_core(self) -> Core:
        from mlops_lab.server.core import Core
        from mlops_lab.server.places import Places
        from mlops_lab.server.previews import Limits

        manager = self.serverapp.contents_manager
        root = getattr(manager, "root_dir", "") or self.serverapp.root_dir
        places = Places(root, allow_hidden=bool(getattr(manager, "allow_hidden", False)))
        return Core(places, Limits(self.preview_seconds, self.preview_memory))

    def current_activity(self) -> list[str]:
        """The runs in progress: a server that ends when nothing happens any more is not idle while one runs."""
        return self._core.runs.in_progress() if self._core is not None else []

    async def stop_extension(self) -> None:
        """Runs go on without us."""
        if self._core is not None:
            self._core.close()


def points() -> list[dict[str, Any]]:
    """What `_jupyter_server_extension_points` tells the server."""
    return [{"module": "mlops_lab.server.app", "app": MlopsLabApp}]
