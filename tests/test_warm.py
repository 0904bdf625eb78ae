"""Programs that the zygote forks are what they would be if they had been started."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import pytest

from mmsearch.processes.process import WorkerProcess, command_of
from tests import warm

PROGRAM = """
import json, os, resource, sys
limit = resource.getrlimit(resource.RLIMIT_CORE)[0]
print(json.dumps([sys.argv[1:], os.getcwd(), os.environ["GIVEN"], os.getppid(), limit, sys.stdin.read()]))
sys.exit(7)
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs are forked on Linux alone")


def test_a_program_is_a_child_with_its_arguments_folder_environment_limits_streams_and_exit_code(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, tmp_path / "program.py", "a b", "\udcff"]
    done = warm.run(command, cwd=tmp_path, env={"GIVEN": "yes"}, input="said", text=True)
    limit = resource.getrlimit(resource.RLIMIT_CORE)[0]
    expected = [["a b", "\udcff"], str(tmp_path), "yes", os.getpid(), limit, "said"]
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (7, expected, "")


def started(folder):
    with open(os.path.join(folder, "talk"), "wb") as talk:
        return WorkerProcess(command_of("processes.decode_worker"), cwd=Path(folder), talk=talk)


def is_forked(folder):
    worker = started(folder)
    while not (line := Path(f"/proc/{worker._process.pid}/cmdline").read_bytes()):
        assert not worker.has_ended()  # a program has no line for a moment as it begins
    worker.kill()
    worker.end()
    return b"start_worker" not in line


def test_workers_are_forked(tmp_path):
    assert is_forked(tmp_path)


@pytest.mark.usefixtures("cold_workers")
def test_cold_workers_are_not(tmp_path):
    assert not is_forked(tmp_path)
