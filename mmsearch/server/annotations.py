"""Endpoints for what is written about pictures: all of it, and the tags and captions that users type.

Those that type write to the library: one after another, and only while no other process writes to it.
"""

from __future__ import annotations

from hashlib import sha256

from fastapi import APIRouter, Request
from starlette.responses import Response

from mmsearch.annotations import Annotation
from mmsearch.library import Library
from mmsearch.records import ImageRecord
from mmsearch.server.bodies import read_json
from mmsearch.server.conditional import KEPT, SAME, not_modified
from mmsearch.server.description import json_body
from mmsearch.server.problems import Unfit, gone, responses
from mmsearch.server.schemas import CaptionRequest, Id, PictureAnnotations, TagsAnswer, TagsRequest
from mmsearch.server.services import answer, services

router = APIRouter()
_WRITING = responses(400, 401, 403, 408, 409, 413, 415, 422, 501, 503)


@router.get(
    "/pictures/{id}/annotations",
    tags=["pictures"],
    response_model=PictureAnnotations,
    responses=responses(400, 401, 403, 404, 422, 503) | {304: SAME},
)
async def get_picture_annotations(request: Request, id: Id) -> Response:
    """Return what is written about a picture: by users, in its file, beside it, and in its name."""
    image, said = await services(request).pictures.run(lambda library: _known(library, id))
    if image is None:
        return gone(id)
    described = _described(said)
    headers = {"etag": f'"{sha256(described.body).hexdigest()[:32]}"', **KEPT}
    described.headers.update(headers)
    return not_modified(request, headers) or described


@router.post(
    "/tags", tags=["pictures"], response_model=TagsAnswer, responses=_WRITING, openapi_extra=json_body(TagsRequest)
)
async def change_tags(request: Request) -> Response:
    """Give pictures tags, and take tags from them that users gave: those that stand in files stay.

    Tags are kept in the library, and files are never written. Where another process writes to the library nothing
    is changed.
    """
    asked = await read_json(request, TagsRequest)
    if not asked.add and not asked.remove:
        raise Unfit([{"loc": (), "msg": "there is no tag; name one in `add` or `remove`"}])
    changed = await services(request).changes.run(
        lambda library: library.retag(asked.ids, add=asked.add, remove=asked.remove)
    )
    body: TagsAnswer = {
        "n_added": changed.n_added, "n_removed": changed.n_removed, "missing": list(changed.missing),
    }  # fmt: skip
    return answer(body)


@router.put(
    "/pictures/{id}/caption",
    tags=["pictures"],
    response_model=PictureAnnotations,
    responses=_WRITING | responses(404),
    openapi_extra=json_body(CaptionRequest),
)
async def write_caption(request: Request, id: Id) -> Response:
    """Write the caption that users give a picture, in place of the one before; null takes it away.

    It is kept in the library, and the file is never written. Where another process writes to the library nothing is
    changed.
    """
    asked = await read_json(request, CaptionRequest)

    def work(library: Library) -> tuple[ImageRecord | None, tuple[Annotation, ...]]:
        if library.picture(id) is not None:
            library.caption(id, asked.text)
        return _known(library, id)

    image, said = await services(request).changes.run(work)
    return gone(id) if image is None else _described(said)


def _known(library: Library, image_id: int) -> tuple[ImageRecord | None, tuple[Annotation, ...]]:
    return library.picture(image_id), library.annotations_of(image_id)


def _described(said: tuple[Annotation, ...]) -> Response:
    body: PictureAnnotations = {
        "annotations": [{"kind": each.kind, "source": each.source, "text": each.text} for each in said]
    }
    return answer(body)
