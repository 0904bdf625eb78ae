"""How names of files, and all other text that comes from outside, are written for people and for programs.

To the system a name is bytes; in Python it is text in which a byte that is not UTF-8 is half of a surrogate pair
(`os.fsdecode`). No format can hold such a half, some characters are obeyed by a terminal, and others hide or turn
what stands beside them: each kind of reader gets a form of its own, and none of them loses what the name was.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
import unicodedata
from typing import Any

_HALVES = re.compile("[\ud800-\udfff]")
_JOINERS = "\u200c\u200d"  # Persian words and many emoji need them
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, formats such as turns of direction, halves, line ends
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "'": "\\'", "\\": "\\\\"}


def visible(text: str) -> str:
    r"""Return text with escapes in place of what cannot be seen, or would be obeyed; for sentences.

    >>> print(visible("a\x1b[31m\nb\udcff \u202e"))
    a\x1b[31m\nb\xff \u202e
    """
    return text if text.isprintable() else "".join(c if _is_seen(c) else _escape(c) for c in text)


def quoted(name: str) -> str:
    r"""Return a name as it is or, where that could not be seen, as a shell quotes it: `$'...'`, with octal bytes.

    A name that begins with `$'` is quoted too, so that nothing else begins so: the form says what the name was.

    >>> print(quoted("/photos/it's.jpg"), quoted("/photos/\udcff\n.jpg"))
    /photos/it's.jpg $'/photos/\377\n.jpg'
    """
    if not name.startswith("$'") and all(map(_is_seen, name)):
        return name
    return "$'" + "".join(_SHORT.get(c) or (c if _is_seen(c) else _octal(c)) for c in name) + "'"


def shell_word(name: str) -> str:
    r"""Return a name as one word of a command line.

    >>> print(shell_word("/photos/a.jpg"), shell_word("/photos/a b.jpg"), shell_word("\x1b"))
    /photos/a.jpg '/photos/a b.jpg' $'\033'
    """
    return shlex.quote(name) if all(map(_is_seen, name)) else quoted(name)


def listed_names(lines: bytes) -> list[bytes]:
    r"""Return the names in a list, one a line, without empty ones.

    Where all lines end as those of Windows do, that is no part of the names; else a name may end with a CR.

    >>> listed_names(b"a.jpg\r\n\r\nb.jpg\r\n"), listed_names(b"a.jpg\r\nb.jpg\n")
    ([b'a.jpg', b'b.jpg'], [b'a.jpg\r', b'b.jpg'])
    """
    names = lines.split(b"\n")
    if all(name.endswith(b"\r") for name in names if name):
        names = [name.removesuffix(b"\r") for name in names]
    return [name for name in names if name]


def page_text(value: Any) -> Any:
    """Return what a page shows of a value: text as `visible` makes it, but for ends of lines; all else as it is.

    For `finalize` of a jinja2 environment, so that no value can be forgotten.
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "\n".join(map(visible, value.split("\n")))


def json_text(value: Any, *, indent: int | None = None, separators: tuple[str, str] | None = None) -> str:
    r"""Return a value as JSON in ASCII that the strictest of readers accept.

    A byte that is not UTF-8 becomes U+FFFD. Where the text is the value of a key, all of its bytes are beside it in
    Base64, under the same key with `_base64`; a key itself is written as `quoted` does.

    >>> print(json_text({"path": "/photos/\udcff.jpg"}))
    {"path": "/photos/\ufffd.jpg", "path_base64": "L3Bob3Rvcy//LmpwZw=="}
    """
    text = json.dumps(value, allow_nan=False, indent=indent, separators=separators)
    if "\\ud" not in text:  # no half of a pair, and no whole one
        return text
    return json.dumps(_without_halves(value), allow_nan=False, indent=indent, separators=separators)


def plain(text: str) -> str:
    r"""Return text with U+FFFD for every byte that is not UTF-8.

    >>> plain("\udcff.jpg") == "\N{REPLACEMENT CHARACTER}.jpg"
    True
    """
    return _HALVES.sub("\N{REPLACEMENT CHARACTER}", text)


def _without_halves(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list | tuple):
        return [_without_halves(item) for item in value]
    if not isinstance(value, dict):
        return value
    written = {}
    for key, item in value.items():
        name = quoted(key) if isinstance(key, str) and _HALVES.search(key) else key
        written[name] = _without_halves(item)
        if isinstance(item, str) and _HALVES.search(item):
            written |= _bytes_of(f"{name}_base64", item)
    return written


def _bytes_of(key: str, text: str) -> dict[str, str]:
    """Return the bytes of text under a key; nothing if its halves stand for no bytes, as in captions from JSON."""
    try:
        return {key: base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()}
    except UnicodeEncodeError:
        return {}


def _is_seen(character: str) -> bool:
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) not in _UNSEEN


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    short = code < 0x80 or code > 0xFFFF
    return character.encode("unicode_escape").decode() if short else f"\\u{code:04x}"


def _octal(character: str) -> str:
    handler = "surrogateescape" if 0xDC80 <= ord(character) <= 0xDCFF else "surrogatepass"
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", handler))
