"""Filters that no picture could pass are a sentence; those that pass none today are an empty answer."""

from __future__ import annotations

import re

import pytest

from mmsearch.errors import QueryError
from mmsearch.store.possible import InCatalog, possible_condition, require_possible
from mmsearch.store.where import condition_of
from tests.store.conftest import list_only

PATHS = ["/photos/a.jpg", "/photos/trip/b.jpg", "/mnt/c.jpg"]


@pytest.fixture
def listed(catalog):
    list_only(catalog, PATHS)
    with catalog.writing():
        catalog.db.execute("DELETE FROM root")
        catalog.db.executemany("INSERT INTO root VALUES (?)", [(b"/photos",), (b"/mnt",), (b"/gone",)])
    return catalog


def check(catalog, *where):
    with catalog.reading():
        require_possible(InCatalog(catalog), condition_of(where).predicate)


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        (["folder = /photos/trpi"], "the library holds no picture below /photos/trpi; correct it, or index it "
                                    "first; there are pictures in /mnt, /photos"),
        (["folder = /gone"], "holds no picture below /gone"),
        (["name ~ *", "folder = /photos/a.jpg"], "holds no picture below /photos/a.jpg"),
        (["path = /photos/b.jpg"], "the library holds no picture /photos/b.jpg; correct it"),
        (["path = /photos/trip"], "this is a folder; ask for all below it by 'folder = ...'"),
        (["path ~ photos/*"], "a path begins with /, so this passes no picture; put */ in front"),
        (["folder ~ trip"], "as in 'folder ~ */trip'"),
        (["format = jpgg"], "no picture has this format; expected one of JPEG, PNG"),
        (["width = 5", "width != 5"], "no picture passes both 'width = 5' and 'width != 5'"),
        (["taken != 2024", "taken = 2024-05"], "no picture passes both"),
        (["name != a.jpg", "name = a.jpg"], "no picture passes both"),
        (["format = PNG", "format != png"], "no picture passes both"),
        (["folder = /photos", "folder != /photos"], "no picture passes both"),
        (["folder = /photos/trip", "folder != /photos"], "no picture passes both"),
        (["path = /photos/trip/b.jpg", "folder != /photos/trip"], "no picture passes both"),
        (["taken = 2023-13"], "filter 'taken = 2023-13': there is no such date; correct it"),
        (["taken = 2023-02-29"], "there is no such date"),
        (["taken = 0000"], "there is no such date"),
        (["taken = 2024-05-01 24:10"], "there is no such date"),
        (["width = 0"], "no picture is so small"),
        (["height < 1"], "no picture is so small"),
        (["size <= 0"], "no picture is so small"),
        (["name = trip/b.jpg"], "a name holds no /, so this passes no picture; ask for the path"),
        (["name ~ trip/*"], "a name holds no /"),
        (["width > 10", "name ~ *", "width < 5"], "no picture passes both 'width > 10' and 'width < 5'"),
        (["width >= 10", "width < 10"], "no picture passes both"),
        (["width = 5", "width = 6"], "no picture passes both"),
        (["taken >= 2024", "taken < 2023-06"], "no picture passes both 'taken >= 2024' and 'taken < 2023-06'"),
        (["taken > 2024-05", "taken <= 2024-05"], "no picture passes both"),
        (["taken = 2024-05", "taken = 2024-06-01"], "no picture passes both"),
        (["folder = /photos", "folder = /mnt"], "no picture passes both 'folder = /photos' and 'folder = /mnt'"),
        (["folder = /photos/trip", "path = /photos/a.jpg"], "no picture passes both"),
        (["name = a.jpg", "name = b.jpg"], "no picture passes both"),
        (["format = PNG", "format = GIF"], "no picture passes both"),
    ],
)  # fmt: skip
def test_filter_that_no_picture_could_pass_is_a_sentence(listed, where, sentence):
    with pytest.raises(QueryError, match=re.escape(sentence)):
        check(listed, *where)


@pytest.mark.parametrize(
    "where",
    [
        ["taken = 2031"], ["width > 99999"], ["format = PNG"], ["format = heif"], ["name = z.jpg"], ["name ~ z*"],
        ["folder = /photos", "name = c.jpg"], ["folder != /nowhere"], ["folder = /"], ["path ~ /nowhere/*"],
        ["folder = /photos", "folder = /photos/trip"], ["folder = /photos/trip", "path = /photos/trip/b.jpg"],
        ["width > 10", "width < 12"], ["width >= 10", "width <= 10"], ["width = 5", "height = 6"],
        ["taken >= 2024", "taken <= 2024"], ["taken > 2024-05", "taken <= 2024-06"],
        ["taken = 2024", "taken = 2024-05"], ["taken = 2024", "taken != 2024-05"], ["taken = 2024-02-29"],
        ["folder = /photos", "folder != /photos/trip"], ["width != 5", "width != 6"], ["width > 4", "width != 5"],
        ["name != a.jpg", "name = b.jpg"],  ["taken = 2023-05-01 12:30"],
        ["width > 5", "width > 6"], ["width > 4", "width < 9", "width != 3"], ["name > a", "name < b"],
        ["taken = 2024-05-01T23:59:59"], ["taken <= 2023-02-31"],
        ["width <= 1"], ["width != 0"], ["name != a/b"], ["name ~ [!/]*"],
    ],
)  # fmt: skip
def test_filter_that_passes_no_picture_today_is_no_error(listed, where):
    check(listed, *where)


@pytest.mark.parametrize("table", ["annotation", "typed"])
@pytest.mark.parametrize(
    ("where", "meant"),
    [
        ("tag = weding", "no picture has this tag; is 'wedding' meant?"),
        ("tag = Pariss", "is 'Paris' meant?"),
        ("tag = places/frence", "is 'Places > France' or"),
        ("tag = wed\udcffing", "is 'wedding' meant?"),
        ("tag = \udcff", None),
        ("tag = zeppelin", None),
        ("tag = 2018", None),
        ("tag = may 2018", None),
        ("tag = mya 2019", "is 'May 2019' or"),
        ("tag = WEDDING", None),
        ("tag = france", None),
        ("tag != weding", None),
        ("tag ~ weding*", None),
        ("person = weding", None),
        ("place = weding", None),
        ("tag = weding or name ~ *", None),
    ],
)
def test_a_misspelt_tag_is_a_sentence_with_those_that_there_are(listed, table, where, meant):
    tags = [("wedding",), ("2019",), ("May 2019",), ("Places > France > Paris",), ("Places > France",)]
    columns, values = "image, kind, source, text", "id, 'tag', 'xmp:dc:subject', ?"
    if table == "typed":
        columns, values = "image, path, hash, kind, text", "id, path, hash, 'tag', ?"
    with listed.writing():
        listed.db.execute("DELETE FROM annotation")
        listed.db.execute("DELETE FROM typed")
        listed.db.executemany(f"INSERT INTO {table} ({columns}) SELECT {values} FROM image LIMIT 1", tags)
    if meant is None:
        check(listed, where)
    else:
        with pytest.raises(QueryError, match=re.escape(meant)):
            check(listed, where)


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("width < 5 and width > 10", "no picture passes both 'width < 5' and 'width > 10'"),
        ("(width > 5 or height > 5) and (width < 1 and height > 5)", "no picture is so small"),
        ("folder = /gone or folder = /photos/trpi", "the library holds no picture below /gone"),
        ("(width > 10 or width > 20) and width < 5", "no picture passes both 'width > 10' and 'width < 5'"),
        ("(folder = /photos or folder = /gone) and folder = /mnt", "no picture passes both 'folder = /photos'"),
        ("width != 6 and width = 6 or height = 0", "no picture passes both 'width != 6' and 'width = 6'"),
    ],
)
def test_of_what_is_joined_by_or_one_part_must_be_possible(listed, where, sentence):
    with pytest.raises(QueryError, match=re.escape(sentence)):
        check(listed, where)


@pytest.mark.parametrize(
    "where",
    [
        "folder = /gone or width > 5", "not folder = /gone", "not (width < 5 and width > 10)", "not width = 0",
        "(width > 10 or height > 10) and width < 5", "folder = /gone or not width = 0",
        "folder = /mnt and not folder = /mnt", " and ".join(["(folder = /mnt or folder = /gone)"] * 20),
        " and ".join(["(folder = /gone or width = 0)"] * 20),
        f"({' and '.join(['(width > 5 or width > 6)'] * 40)}) and width < 5",
    ],
)  # fmt: skip
def test_a_part_that_nothing_passes_is_fine_where_another_can_be_passed(listed, where):
    check(listed, where)


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ('name = "a.jpg"', "the quotes are part of the name here, and nothing has them; leave them out"),
        ("name != 'a.jpg'", "the quotes are part of the name here"),
        ('name ~ "*.jpg"', "the quotes are part of the name here"),
        ('folder = "/photos"', "the quotes are part of the folder here"),
        ('path ~ "/photos/*"', "the quotes are part of the path here"),
        ("name ~ *.jpg and widht > 5", "this is one name up to the end, and nothing is called so; if 'widht' is "
                                       "meant as a field, expected one of path, folder"),
        ("folder = /photos OR Format = PNG", "if 'Format' is meant as a field"),
        ("name != a.jpg or not (date > 2023)", "if 'date' is meant as a field"),
        ("name == a.jpg", "'name = = a.jpg': the name begins with = here, as no other does; operators are = !="),
        ("name <> a.jpg", "the name begins with > here"),
        ("folder => /photos", "the folder begins with > here"),
    ],
)  # fmt: skip
def test_a_name_that_looks_like_more_is_a_sentence_where_nothing_is_called_so(listed, where, sentence):
    with pytest.raises(QueryError, match=re.escape(sentence)):
        check(listed, where)
    check(listed, f"not ({where})")


def test_a_name_that_looks_like_more_is_a_name_where_something_is_called_so(listed):
    list_only(listed, ['/photos/"a.jpg"', "/photos/=b.jpg", "/photos/love and peace = x/b.jpg"])
    for where in (
        'name = "a.jpg"',
        'name ~ "*"',
        "folder = /photos/love and peace = x",
        'name != "a.jpg"',
        "name ~ =*",
    ):
        check(listed, where)


def test_nothing_is_said_of_filters_in_a_library_without_pictures(listed):
    list_only(listed, [])
    check(listed, "folder = /photos/nowhere", "width = 0", 'name = "a.jpg"')


def test_a_condition_that_can_be_passed_has_the_spellings_that_there_are(listed):
    list_only(listed, ["/e\u0301/a.jpg", "/\u00e9/b.jpg", "/c.jpg"])
    with listed.reading():
        condition = possible_condition(listed, ["folder = /\u00e9 or name = c.jpg"])
        assert len(listed.page(condition, limit=9)) == 3
        assert "composed" not in condition.sql.partition("name_of")[0]
        with pytest.raises(QueryError, match="holds no picture below /gone"):
            possible_condition(listed, "folder = /gone")


def test_a_folder_by_another_name_of_a_link_is_told_the_one_that_was_indexed(listed, tmp_path):
    (tmp_path / "real" / "trip").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for indexed, asked in (("real", "link"), ("link", "real")):
        list_only(listed, [tmp_path / indexed / "trip" / "a.jpg"])
        with listed.writing():
            listed.db.execute("INSERT OR IGNORE INTO root VALUES (?)", (bytes(tmp_path / indexed),))
        sentence = f"links lead from it to {tmp_path / indexed / 'trip'}, which is how it was indexed: ask for that"
        with pytest.raises(QueryError, match=re.escape(sentence)):
            check(listed, f"folder = {tmp_path / asked / 'trip'}")
