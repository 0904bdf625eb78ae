"""Whether the server is well: anybody may ask, and learns nothing else."""

from __future__ import annotations

import shutil

from mmsearch.server import health
from mmsearch.server.guesses import N_FREE


def test_anybody_learns_that_the_server_is_well_and_nothing_else(served):
    with served.client() as client:
        answer = client.get("/health")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert client.get("/health", headers={"host": "evil.example"}).status_code == 400


def test_a_wrong_token_is_no_guess_where_none_is_needed(served):
    with served.client() as client:
        for n in range(2 * N_FREE):
            assert client.get("/health", headers={"authorization": f"Bearer wrong{n}"}).status_code == 200


def test_a_library_that_is_gone_is_said_without_its_name(changeable, monkeypatch):
    served, client = changeable
    with served.client() as stranger:
        assert stranger.get("/health").status_code == 200
        shutil.rmtree(served.folder)
        assert stranger.get("/health").status_code == 200  # it was looked at a moment ago
        monkeypatch.setattr(health, "FRESH_SECONDS", 0)
        answer = stranger.get("/health")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert str(served.folder) not in answer.text
    assert str(served.folder) in client.get("/status").json()["detail"]
