"""Bodies and connections that never end: bytes are counted while they come, and everything has its time."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mmsearch.errors import advice, is_shortage, reason
from mmsearch.server.problems import problem

_LOG = logging.getLogger(__name__)
MAX_BODY = 20 << 20
BODY_SECONDS = 30.0
HEADER_SECONDS = 10.0
_TOO_LARGE = f"the request is larger than {MAX_BODY >> 20} MiB; send a smaller picture"


class BodyLimits:
    """ASGI application round another: ends a request whose body is too large or takes too long."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared) > MAX_BODY:
            await problem(413, _TOO_LARGE)(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        n_bytes, is_whole = 0, False

        async def counted() -> Message:
            nonlocal n_bytes, is_whole
            if is_whole:  # what is waited for now is the end of the connection
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the request did not come within {BODY_SECONDS:g} s") from None
            n_bytes += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if n_bytes > MAX_BODY:
                raise HTTPException(413, _TOO_LARGE)
            return message

        await self.app(scope, counted, send)


class TimedProtocol(H11Protocol):
    """uvicorn's HTTP protocol, which ends a connection whose next request does not come in time.

    uvicorn alone waits for ever while the header of a request trickles in.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        # asyncio does so only for sockets that name their protocol. Without it head and body, which are written
        # apart, arrive 40 ms apart.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what came, and wait for the rest of it."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Start the clock while no request is being answered; it is not set back by a trickle."""
        if self._is_answering():
            self._stop()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if not self._is_answering():
            self.transport.abort()


class Shortages:
    """Says once a second that no connection can be accepted, which asyncio does thousands of times with tracebacks.

    Clients wait meanwhile. A handler of errors of an event loop.
    """

    def __init__(self) -> None:
        self._said = -1.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take one error."""
        error = context.get("exception")
        if isinstance(error, ValueError) and "Invalid file descriptor" in str(error) and self._said >= 0:
            return  # asyncio wants to go on listening where the server has ended meanwhile
        if not isinstance(error, OSError) or not is_shortage(error):
            loop.default_exception_handler(context)
        elif loop.time() - self._said >= 1:
            self._said = loop.time()
            _LOG.warning("no further connection can be accepted (%s); %s", reason(error), advice(error))
