"""Ground truth and rankings: from scores or ranked lists to the ranks of the relevant images.

Everything a ranking metric needs of a ranking is at which ranks the relevant images stand, so the gallery is
looked at once, by sorting, and all metrics of all queries are sums over a short array afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmsearch.arguments import unfit
from mmsearch.errors import DimensionError, GroundTruthError
from mmsearch.records import Matrix

Ids = NDArray[np.int64]
Values = NDArray[np.float64]

UNRANKED = int(np.iinfo(np.int64).max)
"""Rank of a relevant image that the list does not hold."""

_FEW = 32  # images whose rank is counted one by one; sorting the scores is faster above


@dataclass(frozen=True)
class Qrels:
    """Ground truth: for every query the ids of its relevant images, their gains, and its junk.

    Lists of all queries one after the other: those of query q lie from `offsets[q]` to `offsets[q + 1]`.

    Parameters
    ----------
    offsets : int64 array, shape (n_queries + 1,)
    ids : int64 array, shape (n,)
        Positions in the gallery.
    gains : float64 array, shape (n,)
        Above 0; 1 where relevance is not graded.
    junk_offsets, junk_ids : int64 arrays
        Images taken out of the ranking before it is scored, in the same form.
    """

    offsets: Ids
    ids: Ids
    gains: Values
    junk_offsets: Ids
    junk_ids: Ids

    @classmethod
    def from_lists(
        cls,
        relevant: Sequence[Iterable[int]],
        *,
        gains: Sequence[Iterable[float]] | None = None,
        junk: Sequence[Iterable[int]] | None = None,
    ) -> Qrels:
        """Return the ground truth of one list of ids a query.

        Raises
        ------
        GroundTruthError
            If an id comes twice for a query, is both relevant and junk, a gain is not above 0, or the
            lists do not fit one another.
        ArgumentError
            If an id is no integer.

        Examples
        --------
        >>> Qrels.from_lists([[4, 7], [1]]).n_relevant
        array([2, 1])
        """
        offsets, ids = _joined(relevant)
        junk_offsets, junk_ids = _joined(junk if junk is not None else [()] * len(relevant))
        weights = np.ones(len(ids)) if gains is None else _joined_values(gains, offsets)
        if not (np.isfinite(weights).all() and (weights > 0).all()):
            raise GroundTruthError("a gain is not a number above 0; leave irrelevant images out")
        qrels = cls(offsets, ids, weights, junk_offsets, junk_ids)
        qrels._check()
        return qrels

    def _check(self) -> None:
        if len(self.junk_offsets) != len(self.offsets):
            raise GroundTruthError(
                f"there is junk for {len(self.junk_offsets) - 1} queries, relevant images for {len(self)}"
            )
        owners = np.concatenate([owners_of(self.offsets), owners_of(self.junk_offsets)])
        ids = np.concatenate([self.ids, self.junk_ids])
        order = np.lexsort((ids, owners))
        twice = (np.diff(owners[order]) == 0) & (np.diff(ids[order]) == 0)
        if twice.any():
            first = order[int(np.argmax(twice))]
            raise GroundTruthError(
                f"image {ids[first]} is named twice for query {owners[first]}; expected every image once, "
                "relevant or junk"
            )

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.offsets) - 1

    @property
    def n_relevant(self) -> Ids:
        """Number of relevant images of every query, (n_queries,)."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class RankedRelevant:
    """The ranks of the relevant images of every query.

    Parameters
    ----------
    offsets : int64 array, shape (n_queries + 1,)
        Where each query's ranks begin; their number is R, all relevant images there are.
    ranks : int64 array, shape (n,)
        From 1, ascending within a query; `UNRANKED` for those not in the list.
    gains : float64 array, shape (n,)
        Gain of the image at each rank.
    n_better, n_equal : int64 arrays, shape (n,)
        How many images of the ranking have a better score than the one at each rank, and how many the same, itself
        among them.
    """

    offsets: Ids
    ranks: Ids
    gains: Values
    n_better: Ids
    n_equal: Ids

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.offsets) - 1

    @property
    def n_relevant(self) -> Ids:
        """R of every query, (n_queries,)."""
        return np.diff(self.offsets)

    @property
    def places(self) -> Ids:
        """The how manieth relevant image of its query each entry is, from 1, (n,)."""
        return np.arange(1, len(self.ranks) + 1) - np.repeat(self.offsets[:-1], self.n_relevant)

    @property
    def precision(self) -> Values:
        """Precision at the rank of each relevant image, 0 where it has none, (n,)."""
        return np.where(self.ranks == UNRANKED, 0.0, self.places / self.ranks)

    def with_ties(self, *, relevant_first: bool) -> RankedRelevant:
        """Return the ranks if of equal scores the relevant images stood first, best gain first; or last, best last.

        >>> tied = np.full((1, 4), 0.5, dtype=np.float32)
        >>> ranked = rank_relevant(tied, Qrels.from_lists([[1, 2]]))
        >>> ranked.ranks, ranked.with_ties(relevant_first=True).ranks, ranked.with_ties(relevant_first=False).ranks
        (array([2, 3]), array([1, 2]), array([3, 4]))
        """
        owners = owners_of(self.offsets)
        order = np.lexsort((-self.gains if relevant_first else self.gains, self.n_better, owners))
        n_better, n_equal = self.n_better[order], self.n_equal[order]
        is_first = np.diff(n_better, prepend=-1) != 0
        is_first |= np.diff(owners, prepend=-1) != 0
        run = np.cumsum(is_first) - 1  # of relevant images with one score
        place = np.arange(len(run)) - np.flatnonzero(is_first)[run]
        n_others = n_equal - np.bincount(run)[run]
        ranks = n_better + 1 + place + (0 if relevant_first else n_others)
        is_found = self.ranks[order] != UNRANKED
        return replace(self, ranks=np.where(is_found, ranks, UNRANKED), gains=self.gains[order])

    def per_query(self, values: Values) -> Values:
        """Return the sum of values (n,) over each query, (n_queries,)."""
        return np.asarray(np.bincount(owners_of(self.offsets), weights=values, minlength=len(self)), np.float64)

    def per_relevant(self, values: Values) -> Values:
        """Return the sum of values (n,) over each query divided by its R, 0 where R is 0."""
        return self.per_query(values) / np.maximum(self.n_relevant, 1)

    def within(self, k: int) -> Values:
        """Return 1 for every relevant image in the top k, else 0, (n,)."""
        return (self.ranks <= k).astype(np.float64)


def owners_of(offsets: Ids) -> Ids:
    """Return the query of every entry of lists that lie one after the other."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def rank_relevant(scores: Matrix, qrels: Qrels) -> RankedRelevant:
    """Return the ranks that the relevant images of every query have by score.

    Parameters
    ----------
    scores : float32 array, shape (n_queries, n_images)
        Higher is better; the id of an image is its column. Not modified.
    qrels : Qrels
        Ground truth of the same queries over the same images. Junk images are taken out of the ranking:
        they neither count nor take a rank.

    Raises
    ------
    DimensionError
        If the shapes do not fit.
    GroundTruthError
        If a score is NaN: there is no ranking then.

    Notes
    -----
    Equal scores are ordered by the smaller id. Needs the memory of one query's scores besides the input.

    Examples
    --------
    >>> scores = np.array([[0.9, 0.5, 0.7]], dtype=np.float32)
    >>> rank_relevant(scores, Qrels.from_lists([[2, 1]])).ranks
    array([2, 3])
    """
    return rank_relevant_of_rows(scores, scores.shape[1], qrels)


def rank_relevant_of_rows(rows: Iterable[Matrix], n_images: int, qrels: Qrels) -> RankedRelevant:
    """Return the same from the scores float32 (n_images,) of one query after the other, never all at once."""
    largest = max(qrels.ids.max(initial=-1), qrels.junk_ids.max(initial=-1))
    if largest >= n_images:
        raise DimensionError(f"the ground truth names image {largest}, there are scores of {n_images} images")
    return _ranked(_without_nan(rows), qrels, _places_by_score)


def _without_nan(rows: Iterable[Matrix]) -> Iterator[Matrix]:
    for query, row in enumerate(rows):
        if np.isnan(row).any():
            raise GroundTruthError(f"a score of query {query} is NaN, which has no rank; are its vectors whole?")
        yield row


class _Places(NamedTuple):
    """Where some images stand in an answer: their ranks, and how many have a better score and how many the same."""

    ranks: Ids
    n_better: Ids
    n_equal: Ids


def _places_by_score(row: Matrix, ids: Ids) -> _Places:
    """Return the places of some images by the scores (n_images,) of all."""
    scores = row[ids]
    if len(ids) <= _FEW:
        n_better = np.array([np.count_nonzero(row > score) for score in scores], dtype=np.int64)
        n_equal = np.array([np.count_nonzero(row == score) for score in scores], dtype=np.int64)
    else:
        ordered = np.sort(row)
        not_better = np.searchsorted(ordered, scores, side="right")
        n_better, n_equal = len(row) - not_better, not_better - np.searchsorted(ordered, scores, side="left")
    ranks: Ids = 1 + n_better
    for i in np.flatnonzero(n_equal > 1):
        ranks[i] += np.count_nonzero(row[: ids[i]] == scores[i])
    return _Places(ranks, n_better, n_equal)


def rank_relevant_of_lists(
    lists: Sequence[Ids], qrels: Qrels, *, scores: Sequence[Values] | None = None
) -> RankedRelevant:
    """Return the ranks that the relevant images have in ranked lists, best first, of any length.

    Parameters
    ----------
    lists : sequence of int64 arrays
        One list of ids a query.
    qrels : Qrels
        Ground truth of the same queries.
    scores : sequence of float64 arrays, or None
        One a list, descending: what tells ties; None says that there are none.

    Raises
    ------
    GroundTruthError
        If a list names an image twice.
    """
    falling = [-np.arange(len(listed), dtype=np.float64) for listed in lists] if scores is None else scores
    return _ranked(zip(_without_repeats(lists), falling, strict=True), qrels, _places_in_list)


def _without_repeats(lists: Iterable[Ids]) -> Iterator[Ids]:
    for query, listed in enumerate(lists):
        if len(np.unique(listed)) != len(listed):
            raise GroundTruthError(f"the answer to query {query} names an image twice; expected every image once")
        yield listed


def _places_in_list(answer: tuple[Ids, Values], ids: Ids) -> _Places:
    """Return the places of some images in a ranked list with its scores, `UNRANKED` for those it does not hold."""
    listed, scores = answer
    places = _Places(np.full(len(ids), UNRANKED), np.full(len(ids), UNRANKED), np.ones(len(ids), dtype=np.int64))
    _, positions, which = np.intersect1d(listed, ids, assume_unique=True, return_indices=True)
    ascending = -scores
    held = ascending[positions]
    places.ranks[which] = positions + 1
    places.n_better[which] = np.searchsorted(ascending, held, side="left")
    places.n_equal[which] = np.searchsorted(ascending, held, side="right") - places.n_better[which]
    return places


def _without_junk(relevant: _Places, junk: _Places) -> _Places:
    """Return places moved up by the junk that stands before them."""

    def before(junk_places: Ids, places: Ids, side: Literal["left", "right"]) -> Ids:
        return np.where(relevant.ranks == UNRANKED, 0, np.searchsorted(np.sort(junk_places), places, side))

    n_better = before(junk.n_better, relevant.n_better, "left")
    n_equal = before(junk.n_better, relevant.n_better, "right") - n_better
    return _Places(
        relevant.ranks - before(junk.ranks, relevant.ranks, "left"),
        relevant.n_better - n_better,
        relevant.n_equal - n_equal,
    )


_Answer = TypeVar("_Answer")


def _ranked(
    answers: Iterable[_Answer], qrels: Qrels, places_in: Callable[[_Answer, Ids], _Places]
) -> RankedRelevant:
    """Return ranks in ascending order per query, moved up by the junk that stands before them.

    Parameters
    ----------
    answers : iterable
        One a query, scores or a list with its scores.
    qrels : Qrels
        Ground truth.
    places_in : callable
        Given an answer and ids, returns the places of these in the answer, junk counted.
    """
    places = _Places(*(np.empty_like(qrels.ids) for _ in _Places._fields))
    n_answers = 0
    for query, answer in enumerate(answers):
        n_answers += 1
        if query >= len(qrels):
            continue  # only counted, for the sentence below
        part = slice(qrels.offsets[query], qrels.offsets[query + 1])
        junk_ids = qrels.junk_ids[qrels.junk_offsets[query] : qrels.junk_offsets[query + 1]]
        relevant = places_in(answer, qrels.ids[part])
        if len(junk_ids):
            relevant = _without_junk(relevant, places_in(answer, junk_ids))
        for whole, some in zip(places, relevant, strict=True):
            whole[part] = some
    if n_answers != len(qrels):
        raise DimensionError(f"there are answers to {n_answers} queries and ground truth of {len(qrels)}")
    order = np.lexsort((places.ranks, owners_of(qrels.offsets)))
    ranks, n_better, n_equal = (whole[order] for whole in places)
    return RankedRelevant(qrels.offsets, ranks, qrels.gains[order], n_better, n_equal)


def _joined(lists: Sequence[Iterable[int]]) -> tuple[Ids, Ids]:
    arrays = [_as_ids(list(listed)) for listed in lists]
    offsets = np.concatenate([[0], np.cumsum([len(listed) for listed in arrays])]).astype(np.int64)
    return offsets, np.concatenate([np.zeros(0, dtype=np.int64), *arrays])


def _as_ids(listed: list[int]) -> Ids:
    """Return ids as an array; NumPy would make some of texts, of flags, and of numbers with a point."""
    ids = np.asarray(listed)
    if len(ids) and ids.dtype.kind not in "iu":
        raise unfit("a list of ids", listed, "integers")
    return ids.astype(np.int64)


def _joined_values(lists: Sequence[Iterable[float]], offsets: Ids) -> Values:
    arrays = [np.asarray(list(listed), dtype=np.float64) for listed in lists]
    if [len(listed) for listed in arrays] != np.diff(offsets).tolist():
        raise GroundTruthError("there are not as many gains as relevant images; expected one each")
    return np.concatenate([np.zeros(0), *arrays])
