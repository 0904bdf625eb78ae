from __future__ import annotations

import os
import socket

import pytest

from mmsearch.errors import PictureError
from mmsearch.images import FoundFile, find_files, read_file


def names(found):
    return [os.path.basename(one.path) for one in found if isinstance(one, FoundFile)]


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
    (found,) = find_files(root(tmp_path / "nowhere"))
    assert found.code == "vanished"


def test_pipe_and_socket_are_named_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jpg"))
        codes = [found.code for found in find_files(root(tmp_path))]
        assert codes == ["not_a_file", "not_a_file"]
        for name in ("pipe.jpg", "socket.jpg"):
            with pytest.raises(PictureError) as caught:
                read_file(os.fsencode(tmp_path / name))
            assert caught.value.code == "not_a_file"


def test_device_is_not_a_file():
    with pytest.raises(PictureError) as caught:
        read_file(b"/dev/zero")
    assert caught.value.code == "not_a_file"


def test_file_that_grows_while_it_is_read_is_named_as_changed(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x" * 100)
    real = os.read

    def read(handle, size):
        data = real(handle, size)
        with path.open("ab") as file:
            file.write(b"more")
        return data

    monkeypatch.setattr(os, "read", read)
    with pytest.raises(PictureError) as caught:
        read_file(os.fsencode(path))
    assert caught.value.code == "changed"


def test_file_above_the_limit_is_not_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x" * 100)
    with pytest.raises(PictureError, match="has 100 bytes, at most 50 are read"):
        read_file(os.fsencode(tmp_path / "a.jpg"), max_bytes=50)


def test_unreadable_file_is_named_with_permission(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"x")

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # as root, no file is unreadable
    with pytest.raises(PictureError) as caught:
        read_file(os.fsencode(tmp_path / "a.jpg"))
    assert caught.value.code == "permission"
