from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from mmsearch.errors import EncoderError
from mmsearch.images import decode
from mmsearch.ingest import execute, make_plan
from mmsearch.records import BadPicture
from mmsearch.samples import sample_folder
from mmsearch.store.folder import Store
from mmsearch.workers import WorkerPool

SABOTAGED = Path(__file__).parent / "faults" / "sabotaged_worker.py"


def outcomes(pool, paths):
    with pool:
        return {os.fsdecode(one.path): one for batch in pool.run(map(os.fsencode, paths)) for one in batch}


def sabotaged(folder, **options):
    return WorkerPool([sys.executable, str(SABOTAGED), str(folder), "64"], **{"n_workers": 2, **options})


def test_every_file_comes_back_once_with_the_vector_of_its_own_picture(tiny, tiny_folder):
    files = sorted(sample_folder().glob("*.jpg"))
    found = outcomes(WorkerPool.for_encoder(tiny_folder, n_workers=2), files)
    assert set(found) == {str(file) for file in files}
    pixels = np.stack([decode(file.read_bytes(), tiny.preprocessing).pixels for file in files])
    expected = tiny.encode_images(pixels)
    for file, vector in zip(files, expected, strict=True):
        np.testing.assert_allclose(found[str(file)].vector, vector, atol=1e-5)


def test_no_files_start_no_worker(tiny_folder):
    assert outcomes(WorkerPool.for_encoder(tiny_folder), []) == {}


def test_encoder_that_cannot_be_loaded_is_one_error(tmp_path):
    with pytest.raises(EncoderError, match=r"the image encoder could not be started: .*holds no whole encoder"):
        outcomes(WorkerPool.for_encoder(tmp_path), [sample_folder() / "cat.jpg"])


@pytest.mark.parametrize(
    ("manner", "reason"), [("crash", "signal 11"), ("exit", "exit code 7"), ("hang", "longer than the time limit")]
)
@pytest.mark.parametrize("position", [0, 5, 11])
def test_file_that_ends_its_worker_is_given_up_after_two_tries(tmp_path, tiny_folder, manner, reason, position):
    files = sorted(sample_folder().glob("*.jpg"))[:12]
    bad = tmp_path / f"{manner}.jpg"
    shutil.copyfile(files[0], bad)
    files.insert(position, bad)
    found = outcomes(sabotaged(tiny_folder, file_timeout_s=2.0), files)
    assert found[str(bad)].facts["code"] == "quarantined"
    assert reason in found[str(bad)].facts["message"]
    assert "2 times" in found[str(bad)].facts["message"]
    assert all(found[str(file)].vector is not None for file in files if file != bad)


def test_file_that_eats_memory_costs_only_itself(tmp_path, tiny_folder):
    files = sorted(sample_folder().glob("*.jpg"))[:12]
    bad = tmp_path / "eat.jpg"
    shutil.copyfile(files[0], bad)
    found = outcomes(sabotaged(tiny_folder), [*files[:4], bad, *files[4:]])
    assert found[str(bad)].vector is None
    assert all(found[str(file)].vector is not None for file in files)


def test_several_bad_files_are_each_given_up_and_the_run_is_committed(tmp_path, tiny, tiny_folder):
    folder = tmp_path / "photos"
    folder.mkdir()
    for file in sample_folder().glob("*.jpg"):
        shutil.copyfile(file, folder / file.name)
    for name in ("crash1", "crash2", "hang1", "exit1"):
        shutil.copyfile(sample_folder() / "cat.jpg", folder / f"{name}.jpg")
    meta = {"dim": tiny.dim, "fingerprint": tiny.fingerprint, "model": "tiny"}
    with Store.writer(tmp_path / "library", create=meta) as store:
        plan = make_plan(store, [os.fsencode(folder)])
        report = execute(store, plan, tiny_folder, pool=sabotaged(tiny_folder, file_timeout_s=2.0))
        assert report.new == 29
        assert sorted((Path(bad.path).stem, bad.code) for bad in report.bad) == [
            (name, "quarantined") for name in ("crash1", "crash2", "exit1", "hang1")
        ]
        again = make_plan(store, [os.fsencode(folder)])
        assert (len(again.to_embed), again.n_known_bad) == (0, 4)
        assert all(isinstance(bad, BadPicture) for bad in store.catalog.bad_pictures())
