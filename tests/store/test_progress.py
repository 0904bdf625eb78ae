"""What a run of `index` shows to other processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmsearch.store.progress import PROGRESS, read_progress, shown_progress


def test_progress_is_read_while_the_writer_works_and_gone_afterwards(tmp_path):
    told = []
    with shown_progress(tmp_path, lambda *what: told.append(what)) as on_progress:
        on_progress("embed", 3, 10)
        progress = read_progress(tmp_path)
    assert (progress.stage, progress.done, progress.total) == ("embed", 3, 10)
    assert told == [("embed", 3, 10)]
    assert read_progress(tmp_path) is None


def test_a_shorter_line_leaves_nothing_of_a_longer_one(tmp_path):
    with shown_progress(tmp_path, lambda *_: None) as on_progress:
        on_progress("vocabulary", 123456, 999999)
        on_progress("scan", 1, 0)
        assert read_progress(tmp_path).stage == "scan"


def test_progress_of_a_killed_writer_is_not_shown(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from mmsearch.store.progress import shown_progress\n"
        "with shown_progress(Path(sys.argv[1]), lambda *_: None) as told:\n"
        "    told('embed', 1, 2); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"ready\n"
        assert read_progress(tmp_path).done == 1
        os.kill(writer.pid, signal.SIGKILL)
    assert (tmp_path / PROGRESS).stat().st_size > 0
    assert read_progress(tmp_path) is None


@pytest.mark.parametrize("line", [b"", b"{", b"[1]", b'{"stage": "embed"}'])
def test_a_line_that_means_nothing_is_no_progress(tmp_path, line):
    with shown_progress(tmp_path, lambda *_: None):
        (tmp_path / PROGRESS).write_bytes(line)
        assert read_progress(tmp_path) is None


def writes_of_this_process():
    return int(re.search(r"^syscw: (\d+)$", Path("/proc/self/io").read_text(), re.MULTILINE)[1])


def test_of_many_steps_few_are_written_and_the_last_of_a_stage_is(tmp_path):
    with shown_progress(tmp_path, lambda *_: None) as on_progress:
        before = writes_of_this_process()
        for done in range(1, 5001):
            on_progress("embed", done, 5000)
        assert 2 <= writes_of_this_process() - before < 100  # five a second at most
        assert read_progress(tmp_path).done == 5000
        on_progress("words", 1, 9)
        assert read_progress(tmp_path).stage == "words"


def test_the_file_is_closed_by_the_writer_and_by_readers(tmp_path):
    def is_open():
        return any(os.path.realpath(f"/proc/self/fd/{fd}").endswith(PROGRESS) for fd in os.listdir("/proc/self/fd"))

    with shown_progress(tmp_path, lambda *_: None) as on_progress:
        on_progress("embed", 1, 2)
        assert is_open()
    read_progress(tmp_path)
    assert not is_open()


def test_a_folder_that_cannot_be_written_stops_no_run(tmp_path):
    told = []
    with shown_progress(tmp_path / "missing", lambda *what: told.append(what)) as on_progress:
        on_progress("scan", 1, 0)
    assert told == [("scan", 1, 0)]


def test_status_shows_the_run_of_another_process(indexed, photos):
    seen = []
    (photos / "copy.jpg").write_bytes((photos / "cat.jpg").read_bytes() + b"\0")
    indexed.index([photos], local=False, on_progress=lambda *_: seen.append(indexed.status().progress))
    assert {progress.stage for progress in seen if progress} >= {"scan"}
    assert indexed.status().progress is None
