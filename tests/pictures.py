"""Pictures made in code: every row of the table of bad inputs, and mutations of good ones."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from mmsearch.samples import sample_folder

HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"  # as iPhones write it


def photo(width: int = 320, height: int = 240, seed: int = 0) -> Image.Image:
    """A smooth random picture, different in all four corners."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def saved(image: Image.Image, format_: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *, extra: bytes = b"", data: bytes = b"") -> bytes:
    """A grey PNG written by hand, with any claims."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
        + chunk(b"IDAT", data or zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )  # fmt: skip


def tiff(samples: np.ndarray, *, colour: int = 2, rows: int = 50, pack=bytes, **tags: int) -> bytes:
    """A TIFF of samples (height, width, n) in strips, each packed by a function; tags are written t277=3."""
    height, width, n = samples.shape
    strips = [pack(samples[top : top + rows].tobytes()) for top in range(0, height, rows)]
    if tags.get("t284") == 2:
        planes = [samples[..., plane] for plane in range(n)]
        strips = [pack(plane[top : top + rows].tobytes()) for plane in planes for top in range(0, height, rows)]
    starts = np.cumsum([8, *map(len, strips)]).tolist()
    order = ">" if samples.dtype.byteorder == ">" else "<"
    values = {
        256: width, 257: height, 258: samples.dtype.itemsize * 8, 259: 1, 262: colour, 273: starts[:-1], 277: n,
        278: rows, 279: [len(strip) for strip in strips], 339: {"u": 1, "i": 2, "f": 3}[samples.dtype.kind],
    } | {int(name[1:]): value for name, value in tags.items()}  # fmt: skip
    entries, tail = b"", b""
    at = starts[-1] + 6 + 12 * len(values)
    for tag, value in sorted(values.items()):
        many = value if isinstance(value, list) else [value]
        body = struct.pack(f"{order}{len(many)}I", *many)
        entries += struct.pack(order + "HHI", tag, 4, len(many))
        entries += body if len(many) == 1 else struct.pack(order + "I", at + len(tail))
        tail += body if len(many) > 1 else b""
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", starts[-1])
    return header + b"".join(strips) + struct.pack(order + "H", len(values)) + entries + b"\0\0\0\0" + tail


def deep_png(samples: np.ndarray, *, bits: int = 0) -> bytes:
    """A PNG of 16 bits a sample (height, width, n) whose sBIT claims so many, if any."""
    height, width, n = samples.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[n], 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in samples.astype(">u2"))
    claim = chunk(b"sBIT", bytes([bits]) * n) if bits else b""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + claim
        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )  # fmt: skip


def profile(space: bytes, tags: dict[bytes, bytes], *, device: bytes = b"mntr", pcs: bytes = b"XYZ ") -> bytes:
    """A colour profile (ICC, version 2) with these tags."""
    start = 132 + 12 * len(tags)
    entries, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        entries += struct.pack(">4sII", name, start + len(body), len(content))
        body += content.ljust(-len(content) % 4 + len(content), b"\0")
    head = struct.pack(">I4xI4s4s4s12x4s28x3i", start + len(body), 0x02200000, device, space, pcs, b"acsp",
                       63_190, 65_536, 54_061)  # fmt: skip
    return head.ljust(128, b"\0") + entries + body


def screen_profile(red: tuple, green: tuple, blue: tuple, gamma: float = 2.2, *, curve: bytes = b"") -> bytes:
    """The profile of a screen whose primaries have these XYZ, with a gamma or another curve."""
    curve = curve or struct.pack(">4s4xIH", b"curv", 1, round(gamma * 256))
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    tags = {
        name: struct.pack(">4s4x3i", b"XYZ ", *(round(x * 65_536) for x in xyz))
        for name, xyz in zip(names, (red, green, blue), strict=True)
    }
    return profile(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def grey_profile(gamma: float) -> bytes:
    """The profile of a scanner of greys."""
    return profile(b"GRAY", {b"kTRC": struct.pack(">4s4xIH", b"curv", 1, round(gamma * 256))})


def press_profile(paper: tuple, cyan: tuple) -> bytes:
    """The profile of a press: Lab of bare paper and of full cyan, whatever the other inks are."""
    straight = bytes(range(256))
    grid = b"".join(bytes(cyan if corner & 8 else paper) for corner in range(16))
    table = struct.pack(">4s4x4B9i", b"mft1", 4, 3, 2, 0, *(65_536 * (i % 4 == 0) for i in range(9)))
    table += straight * 4 + grid + straight * 3
    return profile(b"CMYK", {b"A2B0": table}, device=b"prtr", pcs=b"Lab ")


def bmp(values: np.ndarray, depth: int, *, masks: tuple[int, ...] = ()) -> bytes:
    """A BMP of packed rows of bytes, top first, with bit fields if there are any."""
    rows = np.pad(values, ((0, 0), (0, -values.shape[1] % 4)))
    extra = struct.pack(f"<{len(masks)}I", *masks)
    length = 40 + 4 * len(masks) if len(masks) == 4 else 40
    sizes = (values.shape[1] * 8 // depth, -len(values), 1, depth, 3 if masks else 0, rows.size, 0, 0, 0, 0)
    offset = 14 + 40 + len(extra)
    head = b"BM" + struct.pack("<IIII", offset + rows.size, 0, offset, length)
    return head + struct.pack("<iiHHIIiiII", *sizes) + extra + rows.tobytes()


def with_bad_crc(data: bytes, kind: bytes) -> bytes:
    at = data.index(kind)
    (length,) = struct.unpack(">I", data[at - 4 : at])
    end = at + 4 + length
    return data[:end] + bytes([data[end] ^ 1]) + data[end + 1 :]


def text_bomb() -> bytes:
    return png(10, 10, extra=chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (80 << 20), 9)))


def international_text_bomb() -> bytes:
    body = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * (80 << 20), 9)
    return with_chunk(saved(photo(), "PNG"), b"iTXt", body)


def many_text_bombs() -> bytes:
    """A sound picture with a hundred texts that unpack to 1 MB each."""
    body = b"Comment\0\0" + zlib.compress(b"x" * (1 << 20), 9)
    return saved(photo(), "PNG")[:33] + chunk(b"zTXt", body) * 100 + saved(photo(), "PNG")[33:]


def profile_bomb() -> bytes:
    body = b"icc\0\0" + zlib.compress(b"\0" * (80 << 20), 9)
    return png(10, 10, extra=chunk(b"iCCP", body), data=zlib.compress(b"\0" * 110))


def with_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG with one more chunk behind its header."""
    return data[:33] + chunk(kind, body) + data[33:]


def xmp(attributes: str = "", elements: str = "", *, before: str = "") -> bytes:
    """An XMP packet with these attributes and elements at its top level."""
    names = {
        "x": "adobe:ns:meta/", "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "exif": "http://ns.adobe.com/exif/1.0/", "exifEX": "http://cipa.jp/exif/1.0/",
        "aux": "http://ns.adobe.com/exif/1.0/aux/", "tiff": "http://ns.adobe.com/tiff/1.0/",
        "photoshop": "http://ns.adobe.com/photoshop/1.0/",
        "xmp": "http://ns.adobe.com/xap/1.0/", "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
        "dc": "http://purl.org/dc/elements/1.1/", "lr": "http://ns.adobe.com/lightroom/1.0/",
        "digiKam": "http://www.digikam.org/ns/1.0/", "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
        "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
        "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
        "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
        "mwg-kw": "http://www.metadataworkinggroup.com/schemas/keywords/",
        "MP": "http://ns.microsoft.com/photo/1.2/", "MPRI": "http://ns.microsoft.com/photo/1.2/t/RegionInfo#",
        "MPReg": "http://ns.microsoft.com/photo/1.2/t/Region#",
    }  # fmt: skip
    declared = " ".join(f'xmlns:{prefix}="{name}"' for prefix, name in names.items())
    return (
        f'{before}<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta {declared}><rdf:RDF>'
        f'<rdf:Description rdf:about="" {attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    ).encode()


def history(orientation: int = 1, n_bytes: int = 1_400_000) -> bytes:
    """An edit history as image editors write it, with the orientation at its end."""
    entry = b'<rdf:li stEvt:action="saved" stEvt:instanceID="xmp.iid:%06d"/>\n'
    entries = b"".join(entry % i for i in range(n_bytes // len(entry % 0)))
    return entries + b"<tiff:Orientation>%d</tiff:Orientation>" % orientation


def flat_png(side: int) -> bytes:
    """A grey square whose pixels really unpack: small as a file, large in memory."""
    packer = zlib.compressobj(9)
    row = b"\0" * (side + 1)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return png(side, side, data=body)


def with_flipped_data(data: bytes) -> bytes:
    """A PNG whose packed pixels cannot be unpacked."""
    at = data.index(b"IDAT") + 4
    return data[:at] + bytes(byte ^ 0xFF for byte in data[at : at + 40]) + data[at + 40 :]


@cache
def large_jpeg(width: int = 12_000, height: int = 9_000, *, orientation: int = 1, **options) -> bytes:
    """A grey JPEG, dark on the left and light on the right, of 108 megapixels if not told otherwise."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(Image.linear_gradient("L").rotate(90).resize((width, height)), "JPEG", exif=exif, **options)


def progressive(side: int, *, n_scans: int) -> bytes:
    """A progressive JPEG that refines its coefficients once more in every further scan."""
    data = saved(photo(side, side), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (n_scans - data.count(b"\xff\xda")) + data[-2:]


def looping_tiff() -> bytes:
    """A TIFF whose second directory points back at its first."""
    data = bytearray(saved(photo(), "TIFF", save_all=True, append_images=[photo(seed=1)]))
    (first,) = struct.unpack("<I", data[4:8])
    (n,) = struct.unpack("<H", data[first : first + 2])
    at = first + 2 + 12 * n
    (second,) = struct.unpack("<I", data[at : at + 4])
    (m,) = struct.unpack("<H", data[second : second + 2])
    data[second + 2 + 12 * m : second + 6 + 12 * m] = struct.pack("<I", first)
    return bytes(data)


def many_frames() -> bytes:
    """A GIF of 50,000 frames, by repeating the only frame of a small one."""
    data = saved(Image.new("L", (16, 16), 90), "GIF")
    start = data.index(b",\0\0\0\0\x10\0\x10\0")
    return data[:start] + data[start:-1] * 50_000 + b";"


def _rejected() -> dict[str, tuple[Callable[[], bytes], str]]:
    jpeg, png_data = saved(photo(), "JPEG"), saved(photo(), "PNG")
    return {
        "empty.jpg": (lambda: b"", "not_an_image"),
        "one-byte.jpg": (lambda: b"x", "not_an_image"),
        "page.jpg": (lambda: b"<!DOCTYPE html><html><body>404</body></html>", "not_an_image"),
        "drawing.jpg": (lambda: b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "not_an_image"),
        "archive.jpg": (lambda: b"PK\x03\x04" + b"\0" * 100, "not_an_image"),
        "paper.jpg": (lambda: b"%PDF-1.7\n" + b"\0" * 100, "not_an_image"),
        "noise.jpg": (lambda: np.random.default_rng(0).bytes(500), "not_an_image"),
        "script.jpg": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_an_image"),
        "icon.jpg": (lambda: b'/* XPM */\nstatic char *a[] = {"1 1 1 1", "a c #fff", "a"};', "not_an_image"),
        "paintbrush.jpg": (lambda: saved(photo(), "PCX"), "not_an_image"),
        "cut.jpg": (lambda: jpeg[: len(jpeg) // 2], "truncated"),
        "cut.png": (lambda: png_data[: len(png_data) // 2], "truncated"),
        "flipped.png": (lambda: with_flipped_data(png_data), "corrupt"),
        "bad-header-crc.png": (lambda: with_bad_crc(png_data, b"IHDR"), "corrupt"),
        "claims-50000.png": (lambda: png(50_000, 50_000), "too_large"),
        "claims-2-to-31.png": (lambda: png(2**31 - 1, 2**31 - 1), "too_large"),
        "grey-13000.png": (lambda: flat_png(13_000), "too_large"),
        "thread.png": (lambda: png(1, 100_000_000), "too_large"),
        "many-scans.jpg": (lambda: progressive(64, n_scans=501), "too_large"),
        "text-bomb.png": (text_bomb, "metadata_bomb"),
        "international-text-bomb.png": (international_text_bomb, "metadata_bomb"),
        "many-text-bombs.png": (many_text_bombs, "metadata_bomb"),
        "profile-bomb.png": (profile_bomb, "metadata_bomb"),
    }


def _accepted() -> dict[str, Callable[[], bytes]]:
    base = photo()
    hidden = base.convert("RGBA")
    hidden.putalpha(Image.new("L", base.size, 0))
    palette = base.convert("P", palette=Image.Palette.ADAPTIVE)
    deep = np.linspace(0, 65535, 320 * 240).reshape(240, 320).astype(np.uint16)
    return {
        "bad-data-crc.png": lambda: with_bad_crc(saved(base, "PNG"), b"IDAT"),
        "frames.gif": many_frames,
        "pages.tif": lambda: saved(base, "TIFF", save_all=True, append_images=[base] * 30),
        "loop.tif": looping_tiff,
        "cmyk.jpg": lambda: saved(base.convert("CMYK"), "JPEG"),
        "grey.jpg": lambda: saved(base.convert("L"), "JPEG"),
        "la.png": lambda: saved(base.convert("LA"), "PNG"),
        "bits.png": lambda: saved(base.convert("1"), "PNG"),
        "palette.png": lambda: saved(palette, "PNG"),
        "palette-see-through.png": lambda: saved(palette, "PNG", transparency=0),
        "lab.tif": lambda: saved(base.convert("LAB"), "TIFF"),
        "hidden.png": lambda: saved(hidden, "PNG"),
        "history-itxt.png": lambda: with_chunk(
            saved(base, "PNG"), b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(history())
        ),
        "history-ztxt.png": lambda: with_chunk(
            saved(base, "PNG"), b"zTXt", b"History\0\0" + zlib.compress(history())
        ),
        "profile-2mb.png": lambda: with_chunk(
            saved(base, "PNG"), b"iCCP", b"icc\0\0" + zlib.compress(b"\0\1" * (1 << 20))
        ),
        "deep.png": lambda: saved(Image.fromarray(deep), "PNG"),
        "deep.tif": lambda: saved(Image.fromarray(deep.astype(np.int32)), "TIFF"),
        "float.tif": lambda: saved(Image.fromarray((deep / 65535).astype(np.float32)), "TIFF"),
        "is-webp.jpg": lambda: saved(base, "WEBP"),
        "is-avif.jpg": lambda: saved(base, "AVIF"),
        "picture.bmp": lambda: saved(base, "BMP"),
        "garbage-exif.jpg": lambda: saved(base, "JPEG", exif=b"Exif\0\0" + b"\xff" * 60),
    }


# Makers of them, by name: together they take seconds.
REJECTED, ACCEPTED = _rejected(), _accepted()


@cache
def rejected() -> dict[str, tuple[bytes, str]]:
    """Name -> (bytes, reason code) of pictures that must be refused."""
    return {name: (make(), code) for name, (make, code) in REJECTED.items()}


@cache
def accepted() -> dict[str, bytes]:
    """Name -> bytes of unusual pictures that must be read."""
    return {name: make() for name, make in ACCEPTED.items()}


def turned(orientation: int) -> bytes:
    """The same upright photograph, stored turned with an EXIF orientation that turns it back."""
    back = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    image = photo() if back is None else photo().transpose(back)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, "JPEG", quality=95, exif=exif)


def mutations(n: int, seed: int = 0):
    """Yield n mutated pictures of seven formats: flips, cuts, splices, grown and zeroed parts."""
    rng = np.random.default_rng(seed)
    small = Image.open(sample_folder() / "cat.jpg").resize((96, 72))
    metadata = PngImagePlugin.PngInfo()
    metadata.add_text("Comment", "hello", zip=True)
    sources = [
        saved(small, "JPEG"), saved(small, "PNG", pnginfo=metadata), saved(small, "WEBP"), saved(small, "GIF"),
        saved(small, "BMP"), saved(small, "TIFF"), saved(small, "AVIF"),
    ]  # fmt: skip
    for i in range(n):
        data = bytearray(sources[i % len(sources)])
        for _ in range(int(rng.integers(1, 6))):
            manner, at = rng.integers(0, 5), int(rng.integers(0, len(data)))
            end = min(len(data), at + int(rng.integers(1, 64)))
            if manner == 0:
                data[at] ^= 1 << int(rng.integers(0, 8))
            elif manner == 1:
                data[at:end] = rng.bytes(end - at)
            elif manner == 2:
                del data[at:end]
            elif manner == 3:
                data[at:at] = rng.bytes(end - at)
            else:
                data[at : at + 4] = b"\xff\xff\xff\xff" if rng.integers(0, 2) else b"\0\0\0\0"
            data = data or bytearray(b"\0")
        yield bytes(data)


def write_all(folder: Path) -> None:
    """Write all refused and accepted pictures of this module into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (data, _) in rejected().items():
        (folder / name).write_bytes(data)
    for name, data in accepted().items():
        (folder / name).write_bytes(data)
