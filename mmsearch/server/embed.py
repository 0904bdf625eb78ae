"""Endpoints that embed: texts and pictures in, unit vectors of the library's space out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from mmsearch.library import Library
from mmsearch.records import Matrix, PictureBytes, Term
from mmsearch.server.bodies import read_form, read_json, terms_of
from mmsearch.server.description import form_body, json_body
from mmsearch.server.problems import Unfit, responses
from mmsearch.server.schemas import EmbedAnswer, EmbedRequest
from mmsearch.server.services import answer, services, unless_left

router = APIRouter(tags=["embedding"])
_PROBLEMS = responses(400, 401, 403, 408, 413, 415, 422, 503)


@router.post("/embed", response_model=EmbedAnswer, responses=_PROBLEMS, openapi_extra=json_body(EmbedRequest))
async def embed(request: Request) -> Response:
    """Return the unit vectors of texts and of pictures of the library, as the library compares them."""
    return await _embedded(request, await read_json(request, EmbedRequest))


@router.post(
    "/embed/upload", response_model=EmbedAnswer, responses=_PROBLEMS, openapi_extra=form_body(EmbedRequest)
)
async def embed_uploads(request: Request) -> Response:
    """Embed pictures that are not in the library: a form with what `/embed` takes as its field `query`."""
    return await _embedded(request, *await read_form(request, EmbedRequest))


async def _embedded(request: Request, asked: EmbedRequest, uploads: Sequence[PictureBytes] = ()) -> Response:
    pictures = terms_of(asked.pictures, uploads)
    if not (asked.texts or pictures):
        raise Unfit([{"loc": (), "msg": "there is nothing to embed; give texts, or pictures by their ids"}])
    embedding = services(request).embeddings.run(partial(_embedding, texts=asked.texts, pictures=pictures))
    return answer(await unless_left(request, embedding))


def _embedding(library: Library, texts: Sequence[str], pictures: Sequence[Term]) -> EmbedAnswer:
    encoder = library.encoder

    def embedded() -> EmbedAnswer:
        of_texts = _numbers(encoder.encode_texts(texts)) if texts else []
        readable, vectors, errors = encoder.encode_readable(pictures)
        vector_at = dict(zip(readable, _numbers(vectors), strict=True))
        return {
            "model": encoder.name, "fingerprint": encoder.fingerprint, "dim": encoder.dim, "texts": of_texts,
            "pictures": [
                {"picture": picture.label, "vector": vector_at.get(place), "error": errors.get(place)}
                for place, picture in enumerate(pictures)
            ],
        }  # fmt: skip

    return library.reader().of_one_encoder(embedded)


def _numbers(vectors: Matrix) -> list[list[float]]:
    """Return vectors (n, dim) as numbers that JSON writes with the few digits that float32 has."""
    numbers: list[list[float]] = vectors.astype(str).astype(float).tolist()
    return numbers
