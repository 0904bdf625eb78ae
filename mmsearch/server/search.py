"""Endpoints that compute: search and classify."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from mmsearch.contract import SearchAnswer, search_json
from mmsearch.encoders.prompts import DEFAULT_TEMPLATES
from mmsearch.records import Query, SearchOptions, Term
from mmsearch.server.bodies import described, read_body, terms_of
from mmsearch.server.problems import Unfit, responses
from mmsearch.server.schemas import (
    MAX_PROMPTS,
    ClassifyAnswer,
    ClassifyRequest,
    SearchRequest,
    classify_json,
)
from mmsearch.server.services import answer, services, unless_left

router = APIRouter()
_PROBLEMS = responses(400, 401, 403, 408, 413, 415, 422, 503)


@router.post("/search", response_model=SearchAnswer, responses=_PROBLEMS, openapi_extra=described(SearchRequest))
async def search(request: Request) -> Response:
    """Rank the pictures of the library by words, by example pictures, by judged pictures, or by all together.

    Send JSON; or, with pictures that are not in the library, a form with the same JSON as its field `query` and
    the pictures as fields `picture`.
    """
    asked, uploads = await read_body(request, SearchRequest)
    query = Query(
        text=None if asked.text is None else Term(asked.text, asked.text_weight),
        images=terms_of(asked.pictures, uploads),
        exclude=[Term(term.text, term.weight) for term in asked.exclude],
        where=asked.filters(),
        relevant=asked.relevant,
        irrelevant=asked.irrelevant,
    )
    server = services(request)
    options = SearchOptions(
        asked.k, asked.mode, asked.rerank, asked.expand, asked.explain, asked.min_relevance, asked.after
    )
    if query.images or options.mode == "local" or options.rerank == "local" or options.expand != "none":
        answering = server.examples.run(lambda library: library.search_many(query, options)[0])
    else:
        answering = server.texts.search(query, options)
    result = await unless_left(request, answering)
    server.metrics.searched(result)
    return answer(search_json(result, explain=options.explain))


@router.post(
    "/classify", response_model=ClassifyAnswer, responses=_PROBLEMS, openapi_extra=described(ClassifyRequest)
)
async def classify(request: Request) -> Response:
    """Give pictures their most probable labels, without training, or none of them where the encoder is calibrated.

    Send JSON with ids of pictures of the library, or a form as for a search.
    """
    asked, uploads = await read_body(request, ClassifyRequest)
    pictures = terms_of(asked.pictures, uploads)
    if not pictures:
        raise Unfit([{"loc": ("pictures",), "msg": "there is none; name one by its id, or send one"}])
    templates = asked.templates or DEFAULT_TEMPLATES
    n_prompts = len(asked.labels) * len(templates)
    if n_prompts > MAX_PROMPTS:
        text = (
            f"{n_prompts} prompts, of {len(asked.labels)} labels in {len(templates)} templates each; at most "
            f"{MAX_PROMPTS} are encoded for a request: give fewer templates, or run `mmsearch classify`"
        )
        raise Unfit([{"loc": ("templates",), "msg": text}])
    classifying = services(request).labels.run(
        lambda library: library.classify(
            pictures, asked.labels, templates=templates, k=asked.k, closed=asked.closed, multi=asked.multi
        )
    )
    return answer(classify_json(await unless_left(request, classifying)))
