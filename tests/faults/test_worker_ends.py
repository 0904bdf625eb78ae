"""What ends a worker costs at most the file it was at, and is called what it is."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
from itertools import islice
from pathlib import Path

import pytest

from mmsearch.errors import EncoderError, PictureError
from mmsearch.ingest import pool as workers
from mmsearch.ingest.plan import make_plan
from mmsearch.ingest.pool import WorkerPool
from mmsearch.ingest.run import execute
from mmsearch.ingest.worker import Job
from mmsearch.processes.process import PROGRAM
from mmsearch.records import BadPicture
from mmsearch.samples import sample_folder
from mmsearch.store.folder import Store
from tests.conftest import copied_samples
from tests.pools import SABOTAGED, outcomes, pool_of, sabotaged


def with_one_named(folder, name, position=5, n=12):
    """The first sample photographs and, among them, one of that name; returns all of them and that one."""
    files = sorted(copied_samples(folder / "photos", n).iterdir())
    bad = folder / f"{name}.jpg"
    shutil.copyfile(files[0], bad)
    files.insert(position, bad)
    return files, str(bad)


LIMITS = {"hang": {"file_timeout_s": 1.0}, "stop": {"file_timeout_s": 1.0}, "stuck": {"cpu_timeout_s": 0.5}}


@pytest.mark.parametrize(
    ("manner", "code", "reason"),
    [
        ("crash", "quarantined", "signal 11), 2 times"),
        ("abort", "quarantined", "signal 6), 2 times"),
        ("exit", "quarantined", "exit code 7), 2 times"),
        ("eat", "out_of_memory", "than a worker may take, 2 times"),
        ("kill", "killed", "from outside (signal 9), 3 times"),
        ("term", "killed", "from outside (signal 15), 3 times"),
        ("hang", "timeout", "longer than the time limit (1 s), 2 times"),
        ("stuck", "timeout", "time limit (0.5 s of computing), 2 times"),
    ],
)
def test_file_that_ends_its_worker_is_given_up_with_the_cause(tmp_path, tiny_folder, manner, code, reason):
    files, bad = with_one_named(tmp_path, manner)
    found = outcomes(sabotaged(tiny_folder, **LIMITS.get(manner, {})), files)
    assert found[bad].facts["code"] == code
    assert code in PictureError.REASONS
    assert reason in found[bad].facts["message"]
    assert all(found[str(file)].vector is not None for file in files if str(file) != bad)


def test_crash_leaves_no_image_of_the_memory_in_the_library(tmp_path, tiny_folder):
    files, _ = with_one_named(tmp_path, "crash", n=1)
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        command = [sys.executable, str(SABOTAGED), str(tiny_folder), "64"]
        outcomes(WorkerPool(command, cwd=tmp_path), files)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    assert not list(tmp_path.glob("core*"))


@pytest.mark.parametrize("position", [0, 11])
def test_file_that_crashes_its_worker_is_found_wherever_it_stands_in_a_batch(tmp_path, tiny_folder, position):
    files, bad = with_one_named(tmp_path, "crash", position)
    found = outcomes(sabotaged(tiny_folder), files)
    assert [path for path, one in found.items() if one.vector is None] == [bad]


@pytest.mark.parametrize("name", ["once-kill", "once-stop", "once-crash"])
def test_file_is_read_at_its_second_try(tmp_path, tiny_folder, name):
    files, bad = with_one_named(tmp_path, name)
    found = outcomes(sabotaged(tiny_folder, **LIMITS.get(name.removeprefix("once-"), {})), files)
    assert os.path.exists(f"{bad}.seen")
    assert all(one.vector is not None for one in found.values())


def test_file_on_a_slow_disk_is_waited_for(tmp_path, tiny_folder):
    files, slow = with_one_named(tmp_path, "slow", n=1)
    assert outcomes(sabotaged(tiny_folder, cpu_timeout_s=0.5), files)[slow].vector is not None


@pytest.mark.usefixtures("cold_workers")
def test_no_picture_is_given_up_when_all_workers_are_killed_twice(tiny_folder):
    files, found = sorted(sample_folder().glob("*.jpg")), []
    with pool_of(tiny_folder) as pool:
        for n, batch in enumerate(pool.run(map(os.fsencode, files))):
            if n < 2:
                for child in Path("/proc/thread-self/children").read_text().split():
                    if b"start_worker" in Path(f"/proc/{child}/cmdline").read_bytes():  # there may be others
                        os.kill(int(child), signal.SIGKILL)
            found += batch
    assert sorted(os.fsdecode(one.path) for one in found) == list(map(str, files))
    assert all(one.vector is not None for one in found)


def test_killed_file_keeps_its_local_features(tmp_path, tiny_folder):
    files, bad = with_one_named(tmp_path, "once-kill", n=3)
    assert outcomes(sabotaged(tiny_folder), files, lambda: Job(local="features"))[bad].local.n > 0


@pytest.mark.full
def test_several_bad_files_are_each_given_up_and_the_run_is_committed(tmp_path, tiny, tiny_folder):
    folder = copied_samples(tmp_path / "photos")
    for name in ("crash1", "crash2", "abort1", "exit1"):
        shutil.copyfile(sample_folder() / "cat.jpg", folder / f"{name}.jpg")
    meta = {"dim": tiny.dim, "fingerprint": tiny.fingerprint, "model": "tiny"}
    with Store.writer(tmp_path / "library", create=meta) as store:
        plan = make_plan(store, [os.fsencode(folder)])
        report = execute(store, plan, tiny_folder, pool=sabotaged(tiny_folder))
        assert report.new == 29
        assert sorted((Path(bad.path).stem, bad.code) for bad in report.bad) == [
            (name, "quarantined") for name in ("abort1", "crash1", "crash2", "exit1")
        ]
        again = make_plan(store, [os.fsencode(folder)])
        assert (len(again.to_embed), again.n_known_bad) == (0, 4)
        assert all(isinstance(bad, BadPicture) for bad in store.catalog.bad_pictures())


# -- workers that do not start -------------------------------------------------------------------------

STARTS = """
import os, runpy, signal, sys
with open("starts", "ab") as file:
    file.write(b".")
    n = file.tell()
if n <= int(sys.argv.pop(1)):
    os.kill(os.getpid(), signal.SIGKILL)
sys.path.insert(0, sys.argv.pop(1))
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def killed_at_first(cwd, n, encoder, **options):
    """A pool whose first n workers are killed while they start."""
    command = [sys.executable, "-c", STARTS, str(n), str(PROGRAM.parents[2]), str(PROGRAM), "ingest.worker"]
    command += [str(encoder), "64"]
    return WorkerPool(command, cwd=cwd, **{"n_workers": 2, **options})


def test_workers_killed_while_they_start_are_started_again(tmp_path, tiny_folder):
    files = sorted(sample_folder().glob("*.jpg"))
    found = outcomes(killed_at_first(tmp_path, 5, tiny_folder), files)
    assert sum(one.vector is not None for one in found.values()) == len(files)


def test_workers_that_are_killed_at_every_start_end_the_run_with_the_cause(tmp_path, tiny_folder, monkeypatch):
    monkeypatch.setattr(workers, "_PAUSE_S", 0)
    with pytest.raises(EncoderError, match=r"from outside \(signal 9\), 1\d times; is memory short\?"):
        outcomes(killed_at_first(tmp_path, 1000, tiny_folder), [sample_folder() / "cat.jpg"])
    assert (tmp_path / "starts").stat().st_size < 20


@pytest.mark.usefixtures("cold_workers")
@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise SystemExit(3)", r"ended the worker \(exit code 3\)$"),
        ("raise SystemExit('no such thing')", r"ended the worker \(exit code 1\): no such thing$"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", r"ended the worker \(signal 4\)$"),
        ("raise SystemExit(86)", r"needed more memory than a worker may take$"),
        ("import time; time.sleep(100)", r"took longer than the time limit \(0.2 s\)$"),
    ],
)
def test_worker_that_cannot_load_its_encoder_says_how_it_ended(tmp_path, program, said):
    pool = WorkerPool([sys.executable, "-c", program], cwd=tmp_path, n_workers=1, tower_timeout_s=0.2)
    with pytest.raises(EncoderError, match=f"no worker could be started: loading the encoder {said}"):
        outcomes(pool, [sample_folder() / "cat.jpg"])


@pytest.fixture
def leave_descriptors():
    """Allow this process to open so many more files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def leave(n):
        opened = {int(name) for name in os.listdir("/proc/self/fd")}
        free = (number for number in range(before[0]) if number not in opened)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next(islice(free, n, None)), before[1]))

    yield leave
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("cold_workers")
@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_too_many_open_files_are_one_sentence(tiny_folder, leave_descriptors, n):
    leave_descriptors(n)
    with pytest.raises(EncoderError, match=r"no worker could be started \(Too many open files\); .*`ulimit -n`"):
        outcomes(pool_of(tiny_folder), [sample_folder() / "cat.jpg"])


@pytest.mark.usefixtures("cold_workers")
def test_run_goes_on_with_the_workers_that_could_be_started(tiny_folder, leave_descriptors):
    files = sorted(sample_folder().glob("*.jpg"))
    leave_descriptors(10)
    found = outcomes(pool_of(tiny_folder, n_workers=4), files)
    assert sum(one.vector is not None for one in found.values()) == len(files)


@pytest.mark.usefixtures("cold_workers")
def test_missing_folder_of_the_library_is_one_sentence(tiny_folder, tmp_path):
    with pytest.raises(EncoderError, match=r"no worker could be started \(No such file or directory\)"):
        outcomes(WorkerPool.for_encoder(tiny_folder, cwd=tmp_path / "gone"), [sample_folder() / "cat.jpg"])
