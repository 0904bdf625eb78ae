from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mmsearch.bow.inverted_file import InvertedFile
from mmsearch.bow.postings import build_postings
from mmsearch.bow.vocabulary import Vocabulary
from mmsearch.images import decode_grey
from mmsearch.local.extractors import DEFAULT
from mmsearch.query.rerank import MIN_FEATURES, N_VERIFIED, WEIGHT, LocalQuery, LocalStage, final_order, to_verify
from mmsearch.records import ImageRecord, LocalEvidence, Unusable
from mmsearch.samples import sample_folder

NAMES = ("astronaut", "cat", "coffee", "creek", "dam", "fig", "moose", "rocket")


def opened(name):
    return Image.open(sample_folder() / f"{name}.jpg").convert("RGB")


def features_of(image):
    """A picture as a search looks at it."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    picture = decode_grey(buffer.getvalue(), longer_side=640)
    return DEFAULT.extract(picture.pixels, original_size=(picture.width, picture.height))


def record(image_id, image):
    return ImageRecord(image_id, "", image_id, 0, 0, image.width, image.height, "JPEG", None)


@pytest.fixture(scope="module")
def stage():
    """A stage over eight sample photographs, with the vocabulary of their own descriptors."""
    features = [features_of(opened(name)) for name in NAMES]
    descriptors = np.concatenate([of_picture.descriptors for of_picture in features])
    vocabulary = Vocabulary.train(descriptors, 256, extractor=DEFAULT.name)
    words = [(10 + i, vocabulary.quantise(of_picture)) for i, of_picture in enumerate(features)]
    return LocalStage(vocabulary, InvertedFile([build_postings(words, 256)]))


def test_a_picture_scores_about_1_with_itself_and_less_with_others(stage):
    query = stage.query(features_of(opened("coffee")))
    scores = stage.scores(query)
    best = stage.best(scores, 3)
    assert next(iter(best)) == 12
    assert best[12] == pytest.approx(1, abs=0.25)
    assert sorted(best.values())[-2] < 0.2
    assert stage.of(scores, [12, 99])[99] == 0


def test_a_turned_part_of_a_picture_is_verified_and_its_place_is_found(stage):
    whole = opened("astronaut")
    left, top, side = whole.width // 4, whole.height // 8, whole.width // 2
    part = whole.crop((left, top, left + side, top + side)).rotate(90, expand=True)
    query = stage.query(features_of(part))
    evidence = stage.evidence(query, [record(10, whole), record(11, opened("cat"))], {10: 0.5})
    assert evidence[10].is_verified
    assert evidence[10].n_inliers >= 15
    assert evidence[10].score == 0.5
    assert (evidence[11].is_verified, evidence[11].is_mark) == (False, False)
    assert evidence[11].reason
    homography = np.array(evidence[10].homography)
    # The part was turned left: its upper left corner is the upper right one of what was cut out.
    x, y, depth = homography @ [0, 0, 1]
    np.testing.assert_allclose([x / depth, y / depth], [left + side, top], atol=4)
    here, there = np.array(evidence[10].inliers)[:, :2], np.array(evidence[10].inliers)[:, 2:]
    np.testing.assert_allclose(there, np.column_stack([left + side - here[:, 1], top + here[:, 0]]), atol=6)


def test_what_is_in_common_by_chance_counts_nothing(stage):
    scores = np.array([0.5, 0.1, 0.2, 0.3, 0.05], dtype=np.float32)
    np.testing.assert_allclose(stage.above_chance(scores), [0.4, 0, 0.1, 0.2, 0], atol=1e-6)
    np.testing.assert_allclose(stage.above_chance(scores, 2), [0.3, 0, 0, 0.1, 0], atol=1e-6)
    assert stage.above_chance(scores[:2]).tolist() == scores[:2].tolist()


def test_an_example_with_few_features_abstains_and_says_so(stage):
    blank = Image.new("RGB", (300, 200), "white")
    assert stage.query(features_of(blank)) == Unusable(
        f"the example has 0 local features, at least {MIN_FEATURES} are needed"
    )
    assert isinstance(stage.query(features_of(opened("creek"))), LocalQuery)


def test_half_of_the_pictures_to_verify_are_the_best_by_both_and_half_by_words():
    cosines = {i: 1 - i / 1000 for i in range(300)}
    scores = {i: 1e-6 * i for i in range(200, 300)}  # too little to change the order by both
    chosen = to_verify(cosines, scores)
    assert chosen[: N_VERIFIED // 2] == list(range(N_VERIFIED // 2))
    assert chosen[N_VERIFIED // 2 :] == list(range(299, 299 - N_VERIFIED // 2, -1))


def test_without_words_in_common_nothing_but_the_best_is_verified():
    assert to_verify({1: 0.5, 2: 0.4}, {}) == [1, 2]


def test_verified_pictures_go_first_by_their_inliers_then_cosine_and_words_together():
    pair = (0.0, 0.0, 1.0, 1.0)
    evidence = {
        1: LocalEvidence(0.1, (pair,) * 30, is_verified=True),
        2: LocalEvidence(0.9, (pair,) * 29, is_verified=False),
        3: LocalEvidence(0.1, (pair,) * 80, is_verified=True),
    }
    cosines = {1: 0.0, 2: 0.2, 3: 0.0, 4: 0.3, 5: 0.3}
    assert final_order(cosines, {2: 0.2 / WEIGHT}, evidence) == [3, 1, 2, 4, 5]
