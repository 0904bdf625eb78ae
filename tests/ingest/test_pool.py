from __future__ import annotations

import os
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from mmsearch.bow.vocabulary import Vocabulary
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.errors import EncoderError
from mmsearch.images import decode, decode_for_both, decode_grey, memory_for
from mmsearch.ingest.pool import BATCH, Loose
from mmsearch.ingest.worker import Job
from mmsearch.local.extractors import DEFAULT
from mmsearch.local.packing import packed_features
from mmsearch.records import FileLook
from mmsearch.samples import sample_folder
from mmsearch.store.folder import Store
from mmsearch.store.vocabulary import publish_vocabulary
from tests.conftest import random_units
from tests.pools import outcomes, pool_of, sabotaged
from tests.store.test_store import META


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    """A vocabulary of random words, and the folder that it is published in."""
    made = Vocabulary.train(np.abs(random_units(2000, DEFAULT.dim)), 64, extractor=DEFAULT.name, max_iterations=1)
    folder = tmp_path_factory.mktemp("vocabulary")
    with Store.writer(folder, create=META) as store:
        publish_vocabulary(store, made)
    return made, str(folder)


def test_every_file_comes_back_once_with_the_vector_of_its_own_picture(tiny, tiny_folder):
    files = sorted(sample_folder().glob("*.jpg"))
    embedded_of = outcomes(pool_of(tiny_folder), files)
    assert set(embedded_of) == {str(file) for file in files}
    pixels = np.stack([decode(file.read_bytes(), tiny.preprocessing).pixels for file in files])
    expected = tiny.encode_images(pixels)
    for file, vector in zip(files, expected, strict=True):
        np.testing.assert_allclose(embedded_of[str(file)].vector, vector, atol=1e-5)


def test_a_file_comes_back_with_what_tells_it_from_another_at_the_same_place(tiny_folder):
    file = sample_folder() / "cat.jpg"
    facts, status = outcomes(pool_of(tiny_folder), [file])[str(file)].facts, file.stat()
    assert facts["look"] == list(FileLook.of(status))


def loose_outcomes(pool, given):
    with pool:
        return {outcome.path: outcome for outcomes in pool.run(given) for outcome in outcomes}


def test_pictures_whose_bytes_come_along_have_the_vectors_of_the_files(tiny_folder):
    files = sorted(sample_folder().glob("*.jpg"))
    given = [Loose(b"/a.tar/%d" % number, file.read_bytes()) for number, file in enumerate(files)]
    mixed = [item for file, loose in zip(files, given, strict=True) for item in (os.fsencode(file), loose)]
    embedded = loose_outcomes(pool_of(tiny_folder), mixed)
    assert len(embedded) == len(mixed)
    for file, loose in zip(files, given, strict=True):
        of_file, of_bytes = embedded[os.fsencode(file)], embedded[loose.path]
        np.testing.assert_array_equal(of_bytes.vector, of_file.vector)
        assert of_bytes.facts == {"size": len(loose.contents)} | {
            key: value for key, value in of_file.facts.items() if key != "look"
        }


def test_what_is_only_looked_at_gets_its_vector_alone_beside_others_of_which_all_is_wanted(tiny, tiny_folder):
    files = sorted(sample_folder().glob("*.jpg"))[:5]
    given = [Loose(b"/film/%d" % n, file.read_bytes(), b"hash", n != 2) for n, file in enumerate(files)]
    job = Job(luminance_side=4, local="features", parts=4)
    with pool_of(tiny_folder, n_workers=1) as pool:
        batches = list(pool.run(given, job=lambda: job))
    looks_of = {outcome.path: outcome for outcomes in batches for outcome in outcomes}
    assert sorted(map(len, batches)) == [1, 2, 2]
    for loose in given:
        outcome, pixels = looks_of[loose.path], decode(loose.contents, tiny.preprocessing).pixels
        if loose.is_look:  # others may be decoded larger
            np.testing.assert_allclose(outcome.vector, tiny.encode_images(pixels[None])[0], atol=1e-5)
        assert outcome.facts["hash"] == b"hash".hex()
        assert ("luminances" in outcome.facts, "parts" in outcome.facts, outcome.local is None) == (
            (False, False, True) if loose.is_look else (True, True, False)
        )


def test_bytes_that_end_their_worker_are_given_up_and_all_others_come_back_once(tiny_folder):
    cat = (sample_folder() / "cat.jpg").read_bytes()
    given = [Loose(b"/a.tar/%d" % number, b"crash" if number == 5 else cat) for number in range(20)]
    embedded = loose_outcomes(sabotaged(tiny_folder), given)
    assert {path for path, outcome in embedded.items() if outcome.vector is None} == {b"/a.tar/5"}
    assert embedded[b"/a.tar/5"].facts["code"] == "quarantined"
    assert len(embedded) == 20


def test_a_batch_of_large_pictures_is_full_before_it_has_eight(tiny_folder, monkeypatch):
    monkeypatch.setattr("mmsearch.ingest.pool._BATCH_BYTES", 1)
    cat = (sample_folder() / "cat.jpg").read_bytes()
    with pool_of(tiny_folder, n_workers=1) as pool:
        sizes = [len(outcomes) for outcomes in pool.run([Loose(b"/a.tar/%d" % n, cat) for n in range(3)])]
    assert sizes == [1, 1, 1]


@pytest.mark.full
def test_time_that_reading_a_bundle_takes_is_not_held_against_the_workers(tiny_folder):
    cat = (sample_folder() / "cat.jpg").read_bytes()

    def slowly():
        for number in range(24):
            time.sleep(1.2 if number in (8, 16, 20) else 0)
            yield Loose(b"/a.tar/%d" % number, cat)

    pool = pool_of(tiny_folder, n_workers=1, file_timeout_s=1.0, tower_timeout_s=1.0)
    assert all(outcome.vector is not None for outcome in loose_outcomes(pool, slowly()).values())


def test_worker_may_take_more_memory_where_larger_pictures_are_allowed():
    assert memory_for(1) == memory_for(64) == 1 << 30
    assert memory_for(200) == 200_000_000 * 16


def test_no_files_start_no_worker(tiny_folder):
    assert outcomes(pool_of(tiny_folder), []) == {}


def test_encoder_that_cannot_be_loaded_is_one_error(tmp_path):
    with pytest.raises(EncoderError, match=r"no worker could be started: .*holds no whole encoder"):
        outcomes(pool_of(tmp_path), [sample_folder() / "cat.jpg"])


def test_two_batches_are_taken_for_a_worker_and_the_rest_when_it_has_done_one(tiny_folder, cold_workers):
    files, taken = sorted(sample_folder().glob("*.jpg"))[:24], []

    def paths():
        for file in files:
            taken.append(file)
            yield os.fsencode(file)

    with pool_of(tiny_folder, n_workers=1) as pool:
        n_taken = [len(taken) for _ in pool.run(paths(), job=Job)]
    assert (n_taken[0], n_taken[-1], len(n_taken)) == (2 * BATCH, 3 * BATCH, 3)
    assert n_taken[1] in (
        2 * BATCH,
        3 * BATCH,
    )  # as the worker is asked for more before or after its answer is seen


# -- local features ------------------------------------------------------------------------------------


def described_here(file):
    return DEFAULT.extract(decode_grey(file.read_bytes(), longer_side=640).pixels)


def test_workers_return_local_features_beside_the_embeddings(tiny, tiny_folder):
    files = sorted(sample_folder().glob("*.jpg"))[:10]
    embedded_of = outcomes(pool_of(tiny_folder), files, lambda: Job(local="features"))
    for file in files:
        picture, grey = decode_for_both(file.read_bytes(), tiny.preprocessing, longer_side=DEFAULT.longer_side)
        assert embedded_of[str(file)].local == packed_features(DEFAULT.extract(grey))
        (expected,) = tiny.encode_images(picture.pixels[None])
        np.testing.assert_allclose(embedded_of[str(file)].vector, expected, atol=1e-5)


@pytest.mark.parametrize("side", [1200, 2300])
def test_embedding_hardly_changes_with_local_features(tmp_path, offline_folder, side):
    files = [tmp_path / f"{name}.jpg" for name in ("astronaut", "cat", "coffee")]
    for file in files:
        with Image.open(sample_folder() / file.name) as image:
            image.resize((side, side), Image.Resampling.LANCZOS).save(file, quality=95)
    encoder = OnnxEncoder.open(offline_folder)
    pictures = [decode(file.read_bytes(), encoder.preprocessing) for file in files]
    both = [
        decode_for_both(file.read_bytes(), encoder.preprocessing, longer_side=DEFAULT.longer_side)[0]
        for file in files
    ]
    alone, beside = (np.stack([picture.pixels for picture in made]) for made in (pictures, both))
    first, second = encoder.encode_images(alone), encoder.encode_images(beside)
    assert np.einsum("nd,nd->n", first, second).min() >= 0.999


def test_a_picture_has_the_same_words_whether_a_worker_makes_them_or_its_features_are_quantised_later(
    tiny_folder, vocabulary
):
    made, path = vocabulary
    files = sorted(sample_folder().glob("*.jpg"))[:3]
    embedded_of = outcomes(pool_of(tiny_folder, n_workers=1), files, lambda: Job(local=path))
    for file in files:
        gathered = packed_features(described_here(file)).features(DEFAULT.dim)
        expected, words = made.quantise(gathered), embedded_of[str(file)].local.words()
        np.testing.assert_array_equal(words.words, expected.words)
        np.testing.assert_array_equal(words.signatures, expected.signatures)
        np.testing.assert_array_equal(words.positions, expected.positions)
        np.testing.assert_array_equal(words.angles, expected.angles)


def test_workers_go_over_to_a_vocabulary_in_the_middle_of_a_run_and_may_leave_out_the_tower(
    tiny_folder, vocabulary
):
    asked = []

    def job():
        asked.append(len(asked))
        return Job(embeds=False, local="features" if len(asked) < 3 else vocabulary[1])

    files = sorted(sample_folder().glob("*.jpg"))
    embedded_of = outcomes(pool_of(tiny_folder, n_workers=1), files, job)
    kinds = [embedded_of[str(file)].local.kind for file in files]
    assert kinds == ["features"] * 16 + ["words"] * (len(files) - 16)
    assert all(embedded.vector is None and "code" not in embedded.facts for embedded in embedded_of.values())


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("sift-raise", "failed"),
        ("sift-missing", "unavailable"),
        ("sift-eat", "out_of_memory"),
        ("sift-crash", None),
    ],
)
def test_failing_extractor_never_costs_a_picture_its_embedding(tmp_path, tiny_folder, name, code):
    files = sorted(sample_folder().glob("*.jpg"))[:9]
    bad = tmp_path / f"{name}.jpg"
    shutil.copyfile(files[0], bad)
    files.insert(4, bad)
    embedded_of = outcomes(sabotaged(tiny_folder), files, lambda: Job(local="features"))
    assert all(embedded.vector is not None for embedded in embedded_of.values())
    assert embedded_of[str(bad)].local is None
    assert embedded_of[str(bad)].facts.get("local_error", {}).get("code") == code
    assert all(embedded_of[str(file)].local.n > 0 for file in files if file != bad)


def test_vocabulary_that_cannot_be_loaded_costs_only_the_words(tiny_folder, tmp_path):
    job = Job(local=str(tmp_path))
    (embedded,) = outcomes(pool_of(tiny_folder), [sample_folder() / "cat.jpg"], lambda: job).values()
    assert embedded.vector is not None
    error = embedded.facts["local_error"]
    assert (error["code"], error["message"][:32]) == ("unavailable", "the library has no visual words;")


def test_extractor_that_ends_its_worker_twice_is_given_up_where_nothing_else_is_wanted(tmp_path, tiny_folder):
    bad = tmp_path / "sift-crash.jpg"
    shutil.copyfile(sample_folder() / "cat.jpg", bad)
    embedded_of = outcomes(sabotaged(tiny_folder), [bad], lambda: Job(embeds=False, local="features"))
    assert embedded_of[str(bad)].facts["code"] == "quarantined"


@pytest.mark.full
def test_time_that_the_caller_takes_is_not_held_against_the_workers(tiny_folder):
    files = sorted(sample_folder().glob("*.jpg"))[:20]
    n_good = 0
    with pool_of(tiny_folder, file_timeout_s=1.0, tower_timeout_s=1.0) as pool:
        for batch in pool.run(map(os.fsencode, files), job=lambda: Job(local="features")):
            time.sleep(1.2)
            n_good += sum(embedded.vector is not None for embedded in batch)
    assert n_good == len(files)
