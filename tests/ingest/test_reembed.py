"""RE-EMBED: the same pictures with vectors of another encoder, while searches go on."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from mmsearch import GraphSettings, Library, Query
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.errors import (
    FingerprintError,
    LibraryDamagedError,
    LibraryIncompleteError,
    LibraryNotFoundError,
    ModelNotFoundError,
    QueryError,
    StorageError,
)
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.ingest import pool
from mmsearch.ingest import run as ingest
from mmsearch.query.searcher import Searcher
from mmsearch.samples import sample_folder
from mmsearch.store import adopt
from mmsearch.store.adopt import NEXT
from mmsearch.store.folder import Store
from tests.conftest import TINY, exported, kept_checkpoint, no_decoder
from tests.encoders.test_learned import heads, written
from tests.store.test_store import flip

TEXTS = ("a cat", "a fig on a table", "an astronaut")


@pytest.fixture(scope="module")
def wider(cache):
    """A checkpoint of a layer a tower, exported sooner, whose vectors have 48 dimensions, not 32."""
    vision, text = ({**TINY["model_cfg"][tower], "layers": 1} for tower in ("vision_cfg", "text_cfg"))
    config = {**TINY, "model_cfg": {"embed_dim": 48, "vision_cfg": vision, "text_cfg": text}}
    checkpoint = kept_checkpoint(cache, config, seed=2)
    exported(str(checkpoint), cache)
    return checkpoint


@pytest.fixture
def fresh(tmp_path, photos, wider, cache):
    """A library of the same pictures that had the other encoder from the beginning."""
    with Library.open(tmp_path / "fresh", cache=cache) as library:
        library.index([photos], model=str(wider), local=False)
        yield library


def answers(library):
    """Paths and scores for texts, and for each picture as an example."""
    queries = [Query(text=text) for text in TEXTS]
    queries += [Query(images=[picture.image_id]) for picture in library.pictures().pictures]
    return [[(hit.path, round(hit.score, 6)) for hit in result.hits] for result in library.search_many(queries)]


def ids(library):
    return {picture.path: picture.image_id for picture in library.pictures().pictures}


def re_embed(library, model, **options):
    return library.index([], model=None if model is None else str(model), re_embed=True, **options)


class Stopped(Exception):
    """Raised by a test in the middle of a run."""


def stop_after(n):
    """Return a callback that ends a run once n pictures are embedded."""

    def on_progress(stage, done, _total):
        if stage == "embed" and done >= n:
            raise Stopped

    return on_progress


@pytest.fixture
def small_commits(monkeypatch):
    monkeypatch.setattr(ingest, "COMMIT_PICTURES", 1)
    monkeypatch.setattr(pool, "BATCH", 1)
    monkeypatch.setattr(adopt, "_BLOCK", 3)


def test_pictures_keep_their_ids_and_get_the_vectors_of_the_other_encoder(indexed, fresh, wider):
    before = ids(indexed)
    report = re_embed(indexed, wider)
    assert (report.re_embedded, report.new, report.gone) == (8, 0, 0)
    assert (ids(indexed), answers(indexed)) == (before, answers(fresh))
    status = indexed.status()
    assert (status.model, status.dim, status.n_vectors, status.n_dead) == (str(wider), 48, 8, 0)
    assert status.fingerprint == fresh.status().fingerprint
    assert indexed.verify().problems == ()


@pytest.fixture(scope="module")
def taught(checkpoint, cache, tiny_folder, tmp_path_factory):
    """A folder of heads on the encoder of `indexed`, exported."""
    fingerprint = OnnxEncoder.open(tiny_folder).fingerprint
    folder = written(tmp_path_factory.mktemp("heads") / "taught", checkpoint, fingerprint, heads())
    exported(str(folder), cache)
    return folder


@pytest.fixture
def bare_cache(taught, cache, tmp_path):
    """A cache with encoders and nothing else."""
    shutil.copytree(cache / "encoders", tmp_path / "cache" / "encoders")
    return tmp_path / "cache"


def vectors_by_path(library):
    with closing(Store.open(library.folder)) as store:
        return {file.path: file.vector / np.linalg.norm(file.vector) for _, file in store.stored_files(0, 100)}


def assert_as_embedded(library, model, tmp_path, cache, views=1):
    """The vectors are those of an index of the same pictures, but for the rounding of what they were made of."""
    with Library.open(tmp_path / "embedded", cache=cache) as embedded:
        embedded.index([sample_folder()], model=str(model), views=views, local=False)
        expected = {os.path.basename(path): vector for path, vector in vectors_by_path(embedded).items()}
    made = {os.path.basename(path): vector for path, vector in vectors_by_path(library).items()}
    assert made
    assert all(vector @ expected[name] > 0.9999 for name, vector in made.items())


@pytest.mark.full
def test_vectors_of_a_taught_encoder_are_made_of_the_library_s_own_where_those_are_of_its_base(
    indexed, photos, taught, tmp_path, cache
):
    before, said = ids(indexed), []
    shutil.rmtree(photos)  # nothing is read again
    report = re_embed(indexed, taught, notify=said.append)
    assert (report.re_embedded, ids(indexed)) == (8, before)
    assert "8 pictures got their vectors from features that were kept, without being read again" in said
    assert_as_embedded(indexed, taught, tmp_path, cache)


@pytest.mark.full
def test_vectors_of_a_taught_encoder_are_made_of_what_its_training_kept(
    fresh, photos, taught, checkpoint, tmp_path, bare_cache
):
    kept = sorted(photos.glob("*.jpg"))[:5]
    SetEncoder(str(checkpoint), cache=bare_cache).pictures(kept)
    for path in kept:
        path.unlink()
    said = []
    with Library.open(fresh.folder, cache=bare_cache) as library:
        re_embed(library, taught, notify=said.append)
        assert any(sentence.startswith("5 pictures got their vectors from features") for sentence in said)
        assert_as_embedded(library, taught, tmp_path, bare_cache)


@pytest.mark.full
def test_vectors_of_five_views_of_a_taught_encoder_are_made_of_pictures(indexed, taught, tmp_path, cache):
    said = []
    assert re_embed(indexed, taught, views=5, notify=said.append).re_embedded == 8
    assert not any("features" in sentence for sentence in said)
    assert_as_embedded(indexed, taught, tmp_path, cache, views=5)


def test_pictures_are_embedded_anew_in_other_views_of_the_same_encoder(indexed, checkpoint):
    of_one = indexed.status().fingerprint
    assert re_embed(indexed, None, views=5).re_embedded == 8
    of_five = indexed.status()
    assert (of_five.views, of_five.model, of_five.fingerprint != of_one) == (5, str(checkpoint), True)


@pytest.mark.full
def test_views_stay_where_the_encoder_changes_and_nothing_is_said_of_them(indexed, checkpoint, wider):
    of_one = indexed.status().fingerprint
    re_embed(indexed, None, views=5)
    assert re_embed(indexed, checkpoint).re_embedded == 0
    re_embed(indexed, wider)
    assert (indexed.status().views, indexed.status().model) == (5, str(wider))
    re_embed(indexed, checkpoint, views=1)
    assert (indexed.status().views, indexed.status().fingerprint) == (1, of_one)


@pytest.mark.full
def test_a_picture_whose_kept_features_are_damaged_is_read_again(indexed, taught, tmp_path, bare_cache):
    flip(indexed.folder / "vectors-0.f16", 5)
    said = []
    with Library.open(indexed.folder, cache=bare_cache) as library:
        assert re_embed(library, taught, notify=said.append).re_embedded == 8
        assert any(sentence.startswith("7 pictures got") for sentence in said)
        assert_as_embedded(library, taught, tmp_path, bare_cache)


def test_nothing_of_the_old_epoch_stays_and_captions_are_embedded_anew_too(indexed, wider):
    (path, image_id), *_ = ids(indexed).items()
    indexed.caption(path, "A dog runs along the beach.")
    assert indexed.reader().annotations.caption_vectors()[1].shape == (1, 32)
    re_embed(indexed, wider)
    captioned, vectors = indexed.reader().annotations.caption_vectors()
    assert (captioned.tolist(), vectors.shape) == ([image_id], (1, 48))
    names = sorted(os.listdir(indexed.folder))
    assert [name for name in names if name.startswith(("vectors-", "encoder", NEXT))] == [
        "encoder-1",
        "vectors-1.f16",
    ]


@pytest.mark.full
def test_searches_answer_from_the_old_vectors_until_all_new_ones_count(indexed, fresh, wider, cache, small_commits):
    with Library.open(indexed.folder, cache=cache) as reader:
        old, seen = answers(reader), []
        re_embed(indexed, wider, on_progress=lambda stage, done, total: seen.append(answers(reader) == old))
        assert len(seen) >= 8
        assert all(seen)
        assert answers(reader) == answers(fresh)
        labels = ["a cat", "a dog"]
        assert reader.classify([1], labels)[0].predictions == fresh.classify([1], labels)[0].predictions


def test_a_search_during_which_the_vectors_change_is_asked_again(indexed, fresh, wider, cache):
    with Library.open(indexed.folder, cache=cache) as reader:
        given = []

        def encoder():
            given.append(reader.installed_encoder())
            if len(given) == 1:
                re_embed(indexed, wider)
            return given[-1]

        searcher = Searcher(reader.reader(), encoder, no_decoder)
        hits = searcher.search(Query(text="a text that nobody asked for")).hits
        expected = fresh.search("a text that nobody asked for").hits
        assert [(hit.path, hit.score) for hit in hits] == [(hit.path, hit.score) for hit in expected]
        assert len(set(map(id, given))) == 2  # asked for the text, and once more for its relevance
        # What the encoder of before made of the text is not remembered as the new one's.
        again = reader.search("a text that nobody asked for").hits
        assert [hit.score for hit in again] == [hit.score for hit in expected]


def test_an_ended_run_is_gone_on_with(indexed, fresh, wider, small_commits):
    old = answers(indexed)
    with pytest.raises(Stopped):
        re_embed(indexed, wider, on_progress=stop_after(3))
    assert answers(indexed) == old
    status = indexed.status()
    assert (status.next_model, status.dim) == (str(wider), 32)
    assert indexed.verify().problems == ()
    totals = []
    re_embed(indexed, None, on_progress=lambda stage, done, total: totals.append((stage, total)))
    assert {total for stage, total in totals if stage == "embed"} == {5}
    assert answers(indexed) == answers(fresh)
    assert indexed.status().next_model is None


def test_indexing_meanwhile_goes_on_with_the_old_encoder_and_says_so(indexed, photos, wider, small_commits):
    with pytest.raises(Stopped):
        re_embed(indexed, wider, on_progress=stop_after(3))
    shutil.copyfile(photos / "cat.jpg", photos / "another.jpg")
    report = indexed.index([photos])
    assert report.new == 1
    assert any("`mmsearch index --re-embed` goes on" in notice for notice in report.notices)
    assert re_embed(indexed, None).re_embedded == 9


@pytest.mark.parametrize("is_folder_named", [True, False])
def test_what_an_ended_run_made_can_be_given_up(indexed, photos, wider, small_commits, is_folder_named):
    with pytest.raises(Stopped):
        re_embed(indexed, wider, on_progress=stop_after(3))
    indexed.index([photos] if is_folder_named else [], re_embed=False)
    assert not (indexed.folder / NEXT).exists()
    assert indexed.status().next_model is None


@pytest.mark.full
def test_a_run_to_a_third_encoder_begins_anew(indexed, wider, other_checkpoint, small_commits):
    with pytest.raises(Stopped):
        re_embed(indexed, wider, on_progress=stop_after(3))
    said = []
    assert re_embed(indexed, other_checkpoint, notify=said.append).re_embedded == 8
    assert any(f"the vectors of {wider}" in sentence and "given up" in sentence for sentence in said)
    assert indexed.status().dim == 32


def test_folders_are_brought_up_to_date_first_where_they_are_named(indexed, photos, wider):
    (photos / "cat.jpg").unlink()
    shutil.copyfile(sample_folder() / "two-dogs.jpg", photos / "new.jpg")
    report = indexed.index([photos], model=str(wider), re_embed=True)
    assert (report.new, report.gone, report.re_embedded) == (1, 1, 8)


def test_pictures_that_are_missing_or_changed_are_named_and_the_library_stays_as_it_is(
    indexed, photos, fresh, wider
):
    old = answers(indexed)
    (photos / "cat.jpg").unlink()
    shutil.copyfile(photos / "dam.jpg", photos / "creek.jpg")
    with pytest.raises(LibraryIncompleteError) as refused:
        re_embed(indexed, wider)
    said = str(refused.value)
    assert said.startswith("2 of 8 pictures could not be embedded anew: ")
    assert f"{photos / 'creek.jpg'} (it holds another picture than was indexed)" in said
    assert f"{photos / 'cat.jpg'} (" in said
    assert answers(indexed) == old
    indexed.index([photos])
    assert re_embed(indexed, None).re_embedded == 7


def test_of_copies_it_is_enough_that_one_can_be_read(indexed, photos, wider):
    shutil.copyfile(photos / "cat.jpg", photos / "a-copy.jpg")
    indexed.index([photos])
    (photos / "a-copy.jpg").unlink()
    assert re_embed(indexed, wider).re_embedded == 9
    assert indexed.status().n_vectors == 8


def test_new_vectors_that_were_damaged_before_they_counted_are_made_again(indexed, fresh, wider, small_commits):
    with pytest.raises(Stopped):
        re_embed(indexed, wider, on_progress=stop_after(4))
    path = indexed.folder / NEXT / "vectors-0.f16"
    data = bytearray(path.read_bytes())
    data[10] ^= 255
    path.write_bytes(data)
    re_embed(indexed, None)
    assert answers(indexed) == answers(fresh)


@pytest.mark.full
def test_new_vectors_that_were_cut_off_before_they_counted_are_made_again(indexed, fresh, wider, small_commits):
    with pytest.raises(Stopped):
        re_embed(indexed, wider, on_progress=stop_after(4))
    os.truncate(indexed.folder / NEXT / "vectors-0.f16", 100)
    re_embed(indexed, None)
    assert answers(indexed) == answers(fresh)


def test_a_folder_of_an_ended_run_that_is_no_library_any_more_is_made_anew(indexed, fresh, wider):
    (indexed.folder / NEXT).mkdir()
    (indexed.folder / NEXT / "catalog.sqlite").write_bytes(b"no database")
    re_embed(indexed, wider)
    assert answers(indexed) == answers(fresh)


def test_the_graph_is_built_over_the_new_vectors(indexed, photos, wider):
    indexed.index([photos], settings=GraphSettings(graph_from=4, recall_target=0.5))
    assert indexed.status().n_in_graph == 8
    re_embed(indexed, wider)
    assert indexed.status().n_in_graph == 8
    assert indexed.verify().problems == ()


def test_pictures_that_an_earlier_version_read_are_still_named(indexed, wider):
    with closing(sqlite3.connect(indexed.folder / "catalog.sqlite")) as db, db:
        db.execute("UPDATE image SET reading = 1 WHERE id = 1")
    re_embed(indexed, wider)
    assert indexed.status().n_read_before == 1


@pytest.mark.parametrize("place", ["/tmp", "../photos", "encoder/..", "encoder-1/../..", 5])
def test_an_encoder_is_never_looked_for_outside_of_the_library(indexed, photos, place):
    indexed.close()
    with Store.writer(indexed.folder) as store:
        store.keep({"encoder_folder": place})
    before = sorted(photos.rglob("*"))
    works = (
        lambda: indexed.search("a text"),
        lambda: indexed.index([photos]),
        lambda: indexed.verify(is_repair=True),
    )
    for work in works:
        with pytest.raises(LibraryDamagedError, match="is no folder of an encoder"):
            work()
    assert sorted(photos.rglob("*")) == before


def test_a_link_in_the_place_of_the_new_vectors_is_not_followed(indexed, fresh, wider, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(fresh.folder, elsewhere)
    (indexed.folder / NEXT).symlink_to(elsewhere)
    assert indexed.status().next_model is None
    re_embed(indexed, wider)
    assert answers(indexed) == answers(fresh)
    assert not os.path.lexists(indexed.folder / NEXT)
    assert (elsewhere / "catalog.sqlite").exists()


def test_a_file_in_the_place_of_the_new_vectors_makes_room(indexed, fresh, wider):
    (indexed.folder / NEXT).write_text("a note")
    re_embed(indexed, wider)
    assert answers(indexed) == answers(fresh)


def test_what_a_run_left_whose_vectors_count_is_deleted_by_the_next(indexed, photos, wider, cache):
    re_embed(indexed, wider)
    shutil.copytree(indexed.folder, indexed.folder.with_name("copy"))
    shutil.move(indexed.folder.with_name("copy"), indexed.folder / NEXT)
    indexed.index([photos])
    assert not (indexed.folder / NEXT).exists()


def test_a_model_that_cannot_be_had_is_refused_before_anything_is_indexed(indexed, photos, wider):
    shutil.copyfile(sample_folder() / "two-dogs.jpg", photos / "new.jpg")
    with pytest.raises(ModelNotFoundError):
        indexed.index([photos], model="ViT-B-99/nobody", re_embed=True)
    with pytest.raises(QueryError):
        indexed.index([photos], re_embed=True)
    assert indexed.status().n_images == 8


def test_a_model_in_a_folder_is_known_by_its_whole_path(indexed, wider, monkeypatch, small_commits):
    monkeypatch.chdir(wider.parent)
    with pytest.raises(Stopped):
        re_embed(indexed, wider.name, on_progress=stop_after(3))
    monkeypatch.chdir("/")
    re_embed(indexed, None)
    assert indexed.status().model == str(wider)


@pytest.mark.parametrize("option", ["is_recheck", "follow_links", "local"])
def test_what_is_about_folders_needs_some(indexed, wider, option):
    with pytest.raises(QueryError, match="none was given; name at least one"):
        re_embed(indexed, wider, **{option: True})


def test_what_was_copied_is_deleted_where_taking_over_fails(indexed, wider, monkeypatch):
    def full(store):
        raise StorageError("no space left")

    monkeypatch.setattr(adopt, "_take_rows", full)
    with pytest.raises(StorageError):
        re_embed(indexed, wider)
    names = sorted(os.listdir(indexed.folder))
    assert [name for name in names if name.startswith(("vectors-", "encoder"))] == ["encoder", "vectors-0.f16"]


def test_a_running_one_is_not_called_ended(indexed, wider, cache, small_commits):
    said = []

    def on_progress(stage, done, _total):
        with Library.open(indexed.folder, cache=cache) as reader:
            status = reader.status()
        if stage == "embed" and status.next_model:
            said.append(adopt.pending_text(status.next_model, is_at_work=status.progress is not None))

    re_embed(indexed, wider, on_progress=on_progress)
    assert said
    assert all(sentence.startswith("another process makes all vectors anew") for sentence in said)


@pytest.mark.parametrize("model", [None, "none"])
def test_an_encoder_must_be_named(indexed, model):
    with pytest.raises(QueryError, match=r"give it with --model"):
        re_embed(indexed, model)


def test_a_library_that_has_vectors_of_the_encoder_is_left_alone(indexed, checkpoint):
    said = []
    assert re_embed(indexed, checkpoint, notify=said.append).re_embedded == 0
    assert any("already" in sentence for sentence in said)


def test_another_model_is_refused_without_it_and_the_sentence_names_it(indexed, photos, wider):
    with pytest.raises(FingerprintError, match="--re-embed"):
        indexed.index([photos], model=str(wider))


def test_there_must_be_a_library(tmp_path, wider, cache):
    with Library.open(tmp_path / "none", cache=cache) as library, pytest.raises(LibraryNotFoundError):
        re_embed(library, wider)


def test_a_dry_run_says_how_much_would_be_embedded(indexed, wider):
    report = re_embed(indexed, wider, is_dry_run=True)
    assert any(
        f"8 pictures of the library would be embedded anew by {wider}" in notice for notice in report.notices
    )
    assert not (indexed.folder / NEXT).exists()


def test_vectors_that_differ_from_their_checksums_are_not_taken_over(indexed, wider, monkeypatch):
    real = adopt.append_rows
    monkeypatch.setattr(adopt, "append_rows", lambda path, rows, *, at: real(path, rows + np.float16(1), at=at))
    old = answers(indexed)
    with pytest.raises(LibraryDamagedError, match="differs from its checksum"):
        re_embed(indexed, wider)
    assert answers(indexed) == old
    with closing(Store.open(indexed.folder)) as store:
        assert store.epoch == 0
