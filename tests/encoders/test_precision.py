from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import onnx
import pytest

from mmsearch.encoders.bf16 import require_bf16, write_bf16
from mmsearch.encoders.clip import build_clip
from mmsearch.encoders.onnx import SPEC, OnnxEncoder
from mmsearch.encoders.precision import write_in_precision
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.encoders.whole import verify_encoder
from mmsearch.errors import EncoderError, UnsupportedModelError
from mmsearch.images import decode
from mmsearch.samples import sample_folder


@pytest.fixture(scope="module")
def int8_folder(checkpoint, tiny_folder, cache):
    return prepare_encoder(str(checkpoint), cache=cache, precision="int8")


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


def test_a_last_product_with_a_sum_stays_as_it_is(tmp_path, tiny_folder):
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
    source = shutil.copytree(tiny_folder, tmp_path / "source")
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, source / "image.onnx")
    write_in_precision(source, tmp_path / "int8", "int8", not_built)
    tower = tmp_path / "int8" / "image.int8.onnx"
    assert [node.name for node in products(tower, "MatMul", "Gemm")] == ["layer1_MatMul"]
    assert len(products(tower, "MatMulInteger")) == 1


def test_the_encoder_in_fp32_keeps_its_fingerprint_and_says_nothing_of_a_precision(tiny_folder):
    assert "precision" not in json.loads((tiny_folder / SPEC).read_text())["identity"]


def test_a_prepared_encoder_is_kept_for_each_precision(int8_folder, checkpoint, tiny_folder, cache):
    said = []
    assert prepare_encoder(str(checkpoint), cache=cache, precision="int8", notify=said.append) == int8_folder
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
        prepare_encoder("cnn:gem", cache=cache, precision="int8")


# -- bf16 ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bf16_folder(checkpoint, tiny_folder, cache):
    return prepare_encoder(str(checkpoint), cache=cache, precision="bf16")


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


def test_making_a_tower_in_bf16_leaves_the_one_in_fp32_as_it_was(checkpoint, tmp_path):
    eager = build_clip(str(checkpoint))
    before = [weights.clone() for weights in eager.image_tower.parameters()]
    assert write_bf16(eager.image_tower, eager.preprocessing.size, tmp_path / "tower.pt2") == 8
    assert all(a.equal(b) for a, b in zip(before, eager.image_tower.parameters(), strict=True))


def test_a_damaged_program_is_a_sentence(bf16_folder, tmp_path):
    folder = shutil.copytree(bf16_folder, tmp_path / "encoder")
    (folder / "image.bf16.pt2").write_bytes(b"no program")
    assert "image.bf16.pt2 differs from its checksum" in verify_encoder(folder)[0]
    with pytest.raises(EncoderError, match=r"image.bf16.pt2 cannot be loaded .* to make it anew"):
        OnnxEncoder.open(folder, is_indexing=True).load_images()


def test_bf16_is_refused_where_the_cpu_has_none(monkeypatch):
    monkeypatch.setattr("mmsearch.encoders.bf16.computes_bf16", lambda: False)
    with pytest.raises(
        UnsupportedModelError, match=r"this CPU has no instructions for bf16, .* choose fp32 or int8"
    ):
        require_bf16()
