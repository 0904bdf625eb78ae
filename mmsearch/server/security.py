"""Who may ask what: the Host header first, then the token, then where a request comes from.

A page of another site must not reach the library through the user's browser: names that are not ours are refused
(DNS rebinding), the cookie is SameSite=Strict, what changes or computes must come from our own page, and no answer
may be embedded elsewhere. Other users of the machine do not know the token. Whatever they or pages of other sites
send, the right cookie is let in at once, and so is the right token unless a user chose it.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from hmac import compare_digest
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmsearch.server.connections import connection_of
from mmsearch.server.guesses import Guesses
from mmsearch.server.origin import Origin
from mmsearch.server.problems import of_http, problem

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
PUBLIC = ("/", "/start", "/session", "/openapi.json", "/favicon.ico", "/health", "/docs")
"""Paths that say nothing of the library, besides those of the page's own files."""
STATIC = "/static/"
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def _made() -> str:
    return secrets.token_urlsafe(32)


def _is_same(given: str, right: str) -> bool:
    """Compare in a time that tells nothing."""
    return compare_digest(given.encode(), right.encode())


@dataclass
class Access:
    """The secrets of one start of the server, and the names it answers to.

    Parameters
    ----------
    host : str
        What the server listens on.
    port : int
        As it stands in addresses.
    token : str
        Of programs, as a user chose it.
    kept_token : str
        Of programs, as it was made for an earlier start. Without either one is made that nobody guesses.
    public : Origin or None
        Where a reverse proxy serves it, for browsers.

    Attributes
    ----------
    browser_secret : str
        In the cookie of browsers; made, and unlike the token in every start.
    guesses : Guesses
        Looks at tokens where a user chose the right one.
    """

    host: str
    port: int
    token: str = field(default="", repr=False)
    kept_token: str = field(default="", repr=False)
    public: Origin | None = None
    browser_secret: str = field(default_factory=_made, init=False, repr=False)
    guesses: Guesses = field(default_factory=Guesses, init=False, repr=False)
    _key: str | None = field(default_factory=_made, init=False, repr=False)

    def __post_init__(self) -> None:
        self._is_chosen = bool(self.token)
        self.token = self.token or self.kept_token or _made()

    @property
    def cookie(self) -> str:
        """Name of the cookie; browsers do not tell ports apart."""
        return f"mmsearch-{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can ask."""
        return self.host == "localhost" or _is_loopback_address(self.host)

    @property
    def address(self) -> str:
        """Where browsers reach the server."""
        if self.public is not None:
            return str(self.public)
        name = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{_in_brackets(name)}:{self.port}"

    def start_path(self) -> str:
        """Return the path of the link that opens the page, once."""
        return f"/start?key={self._key}"

    def take_key(self, key: str) -> bool:
        """Return whether this is the key of the link; it is good for one time."""
        if self._key is None or not _is_same(key, self._key):
            return False
        self._key = None
        return True

    def is_browser_secret(self, given: str) -> bool:
        """Return whether a browser with this in its cookie was let in."""
        return _is_same(given, self.browser_secret)

    async def allows(self, token: str, scope: Scope) -> bool:
        """Return whether this is the token that a request may be answered for.

        Where a user chose the token the answer comes in its turn, see `guesses`.

        Raises
        ------
        HTTPException
            503 if the server stops before.
        """
        if not self._is_chosen:
            return _is_same(token, self.token)
        client = scope.get("client")
        host = None if client is None else str(client[0])
        right = partial(_is_same, self.token)
        return await self.guesses.allow(host, token, right, left=connection_of(scope).left)

    def answers_to(self, host: str) -> bool:
        """Return whether a Host header names this server."""
        if self.public is not None and self.public.is_named_by(host.lower()):
            return True
        name, colon, port = host.lower().rpartition(":")
        if not colon or "]" in port:
            name, port = host.lower(), "80"
        if port != str(self.port):
            return False
        if name in LOOPBACK or name == _in_brackets(self.host.lower()):
            return True
        # A name may be made to point anywhere, an address may not.
        is_anywhere = self.host in ("0.0.0.0", "::")
        return is_anywhere and (_is_address(name) or name == socket.gethostname().lower())

    def is_ours(self, origin: str, host: str, scheme: str) -> bool:
        """Return whether an Origin header names the server that a Host header names, or the one before it.

        A proxy may ask by the address that it has for us, and not by its own name.
        """
        origin, host = origin.lower(), host.lower()
        if self.public is not None and origin == str(self.public):
            return True
        return origin == f"{scheme}://{host}" and not (self.public and self.public.is_named_by(host))


class Guard:
    """ASGI application round another: refuses what may not be asked, and marks every answer.

    `stop` is called when the server is to end, before it waits for what is being answered.
    """

    def __init__(self, app: ASGIApp, access: Access, stop: Callable[[], None]) -> None:
        self.app, self.access, self.stop = app, access, stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if not connection_of(scope).is_let_in:  # strangers get one answer a connection
                    headers["connection"] = "close"
            await send(message)

        try:
            refused = await self._refusal(scope)
        except HTTPException as error:
            refused = of_http(error)
        await (self.app if refused is None else refused)(scope, receive, marked)

    async def _refusal(self, scope: Scope) -> Response | None:
        headers, path, connection = Headers(scope=scope), scope["path"], connection_of(scope)
        if connection.is_surplus:
            sentence = "the server has as many connections as it can; try again in a moment"
            return problem(503, sentence, headers={"retry-after": "1", "connection": "close"})
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.access.answers_to(hosts[0]):
            return problem(400, "this server does not answer to that name; use the address that it printed")
        is_known = self.access.is_browser_secret(
            cookie_parser(headers.get("cookie", "")).get(self.access.cookie, "")
        )
        connection.is_let_in |= is_known
        if path == "/session":  # a page of another site must not guess by the user's browser
            return None if self._is_from_here(headers, scope, is_program=True) else _foreign()
        if path in PUBLIC or path.startswith(STATIC):
            return None
        if is_known and self._is_from_here(headers, scope, is_program=False):
            return None
        if await self.access.allows(_bearer(headers), scope):
            connection.is_let_in = True
            return None if self._is_from_here(headers, scope, is_program=True) else _foreign()
        return _foreign() if is_known else _unknown()

    def _is_from_here(self, headers: Headers, scope: Scope, *, is_program: bool) -> bool:
        """Return whether a request comes from our page, or from a program, which names no origin."""
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        origins = headers.getlist("origin")
        if origins:
            return len(origins) == 1 and self.access.is_ours(origins[0], headers["host"], scope["scheme"])
        return is_program or scope["method"] in ("GET", "HEAD", "OPTIONS")


def _foreign() -> Response:
    return problem(403, "this request comes from the page of another site; only our own page may ask")


def _unknown() -> Response:
    return problem(
        401,
        "the token is missing or wrong; open the link that `mmsearch serve` printed, or send its token as "
        "`Authorization: Bearer TOKEN`",
        headers={"www-authenticate": "Bearer"},
    )


def _bearer(headers: Headers) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_loopback_address(name: str) -> bool:
    return _is_address(name) and ip_address(name.strip("[]")).is_loopback


def _in_brackets(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
