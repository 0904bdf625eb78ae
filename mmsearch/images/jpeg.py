"""The segments of a JPEG, and its frame header: what its manner of coding asks of a decoder."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_FRAMES = frozenset((*range(0xC0, 0xD0), 0xDE, 0xF7)) - {0xC4, 0xC8, 0xCC}
_UNREAD = {
    0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical", 0xCD: "hierarchical", 0xCE: "hierarchical",
    0xCF: "hierarchical", 0xDE: "hierarchical", 0xF7: "JPEG-LS",
}  # fmt: skip
_WITHOUT_BODY = frozenset((0x01, *range(0xD0, 0xDA), 0xFF, 0x00))
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_LOSSLESS = (0xC3, 0xCB)
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # not those inside of a scan


@dataclass(frozen=True)
class JpegFrame:
    """How a JPEG is coded.

    `sampling` are the (horizontal, vertical) factors of its components, `n_first` is the number of components in
    the first scan.
    """

    marker: int
    bits: int
    width: int
    height: int
    sampling: tuple[tuple[int, int], ...]
    n_first: int

    @property
    def is_lossless(self) -> bool:
        """Whether it holds the pixels themselves, not their frequencies."""
        return self.marker in _LOSSLESS

    @property
    def n_waiting_bytes(self) -> int:
        """Bytes of coefficients that wait in memory, at any scale, until the last scan; 0 if there is one scan."""
        if self.marker not in _PROGRESSIVE and self.n_first == len(self.sampling):
            return 0
        widest = max(h for h, _ in self.sampling) or 1
        highest = max(v for _, v in self.sampling) or 1
        shares = sum(h * v for h, v in self.sampling)
        return 2 * self.width * self.height * shares // (widest * highest)

    def unread_words(self) -> str:
        """Return what makes this a variant that is not read here; empty if nothing does."""
        if self.marker in _UNREAD:
            return _UNREAD[self.marker]
        if self.bits in (12, 16):
            return f"{self.bits} bits a sample"
        return f"{len(self.sampling)} components" if len(self.sampling) not in (1, 3, 4) else ""


def n_scans(data: bytes, at_most: int) -> int:
    """Return how many scans a JPEG has, counted up to one more than `at_most`; the pixels are not looked at."""
    n, at = 0, 2
    while n <= at_most and (marker := _MARKER.search(data, at)):
        at, code = marker.end(), data[marker.end() - 1]
        n += code == _START_OF_SCAN
        if code == _END_OF_IMAGE:
            break
        if code not in _WITHOUT_BODY and at + 2 <= len(data):
            at += int.from_bytes(data[at : at + 2], "big")
    return n


def jpeg_frame(data: bytes) -> JpegFrame | None:
    """Return the first frame of a JPEG, or None if its headers are not sound."""
    header, marker = b"", 0
    for code, body in segments(data):
        if code in _FRAMES and not header:
            header, marker = body, code
        if code == _START_OF_SCAN:
            return _frame(marker, header, n_first=body[0]) if header and body else None
    return None


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the code and the body of every segment of a JPEG, up to the header of its first scan."""
    at, code = 2, 0
    while code != _START_OF_SCAN and (match := _MARKER.search(data, at)) and (at := match.start()) + 4 <= len(data):
        code = data[at + 1]
        if code in _WITHOUT_BODY:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        yield code, data[at + 4 : at + 2 + length]
        at += 2 + length


def _frame(marker: int, header: bytes, *, n_first: int) -> JpegFrame | None:
    if len(header) < 6 or len(header) < 6 + 3 * header[5] or not header[5]:
        return None
    bits, height, width, n = struct.unpack_from(">BHHB", header)
    sampling = tuple((header[7 + 3 * i] >> 4, header[7 + 3 * i] & 15) for i in range(n))
    return JpegFrame(marker, bits, width, height, sampling, n_first)
