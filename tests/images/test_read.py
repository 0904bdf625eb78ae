from __future__ import annotations

import os
from hashlib import sha256

import pytest

from mmsearch.errors import PictureError
from mmsearch.images import file_digest, read_file
from tests import pictures


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


@pytest.fixture
def n_read(monkeypatch):
    """Count the bytes that are read."""
    sizes, real = [], os.read

    def read(handle, size):
        data = real(handle, size)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(os, "read", read)
    return lambda: sum(sizes)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"", "starts with zeros alone"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isommp42", "this is a film"),
        (b"PK\3\4", "this is a ZIP archive"),
        (b"no picture at all", "no known picture format"),
    ],
)
def test_large_file_that_is_no_picture_is_refused_after_its_first_bytes(tmp_path, n_read, start, message):
    path = tmp_path / "x.jpg"
    path.write_bytes(start)
    os.truncate(path, 1000 << 20)
    with pytest.raises(PictureError, match=message) as caught:
        read_file(os.fsencode(path))
    assert caught.value.code == "not_an_image"
    assert n_read() <= 1 << 16


def test_picture_is_read_whole(tmp_path):
    data = pictures.saved(pictures.photo(500, 500), "BMP")
    (tmp_path / "a.bmp").write_bytes(data)
    found, status = read_file(os.fsencode(tmp_path / "a.bmp"))
    assert (found, status.st_size) == (data, len(data))


def test_digest_of_a_file_is_made_in_blocks(tmp_path, n_read):
    data = os.urandom(2_500_000)
    (tmp_path / "a.bin").write_bytes(data)
    assert file_digest(os.fsencode(tmp_path / "a.bin")) == sha256(data).digest()
    assert n_read() == len(data)


def test_digest_of_a_pipe_or_of_a_file_that_is_gone_is_refused_by_name(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, code in (("pipe", "not_a_file"), ("nowhere", "vanished")):
        with pytest.raises(PictureError) as caught:
            file_digest(os.fsencode(tmp_path / name))
        assert caught.value.code == code
