"""F1 for shards: whoever is killed while loading or embedding leaves no half, and the same command goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmsearch import Library
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.ingest.embed import EmbedOptions, embed_pictures
from mmsearch.shards.format import ShardFacts
from mmsearch.shards.read import Shard, shard_paths
from tests import warm
from tests.conftest import random_units
from tests.faults.test_kill import acknowledged_in
from tests.pictures import photo
from tests.shards.bundles import structs, write_table, write_tar
from tests.shards.shards import STRANGE, picture, write_shards
from tests.shards.test_clip_retrieval import write_part
from tests.tiers import tiered

PROGRAM = ["-m", "tests.faults.killed_shards"]
ROOT = Path(__file__).parents[2]
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
    return [sys.executable, *PROGRAM, *map(str, (*arguments, point, count))]


def killed(*arguments, **options):
    """What a program said that was killed at a point."""
    done = warm.run(command(*arguments, **options), text=True, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done


@pytest.fixture(scope="module")
def embeddings(tiny_folder, tmp_path_factory):
    """Two files of vectors of a hundred pictures as clip-retrieval writes them, one picture in both."""
    folder = tmp_path_factory.mktemp("embeddings")
    vectors = random_units(N_PICTURES, OnnxEncoder.open(tiny_folder).dim)
    names = [f"{number:09}" for number in range(N_PICTURES)]
    write_part(folder, vectors[:60], "0", image_path=names[:60])
    write_part(folder, vectors[59:], "1", image_path=names[59:])
    return folder


def assert_load_goes_on(library, shards, cache, acknowledged, model=None):
    if acknowledged:  # of rows, of which one does not count
        with Library.open(library, cache=cache) as opened:
            assert opened.status().n_images >= acknowledged - 1
    with Library.open(library, cache=cache) as opened:
        report = opened.load(shards, model=model)
        assert report.new + report.unchanged == N_PICTURES
        assert (report.changed, report.bad, opened.verify().problems) == (0, (), ())
        images = opened.pictures(limit=1000).pictures
        assert len({image.path for image in images}) == len(images) == N_PICTURES
        assert opened.load(shards, model=model).unchanged == N_PICTURES


@pytest.mark.parametrize(
    ("point", "count"),
    tiered([("append:before", 2), ("append:after", 3), ("transaction:after", 40)], [("append:after", 3)]),
    ids=str,
)
def test_a_killed_load_loses_nothing_acknowledged(tmp_path, shards, checkpoint, cache, point, count):
    library = tmp_path / "library"
    done = killed("load", library, shards, checkpoint, cache, point=point, count=count)
    assert_load_goes_on(library, shards, cache, acknowledged_in(done.stdout))


def seconds_of(*arguments):
    """How long a run takes that nobody kills."""
    start = time.monotonic()
    warm.run(command(*arguments), check=True, cwd=ROOT)
    return time.monotonic() - start


def killed_at_random(seed, seconds, *arguments):
    """Run a program that takes so long, kill it meanwhile, and return how much it acknowledged."""
    with warm.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    ) as process:
        time.sleep(seconds * random.Random(seed).uniform(0.2, 1.0))
        process.send_signal(signal.SIGKILL)
        return acknowledged_in(process.stdout.read())


@pytest.mark.full
@pytest.mark.parametrize("source", ["shards", "embeddings"])
def test_20_kills_of_a_load_lose_nothing_acknowledged(tmp_path, request, source, checkpoint, cache):
    loaded = request.getfixturevalue(source)
    seconds = seconds_of("load", tmp_path / "whole", loaded, checkpoint, cache)
    for seed in range(20):
        library = tmp_path / f"library-{seed}"
        acknowledged = killed_at_random(seed, seconds, "load", library, loaded, checkpoint, cache)
        assert_load_goes_on(library, loaded, cache, acknowledged, model=checkpoint)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Forty small pictures, two of them broken."""
    folder = tmp_path_factory.mktemp("many")
    for seed in range(38):
        photo(40, 30, seed).save(folder / f"{seed}.png")
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"<html></html>")
    return folder


@pytest.fixture(scope="module")
def tar(many, tmp_path_factory):
    """The same in a tar."""
    files = sorted(many.iterdir())
    return write_tar(tmp_path_factory.mktemp("tar") / "a.tar", [(file.name, file.read_bytes()) for file in files])


@pytest.fixture(scope="module")
def table(many, tmp_path_factory):
    """The same in a Parquet file, in groups of rows."""
    cells = structs(*((file.read_bytes(), file.name) for file in sorted(many.iterdir())))
    return write_table(tmp_path_factory.mktemp("table") / "a.parquet", group=7, image=cells)


def names_in(source):
    """The paths of the good pictures in a folder, tar or Parquet file of those of `many`."""
    names = sorted([*(f"{seed}.png" for seed in range(38)), "a.png", "b.png"])
    rows = [f"{row}/{name}" if source.suffix == ".parquet" else name for row, name in enumerate(names)]
    return sorted(os.fsencode(source / row) for row in rows if Path(row).stem not in ("a", "b"))


def assert_embed_goes_on(out, many, checkpoint, cache):
    options = EmbedOptions(checkpoint, n_workers=1, cache=cache)
    report = embed_pictures([many], out, options)
    assert (report.new + report.unchanged, len(report.bad) + report.known_bad) == (38, 2)
    paths = [path for shard in shard_paths(out) for path in Shard.open(shard).paths()]
    assert sorted(paths) == names_in(many)
    assert not list(out.glob("*.tmp"))
    again = embed_pictures([many], out, options)
    assert (again.new, again.unchanged, again.known_bad) == (0, 38, 2)


@pytest.mark.parametrize(
    ("point", "count"),
    tiered(
        [("table:after", 2), ("rename:before", 1), ("write:after", 2), ("sync_folder:before", 2)],
        [("write:after", 2)],
    ),
    ids=str,
)
def test_a_killed_embed_leaves_no_half_shard_and_goes_on(
    tmp_path, many, checkpoint, cache, tiny_folder, point, count
):
    out = tmp_path / "shards"
    killed("embed", out, many, checkpoint, cache, point=point, count=count)
    for path in shard_paths(out):
        assert Shard.open(path).n_rows == 16
    assert_embed_goes_on(out, many, checkpoint, cache)


@pytest.mark.full
@pytest.mark.parametrize("source", ["many", "tar", "table"])
def test_20_kills_of_an_embed_leave_no_half_shard(tmp_path, request, source, checkpoint, cache, tiny_folder):
    pictures = request.getfixturevalue(source)
    seconds = seconds_of("embed", tmp_path / "whole", pictures, checkpoint, cache)
    for seed in range(20):
        out = tmp_path / f"shards-{seed}"
        killed_at_random(seed, seconds, "embed", out, pictures, checkpoint, cache)
        assert_embed_goes_on(out, pictures, checkpoint, cache)
