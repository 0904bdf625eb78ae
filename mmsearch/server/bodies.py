"""Bodies of requests: JSON; at paths of their own, forms with pictures and the same JSON as their field `query`.

The event loop reads them itself while all others wait. So the elements of JSON are counted before it is parsed, and
a form is parsed piece by piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from mmsearch.records import PictureBytes, Term
from mmsearch.server.limits import MAX_BODY, MAX_JSON, UPLOAD, WITH_UPLOADS
from mmsearch.server.problems import Unfit
from mmsearch.server.schemas import MAX_PICTURES, AnyPicture, LibraryPicture

R = TypeVar("R", bound=BaseModel)
MAX_ELEMENTS = 5_000
MAX_DEPTH = 16
_MAX_KIND = 1_000
_MAX_DELIMITERS = 100
_PIECE = 16 << 10
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))


async def read_json(request: Request, model: type[R]) -> R:
    """Return what a request asks in JSON.

    Raises
    ------
    HTTPException
        413 or 415 if the body cannot be read.
    Unfit
        If it does not fit the description.
    """
    kind, path = _kind(request), request.scope["path"]
    if kind != "application/json":
        forms = f"; a form with pictures goes to {path}{UPLOAD}" if path in WITH_UPLOADS else ""
        raise HTTPException(415, f"the body is {kind or 'of no kind'}; send application/json{forms}")
    return _fitting(await request.body(), model)


async def read_form(request: Request, model: type[R]) -> tuple[R, list[PictureBytes]]:
    """Return what a form asks, and the pictures that came with it: one at least.

    Raises
    ------
    HTTPException
        400, 413 or 415 if the body cannot be read.
    Unfit
        If it does not fit the description.
    """
    kind, path = _kind(request), request.scope["path"].removesuffix(UPLOAD)
    if kind != "multipart/form-data":
        sentence = f"the body is {kind or 'of no kind'}; send multipart/form-data, or application/json to {path}"
        raise HTTPException(415, sentence)
    body, uploads = await _read_form(request)
    asked = _fitting(body, model)
    if not uploads:
        text = f"there is none; send a file with its name as the part `picture`, or application/json to {path}"
        raise Unfit([{"loc": ("picture",), "msg": text}])
    return asked, uploads


def _kind(request: Request) -> str:
    """Return the media type of a body, without its parameters."""
    header = request.headers.get("content-type", "")
    if len(header) > _MAX_KIND:
        raise HTTPException(415, f"the content type has {len(header)} characters, which is no type of a body")
    return header.partition(";")[0].strip().lower()


def _fitting(body: bytes, model: type[R]) -> R:
    """Return what JSON says, if it fits."""
    require_modest(body)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise Unfit(error.errors(include_url=False)) from None


def require_modest(body: bytes) -> None:
    """Raise Unfit if JSON holds more elements, or is deeper, than any request; it need not be valid.

    A parser makes an object of each element and cannot be interrupted meanwhile.
    """
    # What is left without escaped characters and without what stands between quotes. It is right up to the place at
    # which a parser would stop.
    text = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    n_strings = text.count(b'"') // 2
    outside = b"".join(text.split(b'"')[::2]) if n_strings <= 2 * MAX_ELEMENTS else b""
    brackets = outside.translate(None, _NO_BRACKET)
    n_opened = brackets.count(b"[") + brackets.count(b"{")
    n_elements = outside.count(b",") + max(n_opened, len(brackets) - n_opened) + 1
    if n_strings > 2 * MAX_ELEMENTS or n_elements > MAX_ELEMENTS:
        raise Unfit([{"loc": (), "msg": f"the JSON has more than {MAX_ELEMENTS:,} elements"}])
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise Unfit([{"loc": (), "msg": f"the JSON is nested more than {MAX_DEPTH} deep"}])


async def _read_form(request: Request) -> tuple[bytes, list[PictureBytes]]:
    """Return the field `query` of a form, and its pictures."""
    uploads: list[PictureBytes] = []
    form = await _parsed(request)
    try:
        for part in form.getlist("picture"):
            if isinstance(part, UploadFile):
                name = part.filename or "picture"
                taken = any(upload.name == name for upload in uploads)  # names tell terms apart
                uploads.append(PictureBytes(await part.read(), f"{name} ({len(uploads)})" if taken else name))
        query = form.get("query", "{}")
        body = await query.read() if isinstance(query, UploadFile) else query.encode("utf-8", "replace")
    finally:
        await form.close()
    if len(body) > MAX_JSON:
        raise HTTPException(413, f"the field `query` is larger than {MAX_JSON >> 20} MiB; send pictures as parts")
    return body, uploads


async def _parsed(request: Request) -> FormData:
    options = parse_options_header(request.headers["content-type"])[1]
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):  # Python has some that take minutes
        raise HTTPException(415, "the form is in another encoding; send it as UTF-8, without a charset")
    pieces = _pieces(request, b"\r\n--" + options.get(b"boundary", b""))
    parser = MultiPartParser(request.headers, pieces, max_files=MAX_PICTURES, max_fields=2, max_part_size=MAX_JSON)
    parser.spool_max_size = MAX_BODY  # pictures of strangers are not written to disk
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from None


async def _pieces(request: Request, delimiter: bytes) -> AsyncGenerator[bytes, None]:
    """Yield a form in small pieces, and let others have their turn after each.

    A parser looks long at what begins like the end of a part and is none, which no content may.
    """
    n_delimiters = 0
    async for chunk in request.stream():
        n_delimiters += chunk.count(delimiter)
        if n_delimiters > _MAX_DELIMITERS:
            raise HTTPException(400, "the form has too many parts, or its boundary stands in a picture")
        for start in range(0, len(chunk), _PIECE):
            yield chunk[start : start + _PIECE]
            await asyncio.sleep(0)


def terms_of(named: Sequence[AnyPicture], uploads: Sequence[PictureBytes] = ()) -> list[Term]:
    """Return the example pictures of a request; uploads that are not named come last with weight 1."""
    terms, taken = [], set()
    for picture in named:
        if isinstance(picture, LibraryPicture):
            terms.append(Term(picture.id, picture.weight, picture.box))
        elif picture.upload < len(uploads):
            taken.add(picture.upload)
            terms.append(Term(uploads[picture.upload], picture.weight, picture.box))
        else:
            text = f"picture {picture.upload} did not come with the request, which has {len(uploads)}"
            raise Unfit([{"loc": ("pictures",), "msg": text}])
    return terms + [Term(upload) for place, upload in enumerate(uploads) if place not in taken]
