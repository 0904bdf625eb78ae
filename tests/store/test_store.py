from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import numpy as np
import pytest

from mmsearch.errors import (
    DimensionError,
    LibraryDamagedError,
    LibraryLockedError,
    LibraryLostError,
    LibraryNotFoundError,
    LibraryVersionError,
    VectorError,
)
from mmsearch.records import READING, FileLook
from mmsearch.store.catalog import Catalog
from mmsearch.store.changes import UNSEEN, Changes, RejectedFile, StoredFile
from mmsearch.store.folder import Store
from mmsearch.store.verify import damaged_rows, verify
from tests.conftest import random_units

DIM = 8
META = {"dim": DIM, "fingerprint": "f" * 64, "model": "test"}


def file(i, vector=None, **options):
    path = options.pop("path", b"/photos/%d.jpg" % i)
    return StoredFile(
        path, FileLook(100 + i, i, i), b"%032d" % i, 640, 480, "JPEG", None, READING, vector=vector, **options
    )


def filled(folder, n=10, seed=0):
    """A store of n pictures with random vectors."""
    vectors = random_units(n, DIM, seed)
    with Store.writer(folder, create=META) as store:
        store.commit(Changes(stored=[file(i, vector) for i, vector in enumerate(vectors)]))
    return vectors


def flip(path, offset):
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("n", [0, 1, 10])
def test_committed_vectors_come_back_as_float16(tmp_path, n):
    vectors = filled(tmp_path, n)
    store = Store.open(tmp_path)
    np.testing.assert_array_equal(store.matrix()[:], vectors.astype(np.float16))
    assert [image.path for image in store.catalog.images()] == [f"/photos/{i}.jpg" for i in range(n)]


class Interrupted:
    """A connection that Ctrl-C reaches just after the first commit, or just before it."""

    def __init__(self, connection, when):
        self.connection, self.when = connection, when

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def execute(self, sql, *parameters):
        if sql == "COMMIT" and self.when == "before":
            self.when = "over"
            raise KeyboardInterrupt
        answer = self.connection.execute(sql, *parameters)
        if sql == "COMMIT" and self.when == "after":
            self.when = "over"
            raise KeyboardInterrupt
        return answer


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_writer_that_is_interrupted_at_a_commit_goes_on_with_the_next(tmp_path, when):
    changes = Changes(stored=[file(i, vector) for i, vector in enumerate(random_units(3, DIM, 0))])
    with Store.writer(tmp_path, create=META) as store:
        store.catalog.db = Interrupted(store.catalog.db, when)
        with pytest.raises(KeyboardInterrupt):
            store.commit(changes)
        store.commit(changes)
        assert (store.n_pictures, store.n_rows) == (3, 3)
    assert verify(Store.open(tmp_path)).problems == ()


def test_every_row_is_lost_with_the_vector_file(tmp_path):
    filled(tmp_path, 3)
    (tmp_path / "vectors-0.f16").unlink()
    assert Store.open(tmp_path).lost_rows() == range(3)
    (tmp_path / "vectors-0.f16").mkdir()
    assert Store.open(tmp_path).lost_rows() == range(3)


def test_missing_library_is_said_so(tmp_path):
    with pytest.raises(LibraryNotFoundError, match="no library found; `mmsearch index FOLDER` makes one"):
        Store.open(tmp_path / "nothing")


def test_second_writer_is_refused_at_once_and_readers_go_on(tmp_path):
    filled(tmp_path)
    program = (
        "import sys; from pathlib import Path; from mmsearch.store.folder import Store\n"
        "with Store.writer(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"in\n"
        with pytest.raises(LibraryLockedError, match=f"process {other.pid}"), Store.writer(tmp_path):
            pass
        assert Store.open(tmp_path).n_rows == 10
        other.stdin.close()
        other.wait()
    with Store.writer(tmp_path) as store:
        assert store.n_rows == 10


def test_equal_vectors_share_a_row(tmp_path):
    vector = random_units(1, DIM)[0]
    with Store.writer(tmp_path, create=META) as store:
        store.commit(Changes(stored=[file(0, vector), file(1, vector)]))
        store.commit(Changes(stored=[file(2, vector)]))
        assert store.n_rows == 1
        assert len(store.catalog.images_of_rows([0])) == 3


def test_row_dies_with_its_last_picture_and_comes_back_with_a_new_one(tmp_path):
    vectors = filled(tmp_path, 3)
    with Store.writer(tmp_path) as store:
        ids = [image.image_id for image in store.catalog.images()]
        store.remove_images(ids[:1])
        assert store.catalog.dead_rows() == [0]
        store.commit(Changes(stored=[file(9, vectors[0])]))
        assert store.catalog.dead_rows() == []
        assert store.n_rows == 3


def test_replaced_picture_leaves_its_old_row_dead(tmp_path):
    filled(tmp_path, 3)
    with Store.writer(tmp_path) as store:
        store.commit(Changes(stored=[file(0, random_units(1, DIM, seed=9)[0])]))
        assert store.catalog.dead_rows() == [0]
        assert store.catalog.image_at(b"/photos/0.jpg").row == 3


def test_vector_without_direction_is_refused_and_nothing_is_stored(tmp_path):
    filled(tmp_path, 3)
    bad = np.full(DIM, np.nan, dtype=np.float32)
    with Store.writer(tmp_path) as store:
        with pytest.raises(VectorError, match="zero or not finite"):
            store.commit(Changes(stored=[file(7, random_units(1, DIM)[0]), file(8, bad)]))
        assert store.catalog.count("image") == 3


def test_vector_of_another_width_is_refused(tmp_path):
    filled(tmp_path, 3)
    with (
        Store.writer(tmp_path) as store,
        pytest.raises(DimensionError, match="have 5 dimensions, the library has 8"),
    ):
        store.commit(Changes(stored=[file(7, random_units(1, 5)[0])]))


def test_compaction_keeps_every_live_vector_under_its_picture(tmp_path):
    vectors = filled(tmp_path, 10)
    with Store.writer(tmp_path) as store:
        ids = {image.path: image.image_id for image in store.catalog.images()}
        store.remove_images([ids[f"/photos/{i}.jpg"] for i in (0, 3, 9)])
        store.compact()
        assert (store.epoch, store.n_rows, store.catalog.dead_rows()) == (1, 7, [])
    reader = Store.open(tmp_path)
    for i in (1, 2, 4, 5, 6, 7, 8):
        image = reader.catalog.image_at(b"/photos/%d.jpg" % i)
        np.testing.assert_array_equal(reader.checked_rows([image.row])[0], vectors[i].astype(np.float16))
    assert sorted(path.name for path in tmp_path.glob("vectors-*")) == ["vectors-1.f16"]


def test_tail_of_a_killed_commit_is_cut_off_by_the_next_writer(tmp_path):
    filled(tmp_path, 4)
    path = tmp_path / "vectors-0.f16"
    with path.open("ab") as handle:
        handle.write(b"\x7f" * 37)
    assert Store.open(tmp_path).matrix().shape == (4, DIM)
    with Store.writer(tmp_path):
        assert path.stat().st_size == 4 * DIM * 2


def test_missing_vectors_are_named_and_only_given_up_when_asked_to(tmp_path):
    filled(tmp_path, 4)
    os.truncate(tmp_path / "vectors-0.f16", 2 * DIM * 2 + 5)
    reader = Store.open(tmp_path)
    assert reader.matrix().shape == (2, DIM)
    (problem,) = reader.problems()
    assert "holds 2 of 4 vectors, so 2 pictures cannot be found" in problem
    with Store.writer(tmp_path) as store:
        store.remove_images([1])
        assert store.catalog.count("image") == 3
    with Store.writer(tmp_path) as store:
        assert store.give_up_lost_rows() == 2
        assert store.catalog.count("image") == 1
        assert store.matrix().shape == (4, DIM)
        store.commit(Changes(stored=[file(9, random_units(1, DIM, seed=9)[0])]))
    assert verify(Store.open(tmp_path)).problems == ()


def test_loss_of_vectors_that_no_picture_uses_costs_no_picture(tmp_path):
    filled(tmp_path, 4)
    with Store.writer(tmp_path) as store:
        store.remove_images([4])
    os.truncate(tmp_path / "vectors-0.f16", 3 * DIM * 2)
    assert Store.open(tmp_path).problems() == []
    assert "the vector file holds 3 of 4 vectors" in verify(Store.open(tmp_path)).problems
    with Store.writer(tmp_path) as store:
        assert store.give_up_lost_rows() == 0
    assert verify(Store.open(tmp_path)).problems == ()


def test_damaged_row_that_no_picture_uses_is_noticed_and_never_used_again(tmp_path):
    vectors = filled(tmp_path, 4)
    with Store.writer(tmp_path) as store:
        store.remove_images([3])
    flip(tmp_path / "vectors-0.f16", 2 * DIM * 2 + 3)
    (problem,) = verify(Store.open(tmp_path)).problems
    assert problem == "1 vectors that no picture uses any more differ from their checksums"
    with Store.writer(tmp_path) as store:
        store.commit(Changes(stored=[file(9, vectors[2])]))
        assert store.catalog.image_at(b"/photos/9.jpg").row == 4
    assert verify(Store.open(tmp_path)).problems == ()


def test_vectors_beyond_those_of_the_catalog_are_noticed_unless_a_writer_is_at_work(tmp_path):
    filled(tmp_path, 4)
    with (tmp_path / "vectors-0.f16").open("ab") as tail:
        tail.write(random_units(3, DIM).astype("<f2").tobytes())
    (problem,) = verify(Store.open(tmp_path)).problems
    assert "the vector file holds 3 vectors more than the catalog lists" in problem
    with Store.writer(tmp_path) as store:
        with (tmp_path / "vectors-0.f16").open("ab") as tail:
            tail.write(b"a batch in flight, longer than one row is")
        assert verify(Store.open(tmp_path)).problems == ()
        store.commit(Changes(stored=[file(9, random_units(1, DIM, seed=9)[0])]))
    assert verify(Store.open(tmp_path)).problems == ()


def test_changed_byte_of_a_vector_is_found(tmp_path):
    filled(tmp_path, 4)
    flip(tmp_path / "vectors-0.f16", 2 * DIM * 2 + 3)
    store = Store.open(tmp_path)
    assert damaged_rows(store) == [2]
    with pytest.raises(LibraryDamagedError, match="row 2 differs from its checksum"):
        store.checked_rows([1, 2])


@pytest.mark.parametrize("n_damaged", [5, 6])
def test_repair_names_five_damaged_pictures_counts_the_others_and_gives_up_those_and_the_lost(
    tmp_path, n_damaged, monkeypatch
):
    monkeypatch.setattr("mmsearch.store.verify._BLOCK", 3)
    filled(tmp_path, 9)
    for row in range(n_damaged):
        flip(tmp_path / "vectors-0.f16", 2 * DIM * row + 3)
    os.truncate(tmp_path / "vectors-0.f16", 2 * DIM * 8)
    with Store.writer(tmp_path) as store:
        report = verify(store, is_repair=True)
        assert report.n_dropped == n_damaged + 1
        assert store.n_pictures == 8 - n_damaged
        assert verify(store).problems == ()
    named = [problem for problem in report.problems if "it belongs to" in problem]
    assert named == [
        f"vector {row} differs from its checksum; it belongs to '/photos/{row}.jpg'" for row in range(5)
    ]
    others = [problem for problem in report.problems if "more vectors" in problem]
    assert others == ["1 more vectors differ from their checksums"] * (n_damaged - 5)


def test_a_damaged_vector_of_many_pictures_is_a_fault_of_each_that_names_a_few(tmp_path):
    filled(tmp_path, 1)
    with Store.writer(tmp_path) as store:
        store.commit(Changes(stored=[file(i, row=0) for i in range(1, 7)]))
    flip(tmp_path / "vectors-0.f16", 0)
    faults = verify(Store.open(tmp_path)).faults
    assert [fault.path for fault in faults] == [f"/photos/{i}.jpg" for i in range(7)]
    assert {fault.what.partition("'/photos/3.jpg', ")[2] for fault in faults} == {"'/photos/4.jpg' and 2 more"}


def test_library_of_a_newer_format_is_refused(tmp_path):
    filled(tmp_path)
    catalog = Catalog.open(tmp_path / "catalog.sqlite", write=True)
    with catalog.writing():
        catalog.set_meta({"schema": 99})
    catalog.close()
    with pytest.raises(LibraryVersionError, match="library format 99, this mmsearch knows formats 1 to 7"):
        Store.open(tmp_path)


def test_file_that_is_no_catalog_is_refused(tmp_path):
    (tmp_path / "catalog.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(LibraryDamagedError, match="the catalog is damaged"):
        Store.open(tmp_path)


def test_transient_problem_keeps_the_stored_picture(tmp_path):
    filled(tmp_path, 2)
    with Store.writer(tmp_path) as store:
        store.commit(Changes(rejected=[RejectedFile(b"/photos/0.jpg", UNSEEN, "permission", "no")]))
        assert store.catalog.image_at(b"/photos/0.jpg") is not None
        store.commit(Changes(rejected=[RejectedFile(b"/photos/1.jpg", UNSEEN, "corrupt", "no")]))
        assert store.catalog.image_at(b"/photos/1.jpg") is None


def test_path_that_is_not_utf8_survives(tmp_path):
    with Store.writer(tmp_path, create=META) as store:
        store.commit(Changes(stored=[file(0, random_units(1, DIM)[0], path=b"/photos/\xff\xfe.jpg")]))
    (image,) = Store.open(tmp_path).catalog.images()
    assert os.fsencode(image.path) == b"/photos/\xff\xfe.jpg"


def test_library_folder_is_private(tmp_path):
    filled(tmp_path / "library")
    assert (tmp_path / "library").stat().st_mode & 0o777 == 0o700


def test_reader_whose_vectors_a_writer_has_replaced_starts_again_on_the_new_state(tmp_path):
    filled(tmp_path, 10)
    store = Store.open(tmp_path)
    reads = []

    def read():
        reads.append(store.catalog.count("image"))  # from here on this state is held
        if len(reads) == 1:
            with Store.writer(tmp_path) as writer:
                writer.remove_images([1])
                writer.compact()
        return len(store.matrix())

    assert store.consistently(read) == 9
    assert reads == [10, 9]


def halve(path):
    os.truncate(path, path.stat().st_size // 2)


def test_reader_whose_vectors_are_cut_meanwhile_answers_from_the_rows_that_are_left(tmp_path):
    filled(tmp_path, 2000)
    store, n_found = Store.open(tmp_path), []

    def read():
        matrix = store.matrix()
        n_found.append(len(matrix))
        if len(n_found) == 1:
            halve(tmp_path / "vectors-0.f16")
        return len(matrix[:])

    assert store.consistently(read) == 1000
    assert n_found == [2000, 1000]


def test_vectors_that_somebody_cuts_and_restores_without_end_are_read_twice_and_named(tmp_path):
    filled(tmp_path, 2000)
    path, reads = tmp_path / "vectors-0.f16", []
    whole, store = path.read_bytes(), Store.open(tmp_path)

    def read():
        reads.append(len(store.matrix()[:]))
        os.truncate(path, 0)
        path.write_bytes(whole)
        return reads

    with pytest.raises(
        LibraryDamagedError, match=r"vectors-0.f16 is being written to by something else than mmsearch"
    ):
        store.consistently(read)
    assert reads == [2000, 2000]


def test_vectors_that_a_writer_appends_to_meanwhile_are_read_once(tmp_path):
    filled(tmp_path, 10)
    store, reads = Store.open(tmp_path), []

    def read():
        reads.append(len(store.matrix()))
        with Store.writer(tmp_path) as writer:
            writer.commit(Changes(stored=[file(50, random_units(1, DIM, seed=5)[0])]))
        return len(store.matrix()[:])

    assert store.consistently(read) == 10
    assert reads == [10]


def test_vectors_cut_under_a_writer_are_not_compacted(tmp_path):
    filled(tmp_path, 2000)
    with Store.writer(tmp_path) as store:
        store.remove_images(range(1, 1500))
        store.matrix()
        halve(tmp_path / "vectors-0.f16")
        with pytest.raises(LibraryLostError, match="was cut or removed while this run was writing to it"):
            store.compact()
    assert Store.open(tmp_path).epoch == 0


def test_text_of_the_catalog_that_is_damaged_is_a_sentence(tmp_path):
    filled(tmp_path, 2)
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as db, db:
        db.execute("UPDATE image SET format = CAST(x'ff' AS TEXT)")
    with (
        pytest.raises(LibraryDamagedError, match="the catalog cannot be read"),
        Store.open(tmp_path).catalog.reading(),
    ):
        list(Store.open(tmp_path).catalog.images())


def test_writer_gets_a_lock_that_somebody_only_looks_at(tmp_path):
    filled(tmp_path, 2)
    handle = os.open(tmp_path / "lock", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    threading.Timer(0.03, os.close, [handle]).start()
    with Store.writer(tmp_path) as store:
        assert store.n_rows == 2
