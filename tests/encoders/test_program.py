from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from mmsearch.encoders.bf16 import load_bf16
from mmsearch.encoders.program import load_program, save_program
from mmsearch.errors import UnsupportedModelError


class Tower(torch.nn.Module):
    """Two halves of the pixels, each computed in another way, and what must not be taken for a step."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(6, 4)
        self.register_buffer("mean", torch.tensor([1.0, 2.0, 3.0, 4.0]))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        torch._assert(pixels.shape[1] == 2, "two rows")
        first, second = (pixels.flatten(1).float() / 255).split(6, dim=1)
        hidden = torch.nn.functional.gelu(self.inner(first), approximate="tanh").masked_fill_(
            first[:, :4] < 0.2, -9
        )
        return torch.cat([hidden - self.mean, second.reshape(pixels.shape[0], -1).to(torch.bfloat16).float()], 1)


def test_a_program_computes_what_the_module_does_for_any_number_of_pictures(tmp_path):
    torch.manual_seed(0)
    tower, pixels = Tower().eval(), torch.arange(60, dtype=torch.uint8).reshape(5, 2, 2, 3) * 4
    shapes = ({0: torch.export.Dim("n", min=1)},)
    save_program(torch.export.export(tower, (pixels[:2],), dynamic_shapes=shapes).module(), tmp_path / "program")
    run = load_program(tmp_path / "program")
    for n in (5, 1, 2):
        torch.testing.assert_close(run(pixels[:n]), tower(pixels[:n]), rtol=0, atol=0)


@pytest.mark.parametrize(
    "step",
    [
        ["y", "aten.from_file.default", ["/etc/passwd", False, 8], {}],
        ["y", "os.system", ["none"], {}],
        ["y", "operator.attrgetter", ["none"], {}],
        ["y", "aten.__class__.mro", [], {}],
        ["y", "aten.relu.default", [{"torch": "hub"}], {}],
    ],
)
def test_a_program_that_names_something_else_than_operations_is_refused(step, tmp_path):
    program = {"given": "x", "steps": [step], "result": "y"}
    save_file({}, tmp_path / "program", metadata={"program": json.dumps(program)})
    with pytest.raises(UnsupportedModelError, match="has no place for"):
        load_program(tmp_path / "program")


def test_code_in_a_file_is_not_run(tmp_path):
    class Code:
        def __reduce__(self):
            return (open, (str(tmp_path / "was here"), "w"))

    torch.save((Code(), {}), tmp_path / "program")
    with pytest.raises(Exception, match="header"):
        load_bf16(tmp_path / "program", 1)
    assert not (tmp_path / "was here").exists()


def test_what_has_no_place_in_a_program_is_said_when_it_is_written(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.searchsorted(torch.arange(9.0), pixels.float(), side="right")

    module = torch.export.export(Odd(), (torch.zeros((1, 2), dtype=torch.uint8),)).module()
    with pytest.raises(UnsupportedModelError, match="has no place for 'right'; use --precision fp32 or int8"):
        save_program(module, tmp_path / "program")
    assert not (tmp_path / "program").exists()
