"""What the server counts, for Prometheus: requests, stages of searches, batches, thumbnails."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmsearch.records import SearchResult

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "mmsearch_requests", "Requests answered.", ["endpoint", "method", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "mmsearch_request_seconds", "Time of a request.", ["endpoint"], buckets=_SECONDS, registry=self.registry
        )
        self.stages = Histogram(
            "mmsearch_search_stage_seconds", "Time of a stage of a search.", ["stage"], buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.routes = Counter("mmsearch_searches", "Searches by route.", ["route"], registry=self.registry)
        self.batches = Histogram(
            "mmsearch_text_batch_queries", "Texts answered by one scan.", buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )  # fmt: skip
        self.thumbnails = Counter(
            "mmsearch_thumbnails", "Thumbnails given, kept or made.", ["from"], registry=self.registry
        )
        self.pictures = Gauge("mmsearch_pictures", "Pictures in the library.", registry=self.registry)
        self.waiting = Gauge("mmsearch_waiting", "Requests that wait for a lane.", ["lane"], registry=self.registry)

    def searched(self, result: SearchResult) -> None:
        """Count a search and the time of its stages."""
        self.routes.labels(result.route).inc()
        for stage, seconds in result.seconds.items():
            self.stages.labels(stage).observe(seconds)

    def text(self) -> bytes:
        """Return all counters in the text format of Prometheus."""
        return generate_latest(self.registry)


class Counted:
    """ASGI application round another: counts what it answers."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            # The template of the path, and a method that exists: what clients make up must not become labels.
            endpoint = getattr(scope.get("route"), "path", "none")
            method = "none" if endpoint == "none" else scope["method"] if scope["method"] in _METHODS else "other"
            self.metrics.requests.labels(endpoint, method, status).inc()
            self.metrics.seconds.labels(endpoint).observe(time.perf_counter() - start)
