"""When a picture was taken, as its file says it: EXIF first, then XMP; never when it was edited or copied."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, time
from typing import TYPE_CHECKING

from mmsearch.images.xmp import top_level_values

if TYPE_CHECKING:
    from PIL import Image

_PHOTO_IFD = 0x8769
_EXIF_TAGS = (0x9003, 0x9004)  # DateTimeOriginal, DateTimeDigitized
_XMP_PROPERTIES = (
    "http://ns.adobe.com/photoshop/1.0/ DateCreated",
    "http://ns.adobe.com/exif/1.0/ DateTimeOriginal",
    "http://ns.adobe.com/exif/1.0/ DateTimeDigitized",
    "http://ns.adobe.com/xap/1.0/ CreateDate",
)
_FIRST_YEAR, _LAST_YEAR = 1826, 2099
_DAY = re.compile(r"(\d{4})(?:([-:/.]?)((?<!\d) \d|\d\d?)(?:\2((?<!\d) \d|\d\d?))?)?(?!\d)", re.ASCII)
_TIME = re.compile(r"[T ]+(\d\d?):([ \d]\d)(?::([ \d]\d))?(?:[.,]\d+)? *([ap])?", re.ASCII | re.IGNORECASE)


def date_taken(exif: Image.Exif, packet: object) -> str | None:
    """Return the first date that makes sense; what is blank, zero or damaged does not hide the next one.

    Parameters
    ----------
    exif : Image.Exif
        Asked for DateTimeOriginal, then for DateTimeDigitized.
    packet : object
        The bytes of an XMP packet, asked for photoshop:DateCreated, exif:DateTimeOriginal,
        exif:DateTimeDigitized and xmp:CreateDate; whatever else stands there is none.

    Returns
    -------
    str or None
        ISO 8601 local time, as precise as the file says it: `2023-05-01T12:00:00`, `2023-05-01`, `1985`.
    """
    try:
        taken = _first_date(_exif_values(exif))
    except Exception:  # noqa: BLE001 - a damaged EXIF block must not cost the picture
        taken = None
    return date_in_xmp(packet) if taken is None and isinstance(packet, bytes) else taken


def date_in_xmp(packet: bytes) -> str | None:
    """Return the date that the bytes of an XMP packet have, as `date_taken` does."""
    values = top_level_values(packet, _XMP_PROPERTIES)
    return _first_date(values.get(name) for name in _XMP_PROPERTIES)


def xmp_of_date(taken: str) -> bytes:
    """Return the shortest XMP packet that has such a date."""
    return (
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreateDate="{taken}"/></rdf:RDF>'
    ).encode()


def _exif_values(exif: Image.Exif) -> list[object]:
    photo = exif.get_ifd(_PHOTO_IFD)
    return [directory.get(tag) for tag in _EXIF_TAGS for directory in (photo, exif)]  # TIFF/EP: in the main one


def _first_date(values: Iterable[object]) -> str | None:
    return next((taken for value in values if (taken := iso_date(value)) is not None), None)


def iso_date(value: object) -> str | None:
    """Return a date as cameras and editors write it in ISO 8601, as precise as it is, or None if it is none.

    A photograph is not older than 1826. The other end is fixed too: by a clock, the same file would have
    another date tomorrow, or none on a computer whose clock is wrong.
    """
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    if not isinstance(text, str) or not (match := _DAY.match(text := text.strip(" \0\t\r\n"))):
        return None
    year, month, day = int(match[1]), int(match[3] or 1), int(match[4] or 1)
    is_whole = match[4] is not None
    if not _FIRST_YEAR <= year <= _LAST_YEAR or not (is_whole or match.end() == len(text)):
        return None
    try:
        written = date(year, month, day).isoformat()
    except ValueError:  # such as 2019:00:00
        return None
    if not is_whole:
        return written[: 7 if match[3] else 4]
    return written + _iso_time(text[match.end() :])


def _iso_time(text: str) -> str:
    """Return `T05:06:07`, or nothing if no time stands there; hour 24 is midnight of the day that it stands by."""
    match = _TIME.match(text)
    if match is None:
        return ""
    hour, half = int(match[1]), (match[4] or "").lower()
    if half and 1 <= hour <= 12:
        hour = hour % 12 + 12 * (half == "p")
    try:
        return "T" + time(0 if hour == 24 else hour, int(match[2]), int(match[3] or 0)).isoformat()
    except ValueError:
        return ""
