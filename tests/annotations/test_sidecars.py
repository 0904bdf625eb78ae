"""Files beside a picture say something of it by their names; nothing but regular files is ever opened."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.annotations import Annotations
from mmsearch.annotations.sidecars import Folder
from mmsearch.annotations.takeout import json_names
from tests.annotations.files import items
from tests.pictures import xmp

PACKET = xmp('exif:GPSLatitude="52,22.215N" exif:GPSLongitude="4,53.71E"', items("dc:subject", "dog"))


@pytest.fixture
def write(tmp_path):
    """Write a file below the folder."""

    def written(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())

    return written


def names_beside(folder, name):
    return [os.path.basename(sidecar.path) for sidecar in Folder(os.fsencode(folder)).beside(name)]


def texts(folder, name):
    said = Folder(os.fsencode(folder)).read(name)
    return [(text.kind.value, text.source, text.text) for text in said.texts]


@pytest.mark.parametrize("sidecar", ["a.jpg.xmp", "a.xmp", "A.JPG.XMP", "a.XMP"])
def test_xmp_beside_a_picture_is_read_under_both_its_names(tmp_path, write, sidecar):
    write(sidecar, PACKET)
    assert texts(tmp_path, b"a.jpg") == [("tag", "sidecar:xmp:dc:subject", "dog")]
    assert Folder(os.fsencode(tmp_path)).read(b"a.jpg").position == (52.37025, 4.895167)
    assert names_beside(tmp_path, b"ab.jpg") == names_beside(tmp_path, b"b.jpg") == []


def test_pictures_that_differ_in_their_extension_share_a_sidecar(tmp_path, write):
    write("a.xmp", PACKET)
    assert texts(tmp_path, b"a.jpg") == texts(tmp_path, b"a.png") == [("tag", "sidecar:xmp:dc:subject", "dog")]


def test_name_in_the_same_case_goes_before_another(tmp_path, write):
    write("a.xmp", PACKET)
    write("A.xmp", PACKET)
    assert (names_beside(tmp_path, b"a.jpg"), names_beside(tmp_path, b"A.jpg")) == ([b"a.xmp"], [b"A.xmp"])


def test_every_file_beside_a_picture_is_told_with_its_size_and_time_and_read_in_the_same_order(tmp_path, write):
    for name in ("metadata.csv", "a.json", "a.caption", "a.txt", "a.xmp", "a.jpg.xmp", "a.jpg", "b.txt"):
        write(name, name.encode())
    sidecars = Folder(os.fsencode(tmp_path)).beside(b"a.jpg")
    assert [os.path.basename(sidecar.path) for sidecar in sidecars] == [
        b"a.jpg.xmp", b"a.xmp", b"a.txt", b"a.caption", b"a.json", b"metadata.csv",
    ]  # fmt: skip
    for sidecar in sidecars:
        status = os.stat(sidecar.path)
        assert (sidecar.size, sidecar.mtime_ns) == (status.st_size, status.st_mtime_ns)


def test_lines_of_a_text_are_captions_but_for_those_without_a_letter(tmp_path, write):
    write("a.txt", "two dogs\r\n\r\nzwei Hünde\n0 0.5 0.5 0.1 0.1\n".encode())
    write("a.caption", "ein Hünd\0".encode("utf-16"))
    write("b.txt", "Hünd <b>\x1b".encode("latin-1"))
    assert texts(tmp_path, b"a.jpg") == [
        ("caption", "text:.txt", "two dogs"), ("caption", "text:.txt", "zwei Hünde"),
        ("caption", "text:.caption", "ein Hünd"),
    ]  # fmt: skip
    assert texts(tmp_path, b"b.jpg") == [("caption", "text:.txt", "Hünd <b>")]


def test_json_of_img2dataset_has_the_caption_and_its_key_is_none(tmp_path, write):
    write(
        "000000017.json", {"caption": "two dogs", "key": "000000017", "url": "http://x/y.jpg", "status": "success"}
    )
    assert texts(tmp_path, b"000000017.jpg") == [("caption", "json:caption", "two dogs")]


TAKEOUT = {
    "title": "a.jpg", "description": "Two dogs\nplay.", "people": [{"name": "Anna"}, {"name": "Ben"}, {}],
    "geoData": {"latitude": 0.0, "longitude": 0.0, "altitude": 0.0},
    "geoDataExif": {"latitude": 52.37025, "longitude": 4.895167},
    "photoTakenTime": {"timestamp": "1562198400"},
}  # fmt: skip


def test_json_of_takeout_has_description_people_and_a_position_that_is_known(tmp_path, write):
    write("a.jpg.json", TAKEOUT)
    assert texts(tmp_path, b"a.jpg") == [
        ("caption", "json:description", "Two dogs play."), ("person", "json:people", "Anna"),
        ("person", "json:people", "Ben"),
    ]  # fmt: skip
    assert Folder(os.fsencode(tmp_path)).read(b"a.jpg").position == (52.37025, 4.895167)


def test_title_of_takeout_is_a_title_or_the_whole_of_a_name_that_was_cut_off(tmp_path, write):
    write("a.jpg.json", {"title": "A walk"})
    assert texts(tmp_path, b"a.jpg") == [("title", "json:title", "A walk")]
    whole = "sunset over the harbour of a small town in the far south.jpg"
    write(f"{whole[:46]}.json", {"title": whole})
    name = whole[:47].encode() + b".jpg"
    assert texts(tmp_path, name) == [("name", "json:title", whole.removesuffix(".jpg"))]


@pytest.mark.parametrize(
    ("picture", "sidecar"),
    [
        ("a.jpg", "a.jpg.json"),
        ("a.jpg", "a.jpg.supplemental-metadata.json"),
        ("IMG_20230501_123456_1234.jpg", "IMG_20230501_123456_1234.jpg.supplemental-meta.json"),
        ("IMG_20230501_123456_portrait_burst_1.jpg", "IMG_20230501_123456_portrait_burst_1.jpg.suppl.json"),
        ("b" * 41 + ".jpg", "b" * 41 + ".jpg..json"),
        ("b" * 42 + ".jpg", "b" * 42 + ".jpg.json"),
        ("b" * 47 + ".jpg", "b" * 46 + ".json"),
        ("a(1).jpg", "a.jpg(1).json"),
        ("a(12).jpg", "a.jpg.supplemental-metadata(12).json"),
        ("b" * 47 + "(1).jpg", "b" * 46 + "(1).json"),
        ("a-edited.jpg", "a.jpg.json"),
        ("a-edited(1).jpg", "a.jpg(1).json"),
        ("a-bearbeitet.jpg", "a.jpg.supplemental-metadata.json"),
        ("写真.jpg", "写真.jpg.supplemental-metadata.json"),
        ("name without extension", "name without extension.json"),
    ],
)
def test_takeout_names_its_files_in_all_these_ways(tmp_path, write, picture, sidecar):
    write(sidecar, TAKEOUT)
    assert names_beside(tmp_path, picture.encode()) == [sidecar.encode()]


def test_numbered_and_edited_pictures_take_the_file_of_their_own_before_another(tmp_path, write):
    write("a.jpg.json", {"title": "first"})
    write("a.jpg(1).json", {"title": "second"})
    write("a-edited.jpg.json", {"title": "third"})
    for picture, title in ((b"a.jpg", "first"), (b"a(1).jpg", "second"), (b"a-edited.jpg", "third")):
        assert [text for _, _, text in texts(tmp_path, picture)] == [title]
    assert names_beside(tmp_path, b"a(2).jpg") == []


@given(st.text(max_size=80))
def test_names_of_takeout_begin_like_the_picture(name):
    assert all(other.endswith(".json") and other[:1] == (name + ".")[:1] for other in json_names(name))


@pytest.mark.parametrize(
    "content", [b"", b"[" * 100_000, b'{"title": ', b'{"title": 17, "people": {"a": 1}, "tags": [[1]]}', b"[1, 2]",
                b'{"n": ' + b"9" * 5_000 + b"}", b"\xff\xfe\0", b'"dog"'],
)  # fmt: skip
def test_json_that_is_none_or_something_else_says_nothing(tmp_path, write, content):
    write("a.json", content)
    assert texts(tmp_path, b"a.jpg") == []


def test_fields_of_json_may_be_lists_and_hold_halves_of_surrogate_pairs(tmp_path, write):
    captions = b'"captions": ["two dogs", 3, "half \\ud800 a pair"]'
    write("a.json", b"{" + captions + b', "tags": "dog, snow;ice", "geoData": {"latitude": 1e400, "longitude": 1}}')
    assert [text for _, _, text in texts(tmp_path, b"a.jpg")] == ["two dogs", "half a pair", "dog", "snow", "ice"]


def test_pipes_folders_and_links_beside_a_picture_are_passed_over(tmp_path, write):
    folder = tmp_path / "pictures"
    folder.mkdir()
    write("secret.xmp", PACKET)
    os.mkfifo(folder / "a.xmp")
    (folder / "a.txt").mkdir()
    (folder / "a.json").symlink_to(tmp_path / "missing.json")
    (folder / "a.jpg.xmp").symlink_to(tmp_path / "secret.xmp")
    assert names_beside(folder, b"a.jpg") == []
    assert Folder(os.fsencode(folder)).read(b"a.jpg") == Annotations()
    followed = Folder(os.fsencode(folder), follow_links=True)
    assert [os.path.basename(sidecar.path) for sidecar in followed.beside(b"a.jpg")] == [b"a.jpg.xmp"]


def test_folder_that_is_not_there_or_no_folder_has_nothing(tmp_path, write):
    write("a.txt", b"two dogs")
    for path in (tmp_path / "missing", tmp_path / "a.txt"):
        assert Folder(os.fsencode(path)).beside(b"a.jpg") == ()


def test_file_that_vanishes_before_it_is_read_says_nothing(tmp_path, write):
    write("a.txt", b"two dogs")
    folder = Folder(os.fsencode(tmp_path))
    os.remove(tmp_path / "a.txt")
    assert folder.beside(b"a.jpg") == ()
    assert folder.read(b"a.jpg") == Annotations()


def test_long_file_is_read_at_its_beginning(tmp_path, write):
    write("a.txt", b"two dogs\n" + b"x" * (2 << 20))
    assert [text for _, _, text in texts(tmp_path, b"a.jpg")] == ["two dogs"]


def test_names_that_are_not_utf_8_have_their_sidecars(tmp_path):
    with open(os.path.join(os.fsencode(tmp_path), b"\xff.jpg.json"), "wb") as file:
        file.write(b'{"title": "A walk"}')
    assert names_beside(tmp_path, b"\xff.jpg") == [b"\xff.jpg.json"]
