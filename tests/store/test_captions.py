from __future__ import annotations

import os

import numpy as np
import pytest

from mmsearch.annotations import Annotation, Annotations, Kind
from mmsearch.errors import DimensionError, VectorError
from mmsearch.file_array import FileArray
from mmsearch.records import READING, FileLook, Unusable
from mmsearch.store import captions
from mmsearch.store.captions import CAPTIONS
from mmsearch.store.changes import AnnotatedFile, Changes, StoredFile
from mmsearch.store.folder import Store
from mmsearch.vectors import l2_normalize

DIM = 8
SENTENCES = ["A dog runs fast.", "Two cats sleep here.", "The sun goes down.", "A red old bike."]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(captions, "_LEAST", 0)
    with Store.writer(tmp_path / "library", create={"dim": DIM, "fingerprint": "f" * 64, "model": "any"}) as writer:
        yield writer


def encode(texts):
    """A vector for every text that follows from its characters."""
    seeds = [sum(text.encode()) for text in texts]
    vectors = [np.random.default_rng(seed).normal(size=DIM) for seed in seeds]
    return l2_normalize(np.array(vectors, dtype=np.float32).reshape(-1, DIM))


def captions_of(*texts, kind=Kind.CAPTION):
    return Annotations(tuple(Annotation(kind, "text:txt", text) for text in texts))


def add(store, *said, first=1):
    look, vectors = FileLook(1, 2, 3), np.random.default_rng(1).normal(size=(99, DIM)).astype(np.float32)
    files = [
        StoredFile(
            b"/%d.jpg" % n, look, b"%032d" % n, 1, 1, "JPEG", None, READING, vectors[n], annotations=annotations
        )
        for n, annotations in enumerate(said, first)
    ]
    store.commit(Changes(stored=files))
    return [store.image_at(file.path).image_id for file in files]


def embed(store):
    return store.annotations.embed_captions(encode, lambda *_: None)


def kept(store):
    """(picture, vector) of every caption, sorted."""
    ids, vectors = store.annotations.caption_vectors()
    assert (ids.dtype, len(ids)) == (np.int64, len(vectors))
    return sorted((image_id, vector.tobytes()) for image_id, vector in zip(ids.tolist(), vectors[:], strict=True))


def expected(**texts_of):
    return sorted(
        (int(image_id[1:]), encode([text]).astype(np.float16)[0].tobytes())
        for image_id, texts in texts_of.items()
        for text in texts
    )


def test_captions_and_titles_of_three_words_have_vectors_and_other_texts_have_none(store):
    add(store, captions_of(*SENTENCES[:2], "Two words"), captions_of(SENTENCES[2], kind=Kind.TITLE))
    add(store, captions_of("one two three", kind=Kind.TAG), captions_of(SENTENCES[0]), first=9)
    assert kept(store) == []
    assert embed(store) == 3
    assert kept(store) == expected(_1=SENTENCES[:2], _2=[SENTENCES[2]], _4=[SENTENCES[0]])
    assert embed(store) == 0


def test_texts_come_some_pictures_at_a_time_each_once_and_go_on_where_a_run_was_ended(store):
    add(store, *[captions_of(SENTENCES[n % 4]) for n in range(9)])
    first = store.annotations.captions_to_embed(6)
    assert (first.texts, len(first.of_images)) == (tuple(SENTENCES), 6)
    store.annotations.store_caption_vectors(first, encode(first.texts))
    again = Store.open(store.folder)
    assert len(again.annotations.caption_vectors()[0]) == 6
    second = store.annotations.captions_to_embed(6)
    assert list(second.of_images) == [7, 8, 9]
    store.annotations.store_caption_vectors(second, encode(second.texts))
    assert store.annotations.captions_to_embed(6) is None


def test_vectors_follow_what_is_said_and_what_is_not_said_any_more_answers_at_once_no_longer(store):
    one, two, three = add(store, *[captions_of(*SENTENCES[:2])] * 3)
    embed(store)
    store.annotations.settle()
    store.commit(Changes(annotated=[AnnotatedFile(one, captions_of(SENTENCES[1], SENTENCES[3]))], gone=[two]))
    assert kept(store) == expected(_1=[SENTENCES[1]], _3=SENTENCES[:2])
    assert embed(store) == 1
    store.annotations.type([three], Kind.CAPTION, [SENTENCES[2]])
    store.annotations.type([three], Kind.TAG, ["no sentence at all"])
    assert embed(store) == 1
    assert kept(store) == kept(Store.open(store.folder)) == expected(_1=SENTENCES[1::2], _3=SENTENCES[:3])
    store.commit(Changes(annotated=[AnnotatedFile(one, Annotations())]))
    assert kept(store) == expected(_3=SENTENCES[:3])


def test_answer_is_the_same_object_until_a_caption_changes_and_the_same_from_the_published_file(store):
    add(store, *map(captions_of, SENTENCES))
    embed(store)
    in_memory = kept(store)
    store.annotations.settle()
    assert store.sidecar(CAPTIONS)["last"] == 4
    reader = Store.open(store.folder)
    near = reader.annotations.near_captions()
    assert isinstance(near._published._exact._matrix, FileArray)  # they stay there
    assert kept(reader) == in_memory
    store.annotations.type([1], Kind.TAG, ["more"])
    assert reader.annotations.near_captions() is near
    store.remove_images([1])
    assert kept(reader) == [of_image for of_image in in_memory if of_image[0] != 1]
    assert reader.annotations.near_captions().n_pictures == 3


def test_vectors_of_another_encoder_are_none_and_all_are_made_again(store):
    add(store, captions_of(SENTENCES[0]))
    embed(store)
    store.annotations.settle()
    store.keep({"fingerprint": "e" * 64})
    assert kept(store) == kept(Store.open(store.folder)) == []
    assert embed(store) == 1
    assert kept(store) == kept(Store.open(store.folder)) == expected(_1=SENTENCES[:1])


@pytest.mark.parametrize("facts", ["{", "[1]", "7"])
def test_vectors_of_which_nothing_is_known_any_more_are_none_and_all_are_made_again(store, facts):
    add(store, captions_of(SENTENCES[0]))
    embed(store)
    with store.catalog.writing():
        store.catalog.db.execute("UPDATE channel SET facts = ?", (facts,))
    assert kept(store) == []
    assert (embed(store), kept(store)) == (1, expected(_1=SENTENCES[:1]))


@pytest.mark.parametrize(
    ("vectors", "error"),
    [
        (np.zeros((1, DIM)), VectorError),
        (np.ones((2, DIM)), DimensionError),
        (np.ones((1, DIM + 1)), DimensionError),
    ],
)
def test_vectors_that_cannot_be_used_are_refused_and_nothing_is_kept(store, vectors, error):
    add(store, captions_of(SENTENCES[0]))
    wanted = store.annotations.captions_to_embed(9)
    with pytest.raises(error):
        store.annotations.store_caption_vectors(wanted, vectors.astype(np.float32))
    assert kept(store) == []
    assert store.annotations.captions_to_embed(9) == wanted


def test_published_vectors_that_are_damaged_are_read_from_the_catalog(store):
    add(store, *map(captions_of, SENTENCES))
    embed(store)
    before = kept(store)
    store.annotations.settle()
    (path,) = store.folder.glob("captions-*.bin")
    path.write_bytes(path.read_bytes().replace(b"\0", b"\1"))
    assert "captions" in store.annotations.problems()
    assert kept(Store.open(store.folder)) == before
    assert not isinstance(store.sidecar(CAPTIONS), Unusable)


def test_published_vectors_that_are_cut_while_they_are_open_are_read_from_the_catalog(store):
    add(store, *map(captions_of, SENTENCES))
    embed(store)
    store.annotations.settle()
    reader, asked = Store.open(store.folder), encode(SENTENCES)
    before = reader.annotations.near_captions().search(asked, 4)
    (path,) = store.folder.glob("captions-*.bin")
    os.truncate(path, 9)
    after = reader.annotations.near_captions().search(asked, 4)
    assert [part.tolist() for part in after] == [part.tolist() for part in before]


def test_who_reads_a_state_of_before_misses_no_caption_that_has_gone_since_in_what_was_published(store):
    ids = add(store, *map(captions_of, SENTENCES))
    embed(store)
    reader = Store.open(store.folder)
    with reader.reading():
        before = kept(reader)
        store.remove_images(ids[1:2])
        store.annotations.settle()
        assert store.sidecar(CAPTIONS)["last"] == 4
        assert kept(reader) == before
        assert reader.annotations.near_captions().n_pictures == 4
    assert kept(reader) == [each for each in before if each[0] != ids[1]]


def test_vector_that_differs_from_its_checksum_is_a_fault_and_is_made_again_after_a_repair(store):
    add(store, *map(captions_of, SENTENCES))
    embed(store)
    before = kept(store)
    with store.catalog.writing():
        store.catalog.db.execute("UPDATE item SET vector = zeroblob(16) WHERE id = 2")
    reader = Store.open(store.folder)
    assert len(kept(reader)) == 3
    assert "1 further vectors differ from their checksums" in store.verify(is_repair=True).problems[0]
    assert store.verify().faults == ()
    assert (embed(store), kept(store)) == (1, before)
