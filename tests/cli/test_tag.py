"""`mmsearch tag` and `caption` from outside."""

from __future__ import annotations

import json


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
