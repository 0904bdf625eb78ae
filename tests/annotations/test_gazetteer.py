"""Positions have the names of what is near to them, and none at sea."""

from __future__ import annotations

import csv
import sys

import pytest

from mmsearch.annotations import gazetteer


def test_position_has_names_and_the_limit_of_tables_stays_as_it_was(monkeypatch):
    monkeypatch.setattr(gazetteer, "_CITY", 0)  # so that the list is read once
    limit = csv.field_size_limit()
    assert gazetteer.named(59.9115, 10.7579) == ("Oslo", "Norway")
    assert gazetteer.named(0.0, -30.0) == ()
    assert csv.field_size_limit() == limit


@pytest.mark.full
@pytest.mark.parametrize(
    ("position", "names"),
    [
        ((48.8584, 2.2945), ("Vanves", "Paris", "Île-de-France", "France")),
        ((59.9115, 10.7579), ("Oslo", "Norway")),
        ((47.5576, 10.7498), ("Schwangau", "Bavaria", "Germany")),
        ((64.2558, -20.13), ("South", "Iceland")),  # 56 km from the next town
        ((0.0, -30.0), ()),
    ],
)
def test_position_has_the_names_of_town_city_region_and_country(position, names):
    assert gazetteer.named(*position) == names


def test_positions_have_no_names_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "reverse_geocode", None)
    gazetteer._package.cache_clear()
    try:
        assert gazetteer.named(59.9115, 10.7579) is None
    finally:
        gazetteer._package.cache_clear()
