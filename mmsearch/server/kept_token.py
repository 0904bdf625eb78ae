"""A token that survives restarts: a file beside the library that nobody but its user may read."""

from __future__ import annotations

import errno
import os
import re
import secrets
from pathlib import Path

from mmsearch.errors import ServerError, advice, reason
from mmsearch.store.publish import storage_errors, write_file
from mmsearch.system import read_private

NAME = "serve-token"
_TOKEN = re.compile(rb"[A-Za-z0-9_-]{43}\n?")
_RENEW = "make a new one with `mmsearch serve --new-token`"


def kept_token(folder: Path, *, is_renewed: bool = False) -> str:
    """Return the token that is kept in a folder, made and kept first where there is none, or a new one is wanted.

    Raises
    ------
    ServerError
        If others may know or have written what is kept, or it is no token.
    StorageError
        If it cannot be written.
    """
    path = folder / NAME
    if is_renewed or not os.path.lexists(path):
        with storage_errors(path, "the token"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(path, f"{secrets.token_urlsafe(32)}\n".encode())
    return _read(path)  # also where it was just written: another start may have written one at the same time


def _read(path: Path) -> str:
    try:
        data, problem = read_private(path, 100, follows_links=False)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ServerError(f"{path} is a symbolic link, which may lead to a file of others; {_RENEW}") from error
        raise ServerError(f"{path}: the token cannot be read ({reason(error)}); {advice(error)}") from error
    if problem:
        raise ServerError(f"{path} {problem}, so others may know the token; {_RENEW}")
    if not _TOKEN.fullmatch(data):
        raise ServerError(f"{path} holds {len(data)} bytes that are not a token as it was made; {_RENEW}")
    return data.decode().strip()
