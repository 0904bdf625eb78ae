import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from mmsearch.errors import QueryError, VectorError
from mmsearch.kmeans import _shares, kmeans, kmeans_in_cells, nearest_centroids

seeds = st.integers(0, 2**32 - 1)


def clustered(seed, n=3000, dim=16, n_clusters=40, spread=0.7):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n_clusters, dim))
    return (centres[rng.integers(0, n_clusters, n)] + spread * rng.standard_normal((n, dim))).astype(np.float32)


@pytest.mark.parametrize("n_clusters", [2, 10, 40, 90])
def test_inertia_is_within_2_percent_of_scikit_learn(n_clusters):
    points = clustered(0)
    expected = KMeans(n_clusters, n_init=1, random_state=0).fit(points).inertia_
    result = kmeans(points, n_clusters)
    assert result.inertia <= 1.02 * expected
    assert result.has_converged


def test_sampled_seeding_comes_close_on_clusters_that_overlap():
    points = clustered(1, spread=2)
    assert kmeans(points, 90, seeding="sampled").inertia <= 1.02 * kmeans(points, 90).inertia


def test_inertia_is_that_of_the_centroids_returned():
    points = clustered(2)
    result = kmeans(points, 20)
    squares = np.square(points[:, None].astype(np.float64) - result.centroids).sum(axis=2)
    np.testing.assert_allclose(result.inertia, squares.min(axis=1).sum(), rtol=1e-5)
    np.testing.assert_array_equal(result.labels, squares.argmin(axis=1))


def test_inertia_never_rises_from_iteration_to_iteration():
    seen = []
    kmeans(clustered(3), 30, tolerance=0, on_iteration=lambda n, inertia: seen.append(inertia))
    assert len(seen) > 3
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in itertools.pairwise(seen))


def test_two_pairs_have_their_middles_as_centroids():
    result = kmeans(np.array([[0, 0], [0, 2], [9, 0], [9, 2]], np.float32), 2)
    assert sorted(result.centroids.tolist()) == [[0, 1], [9, 1]]
    assert result.inertia == 4


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_the_same_seed_gives_the_same_centroids(seed):
    points = clustered(seed, n=200)
    first, second = kmeans(points, 12, seed=seed), kmeans(points, 12, seed=seed)
    np.testing.assert_array_equal(first.centroids, second.centroids)


def test_a_lost_cluster_moves_to_the_farthest_point(monkeypatch):
    points = np.array([[0.0], [0.0], [8.0], [10.0]], np.float32)
    # Two equal first centres: the second is nearest to nothing, and stays so if it is left there.
    monkeypatch.setattr("mmsearch.kmeans._sampled_points", lambda points, n, rng: np.array([0, 1, 3]))
    result = kmeans(points, 3, seeding="sampled")
    assert sorted(result.centroids[:, 0].tolist()) == [0, 8, 10]


def test_lost_clusters_are_spread_over_different_points_where_there_are_many_copies():
    distinct = np.random.default_rng(10).standard_normal((120, 16)).astype(np.float32)
    copies = np.repeat(distinct, 50, axis=0)
    # Of the points drawn first about a third are copies of one another.
    found = kmeans(copies, 120, seeding="sampled", max_iterations=10)
    assert found.has_converged
    assert len(np.unique(found.centroids, axis=0)) == 120
    assert found.inertia < 1e-6


@given(n_points=st.integers(1, 12), n_distinct=st.integers(1, 4), seed=seeds)
@settings(max_examples=40, deadline=None)
def test_centroids_are_never_nan_where_points_are_equal(n_points, n_distinct, seed):
    points = np.random.default_rng(seed).integers(0, n_distinct, (n_points, 3)).astype(np.float32)
    for seeding in ("k-means++", "sampled"):
        result = kmeans(points, n_points, seeding=seeding, seed=seed)
        assert np.isfinite(result.centroids).all()
        np.testing.assert_allclose(result.inertia, 0, atol=1e-6)


def test_points_far_from_the_origin_are_clustered_as_near_ones():
    points = clustered(4, n=1000)
    near, far = kmeans(points, 20), kmeans(points + np.float32(4096), 20)
    assert far.inertia <= 1.02 * near.inertia


def test_stopping_early_is_reported():
    result = kmeans(clustered(5), 40, max_iterations=1)
    assert (result.n_iterations, result.has_converged) == (1, False)


def test_fewer_points_than_clusters_is_an_error():
    with pytest.raises(VectorError, match="found 3 points for 4 clusters"):
        kmeans(np.zeros((3, 2), np.float32), 4)


def test_a_seeding_that_does_not_exist_is_named():
    with pytest.raises(QueryError, match=r"seeding is 'kmeans\+\+'; expected 'k-means\+\+' or 'sampled'"):
        kmeans(clustered(0), 2, seeding="kmeans++")


def test_points_that_are_not_finite_are_an_error():
    with pytest.raises(VectorError, match="NaN or infinite"):
        kmeans(np.array([[0.0], [np.nan]], np.float32), 1)


def test_points_are_not_modified():
    points = clustered(6)
    before = points.copy()
    kmeans(points, 10)
    np.testing.assert_array_equal(points, before)


def test_chunks_give_what_one_product_gives(monkeypatch):
    points, centroids = clustered(7), clustered(8, n=50)
    whole = nearest_centroids(points, centroids)
    monkeypatch.setattr("mmsearch.kmeans._BLOCK_VALUES", 333)
    for part, expected in zip(nearest_centroids(points, centroids), whole, strict=True):
        np.testing.assert_array_equal(part, expected)


def test_k_means_in_cells_is_within_10_percent_of_k_means():
    points = clustered(9, n=6000, spread=1)
    found = kmeans_in_cells(points, 256)
    assert found.centroids.shape == (256, 16)
    assert found.inertia <= 1.1 * kmeans(points, 256, seeding="sampled").inertia
    distances = np.square(points - found.centroids[found.labels]).sum(dtype=np.float64)
    np.testing.assert_allclose(found.inertia, distances, rtol=1e-4)


@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=12), share=st.floats(0, 1))
def test_shares_of_cells_sum_to_the_clusters_and_never_exceed_the_points(sizes, share):
    sizes = np.array(sizes)
    n_filled = int((sizes > 0).sum())
    total = n_filled + int(share * (sizes.sum() - n_filled))
    shares = _shares(sizes, total)
    assert shares.sum() == total
    assert (shares <= sizes).all()
    assert (shares[sizes > 0] >= 1).all()
