"""What the server counts, for Prometheus: requests, stages of searches, batches, thumbnails; and what it takes."""

from __future__ import annotations

import platform

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

from mmsearch import __version__
from mmsearch.names import plain
from mmsearch.records import SearchResult

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # nothing where a system does not say
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
        self.build = Info("mmsearch_build", "What answers.", registry=self.registry)

    def note(self, *, n_pictures: int, model: str | None) -> None:
        """Note what the library holds, and the encoder that it goes by."""
        self.pictures.set(n_pictures)
        python = platform.python_version()
        self.build.info({"version": __version__, "model": plain(model or "none"), "python": python})

    def searched(self, result: SearchResult) -> None:
        """Count a search and the time of its stages."""
        self.routes.labels(result.route).inc()
        for stage, seconds in result.seconds.items():
            self.stages.labels(stage).observe(seconds)

    def text(self) -> bytes:
        """Return all counters in the text format of Prometheus."""
        return generate_latest(self.registry)
