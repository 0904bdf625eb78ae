from __future__ import annotations

import json

import pytest

from mmsearch.datasets.instances import read_instances
from mmsearch.datasets.sets import GROUPS_OF_FOUR, RANKING
from mmsearch.errors import GroundTruthError

NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / f"{name}.jpg").write_bytes(b"x")
    return tmp_path


def written(folder, whole):
    file = folder / "set.json"
    file.write_text(json.dumps(whole))
    return file


def as_lines(folder, database, queries):
    (folder / "database.jsonl").write_text("\n".join(map(json.dumps, database)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    return folder


GALLERY = ["a.jpg", "b.jpg", "c.jpg"]


def test_gallery_and_queries_are_read_with_junk_and_boxes(folder):
    queries = [
        {"image": "d.jpg", "relevant": ["b.jpg", "a.jpg"], "junk": ["c.jpg"], "box": [1, 2, 3, 4.5]},
        {"image": "e.jpg", "relevant": []},
    ]
    instances = read_instances(written(folder, {"gallery": GALLERY, "queries": queries}))
    assert [path.name for path in instances.gallery] == GALLERY
    assert [path.name for path in instances.queries] == ["d.jpg", "e.jpg"]
    assert instances.boxes == ((1, 2, 3, 4.5), None)
    assert instances.tasks["all"].relevant == ((1, 0), ())
    assert instances.tasks["all"].junk == ((2,), ())
    assert instances.protocol == RANKING


def test_a_query_of_the_gallery_is_junk_for_itself_unless_it_is_named(folder):
    queries = [{"image": "a.jpg", "relevant": ["b.jpg"]}, {"image": "b.jpg", "relevant": ["b.jpg", "c.jpg"]}]
    instances = read_instances(written(folder, {"gallery": GALLERY, "queries": queries}))
    assert instances.tasks["all"].junk == ((0,), ())


def test_lines_with_ids_are_read_and_parted_by_a_field(folder):
    database = [{"id": 7, "image": "a.jpg"}, {"id": "x", "image": "b.jpg"}]
    queries = [
        {"query": "c.jpg", "relevant": [7], "camera": "canon"},
        {"query": "d.jpg", "relevant": ["x"], "camera": "palm"},
        {"query": "e.jpg", "relevant": ["7"], "camera": "canon"},
    ]
    instances = read_instances(as_lines(folder, database, queries), by="camera")
    assert instances.tasks["all"].relevant == ((0,), (1,), (0,))
    assert instances.parts == {"camera=canon": (0, 2), "camera=palm": (1,)}
    assert instances.name == folder.name


def test_pictures_of_a_group_ask_for_the_others(folder):
    instances = read_instances(
        written(folder, {"groups": [["a.jpg", "b.jpg", "c.jpg", "d.jpg"]], "distractors": ["e.jpg"]})
    )
    assert instances.protocol == GROUPS_OF_FOUR
    assert (len(instances.queries), len(instances.gallery)) == (4, 5)
    assert instances.tasks["all"].relevant[1] == (0, 2, 3)
    assert instances.tasks["all"].junk[1] == (1,)


def test_groups_of_other_sizes_have_no_ns_score(folder):
    instances = read_instances(written(folder, {"groups": [["a.jpg", "b.jpg"], ["c.jpg"]]}))
    assert instances.protocol == RANKING
    assert instances.tasks["all"].relevant == ((1,), (0,), ())


def test_pictures_of_a_class_ask_for_the_others(tmp_path):
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    instances = read_instances(tmp_path)
    assert instances.tasks["all"].relevant == ((1,), (0,), ())


@pytest.mark.parametrize(
    ("whole", "sentence"),
    [
        ({"gallery": GALLERY}, "has no field 'queries'; found gallery"),
        ({"queries": []}, "has no field 'gallery'; found queries"),
        ({"gallery": GALLERY, "queries": []}, "there are no queries in it"),
        ({"gallery": [1], "queries": []}, "gallery: is \\[1\\], expected a list of names"),
        ({"gallery": ["a.jpg", "a.jpg"], "queries": []}, "'a.jpg' comes a second time"),
        (
            {"gallery": ["lost.jpg"], "queries": [{"image": "a.jpg", "relevant": []}]},
            "1 of 2 pictures are not on disk",
        ),
        ({"gallery": GALLERY, "queries": [{"relevant": []}]}, "query 0: has no field 'image'"),
        ({"gallery": GALLERY, "queries": [{"image": "d.jpg"}]}, "query 0: has no field 'relevant'"),
        (
            {"gallery": GALLERY, "queries": [{"image": "d.jpg", "relevant": ["z"]}]},
            "relevant names 'z', which is not in",
        ),
        (
            {"gallery": GALLERY, "queries": [{"image": "d.jpg", "relevant": ["a.jpg"] * 2}]},
            "names one picture twice",
        ),
        (
            {"gallery": GALLERY, "queries": [{"image": "d.jpg", "relevant": ["a.jpg"], "junk": ["a.jpg"]}]},
            "gallery picture 0 is both relevant and junk",
        ),
        (
            {"gallery": GALLERY, "queries": [{"image": "d.jpg", "relevant": [], "box": [3, 0, 1, 9]}]},
            "box is \\[3, 0, 1, 9\\], expected",
        ),
        *(
            (
                {"gallery": GALLERY, "queries": [{"image": "d.jpg", "relevant": [], "box": [0, 0, 1, bottom]}]},
                f"box is \\[0, 0, 1, {str(bottom)[:20]}.*, expected numbers",
            )
            for bottom in (10**4000, float("inf"), float("nan"), True)
        ),
        ({"groups": [["a.jpg", "a.jpg"]]}, "picture 'a.jpg' comes a second time"),
        ({"groups": [["a.jpg"], ["b.jpg"]]}, "no picture has another of its group"),
        ({"groups": "abc"}, "field 'groups' is str, expected list"),
        ([], "has no field 'gallery'; found list"),
    ],
)
def test_what_is_wrong_with_a_set_is_said(folder, whole, sentence):
    with pytest.raises(GroundTruthError, match=sentence):
        read_instances(written(folder, whole))


def test_a_field_to_part_by_must_be_there(folder):
    entry = {"image": "d.jpg", "relevant": ["a.jpg"]}
    with pytest.raises(GroundTruthError, match="query 0: has no field 'camera'; found image, relevant"):
        read_instances(written(folder, {"gallery": GALLERY, "queries": [entry]}), by="camera")


def test_a_file_that_is_not_json_is_named_with_its_line(folder):
    (folder / "set.json").write_text('{"gallery":\n oops')
    with pytest.raises(GroundTruthError, match=r"set\.json, line 2: is not JSON"):
        read_instances(folder / "set.json")


def test_a_picture_under_two_ids_is_refused_and_dots_change_no_name(folder):
    database = [{"id": 1, "image": "a.jpg"}, {"id": 2, "image": "./a.jpg"}]
    with pytest.raises(GroundTruthError, match="comes a second time, under another id"):
        read_instances(as_lines(folder, database, [{"query": "b.jpg", "relevant": [1]}]))
    instances = read_instances(as_lines(folder, database[1:], [{"query": "a.jpg", "relevant": []}]))
    assert instances.tasks["all"].junk == ((0,),)


def test_groups_have_no_fields_to_part_by(folder):
    with pytest.raises(GroundTruthError, match="groups and classes have no field 'camera'"):
        read_instances(written(folder, {"groups": [["a.jpg", "b.jpg"]]}), by="camera")


def test_a_part_is_never_called_as_a_task_is(folder):
    queries = [{"image": "d.jpg", "relevant": ["a.jpg"], "kind": "all"}]
    instances = read_instances(written(folder, {"gallery": GALLERY, "queries": queries}), by="kind")
    assert (list(instances.tasks), list(instances.parts)) == (["all"], ["kind=all"])


SPELLINGS = ("a.jpg", "./a.jpg", "x/../a.jpg", "x//../a.jpg", "{folder}/a.jpg", "{folder}/x/../a.jpg")


@pytest.fixture(params=SPELLINGS)
def spelled(request, folder):
    """One of the ways to write the name of the first picture."""
    return request.param.format(folder=folder)


def test_a_picture_is_the_same_however_its_name_is_written(folder, spelled):
    queries = [
        {"image": spelled, "relevant": ["b.jpg"]},
        {"image": "b.jpg", "relevant": [spelled], "junk": ["x/../b.jpg"]},
        {"image": "d.jpg", "relevant": ["b.jpg"], "junk": [spelled]},
    ]
    instances = read_instances(written(folder, {"gallery": GALLERY, "queries": queries}))
    assert instances.queries[0] == instances.gallery[0] == folder / "a.jpg"
    assert instances.tasks["all"].relevant == ((1,), (0,), (1,))
    assert instances.tasks["all"].junk == ((0,), (1,), (0,))


def test_a_picture_written_in_two_ways_is_refused_as_one_that_comes_twice(folder, spelled):
    entry = {"image": "d.jpg", "relevant": ["a.jpg", spelled]}
    for whole, sentence in (
        ({"gallery": ["a.jpg", spelled], "queries": []}, "gallery 1: .* comes a second time"),
        ({"gallery": GALLERY, "queries": [entry]}, "query 0: relevant names one picture twice"),
        ({"groups": [["a.jpg", "b.jpg"], ["c.jpg", spelled]]}, "comes a second time; expected every one in one"),
        ({"groups": [["a.jpg", "b.jpg"]], "distractors": [spelled]}, "comes a second time; expected every one in"),
    ):
        with pytest.raises(GroundTruthError, match=sentence):
            read_instances(written(folder, whole))


def test_ids_that_look_like_names_stay_as_they_are(folder):
    database = [{"id": "x/../y", "image": "a.jpg"}, {"id": "y", "image": "b.jpg"}]
    instances = read_instances(as_lines(folder, database, [{"query": "x/../a.jpg", "relevant": ["y"]}]))
    assert (instances.tasks["all"].relevant, instances.tasks["all"].junk) == (((1,),), ((0,),))


@pytest.mark.parametrize("name", ["../own.jpg", "x/../../own.jpg", "{folder}/../own.jpg", "/own.jpg"])
@pytest.mark.parametrize(
    "whole",
    [
        lambda name: {"gallery": ["a.jpg", name], "queries": []},
        lambda name: {"gallery": GALLERY, "queries": [{"image": name, "relevant": []}]},
        lambda name: {"groups": [["a.jpg", name]]},
    ],
    ids=["gallery", "query", "group"],
)
def test_a_set_must_not_choose_among_pictures_outside_of_its_folder(folder, whole, name):
    name = name.format(folder=folder)
    with pytest.raises(GroundTruthError, match=r"own\.jpg' lies outside of .*; expected a picture in that folder"):
        read_instances(written(folder, whole(name)))


def test_pictures_are_in_the_folder_that_is_named_for_them(folder, tmp_path_factory):
    file = written(tmp_path_factory.mktemp("elsewhere"), {"groups": [["x/../a.jpg", f"{folder}/b.jpg"]]})
    assert read_instances(file, images=folder).gallery == (folder / "a.jpg", folder / "b.jpg")
