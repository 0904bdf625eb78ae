"""What is kept of a picture to know it, or a copy of it, again: a digest of its bytes and a very small picture.

A trace is a row of `TRACE_BYTES` numbers: the SHA-256 of the file, then the whole picture in `SIDE` x `SIDE` pixels
of red, green and blue. A row of zeros is a picture that could not be read. A copy is the same photograph,
compressed again or resized; a cut or a turned one is not, nor another photograph of the same thing.

Of 4,841 photographs (Flickr8k's two parts, ImageNet, Imagenette, covers and photographs of them), 1,500 copies at
75 % of the size and JPEG quality 70 were all known again (`_Look` .995 and more), at half the size and quality
40 96 %; no two others were alike (.985 at most; photographs of one face before one wall, 92 x 112 pixels, .994).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import Matrix

Traces: TypeAlias = NDArray[np.uint8]
SIDE = 24
_DIGEST_BYTES = 32
TRACE_BYTES = _DIGEST_BYTES + SIDE * SIDE * 3
ALIKE = 0.995  # from which a picture is a copy
_FIRST_ALIKE = 0.99  # likewise at the first look
_NOISE = 0.3  # squared levels by which compression changes every one, also of a dark picture
_LEAST_CONTRAST = 3.0  # deviation of the levels: of less too little is left beside the noise
_BLOCK = 1024  # traces that are compared with all others at a time


def traces_of(digests: Traces, levels: Traces) -> Traces:
    """Return traces uint8 (n, TRACE_BYTES) of SHA-256 digests (n, 32) and small pictures (n, SIDE, SIDE, 3)."""
    return np.concatenate([digests, levels.reshape(len(digests), -1)], axis=1)


def no_traces() -> Traces:
    """Return the traces of no pictures."""
    return np.zeros((0, TRACE_BYTES), dtype=np.uint8)


def are_traces(array: NDArray[Any]) -> bool:
    """Return whether an array that was read from a file has the form of traces."""
    return array.dtype == np.uint8 and array.ndim == 2 and array.shape[1] == TRACE_BYTES


def known_again(asked: Traces, known: Traces) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pictures are among those that are known.

    Parameters
    ----------
    asked, known : uint8 arrays, shapes (n, TRACE_BYTES) and (m, TRACE_BYTES)
        Traces.

    Returns
    -------
    same_bytes : bool array, shape (n,)
        The file is the same, byte by byte.
    copied : bool array, shape (n,)
        It is another file, and a copy of one of them.
    """
    digests = set(_digests(known)) - {bytes(_DIGEST_BYTES)}
    same_bytes = np.array([digest in digests for digest in _digests(asked)], dtype=bool)
    copied = np.zeros(len(asked), dtype=bool)
    for rows, _ in _alike(asked, known):
        copied[rows] = True
    return same_bytes, copied & ~same_bytes


def copy_pairs(traces: Traces) -> list[tuple[int, int]]:
    """Return pairs of rows that are the same file or copies, the lower row first; of many enough to join them.

    Examples
    --------
    >>> seen = np.zeros((3, TRACE_BYTES), dtype=np.uint8)
    >>> seen[:2, 0] = 7  # the first two have the same digest, the last could not be read
    >>> copy_pairs(seen)
    [(0, 1)]
    """
    first_of: dict[bytes, int] = {}
    pairs = []
    for row, digest in enumerate(_digests(traces)):
        if any(digest) and first_of.setdefault(digest, row) != row:
            pairs.append((first_of[digest], row))
    for rows, columns in _alike(traces, traces):
        pairs += [(a, b) for a, b in zip(rows.tolist(), columns.tolist(), strict=True) if a < b]
    return pairs


def _digests(traces: Traces) -> list[bytes]:
    return [row.tobytes() for row in traces[:, :_DIGEST_BYTES]]


def _alike(asked: Traces, known: Traces) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield rows of both that are copies by their levels: by means of nine of them first, then by all."""
    if not len(known):
        return
    blocks = [_coarse(_levels(known[start : start + _BLOCK])) for start in range(0, len(known), _BLOCK)]
    coarse_known = _Look(np.concatenate(blocks), _FIRST_ALIKE)
    for start in range(0, len(asked), _BLOCK):
        levels = _levels(asked[start : start + _BLOCK])
        rows, columns = np.nonzero(_Look(_coarse(levels), _FIRST_ALIKE).table(coarse_known))
        for part in range(0, len(rows), _BLOCK):
            few, others = rows[part : part + _BLOCK], columns[part : part + _BLOCK]
            is_copy = _Look(levels[few], ALIKE).pairs(_Look(_levels(known[others]), ALIKE))
            yield start + few[is_copy], others[is_copy]


def _levels(traces: Traces) -> Matrix:
    """Return levels around 0, float32 (n, SIDE, SIDE, 3)."""
    return traces[:, _DIGEST_BYTES:].reshape(-1, SIDE, SIDE, 3).astype(np.float32) - 128


def _coarse(levels: Matrix) -> Matrix:
    """Return the means of every three by three levels, float32 (n, SIDE / 3, SIDE / 3, 3)."""
    side = SIDE // 3
    means: Matrix = levels.reshape(-1, side, 3, side, 3, 3).mean(axis=(2, 4))
    return means


class _Look:
    """Levels, (n, side, side, 3), made ready to be compared with others: two are alike if they hardly differ.

    1 - |a - b|^2 / (|a - mean|^2 + |b - mean|^2) is nearly 1 for copies, but for the noise of compression.
    """

    def __init__(self, levels: Matrix, least: float) -> None:
        self.flat = levels.reshape(len(levels), -1)
        self.squares = np.einsum("ij,ij->i", self.flat, self.flat)
        contrast = levels.var(axis=(1, 2)).mean(axis=1)  # over the three colours
        self.most = self.flat.shape[1] * ((1 - least) * contrast + _NOISE / 2)
        self.is_seen: NDArray[np.bool_] = contrast >= _LEAST_CONTRAST**2

    def table(self, others: _Look) -> NDArray[np.bool_]:
        """Return which pairs are alike, bool (n, m)."""
        differences = self.squares[:, None] + others.squares - 2 * (self.flat @ others.flat.T)
        alike: NDArray[np.bool_] = differences <= self.most[:, None] + others.most
        return alike & self.is_seen[:, None] & others.is_seen

    def pairs(self, others: _Look) -> NDArray[np.bool_]:
        """Return which rows are alike, each with that of the others, bool (n,)."""
        alike: NDArray[np.bool_] = ((self.flat - others.flat) ** 2).sum(axis=1) <= self.most + others.most
        return alike & self.is_seen & others.is_seen
