"""Wrong tokens: each is answered later than the one before, by address; the right one is not held back."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.responses import Response

from mmsearch.server import guesses
from mmsearch.server.guesses import Guesses
from mmsearch.server.security import Access, Guard
from tests.server.conftest import running

RIGHT = "the right token"


@pytest.fixture
def slept(monkeypatch):
    """The seconds that answers were held back, which pass at once."""
    seconds = []

    class Timeout:
        def __init__(self, delay):
            seconds.append(delay)

        async def __aenter__(self):
            raise TimeoutError

        async def __aexit__(self, *_):
            pass

    monkeypatch.setattr(guesses.asyncio, "timeout", Timeout)
    return seconds


class Clock:
    now = 1_000.0

    def __call__(self):
        return self.now


async def guess(judge, *tokens, host="10.0.0.1"):
    return await judge.allow(host, tokens, lambda token: token == RIGHT)


async def guess_often(judge, n, *, host="10.0.0.1", start=0):
    for i in range(start, start + n):
        assert not await guess(judge, f"wrong {i}", host=host)


def test_the_first_five_wrong_tokens_are_answered_at_once_and_each_further_one_twice_as_late(slept):
    asyncio.run(guess_often(Guesses(), 16))
    assert slept == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0, 10.0]


def test_the_right_token_is_answered_at_once_after_any_number_of_wrong_ones(slept):
    async def run():
        judge = Guesses()
        await guess_often(judge, 20)
        slept.clear()
        return await guess(judge, RIGHT), await guess(judge, "wrong", RIGHT), await guess(judge, RIGHT, host="::1")

    assert asyncio.run(run()) == (True, True, True)
    assert slept == []


def test_a_missing_token_is_no_guess(slept):
    async def run():
        judge = Guesses()
        await guess_often(judge, 20)
        slept.clear()
        return await guess(judge), await guess(judge, "", "")

    assert asyncio.run(run()) == (False, False)
    assert slept == []


def test_a_token_that_was_wrong_a_moment_ago_is_no_new_guess(slept):
    async def run():
        judge = Guesses()
        for _ in range(100):  # the cookie of an earlier start comes with everything that a browser asks
            assert not await guess(judge, "the cookie of yesterday")
        await guess_often(judge, 5)

    asyncio.run(run())
    assert slept == [0.1]


def test_two_wrong_tokens_of_one_request_are_two_guesses(slept):
    async def run():
        judge = Guesses()
        for i in range(3):
            assert not await guess(judge, f"bearer {i}", f"cookie {i}")

    asyncio.run(run())
    assert slept == [0.1]


def test_wrong_tokens_are_forgotten_after_a_quarter_of_an_hour_without_one(slept):
    async def run():
        clock = Clock()
        judge = Guesses(clock)
        await guess_often(judge, 6)
        clock.now += 900
        await guess_often(judge, 1, start=6)
        clock.now += 901
        await guess_often(judge, 5, start=7)

    asyncio.run(run())
    assert slept == [0.1, 0.2]


@pytest.mark.parametrize(
    ("host", "other", "is_same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("127.0.0.1", "127.9.9.9", True),
        ("127.0.0.1", "::1", True),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:1:2:3", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        (None, "10.0.0.1", False),
        ("a name", "another", False),
    ],
)
def test_who_has_one_address_has_all_that_count_as_it(slept, host, other, is_same):
    async def run():
        judge = Guesses()
        await guess_often(judge, 6, host=host)
        await guess_often(judge, 1, host=other, start=6)

    asyncio.run(run())
    assert slept == ([0.1, 0.2] if is_same else [0.1])


@given(st.text(max_size=20))
def test_whatever_an_address_is_it_is_counted(text):
    asyncio.run(guess_often(Guesses(), 5, host=text))


def test_only_so_many_addresses_are_remembered_and_the_oldest_is_forgotten(slept, monkeypatch):
    monkeypatch.setattr(guesses, "MAX_ADDRESSES", 3)

    async def run():
        judge = Guesses()
        for host in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1", "10.0.0.4"):
            await guess_often(judge, 5, host=host, start=5 if slept else 0)
        slept.clear()
        await guess_often(judge, 1, host="10.0.0.2", start=20)  # forgotten, and 10.0.0.3 now is
        await guess_often(judge, 1, host="10.0.0.1", start=20)
        return len(judge._guessers)

    assert asyncio.run(run()) == 3
    assert len(slept) == 1


def test_a_seventeenth_guess_is_refused_before_it_is_looked_at_and_ends_as_soon_as_others_are_answered():
    async def run():
        judge = Guesses()
        tasks = [asyncio.create_task(guess(judge, f"wrong {i}")) for i in range(5 + 16)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(HTTPException) as caught:
            await guess(judge, RIGHT)
        assert await guess(judge, RIGHT, host="10.0.0.2")
        assert not await guess(judge)
        judge.end()
        await asyncio.gather(*tasks)
        return caught.value, await guess(judge, RIGHT)

    error, is_right = asyncio.run(run())
    assert error.status_code == 429
    assert error.headers == {"Retry-After": "1"}
    assert is_right


def test_a_guess_that_is_cancelled_gives_its_place_back():
    async def run():
        judge = Guesses()
        await guess_often(judge, 5)
        tasks = [asyncio.create_task(guess(judge, f"another {i}")) for i in range(16)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return await guess(judge, RIGHT)

    assert asyncio.run(run())


async def asked(app, path="/status", **headers):
    """Ask an application from an address, and return the status and the headers of the answer."""
    messages = []
    host = headers.pop("host_of_client", "10.0.0.1")
    sent = [(name.encode(), value.encode()) for name, value in ({"host": "localhost:80"} | headers).items()]
    scope = {"type": "http", "method": "GET", "path": path, "headers": sent, "client": (host, 5), "scheme": "http"}

    async def send(message):
        messages.append(message)

    await app(scope, None, send)
    return messages[0]["status"], {name.decode(): value.decode() for name, value in messages[0]["headers"]}


def test_wrong_bearers_and_wrong_cookies_cost_alike(slept):
    access = Access("localhost", 80, RIGHT.replace(" ", "-"))
    app = Guard(Response("yes"), access, access.guesses.end)

    async def run():
        for i in range(4):
            assert (await asked(app, authorization=f"Bearer wrong-{i}"))[0] == 401
            assert (await asked(app, cookie=f"mmsearch-80=wrong-too-{i}"))[0] == 401
        assert slept == [0.1, 0.2, 0.4]
        assert (await asked(app))[0] == 401
        assert (await asked(app, authorization=f"Bearer {access.token}"))[0] == 200
        assert (await asked(app, cookie=f"mmsearch-80={access.token}"))[0] == 200
        assert (await asked(app, authorization="Basic d3Jvbmc="))[0] == 401
        assert slept == [0.1, 0.2, 0.4]

    asyncio.run(run())


def test_a_refusal_says_when_to_try_again_and_is_marked_like_every_answer(monkeypatch):
    monkeypatch.setattr(guesses, "MAX_WAITING", 1)
    access = Access("localhost", 80)
    app = Guard(Response("yes"), access, access.guesses.end)

    async def run():
        for i in range(5):
            await asked(app, authorization=f"Bearer wrong-{i}")
        waiting = asyncio.create_task(asked(app, authorization="Bearer wrong"))
        await asyncio.sleep(0.01)
        refused = await asked(app, authorization=f"Bearer {access.token}")
        page = await asked(app, path="/")
        access.guesses.end()
        return refused, page, await waiting

    refused, page, waiting = asyncio.run(run())
    assert refused[0] == 429
    assert refused[1]["retry-after"] == "1"
    assert refused[1]["x-content-type-options"] == "nosniff"
    assert page[0] == 200
    assert waiting[0] == 401


def test_wrong_keys_and_wrong_tokens_for_a_session_cost_too(indexed, photos, cache, monkeypatch):
    monkeypatch.setattr(guesses, "N_FREE", 1)
    monkeypatch.setattr(guesses, "FIRST_SECONDS", 0.3)
    monkeypatch.setattr(guesses, "LONGEST_SECONDS", 0.3)
    with running(indexed.folder, photos, cache=cache) as served, served.client() as client:
        client.get("/status", headers={"authorization": "Bearer the-free-one"})
        for ask in (
            lambda: client.get("/start?key=a-wrong-key"),
            lambda: client.post("/session", json={"token": "a-wrong-token"}),
        ):
            start = time.monotonic()
            assert ask().status_code == 403
            assert time.monotonic() - start >= 0.3
            start = time.monotonic()
            assert client.get("/start").status_code == 403
            assert client.get("/").status_code == 200
            assert time.monotonic() - start < 0.3
        assert client.get(served.access.start_path()).status_code == 303


def test_a_server_that_stops_does_not_wait_for_those_who_guessed(indexed, photos, cache, monkeypatch):
    monkeypatch.setattr(guesses, "N_FREE", 0)
    monkeypatch.setattr(guesses, "FIRST_SECONDS", 10.0)
    answers = []

    def ask(client):
        answers.append(client.get("/status", headers={"authorization": "Bearer wrong"}).status_code)

    with httpx.Client(timeout=30) as client:
        with running(indexed.folder, photos, cache=cache) as served:
            client.base_url = served.address
            thread = threading.Thread(target=ask, args=[client])
            thread.start()
            time.sleep(0.2)
            assert not answers
            start = time.monotonic()
        assert time.monotonic() - start < 3
        thread.join()
    assert answers == [401]
