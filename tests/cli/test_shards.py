"""`mmsearch export` and `load` from outside: from one library to another by a folder of shards."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.fixture
def ready(run, indexed):
    """`run` after the eight photographs were indexed."""
    return run


def test_a_library_goes_to_another_by_shards_and_is_searched_there(ready, tmp_path):
    code, out, err = ready("export", "--out", tmp_path / "shards")
    assert (code, json.loads(out)["new"]) == (0, 8)
    assert err.endswith(f"shards: {tmp_path / 'shards'}\n")
    ready.environment["MMSEARCH_LIBRARY"] = str(tmp_path / "other")
    code, out, err = ready("load", tmp_path / "shards")
    assert (code, json.loads(out)["new"]) == (0, 8)
    assert "8 new, 0 changed, 0 moved, 0 gone, 0 unchanged, 0 bad in" in err
    assert err.endswith(f"library: {tmp_path / 'other'}\n")
    code, there, _ = ready("search", "a cat", "--format", "paths")
    _, here, _ = ready("search", "a cat", "--format", "paths", "--library", tmp_path / "library")
    assert (code, there) == (0, here)
    assert ready("verify")[0] == 0


def test_a_bad_shard_is_named_and_the_exit_code_is_3(ready, tmp_path):
    ready("export", "--out", tmp_path / "shards")
    shutil.copy(tmp_path / "shards" / "shard-00000.parquet", tmp_path / "shards" / "shard-00001.parquet")
    with (tmp_path / "shards" / "shard-00001.parquet").open("r+b") as file:
        file.truncate(100)
    code, out, err = ready("load", tmp_path / "shards")
    assert (code, json.loads(out)["unchanged"]) == (3, 8)
    assert f"truncated: {tmp_path}/shards/shard-00001.parquet: " in err
    assert "this shard ends too soon" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("load", "missing"), 1, "no folder of shards can be read here"),
        (("load", "photos"), 1, "holds no shards"),
        (("load", ""), 2, "is an empty path"),
        (("load",), 2, "Missing argument 'DIR'"),
        (("export",), 2, "Missing option '--out'"),
        (("export", "--out", "library"), 1, "is a library; choose another folder"),
        (("export", "--out", "photos/cat.jpg"), 1, "could not write the folder of shards"),
        (("export", "--out", "shards", "--library", "missing"), 1, "no library found"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(ready, tmp_path, arguments, code, message):
    exit_code, out, err = ready(*arguments, cwd=tmp_path)
    assert (exit_code, out) == (code, "")
    assert message in " ".join(err.split())
