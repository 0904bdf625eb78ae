"""Answers to the captions of a set, with their pictures in the library and without, and to other texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mmsearch.datasets.sets import CaptionSet
from mmsearch.encoders.calibration import answer_strength
from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.judged import Flags, Judged
from mmsearch.evaluation.metrics.ranks import Ids, Values
from mmsearch.evaluation.negatives import absent, gibberish, translations
from mmsearch.query.relevance import Relevance
from mmsearch.records import Matrix
from mmsearch.vectors import inner_products, top_k

_K = 10  # hits of an answer
_BLOCK = 1 << 24  # scores held at a time
_SIZES = (100, 10)  # of smaller libraries
MATCHES, HITS = "matches", "hits"
GIBBERISH, TRANSLATED, ABSENT = "gibberish", "other languages", "absent names"
NOTES = {
    MATCHES: "every caption is asked with its pictures in the library, which is true, and without them, which is "
    "not; the score is that of the answer, and an answer is wrong if its first hit is not what was asked for: half "
    "of all at least",
    **{f"{MATCHES} among {n}": f"the same in random parts of the library, {n} pictures each" for n in _SIZES},
    HITS: f"the first {_K} hits of captions, with their pictures in the library; true is a picture of the caption",
    GIBBERISH: "against the captions with their pictures: as many words of as many random letters",
    TRANSLATED: "against the captions with their pictures: captions in other languages, without their pictures",
    ABSENT: "against the captions with their pictures: names of things that no caption mentions",
}


@dataclass(frozen=True)
class _Answers:
    """The best pictures for each of n texts, (n, k), best first.

    Attributes
    ----------
    texts : float32 array, shape (n, dim)
        Unit vectors.
    cosines : float64 array, shape (n, k)
        Minus infinite at the end where there are fewer pictures than k.
    is_wanted : bool array, shape (n, k)
        Whether a picture is what was asked for.
    n_pictures : int64 array, shape (n,)
        Among how many they are the best.
    """

    texts: Matrix
    cosines: Values
    is_wanted: Flags
    n_pictures: Ids


@dataclass(frozen=True)
class _Asked:
    """Captions with an answer: unit vectors (n, dim), and the rows of the pictures that each describes."""

    texts: Matrix
    wanted: list[list[int]]

    def of(self, places: Sequence[int], row_of: Mapping[int, int]) -> _Asked:
        """Return some of them, of which only some rows are there: `row_of` has their new ones."""
        wanted = [[row_of[row] for row in self.wanted[place] if row in row_of] for place in places]
        return _Asked(self.texts[list(places)], wanted)

    @property
    def groups(self) -> Ids:
        """The first picture of each."""
        return np.array([rows[0] for rows in self.wanted], dtype=np.int64)


@dataclass(frozen=True)
class _Score:
    """A score of answers (n,) and of their hits (n, k), higher where they are rather what was asked for."""

    name: str
    of: Callable[[_Answers], tuple[Values, Values]]
    is_probability: bool

    def judged(self, there: _Answers, gone: _Answers, groups: Ids) -> Judged:
        """Return answers that hold a match, then those that do not, of these groups."""
        scores = np.concatenate([self.of(answers)[0] for answers in (there, gone)])
        return Judged(
            scores,
            np.arange(len(scores)) < len(there.texts),
            groups,
            is_probability=self.is_probability,
            is_rejected=np.array([answer_strength(score) == "weak" for score in scores])
            if self.is_probability
            else None,
        )


def judged_answers(
    benchmark: CaptionSet, encoder: SetEncoder, absent_names: Sequence[str], *, seed: int
) -> tuple[dict[str, dict[str, Judged]], dict[int, str]]:
    """Return by score and part what an encoder says of matches, and what is bad."""
    readable, pictures, bad = encoder.readable_pictures(benchmark.name, benchmark.pictures)
    row_of = {position: row for row, position in enumerate(readable)}
    captions = _captions(benchmark, encoder, row_of)
    there, gone = _twice(captions, pictures)
    is_right = np.concatenate([there.is_wanted[:, 0], np.zeros(len(gone.texts), dtype=bool)])
    smaller = dict(_in_smaller_libraries(captions, pictures, seed))
    others = dict(_unanswered(benchmark, encoder, pictures, row_of, absent_names, seed))
    judged = {}
    for score in _scores(encoder):
        groups, hits = captions.groups, score.of(there)[1]
        parts = {MATCHES: replace(score.judged(there, gone, np.tile(groups, 2)), is_right=is_right)}
        for part, (with_own, without, of) in smaller.items():
            parts[part] = score.judged(with_own, without, np.tile(of, 2))
        of_hits = np.repeat(groups, hits.shape[1])
        parts[HITS] = Judged(hits.ravel(), there.is_wanted.ravel(), of_hits, score.is_probability)
        for part, answers in others.items():
            alone = len(pictures) + np.arange(len(answers.texts))
            # How many are asked is by chance here, and so would be what a probability should be.
            against = score.judged(there, answers, np.concatenate([groups, alone]))
            parts[part] = replace(against, is_probability=False)
        judged[score.name] = parts
    return judged, bad


def _scores(encoder: SetEncoder) -> list[_Score]:
    """Return the scores of an encoder: relevance where it is calibrated, and the cosine, which stands beside it."""
    relevance, name = Relevance.of(encoder.encoder), encoder.encoder.name
    scores = [_Score(f"{name}: cosine", lambda answers: (answers.cosines[:, 0], answers.cosines), False)]
    if relevance is not None:
        scores.insert(0, _Score(f"{name}: relevance", partial(_by_relevance, relevance), True))
    return scores


def _by_relevance(relevance: Relevance, answers: _Answers) -> tuple[Values, Values]:
    of_answers, of_hits = np.zeros(len(answers.texts)), np.zeros(answers.cosines.shape)
    for place, (text, cosines) in enumerate(zip(answers.texts, answers.cosines, strict=True)):
        n_pictures, k = int(answers.n_pictures[place]), int(np.isfinite(cosines).sum())
        of_answers[place], of_hits[place, :k] = relevance.judge(text, cosines[:k], n_pictures)
    return of_answers, of_hits


def _captions(benchmark: CaptionSet, encoder: SetEncoder, row_of: Mapping[int, int]) -> _Asked:
    """Return the captions that describe some of the readable pictures, and not all."""
    shown = [_rows(positions, row_of) for positions in benchmark.pictures_of_text]
    asked = [text for text, rows in enumerate(shown) if 0 < len(rows) < len(row_of)]
    if not asked:
        raise GroundTruthError(
            f"{benchmark.name}: no caption is of some of its {len(row_of)} readable pictures and not of all; "
            "expected captions that tell pictures apart"
        )
    return _Asked(encoder.texts(benchmark.texts)[asked], [shown[text] for text in asked])


def _rows(positions: Sequence[int], row_of: Mapping[int, int]) -> list[int]:
    return [row_of[position] for position in positions if position in row_of]


def _twice(captions: _Asked, pictures: Matrix) -> tuple[_Answers, _Answers]:
    """Return the answers to captions among all pictures, and among all but their own."""
    nothing = [()] * len(captions.wanted)
    return (
        _answers(captions.texts, pictures, left_out=nothing, wanted=captions.wanted),
        _answers(captions.texts, pictures, left_out=captions.wanted, wanted=captions.wanted),
    )


def _in_smaller_libraries(
    captions: _Asked, pictures: Matrix, seed: int
) -> Iterator[tuple[str, tuple[_Answers, _Answers, Ids]]]:
    """Yield for each size the answers with and without the caption's pictures, and the groups of the captions.

    Every caption is asked in the part of the library that has its first picture.
    """
    for size in _SIZES:
        if (n_parts := len(pictures) // size) < 2:
            continue
        order = np.random.default_rng(seed).permutation(len(pictures))
        pairs, groups = [], []
        for rows in np.array_split(order, n_parts):
            row_of = {row: new for new, row in enumerate(rows.tolist())}
            asked = [place for place, group in enumerate(captions.groups.tolist()) if group in row_of]
            if asked:
                pairs.append(_twice(captions.of(asked, row_of), pictures[rows]))
                groups.append(captions.groups[asked])
        there, gone = (_joined(answers) for answers in zip(*pairs, strict=True))
        yield f"{MATCHES} among {size}", (there, gone, np.concatenate(groups))


def _joined(parts: Sequence[_Answers]) -> _Answers:
    k = min(part.cosines.shape[1] for part in parts)
    return _Answers(
        np.concatenate([part.texts for part in parts]),
        np.concatenate([part.cosines[:, :k] for part in parts]),
        np.concatenate([part.is_wanted[:, :k] for part in parts]),
        np.concatenate([part.n_pictures for part in parts]),
    )


def _answers(
    texts: Matrix, pictures: Matrix, *, left_out: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]
) -> _Answers:
    """Return the answers to texts, each without the rows of pictures that are left out."""
    n, k = len(pictures), min(_K, len(pictures))
    cosines, is_wanted = np.empty((len(texts), k)), np.empty((len(texts), k), dtype=bool)
    step = max(1, _BLOCK // n)
    for start in range(0, len(texts), step):
        block = slice(start, start + step)
        scores = inner_products(texts[block], pictures).astype(np.float64)
        for row, rows in zip(scores, left_out[block], strict=True):
            row[list(rows)] = -np.inf
        cosines[block], best = top_k(scores, np.arange(n), k)
        is_wanted[block] = [np.isin(ids, rows) for ids, rows in zip(best, wanted[block], strict=True)]
    return _Answers(texts, cosines, is_wanted, n - np.array([len(rows) for rows in left_out], dtype=np.int64))


def _unanswered(
    benchmark: CaptionSet,
    encoder: SetEncoder,
    pictures: Matrix,
    row_of: Mapping[int, int],
    absent_names: Sequence[str],
    seed: int,
) -> Iterator[tuple[str, _Answers]]:
    """Yield the answers to texts that have none, by their kinds; nothing where a set has no such texts."""
    kinds = {
        GIBBERISH: gibberish(benchmark, seed=seed),
        TRANSLATED: translations(benchmark),
        ABSENT: absent(benchmark, absent_names),
    }
    for kind, without in kinds.items():
        left_out = [_rows(positions, row_of) for positions in without.left_out]
        asked = [text for text, rows in enumerate(left_out) if len(rows) < len(pictures)]
        if asked:
            texts = encoder.texts(without.texts)[asked]
            of_asked = [left_out[text] for text in asked]
            yield kind, _answers(texts, pictures, left_out=of_asked, wanted=[()] * len(asked))
