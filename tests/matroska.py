"""Matroska files written by hand: any number of tracks, and blocks at any times, whatever makes sense."""

from __future__ import annotations

from collections.abc import Iterable


def element(name: str, data: bytes) -> bytes:
    """Return an element, given its number in hex."""
    return bytes.fromhex(name) + (1 << 56 | len(data)).to_bytes(8, "big") + data


def number(name: str, value: int) -> bytes:
    """Return an element that is a number."""
    return element(name, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def matroska(track: bytes, blocks: Iterable[tuple[int, bytes]], *, n_tracks: int = 1) -> bytes:
    """Return a file of so many tracks, all alike, the first of which has blocks at times in ms.

    It says nothing of its length, and has no index.
    """
    tracks = (number("d7", i) + number("73c5", i) + track for i in range(1, n_tracks + 1))
    head = number("4286", 1) + number("42f7", 1) + number("42f2", 4) + number("42f3", 8)
    head += element("4282", b"matroska") + number("4287", 2) + number("4285", 2)
    info = element("1549a966", number("2ad7b1", 1_000_000) + element("4d80", b"x") + element("5741", b"x"))
    listed = element("1654ae6b", b"".join(element("ae", each) for each in tracks))
    clusters = b"".join(
        element("1f43b675", number("e7", at) + element("a3", b"\x40\x01\0\0\x80" + data)) for at, data in blocks
    )
    return element("1a45dfa3", head) + element("18538067", info + listed + clusters)
