"""Paths in one normal form: a letter with an accent is the same whether a name spells it as one code point or two.

macOS decomposes names (NFD), other systems keep what was typed, mostly composed (NFC). Filters compare the composed
form. Bytes that are no UTF-8 stand for themselves.
"""

from __future__ import annotations

import os
import unicodedata
from itertools import takewhile


def composed(path: bytes) -> bytes:
    r"""Return a path, or a part of one, in the composed form (NFC).

    >>> composed("e\u0301.jpg".encode()) == "\u00e9.jpg".encode()
    True
    """
    return path if path.isascii() else os.fsencode(composed_text(os.fsdecode(path)))


def composed_text(text: str) -> str:
    """Return a text in the composed form (NFC)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def has_one_form(text: str) -> bool:
    """Return whether no other spelling of a text has the same composed form, so that bytes can be compared.

    Signs that Unicode keeps only for older character sets are passed over: a name with the Kelvin sign is found
    by that sign, not by the letter K.
    """
    if text.isascii():
        return True
    forms = {text, composed_text(text), unicodedata.normalize("NFD", text)}
    return len(forms) == 1 and not any(map(unicodedata.combining, text))


def common_lead(text: str) -> bytes:
    r"""Return the ASCII that every spelling of a text begins with.

    >>> common_lead("/photos/f\u00eate")
    b'/photos/f'
    """
    pairs = zip(text, composed_text(text), strict=False)
    return "".join(letter for letter, _ in takewhile(lambda pair: pair[0] == pair[1] < "\x80", pairs)).encode()
