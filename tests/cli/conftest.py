"""Runs `mmsearch` as a real process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.forms import check_run


@pytest.fixture
def run(tmp_path, cache, tiny_folder):
    """Run `mmsearch ARGUMENTS`; returns exit code, standard output and standard error.

    Whatever JSON it prints follows the schema of the command.
    """
    environment = {
        **os.environ, "MMSEARCH_LIBRARY": str(tmp_path / "library"), "MMSEARCH_CACHE": str(cache),
        "COLUMNS": "100", "TERM": "dumb", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip

    def run(*arguments, **options):
        command = [sys.executable, *run.program, *map(os.fspath, arguments)]
        done = subprocess.run(command, capture_output=True, env=environment, timeout=120, **options)
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        printed = done.stdout.decode(errors="surrogateescape")
        check_run(arguments, printed)
        return done.returncode, printed, done.stderr.decode()

    run.program, run.environment = ["-m", "mmsearch"], environment
    return run
