"""Precision: the image tower of an exported encoder once more, in numbers of fewer bits, for indexing.

Such an encoder is the folder of the exported one with one tower more. Texts, and pictures that are searched with,
go through the towers of fp32: a query takes milliseconds either way, and adds no error of its own to that of the
pictures. Whether the vectors agree well enough is measured where pictures are at hand (`agreement`).

`int8`: products with constant matrices are computed on whole numbers of 8 bits. Weights have a scale for every
column, activations one for every run of the tower, found then (dynamic quantisation, as ONNX Runtime has it), so
that a vector depends a little on the pictures that it is computed with. The last product makes the vector itself
and stays as it is: a hundredth of the work, a third of the error.

`bf16`: as `bf16.py` says; its rounding depends on nothing but the numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.arguments import Precision
from mmsearch.encoders.base import EagerEncoder
from mmsearch.encoders.export import quietly
from mmsearch.encoders.onnx import CHECKS, IMAGE, IMAGE_OF, SPEC, OnnxEncoder, file_facts, read_spec
from mmsearch.encoders.runtime import onnx_quantiser
from mmsearch.encoders.whole import fingerprint_by, written_whole
from mmsearch.errors import UnsupportedModelError
from mmsearch.system import copy_file


def write_in_precision(source: Path, folder: Path, precision: Precision, build: Callable[[], EagerEncoder]) -> None:
    """Write an exported encoder with an image tower of another precision beside its own.

    Parameters
    ----------
    source : Path
        The encoder in fp32.
    folder : Path
        Replaced if it exists; it is whole, or as it was.
    precision : str
        That of the tower.
    build : callable
        Returns the encoder as torch modules, for those precisions that are made of them.

    Raises
    ------
    UnsupportedModelError
        If nothing of the tower could be computed in that precision.
    EncoderError
        If the tower cannot be made.
    StorageError
        If the disk refuses.
    """
    spec = read_spec(source)
    with written_whole(folder) as temporary:
        for name in spec["files"]:
            copy_file(source / name, temporary / name)
        target = temporary / IMAGE_OF[precision]
        with quietly(f"{spec['name']} cannot be had in {precision}"):
            n_changed = (
                _quantise(temporary / IMAGE, target) if precision == "int8" else _write_bf16(build(), target)
            )
        if not n_changed:
            raise UnsupportedModelError(
                f"{spec['name']} has no products with matrices that {precision} would speed up; use --precision "
                "fp32"
            )
        spec["identity"] = {**spec["identity"], "precision": precision}
        (temporary / SPEC).write_text(json.dumps(spec), encoding="utf-8")
        np.save(temporary / CHECKS, OnnxEncoder.open(temporary, is_indexing=True).checks(), allow_pickle=False)
        names = sorted(path.name for path in temporary.iterdir() if path.name != SPEC)
        spec["files"] = {name: file_facts(temporary / name) for name in names}
        spec["fingerprint"] = fingerprint_by(spec)
        (temporary / SPEC).write_text(json.dumps(spec, indent=1), encoding="utf-8")


def _write_bf16(eager: EagerEncoder, target: Path) -> int:
    """Write an image tower in bf16, and return how many of its products are."""
    from mmsearch.encoders.bf16 import write_bf16

    return write_bf16(eager.image_tower, eager.preprocessing.size, target)


def _quantise(tower: Path, target: Path) -> int:
    """Write a tower in int8, and return how many of its products are."""
    import onnx

    quantiser = onnx_quantiser()
    *products, last = _constant_products(onnx.load(tower, load_external_data=False)) or [""]
    if products:
        quantiser.quantize_dynamic(
            tower,
            target,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=[last],
            per_channel=True,
            weight_type=quantiser.QuantType.QInt8,
            use_external_data_format=True,
        )
    return len(products)


def _constant_products(model: Any) -> list[str]:
    """Return the names of the products with a constant matrix, in the order of computation.

    They are those that the quantiser gives them: it takes a Gemm apart, into a product and a sum.
    """
    constants = {constant.name for constant in model.graph.initializer}
    suffix = {"MatMul": "", "Gemm": "_MatMul"}
    nodes = [node for node in model.graph.node if node.op_type in suffix and node.input[1] in constants]
    return [node.name + suffix[node.op_type] for node in nodes]
