"""FRAMES: moments of films as pictures, decoded when they are asked for, in a process apart."""

from __future__ import annotations

import os
from contextlib import closing
from math import ceil, floor

from mmsearch.film.scale import bmp_size
from mmsearch.images import read_file
from mmsearch.processes.film_reader import FilmReader
from mmsearch.records import Box, ImageRecord
from mmsearch.store.folder import Store


def frame_at(path: bytes, at: float, reader: FilmReader | None = None) -> bytes:
    """Return the frame of a film that is shown at a time, in seconds, as the bytes of a picture file.

    Parameters
    ----------
    path : bytes
        Of the film, whatever it has become.
    at : float
        In seconds from its start.
    reader : FilmReader or None
        Default one that is started for this, and ended.

    Raises
    ------
    PictureError
        If the film cannot be read there.
    UnsupportedError
        If films cannot be read here.
    """
    if reader is not None:
        return reader.frame(path, at).frame.picture
    with closing(FilmReader()) as reader:
        return reader.frame(path, at).frame.picture


def picture_file(path: bytes, at: float | None, reader: FilmReader) -> bytes:
    """Return the bytes of a picture file or, given a time, those of `frame_at`."""
    return read_file(path)[0] if at is None else frame_at(path, at, reader)


def indexed_frame(store: Store, image: ImageRecord, reader: FilmReader | None = None) -> bytes:
    """Return a picture of a library that is a frame of a film as the bytes of a picture file; as `frame_at`.

    The file is known to be what was indexed by its size and both ends.

    Raises
    ------
    PictureError
        Also `changed` if it is another.
    """
    assert image.moment is not None, "it is a frame"
    path = os.fsencode(image.path)
    with store.reading():
        store.films.unchanged(path)
    return frame_at(path, image.moment.at, reader)


def part_of_frame(box: Box | None, image: ImageRecord, frame: bytes) -> Box | None:
    """Return a part, in pixels of a film as it is shown, in those of the picture of a frame, often fewer."""
    if box is None:
        return None
    across, down = zoom_of_frame(image, frame)
    # Whole pixels, of which a narrow part has at least one.
    return floor(box[0] / across), floor(box[1] / down), ceil(box[2] / across), ceil(box[3] / down)


def zoom_of_frame(image: ImageRecord, frame: bytes) -> tuple[float, float]:
    """Return how many pixels of a film as it is shown one of the picture of a frame is, across and down."""
    width, height = bmp_size(frame)
    return image.width / width, image.height / height
