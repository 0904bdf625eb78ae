from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmsearch.bow.vocabulary import Vocabulary
from mmsearch.local.extractors import DEFAULT
from mmsearch.store import vocabulary as module
from mmsearch.store.folder import Store
from mmsearch.store.publish import current
from mmsearch.store.verify import verify
from mmsearch.store.vocabulary import graph_of, load_vocabulary, on_graph, publish_vocabulary
from tests.bow.test_vocabulary import descriptors
from tests.store.test_store import META
from tests.store.test_words import found_by_their_words, vocabulary_of, with_words


def words_at(seed, n):
    """A vocabulary whose words are n descriptors."""
    rng = np.random.default_rng(seed)
    centroids = descriptors(seed, n)
    return Vocabulary(DEFAULT.name, centroids, np.eye(64, 128, dtype=np.float32), rng.random((n, 64), np.float32))


@pytest.fixture
def graph_from_33_words(monkeypatch):
    monkeypatch.setattr(module, "MAX_EXACT", 32)


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.full
def test_a_graph_over_the_centroids_agrees_with_99_percent_of_exact_words():
    vocabulary, points = words_at(5, 8192), descriptors(6, 2000)
    faster = on_graph(vocabulary, graph_of(vocabulary))
    assert (faster.assign(points) == vocabulary.assign(points)).mean() >= 0.99


def test_graph_of_a_vocabulary_finds_every_word_where_it_is():
    words = words_at(5, 1000)
    # Asked of the graph: a vocabulary compares all words where the graph finds too few.
    _, rows = graph_of(words).search(words.lifted_centroids(), 1, 64)
    assert (rows[:, 0] == np.arange(1000)).mean() >= 0.99


def test_the_same_vocabulary_has_the_same_graph(tmp_path):
    for name in ("one", "two"):
        graph_of(words_at(5, 1000)).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.fixture
def store(tmp_path):
    with Store.writer(tmp_path, create=META) as opened:
        yield opened


def test_vocabulary_comes_back_with_a_graph_only_above_the_words_that_are_compared(store, graph_from_33_words):
    for n, has_graph in ((32, False), (33, True)):
        made = words_at(0, n)
        assert (publish_vocabulary(store, made).nearest is not None) == has_graph
        found = load_vocabulary(store.folder)
        assert (found.nearest is not None) == has_graph
        np.testing.assert_array_equal(found.assign(descriptors(1, 100)), made.assign(descriptors(1, 100)))


def test_graph_that_does_not_find_the_words_themselves_is_not_published(store, graph_from_33_words):
    made = words_at(0, 64)
    alike = replace(made, centroids=np.repeat(made.centroids[:1], 64, axis=0))
    assert publish_vocabulary(store, alike).nearest is None
    assert current(store.folder, "centres") is None


def test_graph_of_another_vocabulary_is_left_alone(store, graph_from_33_words, monkeypatch):
    publish_vocabulary(store, words_at(0, 64))
    with monkeypatch.context() as patch:
        patch.setattr(module, "MAX_EXACT", 64)
        publish_vocabulary(store, words_at(1, 64))
    assert current(store.folder, "centres") == "centres-1"
    assert load_vocabulary(store.folder).nearest is None


def test_damaged_graph_costs_time_and_no_answer_and_is_made_again(tmp_path, graph_from_33_words):
    with_words(tmp_path)
    damage(tmp_path / "centres-1.bin")
    store = Store.open(tmp_path)
    assert store.words.load().vocabulary.nearest is None
    assert found_by_their_words(tmp_path) == set(range(1, 21))
    (problem,) = verify(store).problems
    assert problem == "the visual words are not whole: centres-1.bin differs from its checksum"
    store.close()
    with Store.writer(tmp_path) as store:
        assert verify(store, is_repair=True).n_dropped == 0
        assert current(tmp_path, "centres") is None
        assert len(store.words.writer().covered) == 20
        assert (current(tmp_path, "centres"), verify(store).problems) == ("centres-1", ())
        assert store.words.load().vocabulary.nearest is not None


def test_graph_counts_in_the_size_of_the_words_and_goes_with_its_vocabulary(tmp_path, graph_from_33_words):
    with_words(tmp_path, vocabulary=vocabulary_of())
    with Store.writer(tmp_path) as store:
        sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*-1.bin")}
        assert set(sizes) == {"centres-1.bin", "vocabulary-1.bin", "words-1.bin"}
        assert store.words.facts()["size_bytes"] == sum(sizes.values())
        damage(tmp_path / "vocabulary-1.bin")
        store.words.writer()
    assert list(tmp_path.glob("centres-*")) == []
