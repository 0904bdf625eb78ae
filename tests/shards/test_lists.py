"""Lists of paths: names are bytes, whoever wrote them."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmsearch.errors import QueryError
from mmsearch.shards.lists import listed_paths

PATHS = [b"/photos/a b.jpg", b"photos/\xff.jpg"]


def parquet(**columns):
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


@pytest.mark.parametrize(
    "written",
    [
        b"\0".join(PATHS), b"\0".join(PATHS) + b"\0", b"\n".join(PATHS), b"\n\n" + b"\n".join(PATHS) + b"\n",
        parquet(path=pa.array([*PATHS, None, b""])), parquet(n=[1, 2], path=pa.array(PATHS, pa.large_binary())),
    ],
)  # fmt: skip
def test_paths_are_read_as_they_are(written):
    assert listed_paths(written, "list") == PATHS


def test_an_end_of_line_is_part_of_a_name_where_names_end_with_nuls():
    assert listed_paths(b"a\n.jpg\0b\r.jpg\0", "list") == [b"a\n.jpg", b"b\r.jpg"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_column_of_text_is_utf8(kind):
    assert listed_paths(parquet(file=pa.array(["/é.jpg"], kind)), "list", "file") == ["/é.jpg".encode()]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"", "list is empty; expected paths"),
        (b"\n\n", "list is empty"),
        (parquet(path=pa.array([None, b""])), "list is empty"),
        (
            parquet(url=["a"], n=[1]),
            "no column path of text or bytes; its columns are url, n: name one with --column",
        ),
        (parquet(path=[1]), "no column path of text or bytes"),
        (parquet(path=["a"])[:-9], "is a Parquet file that cannot be read"),
        (b"PAR1", "is a Parquet file that cannot be read"),
    ],
)
def test_a_list_that_cannot_be_used_is_a_sentence(written, message):
    with pytest.raises(QueryError, match=message):
        listed_paths(written, "list")
