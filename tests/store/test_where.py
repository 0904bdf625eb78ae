from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from mmsearch.errors import QueryError
from mmsearch.store.where import parse_where, register_functions

PICTURES = [  # path, size, width, height, format, taken
    ("/photos/2023/beach.jpg", 500_000, 4000, 3000, "JPEG", "2023-05-01T12:00:00"),
    ("/photos/2023/cat.png", 20_000, 640, 480, "PNG", "2023-06-30T23:59:59"),
    ("/photos/2024/cat.jpg", 2_500_000, 800, 1200, "JPEG", "2024-01-01T00:00:00"),
    ("/photos/old [1].jpg", 900, 100, 100, "JPEG", None),
]


def matches(*expressions):
    condition = parse_where(expressions)
    with closing(sqlite3.connect(":memory:")) as db:
        register_functions(db)
        db.execute("CREATE TABLE image (path BLOB, size INT, width INT, height INT, format TEXT, taken TEXT)")
        rows = [(path.encode(), *rest) for path, *rest in PICTURES]
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
