"""Bodies of strangers: nothing that is sent keeps the event loop from its other work."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.requests import Request

from mmsearch.server import bodies
from mmsearch.server.bodies import read_form, read_json, require_modest
from mmsearch.server.problems import Unfit
from mmsearch.server.schemas import ClassifyRequest, SearchRequest

MIB = 1 << 20
JSON = "application/json"
FORM = "multipart/form-data; boundary=b"
LONGEST_SECONDS = 0.25  # 0.1 s on a machine that has nothing else to do
END = b"--b--\r\n"


def part(name, content, more="", *, n=1):
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return (head.encode() + content + b"\r\n") * n


async def asked(body, kind, model=SearchRequest, *, in_chunks_of=1 << 16):
    """Read a body that comes in chunks, and return what was read or the error, and the longest wait of others.

    Waits are the seconds of the processor that the loop took meanwhile: other programs do not count.
    """
    places = iter(range(0, max(len(body), 1), in_chunks_of))

    async def receive():
        place = next(places)
        end = place + in_chunks_of
        return {"type": "http.request", "body": body[place:end], "more_body": end < len(body)}

    longest, last = 0.0, time.thread_time()

    async def tick():
        nonlocal longest, last
        while True:
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.thread_time() - last), time.thread_time()

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.02)
    scope = {"type": "http", "method": "POST", "path": "/search", "headers": [(b"content-type", kind.encode())]}
    try:
        result = await (read_json if kind == JSON else read_form)(Request(scope, receive), model)
    except (HTTPException, Unfit) as error:
        result = error
    await asyncio.sleep(0.02)
    ticking.cancel()
    return result, longest


JSON_OF_STRANGERS = {
    "empty lists": lambda: b'{"x":[' + b"[]," * (2 * MIB // 3) + b"[]]}",
    "nested lists": lambda: b"[" * 2 * MIB,
    "nested objects": lambda: b'{"a":' * (2 * MIB // 5),
    "keys": lambda: b"{" + b",".join(b'"%d":1' % i for i in range(150_000)) + b"}",
    "one key many times": lambda: b"{" + b",".join([b'"text":"a"'] * 150_000) + b"}",
    "one long key": lambda: b'{"' + b"k" * 2 * MIB + b'":1}',
    "backslashes": lambda: b'{"text":"' + b"\\" * 2 * MIB + b'"}',
    "escaped quotes": lambda: b'{"text":"' + b'\\"' * MIB + b'"}',
    "quotes": lambda: b'"' * 2 * MIB,
    "strings": lambda: b'{"text":' + b'"a"' * (2 * MIB // 3),
    "brackets in a string": lambda: b'{"text":"' + b"[" * 2 * MIB + b'"}',
    "a number that is infinite": lambda: b'{"text":"a","text_weight":1e400}',
    "a million digits": lambda: b'{"text":"a","text_weight":' + b"1" * 10**6 + b"}",
    "a million digits of an id": lambda: b'{"relevant":[' + b"1" * 10**6 + b"]}",
    "a million digits of an exponent": lambda: b'{"text":"a","text_weight":1e' + b"1" * 10**6 + b"}",
    "long ids": lambda: b'{"relevant":[' + b",".join([b"1" * 4_000] * 500) + b"]}",
    "no UTF-8": lambda: b'{"text":"' + b"\xff" * 2 * MIB + b'"}',
    "half characters": lambda: b'{"text":"' + b"\\ud800" * 300_000 + b'"}',
    "spaces": lambda: b" " * 2 * MIB,
    "ends of lists": lambda: b"]" * 2 * MIB,
    "ends of objects": lambda: b'{"text":"a"}' + b"}" * 2 * MIB,
}


@pytest.mark.parametrize("name", JSON_OF_STRANGERS)
def test_no_json_keeps_the_event_loop_and_what_does_not_fit_is_said_in_a_sentence(name):
    result, longest = asyncio.run(asked(JSON_OF_STRANGERS[name](), JSON))
    assert isinstance(result, Unfit)
    assert len(result.errors) <= bodies.MAX_ELEMENTS
    assert longest < LONGEST_SECONDS


FORMS_OF_STRANGERS = {
    "a header without end": lambda: b"--b\r\nX: " + b"a" * 20 * MIB,
    "the name of a header without end": lambda: b"--b\r\n" + b"a" * 20 * MIB,
    "many headers": lambda: b"--b\r\n" + b"a: b\r\n" * (20 * MIB // 6),
    "a preamble": lambda: b"x" * 20 * MIB,
    "a preamble of lines": lambda: b"\r\n" * 10 * MIB,
    "an epilogue": lambda: part("query", b"{}") + END + b"x" * 19 * MIB,
    "lines": lambda: part("picture", b"\r\n" * 10 * MIB, '; filename="a"') + END,
    "what is nearly a boundary": lambda: part("picture", b"\r\n--a" * 4 * MIB, '; filename="a"') + END,
    "what begins like a boundary": lambda: part("picture", b"\r\n--bx" * 3 * MIB, '; filename="a"') + END,
    "what begins like the last boundary": lambda: part("picture", b"\r\n--b-x" * 2 * MIB, '; filename="a"') + END,
    "small parts": lambda: part("picture", b"x", '; filename="a"', n=200_000) + END,
    "small fields": lambda: part("query", b"x", n=200_000) + END,
    "parts without a name": lambda: b"--b\r\n\r\n\r\n" * 2 * MIB + END,
    "a long query": lambda: part("query", b"[" * 20 * MIB) + END,
    "a long query as a file": lambda: part("query", b'{"x":[' + b"[]," * 6 * MIB + b"[]]}", '; filename="q"') + END,
    "a long name of a file": lambda: part("picture", b"x", f'; filename="{"a" * MIB}"') + END,
    "many parameters": lambda: part("picture", b"x", ";" * MIB) + END,
}


@pytest.mark.parametrize("name", FORMS_OF_STRANGERS)
def test_no_form_keeps_the_event_loop(name):
    body = FORMS_OF_STRANGERS[name]()
    start = time.thread_time()
    _, longest = asyncio.run(asked(body, FORM))
    assert longest < LONGEST_SECONDS
    assert time.thread_time() - start < 2


@pytest.mark.parametrize("charset", ["punycode", "idna", "utf-7", "unicode_escape", "latin-1"])
def test_a_form_in_another_encoding_is_refused_before_it_is_decoded(charset):
    body = part("query", b"a-" + b"z" * 100_000) + END
    result, longest = asyncio.run(asked(body, f"{FORM}; charset={charset}"))
    assert isinstance(result, HTTPException)
    assert result.status_code == 415
    assert "UTF-8" in result.detail
    assert longest < LONGEST_SECONDS


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf8"'])
def test_a_form_may_say_that_it_is_utf_8(charset):
    body = part("query", b'{"text": "\xc3\xa9"}') + part("picture", b"x", '; filename="a"') + END
    (request, _), _ = asyncio.run(asked(body, f"{FORM}; charset={charset}"))
    assert request.text == "é"


def test_a_media_type_of_sixty_thousand_parameters_is_refused():
    result, longest = asyncio.run(asked(b"x", "multipart/form-data" + ";a" * 30_000))
    assert result.status_code == 415
    assert longest < LONGEST_SECONDS / 10


def test_pictures_of_strangers_are_not_written_to_disk(monkeypatch):
    import tempfile

    def fail(*_, **__):
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    body = part("picture", b"x" * 19 * MIB, '; filename="a.jpg"') + END
    (_, uploads), _ = asyncio.run(asked(body, FORM))
    assert [len(upload.data) for upload in uploads] == [19 * MIB]


def test_the_largest_requests_that_fit_are_read():
    ids = list(range(2**63 - 200, 2**63))
    example = {"id": 1, "weight": 2.0, "box": [0.0, 0.0, 5.0, 5.0]}
    search = {
        "text": '\\"[{' * 250, "pictures": [example] * 8, "exclude": [{"text": ",[{" * 300}] * 16,
        "relevant": ids, "irrelevant": ids, "where": ["name = " + '"' * 4_000] * 20,
    }  # fmt: skip
    classify = {"labels": ['\\",[' * 100] * 1_000, "templates": ["{}" + "[" * 900] * 100, "pictures": [example] * 8}
    for body, model in ((search, SearchRequest), (classify, ClassifyRequest)):
        request, _ = asyncio.run(asked(json.dumps(body, indent=4).encode(), JSON, model))
        assert json.loads(request.model_dump_json(exclude_unset=True)) == body


def values(of):
    return st.lists(of, max_size=6) | st.dictionaries(st.text(max_size=4), of, max_size=6)


def size_and_depth(value):
    """Count the elements of lists and objects, and how deep they are nested."""
    if not isinstance(value, dict | list):
        return 0, 0
    inside = [size_and_depth(inner) for inner in (value.values() if isinstance(value, dict) else value)]
    return len(inside) + sum(n for n, _ in inside), 1 + max((depth for _, depth in inside), default=0)


@given(value=st.recursive(st.text(max_size=8) | st.floats() | st.none(), values, max_leaves=60))
def test_what_stands_in_strings_is_not_counted(value):
    n_elements, depth = size_and_depth(value)
    data = json.dumps(value).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "MAX_DEPTH", depth)
        require_modest(data)  # as deep as it is, and no deeper
        if depth:
            patch.setattr(bodies, "MAX_DEPTH", depth - 1)
            with pytest.raises(Unfit):
                require_modest(data)
        patch.setattr(bodies, "MAX_DEPTH", 100)
        patch.setattr(bodies, "MAX_ELEMENTS", 2 * n_elements + 2)  # an empty list may count as two
        require_modest(data)
        patch.setattr(bodies, "MAX_ELEMENTS", n_elements)
        with pytest.raises(Unfit):
            require_modest(data)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"[" * 17, "the JSON is nested more than 16 deep"),
        (b'{"labels": [' + b'"a",' * 5_000 + b'"a"]}', "the JSON has more than 5,000 elements"),
        (b'{"text": "a"}' + b"]" * 5_000, "the JSON has more than 5,000 elements"),
    ],
)
def test_the_sentence_names_the_limit(client, body, sentence):
    answer = client.post("/search", content=body, headers={"content-type": JSON})
    assert answer.status_code == 422
    assert answer.json()["detail"] == f"the request does not fit: {sentence}"
    form = client.post("/search/upload", files={"query": (None, body)})
    assert (form.status_code, form.json()["detail"]) == (422, answer.json()["detail"])


@pytest.mark.parametrize("path", ["/search", "/classify", "/embed"])
def test_forms_and_json_have_paths_of_their_own_which_a_refusal_names(client, path):
    form = client.post(path, files={"picture": b"x"})
    assert (form.status_code, form.json()["detail"]) == (
        415, f"the body is multipart/form-data; send application/json; a form with pictures goes to {path}/upload"
    )  # fmt: skip
    data = client.post(f"{path}/upload", json={})
    assert (data.status_code, data.json()["detail"]) == (
        415, f"the body is application/json; send multipart/form-data, or application/json to {path}"
    )  # fmt: skip
    bare = client.post(
        f"{path}/upload", files={"query": (None, b'{"labels": ["a"]}' if "classify" in path else b"{}")}
    )
    assert (bare.status_code, bare.json()["errors"][0]["at"]) == (422, "picture")
