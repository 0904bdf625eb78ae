"""Heads on features in which captions are pictures, turned: they learn the turn, and are stored as taught."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmsearch.errors import TrainingError
from mmsearch.training.canonical import canonical_vectors
from mmsearch.training.captions import CaptionFeatures, CaptionOptions, held_out, retrieval_hits
from mmsearch.training.heads import _Teaching, teach_heads
from tests.conftest import random_units

DIM, N, PER = 16, 120, 2
OPTIONS = CaptionOptions(hidden=64, dropout=0.1, epochs=8, batch=32, rate=3e-3)


def related(n=N, seed=0):
    """Features of pictures, and of captions that are those of their picture, turned, with some noise."""
    rng = np.random.default_rng(seed)
    images = random_units(n, DIM, seed)
    turn = np.linalg.qr(np.random.default_rng(9).standard_normal((DIM, DIM)))[0].astype(np.float32)
    owners = np.repeat(np.arange(n), PER)
    texts = images[owners] @ turn + 0.05 * rng.standard_normal((n * PER, DIM)).astype(np.float32)
    captions = [f"caption {i}" for i in range(n * PER)]
    return CaptionFeatures.of_set(images, texts.astype(np.float32), owners, captions, dim=DIM)


def recall(features, images, texts):
    return float(retrieval_hits(images, texts, features.picture_of_text)["text to image R@1"].mean())


@pytest.fixture(scope="module")
def parts():
    features = related()
    return tuple(features.of(rows) for rows in held_out(features, 0.25, 0))


@pytest.fixture(scope="module")
def heads(parts):
    return teach_heads(*parts, OPTIONS, logit_scale=10.0)


def test_heads_find_what_the_base_does_not(parts, heads):
    validation = parts[1]
    before = recall(validation, *validation.base_vectors())
    assert recall(validation, *heads.vectors(validation)) > before + 0.4


def test_canonical_correlation_finds_it_too(parts):
    assert recall(parts[1], *canonical_vectors(*parts)) > 0.8


@pytest.mark.parametrize("loss", ["contrastive", "triplet"])
def test_every_loss_teaches(parts, loss):
    validation = parts[1]
    taught = teach_heads(*parts, replace(OPTIONS, loss=loss), logit_scale=10.0)
    assert recall(validation, *taught.vectors(validation)) > recall(validation, *validation.base_vectors()) + 0.2


def test_stored_heads_give_what_was_measured_while_they_were_taught(parts, heads):
    best = max(heads.history, key=lambda epoch: epoch.score)
    hits = retrieval_hits(*heads.vectors(parts[1]), parts[1].picture_of_text)
    assert {name: float(values.mean()) for name, values in hits.items()} == best.measures


def test_before_they_are_taught_heads_add_nothing(parts):
    untaught = teach_heads(*parts, replace(OPTIONS, rate=1e-12, epochs=1), logit_scale=10.0)
    for vectors, base in zip(untaught.vectors(parts[1]), parts[1].base_vectors(), strict=True):
        np.testing.assert_allclose(vectors, base, atol=1e-5)


def test_all_of_the_base_kept_is_the_base(parts, heads):
    for vectors, base in zip(heads.vectors(parts[1], keep=1.0), parts[1].base_vectors(), strict=True):
        np.testing.assert_allclose(vectors, base, atol=1e-6)


def test_the_same_seed_gives_the_same_heads(parts, heads):
    again = teach_heads(*parts, OPTIONS, logit_scale=10.0)
    assert all(np.array_equal(again.arrays[name], array) for name, array in heads.arrays.items())


def test_an_epoch_shows_every_caption_once_and_no_picture_twice_in_a_batch():
    import torch

    features = related(n=64)
    teaching = _Teaching(features, features, replace(OPTIONS, batch=32), 10.0)
    batches = teaching.batches(torch.Generator().manual_seed(0))
    shown = [text for _, texts in batches for text in texts.tolist()]
    assert sorted(shown) == list(range(64 * PER))
    for pictures, texts in batches:
        assert len(set(pictures.tolist())) == 32
        assert features.picture_of_text[texts.numpy()].tolist() == pictures.tolist()


def test_pictures_with_fewer_captions_are_shown_with_them_again():
    import torch

    features = related(n=32)
    kept = np.array([0, *range(2, 64)])  # the first picture has one caption
    uneven = CaptionFeatures.of_set(
        features.images, features.texts[kept], features.picture_of_text[kept],
        [features.captions[text] for text in kept], dim=DIM,
    )  # fmt: skip
    batches = _Teaching(uneven, uneven, replace(OPTIONS, batch=32), 10.0).batches(torch.Generator().manual_seed(0))
    shown = sorted(text for _, texts in batches for text in texts.tolist())
    assert shown == [0, *range(63)]


def test_copies_of_a_picture_are_on_one_side():
    features = related(n=40)
    doubled = CaptionFeatures.of_set(
        np.concatenate([features.images, features.images]), np.concatenate([features.texts] * 2),
        np.concatenate([features.picture_of_text, features.picture_of_text + 40]), features.captions * 2, dim=DIM,
    )  # fmt: skip
    train, validation = held_out(doubled, 0.25, seed=3)
    assert len(train) == 60
    assert len(validation) == 20
    assert not set(doubled.picture_ids[train]) & set(doubled.picture_ids[validation])


@pytest.mark.parametrize(
    ("images", "captions", "said"),
    [
        (
            random_units(30, DIM) * np.where(np.arange(30) == 7, np.nan, 1)[:, None],
            None,
            "not finite, the first at 7",
        ),
        (random_units(1, DIM), None, "there are 1 different pictures with captions; expected at least 20"),
        (np.repeat(random_units(1, DIM), 30, axis=0), None, "there are 1 different pictures"),
        (random_units(30, DIM), ["a dog"] * 30, "all captions are the same"),
    ],
)
def test_what_nothing_can_be_learned_from_is_refused(images, captions, said):
    n = len(images)
    with pytest.raises(TrainingError, match=said):
        CaptionFeatures.of_set(
            images.astype(np.float32),
            random_units(n, DIM),
            np.arange(n),
            captions or list(map(str, range(n))),
            dim=DIM,
        )


def test_recalls_are_those_counted_by_hand():
    images = np.eye(3, dtype=np.float32)
    texts = np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 0.6, 0.8]], dtype=np.float32)  # the second finds the first
    hits = retrieval_hits(images, texts, np.array([0, 1, 2]))
    assert hits["text to image R@1"].tolist() == [1, 0, 1]
    assert hits["image to text R@1"].tolist() == [1, 1, 1]
    assert hits["text to image R@5"].tolist() == [1, 1, 1]
