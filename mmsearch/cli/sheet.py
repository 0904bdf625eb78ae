"""The hits of a search as a contact sheet: one HTML page that holds small copies of the pictures, for any query."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmsearch.encoders.calibration import answer_strength, strength
from mmsearch.names import page_text, quoted
from mmsearch.query.thumbnails import THUMBNAIL_SIDE, thumbnails_of
from mmsearch.records import Hit, RelativeBox, SearchResult, place_text


def rendered(title: str, sentences: Sequence[str], parts: Sequence[tuple[str, Sequence[dict[str, Any]]]]) -> str:
    """Return a page with parts, each a heading and its cards, which `card` makes; empty ones are left out."""
    from jinja2 import Environment

    source = files("mmsearch.cli").joinpath("sheet.html.jinja").read_text(encoding="utf-8")
    shown = [(heading, cards) for heading, cards in parts if cards]
    environment = Environment(autoescape=True, finalize=page_text)
    return environment.from_string(source).render(title=title, sentences=sentences, parts=shown)


def card(
    rank: int, path: str, words: str, picture: str | None, framed: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return what a page shows of a picture: `words` stand below its name, `picture` is an address or None.

    `framed` is the size of the picture with a part of it that has a frame, in the same pixels.
    """
    place = Path(path)
    return {
        "rank": rank, "name": quoted(place.name), "folder": quoted(str(place.parent)), "words": words,
        "picture": picture, "framed": framed,
    }  # fmt: skip


def sheet_page(title: str, sentences: Sequence[str], result: SearchResult) -> str:
    """Return the page of an answer; it needs nothing else and runs no script.

    Parameters
    ----------
    title : str
        What was asked for.
    sentences : sequence of str
        What else there is to say of the query, such as its filters.
    result : SearchResult
        Its files are read once more for their small copies.
    """
    cards = [_card(hit, copy) for hit, copy in zip(result.hits, thumbnails_of(result.hits), strict=True)]
    is_weak = [hit.relevance is not None and strength(hit.relevance) == "weak" for hit in result.hits]
    n_before = is_weak.index(True) if True in is_weak else len(cards)
    parts = [("", cards[:n_before]), ("Weak matches", cards[n_before:])]
    return rendered(title, [*sentences, *_said(result)], parts)


def _said(result: SearchResult) -> list[str]:
    """Return what the answer says of itself."""
    if not result.hits:
        return ["No picture matches."]
    n = len(result.hits)
    said = [f"The best {n} of {result.n_candidates:,} pictures." if n > 1 else "The best picture."]
    if result.relevance is not None and answer_strength(result.relevance) == "weak":
        said.insert(0, "Nothing here matches well.")
    return [*said, *([result.local] if result.local else []), *result.problems]


def _card(hit: Hit, picture: str | None) -> dict[str, Any]:
    words = f"score {hit.score:.3f}" if hit.relevance is None else strength(hit.relevance)
    if hit.local is not None and hit.local.is_verified:
        words += f", verified: {hit.local.n_inliers} places agree"
    if hit.film is not None:
        words += f", {hit.film.words()}"
    if hit.folded is not None:
        words += f", {hit.folded.words()}"
    if hit.part is None:
        return card(hit.rank, hit.path, words, picture)
    size = _fitted(hit.width, hit.height)
    framed = {"size": size, "part": frame_of(hit.part.box, size)}
    return card(hit.rank, hit.path, f"{words}, by its part: {place_text(hit.part.box)}", picture, framed)


def _fitted(width: int, height: int) -> tuple[int, int]:
    """Return the size of the small copy of a picture."""
    zoom = min(1.0, THUMBNAIL_SIDE / max(width, height))
    return max(1, round(width * zoom)), max(1, round(height * zoom))


def frame_of(box: RelativeBox, size: tuple[float, float], left: float = 0.0) -> tuple[float, float, float, float]:
    """Return left, top, width and height of a part of a picture that is drawn in a size, with its left edge there.

    >>> frame_of((0.5, 0.0, 1.0, 0.7), (200, 100), left=300)
    (400.0, 0.0, 100.0, 70.0)
    """
    x, y, right, bottom = (round(share * side, 1) for share, side in zip(box, (*size, *size), strict=True))
    return left + x, y, right - x, bottom - y
