"""The words in the name of a picture's file and of its folders, without what cameras and clocks wrote there."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterator

from mmsearch.annotations.base import Annotation, Kind, annotation
from mmsearch.annotations.text import cleaned, decoded

_NOT_WORDS = tuple(
    re.compile(pattern, re.IGNORECASE | re.ASCII)
    for pattern in (
        r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        # Cameras: IMG_1234, _DSC0012, PXL_2023, IMG-2023..-WA0001, P1010001, GX010123, folders 100CANON and DCIM.
        r"(?<![a-z0-9])_?(?:fb_img|img[_-]?e?|imgp|imag|_?mg|dsc[nf]?|_dsf|cimg|hpim|pict|sany|sam|sdc|kif|mvi|mvimg"
        r"|pxl|vid|dji|gopr|burst|wa|wp|dscpdc|ptdc)[_-]*(?:\d{3,5}(?!\d)|(?=\d{3}))",
        r"(?<![a-z0-9])(?:_[a-z0-9]{3}\d{4}|[a-z]\d{7}|g[hxlps]\d{6})(?![a-z0-9])",
        r"^(?:\d{3}[a-z_]{5}|dcim)$",
        r"\.mp$",  # of Pixel's moving pictures
        # Dates and times: 2023-05-01, 20230501, 2023-05, 01.05.2023, 12.34.56; and the number of a copy: (2).
        r"(?<!\d)(?:19|20)\d\d([-_. ]?)(?:0[1-9]|1[0-2])(?:\1(?:0[1-9]|[12]\d|3[01]))?(?!\d)",
        r"(?<!\d)\d{1,2}([-_. ])\d{1,2}\1(?:19|20)\d\d(?!\d)",
        r"(?<!\d)\d{1,2}([-_.:])\d\d\1\d\d(?!\d)",
        r"\(\d{1,3}\)",
    )
)
_HASH = re.compile(r"(?=.*\d)(?=.*[a-f])[0-9a-f]{8,}", re.IGNORECASE)
_NUMBER = re.compile(r"[1-9]\d{0,3}")  # such as a year; a longer one, or with zeros before it, counts pictures
_JOINERS = "'\u2019\u200c\u200d"


def of_file(name: bytes) -> tuple[Annotation, ...]:
    """Return the words of a file's name; none if no word is there."""
    return annotation(Kind.NAME, "file name", words_in(os.path.splitext(name)[0]))


def of_folder(path: bytes, roots: Collection[bytes]) -> tuple[Annotation, ...]:
    r"""Return the words of a folder's name and of those that it is in, from the nearest outwards.

    Parameters
    ----------
    path : bytes
        Absolute.
    roots : collection of bytes
        Folders that were ever indexed: names above the outermost were not meant by who indexed it.

    Examples
    --------
    >>> [text.text for text in of_folder(b"/home/anna/Italy 2019/2019-07-02 day 3", {b"/home/anna/Italy 2019"})]
    ['day 3', 'Italy 2019']
    """
    root = outermost_root(path, roots)
    names = [] if root is None else os.path.relpath(path, os.path.dirname(root)).split(b"/")
    return tuple(text for name in reversed(names) for text in annotation(Kind.FOLDER, "folder", words_in(name)))


def outermost_root(path: bytes, roots: Collection[bytes]) -> bytes | None:
    """Return the outermost of some folders that a path is or lies below."""
    # Pictures may be named one by one, so there may be as many roots as pictures.
    parts = path.split(b"/")
    ancestors = (b"/".join(parts[:n]) or b"/" for n in range(1, len(parts) + 1))
    return next((folder for folder in ancestors if folder in roots), None)


def words_in(name: bytes) -> str:
    """Return the words in a name, with a space between them; nothing if no word is there.

    >>> words_in("Straßenfest-mitOma_(2)".encode()), words_in(b"DSC00012"), words_in(b"HTMLPage of iPhone 5")
    ('Straßenfest mit Oma', '', 'HTML Page of iPhone 5')
    """
    text = cleaned(decoded(name))
    for pattern in _NOT_WORDS:
        text = pattern.sub(" ", text)
    words = [word for run in _runs(text) if not _HASH.fullmatch(run) for word in _parts(run)]
    return " ".join(words) if any(map(_is_word, words)) else ""


def _is_word(text: str) -> bool:
    """Return whether a text says something by itself: a number or a single letter of ASCII does not."""
    return not text.isdecimal() and (len(text) > 1 or not text.isascii())


def _runs(text: str) -> Iterator[str]:
    """Yield what stands between punctuation, signs and spaces."""
    spaced = "".join(c if c in _JOINERS or unicodedata.category(c)[0] in "LNM" else " " for c in text)
    yield from filter(None, (run.strip(_JOINERS) for run in spaced.split()))


def _parts(run: str) -> Iterator[str]:
    """Yield the parts of a run: it is cut at digits and at changes of case, but not behind the i of iPhone."""
    start = 0
    for at in range(1, len(run) + 1):
        if at == len(run) or _is_cut(run, start, at):
            part = run[start:at]
            start = at
            if not part.isdecimal() or _NUMBER.fullmatch(part):
                yield part


def _is_cut(run: str, start: int, at: int) -> bool:
    before, after = run[at - 1], run[at]
    if before.isdecimal() != after.isdecimal():
        return True
    if before.islower() and after.isupper():
        return at - start > 1
    return before.isupper() and after.isupper() and run[at + 1 : at + 2].islower()
