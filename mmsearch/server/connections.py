"""Connections that never end or are too many: each has its time, and strangers make room."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from mmsearch.errors import advice, is_shortage, reason
from mmsearch.server.guesses import THIS_MACHINE, address_of
from mmsearch.system import unconfirmed_bytes

_LOG = logging.getLogger(__name__)
HEADER_SECONDS = 10.0
WRITE_SECONDS = 20.0
MIN_TAKEN = 80 << 10
"""Bytes that a client must take in `WRITE_SECONDS` while some wait for it."""
READ_BYTES = 64 << 10
"""What is read of a connection at a time, in place of 256 KiB."""
_DROP_UNSENT = struct.pack("ii", 1, 0)  # l_onoff, l_linger


@dataclass
class Connection:
    """What a connection and the application tell each other; `connection` in the state of a request.

    Attributes
    ----------
    left : future or None
        Done once the client is gone; None where there is no such connection, as in tests.
    is_surplus : bool
        True if there is no room for it, so that its request must be refused.
    is_let_in : bool
        Set by the application once a request came with the right token or cookie.
    abort : callable
        Ends it, whatever is on its way.
    """

    left: asyncio.Future[None] | None = None
    is_surplus: bool = False
    is_let_in: bool = False
    abort: Callable[[], None] = lambda: None

    async def break_off(self) -> None:
        """End it in the middle of an answer: the client sees that what it got is not all."""
        self.abort()
        if self.left is not None:
            await self.left


def connection_of(scope: Scope) -> Connection:
    """Return the connection that a request came by."""
    connection = scope.get("state", {}).get("connection")
    return connection if isinstance(connection, Connection) else Connection()


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
    to it.

    Where there are as many as there may be, an older one is ended for each new one. It is the one that has been
    silent longest of those whose client has shown neither token nor cookie, answered or not; if there is none, of
    the others that wait for no answer. An address of another machine may have half of all; then it is one of its
    own that is ended. Where all are needed, the new one stays and its request is refused.
    """

    _timer: asyncio.TimerHandle | None = None
    _reader_timer: asyncio.TimerHandle | None = None
    _heard = 0.0
    _n_taken = 0
    _is_ended = False
    _address = ""
    _n_most: int | None = None
    _connection: Connection
    _outgoing: _Outgoing

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        # asyncio does so only for sockets that name their protocol. Without it head and body, which are written
        # apart, arrive 40 ms apart.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]
        self._outgoing = _Outgoing(transport, self._watch_reader)
        super().connection_made(cast(asyncio.Transport, self._outgoing))
        self._heard = self.loop.time()
        self._address = address_of(self.client[0] if self.client else None)
        self._n_most, self.limit_concurrency = self.limit_concurrency, None  # uvicorn would refuse in plain text
        self._connection = Connection(
            self.loop.create_future(), is_surplus=not self._has_room(), abort=transport.abort
        )
        self.app_state = self.app_state | {"connection": self._connection}
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
        if self._connection.left is not None:
            self._connection.left.set_result(None)
        super().connection_lost(exc)

    def _has_room(self) -> bool:
        """Return whether this connection may be, once another was ended for it where that is needed."""
        if self._n_most is None:
            return True
        others = [
            other
            for other in self.connections
            if isinstance(other, TimedProtocol) and other is not self and not other._is_ended
        ]
        if self._address != THIS_MACHINE:  # all users of this machine have that one, and proxies
            neighbours = [other for other in others if other._address == self._address]
            if len(neighbours) >= self._n_most // 2:
                return self._has_room_among(neighbours, self._n_most // 2)
        return self._has_room_among(others, self._n_most)

    def _has_room_among(self, others: list[TimedProtocol], n_most: int) -> bool:
        """Return whether this connection may be beside others, once one of them was ended where that is needed."""
        kept = [other for other in others if not other._connection.is_surplus]
        if len(others) > len(kept) and len(others) >= n_most:
            _ended_for_another([other for other in others if other._connection.is_surplus])
        if len(kept) >= n_most:
            return _ended_for_another(kept)
        return len(self.tasks) < cast(int, self._n_most)  # requests whose clients have left are counted too

    def _is_busy(self) -> bool:
        """Return whether a client that was let in waits for an answer, or takes it."""
        return self._connection.is_let_in and (self._is_answering() or self.transport.get_write_buffer_size() > 0)

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
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DROP_UNSENT)
            self.transport.abort()
        else:
            self._watch_reader()


def _ended_for_another(connections: list[TimedProtocol]) -> bool:
    """End the connection that is the first to make room; return False if all are needed."""
    unneeded = [connection for connection in connections if not connection._is_busy()]
    if not unneeded:
        return False
    ended = min(unneeded, key=lambda connection: (connection._connection.is_let_in, connection._heard))
    ended._is_ended = True
    ended.transport.abort()
    return True


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
