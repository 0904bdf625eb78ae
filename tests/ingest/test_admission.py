from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from mmsearch import Library, Query
from mmsearch.arguments import Variant
from mmsearch.encoders import prepare
from mmsearch.encoders.agreement import N_PICTURES
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.errors import ArgumentError, EncoderError, FingerprintError, HubUnreachableError, QueryError
from mmsearch.images import decode, find_files
from mmsearch.ingest.admission import Trial
from mmsearch.ingest.embed import EmbedOptions, embed_pictures
from mmsearch.samples import sample_folder
from mmsearch.shards.bundles import members_of
from tests.conftest import copied_photos, copy_library, small_samples
from tests.pools import outcomes, pool_of
from tests.shards.bundles import write_tar


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """A folder with 180 different pictures: parts of the sample photographs, and a file that is none."""
    folder = tmp_path_factory.mktemp("crops")
    for path in sorted(sample_folder().glob("*.jpg")):
        with Image.open(path) as picture:
            picture.thumbnail((240, 240))
            width, height = picture.width // 3, picture.height // 3
            for number in range(7):
                left, top = width * (number % 3), height * (number // 3)
                cell = picture.crop((left, top, left + width, top + height))
                cell.save(folder / f"{number}-{path.name}", quality=90)
    (folder / "0-broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    return folder


@pytest.fixture
def few(monkeypatch):
    """Ten pictures are enough, fewer than there are samples."""
    monkeypatch.setattr("mmsearch.ingest.admission.N_PICTURES", 10)


def found(*paths):
    return find_files([str(path).encode() for path in paths], with_bundles=True)


def test_a_precision_is_judged_by_200_different_pictures_the_samples_first(checkpoint, cache, crops, monkeypatch):
    # Two layers of random weights see little difference between many pictures.
    monkeypatch.setattr("mmsearch.encoders.agreement.MIN_COSINE", 0.998)
    monkeypatch.setattr("mmsearch.encoders.agreement.MIN_NEIGHBOURS", 0.8)
    monkeypatch.setattr("mmsearch.encoders.agreement.MIN_TEXTS", 0.9)
    said = []
    agreement = Trial(cache).agreement(str(checkpoint), "int8", found(sample_folder(), crops), said.append)
    assert agreement["n_pictures"] == N_PICTURES == 200  # the samples are not counted twice
    assert 0.998 < agreement["cosine"] < 1
    assert all(speed > 0 for speed in agreement["pictures_per_s"].values())
    assert list(agreement["pictures_per_s"]) == ["fp32", "int8"]
    assert said[-1] == "comparing int8 with fp32 on 200 pictures"


def test_a_precision_that_changes_the_nearest_pictures_is_refused(checkpoint, cache, crops):
    with pytest.raises(EncoderError, match=r"on 200 pictures .*the share with the same nearest picture is 0\.9"):
        Trial(cache).agreement(str(checkpoint), "int8", found(crops), print)


def test_too_few_pictures_are_said_before_an_encoder_is_made(tmp_path):
    with pytest.raises(
        EncoderError, match=r"200 different pictures, and with the samples of mmsearch there are at most 29;"
    ):
        Trial(tmp_path / "cache").agreement("no/such-model", "int8", [], print)
    assert not (tmp_path / "cache").exists()


def test_copies_and_files_that_cannot_be_read_do_not_count(checkpoint, cache, crops, tmp_path):
    copies = shutil.copytree(crops, tmp_path / "copies")
    for path in sorted(copies.glob("*.jpg"))[150:]:
        path.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    with pytest.raises(EncoderError, match=r"with the samples of mmsearch there are 178;"):
        Trial(cache).agreement(str(checkpoint), "int8", found(copies, sample_folder()), print)


@pytest.mark.parametrize("precision", ["int8", pytest.param("bf16", marks=pytest.mark.full)])
def test_workers_embed_in_the_precision_of_the_encoder(precision, checkpoint, cache):
    file = sample_folder() / "cat.jpg"
    folder = prepare_encoder(str(checkpoint), cache=cache, variant=Variant(precision))
    encoder = OnnxEncoder.open(folder, is_indexing=True)
    pixels = decode(file.read_bytes(), encoder.preprocessing).pixels[None]
    vector = outcomes(pool_of(folder, n_workers=1), [file])[str(file)].vector
    np.testing.assert_allclose(vector, encoder.encode_images(pixels)[0], atol=1e-3)
    assert np.abs(vector - OnnxEncoder.open(folder).encode_images(pixels)[0]).max() > 1e-5


def test_bf16_is_refused_where_the_cpu_has_none_before_anything_is_made(library, photos, monkeypatch):
    monkeypatch.setattr("mmsearch.encoders.bf16.computes_bf16", lambda: False)
    with pytest.raises(EncoderError, match=r"this CPU has no instructions for bf16"):
        library.index([photos], model="no/such-model", precision="bf16")
    assert not library.place.folder.exists()


@pytest.mark.full
def test_offline_is_refused_in_int8_with_the_criterion_that_it_fails(few, offline_folder, cache, tmp_path, photos):
    refusal = r"int8 is refused for offline: on 10 pictures a vector has a cosine of 0\.99\d+ to that of fp32 "
    with (
        Library.open(tmp_path / "library", cache=cache) as library,
        pytest.raises(EncoderError, match=refusal + r"\(expected 0.999 at least\)"),
    ):
        library.index([photos], model="offline", precision="int8", local=False)
    assert not (tmp_path / "library").exists()


def test_what_auto_stands_for_is_said_once(few, checkpoint, cache, crops, monkeypatch):
    real = prepare._prepared

    def unreachable(model, *settings):
        if model == prepare.DEFAULT_CLIP:
            raise HubUnreachableError("no network")
        return real(model, *settings)

    monkeypatch.setattr(prepare, "_prepared", unreachable)
    monkeypatch.setattr(prepare, "OFFLINE", str(checkpoint))  # what is taken instead
    said = []
    assert Trial(cache).agreement("auto", "int8", found(crops), said.append)["n_pictures"] == 10
    assert sum("using the `offline` encoder" in sentence for sentence in said) == 1


def test_pictures_in_bundles_count(few, checkpoint, cache, crops, tmp_path):
    files = [path for path in sorted(crops.glob("*.jpg")) if "broken" not in path.name][:12]
    write_tar(tmp_path / "set.tar", [(path.name, path.read_bytes()) for path in files])
    members = members_of(next(iter(found(tmp_path / "set.tar"))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmsearch.ingest.admission._samples", lambda: iter(()))
        assert Trial(cache).agreement(str(checkpoint), "int8", members, print)["n_pictures"] == 10


# -- libraries -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fast_once(checkpoint, cache, tiny_folder, tmp_path_factory):
    """A folder with the eight photographs and a library of them in int8; it stays as it is."""
    folder = tmp_path_factory.mktemp("fast")
    copied_photos(folder / "photos")
    with pytest.MonkeyPatch.context() as patch, Library.open(folder / "library", cache=cache) as library:
        patch.setattr("mmsearch.ingest.admission.N_PICTURES", 10)
        library.index([folder / "photos"], model=str(checkpoint), precision="int8", local=False)
    return folder


@pytest.fixture
def fast(fast_once, few, tmp_path, photos, cache):
    """A library of the eight photographs in int8."""
    copy_library(fast_once / "library", tmp_path / "fast", fast_once / "photos", photos)
    with Library.open(tmp_path / "fast", cache=cache) as library:
        yield library


def test_a_library_keeps_its_precision_and_tells_what_was_measured(fast, photos, indexed):
    status = fast.status()
    assert (status.precision, status.n_vectors, status.agreement["n_pictures"]) == ("int8", 8, 10)
    assert (indexed.status().precision, indexed.status().agreement) == ("fp32", None)
    assert status.fingerprint != indexed.status().fingerprint
    (photos / "cat.jpg").write_bytes((sample_folder() / "panda.jpg").read_bytes())
    report = fast.index([photos])
    assert (report.changed, report.details) == (1, {})
    assert fast.status().fingerprint == status.fingerprint
    assert fast.verify().problems == ()


def test_the_first_run_reports_the_agreement_and_both_speeds(few, library, photos, checkpoint):
    report = library.index([photos], model=str(checkpoint), precision="int8", local=False)
    assert report.details["agreement"] == library.status().agreement
    assert set(report.details["agreement"]["pictures_per_s"]) == {"fp32", "int8"}


@pytest.mark.parametrize(
    "query", [Query(text="two dogs in the snow"), Query(images=[sample_folder() / "rocket.jpg"])]
)
def test_pictures_and_texts_are_found_in_a_library_in_int8_as_in_fp32(query, fast, indexed):
    scores = [{hit.path: hit.score for hit in library.search(query, k=8).hits} for library in (fast, indexed)]
    assert len(scores[0]) == 8
    assert scores[0] == pytest.approx(scores[1], abs=0.05)
    assert scores[0] != scores[1]


@pytest.mark.parametrize(("held", "asked"), [("int8", "fp32"), ("fp32", "int8"), ("fp32", "bf16")])
def test_another_precision_than_the_library_has_is_refused(held, asked, request, photos):
    library = request.getfixturevalue("fast" if held == "int8" else "indexed")
    before = library.status()
    refusal = f"embedded in {held}, and --precision {asked} was asked for: leave --precision out, make all"
    with pytest.raises(FingerprintError, match=refusal):
        library.index([photos], precision=asked)
    assert library.status() == before


def test_the_precision_of_the_library_may_be_named(fast, indexed, photos):
    assert fast.index([photos], precision="int8").unchanged == 8
    assert indexed.index([photos], precision="fp32").unchanged == 8


@pytest.mark.full
def test_re_embedding_changes_the_precision_and_back(few, indexed):
    before = indexed.status()
    report = indexed.index([], precision="int8", re_embed=True)
    assert (report.re_embedded, indexed.status().precision) == (8, "int8")
    assert report.details["agreement"] == indexed.status().agreement
    assert indexed.verify().problems == ()
    assert indexed.index([], precision="fp32", re_embed=True).re_embedded == 8
    after = indexed.status()
    assert (after.fingerprint, after.precision, after.agreement) == (before.fingerprint, "fp32", None)


def test_re_embedding_by_another_model_keeps_the_precision(fast, other_checkpoint):
    fast.index([], model=str(other_checkpoint), re_embed=True)
    assert (fast.status().precision, fast.status().model) == ("int8", str(other_checkpoint))


def test_a_precision_that_agrees_too_little_leaves_the_library_as_it_is(few, indexed, monkeypatch):
    monkeypatch.setattr("mmsearch.encoders.agreement.MIN_COSINE", 1.1)
    before = indexed.status()
    with pytest.raises(EncoderError, match=r"int8 is refused"):
        indexed.index([], precision="int8", re_embed=True)
    assert indexed.status() == before


def test_a_model_that_changed_under_its_name_is_judged_again(fast):
    with fast.place.writer() as store:
        store.keep({"fingerprint": "0" * 64})  # as if other weights had been there
    report = fast.index([], precision="int8", model=fast.status().model, re_embed=True)
    assert report.re_embedded == 8
    assert report.details["agreement"] == fast.status().agreement


def test_a_library_without_vectors_has_no_precision(library, photos):
    with pytest.raises(QueryError, match="--precision int8 is about vectors, which --model none does not make"):
        library.index([photos], model="none", precision="int8")


def test_a_dry_run_says_that_vectors_would_be_made_in_the_precision(indexed):
    report = indexed.index([], precision="int8", re_embed=True, is_dry_run=True)
    assert "would be embedded anew by" in report.notices[0]
    assert report.notices[0].endswith("in int8, if that agrees with fp32")


@pytest.mark.parametrize("precision", ["int4", "FP32", "", 8, ["int8"]])
def test_a_precision_that_there_is_not_is_refused_by_index_and_embed(precision, library, photos):
    with pytest.raises((QueryError, ArgumentError), match=r"precision is .*; expected 'fp32', 'int8' or 'bf16'"):
        library.index([photos], precision=precision)
    with pytest.raises((QueryError, ArgumentError), match=r"precision is .*; expected 'fp32', 'int8' or 'bf16'"):
        EmbedOptions(precision=precision)


# -- shards --------------------------------------------------------------------------------------------


@pytest.mark.full
def test_embed_and_load_carry_the_precision(few, tmp_path, checkpoint, cache, fast):
    pictures, out = small_samples(tmp_path / "pictures", 6), tmp_path / "shards"
    report = embed_pictures(pictures, out, EmbedOptions(str(checkpoint), cache=cache, precision="int8"))
    assert (report.new, report.details["agreement"]["n_pictures"]) == (6, 10)
    small_samples(tmp_path / "pictures" / "more", 8)
    report = embed_pictures(pictures, out, EmbedOptions(cache=cache))  # as the shards that are there
    assert (report.new, report.unchanged, report.details) == (8, 6, {})
    with Library.open(tmp_path / "loaded", cache=cache) as loaded:
        assert loaded.load(out).new == 14
        status = loaded.status()
        assert (status.precision, status.fingerprint) == ("int8", fast.status().fingerprint)
        assert loaded.export(tmp_path / "exported").new == 14
    assert fast.load(tmp_path / "exported").new == 14
    with pytest.raises(FingerprintError):
        embed_pictures(pictures, out, EmbedOptions(cache=cache, precision="fp32"))
