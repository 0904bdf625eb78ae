"""NEAR PARTS: which rows are of which pictures, and vectors in, the nearest parts of pictures out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.file_array import FileArray
from mmsearch.indexes.base import Rows
from mmsearch.indexes.exact import ExactIndex, merge
from mmsearch.records import Cosines, Matrix
from mmsearch.store.channel_index import PublishedRows
from mmsearch.store.part_items import PartsItem
from mmsearch.vectors import stored_cosines

Ids = NDArray[np.int64]
Signs = NDArray[np.int8]
_HALVES = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float16)
"""Numbers by their bytes: to look them up takes .4 of the time of a cast."""


@dataclass(frozen=True)
class ListedParts:
    """Which rows items are: their ids, those of their pictures, their first rows, ascending, and their numbers."""

    item_ids: Ids
    image_ids: Ids
    rows: Ids
    n_parts: Ids

    @classmethod
    def of(cls, items: Sequence[tuple[int, int, PartsItem]]) -> ListedParts:
        """Return items (id, picture, what it says) that have parts, by row."""
        values = np.array([(i, image, item.row, len(item.boxes)) for i, image, item in items], dtype=np.int64)
        return cls(*values.reshape(-1, 4).T).sorted()

    def sorted(self) -> ListedParts:
        """Return the items that have parts, by row."""
        order = np.argsort(self.rows, kind="stable")
        return self.taken(order[self.n_parts[order] > 0])

    def only(self, item_ids: Ids) -> ListedParts:
        """Return those of these ids."""
        return self.taken(np.isin(self.item_ids, item_ids))

    def joined(self, other: ListedParts) -> ListedParts:
        """Return the items of both."""
        return ListedParts(
            *(np.concatenate(pair) for pair in zip(self.columns, other.columns, strict=True))
        ).sorted()

    def images_of(self, rows: Rows) -> tuple[Ids, Ids]:
        """Return the pictures that some rows are of, and for each the place of the row among these."""
        first = np.searchsorted(
            self.rows, self.rows[np.searchsorted(self.rows, rows, side="right") - 1], side="left"
        )
        n_copies = np.searchsorted(self.rows, rows, side="right") - first
        places = np.repeat(np.arange(len(rows)), n_copies)
        of_copies = np.arange(len(places)) - np.repeat(np.cumsum(n_copies) - n_copies, n_copies)
        return self.image_ids[np.repeat(first, n_copies) + of_copies], places

    def is_alive(self, n_rows: int) -> NDArray[np.bool_]:
        """Return which of the first rows are of an item."""
        change = np.zeros(n_rows + 1, dtype=np.int64)
        np.add.at(change, np.minimum(self.rows, n_rows), 1)
        np.add.at(change, np.minimum(self.rows + self.n_parts, n_rows), -1)
        return np.cumsum(change[:-1]) > 0

    @property
    def columns(self) -> tuple[Ids, Ids, Ids, Ids]:
        """All that is listed."""
        return self.item_ids, self.image_ids, self.rows, self.n_parts

    def taken(self, places: NDArray[Any]) -> ListedParts:
        """Return the items at some places."""
        return ListedParts(*(column[places] for column in self.columns))


class AsHalves:
    """Rows of int8 as float16 (n, dim), which holds each number; lengths mean nothing."""

    def __init__(self, rows: FileArray[np.int8] | Signs, first: int, last: int) -> None:
        self._rows, self._first = rows, first
        self.shape = (last - first, rows.shape[1])

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> NDArray[np.float16]:
        """Return rows: a slice without steps, or their numbers (n,) in any order."""
        if isinstance(rows, slice):
            first, last, _ = rows.indices(len(self))
            signs = self._rows[first + self._first : max(first, last) + self._first]
        else:
            signs = self._rows[rows + self._first]
        halves: NDArray[np.float16] = np.take(_HALVES, signs.view(np.uint8))
        return halves


class NearParts:
    """Finds the parts nearest to vectors in one state of a library.

    Parameters
    ----------
    listed : ListedParts
        Which rows are of which pictures.
    rows : int8 array or array in a file, shape (n, dim)
        All rows.
    published : PublishedRows
        Finds the first of them.
    n_published : int
        How many these are.
    """

    def __init__(
        self, listed: ListedParts, rows: FileArray[np.int8] | Signs, published: PublishedRows, n_published: int
    ) -> None:
        self._listed, self._rows, self._published, self._n_published = listed, rows, published, n_published
        dead = np.flatnonzero(~listed.is_alive(len(rows))[n_published:])
        self._others = ExactIndex(AsHalves(rows, n_published, len(rows)), dead.tolist())
        self._by_image = np.argsort(listed.image_ids, kind="stable")
        self._image_ids = listed.image_ids[self._by_image]
        self.n_parts = int(listed.is_alive(len(rows)).sum())
        """How many different ones there are."""

    @property
    def is_scanned(self) -> bool:
        """Whether all are looked at for each search."""
        return self._published.is_scanned

    def search(self, queries: Matrix, k: int) -> list[tuple[Cosines, Ids]]:
        """Return for every query the cosines of the k nearest parts, best first, and whose each is.

        There are more where copies share a part, and fewer only where there are no more parts.
        """
        first, others = self._published.search(queries, k), self._others.search(queries, k)
        scores, rows = merge(first, (others[0], others[1] + self._n_published), k)
        answers = []
        for cosines, nearest in zip(scores, rows, strict=True):
            image_ids, places = self._listed.images_of(nearest)
            answers.append((cosines[places], image_ids))
        return answers

    def without_copies(self, image_ids: Ids, beside: Ids) -> Ids:
        """Return of pictures that share their parts the one of the least id, none that shares those of others."""
        image_ids = np.intersect1d(image_ids, self._image_ids)
        first_rows, firsts = np.unique(self._first_rows(image_ids), return_index=True)
        left: Ids = image_ids[firsts[~np.isin(first_rows, self._first_rows(beside))]]
        return left

    def _first_rows(self, image_ids: Ids) -> Ids:
        """Return the first rows of those of some pictures that have parts."""
        if not len(self._image_ids):
            return np.zeros(0, dtype=np.int64)
        places = np.minimum(np.searchsorted(self._image_ids, image_ids), len(self._image_ids) - 1)
        rows: Ids = self._listed.rows[self._by_image[places[self._image_ids[places] == image_ids]]]
        return rows

    def best(self, query: Matrix, image_ids: Ids) -> Cosines:
        """Return the cosines (n,) of a query (dim,) to the nearest part of each picture, -inf without any."""
        best = np.full(len(image_ids), -np.inf)
        if not len(self._image_ids) or not len(image_ids):
            return best
        places = np.minimum(np.searchsorted(self._image_ids, image_ids), len(self._image_ids) - 1)
        asked = np.flatnonzero(self._image_ids[places] == image_ids)
        items = self._by_image[places[asked]]
        starts, n_parts = self._listed.rows[items], self._listed.n_parts[items]
        ends = np.cumsum(n_parts)
        numbers = np.repeat(starts - (ends - n_parts), n_parts) + np.arange(ends[-1] if len(ends) else 0)
        if len(numbers):
            cosines = stored_cosines(query, AsHalves(self._rows, 0, len(self._rows))[numbers])
            best[asked] = np.maximum.reduceat(cosines, ends - n_parts)
        return best

    def rough_best(self, query: Matrix) -> tuple[Ids, Matrix]:
        """Return all pictures that have parts, ascending, and the cosines float32 of their nearest, from a scan."""
        scores = np.concatenate([self._published.rough_scores(query), self._others.rough_scores(query)])
        best = np.full(len(self._image_ids), -np.inf, dtype=np.float32)
        for part in range(int(self._listed.n_parts.max(initial=0))):
            has_part = self._listed.n_parts > part
            best[has_part] = np.maximum(best[has_part], scores[self._listed.rows[has_part] + part])
        return self._image_ids, best[self._by_image]
