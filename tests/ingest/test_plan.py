"""What a run of `index` does with files that moved, changed in place, went away or were rejected by chance."""

from __future__ import annotations

import os
import shutil

import pytest

from mmsearch import Library, Query
from mmsearch.errors import LibraryNotFoundError
from mmsearch.images import file_digest
from mmsearch.ingest.plan import ScanOptions, make_plan
from mmsearch.ingest.pool import Embedded
from mmsearch.ingest.run import execute
from mmsearch.records import FileLook
from mmsearch.store.changes import MAX_RUNS, Changes, RejectedFile
from mmsearch.store.folder import Store
from tests import pictures
from tests.faults.test_model import InProcess


def counts(report):
    return {name: n for name in ("new", "changed", "moved", "gone", "unchanged") if (n := getattr(report, name))}


def changed_in_place(path):
    """Change a byte of the pixels and keep size and time of modification, as some programs do."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-100:-50] = bytes(50)
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


# -- moves -----------------------------------------------------------------------------------------------


def test_pictures_of_a_folder_that_was_renamed_are_moved_and_found_once(indexed, photos, tmp_path):
    photos.rename(tmp_path / "elsewhere")
    report = indexed.index([tmp_path / "elsewhere"])
    assert (counts(report), report.notices) == ({"moved": 8}, ())
    hits = indexed.search("a cat", k=20).hits
    assert len(hits) == 8
    assert {os.path.dirname(hit.path) for hit in hits} == {
        str(tmp_path / "elsewhere"), str(tmp_path / "elsewhere" / "trip")
    }  # fmt: skip


def test_file_moved_from_one_indexed_folder_to_another_is_a_move_whichever_is_indexed(indexed, photos, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.move(photos / "cat.jpg", other / "tabby.jpg")
    assert counts(indexed.index([other])) == {"moved": 1}
    assert counts(indexed.index([photos])) == {"unchanged": 7}
    assert indexed.status().n_images == 8


def test_copy_in_another_folder_is_new_and_needs_no_vector(indexed, photos, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(photos, other)
    assert counts(indexed.index([other])) == {"new": 8}
    status = indexed.status()
    assert (status.n_images, status.n_vectors) == (16, 8)


def test_two_copies_of_a_file_that_went_are_one_move_and_one_new_picture(indexed, photos, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("one.jpg", "two.jpg"):
        shutil.copyfile(photos / "cat.jpg", other / name)
    (photos / "cat.jpg").unlink()
    assert counts(indexed.index([other])) == {"new": 1, "moved": 1}


# -- folders that are not there --------------------------------------------------------------------------


def test_folder_without_any_of_its_pictures_keeps_them_and_says_what_to_do(indexed, photos):
    for path in photos.rglob("*.jpg"):
        path.unlink()
    report = indexed.index([photos])
    (notice,) = report.notices
    assert counts(report) == {}
    assert "none of the 8 pictures of" in notice
    assert f"`mmsearch rm {photos}` forgets them" in notice
    assert indexed.status().n_images == 8
    assert indexed.remove([photos]) == 8


def test_folder_that_is_not_there_is_named_with_what_to_do(indexed, photos):
    shutil.rmtree(photos)
    report = indexed.index([photos])
    assert [bad.code for bad in report.bad] == ["vanished"]
    assert f"`mmsearch rm {photos}` forgets them" in report.notices[0]
    assert len(report.notices) == 1
    assert indexed.status().bad == ()


def test_other_folders_of_the_library_that_are_not_there_are_named_once(indexed, photos, tmp_path):
    pictures.photo(40, 30, 1).save(tmp_path / "one.png")
    shutil.rmtree(photos)
    (notice,) = indexed.index([tmp_path / "one.png"]).notices
    assert f"`mmsearch rm {photos}` forgets them" in notice
    indexed.remove([photos])
    assert indexed.index([tmp_path / "one.png"]).notices == ()


def test_folder_reached_by_a_link_that_leads_nowhere_is_named(indexed, photos, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(photos)
    indexed.index([link])
    photos.rename(tmp_path / "elsewhere")
    notices = indexed.index([link]).notices
    assert any(f"`mmsearch rm {link}` forgets them" in notice for notice in notices)


def test_folder_that_was_named_itself_stays_where_one_around_it_is_left_out(indexed, photos):
    best = photos / "raw" / "best"
    best.mkdir(parents=True)
    shutil.copyfile(photos / "cat.jpg", photos / "raw" / "tabby.jpg")
    shutil.copyfile(photos / "cat.jpg", best / "tom.jpg")
    shutil.copyfile(photos / "cat.jpg", best / "tim.jpg")
    assert counts(indexed.index([photos, best], exclude=[])) == {"new": 3, "unchanged": 8}
    assert counts(indexed.index([photos], exclude=["raw/"])) == {"gone": 1, "unchanged": 8}
    (best / "tim.jpg").unlink()
    assert counts(indexed.index([photos])) == {"unchanged": 8}
    assert counts(indexed.index([photos, best])) == {"gone": 1, "unchanged": 9}


def test_folder_that_is_left_out_by_default_stays_where_it_was_named_itself(indexed, photos):
    (photos / "@eaDir").mkdir()
    pictures.photo(40, 30, 3).save(photos / "@eaDir" / "a.png")
    assert counts(indexed.index([photos / "@eaDir"])) == {"new": 1}
    assert counts(indexed.index([photos])) == {"unchanged": 8}
    assert indexed.status().n_images == 9


def test_hits_whose_files_are_gone_are_marked(indexed, photos):
    (photos / "cat.jpg").unlink()
    missing = {os.path.basename(hit.path): hit.is_missing for hit in indexed.search("x", k=20).hits}
    assert {name for name, is_missing in missing.items() if is_missing} == {"cat.jpg"}


# -- nothing is made of nothing --------------------------------------------------------------------------


def test_library_that_never_held_a_picture_takes_another_model(library, photos, tmp_path, checkpoint):
    (tmp_path / "broken.jpg").write_bytes(b"rubbish")
    assert len(library.index([tmp_path / "broken.jpg"], model="none").bad) == 1
    assert library.index([photos], model=str(checkpoint), local=False).new == 8
    assert library.status().dim == 32
    assert library.verify().problems == ()


@pytest.mark.parametrize("what", ["typo", "empty", "texts"])
def test_first_index_that_finds_no_picture_makes_no_library(library, tmp_path, checkpoint, what):
    if what != "typo":
        (tmp_path / what).mkdir()
    if what == "texts":
        (tmp_path / what / "a.txt").write_text("x")
    with pytest.raises(
        LibraryNotFoundError, match=f"no picture was found at or below .*{what}.*, so no library was made"
    ):
        library.index([tmp_path / what], model=str(checkpoint))
    assert not library.folder.exists()


def test_of_many_folders_without_a_picture_the_first_are_named(library, tmp_path, checkpoint):
    with pytest.raises(LibraryNotFoundError) as refused:
        library.index([tmp_path / f"typo-{i}" for i in range(1000)], model=str(checkpoint))
    assert "typo-4, and 995 more (" in str(refused.value)
    assert len(str(refused.value)) < 3000


def test_first_index_says_which_pictures_it_cannot_read(library, tmp_path, checkpoint):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.cr2").write_bytes(b"II*\0" + bytes(100))
    with pytest.raises(LibraryNotFoundError, match="1 RAW"):
        library.index([tmp_path / "p"], model=str(checkpoint))


def test_files_that_are_passed_over_are_counted_by_kind(indexed, photos):
    for name in ("a.cr2", "b.nef", "c.mp4"):
        (photos / name).write_bytes(bytes(100))
    (photos / "@eaDir").mkdir()
    shutil.copyfile(photos / "cat.jpg", photos / "@eaDir" / "cat.jpg")
    report = indexed.index([photos])
    assert counts(report) == {"unchanged": 8}
    (notice,) = report.notices
    assert "2 RAW" in notice
    assert "film" not in notice  # it is read
    assert "@eaDir" in notice


# -- files changed in place ------------------------------------------------------------------------------


def test_file_changed_in_place_with_its_time_kept_is_changed(indexed, photos):
    before = indexed.search(Query(images=[photos / "cat.jpg"]), k=1).hits[0].image_id
    changed_in_place(photos / "cat.jpg")
    assert counts(indexed.index([photos])) == {"changed": 1, "unchanged": 7}
    assert indexed.search(Query(images=[photos / "cat.jpg"]), k=1).hits[0].image_id != before


def test_example_changed_in_place_is_looked_at_again(indexed, photos):
    cat, moose = (photos / "cat.jpg").read_bytes(), (photos / "trip" / "moose.jpg").read_bytes()
    size, other = max(len(cat), len(moose)), photos / "other.jpg"
    other.write_bytes(cat.ljust(size, b"\0"))
    indexed.index([photos])
    status = other.stat()
    other.write_bytes(moose.ljust(size, b"\0"))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "moose" in indexed.search(Query(images=[other]), k=1).hits[0].path


def test_file_that_only_looks_different_is_unchanged_and_read_once(indexed, photos, monkeypatch):
    os.chmod(photos / "cat.jpg", 0o600)
    read = []
    monkeypatch.setattr("mmsearch.ingest.plan.file_digest", lambda path: read.append(path) or file_digest(path))
    assert counts(indexed.index([photos])) == {"unchanged": 8}
    assert counts(indexed.index([photos])) == {"unchanged": 8}
    assert read == [os.fsencode(photos / "cat.jpg")]


def test_recheck_finds_contents_that_nothing_else_tells(indexed, photos):
    look = FileLook.of((photos / "cat.jpg").stat())
    changed_in_place(photos / "cat.jpg")
    with Store.writer(indexed.folder) as store, store.catalog.writing():
        new = FileLook.of((photos / "cat.jpg").stat())
        assert new != look
        store.catalog.db.execute("UPDATE image SET ctime_ns = ? WHERE ctime_ns = ?", (new.ctime_ns, look.ctime_ns))
    assert counts(indexed.index([photos])) == {"unchanged": 8}
    assert counts(indexed.index([photos], is_recheck=True)) == {"changed": 1, "unchanged": 7}


def read_by_an_earlier_version(library, name):
    """Say of a picture that it was read in the first way, with another date."""
    with Store.writer(library.folder) as store, store.catalog.writing():
        store.catalog.db.execute(
            "UPDATE image SET reading = 1, taken = 'x' WHERE CAST(path AS TEXT) LIKE ?", (f"%/{name}",)
        )


def test_pictures_that_an_earlier_version_read_are_named_and_read_anew_by_recheck_alone(indexed, photos):
    read_by_an_earlier_version(indexed, "cat.jpg")
    before = indexed.reader().catalog.image_at(os.fsencode(photos / "cat.jpg"))
    (photos / "cat.jpg").touch()
    report = indexed.index([photos])
    assert counts(report) == {"unchanged": 8}
    (photos / "new trip").mkdir()
    (notice,) = indexed.index([photos / "cat.jpg", photos / "new trip"]).notices
    assert f"--recheck {photos / 'cat.jpg'} '{photos / 'new trip'}'` reads it anew" in notice
    assert report.notices == (
        "1 picture was read by an earlier version, without colour profiles and with other dates; "
        f"`mmsearch index --recheck {photos}` reads it anew",
    )
    assert indexed.status().n_read_before == 1
    report = indexed.index([photos], is_recheck=True)
    assert counts(report) == {"changed": 1, "unchanged": 7}
    assert report.notices[0].startswith("1 of the changed pictures is as it was, but an earlier version read it in")
    after = indexed.reader().catalog.image_at(os.fsencode(photos / "cat.jpg"))
    assert (before.taken_at, after.taken_at, after.row) == ("x", None, before.row)
    assert after.image_id > before.image_id
    assert (indexed.status().n_read_before, indexed.verify().problems) == (0, ())
    assert counts(indexed.index([photos], is_recheck=True)) == {"unchanged": 8}


def test_copy_of_a_picture_that_an_earlier_version_read_is_known_as_read_by_it_too(indexed, photos):
    read_by_an_earlier_version(indexed, "cat.jpg")
    shutil.copyfile(photos / "cat.jpg", photos / "copy.jpg")
    assert counts(indexed.index([photos])) == {"new": 1, "unchanged": 8}
    assert indexed.status().n_read_before == 2
    (notice,) = indexed.index([photos]).notices
    assert notice.startswith("2 pictures were read by an earlier version")
    assert notice.endswith("reads them anew")
    assert counts(indexed.index([photos], is_recheck=True)) == {"changed": 2, "unchanged": 7}
    assert indexed.status().n_read_before == 0


def test_recheck_reads_a_copy_anew_together_with_the_picture_that_an_earlier_version_read(indexed, photos):
    read_by_an_earlier_version(indexed, "cat.jpg")
    shutil.copyfile(photos / "cat.jpg", photos / "copy.jpg")
    assert counts(indexed.index([photos], is_recheck=True)) == {"new": 1, "changed": 1, "unchanged": 7}
    assert indexed.status().n_read_before == 0
    assert indexed.reader().catalog.image_at(os.fsencode(photos / "copy.jpg")).taken_at is None


# -- files rejected by chance ----------------------------------------------------------------------------


def rejected(library, path, code, n_tries=1):
    look = FileLook.of(path.stat())
    with Store.writer(library.folder) as store:
        store.commit(Changes(rejected=[RejectedFile(os.fsencode(path), look, code, "in a test", n_tries)]))


def to_embed(library, photos, **options):
    return [
        file.path for file in make_plan(library.reader(), [os.fsencode(photos)], ScanOptions(**options)).to_embed
    ]


@pytest.fixture
def newcomer(indexed, photos):
    """A picture that the library does not know."""
    pictures.photo(40, 30, 7).save(photos / "new.png")
    return photos / "new.png"


@pytest.mark.parametrize("code", ["permission", "vanished", "changed", "unreadable"])
def test_what_a_circumstance_caused_is_tried_at_every_run(indexed, photos, newcomer, code):
    for _ in range(MAX_RUNS + 2):
        rejected(indexed, newcomer, code)
        assert to_embed(indexed, photos) == [os.fsencode(newcomer)]


@pytest.mark.parametrize("code", ["killed", "timeout", "out_of_memory"])
def test_what_chance_may_have_caused_is_tried_at_the_next_two_runs(indexed, photos, newcomer, code):
    for n in range(1, MAX_RUNS + 1):
        rejected(indexed, newcomer, code, n)
        assert bool(to_embed(indexed, photos)) == (n < MAX_RUNS), n
    assert to_embed(indexed, photos, is_recheck=True) == [os.fsencode(newcomer)]
    os.utime(newcomer)
    assert to_embed(indexed, photos) == [os.fsencode(newcomer)]


def test_run_counts_the_tries_of_a_picture_and_says_when_it_is_tried_again(indexed, photos, newcomer):
    class Killed(InProcess):
        def run(self, paths, *, job):
            yield [Embedded(path, {"code": "killed", "message": "killed"}, None) for path in paths]

    said = []
    for _ in range(MAX_RUNS):
        with Store.writer(indexed.folder) as store:
            report = execute(store, make_plan(store, [os.fsencode(photos)]), indexed.folder, pool=Killed(None))
        said.append(report.bad[0].message)
    assert said[0] == "killed; it is tried again at the next 2 runs"
    assert said[1] == "killed; it is tried again at the next run"
    assert "left out until it changes, or until `mmsearch index --recheck`" in said[2]
    assert to_embed(indexed, photos) == []


@pytest.mark.parametrize("code", ["corrupt", "quarantined", "truncated", "not_an_image"])
def test_what_lies_in_the_bytes_is_not_tried_again_unless_asked_to(indexed, photos, newcomer, code):
    rejected(indexed, newcomer, code)
    assert to_embed(indexed, photos) == []
    assert to_embed(indexed, photos, is_recheck=True) == [os.fsencode(newcomer)]


def test_picture_killed_once_keeps_the_vector_that_it_had(indexed, photos):
    rejected(indexed, photos / "cat.jpg", "killed")
    assert indexed.status().n_images == 8


def test_changed_picture_that_is_given_up_keeps_no_vector_of_its_former_contents(indexed, photos):
    for n in range(1, MAX_RUNS + 1):
        rejected(indexed, photos / "cat.jpg", "killed", n)
        assert indexed.status().n_images == (8 if n < MAX_RUNS else 7)


def test_files_dated_beyond_what_a_catalog_can_keep_are_indexed(indexed, photos):
    pictures.photo(40, 30, 7).save(photos / "future.png")
    os.utime(photos / "future.png", (1e10, 1e10))
    assert counts(indexed.index([photos])) == {"new": 1, "unchanged": 8}
    assert counts(indexed.index([photos])) == {"unchanged": 9}


def test_files_of_the_size_of_many_known_ones_are_looked_up_once(indexed, photos, tmp_path, monkeypatch):
    size = (photos / "cat.jpg").stat().st_size
    other = tmp_path / "other"
    other.mkdir()
    for n in range(5):
        (other / f"{n}.jpg").write_bytes(bytes([n]) * size)
    asked = []
    monkeypatch.setattr("mmsearch.ingest.plan.is_gone", lambda path: asked.append(path))
    assert len(to_embed(indexed, other)) == 5
    assert asked == [os.fsencode(photos / "cat.jpg")]


def test_raised_limit_tries_large_pictures_again(indexed, photos):
    pictures.photo(1200, 1000, 3).save(photos / "large.png")
    (bad,) = indexed.index([photos], max_megapixels=1).bad
    assert bad.code == "too_large"
    assert indexed.index([photos]).known_bad == 1
    assert counts(indexed.index([photos], max_megapixels=2)) == {"new": 1, "unchanged": 8}
    with Store.writer(indexed.folder) as store:
        assert store.max_megapixels == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_file_whose_permission_was_mended_is_read(indexed, photos, newcomer):
    newcomer.chmod(0)
    assert [bad.code for bad in indexed.index([photos]).bad] == ["permission"]
    newcomer.chmod(0o644)
    assert counts(indexed.index([photos])) == {"new": 1, "unchanged": 8}


# -- what was lost ---------------------------------------------------------------------------------------


def test_forgetting_one_picture_of_a_library_without_vectors_forgets_no_other(indexed, photos):
    (indexed.folder / "vectors-0.f16").unlink()
    assert indexed.remove([photos / "cat.jpg"]) == 1
    assert indexed.status().n_images == 7
    assert "holds 0 of 8 vectors, so 7 pictures cannot be found" in indexed.status().problems[0]


def test_search_of_a_library_that_lost_vectors_answers_from_the_rest_and_says_so(indexed, photos):
    dim = indexed.status().dim
    os.truncate(indexed.folder / "vectors-0.f16", 5 * 2 * dim)
    with Library.open(indexed.folder) as library:
        result = library.search("a cat", k=20)
    assert len(result.hits) == 5
    assert "holds 5 of 8 vectors, so 3 pictures cannot be found" in result.problems[0]


def test_example_whose_vector_is_lost_is_looked_at_in_its_file(indexed, photos):
    expected = indexed.search(Query(images=[photos / "cat.jpg"]), k=8).hits[0].path
    os.truncate(indexed.folder / "vectors-0.f16", 0)
    with Library.open(indexed.folder) as library:
        result = library.search(Query(images=[photos / "cat.jpg"]), k=8)
    assert (expected, result.hits) == (str(photos / "cat.jpg"), ())


def test_index_gives_up_lost_vectors_by_number_and_embeds_them_again(indexed, photos):
    os.truncate(indexed.folder / "vectors-0.f16", 0)
    said = []
    report = indexed.index([photos], notify=said.append)
    assert (report.given_up, report.new) == (8, 8)
    assert "8 pictures are given up with their vectors" in said[-1]
    assert indexed.verify().problems == ()
