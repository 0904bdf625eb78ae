"""`mmsearch people` from outside: what it lists, what it changes, and how it ends."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mmsearch.cli.app import app
from mmsearch.store.changes import Changes
from tests.cli.test_cli import json_lines
from tests.faces.packed import face, packed
from tests.forms import check_run

NAMES = ("astronaut", "cat", "coffee", "creek")


@pytest.fixture
def told(indexed, photos):
    """Run a command on a library in which two pictures show person 1, and two person 2; give what it says."""
    store = indexed.reader()
    ids = [store.image_at(bytes(photos / f"{name}.jpg")).image_id for name in NAMES]
    hash_of = store.hashes_of(ids)
    with indexed.place.writer() as writer:
        writer.faces.want(True)
        writer.faces.keep({hash_of[image_id]: packed(face(1 + n // 2, n % 2)) for n, image_id in enumerate(ids)})
        writer.people.group(lambda *_: None)
    indexed.close()

    def told(*arguments, code=0):
        asked = [*map(str, arguments), "--library", str(indexed.folder)]
        done = CliRunner().invoke(app, asked, catch_exceptions=False)
        check_run(asked, done.stdout)
        assert done.exit_code == code, done.stderr
        return done.stdout, done.stderr

    return told


def test_people_are_listed_named_and_found(told, photos):
    listed = json_lines(told("people", "list")[0])
    assert [(person["group"], person["name"], person["n_faces"]) for person in listed] == [
        (1, None, 2),
        (2, None, 2),
    ]
    assert listed[0]["box"] == [0.25, 0.125, 0.75, 0.5]
    out, err = told("people", "name", 1, "Anna")
    assert (json.loads(out)["name"], err) == ("Anna", "group 1 is Anna\n")
    assert told("people", "name", 2, "Anna")[1] == (
        "group 2 is Anna\nso is group 1; `mmsearch people merge 2 1` makes them one\n"
    )
    told("people", "name", 2, "--rm")
    out, _ = told("search", "a", "--where", "person = Anna", "--format", "paths")
    assert sorted(out.splitlines()) == [str(photos / "astronaut.jpg"), str(photos / "cat.jpg")]
    table, _ = told("people", "list", "--format", "table")
    assert table.splitlines()[1].split()[:4] == ["1", "Anna", "2", "2"]
    assert len(json.loads(told("people", "list", 1, "--format", "json")[0])["faces"]) == 2
    assert "4 in 4 pictures; `mmsearch people list` shows whose" in told("status", "--format", "table")[0]


def test_groups_are_split_merged_hidden_and_forgotten(told, photos):
    out, err = told("people", "split", 1, photos / "cat.jpg")
    assert (json.loads(out)["group"], err) == (
        3, "their group is 3 now, and they never come back into 1 by themselves\n",
    )  # fmt: skip
    told("people", "merge", 2, 3)
    assert len(told("people", "list", 2, "--format", "paths")[0].splitlines()) == 3
    assert told("people", "hide", 2)[1] == "group 2 is hidden\n"
    assert [person["group"] for person in json_lines(told("people", "list")[0])] == [1]
    assert [person["group"] for person in json_lines(told("people", "list", "--all")[0])] == [2, 1]
    told("people", "hide", 1)
    all_hidden = told("people", "list", "--format", "table")[1]
    assert all_hidden == "all groups are hidden; `mmsearch people list --all` lists them\n"
    assert told("people", "forget", 2)[1] == "3 faces erased\n"
    assert told("people", "forget", "--all", "--format", "paths") == ("", "1 face erased\n")
    assert told("people", "list", "--format", "table")[1].startswith("no people; `mmsearch index --faces`")


def test_a_name_whose_pictures_left_is_listed_until_it_is_forgotten(told, indexed, photos):
    told("people", "name", 1, "Anna")
    with indexed.place.writer() as writer:
        gone = [writer.image_at(bytes(photos / f"{name}.jpg")).image_id for name in NAMES[:2]]
        writer.commit(Changes(gone=gone))
    sentence = "group 1 is Anna, whose pictures left; `mmsearch people forget 1` forgets it\n"
    assert told("people", "list", "--all")[1] == sentence
    assert told("people", "forget", 1)[1] == "0 faces erased\n"
    assert told("people", "list", "--all")[1] == ""


def test_identify_without_a_gallery_answers_by_the_names_that_people_gave(told, photos):
    told("people", "name", 1, "Anna")
    told("people", "name", 2, "Berta")
    out, err = told("identify", photos / "cat.jpg", photos / "creek.jpg", "--format", "json")
    anna, berta = json.loads(out)["pictures"]
    assert [(said["best"], said["answered_by"]) for said in (anna, berta)] == [
        ("Anna", "faces"),
        ("Berta", "faces"),
    ]
    assert anna["faces"][0]["box"] == [pytest.approx(side, abs=1e-4) for side in (0.25, 0.125, 0.75, 0.5)]
    assert err.startswith("nobody is named, as too few faces are known")
    assert err.count("\n") == 1
    table, _ = told("identify", photos / "cat.jpg", "--format", "table", "-k", 1)
    assert table.splitlines()[1].startswith(
        "unknown   face at 0.25,0.13,0.75,0.50: distance does not tell  Anna  1.000"
    )
    tsv, _ = told("identify", photos / "cat.jpg", "--format", "tsv")
    assert dict(zip(*(line.split("\t") for line in tsv.splitlines()), strict=True))["answered_by"] == "faces"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["name", "1"], "give either a NAME or --rm"),
        (["name", "1", "Anna", "--rm"], "give either a NAME or --rm"),
        (["forget"], "give either a GROUP or --all"),
        (["forget", "1", "--all"], "give either a GROUP or --all"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(arguments, sentence):
    done = CliRunner().invoke(app, ["people", *arguments])
    assert done.exit_code == 2
    assert sentence in done.stderr
