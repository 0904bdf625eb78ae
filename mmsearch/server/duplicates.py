"""The endpoint for pictures that are the same."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from mmsearch.arguments import SAME, Duplicates, Keep
from mmsearch.contract import DuplicateAnswer, duplicates_json
from mmsearch.server.problems import responses
from mmsearch.server.services import answer, services

router = APIRouter()
_KINDS = (
    "Which groups are given: `same-file`: equal bytes; `same-picture`: one picture in several forms; `look-alike`: "
    "several pictures of one moment, which are no duplicates."
)
_KEEP = "Which picture of a group is proposed to be kept; where that tells nothing, the others do."


@router.get(
    "/duplicates",
    tags=["pictures"],
    response_model=DuplicateAnswer,
    responses=responses(400, 401, 403, 422, 501, 503),
)
async def find_duplicates(
    request: Request,
    kind: Annotated[list[Duplicates], Query(max_length=3, description=_KINDS)] = [*SAME],  # noqa: B006 - FastAPI copies it
    keep: Annotated[Keep, Query(description=_KEEP)] = "largest",
    limit: Annotated[int, Query(ge=1, le=1_000, description="Groups that are given at most.")] = 100,
) -> Response:
    """Find pictures that are the same; nothing is deleted. One search goes on at a time.

    What `mmsearch duplicates` compared is answered at once, and pictures that came since are compared with all,
    which takes a while. Those without a signature are compared by their bytes alone: that command makes them.
    """
    report = await services(request).duplicates.run(
        lambda library: library.duplicates(kinds=kind, keep=keep, sign=False)
    )
    return answer(duplicates_json(report, limit=limit))
