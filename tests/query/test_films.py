"""A film is one hit, by its best frame, on whatever page; its other moments are folded below."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest

from mmsearch import Library, Query
from mmsearch.errors import PictureError, QueryError
from mmsearch.frames import frame_hash, frame_name
from mmsearch.records import READING, FileLook, Term
from mmsearch.store.changes import Changes, FilmProgress, FrameTimes, StoredFile
from mmsearch.store.folder import Store
from tests.conftest import random_units, small_samples
from tests.films import film, shots

N_FILMS, N_FRAMES, N_PICTURES, DIM = 4, 30, 12, 16


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A library of films, one of them there twice, and of photographs, with random vectors, one of them shared."""
    folder = tmp_path_factory.mktemp("drawn") / "library"
    look = FileLook(1000, 1, 1)
    vectors = iter(random_units(N_FILMS * N_FRAMES + N_PICTURES, DIM))
    black = random_units(1, DIM, seed=9)[0]
    with Store.writer(folder, create={"fingerprint": "f" * 64, "dim": DIM, "model": "given"}) as store:
        for number in range(N_FILMS):
            name, content_hash = b"/films/%d.mp4" % number, sha256(b"%d" % number).digest()
            frames = [
                StoredFile(
                    frame_name(name, part), look, frame_hash(content_hash, part), 64, 48, "MP4", None, READING,
                    vector=black if part == 5 else next(vectors), frame=FrameTimes(part, part, part, part + 1),
                )
                for part in range(N_FRAMES)
            ]  # fmt: skip
            film = FilmProgress(name, look, content_hash, bytes(32), 30.0 + number, "", 29.0, True, "")
            store.commit(Changes(stored=frames, films=[film]))
        (known,) = store.films.known(b"/films/0.mp4")
        film, frames = store.films.copied(known, b"/films/copy.mp4", look)
        store.commit(Changes(stored=frames, films=[film]))
        pictures = [
            StoredFile(
                b"/pictures/%d.jpg" % number, look, sha256(b"picture %d" % number).digest(), 64, 48, "JPEG", None,
                READING, vector=black if number == 3 else next(vectors),
            )
            for number in range(N_PICTURES)
        ]  # fmt: skip
        store.commit(Changes(stored=pictures))
    with Library.open(folder) as library:
        yield library


def best_of_files(library, query):
    """The path and the score of the best picture of each file, copies of films apart: the slow way."""
    best = {}
    for hit in library.search(query, k=1000, collapse="none").hits:
        best.setdefault("/films/0.mp4" if hit.path == "/films/copy.mp4" else hit.path, hit.score)
    return list(best.items())


@pytest.mark.parametrize(
    "where", [[], ["kind = film"], ["at >= 10 and at < 12"], ["duration < 32"], ["kind = picture"]]
)
def test_each_film_is_one_hit_by_its_best_frame_that_passes(drawn, where):
    for vector in random_units(5, DIM, seed=1):
        query = Query(vector=vector, where=where)
        hits = drawn.search(query, k=1000).hits
        assert [(hit.path, hit.score) for hit in hits] == best_of_files(drawn, query)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("where", [[], ["at >= 5 and at < 7"]])
def test_a_film_comes_on_one_page_alone(drawn, k, where):
    for vector in [*random_units(3, DIM, seed=2), random_units(1, DIM, seed=9)[0]]:
        query, after, paged = Query(vector=vector, where=where), None, []
        while True:
            result = drawn.search(query, k=k, after=after)
            paged += [(hit.path, hit.score) for hit in result.hits]
            if (after := result.next) is None:
                break
        assert paged == best_of_files(drawn, query)


def test_other_moments_of_a_film_are_its_next_best_frames(drawn):
    (vector,) = random_units(1, DIM, seed=3)
    hits = drawn.search(Query(vector=vector), k=3).hits
    frames = drawn.search(Query(vector=vector), k=1000, collapse="none").hits
    for hit in [hit for hit in hits if hit.film is not None]:
        of_film = [(frame.film.at, frame.score) for frame in frames if frame.path == hit.path]
        assert [(hit.film.at, hit.score), *((other.at, other.score) for other in hit.film.others)] == of_film[:13]
        assert hit.film.n_frames == N_FRAMES


def test_a_film_that_is_there_twice_names_its_copy(drawn):
    (vector,) = random_units(1, DIM, seed=4)
    hits = {hit.path: hit for hit in drawn.search(Query(vector=vector), k=100).hits}
    assert "/films/copy.mp4" not in hits
    assert [copy.path for copy in hits["/films/0.mp4"].folded.pictures] == ["/films/copy.mp4"]
    assert all(hit.folded is None for path, hit in hits.items() if path != "/films/0.mp4")


def test_a_film_is_judged_by_any_of_its_frames(drawn):
    (vector,) = random_units(1, DIM, seed=5)
    best = drawn.search(Query(vector=vector, where=["kind = film"]), k=1).hits[0]
    other = best.film.others[0].image_id
    left = drawn.search(Query(vector=vector, irrelevant=[other]), k=100).hits
    assert best.path not in {hit.path for hit in left}
    assert len(left) == N_FILMS + N_PICTURES - 1
    found = drawn.search(Query(images=[other]), k=3).hits
    assert (found[0].path, found[0].image_id) == (best.path, other)
    assert np.isclose(found[0].score, 1, atol=1e-3)


def test_a_moment_of_a_film_asks_for_it_and_one_process_reads_all(filmed, cache, monkeypatch):
    monkeypatch.setattr(
        "mmsearch.query.frames.FilmReader", lambda: pytest.fail("a process was started for one moment")
    )
    trip = str(filmed / "films" / "trip.mp4")
    with Library.open(filmed / "library", cache=cache) as library:
        best = library.search(Query(images=[Term(trip, at=1.6)]), k=1).hits[0]
        assert (best.path, best.film.at) == (trip, 1.5)
        with pytest.raises(PictureError, match=r"this is a film; expected a picture, or .* --at 12.5"):
            library.search(Query(images=[trip]))
        film, picture = library.classify([trip, filmed / "films" / "fig.png"], ["cat", "dog"])
        assert "this is a film; expected a picture" in film.error
        assert picture.error is None
        with pytest.raises(PictureError, match="no picture at 100 s of this film"):
            library.search(Query(images=[Term(trip, at=100)]))
        with pytest.raises(QueryError, match="expected a time in seconds"):
            Term(trip, at=10**400)


@pytest.mark.full
def test_local_features_find_the_frame_that_shows_the_same_and_a_film_once(tmp_path, checkpoint, cache):
    folder = small_samples(tmp_path / "films", 20)
    names = ("cat", "coffee", "creek")
    (folder / "trip.mp4").write_bytes(film(shots(*names, seconds=1.0, size=(320, 240))))
    asked = Query(images=[Term(str(folder / "trip.mp4"), at=1.2)])
    with Library.open(tmp_path / "library", cache=cache) as library:
        library.index([folder], model=str(checkpoint), local=True)
        for options in ({"mode": "local"}, {"rerank": "local"}):
            hits = library.search(asked, k=20, **options).hits
            assert [hits[0].path, hits[0].film.at] == [str(folder / "trip.mp4"), 1.0]
            assert hits[0].local.is_verified
            assert len({hit.path for hit in hits}) == len(hits)
