"""The page, and that of the API: files of the package, read once; and the link that lets a browser in."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from mimetypes import guess_type
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import RedirectResponse, Response

from mmsearch.server.conditional import not_modified
from mmsearch.server.problems import problem
from mmsearch.server.security import STATIC, Access
from mmsearch.server.services import services

router = APIRouter(include_in_schema=False)
INDEX, DOCS = "index.html", "docs.html"


def page_files() -> dict[str, Response]:
    """Return the answer for each file of the pages, by its name."""
    answers = {}
    for folder in ("page", "docs"):
        for entry in files("mmsearch.server").joinpath(folder).iterdir():
            if entry.is_file():
                data = entry.read_bytes()
                answers[entry.name] = Response(
                    data,
                    media_type=guess_type(entry.name)[0] or "application/octet-stream",
                    headers={"cache-control": "no-cache", "etag": f'"{sha256(data).hexdigest()}"'},
                )
    return answers


@router.get("/")
async def show_page(request: Request) -> Response:
    """Return the page."""
    return _file(request, INDEX)


@router.get("/docs")
async def show_docs(request: Request) -> Response:
    """Return the page that describes the API, and lets it be tried."""
    return _file(request, DOCS)


@router.get(STATIC + "{name}")
async def show_static(request: Request, name: str) -> Response:
    """Return a file of the page; names are those of a fixed list, never paths."""
    return _file(request, name)


class SessionRequest(BaseModel):
    """What lets a browser in that has no cookie any more."""

    token: Annotated[str, Field(max_length=1_000)]


@router.post("/session")
async def open_session(request: Request, asked: SessionRequest) -> Response:
    """Let a browser in whose user knows the token; 204 with the cookie, or 403."""
    access = services(request).access
    if not await access.allows(asked.token, request.scope):
        return problem(403, "this is not the token that `mmsearch serve` printed")
    return _let_in(Response(status_code=204), access)


@router.get("/start")
async def start(request: Request, key: str = "") -> Response:
    """Let the browser in that opens the link, once.

    It may come from anywhere: a browser that follows the link in a mail, or in our own file, says `cross-site`.
    """
    if request.method == "HEAD":  # of programs that look where a link leads
        return RedirectResponse("/", 303)
    access = services(request).access
    if access.is_browser_secret(request.cookies.get(access.cookie, "")):
        return RedirectResponse("/", 303)  # a browser that was let in opens its link again
    if not access.take_key(key):
        return problem(403, "this link was used or is of another start; start `mmsearch serve` again for a new one")
    return _let_in(RedirectResponse("/", 303), access)


def _let_in(response: Response, access: Access) -> Response:
    is_encrypted = access.public is not None and access.public.scheme == "https"
    response.set_cookie(
        access.cookie, access.browser_secret, httponly=True, samesite="strict", path="/", secure=is_encrypted
    )
    return response


def _file(request: Request, name: str) -> Response:
    answers: dict[str, Response] = request.app.state.page
    if name not in answers:
        return problem(404, "there is no such file of the page")
    headers = {kind: answers[name].headers[kind] for kind in ("cache-control", "etag")}
    return not_modified(request, headers) or answers[name]
