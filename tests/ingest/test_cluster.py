"""Embedding on a cluster: shards with the same bits, each picture once, whatever becomes of a task."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mmsearch.errors import ClusterError
from mmsearch.ingest import cluster
from mmsearch.ingest.cluster import Embedder, Setting, embed_on_cluster, require_cluster
from mmsearch.ingest.embed import EmbedOptions, embed_pictures
from mmsearch.shards.read import Shard, shard_paths
from tests.pictures import photo
from tests.shards.bundles import structs, write_table, write_tar
from tests.shards.shards import bits

ROOT = Path(__file__).parents[2]
with_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra cluster)"
)


def vectors_in(out):
    rows = [row for path in shard_paths(out) for rows in Shard.open(path).rows() for row in rows]
    assert len({row.path for row in rows}) == len(rows)
    return {row.path: bits(row.vector) for row in rows}


def embed(out, checkpoint, cache, *sources, **options):
    return embed_pictures(sources, out, EmbedOptions(checkpoint, cache=cache, **options))


class InThisProcess:
    """What a cluster does with portions, without one: each goes to the task that Ray would run."""

    def __init__(self, files, known, setting, *, address, n_workers):
        self.units = list(cluster._units(files, known, n_workers))
        self.task = Embedder(asdict(setting))

    def __iter__(self):
        for unit in self.units:
            (result,) = self.task({"unit": [unit]})["result"]
            yield cluster._read_result(json.loads(result))


@pytest.fixture
def sets(photos, tmp_path):
    """Eight photographs as files, in a tar and in a Parquet file, one under a strange name, and two broken ones."""
    files = sorted(photos.rglob("*.jpg"))
    write_tar(photos / "a.tar", [*((file.name, file.read_bytes()) for file in files), ("page.jpg", b"<html>")])
    write_table(photos / "a.parquet", image=structs(*((file.read_bytes(), None) for file in files), None))
    (photos / "text.jpg").write_bytes(b"text")
    shutil.copyfile(files[0], os.fsencode(photos) + b"/\xff\n.jpg")
    return photos


def test_tasks_make_the_vectors_and_errors_of_a_run_without_a_cluster(
    sets, checkpoint, cache, tmp_path, monkeypatch, tiny_folder
):
    here = embed(tmp_path / "here", checkpoint, cache, sets, n_workers=1)
    monkeypatch.setattr(cluster, "require_cluster", lambda address: None)
    monkeypatch.setattr(cluster, "embed_on_cluster", InThisProcess)
    there = embed(tmp_path / "there", checkpoint, cache, sets, n_workers=1, ray="local")
    assert (here.new, len(here.bad)) == (25, 2)
    assert (there.new, sorted(there.bad, key=str)) == (here.new, sorted(here.bad, key=str))
    assert vectors_in(tmp_path / "there") == vectors_in(tmp_path / "here")
    assert len(shard_paths(tmp_path / "there")) > 1
    assert not list((tmp_path / "there").glob("*.tmp"))
    for path in (sets / "a.tar", sets / "a.parquet"):
        os.utime(path, (1, 1))
    again = embed(tmp_path / "there", checkpoint, cache, sets, n_workers=1, ray="local")
    assert (again.new, again.unchanged, again.known_bad) == (0, 25, 1)


def test_what_a_task_left_that_nobody_took_is_removed_and_done_again(
    photos, checkpoint, cache, tmp_path, tiny_folder
):
    out = tmp_path / "shards"
    embed(out, checkpoint, cache, photos / "cat.jpg", n_workers=1)
    for name in ("part-00ff-3.tmp", "part-00ff-4.tmp.tmp"):
        (out / name).write_bytes(b"half")
    assert embed(out, checkpoint, cache, photos, n_workers=1).new == 7
    assert not list(out.glob("*.tmp"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "0.0"}, r"it has mmsearch .*, and the run was started by 0\.0; install the same"),
        ({"fingerprint": "0" * 64}, "holds another encoder than where the run was started"),
        ({"encoder": "/missing"}, r"/missing is not there; the encoder \(MMSEARCH_CACHE\) must lie on a disk"),
        ({"out": "/missing"}, r"/missing is not there; the shards \(--out\) must lie on a disk"),
    ],
)
def test_a_machine_that_is_not_as_the_others_says_so(tiny_folder, tmp_path, changes, message):
    setting = replace(Setting.of(tiny_folder, tmp_path, None, 64.0), **changes)
    (result,) = Embedder(asdict(setting))({"unit": [json.dumps({"number": 0, "files": [], "known": {}})]})["result"]
    with pytest.raises(ClusterError, match=message):
        cluster._read_result(json.loads(result))


def test_portions_are_small_enough_for_all_workers_and_never_large():
    def sizes(n, n_workers):
        files = [cluster.FoundFile(b"/%d" % number, cluster.FileLook(1, 2, None)) for number in range(n)]
        return [len(json.loads(unit)["files"]) for unit in cluster._units(files, {}, n_workers)]

    assert sizes(20, 2) == [8, 8, 4]
    assert sizes(160, 2) == [20] * 8
    assert max(sizes(40_000, 2)) == 4096


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "Connection refused"), ("ray://127.0.0.1:1", "cannot be led from outside a cluster"),
        ("127.0.0.1:99999", "Port out of range"), ("[::1", "Invalid IPv6"),
    ],
)  # fmt: skip
def test_an_address_where_nobody_listens_is_a_sentence_at_once(address, words, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: importlib.util.find_spec("json"))
    with pytest.raises(ClusterError, match=f"no Ray cluster can be reached at .*{words}.*; expected HOST:PORT"):
        require_cluster(address)


def test_where_ray_is_missing_the_way_to_have_it_is_said(photos, checkpoint, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(
        ClusterError, match=r"--ray needs Ray Data; install it with `pip install 'mmsearch\[cluster\]'`"
    ):
        embed(tmp_path / "shards", checkpoint, cache, photos, ray="local")
    assert not (tmp_path / "shards").exists()


def test_nothing_to_embed_starts_no_cluster(tiny_folder, tmp_path):
    setting = Setting.of(tiny_folder, tmp_path, None, 64.0)
    assert list(embed_on_cluster([], {}, setting, address="local", n_workers=1)) == []


# -- on a real one -------------------------------------------------------------------------------------


def command(out, checkpoint, cache, *sources):
    """A run of two workers on a cluster that it starts."""
    return subprocess.Popen(
        [sys.executable, "-m", "mmsearch", "embed", *sources, "--out", out, "--model", checkpoint, "--ray", "local",
         "--workers", "2", "--format", "jsonl"],
        cwd=ROOT, env={**os.environ, "MMSEARCH_CACHE": str(cache)}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def report_of(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode in (0, 3), err
    assert "Warning" not in err
    (line,) = out.splitlines()
    return json.loads(line)


def descendants(pid):
    """The processes below one, with their command lines."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)] = (int(fields[1]), (stat.parent / "cmdline").read_bytes())
        except OSError:
            continue
    below = {pid}
    while more := {child for child, (parent, _) in parents.items() if parent in below} - below:
        below |= more
    return {child: parents[child][1] for child in below - {pid}}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A folder of pictures that take a while, in a tar and as files."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(40):
        photo(2000, 1500, number).save(folder / f"{number}.png", compress_level=1)
    write_tar(folder / "a.tar", [(file.name, file.read_bytes()) for file in sorted(folder.glob("*.png"))])
    return folder


@pytest.mark.full
@with_ray
def test_a_cluster_makes_the_vectors_of_a_run_without_one(sets, checkpoint, cache, tmp_path, tiny_folder):
    report = report_of(command(tmp_path / "there", checkpoint, cache, sets))
    assert (report["new"], len(report["bad"])) == (25, 2)
    embed(tmp_path / "here", checkpoint, cache, sets, n_workers=1)
    assert vectors_in(tmp_path / "there") == vectors_in(tmp_path / "here")


@pytest.mark.full
@with_ray
def test_a_task_whose_process_is_killed_is_done_again(many, checkpoint, cache, tmp_path, tiny_folder):
    out = tmp_path / "shards"
    process = command(out, checkpoint, cache, many)
    while process.poll() is None and not list(out.glob("shard-*.parquet")):
        time.sleep(0.05)
    tasks = [pid for pid, line in descendants(process.pid).items() if line.startswith(b"ray::") and b"Map" in line]
    assert tasks
    os.kill(tasks[0], signal.SIGKILL)
    assert report_of(process)["new"] == 80
    assert len(vectors_in(out)) == 80
    assert not list(out.glob("*.tmp"))


@pytest.mark.full
@with_ray
def test_a_run_on_a_cluster_that_is_killed_is_gone_on_with(many, checkpoint, cache, tmp_path, tiny_folder):
    out = tmp_path / "shards"
    process = command(out, checkpoint, cache, many)
    while process.poll() is None and len(list(out.glob("shard-*.parquet"))) < 2:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    held = len(vectors_in(out))
    assert 0 < held < 80
    report = report_of(command(out, checkpoint, cache, many))
    assert (report["new"], report["unchanged"]) == (80 - held, held)
    assert len(vectors_in(out)) == 80
