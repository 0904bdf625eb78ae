"""The bytes of a picture's file in, what they say beside the pixels out: EXIF, IPTC, XMP and the texts of a PNG.

The files of most pictures are walked through here, as a decoder would make ready for their pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mmsearch.images.formats import open_lazily
from mmsearch.images.jpeg import segments
from mmsearch.images.kinds import HEAD_BYTES, check_kind
from mmsearch.images.png import texts_and_exif
from mmsearch.images.upright import exif_of, named_errors
from mmsearch.images.xmp import MAX_BYTES
from mmsearch.records import MAX_MEGAPIXELS

if TYPE_CHECKING:
    from PIL import Image

PNG_KEYWORDS = (b"Title", b"Description", b"Author")
_PHOTO_IFD, _GPS_IFD = 0x8769, 0x8825
# Description, make, model, artist, comment; title, comment, author, keywords and subject as Windows writes them.
_MAIN_TAGS = (0x010E, 0x010F, 0x0110, 0x013B, 0x9286, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F)
_IPTC_TAG, _PHOTOSHOP_TAG, _IPTC_RESOURCE = 0x83BB, 0x8649, 0x0404
_APP1, _APP13 = 0xE1, 0xED
_EXIF, _XMP, _PHOTOSHOP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"Photoshop 3.0\0"
_MAX_EXIF = _MAX_RESOURCES = 1 << 20
_MAX_CHUNKS = 100_000  # an animation has one for every frame
_XMP_IN_PNG = b"XML:com.adobe.xmp"
_XMP_IN_GIF = b"!\xff\x0bXMP DataXMP"


@dataclass(frozen=True)
class Metadata:
    """What a file says beside the pixels of its picture, as strangers wrote it; empty where it says nothing.

    `main`, `photo` and `gps` are directories of EXIF; of the first only what is written for people.
    `texts` are those of a PNG by `PNG_KEYWORDS`.
    """

    main: Mapping[int, Any]
    photo: Mapping[int, Any]
    gps: Mapping[int, Any]
    byte_order: Literal["<", ">"]
    iptc: bytes
    xmp: bytes
    texts: Mapping[bytes, bytes]


@dataclass(frozen=True)
class _Blocks:
    """The blocks of a file; EXIF may be read already."""

    exif: bytes | Image.Exif = b""
    iptc: bytes = b""
    xmp: bytes = b""
    texts: Mapping[bytes, bytes] = field(default_factory=dict)


def metadata(data: bytes, *, exif: Image.Exif | None = None, max_megapixels: float = MAX_MEGAPIXELS) -> Metadata:
    """Return what a picture's file says beside its pixels, which are not decoded.

    Extended XMP, which a JPEG has where a packet is longer than 64 kB, is not read. EXIF that a decoder of the same
    file has read already may be given, as `Picture.exif`, to save half of the time.

    Raises
    ------
    PictureError
        If it is no picture, or one whose header must be read and cannot be.
    """
    with named_errors():
        kind = check_kind(data[:HEAD_BYTES])
        read = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp, "GIF": _gif}.get(kind)
        blocks = _opened(data, max_megapixels) if read is None else read(data)
        if not isinstance(blocks.exif, bytes):
            exif = blocks.exif  # that of a decoder may be of a file which it closed
        elif exif is None:
            exif = _exif(blocks.exif)
        return Metadata(
            main=_main(exif),
            photo=_directory(exif, _PHOTO_IFD),
            gps=_directory(exif, _GPS_IFD),
            byte_order=">" if exif.endian == ">" else "<",
            iptc=blocks.iptc,
            xmp=blocks.xmp[:MAX_BYTES],
            texts=blocks.texts,
        )


def _jpeg(data: bytes) -> _Blocks:
    exif = iptc = xmp = b""
    for code, body in segments(data):
        if code == _APP1 and body.startswith(_EXIF) and len(exif) < _MAX_EXIF:
            exif += body[len(_EXIF) :]  # one that is longer than a segment goes on in the next
        elif code == _APP1 and body.startswith(_XMP):
            xmp = xmp or body[len(_XMP) :]
        elif code == _APP13 and body.startswith(_PHOTOSHOP):
            iptc = iptc or _iptc_in(body[len(_PHOTOSHOP) :])
    return _Blocks(exif, iptc, xmp)


def _iptc_in(body: bytes) -> bytes:
    """Return the block among the resources that Photoshop keeps."""
    return next((value for code, value in _resources(body) if code == _IPTC_RESOURCE), b"")


def _resources(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the resources that Photoshop keeps: a code, a name, a length and so many bytes."""
    at = 0
    while body[at : at + 4] == b"8BIM" and at + 12 <= len(body):
        code, n_name = struct.unpack_from(">HB", body, at + 4)
        at += 6 + (n_name + 2) // 2 * 2
        length = int.from_bytes(body[at : at + 4], "big")
        yield code, body[at + 4 : at + 4 + length]
        at += 4 + (length + 1) // 2 * 2


def _png(data: bytes) -> _Blocks:
    texts, exif = texts_and_exif(data, (_XMP_IN_PNG, *PNG_KEYWORDS))
    return _Blocks(exif, xmp=texts.get(_XMP_IN_PNG, b""), texts=texts)


def _webp(data: bytes) -> _Blocks:
    chunks: dict[bytes, bytes] = {}
    at = 12
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind in (b"EXIF", b"XMP "):
            chunks.setdefault(kind, data[at + 8 : at + 8 + length])
        at += 8 + (length + 1) // 2 * 2
    return _Blocks(chunks.get(b"EXIF", b""), xmp=chunks.get(b"XMP ", b""))


def _gif(data: bytes) -> _Blocks:
    """Return the packet of a GIF, which is no chain of blocks there; what stands behind it is no XML."""
    at = data.find(_XMP_IN_GIF)
    return _Blocks() if at < 0 else _Blocks(xmp=data[at + len(_XMP_IN_GIF) : at + MAX_BYTES])


def _opened(data: bytes, max_megapixels: float) -> _Blocks:
    """Return the blocks of a picture of another format, as Pillow has them."""
    image = open_lazily(data, max_megapixels)
    directory, xmp = getattr(image, "tag_v2", None), image.info.get("xmp")
    # As Pillow's own reader of IPTC does: the tags are of bytes, and programs write them as numbers.
    tags = {} if directory is None else directory._tagdata
    iptc = tags.get(_IPTC_TAG, b"") or _iptc_in(tags.get(_PHOTOSHOP_TAG, b"")[:_MAX_RESOURCES])
    return _Blocks(exif_of(image), iptc, xmp if isinstance(xmp, bytes) else b"")


def _exif(block: bytes) -> Image.Exif:
    from PIL import Image

    exif = Image.Exif()
    try:
        exif.load(block)
    except Exception:  # noqa: BLE001 - EXIF is written by strangers; a damaged block must not cost the others
        return Image.Exif()
    return exif


def _main(exif: Image.Exif) -> dict[int, Any]:
    values = {}
    for tag in _MAIN_TAGS:
        try:
            value = exif.get(tag)
        except Exception:  # noqa: BLE001 - as above
            continue
        if value is not None:
            values[tag] = value
    return values


def _directory(exif: Image.Exif, tag: int) -> dict[int, Any]:
    try:
        return exif.get_ifd(tag)
    except Exception:  # noqa: BLE001 - as above
        return {}
