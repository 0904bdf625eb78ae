"""Pictures that share visual words with a query: posting lists in, scores and matching features out.

tf and tf-idf cosines: J. Sivic and A. Zisserman, Video Google, ICCV 2003. Hamming embedding: H. Jegou, M. Douze
and C. Schmid, ECCV 2008; bursts damped as in H. Jegou, M. Douze and C. Schmid, On the burstiness of visual
elements, CVPR 2009, in the form of J. Schoenberger et al., A vote-and-verify strategy, ACCV 2016.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.arguments import one_of
from mmsearch.bow.postings import (
    Postings,
    merge_postings,
    one_vocabulary,
    plain_angles,
    plain_positions,
    plain_scales,
)
from mmsearch.bow.vocabulary import N_BITS, ImageWords
from mmsearch.bow.weighting import TERM_WEIGHTS, inverse_document_frequency, stop_words, term_frequency
from mmsearch.errors import VocabularyError
from mmsearch.file_array import FileArray
from mmsearch.records import LocalMatches, Pixels

Weighting: TypeAlias = Literal["tf", "sqrt", "tfidf", "he"]
# Both chosen on covers 001-050 of smvs-dvd.
MAX_DISTANCE = 22  # of 64 bits: signatures farther apart do not match
SIGMA = 12.0  # bits: how fast the weight of a match falls with the distance
_BLOCK = 1 << 15  # postings read at a time, so that what is made of them stays in the cache
Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class ListStatistics:
    """How evenly features are spread over lists.

    `imbalance` is n_words * sum(length^2) / sum(length)^2: how many times more postings a query reads than it
    would from lists of one length, if its words are spread as those of the gallery; 1 is best.
    """

    n_images: int
    n_features: int
    n_words: int
    n_empty: int
    imbalance: float


class _Matches(NamedTuple):
    """Matches: the place in the query's words, that of the posting, the row of its picture, the distance."""

    asked: Ints
    postings: Ints
    rows: NDArray[np.int32]
    distances: Pixels


_NOTHING = _Matches(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.uint8))


class InvertedFile:
    """Segments of posting lists, searched as one. Immutable, so it may be shared between threads.

    The matches of the last query are remembered: who has scored pictures mostly wants those of the best next.

    Parameters
    ----------
    segments : sequence of Postings
        At least one, of one vocabulary, oldest first; a picture that is in several counts as in the last of
        them. Never modified.
    dead : iterable of int
        Ids of pictures to leave out. They and replaced pictures count in document frequencies until a merge.
    stop_share : float
        Share of all words, those in most pictures, that is not looked at.
    max_distance, sigma : int, float
        Of the Hamming embedding, in bits: matches farther apart count nothing, nearer ones exp(-(h / sigma)^2).
    """

    def __init__(
        self,
        segments: Sequence[Postings],
        *,
        dead: Iterable[int] = (),
        stop_share: float = 0.0,
        max_distance: int = MAX_DISTANCE,
        sigma: float = SIGMA,
    ) -> None:
        self.segments = tuple(segments)
        self.n_words = one_vocabulary(segments)
        self.max_distance = max_distance
        self._dead = np.fromiter(dead, dtype=np.int64)
        counts = np.asarray(np.sum([segment.document_counts for segment in segments], axis=0, dtype=np.int64))
        self._idf = inverse_document_frequency(counts, sum(len(segment.image_ids) for segment in segments))
        self._is_used = ~stop_words(counts, stop_share)
        self._match_weights = np.exp(-np.square(np.arange(N_BITS + 1) / sigma))
        self._lengths: dict[str, list[Floats]] = {}
        self._last: tuple[ImageWords, list[_Matches]] | None = None

    @cached_property
    def _alive(self) -> list[NDArray[np.bool_]] | None:
        """Which pictures of each segment count: not dead, and in no later segment; None if all do."""
        if len(self.segments) == 1 and not len(self._dead):
            return None
        gone, alive = self._dead, []
        for segment in reversed(self.segments):
            alive.append(~np.isin(segment.image_ids, gone))
            gone = np.concatenate([gone, segment.image_ids])
        return alive[::-1]

    @cached_property
    def _root_sizes(self) -> list[Floats]:
        """Square root of the number of features of every picture, 1 for those without."""
        return [np.sqrt(np.maximum(segment.feature_counts, 1), dtype=np.float64) for segment in self.segments]

    @cached_property
    def image_ids(self) -> Ints:
        """Ids (n_images,) of the pictures that count, in the order of the scores."""
        return self._of_alive([segment.image_ids for segment in self.segments])

    def _of_alive(self, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return what is known of every picture of every segment, for those that count."""
        if self._alive is None:
            return parts[0]
        return np.concatenate([part[mask] for part, mask in zip(parts, self._alive, strict=True)])

    @property
    def feature_counts(self) -> NDArray[np.int32]:
        """Number of features (n_images,) of the pictures that count, in the order of the scores."""
        return self._of_alive([segment.feature_counts for segment in self.segments])

    def save_merged(self, path: Path) -> None:
        """Write one segment with the pictures that count, which `Postings.open` opens."""
        everything = [np.ones(len(segment.image_ids), dtype=bool) for segment in self.segments]
        merge_postings(self.segments, self._alive or everything, path)

    def scores(self, query: ImageWords, weighting: Weighting = "he") -> NDArray[np.float32]:
        """Score every picture that counts against a query.

        Parameters
        ----------
        query : ImageWords
            Of the same vocabulary. For the bags, one word a feature.
        weighting : "tf", "sqrt", "tfidf" or "he"
            The cosine of bags of words: counts, their square roots, or counts times log(n_images / document
            count); or Hamming embedding.

        Returns
        -------
        float32 array, shape (n_images,)
            Higher is more similar, 0 for nothing in common; in the order of `image_ids`. Cosines are at most 1.

        Raises
        ------
        VocabularyError
            If the query has words that this vocabulary has not.
        QueryError
            If there is no such weighting.

        Notes
        -----
        he: the matches of a word w of the query in a picture are the features under w whose signatures differ in
        h <= max_distance bits. Each weighs exp(-(h / sigma)^2), n of them together 1 / sqrt(n) of their sum (a
        burst), times idf(w)^2. The sum is divided by sqrt(n_q * n_d), the numbers of features.

        The lengths of bags are computed at the first query of a weighting, by one pass over all postings.
        """
        if len(query.words) and not (query.words.min() >= 0 and query.words.max() < self.n_words):
            raise VocabularyError(
                f"the query has words from {query.words.min()} to {query.words.max()}, expected 0 to "
                f"{self.n_words - 1}; it was quantised with another vocabulary"
            )
        if one_of(weighting, "weighting", Weighting) == "he":
            own_size = np.sqrt(max(query.n_features, 1))
            parts = [
                self._embedded(segment, query, near) / (own_size * sizes)
                for segment, sizes, near in zip(self.segments, self._root_sizes, self._near(query), strict=True)
            ]
        else:
            parts = self._cosines(query, weighting)
        return self._of_alive(parts).astype(np.float32)

    def own_score(self, query: ImageWords) -> float:
        """Return the Hamming embedding score of a picture with the query's features and no more, bursts apart."""
        _, first = np.unique(query.features, return_index=True)  # the nearest word of each feature
        return float(np.square(self._idf[query.words[first]]).sum()) / max(len(first), 1)

    def _embedded(self, segment: Postings, query: ImageWords, matches: _Matches) -> Floats:
        """Return the weights of all matches of every picture of a segment, summed."""
        rows = matches.rows
        first, counts = runs(matches.asked, rows)
        total = np.zeros(len(segment.image_ids))
        if len(first):
            sums = np.add.reduceat(self._match_weights[matches.distances], first) / np.sqrt(counts)
            idf = self._idf[query.words[matches.asked[first]]]
            np.add.at(total, rows[first], sums * np.square(idf))
        return total

    def _near(self, query: ImageWords) -> list[_Matches]:
        """Return the matches in every segment, those of the last query from memory."""
        # Read and written whole, so that threads which meet here only do the work twice.
        last = self._last
        if last is None or last[0] is not query:
            last = self._last = query, [self._matching(segment, query) for segment in self.segments]
        return last[1]

    def _matching(self, segment: Postings, query: ImageWords) -> _Matches:
        """Return the postings of a segment whose signatures are near one of the query's in the same word."""
        asked = np.flatnonzero(self._is_used[query.words])
        parts = [_NOTHING]
        for part, postings, lengths in lists(segment.offsets, query.words[asked]):
            different = of_lists(segment.signatures, postings, lengths)
            different ^= np.repeat(query.signatures[asked[part]], lengths)
            distances = np.bitwise_count(different)
            near = np.flatnonzero(distances <= self.max_distance)
            owners = np.searchsorted(np.cumsum(lengths), near, side="right") + part.start
            # In a file whole lists are read sooner than the few postings that are near.
            rows = of_lists(segment.rows, postings, lengths)[near]
            parts.append(_Matches(asked[owners], postings[near], rows, distances[near]))
        return _Matches(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _cosines(self, query: ImageWords, weighting: Weighting) -> list[Floats]:
        """Return the cosine of bags with every picture of every segment."""
        term = TERM_WEIGHTS[weighting]
        words, counts = np.unique(query.words, return_counts=True)
        weights = self._word_weights(weighting)[words]
        bag = term(counts) * weights
        lengths = self._bag_lengths(weighting)
        own_length = float(np.linalg.norm(bag)) or 1.0
        is_asked = bag > 0
        words, factors = words[is_asked], (bag * weights)[is_asked] / own_length
        cosines = []
        for segment, length in zip(self.segments, lengths, strict=True):
            total = np.zeros(len(segment.image_ids))
            for part, postings, list_lengths in lists(segment.offsets, words):
                rows = of_lists(segment.rows, postings, list_lengths)
                values = np.repeat(factors[part], list_lengths)
                if term is not term_frequency:
                    _, counts = runs(np.repeat(words[part], list_lengths), rows)
                    values *= np.repeat(term(counts) / counts, counts)
                np.add.at(total, rows, values)
            cosines.append(total / length)
        return cosines

    def _word_weights(self, weighting: Weighting) -> Floats:
        """Return the factor of every word in a bag; 0 for stop words."""
        weights: Floats = np.multiply(self._is_used, self._idf if weighting == "tfidf" else 1.0)
        return weights

    def _bag_lengths(self, weighting: Weighting) -> list[Floats]:
        """Return the L2 length of the bag of every picture, 1 for empty ones."""
        if weighting not in self._lengths:
            squares = np.square(self._word_weights(weighting))
            words = np.flatnonzero(squares)
            lengths = []
            for segment in self.segments:
                total = np.zeros(len(segment.image_ids))
                for part, postings, list_lengths in lists(segment.offsets, words):
                    owners, rows = (
                        np.repeat(words[part], list_lengths),
                        of_lists(segment.rows, postings, list_lengths),
                    )
                    first, counts = runs(owners, rows)
                    np.add.at(
                        total, rows[first], np.square(TERM_WEIGHTS[weighting](counts)) * squares[owners[first]]
                    )
                lengths.append(np.sqrt(np.where(total > 0, total, 1)))
            self._lengths[weighting] = lengths
        return self._lengths[weighting]

    def matches(self, query: ImageWords, image_ids: Iterable[int]) -> list[LocalMatches]:
        """Return the pairs of features with a word in common and near signatures, for some pictures.

        Parameters
        ----------
        query : ImageWords
            Of the same vocabulary; a feature may have several words.
        image_ids : iterable of int
            Pictures of interest.

        Returns
        -------
        list of LocalMatches
            One for each id, in their order; without pairs for pictures that do not count.
        """
        near = self._near(query)
        return [self._of_picture(query, image_id, near) for image_id in image_ids]

    def _of_picture(self, query: ImageWords, image_id: int, of_segments: Sequence[_Matches]) -> LocalMatches:
        """Return the matches of one picture, from those of all segments."""
        number, row = self._place_of(image_id)
        segment, near = self.segments[number], of_segments[number]
        of_picture = np.flatnonzero(near.rows == row)
        postings = near.postings[of_picture]
        return LocalMatches(
            image_id=image_id,
            query_features=query.features[near.asked[of_picture]],
            features=postings,
            positions=plain_positions(segment.positions[postings]),
            scales=plain_scales(segment.scales[postings]),
            angles=plain_angles(segment.angles[postings]),
            distances=near.distances[of_picture],
            n_features=int(segment.feature_counts[row]) if row >= 0 else 0,
        )

    def _place_of(self, image_id: int) -> tuple[int, int]:
        """Return segment and row of a picture; row -1 if it does not count."""
        for number, segment in enumerate(self.segments):
            is_it = segment.image_ids == image_id
            if self._alive is not None:
                is_it &= self._alive[number]
            if is_it.any():
                return number, int(is_it.argmax())
        return 0, -1

    def statistics(self) -> ListStatistics:
        """Return how evenly the features are spread over the lists."""
        lengths = np.sum([np.diff(segment.offsets) for segment in self.segments], axis=0, dtype=np.float64)
        n_features = int(lengths.sum())
        return ListStatistics(
            n_images=len(self.image_ids),
            n_features=n_features,
            n_words=self.n_words,
            n_empty=int((lengths == 0).sum()),
            imbalance=float(self.n_words * np.square(lengths).sum() / max(n_features, 1) ** 2),
        )

    def touched(self, query: ImageWords) -> tuple[float, float]:
        """Return the shares of all lists and of all features that a query reads, once each: 0 to 1."""
        lengths = np.sum([np.diff(segment.offsets) for segment in self.segments], axis=0)
        words = np.unique(query.words)
        words = words[self._is_used[words]]
        return len(words) / self.n_words, float(lengths[words].sum() / max(lengths.sum(), 1))


def lists(offsets: Ints, words: NDArray[np.integer]) -> Iterator[tuple[slice, Ints, Ints]]:
    """Yield the posting lists of words, in pieces of about 32,768 postings but whole lists.

    Yields
    ------
    part : slice
        Which of the words; those with long lists one by one.
    postings : int64 array
        Positions of all their postings, list after list.
    lengths : int64 array
        Of the list of each word.
    """
    starts = offsets[words]
    lengths = offsets[words + 1] - starts
    ends = np.cumsum(lengths)
    n_postings = int(ends[-1]) if len(ends) else 0
    done = 0
    for end in np.searchsorted(ends, np.arange(_BLOCK, n_postings + _BLOCK, _BLOCK)) + 1:
        part = slice(done, min(int(end), len(words)))
        if part.start < part.stop:
            lengths_here = lengths[part]
            first_of_list = np.cumsum(lengths_here) - lengths_here
            postings = np.arange(int(lengths_here.sum()))
            postings += np.repeat(starts[part] - first_of_list, lengths_here)
            yield part, postings, lengths_here
            done = part.stop


def of_lists(column: NDArray[Any] | FileArray[Any], postings: Ints, lengths: Ints) -> NDArray[Any]:
    """Return a column of whole lists, as `lists` gives their postings and lengths."""
    if not isinstance(column, FileArray):
        return column[postings]
    lengths = lengths[lengths > 0]
    return column.runs(postings[np.cumsum(lengths) - lengths], lengths)


def runs(owners: NDArray[np.integer], rows: NDArray[np.integer]) -> tuple[Ints, Ints]:
    """Return where each run of equal (owner, row) starts, and how long it is."""
    is_first = np.ones(len(rows), dtype=bool)
    is_first[1:] = (owners[1:] != owners[:-1]) | (rows[1:] != rows[:-1])
    first = np.flatnonzero(is_first)
    return first, np.diff(first, append=len(rows))
