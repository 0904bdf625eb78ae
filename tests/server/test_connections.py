"""Connections that never end (S5), and strangers on all of them."""

from __future__ import annotations

import http.client
import resource
import select
import socket
import sys
import time
import types
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from mmsearch import Library
from mmsearch.server import connections, limits
from mmsearch.server.run import server_of
from tests.server.conftest import running

MIB = 1 << 20

KINDS = {
    "silent": b"",
    "header": b"GET /status HTTP/1.1\r\nHost: ",
    "second header": b"GET /status HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\n\r\nGET /",
    "body": b"POST /search HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\n"
            b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
    "unread body": b"GET /status HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\n"
                   b"Content-Length: 1000\r\n\r\n{",
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
    monkeypatch.setattr(connections, "HEADER_SECONDS", 1.5)
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


# -- slow readers ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(checkpoint, cache, tiny_folder, tmp_path_factory):
    """A server over one large original; most of it is no picture."""
    base = tmp_path_factory.mktemp("large")
    photos = base / "photos"
    photos.mkdir()
    picture = (Path(limits.__file__).parents[1] / "samples" / "moose.jpg").read_bytes()
    (photos / "moose.jpg").write_bytes(picture + bytes(12 * MIB))
    with Library.open(base / "library", cache=cache) as library:
        library.index([photos], model=str(checkpoint), local=False)
    with running(base / "library", photos, cache=cache) as server:
        yield server


def asking(served, path, stack, n=1):
    """A connection that has asked for a path n times and takes little into its own buffers."""
    connection = stack.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    connection.connect(("127.0.0.1", served.access.port))
    head = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.access.port}\r\n"
        f"Authorization: Bearer {served.access.token}\r\n"
        f"Cookie: {served.access.cookie}={served.access.browser_secret}\r\n\r\n"
    )
    connection.settimeout(10)
    connection.sendall(head.encode() * n)
    return connection


def is_aborted(connection, seconds):
    """Whether the server ends a connection in time; nothing is read."""
    poll = select.poll()
    poll.register(connection, 0)  # errors and ends alone
    return bool(poll.poll(seconds * 1_000))


def open_originals():
    """Descriptors of this process, the server's among them, that are originals."""
    names_of_files = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            names_of_files.append(link.readlink().name)
    return names_of_files.count("moose.jpg")


def wait_until(holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_readers_that_do_not_read_are_ended_and_leave_nothing_open(large, monkeypatch):
    monkeypatch.setattr(connections, "WRITE_SECONDS", 0.5)
    with ExitStack() as stack:
        readers = [asking(large, "/pictures/1/file", stack) for _ in range(8)]
        wait_until(lambda: open_originals() == 8)
        assert all(is_aborted(reader, 10) for reader in readers)
        wait_until(lambda: open_originals() == 0)
    with large.allowed() as client:
        assert client.get("/status").status_code == 200


def test_a_reader_that_takes_next_to_nothing_is_ended(large, monkeypatch):
    monkeypatch.setattr(connections, "WRITE_SECONDS", 0.5)
    with ExitStack() as stack:
        connection = asking(large, "/pictures/1/file", stack)
        start = time.monotonic()
        while not is_aborted(connection, 0.02):
            assert time.monotonic() - start < 10
            connection.recv(100)


def test_answers_that_are_complete_but_not_taken_are_ended(large, monkeypatch):
    monkeypatch.setattr(connections, "WRITE_SECONDS", 0.5)
    with ExitStack() as stack:
        connection = asking(large, "/static/style.css", stack, n=500)
        assert is_aborted(connection, 10)


def test_a_reader_that_is_slow_is_served_to_the_end(large, monkeypatch):
    monkeypatch.setattr(connections, "WRITE_SECONDS", 0.2)
    monkeypatch.setattr(connections, "MIN_TAKEN", 80 << 10)
    n_taken = 0
    with ExitStack() as stack:
        connection = asking(large, "/pictures/1/file", stack)
        while n_taken < 12 * MIB:
            n_taken += len(connection.recv(256 << 10))
            time.sleep(0.002)  # some megabytes a second: a few times what must be taken


def test_the_clock_of_a_reader_begins_anew_whenever_it_has_taken_all(large, monkeypatch):
    monkeypatch.setattr(connections, "WRITE_SECONDS", 0.3)
    with ExitStack() as stack:
        connection = asking(large, "/static/style.css", stack)
        for _ in range(5):
            assert connection.recv(65_536)
            time.sleep(0.25)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % large.access.port)
        assert connection.recv(65_536)


# -- too many connections ----------------------------------------------------------------------------


def test_a_new_connection_is_answered_while_as_many_as_there_may_be_say_nothing(indexed, photos, cache):
    with (
        running(indexed.folder, photos, cache=cache, n_connections=20) as served,
        ExitStack() as stack,
        served.allowed() as client,
    ):
        silent = []
        for _ in range(30):
            silent.append(stack.enter_context(socket.create_connection(("127.0.0.1", served.access.port))))
            time.sleep(0.005)
        assert client.post("/search", json={"text": "a"}).status_code == 200
        for connection in silent:
            connection.setblocking(False)
        closed = [is_closed(connection) for connection in silent]
    assert closed == sorted(closed, reverse=True)  # those that were silent longest
    assert 11 <= sum(closed) <= 13


def test_a_connection_whose_request_is_being_read_makes_no_room(indexed, photos, cache):
    with running(indexed.folder, photos, cache=cache, n_connections=3) as served, ExitStack() as stack:
        body = b'{"text": "a"}'
        head = (
            f"POST /search HTTP/1.1\r\nHost: 127.0.0.1:{served.access.port}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {served.access.token}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        busy = stack.enter_context(socket.create_connection(("127.0.0.1", served.access.port), timeout=10))
        busy.sendall(head.encode() + body[:5])
        for _ in range(5):
            time.sleep(0.05)
            stack.enter_context(socket.create_connection(("127.0.0.1", served.access.port)))
        busy.sendall(body[5:])
        assert b"200 OK" in busy.recv(65_536)


ATTACKED = 12
"""Connections that there may be in a server under attack."""


def head_of(served, method, path, *, n_bytes=None, token=None, kind="application/json"):
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{served.access.port}", f"Content-Type: {kind}"]
    lines += [] if n_bytes is None else [f"Content-Length: {n_bytes}"]
    lines += [] if token is None else [f"Authorization: Bearer {token}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


STRANGERS = {
    "say nothing": lambda served: b"",
    "send no token to a session": lambda served: head_of(served, "POST", "/session", n_bytes=20),
    "send nothing after a wrong token": lambda served: head_of(
        served, "POST", "/search", n_bytes=20, token="x" * 20
    ),
    "guess": lambda served: head_of(served, "GET", "/status", token=f"guess {time.monotonic_ns()}"),
    "do not take their answers": lambda served: head_of(served, "GET", "/static/style.css") * 500,
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_strangers_on_every_connection_keep_out_nobody_who_is_known(indexed, photos, cache, kind):
    with (
        running(
            indexed.folder, photos, cache=cache, n_connections=ATTACKED, token="the-right-token-of-a-user"
        ) as served,
        ExitStack() as stack,
    ):
        with served.allowed() as client:
            cookie = (
                client.post("/session", json={"token": served.access.token}).headers["set-cookie"].partition(";")[0]
            )

        def attack():
            for _ in range(2 * ATTACKED):
                connection = stack.enter_context(socket.socket())
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
                connection.settimeout(5)
                connection.connect(("127.0.0.1", served.access.port))
                connection.setblocking(False)
                with suppress(OSError):
                    connection.send(STRANGERS[kind](served))
            time.sleep(0.1)

        for _ in range(3):
            attack()
            start = time.monotonic()
            with served.client(cookie=cookie, origin=served.address) as client:
                answer = client.post("/search", json={"text": "a"})
            if answer.status_code == 503:  # the strangers were ended, but what they asked was not yet given up
                time.sleep(int(answer.headers["retry-after"]))
                with served.client(cookie=cookie, origin=served.address) as client:
                    answer = client.post("/search", json={"text": "a"})
            assert answer.status_code == 200
            assert time.monotonic() - start < 10  # they would be waited for 30 s


def test_who_came_before_hundreds_of_strangers_is_heard_before_they_need_room(indexed, photos, cache):
    with (
        running(indexed.folder, photos, cache=cache, n_connections=100) as served,
        ExitStack() as stack,
    ):
        loop, address = served.server.servers[0].get_loop(), ("127.0.0.1", served.access.port)
        loop.call_soon_threadsafe(time.sleep, 0.5)  # all have come when the first is accepted
        time.sleep(0.1)
        known = stack.enter_context(socket.create_connection(address, timeout=5))
        known.sendall(head_of(served, "GET", "/status", token=served.access.token))
        for _ in range(400):
            stranger = stack.enter_context(socket.create_connection(address, timeout=5))
            stranger.sendall(STRANGERS["send no token to a session"](served))
        assert b" 200 " in known.recv(65_536).partition(b"\r\n")[0]


def status_of_answer(connection):
    """The status of an answer, which is read to its end."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


def test_a_connection_that_was_let_in_makes_room_after_all_that_were_not(indexed, photos, cache):
    with (
        running(indexed.folder, photos, cache=cache, n_connections=ATTACKED) as served,
        ExitStack() as stack,
        socket.create_connection(("127.0.0.1", served.access.port), timeout=5) as known,
    ):
        ask = head_of(served, "GET", "/openapi.json", token=served.access.token)
        allowed = head_of(served, "GET", "/pictures/1", token=served.access.token)
        for request in (allowed, ask):
            known.sendall(request)
            assert status_of_answer(known) == 200
            for _ in range(2 * ATTACKED):
                stack.enter_context(socket.create_connection(("127.0.0.1", served.access.port)))
            time.sleep(0.1)
        known.sendall(allowed)
        assert status_of_answer(known) == 200


def test_a_new_connection_is_told_where_nobody_can_make_room(indexed, photos, cache):
    with running(indexed.folder, photos, cache=cache, n_connections=3) as served, ExitStack() as stack:
        body, address = b'{"text": "a"}', ("127.0.0.1", served.access.port)
        busy = [stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(3)]
        for connection in busy:
            connection.sendall(head_of(served, "POST", "/search", n_bytes=len(body), token=served.access.token))

        # A connection from which the server has not heard yet would make room, and one of the three is lost.
        state = served.server.server_state
        wait_until(lambda: sum(connection._is_busy() for connection in set(state.connections)) == 3)
        for path in ("/", "/status"):
            with served.allowed() as client:
                answer = client.get(path)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.json()["detail"] == "the server has as many connections as it can; try again in a moment"
        # Neither do those that are refused: no other has the place of one of them.
        refused = [stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(4)]
        wait_until(lambda: sum(map(is_ended, refused)) == 3)
        (last,) = [connection for connection in refused if not is_ended(connection)]
        last.setblocking(True)
        last.sendall(head_of(served, "GET", "/status", token=served.access.token))
        assert status_of_answer(last) == 503
        for connection in busy:
            connection.sendall(body)
            assert b"200 OK" in connection.recv(65_536)


def test_one_address_of_another_machine_has_half_of_all_connections(indexed, photos, cache, monkeypatch):
    monkeypatch.setattr(connections, "address_of", lambda host: host)  # as if it were another machine
    with running(indexed.folder, photos, cache=cache, n_connections=20) as served, ExitStack() as stack:
        address = ("127.0.0.1", served.access.port)
        other = stack.enter_context(socket.create_connection(address, source_address=("127.0.0.9", 0)))
        silent = [stack.enter_context(socket.create_connection(address)) for _ in range(15)]
        wait_until(lambda: sum(map(is_ended, silent)) >= 5)
        time.sleep(0.1)
        assert [is_ended(connection) for connection in silent].count(False) == 10
        assert not is_ended(other)


def is_ended(connection):
    connection.setblocking(False)
    return is_closed(connection)


def test_the_loop_is_one_whose_transports_are_known_though_another_is_installed(served, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", types.ModuleType("uvloop"))
    loop = server_of(served.app).config.get_loop_factory()()
    loop.close()
    assert type(loop).__module__.startswith("asyncio.")


def test_strangers_get_one_answer_a_connection_and_others_as_many_as_they_ask(served):
    def answers(extra):
        request = f"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1:{served.access.port}\r\n{extra}\r\n".encode()
        with socket.create_connection(("127.0.0.1", served.access.port), timeout=5) as connection:
            connection.sendall(request * 5)
            received = b""
            with suppress(OSError):
                while received.count(b"HTTP/1.1 200") < 5 and (data := connection.recv(1 << 16)):
                    received += data
        return received.count(b"HTTP/1.1 200")

    assert answers("") == 1
    assert answers(f"Cookie: {served.access.cookie}={served.access.browser_secret}\r\n") == 5
