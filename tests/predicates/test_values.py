"""Values of comparisons are what they mean, or a sentence."""

from __future__ import annotations

import math
import re
from operator import ge, gt, le, lt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import ArgumentError, QueryError
from mmsearch.predicates import Comparison


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("width", "800", 800), ("width", 800, 800), ("height", 800.0, 800), ("size", "2MB", 2_000_000),
        ("size", "1.5 k", 1_500), ("size", "1.005k", 1_005), ("size", "0.3M", 300_000), ("size", "2GiB", 2 * 10**9),
        ("width", "9" * 5_000, 2**62), ("size", 10**400, 2**62), ("size", 2**53 + 1, 2**53 + 1),
    ],
)  # fmt: skip
def test_a_number_is_whole_pixels_or_bytes(field, value, kept):
    assert Comparison(field, "=", value).value == kept


def test_an_orientation_is_one_of_three():
    assert Comparison("orientation", "!=", "Portrait").value == "portrait"
    for operator, value, said in (
        ("=", "tall", "expected landscape, portrait or square"),
        ("=", 1, "expected landscape, portrait or square"),
        ("<", "square", "ask by = or !="),
        ("~", "s*", "works on path"),
    ):
        with pytest.raises(QueryError, match=said):
            Comparison("orientation", operator, value)


@given(
    number=st.decimals(0, 50, places=2),
    pixels=st.integers(0, 60),
    compared=st.sampled_from([("<", lt), ("<=", le), (">", gt), (">=", ge)]),
)
def test_a_fraction_bounds_what_it_does_as_a_number(number, pixels, compared):
    sign, holds = compared
    kept = Comparison("width", sign, str(number)).value
    assert holds(pixels, kept) == holds(pixels, number)


@pytest.mark.parametrize(
    ("operator", "value", "kept"),
    [
        ("=", "2023", "2023"), ("=", 2023, "2023"), ("=", "2024-02-29", "2024-02-29"),
        ("<", "2023-05-01 12:30", "2023-05-01T12:30"), ("=", "2023-05-01T12", "2023-05-01T12"),
        ("<=", "2023-02-31", "2023-02-31"), (">", "0000", "0000"),
    ],
)  # fmt: skip
def test_a_date_is_kept_as_precise_as_it_is(operator, value, kept):
    assert Comparison("taken", operator, value).value == kept


@pytest.mark.parametrize("operator", ["=", "!=", "<", "<=", ">", ">="])
@pytest.mark.parametrize(
    "date", ["2023-15", "2023-00", "2023-05-32", "2023-05-00", "2023-13-01", "2023-05-01T24:10", "2023-05-01 12:60"]
)
def test_an_impossible_date_is_a_sentence(operator, date):
    with pytest.raises(QueryError, match=f"filter 'taken {operator} {date}': there is no such date; correct it"):
        Comparison("taken", operator, date)


@pytest.mark.parametrize(
    ("field", "operator", "value", "sentence"),
    [
        ("taken", "=", "2023-02-30", "there is no such date"), ("taken", "!=", "0000", "there is no such date"),
        ("taken", "=", "2023-5", "expected a date such as 2023"),
        ("taken", "=", "\u0662\u0660\u0662\u0663", "expected a date"),
        ("width", "=", "1.5", "a width is a whole number of pixels"), ("size", "!=", 0.5, "whole number of bytes"),
        ("width", "<", "5k", "expected a number, found '5k'"), ("width", "<", "-5", "expected a number"),
        ("width", "<", -5, "expected a number"), ("width", "<", math.nan, "expected a number"),
        ("width", "<", math.inf, "expected a number"), ("taken", "~", "2023*", "~ (glob) works on path"),
        ("colour", "=", "red", "is not understood"), ("width", "==", "5", "is not understood"),
        ("name", "=", "", "is not understood"), ("name", "=", "\ud800", "holds half a character"),
    ],
)  # fmt: skip
def test_a_value_that_means_nothing_is_a_sentence(field, operator, value, sentence):
    with pytest.raises(QueryError, match=re.escape(sentence)):
        Comparison(field, operator, value)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("width", True, "the value of width is True (bool); expected a number"),
        ("width", None, "expected a number"), ("name", 5, "the value of name is 5 (int); expected a text"),
        ("taken", 2023.0, "expected a text"), ("taken", True, "expected a text"),
        ("path", b"/a", "expected a text"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(field, value, sentence):
    with pytest.raises(ArgumentError, match=re.escape(sentence)):
        Comparison(field, "=", value)
