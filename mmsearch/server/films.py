"""What the server says of films: which film a picture is a moment of, its other moments, and all films together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from mmsearch.contract import picture_json
from mmsearch.library import Library
from mmsearch.records import FilmsFacts, ImageRecord
from mmsearch.server.problems import gone, responses
from mmsearch.server.schemas import FilmOfPicture, FilmsStatus, Id, ListedPicture, Moment, MomentList
from mmsearch.server.services import answer, services
from mmsearch.store.base import in_folder

router = APIRouter()


@router.get(
    "/pictures/{id}/moments",
    tags=["pictures"],
    response_model=MomentList,
    responses=responses(400, 401, 403, 404, 422, 503),
)
async def list_moments(
    request: Request,
    id: Id,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    after: Annotated[
        str | None,
        Query(pattern=r"^[0-9]{1,12}$", description="Begin after a page: its `next`, a time in milliseconds."),
    ] = None,
) -> Response:
    """List the moments of the film that a picture is a moment of, by time; none of a picture that is no film."""

    def work(library: Library) -> tuple[int, list[ImageRecord]] | None:
        image = library.picture(id)
        if image is None or image.moment is None:
            return None if image is None else (0, [])
        store = in_folder(library.reader(), "films")
        film_id = image.moment.film_id
        with store.reading():
            n = sum(film.n_frames for film in store.films.films([film_id]).values())
            start = -1.0 if after is None else int(after) / 1000
            return n, store.films.frames(film_id, after=start, limit=limit + 1)

    listed = await services(request).pictures.run(work)
    if listed is None:
        return gone(id)
    n, frames = listed
    moments = [_moment(frame) for frame in frames[:limit]]
    is_last = len(frames) <= limit
    body: MomentList = {
        "moments": moments, "n": n, "next": None if is_last else str(round(1000 * moments[-1]["at"])),
    }  # fmt: skip
    return answer(body)


def listed_pictures(library: Library, images: Iterable[ImageRecord]) -> list[ListedPicture]:
    """Return what programs are told of pictures of a library, with the films that some are moments of."""
    images = list(images)
    film_ids = {image.moment.film_id for image in images if image.moment is not None}
    films = in_folder(library.reader(), "films").films.films(film_ids) if film_ids else {}
    listed: list[ListedPicture] = []
    for image in images:
        picture: ListedPicture = {**picture_json(image)}  # type: ignore[typeddict-item]
        film = None if image.moment is None else films.get(image.moment.film_id)
        if image.moment is not None and film is not None:
            _, at, start, end = image.moment
            of_picture: FilmOfPicture = {
                "seconds": film.seconds, "at": at, "start": start, "end": end, "n_frames": film.n_frames,
                "hdr": film.hdr, "problem": film.problem,
            }  # fmt: skip
            picture["film"] = of_picture
        listed.append(picture)
    return listed


def films_json(films: FilmsFacts | None) -> FilmsStatus | None:
    """Return what programs are told of all films of a library, if there are any."""
    if films is None:
        return None
    return {
        "n": films.n_films, "seconds": films.seconds_of_film, "n_moments": films.n_frames,
        "n_incomplete": len(films.incomplete), "n_hdr": films.n_hdr,
    }  # fmt: skip


def _moment(frame: ImageRecord) -> Moment:
    assert frame.moment is not None, "it is a frame of a film"
    _, at, start, end = frame.moment
    return {"id": frame.image_id, "at": at, "start": start, "end": end}
