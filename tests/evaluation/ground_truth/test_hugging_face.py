from __future__ import annotations

import gc
import os
import shutil
import socket
import time

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Image
from datasets.utils import logging

from mmsearch.datasets.hugging_face import read_dataset_captions, read_dataset_classes
from mmsearch.errors import GroundTruthError, StorageError
from mmsearch.samples import sample_folder

NAMES = ("cat", "coffee", "moose")
CLASSES = ["cat", "big_moose", "coffee", "never seen"]


def picture(name):
    return (sample_folder() / f"{name}.jpg").read_bytes()


def table(**columns):
    """A table with three photographs as bytes; other columns as given."""
    rows = {"image": [{"bytes": picture(name), "path": f"{name}.jpg"} for name in NAMES]} | columns
    made = Dataset.from_dict({name: values for name, values in rows.items() if values is not None})
    return made.cast_column("image", Image()) if rows["image"] is not None else made


CAPTIONED = {"caption": [f"a {name}" for name in NAMES]}


@pytest.fixture(autouse=True)
def silent():
    """Writing a set draws bars; what a test does to the library's settings ends with it."""
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()
    logging.set_verbosity_warning()


@pytest.fixture
def captions(tmp_path):
    """Read a set, with a cache folder of the test's own."""

    def read(source, split=None, image=None, text=None, **options):
        return read_dataset_captions(
            str(source), split=split, image_column=image, text_column=text, cache=tmp_path / "cache", **options
        )

    return read


@pytest.fixture
def classes(tmp_path):
    def read(source, split=None, image=None, label=None):
        return read_dataset_classes(
            str(source), split=split, image_column=image, label_column=label, cache=tmp_path / "cache"
        )

    return read


@pytest.fixture
def parquet(tmp_path):
    """Write a table as Parquet."""

    def write(made, name="set.parquet"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        made.to_parquet(path)
        return path

    return write


def labelled(labels):
    return table(label=labels).cast_column("label", ClassLabel(names=CLASSES))


def assert_is_the_set(captions_read, name):
    assert captions_read.name == name
    assert captions_read.texts == ("a cat", "a coffee", "a moose")
    assert captions_read.pictures_of_text == ((0,), (1,), (2,))
    assert [path.read_bytes() for path in captions_read.pictures] == [picture(name) for name in NAMES]


def test_a_parquet_file_gives_pictures_as_they_are(captions, parquet, tmp_path):
    captions_read = captions(parquet(table(**CAPTIONED)))
    assert_is_the_set(captions_read, "set (image, caption)")
    assert [path.name for path in captions_read.pictures] == ["0000000.jpg", "0000001.jpg", "0000002.jpg"]
    assert captions_read.pictures[0].parent.parent == tmp_path / "cache" / "benchmarks" / "datasets"


def test_a_folder_of_parquet_has_splits(captions, parquet):
    parquet(table(caption=["other"] * 3), "data/train-00000-of-00001.parquet")
    folder = parquet(table(**CAPTIONED), "data/test-00000-of-00001.parquet").parent
    assert_is_the_set(captions(folder, "test"), "data (test; image, caption)")
    with pytest.raises(GroundTruthError, match="has the splits train, test; choose one with --split"):
        captions(folder)
    with pytest.raises(GroundTruthError, match="has no split 'val'; found train, test"):
        captions(folder, "val")


def test_a_saved_set_and_its_arrow_file_are_read(captions, tmp_path):
    table(**CAPTIONED).save_to_disk(tmp_path / "saved")
    assert_is_the_set(captions(tmp_path / "saved"), "saved (image, caption)")
    (file,) = (tmp_path / "saved").glob("*.arrow")
    assert_is_the_set(captions(file), f"{file.stem} (image, caption)")


def test_saved_splits_are_read(captions, tmp_path):
    both = DatasetDict({"dev": table(caption=["other"] * 3), "test": table(**CAPTIONED)})
    both.save_to_disk(tmp_path / "saved")
    assert_is_the_set(captions(tmp_path / "saved", "test"), "saved (test; image, caption)")
    with pytest.raises(GroundTruthError, match="has the splits dev, test"):
        captions(tmp_path / "saved")


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the library leaves metadata.csv open
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_folder_of_pictures_with_metadata_is_read_where_it_is(captions, tmp_path, kind):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in NAMES:
        shutil.copyfile(sample_folder() / f"{name}.jpg", folder / f"{name}.jpg")
    rows = {"file_name": [f"{name}.jpg" for name in NAMES], "text": CAPTIONED["caption"]}
    made = Dataset.from_dict(rows)
    made.to_json(folder / "metadata.jsonl") if kind == "jsonl" else made.to_csv(folder / "metadata.csv")
    captions_read = captions(folder)
    assert_is_the_set(captions_read, "folder (train; image, text)")
    assert captions_read.pictures[0] == folder / "cat.jpg"
    gc.collect()


@pytest.mark.parametrize(
    "values",
    [
        [["a cat"], ["a coffee"], ["a moose"]],
        [[{"raw": f"a {name}", "sentid": 1}] for name in NAMES],
        [{"raw": f"a {name}", "sentid": 1} for name in NAMES],
        [{"raw": [f"a {name}"]} for name in NAMES],
    ],
)
def test_captions_may_be_lists_or_structs(captions, parquet, values):
    assert_is_the_set(captions(parquet(table(sentences=values))), "set (image, sentences)")


def test_several_captions_belong_to_one_picture(captions, parquet):
    captions_read = captions(parquet(table(captions=[["a cat", "again"], ["coffee"], ["a", "b", "c"]])))
    assert captions_read.pictures_of_text == ((0,), (0,), (1,), (2,), (2,), (2,))


def test_rows_with_one_caption_each_are_joined_by_their_picture(captions, parquet):
    rows = [{"bytes": picture(name), "path": None} for name in ("cat", "coffee", "cat", "coffee")]
    captions_read = captions(parquet(table(image=rows, caption=["one", "two", "three", "four"])))
    assert [path.name for path in captions_read.pictures] == ["0000000.jpg", "0000001.jpg"]
    assert captions_read.texts == ("one", "three", "two", "four")
    assert captions_read.texts_of_picture == [[0, 1], [2, 3]]


@pytest.mark.parametrize("is_absolute", [False, True])
def test_paths_are_joined_and_relative_to_the_file(captions, tmp_path, is_absolute):
    for name in NAMES:
        shutil.copyfile(sample_folder() / f"{name}.jpg", tmp_path / f"{name}.jpg")
    folder = f"{tmp_path}/" if is_absolute else ""
    paths = [f"{folder}{name}.jpg" for name in ("cat", "coffee", "cat")]
    made = Dataset.from_dict({"number": ["1", "2", "3"], "path": paths, "text": ["one", "two", "three"]})
    made.to_parquet(tmp_path / "set.parquet")
    captions_read = captions(tmp_path / "set.parquet")
    assert captions_read.name == "set (path, text)"
    assert captions_read.pictures == (tmp_path / "cat.jpg", tmp_path / "coffee.jpg")
    assert captions_read.texts == ("one", "three", "two")


@pytest.mark.parametrize("name", ["../private.jpg", "x/../../private.jpg", "{folder}/../private.jpg"])
def test_a_local_set_must_not_choose_among_pictures_outside_of_its_folder(captions, parquet, tmp_path, name):
    (tmp_path / "private.jpg").write_bytes(picture("cat"))
    rows = {"path": [name.format(folder=tmp_path / "set")], "text": ["a cat"]}
    file = parquet(Dataset.from_dict(rows), "set/set.parquet")
    with pytest.raises(GroundTruthError, match=r"row 0: column 'path': .*private\.jpg' lies outside of .*set;"):
        captions(file)


def test_pictures_of_a_local_set_may_lie_in_a_folder_that_is_named(captions, parquet, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(picture("cat"))
    rows = {"path": ["cat.jpg", f"{tmp_path}/photos/cat.jpg"], "text": ["one", "two"]}
    captions_read = captions(parquet(Dataset.from_dict(rows), "set/set.parquet"), images=tmp_path / "photos")
    assert captions_read.pictures == (tmp_path / "photos" / "cat.jpg",)


def test_paths_written_in_two_ways_are_one_picture(captions, parquet, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(picture("cat"))
    rows = {"path": ["cat.jpg", "x/../cat.jpg", f"{tmp_path}/./cat.jpg"], "text": ["one", "two", "three"]}
    captions_read = captions(parquet(Dataset.from_dict(rows)))
    assert (captions_read.pictures, captions_read.pictures_of_text) == ((tmp_path / "cat.jpg",), ((0,), (0,), (0,)))


def test_a_folder_of_pictures_may_be_named_by_a_link(captions, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "cat.jpg").write_bytes(picture("cat"))
    (tmp_path / "real" / "metadata.jsonl").write_text('{"file_name": "cat.jpg", "text": "a cat"}\n')
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert captions(tmp_path / "link").pictures == (tmp_path / "link" / "cat.jpg",)


@pytest.mark.parametrize("is_struct", [False, True])
def test_pictures_may_be_bytes_without_the_type_of_pictures(captions, tmp_path, is_struct):
    column = [{"bytes": picture(name), "path": None} if is_struct else picture(name) for name in NAMES]
    Dataset.from_dict({"photo": column, **CAPTIONED}).to_parquet(tmp_path / "set.parquet")
    assert_is_the_set(captions(tmp_path / "set.parquet"), "set (photo, caption)")


def test_equal_captions_can_be_one_query(captions, parquet):
    captions_read = captions(parquet(table(caption=["same", "same", "other"])), is_merging=True)
    assert captions_read.pictures_of_text == ((0, 1), (2,))


def test_columns_may_be_named(captions, parquet):
    extra = {"mask": [{"bytes": picture("dam"), "path": None}] * 3, "german": ["a cat", "a coffee", "a moose"]}
    file = parquet(table(caption=["x"] * 3, **extra).cast_column("mask", Image()))
    with pytest.raises(GroundTruthError, match="has 2 columns of pictures: image, mask; choose one with --image-"):
        captions(file)
    assert_is_the_set(captions(file, image="image", text="german"), "set (image, german)")
    assert captions(file, image="mask").pictures[0].read_bytes() == picture("dam")
    assert set(captions(file, image="image").pictures).isdisjoint(captions(file, image="mask").pictures)


def test_suffixes_are_those_of_the_bytes(captions, parquet):
    starts = [b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF0000WEBP", b"BM00", b"II*\0", b"MM\0*", b"0000ftypavif",
              b"0000ftypheic", b"what?"]  # fmt: skip
    rows = [{"bytes": start, "path": "wrong.jpg"} for start in starts]
    captions_read = captions(parquet(table(image=rows, text=["x"] * 9)))
    assert [path.suffix for path in captions_read.pictures] == [
        ".png", ".gif", ".webp", ".bmp", ".tif", ".tif", ".avif", ".heic", "",
    ]  # fmt: skip
    assert [path.read_bytes() for path in captions_read.pictures] == starts


def test_pictures_are_written_once_and_a_damaged_one_again(captions, parquet):
    file = parquet(table(**CAPTIONED))
    first, second, _ = captions(file).pictures
    first.write_bytes(b"cut")
    before = second.stat()
    assert_is_the_set(captions(file), "set (image, caption)")
    assert second.stat() == before
    assert {path.suffix for path in first.parent.iterdir()} == {".jpg"}


def test_another_set_of_the_same_name_has_its_own_pictures(captions, parquet):
    pictures_read = captions(parquet(table(**CAPTIONED))).pictures
    rows = [{"bytes": picture(name), "path": None} for name in ("dam", "fig", "creek")]
    two = captions(parquet(table(image=rows, **CAPTIONED))).pictures
    assert [path.read_bytes() for path in pictures_read] == [picture(name) for name in NAMES]
    assert not set(pictures_read) & set(two)


def test_a_full_disk_is_named(captions, parquet, tmp_path):
    file = parquet(table(**CAPTIONED))
    folder = captions(file).pictures[0].parent
    shutil.rmtree(folder)
    folder.write_text("in the way")
    with pytest.raises(StorageError, match=r"0000000\.jpg: could not be written \(File exists\)"):
        captions(file)


def test_class_names_are_all_kept(classes, parquet):
    classes_read = classes(parquet(labelled([0, 2, 1])))
    assert classes_read.name == "set (image, label)"
    assert classes_read.class_names == ("cat", "big moose", "coffee", "never seen")
    assert classes_read.truth == (0, 2, 1)
    assert [path.read_bytes() for path in classes_read.pictures] == [picture(name) for name in NAMES]


def test_the_column_of_classes_comes_before_a_column_of_the_usual_name(classes, parquet):
    file = parquet(labelled([0, 2, 1]).rename_column("label", "kind").add_column("label", ["x", "y", "z"]))
    assert classes(file).name == "set (image, kind)"
    assert classes(file, label="label").class_names == ("x", "y", "z")


def test_pictures_that_are_equal_stay_apart_as_classes(classes, parquet):
    rows = [{"bytes": picture("cat"), "path": None}] * 3
    assert len(classes(parquet(table(image=rows, class_name=["b", "a", "b"]))).pictures) == 3


def test_text_names_classes_in_alphabetical_order(classes, parquet):
    classes_read = classes(parquet(table(class_name=["moose", "cat", "moose"])))
    assert classes_read.class_names == ("cat", "moose")
    assert classes_read.truth == (1, 0, 1)


@pytest.mark.parametrize(
    ("columns", "named", "sentence"),
    [
        ({"words": ["x"] * 3}, {}, r"no column 'caption' or .*; found image \(Image\), words \(string\); choose"),
        (CAPTIONED, {"text": "german"}, r"no column 'german'; found image \(Image\), caption \(string\); choose"),
        (CAPTIONED, {"image": "photo"}, r"no column 'photo'; found image \(Image\), .*--image-column"),
        (CAPTIONED, {"image": "caption"}, r"3 of 3 pictures are not on disk, the first is .*/a cat"),
        ({"text": ["x", None, "y"]}, {}, "row 1: column 'text' is null; expected a value in every row"),
        ({"text": ["x", "y", " "]}, {}, "row 2: column 'text' has no caption or an empty one"),
        ({"text": [["x"], [], ["y"]]}, {}, "row 1: column 'text' has no caption or an empty one"),
        ({"text": [["x"], ["y", None], ["y"]]}, {}, "row 1: column 'text' has no caption or an empty one"),
        ({"text": [1, 2, 3]}, {}, "row 0: column 'text' has no caption or an empty one"),
        ({"raw": [{"said": "x"}] * 3}, {}, "row 0: column 'raw' has no caption"),
        ({"raw": [[{"said": "x"}]] * 3}, {}, "row 0: column 'raw' has no caption"),
        ({"text": ["x"] * 3, "n": [1, 2, 3]}, {"image": "n"}, "row 0: column 'n' is 1, expected the bytes of a"),
        (
            {"text": ["x"] * 3, "image": [{"bytes": b"\xff\xd8\xff", "path": None}, None, None]},
            {}, "row 1: column 'image' is null; expected a picture in every row",
        ),
        (
            {"text": ["x"] * 3, "path": ["https://example.org/a.jpg"] * 3, "image": None},
            {}, "row 0: column 'path' is https:.*, expected the bytes of a picture or a path on this machine",
        ),
        ({"text": [], "image": None}, {}, r"set\.parquet: cannot be loaded \(.*; expected at least one row"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_captions_is_named(captions, parquet, columns, named, sentence):
    file = parquet(table(**columns))
    with pytest.raises(GroundTruthError, match=sentence):
        captions(file, **named)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: labelled([0, -1, 2]), r"row 1: column 'label' \(ClassLabel\) is -1, which names no class"),
        (lambda: labelled([0, 1, None]), "row 2: column 'label' is null"),
        (
            lambda: table(label=[0, 1, 2]),
            r"row 0: column 'label' \(int64\) is 0, which names no class; expected text or a ClassLabel; numbers "
            r"become one by dataset.cast_column\('label', datasets.ClassLabel\(names=\[",
        ),
        (lambda: table(label=["a", "", "b"]), r"row 1: column 'label' \(string\) is '', which names no class"),
        (
            lambda: table(label=[["a"], ["b"], ["c"]]),
            r"column 'label' \(list of string\) is \['a'\], which names no",
        ),
        (lambda: table(label=["cat"] * 3), "all pictures are of the class 'cat'; expected two or more"),
        (lambda: table(**CAPTIONED), r"no column 'label' or 'labels' or 'class_name'; found .*--label-column"),
        (
            lambda: table(image=None, path=["x.jpg"] * 2, label=["a", "b"]),
            r"row 1: picture .*x\.jpg comes a second",
        ),
        (lambda: table(image=None, path=["x.jpg", "y.jpg"], label=["a", "b"]), "2 of 2 pictures are not on disk"),
    ],
)
def test_what_is_wrong_with_classes_is_named(classes, parquet, made, sentence):
    with pytest.raises(GroundTruthError, match=sentence):
        classes(parquet(made()))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("lost", None, "lost: does not exist; expected a folder or file, or hf:owner/name for the hub"),
        ("set.txt", b"x", r"set\.txt: is neither \.parquet nor \.arrow"),
        (
            "set.parquet",
            b"PAR1 not PAR1",
            r"set\.parquet: cannot be loaded \(.*; expected at least one row in Parquet",
        ),
        ("set.arrow", b"not arrow", r"set\.arrow: cannot be loaded \(.*; expected at least one row in Parquet"),
        ("empty/.hidden", b"", r"empty: cannot be loaded \(.*; expected at least one row"),
        ("script/script.py", b"import os; os.abort()", r"script: cannot be loaded \(.*scripts are no longer supp"),
        ("saved/state.json", b"{}", r"saved: cannot be loaded \(.*; expected at least one row"),
    ],
)
def test_a_set_that_cannot_be_loaded_is_named(captions, tmp_path, name, content, sentence):
    path = tmp_path / name
    if content is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    with pytest.raises(GroundTruthError, match=sentence):
        captions(path.parent if "/" in name else path)


@pytest.mark.parametrize("source", ["hf:", "hf:name", "hf:/name", "hf:owner/", "hf:owner/name/config/more"])
def test_a_name_that_is_none_of_the_hub_is_refused(captions, source):
    with pytest.raises(
        GroundTruthError, match="is no name of a set; expected hf:owner/name or hf:owner/name/config"
    ):
        captions(source)


@pytest.fixture
def no_hub(monkeypatch):
    """An address where a hub might be, and where nothing ever answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("mmsearch.encoders.hub._PATIENCE_S", 0.2)
        yield


def test_a_hub_that_does_not_answer_is_a_sentence_within_seconds(captions, no_hub):
    start = time.monotonic()
    with pytest.raises(
        GroundTruthError, match=r"hf:me/set: is not in the cache .*cannot be reached .*a local copy"
    ):
        captions("hf:me/set")
    assert time.monotonic() - start < 10


def test_a_set_that_the_hub_gave_before_is_read_without_it(captions, no_hub, parquet, tmp_path, monkeypatch):
    datasets.load_dataset("parquet", data_files=str(parquet(table(**CAPTIONED))), cache_dir=str(tmp_path / "made"))
    (config,) = (tmp_path / "made" / "parquet").iterdir()
    kept = tmp_path / "hub" / "me___set" / "default"
    shutil.copytree(config, kept)
    (info,) = kept.glob("*/*/dataset_info.json")
    info.write_text(info.read_text().replace(config.name, "default").replace('"parquet', '"set'))
    for file in info.parent.glob("*.arrow"):
        file.rename(file.with_name(file.name.replace("parquet", "set")))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    assert_is_the_set(captions("hf:me/set"), "me/set (train; image, caption)")


def test_a_set_of_the_hub_must_not_choose_among_pictures_of_this_machine(
    captions, no_hub, parquet, tmp_path, monkeypatch
):
    (tmp_path / "private.jpg").write_bytes(picture("cat"))
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "own.jpg").write_bytes(picture("moose"))
    rows = {"image": [str(tmp_path / "hub" / "own.jpg"), str(tmp_path / "private.jpg")], "caption": ["a", "b"]}
    dataset = datasets.Dataset.from_dict(rows)
    monkeypatch.setattr("mmsearch.datasets.hugging_face_load._from_hub", lambda source: {"train": dataset})
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    with pytest.raises(GroundTruthError, match=r"row 1: column 'image' is .*private\.jpg, expected a picture of"):
        captions("hf:me/set")


def test_offline_mode_asks_no_hub(captions, no_hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("mmsearch.encoders.hub._try", lambda address: pytest.fail("asked"))
    with pytest.raises(GroundTruthError, match="HF_HUB_OFFLINE forbids to download it"):
        captions("hf:me/set/english")


def test_the_library_s_own_offline_setting_is_kept(captions, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("mmsearch.datasets.hugging_face_load.why_unreachable", lambda: None)
    with pytest.raises(
        GroundTruthError, match=r"hf:me/set: cannot be loaded \(.*[Oo]ffline.*; is the name right\?"
    ):
        captions("hf:me/set")


def test_pictures_of_a_set_can_be_encoded(captions, parquet, set_encoder):
    rows = [{"bytes": data, "path": None} for data in (picture("cat"), b"no picture", picture("moose"))]
    readable, vectors, bad = set_encoder.pictures(captions(parquet(table(image=rows, **CAPTIONED))).pictures)
    assert readable == [0, 2]
    assert vectors.shape == (2, set_encoder.encoder.dim)
    assert list(bad) == [1]


@pytest.mark.parametrize("has_bars", [False, True])
@pytest.mark.parametrize("is_offline", [False, True])
def test_reading_is_silent_and_leaves_the_library_as_it_was(
    captions, parquet, tmp_path, capfd, caplog, monkeypatch, has_bars, is_offline
):
    def state():
        return logging.get_verbosity(), datasets.are_progress_bars_disabled(), datasets.config.HF_HUB_OFFLINE

    file = parquet(table(**CAPTIONED))
    datasets.enable_progress_bars() if has_bars else datasets.disable_progress_bars()
    logging.set_verbosity_debug()
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", is_offline)
    before = state(), dict(os.environ)
    captions(file)
    with pytest.raises(GroundTruthError):
        captions(tmp_path / "cache")
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name.startswith("datasets")] == []
    assert (state(), dict(os.environ)) == before
