"""`mmsearch embed`, `export` and `load` from outside: into shards, and from one library to another by them."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from tests.conftest import random_units
from tests.shards.bundles import write_table, write_tar
from tests.shards.test_clip_retrieval import write_part


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
    by_pixels = ("search", "a cat", "--words", "none", "--format", "paths")
    code, there, _ = ready(*by_pixels)
    _, here, _ = ready(*by_pixels, "--library", tmp_path / "library")
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
        (("export",), 2, "give --out DIR for shards, or --sidecars DIR for tags and captions"),
        (("export", "--out", ""), 2, "is an empty path"),
        (("export", "--out", "library"), 1, "is a library; choose another folder"),
        (("export", "--out", "photos/cat.jpg"), 1, "could not write the folder of shards"),
        (("export", "--out", "shards", "--library", "missing"), 1, "no library found"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(ready, tmp_path, arguments, code, message):
    exit_code, out, err = ready(*arguments, cwd=tmp_path)
    assert (exit_code, out) == (code, "")
    assert message in " ".join(err.split())


def test_load_takes_what_clip_retrieval_wrote_under_the_name_of_a_model(run, photos, checkpoint, tmp_path):
    vectors = np.float16(random_units(2, 32))
    write_part(tmp_path / "emb", vectors, image_path=["cat.jpg", "000000001"], url=["a", "b"])
    code, out, err = run("load", tmp_path / "emb")
    assert (code, out) == (1, "")
    assert "name the model with --model, such as ViT-B-32/openai" in " ".join(err.split())
    code, out, err = run("load", tmp_path / "emb", "--model", checkpoint, "--images", photos)
    assert (code, json.loads(out)["new"]) == (0, 2)
    assert "the contents of 1 picture are not known" in err
    assert str(photos / "cat.jpg") in run("search", "a cat", "--format", "paths")[1].splitlines()


def test_embed_takes_folders_and_lists_and_a_library_is_filled_from_what_it_wrote(
    run, photos, checkpoint, tmp_path
):
    strange = os.fsencode(photos) + b"/\xff \n.jpg"
    shutil.copyfile(photos / "cat.jpg", strange)
    (photos / "page.jpg").write_bytes(b"<html></html>")
    (tmp_path / "list").write_bytes(b"\0".join([strange, b"photos/cat.jpg", b""]))
    arguments = ("embed", "--out", "shards", "--model", checkpoint, "--workers", "1")
    code, out, err = run(*arguments, "--list", "list", cwd=tmp_path)
    assert (code, json.loads(out)["new"]) == (0, 2)
    code, out, err = run(
        *arguments, "photos/trip", "--list", "-", cwd=tmp_path, input=b"photos/page.jpg\nphotos/dam.jpg\n"
    )
    assert (code, json.loads(out)["new"]) == (3, 3)
    assert f"not_an_image: {photos}/page.jpg: this is an HTML page" in err
    assert err.endswith(f"shards: {tmp_path / 'shards'}\n")
    code, out, _ = run("load", tmp_path / "shards")
    assert (code, json.loads(out)["new"]) == (0, 5)
    _, out, _ = run("search", "a cat", "--format", "paths0", "-k", "9", "--collapse", "none")
    assert os.fsdecode(strange) in out.split("\0")


@pytest.mark.full
def test_pictures_in_a_tar_are_found_and_not_called_gone_while_it_is_there(run, photos, checkpoint, tmp_path):
    write_tar(tmp_path / "a.tar", [("cat.jpg", (photos / "cat.jpg").read_bytes())])
    run("embed", "a.tar", "--out", "shards", "--model", checkpoint, "--workers", "1", cwd=tmp_path)
    assert run("load", "shards", cwd=tmp_path)[0] == 0
    code, out, err = run("search", "a cat", "--format", "paths")
    assert (code, out) == (0, f"{tmp_path}/a.tar/cat.jpg\n")
    assert "gone" not in err
    (tmp_path / "a.tar").unlink()
    assert "1 of these files is gone" in run("search", "a cat", "--format", "paths")[2]


def test_embed_reads_pictures_in_tars_and_parquet_files_and_names_bad_ones(run, photos, checkpoint, tmp_path):
    cat = (photos / "cat.jpg").read_bytes()
    write_tar(tmp_path / "a.tar", [("cat.jpg", cat), ("../out.jpg", cat)])
    write_table(tmp_path / "a.parquet", photo=[cat, b"text"])
    arguments = ("embed", "a.tar", "a.parquet", "--out", "shards", "--model", checkpoint, "--workers", "1")
    code, out, err = run(*arguments, "--image-column", "photo", cwd=tmp_path)
    assert (code, json.loads(out)["new"]) == (3, 2)
    assert f"unsupported: {tmp_path}/a.tar/../out.jpg: the name of this member leads out of the tar" in err
    assert f"not_an_image: {tmp_path}/a.parquet/1: " in err
    code, out, err = run(*arguments, cwd=tmp_path)
    assert (code, json.loads(out)["unchanged"]) == (3, 1)
    assert "its columns are photo (binary): name one with --image-column" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("embed", "photos"), 2, "Missing option '--out'"),
        (("embed", "--out", "shards"), 2, "no folder was given"),
        (("embed", "--out", "shards", "--list", "missing"), 2, "missing cannot be read"),
        (("embed", "--out", "shards", "--list", "empty"), 2, "empty is empty; expected paths"),
        (("embed", "--out", "", "photos"), 2, "is an empty path"),
        (("embed", "--out", "shards", "missing"), 1, "so nothing was embedded"),
        (("embed", "--out", "shards", "photos", "--model", "none"), 2, "give it the name of an encoder"),
        (("embed", "--out", "shards", "photos", "--workers", "0"), 2, "0 is not in the range"),
        (("embed", "--out", "library", "photos", "--model", "missing/tag"), 1, "missing"),
    ],
)
def test_what_cannot_be_embedded_is_one_sentence(ready, photos, tmp_path, arguments, code, message):
    (tmp_path / "empty").touch()
    exit_code, out, err = ready(*arguments, cwd=tmp_path)
    assert (exit_code, out) == (code, "")
    assert message in " ".join(err.split())
