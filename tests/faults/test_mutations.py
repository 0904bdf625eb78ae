"""F4, F5, F6: files of the library and pictures, changed or cut; no crash, no wrong answer."""

from __future__ import annotations

import os
import shutil
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from mmsearch.ingest.pool import WorkerPool
from tests import pictures, warm

FULL = pytest.param(1000, marks=[pytest.mark.full, pytest.mark.timeout(3600)])


def run(program, *arguments):
    command = [sys.executable, "-m", f"tests.faults.{program}", *map(str, arguments)]
    root = Path(__file__).parents[2]
    done = warm.run(command, text=True, cwd=root)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-500:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.parametrize("n", [20, FULL])
def test_mutated_indexes_never_crash_nor_answer_wrongly_and_verify_names_them(tmp_path, n):
    out = run("mutated_index", tmp_path, n)
    assert f"{n} mutations, 0 wrong, 0 unnamed" in out


# A mutation of words costs a quarter of a second, as they are asked, verified and made again: of each of the nine
# files the first five are tried by default, and all thousand, these among them, in the long tier.
@pytest.mark.parametrize("n", [7, FULL])
def test_mutated_words_never_crash_nor_answer_wrongly_and_verify_names_the_file(tmp_path, n):
    out = run("mutated_words", tmp_path, n)
    assert f"{n} mutations, 0 wrong, 0 unnamed, 0 not made again, " in out


@pytest.mark.parametrize("n", [40, FULL])
def test_mutated_store_never_crashes_and_verify_finds_every_changed_vector(tmp_path, n):
    out = run("mutated_store", tmp_path, n)
    assert f"{n} mutations, 0 missed" in out


@pytest.mark.parametrize("n", [5, FULL])
@pytest.mark.parametrize("program", ["cut_store", "cut_words"])
def test_files_that_are_cut_and_restored_under_a_reader_never_end_it_nor_make_it_answer_wrongly(
    tmp_path, program, n
):
    assert f"cut {n} times, 0 wrong" in run(program, tmp_path, n)


@pytest.mark.parametrize("n", [500, pytest.param(10_000, marks=[pytest.mark.full, pytest.mark.timeout(3600)])])
def test_mutated_pictures_never_end_a_worker_and_stay_as_they_are(tmp_path, tiny_folder, n):
    for i, data in enumerate(pictures.mutations(n)):
        (tmp_path / f"{i}.jpg").write_bytes(data)
    files = sorted(os.fsencode(path) for path in tmp_path.iterdir())
    before = {path: sha256(Path(os.fsdecode(path)).read_bytes()).digest() for path in files}
    with WorkerPool.for_encoder(tiny_folder, cwd=tmp_path, n_workers=2) as pool:
        found = [one for batch in pool.run(files) for one in batch]
    assert sorted(one.path for one in found) == files
    codes = {one.facts.get("code", "read") for one in found}
    assert "quarantined" not in codes
    assert {"read", "truncated", "corrupt"} <= codes
    assert all(np.isfinite(one.vector).all() for one in found if one.vector is not None)
    assert before == {path: sha256(Path(os.fsdecode(path)).read_bytes()).digest() for path in files}
    shutil.rmtree(tmp_path)
