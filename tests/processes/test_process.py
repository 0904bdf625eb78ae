"""A worker stands apart from where the user does, is never waited for, and ends with its parent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmsearch import system
from mmsearch.ingest.worker import Job
from mmsearch.processes import process as worker_process
from mmsearch.processes.process import PROGRAM, WorkerProcess, isolated_environment
from mmsearch.samples import sample_folder
from tests.conftest import copied_samples, small_samples
from tests.pools import SABOTAGED, outcomes, pool_of

HOSTILE = "from pathlib import Path; Path(__file__).with_suffix('.ran').touch(); raise SystemExit(9)"
MODULES = ("json", "numpy", "PIL", "mmsearch", "sitecustomize", "selectors", "cv2", "onnxruntime", "encodings")


@pytest.fixture
def hostile(tmp_path):
    """A folder of three photographs among files that are named like modules."""
    folder = copied_samples(tmp_path / "photos", 3)
    for name in MODULES:
        (folder / f"{name}.py").write_text(HOSTILE)
    return folder


@pytest.mark.parametrize("entries", [[""], [".", ""], ["photos", "../photos", ":"]])
def test_files_named_like_modules_are_not_run(tmp_path, hostile, tiny_folder, monkeypatch, entries):
    entries = [*entries, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entries))
    monkeypatch.chdir(tmp_path if "photos" in entries else hostile)
    found = outcomes(pool_of(tiny_folder), sorted(hostile.glob("*.jpg")), lambda: Job(local="features"))
    assert [one.facts.get("code") for one in found.values()] == [None] * 3
    assert all(one.vector is not None and one.local is not None for one in found.values())
    assert not list(hostile.glob("*.ran"))


@pytest.mark.parametrize(
    ("given", "kept"), [(None, None), ("", None), (".:", None), ("a:/b::../c:/d", "/b:/d"), ("/b", "/b")]
)
def test_only_absolute_entries_of_the_python_path_are_handed_on(monkeypatch, given, kept):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if given is not None:
        monkeypatch.setenv("PYTHONPATH", given)
    assert isolated_environment().get("PYTHONPATH") == kept
    assert isolated_environment()["OMP_NUM_THREADS"] == "1"


USED_WHERE_IT_LIES = """
import sys
from pathlib import Path
from mmsearch.ingest.pool import Job, WorkerPool
with WorkerPool.for_encoder(None, cwd=Path("library"), n_workers=1) as pool:
    (batch,) = pool.run([sys.argv[1].encode()], job=lambda: Job(embeds=False))
assert "code" not in batch[0].facts
"""


def test_worker_runs_the_package_of_its_parent_and_stands_in_the_library(tmp_path):
    shutil.copytree(PROGRAM.parents[1], tmp_path / "mmsearch", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "library").mkdir()
    with (tmp_path / "mmsearch" / "ingest" / "worker.py").open("a") as source:
        source.write("\nimport sys\nif sys.flags.safe_path:\n    Path('stands-here').touch()\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-c", USED_WHERE_IT_LIES, sample_folder() / "cat.jpg"],
        cwd=tmp_path, env=environment, check=True,
    )  # fmt: skip
    assert list(tmp_path.rglob("stands-here")) == [tmp_path / "library" / "stands-here"]


# -- requests ------------------------------------------------------------------------------------------


def test_request_larger_than_the_pipe_is_not_waited_for(tmp_path):
    program = (
        "import pathlib, sys, time\n"
        "while not pathlib.Path('go-on').exists(): time.sleep(0.01)\n"
        "print(len(sys.stdin.readline()), flush=True)"
    )
    with (tmp_path / "talk").open("w+b") as talk:
        worker = WorkerProcess([sys.executable, "-c", program], cwd=tmp_path, talk=talk)
        worker.ask({"paths": ["x" * 300_000]})
        worker.write()
        assert worker.is_owed
        (tmp_path / "go-on").touch()
        while worker.is_owed:
            worker.write()
        worker.end()


LONG_PATHS = """
import os, sys
from pathlib import Path
from mmsearch.ingest.worker import Job
from mmsearch.ingest.pool import WorkerPool
files = [os.path.join(sys.argv[2].encode(), name) for name in os.listdir(os.fsencode(sys.argv[2]))]
assert all(len(file) > 3_600 for file in files)
with WorkerPool.for_encoder(None, cwd=Path(sys.argv[1]), n_workers=2) as pool:
    batches = list(pool.run(files, job=lambda: Job(embeds=False, local="features")))
print(sum(one.local.n > 0 for batch in batches for one in batch))
"""


def test_files_of_long_names_in_which_no_byte_is_ascii_do_not_hang_the_run(tmp_path):
    n_whole, n_left = divmod(3_640 - len(os.fsencode(tmp_path)), 255)
    folder = tmp_path.joinpath(*["é" * 127] * n_whole, "é" * (n_left // 2))
    folder.mkdir(parents=True)
    photo = small_samples(tmp_path / "photos", 1) / "astronaut.jpg"
    for n in range(48):
        os.link(photo, folder / f"{n:08}.jpg")
    done = subprocess.run(
        [sys.executable, "-c", LONG_PATHS, tmp_path, folder], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, "48"), done.stderr


def test_worker_that_not_even_a_kill_ends_is_not_held_against_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_process, "_PATIENCE_S", 0.05)
    with (tmp_path / "talk").open("w+b") as talk:
        worker = WorkerProcess([sys.executable, "-c", "import time; time.sleep(100)"], cwd=tmp_path, talk=talk)
        process = worker._process
        with monkeypatch.context() as patch:
            patch.setattr(process, "kill", lambda: None)  # as it is with one that waits for a disk for ever
            ending = worker.end()
        process.kill()
        process.wait()
    assert (ending.code, "exit code" in ending.reason) == ("timeout", False)
    assert "not even when it was killed" in ending.reason


# -- answers -----------------------------------------------------------------------------------------

ANSWERS = """
import os, sys
print("a library that talks", flush=True)
os.write(int(sys.argv[-1]), {answer!r})
sys.stdin.read()
"""


def answering(tmp_path, answer):
    """What a parent hears of a worker that answers so, and how it takes its end."""
    with (tmp_path / "talk").open("w+b") as talk:
        program = ANSWERS.format(answer=answer)
        worker = WorkerProcess([sys.executable, "-c", program], cwd=tmp_path, talk=talk)
        messages = wait_until(lambda: worker.read() or (worker.has_ended() or None))
        worker.requests.close()
        return messages, worker.end(), (tmp_path / "talk").read_bytes()


def test_what_a_library_prints_does_not_mix_with_the_answers(tmp_path):
    messages, _, talk = answering(tmp_path, b'{"ready": true}\n')
    assert messages == [({"ready": True}, b"")]
    assert talk == b"a library that talks\n"


@pytest.mark.parametrize(
    "answer",
    [b"a line of something\n", b"[1]\n", b'{"bytes": "many"}\n', b'{"bytes": -1}\n', b'{"bytes": 1e12}\n',
     b'{"bytes": 999999999999}\n', b"x" * (2 << 20)],
    ids=range(7),
)  # fmt: skip
def test_worker_that_answers_what_nobody_understands_is_given_up(tmp_path, answer):
    with (tmp_path / "talk").open("w+b") as talk:
        program = (
            ANSWERS.format(answer=b"").replace("b''", f"b{answer[:1].decode()!r} * {len(answer)}")
            if len(answer) > 100
            else ANSWERS.format(answer=answer)
        )
        worker = WorkerProcess([sys.executable, "-c", program], cwd=tmp_path, talk=talk)
        assert wait_until(lambda: worker.read() is None)
        ending = worker.end()
    assert (ending.code, ending.reason) == ("quarantined", "made the worker answer what cannot be understood")


# -- the end of the parent -----------------------------------------------------------------------------

PARENT_OF_STUCK_WORKER = """
import sys
from pathlib import Path
from mmsearch.ingest.pool import WorkerPool
pool = WorkerPool([sys.executable, sys.argv[1], sys.argv[2], "64"], cwd=Path(sys.argv[2]), n_workers=1)
list(pool.run([sys.argv[3].encode()]))
"""


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except FileNotFoundError:
        return False


def wait_until(holds, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("name", ["hang", "stuck"])
def test_worker_in_a_decode_that_never_returns_ends_with_its_killed_parent(tmp_path, tiny_folder, name):
    picture = tmp_path / f"once-{name}.jpg"
    shutil.copyfile(sample_folder() / "cat.jpg", picture)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT_OF_STUCK_WORKER, SABOTAGED, tiny_folder, picture]
    ) as parent:
        assert wait_until(Path(f"{picture}.seen").exists)
        (worker,) = children_of(parent.pid)
        parent.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not is_alive(worker), 5)


CHILD = """
import sys, time
from mmsearch import system
from mmsearch.processes import process as worker_process
if sys.argv[1] == "elsewhere":
    system._is_killed_with_parent = lambda: False
system.die_with_parent(int(sys.argv[2]))
print("ready", flush=True)
time.sleep(1000)
"""
PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", *sys.argv[1:], str(os.getpid())], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("system_is", ["linux", "elsewhere"])
def test_process_ends_with_its_killed_parent(system_is):
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD, system_is], stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not is_alive(child), 5)


def test_process_whose_parent_has_ended_before_it_began_ends():
    done = subprocess.run([sys.executable, "-c", CHILD, "linux", "1"], capture_output=True, timeout=20)
    assert (done.returncode, done.stdout) == (1, b"")


def test_seconds_of_computing_are_those_of_the_process_or_unknown():
    before = system.cpu_seconds(os.getpid())
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    assert 0.15 <= system.cpu_seconds(os.getpid()) - before < 2
    assert system.cpu_seconds(1 << 30) is None
