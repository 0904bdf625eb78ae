from __future__ import annotations

import numpy as np
import pytest

from mmsearch.datasets.captions import read_captions
from mmsearch.errors import GroundTruthError, QueryError
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.measures import RANKING, compared, summarised
from mmsearch.evaluation.retrieval import IMAGE_TO_TEXT, TEXT_TO_IMAGE, run_retrieval
from mmsearch.vectors import inner_products


def ranks_by_hand(scores, relevant):
    """The rank of the best relevant one of every query, by sorting."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.array([
        1 + next(i for i, column in enumerate(row) if column in wanted)
        for row, wanted in zip(order, relevant, strict=True)
    ])  # fmt: skip


def test_both_directions_are_measured_from_the_same_cosines(captioned, set_encoder):
    benchmark = read_captions(captioned)
    results = run_retrieval(benchmark, [set_encoder])["results"][set_encoder.encoder.name]
    scores = inner_products(set_encoder.texts(benchmark.texts), set_encoder.pictures(benchmark.pictures)[1])
    forth = ranks_by_hand(scores, benchmark.pictures_of_text)
    back = ranks_by_hand(scores.T, benchmark.texts_of_picture)
    for direction, ranks, n_gallery in ((TEXT_TO_IMAGE, forth, 3), (IMAGE_TO_TEXT, back, 6)):
        result = results[direction]
        assert (result["n_queries"], result["n_gallery"]) == (len(ranks), n_gallery)
        assert result["measures"]["R@1 (any)"]["value"] == np.mean(ranks <= 1)
        assert result["measures"]["median rank"]["value"] == np.median(ranks)
        np.testing.assert_allclose(result["measures"]["MRR"]["value"], np.mean(1 / ranks))


def test_every_measure_has_a_definition_and_lies_in_its_interval(captioned, set_encoder):
    report = run_retrieval(read_captions(captioned), [set_encoder])
    assert list(report["definitions"]) == [measure.name for measure in RANKING]
    for result in report["results"][set_encoder.encoder.name].values():
        assert list(result["measures"]) == list(report["definitions"])
        for value in result["measures"].values():
            assert value["low"] <= value["value"] <= value["high"]


def test_a_picture_that_cannot_be_read_is_named_and_its_texts_are_not_asked(captioned, set_encoder):
    (captioned / "coffee.jpg").write_bytes(b"<html></html>")
    report = run_retrieval(read_captions(captioned), [set_encoder])
    assert [bad["path"] for bad in report["set"]["bad"]] == [str(captioned / "coffee.jpg")]
    results = report["results"][set_encoder.encoder.name]
    assert (results[TEXT_TO_IMAGE]["n_queries"], results[TEXT_TO_IMAGE]["n_gallery"]) == (3, 2)
    assert (results[IMAGE_TO_TEXT]["n_queries"], results[IMAGE_TO_TEXT]["n_gallery"]) == (2, 6)


def test_a_set_without_a_readable_picture_is_refused(captioned, set_encoder):
    for picture in captioned.glob("*.jpg"):
        picture.write_bytes(b"<html></html>")
    with pytest.raises(GroundTruthError, match=r"none of its 3 pictures can be read; the first: .*astronaut"):
        run_retrieval(read_captions(captioned), [set_encoder])


def test_a_model_is_compared_with_another_and_not_with_itself(
    captioned, set_encoder, bench_cache, other_checkpoint, other_folder
):
    encoders = [set_encoder, SetEncoder(str(other_checkpoint), cache=bench_cache)]
    report = run_retrieval(read_captions(captioned), encoders)
    assert len(report["results"]) == 2
    for direction in (TEXT_TO_IMAGE, IMAGE_TO_TEXT):
        results = [report["results"][encoder.encoder.name][direction] for encoder in encoders]
        values = [result["measures"]["mAP"]["value"] for result in results]
        (line,) = [line for line in report["comparisons"][direction] if line["measure"] == "mAP"]
        np.testing.assert_allclose(line["difference"], values[0] - values[1])
        assert 0 < line["p"] <= 1
    with pytest.raises(GroundTruthError, match="was given twice"):
        run_retrieval(read_captions(captioned), [set_encoder, set_encoder])


def test_three_systems_are_compared_pairwise_with_larger_p_values():
    rng = np.random.default_rng(0)
    base = {measure.name: rng.random(60) for measure in RANKING}
    better = {name: values + 0.05 * rng.random(60) for name, values in base.items()}
    two = compared({"a": base, "b": better})
    three = compared({"a": base, "b": better, "c": base})
    names = {(comparison["first"], comparison["second"]) for comparison in three}
    assert names == {("a", "b"), ("a", "c"), ("b", "c")}
    assert all(comparison["p"] < 0.01 for comparison in two)
    assert "median rank" not in {comparison["measure"] for comparison in two}
    p = next(line["p"] for line in three if (line["first"], line["second"]) == ("a", "b"))
    assert p > two[0]["p"]


def test_measures_of_no_queries_are_not_a_number():
    measures = summarised({measure.name: np.zeros(0) for measure in RANKING})
    assert np.isnan(measures["mAP"]["value"])


def test_an_encoder_without_words_is_refused_before_any_picture_is_read(captioned, wordless_encoder, monkeypatch):
    monkeypatch.setattr(SetEncoder, "pictures", lambda self, paths: pytest.fail("pictures were read"))
    with pytest.raises(QueryError, match="golden is an image encoder: it knows no words"):
        run_retrieval(read_captions(captioned), [wordless_encoder])
