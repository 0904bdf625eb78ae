"""A folder of shards: what is finished stays, what is missing is added, and what is not ours is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from mmsearch.errors import FingerprintError, LibraryLockedError, ShardError, StorageError
from mmsearch.shards import folder as shard_folder
from mmsearch.shards.folder import ShardFolder
from mmsearch.shards.read import Shard
from tests.conftest import mounted, random_units
from tests.golden import make_library
from tests.shards.shards import FACTS, STRANGE, changed_shard, picture, write_shards

GOLDEN = make_library.__file__


def held_by(folder, notify=lambda sentence: None):
    with ShardFolder.writer(folder, FACTS, notify) as shards:
        return shards.held


def test_a_shard_is_written_when_it_is_full_and_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_folder, "ROWS", 10)
    with ShardFolder.writer(tmp_path, FACTS, pytest.fail) as shards:
        shards.add(picture(i) for i in range(9))
        assert not list(tmp_path.glob("*.parquet"))
        shards.add(picture(i) for i in range(9, 21))
        assert len(list(tmp_path.glob("*.parquet"))) == 2
    sizes = [Shard.open(tmp_path / f"shard-0000{i}.parquet").n_rows for i in range(3)]
    assert sizes == [10, 10, 1]


def test_a_shard_is_written_when_it_is_time(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_folder, "_SECONDS", 0.0)
    with ShardFolder.writer(tmp_path, FACTS, pytest.fail) as shards:
        shards.add([picture(0)])
        assert Shard.open(tmp_path / "shard-00000.parquet").n_rows == 1


def test_an_error_loses_nothing_that_was_given(tmp_path):
    def fail():
        with ShardFolder.writer(tmp_path, FACTS, pytest.fail) as shards:
            shards.add([picture(0)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(held_by(tmp_path)) == [b"/photos/0.jpg"]


def test_finished_shards_are_never_touched_again(tmp_path):
    write_shards(tmp_path, [picture(0)])
    before = (tmp_path / "shard-00000.parquet").stat()
    write_shards(tmp_path, [picture(1)])
    write_shards(tmp_path, [])
    after = (tmp_path / "shard-00000.parquet").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == [
        "shard-00000.parquet",
        "shard-00001.parquet",
    ]


def test_the_later_shard_counts_where_a_picture_was_changed(tmp_path):
    write_shards(tmp_path, [picture(0, path=STRANGE), picture(1)])
    write_shards(tmp_path, [picture(2, path=STRANGE)])
    held = held_by(tmp_path)
    assert (held[STRANGE].look, held[STRANGE].content_hash) == (picture(2).look, b"%032d" % 2)
    assert len(held) == 2


def test_halves_of_a_killed_run_are_removed_and_nothing_else(tmp_path):
    for name in ("shard-00007.parquet.tmp", "errors.parquet.tmp", "notes.tmp"):
        (tmp_path / name).write_bytes(b"half")
    write_shards(tmp_path, [picture(0)])
    assert {path.name for path in tmp_path.iterdir()} == {"notes.tmp", "shard-00000.parquet", "lock"}


def test_a_damaged_shard_is_named_and_its_pictures_are_not_held(tmp_path):
    write_shards(tmp_path, [picture(0)])
    write_shards(tmp_path, [picture(1)])
    path = tmp_path / "shard-00000.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    said = []
    assert list(held_by(tmp_path, said.append)) == [b"/photos/1.jpg"]
    (sentence,) = said
    assert f"{path}: this shard ends too soon" in sentence
    assert f"`rm {path}` removes it" in sentence


def test_a_row_that_cannot_be_used_is_not_held(tmp_path):
    write_shards(tmp_path, [picture(0), picture(1)])
    changed_shard(tmp_path / "shard-00000.parquet", width=0)
    assert list(held_by(tmp_path)) == [b"/photos/1.jpg"]


def test_shards_of_another_encoder_are_refused_before_anything_is_written(tmp_path):
    write_shards(tmp_path, [picture(0)], facts=replace(FACTS, fingerprint="e" * 64))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(FingerprintError, match=r"fingerprint eeeeeeeeeeee\), .* and fingerprint ffffffffffff"):
        write_shards(tmp_path, [picture(0)])
    assert sorted(tmp_path.iterdir()) == before


def test_other_parquet_files_and_newer_shards_are_refused(tmp_path):
    write_shards(tmp_path, [picture(0)])
    changed_shard(tmp_path / "shard-00000.parquet", {"format": 2})
    with pytest.raises(ShardError, match=r"has format 2.*choose another folder with --out"):
        held_by(tmp_path)
    (tmp_path / "shard-00000.parquet").write_bytes(b"something else")
    with pytest.raises(ShardError, match=r"no Parquet file.*choose another folder with --out"):
        held_by(tmp_path)


def test_a_library_is_no_folder_of_shards(tmp_path):
    library = shutil.copytree(GOLDEN.replace("make_library.py", "library-v2"), tmp_path / "library")
    before = sorted(library.iterdir())
    with pytest.raises(ShardError, match="is a library; choose another folder"):
        held_by(library)
    assert sorted(library.iterdir()) == before


def test_a_second_writer_is_refused(tmp_path):
    with (
        ShardFolder.writer(tmp_path, FACTS, pytest.fail),
        pytest.raises(LibraryLockedError, match=r"is writing to this folder of shards; wait until it is done$"),
    ):
        held_by(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_a_sentence(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StorageError, match="could not write the folder of shards"):
        held_by(tmp_path / "out")


def test_shards_are_for_their_user_alone(tmp_path):
    write_shards(tmp_path / "out", [picture(0)])
    modes = {path.name: path.stat().st_mode & 0o777 for path in [tmp_path / "out", *(tmp_path / "out").iterdir()]}
    assert modes == {"out": 0o700, "lock": 0o600, "shard-00000.parquet": 0o600}


def test_a_full_disk_is_a_sentence_and_the_next_run_writes_what_is_missing(tmp_path):
    with mounted(tmp_path / "disk", "64k") as disk:
        with pytest.raises(StorageError, match=r"shard-00000\.parquet: could not write a shard .*No space left"):
            write_shards(disk / "out", [picture(i, random_units(1, 8, i)[0]) for i in range(5000)])
        write_shards(disk / "out", [picture(0)])
        assert sorted(path.name for path in (disk / "out").iterdir()) == ["lock", "shard-00000.parquet"]
