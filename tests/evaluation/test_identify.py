from __future__ import annotations

import json

import numpy as np
import pytest

from mmsearch.datasets.open_set import SetOptions, open_instances
from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.identify import (
    ACCEPTED,
    AT_FALSE,
    IDENTIFIED,
    RANK_1,
    _OpenSet,
    measured,
    passes,
    run_identification,
    strength_of,
)
from mmsearch.evaluation.page import page_of
from mmsearch.records import Identification
from tests.conftest import sample_crop, small_samples

NAMES = ["Ann", "Bob", "Cid"]


def answer(best, *, is_known, n_inliers=0, chance=0.5):
    return Identification(
        "q.jpg", best if is_known else None, best, n_inliers > 0, n_inliers, score=0.5, chance=chance
    )


def of_three(removed):
    return _OpenSet([0, 1, 2], NAMES, np.zeros(0, dtype=np.int64), frozenset(removed))


def test_measures_are_the_shares_that_one_counts_by_hand():
    answers = [
        answer("Ann", is_known=True, n_inliers=9),
        answer("Ann", is_known=False, chance=0.2),
        answer("Ann", is_known=True, chance=0.001),  # of Bob
        answer("Bob", is_known=True, n_inliers=6),
        answer("Ann", is_known=True, n_inliers=7),  # of Cid, who is not there
        answer("Bob", is_known=False, chance=0.4),  # of nobody
    ]
    result = measured(answers, np.array([0, 0, 1, 1, 2, -1]), of_three({2}))
    values = {name: interval["value"] for name, interval in result["measures"].items()}
    assert values == {
        RANK_1: 0.75, IDENTIFIED: 0.5, ACCEPTED: 0.5, **dict.fromkeys(AT_FALSE, 0.25),
    }  # fmt: skip
    assert (result["n_queries"], result["n_known"], result["n_strangers"]) == (6, 4, 2)
    counts = ("identity", "n_likeliest", "n_identified", "n_accepted")
    assert [tuple(of[name] for name in counts) for of in result["identities"]] == [
        ("Ann", 2, 1, 1), ("Bob", 1, 1, 2), ("Cid", 0, 0, 1),
    ]  # fmt: skip


def test_a_query_that_cannot_be_read_is_not_counted():
    result = measured(
        [answer("Ann", is_known=True), Identification("x.jpg", error="broken")], np.array([0, 2]), of_three({2})
    )
    assert (result["n_queries"], result["n_strangers"]) == (1, 0)
    assert np.isnan(result["measures"][ACCEPTED]["value"])


def test_the_threshold_lets_as_many_strangers_pass_as_the_rate_says():
    strengths = [(float(i),) for i in range(200)]
    is_stranger = np.arange(200) % 2 == 0
    for rate in (0.01, 0.05):
        assert (passes(strengths, is_stranger, rate) & is_stranger).sum() == 100 * rate


def test_verified_places_count_before_what_strangers_reach():
    verified, near = (
        answer("Ann", is_known=True, n_inliers=6, chance=None),
        answer("Ann", is_known=True, chance=0.0),
    )
    assert strength_of(verified) > strength_of(near)


@pytest.fixture
def photographed(tmp_path):
    """An instance set: twenty small sample photographs, and crops of eight of them as queries."""
    pictures = small_samples(tmp_path / "set", 20, longer_side=400)
    names = sorted(path.name for path in pictures.iterdir())
    crops = [sample_crop(pictures, name.removesuffix(".jpg")).name for name in names[:8]]
    queries = [{"image": crop, "relevant": [name]} for crop, name in zip(crops, names, strict=False)]
    file = pictures / "set.json"
    file.write_text(json.dumps({"gallery": names, "queries": queries}))
    return file


@pytest.mark.full
def test_crops_of_the_pictures_that_stay_are_known_and_the_others_are_not(photographed, set_encoder, tmp_path):
    known = open_instances(str(photographed), SetOptions(tmp_path / "cache"))
    (photographed.parent / "cat-crop.jpg").write_bytes(b"")
    report = run_identification(known, [set_encoder], seed=3)
    result = report["results"][set_encoder.encoder.name]["all"]
    assert (result["n_known"] + result["n_strangers"], len(report["set"]["bad"])) == (7, 1)
    assert report["notes"][1:] == []
    assert result["measures"][IDENTIFIED]["value"] == 1
    assert sum(count["is_removed"] for count in result["identities"]) in (3, 4)
    page = page_of(report)
    assert "Identification: set" in page


def test_a_set_with_one_identity_is_refused(tmp_path):
    pictures = small_samples(tmp_path / "set", 3)
    file = pictures / "set.json"
    file.write_text(json.dumps({"groups": [sorted(path.name for path in pictures.iterdir())]}))
    known = open_instances(str(file), SetOptions(tmp_path / "cache"))
    with pytest.raises(
        GroundTruthError, match="number of identities that its queries show: 1; expected two or more"
    ):
        run_identification(known, [])
