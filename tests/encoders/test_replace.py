"""A folder is replaced whole, or not at all, whatever ends the process or is refused."""

from __future__ import annotations

import os

import pytest

from mmsearch.encoders import replace
from mmsearch.encoders.replace import recover, replace_folder, shared


@pytest.fixture
def new(tmp_path):
    return folder_of(tmp_path / "X.tmp", "new")


@pytest.fixture
def target(tmp_path):
    return folder_of(tmp_path / "X", "before")


def folder_of(path, text):
    path.mkdir()
    (path / "file").write_text(text)
    return path


def texts(parent):
    return {path.name: (path / "file").read_text() for path in parent.iterdir()}


def test_folder_takes_the_place_of_another_of_none_of_a_file_and_of_a_link(tmp_path):
    def kept():
        return folder_of(tmp_path / "elsewhere", "kept")

    for before in (None, lambda path: folder_of(path, "before"), os.mkfifo, lambda path: path.symlink_to(kept())):
        path = tmp_path / f"place-{before}"
        path.mkdir()
        if before is not None:
            before(path / "X")
        replace_folder(folder_of(path / "X.tmp", "new"), path / "X")
        assert texts(path) == {"X": "new"}
    assert (tmp_path / "elsewhere" / "file").read_text() == "kept"


def test_folder_is_on_the_disk_before_what_it_replaces_is_deleted(new, target, monkeypatch):
    done = []

    def note(module, name):
        real = getattr(module, name)

        def call(*paths):
            done.append((name, *(path.name for path in paths)))
            real(*paths)

        monkeypatch.setattr(module, name, call)

    note(replace, "sync_folder")
    note(os, "rename")
    note(replace, "_delete")
    replace_folder(new, target)
    assert done == [
        ("sync_folder", "X.tmp"), ("rename", "X", "X.old"), ("rename", "X.tmp", "X"),
        ("sync_folder", target.parent.name), ("_delete", "X.old"),
    ]  # fmt: skip


def test_folder_before_is_back_when_the_second_rename_is_refused(new, target, tmp_path, monkeypatch):
    def move(source, to, real=os.rename):
        if source == new:
            raise OSError("refused")
        real(source, to)

    monkeypatch.setattr(os, "rename", move)
    with pytest.raises(OSError, match="refused"):
        replace_folder(new, target)
    assert texts(tmp_path) == {"X": "before", "X.tmp": "new"}


def test_nothing_is_replaced_when_the_check_refuses(new, target, tmp_path):
    def check():
        raise PermissionError

    with pytest.raises(PermissionError):
        replace_folder(new, target, check)
    assert texts(tmp_path) == {"X": "before", "X.tmp": "new"}


@pytest.mark.parametrize(
    ("left", "found"),
    [
        ({}, {}),
        ({"X.tmp": "part"}, {}),
        ({"X": "before", "X.tmp": "part"}, {"X": "before"}),
        ({"X.old": "before", "X.tmp": "new"}, {"X": "new"}),
        ({"X.old": "before"}, {"X": "before"}),
        ({"X": "new", "X.old": "before"}, {"X": "new"}),
    ],
)
def test_what_a_kill_left_ends_with_one_whole_folder(tmp_path, left, found):
    for name, text in left.items():
        folder_of(tmp_path / name, text)
    recover(tmp_path / "X.tmp", tmp_path / "X")
    assert texts(tmp_path) == found


def test_what_killed_processes_left_is_recovered_unless_another_is_at_it(tmp_path):
    left = {"X.12.tmp": "part", "Y.3.old": "before", "Y.3.tmp": "new", "Z": "new", "Z.4.old": "before", "k": "kept"}
    for name, text in left.items():
        folder_of(tmp_path / name, text)
    (tmp_path / "graph.bin.tmp").mkdir()
    (tmp_path / "graph.bin.tmp" / "file").write_text("of others")
    with shared(tmp_path):
        whole = {"Y": "new", "Z": "new", "k": "kept", "graph.bin.tmp": "of others"}
        assert texts(tmp_path) == whole
        folder_of(tmp_path / "X.5.tmp", "of this process")
        with shared(tmp_path):
            assert texts(tmp_path) == whole | {"X.5.tmp": "of this process"}
