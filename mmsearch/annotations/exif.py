"""The texts in the EXIF of a picture: its description, comment and author, and what Windows writes beside them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

from mmsearch.annotations.base import Annotation, Kind, annotation
from mmsearch.annotations.text import decoded
from mmsearch.images import Metadata

_DESCRIPTION, _ARTIST, _USER_COMMENT = 0x010E, 0x013B, 0x9286
_WINDOWS = (
    (0x9C9B, "XPTitle", Kind.TITLE), (0x9C9F, "XPSubject", Kind.CAPTION), (0x9C9C, "XPComment", Kind.CAPTION),
    (0x9C9E, "XPKeywords", Kind.TAG), (0x9C9D, "XPAuthor", Kind.CREATOR),
)  # fmt: skip
# What cameras and programs write into every description and comment says nothing of the picture.
_BY_CAMERAS = re.compile(
    r"(?:olympus|konica minolta|minolta|samsung|pentax|vivitar|kodak|casio)?\s*digital camera|sony dsc"
    r"|exif_jpeg_\w+|dcim[/\\].*|<?(?:digimax|kenox).*|default|untitled|image description|binary comment"
    r"|charset=\w+|ascii"
    r"|(?:created|processed|edited|made) with .*|file written by .*|(?:oppo|vivo|mtk)_\w*"
    r"|\{.*\}|filter: ?\d+;.*",  # settings of a program
    re.IGNORECASE | re.DOTALL,
)
_JAPANESE = ("iso2022_jp", "euc_jp", "shift_jis")  # EXIF means the first; cameras wrote the others too
_CONTROLS = re.compile("[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def exif_annotations(written: Metadata) -> Iterator[Annotation]:
    """Yield the texts of EXIF; a damaged one is left out by itself."""
    main = written.main
    if not (main or written.photo):
        return
    comment = written.photo.get(_USER_COMMENT, main.get(_USER_COMMENT))
    for tag, source, kind in _WINDOWS:
        for text in _windows_texts(main.get(tag), is_list=kind is Kind.TAG):
            yield from annotation(kind, f"exif:{source}", text)
    for text, source in (
        (_ascii(main.get(_DESCRIPTION)), "ImageDescription"),
        (user_comment(comment, written.byte_order) if isinstance(comment, bytes) else "", "UserComment"),
    ):
        if not _BY_CAMERAS.fullmatch(text.strip()):
            yield from annotation(Kind.CAPTION, f"exif:{source}", text)
    yield from annotation(Kind.CREATOR, "exif:Artist", _ascii(main.get(_ARTIST)))


def user_comment(value: bytes, byte_order: Literal["<", ">"]) -> str:
    """Return the text of a comment, which says its encoding in its first eight bytes; nothing if it is no text."""
    code, body = value[:8].rstrip(b"\0 ").upper(), value[8:]
    if code == b"UNICODE":
        return _utf_16(body, byte_order)
    if code == b"JIS":
        return _first_that_decodes(body)
    if code not in (b"", b"ASCII"):
        body = value  # a program left the code out
    text = decoded(body.rstrip(b"\0"))
    text = text.partition("\0")[0] if code == b"ASCII" else text
    return "" if _CONTROLS.search(text) else text  # the settings of a camera, in bytes


def _utf_16(data: bytes, byte_order: Literal["<", ">"]) -> str:
    """Return text in the byte order in which it looks like text; if that does not show, in the one of the file."""
    data = data[: len(data) // 2 * 2]
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return decoded(data).partition("\0")[0]
    # A text keeps to few blocks of characters: its upper bytes have few values, and the names of its letters few
    # first words, such as LATIN.
    upper = len(set(data[::2])), len(set(data[1::2]))  # if it is big-endian, if it is little-endian
    texts = [data.decode(encoding, "replace").partition("\0")[0] for encoding in ("utf-16-be", "utf-16-le")]
    n_big, n_little = upper if max(upper) >= 2 * min(upper) else map(_n_scripts, texts)
    is_big = n_big < n_little if n_big != n_little else byte_order == ">"
    return texts[0] if is_big else texts[1]


def _n_scripts(text: str) -> int:
    """Return how many scripts the first letters of a text are from; what has no name is from one of its own."""
    return len({unicodedata.name(letter, letter).partition(" ")[0] for letter in text[:200]})


def _first_that_decodes(data: bytes) -> str:
    for encoding in _JAPANESE:
        try:
            return data.rstrip(b"\0").decode(encoding)
        except UnicodeDecodeError:
            continue
    return ""


def _windows_texts(value: object, *, is_list: bool) -> list[str]:
    if isinstance(value, str):  # written as ASCII, from which Pillow makes Latin-1
        value = value.encode("latin-1", "replace")
    if not isinstance(value, bytes):
        return []
    text = value[: len(value) // 2 * 2].decode("utf-16-le", "replace").partition("\0")[0]
    return text.split(";") if is_list else [text]


def _ascii(value: object) -> str:
    """Return what stands in a field of ASCII, which is seldom that; Pillow makes Latin-1 of it."""
    if isinstance(value, str):
        value = value.encode("latin-1", "replace")
    return decoded(value).partition("\0")[0] if isinstance(value, bytes) else ""
