"""THUMBNAILS: small copies of hits, for who shows an answer outside of the library that gave it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from mmsearch.errors import EncoderError, PictureError, UnsupportedError
from mmsearch.records import Hit, ImageRecord

if TYPE_CHECKING:
    from mmsearch.processes.decoder import PictureDecoder
    from mmsearch.processes.film_reader import FilmReader

THUMBNAIL_SIDE = 320
"""Pixels of the longer side: sharp on dense screens where it is shown at half of that."""


def thumbnails_of(hits: Sequence[Hit | ImageRecord]) -> list[str | None]:
    """Return for each hit an address that holds a small JPEG of its file, or None where that cannot be read.

    The files are decoded in a process of its own, which is started for this and ended, so that an answer can be
    shown after its library was closed.
    """
    from mmsearch.processes.decoder import PictureDecoder
    from mmsearch.processes.film_reader import FilmReader

    with closing(PictureDecoder()) as decoder, closing(FilmReader()) as reader:
        return [_thumbnail(decoder, reader, hit) for hit in hits]


def _thumbnail(decoder: PictureDecoder, reader: FilmReader, hit: Hit | ImageRecord) -> str | None:
    from mmsearch.images import enough_for
    from mmsearch.processes.decoder import Limits
    from mmsearch.query.frames import picture_file

    try:
        moment = hit.film if isinstance(hit, Hit) else hit.moment
        data = picture_file(os.fsencode(hit.path), None if moment is None else moment.at, reader)
        return decoder.thumbnail(
            data, THUMBNAIL_SIDE, limits=Limits.of_own(enough_for(hit.width, hit.height))
        ).address()
    except (PictureError, EncoderError, UnsupportedError):  # the latter if no process can be started
        return None
