"""Who may ask what: the Host header first, then the token, then where a request comes from.

A page of another site must not reach the library through the user's browser: names that are not ours are refused
(DNS rebinding), the cookie is SameSite=Strict, what changes or computes must come from our own page, and no answer
may be embedded elsewhere. Other users of the machine do not know the token.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from hmac import compare_digest
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmsearch.server.guesses import Guesses
from mmsearch.server.problems import of_http, problem

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
PUBLIC = ("/", "/start", "/session", "/openapi.json", "/favicon.ico")
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
        Of programs, and in the cookie of browsers.
    guesses : Guesses
        Who gave wrong tokens; every check of one that a stranger gives goes through it.
    """

    host: str
    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    guesses: Guesses = field(default_factory=Guesses, repr=False)
    _key: str | None = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def cookie(self) -> str:
        """Name of the cookie; browsers do not tell ports apart."""
        return f"mmsearch-{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can ask."""
        return self.host == "localhost" or _is_loopback_address(self.host)

    def start_path(self) -> str:
        """Return the path of the link that opens the page, once."""
        return f"/start?key={self._key}"

    def take_key(self, key: str) -> bool:
        """Return whether this is the key of the link; it is good for one time."""
        if self._key is None or not compare_digest(key.encode(), self._key.encode()):
            return False
        self._key = None
        return True

    def is_token(self, given: str) -> bool:
        """Return whether this is the token, in a time that tells nothing."""
        return compare_digest(given.encode(), self.token.encode())

    def answers_to(self, host: str) -> bool:
        """Return whether a Host header names this server."""
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
            await send(message)

        try:
            refused = await self._refusal(scope)
        except HTTPException as error:
            refused = of_http(error)
        await (self.app if refused is None else refused)(scope, receive, marked)

    async def _refusal(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), scope["path"]
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.access.answers_to(hosts[0]):
            return problem(400, "this server does not answer to that name; use the address that it printed")
        if path in PUBLIC or path.startswith(STATIC):
            return None
        bearer = _bearer(headers)
        given = bearer, cookie_parser(headers.get("cookie", "")).get(self.access.cookie, "")
        if not await self.access.guesses.allow(client_of(scope), given, self.access.is_token):
            return problem(
                401,
                "the token is missing or wrong; open the link that `mmsearch serve` printed, or send its token as "
                "`Authorization: Bearer TOKEN`",
                headers={"www-authenticate": "Bearer"},
            )
        if not self._is_from_here(headers, hosts[0], scope, has_bearer=self.access.is_token(bearer)):
            return problem(403, "this request comes from the page of another site; only our own page may ask")
        return None

    def _is_from_here(self, headers: Headers, host: str, scope: Scope, *, has_bearer: bool) -> bool:
        """Return whether a request comes from our page, or from a program that is no browser."""
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        origins = headers.getlist("origin")
        if origins:
            return [origin.lower() for origin in origins] == [f"{scope['scheme']}://{host.lower()}"]
        return has_bearer or scope["method"] in ("GET", "HEAD", "OPTIONS")


def client_of(scope: Scope) -> str | None:
    """Return the address that a request came from."""
    client = scope.get("client")
    return None if client is None else str(client[0])


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
