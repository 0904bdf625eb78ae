from __future__ import annotations

import os
import shutil
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mmsearch import Library
from mmsearch.arguments import Variant
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.encoders.runtime import device_for
from mmsearch.errors import EncoderError, QueryError
from mmsearch.images import decode
from mmsearch.ingest.embed import EmbedOptions, embed_pictures
from mmsearch.ingest.pool import Loose, WorkerPool
from mmsearch.ingest.session_pool import SESSION_BATCH, SessionPool, pool_for
from mmsearch.ingest.worker import PIXELS, Job
from mmsearch.samples import sample_folder
from mmsearch.store.folder import Store
from mmsearch.system import has_nvidia_gpu
from tests.conftest import exported
from tests.pools import SABOTAGED, outcomes, pool_of

FILES = sorted(sample_folder().glob("*.jpg"))


def session_pool(folder, **options):
    return SessionPool.for_encoder(folder, cwd=folder, n_workers=2, **options)


def copies(n):
    """n pictures whose bytes go along, of the samples in turn."""
    contents = [file.read_bytes() for file in FILES]
    return [Loose(b"/a.tar/%d" % number, contents[number % len(contents)]) for number in range(n)]


def test_pictures_that_workers_decode_have_the_vectors_that_workers_make(tiny_folder):
    expected, given = outcomes(pool_of(tiny_folder), FILES), outcomes(session_pool(tiny_folder), FILES)
    assert set(given) == set(expected)
    for path, outcome in given.items():
        np.testing.assert_allclose(outcome.vector, expected[path].vector, atol=1e-5)
        assert (outcome.facts, outcome.pixels) == (expected[path].facts, None)


def test_all_views_of_a_picture_go_to_the_session(checkpoint, tiny_folder, cache):
    folder = prepare_encoder(str(checkpoint), cache=cache, variant=Variant(views=5))
    expected, given = outcomes(pool_of(folder), FILES[:3]), outcomes(session_pool(folder), FILES[:3])
    assert len(given) == 3
    for path, outcome in given.items():
        np.testing.assert_allclose(outcome.vector, expected[path].vector, atol=1e-5)


def test_pictures_with_their_parts_and_without_go_to_the_session_together(tiny, tiny_folder):
    given = [loose._replace(is_look=number % 3 > 0) for number, loose in enumerate(copies(12))]
    with session_pool(tiny_folder) as pool:
        made = {outcome.path: outcome for batch in pool.run(given, job=lambda: Job(parts=4)) for outcome in batch}
    for loose in given:
        pixels = decode(loose.contents, tiny.preprocessing, with_parts=not loose.is_look).pixels
        whole = pixels if loose.is_look else pixels[0]
        np.testing.assert_allclose(made[loose.path].vector, tiny.encode_images(whole[None])[0], atol=1e-5)
        assert ("parts" in made[loose.path].facts) is not loose.is_look


def test_the_session_is_given_large_batches_of_what_all_workers_decode(tiny_folder):
    with session_pool(tiny_folder) as pool:
        batches = list(pool.run(copies(2 * SESSION_BATCH + 30)))
    *full, rest = [len(batch) for batch in batches]
    assert SESSION_BATCH == 64
    assert all(SESSION_BATCH <= size < SESSION_BATCH + 8 for size in full)
    assert (len(full), sum(full) + rest) == (2, 2 * SESSION_BATCH + 30)
    assert len({outcome.path for batch in batches for outcome in batch}) == 2 * SESSION_BATCH + 30


def test_what_cannot_be_decoded_is_said_beside_what_can(tiny_folder, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    embedded = outcomes(session_pool(tiny_folder), [FILES[0], broken, FILES[1]])
    assert embedded[str(broken)].vector is None
    assert embedded[str(broken)].facts["code"]
    assert all(embedded[str(file)].vector is not None for file in FILES[:2])


def test_a_decoder_that_crashes_takes_its_picture_alone_along(tiny_folder):
    pool = session_pool(tiny_folder)
    pool._command = [sys.executable, str(SABOTAGED), str(tiny_folder), "64", PIXELS]
    given = [*copies(20), Loose(b"/a.tar/crash", b"crash")]
    with pool:
        embedded = {outcome.path: outcome for batch in pool.run(given) for outcome in batch}
    assert len(embedded) == 21
    assert [path for path, outcome in embedded.items() if outcome.vector is None] == [b"/a.tar/crash"]
    assert embedded[b"/a.tar/crash"].facts["code"] == "quarantined"


def test_local_features_come_along(tiny_folder):
    expected, given = (
        outcomes(pool, FILES[:3], lambda: Job(local="features"))
        for pool in (pool_of(tiny_folder), session_pool(tiny_folder))
    )
    assert {path: outcome.local for path, outcome in given.items()} == {
        path: outcome.local for path, outcome in expected.items()
    }
    assert all(outcome.vector is not None and outcome.local is not None for outcome in given.values())


def test_workers_that_only_decode_load_no_tower(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "encoder")
    pool = session_pool(folder)
    for path in folder.glob("image.onnx*"):
        path.unlink()
    assert outcomes(pool, FILES[:3])[str(FILES[0])].vector is not None


def test_pictures_that_wait_for_the_session_are_not_lost_when_a_run_is_ended(tiny_folder):
    with session_pool(tiny_folder) as pool:
        run = pool.run(copies(200))
        assert len(next(run)) >= SESSION_BATCH
        run.close()


def test_a_library_by_a_session_has_the_pictures_and_vectors_of_one_by_workers(
    indexed, photos, checkpoint, cache, tmp_path, monkeypatch
):
    monkeypatch.setattr("mmsearch.encoders.runtime.device_for", lambda device, precision: "cuda")
    monkeypatch.setattr("mmsearch.encoders.onnx.device_for", lambda device, precision: "cpu")
    with Library.open(tmp_path / "by-session", cache=cache) as library:
        assert library.index([photos], model=str(checkpoint), local=False).new == 8
        stored = [vectors(opened) for opened in (indexed, library)]
    assert stored[0].keys() == stored[1].keys()
    for path, vector in stored[0].items():
        np.testing.assert_allclose(vector, stored[1][path], atol=1e-3)  # float16


def vectors(library):
    with closing(Store.open(library.folder)) as store:
        return {os.path.basename(file.path): file.vector for _, file in store.stored_files(0, 100)}


# -- devices -------------------------------------------------------------------------------------------


def test_on_the_cpu_every_worker_embeds_by_itself(tiny_folder):
    with pool_for(tiny_folder, device="cpu", cwd=tiny_folder) as pool:
        assert type(pool) is WorkerPool


@pytest.mark.skipif(has_nvidia_gpu(), reason="there is a GPU here")
def test_without_a_gpu_auto_is_the_cpu(tiny_folder):
    assert device_for("auto") == "cpu"
    with pool_for(tiny_folder, device="auto", cwd=tiny_folder) as pool:
        assert type(pool) is WorkerPool


def test_queries_are_embedded_on_the_device_that_a_library_is_opened_with(indexed, cache, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "mmsearch.encoders.onnx.device_for", lambda device, precision: asked.append(device) or "cpu"
    )
    for device in ("cpu", "cuda"):
        with Library.open(indexed.folder, cache=cache, device=device) as library, library.sibling() as sibling:
            assert sibling.search("two dogs").hits
    assert asked == ["cpu", "cuda"]


@pytest.mark.skipif(has_nvidia_gpu(), reason="there is a GPU here")
def test_cuda_that_cannot_be_had_is_a_sentence_and_nothing_is_written(photos, library, checkpoint, cache):
    with pytest.raises(EncoderError, match=r"--device cuda needs .* CPU alone; .* choose --device cpu"):
        library.index([photos], model=str(checkpoint), device="cuda")
    assert not library.place.folder.exists()
    shards = photos.parent / "shards"
    with pytest.raises(EncoderError, match=r"--device cuda needs"):
        embed_pictures(photos, shards, EmbedOptions(str(checkpoint), cache=cache, device="cuda"))
    assert not shards.exists()


def test_a_device_that_there_is_not_is_refused(library, photos):
    for device in ("gpu", "cuda:0", None):
        with pytest.raises(QueryError, match=r"device is .*; expected 'auto', 'cpu' or 'cuda'"):
            library.index([photos], device=device)
    with pytest.raises(QueryError, match=r"--ray embeds on the CPUs"):
        EmbedOptions(ray="local", device="cuda")


def test_other_precisions_than_fp32_stay_on_the_cpu(monkeypatch):
    monkeypatch.setattr("mmsearch.encoders.runtime.has_nvidia_gpu", lambda: True)
    assert device_for("auto", "int8") == "cpu"
    with pytest.raises(EncoderError, match=r"int8 is computed on the CPU; leave --device cuda out"):
        device_for("cuda", "int8")


@pytest.mark.gpu
@pytest.mark.skipif(not has_nvidia_gpu(), reason="needs a GPU of NVIDIA, and onnxruntime-gpu")
def test_a_gpu_gives_the_vectors_of_the_cpu(checkpoint, cache):
    folder: Path = exported(str(checkpoint), cache)
    expected, given = outcomes(pool_of(folder), FILES), outcomes(session_pool(folder, device="cuda"), FILES)
    for path, outcome in given.items():
        np.testing.assert_allclose(outcome.vector, expected[path].vector, atol=1e-4)
