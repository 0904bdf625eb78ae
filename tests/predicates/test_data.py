"""Filters as data: what JSON holds, and trees of Python."""

from __future__ import annotations

import json
import re
from functools import reduce

import pytest

from mmsearch import Query
from mmsearch.errors import ArgumentError, QueryError
from mmsearch.predicates import And, Comparison, Not, Or, all_of

WIDE = {"field": "width", "op": ">", "value": 800}
A = Comparison("width", ">", 800)
B = Comparison("name", "=", "a and width > 5")


@pytest.mark.parametrize(
    ("given", "tree"),
    [
        (WIDE, A),
        ({"and": [WIDE, "name ~ a*"]}, And((A, Comparison("name", "~", "a*")))),
        ({"or": [WIDE]}, Or((A,))),
        ({"not": {"not": WIDE}}, Not(Not(A))),
        ({"field": "name", "op": "=", "value": "a and width > 5"}, B),
        ({"or": [A, {"not": B}]}, Or((A, Not(B)))),
        (A, A),
    ],
)  # fmt: skip
def test_a_tree_as_data_is_that_tree(given, tree):
    assert Query("a", where=given).where == (tree,)
    assert Query("a", where=[given, "width > 1"]).where == (tree, "width > 1")


def test_trees_and_texts_of_a_set_have_one_order():
    filters = {A, B, "width < 5"}
    assert Query("a", where=filters).where == (B, "width < 5", A)


def test_all_filters_must_hold():
    assert all_of([]) is None
    assert all_of(["width > 800"]) == A
    assert all_of(["width > 800", B]) == And((A, B))


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        (5, ArgumentError, "where is 5 (int); expected a filter: a text such as 'width > 800', or a tree"),
        ([None], ArgumentError, "where[0] is None"),
        ({"or": "width > 800"}, ArgumentError, "where.or is 'width > 800' (str); expected a list of filters"),
        ({"or": [WIDE, 5]}, ArgumentError, "where.or[1] is 5 (int); expected a filter"),
        ({"not": [WIDE]}, ArgumentError, "where.not is [{"),
        ({}, QueryError, "where is a filter of nothing; expected {\"field\""),
        ({"xor": [WIDE]}, QueryError, "where is a filter of 'xor'; expected"),
        ({"and": [WIDE], "or": [WIDE]}, QueryError, "where is a filter of 'and', 'or'; expected"),
        ({"field": "width", "value": 5}, QueryError, "where is a filter of 'field', 'value'; expected"),
        ({"and": []}, QueryError, "of no filters; give at least one"),
        (json.loads('{"not":' * 30 + '"width > 1"' + "}" * 30), QueryError, "nested more than 20 deep"),
        ({"or": [WIDE] * 201}, QueryError, "201 comparisons in the filters; at most 200 are taken"),
    ],
)  # fmt: skip
def test_data_that_is_no_tree_is_a_sentence(given, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)):
        Query("a", where=given)


def test_a_tree_is_made_of_trees():
    with pytest.raises(ArgumentError, match="what `and`, `or` or `not` is made of is 'width > 800'"):
        Not("width > 800")
    deepest = reduce(lambda tree, _: Not(tree), range(20), A)
    with pytest.raises(QueryError, match="nested more than 20 deep"):
        Not(deepest)
