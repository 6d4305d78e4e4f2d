"""What every client of a kernel needs here, on top of nbclient's: sockets of its own, a prompt start, and patience."""

from __future__ import annotations

import asyncio
import os
import queue
import time
from typing import Any

import zmq
from jupyter_client.asynchronous import AsyncKernelClient

_RECONNECT = 10  # milliseconds between tries to reach a kernel that is starting
_REPLY_SECONDS, _NEWS_SECONDS = 1.0, 0.05  # until a kernel is asked again


class PromptClient(AsyncKernelClient):  # type: ignore[misc]
    """A client that knows from the kernel's own messages when it is ready, and not by hearing nothing for a while."""

    async def _async_wait_for_ready(self, timeout: float | None = None) -> None:
        """Return when the kernel answers, and is heard on all channels. Raises `RuntimeError` if it dies, or takes too long."""
        deadline = time.monotonic() + (timeout or float("inf"))
        asked = set()
        while True:
            asked.add(self.kernel_info())
            try:
                reply = await self.shell_channel.get_msg(timeout=_REPLY_SECONDS)
                # What a kernel says before we are heard as its listener is lost; then it is asked again.
                while not self._is_idle(await self.iopub_channel.get_msg(timeout=_NEWS_SECONDS), asked):
                    pass
            except queue.Empty:
                pass
            else:
                self._handle_kernel_info_reply(reply)
                return
            if not await self._async_is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kernel didn't respond in {timeout:.0f} seconds")

    wait_for_ready = _async_wait_for_ready

    @staticmethod
    def _is_idle(message: dict[str, Any], asked: set[str]) -> bool:
        of_ours = message["parent_header"].get("msg_id") in asked
        return of_ours and message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"


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
        manager.context.setsockopt(zmq.RECONNECT_IVL, _RECONNECT)
        manager.client_factory = PromptClient
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
