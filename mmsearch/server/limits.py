"""Bodies that are too large or never end: bytes are counted while they come, one's and those of all together."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmsearch.server.problems import of_http

MAX_BODY = 20 << 20
MAX_JSON = 2 << 20
MAX_HELD = 64 << 20
"""Three of the largest: one that is worked on, and two that come meanwhile."""
STEP = 256 << 10
SMALL = 64 << 10
"""What has come of a body is not counted up to here: a connection may have as much in its buffers."""
BODY_SECONDS = 30.0
TOKEN_SECONDS = 2.0
"""For the body that holds a token: whoever sends it may be anybody."""


class _Limit(NamedTuple):
    """How large a body may be, and what else to send."""

    n_bytes: int
    advice: str

    def error(self) -> HTTPException:
        """Return the refusal of what is larger."""
        size = f"{self.n_bytes >> 20} MiB" if self.n_bytes >= 1 << 20 else f"{self.n_bytes >> 10} KiB"
        return HTTPException(413, f"the request is larger than {size}; {self.advice}")


WITH_UPLOADS = ("/search", "/classify", "/embed")
"""Paths that take JSON; with `UPLOAD` behind, those that take a form with pictures."""
UPLOAD = "/upload"
_FORM = _Limit(MAX_BODY, "send a smaller picture")
_JSON = {path: _Limit(MAX_JSON, f"send pictures as a form, to {path}{UPLOAD}") for path in WITH_UPLOADS}
_JSON["/searches"] = _Limit(MAX_JSON, "send fewer searches at once")
_TOKEN = _Limit(4 << 10, "send the token alone")
_IDS = _Limit(SMALL, "ask for fewer pictures at once")
_SHORT_TEXT = _Limit(SMALL, "send a shorter text")
_GROUPS = _Limit(SMALL, "name fewer groups or pictures at once")
_NOTHING = _Limit(SMALL, "nothing is read here")


def limit_of(path: str) -> _Limit:
    """Return the limit of a body by where it goes."""
    if path == "/session":
        return _TOKEN
    if path in ("/archive", "/tags"):
        return _IDS
    if path.startswith("/pictures/") and path.endswith("/caption"):
        return _SHORT_TEXT
    if path.startswith("/people/"):
        return _SHORT_TEXT if path.endswith("/name") else _GROUPS
    if path.endswith(UPLOAD) and path.removesuffix(UPLOAD) in WITH_UPLOADS:
        return _FORM
    return _JSON.get(path, _NOTHING)


class Budget:
    """Bytes that may be held at a time; who needs more than there are waits in line. Used by one event loop.

    A body takes bytes while it comes, so that one which does not come holds none. Half of two bodies could wait for
    each other for ever: the last bytes are therefore kept for one body at a time, which they let come to its end.

    Parameters
    ----------
    n_bytes : int
        All.
    n_last : int
        Those kept for one; no body needs more.
    """

    def __init__(self, n_bytes: int, n_last: int) -> None:
        self._n_left, self._n_last = n_bytes, n_last
        self._first: object = None
        self._line: deque[tuple[object, int, asyncio.Future[None]]] = deque()

    async def take(self, owner: object, n_bytes: int) -> None:
        """Wait until so many bytes are left for a body and all who came before have theirs."""
        if (not self._line or owner is self._first) and self._grant(owner, n_bytes):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if owner is self._first:
            self._line.appendleft((owner, n_bytes, turn))
        else:
            self._line.append((owner, n_bytes, turn))
        try:
            await turn
        except asyncio.CancelledError:
            self.give(owner, 0 if turn.cancelled() else n_bytes)  # its turn may have come at the same moment
            raise

    def give(self, owner: object, n_bytes: int) -> None:
        """Return bytes that a body had; it takes no more."""
        self._n_left += n_bytes
        self.finish(owner)

    def finish(self, owner: object) -> None:
        """Note that a body takes no more, though it holds what it has, and let others take what they wait for."""
        if owner is self._first:
            self._first = None
        while self._line:
            waiting, n_bytes, turn = self._line[0]
            if not turn.done():  # whoever has left takes nothing
                if not self._grant(waiting, n_bytes):
                    return
                turn.set_result(None)
            self._line.popleft()

    def _grant(self, owner: object, n_bytes: int) -> bool:
        is_within = n_bytes <= self._n_left - self._n_last
        if not is_within and (self._first not in (None, owner) or n_bytes > self._n_left):
            return False
        if not is_within:
            self._first = owner
        self._n_left -= n_bytes
        return True


class _Body:
    """The body of one request: its bytes are counted while they come, and read as the budget has room for them."""

    def __init__(self, receive: Receive, budget: Budget, limit: _Limit, n_expected: int) -> None:
        self._receive, self._budget, self._limit = receive, budget, limit
        self._n_expected, self._n_reserved, self._n_bytes = n_expected, 0, 0
        self._seconds = TOKEN_SECONDS if limit is _TOKEN else BODY_SECONDS
        self._deadline = 0.0
        self._is_whole = False

    async def receive(self) -> Message:
        """Return the next message."""
        if self._is_whole:  # what is waited for now is the end of the connection
            return await self._receive()
        loop = asyncio.get_running_loop()
        start = loop.time()
        await self._reserve()
        # The time that a client was made to wait is not its own.
        self._deadline = self._deadline + loop.time() - start if self._deadline else loop.time() + self._seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            sentence = f"the request did not come within {self._seconds:g} s"
            raise HTTPException(408, sentence, {"Connection": "close"}) from None
        self._n_bytes += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        if self._n_bytes > self._limit.n_bytes:
            raise self._limit.error()
        if self._is_whole:
            self._budget.finish(self)
        return message

    async def _reserve(self) -> None:
        """Take bytes for what comes next, once more has come than buffers hold."""
        if self._n_bytes < SMALL or min(self._n_bytes + SMALL, self._n_expected) <= self._n_reserved:
            return
        n_wanted = min(self._n_bytes + STEP, self._n_expected) - self._n_reserved
        try:
            async with asyncio.timeout(BODY_SECONDS):
                await self._budget.take(self, n_wanted)
        except TimeoutError:
            sentence = "the server holds as much as it can of what others send; try again in a moment"
            raise HTTPException(503, sentence, {"Retry-After": "5"}) from None
        self._n_reserved += n_wanted

    def release(self) -> None:
        """Let others have the bytes."""
        self._budget.give(self, self._n_reserved)
        self._n_reserved = 0


class BodyLimits:
    """ASGI application round another: ends a request whose body is too large or takes too long.

    All bodies together have a limit too: more is not read of them before others have been answered.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._budget = Budget(MAX_HELD, MAX_BODY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = limit_of(scope["path"])
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
