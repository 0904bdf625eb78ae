"""Arithmetic on embedding matrices: unit length, inner products, top k. NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import DimensionError, VectorError
from mmsearch.records import Matrix


def l2_normalize(vectors: Matrix) -> Matrix:
    """Return vectors (n, dim) with rows at unit L2 length; a zero row stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    result: Matrix = np.asarray(vectors / np.where(norms > 0, norms, 1), dtype=np.float32)
    return result


def check_directions(vectors: Matrix, what: str = "vectors") -> None:
    """Raise VectorError if a row of vectors (n, dim) is zero or not finite: it has no direction."""
    norms = np.linalg.norm(np.asarray(vectors, dtype=np.float32), axis=-1)
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(bad):
        raise VectorError(
            f"{what}: row {bad[0]} of {len(norms)} is zero or not finite ({len(bad)} such rows); "
            "every vector needs a direction"
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
    if queries.shape[-1] != gallery.shape[-1]:
        raise DimensionError(
            f"queries have {queries.shape[-1]} dimensions, the index has {gallery.shape[-1]}; "
            "was it built with another model?"
        )
    scores: Matrix = queries @ gallery.T
    return scores


def top_k(scores: Matrix, ids: NDArray[np.int64], k: int) -> tuple[Matrix, NDArray[np.int64]]:
    """Return the k best scores of each row and their ids, best first; ties by the smaller id.

    Parameters
    ----------
    scores : float32 array, shape (n_queries, n)
        Higher is better. Not modified.
    ids : int64 array, shape (n,) or (n_queries, n)
        The id of every column, or of every entry.
    k : int > 0
        Clamped to n.

    Returns
    -------
    scores : float32 array, shape (n_queries, min(k, n))
    ids : int64 array, shape (n_queries, min(k, n))

    Examples
    --------
    >>> import numpy as np
    >>> top_k(np.array([[0.1, 0.9, 0.9]], dtype=np.float32), np.array([7, 8, 9]), 2)[1]
    array([[8, 9]])
    """
    n = scores.shape[1]
    k = min(k, n)
    ids = np.broadcast_to(ids, scores.shape)
    if 0 < k < n:
        # Everything that ties with the k-th score must stay, or ties would fall to partition order.
        kth = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
        width = int((scores >= kth).sum(axis=1).max())
        keep = np.argpartition(-scores, width - 1, axis=1)[:, :width] if width < n else None
        if keep is not None:
            scores = np.take_along_axis(scores, keep, axis=1)
            ids = np.take_along_axis(ids, keep, axis=1)
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)
