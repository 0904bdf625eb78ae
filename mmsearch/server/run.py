"""Start the server: listen, say where, answer until it is stopped."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from mmsearch.arguments import CPU, Device
from mmsearch.encoders.runtime import device_for
from mmsearch.errors import ServerError
from mmsearch.library import Library
from mmsearch.server.app import create_app
from mmsearch.server.connections import TimedProtocol
from mmsearch.server.kept_token import kept_token
from mmsearch.server.observed import Observed
from mmsearch.server.origin import Origin
from mmsearch.server.security import Access
from mmsearch.store.base import Place
from mmsearch.system import allow_open_files, keep_large_blocks_apart

MAX_CONNECTIONS = 1_000
MIN_CONNECTIONS = 100
MAX_WAITING = 512
"""Connections that the system keeps until they are accepted."""
MAX_ACCEPTED = 16
"""Connections that are accepted at a time: what they ask is read before so many come that they make room."""
OTHER_FILES = 500
"""What a server may have open besides connections: libraries of its threads, originals that it shows, workers."""
LARGE_BLOCK = 4 << 20
MIN_TOKEN = 16


@dataclass(frozen=True)
class Entrance:
    """Where a server listens, and what lets programs in.

    Attributes
    ----------
    host, port : str, int
        Where to listen; port 0 takes a free one.
    token : str or None
        Of programs; None makes one.
    is_kept : bool
        Whether the token that is made is kept beside the library for later starts.
    is_renewed : bool
        Whether a new one takes the place of the kept one.
    public : Origin or None
        Where a reverse proxy serves it, for browsers.
    """

    host: str
    port: int
    token: str | None = field(default=None, repr=False)
    is_kept: bool = False
    is_renewed: bool = False
    public: Origin | None = None

    def access(self, place: Place, port: int) -> Access:
        """Return the secrets of a start at a port."""
        kept = kept_token(place.kept, is_renewed=self.is_renewed) if self.is_kept else ""
        return Access(self.host, port, self.token or "", kept, self.public)


def serve(
    place: Place,
    entrance: Entrance,
    *,
    on_ready: Callable[[Access], None],
    cache: Path | None = None,
    device: Device = CPU,
) -> None:
    """Serve one library until the process is interrupted.

    Parameters
    ----------
    place : Place
        Of the library.
    entrance : Entrance
        Where to listen, and what lets programs in.
    on_ready : callable
        Called with the secrets once the port is ours.
    cache : Path or None
        Where exported encoders are kept.
    device : str
        Where what is searched for is embedded, as for `Library.open`.

    Raises
    ------
    ServerError
        If the port cannot be had, or the token is too short or, kept, not to be believed.
    EncoderError
        If there is no such device.
    LibraryError
        If there is no library that can be read.
    """
    token = entrance.token
    if token is not None and len(token) < MIN_TOKEN:
        raise ServerError(f"the token has {len(token)} characters; give at least {MIN_TOKEN} that nobody guesses")
    device = device_for(device)
    with Library(place, cache=cache) as library:
        library.status()  # what is wrong with the library is said now
    keep_large_blocks_apart(LARGE_BLOCK)  # pictures that are sent
    with _listening(entrance.host, entrance.port) as listener:
        access = entrance.access(place, listener.getsockname()[1])
        n_connections = allow_open_files(MAX_CONNECTIONS + OTHER_FILES) - OTHER_FILES
        server = server_of(
            create_app(place, access, cache=cache, device=device), n_connections=max(n_connections, MIN_CONNECTIONS)
        )
        with _ended_by_signal(server), suppress(KeyboardInterrupt):  # how a server is stopped
            on_ready(access)
            server.run(sockets=[listener])


@contextmanager
def _ended_by_signal(server: uvicorn.Server) -> Iterator[None]:
    """Let SIGTERM end the process, too, only once all that was opened is closed; in the main thread.

    uvicorn answers what is being answered and hands the signal on, which by default ends the process at once.
    """
    received: list[int] = []

    def note(number: int, _: object) -> None:
        received.append(number)
        server.should_exit = True  # also if it does not run yet

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
    if received:
        raise SystemExit(128 + received[0])


class _Server(uvicorn.Server):
    """A server that does not wait for those whom it lets wait."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop = stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and let more wait than asyncio, which takes both from one number, accepts at a time."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(MAX_WAITING)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is being answered, and end."""
        self._stop()
        await super().shutdown(sockets)


def server_of(app: Observed, *, n_connections: int = MAX_CONNECTIONS) -> uvicorn.Server:
    """Return the server of an application, with the limits of ours."""
    # Where uvloop is installed uvicorn alone would take it, whose transports TimedProtocol does not know.
    config = uvicorn.Config(
        app, http=TimedProtocol, loop="asyncio", ws="none", log_config=None, log_level="warning", access_log=False,
        server_header=False, proxy_headers=False, backlog=MAX_ACCEPTED,
        limit_concurrency=n_connections, timeout_graceful_shutdown=5,
    )  # fmt: skip
    return _Server(config, app.stop)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        return socket.create_server(address[:2], family=family, backlog=MAX_WAITING)
    except (OSError, OverflowError) as error:
        advice = "choose another with --port, or another address with --host"
        raise ServerError(f"cannot listen on {host} port {port} ({error}); {advice}") from error
