"""Guesses at a token that a user chose: few are looked at in a time, however many come."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.responses import Response

from mmsearch.server import guesses
from mmsearch.server.guesses import Guesses
from mmsearch.server.security import Access, Guard
from tests.server.conftest import hastily, running

RIGHT = "the-right-token-of-a-user"
NUMBERS = itertools.count()


def now():
    return asyncio.get_running_loop().time()


async def guess(judge, token, *, host="10.0.0.1", left=None):
    """Return the answer and when it came."""
    is_right = await judge.allow(host, token, lambda given: given == RIGHT, left=left)
    return is_right, round(now(), 3)


async def guess_at_once(judge, n, *, host="10.0.0.1"):
    """Return when each of n wrong guesses was answered that came together."""
    answers = await asyncio.gather(*(guess(judge, f"wrong {next(NUMBERS)}", host=host) for _ in range(n)))
    assert not any(is_right for is_right, _ in answers)
    return [when for _, when in answers]


def test_five_wrong_tokens_of_an_address_are_free_and_then_one_a_second_is_looked_at():
    async def run():
        judge = Guesses()
        return [(await guess(judge, f"wrong {i}"))[1] for i in range(8)]

    assert hastily(run()) == [0, 0, 0, 0, 0, 1, 2, 3]


def test_guesses_that_come_together_are_looked_at_no_faster_than_one_after_another():
    async def run():
        return await guess_at_once(Guesses(), 100)

    assert hastily(run()) == [0] * 5 + list(range(1, 96))


def test_after_a_pause_as_many_are_free_as_there_were_seconds_and_five_at_most():
    async def run():
        judge = Guesses()
        await guess_at_once(judge, 5)
        await asyncio.sleep(2)
        after_two = await guess_at_once(judge, 3)
        await asyncio.sleep(1_000)
        return after_two, [when - now() for when in await guess_at_once(judge, 5)]

    assert hastily(run()) == ([2, 2, 3], [0] * 5)


def test_the_right_token_costs_nothing_however_often_it_comes():
    async def run():
        judge = Guesses()
        answers = await asyncio.gather(*(guess(judge, RIGHT) for _ in range(200)))
        return set(answers), await guess_at_once(judge, 5)

    assert hastily(run()) == ({(True, 0)}, [0] * 5)


def test_the_right_token_waits_its_turn_behind_wrong_ones_and_is_not_refused():
    async def run():
        judge = Guesses()
        attack = asyncio.create_task(guess_at_once(judge, 25))
        await asyncio.sleep(0.5)
        answers = await asyncio.gather(guess(judge, RIGHT), guess(judge, "wrong"), guess(judge, RIGHT))
        await attack
        return answers

    # 20 wait before it, one a second. A right one leaves the turn to the next.
    assert hastily(run()) == [(True, 21), (False, 21), (True, 22)]


@given(
    arrivals=st.lists(st.tuples(st.floats(0, 20), st.sampled_from("abc"), st.booleans()), min_size=1, max_size=60),
    seconds=st.floats(0, 10),
)
def test_in_no_span_of_time_are_more_wrong_ones_looked_at_than_may_be(arrivals, seconds):
    looked_at = []

    async def ask(judge, i, when, host, is_new):
        await asyncio.sleep(when)

        def note(_):
            looked_at.append((now(), host))
            return False

        await judge.allow(host, f"wrong {i if is_new else 0}", note)

    async def run():
        judge = Guesses()
        await asyncio.gather(*(ask(judge, i, *arrival) for i, arrival in enumerate(arrivals)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guesses, "N_FREE_OF_ALL", 8)
        hastily(run())
    for start, _ in looked_at:
        within = [host for when, host in looked_at if start <= when <= start + seconds]
        assert len(within) <= 8 + seconds / guesses.SECONDS_OF_ALL + 1e-6
        for host in set(within):
            assert within.count(host) <= guesses.N_FREE + seconds / guesses.SECONDS + 1e-6


def test_all_addresses_together_are_looked_at_fifty_times_and_then_five_times_a_second():
    async def run():
        judge = Guesses()
        answers = await asyncio.gather(*(guess(judge, f"wrong {i}", host=f"10.0.1.{i}") for i in range(100)))
        return [when for _, when in answers]

    assert hastily(run()) == pytest.approx([0] * 50 + [0.2 * (i + 1) for i in range(50)])


def test_an_address_that_was_right_does_not_wait_for_guesses_from_others():
    async def run():
        judge = Guesses()
        await guess(judge, RIGHT, host="10.0.0.2")
        attack = asyncio.create_task(asyncio.wait([
            asyncio.create_task(guess(judge, f"wrong {i}", host=f"10.0.1.{i}")) for i in range(150)
        ]))  # fmt: skip
        await asyncio.sleep(1)
        known, unknown = await asyncio.gather(guess(judge, RIGHT, host="10.0.0.2"), guess(judge, RIGHT, host="::2"))
        await attack
        return known, unknown[0], unknown[1] > 10

    assert hastily(run()) == ((True, 1), True, True)


def test_a_missing_token_is_no_guess():
    async def run():
        judge = Guesses()
        attack = asyncio.create_task(guess_at_once(judge, 20))
        await asyncio.sleep(0.5)
        answer = await guess(judge, "")
        await attack
        return answer

    assert hastily(run()) == (False, 0.5)


def test_a_token_that_was_wrong_a_moment_ago_is_no_new_guess():
    async def run():
        judge = Guesses()
        for _ in range(100):  # a program with the token of last week
            await guess(judge, "the token of last week")
        return await guess_at_once(judge, 5)

    assert hastily(run()) == [0, 0, 0, 0, 1]


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
def test_who_has_one_address_has_all_that_count_as_it(host, other, is_same):
    async def run():
        judge = Guesses()
        await guess_at_once(judge, 5, host=host)
        return await guess_at_once(judge, 1, host=other)

    assert hastily(run()) == ([1] if is_same else [0])


@given(st.text(max_size=20))
def test_whatever_an_address_is_it_is_counted(text):
    assert hastily(guess_at_once(Guesses(), 6, host=text))[-1] == 1


def test_only_so_many_addresses_are_remembered_and_the_oldest_is_forgotten(monkeypatch):
    monkeypatch.setattr(guesses, "MAX_ADDRESSES", 3)

    async def run():
        judge = Guesses()
        for host in ("10.0.0.1", "10.0.0.2", "10.0.0.3"):
            await guess_at_once(judge, 5, host=host)
        await guess(judge, "", host="10.0.0.1")
        await guess(judge, RIGHT, host="10.0.0.4")
        return await guess_at_once(judge, 1, host="10.0.0.1"), await guess_at_once(judge, 1, host="10.0.0.3")

    assert hastily(run()) == ([0], [1])


def test_who_leaves_gives_its_place_in_the_line_up():
    async def run():
        judge, left = Guesses(), now_left()
        attack = [asyncio.create_task(guess(judge, f"wrong {i}", left=left)) for i in range(500)]
        await asyncio.sleep(0.5)
        right = asyncio.create_task(guess(judge, RIGHT))
        await asyncio.sleep(0)
        left.set_result(None)
        answers = await asyncio.gather(*attack)
        return [answer for answer in answers if answer != (False, 0)], await right

    answers, right = hastily(run())
    assert answers == [(False, 0.5)] * 495
    assert right == (True, 1)


def now_left():
    return asyncio.get_running_loop().create_future()


def test_all_who_wait_are_answered_when_the_server_stops():
    async def run():
        judge = Guesses()
        tasks = [asyncio.create_task(guess(judge, f"wrong {i}")) for i in range(20)]
        await asyncio.sleep(0.5)
        judge.end()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        return now(), [answer.status_code for answer in answers if isinstance(answer, HTTPException)]

    assert hastily(run()) == (0.5, [503] * 15)


def test_a_request_that_is_cancelled_gives_its_place_in_the_line_up():
    async def run():
        judge = Guesses()
        tasks = [asyncio.create_task(guess(judge, f"wrong {i}")) for i in range(20)]
        await asyncio.sleep(0.5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return await guess(judge, RIGHT)

    assert hastily(run()) == (True, 1)


# -- in the server ------------------------------------------------------------------------------------


async def asked(app, path="/status", **headers):
    """Ask an application, and return the status of the answer and when it came."""
    messages = []
    sent = [(name.encode(), value.encode()) for name, value in ({"host": "localhost:80"} | headers).items()]
    scope = {"type": "http", "method": "GET", "path": path, "headers": sent, "client": ("127.0.0.1", 5),
             "scheme": "http"}  # fmt: skip

    async def send(message):
        messages.append(message)

    await app(scope, None, send)
    return messages[0]["status"], round(now(), 3)


def test_a_token_that_was_made_and_the_cookie_are_looked_at_at_once_whatever_else_comes():
    async def run(access):
        app = Guard(Response("yes"), access, access.guesses.end)
        attack = [
            asyncio.create_task(asked(app, authorization=f"Bearer wrong-{i}", cookie=f"mmsearch-80=wrong-{i}"))
            for i in range(200)
        ]
        await asyncio.sleep(0)
        cookie = await asked(app, cookie=f"mmsearch-80={access.browser_secret}")
        token = await asked(app, authorization=f"Bearer {access.token}")
        return cookie, token, (await asyncio.gather(*attack))[-1]

    assert hastily(run(Access("localhost", 80))) == ((200, 0), (200, 0), (401, 0))
    assert hastily(run(Access("localhost", 80, RIGHT))) == ((200, 0), (200, 196), (401, 195))


def test_a_wrong_cookie_is_no_guess():
    async def run():
        app = Guard(Response("yes"), Access("localhost", 80, RIGHT), lambda: None)
        for i in range(100):
            assert await asked(app, cookie=f"mmsearch-80=wrong-{i}") == (401, 0)
        return await asked(app, authorization=f"Bearer {RIGHT}")

    assert hastily(run()) == (200, 0)


def test_whoever_holds_the_cookie_cannot_find_out_the_token_any_faster():
    async def run():
        access = Access("localhost", 80, RIGHT)
        app, cookie = Guard(Response("yes"), access, access.guesses.end), f"mmsearch-80={access.browser_secret}"
        answers = [
            await asked(app, cookie=cookie, authorization=f"Bearer {i}", **{"sec-fetch-site": "cross-site"})
            for i in range(6)
        ]
        return answers[-1]

    assert hastily(run()) == (403, 1)


@pytest.mark.full
def test_pages_of_others_that_try_keys_keep_nobody_out(indexed, photos, cache):
    with running(indexed.folder, photos, cache=cache) as served, served.allowed() as client:
        is_over = threading.Event()

        def attack(i):
            statuses = set()
            with served.client(**{"sec-fetch-site": "cross-site"}) as page:
                while not is_over.is_set():
                    statuses.add(page.get(f"/start?key=w{i}-{time.monotonic()}").status_code)
            return statuses

        with ThreadPoolExecutor(20) as pool:
            attacks = [pool.submit(attack, i) for i in range(20)]
            try:
                time.sleep(0.3)
                statuses = [client.get("/status").status_code for _ in range(8)]
                with served.client() as browser:
                    answer = browser.get(served.access.start_path(), headers={"sec-fetch-site": "cross-site"})
                    assert answer.status_code == 303
                    statuses += [browser.get("/status").status_code for _ in range(8)]
            finally:
                is_over.set()
            assert {status for attacked in attacks for status in attacked.result()} == {403}
    assert statuses == [200] * 16


def test_a_page_of_another_site_cannot_guess_by_the_session(changeable):
    served, client = changeable
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "http://evil.example"}, {"origin": "null"}):
        answer = client.post("/session", json={"token": served.access.token}, headers=headers)
        assert answer.status_code == 403
        assert "another site" in answer.json()["detail"]
        assert "set-cookie" not in answer.headers


def test_a_wrong_token_for_a_session_waits_its_turn_where_a_user_chose_the_right_one(
    indexed, photos, cache, monkeypatch
):
    monkeypatch.setattr(guesses, "N_FREE", 1)
    monkeypatch.setattr(guesses, "SECONDS", 0.3)
    with running(indexed.folder, photos, cache=cache, token=RIGHT) as served, served.client() as client:
        start = time.monotonic()
        client.get("/status", headers={"authorization": "Bearer the-free-one"})
        assert client.post("/session", json={"token": "another"}).status_code == 403
        assert time.monotonic() - start >= 0.29
        assert client.post("/session", json={"token": RIGHT}).status_code == 204
        assert time.monotonic() - start >= 0.59
        monkeypatch.setattr(guesses, "SECONDS", 60.0)
        start = time.monotonic()
        assert client.get("/status").status_code == 200
        assert time.monotonic() - start < 50  # the cookie waits for nobody


def test_a_server_that_stops_does_not_wait_for_those_who_guessed(indexed, photos, cache, monkeypatch):
    monkeypatch.setattr(guesses, "N_FREE", 1)
    monkeypatch.setattr(guesses, "SECONDS", 30.0)
    answers = []

    def ask(client):
        answers.append(client.get("/status", headers={"authorization": "Bearer wrong"}).status_code)

    with httpx.Client(timeout=30) as client:
        with running(indexed.folder, photos, cache=cache, token=RIGHT) as served:
            client.base_url = served.address
            assert client.get("/status", headers={"authorization": "Bearer the free one"}).status_code == 401
            thread = threading.Thread(target=ask, args=[client])
            thread.start()
            time.sleep(0.2)
            assert not answers
            start = time.monotonic()
        assert time.monotonic() - start < 20
        thread.join()
    assert answers == [503]
