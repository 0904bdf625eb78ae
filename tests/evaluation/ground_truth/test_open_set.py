from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mmsearch.datasets.open_set import (
    SetOptions,
    open_captions,
    open_captions_or_classes,
    open_classes,
    open_instances,
)
from mmsearch.datasets.sets import RANKING, REVISITED, CaptionSet, ClassSet
from mmsearch.errors import GroundTruthError


@pytest.fixture
def options(tmp_path):
    return SetOptions(tmp_path / "cache")


def parquet(folder, rows):
    """Write rows with pictures as the datasets library does."""
    from datasets import Dataset, Image

    folder.mkdir(exist_ok=True)
    names = {name for row in rows for name in row}
    dataset = Dataset.from_dict({name: [row[name] for row in rows] for name in names})
    dataset.cast_column("image", Image()).to_parquet(folder / "test.parquet")
    return folder


def test_a_set_of_captions_is_known_by_its_files(photos, options, tmp_path):
    rows = [
        {"image": str(photos / "cat.jpg"), "caption": "a cat"},
        {"image": str(photos / "fig.jpg"), "caption": "a fig"},
    ]
    captions_read = open_captions(str(parquet(tmp_path / "set", rows)), replace(options, images=photos))
    assert captions_read.texts == ("a cat", "a fig")
    assert "image, caption" in captions_read.name
    (photos / "captions.jsonl").write_text(json.dumps({"image": "cat.jpg", "captions": ["own"]}))
    (photos / "metadata.csv").write_text("file_name,text\ncat.jpg,other\n")
    assert open_captions(str(photos), options).texts == ("own",)  # our own form goes first


def test_a_set_of_classes_is_known_by_its_files(photos, options, tmp_path):
    rows = [{"image": str(photos / "cat.jpg"), "label": "cat"}, {"image": str(photos / "fig.jpg"), "label": "fig"}]
    parquet(photos / "set", rows)
    (photos / "set" / "test.parquet").rename(photos / "set.parquet")
    assert open_classes(str(photos / "set.parquet"), options).class_names == ("cat", "fig")
    for name in ("cat", "fig"):
        (tmp_path / "own" / "test" / name).mkdir(parents=True)
        (photos / f"{name}.jpg").rename(tmp_path / "own" / "test" / name / "1.jpg")
    assert open_classes(str(tmp_path / "own" / "test"), options).class_names == ("cat", "fig")
    split = SetOptions(options.cache, split="test")
    assert open_classes(str(tmp_path / "own"), split).class_names == ("cat", "fig")


def test_whether_a_set_has_captions_or_classes_is_known_by_its_files(photos, options, splits):
    rows = [{"image": str(photos / name), "caption": name, "label": name[0]} for name in ("cat.jpg", "fig.jpg")]
    parquet(photos / "table", rows)
    (photos / "table" / "test.parquet").rename(photos / "table.parquet")
    table = str(photos / "table.parquet")
    assert isinstance(open_captions_or_classes(str(splits / "val"), options), ClassSet)
    assert isinstance(open_captions_or_classes(table, options), CaptionSet)
    labelled = open_captions_or_classes(table, options, label_column="label")
    assert isinstance(labelled, ClassSet)
    assert labelled.class_names == ("c", "f")
    named = open_captions_or_classes(table, options, is_by_caption=True)
    assert isinstance(named, ClassSet)
    assert named.class_names == ("cat.jpg", "fig.jpg")


def test_equal_captions_of_a_set_are_one(photos, options):
    lines = [{"image": name, "captions": ["a thing"]} for name in ("cat.jpg", "fig.jpg")]
    (photos / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert open_captions_or_classes(str(photos), options).pictures_of_text == ((0, 1),)
    with pytest.raises(GroundTruthError, match="all captions are 'a thing'; expected two or more"):
        open_captions_or_classes(str(photos), options, is_by_caption=True)


@pytest.fixture
def splits(tmp_path):
    """A folder with two splits of folders of classes."""
    for name in ("train/cat/1.jpg", "val/small_cat/2019/2.jpg", "val/small_cat/3.jpg", "val/dog/4.jpg"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(b"x")
    return tmp_path / "set"


@pytest.mark.parametrize("split", ["val", "validation"])
def test_a_split_of_folders_of_classes_is_read_where_it_is(splits, options, split):
    classes_read = open_classes(str(splits), replace(options, split=split))
    assert classes_read.name == f"set ({split})"
    assert classes_read.class_names == ("dog", "small cat")
    assert classes_read.pictures == tuple(
        splits / "val" / name for name in ("dog/4.jpg", "small_cat/3.jpg", "small_cat/2019/2.jpg")
    )
    assert classes_read.truth == (0, 1, 1)


def test_what_is_wrong_with_a_split_is_named(splits, options):
    with pytest.raises(GroundTruthError, match="has no folder of a split 'test'; found train, val"):
        open_classes(str(splits), replace(options, split="test"))
    with pytest.raises(GroundTruthError, match="columns cannot be named for labels"):
        open_classes(str(splits), replace(options, split="val", columns=(None, "label")))


def test_a_set_of_instances_is_known_by_its_name(photos, options):
    whole = {
        "imlist": ["cat", "fig"],
        "qimlist": ["dam"],
        "gnd": [{"bbx": [0, 0, 50, 50], "easy": [0], "hard": [1], "junk": []}],
    }
    (photos / "gnd_mine.json").write_text(json.dumps(whole))
    assert open_instances(str(photos / "gnd_mine.json"), options).protocol == REVISITED
    (photos / "mine.json").write_text(json.dumps({"groups": [["cat.jpg", "fig.jpg"]]}))
    assert open_instances(str(photos / "mine.json"), options).protocol == RANKING


@pytest.mark.parametrize("read", [open_captions, open_classes, open_instances])
def test_a_name_that_no_file_can_have_is_no_set(read, options):
    with pytest.raises(GroundTruthError, match="is the name of no set"):
        read("x" * 300, options)


def test_revisited_sets_have_no_fields_to_part_by(photos, options):
    (photos / "gnd_mine.json").write_text("{}")
    with pytest.raises(GroundTruthError, match="its queries have no field 'camera'"):
        open_instances(str(photos / "gnd_mine.json"), options, by="camera")


@pytest.fixture
def two_folders(tmp_path):
    """A folder with two folders of pictures, which is a set of classes if it has nothing else."""
    for name in ("cat/1.jpg", "cat/2.jpg", "fig/1.jpg"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(b"x")
    return tmp_path / "set"


@pytest.mark.parametrize("read", [open_classes, open_instances])
def test_folders_of_pictures_beside_captions_are_no_classes(two_folders, options, read):
    assert read(str(two_folders), options).name == "set"
    (two_folders / "captions.jsonl").write_text(json.dumps({"image": "cat/1.jpg", "captions": ["a cat"]}))
    with pytest.raises(GroundTruthError, match=r"has captions\.jsonl: .* `bench retrieval`; .* labels\.csv"):
        read(str(two_folders), options)
    (two_folders / "labels.csv").write_text("image,class_name\ncat/1.jpg,cat\ncat/2.jpg,cat\nfig/1.jpg,fig\n")
    assert read(str(two_folders), options).name == "set"


@pytest.mark.parametrize(("file", "other"), [("database", "queries"), ("queries", "database")])
def test_folders_of_pictures_beside_half_an_instance_set_are_no_classes(two_folders, options, file, other):
    (two_folders / f"{file}.jsonl").write_text(json.dumps({"id": 1, "image": "cat/1.jpg"}))
    with pytest.raises(GroundTruthError, match=rf"{other}\.jsonl: cannot be read"):
        open_instances(str(two_folders), options)
    with pytest.raises(GroundTruthError, match=rf"has {file}\.jsonl: .* `bench instance`"):
        open_classes(str(two_folders), options)


@pytest.mark.parametrize("file", ["metadata.csv", "state.json", "set.parquet"])
def test_a_set_of_the_datasets_library_is_no_instance_set(two_folders, options, file):
    (two_folders / file).write_text("file_name,text\ncat/1.jpg,a cat\n")
    for source in (str(two_folders), "hf:owner/name"):
        with pytest.raises(GroundTruthError, match=r"of `datasets`, .* `bench retrieval` .* `bench classify`"):
            open_instances(source, options)
