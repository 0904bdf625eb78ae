"""Runs `mmsearch` as a real process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import warm
from tests.forms import check_run


@pytest.fixture
def run(tmp_path, cache, tiny_folder):
    """Run `mmsearch ARGUMENTS`; returns exit code, standard output and standard error.

    Whatever JSON it prints follows the schema of the command. It is a process that had loaded the program before it
    began; with a `run.program` it is a fresh Python with these arguments before ours.
    """
    environment = {
        **os.environ, "MMSEARCH_LIBRARY": str(tmp_path / "library"), "MMSEARCH_CACHE": str(cache),
        "COLUMNS": "100", "TERM": "dumb", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip

    def run(*arguments, **options):
        arguments = [*map(os.fspath, arguments)]
        options |= {"env": environment, "timeout": 120}
        if run.program is None:
            done = warm.run([sys.executable, "-m", "mmsearch", *arguments], **options)
        else:
            done = subprocess.run([sys.executable, *run.program, *arguments], capture_output=True, **options)
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        printed = done.stdout.decode(errors="surrogateescape")
        check_run(arguments, printed)
        return done.returncode, printed, done.stderr.decode()

    run.program, run.environment = None, environment
    return run
