"""How processes start and end is looked at here: each is started as users have it started."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _as_users_have_them(cold_workers):
    pass
