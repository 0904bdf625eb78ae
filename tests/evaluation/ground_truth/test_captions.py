from __future__ import annotations

import json

import pytest

from mmsearch.datasets.captions import read_captions
from mmsearch.errors import GroundTruthError

NAMES = ["one.jpg", "two.jpg", "three.jpg"]


@pytest.fixture
def folder(tmp_path):
    """A folder with three pictures in `images/`; readers of ground truth never open them."""
    (tmp_path / "images").mkdir()
    for name in NAMES:
        (tmp_path / "images" / name).write_bytes(b"")
    return tmp_path


def write(folder, name, content):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def write_jsonl(folder, *entries):
    return write(folder, "captions.jsonl", "\n".join(json.dumps(entry) for entry in entries))


COCO = {
    "images": [{"id": 7, "file_name": "one.jpg"}, {"id": 5, "file_name": "two.jpg"}],
    "annotations": [
        {"image_id": 5, "caption": "two again"},
        {"image_id": 7, "caption": "first"},
        {"image_id": 5, "caption": "second"},
    ],
}
KARPATHY = {
    "images": [
        {"filename": "one.jpg", "split": "test", "sentences": [{"raw": "first"}]},
        {"filename": "two.jpg", "split": "train", "sentences": [{"raw": "not asked"}]},
        {"filename": "three.jpg", "split": "test", "sentences": [{"raw": "third"}, {"raw": "and more"}]},
    ]
}
TOKENS = "one.jpg#0\tfirst\none.jpg#1\tagain\ntwo.jpg#0\tsecond\n"


def test_a_folder_of_captions_is_read_in_its_order(folder):
    write_jsonl(
        folder,
        {"image": "images/two.jpg", "captions": ["second ", "again"]},
        {"image": "images/one.jpg", "captions": ["first"]},
    )
    captions_read = read_captions(folder)
    assert captions_read.pictures == (folder / "images/two.jpg", folder / "images/one.jpg")
    assert captions_read.texts == ("second", "again", "first")
    assert captions_read.pictures_of_text == ((0,), (0,), (1,))
    assert captions_read.texts_of_picture == [[0, 1], [2]]


def test_texts_in_other_languages_are_those_of_their_pictures(folder):
    write_jsonl(
        folder,
        {"image": "images/two.jpg", "captions": ["second"]},
        {"image": "images/one.jpg", "captions": ["first"], "translations": {"fr": " premier ", "de": ""}},
    )
    assert read_captions(folder).translations == ({}, {"fr": "premier"})
    write_jsonl(folder, {"image": "images/one.jpg", "captions": ["first"]})
    assert read_captions(folder).translations == ()


def test_coco_captions_belong_to_the_image_of_their_id(folder):
    captions_read = read_captions(write(folder, "captions_val2017.json", COCO))
    assert [path.name for path in captions_read.pictures] == ["one.jpg", "two.jpg"]
    assert captions_read.texts == ("first", "two again", "second")


def test_a_karpathy_file_gives_the_split_asked_for(folder):
    captions_read = read_captions(write(folder, "dataset.json", KARPATHY), split="test")
    assert captions_read.name == "dataset (test)"
    assert [path.name for path in captions_read.pictures] == ["one.jpg", "three.jpg"]
    assert captions_read.texts == ("first", "third", "and more")


@pytest.mark.parametrize(
    "content",
    [
        TOKENS,
        "image,caption\none.jpg,first\none.jpg,again\ntwo.jpg,second\n",
        "image_name| comment_number| comment\none.jpg| 0| first\none.jpg| 1| again\ntwo.jpg| 0| second\n",
    ],
    ids=["Flickr8k.token", "table", "Flickr30k results"],
)
def test_token_files_of_flickr_are_read(folder, content):
    captions_read = read_captions(write(folder, "Flickr8k.token.txt", content))
    assert [path.name for path in captions_read.pictures] == ["one.jpg", "two.jpg"]
    assert captions_read.texts == ("first", "again", "second")


def test_a_split_file_keeps_the_pictures_it_names(folder):
    split = write(folder, "Flickr_8k.testImages.txt", "two.jpg\n")
    captions_read = read_captions(write(folder, "t.txt", TOKENS), split=str(split))
    assert captions_read.texts == ("second",)


def test_pictures_may_lie_in_a_folder_that_is_named(folder, tmp_path_factory):
    file = write(tmp_path_factory.mktemp("elsewhere"), "t.txt", TOKENS)
    assert len(read_captions(file, images=folder / "images").pictures) == 2


def test_equal_captions_are_queries_of_their_own_unless_merged(folder):
    write_jsonl(
        folder,
        {"image": "images/one.jpg", "captions": ["a flower", "red", "red"]},
        {"image": "images/two.jpg", "captions": ["a flower"]},
    )
    apart, merged = read_captions(folder), read_captions(folder, is_merging=True)
    assert apart.texts == ("a flower", "red", "red", "a flower")
    assert apart.n_repeated_texts == 2
    assert merged.texts == ("a flower", "red")
    assert merged.pictures_of_text == ((0, 1), (0,))
    assert merged.texts_of_picture == [[0, 1], [0]]


GOOD = {"image": "images/one.jpg", "captions": ["a"]}


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([], "no pictures in it"),
        ([{"images": "one.jpg", "captions": ["a"]}], "line 1: has no field 'image'; found images, captions"),
        ([GOOD, {"image": "images/two.jpg"}], "line 2: has no field 'captions'"),
        ([{"image": "images/one.jpg", "captions": "a"}], "line 1: field 'captions' is str, expected list"),
        ([{"image": "images/one.jpg", "captions": [float("nan")]}], "line 1: a caption is float, expected str"),
        ([{"image": 7, "captions": ["a"]}], "field 'image' is int, expected str"),
        ([{"image": "images/one.jpg", "captions": []}], "one.jpg has no caption"),
        ([{"image": "images/one.jpg", "captions": ["a", " "]}], "one.jpg has no caption or an empty one"),
        ([GOOD, GOOD], "line 2: picture 'images/one.jpg' comes a second time"),
        ([GOOD, {"image": "images/lost.jpg", "captions": ["b"]}], "1 of 2 pictures are not on disk, .*lost.jpg"),
        ([["not", "an", "object"]], "line 1: is list; expected an object"),
        ([{**GOOD, "translations": ["un"]}], "line 1: field 'translations' is list, expected dict"),
        ([{**GOOD, "translations": {"fr": 1}}], "line 1: a caption is int, expected str"),
    ],
)
def test_what_is_wrong_with_captions_is_named(folder, entries, sentence):
    write_jsonl(folder, *entries)
    with pytest.raises(GroundTruthError, match=sentence):
        read_captions(folder)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("captions.jsonl", "{broken", "captions.jsonl, line 1: is not JSON"),
        ("x.json", "{\n broken", "x.json, line 2: is not JSON"),
        ("x.json", {}, "has no field 'images'; found nothing"),
        ("x.json", [], "has no field 'images'; found list"),
        ("x.json", {**COCO, "images": COCO["images"] * 2}, "image 2: id 7 comes a second time"),
        ("x.json", {**COCO, "annotations": [{"image_id": 9, "caption": "a"}]}, "annotation 0: image_id 9 is not"),
        ("x.json", {"images": COCO["images"], "annotations": []}, "one.jpg has no caption"),
        ("x.json", {"images": [{"filename": "one.jpg"}]}, "image 0: has no field 'sentences'"),
        ("x.txt", "one.jpg\tno number\n", "line 1: is not `name.jpg#0<TAB>caption`"),
        ("x.txt", "name,text\none.jpg,a\n", r"is in no known format of captions.*found \['name', 'text'\]"),
        ("x.csv", "image,caption\none.jpg,a,b\n", "line 2: has 3 columns, its heading names 2"),
        ("x.txt", "", "is in no known format|no pictures in it"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(folder, name, content, sentence):
    with pytest.raises(GroundTruthError, match=sentence):
        read_captions(write(folder, name, content))


def test_a_split_that_is_not_there_is_named(folder):
    with pytest.raises(GroundTruthError, match="no pictures of split 'val'"):
        read_captions(write(folder, "x.json", KARPATHY), split="val")
    with pytest.raises(GroundTruthError, match="COCO has a file a split"):
        read_captions(write(folder, "y.json", COCO), split="val")
    split = write(folder, "split.txt", "lost.jpg")
    with pytest.raises(GroundTruthError, match=r"names 1 pictures without captions.*lost\.jpg"):
        read_captions(write(folder, "t.txt", TOKENS), split=str(split))


def test_a_file_that_cannot_be_read_is_named(folder):
    with pytest.raises(GroundTruthError, match=r"nothing\.json: cannot be read \(No such file"):
        read_captions(folder / "nothing.json")
    (folder / "x.json").write_bytes(b"\xff\xfe")
    with pytest.raises(GroundTruthError, match="is not UTF-8 text at byte 0"):
        read_captions(folder / "x.json")


@pytest.mark.parametrize("name", ["captions.jsonl", "set.json"])
def test_json_nested_too_deeply_is_a_sentence(tmp_path, name):
    (tmp_path / name).write_text("[" * 100_000)
    with pytest.raises(GroundTruthError, match="is not JSON"):
        read_captions(tmp_path / name)


def test_captions_may_hold_separators_that_are_no_line_feeds(tmp_path):
    caption = "one\u2028two\x85three\x0cfour"
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "captions.jsonl").write_text(
        json.dumps({"image": "a.jpg", "captions": [caption]}, ensure_ascii=False) + "\r\n", encoding="utf-8"
    )
    assert read_captions(tmp_path).texts == (caption,)
    (tmp_path / "tokens.txt").write_text(f"a.jpg#0\t{caption}\n", encoding="utf-8")
    assert read_captions(tmp_path / "tokens.txt").texts == (caption,)
    (tmp_path / "table.csv").write_text('image,caption\na.jpg,"over\ntwo lines"\n')
    assert read_captions(tmp_path / "table.csv").texts == ("over\ntwo lines",)


def test_a_name_that_no_file_can_have_is_a_picture_that_is_not_there(tmp_path):
    (tmp_path / "captions.jsonl").write_text(json.dumps({"image": "x" * 300 + ".jpg", "captions": ["a"]}))
    with pytest.raises(GroundTruthError, match="1 of 1 pictures are not on disk"):
        read_captions(tmp_path)


def test_a_table_with_an_endless_field_is_a_sentence(tmp_path):
    (tmp_path / "table.csv").write_text("image,caption\na.jpg," + "x" * 200_000)
    with pytest.raises(GroundTruthError, match=r"table\.csv, line 2: is no table"):
        read_captions(tmp_path / "table.csv")


def test_a_karpathy_folder_must_be_a_text(tmp_path):
    image = {"filename": "a.jpg", "filepath": 5, "sentences": [{"raw": "a"}]}
    (tmp_path / "set.json").write_text(json.dumps({"images": [image]}))
    with pytest.raises(GroundTruthError, match="field 'filepath' is int, expected str"):
        read_captions(tmp_path / "set.json")


def test_a_folder_without_captions_names_the_commands_for_other_sets(tmp_path):
    with pytest.raises(GroundTruthError, match=r"has no captions\.jsonl; .*`bench classify`.*`bench instance`"):
        read_captions(tmp_path)


def test_a_picture_written_in_two_ways_is_one_and_must_lie_in_the_folder(folder):
    for name, sentence in (("x/../images/one.jpg", "one.jpg comes twice"), ("../one.jpg", "lies outside of")):
        write_jsonl(folder, GOOD, {"image": name, "captions": ["b"]})
        with pytest.raises(GroundTruthError, match=sentence):
            read_captions(folder)


def test_names_in_a_split_file_are_kept_as_they_are_written(folder):
    names = ["one and two.jpg", "\u00a0three.jpg", " four.jpg"]
    for name in names:
        (folder / "images" / name).write_bytes(b"")
    file = write(folder, "t.txt", "".join(f"{name}#0\ta caption\n" for name in names) + TOKENS)
    split = write(folder, "split.txt", "\r\n".join(names) + "\n\n")
    assert [path.name for path in read_captions(file, split=str(split)).pictures] == names
    split = write(folder, "split.txt", "one.jpg\u00a0\n")
    with pytest.raises(GroundTruthError, match=r"names 1 pictures without .*, the first is 'one\.jpg\\xa0'"):
        read_captions(file, split=str(split))
    table = write(folder, "t.csv", "image,caption\n\u00a0three.jpg,a caption\n")
    assert [path.name for path in read_captions(table).pictures] == ["\u00a0three.jpg"]
