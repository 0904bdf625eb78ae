"""Bodies that are too large or no pictures (S4), and connections that never end (S5)."""

from __future__ import annotations

import asyncio
import itertools
import resource
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from mmsearch.server import limits
from mmsearch.server.limits import BodyLimits, Budget
from tests import pictures
from tests.server.conftest import hastily, names

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
    answer = None
    with suppress(httpx.WriteError):  # the server closed before all was sent
        answer = client.post(path, content=chunks(40 * MIB), headers={"content-type": "application/json"})
    assert answer is None or answer.status_code == 413
    part = b'--b\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\n\r\n'
    kind = {"content-type": "multipart/form-data; boundary=b"}
    with suppress(httpx.WriteError):
        answer = client.post(f"{path}/upload", content=chunks(40 * MIB, part), headers=kind)
    assert answer is None or answer.status_code == 413
    assert client.get("/status").status_code == 200


def test_a_picture_of_nearly_the_limit_is_taken(client, served):
    data = (served.photos / "moose.jpg").read_bytes() + b"\0" * (19 * MIB)
    assert names(client.post("/search/upload", files={"picture": data}))[0] == "moose.jpg"


@pytest.mark.parametrize(("n_bytes", "status"), [(4_096, 403), (4_097, 413)])
def test_a_session_is_asked_for_with_four_kilobytes_at_most(served, n_bytes, status):
    body = b'{"token": "a wrong one"}'.ljust(n_bytes)
    with served.client() as client:
        for content in (body, iter([body[:4_000], body[4_000:]])):  # the second does not say how long it is
            answer = client.post("/session", content=content, headers={"content-type": "application/json"})
            assert answer.status_code == status, answer.text
    assert status == 403 or answer.json()["detail"] == "the request is larger than 4 KiB; send the token alone"


ADVICE = {path: f"send pictures as a form, to {path}/upload" for path in ("/search", "/classify", "/embed")}
ADVICE["/searches"] = "send fewer searches at once"


@pytest.mark.parametrize("path", ADVICE)
def test_json_has_a_limit_of_its_own(client, path):
    body = b'{"text": "a", "labels": ["a"]}'
    kind = {"content-type": "application/json"}
    assert client.post(path, content=body.ljust(2 * MIB), headers=kind).status_code == 422
    for content in (body.ljust(2 * MIB + 1), iter([body.ljust(MIB), b" " * MIB, b" "])):
        answer = client.post(path, content=content, headers=kind)
        assert answer.status_code == 413
        assert answer.json()["detail"] == f"the request is larger than 2 MiB; {ADVICE[path]}"


@pytest.mark.parametrize("path", ["/", "/start", "/static/main.js", "/status", "/pictures/1/file"])
def test_a_body_that_nobody_reads_is_refused_or_passed_over(client, path):
    assert client.request("GET", path, content=b"x" * (64 * 1024 + 1)).status_code == 413
    for content in (b"x" * 64 * 1024, chunks(MIB)):
        answer = client.request("GET", path, content=content)
        assert answer.status_code == (403 if path == "/start" else 200)
        assert len(answer.content) > 0


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
    block, before = b" " * MIB, memory_in_use()
    with ExitStack() as stack:
        address = ("127.0.0.1", served.access.port)
        connections = [stack.enter_context(socket.create_connection(address, timeout=5)) for _ in range(40)]
        for connection in connections:
            connection.sendall(head)
        for connection in connections:
            connection.settimeout(5)
            n_sent = 0
            with suppress(BrokenPipeError, ConnectionResetError):  # strangers get one answer, and no more is read
                while n_sent < 20 * MIB:
                    n_sent += connection.send(block)
        assert memory_in_use() - before < 60 * MIB
        statuses = [connection.recv(65_536).split()[1] for connection in connections]
    assert set(statuses) == {b"413" if path == "/session" else b"401"}


# -- all bodies together -----------------------------------------------------------------------------


FORM = "multipart/form-data; boundary=b"
HELD = 64 * MIB
BLOCK = 64 << 10


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

    async def send_one(self, n_bytes, *, says_length=True, leaves_after=None, stalls_after=None, kind=FORM):
        """Send a body of so many bytes, and return the status of the answer."""
        headers = [(b"content-type", kind.encode())]
        headers += [(b"content-length", b"%d" % n_bytes) if says_length else (b"transfer-encoding", b"chunked")]
        scope = {"type": "http", "method": "POST", "path": "/search/upload", "headers": headers}
        n_sent, statuses, block = 0, [], b"x" * BLOCK

        async def receive():
            nonlocal n_sent
            if leaves_after is not None and n_sent >= leaves_after:
                return {"type": "http.disconnect"}
            if stalls_after is not None and n_sent >= stalls_after:
                await self.go_on.wait()
            n_sent += BLOCK
            return {"type": "http.request", "body": block, "more_body": n_sent < n_bytes}

        async def send(message):
            statuses.append(message.get("status"))

        await self.app(scope, receive, send)
        return statuses[0]


@pytest.mark.parametrize("says_length", [True, False])
def test_of_forty_uploads_at_once_no_more_is_held_than_may_be_and_all_are_answered(says_length):
    async def run():
        uploads = Uploads()
        tasks = [asyncio.create_task(uploads.send_one(20 * MIB, says_length=says_length)) for _ in range(40)]
        await asyncio.sleep(1)
        assert uploads.n_read >= HELD - MIB
        uploads.go_on.set()
        return await asyncio.gather(*tasks), uploads.n_most

    statuses, n_most = hastily(run())
    assert statuses == [200] * 40
    assert n_most <= HELD + 40 * 2 * BLOCK  # what is in the buffers of connections is not counted


async def fill(uploads):
    """Send three of the largest bodies, which are then worked on."""
    tasks = [asyncio.create_task(uploads.send_one(20 * MIB)) for _ in range(3)]
    await asyncio.sleep(0.1)
    assert uploads.n_read == 60 * MIB
    return tasks


def test_a_body_that_is_small_waits_for_no_other():
    async def run():
        uploads = Uploads()
        tasks = await fill(uploads)
        n_read = uploads.n_read
        small = asyncio.create_task(uploads.send_one(BLOCK))
        await asyncio.sleep(0.05)
        assert uploads.n_read == n_read + BLOCK
        uploads.go_on.set()
        return await asyncio.gather(*tasks, small)

    assert set(hastily(run())) == {200}


@pytest.mark.parametrize("n_sent", [0, BLOCK, MIB, 3 * MIB])
def test_an_upload_does_not_wait_for_twelve_that_do_not_come(n_sent):
    async def run():
        uploads = Uploads()
        stalled = [asyncio.create_task(uploads.send_one(20 * MIB, stalls_after=n_sent)) for _ in range(12)]
        await asyncio.sleep(0.1)
        before = uploads.n_read
        assert before == 12 * n_sent
        honest = asyncio.create_task(uploads.send_one(300 << 10))
        await asyncio.sleep(0.1)
        n_read = uploads.n_read - before
        uploads.go_on.set()
        return n_read, await asyncio.gather(honest, *stalled)

    n_read, statuses = hastily(run())
    assert n_read == 5 * BLOCK
    assert statuses == [200] * 13


def test_who_waits_too_long_is_told_to_come_again():
    async def run():
        uploads = Uploads()
        held = await fill(uploads)
        start = asyncio.get_running_loop().time()
        with pytest.raises(limits.HTTPException) as caught:
            await uploads.send_one(20 * MIB)
        waited = asyncio.get_running_loop().time() - start
        uploads.go_on.set()
        assert await uploads.send_one(20 * MIB) == 200  # whoever gave up holds nothing
        await asyncio.wait(held)
        return caught.value, waited

    error, waited = hastily(run())
    assert error.status_code == 503
    assert error.headers == {"Retry-After": "5"}
    assert waited == pytest.approx(30, abs=0.1)


def test_bytes_are_given_back_when_clients_leave_requests_are_cancelled_or_bodies_are_too_large():
    async def run():
        uploads = Uploads()
        uploads.go_on.set()
        for _ in range(10):
            gone = (
                uploads.send_one(20 * MIB, leaves_after=3 * MIB), uploads.send_one(30 * MIB, says_length=False),
            )  # fmt: skip
            assert [type(error).__name__ for error in await asyncio.gather(*gone, return_exceptions=True)] == [
                "ClientDisconnect", "HTTPException",
            ]  # fmt: skip
        uploads.go_on.clear()
        for _ in range(10):
            tasks = [asyncio.create_task(uploads.send_one(20 * MIB)) for _ in range(5)]  # some of them wait
            await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        uploads.go_on.set()
        return await asyncio.gather(*(uploads.send_one(20 * MIB) for _ in range(12)))

    assert hastily(run()) == [200] * 12


def test_what_is_held_is_given_in_the_order_in_which_it_was_asked_for():
    async def run():
        budget, order = Budget(10, 0), []

        async def take(name, n):
            await budget.take(name, n)
            order.append(name)

        await take("first", 8)
        tasks = [asyncio.create_task(take(*asked)) for asked in (("large", 9), ("small", 1), ("smaller", 1))]
        await asyncio.sleep(0)
        assert order == ["first"]
        tasks[0].cancel()  # who stood in the way leaves
        await asyncio.gather(*tasks, return_exceptions=True)
        return order

    assert hastily(run()) == ["first", "small", "smaller"]


def test_a_turn_that_comes_while_its_owner_is_cancelled_is_given_back():
    async def run():
        budget = Budget(1, 1)
        await budget.take("first", 1)
        waiting = asyncio.create_task(budget.take("second", 1))
        await asyncio.sleep(0)
        budget.give("first", 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.wait_for(budget.take("third", 1), 1)

    hastily(run())


@given(
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=12),
    waits=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    n_bytes=st.integers(8, 20),
)
def test_bodies_that_take_bytes_while_they_come_never_wait_for_each_other_for_ever(sizes, waits, n_bytes):
    budget, n_held, pauses = Budget(n_bytes, 8), 0, itertools.cycle(waits)

    async def read(i, size):
        nonlocal n_held
        for _ in range(size):
            await budget.take(i, 1)
            n_held += 1
            assert n_held <= n_bytes
            await asyncio.sleep(next(pauses))
        budget.finish(i)
        await asyncio.sleep(next(pauses))  # it is answered
        n_held -= size
        budget.give(i, size)

    async def run():
        await asyncio.gather(*(read(i, size) for i, size in enumerate(sizes)))
        await budget.take("all", n_bytes)

    hastily(run())


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


@pytest.mark.parametrize("name", sorted(pictures.REJECTED))
def test_a_file_that_is_no_usable_picture_is_a_problem_with_its_reason(client, name):
    data, code = pictures.rejected()[name]
    if len(data) > 20 * MIB:
        pytest.fail("the fixture is larger than a request may be")
    answer = client.post("/search/upload", files={"picture": ("it.jpg", data)})
    assert answer.status_code == 422
    assert answer.json()["code"] == code
    assert answer.json()["detail"].startswith("it.jpg: ")


@pytest.mark.parametrize("name", sorted(pictures.ACCEPTED))
def test_every_kind_of_picture_is_taken(client, name):
    assert client.post("/search/upload", files={"picture": pictures.accepted()[name]}).status_code == 200


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
    path = "/search/upload" if kind.startswith("multipart") else "/search"
    answer = client.post(path, content=body, headers={"content-type": kind} if kind else {})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_answer_is_not_held_back(client):
    times = []
    for _ in range(9):
        start = time.monotonic()
        client.get("/openapi.json")
        times.append(time.monotonic() - start)
    assert min(times) < 0.03  # head and body together; Nagle's algorithm would add 40 ms to every answer


@pytest.mark.parametrize("framing", ["Content-Length: 20", "Transfer-Encoding: chunked"])
def test_a_token_that_does_not_come_is_not_waited_for(served, monkeypatch, framing):
    monkeypatch.setattr(limits, "TOKEN_SECONDS", 0.3, raising=False)
    with socket.create_connection(("127.0.0.1", served.access.port), timeout=5) as connection:
        connection.sendall(
            f"POST /session HTTP/1.1\r\nHost: 127.0.0.1:{served.access.port}\r\n"
            f"Content-Type: application/json\r\n{framing}\r\n\r\n".encode()
        )
        received = b""
        while part := connection.recv(65_536):
            received += part
    assert received.split()[1] == b"408"
    assert b"the request did not come within 0.3 s" in received
