"""`mmsearch tag` and `caption` from outside."""

from __future__ import annotations

import json

from mmsearch.store.folder import Store

HINT = "was not read yet; `mmsearch index FOLDER` reads it\n"


def test_taking_away_a_tag_that_is_not_there_says_so(run, indexed, photos):
    cat = str(photos / "cat.jpg")
    indexed.tag(cat, "Mimi")
    code, out, err = run("tag", "rm", cat, "--tag", "Momo")
    assert (code, out) == (0, "")
    assert err.startswith("0 pictures untagged\nnone has such a tag of yours; `mmsearch tag list PATH` names all")
    code, out, err = run("tag", "rm", cat, "--tag", "mimi")
    assert (code, json.loads(out)["path"], err) == (0, cat, "1 picture untagged\n")


def test_a_caption_is_answered_with_the_whole_path_of_its_picture(run, indexed, photos, monkeypatch):
    monkeypatch.chdir(photos)
    _, out, _ = run("caption", "cat.jpg", "Mimi sleeps on the stove")
    assert json.loads(out)["path"] == str(photos / "cat.jpg")


def test_sidecars_that_are_written_and_removed_are_counted_in_their_own_words(run, indexed, photos, tmp_path):
    indexed.tag(photos / "cat.jpg", "Mimi")
    folder = str(tmp_path / "sidecars")
    _, out, err = run("export", "--sidecars", folder)
    assert json.loads(out) == {"format_version": 1, "folder": folder, "n_written": 1, "n_removed": 0}
    assert err.endswith(f"1 sidecar written: {folder}\n")
    indexed.untag(photos / "cat.jpg", "Mimi")
    _, _, err = run("export", "--sidecars", folder)
    assert err.endswith(f"0 sidecars written, 1 removed, as nothing is left of what you wrote: {folder}\n")


def test_what_an_earlier_version_did_not_read_is_said_by_status_and_by_a_search_for_words(run, indexed, photos):
    assert HINT not in run("search", "a cat")[2] + run("status")[2]
    with Store.writer(indexed.folder) as store, store.catalog.writing():
        store.catalog.db.execute("UPDATE image SET annotated = 0")
        for table in ("annotation", "document"):
            store.catalog.db.execute(f"DELETE FROM {table}")
    assert run("status", "--format", "table")[2].endswith(f"what is written beside 8 pictures {HINT}")
    assert run("search", "a cat")[2] == f"what is written beside the pictures {HINT}"
    for others in (("a cat", "--words", "none"), ("-i", str(photos / "cat.jpg"))):
        assert HINT not in run("search", *others)[2]


def test_a_tsv_has_the_parts_of_a_joined_score_and_the_text_as_json_does(run, indexed, photos):
    indexed.tag(photos / "cat.jpg", "Mimi asleep")
    asked = ("search", "mimi", "--words", "only", "--explain", "--format")
    (hit,) = json.loads(run(*asked, "json")[1])["hits"]
    header, row = (line.split("\t") for line in run(*asked, "tsv")[1].splitlines())
    told = dict(zip(header, row, strict=True))
    assert {name: float(told[name]) for name in hit["parts"]} == hit["parts"]
    assert (told["text"], hit["parts"]["words"]) == ("Mimi asleep", hit["score"])
    other = run("search", "mimi", "--words", "none", "--format", "tsv")[1].splitlines()[1]
    assert other.split("\t")[-4:] == [""] * 4
