from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from mmsearch.arguments import Variant
from mmsearch.encoders.calibration import Calibration, ViewsModel, read_calibration
from mmsearch.encoders.onnx import SPEC, OnnxEncoder, read_spec
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.encoders.whole import verify_encoder, write_with_views
from mmsearch.errors import DimensionError, EncoderError
from mmsearch.images import decode
from mmsearch.samples import sample_folder
from mmsearch.store.encoder import keep_calibration
from mmsearch.vectors import l2_normalize
from tests import pictures

FIVE = Variant(views=5)


@pytest.fixture(scope="module")
def views_folder(checkpoint, tiny_folder, cache):
    return prepare_encoder(str(checkpoint), cache=cache, variant=FIVE)


@pytest.fixture
def five(views_folder):
    return OnnxEncoder.open(views_folder)


def test_an_encoder_of_five_views_is_whole_and_another_than_that_of_one(views_folder, five, tiny):
    assert verify_encoder(views_folder) == []
    assert five.fingerprint != tiny.fingerprint
    assert five.preprocessing == replace(tiny.preprocessing, views=5)
    assert (five.name, five.dim, five.precision) == (tiny.name, tiny.dim, tiny.precision)


def test_a_vector_is_that_of_the_whole_and_half_the_mean_of_the_windows(five, tiny):
    files = sorted(sample_folder().glob("*.jpg"))[:3]
    pixels = np.stack([decode(file.read_bytes(), five.preprocessing).pixels for file in files])
    whole, *windows = (tiny.encode_images(pixels[:, view]) for view in range(5))
    expected = l2_normalize(whole + 0.5 * (windows[0] + windows[1] + windows[2] + windows[3]) / 4)
    np.testing.assert_allclose(five.encode_images(pixels), expected, atol=1e-6)


def test_texts_have_the_vectors_of_one_view(five, tiny):
    texts = ["two dogs in the snow", "a boat"]
    np.testing.assert_array_equal(five.encode_texts(texts), tiny.encode_texts(texts))


@pytest.mark.parametrize("size", [(1, 1), (5, 300)])
def test_a_picture_without_windows_has_the_vector_of_its_one_view(five, tiny, size):
    data = pictures.saved(pictures.photo(*size), "PNG")
    given, expected = (
        encoder.encode_images(decode(data, encoder.preprocessing).pixels[None]) for encoder in (five, tiny)
    )
    np.testing.assert_allclose(given, expected, atol=1e-6)


def test_pixels_of_one_view_are_refused(five, tiny):
    with pytest.raises(DimensionError, match=r"shape \(32, 32, 3\), the image tower takes \(5, 32, 32, 3\)"):
        five.encode_images(np.zeros((1, 32, 32, 3), np.uint8))


def test_views_that_there_are_not_are_damage(views_folder, tmp_path):
    spec = read_spec(views_folder)
    spec["preprocessing"]["views"] = 7
    (tmp_path / SPEC).write_text(json.dumps(spec))
    with pytest.raises(EncoderError, match="views is 7; expected 1 or 5"):
        OnnxEncoder.open(tmp_path)


def test_a_precision_and_views_go_together(checkpoint, tiny_folder, views_folder, cache):
    of_one = prepare_encoder(str(checkpoint), cache=cache, variant=Variant("int8"))
    folder = prepare_encoder(str(checkpoint), cache=cache, variant=Variant("int8", 5))
    encoder = OnnxEncoder.open(folder, is_indexing=True)
    assert (encoder.precision, encoder.preprocessing.views) == ("int8", 5)
    assert len({OnnxEncoder.open(each).fingerprint for each in (of_one, folder, views_folder)}) == 3
    encoder.load_images()  # and agrees with what it made of the pictures that check it


@pytest.fixture
def own_cache(calibrated_cache, tmp_path):
    """A cache that the test may change, as others go by that which they share."""
    return shutil.copytree(calibrated_cache, tmp_path / "cache")


def test_a_kept_encoder_is_used_again_and_made_anew_where_it_is_damaged(own_cache, checkpoint):
    said = []
    folder = prepare_encoder(str(checkpoint), cache=own_cache, variant=FIVE)
    made = (folder / SPEC).stat().st_mtime_ns
    assert prepare_encoder(str(checkpoint), cache=own_cache, variant=FIVE, notify=said.append) == folder
    assert ((folder / SPEC).stat().st_mtime_ns, said) == (made, [])
    (folder / "image.onnx.data").write_bytes(b"")
    prepare_encoder(str(checkpoint), cache=own_cache, variant=FIVE, notify=said.append)
    assert verify_encoder(folder) == []
    assert "is made anew" in said[0]


def test_auto_takes_as_many_views_as_were_found_to_find_more(own_cache, checkpoint):
    folder = prepare_encoder(str(checkpoint), cache=own_cache)
    chosen = {}
    for low in (None, -0.01, 0.01):
        worth = None if low is None else ViewsModel(gain=0.02, gain_low=low)
        keep_calibration(folder, Calibration(views=worth))
        prepared = prepare_encoder(str(checkpoint), cache=own_cache, variant=Variant(views="auto"))
        chosen[low] = OnnxEncoder.open(prepared).preprocessing.views
    assert chosen == {None: 1, -0.01: 1, 0.01: 5}
    in_int8 = prepare_encoder(str(checkpoint), cache=own_cache, variant=Variant("int8", "auto"))
    assert OnnxEncoder.open(in_int8).preprocessing.views == 5


def test_what_scores_of_one_view_mean_is_not_taken_for_those_of_five(offline_folder, tmp_path):
    write_with_views(offline_folder, tmp_path / "five", 5)
    one, five = (read_calibration(folder, read_spec(folder)) for folder in (offline_folder, tmp_path / "five"))
    assert one.best_views == 5
    assert one.search != five.search
    assert one.labels != five.labels
    assert one.join == five.join
