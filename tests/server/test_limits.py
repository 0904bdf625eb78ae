"""Bodies that are too large or no pictures (S4), and connections that never end (S5)."""

from __future__ import annotations

import resource
import socket
import time
from contextlib import ExitStack, suppress

import httpx
import pytest

from mmsearch.server import limits
from tests import pictures
from tests.server.conftest import names

MIB = 1 << 20


def test_a_body_that_says_it_is_too_large_is_refused_at_once(served):
    head = (
        f"POST /search HTTP/1.1\r\nHost: 127.0.0.1:{served.access.port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {served.access.token}\r\nContent-Length: {20 * MIB + 1}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.access.port), timeout=5) as connection:
        connection.sendall(head.encode())
        assert b"413 " in connection.recv(65_536).partition(b"\r\n")[0]


def chunks(n_bytes, head=b""):
    """A body that does not say how long it is."""
    yield head
    for _ in range(n_bytes // MIB):
        yield b"x" * MIB


@pytest.mark.parametrize("path", ["/search", "/classify"])
def test_a_body_is_counted_while_it_comes(client, path):
    found = None
    with suppress(httpx.WriteError):  # the server closed before all was sent
        found = client.post(path, content=chunks(40 * MIB), headers={"content-type": "application/json"})
    assert found is None or found.status_code == 413
    part = b'--b\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\n\r\n'
    kind = {"content-type": "multipart/form-data; boundary=b"}
    with suppress(httpx.WriteError):
        found = client.post(path, content=chunks(40 * MIB, part), headers=kind)
    assert found is None or found.status_code == 413
    assert client.get("/status").status_code == 200


def test_a_picture_of_nearly_the_limit_is_taken(client, served):
    data = (served.photos / "moose.jpg").read_bytes() + b"\0" * (19 * MIB)
    assert names(client.post("/search", files={"picture": data}))[0] == "moose.jpg"


REJECTED = pictures.rejected()


@pytest.mark.parametrize("name", sorted(REJECTED))
def test_a_file_that_is_no_usable_picture_is_a_problem_with_its_reason(client, name):
    data, code = REJECTED[name]
    if len(data) > 20 * MIB:
        pytest.fail("the fixture is larger than a request may be")
    found = client.post("/search", files={"picture": ("it.jpg", data)})
    assert found.status_code == 422
    assert found.json()["code"] == code
    assert found.json()["detail"].startswith("it.jpg: ")


@pytest.mark.parametrize("name", sorted(pictures.accepted()))
def test_every_kind_of_picture_is_taken(client, name):
    assert client.post("/search", files={"picture": pictures.accepted()[name]}).status_code == 200


BODIES = [
    (b"", "application/json", 422),
    (b"{", "application/json", 422),
    (b"[" * 100_000, "application/json", 422),
    (b'{"text": "\\ud800"}', "application/json", 422),
    (b'{"text": "a", "text_weight": NaN}', "application/json", 422),
    (b'{"text": "a", "text_weight": 1e999}', "application/json", 422),
    (b'{"text": "a"}', "text/plain", 415),
    (b'{"text": "a"}', "", 415),
    (b"x", "multipart/form-data", 400),
    (b"x", "multipart/form-data; boundary=b", 400),
    (b"--b--\r\n", "multipart/form-data; boundary=b", 422),
    (b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\n\xff\r\n--b--\r\n',
     "multipart/form-data; boundary=b", 422),
    (b'--b\r\nContent-Disposition: form-data; name="picture"\r\n\r\nx\r\n--b--\r\n',
     "multipart/form-data; boundary=b", 422),
    (b"".join(b'--b\r\nContent-Disposition: form-data; name="picture"; filename="%d"\r\n\r\nx\r\n' % i
              for i in range(9)) + b"--b--\r\n", "multipart/form-data; boundary=b", 400),
]  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "status"), BODIES, ids=range(len(BODIES)))
def test_a_body_that_cannot_be_read_is_a_problem(client, body, kind, status):
    found = client.post("/search", content=body, headers={"content-type": kind} if kind else {})
    assert found.status_code == status, found.text
    assert found.headers["content-type"] == "application/problem+json"


def test_an_answer_is_not_held_back(client):
    times = []
    for _ in range(9):
        start = time.monotonic()
        client.get("/openapi.json")
        times.append(time.monotonic() - start)
    assert min(times) < 0.03  # head and body together; Nagle's algorithm would add 40 ms to every answer


# -- S5: slow connections ----------------------------------------------------------------------------


KINDS = {
    "silent": b"",
    "header": b"GET /status HTTP/1.1\r\nHost: ",
    "second header": b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\nGET /",
    "body": b"POST /search HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\n"
            b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
    "unread body": b"GET /status HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 1000\r\n\r\n{",
}  # fmt: skip


def is_closed(connection):
    """Whether the server has ended a connection; what it sent before is read."""
    try:
        while data := connection.recv(65_536):
            assert data
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_slow_connections_are_ended_and_hinder_nobody(served, client, monkeypatch, kind):
    monkeypatch.setattr(limits, "HEADER_SECONDS", 1.5)
    monkeypatch.setattr(limits, "BODY_SECONDS", 1.5)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1_000:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2_000, hard), hard))
    first = KINDS[kind]
    values = (served.access.port, served.access.token.encode())[: first.count(b"%")]
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", served.access.port))) for _ in range(200)
        ]
        for connection in slow:
            connection.sendall(first % values)
            connection.setblocking(False)
        n_open, n_answered, longest, start = 200, 0, 0.0, time.monotonic()
        while n_open and time.monotonic() - start < 15:
            for connection in slow:  # a trickle must not set the clock back
                with suppress(OSError):
                    connection.send(b"x")
            asked = time.monotonic()
            assert client.post("/search", json={"text": "a"}).status_code == 200
            longest, n_answered = max(longest, time.monotonic() - asked), n_answered + 1
            n_open = sum(not is_closed(connection) for connection in slow)
            time.sleep(0.1)
    assert n_open == 0
    assert n_answered >= 2
    assert longest < 3, "a good client had to wait"
