"""CELLS, learned: a sample of vectors in, the projection to sketches and the centroids of cells out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.file_array import HalfRows
from mmsearch.indexes.base import unit_rows
from mmsearch.indexes.sketches import Projection, Sketches, fitted
from mmsearch.kmeans import kmeans
from mmsearch.records import Matrix

COARSE = 128
"""Dimensions of a sketch, the first ones, that cells are made in."""
_WIDEST = 512
_N_FITTED = 30_000  # pictures that the projection is fitted to
_N_OF_A_CELL = 50  # pictures of the sample that a centroid is learned from
_FEWEST_OF_A_CELL = 8
_ITERATIONS = 8
_SEED = 1
_SCORES = 1 << 23  # held at a time, 32 MB


@dataclass(frozen=True)
class Learned:
    """What rows are put into cells with.

    Parameters
    ----------
    projection : Projection
        To sketches.
    centroids : int8 array, shape (n_cells, at most COARSE)
        Of the cells, in `coarse` dimensions.
    n_rows : int
        Rows that there were.
    is_cut : bool
        The projection is to the width of one index alone, no wider.
    """

    projection: Projection
    centroids: Sketches
    n_rows: int
    is_cut: bool = False

    def cut(self, width: int) -> Learned:
        """Return what an index with sketches of this width needs."""
        return replace(self, projection=self.projection.narrowed(width), is_cut=True)

    def cells_of(self, sketches: Sketches) -> NDArray[np.int32]:
        """Return the cell of every sketch (n, width): that of the nearest centroid, the first of equal ones."""
        centroids = self.centroids.astype(np.float32)
        squares = np.einsum("cd,cd->c", centroids, centroids)
        doubled = np.ascontiguousarray(2 * centroids.T)
        cells = np.empty(len(sketches), dtype=np.int32)
        size = max(1, _SCORES // len(centroids))
        for start in range(0, len(sketches), size):
            # Below 2**24, so these are the same numbers however they are added up.
            scores = coarse(sketches[start : start + size], self.projection) @ doubled
            scores -= squares
            cells[start : start + size] = scores.argmax(axis=1)
        return cells


def learned(matrix: HalfRows, texts: Matrix) -> Learned:
    """Return what is learned from a sample of the rows (n, dim) of a matrix and of typical texts (n_texts, dim)."""
    n, dim = matrix.shape
    n_cells = max(1, min(int(4 * n**0.5), n // _FEWEST_OF_A_CELL))
    rng = np.random.default_rng(_SEED)
    sample = np.sort(rng.choice(n, min(n, max(_N_FITTED, _N_OF_A_CELL * n_cells)), replace=False))
    n_fitted = min(len(sample), _N_FITTED)
    vectors = unit_rows(matrix[sample[np.arange(n_fitted) * len(sample) // n_fitted]])[1]
    if len(vectors) == 0:
        vectors = np.zeros((1, dim), dtype=np.float32)
    projection = fitted(vectors, texts, min(_WIDEST, dim))
    narrow = projection.narrowed(COARSE)
    points = np.concatenate([
        coarse(narrow.of(unit_rows(matrix[sample[start : start + 8192]])[1]), projection)
        for start in range(0, len(sample), 8192)
    ])  # fmt: skip
    n_cells = max(1, min(n_cells, len(points)))
    if len(points) == 0:
        points = np.zeros((1, narrow.width), dtype=np.float32)
    means = kmeans(points, n_cells, seeding="sampled", seed=_SEED, max_iterations=_ITERATIONS).centroids
    return Learned(projection, np.rint(means).astype(np.int8), n)


def coarse(sketches: Sketches, projection: Projection) -> Matrix:
    """Return integers float32 (n, at most COARSE) of sketches whose squared distances are those of the pictures."""
    steps = projection.steps[:COARSE].astype(np.float64)
    # All dimensions by one step, so that a small one stays small.
    integers: Matrix = np.rint(sketches[:, :COARSE] * (steps / steps.max())).astype(np.float32)
    return integers
