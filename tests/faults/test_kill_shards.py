"""F1 for shards: whoever is killed while loading or embedding leaves no half, and the same command goes on."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmsearch import Library
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.shards.format import ShardFacts
from tests.conftest import random_units
from tests.faults.test_kill import acknowledged_in
from tests.shards.shards import STRANGE, picture, write_shards

PROGRAM = Path(__file__).parent / "killed_shards.py"
N_PICTURES = 100


@pytest.fixture(scope="module")
def shards(tiny_folder, tmp_path_factory):
    """Two shards of a hundred pictures, one of which is in both."""
    facts = ShardFacts.of(OnnxEncoder.open(tiny_folder))
    folder = tmp_path_factory.mktemp("shards")
    vectors = random_units(N_PICTURES, facts.dim)
    pictures = [picture(i, vector, path=STRANGE if i == 7 else None) for i, vector in enumerate(vectors)]
    write_shards(folder, pictures[:60], facts=facts)
    return write_shards(folder, [*pictures[60:], picture(200, vectors[7], path=STRANGE)], facts=facts)


def command(*arguments, point="never", count=0):
    return [sys.executable, PROGRAM, *map(str, (*arguments, point, count))]


def assert_load_goes_on(library, shards, cache, acknowledged):
    if acknowledged:  # of rows, of which one does not count
        with Library.open(library, cache=cache) as opened:
            assert opened.status().n_images >= acknowledged - 1
    with Library.open(library, cache=cache) as opened:
        report = opened.load(shards)
        assert report.new + report.unchanged == N_PICTURES
        assert (report.changed, report.bad, opened.verify().problems) == (0, (), ())
        images = opened.pictures(limit=1000).pictures
        assert len({image.path for image in images}) == len(images) == N_PICTURES
        assert opened.load(shards).unchanged == N_PICTURES


@pytest.mark.parametrize(
    ("point", "count"), [("append:before", 2), ("append:after", 3), ("transaction:after", 40)], ids=str
)
def test_a_killed_load_loses_nothing_acknowledged(tmp_path, shards, checkpoint, cache, point, count):
    library = tmp_path / "library"
    done = subprocess.run(
        command("load", library, shards, checkpoint, cache, point=point, count=count),
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert_load_goes_on(library, shards, cache, acknowledged_in(done.stdout))


def killed_at_random(seed, *arguments):
    """Run a program, kill it after a while, and return how much it acknowledged."""
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        time.sleep(random.Random(seed).uniform(0.2, 3.0))
        process.send_signal(signal.SIGKILL)
        return acknowledged_in(process.stdout.read())


@pytest.mark.full
def test_20_kills_of_a_load_lose_nothing_acknowledged(tmp_path, shards, checkpoint, cache):
    for seed in range(20):
        library = tmp_path / f"library-{seed}"
        acknowledged = killed_at_random(seed, "load", library, shards, checkpoint, cache)
        assert_load_goes_on(library, shards, cache, acknowledged)
