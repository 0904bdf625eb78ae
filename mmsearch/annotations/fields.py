"""Fields of a JSON object or of a row of a table, as programs and sets of pictures call them, to annotations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mmsearch.annotations.base import Annotation, Kind, annotation, position_at

_KINDS = {
    "title": Kind.TITLE,
    "caption": Kind.CAPTION,
    "captions": Kind.CAPTION,
    "translations": Kind.CAPTION,
    "text": Kind.CAPTION,
    "sentences": Kind.CAPTION,
    "raw": Kind.CAPTION,
    "description": Kind.CAPTION,
    "tags": Kind.TAG,
    "keywords": Kind.TAG,
    "label": Kind.TAG,
    "people": Kind.PERSON,
}
FIELDS = frozenset(_KINDS)
"""Those that may say something of a picture."""
_SEPARATORS = re.compile("[,;]")  # of tags in one text
_POSITIONS = "geoData", "geoDataExif"  # the first is where the user put a picture


def field_annotations(entry: Mapping[str, Any], source: str) -> Iterator[Annotation]:
    """Yield the texts in the fields that are known; numbers and whatever else is no text are left out.

    A value is a text, a list of texts, a list of objects with the field `raw` or `name`, or an object of texts.
    """
    for field in [field for field in _KINDS if field in entry]:  # of which most have one or two
        kind = _KINDS[field]
        for text in _texts(entry[field]):
            for part in _SEPARATORS.split(text) if kind is Kind.TAG else [text]:
                yield from annotation(kind, f"{source}:{field}", part)


def field_position(entry: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the position that Google's Takeout writes; it writes 0, 0 where none is known."""
    places = [place for name in _POSITIONS if isinstance(place := entry.get(name), dict)]
    positions = (position_at(place.get("latitude"), place.get("longitude")) for place in places)
    return next((position for position in positions if position is not None), None)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            text = item.get("raw", item.get("name")) if isinstance(item, dict) else item
            if isinstance(text, str):
                yield text
