"""Arithmetic on embedding matrices: unit length, inner products, top k. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import DimensionError, VectorError
from mmsearch.records import Cosines, Matrix

Float = TypeVar("Float", np.float32, np.float64)
F16_SHRINKING = np.float32(2.0**112)
"""What `shrunk_f16` leaves out: the exponents of float32 begin so much lower than those of float16."""
_IS_UNIT = 1e-3  # so far from length 1 is a vector that was rounded to float16
_ROWS = 4096  # stored rows that are widened to float64 at a time


def l2_normalize(vectors: Matrix) -> Matrix:
    """Return vectors (n, dim) with rows at unit L2 length; a zero row stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    result: Matrix = np.asarray(vectors / np.where(norms > 0, norms, 1), dtype=np.float32)
    return result


def unit_vectors(values: NDArray[Any]) -> list[Matrix | None]:
    """Return rows (n, dim) at unit length as float32, None for those that have no direction.

    One that is as long as rounding leaves a unit vector stays as it is.

    >>> unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]]))
    [array([0.6, 0.8], dtype=float32), None]
    """
    wide = values.astype(np.float64)
    peaks = np.abs(wide).max(axis=1)
    is_good = np.isfinite(peaks) & (peaks > 0)  # a NaN is the largest
    wide[~is_good] = 1.0
    wide /= np.where(is_good, peaks, 1.0)[:, None]  # their squares may be too large
    lengths = np.sqrt((wide * wide).sum(axis=1))
    is_unit = np.abs(lengths * np.where(is_good, peaks, 1.0) - 1) <= _IS_UNIT
    units: Matrix = (wide / lengths[:, None]).astype(np.float32)
    units[is_unit] = values[is_unit]
    return [unit if is_one else None for unit, is_one in zip(units, is_good, strict=True)]


def as_stored(vectors: Matrix) -> Matrix:
    """Return unit vectors (n, dim) as a library gives them back: rounded to float16, then at unit length again."""
    return l2_normalize(vectors.astype(np.float16).astype(np.float32))


def check_directions(vectors: Matrix, what: str = "vectors") -> None:
    """Raise VectorError if a row of vectors (n, dim) is zero or not finite: it has no direction."""
    norms = np.linalg.norm(np.asarray(vectors, dtype=np.float32), axis=-1)
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(bad):
        raise VectorError(
            f"{what}: row {bad[0]} of {len(norms)} is zero or not finite ({len(bad)} such rows); "
            "every vector needs a direction"
        )


def check_width(queries: Matrix, dim: int) -> None:
    """Raise DimensionError unless queries (n, dim) are as wide as what they are compared with."""
    if queries.shape[-1] != dim:
        raise DimensionError(
            f"queries have {queries.shape[-1]} dimensions, the index has {dim}; was it built with another model?"
        )


def inner_products(queries: Matrix, gallery: Matrix) -> Matrix:
    """Score every query against every gallery vector by inner product.

    On unit-length rows this is the cosine similarity, so higher is more similar.

    Parameters
    ----------
    queries : float32 array, shape (n_queries, dim)
        One embedding per row. Not modified.
    gallery : float32 array, shape (n_images, dim)
        One embedding per row, in row order of the store. Not modified.

    Returns
    -------
    float32 array, shape (n_queries, n_images)
        `scores[q, i]`, dimensionless; in [-1, 1] if both inputs have unit rows.

    Raises
    ------
    DimensionError
        If the two widths differ.

    Notes
    -----
    Needs 4 * n_queries * n_images bytes; split the queries to bound memory.

    Examples
    --------
    >>> import numpy as np
    >>> gallery = np.array([[1, 0], [0, 1]], dtype=np.float32)
    >>> inner_products(gallery[:1], gallery)
    array([[1., 0.]], dtype=float32)
    """
    check_width(queries, gallery.shape[-1])
    scores: Matrix = queries @ gallery.T
    return scores


def leading(vectors: Matrix, n: int) -> Matrix:
    """Return the parts of unit vectors (n_vectors, dim) in their first n dimensions, at unit length; 0 for all.

    >>> leading(np.float32([[0.6, 0.64, 0.48]]), 1)
    array([[1., 0., 0.]], dtype=float32)
    """
    if not n:
        return vectors
    parts = vectors.copy()
    parts[:, n:] = 0
    return l2_normalize(parts)


def stored_cosines(queries: Matrix, rows: NDArray[np.float16]) -> Cosines:
    """Return the cosines of queries to stored rows, which rounding has left a little off unit length.

    Parameters
    ----------
    queries : float32 array, shape (n, dim) or (dim,)
        Unit vectors: one for each row, or one for all.
    rows : float16 array, shape (n, dim)
        Any rows. Not modified.

    Returns
    -------
    float64 array, shape (n,)
        Higher is more similar; in [-1, 1] but for the rounding of the query, 0 for a zero row. The bits of a
        cosine depend on the query and its row alone, never on what is scored beside them.

    Notes
    -----
    Near duplicates differ by one step of float16 in a few values, so their cosines by 1e-9 and less: sums in
    float32 cannot tell them apart.

    Examples
    --------
    >>> stored_cosines(np.float32([1, 0]), np.float16([[3, 4], [0, 0]]))
    array([0.6, 0. ])
    """
    check_width(queries, rows.shape[1])
    scores = np.empty(len(rows), dtype=np.float64)
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        wide = widen_f16(part, np.empty(part.shape, dtype=np.float32)).astype(np.float64)
        # Not matrix products: they add in another order for another number of rows.
        lengths = np.sqrt((wide * wide).sum(axis=1))
        products = (wide * (queries if queries.ndim == 1 else queries[start : start + _ROWS])).sum(axis=1)
        scores[start : start + _ROWS] = products / np.where(lengths > 0, lengths, 1)
    return scores


def inverse_lengths(vectors: Matrix) -> Matrix:
    """Return what rows (n, dim) are multiplied by to have unit length, float32 (n,); 0 for a zero row."""
    squares = np.einsum("ij,ij->i", vectors, vectors)
    inverse: Matrix = np.divide(1, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)
    return inverse


def top_k(scores: NDArray[Float], ids: NDArray[np.int64], k: int) -> tuple[NDArray[Float], NDArray[np.int64]]:
    """Return the k best scores of each row and their ids, best first; ties by the smaller id.

    Parameters
    ----------
    scores : float32 or float64 array, shape (n_queries, n)
        Higher is better. Not modified.
    ids : int64 array, shape (n,) or (n_queries, n)
        The id of every column, or of every entry.
    k : int > 0
        Clamped to n.

    Returns
    -------
    scores : array, shape (n_queries, min(k, n))
        Of the type given.
    ids : int64 array, shape (n_queries, min(k, n))

    Examples
    --------
    >>> import numpy as np
    >>> top_k(np.array([[0.1, 0.9, 0.9]], dtype=np.float32), np.array([7, 8, 9]), 2)[1]
    array([[8, 9]])
    """
    n_queries, n = scores.shape
    k = min(k, n)
    ids = np.broadcast_to(ids, scores.shape)
    best_scores = np.empty((n_queries, k), dtype=scores.dtype)
    best_ids = np.empty((n_queries, k), dtype=np.int64)
    floors = _floors(scores, k)
    for query in range(n_queries if k else 0):
        row, row_ids = scores[query], ids[query]
        # Everything that ties with the k-th score must stay, or ties would fall to the order of storage.
        keep = np.flatnonzero(row >= floors[query])
        order = keep[np.lexsort((row_ids[keep], -row[keep]))[:k]]
        best_scores[query], best_ids[query] = row[order], row_ids[order]
    return best_scores, best_ids


def contenders(scores: Matrix, k: int, margin: float) -> Iterator[NDArray[np.int64]]:
    """Yield for each row of scores (n_queries, n) the positions of those at most `margin` below its k-th best.

    Examples
    --------
    >>> list(contenders(np.float32([[0.1, 0.9, 0.895, 0.5]]), 1, 0.01))
    [array([1, 2])]
    """
    k = min(k, scores.shape[1])
    for row, floor in zip(scores, _floors(scores, k), strict=True):
        near = np.flatnonzero(row >= floor - np.float32(margin))
        least = np.partition(row[near], -k)[-k] if k else np.inf
        yield near[row[near] >= least - np.float32(margin)]


def _floors(scores: NDArray[Float], k: int) -> NDArray[Float]:
    """Return for each row a value that at least k of its scores reach, close to the k-th best.

    The k-th largest of the maxima of groups of 64 is one, for a fraction of a full partition.
    """
    n = scores.shape[1]
    n_groups = n // 64
    if k < 1 or n_groups < 4 * k:
        return np.full(len(scores), -np.inf, dtype=scores.dtype)
    maxima = scores[:, : n_groups * 64].reshape(len(scores), n_groups, 64).max(axis=2)
    floors: NDArray[Float] = np.partition(maxima, n_groups - k, axis=1)[:, n_groups - k]
    return floors


def widen_f16(half: NDArray[np.float16], out: Matrix) -> Matrix:
    """Return finite float16 values as float32, written into `out` (same shape): 2x faster than a cast.

    NumPy's own cast goes value by value; moving exponent and mantissa into place with whole-array
    integer operations and rescaling by 2**112 gives the same bits for every finite value. An infinite
    or NaN half, which only damage can bring, comes out finite and large, so that no sum is lost to it.
    """
    return np.multiply(shrunk_f16(half, out), F16_SHRINKING, out=out)


def shrunk_f16(half: NDArray[np.float16], out: Matrix) -> Matrix:
    """Return what `widen_f16` gives, divided by `F16_SHRINKING`, which saves the last of its steps."""
    bits = out.view(np.int32)
    np.copyto(bits, half.view(np.int16))
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, np.int32(-0x70002000), out=bits)  # the sign, 5 exponent bits, 10 mantissa bits
    return out
