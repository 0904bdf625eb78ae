"""`index` run again, as people meet it: a renamed folder, a typo, a file that was damaged, what is missing."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from mmsearch import Library
from mmsearch.cli.demo import _forget_others
from mmsearch.samples import sample_folder


@pytest.fixture
def ready(run, indexed):
    """`run` after the eight photographs were indexed."""
    return run


def test_typo_in_the_first_index_is_one_sentence_and_makes_nothing(run, tmp_path, checkpoint):
    code, out, err = run("index", tmp_path / "fotos", "--model", checkpoint)
    assert (code, out) == (1, "")
    assert "no picture was found at or below" in err
    assert "there is no such file or folder" in err
    assert not (tmp_path / "library").exists()


def test_renamed_folder_is_moved_and_the_old_name_says_what_to_do(ready, photos, tmp_path):
    photos.rename(tmp_path / "elsewhere")
    assert "0 new, 0 changed, 8 moved, 0 gone" in ready("index", tmp_path / "elsewhere")[2]
    code, out, _ = ready("search", "a cat", "--format", "paths", "-k", "20")
    assert code == 0
    assert all(path.startswith(str(tmp_path / "elsewhere")) for path in out.splitlines())
    shutil.rmtree(tmp_path / "elsewhere")
    code, _, err = ready("index", tmp_path / "elsewhere")
    assert code == 3
    assert f"`mmsearch rm {tmp_path / 'elsewhere'}` forgets them" in err


def test_missing_files_are_marked_in_every_answer(ready, photos):
    (photos / "cat.jpg").unlink()
    code, out, err = ready("search", "a cat", "-k", "20", "--format", "table")
    assert code == 0
    assert [line.split()[2:] for line in out.splitlines() if "  missing  " in line] == [
        ["missing", str(photos / "cat.jpg")]
    ]
    assert "1 of these files is gone" in err
    hits = [json.loads(line) for line in ready("search", "a cat", "-k", "20")[1].splitlines()]
    assert [os.path.basename(hit["path"]) for hit in hits if hit["is_missing"]] == ["cat.jpg"]


def test_recheck_is_an_option_of_index(ready, photos):
    (photos / "bad.jpg").write_bytes(b"<html></html>")
    assert ready("index", photos)[0] == 3
    assert ready("index", photos)[0] == 0
    assert ready("index", photos, "--recheck")[0] == 3


def test_lost_vectors_are_said_by_status_and_search_and_given_up_by_index_alone(ready, photos, tmp_path):
    os.truncate(tmp_path / "library" / "vectors-0.f16", 0)
    for command in (("status", "--format", "table"), ("search", "a cat", "--format", "table")):
        assert "holds 0 of 8 vectors, so 8 pictures cannot be found" in ready(*command)[2].replace("\n", " ")
    assert "1 picture forgotten" in ready("rm", photos / "cat.jpg")[2]
    code, out, err = ready("index", photos)
    assert (code, json.loads(out)["given_up"], json.loads(out)["new"]) == (0, 7, 8)
    assert "7 pictures are given up with their vectors" in err
    assert ready("verify")[0] == 0


def test_demo_of_another_installation_is_not_listed_beside_this_one(library, checkpoint, tmp_path):
    other = shutil.copytree(sample_folder(), tmp_path / "other")
    library.index([other], model=str(checkpoint), local=False)
    with Library.open(library.folder) as opened:
        _forget_others(opened, sample_folder())
        opened.index([sample_folder()])
        folders = {os.path.dirname(hit.path) for hit in opened.search("a cat", k=100).hits}
    assert folders == {str(sample_folder())}
