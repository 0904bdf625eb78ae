from __future__ import annotations

import numpy as np
import pytest

from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.ground_truth.trec import rank_run, read_qrels, read_run
from mmsearch.evaluation.metrics.average_precision import average_precision
from mmsearch.evaluation.metrics.ranks import UNRANKED

QRELS = "q1 0 a 1\nq1 0 b 0\nq1 0 c 2\nq2 0 a 1\n"
RUN = "q1 Q0 b 1 0.9 x\nq1 Q0 a 2 0.8 x\nq2 Q0 a 1 5 x\n"


@pytest.fixture
def write(tmp_path):
    def written(content, name="file"):
        (tmp_path / name).write_text(content)
        return tmp_path / name

    return written


def test_a_run_is_ranked_by_its_scores_against_qrels(write):
    found = rank_run(read_run(write(RUN)), read_qrels(write(QRELS)))
    assert found.queries == ("q1", "q2")
    assert found.ranked.ranks.tolist() == [2, UNRANKED, 1]
    assert found.ranked.gains.tolist() == [1, 2, 1]
    np.testing.assert_allclose(average_precision(found.ranked), [0.25, 1])


def test_equal_scores_of_a_run_go_to_the_smaller_document():
    found = rank_run({"q": {"b": 1.0, "a": 1.0, "c": 1.0}}, {"q": {"b": 1.0}})
    assert found.ranked.ranks.tolist() == [2]


def test_a_query_that_the_run_does_not_answer_scores_zero():
    found = rank_run({"q1": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"a": 1}})
    assert found.missing == ("q2",)
    assert average_precision(found.ranked).tolist() == [1, 0]


def test_queries_without_ground_truth_are_not_scored():
    found = rank_run({"q1": {"a": 1.0}, "q9": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"a": 0}})
    assert (found.queries, found.extra, found.without_relevant) == (("q1",), ("q9",), ("q2",))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty; expected lines of query Q0 document rank score tag"),
        ("q1 Q0 a 1 0.5\n", "line 1: has 5 columns, expected 6: query Q0 document rank score tag"),
        ("q1 Q0 a 1 0.5 x\nq1 Q0 a 2 0.4 x\n", "line 2: document 'a' comes a second time for query 'q1'"),
        ("q1 Q0 a 1 nan x\n", "line 1: score is 'nan', expected a number"),
        ("q1 Q0 a 1 high x\n", "line 1: score is 'high', expected a number"),
    ],
)
def test_what_is_wrong_with_a_run_is_named(write, content, sentence):
    with pytest.raises(GroundTruthError, match=sentence):
        read_run(write(content))


def test_run_and_qrels_of_other_sets_are_refused():
    with pytest.raises(GroundTruthError, match="share no query; the run answers 'x', the qrels judge 'y'"):
        rank_run({"x": {"a": 1.0}}, {"y": {"a": 1.0}})
