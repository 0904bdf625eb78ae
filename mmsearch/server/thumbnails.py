"""Pictures as they may be shown: thumbnails, made once and kept, and facts; only what was indexed, ever.

The bytes of a file are compared with the hash that was stored when it was indexed. Whatever has come in its place
since, a link to a file elsewhere included, is not shown. Frames of films are decoded anew for their thumbnails.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from enum import IntEnum

from mmsearch.errors import PictureError
from mmsearch.images import PhotoFacts, enough_for
from mmsearch.library import Library
from mmsearch.processes.decoder import IndexedFile, Limits, Source
from mmsearch.query.frames import indexed_frame, part_of_frame
from mmsearch.records import Box, ImageRecord
from mmsearch.server.services import Services
from mmsearch.store.base import in_folder
from mmsearch.store.changes import TRANSIENT

_MOST_FAILED, _AGAIN_S = 1_000, 600.0
"""Frames of which it is remembered that they cannot be had, and how long."""


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
        self._failed: OrderedDict[bytes, tuple[float, str, str]] = OrderedDict()  # frames by hash: when, and why

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
        source: Source = IndexedFile(os.fsencode(image.path), content_hash)
        if image.moment is not None:
            source = self._frame(library, image, content_hash)
            box = part_of_frame(box, image, source)
        jpeg = library.decoder().thumbnail(source, side, box=box, limits=_limits(image)).jpeg
        if box is None:
            self._server.thumbnails.put(content_hash, side, jpeg)
        return jpeg, "made"

    def _frame(self, library: Library, image: ImageRecord, content_hash: bytes) -> bytes:
        """Return the picture of a frame; one that could not be had is not computed again for a while."""
        failed = self._failed.get(content_hash)
        if failed is not None:
            if time.monotonic() - failed[0] < _AGAIN_S:
                raise PictureError(*failed[1:])
            self._failed.pop(content_hash, None)
        try:
            return indexed_frame(in_folder(library.reader(), "films"), image, library.film_reader())
        except PictureError as error:
            if error.code not in TRANSIENT:
                self._failed[content_hash] = time.monotonic(), error.code, str(error)
                while len(self._failed) > _MOST_FAILED:
                    self._failed.popitem(last=False)
            raise


def photo_facts_of(library: Library, image: ImageRecord, content_hash: bytes) -> PhotoFacts:
    """Return what the file of a picture says of how and where it was taken.

    Raises
    ------
    PictureError
        If the file has gone, changed or cannot be read.
    """
    file = IndexedFile(os.fsencode(image.path), content_hash)
    return library.decoder().photo_facts(file, limits=_limits(image))


def _limits(image: ImageRecord) -> Limits:
    return Limits.of_own(enough_for(image.width, image.height))
