"""What every handler has: authentication, authorisation, bounded and checked bodies, our errors as JSON."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from jupyter_core.utils import ensure_async
from jupyter_server.base.handlers import APIHandler
from jupyter_server.extension.handler import ExtensionHandlerMixin
from tornado.httputil import responses
from tornado.web import HTTPError, RequestHandler, authenticated

from mlops_lab.errors import CheckError, MlopsLabError, UsageError
from mlops_lab.server.errors import NotFound, TooLarge, kind_of, status_of

if TYPE_CHECKING:
    from mlops_lab.server.app import MlopsLabApp
    from mlops_lab.server.core import Core

T = TypeVar("T")
Method = Callable[..., Awaitable[None]]
AUTH_RESOURCE = "mlops_lab"


class Gone(Exception):
    """Whoever asked has closed the connection; there is nobody to answer."""


def may(action: str) -> Callable[[Method], Method]:
    """Let a method answer those who are logged in and may do this (`read`, `write`, `execute`), and its errors be JSON."""

    def decorate(method: Method) -> Method:
        @functools.wraps(method)
        async def answer(self: Handler, *arguments: str) -> None:
            await authorise(self, action)
            self.core = await self.app.core()
            try:
                await method(self, *arguments)
            except Gone:
                pass
            except MlopsLabError as error:
                await self.reply_error(error)

        checked: Method = authenticated(answer)
        return checked

    return decorate


async def authorise(handler: Any, action: str) -> None:
    """Raise a 403 unless the user may do this with us."""
    if not await ensure_async(handler.authorizer.is_authorized(handler, handler.current_user, action, AUTH_RESOURCE)):
        raise HTTPError(403, f"You are not authorised to {action} {AUTH_RESOURCE} on this server.")


class Handler(ExtensionHandlerMixin, APIHandler):  # type: ignore[misc]
    """Base of our handlers."""

    auth_resource = AUTH_RESOURCE
    core: Core
    _work: asyncio.Future[Any] | None = None

    @property
    def app(self) -> MlopsLabApp:
        return self.settings["mlops_lab"]  # type: ignore[no-any-return]

    def body(self, kind: type[T]) -> T:
        """The request's JSON as `kind`. Raises `UsageError` for anything else, `TooLarge` for too much of it."""
        text, most = self.request.body, self.app.max_request_bytes
        if len(text) > most:
            raise TooLarge(f"The request has {len(text):,} bytes; at most {most:,} are taken (MlopsLabApp.max_request_bytes).")
        try:
            return msgspec.json.decode(text or b"{}", type=kind)
        except (msgspec.DecodeError, RecursionError) as error:
            raise UsageError(f"The request is not what it should be: {error}.") from None

    def whole(self, name: str, default: int, least: int = 0, most: int = 2**53 - 1) -> int:
        """A whole number of the query."""
        text = self.get_query_argument(name, None)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 16 or not least <= int(text) <= most:
            raise UsageError(f"{name} is {text[:40]!r}; give a whole number from {least:,} to {most:,}.")
        return int(text)

    def flag(self, name: str, default: bool) -> bool:
        """True or false in the query."""
        text: str = self.get_query_argument(name, str(default)).lower()
        if text not in ("true", "false"):
            raise UsageError(f"{name} is {text[:40]!r}; give true or false.")
        return text == "true"

    async def while_connected(self, work: Awaitable[T]) -> T:
        """Wait for some work, unless the asker goes away: then the work is dropped and `Gone` raised."""
        task: asyncio.Future[T] = asyncio.ensure_future(work)
        self._work = task
        try:
            return await task
        except asyncio.CancelledError:
            raise Gone from None

    def on_connection_close(self) -> None:
        """Nobody waits any more."""
        super().on_connection_close()
        if self._work is not None:
            self._work.cancel()

    def reply(self, model: Any, status: int = 200) -> None:
        """Answer with JSON."""
        self.set_status(status)
        self.finish(msgspec.json.encode(model))

    async def reply_error(self, error: MlopsLabError) -> None:
        """Answer with what is wrong."""
        model: dict[str, Any] = {"message": str(error), "kind": type(error).__name__}
        if isinstance(error, CheckError):
            model["diagnostics"] = await self.diagnostics(error)
        self.reply(model, status_of(error))

    async def diagnostics(self, error: CheckError) -> list[dict[str, Any]]:
        """The diagnostics of an error as plain data."""
        return []

    def write_error(self, status_code: int, **about: Any) -> None:
        """Errors of the server itself, in the shape of ours."""
        if status_code == 405:
            unserved = RequestHandler._unimplemented_method
            served = (m for m in self.SUPPORTED_METHODS if getattr(type(self), m.lower(), unserved) is not unserved)
            self.set_header("Allow", ", ".join(served))
        self.finish(error_body(status_code, about))


def error_body(status: int, about: dict[str, Any]) -> bytes:
    """What tornado tells of an error, as JSON in the shape of ours."""
    error = (about.get("exc_info") or (None, None))[1]
    if isinstance(error, HTTPError):
        message = error.log_message or error.reason or responses.get(status, "")
    else:
        message = "The server failed to answer; its log says why. Please report it."
    return msgspec.json.encode({"message": str(message), "kind": kind_of(status)})


class UnknownRoute(Handler):
    """Below our prefix everything answers in JSON, also that there is no such thing."""

    @may("read")
    async def get(self) -> None:
        raise NotFound(f"There is no route {self.request.path}. docs/openapi.yaml lists them.")

    @may("read")
    async def post(self) -> None:
        raise NotFound(f"There is no route {self.request.path}. docs/openapi.yaml lists them.")
