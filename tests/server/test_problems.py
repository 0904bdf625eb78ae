"""Errors as problem details: the shape is that of RFC 9457, and nothing of the inside is told."""

from __future__ import annotations

import base64
import errno
import json
import os
import time
from types import SimpleNamespace

import pytest

from mmsearch import Library
from mmsearch.errors import (
    EncoderError,
    LibraryDamagedError,
    LibraryLockedError,
    PictureError,
    QueryError,
    UnsupportedError,
)
from mmsearch.server.connections import Shortages
from mmsearch.server.problems import invalid, of_error


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (QueryError("a sentence"), 422, "urn:mmsearch:query"),
        (PictureError("corrupt", "a sentence"), 422, "urn:mmsearch:picture"),
        (LibraryDamagedError("a sentence"), 503, "urn:mmsearch:library"),
        (LibraryLockedError("a sentence"), 409, "urn:mmsearch:library"),
        (UnsupportedError("a sentence"), 501, "urn:mmsearch:library"),
        (EncoderError("a sentence"), 503, "urn:mmsearch:library"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_expected_error_is_its_sentence(error, status, kind):
    answer = of_error(error)
    assert answer.status_code == status
    assert b'"detail":"a sentence"' in answer.body
    assert f'"type":"{kind}"'.encode() in answer.body


def test_a_sentence_with_a_name_that_is_no_text_is_one_for_strict_readers():
    body = json.loads(of_error(QueryError("/b\udcff: a sentence")).body)
    assert body["detail"] == "/b\ufffd: a sentence"
    assert base64.b64decode(body["detail_base64"]) == b"/b\xff: a sentence"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/search", 405), ("GET", "/pictures/x", 422)]
)
def test_what_the_framework_refuses_is_a_problem_too(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= answer.json().keys()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"k": 0}, "k is 0; expected at least 1"),
        ({"k": "ten"}, 'k is "ten"; expected a whole number'),
        ({"colour": "red"}, "colour is not known here; correct its name, or leave it out"),
        ({"text": ""}, 'text is ""; expected a text that is not empty'),
        ({"mode": "lokal"}, "mode is \"lokal\"; expected 'global' or 'local'"),
        ({"pictures": [{"id": 1}, {}]}, "pictures.1.id is missing; give it"),
        ({"pictures": [{"upload": 9}]}, "pictures.0.upload is 9; expected less than 8"),
        ({"pictures": [{"id": 1, "box": [1, 2]}]}, "pictures.0.box is a list of 2; expected at least 4"),
        ({"where": [{"field": "width", "op": "is", "value": 5}]}, "where.0.op is \"is\"; expected '='"),
        ({"where": [{"not": {"and": []}}]}, "where.0.not.and is a list of 0; expected at least 1"),
    ],
)
def test_what_does_not_fit_is_said_in_the_words_of_the_api(client, asked, sentence):
    answer = client.post("/search", json=asked).json()
    assert answer["detail"].startswith(f"the request does not fit: {sentence}")
    assert answer["errors"][0]["at"] == sentence.split()[0]


def test_parameters_and_json_that_cannot_be_read_are_said_so_too(client):
    answers = [client.get("/pictures", params={"limit": "many"}), client.get("/pictures/x")]
    answers.append(client.post("/search", content=b"{", headers={"content-type": "application/json"}))
    assert [answer.json()["detail"].partition(": ")[2] for answer in answers] == [
        'query.limit is "many"; expected a whole number',
        'path.id is "x"; expected a whole number',
        "the JSON cannot be read: EOF while parsing an object at line 1 column 1",
    ]


def test_sentences_of_the_api_name_its_fields_and_no_options_of_commands(client, calibrated):
    for program, asked in ((client, {"labels": ["a"], "multi": True}), (calibrated, {"labels": ["none of these"]})):
        answer = program.post("/classify", json=asked | {"pictures": [{"id": 1}]})
        assert answer.status_code == 422
        assert "--" not in answer.text
    assert "--" not in client.post("/search", json={"text": "a", "min_relevance": 0.5}).text


PEOPLE = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/nowhere", 404, "There is nothing at this address."),
        ("/pictures/999/file", 404, "There is no picture 999 in the library"),
        ("/pictures/x", 422, "expected a whole number"),
    ],
)
def test_who_goes_to_an_address_without_an_answer_sees_a_page_with_a_way_home(client, path, status, said):
    page = client.get(path, headers=PEOPLE)
    assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert said in page.text
    assert '<a href="/">' in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    head = client.head(path, headers=PEOPLE)
    assert head.headers["content-length"] == page.headers["content-length"]


def test_a_page_of_an_error_shows_what_was_asked_as_text(served):
    with served.client(**PEOPLE) as stranger:
        page = stranger.get("/pictures")
        assert (page.status_code, "<code>mmsearch serve</code>" in page.text) == (401, True)
        assert "Authorization" not in page.text
    with served.allowed() as program:
        page = program.get("/pictures", params={"where": "<script>alert(1)</script>"}, headers=PEOPLE)
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script>" not in page.text


def test_a_refusal_of_the_system_is_its_sentence(changeable, monkeypatch):
    def fail(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Library, "facets", fail)
    answer = changeable[1].get("/facets")
    assert answer.status_code == 503
    assert "Too many open files; close other programs" in answer.json()["detail"]


def test_connections_that_cannot_be_accepted_are_said_once_and_others_errors_as_ever(caplog):
    told = []
    loop = SimpleNamespace(time=lambda: 5.0, default_exception_handler=told.append)
    shortages = Shortages()
    for _ in range(2_000):
        shortages(loop, {"exception": OSError(errno.EMFILE, os.strerror(errno.EMFILE))})
    assert caplog.text.count("Too many open files") == 1
    assert "`ulimit -n`" in caplog.text
    shortages(loop, {"message": "another"})
    assert told == [{"message": "another"}]


def test_an_unexpected_error_tells_nothing_and_is_marked_like_every_answer(changeable, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("the inside of /secret/place")

    monkeypatch.setattr(Library, "facets", fail)
    _, client = changeable
    answer = client.get("/facets")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/status").status_code == 200
    end = time.monotonic() + 30
    # For who runs the server; written after the answer.
    while "the inside of /secret/place" not in caplog.text:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_at_most_twenty_places_are_named_and_the_rest_counted():
    errors = [{"loc": ("pictures", i, "id"), "msg": "Field required"} for i in range(5_000)]
    body = json.loads(invalid(errors).body)
    assert [error["at"] for error in body["errors"]] == [f"pictures.{i}.id" for i in range(20)]
    assert body["n_more"] == 4_980
    assert "n_more" not in json.loads(invalid(errors[:20]).body)


def test_what_does_not_fit_is_not_said_at_length():
    answer = invalid([{"loc": ("k" * 2_000_000,), "msg": "m" * 2_000_000}])
    assert len(answer.body) < 4_000
    assert json.loads(answer.body)["errors"][0]["at"] == "k" * 500 + "…"


def test_a_request_with_thousands_of_unknown_keys_is_answered_in_short(client):
    answer = client.post("/search", json={f"{i}" * 100: 1 for i in range(4_000)})
    assert answer.status_code == 422
    assert len(answer.content) < 20_000
    assert answer.json()["n_more"] == 3_980
