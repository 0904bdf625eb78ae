from __future__ import annotations

import tracemalloc
from itertools import product
from math import erfc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import DimensionError
from mmsearch.evaluation.metrics.uncertainty import (
    bootstrap_interval,
    effective_size,
    holm,
    mean_interval,
    median_of_counts,
    paired_p_value,
    wilson_interval,
)


def test_interval_of_a_mean_is_that_of_the_normal_law_when_there_are_many_queries():
    values = (np.random.default_rng(0).random(5000) < 0.3).astype(float)
    half = 1.96 * values.std() / np.sqrt(len(values))
    low, high = bootstrap_interval(values)
    np.testing.assert_allclose([low, high], [values.mean() - half, values.mean() + half], atol=0.1 * half)


def test_interval_is_wider_when_queries_belong_together():
    base = np.random.default_rng(0).random(200)
    values, groups = np.repeat(base, 5), np.repeat(np.arange(200), 5)
    alone, together = bootstrap_interval(values), bootstrap_interval(values, groups)
    ratio = (together[1] - together[0]) / (alone[1] - alone[0])
    np.testing.assert_allclose(ratio, np.sqrt(5), rtol=0.1)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = [low <= 0.5 <= high for low, high in (bootstrap_interval(rng.random(60)) for _ in range(300))]
    assert 0.90 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize(
    ("n_right", "n", "expected"),
    [
        # (p + z2/2n -+ sqrt(z2 (p(1-p) + z2/4n) / n)) / (1 + z2/n) with z2 = 3.8415
        (30, 30, (0.8865, 1.0)),
        (0, 30, (0.0, 0.1135)),
        (1, 1, (0.2065, 1.0)),
        (15, 30, (0.3315, 0.6685)),
        (
            81,
            263,
            (0.2553, 0.3662),
        ),  # R. Newcombe, Statistics in Medicine 17, 1998, table I
    ],
)
def test_interval_of_a_share_is_wilsons(n_right, n, expected):
    values = (np.arange(n) < n_right).astype(float)
    np.testing.assert_allclose(mean_interval(values), expected, atol=5e-5)


def test_share_of_another_level_is_wider_the_surer_it_is():
    lows = [wilson_interval(0.5, 30, level=level)[0] for level in (0.9, 0.95, 0.99)]
    assert lows == sorted(lows, reverse=True)


def test_interval_of_a_share_ends_at_the_share_where_all_are_right_or_none_is():
    assert [wilson_interval(1.0, n)[1] for n in range(1, 200)] == [1.0] * 199
    assert [wilson_interval(0.0, n)[0] for n in range(1, 200)] == [0.0] * 199


@given(n_groups=st.integers(1, 40), size=st.integers(1, 6), is_right=st.booleans())
def test_share_of_which_all_are_right_is_as_sure_as_a_query_a_group(n_groups, size, is_right):
    values, groups = np.full(n_groups * size, float(is_right)), np.repeat(np.arange(n_groups), size)
    expected = mean_interval(np.full(n_groups, float(is_right)))
    np.testing.assert_allclose(mean_interval(values, groups), expected)
    assert expected[0] < expected[1]


@given(seed=st.integers(0, 2**32 - 1), n_groups=st.integers(1, 30))
def test_share_is_as_sure_as_its_groups_where_all_of_a_group_are_alike_and_its_queries_where_none_is_grouped(
    seed, n_groups
):
    one_each = np.random.default_rng(seed).integers(0, 2, n_groups).astype(float)
    np.testing.assert_allclose(effective_size(one_each, np.arange(n_groups)), n_groups)
    np.testing.assert_allclose(effective_size(np.repeat(one_each, 4), np.repeat(np.arange(n_groups), 4)), n_groups)


def test_share_of_groups_that_are_half_right_each_is_as_sure_as_all_queries():
    values, groups = np.tile([0.0, 1.0], 50), np.repeat(np.arange(50), 2)
    assert effective_size(values, groups) == 100


def test_share_in_which_some_weigh_more_is_as_sure_as_the_squared_sum_over_the_sum_of_squares():
    weights = np.array([1.0, 1, 1, 1, 4])
    np.testing.assert_allclose(effective_size(np.ones(5), np.arange(5), weights), 8**2 / (4 + 16))


@pytest.mark.parametrize("correlation", [0.05, 0.5, 0.99])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
def test_interval_of_a_share_over_groups_covers_the_truth_as_often_as_it_says(share, correlation):
    rng = np.random.default_rng(0)
    k = (1 - correlation) / correlation  # beta-binomial groups of this intraclass correlation
    groups, n_runs, n_covered = np.repeat(np.arange(40), 5), 400, 0
    for _ in range(n_runs):
        values = (rng.random(200) < rng.beta(share * k, (1 - share) * k, 40)[groups]).astype(float)
        low, high = mean_interval(values, groups)
        n_covered += low <= share <= high
    assert n_covered / n_runs >= 0.92


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_interval_of_equal_values_has_a_width(value):
    low, high = mean_interval(np.full(30, value))
    assert low <= value <= high
    np.testing.assert_allclose((low, high), wilson_interval(value, 30))


def test_interval_of_one_group_has_a_width():
    low, high = mean_interval(np.array([1.0, 0.5, 0.2]), np.zeros(3, dtype=int))
    assert low < 0.2 < 0.5 < 0.9 < high


def test_interval_of_a_score_of_four_is_that_of_its_share():
    np.testing.assert_allclose(mean_interval(np.full(30, 4.0), largest=4), (4 * 0.88649, 4), atol=1e-4)


def test_interval_of_a_mean_of_other_values_is_that_of_the_bootstrap():
    values, groups = np.random.default_rng(0).random(60), np.repeat(np.arange(20), 3)
    assert mean_interval(values, groups, seed=3) == bootstrap_interval(values, groups, seed=3)


def test_interval_of_a_median_may_end_at_a_query_that_found_nothing():
    values = np.array([1.0, 2.0, np.inf])
    low, high = bootstrap_interval(values, of_counts=median_of_counts(values))
    assert (low, high) == (1.0, np.inf)


@given(seed=st.integers(0, 2**32 - 1))
def test_median_of_counts_is_the_median_of_repeated_values(seed):
    rng = np.random.default_rng(seed)
    values, counts = rng.integers(0, 9, 20).astype(float), rng.integers(0, 4, 20)
    counts[0] += 1
    median = median_of_counts(values)(counts.astype(float))
    assert median == np.median(np.repeat(values, counts))


@given(seed=st.integers(0, 2**32 - 1))
def test_interval_is_the_same_for_the_same_seed(seed):
    values = np.random.default_rng(seed).random(30)
    assert bootstrap_interval(values, seed=seed) == bootstrap_interval(values, seed=seed)


def test_interval_of_nothing_is_not_a_number():
    assert np.isnan(bootstrap_interval(np.zeros(0))).all()
    assert np.isnan(mean_interval(np.zeros(0))).all()


def test_p_value_of_six_differences_of_one_sign_is_two_in_sixty_four():
    p = paired_p_value(np.arange(6) + 1.0, np.arange(6.0))
    np.testing.assert_allclose(p, 2 / 64, rtol=0.1)


def test_p_value_is_larger_when_queries_belong_together():
    first = np.repeat([0.9, 0.8, 0.7, 0.2], 10)
    groups = np.repeat(np.arange(4), 10)
    assert paired_p_value(first, np.full(40, 0.5)) < 0.01 < paired_p_value(first, np.full(40, 0.5), groups)


def test_p_values_of_equal_systems_are_spread_evenly():
    rng = np.random.default_rng(0)
    p = [paired_p_value(rng.random(30), rng.random(30), seed=i) for i in range(200)]
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09


def test_holm_multiplies_the_smallest_by_all_and_never_reorders():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


def test_systems_over_other_queries_are_refused():
    with pytest.raises(DimensionError, match="expected the same queries"):
        paired_p_value(np.zeros(3), np.zeros(4))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=11))
def test_p_value_is_that_of_all_signs_there_are(differences):
    first = np.array(differences) / 3
    sums = np.array(list(product([-1, 1], repeat=len(first)))) @ np.array(differences)
    exact = np.mean(np.abs(sums) >= abs(sum(differences)))
    np.testing.assert_allclose(paired_p_value(first, np.zeros(len(first))), exact, atol=0.03)  # 6 standard errors


def test_p_value_of_many_queries_is_that_of_the_normal_law_and_takes_little_memory():
    differences = np.random.default_rng(0).normal(0.01, 1, 20_000)
    z = abs(differences.sum()) / np.sqrt((differences**2).sum())
    tracemalloc.start()
    p = paired_p_value(differences, np.zeros(len(differences)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(p, erfc(z / np.sqrt(2)), atol=0.02)
    assert peak < 10_000_000
