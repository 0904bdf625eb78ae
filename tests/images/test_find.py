from __future__ import annotations

import os
import socket

import pytest

from mmsearch.errors import PictureError
from mmsearch.images import FoundFile, PassedOver, find_files, kinds, read_file
from tests import pictures


def names(entries):
    return [os.path.basename(entry.path) for entry in entries if isinstance(entry, FoundFile)]


def root(path):
    return [os.fsencode(path)]


def test_pictures_are_found_by_extension_in_sorted_order(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt", "c.jpeg.part"):
        (tmp_path / name).write_bytes(b"x")
    assert names(find_files(root(tmp_path))) == [b"a.png", b"b.JPG"]


def test_file_named_as_root_is_a_candidate_whatever_its_name(tmp_path):
    (tmp_path / "picture").write_bytes(b"x")
    assert names(find_files(root(tmp_path / "picture"))) == [b"picture"]


def test_hidden_entries_are_passed_over(tmp_path):
    (tmp_path / ".thumbnails").mkdir()
    (tmp_path / ".thumbnails" / "a.jpg").write_bytes(b"x")
    (tmp_path / ".b.jpg").write_bytes(b"x")
    assert names(find_files(root(tmp_path))) == []


def test_loop_of_links_ends(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.jpg").write_bytes(b"x")
    (tmp_path / "one" / "back").symlink_to(tmp_path)
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    assert names(find_files(root(tmp_path), follow_links=True)) == [b"a.jpg"]


def test_links_are_followed_only_when_asked(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a.jpg").write_bytes(b"x")
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far")
    assert names(find_files(root(tmp_path / "near"))) == []
    assert names(find_files(root(tmp_path / "near"), follow_links=True)) == [b"a.jpg"]


@pytest.mark.parametrize("target", [".", "..", "../two", "../two/deep", "../.."])
def test_links_into_a_folder_that_is_closed_to_them_or_around_it_are_passed_over(tmp_path, target):
    for name in ("set/one/a.jpg", "set/two/deep/b.jpg", "far/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "set" / "one" / "far").symlink_to(tmp_path / "far")
    (tmp_path / "set" / "one" / "link").symlink_to(target)
    entries = list(
        find_files(root(tmp_path / "set" / "one"), follow_links=True, closed_to_links=os.fsencode(tmp_path / "set"))
    )
    assert names(entries) == [b"a.jpg", b"c.jpg"]
    assert [entry.path for entry in entries if isinstance(entry, PassedOver)] == [
        os.fsencode(tmp_path / "set" / "one" / "link")
    ]


def test_overlapping_roots_give_each_file_once(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.jpg").write_bytes(b"x")
    assert names(find_files([os.fsencode(tmp_path), os.fsencode(tmp_path / "sub")])) == [b"a.jpg"]


def test_folder_named_like_a_picture_is_searched(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "folder.jpg" / "a.jpg").write_bytes(b"x")
    assert names(find_files(root(tmp_path))) == [b"a.jpg"]


@pytest.mark.parametrize(
    "name", [b"\xff\xfe.jpg", b"new\nline.jpg", b"\x1b[31m.jpg", b"[red].jpg", b"x" * 251 + b".jpg"]
)
def test_any_legal_name_is_found(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    with open(path, "wb"):
        pass
    assert names(find_files(root(tmp_path))) == [name]


def test_missing_root_is_named_as_vanished(tmp_path):
    (entry,) = find_files(root(tmp_path / "nowhere"))
    assert entry.code == "vanished"


def test_pipe_and_socket_are_named_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jpg"))
        codes = [entry.code for entry in find_files(root(tmp_path))]
        assert codes == ["not_a_file", "not_a_file"]
        for name in ("pipe.jpg", "socket.jpg"):
            with pytest.raises(PictureError) as caught:
                read_file(os.fsencode(tmp_path / name))
            assert caught.value.code == "not_a_file"


def passed_over(entries):
    return [
        (os.path.basename(entry.path), entry.kind, entry.is_folder)
        for entry in entries
        if isinstance(entry, PassedOver)
    ]


@pytest.fixture
def without_heif(monkeypatch):
    monkeypatch.setattr(kinds, "has_heif", lambda: False)


def test_jpeg_under_the_name_of_another_format_is_a_candidate(tmp_path, without_heif):
    for name in ("a.HEIC", "b.heif", "c.jxl", "d.psd", "e.CR2"):
        (tmp_path / name).write_bytes(pictures.saved(pictures.photo(8, 8), "JPEG"))
    entries = list(find_files(root(tmp_path)))
    assert names(entries) == [b"a.HEIC", b"b.heif", b"c.jxl", b"d.psd", b"e.CR2"]
    assert passed_over(entries) == []


def test_pictures_and_films_that_are_not_read_are_named_by_kind(tmp_path, without_heif):
    for name in ("a.heic", "b.NEF", "c.mp4", "d.jxl", "e.svg", "f.psd", "notes.txt", "noextension"):
        (tmp_path / name).write_bytes(pictures.HEIC_HEAD)
    (tmp_path / "g.dng").write_bytes(pictures.saved(pictures.photo(8, 8), "TIFF"))  # a preview, as cameras write it
    entries = list(find_files(root(tmp_path)))
    assert names(entries) == []
    assert [kind for _, kind, _ in passed_over(entries)] == [
        "HEIC", "RAW", "film", "JPEG XL", "SVG", "Photoshop", "RAW",
    ]  # fmt: skip


def test_heic_is_a_candidate_where_it_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(kinds, "has_heif", lambda: True)
    (tmp_path / "a.heic").write_bytes(pictures.HEIC_HEAD)
    assert names(find_files(root(tmp_path))) == [b"a.heic"]


LITTER = ("@eaDir", "#recycle", "$RECYCLE.BIN", ".thumbnails", "@Recycle", ".@__thumb", "@Recently-Snapshot",
          "#snapshot", "lost+found", "Thumbs", "__MACOSX", ".Trash-1000", "System Volume Information")  # fmt: skip


@pytest.mark.parametrize("name", LITTER)
def test_folder_of_copies_or_refuse_is_left_out_and_named(tmp_path, name):
    (tmp_path / name / "a.jpg").mkdir(parents=True)
    (tmp_path / name / "a.jpg" / "SYNOPHOTO_THUMB_XL.jpg").write_bytes(b"x")
    (tmp_path / "a.jpg").write_bytes(b"x")
    entries = list(find_files(root(tmp_path)))
    assert names(entries) == [b"a.jpg"]
    assert passed_over(entries) == [(os.fsencode(name), name, True)]


def test_folder_that_is_a_root_is_searched_whatever_its_name(tmp_path):
    (tmp_path / "@eaDir").mkdir()
    (tmp_path / "@eaDir" / "a.jpg").write_bytes(b"x")
    entries = list(find_files([os.fsencode(tmp_path), os.fsencode(tmp_path / "@eaDir")]))
    assert names(entries) == [b"a.jpg"]
    assert passed_over(entries) == []


def test_found_file_has_the_identity_and_times_of_the_file(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"xyz")
    status = (tmp_path / "a.jpg").stat()
    (entry,) = find_files(root(tmp_path))
    assert entry.look == (3, status.st_mtime_ns, status.st_ctime_ns)
