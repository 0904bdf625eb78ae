"""Bodies of requests: JSON, or a form with pictures and the same JSON as its field `query`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from mmsearch.records import PictureBytes, Term
from mmsearch.server.problems import Unfit
from mmsearch.server.schemas import MAX_PICTURES, AnyPicture, ClassifyRequest, LibraryPicture, SearchRequest

R = TypeVar("R", SearchRequest, ClassifyRequest)


async def read_body(request: Request, model: type[R]) -> tuple[R, list[PictureBytes]]:
    """Return what a request asks, and the pictures that came with it.

    Raises
    ------
    HTTPException
        400 or 415 if the body cannot be read.
    Unfit
        If it does not fit the description.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    uploads: list[PictureBytes] = []
    if kind == "multipart/form-data":
        async with request.form(max_files=MAX_PICTURES, max_fields=2) as form:
            for part in form.getlist("picture"):
                if isinstance(part, UploadFile):
                    name = part.filename or "picture"
                    taken = any(upload.name == name for upload in uploads)  # names tell terms apart
                    uploads.append(PictureBytes(await part.read(), f"{name} ({len(uploads)})" if taken else name))
            query = form.get("query", "{}")
            body = await query.read() if isinstance(query, UploadFile) else query.encode("utf-8", "replace")
    elif kind == "application/json":
        body = await request.body()
    else:
        raise HTTPException(
            415, f"the body is {kind or 'of no kind'}; send application/json or multipart/form-data"
        )
    try:
        return model.model_validate_json(body), uploads
    except ValidationError as error:
        raise Unfit(error.errors()) from None


def terms_of(named: Sequence[AnyPicture], uploads: Sequence[PictureBytes]) -> list[Term]:
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


def described(model: type[R]) -> dict[str, Any]:
    """Return the OpenAPI description of a body that `read_body` reads."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    form = {
        "type": "object",
        "properties": {
            "query": schema,
            "picture": {
                "type": "array", "maxItems": MAX_PICTURES, "items": {"type": "string", "format": "binary"},
                "description": "Pictures that go with the query.",
            },
        },
    }  # fmt: skip
    content = {
        "application/json": {"schema": schema},
        "multipart/form-data": {"schema": form, "encoding": {"query": {"contentType": "application/json"}}},
    }
    return {"requestBody": {"required": True, "content": content}}
