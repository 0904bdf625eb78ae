"""The application: endpoints, errors and guards put together over one library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from mmsearch import __version__
from mmsearch.arguments import CPU, Device
from mmsearch.errors import MmsearchError
from mmsearch.library import Library
from mmsearch.server import archive, embed, films, health, page, pictures, problems, search
from mmsearch.server.annotations import router as annotations_router
from mmsearch.server.connections import Shortages
from mmsearch.server.description import ABOUT, TAGS, VERSIONED, describe, operation_id
from mmsearch.server.duplicates import router as duplicates_router
from mmsearch.server.limits import BodyLimits
from mmsearch.server.observed import Observed
from mmsearch.server.people import router as people_router
from mmsearch.server.security import Access, Guard
from mmsearch.server.services import Services
from mmsearch.server.thumbnails import Thumbnails
from mmsearch.store.base import Place
from mmsearch.store.thumbnails import LIMIT_BYTES


def create_app(
    place: Place,
    access: Access,
    *,
    cache: Path | None = None,
    device: Device = CPU,
    thumbnail_bytes: int = LIMIT_BYTES,
) -> Observed:
    """Return the server over one library as an ASGI application.

    Parameters
    ----------
    place : Place
        The library.
    access : Access
        Secrets, and the names that the server answers to.
    cache : Path or None
        Where exported encoders are kept; default the user's cache folder.
    device : str
        Where what is searched for is embedded, as for `Library.open`.
    thumbnail_bytes : int
        Bound of the kept thumbnails on disk.
    """
    server = Services.open(place, access, cache=cache, device=device, thumbnail_bytes=thumbnail_bytes)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(Shortages())
        warming = asyncio.create_task(_warm_up(server))
        yield
        warming.cancel()
        await asyncio.get_running_loop().run_in_executor(None, server.close)

    app = FastAPI(
        title="mmsearch", version=__version__, description=ABOUT, docs_url=None, redoc_url=None,
        lifespan=lifespan, redirect_slashes=False, openapi_tags=TAGS, generate_unique_id_function=operation_id,
        responses=VERSIONED,
    )  # fmt: skip
    app.state.services, app.state.thumbnails, app.state.page = server, Thumbnails(server), page.page_files()
    app.state.health = health.Health(server)
    for router in (
        search.router,
        embed.router,
        pictures.router,
        films.router,
        annotations_router,
        people_router,
        duplicates_router,
        archive.router,
        health.router,
        page.router,
    ):
        app.include_router(router)
        _answer_head(app, router)
    problems.install(app)
    app.openapi = lambda: describe(app, access.address)  # type: ignore[method-assign]
    return Observed(Guard(BodyLimits(app), access, server.stop), server.metrics)


def _answer_head(app: FastAPI, router: APIRouter) -> None:
    """Let HEAD be asked wherever GET is; of the answer uvicorn sends the header alone."""
    for route in router.routes:
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
            app.add_api_route(route.path, route.endpoint, methods=["HEAD"], include_in_schema=False)


async def _warm_up(server: Services) -> None:
    """Load the text tower before the first query needs it."""

    def work(library: Library) -> None:
        encoder = library.encoder
        if encoder.has_words:
            encoder.encode_texts(["a photograph"])

    with suppress(MmsearchError, OSError):  # the first query will say what is wrong
        await server.words.run(work)
