"""CURSOR: where a page of an answer ended, as text and back, so that the next page begins there.

The first page may come by any route, in any order: its pictures are named. Later pages are in the order of the
exact scan, so that the last hit says what came before. The vector of the query travels along: a text that is
encoded among others, an expansion by other pictures and an example whose file has changed would each give another
order, in which pictures come twice or not at all.

A cursor comes back from strangers: it is as long as what it holds, and every part of it is checked.
"""

from __future__ import annotations

import struct
from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mmsearch.arguments import WordsUse
from mmsearch.errors import QueryError
from mmsearch.predicates import all_of
from mmsearch.query.encode import as_term
from mmsearch.records import Example, Matrix, PictureBytes, Query, Term
from mmsearch.store.base import Passed, RankKey

_VERSIONS: tuple[WordsUse, ...] = ("none", "auto", "only")
"""By what say texts beside pictures had, versions from 1 on; behind the head of the others stands `_JOINED`."""
_JOINED = struct.Struct("<d")
_HEAD = struct.Struct("<B16s8sQdI??dQ32sB")  # what stands before the vector and the ids
_CHECKSUM = struct.Struct("<I")
_NO_EXAMPLE = bytes(32)
_LARGEST = (1 << 63) - 1  # of ids and counts
_HIGHEST = 1e10  # of joined scores
_UNIT = 1e-3  # how far the length of a unit vector, and thus a cosine, may be from 1


@dataclass(frozen=True)
class Cursor:
    """Where a page of an answer ended.

    Parameters
    ----------
    vector : float32 array, shape (dim,)
        The unit vector that pictures are compared with; without columns where texts alone answered by their words.
    first_page : frozenset of int
        Ids of the pictures of the first page.
    n_hits : int
        Of this page and all before.
    best : float
        The highest cosine of all of them.
    last : RankKey or None
        Of the last hit, in the exact order; None where the first page is all that was given.
    example : bytes
        The sha256 of the example that the query is, where more copies of it are in the library than came on the
        first page; else empty.
    words : WordsUse
        What say the texts beside pictures had; where they had any, `best_score` is the highest joined score.
    """

    vector: Matrix
    first_page: frozenset[int]
    n_hits: int
    best: float
    last: RankKey | None = None
    example: bytes = b""
    words: WordsUse = "none"
    best_score: float | None = None

    @property
    def passed(self) -> Passed:
        """What was given."""
        return Passed(self.first_page, self.last)


def written(cursor: Cursor, query: Query, fingerprint: str) -> str:
    """Return a cursor as text that goes with one query to vectors of one encoder."""
    is_other, negative, image_id = cursor.last or (False, 0.0, 0)
    steps = np.fromiter(cursor.first_page, np.uint64, len(cursor.first_page))
    steps.sort()
    steps[1:] -= steps[:-1].copy()
    width = np.min_scalar_type(steps.max(initial=0)).itemsize
    head = _HEAD.pack(
        1 + _VERSIONS.index(cursor.words), _digest(query), _short(fingerprint), cursor.n_hits, cursor.best,
        len(cursor.vector), cursor.last is not None, is_other, negative, image_id, cursor.example or _NO_EXAMPLE,
        width,
    )  # fmt: skip
    if cursor.best_score is not None:
        head += _JOINED.pack(cursor.best_score)
    said = head + cursor.vector.astype("<f4").tobytes() + steps.astype(f"<u{width}").tobytes()
    return urlsafe_b64encode(said + _CHECKSUM.pack(crc32(said))).decode()


def read(text: str, query: Query, fingerprint: str, dim: int) -> Cursor:
    """Return the cursor that `written` made for the same query and encoder, whose vectors have a width.

    Raises
    ------
    QueryError
        If it is none, or goes with another query, other filters or another encoder.
    """
    try:
        asked, encoder, cursor = _parsed(b64decode(text.encode("ascii"), altchars=b"-_", validate=True))
    except (ValueError, struct.error) as error:
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        raise QueryError(f"after is {shown!r}; expected the `next` of a search, as it was given") from error
    if asked != _digest(query):
        raise QueryError(
            "after is the `next` of another query, or of other filters; ask the same as before, or leave it out"
        )
    is_of_texts_alone = cursor.words == "only" and not len(cursor.vector)
    if encoder != _short(fingerprint) or (len(cursor.vector) != dim and not is_of_texts_alone):
        raise QueryError(
            "the library has vectors of another encoder than when `after` was given; leave it out, and begin anew"
        )
    return cursor


def _parsed(given: bytes) -> tuple[bytes, bytes, Cursor]:
    """Return the digests of a query and an encoder, and the cursor between them; ValueError if it is none."""
    said, checksum = given[: -_CHECKSUM.size], given[-_CHECKSUM.size :]
    (
        version, asked, encoder, n_hits, best, dim, is_later, is_other, negative, image_id, example, width,
    ) = _HEAD.unpack(said[: _HEAD.size])  # fmt: skip
    start, best_score, highest = _HEAD.size, None, 1 + _UNIT
    if version > 1:
        (best_score,), start, highest = _JOINED.unpack_from(said, start), start + _JOINED.size, _HIGHEST
    end = start + 4 * dim
    if not 1 <= version <= len(_VERSIONS) or _CHECKSUM.pack(crc32(said)) != checksum or end > len(said):
        raise ValueError("not a cursor")
    vector = np.frombuffer(said[start:end], dtype="<f4").astype(np.float32)
    length = np.linalg.norm(vector.astype(np.float64))
    bounded = ((best, 1 + _UNIT), (negative, highest), (best_score or 0.0, highest))
    are_scores = all(abs(score) <= most for score, most in bounded)  # False for what is no number
    is_unit = abs(length - 1) <= _UNIT or (dim == 0 and version == len(_VERSIONS))
    if not (are_scores and is_unit and n_hits <= _LARGEST and image_id <= _LARGEST):
        raise ValueError("not a cursor")
    last = (is_other, negative, image_id) if is_later else None
    ids = frozenset(_ids(said[end:], width).tolist())
    example = b"" if example == _NO_EXAMPLE else example
    return asked, encoder, Cursor(vector, ids, n_hits, best, last, example, _VERSIONS[version - 1], best_score)


def _ids(narrow: bytes, width: int) -> NDArray[np.uint64]:
    """Return ascending ids, given as their distances from one to the next, each in so many bytes."""
    if width not in (1, 2, 4, 8):
        raise ValueError("not a cursor")
    ids = np.cumsum(np.frombuffer(narrow, dtype=f"<u{width}"), dtype=np.uint64)
    if len(ids) and (ids[0] == 0 or (ids[1:] <= ids[:-1]).any() or ids[-1] > _LARGEST):
        raise ValueError("not a cursor")
    return ids


def _short(fingerprint: str) -> bytes:
    return sha256(fingerprint.encode("utf-8", "surrogatepass")).digest()[:8]


def _digest(query: Query) -> bytes:
    """Return what tells a query with its filters from others."""
    texts = (() if query.text is None else (query.text,), query.exclude)
    said = (
        [[_term(term) for term in terms] for terms in (*texts, query.images)],
        all_of(query.where),
        sorted(set(query.relevant)),
        sorted(set(query.irrelevant)),
        query.vector,
    )
    return sha256(repr(said).encode("utf-8", "surrogatepass")).digest()[:16]


def _term(given: Example | Term) -> tuple[object, ...]:
    term = as_term(given)
    value = sha256(term.value.data).digest() if isinstance(term.value, PictureBytes) else term.value
    return value, float(term.weight), term.box
