"""What a file is, by its first bytes or its name: a picture that is read, one that is not, or something else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec

from mmsearch.errors import PictureError

HEAD_BYTES = 1 << 16  # so much of a file says what it is
EXCLUDED = "excluded"
"""Kind of a picture, film or folder that is left out by a pattern."""
FILM = "film"
READ_KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
FORMATS = (*READ_KINDS, "HEIF", "MPO")  # as the catalog has them: HEIC is HEIF, JPEGs of several pictures are MPO
FILM_FORMATS = (
    "MP4", "MOV", "MATROSKA", "WEBM", "AVI", "3GP", "3G2", "MPEG", "MPEGTS", "FLV", "WMV", "OGG", "REALMEDIA",
    "FILM",
)  # fmt: skip
"""Those of films; `FILM` is any other."""
_EXTENSIONS_OF_FILMS = {
    "MKV": "MATROSKA", "MPG": "MPEG", "VOB": "MPEG", "TS": "MPEGTS", "MTS": "MPEGTS", "M2TS": "MPEGTS",
    "ASF": "WMV", "OGV": "OGG", "M4V": "MP4", "RMVB": "REALMEDIA",
}  # fmt: skip
_EXTENSIONS_OF_FORMATS = {
    "JPEG": b".jpg .jpeg .jpe .jfif .jif .jfi .pjpeg .pjp",
    "MPO": b".mpo",
    "PNG": b".png .apng",
    "WEBP": b".webp",
    "GIF": b".gif",
    "BMP": b".bmp .dib",
    "TIFF": b".tif .tiff",
    "AVIF": b".avif .avifs",
}
_READ_EXTENSIONS = frozenset(b" ".join(_EXTENSIONS_OF_FORMATS.values()).split())
_EXTENSIONS_OF_KINDS = {
    "HEIC": b".heic .heif .heics .heifs .hif",
    "RAW": b".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .pef "
           b".raf .raw .rw2 .rwl .sr2 .srf .srw .x3f",
    FILM: b".3g2 .3gp .asf .avi .divx .flv .insv .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .rmvb .vob "
            b".webm .wmv",
    "JPEG XL": b".jxl",
    "JPEG 2000": b".j2c .j2k .jp2 .jpc .jpf .jpm .jpx",
    "JPEG XR": b".hdp .jxr .wdp",
    "Photoshop": b".psb .psd",
    "GIMP": b".xcf",
    "SVG": b".svg .svgz",
    "PostScript": b".ai .eps",
    "OpenEXR": b".exr",
    "TGA": b".tga",
}  # fmt: skip
TAR, PARQUET = b".tar", b".parquet"  # extensions of files that may hold many pictures
_KIND_OF_EXTENSION = {
    extension: kind for kind, extensions in _EXTENSIONS_OF_KINDS.items() for extension in extensions.split()
}
_STARTS: tuple[tuple[int, bytes, str], ...] = (  # the first that fits
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (0, b"BM", "BMP"),
    (8, b"CR\x02", "RAW"),  # Canon's CR2 starts like a TIFF
    (6, b"HEAPCCDR", "RAW"),
    *((0, start, "TIFF") for start in (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"MM\0+", b"II+\0")),
    *((0, start, "RAW") for start in (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM")),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"II\xbc", "JPEG XR"),
    (0, b"8BPS", "Photoshop"),
    (0, b"gimp xcf", "GIMP"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    *((0, start, "film") for start in (b"\x1aE\xdf\xa3", b"FLV\x01", b"0&\xb2u\x8ef\xcf\x11")),
    *((0, start, "film") for start in (b"\0\0\1\xba", b"\0\0\1\xb3")),
    *((4, start, "film") for start in (b"moov", b"mdat", b"wide")),  # QuickTime of before 2001
)  # fmt: skip
_OTHER_STARTS = {
    b"OggS": "an Ogg film or sound", b"ID3": "a sound file", b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive", b"%!PS": "a PostScript file",
    b"\xc5\xd0\xd3\xc6": "a PostScript file", b"/* XPM */": "an XPM drawing",
    b"\x7fELF": "a program", b"\x1f\x8b": "a gzip archive",
}  # fmt: skip
_RIFF_KINDS = {b"WEBP": "WEBP", b"AVI ": "film", b"WAVE": "a sound file"}
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_STILL_BRANDS = frozenset((b"mif1", b"mif2", b"msf1", b"miaf"))
_LEFT_OUT = frozenset(
    (
        b"@eadir", b"#recycle", b"#snapshot", b"@tmp", b"@sharebin",  # Synology
        b"@recycle", b"@recently-snapshot", b"@transcode", b".@__thumb", b"@__thumb", b".@upload_cache",  # QNAP
        b"$recycle.bin", b"recycler", b"recycled", b"system volume information",  # Windows
        b"__macosx", b".trashes", b"network trash folder", b"temporary items",  # macOS
        b".thumbnails", b".trash", b"lost+found", b"thumbs", b"_thumbs", b"~snapshot",
    )
)  # fmt: skip


def format_called(word: str) -> str | None:
    """Return the format that a word means, its name or an extension of its files; None if it means none.

    >>> format_called("jpg"), format_called(".HEIC"), format_called("psd")
    ('JPEG', 'HEIF', None)
    """
    name = word.upper().removeprefix(".")
    name = _EXTENSIONS_OF_FILMS.get(name, name)
    if name in (*FORMATS, *FILM_FORMATS):
        return name
    extension = b"." + word.lower().removeprefix(".").encode("utf-8", "replace")
    named = {**_EXTENSIONS_OF_FORMATS, "HEIF": _EXTENSIONS_OF_KINDS["HEIC"]}
    return next((name for name, extensions in named.items() if extension in extensions.split()), None)


@cache
def has_heif() -> bool:
    """Return whether HEIC pictures can be read: the optional package pillow-heif is installed."""
    return find_spec("pillow_heif") is not None


def is_named_like_a_picture(name: bytes) -> bool:
    """Return whether the extension of a file name is that of a format that can be read."""
    extension = os.path.splitext(name)[1].lower()
    return extension in _READ_EXTENSIONS or (has_heif() and _KIND_OF_EXTENSION.get(extension) == "HEIC")


def unread_kind_of_name(name: bytes) -> str | None:
    """Return the kind of picture or film that a file name promises and that is not read, or None."""
    if is_named_like_a_picture(name):
        return None
    return _KIND_OF_EXTENSION.get(os.path.splitext(name)[1].lower())


def is_named_like_a_picture_or_film(name: bytes) -> bool:
    """Return whether a file name promises a picture, also of a kind that is not read, or a film."""
    return is_named_like_a_picture(name) or unread_kind_of_name(name) is not None


def is_named_like_a_bundle(name: bytes) -> bool:
    """Return whether a file name is that of a tar or Parquet file, which may hold many pictures.

    >>> is_named_like_a_bundle(b"00000.tar"), is_named_like_a_bundle(b"a.tar.gz")
    (True, False)
    """
    return name.lower().endswith((TAR, PARQUET))


def is_left_out(name: bytes) -> bool:
    """Return whether a folder of this name holds copies or refuse that a disk station or desktop put there."""
    lower = name.lower()
    return lower in _LEFT_OUT or lower.startswith(b".trash-")


def kind_of_bytes(head: bytes) -> str | None:
    """Return what starts with these bytes: a kind, or words such as `a PDF document`; None if that is not known."""
    if len(head) < 8:
        return "an empty file" if not head else f"a file of {len(head)} bytes"
    if head[4:8] == b"ftyp":
        return _kind_of_brands(head)
    if head.startswith(b"RIFF"):
        return _RIFF_KINDS.get(head[8:12])
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") > 1024:
        return None  # no header of a bitmap is so long: a text that begins so
    kind_of_start = next((kind for at, start, kind in _STARTS if head.startswith(start, at)), None)
    return kind_of_start or _other_kind(head)


def _kind_of_brands(head: bytes) -> str:
    """Return the kind of an ISO media file, by its major brand and those it is compatible with."""
    end = min(int.from_bytes(head[:4], "big"), 512)
    brands = [head[at : at + 4] for at in (8, *range(16, end - 3, 4))]
    major, known = brands[0], frozenset(brands)
    if major in _HEIC_BRANDS:
        return "HEIC"
    if known & _AVIF_BRANDS:
        return "AVIF"
    if known & _HEIC_BRANDS or major in _STILL_BRANDS:
        return "HEIC"
    if major == b"crx ":
        return "RAW"
    return "a sound file" if major in (b"M4A ", b"M4B ") else "film"


def _other_kind(head: bytes) -> str | None:
    text = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = text[:256].lower()
    if lower.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "an HTML page"
    if lower.startswith((b"<?xml", b"<svg", b"<!doctype svg", b"<!--")):
        return "an SVG drawing or another XML document"
    return next((kind for start, kind in _OTHER_STARTS.items() if text.startswith(start)), None)


def is_read(kind: str | None) -> bool:
    """Return whether pictures of this kind are read here."""
    return kind in READ_KINDS or (kind == "HEIC" and has_heif())


def is_picture_despite_name(kind: str, head: bytes) -> bool:
    """Return whether a file is a picture that is read, though its name promises this kind, which is not."""
    real = kind_of_bytes(head)
    if kind == FILM and head[4:8] == b"ftyp":
        return False  # brands of pictures are in films, too
    return is_read(real) and (kind, real) != ("RAW", "TIFF")  # most RAW formats start like a TIFF


def is_picture_or_film(head: bytes) -> bool:
    """Return whether what starts with these bytes is a picture, also of a kind that is not read, or a film."""
    kind = kind_of_bytes(head)
    return kind in READ_KINDS or kind in _EXTENSIONS_OF_KINDS


def check_kind(head: bytes) -> str:
    """Return the kind of the picture that starts with these bytes.

    Raises
    ------
    PictureError
        `unsupported` if it is a picture of a kind that is not read here, `not_an_image` if it is none.
    """
    kind = kind_of_bytes(head)
    if kind is not None and is_read(kind):
        return kind
    if kind is None:
        zeros = "the file starts with zeros alone, as a copy that was broken off leaves it"
        unknown = "no known picture format starts like this file"
        raise PictureError("not_an_image", unknown if any(head) else zeros)
    if kind == "HEIC":
        raise PictureError("unsupported", "this is a HEIC picture; reading it needs `pip install pillow-heif`")
    if kind in _EXTENSIONS_OF_KINDS and kind != "film":
        raise unread(f"a {kind} picture")
    words = "a film" if kind == "film" else kind
    raise PictureError("not_an_image", f"this is {words}, not a picture in a known format")


def unread(words: str) -> PictureError:
    """Return the error for a sound picture of a kind or variant, such as `a RAW picture`, that is not read here."""
    return PictureError("unsupported", f"this is {words}, which cannot be read; save it as JPEG, PNG or 8-bit TIFF")


def unread_variant(kind: str, words: str) -> PictureError:
    """Return the error for a sound picture of a kind that is read, in a variant that is not."""
    return PictureError(
        "unsupported", f"this variant of {kind} cannot be read ({words}); save it as JPEG, PNG or 8-bit TIFF"
    )


def passed_over_text(counts: Mapping[str, int]) -> str:
    """Return one sentence on what a search through folders passed over.

    Parameters
    ----------
    counts : mapping of str to int
        How many of each kind, as `PassedOver` has it.

    Examples
    --------
    >>> passed_over_text({"film": 12, "RAW": 30, "@eaDir": 3})
    '30 RAW, 12 films not read; left out: 3 folders @eaDir'
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    missing = {"HEIC": ("", "", "pillow-heif")}
    if find_spec("av") is None:
        missing[FILM] = " not read", "s not read", "'mmsearch[media]'"
    folders = [f"{n} folder{'s' * (n > 1)} {kind}" for kind, n in ordered if is_left_out(os.fsencode(kind))]
    files = [
        f"{n} {kind}{'s' * (kind == FILM and n > 1)}"
        for kind, n in ordered
        if kind in _EXTENSIONS_OF_KINDS and kind not in missing
    ]
    parts = [
        f"{counts[kind]} {kind}{said if counts[kind] == 1 else many}: pip install {package}"
        for kind, (said, many, package) in missing.items()
        if kind in counts
    ]
    parts += [", ".join(files) + " not read"] if files else []
    parts += ["left out: " + ", ".join(folders)] if folders else []
    parts += [f"{counts[EXCLUDED]} excluded by patterns"] if EXCLUDED in counts else []
    return "; ".join(parts)
