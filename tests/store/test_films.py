"""Films in a library: all that is done to the rows, the files and the paths of pictures holds for their frames."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from mmsearch import Library
from mmsearch.store.folder import Store
from tests.films import frames_in


@pytest.fixture
def opened(filmed, cache):
    with Library.open(filmed / "library", cache=cache) as library:
        yield library


def test_a_damaged_vector_of_a_frame_gives_up_all_of_its_film(filmed, opened):
    before = frames_in(filmed / "library")
    with Store.writer(filmed / "library") as store:
        (trip,) = [film for film in store.films.known(b"/") if film.path.endswith(b"trip.mp4")]
        row = store.films.frames(trip.film_id)[1].row
        with store.vectors_path(store.epoch).open("r+b") as file:
            file.seek(row * 2 * store.dim)
            file.write(np.full(store.dim, 0.1, np.float16).tobytes())
    report = opened.verify(is_repair=True)
    assert report.n_dropped == len(before["trip.mp4"])
    assert frames_in(filmed / "library") == {"zoo.mkv": before["zoo.mkv"]}
    assert opened.index([filmed / "films"], local=False, is_dry_run=True).films.new == 1


def test_a_backup_takes_films_along_to_other_folders(filmed, opened, cache, tmp_path):
    before = frames_in(filmed / "library")
    opened.backup(tmp_path / "kept.mmsearch")
    (filmed / "films").rename(filmed / "elsewhere")
    moves = {str(filmed / "films"): str(filmed / "elsewhere")}
    with Library.open(tmp_path / "restored", cache=cache) as restored:
        restored.restore(tmp_path / "kept.mmsearch", move=moves)
        assert frames_in(tmp_path / "restored") == before
        report = restored.index([filmed / "elsewhere"], local=False)
    assert (report.films.unchanged, report.films.new, report.films.gone) == (2, 0, 0)


def test_a_backup_without_vectors_leaves_films_to_the_next_index(filmed, opened, cache, tmp_path):
    assert opened.tag(filmed / "films" / "trip.mp4", "holiday") == [str(filmed / "films" / "trip.mp4")]
    report = opened.backup(tmp_path / "small.mmsearch", vectors=False)
    assert report.notices[0].startswith("1 picture and 2 films are left out with their vectors")
    with Library.open(tmp_path / "restored", cache=cache) as restored:
        assert restored.restore(tmp_path / "small.mmsearch").n_typed == report.n_typed == 1
        assert frames_in(tmp_path / "restored") == {}
        assert restored.index([filmed / "films"], is_dry_run=True).films.new == 2


def test_shards_leave_films_out_and_say_so(filmed, opened, tmp_path):
    report = opened.export(tmp_path / "shards")
    assert report.new == 1
    assert report.notices == ("2 films are left out: shards have pictures alone",)


def test_frames_are_no_duplicates_of_each_other_nor_of_pictures(filmed, opened):
    shutil.copyfile(filmed / "films" / "trip.mp4", filmed / "films" / "copy.mp4")
    opened.index([filmed / "films"], local=False)
    report = opened.duplicates()
    assert (report.groups, report.n_pictures, report.n_missing) == ((), 1, 0)


def test_status_names_rejected_films(filmed, opened):
    (filmed / "films" / "bad.mp4").write_bytes(b"no film at all" * 100)
    report = opened.index([filmed / "films"], local=False)
    assert [bad.path for bad in report.bad] == [str(filmed / "films" / "bad.mp4")]
    status = opened.status()
    assert [bad.path for bad in status.bad] == [str(filmed / "films" / "bad.mp4")]
    assert status.films is not None
    assert status.films.n_films == 2
    assert status.n_images == 1


def test_a_picture_of_the_size_of_a_film_is_no_copy_of_it(filmed, opened):
    path = filmed / "films" / "trip.jpg"
    path.write_bytes((filmed / "films" / "trip.mp4").read_bytes())
    report = opened.index([filmed / "films"], local=False)
    assert [bad.path for bad in report.bad] == [str(path)]


def test_a_tag_of_one_moment_is_of_the_film_and_lists_it_once(filmed, opened):
    frames = [image.image_id for image in Store.open(filmed / "library").films.frames(1)]
    opened.retag([frames[-1]], add=["late"])
    page = opened.pictures(["tag = late"])
    assert (page.n, [image.image_id for image in page.pictures]) == (1, frames[:1])
    assert opened.caption(page.pictures[0].path, "a journey") is None
    assert all("a journey" in {said.text for said in opened.annotations_of(frame)} for frame in frames)
    report = opened.export_sidecars(filmed / "sidecars")
    assert report.n_written == 1


@pytest.mark.parametrize("order", ["path", "added", "taken"])
def test_films_are_listed_once_by_the_first_frame_that_passes_on_pages_that_end(opened, order):
    where = ["at >= 1"]
    listed, after = [], None
    while (page := opened.pictures(where, order=order, after=after, limit=1)).pictures:
        listed += page.pictures
        after = page.next
        if after is None:
            break
    assert len(listed) == page.n == 2
    assert sorted((image.moment.film_id, image.moment.at) for image in listed) == [(1, 1.5), (2, 1.0)]
    assert len(opened) == opened.pictures().n == 3


def test_the_formats_of_films_can_be_asked_for(opened):
    formats = {facet.label for facet in opened.facets().formats}
    assert formats == {"MP4", "MATROSKA", "PNG"}
    assert [opened.pictures([f"format = {word}"]).n for word in ("mp4", "mkv", "MATROSKA", ".png")] == [1, 1, 1, 1]


@pytest.mark.full
def test_frames_get_the_vectors_of_another_encoder(filmed, opened, other_checkpoint):
    before = frames_in(filmed / "library")
    vectors = opened.vectors().matrix
    opened.index([], model=str(other_checkpoint), re_embed=True)
    assert frames_in(filmed / "library") == before
    assert not np.allclose(opened.vectors().matrix, vectors, atol=0.01)
