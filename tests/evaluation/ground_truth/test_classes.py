from __future__ import annotations

import pytest

from mmsearch.datasets.classes import read_classes
from mmsearch.errors import GroundTruthError


@pytest.fixture
def folder(tmp_path):
    for name in ("red_car/b.jpg", "red_car/a.JPG", "cat/x.png", "cat/notes.txt", ".hidden/x.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_every_folder_is_a_class(folder):
    classes_read = read_classes(folder)
    assert classes_read.class_names == ("cat", "red car")
    assert [path.name for path in classes_read.pictures] == ["x.png", "a.JPG", "b.jpg"]
    assert classes_read.truth == (0, 1, 1)


def test_a_table_of_labels_comes_before_the_folders(folder):
    (folder / "labels.csv").write_text("class_name,image\ncar,red_car/b.jpg\ncat,cat/x.png\ncar,red_car/a.JPG\n")
    classes_read = read_classes(folder)
    assert classes_read.class_names == ("car", "cat")
    assert classes_read.truth == (0, 1, 0)


def test_two_classes_may_share_a_name_where_the_table_has_an_index(folder):
    rows = "red_car/b.jpg,10,crane\nred_car/a.JPG,2,crane\ncat/x.png,10,crane\n"
    (folder / "labels.csv").write_text("image,class_index,class_name\n" + rows)
    classes_read = read_classes(folder)
    assert classes_read.class_names == ("crane", "crane")
    assert classes_read.truth == (1, 0, 1)  # 2 comes before 10


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("", "has no column 'image'; found nothing"),
        ("image,label\ncat/x.png,cat\n", "has no column 'class_name'; found image, label"),
        ("image,class_name\ncat/x.png,\n", "line 2: image or class is empty"),
        ("image,class_name\ncat/x.png\n", "line 2: image or class is empty"),
        ("image,class_name\ncat/x.png,cat\ncat/x.png,dog\n", r"line 3: picture 'cat/x\.png' comes a second time"),
        (
            "image,class_index,class_name\ncat/x.png,1,cat\nred_car/b.jpg,1,dog\n",
            "class 1 is called 'cat' and 'dog'",
        ),
        (f"image,class_index,class_name\ncat/x.png,{'9' * 5000},cat\n", "line 2: class is a number of 5000 digits"),
        (
            f"image,class_name\ncat/x.png,{'9' * 5000}\n",
            "line 2: class is a number of 5000 digits, expected at most 18",
        ),
        ("image,class_name\nlost.jpg,cat\n", r"1 of 1 pictures are not on disk, the first is .*lost\.jpg"),
        ("image,class_name\ncat/x.png,cat\n", "all pictures are of the class 'cat'; expected two or more"),
        ("image,class_name\n", "there are no pictures in it"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(folder, table, sentence):
    (folder / "labels.csv").write_text(table)
    with pytest.raises(GroundTruthError, match=sentence):
        read_classes(folder)


def test_a_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(GroundTruthError, match=r"has neither labels\.csv nor a folder of pictures"):
        read_classes(tmp_path)
    with pytest.raises(GroundTruthError, match="is not a folder"):
        read_classes(tmp_path / "nothing")


def test_a_picture_written_in_two_ways_is_one_and_must_lie_in_the_folder(folder):
    for name, sentence in (
        ("dog/../cat/./x.png", "line 3: .* comes a second time"),
        ("../x.png", "lies outside of"),
    ):
        (folder / "labels.csv").write_text(f"image,class_name\ncat/x.png,cat\n{name},dog\n")
        with pytest.raises(GroundTruthError, match=sentence):
            read_classes(folder)
