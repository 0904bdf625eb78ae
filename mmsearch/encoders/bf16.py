"""Image towers in bf16: linear layers computed on numbers of 16 bits, by torch, on CPUs that have them.

ONNX Runtime computes no bf16 on a CPU. The tower is a program of what `torch.export` sees, with the weights of its
linear layers in bf16, and their inputs rounded to it; sums, norms and all that is between them stays in fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.encoders.program import load_program, save_program
from mmsearch.errors import UnsupportedModelError
from mmsearch.records import Matrix, Pixels
from mmsearch.system import computes_bf16

if TYPE_CHECKING:
    import torch


def require_bf16() -> None:
    """Raise UnsupportedModelError if this CPU has no instructions for bf16."""
    if not computes_bf16():
        raise UnsupportedModelError(
            "this CPU has no instructions for bf16, amx_bf16 or avx512_bf16 by name, and is slower without them; "
            "choose fp32 or int8 with --precision"
        )


def write_bf16(tower: torch.nn.Module, size: tuple[int, int], path: Path) -> int:
    """Write an image tower as a program in bf16, and return how many linear layers that changed.

    Parameters
    ----------
    tower : module
        As of `EagerEncoder`.
    size : (int, int)
        Height and width of its pictures.
    path : Path
        Of the new file.
    """
    import torch

    pixels = torch.zeros((2, *size, 3), dtype=torch.uint8)
    module: Any = _exported(tower.eval(), pixels).module()
    n_changed = _round_linear_layers(module)
    save_program(module, path)
    return n_changed


def load_bf16(path: Path, threads: int) -> Callable[[Pixels], Matrix]:
    """Return what makes vectors float32 (n, dim) of pixels uint8 (n, height, width, 3), by a program in a file."""
    import torch

    torch.set_num_threads(threads)
    program = load_program(path)

    def run(pixels: Pixels) -> Matrix:
        with torch.inference_mode():
            vectors: Matrix = program(torch.tensor(pixels)).numpy()
        return vectors

    return run


def _exported(module: torch.nn.Module, pixels: torch.Tensor) -> torch.export.ExportedProgram:
    import torch

    with torch.no_grad():
        return torch.export.export(module, (pixels,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))


def _round(module: torch.nn.Module, name: str) -> None:
    """Put numbers in bf16 in the place of a parameter, whose own others may have too."""
    import torch

    parent, _, last = name.rpartition(".")
    rounded = module.get_parameter(name).detach().to(torch.bfloat16)
    setattr(module.get_submodule(parent), last, torch.nn.Parameter(rounded, requires_grad=False))


def _round_linear_layers(module: Any) -> int:
    """Let the linear layers of a graph compute in bf16, and return how many there are."""
    import torch

    graph, linear, cast = module.graph, torch.ops.aten.linear.default, torch.ops.aten.to.dtype
    layers = [node for node in graph.nodes if node.target == linear]
    for layer in layers:
        given, *constants = layer.args
        for constant in constants:
            if constant is not None:
                _round(module, constant.target)
        with graph.inserting_before(layer):
            # In one piece: the weights would be copied for every picture else, which takes longer than the product.
            whole = graph.call_function(torch.ops.aten.contiguous.default, (given,))
            rounded = graph.call_function(cast, (whole, torch.bfloat16))
            product = graph.call_function(linear, (rounded, *constants))
            result = graph.call_function(cast, (product, torch.float32))
        layer.replace_all_uses_with(result)
        graph.erase_node(layer)
    return len(layers)
