from __future__ import annotations

import os
import pwd
import sqlite3
import unicodedata
from contextlib import closing
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import QueryError
from mmsearch.store.where import parse_where, register_functions

PICTURES = [  # path, size, width, height, format, taken
    ("/photos/2023/beach.jpg", 500_000, 4000, 3000, "JPEG", "2023-05-01T12:00:00"),
    ("/photos/2023/cat.png", 20_000, 640, 480, "PNG", "2023-06-30T23:59:59"),
    ("/photos/2024/cat.jpg", 2_500_000, 800, 1200, "JPEG", "2024-01-01T00:00:00"),
    ("/photos/old [1].jpg", 900, 100, 100, "JPEG", None),
]


COMPOSED, DECOMPOSED = "\u00e9", "e\u0301"


def matches(*expressions, pictures=PICTURES):
    condition = parse_where(expressions)
    with closing(sqlite3.connect(":memory:")) as db:
        register_functions(db)
        db.execute("CREATE TABLE image (path BLOB, size INT, width INT, height INT, format TEXT, taken TEXT)")
        rows = [(os.fsencode(path), *rest) for path, *rest in pictures]
        db.executemany("INSERT INTO image VALUES (?, ?, ?, ?, ?, ?)", rows)
        sql = f"SELECT rowid FROM image WHERE {condition.sql or 1} ORDER BY rowid"
        return [row - 1 for (row,) in db.execute(sql, condition.parameters)]


@pytest.mark.parametrize(
    ("expressions", "expected"),
    [
        ([], [0, 1, 2, 3]),
        (["width >= 800"], [0, 2]),
        (["width>=800", "height < 2000"], [2]),
        (["size > 1M"], [2]),
        (["size <= 20k"], [1, 3]),
        (["folder = /photos/2023"], [0, 1]),
        (["folder = /photos/2023/"], [0, 1]),
        (["folder != /photos/2023"], [2, 3]),
        (["folder = /photos/202"], []),
        (["name ~ cat.*"], [1, 2]),
        (["name = cat.jpg"], [2]),
        (["path ~ *2024*"], [2]),
        (["path = /photos/2023/cat.png"], [1]),
        (["name = old [1].jpg"], [3]),
        (["taken = 2023"], [0, 1]),
        (["taken = 2023-05"], [0]),
        (["taken > 2023-05"], [1, 2]),
        (["taken >= 2023-06-30T23:59"], [1, 2]),
        (["taken != 2023"], [2]),
        (["format = jpeg"], [0, 2, 3]),
    ],
)
def test_filter_passes_the_pictures_it_names(expressions, expected):
    assert matches(*expressions) == expected


def passing(expression, *paths):
    """Return those of some paths that pass a filter."""
    pictures = [(path, *PICTURES[0][1:]) for path in paths]
    return [paths[place] for place in matches(expression, pictures=pictures)]


# -- home folders ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("folder = ~/photos/party", ["party/a.jpg"]),
        ("folder =~/photos/party/", ["party/a.jpg"]),
        ("folder = ~", ["party/a.jpg", "b.jpg"]),
        ("folder != ~/photos/party", ["b.jpg"]),
        ("path = ~/photos/b.jpg", ["b.jpg"]),
        ("path ~ ~/photos/*.jpg", ["party/a.jpg", "b.jpg"]),
        ("path ~~/photos/b*", ["b.jpg"]),
        ("folder ~ ~/photos/p*", ["party/a.jpg"]),
        ("folder = ~/photos/../photos/./party", ["party/a.jpg"]),
    ],
)
@pytest.mark.parametrize("home", ["/home/me", "/home/[me] *", "/home/Andr\u00e9", "/"])
def test_a_tilde_is_the_home_folder_of_this_user(expression, expected, home, monkeypatch):
    monkeypatch.setenv("HOME", home)
    photos = os.path.join(home, "photos/")
    paths = [photos + "party/a.jpg", photos + "b.jpg"]
    assert passing(expression, *paths) == [photos + name for name in expected]


def test_a_tilde_and_a_name_is_the_home_folder_of_that_user():
    user = pwd.getpwuid(os.getuid())
    path = os.path.join(user.pw_dir, "party/a.jpg")
    assert passing(f"folder = ~{user.pw_name}/party", path) == [path]
    assert passing(f"path ~ ~{user.pw_name}/party/*", path) == [path]


def test_a_tilde_of_nobody_and_one_in_a_name_are_letters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    backup = f"{tmp_path}/~no such user/a~.jpg"
    assert passing("folder = ~no such user", backup) == [backup]
    assert passing("name ~ *~.jpg", backup) == [backup]
    assert passing("name = ~", "/photos/~") == ["/photos/~"]


# -- letters beyond ASCII --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "name"),
    [
        ("?.jpg", "\u00e9.jpg"), ("stra\u00dfe ?.jpg", "stra\u00dfe \u00fc.jpg"), ("??", "\u5bcc\u58eb"),
        ("?", "\U0001f600"),
        ("[\u00e0-\u00ef]t\u00e9.jpg", "\u00e9t\u00e9.jpg"), ("[!\u00e9]", "\u00e8"), ("*\u00e9*", "pr\u00e9s"),
    ],
)  # fmt: skip
def test_a_glob_runs_over_characters_in_whichever_form_they_are(glob, name):
    for form in ("NFC", "NFD"):
        path = "/photos/" + unicodedata.normalize(form, name)
        assert passing(f"name ~ {glob}", path, "/photos/other.gif") == [path]
        assert passing(f"name ~ {unicodedata.normalize('NFD', glob)}", path) == [path]
        assert passing(f"path ~ /photos/{glob}", path) == [path]


def test_a_question_mark_is_one_byte_of_a_name_that_is_no_text():
    path = "/photos/\udcff\udcfe.jpg"
    assert passing("name ~ ??.jpg", path) == [path]
    assert passing("name ~ \udcff*", path) == [path]
    assert passing("name ~ ?.jpg", path) == []


letters = st.sampled_from(
    ["a", "\u00e9", "e\u0301", "\u0302", "\u00c5", "k", "\u212a", "\uac01", "\u1100", "\udcff", "[", "-", "!"]
)


@pytest.mark.parametrize(
    ("glob", "names"), [("[^ä].jpg", "ö]"), ("[^]ä].jpg", "ö"), ("[ä^].jpg", "ä"), ("[[^].jpg", "")]
)
def test_a_circumflex_negates_what_stands_in_brackets_as_in_a_shell(glob, names):
    paths = [f"/{letter}.jpg" for letter in "äö]"]
    assert passing(f"name ~ {glob}", *paths) == [f"/{letter}.jpg" for letter in names]


@given(
    name=st.lists(letters, max_size=4),
    parts=st.lists(st.sampled_from(["{}", "?", "*", "[{}]", "[!{}]"]), max_size=4),
)
def test_a_glob_is_that_of_a_shell_over_composed_characters(name, parts):
    glob = "x" + "".join(part.format(letter) for part, letter in zip(parts, name, strict=False))
    name = "x" + "".join(name)
    wanted = fnmatchcase(unicodedata.normalize("NFC", name), unicodedata.normalize("NFC", glob))
    assert bool(passing(f"name ~ {glob}", f"/{name}")) == wanted


@pytest.mark.parametrize("asked", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize(
    "expression",
    ["name = {}.jpg", "path = /{}/x{}/{}.jpg", "folder = /{}/x{}", "folder = /{}", "folder ~ /?/x{}", "name >= {}"],
)
def test_both_forms_of_a_letter_are_the_same(expression, asked):
    names = [f"/{top}/x{COMPOSED}/{name}.jpg" for top in (COMPOSED, DECOMPOSED) for name in (COMPOSED, DECOMPOSED)]
    assert passing(expression.replace("{}", asked), *names, "/e/xe/e.jpg") == names
    if " = " in expression:
        assert passing(expression.replace("{}", asked).replace("=", "!="), *names, "/e/xe/e.jpg") == ["/e/xe/e.jpg"]


def test_a_sign_of_an_older_character_set_finds_the_name_that_has_it():
    kelvin = "/photos/3 \u212a/a.jpg"
    assert passing("folder = /photos/3 \u212a", kelvin) == [kelvin]
    assert passing(f"path = {kelvin}", kelvin) == [kelvin]


# -- what means nothing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("colour = red", "expected FIELD OP VALUE with FIELD one of path, folder"),
        ("width", "is not understood"),
        ("width = ", "is not understood"),
        ("width > many", "expected a number, found 'many'"),
        ("width > 5k", "expected a number"),
        ("taken = yesterday", "expected a date such as 2023"),
        ("width ~ 5", "works on path, folder, name and format only"),
        ("width > 1; DROP TABLE image", "expected a number"),
        ("name = \ud800", "holds half a character"),
        ("folder = \ud800", "holds half a character"),
    ],
)
def test_filter_that_means_nothing_is_refused(expression, sentence):
    with pytest.raises(QueryError, match=sentence):
        parse_where([expression])


@pytest.mark.parametrize("where", [[], ["width >= 1"]])
def test_pictures_are_left_out_of_a_condition_by_their_ids(where):
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE image (id, width)")
        db.executemany("INSERT INTO image VALUES (?, 5)", [(i,) for i in range(1, 6)])
        condition = parse_where(where)
        assert condition.without([]) == condition
        condition = condition.without([2, 4, 99])
        found = db.execute(f"SELECT id FROM image WHERE {condition.sql} ORDER BY id", condition.parameters)
        assert [i for (i,) in found] == [1, 3, 5]
