"""Samples deeper than 8 bits are as light as they are meant, wherever in 16 bits they stand."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from mmsearch.images import decode, decode_grey
from mmsearch.images.copies import thumbnail
from mmsearch.records import Preprocessing
from tests import pictures

WHOLE = Preprocessing(size=(120, 160), resize=120)
EIGHT = np.asarray(pictures.photo(160, 120)).astype(np.float64)
ALPHA = np.full((120, 160, 1), 255.0)


def wide(eight, bits):
    """Samples of so many bits."""
    return (eight * ((1 << bits) - 1) / 255).round().astype(np.uint16)


def pixels(data):
    return decode(data, WHOLE).pixels.astype(int)


def assert_same(found, eight=EIGHT):
    assert np.abs(found - eight).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("claims", [True, False])
@pytest.mark.parametrize("kind", ["grey", "grey with alpha", "RGB", "RGB with alpha"])
def test_low_bits_of_a_png_are_spread(bits, claims, kind):
    eight = EIGHT[..., :1] if "grey" in kind else EIGHT
    samples = np.dstack([eight, ALPHA]) if "alpha" in kind else eight
    assert_same(pixels(pictures.deep_png(wide(samples, bits), bits=bits * claims)), eight)


def test_picture_is_as_light_as_its_claim_however_dark_it_is():
    dark = EIGHT / 10
    for bits in (9, 10, 12, 14):
        assert_same(pixels(pictures.deep_png(wide(dark, bits), bits=bits)), dark)
        assert_same(pixels(pictures.deep_png(wide(dark[..., :1], bits), bits=bits)), dark[..., :1])


def test_significant_bits_on_top_are_left_there():
    for samples in (wide(EIGHT, 12) << 4, wide(EIGHT[..., :1], 12) << 4):
        np.testing.assert_array_equal(pixels(pictures.deep_png(samples, bits=12)) - (samples >> 8), 0 * EIGHT)


def test_dark_photograph_of_16_bits_stays_dark():
    for eight in (EIGHT / 10, EIGHT[..., :1] / 10):
        samples = wide(eight, 16)
        assert 4096 < samples.max() < 8192
        np.testing.assert_array_equal(pixels(pictures.deep_png(samples)) - (samples >> 8), 0 * EIGHT)


def test_alpha_of_16_bits_beside_colours_of_12_is_its_own():
    half = np.full((120, 160, 1), 32_768, dtype=np.uint16)
    data = pictures.deep_png(np.dstack([wide(EIGHT, 12), half]))
    assert np.abs(pixels(data) - (EIGHT + 255) / 2).max() <= 2


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tags", [{}, {"pack": zlib.compress, "t259": 8}])
@pytest.mark.parametrize("colour", [1, 2])
def test_low_bits_of_a_tiff_are_spread(order, tags, colour):
    eight = EIGHT if colour == 2 else EIGHT[..., :1]
    for bits in (10, 12):
        samples = wide(eight, bits).astype(f"{order}u2")
        assert_same(pixels(pictures.tiff(samples, colour=colour, **tags)), eight)


def test_highest_sample_that_a_tiff_declares_is_white():
    dark = EIGHT[..., :1] / 2
    assert_same(pixels(pictures.tiff(wide(dark, 14), colour=1, t281=16_383)), dark)
    assert_same(pixels(pictures.tiff(wide(EIGHT / 2, 14), t281=16_383)), EIGHT / 2)


def test_signed_samples_use_the_bits_that_their_sign_leaves():
    grey = EIGHT[..., :1]
    for bits in (12, 15):
        assert_same(pixels(pictures.tiff(wide(grey, bits).astype(np.int16), colour=1)), grey)


def test_packed_samples_of_12_bits_are_spread():
    samples = wide(EIGHT[..., 0], 12)
    even, odd = samples[:, ::2], samples[:, 1::2]
    packed = np.stack([even >> 4, (even & 15) << 4 | odd >> 8, odd & 255], axis=-1).astype(np.uint8)
    data = pictures.tiff(packed.reshape(120, 240, 1), colour=1, t256=160, t258=12)
    assert_same(pixels(data), EIGHT[..., :1])


def test_every_consumer_sees_the_same_light():
    data = pictures.deep_png(wide(EIGHT, 10))
    luma = EIGHT @ (0.299, 0.587, 0.114)
    assert np.abs(decode_grey(data, longer_side=160).pixels - luma).max() <= 2
    other = pictures.deep_png(wide(EIGHT, 8) * 257)
    assert thumbnail(data, 160).jpeg[:600] == thumbnail(other, 160).jpeg[:600]
