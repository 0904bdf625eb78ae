"""Hits of an example picture as one HTML page: example and hit side by side, their matching features joined."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.cli.sheet import frame_of
from mmsearch.errors import EncoderError, PictureError
from mmsearch.names import page_text, quoted
from mmsearch.records import PictureBytes, place_text

if TYPE_CHECKING:
    from mmsearch.processes.decoder import PictureDecoder
    from mmsearch.processes.film_reader import FilmReader
    from mmsearch.records import Hit, SearchResult, Term

_SIDE = 480  # pixels of the longer side of each picture
_GAP = 20
Size = tuple[float, float]
Shown = tuple[str | None, Size, float]


def matches_page(example: Term, result: SearchResult) -> str:
    """Return the page of a search by one example picture; it needs nothing else and runs no script."""
    from jinja2 import Environment

    from mmsearch.processes.decoder import PictureDecoder
    from mmsearch.processes.film_reader import FilmReader

    source = files("mmsearch.cli").joinpath("matches.html.jinja").read_text(encoding="utf-8")
    with closing(PictureDecoder()) as decoder, closing(FilmReader()) as reader:
        shown = partial(_shown, decoder, reader)
        picture, size, zoom = shown(example.value, example.at)
        hits = [_side_by_side(shown, hit, size, zoom) for hit in result.hits]
    return (
        Environment(autoescape=True, finalize=page_text)
        .from_string(source)
        .render(
            title=f"Pictures like {quoted(Path(example.label).name)}",
            lead=result.local or "Local features were not looked at.",
            example=picture,
            example_size=size,
            hits=hits,
        )
    )


def _side_by_side(shown: Callable[..., Shown], hit: Hit, size: Size, zoom: float) -> dict[str, Any]:
    """Return what the page shows of a hit: places in pixels of the drawing."""
    at = None if hit.film is None else hit.film.at
    picture, own_size, own_zoom = shown(hit.path, at, (hit.width, hit.height))
    left = size[0] + _GAP
    local = hit.local
    lines = [
        tuple(round(value, 1) for value in (x1 * zoom, y1 * zoom, left + x2 * own_zoom, y2 * own_zoom))
        for x1, y1, x2, y2 in (local.inliers if local is not None and local.is_verified else ())
    ]
    return {
        "rank": hit.rank, "name": quoted(Path(hit.path).name), "score": hit.score, "local": local,
        "picture": picture, "size": own_size, "left": left, "lines": lines,
        "outline": _outline(hit, size, zoom, left, own_zoom),
        "folded": "" if hit.folded is None else hit.folded.words(),
        "part": None if hit.part is None else frame_of(hit.part.box, own_size, left),
        "part_place": "" if hit.part is None else place_text(hit.part.box),
        "width": left + own_size[0], "height": max(size[1], own_size[1]),
    }  # fmt: skip


def _outline(hit: Hit, size: Size, zoom: float, left: float, own_zoom: float) -> str:
    """Return where the frame of the example lies in a verified hit, as the points of a polygon."""
    if hit.local is None or not hit.local.is_verified or hit.local.homography is None:
        return ""
    width, height = size[0] / zoom, size[1] / zoom
    points = []
    for x, y in ((0.0, 0.0), (width, 0.0), (width, height), (0.0, height)):
        u, v, w = (row[0] * x + row[1] * y + row[2] for row in hit.local.homography)
        points.append(f"{left + u / w * own_zoom:.1f},{v / w * own_zoom:.1f}")
    return " ".join(points)


def _shown(
    decoder: PictureDecoder,
    reader: FilmReader,
    picture: str | int | PictureBytes,
    at: float | None,
    known: tuple[int, int] = (0, 0),
) -> Shown:
    """Return a picture as an address that holds it, its size in the drawing, and drawing pixels a picture pixel.

    Of a moment of a film `at` is the time. Of a picture of the library `known` is the (width, height), which may be
    above the usual limit.
    """
    from mmsearch.images import enough_for
    from mmsearch.processes.decoder import Limits
    from mmsearch.query.frames import picture_file

    try:
        if isinstance(picture, PictureBytes):
            data = picture.data
        else:
            data = picture_file(os.fsencode(str(picture)), at, reader)
        copy = decoder.thumbnail(data, _SIDE, limits=Limits.of_own(enough_for(*known)))
    except (PictureError, EncoderError):  # the latter if no process can be started
        return None, (_SIDE, _SIDE), 1.0
    # The picture of a moment may be smaller than the film.
    width, height = copy.original_size if at is None or not any(known) else known
    zoom = min(1.0, _SIDE / max(width, height))
    return copy.address(), (round(width * zoom), round(height * zoom)), zoom
