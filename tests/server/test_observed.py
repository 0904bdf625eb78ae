"""What an operator sees of requests: counters and the access log, also of those that are refused."""

from __future__ import annotations

import logging
import re

import pytest

from tests.server.test_security import raw_get


@pytest.fixture
def logged(caplog, served):
    """What was logged up to now. A request is logged when it was answered: the next one comes after that."""

    def lines():
        with served.client() as client:
            client.get("/health")
        return [line for line in caplog.messages if "path=/health " not in line]

    with caplog.at_level(logging.INFO, logger="mmsearch.access"):
        yield lines


def asked(client, *arguments, **options):
    with client:
        return client.request(*arguments, **options)


def test_a_request_is_a_line_with_its_path_status_time_and_size(served, logged):
    answer = asked(served.allowed(), "GET", "/pictures/1")
    pattern = rf"method=GET path=/pictures/1 client=127\.0\.0\.1 status=200 ms=\d+\.\d bytes={len(answer.content)}"
    assert re.fullmatch(pattern, logged()[-1])


def test_what_is_looked_for_and_secrets_are_not_logged(served, logged):
    token = served.access.token
    asked(served.allowed(), "POST", "/search", json={"text": "a secret wish"})
    asked(served.allowed(), "GET", "/facets", params={"where": "name = secret"})
    asked(served.client(), "GET", "/start", params={"key": "secret"})
    asked(served.client(), "POST", "/session", json={"token": token}, headers={"cookie": "a=secret"})
    lines = logged()
    assert [re.search(r"path=(\S+) .*status=(\d+)", line).groups() for line in lines[-4:]] == [
        ("/search", "200"), ("/facets", "200"), ("/start", "403"), ("/session", "204")
    ]  # fmt: skip
    assert "secret" not in " ".join(lines)
    assert token not in " ".join(lines)


def test_what_a_client_makes_up_stays_one_word_of_one_line(served, logged):
    raw_get(served, "/%0a%1b[31m=\"'\\" + "x" * 5_000, served.access.token)
    asked(served.allowed(), "BREW!", "/%1b[31m/status=200")
    lines = logged()[-2:]
    assert [len(line.split()) for line in lines] == [6, 6]
    assert all(line.isprintable() and len(line) < 400 for line in lines)


REFUSED = {
    "400": {"headers": {"host": "evil.example"}},
    "401": {"headers": {"authorization": "Bearer wrong"}},
    "403": {"headers": {"origin": "http://evil.example"}},
    "413": {"content": bytes(70_000)},
}


@pytest.mark.parametrize("status", REFUSED)
def test_a_request_that_is_refused_is_counted_and_logged(client, served, logged, status):
    def count():
        series = f'mmsearch_requests_total{{endpoint="none",method="none",status="{status}"}} '
        counted = re.search(re.escape(series) + r"(\S+)", client.get("/metrics").text)
        return float(counted[1]) if counted else 0.0

    before = count()
    refused = asked(served.allowed(), "POST", "/status", **REFUSED[status])
    assert str(refused.status_code) == status
    assert f"method=POST path=/status client=127.0.0.1 status={status} " in logged()[-1]
    assert count() == before + 1
