"""PNG files chunk by chunk: without the texts that Pillow would refuse together with the picture; their depth."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from mmsearch.errors import PictureError
from mmsearch.images.dates import date_in_xmp, xmp_of_date
from mmsearch.images.xmp import MAX_BYTES

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_CHUNK = 1 << 20  # of what is packed, Pillow unpacks so much a chunk
_MAX_KEPT = 16 << 20  # of all texts; Pillow gives up at four times as much
_MAX_UNPACKED = 64 << 20  # beyond, a text was made to exhaust memory
_BLOCK = 1 << 18
_XMP = b"XML:com.adobe.xmp"
_RAW_EXIF = b"Raw profile type exif"
_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)[0-9]')


def without_long_texts(data: bytes) -> bytes:
    """Return a PNG without the texts and the colour profile that are too long, or the same bytes if none is.

    Nothing is unpacked into memory as a whole. What an edit history says of the orientation and of the
    date is kept.

    Raises
    ------
    PictureError
        `metadata_bomb` if the texts unpack to more than 64 MB.
    """
    parts, start, n_kept, n_unpacked = [], 0, 0, 0
    for kind, at, end in _chunks(data):
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            continue
        keyword, packed, text = _split(kind, data[at + 8 : end - 4])
        size, xmp = _size_and_xmp(_unpacked(packed) if packed else [text], keyword)
        n_unpacked += size if packed else 0
        if n_unpacked > _MAX_UNPACKED:
            raise PictureError(
                "metadata_bomb", "its text or colour profile unpacks to far more than a picture needs"
            )
        if (packed and size > _MAX_CHUNK) or n_kept + size > _MAX_KEPT:
            parts += [data[start:at], xmp.shortened()]
            start = end
        else:
            n_kept += size
    return b"".join([*parts, data[start:]]) if parts else data


def texts_and_exif(data: bytes, keywords: Collection[bytes]) -> tuple[dict[bytes, bytes], bytes]:
    """Return the texts of a PNG that have these keywords, wherever they stand, and its EXIF.

    Of several texts with a keyword the first counts, and the first 4 MB of it.
    """
    texts: dict[bytes, bytes] = {}
    exif = b""
    for kind, at, end in _chunks(data):
        if kind == b"eXIf":
            exif = exif or data[at + 8 : end - 4]
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, packed, text = _split(kind, data[at + 8 : end - 4])
            if keyword not in texts and (keyword in keywords or keyword == _RAW_EXIF):
                texts[keyword] = _beginning(packed) if packed else text[:MAX_BYTES]
    return texts, exif or _raw_profile(texts.get(_RAW_EXIF, b""))


def significant_bits(data: bytes) -> int | None:
    """Return how many bits of a sample mean something, if the file says so (sBIT); the most of any colour."""
    for kind, at, end in _chunks(data):
        if kind == b"sBIT":
            return max(data[at + 8 : end - 4], default=None)
        if kind == b"IDAT":
            break
    return None


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of every whole chunk."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            return
        yield kind, at, end
        at = end


def _split(kind: bytes, body: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the keyword of a text or profile, and its packed or its plain text, the other one empty."""
    keyword, _, rest = body.partition(b"\0")
    if kind == b"tEXt":
        return keyword, b"", rest
    if kind != b"iTXt":
        return keyword, rest[1:], b""
    text = rest[2:].split(b"\0", 2)[-1]
    return (keyword, text, b"") if rest[:1] not in (b"", b"\0") else (keyword, b"", text)


def _unpacked(packed: bytes) -> Iterator[bytes]:
    """Yield the blocks that packed text unpacks to, until more than is believed or the text is damaged."""
    unpacker = zlib.decompressobj()
    n_left = _MAX_UNPACKED + 1
    try:
        while n_left > 0 and (block := unpacker.decompress(packed, _BLOCK)):
            yield block
            n_left -= len(block)
            packed = unpacker.unconsumed_tail
    except zlib.error:
        return


def _beginning(packed: bytes) -> bytes:
    """Return what packed text unpacks to, up to the length of the longest XMP packet that is read."""
    text = bytearray()
    for block in _unpacked(packed):
        text += block
        if len(text) >= MAX_BYTES:
            break
    return bytes(text[:MAX_BYTES])


def _raw_profile(text: bytes) -> bytes:
    """Return what ImageMagick wrote in hexadecimal digits, below a line with its name and one with its length."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


def _size_and_xmp(blocks: Iterable[bytes], keyword: bytes) -> tuple[int, _Xmp]:
    """Return how long a text is, and what matters of it if it is an XMP packet."""
    size, turn, seam, head = 0, b"", b"", bytearray()
    for block in blocks:
        size += len(block)
        if keyword == _XMP:
            match = None if turn else _ORIENTATION.search(seam + block)
            turn = match[0] if match else turn
            seam = block[-32:]
            head += block[: max(0, MAX_BYTES - len(head))]
    return size, _Xmp(turn, head)


class _Xmp(NamedTuple):
    """The words on the orientation in a packet, and its first bytes; both may be empty."""

    turn: bytes
    head: bytearray

    def shortened(self) -> bytes:
        """Return a chunk that says the same of the orientation and of the date, or nothing."""
        taken = date_in_xmp(bytes(self.head))
        packet = (xmp_of_date(taken) if taken else b"") + (b"<!-- %s -->" % self.turn if self.turn else b"")
        return _chunk(b"iTXt", _XMP + b"\0\0\0\0\0" + packet) if packet else b""


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
