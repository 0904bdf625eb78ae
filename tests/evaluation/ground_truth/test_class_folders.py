from __future__ import annotations

import os
import re

import pytest

from mmsearch.datasets.classes import read_classes
from mmsearch.datasets.instances import read_instances
from mmsearch.errors import GroundTruthError


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "set"


@pytest.fixture
def make(folder):
    """Make empty files of these names; nothing looks into a picture before it is encoded."""

    def made(*names):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"x")
        return folder

    return made


def classes_of(classes_read, folder):
    """Return the class of every picture by its name below the folder."""
    truth = (classes_read.class_names[label] for label in classes_read.truth)
    return {
        path.relative_to(folder).as_posix(): name for path, name in zip(classes_read.pictures, truth, strict=True)
    }


def test_pictures_in_folders_of_a_class_are_of_that_class_at_any_depth(make):
    folder = make(
        "bucket/2019/a.jpg", "cat/a/b/c/x.png", "cat/y.jpg", "cat/b/cat/z.JPG", "dog/dog/1.jpg", "dog/cat/2.jpg"
    )
    assert classes_of(read_classes(folder), folder) == {
        "bucket/2019/a.jpg": "bucket", "cat/a/b/c/x.png": "cat", "cat/y.jpg": "cat", "cat/b/cat/z.JPG": "cat",
        "dog/dog/1.jpg": "dog", "dog/cat/2.jpg": "dog",
    }  # fmt: skip


def test_pictures_in_folders_of_a_class_are_of_one_group(make):
    instances = read_instances(make("cat/a/x.png", "cat/y.jpg", "dog/old/1.jpg", "cat.HEIC"))
    assert [path.name for path in instances.gallery] == ["y.jpg", "x.png", "1.jpg"]
    assert instances.tasks["all"].relevant == ((1,), (0,), ())
    assert len(instances.left_out) == 1


def test_what_is_of_no_class_is_named(make, folder):
    make("cat/a.jpg", "cat/@eaDir/a.jpg", "cat/film.mp4", "cat/old/raw.nef", "cat/notes.txt", "dog/b.jpg")
    make("stray.jpg", "readme.md", ".cache/x.jpg", "lost+found/x.jpg", "thumbs/y.jpg")
    classes_read = read_classes(folder)
    assert len(classes_read.pictures) == 2
    assert classes_read.left_out == (
        f"1 picture or film beside the folders, of no class: {folder}/stray.jpg",
        f"3 folders left out by their name: {folder}/.cache, ...",
        "1 RAW, 1 film not read; left out: 1 folder @eaDir",
    )


def test_what_is_left_out_is_named_as_it_can_be_read(make):
    (sentence,) = read_classes(make("cat/a.jpg", "dog/b.jpg", "stray\n\udcff.jpg")).left_out
    assert sentence.endswith("/stray\\n\\377.jpg'")


def test_nothing_is_said_of_a_set_that_has_nothing_else(make):
    assert read_classes(make("cat/a.jpg", "cat/notes.txt", "dog/b.jpg", "readme.md")).left_out == ()


def test_links_lead_to_pictures_and_folders_that_lie_elsewhere(make, folder, tmp_path):
    make("cat/a.jpg", "../store/b.jpg", "../store/deep/c.jpg", "../dogs/d.jpg")
    (folder / "cat" / "b.jpg").symlink_to(tmp_path / "store" / "b.jpg")
    (folder / "cat" / "more").symlink_to(tmp_path / "store" / "deep")
    (folder / "dog").symlink_to(tmp_path / "dogs")
    assert classes_of(read_classes(folder), folder) == {
        "cat/a.jpg": "cat", "cat/b.jpg": "cat", "cat/more/c.jpg": "cat", "dog/d.jpg": "dog",
    }  # fmt: skip


@pytest.mark.parametrize("target", [".", "..", "../..", "../dog", "../dog/c", "/"])
def test_a_link_back_into_the_set_adds_nothing_to_a_class(make, folder, target):
    make("cat/a.jpg", "dog/b.jpg", "dog/c/d.jpg", "../private.jpg")
    (folder / "cat" / "loop").symlink_to(target)
    classes_read = read_classes(folder)
    assert classes_of(classes_read, folder) == {"cat/a.jpg": "cat", "dog/b.jpg": "dog", "dog/c/d.jpg": "dog"}
    (sentence,) = classes_read.left_out
    assert sentence.startswith("1 link into this set or around it")
    assert sentence.endswith(f": {folder}/cat/loop")


def test_a_link_to_a_folder_around_itself_elsewhere_is_gone_through_once(make, folder, tmp_path):
    make("cat/a.jpg", "dog/b.jpg", "../store/c.jpg")
    (folder / "cat" / "store").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "self").symlink_to(tmp_path / "store")
    assert len(read_classes(folder).pictures) == 3


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("cat/a.jpg", "dog/readme.txt"), r"dog: has no picture that can be read; every folder is a class"),
        (
            ("cat/a.jpg", "dog/1.mp4", "dog/2.nef"),
            r"dog: has no picture .* read \(1 RAW, 1 film not read\); every",
        ),
        (
            ("cat/a.jpg", "b/x.txt", "c/x.txt", "d/x"),
            r"b: has no picture that can be read, nor have 2 other folders",
        ),
        (("cat/.hidden.jpg", "dog/1.txt"), r"set: has neither labels\.csv nor a folder of pictures for each class"),
    ],
)
def test_a_class_without_a_picture_is_refused(make, names, sentence):
    with pytest.raises(GroundTruthError, match=sentence):
        read_classes(make(*names))


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("train/cat/1.jpg", "train/dog/2.jpg", "val/cat/3.jpg", "val/dog/4.jpg"), "train and val are splits"),
        (("Train/cat/1.jpg", "TEST/cat/3.jpg", "notes/cat.txt"), "TEST and Train are splits"),
        (("test/unknown.jpg", "train/cat/1.jpg", "train/dog/2.jpg"), "test and train are splits"),
        (("training/cat/1.jpg", "training/dog/2.jpg"), "training is a split, with folders of classes in it"),
        (("train/cat/1.jpg", "validation/cat/2.jpg", "test/cat/3.jpg"), "test and train and validation are splits"),
    ],
)
def test_of_splits_with_classes_in_them_one_must_be_named(make, names, sentence):
    folder = make(*names)
    with pytest.raises(
        GroundTruthError, match=f"{sentence}.*such as cat; name the split that is meant, such as {folder}/"
    ):
        read_classes(folder)


@pytest.mark.parametrize(
    "names", [("train/1.jpg", "bus/2.jpg"), ("train/old/1.jpg", "bus/old/2.jpg"), ("test/1.jpg", "val/2.jpg")]
)
def test_classes_may_be_called_like_splits(make, names):
    classes_read = read_classes(make(*names))
    assert classes_read.class_names == tuple(sorted(name.split("/")[0] for name in names))


@pytest.mark.parametrize("name", ["cat/lost.jpg", "cat/old/lost.jpg"])
def test_a_picture_that_is_not_there_is_named(make, folder, name):
    make("cat/a.jpg", "cat/old/b.jpg", "dog/c.jpg")
    (folder / name).symlink_to("nowhere")
    with pytest.raises(GroundTruthError, match=re.escape(f"{folder / name}: there is no such file")):
        read_classes(folder)


def test_a_class_that_a_link_leads_to_nowhere_is_refused(make, folder):
    make("cat/a.jpg", "dog/c.jpg")
    (folder / ".current").symlink_to("nowhere")
    assert len(read_classes(folder).pictures) == 2
    (folder / "bird").symlink_to("not-mounted/bird")
    with pytest.raises(GroundTruthError, match=re.escape(f"{folder / 'bird'}: a link that leads nowhere")):
        read_classes(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
@pytest.mark.parametrize("closed", [".", "cat", "cat/old"])
def test_a_folder_that_cannot_be_searched_is_named(make, folder, closed):
    make("cat/a.jpg", "cat/old/b.jpg", "dog/c.jpg")
    (folder / closed).chmod(0)
    try:
        with pytest.raises(GroundTruthError, match=r"not permitted|cannot be searched \(Permission denied\)"):
            read_classes(folder)
    finally:
        (folder / closed).chmod(0o700)
