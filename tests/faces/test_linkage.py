from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering

from mmsearch.faces import linkage
from mmsearch.faces.groups import group_faces
from mmsearch.faces.linkage import Forbidden, Linkage


def blobs(seed, *, n_people=12, n=80, dim=16, spread=0.12):
    """Faces around people, and whose they are."""
    rng = np.random.default_rng(seed)
    people = rng.integers(n_people, size=n)
    vectors = rng.standard_normal((n_people, dim))[people] / np.sqrt(dim) + spread * rng.standard_normal((n, dim))
    return vectors.astype(np.float32), people


def is_together(groups):
    return groups[:, None] == groups


def by_oracle(vectors, distance):
    """Groups by average linkage over all squared distances, as scikit-learn joins them one by one."""
    squares = ((vectors[:, None].astype(np.float64) - vectors) ** 2).sum(axis=2)
    clustering = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=distance**2
    )
    return clustering.fit_predict(squares)


@given(seed=st.integers(0, 2**32 - 1), distance=st.floats(0.3, 1.2))
def test_groups_are_those_of_average_linkage(seed, distance):
    vectors, _ = blobs(seed)
    np.testing.assert_array_equal(
        is_together(group_faces(vectors, distance=distance)), is_together(by_oracle(vectors, distance))
    )


def test_groups_are_those_of_average_linkage_where_few_neighbours_are_known_and_pictures_come_in_blocks(
    monkeypatch,
):
    monkeypatch.setattr(linkage, "_NEAREST", 2)
    monkeypatch.setattr(linkage, "_ROWS", 16)
    monkeypatch.setattr(linkage, "_COLUMNS", 32)
    for seed in range(40, 50):  # nearest groups are hard to keep track of where there are no people
        vectors = np.random.default_rng(seed).standard_normal((60, 3)).astype(np.float32)
        np.testing.assert_array_equal(
            is_together(group_faces(vectors, distance=1.5)), is_together(by_oracle(vectors, 1.5))
        )


def test_corners_of_a_regular_simplex_of_which_none_is_nearer_than_others_become_one_group():
    assert set(group_faces(np.eye(9, dtype=np.float32), distance=1.5)) == {0}


def test_of_three_that_each_prefer_another_by_rounding_the_nearest_pair_is_joined():
    joining = Linkage(np.eye(3, dtype=np.float32), np.arange(3), 2, Forbidden.of(3, [], []))
    joining._near[:, 0], joining._far[:, 0] = [1, 2, 0], [2.0000002, 2, 2.0000001]
    assert [places.tolist() for places in joining._mutual(np.arange(3))] == [[1], [2]]


def test_equal_faces_are_joined_before_any_round(monkeypatch):
    rounds = []
    monkeypatch.setattr(Linkage, "_mutual", lambda *given: rounds.append(given))
    assert set(group_faces(np.ones((100, 4), np.float32))) == {0}
    assert not rounds


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_faces_are_grouped(n):
    assert group_faces(np.ones((n, 4), np.float32)).tolist() == [0] * n
