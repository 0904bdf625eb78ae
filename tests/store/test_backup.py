"""A library in one file and back: the same answers, one moment of it, and nothing of a file that is not ours."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import struct
import threading
import zipfile
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mmsearch import Library, Query
from mmsearch.annotations import Kind
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.whole import copy_encoder
from mmsearch.errors import (
    BackupError,
    LibraryDamagedError,
    LibraryVersionError,
    OutputError,
    QueryError,
    StorageError,
    UnsupportedError,
)
from mmsearch.store import backup as backup_module
from mmsearch.store.backup import write_backup
from mmsearch.store.changes import UNSEEN, Changes, RejectedFile
from mmsearch.store.folder import Store
from mmsearch.store.folder_place import FolderPlace
from mmsearch.store.migrations import SCHEMA
from mmsearch.store.moves import Moves
from mmsearch.store.place import is_library
from mmsearch.store.restore import restore
from mmsearch.store.verify import verify
from tests.conftest import CALIBRATION, random_units
from tests.store.test_store import DIM, file, filled, flip

GOLDEN = Path(__file__).parents[1] / "golden"


def quiet(*_):
    """Show no progress."""


def backed_up(library, target, *, with_vectors=True):
    """Write a backup of a library that has no encoder."""
    target.parent.mkdir(exist_ok=True)
    with closing(Store.open(library)) as store:
        return write_backup(store, target, with_vectors=with_vectors, on_progress=quiet)


def restored(backup, library, moves=None):
    return restore(FolderPlace(library), backup, Moves.of(moves or {}), on_progress=quiet)


def contents(library):
    """All rows of a catalog but those of the history and its settings, and all vectors."""
    with closing(Store.open(library)) as store:
        tables = ("image", "bad", "root", "label_set", "label", "given", "typed", "annotation", "item")
        rows = {table: sorted(store.catalog.db.execute(f"SELECT * FROM {table}"), key=repr) for table in tables}
        vectors = [store.vectors_of([image]).tobytes() for image in store.catalog.images()]
        return rows, vectors


def type_words(library, path, *words):
    with Store.writer(library) as store:
        store.annotations.type([store.image_at(path).image_id], Kind.TAG, words)


def typed(library):
    with closing(Store.open(library)) as store:
        return store.catalog.db.execute("SELECT image, path, text FROM typed ORDER BY text").fetchall()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A backup of ten pictures, two of them gone, with a rejected file, a folder and a tag; and its library."""
    folder = tmp_path_factory.mktemp("kept")
    filled(folder / "library")
    type_words(folder / "library", b"/photos/3.jpg", "ours")
    with Store.writer(folder / "library") as store:
        rejected = RejectedFile(b"/photos/bad.jpg", UNSEEN, "broken", "it is broken")
        store.commit(Changes(gone=[1, 2], rejected=[rejected], roots=[b"/photos"]))
    backed_up(folder / "library", folder / "ours.backup")
    return folder


@pytest.mark.parametrize("old", sorted(GOLDEN.glob("library-v*")), ids=lambda path: path.name)
def test_a_library_of_every_schema_comes_back_with_the_same_answers_bit_for_bit(old, tmp_path):
    library, back = Path(shutil.copytree(old, tmp_path / "library")), tmp_path / "back"
    with Library.open(library, use_graph=False) as before, Library.open(back, use_graph=False) as after:
        report = before.backup(tmp_path / "a.backup")
        assert (report.n_pictures, report.has_encoder, report.notices) == (len(before), True, ())
        assert after.restore(tmp_path / "a.backup").notices == ()
        assert after.verify().problems == ()
        for image in before:
            there, here = (opened.search(Query(images=[image.image_id]), k=9).hits for opened in (before, after))
            assert here == there
    with Store.writer(library):
        pass  # which migrates it
    assert contents(back) == contents(library)


def test_settings_history_and_identity_come_along_and_neither_caches_nor_secrets(kept, tmp_path):
    library = Path(shutil.copytree(kept / "library", tmp_path / "library"))
    for name in ("serve-token", "queries.sqlite", "thumbnails.sqlite", "manifest.json", "progress"):
        (library / name).write_bytes(b"secret")
    backed_up(library, tmp_path / "files" / "a.backup")
    with zipfile.ZipFile(tmp_path / "files" / "a.backup") as archive:
        assert archive.namelist() == ["catalog.sqlite", "vectors.f16", "backup.json"]
    report = restored(tmp_path / "files" / "a.backup", tmp_path / "back")
    assert (report.n_pictures, report.n_vectors, report.n_typed, report.roots) == (8, 8, 1, ("/photos",))
    assert sorted(os.listdir(tmp_path / "back")) == ["catalog.sqlite", "history.json", "lock", "vectors-0.f16"]
    assert contents(tmp_path / "back") == contents(kept / "library")
    with closing(Store.open(tmp_path / "back")) as back, closing(Store.open(kept / "library")) as store:
        assert [back.setting(name) for name in ("library", "model")] == [
            store.setting(name) for name in ("library", "model")
        ]
        assert back.catalog.is_in_history(store.catalog.moment())
        assert verify(back).problems == ()


def test_a_backup_and_what_comes_of_it_are_for_the_user_alone(kept, tmp_path):
    umask = os.umask(0)
    try:
        with Library.open(kept / "library") as library:
            library.backup(tmp_path / "mine.backup")
        restored(tmp_path / "mine.backup", tmp_path / "back")
    finally:
        os.umask(umask)
    for path in (tmp_path / "mine.backup", tmp_path / "back", *(tmp_path / "back").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_file_that_is_there_is_replaced_only_when_that_is_insisted_on(kept, tmp_path):
    target = tmp_path / "mine.backup"
    shutil.copyfile(kept / "ours.backup", target)
    target.chmod(0o644)
    with Library.open(kept / "library") as library:
        with pytest.raises(OutputError, match=r"mine\.backup is there; choose another name, or replace it with"):
            library.backup(target)
        library.backup(target, is_forced=True)
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        target.write_bytes(b"mine")
        with pytest.raises(OutputError, match="is there and is not a backup of mmsearch"):
            library.backup(target)
    assert (os.listdir(tmp_path), target.read_bytes()) == (["mine.backup"], b"mine")


def test_without_vectors_pictures_wait_for_the_next_index_and_what_was_typed_waits_for_them(kept, tmp_path):
    report = backed_up(kept / "library", tmp_path / "small" / "a.backup", with_vectors=False)
    assert (report.n_pictures, report.n_vectors, report.n_typed) == (0, 0, 1)
    assert "8 pictures are left out with their vectors" in report.notices[-1]
    restored(tmp_path / "small" / "a.backup", tmp_path / "back")
    assert typed(tmp_path / "back") == [(None, b"/photos/3.jpg", "ours")]
    elsewhere = file(3, random_units(1, DIM)[0], path=b"/elsewhere/3.jpg")  # the same contents
    with Store.writer(tmp_path / "back") as store:
        assert (store.n_pictures, store.n_rows, store.epoch, store.roots()) == (0, 0, 1, [b"/photos"])
        assert verify(store).problems == ()
        store.commit(Changes(stored=[elsewhere]))
        (image,) = store.catalog.images()
        assert store.annotations.matches("ours").image_ids.tolist() == [image.image_id]
    assert typed(tmp_path / "back") == [(image.image_id, b"/elsewhere/3.jpg", "ours")]


def test_vectors_that_nothing_makes_again_are_not_left_out(tmp_path):
    with Library.open(tmp_path / "library") as library:
        library.add_vectors(["/a.jpg"], [[1, 0]], model="mine")
        with pytest.raises(QueryError, match="made by no encoder of mmsearch: no `index` makes them again"):
            library.backup(tmp_path / "a.backup", vectors=False)
    assert os.listdir(tmp_path) == ["library"]


def test_a_library_without_an_encoder_keeps_its_pictures_either_way(tmp_path):
    with Store.writer(tmp_path / "library", create={"dim": 0, "fingerprint": "none", "model": "none"}) as store:
        store.commit(Changes(stored=[file(1)]))
    for with_vectors in (True, False):
        target = tmp_path / f"{with_vectors}" / "a.backup"
        assert backed_up(tmp_path / "library", target, with_vectors=with_vectors).n_pictures == 1
        assert restored(target, tmp_path / f"back-{with_vectors}").n_pictures == 1


def test_backups_are_whole_while_a_writer_commits_and_compacts(tmp_path):
    library = tmp_path / "library"
    filled(library, 20)
    is_over, has_compacted = threading.Event(), threading.Event()

    def write():
        with Store.writer(library) as store:
            while not is_over.is_set():
                first = store.catalog.last_id()
                vectors = random_units(40, DIM, seed=first)
                store.commit(Changes(stored=[file(first + i, vector) for i, vector in enumerate(vectors)]))
                store.remove_images([image.image_id for image in store.catalog.images()][:40])
                store.compact()
                has_compacted.set()

    writer = threading.Thread(target=write)
    writer.start()
    epochs = set()
    try:
        for i in range(6):
            has_compacted.clear()
            assert has_compacted.wait(60)
            backed_up(library, tmp_path / f"{i}" / "a.backup")
    finally:
        is_over.set()
        writer.join()
    for i in range(6):
        restored(tmp_path / f"{i}" / "a.backup", tmp_path / f"back-{i}")
        with closing(Store.open(tmp_path / f"back-{i}")) as store:
            assert verify(store).problems == ()
            assert store.n_pictures in (20, 60)
            epochs.add(store.epoch)
    assert len(epochs) == 6  # it compacted before each


def test_damage_is_named_and_no_file_is_left(tmp_path):
    library = tmp_path / "library"
    filled(library)
    flip(library / "vectors-0.f16", 2 * DIM * 4)
    with Library.open(library) as opened:
        with pytest.raises(
            LibraryDamagedError, match=r"vector 4 differs from its checksum; .* without the vectors"
        ):
            opened.backup(tmp_path / "a.backup")
        os.truncate(library / "vectors-0.f16", 2 * DIM)
        with pytest.raises(LibraryDamagedError, match="1 vectors found, the catalog lists 10"):
            opened.backup(tmp_path / "a.backup")
        assert os.listdir(tmp_path) == ["library"]
        assert opened.backup(tmp_path / "a.backup", vectors=False).n_pictures == 0


def test_where_there_is_a_library_nothing_is_restored(kept, tmp_path):
    filled(tmp_path / "library", 3, seed=1)
    before = contents(tmp_path / "library")
    with pytest.raises(QueryError, match="holds a library, which a restore does not replace; choose another"):
        restored(kept / "ours.backup", tmp_path / "library")
    assert contents(tmp_path / "library") == before


def test_a_library_whose_catalog_was_lost_is_restored_in_its_place(kept, tmp_path):
    library = Path(shutil.copytree(kept / "library", tmp_path / "library"))
    with Store.writer(library) as store:
        store.publish("graph", "hnsw-1", lambda path: path.write_bytes(b"of before"), {})
        store.commit(Changes(stored=[file(99, random_units(1, DIM, seed=9)[0])]))
        log = (library / "catalog.sqlite-wal").read_bytes()
    for path in library.glob("catalog.sqlite*"):
        path.unlink()
    (library / "catalog.sqlite-wal").write_bytes(log)
    restored(kept / "ours.backup", library)
    assert sorted(os.listdir(library)) == ["catalog.sqlite", "history.json", "lock", "vectors-0.f16"]
    with Store.writer(library) as store:
        assert verify(store).problems == ()
    assert contents(library) == contents(kept / "library")


def test_a_library_is_not_restored_among_its_pictures(kept, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(QueryError, match="lie in one another"):
        restored(kept / "ours.backup", tmp_path / "photos" / "library", {b"/photos": bytes(tmp_path / "photos")})
    assert not is_library(tmp_path / "photos" / "library")


def test_a_library_at_an_address_has_no_backups_yet(kept, tmp_path):
    with Library.open("milvus://127.0.0.1:1/photos") as library:
        with pytest.raises(UnsupportedError, match="no support for backups yet"):
            library.backup(tmp_path / "a.backup")
        with pytest.raises(UnsupportedError, match="no support for restoring a backup yet"):
            library.restore(kept / "ours.backup")


# -- encoders ------------------------------------------------------------------------------------------


def test_an_encoder_that_lies_nowhere_else_comes_along_with_what_its_scores_mean(indexed, tmp_path):
    indexed.calibrate(CALIBRATION)
    with closing(Store.open(indexed.folder)) as store:
        (store.encoder_path / "of-others").write_bytes(b"")
    assert indexed.backup(tmp_path / "a.backup").has_encoder
    with Library.open(tmp_path / "back", cache=tmp_path / "empty") as back:
        assert back.restore(tmp_path / "a.backup").notices == ()
        assert back.search("a cat").hits == indexed.search("a cat").hits
        assert back.search("a cat")[0].relevance is not None
        assert back.verify().problems == ()
    assert not (tmp_path / "empty").exists()
    assert not (tmp_path / "back" / "encoder" / "of-others").exists()


def test_of_an_encoder_that_can_be_had_anywhere_only_what_its_scores_mean_comes_along(
    indexed, tiny_folder, tmp_path
):
    indexed.calibrate(CALIBRATION)
    with Store.writer(indexed.folder) as store:
        store.keep({"model": "ViT-tiny/tag"})
    report = backed_up(indexed.folder, tmp_path / "small" / "a.backup")
    assert (report.has_encoder, report.notices) == (False, ())
    restored(tmp_path / "small" / "a.backup", tmp_path / "back")
    assert os.listdir(tmp_path / "back" / "encoder") == ["calibration.json"]
    copy_encoder(tiny_folder, tmp_path / "back" / "encoder")  # as the next `index` does
    assert OnnxEncoder.open(tmp_path / "back" / "encoder").calibration == CALIBRATION


def test_a_damaged_encoder_is_left_out_and_named(indexed, tmp_path):
    flip(indexed.folder / "encoder" / "spec.json", 10)
    report = indexed.backup(tmp_path / "a.backup")
    assert (report.has_encoder, len(report.notices)) == (False, 1)
    assert report.notices[0].startswith("the encoder is not whole, and is left out: ")


# -- files that are not ours ---------------------------------------------------------------------------


def refused(backup, tmp_path, sentence, error=BackupError):
    """Expect that a file is refused with a sentence, and that no library comes of it."""
    with pytest.raises(error, match=sentence):
        restored(backup, tmp_path / "back")
    assert not is_library(tmp_path / "back")
    assert set(os.listdir(tmp_path / "back") if (tmp_path / "back").exists() else []) <= {"lock"}


def rebuilt(source, target, change=None, *, facts=None, extra=(), compression=zipfile.ZIP_STORED):
    """Write a backup anew with a changed catalog, other facts or more files, and sums that fit them."""
    with zipfile.ZipFile(source) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    if change is not None:
        copy = target.with_suffix(".sqlite")
        copy.write_bytes(files["catalog.sqlite"])
        with closing(sqlite3.connect(copy, isolation_level=None)) as db:
            change(db)
        files["catalog.sqlite"] = copy.read_bytes()
    manifest = json.loads(files.pop("backup.json"))
    files.update(extra)
    digest = backup_module.sha256
    manifest["members"] = {
        name: {"size": len(data), "sha256": digest(data).hexdigest()} for name, data in files.items()
    }
    files["backup.json"] = json.dumps({**manifest, **(facts or {})}).encode()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target


def test_what_is_rebuilt_without_a_change_is_taken(kept, tmp_path):
    restored(rebuilt(kept / "ours.backup", tmp_path / "a.backup"), tmp_path / "back")
    assert contents(tmp_path / "back") == contents(kept / "library")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON history BEGIN DELETE FROM image; END",
        "CREATE VIEW v AS SELECT load_extension('/tmp/evil')",
        "CREATE TABLE more (x)",
        "DROP INDEX image_hash",
        "DROP TRIGGER image_left",
        "ALTER TABLE bad ADD COLUMN x CHECK (x IS NULL)",
        "CREATE VIRTUAL TABLE f USING fts5(x)",
    ],
)
def test_a_catalog_with_anything_that_mmsearch_does_not_put_there_is_refused(kept, tmp_path, statement):
    changed = rebuilt(kept / "ours.backup", tmp_path / "a.backup", lambda db: db.execute(statement))
    refused(changed, tmp_path, "the catalog in it is not as mmsearch makes one: (trigger|view|table|index) ")


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("DELETE FROM meta WHERE key = 'dim'", "lacks settings"),
        ("UPDATE meta SET value = '\"8\"' WHERE key = 'dim'", "lacks settings"),
        ("UPDATE meta SET value = '4' WHERE key = 'schema'", "of another format than is said"),
        (
            "UPDATE meta SET value = '11' WHERE key = 'n_rows'",
            "160 bytes of vectors in it, its catalog lists 11 of 8",
        ),
        ("UPDATE meta SET value = 'x' WHERE key = 'model'", "no whole backup"),
    ],
)
def test_a_catalog_whose_settings_do_not_fit_is_refused(kept, tmp_path, statement, sentence):
    changed = rebuilt(kept / "ours.backup", tmp_path / "a.backup", lambda db: db.execute(statement))
    refused(changed, tmp_path, sentence)


@pytest.mark.parametrize("what", ["x'000000', 9", "'peaks', 9", "x'', 0", "x'', 'many'"])
def test_a_recording_that_mmsearch_would_not_keep_is_refused(kept, tmp_path, what):
    values = f"(x'2f61', 1, 1, x'00', 1, '', 0, {what})"
    change = (
        f"INSERT INTO sound (path, size, mtime_ns, hash, seconds, problem, crc32, peaks, n_frames) VALUES {values}"
    )
    changed = rebuilt(kept / "ours.backup", tmp_path / "a.backup", lambda db: db.execute(change))
    refused(changed, tmp_path, "a recording in it has no peaks")


def test_an_encoder_folder_elsewhere_is_refused(kept, tmp_path):
    change = "INSERT INTO meta VALUES ('encoder_folder', '\"../elsewhere\"')"
    changed = rebuilt(kept / "ours.backup", tmp_path / "a.backup", lambda db: db.execute(change))
    refused(changed, tmp_path, "which is no folder of an encoder", LibraryDamagedError)


@pytest.mark.parametrize(
    "name",
    ["../evil", "/evil", "encoder/../../evil", "encoder/", "encoder/a/b", "serve-token", "encoder/.hidden"],
)
def test_files_for_other_places_are_refused(kept, tmp_path, name):
    changed = rebuilt(kept / "ours.backup", tmp_path / "a.backup", extra=[(name, b"evil")])
    refused(changed, tmp_path, "which is no file of a library")
    assert "evil" not in os.listdir(tmp_path)


def test_packed_files_are_refused_before_they_are_unpacked(kept, tmp_path):
    bomb = rebuilt(
        kept / "ours.backup", tmp_path / "a.backup", extra=[("encoder/x", bytes(1_000_000))],
        compression=zipfile.ZIP_DEFLATED,
    )  # fmt: skip
    assert bomb.stat().st_size < 100_000
    refused(bomb, tmp_path, "is not as long as it should be, or packed")


def test_a_file_that_holds_others_of_the_list_in_it_is_refused(kept, tmp_path):
    """As bombs do: of n files of which each lies in the one before, n times the bytes would come out."""
    inner = zipfile.ZipInfo("encoder/b")
    data = bytes(300_000)
    inner.CRC, inner.file_size, inner.compress_size = zlib.crc32(data), len(data), len(data)
    outer = inner.FileHeader() + data
    both = rebuilt(
        kept / "ours.backup", tmp_path / "both", extra=[("encoder/b", data), ("encoder/a", outer)]
    )  # fmt: skip
    bomb = tmp_path / "a.backup"
    with zipfile.ZipFile(both) as archive, zipfile.ZipFile(bomb, "w") as written:
        for name in archive.namelist():
            if name != "encoder/b":
                written.writestr(name, archive.read(name))
        inner.header_offset = written.getinfo("encoder/a").header_offset + 30 + len("encoder/a")
        written.filelist.append(inner)
    with zipfile.ZipFile(bomb) as archive:
        assert (archive.read("encoder/a"), archive.read("encoder/b")) == (outer, data)
    refused(bomb, tmp_path, "files in it share their bytes")


@pytest.mark.parametrize("facts", [{"format": 2}, {"schema": SCHEMA + 1}])
def test_a_backup_of_a_newer_version_says_so(kept, tmp_path, facts):
    changed = rebuilt(kept / "ours.backup", tmp_path / "a.backup", facts=facts)
    refused(changed, tmp_path, "use the mmsearch version that wrote it, or a newer one", LibraryVersionError)


@pytest.mark.parametrize(
    "facts", [{"format": "1"}, {"members": []}, {"members": {"catalog.sqlite": 1}}, {"has_vectors": False},
              {"created": None}, {"members": {"catalog.sqlite": {"size": -1, "sha256": ""}}}, {"schema": 0}],
)  # fmt: skip
def test_a_backup_that_says_nonsense_of_itself_is_refused(kept, tmp_path, facts):
    refused(rebuilt(kept / "ours.backup", tmp_path / "a.backup", facts=facts), tmp_path, "is no whole backup of")


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        refused(tmp_path / name, tmp_path, "it is no regular file")
    refused(tmp_path / "missing", tmp_path, "cannot be read .No such file", StorageError)


@pytest.mark.parametrize("data", [b"", b"not a backup", b"PK\x05\x06" + bytes(18), b"PK\x05\x06" + b"\xff" * 18],
                         ids=range(4))  # fmt: skip
def test_what_is_no_backup_at_all_is_refused(tmp_path, data):
    (tmp_path / "a.backup").write_bytes(data)
    refused(tmp_path / "a.backup", tmp_path, "is no whole backup of a library")


def test_a_list_of_files_that_would_fill_the_memory_is_refused(tmp_path):
    size = 1 << 30
    with (tmp_path / "a.backup").open("wb") as out:
        out.truncate(size)
        out.seek(size)
        out.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, size - 10, 10, 0))
    refused(tmp_path / "a.backup", tmp_path, "its list of files is too long")


def test_a_file_that_differs_from_its_checksum_is_refused(kept, tmp_path):
    with zipfile.ZipFile(kept / "ours.backup") as archive:
        members = json.loads(archive.read("backup.json"))["members"]
    members["vectors.f16"]["sha256"] = 64 * "0"
    changed = rebuilt(kept / "ours.backup", tmp_path / "a.backup", facts={"members": members})
    refused(changed, tmp_path, r"vectors\.f16 in it differs from its checksum")


def test_a_backup_that_is_cut_or_changed_anywhere_is_refused_or_restored_whole(kept, tmp_path):
    data = (kept / "ours.backup").read_bytes()
    random = np.random.default_rng(0)
    ends = random.integers(0, len(data), 20).tolist()
    tail = range(len(data) - 700, len(data), 23)  # the manifest and the list of files
    places = [*random.integers(0, len(data), 20).tolist(), *tail]
    changed = [data[:end] for end in ends]
    changed += [data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :] for place in places]
    expected, n_refused = contents(kept / "library"), 0
    for i, mutant in enumerate(changed):
        (tmp_path / "a.backup").write_bytes(mutant)
        back = tmp_path / f"back-{i}"
        try:
            restored(tmp_path / "a.backup", back)
        except (BackupError, LibraryVersionError):
            n_refused += 1
            assert not is_library(back)
        else:
            assert contents(back) == expected
    assert n_refused > 0.8 * len(changed)
