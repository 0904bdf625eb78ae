"""Texts that strangers wrote: bytes in one of the usual encodings in, one clean line out."""

from __future__ import annotations

import codecs
import re
import unicodedata

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
# Controls, halves of surrogate pairs, ends of lines, marks of byte order, and what is no character in any text.
_BLANK = re.compile("[\\s\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]+")


def cleaned(text: str) -> str:
    r"""Return a text as one line in the composed form (NFC); nothing if it has no letter, digit or sign.

    Controls, line ends and halves of surrogate pairs become spaces; markup is text like any other.

    >>> cleaned(" <b>two\n\ndogs</b>\x1b[31m\0 \ud800"), cleaned("...")
    ('<b>two dogs</b> [31m', '')
    """
    if text.isascii() and text.isprintable():  # most are, and there are many
        line = " ".join(text.split())
    else:
        line = unicodedata.normalize("NFC", _BLANK.sub(" ", text).strip())
    return line if line[:1].isalnum() or any(map(_says_something, line)) else ""


def _says_something(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character) == "So"  # as emoji are


def decoded(data: bytes) -> str:
    r"""Return text in UTF-8, or in UTF-16 with a mark of byte order; else in Windows-1252, which contains Latin-1.

    >>> decoded("café".encode()), decoded(b"caf\xe9 \x81"), decoded("café".encode("utf-16"))
    ('café', 'café �', 'café')
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
