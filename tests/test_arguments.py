from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.arguments import (
    Expand,
    Mode,
    Rerank,
    as_count,
    as_moment,
    as_positive,
    ids_of,
    one_of,
    paths_of,
    texts_of,
)
from mmsearch.errors import ArgumentError, MmsearchError, QueryError

TEXTS = st.text()
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(text=TEXTS)
def test_one_text_is_a_list_of_that_text(text):
    assert texts_of(text, "labels") == texts_of([text], "labels") == (text,)


@given(name=NAMES)
def test_a_path_is_one_path_as_text_as_bytes_and_as_a_path(name):
    expected = (name.encode(),)
    assert paths_of(name, "paths") == paths_of(name.encode(), "paths") == paths_of([name], "paths") == expected
    if "\0" not in name:
        assert paths_of(Path(name), "paths") == (str(Path(name)).encode(),)


@given(texts=st.lists(TEXTS))
def test_every_iterable_is_read_once_in_its_order(texts):
    assert texts_of((text for text in texts), "labels") == texts_of(texts, "labels")
    assert texts_of(iter(texts), "labels") == tuple(texts)


@given(ids=st.lists(st.integers(0, 2**31 - 1)))
def test_ids_of_numpy_are_ids_of_python(ids):
    for given_ids in (ids, np.array(ids, dtype=np.int64), [np.uint32(one) for one in ids]):
        found = ids_of(given_ids, "relevant")
        assert found == tuple(ids)
        assert all(type(one) is int for one in found)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (True, r"relevant is True \(bool\); expected the id of a picture"),
        ([1, np.bool_(True)], r"relevant\[1\] is .*True.* \(bool\)"),
        (np.array([True]), r"relevant\[0\] is"),
        (2.0, r"relevant is 2.0 \(float\)"),
        (np.array([1.0]), r"relevant\[0\] is"),
        ("12", r"relevant is '12' \(str\)"),
        ([[1]], r"relevant\[0\] is \[1\] \(list\)"),
        (None, r"relevant is None \(NoneType\)"),
        ({1: 0.5}, "relevant is a mapping; give one value or a list"),
    ],
)
def test_what_is_no_id_is_refused_and_named(value, sentence):
    with pytest.raises(TypeError, match=sentence) as raised:
        ids_of(value, "relevant")
    assert isinstance(raised.value, MmsearchError)


@pytest.mark.parametrize("value", [5, None, b"snow", ["snow", 5], [b"snow"], [["snow"]], {"snow": 1}, np.array(3)])
def test_what_is_no_text_is_refused(value):
    with pytest.raises(ArgumentError, match="exclude"):
        texts_of(value, "exclude")


@pytest.mark.parametrize("value", [5, None, ["/a", 5], {"/a": 1}, bytearray(b"/a")])
def test_what_is_no_path_is_refused(value):
    with pytest.raises(ArgumentError, match="paths"):
        paths_of(value, "paths")


def test_an_empty_path_is_not_the_current_folder():
    with pytest.raises(QueryError, match=r"paths\[1\] is an empty path"):
        paths_of(["/a", ""], "paths")


def test_a_set_is_taken_only_where_order_means_nothing():
    assert ids_of({30, 4, 100}, "relevant") == (4, 30, 100)
    with pytest.raises(ArgumentError, match="labels is a set, which has no order; give one value or a list"):
        texts_of({"cat", "dog"}, "labels")


@pytest.mark.parametrize("words", [Mode, Rerank, Expand])
def test_an_option_takes_its_words_and_no_other(words):
    for word in get_args(words):
        assert one_of(word, "option", words) == word
        for other in (word.upper(), f"{word} ", [word], None):
            with pytest.raises(QueryError, match=f"expected {get_args(words)[0]!r}"):
                one_of(other, "option", words)


@pytest.mark.parametrize("value", [True, 1.0, "1", None, np.float64(2), np.bool_(True)])
def test_a_count_is_an_integer(value):
    with pytest.raises(ArgumentError, match=r"k is .*; expected an integer"):
        as_count(value, "k")


def test_a_count_may_be_of_numpy_and_is_above_zero():
    assert type(as_count(np.int32(3), "k")) is int
    with pytest.raises(QueryError, match="k is 0; expected at least 1"):
        as_count(np.int64(0), "k")


@pytest.mark.parametrize(
    "value",
    [0, -1.0, float("nan"), float("inf"), np.float32("nan"), pytest.param(10**400, id="too large for a float")],
)
def test_a_weight_is_finite_and_above_zero(value):
    with pytest.raises(QueryError, match="expected a number above 0"):
        as_positive(value, "weight")


@pytest.mark.parametrize(
    "value",
    [-1, 86_401, float("nan"), float("inf"), *(pytest.param(10**n, id=f"of {n} digits") for n in (400, 5000))],
)
def test_a_moment_is_a_time_that_a_film_can_have(value):
    with pytest.raises(QueryError, match="expected a time in seconds, 0 to 86400"):
        as_moment(value, "at")


def test_a_long_value_is_cut_in_the_message():
    with pytest.raises(ArgumentError) as raised:
        texts_of(b"x" * 10_000_000, "exclude")
    assert len(str(raised.value)) < 200
