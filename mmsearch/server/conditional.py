"""Requests for what a client does not have yet (RFC 9110, sections 13 and 14): entity tags, and parts of a file."""

from __future__ import annotations

import re
from typing import NamedTuple

from fastapi import Request
from starlette.datastructures import Headers
from starlette.responses import Response

KEPT = {"cache-control": "private, no-cache", "vary": "accept"}
"""Of an answer with an entity tag."""
SAME = {"description": "The one you have is right."}
"""What 304 means."""
_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))[ \t]*", re.ASCII | re.IGNORECASE)


def not_modified(request: Request, headers: dict[str, str]) -> Response | None:
    """Return the answer 304 for a client that has what the `etag` of an answer names, or None."""
    given = ",".join(request.headers.getlist("if-none-match"))
    if given.strip() == "*" or headers["etag"] in _TAG.findall(given):
        return Response(status_code=304, headers=headers)
    return None


class Part(NamedTuple):
    """Bytes of a file from `start` to before `end`."""

    start: int
    end: int


def part_asked(headers: Headers, etag: str, n_bytes: int) -> Part | None:
    """Return the part of a file that a GET asks for, empty if there is no such part; None for the whole.

    The whole is the answer as well where several parts are asked for, where the header means nothing, and where
    `If-Range` names another file.

    Parameters
    ----------
    headers : Headers
        Of the request.
    etag : str
        Of the file, a strong one.
    n_bytes : int
        Length of the file.
    """
    if headers.get("if-range", etag) != etag:
        return None
    asked = _RANGE.fullmatch(",".join(headers.getlist("range")))
    if asked is None:
        return None
    first, last, n_last = asked.groups()
    if n_last is not None:
        return Part(max(0, n_bytes - int(n_last)), n_bytes)
    if last is not None and int(last) < int(first):  # which is no range
        return None
    start = min(int(first), n_bytes)
    return Part(start, n_bytes if last is None else max(start, min(int(last) + 1, n_bytes)))
