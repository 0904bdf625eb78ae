from __future__ import annotations

import numpy as np
import pytest

from mmsearch.datasets.sets import ClassSet
from mmsearch.evaluation.classify import run_classification
from mmsearch.evaluation.measures import RANKING
from mmsearch.evaluation.metrics.ranks import Qrels, rank_relevant, rank_relevant_of_lists
from mmsearch.evaluation.page import page_of, ties_texts
from mmsearch.evaluation.runs import score_runs
from mmsearch.evaluation.ties import ties_of


def said(ranked):
    return ties_of(ranked, RANKING).to_json(RANKING)


def test_the_ends_are_the_values_if_the_relevant_stood_last_and_first_of_equal_scores():
    scores = np.array([[0.5, 0.5, 0.5, 0.1], [0.9, 0.5, 0.4, 0.4]], dtype=np.float32)
    ties = said(rank_relevant(scores, Qrels.from_lists([[1], [0]])))["ties"]
    assert ties["n_queries"] == 1
    assert ties["ends"]["R@1 (any)"] == [0.5, 1]
    assert ties["ends"]["MRR"] == pytest.approx([(1 / 3 + 1) / 2, 1])
    assert ties["ends"]["median rank"] == [1, 2]
    assert "recall@5" not in ties["ends"]


@pytest.mark.parametrize(
    ("scores", "relevant", "junk"),
    [
        ([0.9, 0.5, 0.5, 0.1], [0], []),  # the wrong ones among themselves
        ([0.9, 0.5, 0.5, 0.1], [1, 2], []),  # the right ones
        ([0.9, 0.5, 0.5, 0.1], [1], [2]),  # with what is out of the ranking
        ([0.9, 0.5, 0.4, 0.1], [1], []),
        ([], [], []),
    ],
)
def test_equal_scores_that_decide_nothing_are_not_counted(scores, relevant, junk):
    row = np.array([scores], dtype=np.float32)
    assert said(rank_relevant(row, Qrels.from_lists([relevant], junk=[junk]))) == {}


def test_relevant_ones_of_another_gain_are_tied_and_those_that_were_not_found_are_not():
    qrels = Qrels.from_lists([[1, 2, 3, 4]], gains=[[1, 3, 1, 2]])
    listed = [np.array([1, 2])]
    ties = said(rank_relevant_of_lists(listed, qrels, scores=[np.array([0.5, 0.5])]))["ties"]
    assert list(ties["ends"]) == ["nDCG@10"]
    assert said(rank_relevant_of_lists(listed, qrels, scores=[np.array([0.5, 0.4])])) == {}


@pytest.fixture
def tied(tmp_path):
    (tmp_path / "qrels").write_text("q1 0 b 1\nq2 0 a 1\n")
    (tmp_path / "run").write_text("q1 Q0 a 1 0.5 x\nq1 Q0 b 2 0.5 x\nq2 Q0 a 1 0.5 x\nq2 Q0 b 2 0.4 x\n")
    return score_runs(tmp_path / "qrels", [tmp_path / "run"])


def test_a_report_says_how_equal_scores_were_ordered_and_what_the_other_order_gives(tied):
    result = tied["results"]["run"]["qrels"]
    assert result["measures"]["R@1 (any)"]["value"] == 0.5
    assert result["ties"]["ends"]["R@1 (any)"] == [0.5, 1]
    (sentence,) = ties_texts(tied)
    assert sentence.startswith(
        "run, qrels: 1 query has a right answer at the score of a wrong one; by their order a"
    )
    assert "R@1 (any) (50.0 to 100.0)" in sentence
    page = page_of(tied)
    assert sentence in page
    assert "Equal scores go to the smaller document name (trec_eval: to the larger)." in page


def test_classes_of_one_name_have_equal_scores(photos, set_encoder):
    named = ClassSet("photos", (photos / "cat.jpg", photos / "fig.jpg"), (1, 0), ("cat", "cat"))
    result = run_classification(named, [set_encoder], {"one": ("{}",)})["results"][set_encoder.encoder.name]["one"]
    assert result["measures"]["top-1"]["value"] == 0.5
    assert result["ties"] == {"n_queries": 2, "ends": {"top-1": [0, 1], "mean per-class recall": [0, 1]}}
