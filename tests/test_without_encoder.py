"""Libraries of `--model none`: local features alone, on a machine without any weights."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from mmsearch import Library, Query
from mmsearch.errors import EncoderError, FingerprintError, QueryError, VocabularyError
from mmsearch.ingest import words as gather
from mmsearch.samples import sample_folder
from mmsearch.store.folder import Store
from tests import pictures
from tests.conftest import copied_samples, copy_library, sample_crop


@pytest.fixture
def folder(tmp_path):
    """Sixteen sample photographs."""
    return copied_samples(tmp_path / "photos", 16)


@pytest.fixture
def library(tmp_path):
    """A library that does not exist yet, with no encoder anywhere."""
    with Library.open(tmp_path / "library", cache=tmp_path / "no-cache") as opened:
        yield opened


@pytest.fixture(scope="module")
def plain_once(tmp_path_factory):
    """A folder with the sixteen photographs and a library of them without an encoder; it stays as it is."""
    base = tmp_path_factory.mktemp("plain")
    with Library.open(base / "library", cache=base / "no-cache") as opened:
        opened.index([copied_samples(base / "photos", 16)], model="none")
    return base


@pytest.fixture
def plain(plain_once, tmp_path, library, folder):
    """A library of the sixteen photographs without an encoder, as if they had been indexed where they are."""
    copy_library(plain_once / "library", tmp_path / "library", plain_once / "photos", folder)
    return library


def names(result):
    return [Path(hit.path).name for hit in result.hits]


def first(library, picture):
    return names(library.search(Query(images=[picture]), k=1))


# -- index ---------------------------------------------------------------------------------------------


def test_pictures_are_found_by_their_parts_and_nothing_but_words_is_kept(plain, folder, tmp_path):
    for name in ("astronaut", "cat", "coffee"):
        assert first(plain, sample_crop(tmp_path, name)) == [f"{name}.jpg"]
    assert not (tmp_path / "no-cache").exists()
    kept = {path.name.split("-")[0] for path in plain.folder.iterdir()}
    assert kept <= {
        "catalog.sqlite", "fresh", "history.json", "lock", "manifest.json", "progress", "queries.sqlite",
        "vocabulary", "words",
    }  # fmt: skip


def test_catalog_says_of_a_picture_what_it_says_beside_an_encoder(library, tmp_path, checkpoint, cache):
    folder = tmp_path / "table"
    pictures.write_all(folder)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003], exif[0x0112] = "2023:05:01 12:00:00", 6
    (folder / "dated.jpg").write_bytes(pictures.saved(pictures.photo(), "JPEG", exif=exif))
    with Library.open(tmp_path / "other", cache=cache) as other:
        other.index([folder], model=str(checkpoint), local=False)
    report = library.index([folder], model="none")
    assert {Path(bad.path).name: bad.code for bad in report.bad} == {
        name: code for name, (_, code) in pictures.rejected().items()
    }
    columns = "path, size, mtime_ns, hash, width, height, format, taken"
    tables = []
    for one in (library.folder, other.folder):
        with closing(sqlite3.connect(one / "catalog.sqlite")) as db:
            tables.append(db.execute(f"SELECT {columns} FROM image ORDER BY path").fetchall())
            assert (db.execute("SELECT max(row) FROM image").fetchone()[0] == -1) == (one == library.folder)
    assert tables[0] == tables[1]
    assert len(tables[0]) == len(pictures.accepted()) + 1


def test_later_runs_go_on_without_an_encoder(plain, folder):
    (folder / "cat.jpg").rename(folder / "tom.jpg")
    shutil.copyfile(folder / "coffee.jpg", folder / "copy.jpg")
    shutil.copyfile(sample_folder() / "rocket.jpg", folder / "creek.jpg")
    (folder / "dam.jpg").unlink()
    os.utime(folder / "fig.jpg", (1, 1))
    for model in (None, "none", "auto"):
        report = plain.index([folder], model=model)
        found = (report.new, report.changed, report.moved, report.gone, report.unchanged)
        assert found == ((1, 1, 1, 1, 13) if model is None else (0, 0, 0, 0, 16)), model
    assert first(plain, folder / "tom.jpg") == ["tom.jpg"]
    assert first(plain, sample_folder() / "rocket.jpg") == ["creek.jpg"]
    both = names(plain.search(Query(images=[folder / "coffee.jpg"]), k=2, collapse="none"))
    assert sorted(both) == ["coffee.jpg", "copy.jpg"]
    assert "dam.jpg" not in names(plain.search(Query(images=[sample_folder() / "dam.jpg"]), k=99))
    assert plain.verify().problems == ()


@pytest.mark.full
def test_a_library_emptied_and_filled_again_has_no_dead_vectors(plain, folder):
    assert plain.remove([folder]) == 16
    assert (plain.status().n_images, plain.status().n_dead) == (0, 0)
    assert plain.search(Query(images=[folder / "cat.jpg"])).hits == ()
    assert plain.index([folder]).new == 16
    assert (plain.status().n_images, plain.status().n_dead) == (16, 0)
    assert first(plain, folder / "cat.jpg") == ["cat.jpg"]
    with closing(Store.open(plain.folder)) as store:
        assert store.epoch == 0  # there was nothing to compact


def test_a_picture_without_features_is_indexed_and_a_broken_one_is_named(library, folder):
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (300, 300), "white").save(folder / "blank.png")
    (folder / "broken.jpg").write_bytes(b"<html></html>")
    report = library.index([folder], model="none")
    assert report.new == 18
    assert report.details["words"] == {"n_described": 18, "n_without_features": 2}
    assert [(Path(bad.path).name, bad.code) for bad in report.bad] == [("broken.jpg", "not_an_image")]
    again = library.index([folder])
    assert (again.unchanged, again.known_bad, again.details["words"]["n_described"]) == (18, 1, 0)
    found = library.search(Query(images=[folder / "blank.png"]))
    assert (found.hits, "0 local features, at least 15" in found.local) == ((), True)


@pytest.mark.full
def test_interrupted_run_keeps_what_is_done_and_the_next_makes_the_rest(library, folder, monkeypatch):
    monkeypatch.setattr("mmsearch.ingest.run.COMMIT_PICTURES", 8)

    def interrupt(stage, done, total):
        if stage == "embed" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library.index([folder], model="none", on_progress=interrupt)
    assert 8 <= library.status().n_images <= 16
    report = library.index([folder])
    assert (report.new + report.unchanged, report.unchanged >= 8) == (16, True)
    assert library.status().local["n_images"] == 16


def test_dry_run_writes_nothing(library, folder):
    assert library.index([folder], model="none", is_dry_run=True).new == 16
    assert not library.folder.exists()


def test_what_leaves_nothing_to_index_by_is_refused_before_anything_is_written(library, folder, monkeypatch):
    with pytest.raises(QueryError, match="has nothing but local features; leave --no-local out"):
        library.index([folder], model="none", local=False)
    monkeypatch.setattr(gather, "find_spec", lambda name: None)
    with pytest.raises(VocabularyError, match="local features need OpenCV, which is not installed: pip install"):
        library.index([folder], model="none")
    assert not library.folder.exists()


def test_an_existing_library_without_an_encoder_insists_on_local_features(plain, folder, monkeypatch):
    (folder / "cat.jpg").unlink()
    with pytest.raises(QueryError, match="nothing but local features"):
        plain.index([folder], local=False)
    monkeypatch.setattr(gather, "find_spec", lambda name: None)
    with pytest.raises(VocabularyError, match="need OpenCV"):
        plain.index([folder])
    assert plain.status().n_images == 16


def test_a_library_keeps_its_kind(plain, folder, tmp_path, checkpoint, cache, tiny_folder):
    with pytest.raises(FingerprintError, match=r"holds no vectors \(--model none\), offline was asked for"):
        plain.index([folder], model="offline")
    assert not (tmp_path / "no-cache").exists()  # it was not prepared for nothing
    with Library.open(tmp_path / "other", cache=cache) as other:
        other.index([folder], model=str(checkpoint), local=False)
        with pytest.raises(FingerprintError, match=r"holds vectors of .*, --model none was asked for"):
            other.index([folder], model="none")


# -- search --------------------------------------------------------------------------------------------


def test_filters_and_a_k_above_the_number_of_pictures_work_as_in_local_mode(plain, folder):
    query = Query(images=[folder / "cat.jpg"], where=["name != cat.jpg"])
    found = plain.search(query, k=1000)
    assert found.hits == plain.search(query, k=1000, mode="local").hits
    assert (found.route, found.local) == ("local", f"0 of {len(found.hits)} hits verified by local features")
    assert 0 < len(found.hits) <= 15
    assert "cat.jpg" not in names(found)


@pytest.mark.parametrize(
    ("query", "rerank"),
    [
        (Query(text="a dog", images=["cat.jpg"]), "auto"),
        (Query(images=["cat.jpg"], exclude=["snow"]), "auto"),
        (Query(images=["cat.jpg", "fig.jpg"]), "auto"),
        (Query(images=["cat.jpg"]), "none"),
        (Query(images=["cat.jpg"]), "local"),
    ],
)
def test_a_query_that_needs_an_encoder_says_that_there_is_none(plain, query, rerank):
    with pytest.raises(EncoderError, match=r"has no encoder.* one example picture.* index into another"):
        plain.search(query, rerank=rerank)


def test_a_text_is_answered_by_what_is_written_beside_pictures_or_not_at_all(plain):
    found = plain.search("a cat")
    assert (found.route, names(found)) == ("words", ["cat.jpg"])
    with pytest.raises(QueryError, match="local features compare pictures"):
        plain.search("a cat", rerank="local")


def test_all_else_that_needs_an_encoder_says_that_there_is_none(plain, folder):
    settings = plain.graph_settings()
    for ask in (
        lambda: plain.classify([folder / "cat.jpg"], ["a cat", "a dog"]),
        lambda: plain.identify([folder / "cat.jpg"]),
        lambda: plain.encoder.encode_images([folder / "cat.jpg"]),
        lambda: plain.encoder.encode_images([sample_folder() / "rocket.jpg"]),
        lambda: plain.tune(0.9),
        plain.text_probes,
    ):
        with pytest.raises(EncoderError, match="has no encoder"):
            ask()
    assert plain.graph_settings() == settings


def test_too_few_pictures_teach_no_words_and_search_says_so(library, folder, tmp_path):
    for path in sorted(folder.iterdir())[:14]:
        path.rename(tmp_path / path.name)
    library.index([folder], model="none")
    assert (library.status().n_images, library.status().local) == (2, None)
    with pytest.raises(QueryError, match="makes them from about 10 pictures on"):
        library.search(Query(images=[next(folder.iterdir())]))
    assert library.verify().problems == ()


# -- verify --------------------------------------------------------------------------------------------


def test_damaged_words_are_found_dropped_and_made_again(plain, folder):
    (path,) = plain.folder.glob("words-*.bin")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (problem,) = plain.verify().problems
    assert problem.startswith("the visual words are not whole: ")
    plain.verify(is_repair=True)
    assert plain.index([folder]).details["words"]["n_described"] == 16
    assert plain.verify().problems == ()
    assert first(plain, folder / "cat.jpg") == ["cat.jpg"]


def test_a_picture_that_names_a_vector_is_damage_and_a_stray_file_of_vectors_is_none(plain, folder):
    (plain.folder / "vectors-0.f16").write_bytes(b"x" * 100)
    assert plain.verify().problems == ()
    assert plain.index([folder]).unchanged == 16
    with closing(sqlite3.connect(plain.folder / "catalog.sqlite")) as db:
        db.execute("UPDATE image SET row = 5 WHERE id = 3")
        db.commit()
    assert plain.verify().problems == ("1 pictures name vectors that are not listed",)
