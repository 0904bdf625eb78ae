"""A Milvus server that asks who it is that asks: what mmsearch does with the right password, and says to others."""

from __future__ import annotations

import logging
import os
import sys
import time

import pytest

from mmsearch import Library
from mmsearch.errors import EngineError
from mmsearch.milvus.address import TOKEN, TOKEN_FILE
from tests import warm
from tests.conftest import copied_samples
from tests.milvus.server import PASSWORD
from tests.server.conftest import running

AT_ONCE_S = 10
COMMANDS = {"search": ["a cat"], "index": ["."], "status": [], "serve": ["--no-open", "--port", "0"]}
WRONG = {"none": "", "another password": "root:wr0ngPassw0rd", "another user": "somebody:wr0ngPassw0rd",
         "no pair": "wr0ngPassw0rd", "more lines": "root:wr0ng\nPassw0rd"}  # fmt: skip
ALWAYS = [*((command, "another password") for command in COMMANDS), ("search", "none")]
_OF_ALL = ("Query", "Search", "IndexDetail")
OTHERS = [(command, wrong) for wrong in WRONG for command in COMMANDS if (command, wrong) not in ALWAYS]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return copied_samples(tmp_path_factory.mktemp("password") / "photos", 3)


@pytest.fixture(scope="module")
def run(photos, cache, tiny_folder):
    """Run `mmsearch ARGUMENTS` with a token; returns the exit code and all that it says."""

    def run(*arguments, token="", **more):
        environment = {**os.environ, "MMSEARCH_CACHE": str(cache), "HF_HUB_OFFLINE": "1", TOKEN: token, **more}
        command = [sys.executable, "-m", "mmsearch", *arguments]
        done = warm.run(command, text=True, timeout=60, cwd=photos, env=environment)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(scope="module")
def address(milvus, photos, run, checkpoint):
    """A library of three photographs, made by who knows the password."""
    address = milvus.address("password")
    code, _, said = run("index", photos, "--library", address, "--model", checkpoint, token=PASSWORD)
    assert code == 0, said
    assert "3 new, 0 changed" in said
    yield address
    milvus.drop("password")


def soon_granted(ask):
    """Return what is answered, once the engine goes by what was granted: that takes it a moment."""
    end = time.monotonic() + AT_ONCE_S
    while True:
        try:
            return ask()
        except (KeyError, EngineError):
            assert time.monotonic() < end, "nothing was granted"
            time.sleep(0.1)


def assert_refused(command, wrong, run, address):
    token, start = WRONG[wrong], time.monotonic()
    code, printed, said = run(command, *COMMANDS[command], "--library", address, token=token)
    assert time.monotonic() - start < AT_ONCE_S
    assert (code, printed, said.count("\n")) == (1, "", 1), said
    asks = "refuses this user, password or token" if token else "asks for a user and password, or a token"
    assert f"{address}: the engine {asks}" in said
    assert TOKEN in said
    assert TOKEN_FILE in said
    assert "wr0ng" not in said


@pytest.mark.full
@pytest.mark.parametrize(("command", "wrong"), ALWAYS)
def test_command_without_the_right_password_is_refused_by_a_sentence_that_repeats_none(
    command, wrong, run, address
):
    assert_refused(command, wrong, run, address)


@pytest.mark.full
@pytest.mark.parametrize(("command", "wrong"), OTHERS)
def test_no_command_takes_anything_else_for_a_password(command, wrong, run, address):
    assert_refused(command, wrong, run, address)


def test_password_from_a_private_file_lets_a_command_in_and_is_not_repeated(run, address, tmp_path):
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o600)
    code, printed, said = run("status", "--library", address, **{TOKEN_FILE: str(file)})
    assert code == 0, said
    assert "3" in printed
    assert PASSWORD not in printed + said


@pytest.mark.full
def test_server_whose_password_the_engine_takes_no_more_says_so_and_recovers_when_it_does(
    address, milvus, photos, cache, monkeypatch, caplog, capfd
):
    client, secret = milvus.engine().client, "s3cretPassw0rd"
    client.create_user("keeper", secret)
    client.grant_role("keeper", "admin")
    monkeypatch.setenv(TOKEN, f"keeper:{secret}")
    caplog.set_level(logging.DEBUG)
    with running(address, photos, cache=cache) as server, server.allowed() as program:
        question = {"text": "a cat", "k": 2}
        assert len(soon_granted(lambda: program.post("/search", json=question).json()["hits"])) == 2
        client.drop_user("keeper")
        answers = [program.post("/search", json=question), program.get("/status"), program.get("/pictures")]
        for answer in answers:
            assert answer.status_code == 503, answer.text
            assert "refuses this user, password or token" in answer.json()["detail"]
            assert secret not in answer.text
        assert program.get("/").status_code == 200  # the page itself asks nothing
        client.create_user("keeper", secret)
        client.grant_role("keeper", "admin")
        assert len(soon_granted(lambda: program.post("/search", json=question).json()["hits"])) == 2
    client.drop_user("keeper")
    printed = capfd.readouterr()
    assert secret not in printed.out + printed.err + caplog.text


READING = [("Global", "DescribeCollection", "*"), *(("Collection", name, "*") for name in _OF_ALL)]


@pytest.mark.full
def test_user_who_may_only_read_searches_a_library_and_is_told_what_is_not_granted(
    address, milvus, photos, monkeypatch, cache
):
    client = milvus.engine().client
    client.create_user("reader", "s3cretPassw0rd")
    client.create_role("reading")
    client.grant_role("reader", "reading")
    for kind, name, of in READING:
        client.grant_privilege("reading", kind, name, of)
    monkeypatch.setenv(TOKEN, "reader:s3cretPassw0rd")
    with Library.open(address, cache=cache) as library:

        def counts():
            pictures = library.pictures(where=["format = jpg"])
            return len(library.search("a cat", k=2).hits), pictures.n, library.status().n_images, library.facets().n

        assert soon_granted(counts) == (2, 3, 3, 3)
        with pytest.raises(EngineError, match=r"not let this user do that .*grant what is missing") as refused:
            library.remove([photos])
        assert "s3cret" not in str(refused.value)
    for kind, name, of in READING:
        client.revoke_privilege("reading", kind, name, of)
    client.drop_user("reader")
    client.drop_role("reading")
