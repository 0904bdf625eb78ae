"""Answers to the captions of a set, with their pictures in the library and without, and to other texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmsearch.datasets.sets import CaptionSet
from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.judged import Flags, Judged
from mmsearch.evaluation.metrics.ranks import Ids, Values
from mmsearch.evaluation.negatives import absent, gibberish, translations
from mmsearch.records import Matrix
from mmsearch.vectors import inner_products, top_k

_K = 10  # hits of an answer
_BLOCK = 1 << 24  # scores held at a time
MATCHES, HITS = "matches", "hits"
GIBBERISH, TRANSLATED, ABSENT = "gibberish", "other languages", "absent names"
NOTES = {
    MATCHES: "every caption is asked with its pictures in the library, which is true, and without them, which is "
    "not; the score is that of the answer, and an answer is wrong if its first hit is not what was asked for",
    HITS: f"the first {_K} hits of captions, with their pictures in the library; true is a picture of the caption",
    GIBBERISH: "against the captions with their pictures: as many words of as many random letters",
    TRANSLATED: "against the captions with their pictures: captions in other languages, without their pictures",
    ABSENT: "against the captions with their pictures: names of things that no caption mentions",
}


@dataclass(frozen=True)
class _Answers:
    """The best pictures for each of n texts, (n, k): cosines, and whether they are what was asked for.

    `vectors` are those of the texts. Where there are fewer pictures than k, the cosine is minus infinite.
    """

    vectors: Matrix
    cosines: Values
    is_wanted: Flags


@dataclass(frozen=True)
class _MatchScore:
    """A score of answers (n,) and of their hits (n, k), higher where they are rather what was asked for."""

    name: str
    of: Callable[[_Answers], tuple[Values, Values]]
    is_probability: bool


def _match_scores(encoder: SetEncoder) -> list[_MatchScore]:
    """Return the scores of an encoder: relevance, and the cosine, which it is to be compared with."""
    return [_MatchScore(f"{encoder.encoder.name}, cosine", _by_cosine, is_probability=False)]


def _by_cosine(answers: _Answers) -> tuple[Values, Values]:
    return answers.cosines[:, 0], answers.cosines


@dataclass(frozen=True)
class _Library:
    """The readable pictures of a caption set, as a library of one encoder.

    `row_of` has their rows by their positions in the set.
    """

    vectors: Matrix
    row_of: dict[int, int]

    def rows(self, positions: Sequence[int]) -> list[int]:
        return [self.row_of[position] for position in positions if position in self.row_of]

    def answers(
        self, texts: Matrix, left_out: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]
    ) -> _Answers:
        """Return the answers to texts, each without the rows that are left out of the library."""
        n, k = len(self.vectors), min(_K, len(self.vectors))
        cosines, is_wanted = np.empty((len(texts), k)), np.empty((len(texts), k), dtype=bool)
        step = max(1, _BLOCK // n)
        for start in range(0, len(texts), step):
            block = slice(start, start + step)
            scores = inner_products(texts[block], self.vectors).astype(np.float64)
            for row, rows in zip(scores, left_out[block], strict=True):
                row[list(rows)] = -np.inf
            cosines[block], best = top_k(scores, np.arange(n), k)
            is_wanted[block] = [np.isin(ids, rows) for ids, rows in zip(best, wanted[block], strict=True)]
        return _Answers(texts, cosines, is_wanted)


def judged_answers(
    benchmark: CaptionSet, encoder: SetEncoder, absent_names: Sequence[str], *, seed: int
) -> tuple[dict[str, dict[str, Judged]], dict[int, str]]:
    """Return by score and part what an encoder says of matches, and what is bad."""
    readable, pictures, bad = encoder.readable_pictures(benchmark.name, benchmark.pictures)
    library = _Library(pictures, {position: row for row, position in enumerate(readable)})
    shown = [library.rows(positions) for positions in benchmark.pictures_of_text]
    asked = [text for text, rows in enumerate(shown) if 0 < len(rows) < len(readable)]
    if not asked:
        raise GroundTruthError(
            f"{benchmark.name}: no caption is of some of its {len(readable)} readable pictures and not of all; "
            "expected captions that tell pictures apart"
        )
    texts, wanted = encoder.texts(benchmark.texts)[asked], [shown[text] for text in asked]
    groups = np.array([rows[0] for rows in wanted], dtype=np.int64)
    there = library.answers(texts, [()] * len(asked), wanted)
    gone = library.answers(texts, wanted, wanted)
    unanswered = dict(_unanswered(benchmark, encoder, library, absent_names, seed))
    judged = {}
    for score in _match_scores(encoder):
        answers, hits = score.of(there)
        of_gone = _both(score, (answers, score.of(gone)[0]), np.concatenate([groups, groups]))
        is_right = np.concatenate([there.is_wanted[:, 0], np.zeros(len(asked), dtype=bool)])
        of_hits = np.repeat(groups, hits.shape[1])
        judged[score.name] = {
            MATCHES: replace(of_gone, is_right=is_right),
            HITS: Judged(hits.ravel(), there.is_wanted.ravel(), of_hits, is_probability=score.is_probability),
        }
        for part, others in unanswered.items():
            of_others = len(pictures) + np.arange(len(others.vectors))
            pair = answers, score.of(others)[0]
            judged[score.name][part] = _both(score, pair, np.concatenate([groups, of_others]))
    return judged, bad


def _both(score: _MatchScore, answers: tuple[Values, Values], groups: Ids) -> Judged:
    """Return answers that hold a match, and answers that do not."""
    scores = np.concatenate(answers)
    return Judged(scores, np.arange(len(scores)) < len(answers[0]), groups, is_probability=score.is_probability)


def _unanswered(
    benchmark: CaptionSet, encoder: SetEncoder, library: _Library, absent_names: Sequence[str], seed: int
) -> Iterator[tuple[str, _Answers]]:
    """Yield the answers to texts that have none, by their kinds; nothing where a set has no such texts."""
    kinds = {
        GIBBERISH: gibberish(benchmark, seed=seed),
        TRANSLATED: translations(benchmark),
        ABSENT: absent(benchmark, absent_names),
    }
    for kind, without in kinds.items():
        left_out = [library.rows(positions) for positions in without.left_out]
        asked = [text for text, rows in enumerate(left_out) if len(rows) < len(library.vectors)]
        if asked:
            texts = encoder.texts(without.texts)[asked]
            yield kind, library.answers(texts, [left_out[text] for text in asked], [()] * len(asked))
