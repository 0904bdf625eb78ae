"""The endpoint for who watches the server: whether it answers, and the library can be read."""

from __future__ import annotations

import asyncio
import math
from typing import Literal

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from typing_extensions import TypedDict

from mmsearch.errors import MmsearchError
from mmsearch.server.problems import problem, responses
from mmsearch.server.services import Services, answer

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 5.0
router = APIRouter()


class HealthAnswer(TypedDict):
    """The server answers, and the library can be read."""

    status: Literal["ok"]


class Health:
    """Whether the library can be read, looked at once a second at most: anybody may ask. Used by the event loop."""

    def __init__(self, server: Services) -> None:
        self._server = server
        self._looking: asyncio.Task[bool] | None = None
        self._begun = -math.inf

    async def is_readable(self) -> bool:
        """Return whether the library could be read a moment ago."""
        now = asyncio.get_running_loop().time()
        if self._looking is None or (self._looking.done() and now - self._begun >= FRESH_SECONDS):
            self._begun, self._looking = now, asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)  # others wait for it too

    async def _look(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._server.pictures.run(lambda library: library.reader().revision)
        except (MmsearchError, HTTPException, OSError):  # TimeoutError is an OSError
            return False
        return True


@router.get(
    "/health",
    tags=["server"],
    response_model=HealthAnswer,
    responses=responses(400, 503),
    openapi_extra={"security": []},
)
async def get_health(request: Request) -> Response:
    """Say whether the server answers and the library can be read, and nothing else; needs no token."""
    if await request.app.state.health.is_readable():
        body: HealthAnswer = {"status": "ok"}
        return answer(body)
    return problem(503, "the library cannot be read; /status, which needs the token, says why", kind="library")
