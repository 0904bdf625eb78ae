from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmsearch.evaluation.judged import (
    AREA,
    AT_LOSS,
    AUROC,
    CALIBRATION,
    COVERAGES,
    ERROR,
    LOST,
    REJECTED,
    Judged,
    measured,
)

SCORES = np.array([0.9, 0.6, 0.6, 0.2])
TRUE = np.array([True, False, True, False])
ALONE = np.arange(4)
JUDGED = Judged(SCORES, TRUE, ALONE)


def values(judged):
    return {name: interval["value"] for name, interval in measured(judged)["measures"].items()}


def test_scores_that_are_no_probabilities_have_only_measures_of_their_order():
    assert values(JUDGED) == {AUROC: 0.875, **dict.fromkeys(AT_LOSS, 0.5)}
    assert measured(JUDGED).keys() == {"n_true", "n_not_true", "measures"}


def test_probabilities_have_a_diagram_of_the_bins_that_are_not_empty():
    result = measured(replace(JUDGED, is_probability=True))
    assert result["measures"][CALIBRATION]["value"] == pytest.approx((0.1 + 2 * 0.1 + 0.2) / 4)
    assert [(row["n"], row["predicted"], row["observed"]) for row in result["reliability"]] == [
        (1, 0.2, 0.0), (2, 0.6, 0.5), (1, 0.9, 1.0),
    ]  # fmt: skip


def test_what_people_are_told_to_be_wrong_is_rejected_or_lost():
    shares = values(replace(JUDGED, is_rejected=np.array([False, True, True, True])))
    assert (shares[REJECTED], shares[LOST]) == (1, 0.5)


def test_answers_have_a_curve_that_ends_at_their_error():
    result = measured(replace(JUDGED, is_right=TRUE))
    assert result["measures"][ERROR]["value"] == 0.5
    assert result["measures"][AREA]["value"] == pytest.approx((0 + 1 / 4 + 1 / 3 + 1 / 2) / 4)
    curve = dict(zip(np.round(COVERAGES, 2).tolist(), result["risk_at_coverage"], strict=True))
    assert (curve[0.01], curve[0.25], curve[0.26], curve[1.0]) == (0, 0, pytest.approx(1 / 3, abs=1e-6), 0.5)


def test_intervals_hold_their_values_and_are_no_narrower_for_what_is_said_twice():
    rng = np.random.default_rng(0)
    is_true = rng.random(400) < 0.5
    alone = Judged(rng.normal(is_true, 1), is_true, np.arange(400))
    together = replace(
        alone, scores=np.tile(alone.scores, 2), is_true=np.tile(is_true, 2), groups=np.tile(np.arange(400), 2)
    )
    first, second = (measured(judged)["measures"][AUROC] for judged in (alone, together))
    assert first["low"] < first["value"] < first["high"]
    assert second["high"] - second["low"] == pytest.approx(first["high"] - first["low"], rel=0.05)


def test_where_all_is_true_nothing_is_told_apart():
    result = measured(replace(JUDGED, is_true=np.ones(4, dtype=bool), is_probability=True))
    assert list(result["measures"]) == [CALIBRATION]
