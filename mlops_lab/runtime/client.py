"""What every client of a kernel needs here, on top of nbclient's: sockets of its own, and patience."""

from __future__ import annotations

import asyncio
import os
import queue
from typing import Any

import zmq


class OwnSockets:
    """For a subclass of nbclient's `NotebookClient`: its kernel listens on sockets in the folder `sockets`.

    TCP ports are chosen before they are bound, and two kernels that start at the same moment can choose the same one.
    """

    sockets = ""

    def create_kernel_manager(self) -> Any:
        """The kernel's manager, told where to listen."""
        manager = super().create_kernel_manager()  # type: ignore[misc]
        if os.name == "posix":
            manager.transport, manager.ip = "ipc", os.path.join(self.sockets, "k")
        # ZeroMQ drops what a subscriber hasn't taken beyond some thousand messages: outputs, and with them the one that says
        # that the cell has ended. They wait in our memory instead.
        manager.context.setsockopt(zmq.RCVHWM, 0)
        return manager

    async def async_start_new_kernel_client(self) -> Any:
        """The kernel's client, made to wait for a cell as long as it takes."""
        started = await super().async_start_new_kernel_client()  # type: ignore[misc]
        receive = started.shell_channel.get_msg

        async def get_msg(timeout: float | None = None) -> Any:
            # Where a poll without a time limit comes back empty-handed, nbclient fails an assertion of its own.
            while True:
                try:
                    return await receive(timeout=timeout)
                except queue.Empty:
                    if timeout is not None:
                        raise
                    await asyncio.sleep(0.1)

        started.shell_channel.get_msg = get_msg
        return started
