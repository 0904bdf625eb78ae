"""What the endpoints share: lanes, metrics, thumbnails and secrets of one running server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request
from starlette.responses import Response

from mmsearch.server.lanes import Lane, Libraries, TextLane
from mmsearch.server.metrics import Metrics
from mmsearch.server.problems import dumped
from mmsearch.server.security import Access
from mmsearch.store.thumbnails import LIMIT_BYTES, KeptThumbnails


@dataclass
class Services:
    """One of each, made by `Services.open` and closed when the server ends.

    Searches by words, searches by example and looks at pictures have threads of their own, so that none waits for
    another kind.
    """

    access: Access
    metrics: Metrics
    libraries: Libraries
    words: Lane
    examples: Lane
    pictures: Lane
    texts: TextLane
    thumbnails: KeptThumbnails

    @classmethod
    def open(
        cls, folder: Path, access: Access, *, cache: Path | None = None, thumbnail_bytes: int = LIMIT_BYTES
    ) -> Services:
        """Return the services over one library; nothing is loaded yet."""
        metrics, libraries = Metrics(), Libraries(folder, cache=cache)
        words = Lane("words", libraries, metrics)
        return cls(
            access=access,
            metrics=metrics,
            libraries=libraries,
            words=words,
            examples=Lane("examples", libraries, metrics),
            pictures=Lane("pictures", libraries, metrics, n_threads=2),
            texts=TextLane(words, metrics),
            thumbnails=KeptThumbnails(folder / "thumbnails.sqlite", limit_bytes=thumbnail_bytes),
        )

    def close(self) -> None:
        """End all threads and release all files."""
        for lane in (self.words, self.examples, self.pictures):
            lane.close()
        self.libraries.close()


def services(request: Request) -> Services:
    """Return the services of the server that a request came to."""
    found: Services = request.app.state.services
    return found


def answer(value: Any) -> Response:
    """Return a JSON answer."""
    return Response(dumped(value), media_type="application/json")
