from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from mmsearch.bow.vocabulary import ImageWords, Vocabulary
from mmsearch.local.extractors import DEFAULT, EXTRACTORS
from mmsearch.records import FileLook, Unusable
from mmsearch.store import publish as publish_module
from mmsearch.store.changes import Changes, TouchedFile
from mmsearch.store.folder import Store
from mmsearch.store.publish import current
from mmsearch.store.verify import verify
from tests.conftest import random_units
from tests.store.test_store import DIM, file, filled

N_WORDS = 64


def vocabulary_of(seed=0, extractor=DEFAULT.name):
    descriptors = np.abs(random_units(1000, DEFAULT.dim, seed))
    return Vocabulary.train(descriptors, N_WORDS, extractor=extractor, max_iterations=1)


VOCABULARY = vocabulary_of()


def words_of(seed, n=20):
    """Words of a picture that depend on nothing but the seed."""
    rng = np.random.default_rng(seed)
    return ImageWords(
        rng.integers(0, N_WORDS, n, dtype=np.int32), rng.integers(0, 2**64, n, dtype=np.uint64),
        rng.uniform(0, 600, (n, 2)).astype(np.float32), rng.uniform(1, 50, n).astype(np.float32),
        rng.uniform(0, 360, n).astype(np.float32), np.arange(n),
    )  # fmt: skip


def with_words(folder, n=20, vocabulary=VOCABULARY):
    """A store of n pictures, each with the words of its id."""
    filled(folder, n)
    with Store.writer(folder) as store:
        writer = store.words.writer()
        writer.publish_vocabulary(vocabulary)
        for image_id in store.catalog.image_ids():
            writer.add(image_id, words_of(image_id))
        writer.flush()


def add(store, first, n):
    """Add pictures, and their words as another run would."""
    vectors = random_units(n, DIM, seed=first)
    store.commit(Changes(stored=[file(first + i, vector) for i, vector in enumerate(vectors)]))
    writer = store.words.writer()
    for image_id in sorted(set(store.catalog.image_ids()) - writer.covered):
        writer.add(image_id, words_of(image_id))
    writer.flush()


def found_by_their_words(folder):
    """Ids of the pictures that a query of their own words finds first."""
    store = Store.open(folder)
    published = store.words.load()
    assert not isinstance(published, Unusable), published
    last_id = store.catalog.last_id()
    store.close()
    inverted = published.inverted
    best = {i: inverted.scores(words_of(i)).argmax() for i in range(1, last_id + 1)}
    return {i for i, place in best.items() if inverted.image_ids[place] == i}


def names(folder):
    kinds = ("vocabulary", "words", "fresh")
    return sorted(path.name for path in folder.iterdir() if path.name.split("-")[0] in kinds)


def test_published_words_find_every_picture_by_its_own(tmp_path):
    with_words(tmp_path)
    assert found_by_their_words(tmp_path) == set(range(1, 21))
    assert names(tmp_path) == ["vocabulary-1.bin", "vocabulary-1.json", "words-1.bin", "words-1.json"]


def test_library_without_words_says_so(tmp_path):
    filled(tmp_path)
    assert "`mmsearch index --local` makes them" in Store.open(tmp_path).words.load().reason
    assert Store.open(tmp_path).words.facts() is None


def test_facts_count_pictures_words_features_and_bytes(tmp_path):
    with_words(tmp_path)
    facts = Store.open(tmp_path).words.facts()
    size = sum((tmp_path / name).stat().st_size for name in names(tmp_path) if name.endswith(".bin"))
    assert (facts["n_images"], facts["n_words"], facts["n_features"], facts["size_bytes"]) == (20, 64, 400, size)
    assert facts["extractor"] == DEFAULT.name


def test_few_new_pictures_go_to_the_fresh_segment_and_many_are_merged(tmp_path):
    with_words(tmp_path)
    with Store.writer(tmp_path) as store:
        add(store, 100, 2)
        assert (current(tmp_path, "words"), current(tmp_path, "fresh")) == ("words-1", "fresh-1")
        add(store, 200, 2)
        assert (current(tmp_path, "words"), current(tmp_path, "fresh")) == ("words-1", "fresh-2")
    assert found_by_their_words(tmp_path) == set(range(1, 25))
    with Store.writer(tmp_path) as store:
        add(store, 300, 3)
        assert (current(tmp_path, "words"), current(tmp_path, "fresh")) == ("words-2", None)
    assert found_by_their_words(tmp_path) == set(range(1, 28))
    assert names(tmp_path) == ["vocabulary-1.bin", "vocabulary-1.json", "words-2.bin", "words-2.json"]


def test_dead_pictures_are_not_returned_and_leave_the_base_when_they_are_more_than_a_fifth(tmp_path):
    with_words(tmp_path)
    with Store.writer(tmp_path) as store:
        store.remove_images([1, 2, 3])
        store.words.writer().flush()
        assert current(tmp_path, "words") == "words-1"
        assert store.words.facts()["n_images"] == 20
    assert found_by_their_words(tmp_path) == set(range(4, 21))
    with Store.writer(tmp_path) as store:
        store.remove_images([4, 5])
        store.words.writer().flush()
        assert store.words.facts()["n_images"] == 15
    assert found_by_their_words(tmp_path) == set(range(6, 21))


def test_all_pictures_may_leave_and_others_come(tmp_path):
    with_words(tmp_path)
    with Store.writer(tmp_path) as store:
        store.remove_images(store.catalog.image_ids())
        store.words.writer().flush()
        assert len(store.words.load().inverted.image_ids) == 0
        add(store, 100, 4)
    assert found_by_their_words(tmp_path) == {21, 22, 23, 24}


def test_file_with_new_contents_gets_a_new_id_and_its_old_words_are_dead(tmp_path):
    with_words(tmp_path)
    with Store.writer(tmp_path) as store:
        old = store.catalog.image_at(b"/photos/0.jpg").image_id
        changed = file(0, random_units(1, DIM, seed=9)[0])
        store.commit(Changes(stored=[type(changed)(**{**vars(changed), "content_hash": b"x" * 32})]))
        assert store.catalog.image_at(b"/photos/0.jpg").image_id == 21
        assert store.catalog.count("image") == 20
    assert old not in found_by_their_words(tmp_path)


def test_moved_picture_keeps_its_words(tmp_path):
    with_words(tmp_path)
    with Store.writer(tmp_path) as store:
        store.commit(Changes(touched=[TouchedFile(1, b"/photos/elsewhere.jpg", FileLook(5, 5, 5))]))
        assert 1 in store.words.writer().covered
    assert 1 in found_by_their_words(tmp_path)


def test_picture_without_features_is_covered_and_never_found(tmp_path):
    with_words(tmp_path)
    with Store.writer(tmp_path) as store:
        store.commit(Changes(stored=[file(100, random_units(1, DIM, seed=3)[0])]))
        writer = store.words.writer()
        writer.add(21, words_of(0, n=0))
        writer.flush()
        assert 21 in store.words.writer().covered
    assert found_by_their_words(tmp_path) == set(range(1, 21))


@pytest.mark.parametrize("name", ["words-1.bin", "fresh-1.bin"])
def test_damaged_segment_is_never_searched_and_only_its_pictures_need_words_again(tmp_path, name):
    with_words(tmp_path)
    with Store.writer(tmp_path) as store:
        add(store, 100, 2)
    data = bytearray((tmp_path / name).read_bytes())
    data[-100] ^= 1
    (tmp_path / name).write_bytes(data)
    store = Store.open(tmp_path)
    assert f"{name} differs from its checksum" in store.words.load().reason
    assert [f"visual words are not whole: {name}" in problem for problem in verify(store).problems] == [True]
    store.close()
    with Store.writer(tmp_path) as store:
        lost = set(range(1, 21)) if name.startswith("words") else {21, 22}
        assert store.words.writer().covered == set(range(1, 23)) - lost
        for image_id in lost:
            writer = store.words.writer()
            writer.add(image_id, words_of(image_id))
            writer.flush()
        assert verify(store).problems == ()
    assert found_by_their_words(tmp_path) == set(range(1, 23))


def test_damaged_vocabulary_takes_all_words_along(tmp_path):
    with_words(tmp_path)
    os.truncate(tmp_path / "vocabulary-1.bin", 5000)
    assert "vocabulary-1.bin has 5000 bytes" in Store.open(tmp_path).words.load().reason
    with Store.writer(tmp_path) as store:
        writer = store.words.writer()
        assert (writer.vocabulary, writer.covered) == (None, set())
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["vocabulary", "words", "fresh"])
def test_manifest_with_a_damaged_entry_is_never_taken_for_fewer_words(tmp_path, kind):
    with_words(tmp_path)
    with Store.writer(tmp_path) as store:
        add(store, 100, 2)
    path = tmp_path / "manifest.json"
    path.write_bytes(path.read_bytes().replace(kind.encode() + b'"', kind.encode()[:-1] + b'~"'))
    store = Store.open(tmp_path)
    assert "manifest.json cannot be read or differs from its own checksum" in store.words.load().reason
    (problem,) = verify(store).problems
    assert problem.startswith("no index and no visual words can be used: manifest.json")
    store.close()
    with Store.writer(tmp_path) as store:
        verify(store, is_repair=True)
        assert (verify(store).problems, names(tmp_path)) == ((), [])
        assert store.words.writer().covered == set()


def test_files_left_by_a_killed_run_go_when_the_next_writer_opens(tmp_path):
    with_words(tmp_path)
    whole = names(tmp_path)
    for name in ("words-1.bin.tmp", "words-2.bin", "fresh-7.json", "vocabulary-1.json.tmp", "manifest.json.tmp"):
        (tmp_path / name).write_bytes(b"x")
    with Store.writer(tmp_path):
        assert names(tmp_path) == whole
        assert list(tmp_path.glob("*.tmp")) == []
    assert found_by_their_words(tmp_path) == set(range(1, 21))


def test_repair_drops_damaged_words_and_nothing_else(tmp_path):
    with_words(tmp_path)
    (tmp_path / "words-1.bin").write_bytes(b"")
    with Store.writer(tmp_path) as store:
        assert verify(store, is_repair=True).n_dropped == 0
        assert verify(store).problems == ()
        assert current(tmp_path, "vocabulary") == "vocabulary-1"
        assert "no visual words yet" in store.words.load().reason


def test_words_of_another_catalog_are_refused(tmp_path):
    for name, n in (("one", 20), ("two", 12)):
        with_words(tmp_path / name, n)
    for name in ("manifest.json", *names(tmp_path / "one")):
        shutil.copyfile(tmp_path / "one" / name, tmp_path / "two" / name)
    store = Store.open(tmp_path / "two")
    assert store.words.load() == Unusable("the file of the vocabulary was made for another library")
    assert store.words.facts() is None


def test_words_newer_than_a_catalog_that_was_restored_are_refused(tmp_path):
    with_words(tmp_path, 10)
    shutil.copyfile(tmp_path / "catalog.sqlite", tmp_path / "copy")
    with Store.writer(tmp_path) as store:
        add(store, 10, 10)
    shutil.copyfile(tmp_path / "copy", tmp_path / "catalog.sqlite")
    assert "a state that is not in the history of this catalog" in Store.open(tmp_path).words.load().reason


def test_words_are_those_of_the_extractor_that_their_library_names(tmp_path, monkeypatch):
    other = replace(DEFAULT, name="other-1")
    monkeypatch.setitem(EXTRACTORS, other.name, other)
    with_words(tmp_path, vocabulary=vocabulary_of(extractor=other.name))
    assert Store.open(tmp_path).words.facts()["extractor"] == Store.open(tmp_path).words.load().vocabulary.extractor
    with Store.writer(tmp_path) as store:
        writer = store.words.writer()
        assert writer.extractor is other
        assert len(writer.covered) == 20


def test_words_of_an_older_extractor_are_made_anew(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(EXTRACTORS, "rootsift-0", replace(DEFAULT, name="rootsift-0"))
        with_words(tmp_path, vocabulary=vocabulary_of(extractor="rootsift-0"))
    assert f"says extractor rootsift-0, expected {DEFAULT.name}" in Store.open(tmp_path).words.load().reason
    with Store.writer(tmp_path) as store:
        assert store.words.writer().covered == set()


def test_copied_library_hashes_its_words_once_more_and_uses_them(tmp_path):
    with_words(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    stamp = json.loads((tmp_path / "two" / "words-1.json").read_text())["stamp"]
    assert stamp[0] != (tmp_path / "two" / "words-1.bin").stat().st_ino
    assert found_by_their_words(tmp_path / "two") == set(range(1, 21))


def test_untouched_segment_is_mapped_without_being_read(tmp_path, monkeypatch):
    with_words(tmp_path)
    hashed = []
    real = publish_module.file_digest
    monkeypatch.setattr(
        publish_module,
        "file_digest",
        lambda file, name: hashed.append(os.path.basename(file.name)) or real(file, name),
    )
    assert not isinstance(Store.open(tmp_path).words.load(), Unusable)
    assert hashed == ["vocabulary-1.bin"]
    os.utime(tmp_path / "words-1.bin")
    assert not isinstance(Store.open(tmp_path).words.load(), Unusable)
    assert "words-1.bin" in hashed
