"""`mmsearch backup` and `restore` from outside: what they write, what they say, and how they end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmsearch import Library
from mmsearch.cli.app import app
from mmsearch.cli.backup import _moves
from mmsearch.errors import QueryError
from tests.forms import check_run


@pytest.fixture
def told(indexed, cache, tmp_path, monkeypatch):
    """Run a command on the eight photographs in this process; returns its exit code, what it printed and said."""
    monkeypatch.chdir(tmp_path)
    environment = {"MMSEARCH_LIBRARY": str(indexed.folder), "MMSEARCH_CACHE": str(cache), "COLUMNS": "200"}

    def told(*arguments):
        done = CliRunner().invoke(app, list(map(str, arguments)), env=environment)
        check_run(arguments, done.stdout)
        return done.exit_code, done.stdout, done.stderr

    return told


def test_a_library_goes_into_a_file_and_comes_back_where_its_pictures_lie_now(told, indexed, photos, tmp_path):
    code, out, err = told("backup", "a.backup")
    assert (code, json.loads(out)["n_pictures"], json.loads(out)["has_encoder"]) == (0, 8, True)
    assert err.startswith("8 pictures, 8 vectors, ")
    assert err.endswith(f": {tmp_path / 'a.backup'}\n")
    photos.rename(tmp_path / "moved")
    code, out, err = told("restore", "a.backup", "--library", "back", "--move", f"{photos}={tmp_path / 'moved'}")
    assert (code, json.loads(out)["n_moved"]) == (0, 8)
    assert f"8 pictures, 8 of them moved, 8 vectors: {tmp_path / 'back'}\n" in err
    assert err.endswith(f"`mmsearch index {tmp_path / 'moved'}` makes the indexes anew\n")
    back = Library.open("back")
    assert back.index(tmp_path / "moved", local=False).unchanged == 8
    assert [hit.path for hit in back.search("a cat")] == [
        hit.path.replace(str(photos), str(tmp_path / "moved")) for hit in indexed.search("a cat")
    ]
    back.close()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("backup",), "Missing argument 'FILE'"),
        (("restore", "a.backup", "--move", "/a"), "'/a' is no OLD=NEW; expected two paths that begin with /"),
        (("restore", "a.backup", "--move", "a=/b"), "'a=/b' is no OLD=NEW"),
        (("restore", "a.backup", "--move", "/a=/b", "--move", "/a=/c"), "/a has two new places"),
    ],
)
def test_what_cannot_be_meant_is_refused_as_usage(tmp_path, arguments, sentence):
    done = CliRunner().invoke(app, [*arguments, "--library", str(tmp_path / "library")], env={"COLUMNS": "200"})
    assert (done.exit_code, done.stdout) == (2, "")
    assert sentence in " ".join(done.stderr.split())
    assert os.listdir(tmp_path) == []


def test_an_empty_name_is_refused(tmp_path):
    done = CliRunner().invoke(app, ["restore", "--library", str(tmp_path / "library"), ""])
    assert isinstance(done.exception, QueryError)


def test_the_home_folder_may_be_written_as_the_shell_leaves_it_and_a_name_may_hold_an_equals_sign():
    moves = _moves(["/old=~/photos", "/a=b=/c", "/x=/y=z"])
    assert moves == {"/old": str(Path.home() / "photos"), "/a=b": "/c", "/x": "/y=z"}
