"""Films in `index`: read once, and followed wherever they go, all of a file as one."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

import pytest

from mmsearch import Library
from mmsearch.frames import time_of
from mmsearch.images import kinds
from mmsearch.ingest import films as intake
from mmsearch.ingest import plan_films, run
from mmsearch.ingest.pool import Embedded, WorkerPool
from mmsearch.records import FilmsReport
from mmsearch.samples import sample_folder
from mmsearch.store.folder import Store
from tests.films import film, frames_in, moments_in, photograph, shots


@pytest.fixture
def index(filmed, cache):
    """Index the films of the folder once more, and return what was done with films."""

    def again(*roots, **options):
        with Library.open(filmed / "library", cache=cache) as library:
            return library.index(list(roots) or [filmed / "films"], **({"local": False} | options))

    return again


@pytest.fixture
def no_reading(monkeypatch):
    """Let no film be opened."""
    monkeypatch.setattr(intake, "FilmReader", lambda: _Refused())


class _Refused:
    def open(self, path, *, start=0.0):
        pytest.fail(f"{path!r} was to be read")

    def close(self):
        pass


def test_frames_of_films_are_kept_where_they_differ(filmed):
    times = frames_in(filmed / "library")
    assert times.keys() == {"trip.mp4", "zoo.mkv"}
    assert {0.0, 1.5, 3.0} <= set(times["trip.mp4"])
    assert {0.0, 1.0} <= set(times["zoo.mkv"])


def test_films_that_did_not_change_are_not_read_again(filmed, index, no_reading):
    before = frames_in(filmed / "library")
    assert index().films == FilmsReport(unchanged=2)
    assert frames_in(filmed / "library") == before


def test_a_film_that_was_moved_keeps_its_frames(filmed, index, no_reading):
    before = frames_in(filmed / "library")
    (filmed / "films" / "new").mkdir()
    (filmed / "films" / "trip.mp4").rename(filmed / "films" / "new" / "journey.mp4")
    assert index().films == FilmsReport(moved=1, unchanged=1)
    assert frames_in(filmed / "library") == {"journey.mp4": before["trip.mp4"], "zoo.mkv": before["zoo.mkv"]}
    with Library.open(filmed / "library") as library:
        assert library.status().n_unread_words == 0


def test_a_copy_of_a_film_is_not_read(filmed, index, no_reading):
    before = frames_in(filmed / "library")
    shutil.copyfile(filmed / "films" / "trip.mp4", filmed / "films" / "again.mp4")
    assert index().films == FilmsReport(new=1, unchanged=2)
    assert frames_in(filmed / "library") == before | {"again.mp4": before["trip.mp4"]}
    (filmed / "films" / "trip.mp4").unlink()
    assert index().films == FilmsReport(gone=1, unchanged=2)
    assert frames_in(filmed / "library") == {"again.mp4": before["trip.mp4"], "zoo.mkv": before["zoo.mkv"]}


def test_films_may_change_places(filmed, index, no_reading):
    before = frames_in(filmed / "library")
    folder = filmed / "films"
    (folder / "trip.mp4").rename(folder / "between")
    (folder / "zoo.mkv").rename(folder / "trip.mp4")
    (folder / "between").rename(folder / "zoo.mkv")
    assert index().films == FilmsReport(changed=2)
    assert frames_in(filmed / "library") == {"trip.mp4": before["zoo.mkv"], "zoo.mkv": before["trip.mp4"]}


def test_a_film_may_take_the_place_of_one_that_moves(filmed, index, no_reading):
    before = frames_in(filmed / "library")
    folder = filmed / "films"
    (folder / "zoo.mkv").rename(folder / "z.mkv")
    (folder / "trip.mp4").rename(folder / "zoo.mkv")
    report = index().films
    assert report.gone == 0
    assert report.n_frames == 0
    assert frames_in(filmed / "library") == {"z.mkv": before["zoo.mkv"], "zoo.mkv": before["trip.mp4"]}


def test_a_film_that_is_gone_takes_its_frames_along(filmed, index, no_reading):
    before = frames_in(filmed / "library")
    (filmed / "films" / "trip.mp4").unlink()
    assert index().films == FilmsReport(gone=1, unchanged=1)
    assert frames_in(filmed / "library") == {"zoo.mkv": before["zoo.mkv"]}


def test_films_of_a_folder_with_nothing_left_in_it_stay(filmed, index, no_reading):
    before = frames_in(filmed / "library")
    shutil.rmtree(filmed / "films")
    (filmed / "films").mkdir()
    report = index()
    assert report.films is None or report.films.gone == 0
    assert any("empty" in notice or "mounted" in notice for notice in report.notices)
    (filmed / "films").rmdir()
    assert any(notice.startswith("none of the 3 pictures of ") for notice in index().notices)
    assert frames_in(filmed / "library") == before


def test_a_dry_run_counts_films_and_changes_nothing(filmed, index, no_reading):
    before = frames_in(filmed / "library")
    folder = filmed / "films"
    (folder / "trip.mp4").rename(folder / "moved.mp4")
    (folder / "new.mp4").write_bytes(film(shots("dam", seconds=1.0)))
    (folder / "zoo.mkv").write_bytes(film(shots("dam", seconds=1.2), container="matroska"))
    assert index(is_dry_run=True).films == FilmsReport(new=1, changed=1, moved=1)
    assert frames_in(filmed / "library") == before


def test_films_are_left_out_by_patterns(filmed, index, no_reading):
    (filmed / "films" / ".mmsearchignore").write_text("zoo.*\n")
    assert index(exclude=["*.mp4"]).films == FilmsReport(gone=2)
    assert frames_in(filmed / "library") == {}


def test_a_film_may_be_a_root(filmed, index, no_reading):
    before = frames_in(filmed / "library")
    assert index(filmed / "films" / "trip.mp4").films == FilmsReport(unchanged=1)
    assert frames_in(filmed / "library") == before


def test_a_picture_under_the_name_of_a_film_takes_its_place(filmed, index, no_reading):
    shutil.copyfile(sample_folder() / "fig.jpg", filmed / "films" / "trip.mp4")
    report = index()
    assert report.new == 1
    assert report.films == FilmsReport(gone=1, unchanged=1)
    assert frames_in(filmed / "library").keys() == {"zoo.mkv"}


def test_removing_a_film_or_its_folder_removes_all_of_it(filmed, cache):
    with Library.open(filmed / "library", cache=cache) as library:
        assert library.remove([filmed / "films" / "trip.mp4"]) == 1
        assert frames_in(filmed / "library").keys() == {"zoo.mkv"}
        assert library.remove([filmed / "films"]) == 2
        assert frames_in(filmed / "library") == {}
        assert library.status().n_images == 0


def test_only_frames_that_are_kept_are_described_by_more_than_their_vectors(filmed, index, monkeypatch):
    given = {True: [], False: []}
    give = WorkerPool._give

    def noted(pool, worker, batch):
        given[batch.is_look] += batch.paths
        give(pool, worker, batch)

    monkeypatch.setattr(WorkerPool, "_give", noted)
    (filmed / "films" / "new.mp4").write_bytes(film(shots("dam", "fig", seconds=2.5)))
    kept = index(local=True).films.n_frames
    looked_at, described = ([path for path in given[is_look] if b"new.mp4" in path] for is_look in (True, False))
    assert [time_of(path) for path in looked_at] == [0.0, 1.0, 2.0, 2.5, 3.0, 4.0]
    assert 0 < kept == len(described) < len(looked_at)
    assert sorted(map(time_of, described)) == frames_in(filmed / "library")["new.mp4"]


@pytest.mark.full
def test_a_kept_frame_that_cannot_be_described_is_named_and_all_others_stay(filmed, index, monkeypatch, cache):
    take, failed = intake.FilmIntake._take, []

    def spoiled(self, outcome):
        if outcome.path not in self._place_of and not failed:
            failed.append(time_of(outcome.path))
            outcome = Embedded(outcome.path, {"code": "quarantined", "message": "it ended its worker"}, None)
        take(self, outcome)

    (filmed / "films" / "new.mp4").write_bytes(film(shots("dam", "fig", seconds=2.5)))
    index(local=True)
    whole = frames_in(filmed / "library")["new.mp4"]
    (filmed / "films" / "new.mp4").unlink()
    index()
    (filmed / "films" / "new.mp4").write_bytes(film(shots("dam", "fig", seconds=2.5)))
    monkeypatch.setattr(intake.FilmIntake, "_take", spoiled)
    assert index(local=True).films.n_incomplete == 1
    assert frames_in(filmed / "library")["new.mp4"] == [at for at in whole if at not in failed]
    with Library.open(filmed / "library", cache=cache) as library:
        (incomplete,) = library.status().films.incomplete
    assert incomplete.problem == "1 frame of it could not be used: it ended its worker"


@pytest.mark.full
def test_a_film_that_was_read_in_part_is_moved_and_read_on(filmed, index):
    whole = frames_in(filmed / "library")
    cut_at(filmed / "library", b"trip.mp4", 2.0)
    (filmed / "films" / "trip.mp4").rename(filmed / "films" / "later.mp4")
    report = index().films
    assert (report.moved, report.unchanged, report.new) == (1, 1, 0)
    assert report.n_frames == sum(at > 2.0 for at in whole["trip.mp4"])
    assert frames_in(filmed / "library") == {"later.mp4": whole["trip.mp4"], "zoo.mkv": whole["zoo.mkv"]}
    assert index().films == FilmsReport(unchanged=2)


def test_reading_on_gives_the_times_of_a_film_that_was_read_at_once(filmed, index):
    whole = moments_in(filmed / "library", "trip.mp4")
    cut_at(filmed / "library", b"trip.mp4", 2.0)
    assert index(is_recheck=True).films.unchanged == 2
    assert moments_in(filmed / "library", "trip.mp4") == whole


def cut_at(library, name, at):
    """Let a film count as read up to a time only."""
    with Store.writer(library) as store, store.catalog.writing():
        (known,) = [film for film in store.films.known(b"/") if film.path.endswith(name)]
        db = store.catalog.db
        db.execute("DELETE FROM image WHERE film = ? AND at > ?", (known.film_id, at))
        db.execute('UPDATE image SET "end" = min("end", ?) WHERE film = ?', (at, known.film_id))
        db.execute("UPDATE film SET is_whole = 0, read_to = ? WHERE id = ?", (at, known.film_id))


@pytest.mark.full
def test_other_contents_replace_the_frames_of_a_film_and_what_cannot_be_read_leaves(filmed, index):
    folder = filmed / "films"
    (folder / "trip.mp4").write_bytes(film(shots("dam", "moose", seconds=1.0)))
    (folder / "zoo.mkv").write_bytes(b"\x1aE\xdf\xa3" + bytes(5000))
    report = index()
    assert (report.films.changed, report.films.new, report.films.unchanged) == (1, 0, 0)
    assert [bad.path for bad in report.bad] == [str(folder / "zoo.mkv")]
    times = frames_in(filmed / "library")
    assert times.keys() == {"trip.mp4"}
    assert max(times["trip.mp4"]) < 2.0
    assert index().films == FilmsReport(unchanged=1, known_bad=1)
    (folder / "zoo.mkv").unlink()
    assert index().films == FilmsReport(unchanged=1)
    with Library.open(filmed / "library") as library:
        assert library.status().bad == ()


@pytest.mark.full
def test_equal_films_of_one_run_are_read_once(filmed, index, monkeypatch):
    contents = film(shots("dam", seconds=1.0))
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (filmed / "films" / name).write_bytes(contents)
    report = index().films
    times = frames_in(filmed / "library")
    assert report.new == 3
    assert report.n_frames == len(times["a.mp4"])
    assert times["a.mp4"] == times["b.mp4"] == times["c.mp4"]


@pytest.mark.full
def test_films_make_a_library_and_their_damaged_ends_are_named(tmp_path, checkpoint, cache):
    folder = tmp_path / "films"
    folder.mkdir()
    contents = film(shots("cat", "dam", "fig", seconds=1.0), container="matroska")
    (folder / "cut.mkv").write_bytes(contents[: len(contents) * 2 // 3])
    (folder / "one.mp4").write_bytes(film([photograph("moose")]))
    with Library.open(tmp_path / "library", cache=cache) as library:
        report = library.index([folder], model=str(checkpoint), local=False)
        films = library.status().films
    assert (report.films.new, report.films.n_incomplete, report.bad) == (2, 1, ())
    assert [film.path for film in films.incomplete] == [str(folder / "cut.mkv")]
    assert "cut short" in films.incomplete[0].problem
    assert frames_in(tmp_path / "library")["one.mp4"] == [0.0]


@pytest.mark.full
def test_what_is_refused_to_be_stored_leaves_no_film_that_counts_as_read(filmed, index, monkeypatch):
    from mmsearch.errors import StorageError

    before = frames_in(filmed / "library")
    (filmed / "films" / "new.mp4").write_bytes(film(shots("dam", "fig", seconds=1.0)))
    monkeypatch.setattr(run, "COMMIT_PICTURES", 1)
    commit = Store.commit

    def refused(store, changes):
        if changes.stored:
            raise StorageError("the disk is full")
        commit(store, changes)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "commit", refused)
        with pytest.raises(StorageError, match="the disk is full"):
            index()
    assert frames_in(filmed / "library") == before


def test_films_are_counted_and_kept_where_nothing_can_read_them(filmed, index, monkeypatch):
    for module in (kinds, plan_films):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name == "av" else find_spec(name))
    before = frames_in(filmed / "library")
    (filmed / "films" / "trip.mp4").unlink()
    (filmed / "films" / "new.mp4").write_bytes(film(shots("panda")))
    report = index()
    assert "2 films not read: pip install 'mmsearch[media]'" in report.notices
    assert (report.films, report.bad) == (None, ())
    assert frames_in(filmed / "library") == before  # whether they are gone is told by who can read them


def test_a_film_that_changes_while_it_is_read_is_read_by_the_next_run(filmed, index, monkeypatch):
    path = filmed / "films" / "long.mp4"
    path.write_bytes(film(shots("panda", "drum", "rocket", seconds=1.5)))

    class Disturbed(intake.FilmReader):
        def next(self):
            frames = super().next()
            path.write_bytes(film(shots("fig", "moose", seconds=1.0)))
            return frames

    with monkeypatch.context() as patched:
        patched.setattr(intake, "FilmReader", Disturbed)
        report = index()
    assert [(bad.code, bad.path) for bad in report.bad] == [("changed", str(path))]
    assert index().bad == ()
    times = frames_in(filmed / "library")["long.mp4"]
    assert {0.0, 1.0} <= set(times)
    assert max(times) < 2.0  # nothing is left of what it was
