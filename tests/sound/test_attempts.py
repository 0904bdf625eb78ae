"""Which scores and votes mean that a recording was found."""

from __future__ import annotations

import pytest

from mmsearch.sound.attempts import DENSE, USUAL, verdict

SECONDS = [2.0, 5.0, 7.5, 10.0, 30.0, 60.0]


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("attempt", [USUAL, DENSE], ids=["usual", "dense"])
def test_verdicts_get_surer_with_the_score_and_only_with_votes_a_match(attempt, seconds):
    scores = [float(score) for score in range(100)]
    verdicts = [verdict(score, 1000, attempt, seconds) for score in scores]
    assert verdicts == sorted(verdicts, key=[None, "perhaps", "match"].index)
    assert {*verdicts} == {None, "perhaps", "match"}
    assert {verdict(score, 5, attempt, seconds) for score in scores} == {None, "perhaps"}


def test_longer_excerpts_need_more():
    least = [min(s for s in range(100) if verdict(s, 1000, USUAL, seconds) == "match") for seconds in SECONDS]
    assert least == sorted(least)
