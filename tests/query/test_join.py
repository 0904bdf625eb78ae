"""The joined score of pixels and texts: by hand, and by scoring every picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.encoders.calibration import JoinModel
from mmsearch.query import join
from mmsearch.query.join import Bonuses, joined

MODEL = JoinModel(words=0.5, captions=2.0, unrelated_of_few=0.75, unrelated_of_all=0.5)
NOTHING = np.zeros(0, np.int64), np.zeros(0, np.float32)
coarse = st.integers(-4, 4).map(lambda step: step / 4)  # so that many scores are equal


def ids(*values):
    return np.array(values, dtype=np.int64)


def bonuses(shares, captions=()):
    """Bonuses of shares by picture, and of (picture, cosine) of captions."""
    near = ids(*(image_id for image_id, _ in captions)), np.array([cosine for _, cosine in captions], dtype=float)
    ascending = sorted(shares)
    return Bonuses.of(MODEL, 0.5, (ids(*ascending), np.float32([shares[i] for i in ascending])), near)


def test_a_picture_is_added_its_share_of_the_words_and_its_nearest_caption_beyond_an_unrelated_one():
    both = bonuses({7: 0.5, 3: 1.0}, [(7, 0.75), (7, 0.625), (9, 0.5), (2, 1.0)])
    assert both.image_ids.tolist() == [2, 3, 7]  # 9 is no nearer than an unrelated caption
    assert both.words.tolist() == [0, 0.5, 0.25]
    assert both.captions.tolist() == [1.0, 0, 0.5]
    assert [added.tolist() for added in both.added(ids(7, 8, 2))] == [[0.25, 0, 0], [0.5, 0, 1.0]]


def test_a_text_that_stands_nowhere_adds_nothing():
    assert len(Bonuses.of(MODEL, 0.5, NOTHING, (ids(4, 5), np.array([0.5, -0.2])))) == 0
    assert [added.tolist() for added in bonuses({}).added(ids(4))] == [[0], [0]]


def of_all(cosines, added, is_left, k):
    """Score every picture."""
    scores = {i: cosine + float(sum(added.added(ids(i)))[0]) for i, cosine in cosines.items()}
    left = [i for i in scores if is_left(ids(i), np.array([scores[i]]))[0]]
    return sorted(((scores[i], i) for i in left), key=lambda best: (-best[0], best[1]))[:k]


@given(st.data())
def test_the_best_by_a_shortlist_and_bonuses_are_the_best_of_all_pictures(data):
    # Copies of a picture have one row, and may have other texts.
    rows = data.draw(st.lists(coarse, min_size=1, max_size=8))
    row_of = data.draw(st.dictionaries(st.integers(1, 99), st.integers(0, len(rows) - 1), min_size=1, max_size=24))
    cosines = {i: rows[row] for i, row in row_of.items()}
    shares = data.draw(st.dictionaries(st.integers(1, 99), st.sampled_from([0.25, 0.5, 1.0])))  # some do not pass
    captions = data.draw(st.lists(st.tuples(st.integers(1, 99), st.sampled_from([0.25, 0.75, 1.0]))))
    added = bonuses(shares, captions)
    k = data.draw(st.integers(1, 8))
    last = data.draw(st.none() | st.tuples(st.sampled_from([-0.25, 0.0, 0.5, 1.0]), st.integers(1, 99)))

    def is_left(image_ids, scores):
        if last is None:
            return np.ones(len(image_ids), dtype=bool)
        return (scores < last[0]) | ((scores == last[0]) & (image_ids > last[1]))

    ranked = sorted(cosines, key=lambda i: (-cosines[i], i))
    left = [i for i in ranked if is_left(ids(i), cosines[i] + sum(added.added(ids(i))))[0]]
    n = len(ranked) if len(left) <= k else ranked.index(left[k - 1]) + 1 + data.draw(st.integers(0, 3))
    near = ids(*ranked[:n])
    ceiling = cosines[ranked[n - 1]] if n < len(ranked) else -np.inf

    def cosines_of(image_ids):
        passing = image_ids[np.isin(image_ids, list(cosines))]
        return passing, np.array([cosines[i] for i in passing.tolist()], dtype=float)

    shortlist = near, np.array([cosines[i] for i in near.tolist()])
    best = joined(shortlist, ceiling, added, cosines_of, k, is_left=is_left)
    answered = list(zip(best.scores.tolist(), best.image_ids.tolist(), strict=True))
    assert answered == of_all(cosines, added, is_left, k)
    assert best.cosines.tolist() == [cosines[i] for i in best.image_ids.tolist()]


def test_of_equal_scores_the_smaller_id_is_found_outside_the_shortlist():
    best = joined((ids(9, 2), np.array([0.5, 0.25])), 0.25, bonuses({3: 0.5}), lambda of: (of, np.array([0.25])), 1)
    assert (best.image_ids.tolist(), best.scores.tolist()) == ([3], [0.5])


def test_pictures_whose_texts_cannot_make_up_for_what_they_show_are_not_looked_at(monkeypatch):
    monkeypatch.setattr(join, "_AT_ONCE", 1)
    asked = []

    def cosines_of(image_ids):
        asked.extend(image_ids.tolist())
        return image_ids, np.full(len(image_ids), 0.25)

    best = joined((ids(1, 2), np.array([0.75, 0.5])), 0.5, bonuses({8: 1.0, 9: 0.4, 10: 0.2}), cosines_of, 2)
    assert best.image_ids.tolist() == [1, 8]
    assert best.scores.tolist() == pytest.approx([0.75, 0.75])
    assert asked == [8]
