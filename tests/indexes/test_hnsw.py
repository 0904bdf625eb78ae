import itertools
from pathlib import Path

import numpy as np
import pytest

from mmsearch.errors import DimensionError, VectorError
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.hnsw import HnswIndex
from mmsearch.indexes.plans import ann_recall_at_k
from mmsearch.vectors import l2_normalize


def clustered(seed, n, dim=32, n_clusters=20):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n_clusters, dim))
    vectors = centres[rng.integers(0, n_clusters, n)] + 0.5 * rng.standard_normal((n, dim))
    return l2_normalize(vectors.astype(np.float32))


def built(vectors, first_row=0):
    index = HnswIndex(vectors.shape[1])
    rows = np.arange(first_row, first_row + len(vectors))
    index.add([(rows, vectors)], len(vectors), n_threads=1)
    return index


def test_hnsw_finds_95_percent_of_exact_neighbours_with_a_beam_of_100():
    vectors = clustered(0, 3000)
    queries = clustered(1, 100)
    _, expected = ExactIndex(vectors.astype(np.float16)).search(queries, 10)
    index = built(vectors)
    _, found = index.search(queries, 10, 100)
    assert ann_recall_at_k(found, expected).mean() >= 0.95


def test_hnsw_recall_never_falls_much_as_the_effort_grows():
    vectors, queries = clustered(0, 3000), clustered(1, 100)
    _, expected = ExactIndex(vectors.astype(np.float16)).search(queries, 10)
    index = built(vectors)
    recalls = [
        ann_recall_at_k(index.search(queries, 10, effort)[1], expected).mean() for effort in (10, 40, 160, 640)
    ]
    assert all(later >= earlier - 0.005 for earlier, later in itertools.pairwise(recalls))
    assert recalls[-1] > recalls[0]


def test_index_grows_past_its_first_batch():
    vectors = clustered(2, 400)
    index = built(vectors[:100])
    index.add([(np.arange(100, 400), vectors[100:])], 300)
    assert (len(index), index.n_rows) == (400, 400)
    assert index.search(vectors[350:351], 1)[1].tolist() == [[350]]


def test_search_returns_every_vector_when_k_exceeds_the_size():
    vectors = clustered(3, 30)
    scores, rows = built(vectors).search(vectors[:2], 1000)
    assert rows.shape == scores.shape == (2, 30)
    assert sorted(rows[0].tolist()) == list(range(30))


def test_scores_are_cosines_best_first():
    vectors = clustered(5, 300)
    scores, rows = built(vectors).search(vectors[:1], 20)
    np.testing.assert_allclose(scores[0], vectors[rows[0]] @ vectors[0], atol=1e-5)
    assert (np.diff(scores[0]) <= 1e-6).all()


def test_vectors_without_a_direction_are_refused():
    vectors = clustered(6, 20)
    vectors[4] = np.nan
    with pytest.raises(VectorError, match="row 4 of 20"):
        built(vectors)
    with pytest.raises(VectorError, match="queries: row 0"):
        built(clustered(6, 20)).search(np.zeros((1, 32), np.float32), 3)


def test_widths_that_differ_are_an_error():
    index = built(clustered(7, 20))
    with pytest.raises(DimensionError, match="queries have 5 dimensions, the index has 32"):
        index.search(np.ones((1, 5), np.float32), 3)
    with pytest.raises(DimensionError, match="vectors have 5 dimensions, the graph has 32"):
        index.add([(np.arange(20, 22), np.ones((2, 5), np.float32))], 2)
    assert (len(index), index.n_rows) == (20, 20)


def test_what_a_graph_was_asked_to_be_is_what_it_is():
    index = HnswIndex(8, m=5, ef_construction=33)
    assert index.facts.settings == {"M": 5, "ef_construction": 33}
    assert (index._graph.M, index._graph.ef_construction) == (5, 33)


def test_a_graph_that_reaches_too_few_rows_answers_with_none():
    rng = np.random.default_rng(0)
    far_apart = l2_normalize(np.tile(np.eye(8), (25, 1)) + 0.01 * rng.standard_normal((200, 8))).astype(np.float32)
    index = HnswIndex(8, m=2, ef_construction=4)
    index.add([(np.arange(200), far_apart)], 200, n_threads=1)
    scores, rows = index.search(far_apart[:3], 200)
    assert scores.shape == rows.shape == (3, 0)
    assert index.search(far_apart[:3], 5)[1].shape == (3, 5)


def test_rows_without_a_direction_are_no_nodes_and_are_known_after_loading(tmp_path):
    matrix = clustered(3, 30).astype(np.float16)
    matrix[4], matrix[29] = np.nan, 0
    index = HnswIndex(32)
    index.build(matrix)
    assert (len(index), index.facts.n_held, index.n_rows) == (28, 28, 30)
    index.save(tmp_path / "graph")
    facts = {**index.facts.settings, "n": 28}
    for noted, n_rows in (({**facts, "covered": 30}, 30), (facts, 28)):
        with (tmp_path / "graph").open("rb") as file:
            loaded = HnswIndex.of_file(file, 32, noted)
        assert (len(loaded), loaded.n_rows) == (28, n_rows)
    index.build(np.concatenate([matrix, matrix[:1]]))
    assert (len(index), index.n_rows) == (29, 31)


def test_a_graph_that_is_not_there_is_not_loaded(tmp_path):
    with pytest.raises(FileNotFoundError):
        HnswIndex.load(tmp_path / "none", 32, m=16, ef_construction=200, n_nodes=1)


def test_a_graph_that_the_disk_had_no_room_for_is_not_saved():
    with pytest.raises(OSError, match="No space left on device"):
        built(clustered(8, 100)).save(Path("/dev/full"))


def test_a_saved_graph_answers_as_before(tmp_path):
    vectors = clustered(8, 500)
    index = built(vectors)
    index.save(tmp_path / "graph")
    loaded = HnswIndex.load(tmp_path / "graph", 32, m=16, ef_construction=200, n_nodes=500)
    np.testing.assert_array_equal(loaded.search(vectors[:9], 10)[1], index.search(vectors[:9], 10)[1])


def test_an_empty_graph_answers_with_nothing():
    assert HnswIndex(8).search(np.ones((2, 8), np.float32), 5)[1].shape == (2, 0)
