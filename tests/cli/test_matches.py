"""Pages that show an answer, where moments of films are asked for or found."""

from __future__ import annotations

import re

from mmsearch.cli.matches import matches_page
from mmsearch.cli.sheet import sheet_page
from mmsearch.records import FilmHit, Hit, LocalEvidence, SearchResult, Term
from tests.films import film, shots

SAME = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def found(path):
    """A moment of a film of twice the size of the picture that is decoded of it, as of all that are large."""
    local = LocalEvidence(1.0, ((3, 5, 20, 10),), True, SAME)
    hit = Hit(1, 0.9, 7, str(path), 320, 240, "MP4", None, 1, local=local, film=FilmHit(2.0, 1.0, 1.0, 2.0, 2))
    return SearchResult((hit,), "exact", 1)


def test_moments_of_films_are_drawn_with_the_places_that_agree(tmp_path):
    path = tmp_path / "trip.mp4"
    path.write_bytes(film(shots("cat", "coffee", seconds=1.0)))
    page = matches_page(Term(path, at=1.2), found(path))
    assert page.count("data:image/jpeg") == 2
    (line,) = re.findall(r"<line [^>]*>", page)
    assert re.findall(r'[xy]\d="([\d.]+)"', line) == ["3.0", "5.0", "200.0", "10.0"]


def test_a_contact_sheet_says_when_in_a_film_a_hit_is(tmp_path, monkeypatch):
    monkeypatch.setattr("mmsearch.cli.sheet.thumbnails_of", lambda hits: [None] * len(hits))
    assert "at 0:01 of 0:02" in sheet_page("a cup", [], found(tmp_path / "trip.mp4"))
