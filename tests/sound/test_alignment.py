"""Excerpts laid over recordings: the score by hand, the place found again, and what votes cannot tell apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import resample_poly

from mmsearch.sound.alignment import align
from mmsearch.sound.pairs import Prints
from mmsearch.sound.peaks import Peaks, find_peaks
from mmsearch.sound.question import Question, ask
from mmsearch.sound.spectrogram import HOP, RATE
from mmsearch.sound.vote import Vote
from tests.sound.recordings import music

NO_PRINTS = Prints(np.zeros(0, np.uint32), np.zeros(0, np.uint32))
SECONDS = 6


def constellation(pairs, n_frames):
    frames, bins = np.array(sorted(pairs), np.int64).T
    return Peaks(frames, bins, n_frames)


def samples(number):
    return resample_poly(music(number), 1, 2).astype(np.float32)


def asked(heard):
    return ask(heard, per_second=20, fan=5)


def scored(counted, shares, n_halves):
    """The score by hand: of peaks that each have one of the question near their bins, counting such a share."""
    means = 3 / n_halves * np.array(shares)  # 0.3 + 0.7 + 1 + 0.7 + 0.3
    variances = 2.16 / n_halves * np.square(shares) - means**2
    return (counted - means.sum()) / np.sqrt(variances.sum() + 1)


def test_the_score_is_what_agrees_beyond_chance_in_standard_deviations():
    question = Question(NO_PRINTS, constellation([(20, 10), (60, 100)], 100))
    recording = constellation([(1010, 10), (1030, 100), (1040, 300)], 2000)
    (aligned,) = align([Vote(7, 1000, 5)], question, {7: recording})
    assert aligned == (7, 1000.0, pytest.approx(scored(2, [1, 1], 100)), 5)


@pytest.mark.parametrize(
    ("frames", "bins", "counts"), [(0, 0, 1), (1, 0, 0.3), (-1, 1, 0.15), (0, -1, 0.5), (2, 0, 0), (0, 2, 0)]
)
def test_a_peak_counts_less_that_is_a_frame_or_a_bin_beside(frames, bins, counts):
    question = Question(NO_PRINTS, constellation([(40, 100), (80, 200), (120, 300), (160, 150)], 200))
    moved = constellation([(20, 100), (40, 200), (60, 300), (80 + frames, 150 + bins)], 100)
    (aligned,) = align([Vote(1, 0, 5)], question, {1: moved})
    assert aligned.score == pytest.approx(scored(3 + counts, [1, 1, 1, [1, 0.5, 0][abs(bins)]], 200))


@pytest.mark.parametrize("frame", [-60, 0, 100, 500])
def test_an_excerpt_is_found_where_it_was_taken_also_beyond_the_ends(frame):
    heard = np.pad(samples(1), (100 * HOP, 200 * HOP))[(100 + frame) * HOP :][: SECONDS * RATE]
    recording = find_peaks([samples(1)])
    (aligned,) = align([Vote(1, frame + 2, 5)], asked(heard), {1: recording})
    assert aligned.frame == pytest.approx(frame, abs=1)
    (beside,) = align([Vote(1, frame + 40, 5)], asked(heard), {1: recording})
    assert aligned.score > 2 * beside.score


def test_what_is_played_in_less_time_at_the_same_pitch_is_found_where_it_begins():
    peaks = find_peaks([samples(2)])
    inside = (peaks.frames >= 200) & (peaks.frames < 500)
    halves = np.rint(2 * (peaks.frames[inside] - 200) / 1.03).astype(np.int64)
    question = Question(NO_PRINTS, Peaks(halves, peaks.bins[inside], 582))
    (aligned,) = align([Vote(1, 208, 5)], question, {1: peaks})  # where the end would say that it begins
    assert aligned.frame == pytest.approx(200, abs=1)


def test_of_places_that_a_recording_repeats_under_another_voice_the_one_with_the_voice_is_found():
    bar = music(3)[: 6 * 16_000]
    recording = np.concatenate([bar, bar + music(4)[: len(bar)], bar + music(5)[: len(bar)]])
    heard = resample_poly(recording, 1, 2).astype(np.float32)
    votes = [Vote(1, n_bar * 6 * RATE // HOP, 50 - n_bar) for n_bar in range(3)]
    part = heard[12 * RATE : 18 * RATE]
    noise = np.random.default_rng(0).normal(scale=part.std() / 2, size=len(part)).astype(np.float32)
    (aligned,) = align(votes, asked(part + noise), {1: find_peaks([heard])})
    assert aligned.frame == pytest.approx(12 * RATE / HOP, abs=1)
    assert aligned.votes == 48


def test_recordings_come_by_their_scores_and_unknown_ones_not_at_all():
    recordings = {number: find_peaks([samples(number)]) for number in (1, 2, 3)}
    votes = [Vote(number, 100, 20 - number) for number in (1, 9, 2, 3)]
    aligned = align(votes, asked(samples(3)[100 * HOP :][: SECONDS * RATE]), recordings)
    assert aligned[0].track_id == 3
    assert sorted(each.track_id for each in aligned) == [1, 2, 3]
    assert [each.score for each in aligned] == sorted((each.score for each in aligned), reverse=True)


def test_what_has_no_votes_has_no_place():
    assert align([], asked(samples(1)[: SECONDS * RATE]), {}) == []
