from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import QueryError
from mmsearch.query.identify import Gallery, Strangers, strength

NAMES = ("Ann", "Bob", "Cid")


def on_circle(*degrees):
    """Unit vectors float32 (n, 2) at these angles."""
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def circle_gallery():
    """Ann at 0 and 90 degrees, Bob at 30, Cid at 180."""
    return Gallery(on_circle(0, 30, 90, 180), [0, 1, 0, 2], NAMES)


def many_strangers(n=40, dim=16, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return Gallery(vectors, np.arange(n), [f"person {i}" for i in range(n)])


def test_an_identity_has_the_score_of_its_nearest_picture():
    gallery = circle_gallery()
    pooled = gallery.pooled(gallery.cosines(on_circle(60)))
    np.testing.assert_allclose(pooled, [[np.sqrt(3) / 2, np.sqrt(3) / 2, -0.5]], atol=1e-6)


def test_a_picture_that_is_left_out_takes_its_identity_along_if_it_is_the_last():
    gallery = circle_gallery()
    cosines = gallery.cosines(on_circle(30))
    cosines[0, 1] = -np.inf
    (guess,) = gallery.guesses(cosines, [{}])
    assert (gallery.names[guess.identity], guess.score) == ("Ann", pytest.approx(np.sqrt(3) / 2))


def test_verified_places_on_all_pictures_of_an_identity_go_before_any_cosine():
    gallery = circle_gallery()
    cosines = gallery.cosines(on_circle(170))
    (guess,) = gallery.guesses(cosines, [{0: 7, 2: 6, 1: 12}])
    assert (gallery.names[guess.identity], guess.n_inliers, guess.is_known) == ("Ann", 13, True)


def test_a_verified_identity_has_no_chance_where_the_descriptors_speak_for_another():
    gallery = many_strangers()
    cosines = gallery.cosines(gallery._vectors[:1])
    by_distance, by_places = gallery.guesses(np.repeat(cosines, 2, axis=0), [{}, {5: 9}])
    assert (by_distance.identity, by_places.identity) == (0, 5)
    assert by_distance.chance < 0.01
    assert by_places.chance is None


def test_a_gallery_that_is_too_small_to_learn_a_threshold_knows_only_what_is_verified():
    gallery = circle_gallery()
    assert gallery.strangers is None
    alone, verified = gallery.guesses(gallery.cosines(on_circle(0, 0)), [{}, {0: 9}])
    assert (alone.identity, alone.chance, alone.is_known) == (0, None, False)
    assert verified.is_known


def test_what_comes_first_by_visual_words_goes_before_the_greatest_cosine_that_strangers_have_too():
    gallery = circle_gallery()
    (guess,) = gallery.guesses(gallery.cosines(on_circle(60)), [{}], [3])
    assert (gallery.names[guess.identity], guess.chance, guess.is_known) == ("Cid", None, False)


def test_a_cosine_that_strangers_do_not_have_goes_before_visual_words():
    gallery = many_strangers()
    (guess,) = gallery.guesses(gallery.cosines(gallery._vectors[7:8]), [{}], [3])
    assert (guess.identity, guess.is_known) == (7, True)


def test_nine_places_make_an_identity_known_and_eight_do_not():
    gallery = circle_gallery()
    cosines = gallery.cosines(on_circle(60, 60))
    assert [guess.is_known for guess in gallery.guesses(cosines, [{0: 8}, {0: 5, 2: 4}])] == [False, True]


def test_two_identities_leave_no_second_one_to_learn_from():
    gallery = Gallery(np.random.default_rng(0).standard_normal((40, 8)), np.arange(40) % 2, ("Ann", "Bob"))
    assert gallery.strangers is None


def test_a_gallery_of_copies_learns_no_threshold():
    assert Gallery(np.ones((40, 8), np.float16), np.arange(40), list(map(str, range(40)))).strangers is None


def test_the_law_of_strangers_has_the_mean_and_deviation_of_what_it_was_learned_from():
    law = Strangers.of(np.array([0.0, 2.0]))
    assert law.scale == pytest.approx(np.sqrt(2) * np.sqrt(6) / np.pi)
    assert law.location + 0.5772156649 * law.scale == pytest.approx(1.0)
    assert law.chance(law.location) == pytest.approx(1 - np.exp(-1))


def test_the_chance_of_what_no_stranger_reaches_is_nothing_and_of_what_all_reach_is_one():
    law = Strangers(0.5, 0.01)
    assert law.chance(50.0) == pytest.approx(0.0)
    assert law.chance(-50.0) == 1.0


@given(low=st.floats(-2, 2), step=st.floats(0, 1))
def test_what_is_nearer_never_has_a_greater_chance(low, step):
    law = Strangers(0.3, 0.1)
    assert law.chance(low + step) <= law.chance(low)


def test_a_lead_over_the_second_identity_counts_twice():
    np.testing.assert_allclose(strength(np.float32([[0.5, 0.25, 0.0]])), [1.0])


def test_strangers_are_taken_for_known_ones_about_as_often_as_is_allowed():
    gallery = many_strangers(n=200)
    strangers = np.random.default_rng(1).standard_normal((1000, 16)).astype(np.float32)
    strangers /= np.linalg.norm(strangers, axis=1, keepdims=True)
    guesses = gallery.guesses(gallery.cosines(strangers), [{}] * 1000, false_rate=0.05)
    assert 0.03 <= np.mean([guess.is_known for guess in guesses]) <= 0.07


def test_the_pictures_of_an_identity_are_no_strangers_to_each_other():
    rng = np.random.default_rng(0)
    people = np.repeat(rng.standard_normal((40, 16)), 4, axis=0)
    gallery = Gallery(
        people + 0.2 * rng.standard_normal(people.shape), np.repeat(np.arange(40), 4), list(map(str, range(40)))
    )
    again = people[::4] + 0.2 * rng.standard_normal((40, 16))
    again /= np.linalg.norm(again, axis=1, keepdims=True)
    guesses = gallery.guesses(gallery.cosines(again.astype(np.float32)), [{}] * 40)
    assert [guess.identity for guess in guesses] == list(range(40))
    assert np.mean([guess.is_known for guess in guesses]) > 0.9


def test_lengths_of_descriptors_do_not_matter():
    gallery = many_strangers()
    longer = Gallery(3 * gallery._vectors, gallery.labels, gallery.names)
    assert longer.strangers.location == pytest.approx(gallery.strangers.location, abs=1e-5)


def test_a_gallery_of_one_identity_is_refused():
    with pytest.raises(QueryError, match="the gallery has one identity, 'Ann'; expected two or more"):
        Gallery(on_circle(0, 10), [0, 0], ["Ann"])
