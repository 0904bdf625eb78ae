from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import onnx
import pytest
import torch

from mmsearch.arguments import Variant
from mmsearch.encoders.bf16 import load_bf16, require_bf16, write_bf16
from mmsearch.encoders.onnx import SPEC, OnnxEncoder
from mmsearch.encoders.precision import _quantise, write_in_precision
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.encoders.whole import verify_encoder
from mmsearch.errors import EncoderError, UnsupportedModelError
from mmsearch.images import decode
from mmsearch.samples import sample_folder
from mmsearch.vectors import l2_normalize
from tests.conftest import random_units


@pytest.fixture(scope="module")
def int8_folder(checkpoint, tiny_folder, cache):
    return prepare_encoder(str(checkpoint), cache=cache, variant=Variant("int8"))


def not_built():
    pytest.fail("int8 is made of the exported tower")


def sample_pixels(encoder):
    files = sorted(sample_folder().glob("*.jpg"))
    return np.stack([decode(file.read_bytes(), encoder.preprocessing).pixels for file in files])


def test_an_encoder_in_int8_is_whole_and_another_than_in_fp32(int8_folder, tiny):
    encoder = OnnxEncoder.open(int8_folder)
    assert verify_encoder(int8_folder) == []
    assert (encoder.precision, tiny.precision) == ("int8", "fp32")
    assert encoder.fingerprint != tiny.fingerprint
    assert (encoder.name, encoder.dim, encoder.preprocessing) == (tiny.name, tiny.dim, tiny.preprocessing)


def test_only_where_pictures_are_indexed_the_tower_of_the_precision_is_taken(int8_folder, tiny):
    pixels = sample_pixels(tiny)
    expected = tiny.encode_images(pixels)
    np.testing.assert_array_equal(OnnxEncoder.open(int8_folder).encode_images(pixels), expected)
    indexed = OnnxEncoder.open(int8_folder, is_indexing=True).encode_images(pixels)
    assert np.abs(indexed - expected).max() > 1e-4
    assert (indexed * expected).sum(axis=1).min() > 0.998


def test_texts_have_the_vectors_of_fp32(int8_folder, tiny):
    encoder = OnnxEncoder.open(int8_folder, is_indexing=True)
    texts = ["two dogs in the snow", "a boat"]
    np.testing.assert_array_equal(encoder.encode_texts(texts), tiny.encode_texts(texts))
    np.testing.assert_array_equal(encoder.text_probes(), tiny.text_probes())


def products(path, *kinds):
    """The nodes of these kinds that multiply with a constant matrix."""
    graph = onnx.load(path, load_external_data=False).graph
    constants = {constant.name for constant in graph.initializer}
    return [node for node in graph.node if node.op_type in kinds and node.input[1] in constants]


def test_all_products_with_weights_are_in_whole_numbers_but_the_last(int8_folder, tiny_folder):
    before = products(tiny_folder / "image.onnx", "MatMul", "Gemm")
    (left,) = products(int8_folder / "image.int8.onnx", "MatMul", "Gemm")
    assert left.name == before[-1].name
    assert len(products(int8_folder / "image.int8.onnx", "MatMulInteger")) == len(before) - 1


def test_a_last_product_with_a_sum_stays_as_it_is(tmp_path):
    rng = np.random.default_rng(0)
    names = ["input", "inner", "vectors"]
    nodes = [
        onnx.helper.make_node("Gemm", [names[i], f"w{i}", f"b{i}"], [names[i + 1]], name=f"layer{i}")
        for i in (0, 1)
    ]
    weights = [
        onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), f"{kind}{i}")
        for i in (0, 1)
        for kind, shape in (("w", (8, 8)), ("b", (8,)))
    ]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 8]) for name in names]
    graph = onnx.helper.make_graph(nodes, "tower", ends[:1], ends[2:], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "tower.onnx")
    assert _quantise(tmp_path / "tower.onnx", tmp_path / "int8.onnx") == 1
    assert [node.name for node in products(tmp_path / "int8.onnx", "MatMul", "Gemm")] == ["layer1_MatMul"]
    assert len(products(tmp_path / "int8.onnx", "MatMulInteger")) == 1


def test_the_encoder_in_fp32_keeps_its_fingerprint_and_says_nothing_of_a_precision(tiny_folder):
    assert "precision" not in json.loads((tiny_folder / SPEC).read_text())["identity"]


def test_a_prepared_encoder_is_kept_for_each_precision(int8_folder, checkpoint, tiny_folder, cache):
    said = []
    assert prepare_encoder(str(checkpoint), cache=cache, variant=Variant("int8"), notify=said.append) == int8_folder
    assert prepare_encoder(str(checkpoint), cache=cache, notify=said.append) == tiny_folder
    assert said == []


def test_quantising_is_silent_and_leaves_the_source_as_it_was(tiny_folder, tmp_path, caplog):
    names = sorted(path.name for path in tiny_folder.iterdir())
    with caplog.at_level(logging.INFO):
        write_in_precision(tiny_folder, tmp_path / "encoder", "int8", not_built)
    assert caplog.messages == []
    assert sorted(path.name for path in tiny_folder.iterdir()) == names
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


def test_an_encoder_without_products_of_matrices_is_not_made_in_int8(gem_folder, cache):
    with pytest.raises(UnsupportedModelError, match=r"cnn:gem has no products .* use --precision fp32"):
        prepare_encoder("cnn:gem", cache=cache, variant=Variant("int8"))


def test_a_cpu_that_computes_in_another_way_is_said(int8_folder, tmp_path):
    folder = shutil.copytree(int8_folder, tmp_path / "encoder")
    OnnxEncoder.open(folder, is_indexing=True).load_images()
    vectors = np.load(folder / "checks.npy")
    vectors[2] = l2_normalize(vectors[2:3] + 0.05 * random_units(1, vectors.shape[1]))[0]
    np.save(folder / "checks.npy", vectors)
    OnnxEncoder.open(folder).load_images()  # that of fp32
    with pytest.raises(EncoderError, match=r"in int8 gives other vectors on this CPU .* \(cosine 0\.99"):
        OnnxEncoder.open(folder, is_indexing=True).load_images()
    (folder / "checks.npy").write_bytes(b"")
    with pytest.raises(EncoderError, match=r"checks.npy cannot be read"):
        OnnxEncoder.open(folder, is_indexing=True).load_images()


# -- bf16 ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bf16_folder(checkpoint, tiny_folder, cache):
    return prepare_encoder(str(checkpoint), cache=cache, variant=Variant("bf16"))


def test_an_encoder_in_bf16_is_whole_and_gives_almost_the_vectors_of_fp32(bf16_folder, int8_folder, tiny):
    encoder, pixels = OnnxEncoder.open(bf16_folder, is_indexing=True), sample_pixels(tiny)
    assert verify_encoder(bf16_folder) == []
    assert len({encoder.fingerprint, tiny.fingerprint, OnnxEncoder.open(int8_folder).fingerprint}) == 3
    vectors, expected = encoder.encode_images(pixels), tiny.encode_images(pixels)
    assert vectors.dtype == np.float32
    assert 0.9998 < (vectors * expected).sum(axis=1).min() < 0.9999999
    np.testing.assert_array_equal(OnnxEncoder.open(bf16_folder).encode_images(pixels), expected)


def test_a_vector_in_bf16_depends_little_on_the_pictures_beside_it(bf16_folder, tiny):
    encoder, pixels = OnnxEncoder.open(bf16_folder, is_indexing=True), sample_pixels(tiny)
    together, alone = encoder.encode_images(pixels), encoder.encode_images(pixels[3:4])
    assert (together[3] * alone[0]).sum() > 0.9999


class Layers(torch.nn.Module):
    """A tower of two linear layers."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = torch.nn.Linear(12, 8), torch.nn.Linear(8, 4, bias=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.outer(self.inner(pixels.flatten(1).float() / 255).relu())


def test_a_tower_in_bf16_is_that_of_weights_and_inputs_that_are_rounded(tmp_path):
    torch.manual_seed(0)
    tower, pixels = Layers().eval(), torch.arange(36, dtype=torch.uint8).reshape(3, 2, 2, 3) * 7
    before = [weights.clone() for weights in tower.parameters()]
    assert write_bf16(tower, (2, 2), tmp_path / "tower.safetensors") == 2
    assert all(a.equal(b) for a, b in zip(before, tower.parameters(), strict=True))

    def rounded(values):
        return values.bfloat16().float()

    weights, bias, outer = map(rounded, before)
    inner = rounded(rounded(pixels.flatten(1) / 255) @ weights.T + bias).relu()
    given = load_bf16(tmp_path / "tower.safetensors", 1)(pixels.numpy())
    np.testing.assert_allclose(given, (inner @ outer.T).detach().numpy(), rtol=0.01, atol=1e-3)


def test_a_damaged_program_is_a_sentence(bf16_folder, tmp_path):
    folder = shutil.copytree(bf16_folder, tmp_path / "encoder")
    (folder / "image.bf16.safetensors").write_bytes(b"no program")
    assert "image.bf16.safetensors differs from its checksum" in verify_encoder(folder)[0]
    with pytest.raises(EncoderError, match=r"image.bf16.safetensors cannot be loaded .* to make it anew"):
        OnnxEncoder.open(folder, is_indexing=True).load_images()


def test_bf16_is_refused_where_the_cpu_has_none(monkeypatch):
    monkeypatch.setattr("mmsearch.encoders.bf16.computes_bf16", lambda: False)
    with pytest.raises(
        UnsupportedModelError, match=r"this CPU has no instructions for bf16, .* choose fp32 or int8"
    ):
        require_bf16()
