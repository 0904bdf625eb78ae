from __future__ import annotations

import time

import numpy as np
import pytest

from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.hnsw import HnswIndex
from mmsearch.indexes.plans import (
    EXACT,
    Ladder,
    Measurement,
    Plan,
    Probes,
    Recall,
    ann_recall_at_k,
    cheapest,
    exact_plan,
    measured_efforts,
    recall_of,
)
from tests.conftest import random_units


class Slow:
    """An index of which every search takes half a millisecond longer."""

    def __init__(self, index):
        self._index = index

    def __getattr__(self, name):
        return getattr(self._index, name)

    def search(self, queries, k, effort=None):
        time.sleep(0.0005)
        return self._index.search(queries, k, effort)


def indexes_over(stored, **options):
    graph = HnswIndex(stored.shape[1], **options)
    graph.build(stored, n_threads=1)
    return graph, ExactIndex(stored)


def test_ann_recall_is_the_share_of_exact_neighbours_found():
    expected = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    found = np.array([[4, 3, 9, 9], [8, 7, 6, 5]])
    assert ann_recall_at_k(found, expected).tolist() == [0.5, 1]
    nothing = np.zeros((2, 0), np.int64)
    assert ann_recall_at_k(nothing, expected).tolist() == [0, 0]
    assert ann_recall_at_k(found, nothing).tolist() == [1, 1]  # there was nothing to be found


# -- three parts of recall -----------------------------------------------------------------------------


def test_recall_has_a_mean_with_its_interval_and_shares_of_queries_that_lose_the_best_and_all():
    expected = np.array([[1, 2], [3, 4], [5, 6], [7, 8]])
    rows = np.array([[2, 1], [9, 4], [9, 0], [7, 9]])  # both; the second best alone; none; the best alone
    # Shares 1, 1/2, 0, 1/2: mean 1/2, standard deviation sqrt(1/6), so 1.96 * .4082 / 2 = .4001 to either side.
    assert recall_of(rows, expected) == Recall(
        mean=0.5, low=0.0999, high=0.9001, best_missed=0.5, none_found=0.25
    )  # fmt: skip


def test_recall_of_one_query_says_nothing_of_others():
    assert recall_of(np.array([[1]]), np.array([[1]])) == Recall(1.0, 0.0, 1.0, 0.0, 0.0)


def test_where_there_is_nothing_to_be_found_nothing_is_lost():
    assert recall_of(np.array([[1], [2]]), np.zeros((2, 0), np.int64)) == Recall(1.0, 1.0, 1.0, 0.0, 0.0)


def test_queries_that_an_index_answers_with_nothing_lose_all():
    recall = recall_of(np.zeros((2, 0), np.int64), np.array([[1, 2], [3, 4]]))
    assert (recall.mean, recall.best_missed, recall.none_found) == (0, 1, 1)


@pytest.mark.parametrize(
    ("recall", "is_enough"),
    [
        (Recall(0.95, 0.94, 0.96, 0.005, 0.0), True),
        (Recall(0.9499, 0.94, 0.96, 0.0, 0.0), False),
        (Recall(0.99, 0.98, 1.0, 0.0051, 0.0), False),
        (Recall(0.99, 0.98, 1.0, 0.0, 0.0005), False),
        (Recall(0.99), False),  # an older version measured the mean alone
    ],
)
def test_recall_is_enough_when_all_three_parts_are(recall, is_enough):
    assert recall.reaches(0.95) == is_enough


# -- the plan that a ladder of efforts gives -----------------------------------------------------------

MEAN_ALONE = (10, Recall(0.97, 0.96, 0.98, 0.02, 0.0), 0.1)
MEAN_AND_BEST = (20, Recall(0.97, 0.96, 0.98, 0.004, 0.001), 0.2)
ALL_THREE = (40, Recall(0.98, 0.97, 0.99, 0.004, 0.0), 0.4)
PERFECT = (80, Recall(1.0, 1.0, 1.0, 0.0, 0.0), 0.8)


@pytest.mark.parametrize(
    ("rungs", "target", "exact_ms", "chosen"),
    [
        ((MEAN_ALONE, MEAN_AND_BEST, ALL_THREE, PERFECT), 0.95, 10.0, ("cells", 40)),
        ((MEAN_ALONE, MEAN_AND_BEST, ALL_THREE, PERFECT), 0.99, 10.0, ("cells", 80)),
        ((MEAN_ALONE, MEAN_AND_BEST, ALL_THREE, PERFECT), 0.95, 3.2, (EXACT, None)),  # no more than 8 times as fast
        ((MEAN_ALONE, MEAN_AND_BEST, ALL_THREE, PERFECT), 0.95, 3.3, ("cells", 40)),
        ((MEAN_ALONE, MEAN_AND_BEST), 0.95, 10.0, (EXACT, None)),
        ((PERFECT,), 0.95, 10.0, ("cells", 80)),
    ],
)
def test_the_plan_is_the_smallest_effort_that_reaches_all_three_parts_much_faster_than_a_scan(
    rungs, target, exact_ms, chosen
):
    plan = Ladder(rungs, exact_ms, 20).plan("cells", target)
    assert (plan.index, plan.effort) == chosen
    assert (plan.measured.target, plan.measured.exact_ms, plan.measured.n_queries) == (target, exact_ms, 20)


def test_a_plan_to_scan_says_what_the_index_reached_with_most_effort():
    effort, recall, ms = MEAN_AND_BEST
    measured = Measurement(effort, recall, 0.95, ms, 1.0, 20)
    assert Ladder((MEAN_ALONE, MEAN_AND_BEST), 1.0, 20).plan("graph", 0.95) == Plan(EXACT, None, measured)


def plan_of(name, rung):
    return Ladder((rung,), 10.0, 20).plan(name, 0.95)


def test_the_cheapest_plan_is_that_of_the_index_that_answers_fastest():
    graph, cells = plan_of("graph", PERFECT), plan_of("cells", ALL_THREE)
    assert cheapest([graph, cells]) is cheapest([cells, graph]) is cells
    assert cheapest([exact_plan(cells.measured), graph]) is graph


def test_where_all_plans_are_to_scan_the_one_of_the_best_recall_is_shown():
    low, high = plan_of("graph", (10, Recall(0.6), 0.1)), plan_of("cells", (10, Recall(0.9), 0.9))
    assert cheapest([low, high]) is high


# -- measuring an index --------------------------------------------------------------------------------


def test_efforts_are_measured_against_the_scan_until_one_finds_nearly_all():
    graph, exact = indexes_over(random_units(2000, 16).astype(np.float16), m=4, ef_construction=20)
    queries = random_units(100, 16, seed=3)
    ladder = measured_efforts(graph, Probes.of(Slow(exact), queries), 1.0)
    assert [effort for effort, _, _ in ladder.efforts] == list(graph.efforts[: len(ladder.efforts)])
    expected = exact.search(queries, 10)[1]
    for effort, recall, ms in ladder.efforts:
        assert recall == recall_of(graph.search(queries, 10, effort)[1], expected)
        assert ms > 0
    assert ladder.n_queries == 100
    assert ladder.exact_ms > 0.5
    assert all(recall.mean < 0.9995 for _, recall, _ in ladder.efforts[:-1])


class Counting(Slow):
    """An index that notes how many queries were asked together with every effort."""

    def __init__(self, index):
        super().__init__(index)
        self.n_asked = {}

    def search(self, queries, k, effort=None):
        if len(queries) > 1:
            self.n_asked[effort] = self.n_asked.get(effort, 0) + len(queries)
        return self._index.search(queries, k, effort)


@pytest.mark.parametrize("target", [0.5, 0.9, 0.99])
def test_few_probes_refuse_an_effort_and_all_probes_accept_one_the_same_that_is_enough_for_all(target):
    graph, exact = indexes_over(random_units(3000, 32).astype(np.float16), m=6, ef_construction=40)
    counting, queries = Counting(graph), random_units(500, 32, seed=3)
    probes = Probes.of(exact, queries)
    ladder = measured_efforts(counting, Probes(queries, probes.expected, exact_ms=1000.0), target)
    whole = [(effort, recall_of(graph.search(queries, 10, effort)[1], probes.expected)) for effort in graph.efforts]
    enough = next(effort for effort, recall in whole if recall.reaches(target))
    assert ladder.plan("graph", target).effort == enough == ladder.efforts[-1][0]
    assert ladder.efforts[-1][1] == dict(whole)[enough]
    assert counting.n_asked[enough] == 500
    assert counting.n_asked[graph.efforts[0]] <= 128
    for effort, recall, _ in ladder.efforts[:-1]:
        assert recall.mean == pytest.approx(dict(whole)[effort].mean, abs=0.1)  # of a fair sample


def test_no_effort_is_tried_once_one_takes_longer_than_the_scan():
    graph, exact = indexes_over(random_units(3000, 64).astype(np.float16), m=2, ef_construction=4)
    ladder = measured_efforts(Slow(graph), Probes.of(exact, random_units(30, 64, seed=3)), 0.5)
    assert [effort for effort, _, _ in ladder.efforts] == [graph.efforts[0]]
    assert ladder.plan("graph", 0.5).index == EXACT


@pytest.mark.parametrize(("is_graph_slow", "chosen"), [(False, ("graph", 16)), (True, (EXACT, None))])
def test_of_an_index_and_a_scan_that_find_all_the_faster_is_chosen(is_graph_slow, chosen):
    graph, exact = indexes_over(random_units(100, 16).astype(np.float16))
    graph, exact = (Slow(graph), exact) if is_graph_slow else (graph, Slow(exact))
    plan = measured_efforts(graph, Probes.of(exact, random_units(20, 16, seed=3)), 1.0).plan("graph", 1.0)
    assert (plan.index, plan.effort) == chosen
    assert (plan.measured.index_ms > 0.5, plan.measured.exact_ms > 0.5) == (is_graph_slow, not is_graph_slow)
