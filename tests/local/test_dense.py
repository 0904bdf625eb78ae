"""Dense features, against plain loops over a layer that only averages, and over the real network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import avg_pool2d

from mmsearch.encoders.efficientnet import (
    MIDDLE_STRIDE,
    classifier_weights,
    load_classifier,
    middle_maps,
    network_input,
)
from mmsearch.encoders.whitening import fit_whitening, whiten
from mmsearch.errors import DimensionError
from mmsearch.local.dense import ConvLayer, DenseSettings, extract_dense
from mmsearch.samples import sample_folder
from tests.conftest import sample_crop

AVERAGES = ConvLayer(lambda pixels: avg_pool2d(pixels.permute(0, 3, 1, 2).float(), 8), stride=8)
ONE_ZOOM = DenseSettings(zooms=(1.0,))
seeds = st.integers(0, 2**32 - 1)


def random_pixels(seed, height=40, width=56):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_hand(pixels):
    """Position, strength and unit descriptor of every cell of 8 x 8 pixels, strongest first."""
    rows, columns = pixels.shape[0] // 8, pixels.shape[1] // 8
    cells = {
        (row, column): pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8].reshape(64, 3).mean(axis=0)
        for row in range(rows)
        for column in range(columns)
    }
    features = []
    for (row, column), cell in cells.items():
        near = [cells[r, c] for r, c in cells if abs(r - row) <= 1 and abs(c - column) <= 1]
        mean = np.mean(near, axis=0)
        features.append((-np.linalg.norm(cell), (8 * column + 3.5, 8 * row + 3.5), mean / np.linalg.norm(mean)))
    return sorted(features, key=lambda feature: feature[0])


@given(seed=seeds)
def test_features_equal_plain_loops_over_the_cells(seed):
    pixels = random_pixels(seed)
    found, expected = extract_dense(pixels, AVERAGES, settings=ONE_ZOOM), by_hand(pixels)
    np.testing.assert_allclose(found.positions, [position for _, position, _ in expected], atol=1e-3)
    np.testing.assert_allclose(found.descriptors, [descriptor for _, _, descriptor in expected], atol=1e-4)
    assert set(found.scales.tolist()) == {24.0}
    assert not found.angles.any()


@pytest.mark.parametrize("zoom", [1.0, 0.7071, 0.5, 0.25])
@given(x=st.integers(8, 191), y=st.integers(8, 135))
def test_strongest_feature_is_where_the_light_is_at_every_zoom(zoom, x, y):
    pixels = np.zeros((144, 200, 3), dtype=np.uint8)
    pixels[y - 8 : y + 8, x - 8 : x + 8] = 255
    best = extract_dense(pixels, AVERAGES, settings=DenseSettings(zooms=(zoom,))).positions[0]
    assert np.abs(best - (x, y)).max() <= 8 / zoom


def test_zooms_are_all_looked_at_and_the_strongest_kept():
    settings = DenseSettings(zooms=(1.0, 0.5), n_features=60)
    all_zooms = extract_dense(random_pixels(0, 64, 64), AVERAGES, settings=settings)
    assert len(all_zooms) == 60
    assert set(all_zooms.scales.tolist()) == {24.0, 48.0}
    everything = extract_dense(random_pixels(0, 64, 64), AVERAGES, settings=DenseSettings(zooms=(1.0, 0.5)))
    assert len(everything) == 64 + 16
    np.testing.assert_array_equal(all_zooms.positions, everything.positions[:60])


def test_large_picture_is_reduced_and_leads_back_to_the_original():
    pixels = np.zeros((960, 1280, 3), dtype=np.uint8)
    pixels[600:640, 300:340] = 255
    found = extract_dense(pixels, AVERAGES, settings=ONE_ZOOM)
    assert (found.size, found.original_size) == ((640, 480), (1280, 960))
    assert np.abs(found.to_original(found.positions[:1])[0] - (320, 620)).max() <= 16


def test_features_are_whitened_before_they_have_unit_length():
    pixels = random_pixels(1, 64, 64)
    learned = fit_whitening(np.random.default_rng(0).normal(128, 20, (50, 3)).astype(np.float32), 2)
    found = extract_dense(pixels, AVERAGES, settings=DenseSettings((1.0,), 5, learned))
    cells = avg_pool2d(AVERAGES.maps(torch.from_numpy(pixels)[None]), 3, 1, 1, count_include_pad=False)[0]
    columns, rows = ((found.positions - 3.5) / 8).round().astype(int).T
    np.testing.assert_allclose(found.descriptors, whiten(cells.numpy()[:, rows, columns].T, learned), atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 500, 3), (7, 7, 3)])
def test_tiny_and_narrow_pictures_have_features(shape):
    found = extract_dense(np.full(shape, 200, np.uint8), AVERAGES)
    assert len(found) >= 5
    assert (found.positions > -1).all()
    assert (found.positions < (shape[1], shape[0])).all()


def test_picture_without_activation_has_no_features():
    found = extract_dense(np.zeros((40, 40, 3), np.uint8), AVERAGES)
    assert len(found) == 0
    assert found.descriptors.shape == (0, 3)


def test_pixels_and_whitening_that_do_not_fit_are_refused():
    with pytest.raises(DimensionError, match=r"pixels have shape \(40, 40\), expected \(height, width, 3\)"):
        extract_dense(np.zeros((40, 40), np.uint8), AVERAGES)
    other = fit_whitening(np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32), 2)
    with pytest.raises(DimensionError, match="descriptors have 3 dimensions, the whitening was learned on 4"):
        extract_dense(random_pixels(0), AVERAGES, settings=DenseSettings(whitening=other))


# -- the real network -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    return load_classifier(classifier_weights())


@pytest.fixture(scope="module")
def layer(network):
    return ConvLayer(lambda pixels: middle_maps(network, pixels), MIDDLE_STRIDE)


def test_middle_maps_are_those_inside_the_network(network):
    pixels, seen = torch.from_numpy(random_pixels(0, 64, 96))[None], []
    hook = network.blocks[4][-1].bn2.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.inference_mode():
        network(network_input(pixels))
        hook.remove()
        ours = middle_maps(network, pixels)
    assert ours.shape == (1, 720, 4, 6)
    np.testing.assert_allclose(ours, seen[0], atol=1e-5)


@pytest.mark.full
def test_cells_look_at_the_squares_they_stand_for(network):
    """The gradient of a cell is centred on its square, on average: the padding at one end leaves no shift."""
    shifts = []
    for name in ("cat", "louvre", "moose", "creek"):
        with Image.open(sample_folder() / f"{name}.jpg") as image:
            pixels = np.asarray(image.convert("RGB").resize((256, 256)))
        inputs = torch.from_numpy(np.array(pixels))[None].float().requires_grad_()
        maps = middle_maps(network, inputs)[0]
        for row, column in ((6, 5), (6, 9), (8, 7), (10, 5), (10, 9)):
            (gradient,) = torch.autograd.grad(maps[:, row, column].norm(), inputs, retain_graph=True)
            weights = gradient[0].pow(2).sum(dim=2).numpy()
            centre = [np.average(np.arange(256), weights=weights.sum(axis=axis)) for axis in (1, 0)]
            shifts.append(np.array(centre) - (MIDDLE_STRIDE * np.array([row, column]) + 7.5))
    assert np.abs(np.mean(shifts, axis=0)).max() < 4


def features_of(path, layer):
    with Image.open(path) as image:
        image.thumbnail((320, 320))
        return extract_dense(np.asarray(image.convert("RGB")), layer, settings=DenseSettings(n_features=150))


@pytest.mark.full
@pytest.mark.parametrize("name", ["cat", "louvre"])
def test_crop_has_most_of_its_neighbours_in_its_own_photograph(layer, tmp_path, name):
    names = ("cat", "coffee", "louvre", "moose")
    gallery = [features_of(sample_folder() / f"{one}.jpg", layer).descriptors for one in names]
    crop = features_of(sample_crop(tmp_path, name), layer).descriptors
    nearest = np.argmax([(crop @ own.T).max(axis=1) for own in gallery], axis=0)
    assert np.mean(nearest == names.index(name)) > 0.6
