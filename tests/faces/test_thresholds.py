from __future__ import annotations

import numpy as np
import pytest

from mmsearch.errors import DimensionError, QueryError, VectorError
from mmsearch.faces.thresholds import FaceGallery

DIM = 128
WITHIN = 0.35 / np.sqrt(2 * DIM)
"""Of each dimension: two faces of a person are 0.35 apart, and two people about 0.8."""


def people(n, seed=0):
    """Return the middles of so many people."""
    return (np.random.default_rng(seed).standard_normal((n, DIM)) * 0.72 / np.sqrt(2 * DIM)).astype(
        np.float32
    ) + 0.1


def faces_of(middles, n_each, seed=1):
    """Return so many faces of each, and whose they are."""
    labels = np.repeat(np.arange(len(middles)), n_each)
    noise = np.random.default_rng(seed).standard_normal((len(labels), DIM)) * WITHIN
    return (middles[labels] + noise).astype(np.float32), labels


def gallery_of(middles, n_each=3, **more):
    vectors, labels = faces_of(middles, n_each)
    return FaceGallery(vectors, labels, [f"person {n}" for n in range(len(middles))], **more)


def test_known_faces_get_their_names_and_strangers_none():
    gallery = gallery_of(people(20))
    asked, labels = faces_of(people(20), 5, seed=2)
    known = gallery.identify(asked)
    strangers = gallery.identify(faces_of(people(20, seed=9), 5)[0])
    assert np.mean([guess.name == f"person {label}" for guess, label in zip(known, labels, strict=True)]) > 0.95
    assert np.mean([guess.name is not None for guess in strangers]) <= 0.03
    assert min(guess.probability for guess in known if guess.name) > max(
        guess.probability for guess in strangers if guess.name is None
    )


def test_a_distance_is_that_to_the_nearest_face_and_a_face_of_the_gallery_is_known_for_certain():
    gallery = gallery_of(people(20))
    (guess,) = gallery.identify(gallery._vectors[4:5])
    assert (guess.name, guess.nearest) == ("person 1", "person 1")
    assert guess.distance == pytest.approx(0, abs=2e-3)
    assert guess.probability > 0.95


def test_the_score_of_a_person_is_half_the_nearest_and_half_the_mean_but_for_faces_that_are_left_out():
    gallery = FaceGallery(np.eye(4, dtype=np.float32), [0, 0, 1, 1], ["Ann", "Bob"])
    pooled = gallery.pooled(np.float32([[1, 0, 0.5, -np.inf], [-np.inf, -np.inf, 0, 0]]))
    np.testing.assert_allclose(pooled, [[0.75, 0.5], [-np.inf, 0]])


def test_a_distance_is_that_to_the_likeliest_person_though_another_has_a_nearer_face():
    places = np.float32([[0, 1], [1.3, 1], [-0.4, 1], [-0.4, 1], [50, 1]])
    (guess,) = FaceGallery(places, [0, 0, 1, 1, 2], ["Ann", "Bob", "Cid"]).identify(np.float32([[0, 1]]))
    assert (guess.nearest, guess.distance) == ("Bob", pytest.approx(0.4, abs=1e-3))


def test_one_face_a_person_is_enough_for_names_but_not_for_probabilities():
    gallery = gallery_of(people(20), n_each=1)
    guesses = gallery.identify(faces_of(people(20), 1, seed=2)[0])
    assert sum(guess.name is not None for guess in guesses) >= 15
    assert {guess.probability for guess in guesses} == {None}


def test_a_gallery_of_two_knows_nobody_unless_strangers_are_shown_to_it():
    asked = faces_of(people(2), 1, seed=2)[0]
    alone = gallery_of(people(2)).identify(asked)
    assert [(guess.name, guess.chance, guess.probability) for guess in alone] == [(None, None, None)] * 2
    shown = gallery_of(people(2), strangers=faces_of(people(20, seed=9), 2)[0])
    assert [guess.name for guess in shown.identify(asked)] == ["person 0", "person 1"]


def test_one_person_under_two_names_is_said_and_spoils_no_threshold():
    middles = people(12)
    twice = np.concatenate([middles, middles[:1]])
    gallery = gallery_of(twice)
    assert gallery.same_people == (("person 0", "person 12"),)
    assert gallery.strangers.location == pytest.approx(gallery_of(middles).strangers.location, abs=0.05)
    others = gallery.identify(faces_of(middles[1:], 3, seed=2)[0])
    assert np.mean([guess.name is not None for guess in others]) > 0.9


def test_two_people_under_one_name_are_said():
    middles = people(12)
    vectors, labels = faces_of(middles, 3)
    labels[labels == 11] = 0
    gallery = FaceGallery(vectors, labels, [f"person {n}" for n in range(11)])
    assert gallery.mixed_people == ("person 0",)
    assert gallery_of(middles).mixed_people == gallery_of(middles).same_people == ()


def test_no_faces_have_no_guesses():
    assert gallery_of(people(3)).identify(np.zeros((0, DIM), np.float32)) == []


def test_faces_whose_vectors_say_nothing_are_refused():
    vectors, labels = faces_of(people(3), 2)
    broken = vectors.copy()
    broken[2, 5] = np.nan
    names = ["a", "b", "c"]
    with pytest.raises(VectorError, match="faces of the gallery: row 2 of 6"):
        FaceGallery(broken, labels, names)
    with pytest.raises(VectorError, match="faces of strangers: row 2 of 6"):
        FaceGallery(vectors, labels, names, broken)
    with pytest.raises(VectorError, match="faces: row 2 of 6"):
        FaceGallery(vectors, labels, names).identify(broken)
    with pytest.raises(DimensionError, match="queries have 64 dimensions"):
        FaceGallery(vectors, labels, names).identify(vectors[:, :64])


def test_one_person_is_no_gallery():
    with pytest.raises(QueryError, match="the gallery has one identity, 'person 0'"):
        gallery_of(people(1))
