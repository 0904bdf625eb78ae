"""The texts in the IPTC block of a picture: records of IIM, the Information Interchange Model, version 4."""

from __future__ import annotations

from collections.abc import Iterator

from mmsearch.annotations.base import Annotation, Kind, annotation
from mmsearch.annotations.text import decoded

_MAX_BYTES = 1 << 20
_UTF_8 = b"\x1b%G"
_CHARACTER_SET = 1, 90
_FIELDS = {
    (2, 5): ("ObjectName", Kind.TITLE),
    (2, 25): ("Keywords", Kind.TAG),
    (2, 27): ("ContentLocationName", Kind.PLACE),
    (2, 80): ("By-line", Kind.CREATOR),
    (2, 90): ("City", Kind.PLACE),
    (2, 92): ("Sub-location", Kind.PLACE),
    (2, 95): ("Province-State", Kind.PLACE),
    (2, 101): ("Country-PrimaryLocationName", Kind.PLACE),
    (2, 105): ("Headline", Kind.TITLE),
    (2, 120): ("Caption-Abstract", Kind.CAPTION),
}


def iptc_annotations(block: bytes) -> Iterator[Annotation]:
    """Yield the texts of a block; what stands behind a wrong length is left out.

    A block that declares UTF-8 is read as such, though limits of length cut some letters; the others by what they
    are, as most programs write UTF-8 and never declare it.
    """
    is_utf_8 = False
    for field, value in _datasets(block[:_MAX_BYTES]):
        if field == _CHARACTER_SET:
            is_utf_8 = value == _UTF_8
        elif field in _FIELDS:
            name, kind = _FIELDS[field]
            text = value.decode("utf-8", "ignore") if is_utf_8 else decoded(value)
            yield from annotation(kind, f"iptc:{name}", text)


def _datasets(block: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Yield (record, dataset) and value, as far as the lengths fit."""
    at = 0
    while block[at : at + 1] == b"\x1c" and at + 5 <= len(block):
        field, length = (block[at + 1], block[at + 2]), int.from_bytes(block[at + 3 : at + 5], "big")
        at += 5
        if length & 0x8000:  # extended: so many bytes say the length
            n_bytes = length & 0x7FFF
            length = int.from_bytes(block[at : at + min(n_bytes, 8)], "big")
            at += n_bytes
        if at + length > len(block):
            return
        yield field, block[at : at + length]
        at += length
