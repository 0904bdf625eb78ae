"""Warped copies: the same for the same seed, different from one another, and still the picture."""

from __future__ import annotations

import numpy as np
import pytest

from mmsearch.errors import PictureError
from mmsearch.images.warps import homography, warps
from mmsearch.records import Preprocessing
from mmsearch.samples import sample_folder

WANTED = Preprocessing(size=(96, 96), resize=96)


def sample(name):
    return (sample_folder() / f"{name}.jpg").read_bytes()


def test_the_same_seed_gives_the_same_copies_and_another_one_others():
    first, again, other = (warps(sample("cat"), sample("dam"), WANTED, n=4, seed=seed) for seed in (1, 1, 2))
    assert first.shape == (4, 96, 96, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len({copy.tobytes() for copy in first}) == 4


def test_a_copy_is_more_like_its_picture_than_like_another():
    from mmsearch.images import decode

    def histogram(pixels):
        counts = np.histogramdd(pixels.reshape(-1, 3), bins=4, range=[(0, 256)] * 3)[0].ravel()
        return np.sqrt(counts / counts.sum())

    names = ("cat", "goldfish", "creek", "galaxies")
    pictures = [histogram(decode(sample(name), WANTED).pixels) for name in names]
    right = 0
    for place, name in enumerate(names):
        copies = warps(sample(name), sample("dam"), WANTED, n=8, seed=0)
        right += sum(int(np.argmax([histogram(copy) @ own for own in pictures])) == place for copy in copies)
    assert right > 16  # of 32; 8 by chance


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3)])
def test_pictures_of_any_shape_are_warped(size):
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(buffer, "png")
    assert warps(buffer.getvalue(), buffer.getvalue(), WANTED, n=4, seed=0).shape == (4, 96, 96, 3)


def test_what_is_no_picture_is_named():
    with pytest.raises(PictureError):
        warps(b"nothing", sample("dam"), WANTED, n=1, seed=0)


def test_a_homography_brings_corners_to_corners():
    source = np.array([[0.0, 0.0], [10.0, 1.0], [9.0, 8.0], [-1.0, 7.0]])
    target = np.array([[3.0, 2.0], [30.0, 5.0], [28.0, 44.0], [1.0, 40.0]])
    a, b, c, d, e, f, g, h = homography(source, target)
    weights = source @ [g, h] + 1
    got = np.stack([(source @ [a, b] + c) / weights, (source @ [d, e] + f) / weights], axis=1)
    np.testing.assert_allclose(got, target, atol=1e-9)
