"""Endpoints that show what is in the library: pictures, counts, status, metrics."""

from __future__ import annotations

from math import ceil
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from mmsearch import __version__
from mmsearch.errors import PictureError
from mmsearch.images import PhotoFacts
from mmsearch.library import Library
from mmsearch.names import plain
from mmsearch.records import Box, ImageRecord, LabelSet, LibraryStatus, Order
from mmsearch.server import metrics
from mmsearch.server.conditional import KEPT, SAME, not_modified, part_asked
from mmsearch.server.description import binary
from mmsearch.server.films import films_json, listed_pictures
from mmsearch.server.filters import WHERE
from mmsearch.server.originals import OpenOriginal, Stream, original_of
from mmsearch.server.problems import Unfit, gone, problem, responses
from mmsearch.server.schemas import (
    AFTER,
    LARGEST_ID,
    OFFSET,
    ORDER,
    PART,
    DescribedPicture,
    FacetAnswer,
    FacetCount,
    Id,
    LabelSetStatus,
    PictureFacts,
    PictureLabel,
    PictureList,
    Share,
    StatusAnswer,
    TimelineAnswer,
)
from mmsearch.server.services import answer, services
from mmsearch.server.thumbnails import Side, photo_facts_of
from mmsearch.store.base import is_given
from mmsearch.store.facets import Facet

router = APIRouter()
_PROBLEMS = responses(400, 401, 403, 422, 503)
_BY_ID = _PROBLEMS | responses(404)
_FILE = _BY_ID | responses(410)
_FILM_POLICY = "default-src 'none'; media-src 'self'; sandbox allow-same-origin"
"""Of a film that is opened on its own: the document that a browser makes round it asks for it once more."""
OCTETS = "application/octet-stream"
"""What pictures come as where only that is accepted; generated clients know no type of pictures as bytes."""
WhereParameter = Annotated[list[str], Query(max_length=24, description=WHERE)]


@router.get("/pictures", tags=["pictures"], response_model=PictureList, responses=_PROBLEMS)
async def list_pictures(
    request: Request,
    where: WhereParameter = [],  # noqa: B006 - FastAPI copies it
    order: Annotated[Order, Query(description=ORDER)] = "added",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    after: Annotated[str | None, Query(max_length=8_000, description=AFTER)] = None,
    offset: Annotated[int, Query(ge=0, le=LARGEST_ID, description=OFFSET)] = 0,
) -> Response:
    """List the pictures that pass all filters, in pages."""

    def work(library: Library) -> PictureList:
        page = library.pictures(where, order=order, after=after, offset=offset, limit=limit)
        return {"pictures": listed_pictures(library, page.pictures), "n": page.n, "next": page.next}

    return answer(await services(request).pictures.run(work))


@router.get("/pictures/{id}", tags=["pictures"], response_model=DescribedPicture, responses=_BY_ID)
async def get_picture(request: Request, id: Id) -> Response:
    """Return what is known of a picture, with its labels."""

    def work(library: Library) -> DescribedPicture | None:
        image = library.picture(id)
        if image is None:
            return None
        (picture,) = listed_pictures(library, [image])
        labels: list[PictureLabel] = list(map(vars, library.labels_of(id)))  # type: ignore[arg-type]
        return {**picture, "labels": labels}

    picture = await services(request).pictures.run(work)
    return gone(id) if picture is None else answer(picture)


@router.get(
    "/pictures/{id}/thumbnail",
    tags=["pictures"],
    response_class=Response,
    responses=_FILE | {200: binary("image/jpeg", OCTETS), 304: SAME},
)
async def get_thumbnail(
    request: Request,
    id: Id,
    side: Annotated[Side, Query(description="Pixels that the longer side has at most.")] = Side.usual,
    box: Annotated[list[Share], Query(max_length=4, description=PART)] = [],  # noqa: B006 - as above
) -> Response:
    """Return a small JPEG of a picture or a part of it: upright, without what the file says of place and time."""
    _require_part(box)
    original = await _original(request, id)
    if original is None:
        return gone(id)
    image, content_hash = original
    part = "".join(f"-{share:.6f}" for share in box)
    headers = {"etag": f'"{content_hash.hex()[:32]}-{side}{part}"', **KEPT}
    if box:
        headers["cache-control"] = "no-store"  # it may be a face, of which browsers are to keep nothing either
    if same := not_modified(request, headers):
        return same
    try:
        jpeg = await request.app.state.thumbnails.get(image, content_hash, side, _pixels(box, image))
    except PictureError as error:
        return _unreadable(error)
    return Response(jpeg, media_type=accepted(request, "image/jpeg"), headers=headers)


@router.get(
    "/pictures/{id}/file",
    tags=["pictures"],
    response_class=Response,
    responses=_FILE
    | responses(416)
    | {
        200: binary("image/*", "video/*", OCTETS),
        206: {"description": "The part that `Range` asks for.", **binary("image/*", "video/*", OCTETS)},
        304: SAME,
    },
)
async def get_file(request: Request, id: Id) -> Response:
    """Return the original file of a picture, or a part of it, if it still is what was indexed.

    Of a moment of a film that is the film. Its entity tag is the sha256 of its bytes.
    """
    original = await services(request).pictures.run(lambda library: original_of(library, id))
    if original is None:
        return gone(id)
    headers, n_bytes = {"etag": f'"{original.content_hash.hex()}"', **KEPT}, original.image.size_bytes
    if same := not_modified(request, headers):
        return same
    # Only GET has parts.
    part = part_asked(request.headers, headers["etag"], n_bytes) if request.method == "GET" else None
    start, end = part or (0, n_bytes)
    if part is not None and start == end:
        sentence = f"the file has {n_bytes} bytes, none of which are in the range that was asked for"
        return problem(416, sentence, headers={"content-range": f"bytes */{n_bytes}"})
    try:
        file = await services(request).pictures.run(lambda _: OpenOriginal.open(original))
    except PictureError as error:
        return _unreadable(error)
    headers |= {
        "accept-ranges": "bytes",
        "content-disposition": f"inline; filename*=UTF-8''{_quoted_name(original.image)}",
        "content-length": str(end - start),
        "content-security-policy": "default-src 'none'; sandbox" if original.film is None else _FILM_POLICY,
        "content-type": accepted(request, original.media_type),
    }
    if request.method == "HEAD":
        file.close()
        return Response(headers=headers)
    if part is not None:
        headers["content-range"] = f"bytes {start}-{end - 1}/{n_bytes}"
    return Stream(file.blocks(start, end), file.close, status_code=200 if part is None else 206, headers=headers)


@router.get("/pictures/{id}/facts", tags=["pictures"], response_model=PictureFacts, responses=_FILE | {304: SAME})
async def get_picture_facts(request: Request, id: Id) -> Response:
    """Return what the file of a picture says of how and where it was taken; it is read for every request.

    A film says nothing of that.
    """
    original = await _original(request, id)
    if original is None:
        return gone(id)
    headers = {"etag": f'"{original[1].hex()[:32]}-facts"', **KEPT}
    if same := not_modified(request, headers):
        return same
    try:
        facts: PhotoFacts = {}
        if original[0].moment is None:
            facts = await services(request).pictures.run(lambda library: photo_facts_of(library, *original))
    except PictureError as error:
        return _unreadable(error)
    described = answer(facts)
    described.headers.update(headers)
    return described


@router.get("/facets", tags=["pictures"], response_model=FacetAnswer, responses=_PROBLEMS)
async def count_pictures(request: Request, where: WhereParameter = []) -> Response:  # noqa: B006 - as above
    """Count the pictures that pass all filters, by folder, year, size, format, shape, kind, label and tag.

    Every class has the filters that give it, to be added to a search.
    """
    facets = await services(request).pictures.run(lambda library: library.facets(where))
    body: FacetAnswer = {
        "n": facets.n, "kinds": _counts(facets.kinds),
        "folders": _counts(facets.folders), "years": _counts(facets.years),
        "sizes": _counts(facets.sizes), "formats": _counts(facets.formats),
        "widths": _counts(facets.widths), "orientations": _counts(facets.orientations),
        "labels": [{"label_set": of.label_set, "labels": _counts(of.facets)} for of in facets.labels],
        "tags": _counts(facets.tags),
    }  # fmt: skip
    return answer(body)


@router.get("/timeline", tags=["pictures"], response_model=TimelineAnswer, responses=_PROBLEMS)
async def count_months(request: Request, where: WhereParameter = []) -> Response:  # noqa: B006 - as above
    """Count the pictures that pass all filters by the month in which they were taken, with its filters.

    With these, a page of the list may begin in any month, at any `offset`.
    """
    months = await services(request).pictures.run(lambda library: library.timeline(where))
    body: TimelineAnswer = {"n": sum(month.n for month in months), "months": _counts(months)}
    return answer(body)


@router.get("/status", tags=["server"], response_model=StatusAnswer, responses=_PROBLEMS)
async def get_status(request: Request) -> Response:
    """Say what is in the library, and how far another process is that indexes now; cheap enough to poll."""

    def work(library: Library) -> tuple[LibraryStatus, bool, bool, int]:
        status, store = library.status(), library.reader()
        has_encoder = status.dim > 0 and not is_given(store)
        has_words = has_encoder and library.encoder.has_words
        has_texts = store.as_folder is not None and not store.as_folder.annotations.is_empty
        return status, has_words, has_words or (has_texts and not has_encoder), store.revision

    server = services(request)
    status, has_words, answers_texts, revision = await server.pictures.run(work)
    server.metrics.note(n_pictures=status.n_images, model=status.model)
    progress = status.progress
    body: StatusAnswer = {
        "version": __version__, "model": status.model, "has_words": has_words,
        "answers_texts": answers_texts, "has_local": status.local is not None,
        "has_parts": status.parts is not None,
        "has_faces": status.faces is not None and status.faces.n_faces > 0, "dim": status.dim,
        "n_pictures": status.n_images, "films": films_json(status.films),
        "n_bad": len(status.bad), "n_in_graph": status.n_in_graph, "size_bytes": status.size_bytes,
        "revision": revision, "labels": list(map(_label_set, status.labels)),
        "keeps_annotations": server.libraries.place.folder is not None,
        "indexing": None if progress is None else vars(progress),  # type: ignore[typeddict-item]
    }  # fmt: skip
    return answer(body)


@router.get(
    "/metrics",
    tags=["server"],
    response_class=Response,
    responses=_PROBLEMS | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def get_metrics(request: Request) -> Response:
    """Return what the server has counted, in the text format of Prometheus."""
    server = services(request)

    def work(library: Library) -> tuple[int, str | None]:
        store = library.reader()
        return store.count_passing(), store.setting("model")

    n_pictures, model = await server.pictures.run(work)
    server.metrics.note(n_pictures=n_pictures, model=model)
    return Response(server.metrics.text(), headers={"content-type": metrics.MEDIA_TYPE})


async def _original(request: Request, image_id: int) -> tuple[ImageRecord, bytes] | None:
    return await services(request).pictures.run(lambda library: library.reader().original(image_id))


def _require_part(box: list[float]) -> None:
    if box and not (len(box) == 4 and box[0] < box[2] and box[1] < box[3]):
        raise Unfit(
            [{"loc": ("query", "box"), "msg": f"is {box}; expected left < right and top < bottom, or none"}]
        )


def _pixels(box: list[float], image: ImageRecord) -> Box | None:
    """Return a part, given in shares of the sides, in whole pixels: one at least across and down."""
    if not box:
        return None
    left, top = int(box[0] * image.width), int(box[1] * image.height)
    left, top = min(left, image.width - 1), min(top, image.height - 1)
    return left, top, max(left + 1, ceil(box[2] * image.width)), max(top + 1, ceil(box[3] * image.height))


def accepted(request: Request, media_type: str) -> str:
    """Return the type that a file is sent as."""
    return OCTETS if request.headers.get("accept") == OCTETS else media_type


def _unreadable(error: PictureError) -> Response:
    return problem(410, str(error), kind="picture", code=error.code)


def _counts(facets: tuple[Facet, ...]) -> list[FacetCount]:
    return [{"label": facet.label, "where": list(facet.where), "n": facet.n} for facet in facets]


def _label_set(known: LabelSet) -> LabelSetStatus:
    return {
        "name": known.name, "n_labels": known.n_labels, "n_labelled": known.n_labelled, "n_left": known.n_left,
        "min_probability": known.min_probability, "mode": known.mode,
    }  # fmt: skip


def _quoted_name(image: ImageRecord) -> str:
    return quote(plain(image.path.rpartition("/")[2]), safe="")
