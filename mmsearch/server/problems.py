"""Errors as problem details (RFC 9457): one sentence for people, a stable type for programs, no internals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeAlias

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from typing_extensions import TypedDict

from mmsearch.errors import EncoderError, LibraryError, MmsearchError, NoEncoderError, PictureError, sentence
from mmsearch.names import json_text

Details: TypeAlias = Sequence[Mapping[str, Any]]
MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 20
MAX_TEXT = 500


class Unfit(Exception):
    """A request that does not fit its description; `errors` are like those of pydantic."""

    def __init__(self, errors: Any) -> None:
        super().__init__()
        self.errors: Details = errors


class Problem(TypedDict, total=False):
    """Why a request was not answered (RFC 9457).

    `type` is `about:blank` where the status says all, or `urn:mmsearch:` and one of `query`, `picture`, `library`,
    `request`. A `picture` has a reason `code`; a `request` has `errors` that say where it does not fit, at most 20,
    and `n_more` counts the rest where there are more.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[dict[str, str]]
    n_more: int


def dumped(value: Any) -> bytes:
    """Return JSON that every reader accepts, whatever bytes file names hold; see `mmsearch.names.json_text`."""
    return json_text(value, separators=(",", ":")).encode()


def problem(
    status: int, detail: str, *, kind: str = "", headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """Return the answer for a request that cannot be fulfilled.

    Parameters
    ----------
    status : int
        Of HTTP.
    detail : str
        A sentence: what was found, what was expected, what to do.
    kind : str
        Last part of the type.
    headers : dict
        Such as `Retry-After`.
    **more
        Further members.
    """
    body = {
        "type": f"urn:mmsearch:{kind}" if kind else "about:blank",
        "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more,
    }  # fmt: skip
    return Response(dumped(body), status, headers=headers, media_type=MEDIA_TYPE)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of the errors that an endpoint may answer with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def of_error(error: MmsearchError) -> Response:
    """Return the problem that an expected error is."""
    if isinstance(error, PictureError):
        status = 503 if error.code == "killed" else 422  # which is not the fault of the picture
        return problem(status, str(error), kind="picture", code=error.code)
    if isinstance(error, LibraryError | EncoderError) and not isinstance(error, NoEncoderError):
        return problem(503, str(error), kind="library")
    return problem(422, str(error), kind="query")


def of_http(error: HTTPException) -> Response:
    """Return the problem that a status with a sentence is."""
    headers = dict(error.headers) if error.headers else None
    return problem(error.status_code, str(error.detail), headers=headers)


def invalid(errors: Details) -> Response:
    """Return the problem of a request that does not fit its description; `errors` are like those of pydantic.

    Only the first are named, and names and sentences are cut: both may hold what the request said.
    """
    shown = [
        {"at": _cut(".".join(map(str, error["loc"]))), "message": _cut(str(error["msg"]))}
        for error in errors[:MAX_ERRORS]
    ]
    first = "".join(f": {text}" for text in shown[0].values() if text) if shown else ""
    rest: dict[str, Any] = {"n_more": len(errors) - MAX_ERRORS} if len(errors) > MAX_ERRORS else {}
    return problem(422, f"the request does not fit{first}", kind="request", errors=shown, **rest)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def install(app: FastAPI) -> None:
    """Let an app answer with problem details whatever goes wrong."""

    async def http_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = of_http(error)
        if response.headers.get("allow") == "GET":  # beside each route of GET there is one of HEAD
            response.headers["allow"] = "GET, HEAD"
        return response

    async def validation_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError | Unfit)
        return invalid(error.errors if isinstance(error, Unfit) else error.errors())

    async def expected_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, MmsearchError)
        return of_error(error)

    async def refusal(_: Request, error: Exception) -> Response:
        assert isinstance(error, OSError)
        return problem(503, sentence(error), kind="library")

    async def left(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # for the metrics: nobody reads it

    async def unexpected_error(_: Request, __: Exception) -> Response:
        # uvicorn ends the connection after it; a client that is not told would use it again.
        close = {"connection": "close"}
        return problem(500, "something went wrong in the server; its terminal says what", headers=close)

    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(Unfit, validation_error)
    app.add_exception_handler(MmsearchError, expected_error)
    app.add_exception_handler(ClientDisconnect, left)
    app.add_exception_handler(OSError, refusal)
    app.add_exception_handler(Exception, unexpected_error)
