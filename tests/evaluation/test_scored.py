from __future__ import annotations

import numpy as np

from mmsearch.datasets.trec import rank_run, read_qrels, read_run
from mmsearch.evaluation.metrics.average_precision import average_precision
from mmsearch.evaluation.metrics.ranks import Qrels
from mmsearch.evaluation.ranking import Ranking, score
from mmsearch.evaluation.trec_out import TrecWriter

SCORES = np.array([[0.9, 0.1, 0.8, 0.7], [0.2, 0.9, 0.3, 0.4], [0.5, 0.4, 0.3, 0.2]], dtype=np.float32)


def ranking(relevant=((2,), (1,), (3,)), junk=((0,), (), ()), groups=(0, 1, 2)):
    return Ranking(
        [{"text": f"query {i}"} for i in range(3)],
        [{"path": f"/photos/näme {i}.jpg"} for i in range(4)],
        lambda ids: SCORES[ids],
        Qrels.from_lists(relevant, junk=junk),
        np.array(groups),
    )


def test_the_best_of_a_ranking_leave_junk_out():
    best = {query: ids.tolist() for query, ids, _ in ranking().best(2)}
    assert best == {0: [2, 3], 1: [1, 3], 2: [0, 1]}
    assert [len(ids) for _, ids, _ in ranking().best(9)] == [3, 4, 4]


def test_examples_are_the_best_and_the_worst_queries_with_the_wanted_marked():
    examples = score(ranking()).examples
    (worst,) = examples["worst"]
    assert worst["query"] == {"text": "query 2"}
    assert worst["average_precision"] == 0.25
    assert [hit["is_relevant"] for hit in worst["hits"]] == [False, False, False, True]
    assert examples["best"][0]["query"]["text"] in ("query 0", "query 1")
    assert examples["best"][0]["hits"][0]["is_relevant"]


def test_a_wanted_picture_beyond_the_hits_shown_is_named_with_its_rank():
    scores = np.linspace(1, 0, 30, dtype=np.float32)[None]
    far = Ranking(
        [{"text": "q"}], [{"path": str(i)} for i in range(30)], lambda ids: scores[ids],
        Qrels.from_lists([[1, 20]]), np.zeros(1, dtype=np.int64),
    )  # fmt: skip
    (example,) = score(far).examples["worst"]
    assert example["wanted"] == [{"path": "20", "rank": 21}]
    assert example["n_relevant"] == 2


def test_one_query_of_a_group_is_shown():
    examples = score(ranking(groups=(0, 0, 0))).examples
    assert len(examples["best"]) == len(examples["worst"]) == 1


def test_queries_answered_without_fault_are_not_among_the_worst():
    examples = score(ranking(relevant=((0,), (1,), (1,)), junk=((),) * 3)).examples
    assert [example["query"]["text"] for example in examples["worst"]] == ["query 2"]
    examples = score(ranking(relevant=((0,), (1,), (0,)), junk=((),) * 3)).examples
    assert (len(examples["best"]), examples["worst"]) == (1, [])


def test_a_part_of_the_queries_has_their_values():
    part = score(ranking()).of([0, 2])
    assert part.values["MRR"].tolist() == [1, 0.25]
    assert part.to_json(seed=0)["n_queries"] == 2


def test_a_ranking_written_as_a_trec_run_scores_the_same_when_it_is_read(tmp_path):
    original = ranking()
    TrecWriter(tmp_path, depth=4)("ViT-B-32/tag", "text to image", original)
    run = read_run(tmp_path / "text_to_image.ViT-B-32_tag.run")
    ranks = rank_run(run, read_qrels(tmp_path / "text_to_image.qrels"))
    np.testing.assert_allclose(average_precision(ranks.ranked), score(original).values["mAP"])
    assert "/photos/n%C3%A4me%201.jpg" in run["text-0"]


def test_a_picture_asked_twice_has_two_names_in_a_run(tmp_path):
    queries = [{"path": "a.jpg", "box": [0, 0, 1, 1]}, {"path": "a.jpg"}, {"path": "b.jpg"}]
    asked_twice = Ranking(queries, ranking().gallery, ranking().scores, ranking().qrels, np.arange(3))
    TrecWriter(tmp_path, depth=1)("m", "all", asked_twice)
    assert sorted(read_run(tmp_path / "all.m.run")) == ["0:a.jpg", "1:a.jpg", "2:b.jpg"]


def test_intervals_of_a_ranking_without_a_fault_have_a_width():
    one_each = ranking(relevant=((0,), (1,), (0,)), junk=((),) * 3)
    measures = score(one_each).to_json(seed=0)["measures"]
    for name in ("R@1 (any)", "recall@5", "mAP", "MRR", "nDCG@10"):
        assert (measures[name]["value"], measures[name]["high"]) == (1, 1)
        np.testing.assert_allclose(measures[name]["low"], 3 / (3 + 1.96**2), atol=1e-4)
    assert measures["precision@5"]["low"] < 0.2 < measures["precision@5"]["high"]
