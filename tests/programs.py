"""Programs beside Python that tests look at the product with: Chromium and strace."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

REQUIRED = os.environ.get("MMSEARCH_TEST_PROGRAMS") == "required"


def path_of(program: str, *, required: bool = REQUIRED) -> str:
    """Return where a program is; a test that needs it cannot run without it."""
    path = shutil.which(program)
    if path is None:
        missing(f"{program} is not installed; install the Debian package {program}", required=required)
    return path


def missing(reason: str, *, required: bool = REQUIRED) -> NoReturn:
    """Skip a test that cannot run here; where every program was promised, as in CI, it fails."""
    if required:
        pytest.fail(f"{reason} (MMSEARCH_TEST_PROGRAMS=required: tests may not be skipped for want of it)")
    pytest.skip(reason)
