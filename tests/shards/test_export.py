"""Export: every picture of a library with the very bits of its vector, once."""

from __future__ import annotations

import numpy as np
import pytest

from mmsearch import Library
from mmsearch.errors import FingerprintError, LibraryDamagedError, NoEncoderError
from mmsearch.shards import export as exporting
from mmsearch.shards.export import export_shards
from mmsearch.shards.read import Shard, shard_paths
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from tests.shards.shards import DIM, FACTS, STRANGE, bits, picture
from tests.store.test_store import flip

META = {"dim": DIM, "fingerprint": "f" * 64, "model": "test"}


def commit(folder, *pictures, gone=()):
    with Store.writer(folder, create=META) as store:
        store.commit(Changes(stored=list(pictures), gone=list(gone)))


def exported(folder, out, **options):
    store = Store.open(folder)
    try:
        return export_shards(
            store, FACTS, out, **{"on_progress": lambda *_: None, "notify": pytest.fail, **options}
        )  # fmt: skip
    finally:
        store.close()


def rows_in(out):
    return [row for path in shard_paths(out) for rows in Shard.open(path).rows() for row in rows]


@pytest.mark.parametrize("n", [0, 1, 5, 11])
def test_all_that_a_library_knows_is_in_the_shards(tmp_path, monkeypatch, n):
    monkeypatch.setattr(exporting, "_AT_ONCE", 5)
    pictures = [picture(i) for i in range(n)]
    commit(tmp_path / "library", picture(n, path=STRANGE), *pictures)
    told = []
    report = exported(tmp_path / "library", tmp_path / "out", on_progress=lambda *state: told.append(state))
    assert (report.new, report.unchanged, report.gone) == (n + 1, 0, 0)
    assert told[-1] == ("export", n + 1, n + 1)
    rows = rows_in(tmp_path / "out")
    assert [row.path for row in rows] == [STRANGE, *(file.path for file in pictures)]
    for row, file in zip(rows, [picture(n, path=STRANGE), *pictures], strict=True):
        assert bits(row.vector) == bits(file.vector)
        assert {**vars(row), "vector": None} == {**vars(file), "vector": None}


def test_equal_vectors_are_in_every_row_of_theirs(tmp_path):
    vector = np.ones(DIM, np.float32)
    commit(tmp_path / "library", picture(1, vector), picture(2, vector), picture(3))
    exported(tmp_path / "library", tmp_path / "out")
    rows = rows_in(tmp_path / "out")
    assert [bits(row.vector) == bits(vector) for row in rows] == [True, True, False]


def test_a_second_export_writes_only_what_is_new_or_changed(tmp_path):
    library, out = tmp_path / "library", tmp_path / "out"
    commit(library, picture(0), picture(1), picture(2))
    exported(library, out)
    again = exported(library, out)
    assert (again.new, again.changed, again.unchanged) == (0, 0, 3)
    commit(library, picture(1, path=b"/photos/0.jpg"), picture(4), gone=[3])
    report = exported(library, out)
    assert (report.new, report.changed, report.unchanged, report.gone) == (1, 1, 1, 1)
    assert "1 picture of shards in" in report.notices[0]
    assert "is not in the library any more" in report.notices[0]
    assert {row.path for row in rows_in(out)[3:]} == {b"/photos/4.jpg", b"/photos/0.jpg"}
    assert len(shard_paths(out)) == 2


def test_a_damaged_vector_is_not_exported(tmp_path):
    commit(tmp_path / "library", *map(picture, range(30)))
    flip(tmp_path / "library" / "vectors-0.f16", 7 * 2 * DIM)
    with pytest.raises(LibraryDamagedError, match="row 7 differs from its checksum"):
        exported(tmp_path / "library", tmp_path / "out")


def test_an_encoder_that_is_replaced_meanwhile_ends_the_export(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_AT_ONCE", 1)
    commit(tmp_path / "library", picture(0), picture(1))

    def replace_encoder(*_):
        with Store.writer(tmp_path / "library") as store:
            store.keep({"fingerprint": "e" * 64})

    with pytest.raises(FingerprintError, match="was given vectors of another encoder meanwhile"):
        exported(tmp_path / "library", tmp_path / "out", on_progress=replace_encoder)


def test_a_library_without_an_encoder_has_nothing_to_export(tmp_path):
    with Store.writer(tmp_path, create={"dim": 0, "fingerprint": "none", "model": "none"}):
        pass
    with Library.open(tmp_path) as library, pytest.raises(NoEncoderError, match="has no vectors"):
        library.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()
