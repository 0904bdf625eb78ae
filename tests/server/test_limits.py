"""Bodies that are too large or no pictures (S4), and connections that never end (S5)."""

from __future__ import annotations

import asyncio
import resource
import select
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from mmsearch import Library
from mmsearch.server import limits
from mmsearch.server.limits import BodyLimits, Budget
from tests import pictures
from tests.server.conftest import names, running

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


@pytest.mark.parametrize(("n_bytes", "status"), [(4_096, 403), (4_097, 413)])
def test_a_session_is_asked_for_with_four_kilobytes_at_most(served, n_bytes, status):
    body = b'{"token": "a wrong one"}'.ljust(n_bytes)
    with served.client() as client:
        for content in (body, iter([body[:4_000], body[4_000:]])):  # the second does not say how long it is
            found = client.post("/session", content=content, headers={"content-type": "application/json"})
            assert found.status_code == status, found.text
    assert status == 403 or found.json()["detail"] == "the request is larger than 4 KiB; send the token alone"


@pytest.mark.parametrize("path", ["/search", "/classify"])
def test_json_has_a_limit_of_its_own(client, path):
    body = b'{"text": "a", "labels": ["a"]}'
    kind = {"content-type": "application/json"}
    assert client.post(path, content=body.ljust(2 * MIB), headers=kind).status_code == 422
    for content in (body.ljust(2 * MIB + 1), iter([body.ljust(MIB), b" " * MIB, b" "])):
        found = client.post(path, content=content, headers=kind)
        assert found.status_code == 413
        assert found.json()["detail"] == (
            "the request is larger than 2 MiB; send pictures as a form, as multipart/form-data"
        )


@pytest.mark.parametrize("path", ["/", "/start", "/static/main.js", "/status", "/pictures/1/file"])
def test_a_body_that_nobody_reads_is_refused_or_passed_over(client, path):
    assert client.request("GET", path, content=b"x" * (64 * 1024 + 1)).status_code == 413
    for content in (b"x" * 64 * 1024, chunks(MIB)):
        found = client.request("GET", path, content=content)
        assert found.status_code == (403 if path == "/start" else 200)
        assert len(found.content) > 0


def test_a_length_of_thousands_of_digits_is_refused(served):
    for length in (b"9" * 19, b"9" * 5_000):
        with socket.create_connection(("127.0.0.1", served.access.port), timeout=5) as connection:
            connection.sendall(
                b"POST /session HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: %s\r\n\r\n"
                % (served.access.port, length)
            )
            assert connection.recv(65_536).split()[1] in (b"400", b"413")


def memory_in_use():
    """Bytes of this process that are in memory, the server's among them."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("path", ["/session", "/search", "/classify", "/status"])
def test_forty_bodies_of_twenty_mebibytes_without_the_token_fill_no_memory(served, path):
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.access.port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {20 * MIB}\r\n\r\n"
    ).encode()
    block, before, statuses = b" " * MIB, memory_in_use(), []
    with ExitStack() as stack:
        address = ("127.0.0.1", served.access.port)
        connections = [stack.enter_context(socket.create_connection(address, timeout=5)) for _ in range(40)]
        for connection in connections:
            connection.sendall(head)
        for connection in connections:
            connection.setblocking(False)
            n_sent = 0
            while not (n_sent >= 4 * MIB and select.select([connection], [], [], 0)[0]) and n_sent < 20 * MIB:
                select.select([], [connection], [], 5)
                with suppress(BlockingIOError):
                    n_sent += connection.send(block)
        assert memory_in_use() - before < 60 * MIB
        for connection in connections:
            connection.settimeout(5)
            statuses.append(connection.recv(65_536).split()[1])
    assert set(statuses) == {b"413" if path == "/session" else b"401"}


# -- all bodies together -----------------------------------------------------------------------------


FORM = "multipart/form-data; boundary=b"
HELD = 64 * MIB


class Uploads:
    """Requests that come to `BodyLimits` at once, and how much of them is held."""

    def __init__(self):
        self.n_read, self.n_most, self.n_answered = 0, 0, 0
        self.go_on = asyncio.Event()
        self.app = BodyLimits(self.answer)

    async def answer(self, scope, receive, send):
        n_mine = 0
        try:
            async for chunk in Request(scope, receive).stream():
                n_mine += len(chunk)
                self.n_read += len(chunk)
                self.n_most = max(self.n_most, self.n_read)
                await asyncio.sleep(0)
            await self.go_on.wait()
        finally:
            self.n_read -= n_mine
        self.n_answered += 1
        await Response("")(scope, receive, send)

    async def send_one(self, n_mib, *, says_length=True, leaves_after=None, kind=FORM):
        """Send a body of so many mebibytes, and return the status of the answer."""
        headers = [(b"content-type", kind.encode())]
        headers += [
            (b"content-length", b"%d" % (n_mib * MIB)) if says_length else (b"transfer-encoding", b"chunked")
        ]
        scope = {"type": "http", "method": "POST", "path": "/search", "headers": headers}
        n_sent, statuses, block = 0, [], b"x" * MIB

        async def receive():
            nonlocal n_sent
            if n_sent == leaves_after:
                return {"type": "http.disconnect"}
            n_sent += 1
            return {"type": "http.request", "body": block, "more_body": n_sent < n_mib}

        async def send(message):
            statuses.append(message.get("status"))

        await self.app(scope, receive, send)
        return statuses[0]


def test_forty_uploads_at_once_are_read_by_threes_and_all_are_answered():
    async def run():
        uploads = Uploads()
        tasks = [asyncio.create_task(uploads.send_one(20, says_length=i % 2 == 0)) for i in range(40)]
        await asyncio.sleep(0.1)
        assert uploads.n_read == 60 * MIB
        uploads.go_on.set()
        return await asyncio.gather(*tasks), uploads.n_most

    statuses, n_most = asyncio.run(asyncio.wait_for(run(), 10))
    assert statuses == [200] * 40
    assert n_most <= HELD


def test_a_body_that_is_small_waits_for_no_other(monkeypatch):
    monkeypatch.setattr(limits, "SMALL", MIB)

    async def run():
        uploads = Uploads()
        tasks = [asyncio.create_task(uploads.send_one(20)) for _ in range(4)]
        await asyncio.sleep(0.05)
        small = asyncio.create_task(uploads.send_one(1))
        await asyncio.sleep(0.05)
        assert uploads.n_read == 61 * MIB
        uploads.go_on.set()
        return await asyncio.gather(*tasks, small)

    assert set(asyncio.run(run())) == {200}


def test_who_waits_too_long_is_told_to_come_again(monkeypatch):
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.2)

    async def run():
        uploads = Uploads()
        held = [asyncio.create_task(uploads.send_one(20)) for _ in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(limits.HTTPException) as caught:
            await uploads.send_one(20)
        uploads.go_on.set()
        assert await uploads.send_one(20) == 200  # whoever gave up holds nothing
        await asyncio.gather(*held)
        return caught.value

    error = asyncio.run(run())
    assert error.status_code == 503
    assert error.headers == {"Retry-After": "5"}


def test_bytes_are_given_back_when_clients_leave_requests_are_cancelled_or_bodies_are_too_large():
    async def run():
        uploads = Uploads()
        uploads.go_on.set()
        for _ in range(10):
            gone = uploads.send_one(20, leaves_after=3), uploads.send_one(30, says_length=False)
            assert [type(error).__name__ for error in await asyncio.gather(*gone, return_exceptions=True)] == [
                "ClientDisconnect", "HTTPException",
            ]  # fmt: skip
        uploads.go_on.clear()
        for _ in range(10):
            tasks = [asyncio.create_task(uploads.send_one(20)) for _ in range(5)]  # three read, two wait
            await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        uploads.go_on.set()
        return await asyncio.gather(*(uploads.send_one(20) for _ in range(12)))

    assert asyncio.run(asyncio.wait_for(run(), 10)) == [200] * 12


def test_what_is_held_is_given_in_the_order_in_which_it_was_asked_for():
    async def run():
        budget, order = Budget(10), []

        async def take(name, n):
            await budget.take(n)
            order.append(name)

        await take("first", 8)
        tasks = [asyncio.create_task(take(*asked)) for asked in (("large", 9), ("small", 1), ("smaller", 1))]
        await asyncio.sleep(0)
        assert order == ["first"]
        tasks[0].cancel()  # who stood in the way leaves
        await asyncio.gather(*tasks, return_exceptions=True)
        return order

    assert asyncio.run(asyncio.wait_for(run(), 10)) == ["first", "small", "smaller"]


def test_a_turn_that_comes_while_its_owner_is_cancelled_is_given_back():
    async def run():
        budget = Budget(1)
        await budget.take(1)
        waiting = asyncio.create_task(budget.take(1))
        await asyncio.sleep(0)
        budget.give(1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.wait_for(budget.take(1), 1)

    asyncio.run(run())


def test_a_client_that_leaves_amid_its_body_is_no_error_of_the_server(served, client, caplog):
    for kind in ("application/json", FORM):
        head = (
            f"POST /search HTTP/1.1\r\nHost: 127.0.0.1:{served.access.port}\r\nContent-Type: {kind}\r\n"
            f"Authorization: Bearer {served.access.token}\r\nContent-Length: {MIB}\r\n\r\nx"
        )
        with socket.create_connection(("127.0.0.1", served.access.port), timeout=5) as connection:
            connection.sendall(head.encode())
            time.sleep(0.1)
    time.sleep(0.1)
    assert client.get("/status").status_code == 200
    assert "Traceback" not in caplog.text


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
    with running(base / "library", photos, cache=cache) as found:
        yield found


def asking(served, path, stack, n=1):
    """A connection that has asked for a path n times and takes little into its own buffers."""
    connection = stack.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    connection.connect(("127.0.0.1", served.access.port))
    head = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.access.port}\r\n"
        f"Authorization: Bearer {served.access.token}\r\n\r\n"
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


def wait_until(holds, seconds=10):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_readers_that_do_not_read_are_ended_and_leave_nothing_open(large, monkeypatch):
    monkeypatch.setattr(limits, "WRITE_SECONDS", 0.5)
    with ExitStack() as stack:
        connections = [asking(large, "/pictures/1/file", stack) for _ in range(8)]
        wait_until(lambda: open_originals() == 8)
        assert all(is_aborted(connection, 10) for connection in connections)
        wait_until(lambda: open_originals() == 0)
    with large.allowed() as client:
        assert client.get("/status").status_code == 200


def test_a_reader_that_takes_next_to_nothing_is_ended(large, monkeypatch):
    monkeypatch.setattr(limits, "WRITE_SECONDS", 0.5)
    with ExitStack() as stack:
        connection = asking(large, "/pictures/1/file", stack)
        start = time.monotonic()
        while not is_aborted(connection, 0.02):
            assert time.monotonic() - start < 10
            connection.recv(100)


def test_answers_that_are_complete_but_not_taken_are_ended(large, monkeypatch):
    monkeypatch.setattr(limits, "WRITE_SECONDS", 0.5)
    with ExitStack() as stack:
        connection = asking(large, "/static/style.css", stack, n=500)
        assert is_aborted(connection, 10)


def test_a_reader_that_is_slow_is_served_to_the_end(large, monkeypatch):
    monkeypatch.setattr(limits, "WRITE_SECONDS", 0.2)
    monkeypatch.setattr(limits, "MIN_TAKEN", 80 << 10)
    n_taken = 0
    with ExitStack() as stack:
        connection = asking(large, "/pictures/1/file", stack)
        while n_taken < 12 * MIB:
            n_taken += len(connection.recv(256 << 10))
            time.sleep(0.002)  # some megabytes a second: a few times what must be taken


def test_the_clock_of_a_reader_begins_anew_whenever_it_has_taken_all(large, monkeypatch):
    monkeypatch.setattr(limits, "WRITE_SECONDS", 0.3)
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
