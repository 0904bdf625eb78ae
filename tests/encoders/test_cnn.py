"""Image encoders over real weights: what they find, and what they say when they are asked for words."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from mmsearch import Encoder, GraphSettings, Library, Query, Term
from mmsearch.encoders.cnn import DESCRIPTORS, PREFIX, build_cnn, common_activations
from mmsearch.encoders.efficientnet import (
    MIDDLE_STRIDE,
    classifier_weights,
    load_classifier,
    middle_maps,
    network_input,
)
from mmsearch.encoders.export import export_encoder, fingerprint_of
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.pooling import spoc
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.encoders.whole import verify_encoder
from mmsearch.errors import EncoderError, FingerprintError, ModelNotFoundError, QueryError
from mmsearch.images import decode
from mmsearch.samples import sample_folder
from mmsearch.vectors import l2_normalize
from tests.conftest import sample_crop
from tests.golden.make_library import convolution
from tests.test_architecture import COMMAND, HEAVY, loaded_by

NO_WORDS = (
    "cnn:gem is an image encoder: it knows no words; search with -i, or index into another --library with a "
    "text-image model such as offline"
)


@pytest.fixture(scope="session")
def network():
    return load_classifier(classifier_weights())


@functools.cache
def built(name):
    """A descriptor, loaded once."""
    return build_cnn(name)


def pixels_for(encoder, *names):
    files = [sample_folder() / f"{name}.jpg" for name in names]
    return np.stack([decode(file.read_bytes(), encoder.preprocessing).pixels for file in files])


def test_middle_maps_are_those_inside_the_network(network):
    noise, seen = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), dtype=np.uint8), []
    pixels = torch.from_numpy(noise)
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


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_descriptors_are_unit_and_differ_between_pictures(name):
    eager = built(PREFIX + name)
    with torch.inference_mode():
        vectors = eager.image_tower(torch.from_numpy(pixels_for(eager, "cat", "coffee"))).numpy()
    assert vectors.shape == (2, eager.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] < 0.5


def test_every_descriptor_has_a_fingerprint_of_its_own():
    assert len({fingerprint_of(built(PREFIX + name)) for name in DESCRIPTORS}) == len(DESCRIPTORS)


def test_codes_are_what_the_classifier_sees(network):
    eager = built("cnn:codes")
    pixels = torch.from_numpy(pixels_for(eager, "cat"))
    with torch.inference_mode():
        pooled = network.forward_head(network.forward_features(network_input(pixels)), pre_logits=True)[0].numpy()
        ours = eager.image_tower(pixels)[0].numpy()
    expected = pooled / np.linalg.norm(pooled) - 0.5 * common_activations(network, 1.0)
    np.testing.assert_allclose(ours, expected / np.linalg.norm(expected), atol=1e-5)


def test_windows_are_the_sum_of_the_codes_of_the_windows(network):
    eager = built("cnn:windows")
    pixels = torch.from_numpy(pixels_for(eager, "cat", "coffee"))
    inputs, summed = network_input(pixels), 0
    whole = torch.nn.functional.interpolate(inputs, (260, 260), mode="bilinear", antialias=True)
    with torch.inference_mode():
        corners = [(top, left) for top in (0, 130) for left in (0, 130)]
        for window in (whole, *(inputs[:, :, top : top + 260, left : left + 260] for top, left in corners)):
            summed += spoc(network.forward_features(window)).numpy()
        ours = eager.image_tower(pixels).numpy()
    expected = summed / np.linalg.norm(summed, axis=1, keepdims=True) - 0.5 * common_activations(network, 1.0)
    np.testing.assert_allclose(ours, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-4)


def test_common_activations_are_the_mean_of_rectified_normal_draws(network):
    rng, norm = np.random.default_rng(0), network.bn2
    shift, scale = (values.detach().numpy()[:50] for values in (norm.bias, norm.weight))
    draws = (shift + scale * rng.standard_normal((100_000, 50))).clip(0, 6)
    for power in (1.0, 3.0):
        expected = l2_normalize((draws**power).mean(axis=0)[None] ** (1 / power))[0]
        ours = l2_normalize(common_activations(network, power)[None, :50])[0]
        np.testing.assert_allclose(ours, expected, atol=0.01)


def test_common_activations_are_near_the_mean_of_photographs(network):
    names = ("astronaut", "cat", "coffee", "creek", "dam", "fig", "goldfish", "moose", "louvre", "rocket")
    pixels = torch.from_numpy(pixels_for(built("cnn:codes"), *names))
    with torch.inference_mode():
        mean = spoc(network.forward_features(network_input(pixels))).numpy().mean(axis=0)
    assert common_activations(network, 1.0) @ mean / np.linalg.norm(mean) > 0.7


def test_unknown_descriptor_is_named_with_what_there_is(cache):
    with pytest.raises(
        ModelNotFoundError, match=r"no image encoder 'cnn:vlad'; expected one of cnn:codes, cnn:spoc"
    ):
        prepare_encoder("cnn:vlad", cache=cache)


# -- exported, without a text tower ---------------------------------------------------------------------


def test_exported_image_encoder_is_whole_and_has_no_words(gem_folder):
    assert verify_encoder(gem_folder) == []
    assert not {"text.onnx", "tokenizer.json", "probes.npy"} & {path.name for path in gem_folder.iterdir()}
    spec = json.loads((gem_folder / "spec.json").read_text())
    assert spec["cosine_to_torch"].keys() == {"image"}
    encoder = OnnxEncoder.open(gem_folder)
    assert not encoder.has_words
    assert encoder.text_probes().shape == (0, 1280)
    with pytest.raises(QueryError, match=NO_WORDS):
        encoder.encode_texts(["a cat"])


def test_exported_tower_takes_any_number_of_pictures(gem_folder):
    encoder = OnnxEncoder.open(gem_folder)
    pixels = pixels_for(encoder, "cat", "coffee", "fig")
    together = encoder.encode_images(pixels)
    alone = np.concatenate([encoder.encode_images(one[None]) for one in pixels])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_image_tower_that_differs_from_torch_is_refused(tmp_path, monkeypatch):
    real = OnnxEncoder.encode_images
    monkeypatch.setattr(OnnxEncoder, "encode_images", lambda self, pixels: real(self, pixels)[::-1])
    with pytest.raises(EncoderError, match=r"the exported image tower of .* differs from torch"):
        export_encoder(convolution(), tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()


# -- a library of pictures without words ----------------------------------------------------------------


@pytest.fixture(scope="module")
def made(gem_folder, cache, tmp_path_factory):
    """A library of the sample photographs, with a graph."""
    folder = tmp_path_factory.mktemp("gem")
    with Library.open(folder / "library", cache=cache) as library:
        library.index([sample_folder()], model="cnn:gem", settings=GraphSettings(graph_from=10, recall_target=0.5))
        yield library


def found(library, *images, k=1, **options):
    hits = library.search(Query(images=images, **options), k=k, explain=True).hits
    return [hit.path.rpartition("/")[2].removesuffix(".jpg") for hit in hits]


@pytest.mark.parametrize("name", ["astronaut", "cat", "coffee", "creek", "dam", "fig", "goldfish", "moose"])
def test_photograph_is_found_by_a_crop_of_it(made, tmp_path, name):
    assert found(made, sample_crop(tmp_path, name)) == [name]


def test_several_pictures_filters_and_weights_work_without_words(made, tmp_path):
    cat, fig = sample_crop(tmp_path, "cat"), sample_crop(tmp_path, "fig")
    assert set(found(made, cat, fig, k=2)) == {"cat", "fig"}
    assert found(made, Term(str(cat), 0.1), fig) == ["fig"]
    assert found(made, cat, where=["name = fig.jpg"]) == ["fig"]
    hit = made.search(Query(images=[cat]), k=1, explain=True).hits[0]
    assert hit.terms == {str(cat): pytest.approx(hit.score, abs=1e-3)}


def test_graph_is_calibrated_for_pictures_only(made):
    status = made.status()
    assert (status.model, status.dim, status.n_in_graph) == ("cnn:gem", 1280, 29)
    assert status.search.keys() == {"image"}
    assert made.verify().problems == ()


@pytest.mark.parametrize(
    "query", [Query(text="a cat"), Query(images=["no-such.jpg"], exclude=["snow"])], ids=["text", "not"]
)
def test_words_are_refused_before_any_picture_is_read(made, query):
    with pytest.raises(QueryError, match=NO_WORDS):
        made.search(query)


def test_labels_are_refused_before_any_picture_is_read(made, monkeypatch):
    monkeypatch.setattr(Encoder, "encode_readable", lambda self, images: pytest.fail("a picture was read"))
    with pytest.raises(QueryError, match=NO_WORDS):
        made.classify([sample_folder() / "cat.jpg"], ["a cat", "a dog"])


def test_library_of_one_descriptor_refuses_another(made):
    with pytest.raises(FingerprintError, match="holds vectors of cnn:gem, cnn:codes was asked for"):
        made.index([sample_folder()], model="cnn:codes")


def test_search_by_example_from_the_shell_loads_no_torch(made, tmp_path):
    loaded = loaded_by(COMMAND, "search", "-i", sample_crop(tmp_path, "cat"), "--library", made.folder)
    assert "onnxruntime" in loaded  # the picture was encoded
    assert not loaded & (HEAVY - {"cv2"} | {"tokenizers"})  # local features look at the example too


def test_words_from_the_shell_are_one_sentence(made):
    command = [sys.executable, "-m", "mmsearch", "search", "a cat", "--library", made.folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {NO_WORDS}\n")
