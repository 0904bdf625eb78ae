"""Endpoints that compare: searches and classification."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from mmsearch.contract import SearchAnswer, search_json
from mmsearch.encoders.prompts import DEFAULT_TEMPLATES
from mmsearch.records import PictureBytes, Query, SearchOptions, SearchResult, Term
from mmsearch.server.bodies import read_form, read_json, terms_of
from mmsearch.server.description import form_body, json_body
from mmsearch.server.problems import Unfit, dumped, problem_of, responses
from mmsearch.server.schemas import (
    MAX_HITS,
    MAX_PROMPTS,
    ClassifyAnswer,
    ClassifyRequest,
    SearchesAnswer,
    SearchesRequest,
    SearchOutcome,
    SearchRequest,
    classify_json,
)
from mmsearch.server.services import Services, answer, json_answer, services, unless_left

router = APIRouter()
_PROBLEMS = responses(400, 401, 403, 408, 413, 415, 422, 503)


@router.post(
    "/search",
    tags=["search"],
    response_model=SearchAnswer,
    responses=_PROBLEMS,
    openapi_extra=json_body(SearchRequest),
)
async def search_pictures(request: Request) -> Response:
    """Rank the pictures of the library by words, by example pictures, by judged pictures, or by all together."""
    return await _searched(request, await read_json(request, SearchRequest))


@router.post(
    "/search/upload",
    tags=["search"],
    response_model=SearchAnswer,
    responses=_PROBLEMS,
    openapi_extra=form_body(SearchRequest),
)
async def search_with_uploads(request: Request) -> Response:
    """Search with pictures that are not in the library: a form with what `/search` takes as its field `query`."""
    return await _searched(request, *await read_form(request, SearchRequest))


async def _searched(request: Request, asked: SearchRequest, uploads: Sequence[PictureBytes] = ()) -> Response:
    result = await unless_left(request, _result(services(request), asked, uploads))
    return answer(search_json(result, explain=asked.explain))


@router.post(
    "/searches",
    tags=["search"],
    response_model=SearchesAnswer,
    responses=_PROBLEMS,
    openapi_extra=json_body(SearchesRequest),
)
async def search_many(request: Request) -> Response:
    """Answer several searches together, those by words by one scan; a problem of one is its own."""
    asked = await read_json(request, SearchesRequest)
    n_hits = sum(query.k for query in asked.queries)
    if n_hits > MAX_HITS:
        text = f"the k of all add up to {n_hits:,}; at most {MAX_HITS:,} hits are given at once: ask for fewer"
        raise Unfit([{"loc": ("queries",), "msg": text}])
    server = services(request)
    searching = asyncio.gather(*(_result(server, query) for query in asked.queries), return_exceptions=True)
    outcomes = []
    for query, result in zip(asked.queries, await unless_left(request, searching), strict=True):
        outcomes.append(dumped(_outcome(query, result)))
        await asyncio.sleep(0)  # others have their turn
    return json_answer(b'{"outcomes":[' + b",".join(outcomes) + b"]}")


async def _result(server: Services, asked: SearchRequest, uploads: Sequence[PictureBytes] = ()) -> SearchResult:
    """Return the result of one search, given by the lane for its kind."""
    query = Query(
        text=None if asked.text is None else Term(asked.text, asked.text_weight),
        images=terms_of(asked.pictures, uploads),
        exclude=[Term(term.text, term.weight) for term in asked.exclude],
        where=asked.filters(),
        relevant=asked.relevant,
        irrelevant=asked.irrelevant,
    )
    options = SearchOptions(
        asked.k, asked.mode, asked.rerank, asked.expand, asked.explain, asked.min_relevance, asked.after,
        asked.words, asked.collapse,
    )  # fmt: skip
    if query.images or options.mode == "local" or options.rerank == "local" or options.expand != "none":
        result = await server.examples.run(lambda library: library.search_many(query, options)[0])
    else:
        result = await server.texts.search(query, options)
    server.metrics.searched(result)
    return result


def _outcome(asked: SearchRequest, result: SearchResult | BaseException) -> SearchOutcome:
    if isinstance(result, SearchResult):
        return {"result": search_json(result, explain=asked.explain), "problem": None}
    return {"result": None, "problem": problem_of(result).problem}


@router.post(
    "/classify",
    tags=["classification"],
    response_model=ClassifyAnswer,
    responses=_PROBLEMS,
    openapi_extra=json_body(ClassifyRequest),
)
async def classify_pictures(request: Request) -> Response:
    """Give pictures their most probable labels without training, or none where the encoder is calibrated."""
    return await _classified(request, await read_json(request, ClassifyRequest))


@router.post(
    "/classify/upload",
    tags=["classification"],
    response_model=ClassifyAnswer,
    responses=_PROBLEMS,
    openapi_extra=form_body(ClassifyRequest),
)
async def classify_uploads(request: Request) -> Response:
    """Classify pictures that are not in the library: a form with what `/classify` takes as its field `query`."""
    return await _classified(request, *await read_form(request, ClassifyRequest))


async def _classified(request: Request, asked: ClassifyRequest, uploads: Sequence[PictureBytes] = ()) -> Response:
    pictures = terms_of(asked.pictures, uploads)
    if not pictures:
        raise Unfit([{"loc": ("pictures",), "msg": "there is none; name one by its id, or send one"}])
    templates = asked.templates or DEFAULT_TEMPLATES
    n_prompts = len(asked.labels) * len(templates)
    if n_prompts > MAX_PROMPTS:
        text = (
            f"{n_prompts} prompts, of {len(asked.labels)} labels in {len(templates)} templates each; at most "
            f"{MAX_PROMPTS} are encoded for a request: give fewer of either"
        )
        raise Unfit([{"loc": ("templates",), "msg": text}])
    classifying = services(request).labels.run(
        lambda library: library.classify(
            pictures,
            asked.labels,
            templates=templates,
            k=asked.k,
            closed=asked.closed,
            multi=asked.multi,
            parts=asked.parts,
        )
    )
    return answer(classify_json(await unless_left(request, classifying)))
