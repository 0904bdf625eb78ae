"""What an operator sees of every request, also of one that is refused: counters, and a line of the access log."""

from __future__ import annotations

import logging
import time

from starlette.types import Message, Receive, Scope, Send

from mmsearch.names import visible
from mmsearch.server.metrics import Metrics
from mmsearch.server.security import Guard

ACCESS = logging.getLogger("mmsearch.access")
_MAX_SHOWN = 200
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class Observed:
    """ASGI application round all others: counts what is answered, and logs it at level INFO.

    A line has the path alone: what stands behind it, in headers and in bodies may be a secret, or tell what
    somebody looks for.
    """

    def __init__(self, app: Guard, metrics: Metrics) -> None:
        self.app, self.metrics, self.stop = app, metrics, app.stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status, n_bytes = time.perf_counter(), 500, 0

        async def noted(message: Message) -> None:
            nonlocal status, n_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body" and scope["method"] != "HEAD":
                n_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            seconds = time.perf_counter() - start
            self._count(scope, status, seconds)
            client = scope["client"][0] if scope["client"] else "none"
            words = map(_word, (scope["method"], scope["raw_path"].decode("latin-1"), client))
            ACCESS.info(
                "method=%s path=%s client=%s status=%d ms=%.1f bytes=%d", *words, status, 1000 * seconds, n_bytes
            )

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        # The template of the path, and a method that exists: what clients make up must not become labels.
        endpoint = getattr(scope.get("route"), "path", "none")
        method = "none" if endpoint == "none" else scope["method"] if scope["method"] in _METHODS else "other"
        self.metrics.requests.labels(endpoint, method, status).inc()
        self.metrics.seconds.labels(endpoint).observe(seconds)


def _word(text: str) -> str:
    """Return what a client sent as one word of a line."""
    return visible(text[:_MAX_SHOWN].replace(" ", "%20")) + ("…" if len(text) > _MAX_SHOWN else "")
