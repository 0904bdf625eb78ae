"""What a nearest-neighbour index answers: for each query vector the k best row numbers and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import Cosines, Matrix

Rows = NDArray[np.int64]


class VectorIndex(Protocol):
    """Cosine nearest neighbours over unit vectors, by row number.

    `ExactIndex` scans; `HnswIndex` walks a graph. Deleted rows never come back.
    """

    def __len__(self) -> int:
        """Return the number of live rows."""

    def search(self, queries: Matrix, k: int) -> tuple[Cosines, Rows]:
        """Return the min(k, len) best rows of every query.

        Parameters
        ----------
        queries : float32 array, shape (n_queries, dim)
            Unit rows.
        k : int > 0

        Returns
        -------
        scores : float64 array, shape (n_queries, min(k, len))
            Cosines, best first.
        rows : int64 array, same shape
        """

    def delete(self, rows: Sequence[int]) -> None:
        """Leave rows out of every later answer; unknown rows are ignored."""
