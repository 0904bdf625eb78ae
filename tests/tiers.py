"""Which cases of a test run by default, and which only with `-m full`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest


def tiered(cases: Sequence, by_default: Collection) -> list:
    """Return cases for `pytest.mark.parametrize`; those that do not run by default are marked `full`."""
    assert all(case in cases for case in by_default), "a case that is to run by default is no case"
    return [
        case
        if case in by_default
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.full)
        for case in cases
    ]
