"""FACTS: what a film says of itself: how long and large it is, when it was made, and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from mmsearch.images.dates import iso_date
from mmsearch.images.kinds import FILM_FORMATS

if TYPE_CHECKING:
    from av.container import InputContainer

_LONGEST_S = 1e7  # four months: what is said to be longer is not
_LOCAL_DATE, _DATES = "com.apple.quicktime.creationdate", ("creation_time", "date")
_EPOCHS = ("1904", "1970")  # where clocks begin that were never set
_MIGHT_BE_WEBM = 64  # bytes, in which the kind of a Matroska file stands
_HDR = {16: "PQ", 18: "HLG"}  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67
_NAMES = {"ASF": "WMV", "RM": "REALMEDIA"}


class FilmFacts(NamedTuple):
    """What is known of a film.

    Its length in seconds is None where it does not say it. Width and height are those of its pictures as they are
    shown: upright, of square pixels. Container and codec are names as FFmpeg has them, `hdr` is `PQ`, `HLG` or
    nothing, and `taken_at` a date as pictures have it.
    """

    seconds: float | None
    width: int
    height: int
    container: str
    codec: str
    hdr: str
    taken_at: str | None
    has_sound: bool


def facts_of(
    container: InputContainer, stream: Any, zero: Fraction, size: tuple[int, int], head: bytes
) -> FilmFacts:
    """Return the facts of an open film.

    Given are the stream of its pictures, the time at which it begins, the size that its first picture is shown in,
    and its first bytes.
    """
    codec = stream.codec_context.codec
    return FilmFacts(
        _seconds(container, stream, zero),
        *size,
        _name(container.format.name, container.metadata, head),
        getattr(codec, "canonical_name", codec.name),
        _HDR.get(int(stream.codec_context.color_trc or 0), ""),
        _taken_at({**stream.metadata, **container.metadata}),
        bool(container.streams.audio),
    )


def _seconds(container: InputContainer, stream: Any, zero: Fraction) -> float | None:
    """Return the length of a film; what Matroska calls so is the time of its end."""
    before = float(zero) if container.format.name.startswith("matroska") else 0.0
    lengths = [
        float(stream.duration * stream.time_base) if stream.duration else 0.0,
        container.duration / 1e6 if container.duration else 0.0,
    ]
    return max((length - before for length in lengths if before < length < _LONGEST_S), default=None)


def _name(demuxer: str, metadata: Mapping[str, str], head: bytes) -> str:
    """Return the name of a container for people, where FFmpeg reads several alike."""
    name = demuxer.split(",")[0].upper()
    if name == "MATROSKA" and b"webm" in head[:_MIGHT_BE_WEBM]:
        return "WEBM"
    if name == "MOV" and head[4:8] == b"ftyp":
        brand = metadata.get("major_brand", "").strip().upper()
        return brand[:3] if brand[:3] in ("3GP", "3G2") else "MOV" if brand == "QT" else "MP4"
    name = _NAMES.get(name, name)
    return name if name in FILM_FORMATS else "FILM"


def _taken_at(metadata: Mapping[str, str]) -> str | None:
    """Return the first date that makes sense, the local one before those of Greenwich."""
    lower = {name.lower(): value for name, value in metadata.items()}
    dates = [iso_date(lower.get(name)) for name in (_LOCAL_DATE, *_DATES)]
    return next((date for date in dates if date is not None and not date.startswith(_EPOCHS)), None)
