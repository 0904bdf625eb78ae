"""What a step needs is counted as a small network shows it by hand, and what does not fit is refused."""

from __future__ import annotations

import pytest
import torch

from mmsearch.errors import TrainingError
from mmsearch.training.memory import StepMemory, step_memory

NEEDED = StepMemory(fixed=1_000_000_000, per_picture=50_000_000)


def test_a_step_that_fits_is_not_refused():
    NEEDED.require(128, 7_400_000_000, advice="or wait")
    NEEDED.require(10**6, None, advice="or wait")  # nobody says what there is


@pytest.mark.parametrize(
    ("available", "said"),
    [
        (7_399_999_999, r"128 pictures needs about 7.4 GB of memory, 7.4 GB are available: --batch 127 fits; or"),
        (1_100_000_000, r"1.1 GB are available: --batch 2 fits; or wait"),
        (1_099_999_999, r"not even --batch 2 fits; or wait"),
        (0, r"0.0 GB are available: not even --batch 2 fits"),
    ],
)
def test_a_step_that_does_not_fit_says_what_would(available, said):
    with pytest.raises(TrainingError, match=said):
        NEEDED.require(128, available, advice="or wait")


def test_weights_that_are_learned_count_six_times_and_pictures_by_what_is_kept_of_them():
    learned, fixed = torch.nn.Linear(1000, 500, bias=False), torch.nn.Linear(500, 10, bias=False)
    fixed.weight.requires_grad_(False)

    def loss(n):
        return fixed(learned(torch.ones(n, 1000)).tanh()).sum()  # its input, and what tanh gave, 4 bytes each

    needed = step_memory(torch.nn.ModuleList([learned, fixed]), loss, kept=7)
    assert needed.fixed == 6 * 4 * 1000 * 500 + 7
    assert needed.per_picture == round(1.5 * 4 * (1000 + 500))
