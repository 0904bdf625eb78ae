"""Filters by folder and path, as a catalog answers them by its index of paths."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.store import spelling
from mmsearch.store.spelling import spelled
from mmsearch.store.where import condition_of
from tests.store.conftest import list_only


def passing(catalog, condition):
    with catalog.reading():
        return sorted(image.path for image in catalog.page(condition, limit=99))


names = st.sampled_from(
    [
        "a",
        "a b",
        "\u00e9",
        "e\u0301",
        "\u00e9e\u0301",
        "e\u0301\u00e9",
        "\u1ebf",
        "\u00ea\u0301",
        "K",
        "\u212a",
        "\ufa19",
        "\udcff",
    ]
)
places = st.lists(names, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))


@settings(max_examples=60)
@given(paths=st.lists(places, unique=True, max_size=8), place=places, field=st.sampled_from(["folder", "path"]),
       operator=st.sampled_from(["=", "!="]), most=st.sampled_from([1, 5_000]))  # fmt: skip
def test_the_index_finds_what_comparing_every_path_does(catalog, paths, place, field, operator, most):
    list_only(catalog, paths)
    condition = condition_of([f"{field} {operator} {place}"])
    with pytest.MonkeyPatch.context() as patch, catalog.reading():
        patch.setattr(spelling, "_MOST_NAMES", most)
        spelled_condition = spelled(catalog, condition)
    assert passing(catalog, spelled_condition) == passing(catalog, condition)


def test_paths_are_not_compared_one_by_one_for_a_folder_in_another_form(catalog):
    list_only(catalog, [f"/\u00e9t\u00e9/{n}.jpg" for n in range(50)] + [f"/a/{n}.jpg" for n in range(50)])
    with catalog.reading():
        spelled_condition = spelled(catalog, condition_of(["folder = /e\u0301te\u0301"]))
    assert "composed" not in spelled_condition.sql
    assert len(passing(catalog, spelled_condition)) == 50


@pytest.mark.parametrize("expression", ["name = b.jpg", "name = \u00e9.jpg", "path ~ /\u00e9/*", "format = JPEG"])
def test_a_filter_that_names_no_place_is_asked_as_it_is(catalog, expression):
    condition = condition_of([expression])
    with catalog.reading():
        asked = spelled(catalog, condition)
    assert (asked.sql, asked.parameters) == (condition.sql, condition.parameters)
