"""The inverted file of fingerprints, beside all occurrences counted one by one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mmsearch.errors import UnsupportedError, VocabularyError
from mmsearch.sound.inverted_file import SILENCE, Segment, build_segment, merge_segments
from mmsearch.sound.pairs import Prints
from mmsearch.sound.vote import vote

N_FRAMES = 900


def prints_of(seed, n=2000, n_hashes=300):
    rng = np.random.default_rng(seed)
    hashes, frames = rng.integers(0, n_hashes, n), np.sort(rng.integers(0, N_FRAMES, n))
    return Prints(hashes.astype(np.uint32), frames.astype(np.uint32))


def segment_of(*seeds):
    return build_segment((seed, 7 * seed, N_FRAMES, prints_of(seed)) for seed in seeds)


def all_alive(segment):
    return np.ones(len(segment.ids), bool)


def excerpt(seed, start, n_frames=300):
    """The prints of a part of a recording, as they are in it."""
    hashes, frames = prints_of(seed)
    inside = (frames >= start) & (frames < start + n_frames)
    return Prints(hashes[inside], frames[inside] - np.uint32(start))


def counted(question, seeds):
    """The most votes of each recording, and for which beginning, found without an index."""
    best = {}
    for seed in seeds:
        hashes, frames = (array.astype(int).tolist() for array in prints_of(seed))
        at = Counter(
            frame - asked
            for hash_, asked in zip(*map(np.ndarray.tolist, question), strict=True)
            for known, frame in zip(hashes, frames, strict=True)
            if known == hash_
        )
        n, begin = max((n + at[begin + 1], -begin) for begin, n in list(at.items()))
        best[seed] = -begin + (at[1 - begin] > at[-begin]), n
    return best


def test_votes_and_places_are_those_of_counting_all_occurrences():
    question = excerpt(2, 100)
    votes = vote(segment_of(1, 2, 3), question, k=3, alive=np.ones(3, bool))
    assert {each.track_id: (each.frame, each.votes) for each in votes} == counted(question, (1, 2, 3))
    assert (votes[0].track_id, votes[0].frame) == (2, 100)


def test_a_question_may_begin_before_a_recording_and_end_after_it():
    hashes, frames = excerpt(2, 0)
    early = Prints(hashes, frames + np.uint32(250))
    assert vote(segment_of(1, 2, 3), early, k=1, alive=np.ones(3, bool))[0][:2] == (2, -250)
    assert vote(segment_of(1, 2, 3), excerpt(2, 800), k=1, alive=np.ones(3, bool))[0][:2] == (2, 800)


def test_recordings_with_the_same_passage_are_both_found_the_first_one_first():
    segment = build_segment((number, 0, N_FRAMES, prints_of(5)) for number in (8, 9))
    votes = vote(segment, excerpt(5, 50), k=3, alive=np.ones(2, bool))
    assert [(each.track_id, each.frame) for each in votes] == [(8, 50), (9, 50)]
    assert votes[0].votes == votes[1].votes


def test_several_places_of_a_recording_are_told_a_quarter_of_a_second_apart():
    hashes, frames = prints_of(5, n_hashes=100_000)
    repeated = [Prints(hashes[:share], frames[:share] + np.uint32(later))
                for share, later in ((1800, 0), (2000, 1000), (1900, 1004), (1700, 2000))]  # fmt: skip
    track = Prints(*(np.concatenate(arrays) for arrays in zip(*repeated, strict=True)))
    segment = build_segment([(8, 0, 3000, track), (9, 0, N_FRAMES, Prints(hashes[:900], frames[:900]))])
    for n_places, places in ((1, [(8, 1000)]), (2, [(8, 1000), (8, 0)]), (9, [(8, 1000), (8, 0), (8, 2000)])):
        votes = vote(segment, Prints(hashes, frames), k=1, alive=np.ones(2, bool), n_places=n_places)
        assert [(each.track_id, each.frame) for each in votes] == places
    votes = vote(segment, Prints(hashes, frames), k=2, alive=np.ones(2, bool), n_places=2)
    assert [(each.track_id, each.frame) for each in votes] == [(8, 1000), (8, 0), (9, 0)]


def test_recordings_that_are_not_alive_are_not_found():
    votes = vote(segment_of(1, 2), excerpt(2, 100), k=3, alive=np.array([True, False]))
    assert {each.track_id for each in votes} <= {1}


def test_an_empty_segment_finds_nothing():
    assert vote(build_segment([]), excerpt(1, 0), k=3, alive=np.zeros(0, bool)) == []


def test_a_saved_segment_is_the_same_and_its_times_stay_in_the_file(tmp_path):
    segment = segment_of(1, 2, 3)
    segment.save(tmp_path / "a.bin")
    opened = Segment.open(tmp_path / "a.bin")
    assert not isinstance(opened.times, np.ndarray)
    assert vote(opened, excerpt(3, 9), k=3, alive=np.ones(3, bool)) == vote(
        segment, excerpt(3, 9), k=3, alive=np.ones(3, bool)
    )


@pytest.mark.parametrize("block", [1 << 21, 500])
def test_merged_segments_are_one_segment_of_what_is_alive_in_them(tmp_path, monkeypatch, block):
    monkeypatch.setattr("mmsearch.sound.inverted_file._BLOCK", block)
    first, second = segment_of(1, 2, 3), segment_of(4, 5)
    merge_segments([first, second], [np.array([True, False, True]), all_alive(second)], tmp_path / "merged.bin")
    merged, expected = Segment.open(tmp_path / "merged.bin"), segment_of(1, 3, 4, 5)
    for name in ("hashes", "offsets", "times", "ids", "checksums", "starts", "lengths"):
        np.testing.assert_array_equal(getattr(merged, name)[:], getattr(expected, name), err_msg=name)
    for seed in (1, 2, 4):
        answers = [vote(each, excerpt(seed, 77), k=4, alive=np.ones(4, bool)) for each in (merged, expected)]
        assert answers[0] == answers[1]


def test_after_many_recordings_left_a_question_has_as_many_votes_as_without_them(tmp_path):
    rare = Prints(np.arange(10_000, 60_000, dtype=np.uint32), np.zeros(50_000, np.uint32))
    first = build_segment([(1, 7, N_FRAMES, prints_of(1, n_hashes=20)), (2, 14, N_FRAMES, rare)])
    merge_segments([first], [np.array([True, False])], tmp_path / "merged.bin")
    alone = build_segment([(1, 7, N_FRAMES, prints_of(1, n_hashes=20))])
    hashes, frames = prints_of(1, n_hashes=20)
    question = Prints(hashes[:300], frames[:300])
    answers = [
        vote(each, question, k=1, alive=np.ones(1, bool)) for each in (Segment.open(tmp_path / "merged.bin"), alone)
    ]
    assert answers[0] == answers[1]
    assert answers[0][0].votes >= 300


def test_a_segment_of_which_nothing_is_alive_merges_to_an_empty_one(tmp_path):
    merge_segments([segment_of(1)], [np.zeros(1, bool)], tmp_path / "merged.bin")
    merged = Segment.open(tmp_path / "merged.bin")
    assert (len(merged.ids), len(merged.times)) == (0, 0)
    assert vote(merged, excerpt(1, 0), k=1, alive=np.zeros(0, bool)) == []


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"mmsearch postings 1\n{}\n")
    with pytest.raises(VocabularyError, match="another kind of file"):
        Segment.open(tmp_path / "a.bin")


def test_more_than_a_time_line_holds_is_refused():
    nothing = Prints(np.zeros(0, np.uint32), np.zeros(0, np.uint32))
    with pytest.raises(UnsupportedError, match="four years"):
        build_segment((number, 0, (1 << 31) - SILENCE, nothing) for number in range(2))
