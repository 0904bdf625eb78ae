"""A token that is kept for the next start: whole, private, or not believed."""

from __future__ import annotations

import os
import re
import stat

import pytest

from mmsearch.errors import ServerError, StorageError
from mmsearch.places import place_of
from mmsearch.server.guesses import N_FREE
from mmsearch.server.kept_token import NAME, kept_token
from mmsearch.server.run import Entrance
from tests.conftest import limited


def test_a_token_is_made_once_and_kept_for_this_user_alone(tmp_path):
    old_mask = os.umask(0)
    try:
        token = kept_token(tmp_path / "kept")
    finally:
        os.umask(old_mask)
    assert re.fullmatch(r"[\w-]{43}", token)
    assert kept_token(tmp_path / "kept") == token
    assert stat.S_IMODE((tmp_path / "kept" / NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700


def test_a_new_token_takes_the_place_of_the_old_one_whatever_that_was(tmp_path):
    tokens = {kept_token(tmp_path), kept_token(tmp_path, is_renewed=True)}
    (tmp_path / NAME).write_text("damaged")
    tokens.add(kept_token(tmp_path, is_renewed=True))
    assert len(tokens) == 3
    assert kept_token(tmp_path) in tokens


@pytest.mark.parametrize(
    "data", [b"", b"short", b"x" * 42, b"x" * 44, b"\xff" * 43, b"x" * 43 + b"\n\n", b"a b" * 15]
)
def test_what_is_no_token_is_not_believed(tmp_path, data):
    kept_token(tmp_path)
    (tmp_path / NAME).write_bytes(data)
    with pytest.raises(ServerError, match=r"serve-token holds \d+ bytes that are not a token.*--new-token"):
        kept_token(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622, 0o660])
def test_a_token_that_others_may_know_or_have_written_is_not_believed(tmp_path, mode):
    kept_token(tmp_path)
    (tmp_path / NAME).chmod(mode)
    with pytest.raises(ServerError, match=rf"has mode 0{mode:o}, where 0600 is expected.*--new-token"):
        kept_token(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_token_of_another_user_is_not_believed(tmp_path):
    kept_token(tmp_path)
    os.chown(tmp_path / NAME, 12345, -1)
    with pytest.raises(ServerError, match="belongs to another user"):
        kept_token(tmp_path)


def test_neither_links_nor_pipes_are_followed_or_waited_for(tmp_path):
    kept_token(tmp_path / "other")
    (tmp_path / NAME).symlink_to(tmp_path / "other" / NAME)
    with pytest.raises(ServerError, match=r"serve-token is a symbolic link.*--new-token"):
        kept_token(tmp_path)
    assert kept_token(tmp_path, is_renewed=True) != kept_token(tmp_path / "other")
    (tmp_path / NAME).unlink()
    os.mkfifo(tmp_path / NAME, 0o600)
    with pytest.raises(ServerError, match="is no regular file"):
        kept_token(tmp_path)


def test_a_token_is_written_whole_or_not_at_all(tmp_path):
    import resource
    import signal

    before, ignored = kept_token(tmp_path), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with limited(resource.RLIMIT_FSIZE, 20), pytest.raises(StorageError, match="could not write the token"):
            kept_token(tmp_path, is_renewed=True)
    finally:
        signal.signal(signal.SIGXFSZ, ignored)
    assert kept_token(tmp_path) == before


def test_a_kept_token_is_that_of_every_start_and_not_guessed_at(indexed):
    place, entrance = place_of(indexed.folder), Entrance("127.0.0.1", 0, is_kept=True)
    first, second = entrance.access(place, 1), entrance.access(place, 2)
    assert first.token == second.token == kept_token(indexed.folder)
    assert first.browser_secret != second.browser_secret
    assert first.token not in repr(first) + repr(entrance)


def test_shards_of_a_library_do_not_hold_its_token(indexed, tmp_path):
    token = kept_token(indexed.folder)
    indexed.export(tmp_path / "shards")
    assert not [
        path for path in (tmp_path / "shards").rglob("*") if path.is_file() and token.encode() in path.read_bytes()
    ]
    assert indexed.verify().problems == ()


def test_wrong_tokens_do_not_delay_those_who_know_a_kept_one(indexed):
    import asyncio

    access = Entrance("127.0.0.1", 0, is_kept=True).access(place_of(indexed.folder), 1)

    async def ask():
        for n in range(10 * N_FREE):
            assert not await access.allows(f"wrong{n}", {})
        return await access.allows(access.token, {})

    assert asyncio.run(asyncio.wait_for(ask(), 1))
