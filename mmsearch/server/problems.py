"""Errors as problem details (RFC 9457): one sentence for people, a stable type for programs, no internals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NotRequired, TypeAlias

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import TypedDict

from mmsearch.errors import (
    EncoderError,
    GroupNotFoundError,
    LibraryError,
    LibraryLockedError,
    MmsearchError,
    NoEncoderError,
    PictureError,
    UnsupportedError,
    sentence,
)
from mmsearch.names import json_text
from mmsearch.server import misfits, navigation

Details: TypeAlias = Sequence[Mapping[str, Any]]
MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 20
MAX_TEXT = 500
_WRITER_SECONDS = "5"  # after which it is worth while to look again whether another process still writes


class Unfit(Exception):
    """A request that does not fit its description; `errors` are like those of pydantic."""

    def __init__(self, errors: Any) -> None:
        super().__init__()
        self.errors: Details = errors


class Misfit(TypedDict):
    """Where a request does not fit, and why."""

    at: str
    message: str


class Problem(TypedDict):
    """Why a request was not answered (RFC 9457).

    `type` is `about:blank` where the status says all, or `urn:mmsearch:` and one of `query`, `picture`, `library`,
    `request`. A `picture` has a reason `code`; a `request` has `errors` that say where it does not fit, at most 20,
    and `n_more` counts the rest where there are more.
    """

    type: str
    title: str
    status: int
    detail: str
    code: NotRequired[str]
    errors: NotRequired[list[Misfit]]
    n_more: NotRequired[int]


class ProblemResponse(Response):
    """The answer for a request that cannot be fulfilled: `problem` for programs, a page for who went there."""

    media_type = MEDIA_TYPE

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(dumped(problem), problem["status"], headers)
        self.problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if navigation.is_navigation(scope):
            body = navigation.page_of(self.status_code, self.problem["detail"])
            self.body = body
            self.headers["content-length"], self.headers["content-type"] = str(len(body)), navigation.MEDIA_TYPE
        await super().__call__(scope, receive, send)


def dumped(value: Any) -> bytes:
    """Return JSON that every reader accepts, whatever bytes file names hold; see `mmsearch.names.json_text`."""
    return json_text(value, separators=(",", ":")).encode()


def problem(
    status: int, detail: str, *, kind: str = "", headers: dict[str, str] | None = None, **more: Any
) -> ProblemResponse:
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
    body: Problem = {
        "type": f"urn:mmsearch:{kind}" if kind else "about:blank",
        "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more,  # type: ignore[typeddict-item]
    }  # fmt: skip
    return ProblemResponse(body, headers)


def gone(image_id: int) -> ProblemResponse:
    """Return the answer for a picture that is not in the library."""
    return problem(404, f"there is no picture {image_id} in the library; it may have left since it was found")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of the errors that an endpoint may answer with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def problem_of(error: BaseException) -> ProblemResponse:
    """Return the problem that an error is; one that nobody expects is raised."""
    if isinstance(error, HTTPException):
        return of_http(error)
    if isinstance(error, RequestValidationError):
        return invalid(error.errors())
    if isinstance(error, Unfit):
        return invalid(error.errors)
    if isinstance(error, MmsearchError):
        return of_error(error)
    if isinstance(error, OSError):
        return problem(503, sentence(error), kind="library")
    raise error


def of_error(error: MmsearchError) -> ProblemResponse:
    """Return the problem that an error of the library is."""
    if isinstance(error, PictureError):
        status = 503 if error.code == "killed" else 422  # which is not the fault of the picture
        return problem(status, str(error), kind="picture", code=error.code)
    if isinstance(error, LibraryLockedError):
        return problem(409, str(error), kind="library", headers={"retry-after": _WRITER_SECONDS})
    if isinstance(error, UnsupportedError):
        return problem(501, str(error), kind="library")
    if isinstance(error, LibraryError | EncoderError) and not isinstance(error, NoEncoderError):
        return problem(503, str(error), kind="library")
    return problem(404 if isinstance(error, GroupNotFoundError) else 422, str(error), kind="query")


def of_http(error: HTTPException) -> ProblemResponse:
    """Return the problem that a status with a sentence is."""
    headers = dict(error.headers) if error.headers else None
    return problem(error.status_code, str(error.detail), headers=headers)


def _of_framework(error: HTTPException, method: str) -> ProblemResponse:
    """Return the problem that a status without a sentence is."""
    headers = dict(error.headers or {})
    if headers.get("Allow") == "GET":  # beside each route of GET there is one of HEAD
        headers["Allow"] = "GET, HEAD"
    sentences = {
        404: "there is nothing at this address",
        405: f"this address does not take {method}; it takes {headers.get('Allow')}",
    }
    return problem(error.status_code, sentences.get(error.status_code, error.detail), headers=headers)


def invalid(errors: Details) -> ProblemResponse:
    """Return the problem of a request that does not fit its description; `errors` are like those of pydantic.

    Only the first are named, and names and sentences are cut: both may hold what the request said.
    """
    shown = [
        {"at": _cut(misfits.place(error)), "message": _cut(misfits.sentence(error))}
        for error in errors[:MAX_ERRORS]
    ]
    first = f": {_said(**shown[0])}" if shown else ""
    rest: dict[str, Any] = {"n_more": len(errors) - MAX_ERRORS} if len(errors) > MAX_ERRORS else {}
    return problem(422, f"the request does not fit{first}", kind="request", errors=shown, **rest)


def _said(at: str, message: str) -> str:
    joint = "" if not at else " " if message.startswith("is ") else ": "
    return f"{at}{joint}{message}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def install(app: FastAPI) -> None:
    """Let an app answer with problem details whatever goes wrong."""

    async def expected_error(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.detail == HTTPStatus(error.status_code).phrase:
            return _of_framework(error, request.method)
        return problem_of(error)

    async def left(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # for the metrics: nobody reads it

    async def unexpected_error(_: Request, __: Exception) -> Response:
        # uvicorn ends the connection after it; a client that is not told would use it again.
        close = {"connection": "close"}
        return problem(500, "something went wrong in the server; its terminal says what", headers=close)

    for kind in (HTTPException, RequestValidationError, Unfit, MmsearchError, OSError):
        app.add_exception_handler(kind, expected_error)
    app.add_exception_handler(ClientDisconnect, left)
    app.add_exception_handler(Exception, unexpected_error)
