"""`mmsearch duplicates` from outside: what is printed for people and programs, and that nothing is deleted."""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64decode

import pytest
from typer.testing import CliRunner

from mmsearch.cli.app import app
from tests.forms import check_run


@pytest.fixture
def told(indexed, photos, cache, tmp_path):
    """Run the command in this process on the eight photographs, one of them with two copies."""
    for name in ("copy", "copy\udcff"):
        shutil.copyfile(photos / "cat.jpg", photos / f"{name}.jpg")
    indexed.index([photos])
    indexed.close()
    environment = {"MMSEARCH_LIBRARY": str(indexed.folder), "MMSEARCH_CACHE": str(cache), "COLUMNS": "100"}

    def told(*arguments):
        done = CliRunner().invoke(app, ["duplicates", *map(str, arguments)], env=environment)
        check_run(["duplicates", *map(str, arguments)], done.stdout)
        return done.exit_code, done.stdout_bytes, done.stderr

    return told


def test_the_paths_are_those_that_would_go_and_never_the_keeper_and_nothing_goes(told, photos):
    before = sorted(os.listdir(os.fsencode(photos)))
    code, out, err = told("--format", "paths0")
    copies = [os.fsencode(photos / "copy.jpg"), os.fsencode(photos / "copy\udcff.jpg")]
    assert (code, sorted(out.split(b"\0")[:-1])) == (0, copies)
    assert err.endswith("1 group among 10 pictures; 2 pictures beside those to keep, 52.9 kB\n")
    assert sorted(os.listdir(os.fsencode(photos))) == before


def test_programs_are_told_groups_with_keepers_and_reasons(told, photos):
    answer = json.loads(told("--format", "json")[1])
    assert (answer["n_groups"], answer["n_pictures"], answer["n_missing"]) == (1, 10, 0)
    (group,) = answer["groups"]
    assert (group["kind"], group["keeper"]["path"], group["reason"]) == (
        "same-file", str(photos / "cat.jpg"), "oldest file",
    )  # fmt: skip
    assert [other["evidence"] for other in group["others"]] == ["bytes", "bytes"]
    (encoded,) = [other["path_base64"] for other in group["others"] if "path_base64" in other]
    assert b64decode(encoded) == os.fsencode(photos / "copy\udcff.jpg")
    (line,) = told("--format", "jsonl")[1].splitlines()
    assert json.loads(line)["others"] == group["others"]
    rows = [line.split("\t") for line in told("--format", "tsv")[1].decode().splitlines()]
    assert rows[0] == ["kind", "path", "keeper", "changes", "evidence", "score", "size_bytes"]
    assert rows[1][0::2][:2] == ["same-file", str(photos / "cat.jpg")]


def test_people_see_what_is_kept_first_and_why(told, photos):
    lines = told("--format", "table")[1].decode().splitlines()
    assert lines[1].split() == ["same-file", "26.4", "kB", "keep,", "oldest", "file", str(photos / "cat.jpg")]
    assert lines[2].split()[:3] == ["26.4", "kB", "equal"]


def test_a_library_without_duplicates_says_so(told, photos):
    code, out, err = told(photos / "trip")
    assert (code, out, err.splitlines()[-1]) == (0, b"", "no duplicates among 2 pictures")


@pytest.mark.full
def test_the_page_shows_groups_side_by_side(told, photos, tmp_path):
    page = tmp_path / "duplicates.html"
    assert told("--html", page)[0] == 0
    text = page.read_text()
    assert text.count("data:image/jpeg") == 3
    assert "same-file, 52.9 kB beside the first" in text
    assert "1. cat.jpg<small>keep, oldest file</small>" in text
