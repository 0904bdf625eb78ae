"""Lists of captions say something of every picture that they name, in their folder and in those below."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.annotations import lists
from mmsearch.annotations.lists import read_list
from mmsearch.annotations.sidecars import Folder


def texts(listed, name):
    return [(text.source, text.text) for text in listed.get(name, ())]


@pytest.fixture
def listed(tmp_path):
    """Write a list and read it."""

    def read(name, content):
        (tmp_path / name).write_bytes(content)
        return read_list(os.fsencode(tmp_path / name))

    return read


def test_captions_are_read_with_their_translations(listed):
    line = {"image": "images/a.jpg", "captions": ["two dogs", "dogs"], "translations": {"fr": "deux chiens"}}
    said = listed("captions.jsonl", json.dumps(line).encode() + b"\n")
    assert texts(said, b"images/a.jpg") == [
        ("captions.jsonl:captions", "two dogs"), ("captions.jsonl:captions", "dogs"),
        ("captions.jsonl:translations", "deux chiens"),
    ]  # fmt: skip


def test_table_of_an_image_folder_is_read_by_the_names_of_its_columns(listed):
    table = '\ufefffile_name,text,width\r\na.jpg,"two dogs,\nin the snow",17\nsub/./b.jpg,a cat,3,4\nc.jpg\n'
    said = listed("metadata.csv", table.encode())
    assert texts(said, b"a.jpg") == [("metadata.csv:text", "two dogs, in the snow")]
    assert texts(said, b"sub/b.jpg") == [("metadata.csv:text", "a cat")]
    assert set(said) == {b"a.jpg", b"sub/b.jpg"}


def test_lines_of_an_image_folder_are_read(listed):
    said = listed("metadata.jsonl", b'{"file_name": "a.jpg", "caption": "two dogs", "label": 3}')
    assert texts(said, b"a.jpg") == [("metadata.jsonl:caption", "two dogs")]


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "b/../../a.jpg", "", ".", "\\ud800.jpg"])
def test_names_outside_of_the_folder_are_left_out(listed, name):
    assert listed("metadata.jsonl", f'{{"file_name": "{name}", "text": "two dogs"}}'.encode()) == {}


def test_damaged_and_long_lines_cost_no_others(listed):
    long = json.dumps({"file_name": "long.jpg", "text": "x" * (3 << 20)}).encode()
    lines = [
        b'{"file_name": ',
        b"[" * 50_000,
        long,
        b"[1]",
        b"\xff\xfe\0",
        b'{"file_name": "a.jpg", "text": "dogs"}',
    ]
    assert texts(listed("metadata.jsonl", b"\n".join(lines)), b"a.jpg") == [("metadata.jsonl:text", "dogs")]


def test_end_of_a_long_line_is_no_line_of_its_own(listed):
    sound = b'{"file_name": "a.jpg", "text": "dogs"}\n'
    assert listed("metadata.jsonl", b" " * (1 << 20) + sound) == {}
    assert set(listed("metadata.jsonl", b" " * (1 << 20) + b"\n" + sound)) == {b"a.jpg"}


def test_list_is_read_up_to_a_length(listed, monkeypatch):
    line = b'{"file_name": "%d.jpg", "text": "dogs"}\n'
    monkeypatch.setattr(lists, "_MAX_BYTES", 100)
    assert set(listed("metadata.jsonl", b"".join(line % n for n in range(9)))) == {b"0.jpg", b"1.jpg", b"2.jpg"}


def test_table_without_an_end_to_its_quotes_is_read_before_them(listed):
    said = listed("metadata.csv", b'file_name,text\na.jpg,dogs\nb.jpg,"' + b"x\n" * 200_000)
    assert set(said) == {b"a.jpg"}


def test_rows_are_kept_as_they_were_written_until_their_picture_is_asked_for(listed):
    row = b'{"image": "a.jpg", "text": "dogs"}\n'
    said = listed("captions.jsonl", row * 2)
    assert said.rows == {b"a.jpg": [row.decode()] * 2}
    assert texts(said, b"a.jpg") == [("captions.jsonl:text", "dogs")] * 2


def test_lists_of_folders_above_name_pictures_in_those_below(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "captions.jsonl").write_bytes(b'{"image": "images/a.jpg", "captions": ["two dogs"]}\n')
    (tmp_path / "images" / "metadata.csv").write_bytes(b"file_name,caption\na.jpg,dogs\n")
    root = Folder(os.fsencode(tmp_path))
    below = Folder(os.fsencode(tmp_path / "images"), above=root)
    assert [os.path.basename(sidecar.path) for sidecar in below.beside(b"a.jpg")] == [
        b"metadata.csv",
        b"captions.jsonl",
    ]
    assert [text.text for text in below.read(b"a.jpg").texts] == ["dogs", "two dogs"]
    assert root.read(b"a.jpg").texts == ()


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
@given(junk=st.binary(max_size=100))
def test_any_bytes_are_read_as_far_as_they_go(tmp_path_factory, name, junk):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(b'file_name,text\n{"file_name": "a.jpg", "text": "dogs"}\n' + junk)
    read_list(os.fsencode(path))


def test_list_that_is_a_pipe_or_missing_says_nothing(tmp_path):
    os.mkfifo(tmp_path / "metadata.csv")
    assert (
        read_list(os.fsencode(tmp_path / "metadata.csv"))
        == read_list(os.fsencode(tmp_path / "captions.jsonl"))
        == {}
    )
