"""How and where a picture was taken, as the EXIF of its file says it; what makes no sense there is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from mmsearch.images.metadata import Metadata, metadata
from mmsearch.records import MAX_MEGAPIXELS

_MAKE, _MODEL = 0x010F, 0x0110
_EXPOSURE, _F_NUMBER, _ISO, _FOCAL_LENGTH, _LENS = 0x829A, 0x829D, 0x8827, 0x920A, 0xA434
_LATITUDE, _LONGITUDE, _GPS_STATUS = (1, 2), (3, 4), 9  # tags of direction and angle
_MAX_TEXT = 100


class PhotoFacts(TypedDict, total=False):
    """What a file says of its photograph; angles in degrees, those to the north and east are positive."""

    camera: str
    lens: str
    exposure_s: float
    f_number: float
    iso: int
    focal_length_mm: float
    latitude: float
    longitude: float


def photo_facts(data: bytes, *, max_megapixels: float = MAX_MEGAPIXELS) -> PhotoFacts:
    """Return what the EXIF of a picture says; see `facts_in`.

    Raises
    ------
    PictureError
        As from `metadata`.
    """
    return facts_in(metadata(data, max_megapixels=max_megapixels))


def facts_in(written: Metadata) -> PhotoFacts:
    """Return what EXIF says, each fact by itself: a damaged one does not hide the others."""
    photo = written.photo
    if not (written.main or photo or written.gps):
        return {}
    facts: dict[str, Any] = {
        "camera": camera_named(written.main.get(_MAKE), written.main.get(_MODEL)),
        "lens": lens_named(photo.get(_LENS)),
        "exposure_s": _either(lambda: _number(photo.get(_EXPOSURE), 1e-7, 1e6)),
        "f_number": _either(lambda: _number(photo.get(_F_NUMBER), 0.1, 1e3)),
        "iso": _either(lambda: round(_number(photo.get(_ISO), 1, 1e7))),
        "focal_length_mm": _either(lambda: _number(photo.get(_FOCAL_LENGTH), 0.1, 1e5)),
        **(_either(lambda: _position(written.gps)) or {}),
    }
    return {name: value for name, value in facts.items() if value is not None}  # type: ignore[return-value]


def _either(read: Callable[[], Any]) -> Any:
    """Return a fact, or None where it is not there or damaged."""
    try:
        return read()
    except Exception:  # noqa: BLE001 - EXIF is written by strangers; one damaged fact must not cost the others
        return None


def camera_named(make: object, model: object) -> str | None:
    """Return maker and model, as most makers repeat their name in the model; None without a model."""
    maker, name = _either(lambda: _text(make)), _either(lambda: _text(model))
    if maker is None or name is None or name.lower().startswith(maker.split()[0].lower()):
        return name  # type: ignore[no-any-return]
    return f"{maker} {name}"


def lens_named(model: object) -> str | None:
    """Return the model of a lens; None where nothing is written."""
    return _either(lambda: _text(model))  # type: ignore[no-any-return]


def _text(value: Any) -> str:
    text = value.decode("utf-8") if isinstance(value, bytes) else value
    text = " ".join(text.partition("\0")[0].split())
    if not text:
        raise ValueError("nothing is written")
    return str(text[:_MAX_TEXT])


def _number(value: Any, least: float, most: float) -> float:
    number = float(value[0] if isinstance(value, tuple) else value)
    if not least <= number <= most:
        raise ValueError("this is no such number")
    return number


def _position(gps: Mapping[int, Any]) -> dict[str, float]:
    """Return where it was; cameras that do not know write that their position is void, or zeros."""
    latitude, longitude = _angle(gps, *_LATITUDE, most=90), _angle(gps, *_LONGITUDE, most=180)
    if gps.get(_GPS_STATUS) == "V" or latitude == longitude == 0:
        raise ValueError("the position is not known")
    return {"latitude": latitude, "longitude": longitude}


def _angle(gps: Mapping[int, Any], direction: int, tag: int, *, most: float) -> float:
    sign = {"N": 1, "E": 1, "S": -1, "W": -1}[_text(gps[direction]).upper()]
    degrees, minutes, seconds = map(float, gps[tag])
    angle = degrees + minutes / 60 + seconds / 3600
    if not 0 <= angle <= most:
        raise ValueError("this is no angle")
    return round(sign * angle, 6)
