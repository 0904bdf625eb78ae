"""ANNOTATIONS: what is written about a picture, each text with its kind and the place where it stood.

Each source has one spelling:

- `file name`, `folder`;
- `exif:TAG`, `iptc:DATASET`, `xmp:PREFIX:PROPERTY`, `png:KEYWORD`: a field of the picture's file, as ExifTool calls
  it, whatever prefix the file has for it; a field in a property stands behind it, as in `xmp:mwg-rs:Regions:Name`;
- `sidecar:xmp:PREFIX:PROPERTY`: such a field of an XMP file beside it;
- `text:.SUFFIX`: a line of a text beside it; `json:FIELD`: a field of a JSON file beside it;
- `LIST:FIELD`: a field of `captions.jsonl`, `metadata.jsonl` or `metadata.csv`;
- `position`: a name of where it was taken, which stands nowhere but in a gazetteer;
- `user`: what was typed into the library;
- `face`: a name that was given to a group of faces, one of which is in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict

from mmsearch.annotations.text import cleaned

LIMIT_BYTES = 64 * 1024
"""Of UTF-8, for all annotations of a picture."""
LEVELS = " > "
"""Between the levels of a tag, from the widest to the narrowest: `Places > France > Paris`."""


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


class AnnotationFields(TypedDict):
    """`Annotations` in JSON; a text is its kind, its source and what it says."""

    texts: list[tuple[str, str, str]]
    camera: str | None
    lens: str | None
    position: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Annotations:
    """All that is written about a picture; `position` is latitude and longitude in degrees, WGS 84."""

    texts: tuple[Annotation, ...] = ()
    camera: str | None = None
    lens: str | None = None
    position: tuple[float, float] | None = None

    @classmethod
    def of_json(cls, fields: AnnotationFields) -> Annotations:
        """Return what was written as JSON, which has made lists of tuples."""
        texts = tuple(Annotation(Kind(kind), source, text) for kind, source, text in fields["texts"])
        position = None if fields["position"] is None else (fields["position"][0], fields["position"][1])
        return cls(texts, fields["camera"], fields["lens"], position)

    def to_json(self) -> AnnotationFields:
        """Return the fields, fit for JSON."""
        return {
            "texts": [(text.kind.value, text.source, text.text) for text in self.texts],
            "camera": self.camera, "lens": self.lens, "position": self.position,
        }  # fmt: skip


def annotation(kind: Kind, source: str, text: str) -> tuple[Annotation, ...]:
    """Return an annotation with a text as strangers wrote it; none if nothing is left of it, see `cleaned`."""
    text = cleaned(text)
    return (Annotation(kind, source, text),) if text else ()


def merge(*parts: Annotations) -> Annotations:
    """Return all annotations of a picture, in order, within `LIMIT_BYTES`.

    Give first what the user wrote last: names, then files beside the picture, then its own file. The first position
    counts, and the last camera and lens, which a camera writes and programs copy. A text that is there with the
    same kind is dropped, and so is one that is too long for what is left of the limit; shorter ones behind it are
    kept.
    """
    texts: list[Annotation] = []
    kinds: dict[str, list[Kind]] = {}  # of every text
    n_left = LIMIT_BYTES
    for part in parts:
        for text in part.texts:
            n_bytes, known = len(text.text.encode()), kinds.setdefault(text.text, [])
            if n_bytes <= n_left and text.kind not in known:
                texts.append(text)
                known.append(text.kind)
                n_left -= n_bytes
    return Annotations(
        tuple(texts),
        next((part.camera for part in reversed(parts) if part.camera is not None), None),
        next((part.lens for part in reversed(parts) if part.lens is not None), None),
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
