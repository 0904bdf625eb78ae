"""ANNOTATIONS: what is written about a picture, each text with its kind and the place where it stood.

Each source has one spelling:

- `file name`, `folder`;
- `exif:TAG`, `iptc:DATASET`, `xmp:PREFIX:PROPERTY`, `png:KEYWORD`: a field of the picture's file, as ExifTool calls
  it, whatever prefix the file has for it; a field in a property stands behind it, as in `xmp:mwg-rs:Regions:Name`;
- `sidecar:xmp:PREFIX:PROPERTY`: such a field of an XMP file beside it;
- `text:.SUFFIX`: a line of a text beside it; `json:FIELD`: a field of a JSON file beside it;
- `LIST:FIELD`: a field of `captions.jsonl`, `metadata.jsonl` or `metadata.csv`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from mmsearch.annotations.text import cleaned

LIMIT_BYTES = 64 * 1024
"""Of UTF-8, for all annotations of a picture."""


class Kind(StrEnum):
    """What an annotation says of a picture."""

    NAME = "name"
    FOLDER = "folder"
    TITLE = "title"
    CAPTION = "caption"
    TAG = "tag"
    PERSON = "person"
    PLACE = "place"
    CREATOR = "creator"


@dataclass(frozen=True, slots=True)
class Annotation:
    """A text about a picture: one line, in the composed form (NFC), not empty; `annotation` makes it so."""

    kind: Kind
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Annotations:
    """All that is written about a picture; `position` is latitude and longitude in degrees, WGS 84."""

    texts: tuple[Annotation, ...] = ()
    camera: str | None = None
    lens: str | None = None
    position: tuple[float, float] | None = None


def annotation(kind: Kind, source: str, text: str) -> Iterable[Annotation]:
    """Yield an annotation with a text as strangers wrote it; nothing if it has no letter and no digit."""
    if text := cleaned(text):
        yield Annotation(kind, source, text)


def merge(*parts: Annotations) -> Annotations:
    """Return all annotations of a picture, in order, within `LIMIT_BYTES`.

    Give first what the user wrote last: names, then files beside the picture, then its own file. The first camera,
    lens and position count. A text that is there with the same kind is dropped, and so is one that is too long for
    what is left of the limit; shorter ones behind it are kept.
    """
    texts: dict[tuple[Kind, str], Annotation] = {}
    n_left = LIMIT_BYTES
    for part in parts:
        for text in part.texts:
            key, n_bytes = (text.kind, text.text), len(text.text.encode())
            if key not in texts and n_bytes <= n_left:
                texts[key] = text
                n_left -= n_bytes
    return Annotations(
        tuple(texts.values()),
        next((part.camera for part in parts if part.camera is not None), None),
        next((part.lens for part in parts if part.lens is not None), None),
        next((part.position for part in parts if part.position is not None), None),
    )


def position_at(latitude: object, longitude: object) -> tuple[float, float] | None:
    """Return a position in degrees; None for what is none, and for 0, 0, which is written where it is not known.

    >>> position_at(52.37025, 4.895167), position_at(0.0, 0.0), position_at(91, 4), position_at("52", 4)
    ((52.37025, 4.895167), None, None, None)
    """
    if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
        return None
    is_there = abs(latitude) <= 90 and abs(longitude) <= 180 and (latitude, longitude) != (0, 0)
    return (round(float(latitude), 6), round(float(longitude), 6)) if is_there else None
