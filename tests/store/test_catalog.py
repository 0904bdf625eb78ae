"""What pages and counts by date cost: they go along the index of dates, so that no library is read whole."""

from __future__ import annotations

import pytest

from mmsearch.store.catalog import PageEnd
from mmsearch.store.facets import count_months
from mmsearch.store.where import SqlCondition, condition_of


def plans_of(catalog, ask):
    """What SQLite did for each statement of a question."""
    statements = []
    catalog.db.set_trace_callback(statements.append)
    ask()
    catalog.db.set_trace_callback(None)
    return [" ".join(row[3] for row in catalog.db.execute(f"EXPLAIN QUERY PLAN {sql}")) for sql in statements]


@pytest.mark.parametrize("after", [None, PageEnd(5, b"/5.jpg", "2023-05-01"), PageEnd(5, b"/5.jpg", "")])
@pytest.mark.parametrize("where", [[], ["taken = 2023-05"], ["taken >= 2020", "taken < 2024-01"]])
def test_page_by_date_is_read_along_the_index_of_dates(catalog, after, where):
    plans = plans_of(
        catalog, lambda: catalog.page(condition_of(where), order="taken", after=after, offset=0, limit=9)
    )
    assert plans
    assert all("USING INDEX image_taken" in plan and "TEMP B-TREE" not in plan for plan in plans)


def test_months_are_counted_in_the_index_of_dates_alone(catalog):
    (plan,) = plans_of(catalog, lambda: count_months(catalog, SqlCondition()))
    assert "SCAN image" not in plan
    assert "USING COVERING INDEX image_taken (taken>? AND taken<?)" in plan


def test_pictures_of_a_month_are_counted_in_the_index_of_dates_alone(catalog):
    condition = condition_of("taken = 2023-05")
    (plan,) = plans_of(catalog, lambda: catalog.count_where(condition.sql, condition.parameters))
    assert "USING COVERING INDEX image_taken" in plan
