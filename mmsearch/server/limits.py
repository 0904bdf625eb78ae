"""Bodies and connections that never end: bytes are counted while they come and go, and everything has its time."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mmsearch.errors import advice, is_shortage, reason
from mmsearch.server.problems import of_http
from mmsearch.system import unconfirmed_bytes

_LOG = logging.getLogger(__name__)
MAX_BODY = 20 << 20
MAX_JSON = 2 << 20
MAX_HELD = 64 << 20
"""Three of the largest: one that is worked on, and two that come meanwhile."""
SMALL = 64 << 10
"""Bodies up to here are not counted among those held: a connection may have as much in its buffers."""
_AT_ONCE = struct.pack("ii", 1, 0)
BODY_SECONDS = 30.0
HEADER_SECONDS = 10.0
WRITE_SECONDS = 20.0
MIN_TAKEN = 80 << 10
"""Bytes that a client must take in `WRITE_SECONDS` while some wait for it."""


class _Limit(NamedTuple):
    """How large a body may be, and what else to send."""

    n_bytes: int
    advice: str

    def error(self) -> HTTPException:
        """Return the refusal of what is larger."""
        size = f"{self.n_bytes >> 20} MiB" if self.n_bytes >= 1 << 20 else f"{self.n_bytes >> 10} KiB"
        return HTTPException(413, f"the request is larger than {size}; {self.advice}")


_FORM = _Limit(MAX_BODY, "send a smaller picture")
_JSON = _Limit(MAX_JSON, "send pictures as a form, as multipart/form-data")
_TOKEN = _Limit(4 << 10, "send the token alone")
_NOTHING = _Limit(SMALL, "nothing is read here")


def limit_of(path: str, kind: str) -> _Limit:
    """Return the limit of a body by where it goes and its media type."""
    if path == "/session":
        return _TOKEN
    if path not in ("/search", "/classify"):
        return _NOTHING
    return _FORM if kind.lower().startswith("multipart/") else _JSON


class Budget:
    """Bytes that may be held at a time; who needs more than there are waits in line. Used by one event loop."""

    def __init__(self, n_bytes: int) -> None:
        self._n_left = n_bytes
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, n_bytes: int) -> None:
        """Wait until so many bytes are left and all who came before have theirs."""
        if not self._line and n_bytes <= self._n_left:
            self._n_left -= n_bytes
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((n_bytes, turn))
        try:
            await turn
        except asyncio.CancelledError:
            self.give(0 if turn.cancelled() else n_bytes)  # its turn may have come at the same moment
            raise

    def give(self, n_bytes: int) -> None:
        """Return bytes that were taken, and let those have them who wait."""
        self._n_left += n_bytes
        while self._line and (self._line[0][1].done() or self._line[0][0] <= self._n_left):
            wanted, turn = self._line.popleft()
            if not turn.done():  # whoever has left takes nothing
                self._n_left -= wanted
                turn.set_result(None)


class _Body:
    """The body of one request: its bytes are reserved before the first is read, and counted while they come."""

    def __init__(self, receive: Receive, budget: Budget, limit: _Limit, n_expected: int) -> None:
        self._receive, self._budget, self._limit = receive, budget, limit
        self._n_expected, self._n_reserved, self._n_bytes = n_expected, 0, 0
        self._deadline = 0.0
        self._is_whole = False

    async def receive(self) -> Message:
        """Return the next message."""
        if self._is_whole:  # what is waited for now is the end of the connection
            return await self._receive()
        if not self._deadline:
            await self._reserve()
            self._deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"the request did not come within {BODY_SECONDS:g} s") from None
        self._n_bytes += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        if self._n_bytes > self._limit.n_bytes:
            raise self._limit.error()
        return message

    async def _reserve(self) -> None:
        if self._n_expected <= SMALL:
            return
        try:
            async with asyncio.timeout(BODY_SECONDS):
                await self._budget.take(self._n_expected)
        except TimeoutError:
            sentence = "the server holds as much as it can of what others send; try again in a moment"
            raise HTTPException(503, sentence, {"Retry-After": "5"}) from None
        self._n_reserved = self._n_expected

    def release(self) -> None:
        """Let others have the bytes."""
        self._budget.give(self._n_reserved)
        self._n_reserved = 0


class BodyLimits:
    """ASGI application round another: ends a request whose body is too large or takes too long.

    All bodies together have a limit too: further ones are not read before others have been answered. A body is
    reserved when the application first asks for it, so that requests which nobody reads hold nothing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._budget = Budget(MAX_HELD)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = limit_of(scope["path"], headers.get("content-type", ""))
        has_end = "transfer-encoding" not in headers
        declared = headers.get("content-length", "0") if has_end else str(limit.n_bytes)
        if not declared.isdecimal() or len(declared) > 18 or int(declared) > limit.n_bytes:
            await of_http(limit.error())(scope, receive, send)
            return
        if limit is _NOTHING:
            await self.app(scope, receive, send)
            return
        body = _Body(receive, self._budget, limit, int(declared))
        try:
            await self.app(scope, body.receive, send)
        finally:
            body.release()


class _Outgoing:
    """A transport that counts what it is given, and says when it begins to wait for the client."""

    def __init__(self, transport: asyncio.Transport, begin: Callable[[], None]) -> None:
        self._transport, self._begin = transport, begin
        self.n_written = 0

    def write(self, data: bytes) -> None:
        """Send bytes, or keep them until the client takes them."""
        was_waiting = self._transport.get_write_buffer_size() > 0
        self.n_written += len(data)
        self._transport.write(data)
        if not was_waiting:
            self._begin()

    def n_taken(self) -> int:
        """Return how many bytes the other machine has confirmed."""
        handle = self._transport.get_extra_info("socket").fileno()
        return self.n_written - self._transport.get_write_buffer_size() - unconfirmed_bytes(handle)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class TimedProtocol(H11Protocol):
    """uvicorn's HTTP protocol, with an end for connections that do not go on.

    uvicorn alone waits for ever while the header of a request trickles in, and for a client that does not take its
    answer. A connection is ended whose next request does not come in time, and one that does not take what is sent
    to it. Where there are too many, the one that has been silent longest makes room for a new one.
    """

    _timer: asyncio.TimerHandle | None = None
    _reader_timer: asyncio.TimerHandle | None = None
    _heard = 0.0
    _n_taken = 0
    _outgoing: _Outgoing

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        # asyncio does so only for sockets that name their protocol. Without it head and body, which are written
        # apart, arrive 40 ms apart.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.max_size = SMALL  # type: ignore[attr-defined]  # read at a time, in place of 256 KiB
        self._outgoing = _Outgoing(transport, self._watch_reader)
        super().connection_made(cast(asyncio.Transport, self._outgoing))
        self._heard = self.loop.time()
        self._make_room()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what came, and wait for the rest of it."""
        self._heard = self.loop.time()
        super().data_received(data)
        cycle: Any = self.cycle
        if self._is_answering() and cycle.more_body and cycle.body:
            self.flow.pause_reading()  # until the application asks for more
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop()
        if self._reader_timer is not None:
            self._reader_timer.cancel()
        super().connection_lost(exc)

    def _make_room(self) -> None:
        """End the connection that has been silent longest if there are too many."""
        if self.limit_concurrency is None or len(self.connections) < self.limit_concurrency:
            return
        silent = [other for other in self.connections if isinstance(other, TimedProtocol) and other._is_silent()]
        if silent:
            min(silent, key=lambda other: other._heard).transport.abort()

    def _is_silent(self) -> bool:
        transport = self.transport
        return not (self._is_answering() or transport.is_closing() or transport.get_write_buffer_size())

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

    def _watch_reader(self) -> None:
        """Start the clock of a client for which bytes wait; an answer that is complete has it too."""
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None
        if self.transport.get_write_buffer_size():
            self._n_taken = self._outgoing.n_taken()
            self._reader_timer = self.loop.call_later(WRITE_SECONDS, self._judge_reader)

    def _judge_reader(self) -> None:
        self._reader_timer = None
        is_waiting = self.transport.get_write_buffer_size() > 0
        if is_waiting and self._outgoing.n_taken() - self._n_taken < MIN_TAKEN:
            # The kernel would go on with what it has, some megabytes for each client, for minutes.
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.transport.abort()
        else:
            self._watch_reader()


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
