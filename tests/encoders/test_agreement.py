from __future__ import annotations

import numpy as np
import pytest

from mmsearch.encoders.agreement import agreement_of, require_agreement
from mmsearch.errors import EncoderError
from mmsearch.vectors import l2_normalize
from tests.conftest import random_units

GOOD = {"n_pictures": 200, "cosine": 0.9995, "centred": 0.997, "neighbours": 0.99, "texts": 0.98}
NO_TEXTS = np.zeros((0, 2), np.float32)


def directions(*degrees):
    """Unit vectors (n, 2) of these directions."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_vectors_agree_wholly_with_themselves():
    vectors, texts = random_units(40, 16), random_units(5, 16, seed=1)
    measured = agreement_of(vectors, vectors, texts)
    assert (measured["n_pictures"], measured["neighbours"], measured["texts"]) == (40, 1.0, 1.0)
    assert min(measured["cosine"], measured["centred"]) > 0.99999


def test_the_picture_that_agrees_least_counts():
    measured = agreement_of(directions(0, 90, 180, 270), directions(0, 90, 180, 240), NO_TEXTS)
    assert measured["cosine"] == pytest.approx(np.cos(np.radians(30)), abs=1e-5)
    assert measured["centred"] == pytest.approx(np.cos(np.radians(30)), abs=1e-5)  # their mean is 0
    assert measured["texts"] is None


def test_a_common_direction_hides_no_difference():
    expected = l2_normalize(np.float32([10, 0, 0]) + random_units(50, 3))
    given = l2_normalize(np.float32([10, 0, 0]) + random_units(50, 3, seed=1))
    measured = agreement_of(expected, given, random_units(4, 3, seed=2))
    assert measured["cosine"] > 0.97
    assert measured["centred"] < 0.5


def test_neighbours_are_those_of_each_picture_among_the_others():
    # The second picture leaves the first for the third, whose nearest it stays.
    measured = agreement_of(directions(0, 10, 25), directions(0, 16, 25), NO_TEXTS)
    assert measured["neighbours"] == pytest.approx(2 / 3, abs=1e-5)


def test_the_first_ten_pictures_of_a_text_are_compared_as_sets():
    expected = directions(*range(0, 60, 5))  # twelve, of which a text at 0 sees ten first
    given = expected.copy()
    given[[9, 10]] = given[[10, 9]]  # the tenth and the eleventh change places
    assert agreement_of(expected, given, directions(0))["texts"] == pytest.approx(0.9, abs=1e-5)
    given = expected.copy()
    given[[0, 9]] = given[[9, 0]]
    assert agreement_of(expected, given, directions(0))["texts"] == 1.0


def test_vectors_that_agree_are_admitted_with_texts_or_without():
    require_agreement(GOOD, "some/model", "int8")
    require_agreement({**GOOD, "texts": None}, "some/model", "int8")


@pytest.mark.parametrize(
    ("low", "sentence"),
    [
        ({"cosine": 0.9989}, r"a vector has a cosine of 0.9989 to that of fp32 \(expected 0.999 at least\)"),
        (
            {"centred": 0.99},
            r"a vector has, the mean taken off, a cosine of 0.99 to that of fp32 \(expected 0.995",
        ),
        ({"neighbours": 0.975}, r"the share with the same nearest picture is 0.975 \(expected 0.98 at least\)"),
        ({"texts": 0.96406}, r"the share of a text's first ten pictures that stay is 0.96406 \(expected 0.97"),
        ({"cosine": float("nan")}, r"a cosine of nan"),
        ({"cosine": 0.9, "texts": 0.5}, r"cosine of 0.9 .* and the share of a text's first ten .* 0.5 "),
        ({"cosine": 0.99896}, r"a cosine of 0.99896 to that of fp32 \(expected 0.999 at least\)"),  # not rounded up
    ],
)
def test_each_criterion_that_is_not_met_is_named_with_its_figure(low, sentence):
    with pytest.raises(EncoderError, match=r"int8 is refused for some/model: on 200 pictures .*" + sentence):
        require_agreement({**GOOD, **low}, "some/model", "int8")


def test_a_tower_that_gives_no_numbers_is_refused():
    given = directions(0, 90, 180, 270)
    given[2] = np.nan
    with pytest.raises(EncoderError, match="a cosine of nan to that of fp32"):
        require_agreement(agreement_of(directions(0, 90, 180, 270), given, NO_TEXTS), "some/model", "int8")
