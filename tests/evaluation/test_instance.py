from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmsearch.datasets.sets import GROUPS_OF_FOUR, REVISITED, InstanceSet, Task
from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.instance import _groups, run_instance
from mmsearch.evaluation.local import LocalOptions
from mmsearch.evaluation.metrics.instance import ns_score
from mmsearch.evaluation.metrics.ranks import Qrels, rank_relevant
from mmsearch.evaluation.metrics.uncertainty import wilson_interval
from mmsearch.samples import sample_folder
from mmsearch.vectors import inner_products

NAMES = ("astronaut", "cat", "coffee", "creek", "dam", "fig")


@pytest.fixture
def gallery(photos):
    return tuple(photos / f"{name}.jpg" for name in NAMES)


def instance_set(gallery, queries, relevant, junk=None, **fields):
    junk = junk or ((),) * len(queries)
    fields = {"boxes": (None,) * len(queries), "tasks": {"all": Task(relevant, junk)}, "parts": {}, **fields}
    return InstanceSet("photos", gallery, queries, **fields)


def results(benchmark, encoder, **options):
    return run_instance(benchmark, [encoder], **options)["results"][encoder.encoder.name]


def test_measures_are_those_of_the_cosines_without_junk(gallery, set_encoder):
    benchmark = instance_set(gallery, gallery[:2], ((3, 4), (2,)), ((0,), (1, 5)))
    result = results(benchmark, set_encoder)["all"]
    vectors = set_encoder.pictures(gallery)[1]
    expected = []
    for query, (relevant, junk) in enumerate((((3, 4), (0,)), ((2,), (1, 5)))):
        order = [i for i in np.argsort(-inner_products(vectors[query : query + 1], vectors)[0]) if i not in junk]
        ranks = sorted(order.index(i) + 1 for i in relevant)
        expected.append(np.mean([(i + 1) / rank for i, rank in enumerate(ranks)]))
    np.testing.assert_allclose(result["measures"]["mAP"]["value"], np.mean(expected))
    assert (result["n_queries"], result["n_gallery"]) == (2, 6)


def test_a_part_of_a_picture_is_asked_as_if_it_were_a_file(gallery, set_encoder, tmp_path):
    box = (20, 30, 120, 110)
    with Image.open(gallery[1]) as image:
        image.crop(box).save(tmp_path / "part.png")
    whole = instance_set(gallery, (tmp_path / "part.png",), ((1,),))
    part = instance_set(gallery, (gallery[1],), ((1,),), boxes=(box,))
    result, expected = results(part, set_encoder)["all"], results(whole, set_encoder)["all"]
    assert result["measures"] == expected["measures"]
    assert result["examples"]["best"][0]["query"] == {"path": str(gallery[1]), "box": list(box)}
    scores = [hit["score"] for hit in result["examples"]["best"][0]["hits"]]
    assert scores == [hit["score"] for hit in expected["examples"]["best"][0]["hits"]]


def test_a_box_outside_of_its_picture_is_named_and_not_asked(gallery, set_encoder):
    benchmark = instance_set(gallery, gallery[:2], ((3,), (4,)), boxes=((9000, 0, 9100, 50), None))
    report = run_instance(benchmark, [set_encoder])
    assert [bad["path"] for bad in report["set"]["bad"]] == [str(gallery[0])]
    assert report["results"][set_encoder.encoder.name]["all"]["n_queries"] == 1


def test_queries_without_relevant_pictures_are_skipped_scored_zero_or_refused(gallery, set_encoder):
    benchmark = instance_set(gallery, gallery[:2], ((0,), ()))
    skipped = results(benchmark, set_encoder)["all"]
    zero = results(benchmark, set_encoder, without_relevant="zero")["all"]
    assert (skipped["n_queries"], skipped["n_without_relevant"], skipped["measures"]["mAP"]["value"]) == (1, 1, 1)
    assert (zero["n_queries"], zero["n_without_relevant"], zero["measures"]["mAP"]["value"]) == (2, 1, 0.5)
    with pytest.raises(GroundTruthError, match="1 of 2 queries have no relevant picture, the first is query 1"):
        results(benchmark, set_encoder, without_relevant="error")


def test_a_picture_that_cannot_be_read_leaves_the_gallery_and_is_not_asked(gallery, set_encoder):
    gallery[2].write_bytes(b"<html></html>")
    benchmark = instance_set(gallery, gallery[1:3], ((2, 3), (3,)))
    report = run_instance(benchmark, [set_encoder])
    assert [bad["path"] for bad in report["set"]["bad"]] == [str(gallery[2])]
    result = report["results"][set_encoder.encoder.name]["all"]
    assert (result["n_queries"], result["n_gallery"]) == (1, 5)


def test_parts_of_the_queries_are_also_measured_apart(gallery, set_encoder):
    benchmark = instance_set(gallery, gallery[:4], ((0,), (1,), (5,), (3,)), parts={"x": (0, 2), "y": (1, 3)})
    by_part = results(benchmark, set_encoder)
    assert list(by_part) == ["all", "x", "y"]
    values = [by_part[part]["measures"]["mAP"]["value"] for part in by_part]
    assert values[2] == 1
    np.testing.assert_allclose(values[0], (values[1] + values[2]) / 2)


def test_revisited_sets_are_measured_by_their_own_protocol(gallery, set_encoder):
    tasks = {"easy": Task(((0,),), ((1, 2),)), "medium": Task(((0, 1),), ((2,),)), "hard": Task(((1,),), ((0, 2),))}
    report = run_instance(instance_set(gallery, gallery[:1], ((),), tasks=tasks, protocol=REVISITED), [set_encoder])
    parts = report["results"][set_encoder.encoder.name]
    assert list(parts) == ["easy", "medium", "hard"]
    assert (
        list(parts["easy"]["measures"]) == ["mAP (trapezoidal)", "mP@1", "mP@5", "mP@10"] == list(report["scales"])
    )
    assert parts["easy"]["measures"]["mAP (trapezoidal)"]["value"] == 1  # the query itself


def test_groups_of_four_have_an_ns_score_that_counts_the_query(gallery, set_encoder):
    relevant = ((1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2))
    junk = ((0,), (1,), (2,), (3,))
    parts = results(instance_set(gallery, gallery[:4], relevant, junk, protocol=GROUPS_OF_FOUR), set_encoder)
    vectors = set_encoder.pictures(gallery)[1]
    ranked = rank_relevant(inner_products(vectors[:4], vectors), Qrels.from_lists([[0, 1, 2, 3]] * 4))
    assert parts["all"]["measures"]["N-S score"]["value"] == ns_score(ranked).mean() >= 1


def test_queries_that_ask_for_the_same_pictures_are_as_sure_as_one(gallery, set_encoder):
    alone, together = (
        results(instance_set(gallery, gallery[:3], relevant), set_encoder)["all"]["measures"]["MRR"]
        for relevant in (((3,), (4,), (5,)), ((5,), (5,), (5,)))
    )
    assert alone["low"] < alone["high"]
    assert (together["low"], together["high"]) == pytest.approx(wilson_interval(together["value"], 1))


def test_pictures_of_one_thing_are_one_group_though_none_is_relevant_to_itself():
    assert _groups([[1, 0], [0, 1], [3, 2], [2, 3]]).tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
    assert len(set(_groups([[0, 1], [1, 2], [2, 3]]))) == 1  # through others
    assert len(set(_groups([[], [], [5]]))) == 3


def test_parts_and_tasks_in_which_nothing_can_be_asked_are_left_out_and_named(gallery, set_encoder):
    tasks = {"easy": Task(((), ()), ((), ())), "hard": Task(((1,), ()), ((), ()))}
    benchmark = instance_set(gallery, gallery[:2], ((),), tasks=tasks, parts={"x": (0,), "y": (1,)})
    report = run_instance(benchmark, [set_encoder])
    assert list(report["results"][set_encoder.encoder.name]) == ["hard", "x"]
    assert report["set"]["without_queries"] == ["easy", "y"]


def test_a_set_in_which_nothing_can_be_asked_is_refused(gallery, set_encoder):
    with pytest.raises(GroundTruthError, match="no query that can be read has a relevant picture"):
        results(instance_set(gallery, gallery[:1], ((),)), set_encoder)
    gallery[0].write_bytes(b"")
    with pytest.raises(GroundTruthError, match=r"no query or no gallery picture can be read; .*astronaut"):
        results(instance_set(gallery, gallery[:1], ((1,),)), set_encoder)


@pytest.mark.full
def test_with_local_features_every_encoder_is_also_reranked_and_words_stand_alone(photos, set_encoder, tmp_path):
    pictures = sorted(sample_folder().glob("*.jpg"))[:12]
    with Image.open(pictures[0]) as whole:
        side = min(whole.size)
        whole.convert("RGB").crop((0, 0, side, side)).rotate(90).save(tmp_path / "turned.png")
    benchmark = instance_set(tuple(pictures), (tmp_path / "turned.png",), ((0,),))
    systems = run_instance(benchmark, [set_encoder], local=LocalOptions())["results"]
    name = set_encoder.encoder.name
    assert list(systems) == [name, f"{name} + local", "visual words"]
    for system in (f"{name} + local", "visual words"):
        assert systems[system]["all"]["measures"]["R@1 (any)"]["value"] == 1
    assert systems["visual words"]["all"]["examples"]["best"][0]["hits"][0]["path"] == str(pictures[0])
