"""Training goes on where it was killed, keeps its best epoch, and is the same for the same seed."""

from __future__ import annotations

import resource
import signal

import pytest
import torch

from mmsearch.errors import StorageError, TrainingError
from mmsearch.training.trainer import Lesson, RunState, Schedule, fit
from tests.conftest import limited


class Killed(Exception):
    pass


def lesson(*, scores=None, seed=0):
    """A line with dropout through points; `seed` is of its first weights, the score the negative error or given."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))
        inputs = torch.randn(40, 3, generator=torch.Generator().manual_seed(9))
    targets = inputs.sum(dim=1, keepdim=True)
    given = iter(scores or [])

    def loss(rows):
        return ((module(inputs[rows]) - targets[rows]) ** 2).mean()

    def validate():
        error = float(((module(inputs) - targets) ** 2).mean())
        return next(given, -error), {"error": error}

    return Lesson(module, lambda order: list(torch.randperm(40, generator=order).split(10)), loss, validate)


def weights(taught):
    return {name: value.clone() for name, value in taught.module.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


SCHEDULE = Schedule(epochs=6, rate=0.05, patience=6)


def test_training_makes_the_loss_smaller():
    history = fit(lesson(), SCHEDULE)
    assert [epoch.number for epoch in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1].loss < history[0].loss / 2


def test_the_same_seed_gives_the_same_weights_and_another_one_others():
    runs = [lesson(), lesson(), lesson()]
    for run, seed in zip(runs, (0, 0, 1), strict=True):
        fit(run, Schedule(epochs=2, rate=0.05, seed=seed))
    assert same(weights(runs[0]), weights(runs[1]))
    assert not same(weights(runs[0]), weights(runs[2]))


@pytest.mark.parametrize("n_epochs", [1, 3, 5])
def test_a_run_that_was_killed_and_resumed_ends_as_one_that_was_not(tmp_path, n_epochs):
    def kill(done, total):
        if done > n_epochs:
            raise Killed

    whole, killed, resumed = lesson(), lesson(), lesson(seed=1)
    history = fit(whole, SCHEDULE)
    state = RunState(tmp_path / "state", {"base": "a"}, is_resuming=False)
    with pytest.raises(Killed):
        fit(killed, SCHEDULE, state=state, on_epoch=kill)
    told = []
    again = fit(
        resumed, SCHEDULE, state=RunState(state.file, {"base": "a"}, is_resuming=True),
        on_epoch=lambda *of: told.append(of),
    )  # fmt: skip
    assert told == [(done, 6) for done in range(n_epochs, 7)]
    assert same(weights(whole), weights(resumed))
    assert again == history


def test_a_run_that_is_over_is_not_trained_again(tmp_path):
    state = RunState(tmp_path / "state", {}, is_resuming=False)
    first, second = lesson(), lesson(seed=1)
    fit(first, SCHEDULE, state=state)
    epochs = []
    fit(second, SCHEDULE, state=RunState(state.file, {}, is_resuming=True), on_epoch=lambda *of: epochs.append(of))
    assert not epochs
    assert same(weights(first), weights(second))


def test_the_best_epoch_is_kept_and_training_ends_when_none_is_better():
    seen = []
    taught = lesson(scores=[1.0, 3.0, 2.0, 3.0, 1.0, 9.0])
    history = fit(
        taught, Schedule(epochs=6, rate=0.05, patience=3), on_epoch=lambda *of: seen.append(weights(taught))
    )
    assert [epoch.score for epoch in history] == [1.0, 3.0, 2.0, 3.0, 1.0]  # the first of equal ones is the best
    assert same(weights(taught), seen[1])


def test_an_early_stop_is_told_as_the_end():
    told = []
    fit(lesson(scores=[1, 0, 0]), Schedule(9, patience=2), on_epoch=lambda done, total: told.append((done, total)))
    assert told == [(1, 9), (2, 9), (3, 9), (3, 3)]


def test_a_state_of_other_settings_is_not_resumed(tmp_path):
    file = tmp_path / "state"
    fit(lesson(), Schedule(epochs=1), state=RunState(file, {"base": "a"}, is_resuming=False))
    with pytest.raises(TrainingError, match="of a run with another base, other pictures or settings"):
        fit(lesson(), Schedule(epochs=1), state=RunState(file, {"base": "b"}, is_resuming=True))


@pytest.mark.parametrize("damage", [lambda data: data[:50], lambda data: b"", lambda data: data[:-400]])
def test_a_damaged_state_is_named(tmp_path, damage):
    file = tmp_path / "state"
    fit(lesson(), Schedule(epochs=1), state=RunState(file, {}, is_resuming=False))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(TrainingError, match=r"is damaged .*leave --resume out"):
        fit(lesson(), Schedule(epochs=1), state=RunState(file, {}, is_resuming=True))


def test_without_a_state_a_resumed_run_begins(tmp_path):
    assert fit(lesson(), Schedule(epochs=1), state=RunState(tmp_path / "state", {}, is_resuming=True))


def test_a_loss_that_is_no_number_ends_the_run():
    taught = lesson()
    broken = Lesson(taught.module, taught.batches, lambda rows: taught.loss(rows) * torch.nan, taught.validate)
    with pytest.raises(TrainingError, match="the loss is nan in epoch 1; try a lower --rate"):
        fit(broken, SCHEDULE)


def test_the_generator_and_threads_of_torch_stay_as_they_were():
    before = torch.get_rng_state(), torch.get_num_threads()
    fit(lesson(), Schedule(epochs=1))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


@pytest.mark.parametrize("decays_all", [True, False])
def test_gains_and_biases_decay_or_do_not(decays_all):
    taught = lesson(scores=[0.0, 1.0])
    before = weights(taught)
    nothing = Lesson(taught.module, taught.batches, lambda rows: taught.loss(rows) * 0, taught.validate)
    fit(nothing, Schedule(epochs=2, rate=0.1, weight_decay=0.5, decays_all=decays_all))
    changed = {name for name, value in weights(taught).items() if not torch.equal(value, before[name])}
    assert changed == {"0.weight", "2.weight"} | ({"0.bias", "2.bias"} if decays_all else set())


def test_what_needs_no_gradient_stays_and_is_in_no_state(tmp_path):
    taught = lesson()
    taught.module[0].requires_grad_(False)
    before = weights(taught)
    state = RunState(tmp_path / "state", {}, is_resuming=False)
    fit(taught, Schedule(epochs=1, rate=0.05), state=state)
    assert torch.equal(weights(taught)["0.weight"], before["0.weight"])
    assert not torch.equal(weights(taught)["2.weight"], before["2.weight"])
    assert set(torch.load(state.file)["best"]) == {"2.weight", "2.bias"}


def test_a_disk_that_is_full_is_a_sentence(tmp_path):
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with limited(resource.RLIMIT_FSIZE, 2000), pytest.raises(StorageError, match="state"):
            fit(lesson(), Schedule(epochs=1), state=RunState(tmp_path / "state", {}, is_resuming=False))
    finally:
        signal.signal(signal.SIGXFSZ, previous)
    assert not (tmp_path / "state").exists()
