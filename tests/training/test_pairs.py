"""Projections on descriptors whose pairs differ along known axes: they learn to leave those out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmsearch.encoders.whitening import fit_learned_whitening, whiten
from mmsearch.errors import GroundTruthError, TrainingError
from mmsearch.traces import TRACE_BYTES
from mmsearch.training.pairs import (
    PairFeatures,
    PairOptions,
    Questions,
    _by_all,
    _Teaching,
    held_out_things,
    teach_projection,
)
from mmsearch.training.pictures import joined
from mmsearch.training.things import read_pairs
from mmsearch.vectors import l2_normalize
from tests.conftest import random_units

DIM, N_THINGS, PER = 24, 60, 3
OPTIONS = PairOptions(n_components=12, shrinkage=0.01, epochs=6, batch=64, rate=3e-3)


def disturbed(seed=0, dim=DIM):
    """Originals, and three copies of each that differ much along half of the axes."""
    rng = np.random.default_rng(seed)
    originals = random_units(N_THINGS, dim, seed)
    noise = np.zeros((N_THINGS * PER, dim))
    noise[:, : dim // 2] = rng.normal(0, 0.5, (N_THINGS * PER, dim // 2))
    copies = l2_normalize((np.repeat(originals, PER, axis=0) + noise).astype(np.float32))
    things = np.concatenate([np.arange(N_THINGS), np.repeat(np.arange(N_THINGS), PER)])
    is_original = np.arange(len(things)) < N_THINGS
    return PairFeatures.of_set(np.concatenate([originals, copies]), things, ~is_original, is_original)


@pytest.fixture(scope="module")
def known():
    features = disturbed()
    shown, held_out, _ = held_out_things(features, 0.4, 0)
    return features, features.of_things(shown), held_out


def found_first(known, whitening):
    return Questions.of(known[0], known[2]).hits(whiten(known[0].descriptors, whitening)).mean()


@pytest.mark.parametrize("loss", ["contrastive", "triplet", "infonce"])
def test_what_pairs_differ_in_is_left_out(known, loss):
    features, train, held_out = known
    learned = teach_projection(train, features, held_out, replace(OPTIONS, loss=loss))
    before = Questions.of(features, held_out).hits(features.descriptors).mean()
    assert found_first(known, learned.judged) > before + 0.3


def test_the_closed_form_narrows_the_axes_along_which_pairs_differ():
    rng = np.random.default_rng(0)
    first = rng.normal(0, 1, (4000, 2)).astype(np.float32)
    second = (first + rng.normal(0, 1, (4000, 2)) * [2.0, 0.5]).astype(np.float32)
    learned = fit_learned_whitening(first, second, first, 2, shrinkage=0.0)
    lengths = np.linalg.norm(learned.projection, axis=1)  # of each axis of the descriptors
    assert lengths[1] / lengths[0] == pytest.approx(4.0, rel=0.1)  # 2 / 0.5
    halfway = fit_learned_whitening(first, second, first, 2, shrinkage=0.0, power=0.5)
    lengths = np.linalg.norm(halfway.projection, axis=1)
    assert lengths[1] / lengths[0] == pytest.approx(2.0, rel=0.1)


def test_no_power_is_a_turn(known):
    features = known[0]
    pairs = features.pairs()
    first, second = (features.descriptors[pairs[:, side]] for side in (0, 1))
    turned = fit_learned_whitening(first, second, features.descriptors, DIM, power=0.0)
    centred = l2_normalize(features.descriptors - turned.mean)
    np.testing.assert_allclose(
        whiten(features.descriptors, turned) @ whiten(features.descriptors, turned).T,
        centred @ centred.T,
        atol=1e-4,
    )


def test_an_epoch_that_is_no_better_than_the_closed_form_is_not_kept(known):
    features, train, held_out = known
    spoiled = teach_projection(train, features, held_out, replace(OPTIONS, rate=1.0, epochs=2, patience=1))
    questions = Questions.of(features, held_out)
    of_start = questions.precision(whiten(features.descriptors, spoiled.start)).mean()
    assert questions.precision(whiten(features.descriptors, spoiled.judged)).mean() >= of_start


def test_every_pair_comes_with_the_nearest_of_other_things(known):
    import torch

    features, train, held_out = known
    pairs = train.pairs()
    first, second = (train.descriptors[pairs[:, side]] for side in (0, 1))
    start = fit_learned_whitening(first, second, train.descriptors, 12)
    teaching = _Teaching(train, features, held_out, start, replace(OPTIONS, margin=1.0))
    rows = torch.cat([rows for rows, _ in teaching.batches(torch.Generator().manual_seed(0))]).numpy()
    assert sorted(map(tuple, rows[:, :2])) == sorted(map(tuple, pairs))
    vectors = whiten(train.descriptors, start)
    for row in rows[:5]:
        cosines = vectors @ vectors[row[0]]
        cosines[train.things == train.things[row[0]]] = -2
        assert set(row[2:]) == set(np.argsort(-cosines)[:5])


def test_copies_are_paired_with_their_original_alone():
    features = disturbed()
    assert features.pairs().tolist() == [
        [thing, N_THINGS + thing * PER + copy] for thing in range(N_THINGS) for copy in range(PER)
    ]


def test_pictures_of_a_class_are_all_paired():
    features = PairFeatures.of_set(random_units(30, 4), np.repeat(np.arange(10), 3))
    assert features.pairs()[:3].tolist() == [[0, 1], [0, 2], [1, 2]]
    assert len(features.pairs()) == 30


def test_a_picture_is_no_answer_to_itself():
    vectors, things = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]], np.array([0, 0, 1, 1])
    features = PairFeatures(vectors, things, np.ones(4, dtype=bool), np.ones(4, dtype=bool), things)
    assert Questions.of(features, np.array([0, 1])).precision(vectors).round(4).tolist() == [1, 1, 0.3333, 0.3333]
    assert Questions.of(features, np.array([0])).hits(vectors).tolist() == [1, 1]


def test_a_picture_that_nothing_answers_does_not_ask():
    things = np.repeat(np.arange(10), 2)
    is_gallery = np.tile([True, False], 10)  # the first of a thing is asked for by the second alone
    features = PairFeatures.of_set(random_units(20, 4), things, np.ones(20, dtype=bool), is_gallery)
    assert features.is_asked.tolist() == (~is_gallery).tolist()
    assert len(Questions.of(features, np.arange(10)).precision(features.descriptors)) == 10
    with pytest.raises(TrainingError, match="there are 0 things"):
        PairFeatures.of_set(random_units(20, 4), things, is_gallery, is_gallery)


def test_a_pair_comes_once_where_some_pictures_ask_and_are_asked_for():
    things = np.repeat(np.arange(10), 3)
    is_asked, is_gallery = np.tile([True, True, True], 10), np.tile([True, True, False], 10)
    features = PairFeatures.of_set(random_units(30, 4), things, is_asked, is_gallery)
    assert features.pairs()[:3].tolist() == [[0, 1], [0, 2], [1, 2]]
    assert len(features.pairs()) == 30


def test_things_are_trained_on_or_chosen_by_or_judged_by():
    features = disturbed()
    parts = held_out_things(features, 0.4, 0)
    assert [len(things) for things in parts] == [36, 12, 12]
    assert sorted(np.concatenate(parts)) == list(range(N_THINGS))


@pytest.mark.parametrize(
    ("descriptors", "things", "said"),
    [
        (np.where(np.arange(40)[:, None] == 3, np.inf, random_units(40, 4)), np.arange(40) // 2, "the first at 3"),
        (random_units(40, 4), np.arange(40), "there are 0 things with two pictures or more; expected at least 10"),
        (random_units(2, 4), np.zeros(2, dtype=int), "there are 1 things"),
    ],
)
def test_what_nothing_can_be_learned_from_is_refused(descriptors, things, said):
    with pytest.raises(TrainingError, match=said):
        PairFeatures.of_set(descriptors.astype(np.float32), things)


def table(folder, *lines):
    for name in "abcd":
        (folder / f"{name}.jpg").write_bytes(b"")
    (folder / "pairs.csv").write_text("\n".join(["a,b,y", *lines]))
    return folder / "pairs.csv"


def test_a_table_of_pairs_joins_what_is_similar_by_others(tmp_path):
    pairs = read_pairs(table(tmp_path, "a.jpg,b.jpg,1", "c.jpg,b.jpg,1", "a.jpg,d.jpg,0"))
    assert [path.name for path in pairs.pictures] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert joined(4, pairs.similar).tolist() == [0, 0, 0, 1]
    assert pairs.dissimilar == [(0, 3)]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["a.jpg,b.jpg,1", "b.jpg,c.jpg,1", "a.jpg,c.jpg,0"], "are not similar, but by other pairs they are"),
        (["a.jpg,b.jpg,2"], "line 2: is not two pictures and 1 or 0"),
        (["a.jpg,b.jpg"], "line 2: is not two pictures and 1 or 0"),
        (["a.jpg,missing.jpg,1"], "1 of 2 pictures are not on disk"),
        (["a.jpg,../b.jpg,1"], "lies outside of"),
    ],
)
def test_a_table_of_pairs_that_says_nothing_is_refused(tmp_path, lines, said):
    with pytest.raises(GroundTruthError, match=said):
        read_pairs(table(tmp_path, *lines))


def test_a_table_of_something_else_is_refused(tmp_path):
    (tmp_path / "other.csv").write_text("image,label\n")
    with pytest.raises(GroundTruthError, match="expected the columns a,b,y, found image,label"):
        read_pairs(tmp_path / "other.csv")


def test_what_is_written_is_learned_by_all_things(known):
    features, train, held_out = known
    learned = teach_projection(train, features, held_out, OPTIONS)
    everything = teach_projection(features, features, held_out, replace(OPTIONS, epochs=1, patience=1))
    assert not np.array_equal(learned.whitening.mean, learned.judged.mean)
    np.testing.assert_allclose(learned.whitening.mean, everything.start.mean, atol=1e-7)
    assert found_first(known, learned.whitening) >= found_first(known, learned.judged) - 0.05


@pytest.mark.parametrize("seed", [0, 1])
def test_pairs_that_were_said_to_be_dissimilar_are_drawn_apart(seed):
    known, n = disturbed(seed), N_THINGS * (PER + 1)
    first = random_units(100, DIM, seed + 5)  # of things with one picture: no pair is mined for them
    second = l2_normalize(first + 0.3 * np.eye(DIM, dtype=np.float32)[-1])
    said = [(n + i, n + 100 + i) for i in range(100)]

    def distance(dissimilar):
        features = PairFeatures.of_set(
            np.concatenate([known.descriptors, first, second]),
            np.concatenate([known.things, N_THINGS + np.arange(200)]),
            dissimilar=dissimilar,
        )
        vectors = whiten(features.descriptors, _by_all(features, replace(OPTIONS, margin=1.3, rate=1e-2), 6))
        return np.linalg.norm(vectors[n : n + 100] - vectors[n + 100 :], axis=1).mean()

    assert distance(said) > 1.1 * distance([])


def test_dissimilar_pairs_of_a_part_of_the_things_have_its_rows():
    features = PairFeatures.of_set(
        random_units(30, 4), np.repeat(np.arange(10), 3), dissimilar=[(0, 29), (4, 29), (5, 9)]
    )
    assert features.of_things(np.array([1, 9])).dissimilar.tolist() == [[1, 5]]


def test_things_with_copies_of_a_picture_are_held_out_together():
    descriptors, things = random_units(60, 8), np.repeat(np.arange(30), 2)
    traces = np.zeros((60, TRACE_BYTES), dtype=np.uint8)
    traces[:, 0] = np.arange(60) + 1
    traces[40:, 0] = traces[:20, 0]  # the last ten things have the files of the first ten
    features = PairFeatures.of_set(descriptors, things, traces=traces)
    parts = [set(part.tolist()) for part in held_out_things(features, 0.4, 0)]
    assert sum(map(len, parts)) == 30
    for part in parts:
        assert {thing + 20 for thing in part if thing < 10} == {thing for thing in part if thing >= 20}
