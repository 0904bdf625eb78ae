"""Where Chromium and strace were promised, tests that need them fail without them; elsewhere they are skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import path_of

ROOT = Path(__file__).parents[1]
REASON = "no-such-program is not installed; install the Debian package no-such-program"


def test_a_test_is_skipped_for_want_of_a_program():
    with pytest.raises(pytest.skip.Exception, match=REASON):
        path_of("no-such-program", required=False)


def test_a_test_fails_for_want_of_a_program_that_was_promised():
    with pytest.raises(pytest.fail.Exception, match=f"{REASON}.*MMSEARCH_TEST_PROGRAMS=required"):
        path_of("no-such-program", required=True)


@pytest.mark.full
def test_tests_of_the_page_the_network_and_power_loss_fail_for_want_of_a_program_that_was_promised(tmp_path):
    tests = (
        "server/test_page.py::test_the_right_picture_is_first_when_typing_pauses",
        "faults/test_power_loss.py::test_all_that_a_run_writes_is_recorded[first]",
        "cli/test_network.py::test_the_check_of_network_calls_can_fail",
    )
    environment = os.environ | {"PATH": str(tmp_path), "MMSEARCH_TEST_PROGRAMS": "required"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/{test}" for test in tests)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1].startswith("3 errors in"), done.stdout


def test_ci_fails_with_a_sentence_where_a_program_cannot_be_installed(tmp_path):
    for tool in ("sh", "dirname", "sleep"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    (tmp_path / "apt-get").write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/tries\nexit 100\n')
    (tmp_path / "apt-get").chmod(0o755)
    environment = os.environ | {"PATH": str(tmp_path), "MMSEARCH_CI_PAUSE_S": "0"}
    done = subprocess.run([ROOT / ".ci/run"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "chromium and strace could not be installed; the tests of the page, the network" in done.stderr
    assert (tmp_path / "tries").read_text().split() == ["update", "update"]
