"""RELEVANCE: texts with the pictures that answer them in, the numbers that turn cosines into probabilities out.

Libraries of many sizes are drawn from the pictures. Every text is asked with its answers in the library and without
them, so that what is learned is no mark of how people write; texts without an answer are asked beside. The best
hits are counted as what was asked for where they are answers. All weights of the two logistic models but their
constants are held at 0 or above.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.calibration import RelevanceModel
from mmsearch.evaluation.metrics.ranks import Ids, Values
from mmsearch.logistic import fit_logistic
from mmsearch.query.relevance import familiarity
from mmsearch.records import Matrix
from mmsearch.vectors import inner_products, top_k

Flags = NDArray[np.bool_]
N_HITS = 10
"""Hits of an answer that are looked at."""
_SMALLEST = 5  # pictures of a library
_PICTURES, _MOST_ROUNDS = 3_000, 12  # about so many in the libraries of one size, in so many at most
_TEXTS = 300  # of a kind that are asked one library


@dataclass(frozen=True)
class Kind:
    """Texts of one kind, as an encoder sees them.

    Attributes
    ----------
    vectors : float32 array, shape (n, dim)
        Their unit vectors.
    familiar : float64 array, shape (n,)
        As of `mmsearch.query.relevance.familiarity`.
    answers : sequence of int64 arrays, or None
        For every text the rows of the pictures that answer it; None where none does.
    weights : (float, float)
        Of the kind, whatever their number: in what tells that there is a match, and in what tells that a hit is.
    """

    vectors: Matrix
    familiar: Values
    answers: Sequence[Ids] | None
    weights: tuple[float, float]

    @classmethod
    def of(
        cls, vectors: Matrix, probes: Matrix, answers: Sequence[Ids] | None, weights: tuple[float, float]
    ) -> Kind:
        """Return texts with their familiarity, by background captions (n_probes, dim)."""
        return cls(vectors, np.array([familiarity(text, probes) for text in vectors]), answers, weights)

    def asked_of(self, is_there: Flags) -> Ids:
        """Return the texts that some of the pictures that are there answer; all of them where none ever does."""
        if self.answers is None:
            return np.arange(len(self.vectors))
        return np.flatnonzero([is_there[rows].any() for rows in self.answers])


@dataclass(frozen=True)
class Answers:
    """What n texts are answered by one library.

    Attributes
    ----------
    cosines : float64 array, shape (n, n_hits)
        Of the hits, best first; -inf where there are no more pictures.
    is_match : bool array, shape (n, n_hits)
        Whether the hit answers the text.
    familiar : float64 array, shape (n,)
    n_pictures : int
        In the library.
    holds_match : bool
        Whether answers were left in it.
    weights : (float, float)
        Of all of them together, as of their kind.
    """

    cosines: Values
    is_match: Flags
    familiar: Values
    n_pictures: int
    holds_match: bool
    weights: tuple[float, float]


def answers_of(kind: Kind, texts: Ids, pictures: Matrix, rows: Ids, share: float = 1.0) -> Iterator[Answers]:
    """Yield the answers of a library to some texts of a kind: with what answers them in it, then without.

    Parameters
    ----------
    kind : Kind
    texts : int64 array, shape (n,)
        Which of its texts.
    pictures : float32 array, shape (n_pictures, dim)
        Unit vectors.
    rows : int64 array, shape (n_rows,)
        Those in the library.
    share : float
        How much of its weights the kind has.
    """
    cosines = inner_products(kind.vectors[texts], pictures[rows]).astype(np.float64)
    is_answer = np.zeros(cosines.shape, dtype=bool)
    if kind.answers is not None:
        is_answer = np.array([np.isin(rows, kind.answers[text]) for text in texts]).reshape(cosines.shape)
    weights = kind.weights[0] * share, kind.weights[1] * share
    for holds_match in (True, False) if kind.answers is not None else (False,):
        scores = cosines if holds_match else np.where(is_answer, -np.inf, cosines)
        is_asked = np.isfinite(scores).any(axis=1)
        scores, known = scores[is_asked], kind.familiar[texts[is_asked]]
        best, columns = top_k(scores, np.arange(len(rows)), N_HITS)
        is_match = np.take_along_axis(is_answer[is_asked], columns, axis=1) & holds_match
        # Without their matches hits say nothing new of what a match looks like, and would count each text twice.
        of_hits = weights[1] if holds_match or kind.answers is None else 0.0
        if len(best):
            yield Answers(best, is_match, known, len(rows), holds_match, (weights[0], of_hits))


def fit_relevance(kinds: Sequence[Kind], pictures: Matrix, *, seed: int = 0) -> RelevanceModel:
    """Return the model of relevance that fits libraries of some pictures.

    Parameters
    ----------
    kinds : sequence of Kind
        Texts, some with answers.
    pictures : float32 array, shape (n_pictures, dim)
        Unit vectors.
    seed : int
        Of the libraries, and of the texts that each is asked.
    """
    asked = list(_asked(kinds, pictures, seed))
    return RelevanceModel(*_fit_answers(asked), *_fit_hits(asked))


def _asked(kinds: Sequence[Kind], pictures: Matrix, seed: int) -> Iterator[Answers]:
    """Yield answers of libraries of 5, 10, 20 and so on to all pictures; all sizes weigh the same."""
    rng, n = np.random.default_rng(seed), len(pictures)
    sizes = [_SMALLEST << step for step in range(n.bit_length()) if _SMALLEST << step < n]
    for size in [*sizes, n]:
        n_rounds = 1 if size == n else int(np.clip(_PICTURES // size, 1, _MOST_ROUNDS))
        for _ in range(n_rounds):
            rows = np.sort(rng.choice(n, size, replace=False))
            is_there = np.zeros(n, dtype=bool)
            is_there[rows] = True
            for kind in kinds:
                texts = kind.asked_of(is_there)
                texts = rng.choice(texts, min(_TEXTS, len(texts)), replace=False)
                yield from answers_of(kind, texts, pictures, rows, 1 / n_rounds)


def _fit_answers(asked: Sequence[Answers]) -> tuple[float, ...]:
    """Return the numbers of the model of answers; half of what is asked counts as being there."""
    statistics = np.concatenate([
        np.stack([each.cosines[:, 0], each.familiar, np.full(len(each.cosines), -np.log(each.n_pictures))], axis=1)
        for each in asked
    ])  # fmt: skip
    truths = np.concatenate([np.full(len(each.cosines), each.holds_match, dtype=float) for each in asked])
    weights = np.concatenate([_spread(each.weights[0], len(each.cosines)) for each in asked])
    weights *= np.where(truths > 0, 1 / weights[truths > 0].sum(), 1 / weights[truths == 0].sum())
    return fit_logistic(statistics, truths, weights)


def _fit_hits(asked: Sequence[Answers]) -> tuple[float, ...]:
    """Return the numbers of the model of hits."""
    statistics, truths, weights = [], [], []
    for each in asked:
        is_hit = np.isfinite(each.cosines)
        best = np.broadcast_to(each.cosines[:, :1], each.cosines.shape)[is_hit]
        size = np.full(len(best), -np.log(each.n_pictures))
        statistics.append(np.stack([best, each.cosines[is_hit] - best, size], axis=1))
        truths.append(each.is_match[is_hit].astype(float))
        weights.append(_spread(each.weights[1], len(best)))
    return fit_logistic(np.concatenate(statistics), np.concatenate(truths), np.concatenate(weights))


def _spread(weight: float, n: int) -> Values:
    return np.full(n, weight / n)
