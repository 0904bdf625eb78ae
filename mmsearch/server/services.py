"""What the endpoints share: lanes, metrics, thumbnails and secrets of one running server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from mmsearch.arguments import CPU, Device
from mmsearch.contract import FORMAT_HEADER, FORMAT_VERSION
from mmsearch.server.lanes import Lane, Libraries, TextLane
from mmsearch.server.metrics import Metrics
from mmsearch.server.problems import dumped
from mmsearch.server.security import Access
from mmsearch.store.base import Place
from mmsearch.store.thumbnails import LIMIT_BYTES, KeptThumbnails

T = TypeVar("T")
DUPLICATES_S = 600.0
"""A search for duplicates that is not done by then is given up."""
EXAMPLES_S = 30.0
"""A search by examples, or an embedding, that is not done by then is given up, as others wait for its thread."""


@dataclass
class Services:
    """One of each, made by `Services.open` and closed when the server ends.

    Searches by words, searches by example, classification, embedding, looks at pictures, searches for duplicates
    and changes have threads of their own, so that none waits for another kind. Changes have one, as a library has
    one writer.
    """

    access: Access
    metrics: Metrics
    libraries: Libraries
    words: Lane
    examples: Lane
    labels: Lane
    embeddings: Lane
    pictures: Lane
    duplicates: Lane
    changes: Lane
    texts: TextLane
    thumbnails: KeptThumbnails

    @classmethod
    def open(
        cls,
        place: Place,
        access: Access,
        *,
        cache: Path | None = None,
        device: Device = CPU,
        thumbnail_bytes: int = LIMIT_BYTES,
    ) -> Services:
        """Return the services over one library; nothing is loaded yet."""
        metrics, libraries = Metrics(), Libraries(place, cache=cache, device=device)
        words = Lane("words", libraries, metrics)
        return cls(
            access=access,
            metrics=metrics,
            libraries=libraries,
            words=words,
            examples=Lane("examples", libraries, metrics, seconds=EXAMPLES_S),
            labels=Lane("labels", libraries, metrics),
            embeddings=Lane("embeddings", libraries, metrics, seconds=EXAMPLES_S),
            pictures=Lane("pictures", libraries, metrics, n_threads=2),
            duplicates=Lane("duplicates", libraries, metrics, seconds=DUPLICATES_S),
            changes=Lane("changes", libraries, metrics),
            texts=TextLane(words, metrics),
            thumbnails=KeptThumbnails(place.kept / "thumbnails.sqlite", limit_bytes=thumbnail_bytes),
        )

    def stop(self) -> None:
        """Answer those who wait for wrong tokens, and give up long work: the server is to end."""
        self.access.guesses.end()
        for lane in self._lanes:
            lane.give_up()

    @property
    def _lanes(self) -> tuple[Lane, ...]:
        looks = self.pictures, self.duplicates
        return self.words, self.examples, self.labels, self.embeddings, *looks, self.changes

    def close(self) -> None:
        """End all threads and release all files."""
        for lane in self._lanes:
            lane.close()
        self.libraries.close()


def services(request: Request) -> Services:
    """Return the services of the server that a request came to."""
    held: Services = request.app.state.services
    return held


async def unless_left(request: Request, answering: Awaitable[T]) -> T:
    """Return what answers a request whose body was read; it is cancelled when the client leaves before.

    Raises
    ------
    ClientDisconnect
        If nobody waits for the answer any more.
    """
    task, leaving = asyncio.ensure_future(answering), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def answer(value: Any) -> Response:
    """Return a value as a JSON answer."""
    return json_answer(dumped(value))


def json_answer(body: bytes) -> Response:
    """Return an answer whose JSON is written already, with the version of its form."""
    return Response(body, media_type="application/json", headers={FORMAT_HEADER: str(FORMAT_VERSION)})
