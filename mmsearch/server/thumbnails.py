"""Pictures as they may be shown: thumbnails, made once and kept, originals and facts; only what was indexed, ever.

The bytes of a file are compared with the hash that was stored when it was indexed. Whatever has come in its place
since, a link to a file elsewhere included, is not shown.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from enum import IntEnum
from hashlib import sha256
from io import BufferedReader

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from mmsearch.errors import PictureError
from mmsearch.images import CHANGED, PhotoFacts, enough_for
from mmsearch.library import Library
from mmsearch.processes.decoder import IndexedFile, Limits
from mmsearch.records import Box, ImageRecord
from mmsearch.server.services import Services

_BLOCK = 1 << 16


class Side(IntEnum):
    """Sizes of thumbnails that can be asked: in a grid, for twice as dense a screen, in a view, a large one."""

    small = 160
    usual = 320
    large = 640
    view = 1280
    screen = 2560


class Thumbnails:
    """Gives thumbnails; the same one is never made by two threads at once. Used by the event loop alone."""

    def __init__(self, server: Services) -> None:
        self._server = server
        self._making: dict[tuple[bytes, int, Box | None], asyncio.Task[bytes]] = {}

    async def get(self, image: ImageRecord, content_hash: bytes, side: Side, box: Box | None = None) -> bytes:
        """Return a JPEG of a picture, or of a part of it, whose longer side has at most `side` pixels.

        That of a part is not kept: it may be a face, of which nothing is to be left when it is forgotten.

        Raises
        ------
        PictureError
            If the file has gone, changed or cannot be read.
        """
        key = content_hash, side, box
        task = self._making.get(key)
        if task is None:
            task = self._making[key] = asyncio.create_task(self._find(image, content_hash, side, box))
            task.add_done_callback(lambda _: self._making.pop(key, None))
        return await asyncio.shield(task)  # others may wait for it too

    async def _find(self, image: ImageRecord, content_hash: bytes, side: Side, box: Box | None) -> bytes:
        jpeg, source = await self._server.pictures.run(
            lambda library: self._made(library, image, content_hash, side, box)
        )
        self._server.metrics.thumbnails.labels(source).inc()
        return jpeg

    def _made(
        self, library: Library, image: ImageRecord, content_hash: bytes, side: Side, box: Box | None
    ) -> tuple[bytes, str]:
        kept = None if box else self._server.thumbnails.get(content_hash, side)
        if kept is not None:
            return kept, "kept"
        file = _file(image, content_hash)
        jpeg = library.decoder().thumbnail(file, side, box=box, limits=_limits(image)).jpeg
        if box is None:
            self._server.thumbnails.put(content_hash, side, jpeg)
        return jpeg, "made"


def photo_facts_of(library: Library, image: ImageRecord, content_hash: bytes) -> PhotoFacts:
    """Return what the file of a picture says of how and where it was taken.

    Raises
    ------
    PictureError
        If the file has gone, changed or cannot be read.
    """
    return library.decoder().photo_facts(_file(image, content_hash), limits=_limits(image))


def _file(image: ImageRecord, content_hash: bytes) -> IndexedFile:
    return IndexedFile(os.fsencode(image.path), content_hash)


def _limits(image: ImageRecord) -> Limits:
    return Limits.of_own(enough_for(image.width, image.height))


def opened_original(image: ImageRecord, content_hash: bytes) -> BufferedReader:
    """Return the file of a picture, open, after comparing all of it with what was indexed.

    Raises
    ------
    PictureError
        If the file has gone, changed or cannot be read.
    """
    try:
        handle = os.open(os.fsencode(image.path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError as error:
        raise PictureError("vanished", "the file is not there any more; index its folder again") from error
    except OSError as error:
        raise PictureError("permission", f"the file cannot be read ({error.strerror})") from error
    file = os.fdopen(handle, "rb")
    try:
        digest, n_bytes = sha256(), 0
        while n_bytes <= image.size_bytes and (block := file.read(_BLOCK)):  # a device would never end
            digest.update(block)
            n_bytes += len(block)
        if digest.digest() != content_hash:
            raise PictureError("changed", CHANGED)
    except OSError as error:
        file.close()
        raise PictureError("changed", CHANGED) from error
    except PictureError:
        file.close()
        raise
    return file


def blocks(file: BufferedReader, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes of a file from `start` to before `end`, and close it."""
    with file:
        file.seek(start)
        while block := file.read(min(_BLOCK, end - file.tell())):
            yield block


class Stream(StreamingResponse):
    """An answer that is made while it is sent; `end` is called after it, also where the client has left before."""

    def __init__(
        self, pieces: Iterator[bytes], end: Callable[[], None], *, status_code: int = 200, headers: dict[str, str]
    ) -> None:
        super().__init__(pieces, status_code, headers)
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()
