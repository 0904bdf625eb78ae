"""The bytes of a picture's file in, what they say beside the pixels out: EXIF, IPTC, XMP and the texts of a PNG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mmsearch.images.formats import open_lazily
from mmsearch.images.png import texts_and_exif
from mmsearch.images.upright import exif_of, named_errors
from mmsearch.images.xmp import MAX_BYTES
from mmsearch.records import MAX_MEGAPIXELS

if TYPE_CHECKING:
    from PIL import Image

_PHOTO_IFD, _GPS_IFD = 0x8769, 0x8825
_IPTC_TAG, _IPTC_RESOURCE = 0x83BB, 0x0404
_XMP_IN_GIF = b"!\xff\x0bXMP DataXMP"
# Description, make, model, artist, comment; title, comment, author, keywords and subject as Windows writes them.
_MAIN_TAGS = (0x010E, 0x010F, 0x0110, 0x013B, 0x9286, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F)


@dataclass(frozen=True)
class Metadata:
    """What a file says beside the pixels of its picture, as strangers wrote it; empty where it says nothing.

    `main`, `photo` and `gps` are directories of EXIF; of the first only what is written for people.
    """

    main: Mapping[int, Any]
    photo: Mapping[int, Any]
    gps: Mapping[int, Any]
    byte_order: Literal["<", ">"]
    iptc: bytes
    xmp: bytes
    texts: Mapping[str, bytes]


def metadata(data: bytes, *, max_megapixels: float = MAX_MEGAPIXELS) -> Metadata:
    """Return what a picture's file says beside its pixels, which are not decoded.

    Extended XMP, which a JPEG has where a packet is longer than 64 kB, is not read.

    Raises
    ------
    PictureError
        If the header of the picture cannot be read.
    """
    with named_errors():
        image = open_lazily(data, max_megapixels)
        texts: dict[str, bytes] = {}
        if image.format == "PNG":
            texts, exif_bytes = texts_and_exif(data)
            image.info["exif"] = exif_bytes  # what is asked for EXIF without it decodes its pixels first
        exif = exif_of(image)
        return Metadata(
            main=_main(exif),
            photo=_directory(exif, _PHOTO_IFD),
            gps=_directory(exif, _GPS_IFD),
            byte_order=">" if exif.endian == ">" else "<",
            iptc=_iptc(image),
            xmp=_xmp(image, data, texts),
            texts=texts,
        )


def _main(exif: Image.Exif) -> dict[int, Any]:
    values = {}
    for tag in _MAIN_TAGS:
        try:
            values[tag] = exif.get(tag)
        except Exception:  # noqa: BLE001 - EXIF is written by strangers; one damaged value must not cost the others
            continue
    return values


def _directory(exif: Image.Exif, tag: int) -> dict[int, Any]:
    try:
        return exif.get_ifd(tag)
    except Exception:  # noqa: BLE001 - as above
        return {}


def _iptc(image: Image.Image) -> bytes:
    """Return the IPTC of a JPEG or TIFF."""
    resources = image.info.get("photoshop")
    if isinstance(resources, dict):
        return _bytes(resources.get(_IPTC_RESOURCE))
    # As Pillow's own reader of IPTC does: the tag is one of bytes, and programs write it as one of numbers.
    directory = getattr(image, "tag_v2", None)
    return b"" if directory is None else _bytes(directory._tagdata.get(_IPTC_TAG))


def _xmp(image: Image.Image, data: bytes, texts: Mapping[str, bytes]) -> bytes:
    if image.format == "PNG":
        return texts.get("XML:com.adobe.xmp", b"")
    if image.format == "GIF":  # the packet is no chain of blocks there; what stands behind it is no XML
        start = data.find(_XMP_IN_GIF)
        return b"" if start < 0 else data[start + len(_XMP_IN_GIF) : start + MAX_BYTES]
    return _bytes(image.info.get("xmp"))


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""
