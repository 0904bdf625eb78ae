from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from contextlib import suppress

from mmsearch import system
from tests.conftest import limited


def test_cores_are_those_this_process_may_use_or_those_of_the_machine_where_no_set_is_kept(monkeypatch):
    assert system.n_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert system.n_cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert system.n_cores() == 1


def test_bytes_that_the_other_side_has_not_confirmed_are_counted():
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as sender,
        listener.accept()[0] as reader,
    ):
        assert system.unconfirmed_bytes(sender.fileno()) == 0
        sender.setblocking(False)
        n_sent = 0
        with suppress(BlockingIOError):
            while True:
                n_sent += sender.send(bytes(1 << 16))
        before = system.unconfirmed_bytes(sender.fileno())
        assert 0 < before < n_sent
        reader.recv(n_sent)
        end = time.monotonic() + 30
        while system.unconfirmed_bytes(sender.fileno()) >= before:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_where_a_system_does_not_count_them_none_are_unconfirmed(tmp_path):
    with (tmp_path / "file").open("w") as file:
        assert system.unconfirmed_bytes(file.fileno()) == 0


def test_more_files_may_be_open_up_to_what_is_allowed():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with limited(resource.RLIMIT_NOFILE, 300):
        assert system.allow_open_files(200) == 200
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300
        assert system.allow_open_files(400) == 400
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 400
        assert system.allow_open_files(hard + 1) == hard
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


FREED = """
import resource, sys
from pathlib import Path
from mmsearch import system
if sys.argv[1] == "apart":
    system.keep_large_blocks_apart(1 << 22)
def in_use():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
bytes(20 << 20)
before, kept = in_use(), []
blocks = []
for i in range(10):
    blocks.append(b"x" * (10 << 20))
    kept.append(b"y" * 5_000)  # stays above each
del blocks
print(in_use() - before)
"""


def test_large_blocks_that_were_freed_are_given_back():
    command = [sys.executable, "-c", FREED]
    kept, apart = (
        int(subprocess.run([*command, how], capture_output=True, check=True).stdout) for how in ("as ever", "apart")
    )
    assert apart < 10 << 20 < kept


def test_available_memory_is_within_that_of_the_machine():
    everything = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < system.available_memory() <= everything


def test_where_nobody_says_what_is_free_all_of_the_memory_is_taken_for_available(monkeypatch):
    monkeypatch.setattr(system, "_meminfo_available", lambda: None)
    monkeypatch.setattr(system, "_left_in_groups", list)
    assert system.available_memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.delattr(os, "sysconf")
    assert system.available_memory() is None
