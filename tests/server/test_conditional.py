"""HEAD, parts of files, and requests for what has changed alone."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from mmsearch.server.conditional import part_asked

READABLE = (
    "/", "/docs", "/health", "/status", "/metrics", "/facets", "/timeline", "/pictures", "/pictures/1",
    "/pictures/1/thumbnail", "/pictures/1/file", "/pictures/1/annotations",
    "/static/style.css", "/openapi.json", "/pictures/999", "/nowhere",
)  # fmt: skip
FILE = "/pictures/1/file"
KINDS = {
    "thumbnail": "/pictures/1/thumbnail", "file": FILE, "static": "/static/style.css",
    "annotations": "/pictures/1/annotations",
}  # fmt: skip


@pytest.fixture(scope="module")
def original(served):
    with served.allowed() as client:
        return client.get(FILE).content


# -- HEAD --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", READABLE)
def test_head_is_answered_as_get_without_a_body(client, path):
    head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    changing = {"date", "content-length"} if path in ("/metrics", "/status") else {"date"}
    assert {k: v for k, v in head.headers.items() if k not in changing} == {
        k: v for k, v in get.headers.items() if k not in changing
    }


def test_a_method_that_is_not_allowed_is_answered_with_those_that_are(client):
    answer = client.post("/status")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_head_of_the_link_does_not_use_it_up(served):
    with served.client() as client:
        head = client.head("/start?key=anything")
        assert (head.status_code, head.headers["location"]) == (303, "/")
        assert "set-cookie" not in head.headers


def test_head_needs_the_token_where_get_does(served):
    with served.client() as client:
        assert client.head(FILE).status_code == 401


# -- parts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=10-19", 10, 20), ("bytes=100-", 100, None), ("bytes=-7", -7, None),
     ("bytes=5-99999999", 5, None), ("bytes=-99999999", 0, None), ("Bytes=1-2", 1, 3)],
)  # fmt: skip
def test_a_part_of_a_file_is_given_with_where_it_stands(client, original, asked, start, end):
    answer = client.get(FILE, headers={"range": asked})
    first, last = range(len(original))[start:end][0], range(len(original))[start:end][-1]
    assert answer.status_code == 206
    assert answer.content == original[start:end]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(original)}"
    assert answer.headers["content-length"] == str(last + 1 - first)
    assert answer.headers["content-type"] == "image/jpeg"


def test_a_part_that_is_not_there_is_refused_with_the_length(client, original):
    for asked in (f"bytes={len(original)}-", "bytes=99999999-99999999", "bytes=-0"):
        answer = client.get(FILE, headers={"range": asked})
        assert answer.status_code == 416
        assert answer.headers["content-range"] == f"bytes */{len(original)}"
        assert answer.json()["detail"].startswith(f"the file has {len(original)} bytes")


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=5-2", "bytes=", "bytes=-", "bytes=a-b", "bytes=1-2-3",
              "bytes=" + "9" * 400 + "-", "0-5", "bytes=\u0661-2"]
)  # fmt: skip
def test_the_whole_file_is_given_where_the_range_is_none_or_several(client, original, asked):
    answer = client.get(FILE, headers={"range": asked.encode()})
    assert (answer.status_code, answer.content) == (200, original)
    assert answer.headers["accept-ranges"] == "bytes"


def test_a_part_is_given_only_of_the_file_that_the_client_began_with(client, original):
    etag = f'"{sha256(original).hexdigest()}"'
    for if_range, status in (
        (etag, 206),
        (f"W/{etag}", 200),
        ('"other"', 200),
        ("Sat, 29 Oct 1994 19:43:31 GMT", 200),
    ):
        answer = client.get(FILE, headers={"range": "bytes=0-3", "if-range": if_range})
        assert answer.status_code == status, if_range
    assert answer.headers["etag"] == etag


def test_head_has_no_parts(client, original):
    answer = client.head(FILE, headers={"range": "bytes=0-3"})
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(len(original)))


@given(
    text=st.builds("bytes={}-{}".format, st.integers(0, 30) | st.just(""), st.integers(0, 30) | st.just("")),
    n_bytes=st.integers(1, 20),
)
def test_a_part_never_leaves_the_file(text, n_bytes):
    part = part_asked(Headers({"range": text}), '"tag"', n_bytes)
    assert part is None or 0 <= part.start <= part.end <= n_bytes


# -- what has not changed ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", KINDS.values(), ids=KINDS)
def test_what_the_client_has_is_not_sent_again(client, path):
    etag = client.head(path).headers["etag"]
    assert not etag.startswith("W/")
    for has in (etag, f"W/{etag}", f'"other", {etag}', f'"a,b",W/{etag} , "c"', "*"):
        for method in ("GET", "HEAD"):
            answer = client.request(method, path, headers={"if-none-match": has})
            assert (answer.status_code, answer.content) == (304, b""), has
            assert answer.headers["etag"] == etag
    for has in ('"other"', etag.strip('"'), "", "W/", f"x{etag[1:]}", '"*"'):
        assert client.get(path, headers={"if-none-match": has}).status_code == 200, has


def test_two_headers_name_what_the_client_has_together(client):
    etag = client.head(FILE).headers["etag"]
    headers = [("if-none-match", '"other"'), ("if-none-match", etag)]
    assert client.get(FILE, headers=headers).status_code == 304


def test_a_thumbnail_that_the_client_has_is_not_made(changeable):
    _, client = changeable
    etag = client.get("/pictures/1/thumbnail").headers["etag"]
    of_side = etag.replace("320", "640")
    answer = client.get("/pictures/1/thumbnail", params={"side": 640}, headers={"if-none-match": of_side})
    assert answer.status_code == 304
    assert 'mmsearch_thumbnails_total{from="made"} 1.0' in client.get("/metrics").text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(has=st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=60))
def test_no_header_of_entity_tags_is_too_odd(client, has):
    answer = client.head(FILE, headers={"if-none-match": has.encode("latin-1"), "range": has.encode("latin-1")})
    assert answer.status_code in (200, 304)
