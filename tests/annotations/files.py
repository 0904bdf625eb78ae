"""Parts of files with annotations, written by hand."""

from __future__ import annotations

import struct

from tests import pictures


def dataset(record: int, number: int, value: bytes) -> bytes:
    """A field of IPTC."""
    return struct.pack(">BBBH", 0x1C, record, number, len(value)) + value


UTF_8 = dataset(1, 90, b"\x1b%G")


def with_iptc(jpeg: bytes, block: bytes) -> bytes:
    """A JPEG with IPTC, in a resource of Photoshop behind another one."""
    resources = b"".join(
        struct.pack(">4sHHI", b"8BIM", code, 0, len(body)) + body + b"\0" * (len(body) % 2)
        for code, body in ((0x0425, b"\1" * 16), (0x0404, block))
    )
    body = b"Photoshop 3.0\0" + resources
    return jpeg[:2] + struct.pack(">HH", 0xFFED, len(body) + 2) + body + jpeg[2:]


def with_xmp(packet: bytes) -> bytes:
    """A JPEG with an XMP packet."""
    return pictures.saved(pictures.photo(32, 24), "JPEG", xmp=packet)


def items(name: str, *texts: str, kind: str = "Bag") -> str:
    """A property of XMP that is a list."""
    return f"<{name}><rdf:{kind}>{''.join(f'<rdf:li>{text}</rdf:li>' for text in texts)}</rdf:{kind}></{name}>"


def exif(*entries: tuple[int, bytes], order: str = "<", photo: tuple[tuple[int, bytes], ...] = ()) -> bytes:
    """An EXIF block of texts (tag, bytes): ASCII, or bytes where Windows writes; undefined for the photograph.

    Pillow writes no ASCII but ASCII.
    """
    main = [(tag, 1 if tag >= 0x9C9B else 2, value) for tag, value in sorted(entries)]
    inner = [(tag, 7, value) for tag, value in sorted(photo)]
    start = 8 + 2 + 12 * (len(main) + 1) + 4
    pointer = struct.pack(order + "I", start + sum(len(value) for _, _, value in main))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return (
        b"Exif\0\0"
        + head
        + _directory(order, [*main, (0x8769, 4, pointer)], start)
        + _directory(order, inner, start + sum(len(value) for _, _, value in main) + 2 + 12 * len(inner) + 4)
    )


def _directory(order: str, entries: list[tuple[int, int, bytes]], at: int) -> bytes:
    """A directory of tags, type and value, with the longer values behind it, which begin at this offset."""
    fields, values = b"", b""
    for tag, kind, value in sorted(entries):
        fields += struct.pack(order + "HHI", tag, kind, 1 if kind == 4 else len(value))
        if kind == 4:
            fields += value
        elif len(value) <= 4:
            fields += value.ljust(4, b"\0")
            values += value  # unused there, which keeps the offsets simple
        else:
            fields += struct.pack(order + "I", at + len(values))
            values += value
    return struct.pack(order + "H", len(entries)) + fields + b"\0" * 4 + values
