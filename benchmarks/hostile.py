"""Pictures that strangers may send, made in code: small as files, large or slow for who decodes them.

`PICTURES` has them by name. Others that were tried cost nothing: directories of a TIFF that lead to one another,
100,000 frames of a GIF, a long comment in one, a sequence of AVIF, a JPEG of 65,500 x 1.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

WIDE, HIGH = 8_000, 7_999
"""A picture just below the ceiling of 64 megapixels."""
_MIB = 1 << 20


def _saved(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def noise(width: int, height: int) -> bytes:
    """Return a PNG that is as large as its pixels are many."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return _saved(Image.fromarray(pixels), "PNG", compress_level=0)


# -- WebP ----------------------------------------------------------------------------------------------------


def _webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _one_colour(width: int, height: int) -> bytes:
    """Lossless pixels that are all alike and take no bits: five codes of one symbol each."""
    header = (width - 1) | (height - 1) << 14 | 1 << 28  # alpha is used
    bits, at = 0, 3  # no transform, no cache of colours, no codes of codes
    for symbol in (200, 30, 90, 255, 0):  # green, red, blue, alpha, distance
        bits |= (1 | 1 << 2) << at | symbol << at + 3  # simple, one symbol, of eight bits
        at += 11
    return b"/" + header.to_bytes(4, "little") + bits.to_bytes((at + 7) // 8, "little")


def webp_of_forty_bytes() -> bytes:
    """Return a sound lossless WebP of one colour."""
    return _webp((b"VP8L", _one_colour(WIDE, HIGH)))


def _canvas(width: int, height: int, flags: int) -> bytes:
    return bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def webp_with_frames(n: int = 2_000) -> bytes:
    """Return an animation of as many frames, each as large as the canvas."""
    still = _webp((b"VP8L", _one_colour(WIDE, HIGH)))[12:]
    place = bytes(6) + (WIDE - 1).to_bytes(3, "little") + (HIGH - 1).to_bytes(3, "little") + b"\x64\0\0\0"
    frames = [(b"ANMF", place + still)] * n
    return _webp((b"VP8X", _canvas(WIDE, HIGH, 0x12)), (b"ANIM", bytes(6)), *frames)


# -- TIFF ----------------------------------------------------------------------------------------------------


def _tiff(tags: dict[int, int | tuple[int, bytes]], strips: list[bytes]) -> bytes:
    """Return a TIFF whose tags are numbers, or (type, values as bytes); those of strips or tiles are made here."""
    starts = np.cumsum([8, *map(len, strips)]).tolist()
    places = (324, 325) if 322 in tags else (273, 279)
    longs = struct.Struct(f"<{len(strips)}I")
    all_tags = tags | {
        places[0]: (4, longs.pack(*starts[:-1])), places[1]: (4, longs.pack(*map(len, strips))),
    }  # fmt: skip
    widths = {3: 2, 4: 4, 5: 8, 1: 1, 7: 1, 12: 8, 10: 8}
    entries, tail, at = b"", b"", starts[-1] + 6 + 12 * len(all_tags)
    for tag, value in sorted(all_tags.items()):
        kind, values = (4, struct.pack("<I", value)) if isinstance(value, int) else value
        entries += struct.pack("<HHI", tag, kind, len(values) // widths[kind])
        entries += values.ljust(4, b"\0") if len(values) <= 4 else struct.pack("<I", at + len(tail))
        tail += values if len(values) > 4 else b""
    head = b"II*\0" + struct.pack("<I", starts[-1])
    return b"".join([head, *strips, struct.pack("<H", len(all_tags)), entries, b"\0\0\0\0", tail])


def _zeros(n_bytes: int) -> bytes:
    """Return zeros that Deflate packs a thousandfold: a block of them again and again, and what is left."""
    packer, last = (zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS) for _ in range(2))
    block = packer.compress(bytes(_MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = last.compress(bytes(n_bytes % _MIB)) + last.flush()
    check = struct.pack(">HH", n_bytes % 65_521, 1)  # Adler-32
    return b"\x78\xda" + block * (n_bytes // _MIB) + rest + check


def tiff_in_one_strip(n: int = 4, bits: int = 16, *, sample: int = 1, colour: int = 2, **size: int) -> bytes:
    """Return a TIFF with all rows in one strip, which libtiff unpacks as a whole."""
    width, height = size.get("width", WIDE), size.get("height", HIGH)
    tags: dict[int, int | tuple[int, bytes]] = {
        256: width, 257: height, 258: (3, struct.pack(f"<{n}H", *[bits] * n)), 259: 8, 262: colour, 277: n,
        278: height, 339: (3, struct.pack(f"<{n}H", *[sample] * n)),
    }  # fmt: skip
    if n == 4 and colour == 2:
        tags[338] = (3, struct.pack("<H", 2))
    return _tiff(tags, [_zeros(width * height * n * bits // 8)])


def tiff_of_one_tile(side: int = 22_000) -> bytes:
    """Return a picture of 100 x 100 pixels in one tile of 22,000 x 22,000."""
    tags: dict[int, int | tuple[int, bytes]] = {
        256: 100, 257: 100, 258: (3, struct.pack("<4H", 8, 8, 8, 8)), 259: 8, 262: 2, 277: 4, 322: side, 323: side,
        338: (3, struct.pack("<H", 2)),
    }  # fmt: skip
    return _tiff(tags, [_zeros(side * side * 4)])


def tiff_of_rationals(n: int = 2_400_000) -> bytes:
    """Return a small picture whose orientation is a list of fractions, each an object of Python's."""
    tags: dict[int, int | tuple[int, bytes]] = {
        256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 277: 1, 278: 8, 274: (5, struct.pack("<2I", 1, 3) * n),
    }  # fmt: skip
    return _tiff(tags, [bytes(64)])


# -- JPEG ----------------------------------------------------------------------------------------------------


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", 2 + len(body)) + body


_QUANTISATION = _segment(0xDB, b"\0" + b"\x10" * 64)


def _huffman(kind: int, *symbols: int) -> bytes:
    """Return a table whose first symbol has one bit, the second two, and so on."""
    return _segment(0xC4, bytes([kind]) + bytes([1] * len(symbols)).ljust(16, b"\0") + bytes(symbols))


def _frame(marker: int, width: int, height: int, n: int) -> bytes:
    components = b"".join(bytes((i + 1, 0x11, 0)) for i in range(n))
    return _segment(marker, struct.pack(">BHHB", 8, height, width, n) + components)


def _scan(components: tuple[int, ...], spectral: tuple[int, int], bits: tuple[int, int], data: bytes) -> bytes:
    head = bytes([len(components)]) + b"".join(bytes((i, 0)) for i in components)
    return _segment(0xDA, head + bytes((*spectral, bits[0] << 4 | bits[1]))) + data


def _bits(text: str) -> bytes:
    """Return bits as bytes, filled up with ones; 0xFF is followed by 0."""
    text += "1" * (-len(text) % 8)
    return int(text or "1" * 8, 2).to_bytes(max(1, len(text) // 8), "big").replace(b"\xff", b"\xff\0")


def _runs_of_nothing(n_blocks: int) -> bytes:
    """Return a scan in which no block has anything: ends of up to 32,767 blocks at once."""
    text = ""
    while n_blocks > 0:
        n = min(n_blocks, 32_767)
        size = n.bit_length() - 1
        text += "0" if size == 14 else "1" * (14 - size) + "0"
        text += format(n - (1 << size), f"0{size}b") if size else ""
        n_blocks -= n
    return _bits(text)


def progressive_jpeg(n_scans: int, width: int, height: int, n_components: int = 1) -> bytes:
    """Return a flat JPEG that gives the mean of every block, a bit each, and then n times that there is no more."""
    blocks = -(-width // 8) * -(-height // 8)
    ends = tuple(size << 4 for size in range(14, -1, -1))  # EOB14 has one bit
    parts = [b"\xff\xd8", _QUANTISATION, _frame(0xC2, width, height, n_components),
             _huffman(0x00, 0), _huffman(0x10, *ends)]  # fmt: skip
    first = _bits("0" * blocks * n_components)
    parts.append(_scan(tuple(range(1, n_components + 1)), (0, 0), (0, 0), first))
    nothing = _runs_of_nothing(blocks)
    again = b"".join(_scan((i + 1,), (1, 63), (0, 0), nothing) for i in range(n_components))
    parts += [again * (n_scans // n_components), b"\xff\xd9"]
    return b"".join(parts)


def baseline_jpeg(width: int, height: int, n_components: int = 3, *, marker: int = 0xC0) -> bytes:
    """Return a flat JPEG of one scan, with two bits for a block."""
    blocks = -(-width // 8) * -(-height // 8) * n_components
    n_bytes = -(-2 * blocks // 8)
    data = _scan(tuple(range(1, n_components + 1)), (0, 63), (0, 0), bytes(n_bytes))
    tables = _huffman(0x00, 0) + _huffman(0x10, 0)
    return b"\xff\xd8" + _QUANTISATION + _frame(marker, width, height, n_components) + tables + data + b"\xff\xd9"


def jpeg_of_empty_scans(n: int = 1_000_000, width: int = WIDE, height: int = HIGH) -> bytes:
    """Return a progressive JPEG whose scans have no data at all, which libjpeg takes for zeros."""
    jpeg = progressive_jpeg(1, width, height)
    return jpeg[:-2] + _scan((1,), (1, 63), (0, 0), b"") * n + b"\xff\xd9"


def jpeg_of_segments(segment: bytes, n: int) -> bytes:
    """Return a small photograph with something many times before its header."""
    jpeg = _saved(Image.new("RGB", (64, 64)), "JPEG")
    return jpeg[:2] + segment * n + jpeg[2:]


def jpeg_of_rationals(n: int = 2_000_000) -> bytes:
    """Return a small photograph whose EXIF, in many segments, has a list of fractions for an orientation."""
    exif = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 274, 5, n, 26) + bytes(4) + struct.pack("<2I", 1, 3) * n
    jpeg, step = _saved(Image.new("RGB", (64, 64)), "JPEG"), 65_000
    segments = [_segment(0xE1, b"Exif\0\0" + exif[start : start + step]) for start in range(0, len(exif), step)]
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


# -- PNG, GIF, BMP, AVIF ---------------------------------------------------------------------------------------


def _png(width: int, height: int, *, bits: int, colour: int, interlaced: bool = False, extra: bytes = b"") -> bytes:
    n = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = 1 + -(-width * n * bits // 8)
    n_bytes = row * height
    if interlaced:
        passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
        sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
        n_bytes = sum(rows * (1 + -(-columns * n * bits // 8)) for columns, rows in sizes)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", _zeros(n_bytes)), (b"IEND", b""))
    )


def gif_of_a_large_screen() -> bytes:
    """Return a frame of one pixel on a screen of 64 megapixels."""
    data = bytearray(_saved(Image.new("P", (1, 1)), "GIF"))
    struct.pack_into("<HH", data, 6, WIDE, HIGH)
    return bytes(data)


def bmp_of_half_bytes() -> bytes:
    """Return a BMP of runs of 255 pixels of half a byte, which Pillow unpacks one by one."""
    width, height = 8_160, 7_800
    body = (b"\xff\x12" * (width // 255) + b"\0\0") * height + b"\0\1"
    head = b"BM" + struct.pack("<IIII", 118 + len(body), 0, 118, 40)
    head += struct.pack("<iiHHIIiiII", width, height, 1, 4, 2, len(body), 0, 0, 16, 0)
    return head + bytes(range(64)) + body


def png_of_empty_chunks(n: int = 1_600_000) -> bytes:
    """Return a small picture with chunks that hold nothing."""
    data = _saved(Image.new("L", (16, 16)), "PNG")
    return data[:33] + (bytes(4) + b"aaAa" + struct.pack(">I", zlib.crc32(b"aaAa"))) * n + data[33:]


def png_of_nested_xmp(n: int = 160_000) -> bytes:
    """Return a small picture whose XMP packet has descriptions inside of descriptions; packed to a few kB."""
    space = b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description>'
    packed = zlib.compress(space + b"<r:RDF><r:Description>" * n, 9)
    body = b"XML:com.adobe.xmp\0\1\0\0\0" + packed
    data = _saved(Image.new("L", (16, 16)), "PNG")
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
    return data[:33] + chunk + data[33:]


def avif_of_one_colour(width: int = WIDE, height: int = HIGH) -> bytes:
    """Return a flat picture, with alpha."""
    return _saved(Image.new("RGBA", (width, height), (9, 200, 90, 128)), "AVIF", speed=10, subsampling="4:4:4")


def deep_profile_jpeg() -> bytes:
    """Return a large flat JPEG with a colour profile of nearly 4 MB: a table of 85 x 85 x 85 colours."""
    side = 85
    table = np.random.default_rng(0).bytes(side**3 * 3 * 2)
    straight = struct.pack(">2H", 0, 65_535)
    body = struct.pack(">4s4x4B9i2H", b"mft2", 3, 3, side, 0, *(65_536 * (i % 4 == 0) for i in range(9)), 2, 2)
    body += straight * 3 + table + straight * 3
    head = struct.pack(">I4xI4s4s4s12x4s28x3i", 144 + len(body), 0x02200000, b"scnr", b"RGB ", b"Lab ", b"acsp",
                       63_190, 65_536, 54_061).ljust(128, b"\0")  # fmt: skip
    profile = head + struct.pack(">I4sII", 1, b"A2B0", 144, len(body)) + body
    jpeg = baseline_jpeg(WIDE, HIGH)
    parts = [profile[start : start + 65_000] for start in range(0, len(profile), 65_000)]
    chunks = [
        _segment(0xE2, b"ICC_PROFILE\0" + bytes((place, len(parts))) + part) for place, part in enumerate(parts, 1)
    ]
    return jpeg[:2] + b"".join(chunks) + jpeg[2:]


PICTURES: dict[str, Callable[[], bytes]] = {
    "webp of 40 bytes": webp_of_forty_bytes,
    "webp, 2000 frames": webp_with_frames,
    "tiff, RGBA 16 bits, one strip": tiff_in_one_strip,
    "tiff, RGB 16 bits, one strip": lambda: tiff_in_one_strip(3),
    "tiff, float, one strip": lambda: tiff_in_one_strip(1, 32, sample=3, colour=1),
    "tiff, one large tile": tiff_of_one_tile,
    "tiff, orientation of fractions": tiff_of_rationals,
    "jpeg, 20000 scans": lambda: progressive_jpeg(20_000, 4_000, 3_000),
    "jpeg, 2000 scans, large": lambda: progressive_jpeg(2_000, WIDE, HIGH),
    "jpeg, progressive, 3 parts, 64 MP": lambda: progressive_jpeg(3, WIDE, HIGH, 3),
    "jpeg, progressive, 360 MP": lambda: progressive_jpeg(1, 20_000, 18_000),
    "jpeg, 1000 MP": lambda: baseline_jpeg(31_600, 31_600),
    "jpeg, 60000 x 900": lambda: baseline_jpeg(60_000, 900),
    "jpeg, orientation of fractions": jpeg_of_rationals,
    "jpeg, empty scans": jpeg_of_empty_scans,
    "jpeg, 5000000 comments": lambda: jpeg_of_segments(_segment(0xFE, b""), 5_000_000),
    "jpeg, 20 MB of fill bytes": lambda: jpeg_of_segments(b"\xff", 20_000_000),
    "jpeg, large profile": deep_profile_jpeg,
    "png, RGBA": lambda: _png(WIDE, 7_900, bits=8, colour=6),
    "png, RGBA 16 bits": lambda: _png(WIDE, HIGH, bits=16, colour=6),
    "png, RGBA 16 bits, interlaced": lambda: _png(WIDE, HIGH, bits=16, colour=6, interlaced=True),
    "png, grey and alpha 16 bits": lambda: _png(WIDE, HIGH, bits=16, colour=4),
    "png, 32768 x 1953": lambda: _png(32_768, 1_953, bits=8, colour=6),
    "gif, large screen": gif_of_a_large_screen,
    "bmp, runs of half bytes": bmp_of_half_bytes,
    "png, empty chunks": png_of_empty_chunks,
    "png, nested xmp": png_of_nested_xmp,
    "avif": avif_of_one_colour,
}
