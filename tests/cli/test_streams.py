"""Standard streams that are closed, full or gone: lost results are an error in one sentence, lost talk is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from mmsearch.store.folder import Store
from mmsearch.store.verify import damaged_rows
from tests.store.test_store import filled

SEARCH = ["search", "-i", "PICTURE", "--mode", "local", "--format", "jsonl"]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A library of visual words alone, of all sample photographs."""
    from mmsearch import Library
    from mmsearch.samples import sample_folder

    folder = tmp_path_factory.mktemp("words") / "library"
    with Library.open(folder) as library:
        library.index([sample_folder()], model="none")
    return folder


def shell(library, arguments, redirection):
    from mmsearch.samples import sample_folder

    given = [str(sample_folder() / "cat.jpg") if one == "PICTURE" else one for one in arguments]
    command = [sys.executable, "-m", "mmsearch", *given]
    return subprocess.run(
        ["bash", "-c", f'"$@" {redirection}', "bash", *command],
        capture_output=True, text=True, env={**os.environ, "MMSEARCH_LIBRARY": str(library)}, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("command", "redirection", "said"),
    [
        (SEARCH, ">/dev/full", "free some space"),
        (SEARCH, ">&-", "it is closed"),
        (["status", "--format", "table"], ">/dev/full", "free some space"),
        (["--help"], ">/dev/full", "free some space"),
        (["--version"], ">&-", "it is closed"),
    ],
)
def test_results_that_cannot_be_written_are_an_error_in_one_sentence(words, command, redirection, said):
    done = shell(words, command, redirection)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: standard output cannot be written (")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("redirection", ["2>/dev/full", "0<&- 2>&-"])
def test_talk_that_cannot_be_written_costs_no_result(words, redirection):
    done = shell(words, SEARCH, redirection)
    assert done.returncode == 0
    assert done.stdout.count('"rank"') == 10


@pytest.mark.parametrize("redirection", [">/dev/full 2>/dev/full", "0<&- >&- 2>&-"])
def test_lost_results_are_in_the_exit_code_where_nothing_can_be_said(words, redirection):
    assert shell(words, SEARCH, redirection).returncode == 1


def test_reader_that_leaves_ends_the_program_as_its_signal_would(words):
    done = shell(words, SEARCH, "| true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_slow_reader_of_a_pipe_that_does_not_block_gets_everything(words):
    # `os.get_blocking` is shared by all who hold the pipe: another program may have changed it.
    program = "import os,sys; os.set_blocking(1, False); from mmsearch.cli.app import main; main()"
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    while True:  # until the pipe is full
        try:
            os.write(writing, b"\n" * 4096)
        except BlockingIOError:
            break
    with subprocess.Popen(
        [sys.executable, "-c", program, "status", "--library", words], stdout=writing, stderr=subprocess.PIPE
    ) as process:
        os.close(writing)
        time.sleep(1)  # it has something to say by now
        with os.fdopen(reading, "rb") as out:
            assert b'"n_images": 29' in out.read()
        assert process.stderr.read() == b""


def test_closed_error_stream_leaves_its_number_to_no_file_of_the_library(tmp_path):
    filled(tmp_path, 3)
    program = (
        "import os, sys\n"
        "from mmsearch.cli.streams import own_streams\n"
        "own_streams()\n"
        "handle = os.open(sys.argv[1], os.O_RDWR)\n"
        "os.write(2, b'a library that talks to standard error')\n"
        "sys.exit(handle < 3)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "vectors-0.f16")]
    done = subprocess.run(["bash", "-c", '"$@" 0<&- >&- 2>&-', "bash", *command])
    assert done.returncode == 0
    assert damaged_rows(Store.open(tmp_path)) == []


def test_labels_from_standard_input_that_is_closed_are_a_sentence(words):
    done = shell(words, ["classify", "PICTURE", "--labels-file", "-"], "0<&-")
    assert done.returncode == 2
    assert "standard input is closed" in " ".join(done.stderr.split())


def test_any_refusal_of_the_system_is_a_sentence(words, tmp_path):
    done = shell(words, ["index", "x" * 300, "--dry-run"], "")
    assert "Traceback" not in done.stderr
    done = shell(words, ["status", "--library", str(tmp_path / ("y" * 300))], "")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "the name is too long: choose a shorter one" in done.stderr


def test_folder_that_is_gone_is_in_the_way_of_relative_paths_alone(words, tmp_path):
    (tmp_path / "gone").mkdir()
    leaving = f'cd "{tmp_path}/gone"; rmdir "{tmp_path}/gone"; '
    command = [sys.executable, "-m", "mmsearch"]
    environment = {**os.environ, "MMSEARCH_LIBRARY": str(words)}
    for arguments, code in ((["status"], 0), (["index", "photos"], 1), (["status", "--library", "x"], 1)):
        (tmp_path / "gone").mkdir(exist_ok=True)
        done = subprocess.run(
            ["bash", "-c", f'{leaving}"$@"', "bash", *command, *arguments],
            capture_output=True, text=True, env=environment,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        said = "error: the current folder is not there any more; change to another one"
        assert done.stderr.strip().startswith(said) or not code
