"""THUMBNAILS: small copies of hits, for who shows an answer outside of the library that gave it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from mmsearch.errors import EncoderError, PictureError
from mmsearch.records import Hit, ImageRecord

if TYPE_CHECKING:
    from mmsearch.processes.decoder import PictureDecoder

THUMBNAIL_SIDE = 320
"""Pixels of the longer side: sharp on dense screens where it is shown at half of that."""


def thumbnails_of(hits: Sequence[Hit | ImageRecord]) -> list[str | None]:
    """Return for each hit an address that holds a small JPEG of its file, or None where that cannot be read.

    The files are decoded in a process of its own, which is started for this and ended, so that an answer can be
    shown after its library was closed.
    """
    from mmsearch.processes.decoder import PictureDecoder

    with closing(PictureDecoder()) as decoder:
        return [_thumbnail(decoder, hit) for hit in hits]


def _thumbnail(decoder: PictureDecoder, hit: Hit | ImageRecord) -> str | None:
    from mmsearch.images import enough_for, read_file
    from mmsearch.processes.decoder import Limits

    try:
        data, _ = read_file(os.fsencode(hit.path))
        return decoder.thumbnail(
            data, THUMBNAIL_SIDE, limits=Limits.of_own(enough_for(hit.width, hit.height))
        ).address()
    except (PictureError, EncoderError):  # the latter if no process can be started
        return None
