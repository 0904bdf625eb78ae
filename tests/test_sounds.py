"""Recordings in a library: kept, found by a few seconds, followed when their files move, change or go."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest

import mmsearch
from mmsearch import Library, QueryError, SoundError
from mmsearch.errors import LibraryNotFoundError, UnsupportedError
from mmsearch.ingest import sounds as ingest
from mmsearch.processes import listener as listeners
from mmsearch.store.place import holds_sounds
from mmsearch.store.publish import MANIFEST
from tests.conftest import small_samples
from tests.sound.recordings import RATE, encoded, music

N = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four recordings and what is none."""
    folder = tmp_path_factory.mktemp("sounds") / "music"
    (folder / "film").mkdir(parents=True)
    for number in range(N - 1):
        (folder / f"{number}.flac").write_bytes(encoded(music(number)))
    (folder / "film" / "3.mp4").write_bytes(encoded(music(3), "mp4", "aac"))
    (folder / "notes.txt").write_text("nothing to be heard")
    (folder / "list.mp3").write_text("ffconcat version 1.0\nfile '0.flac'\n")
    (folder / "silence.wav").write_bytes(encoded(np.zeros(5 * RATE), "wav", "pcm_s16le"))
    return folder


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """A library of the recordings, and the report of the run that made it; not to be written to."""
    path = tmp_path_factory.mktemp("made") / "library"
    with Library.open(path) as library:
        return path, library.sounds.index(folder)


@pytest.fixture(scope="module")
def asked(made):
    """The library, open for questions."""
    with Library.open(made[0]) as library:
        yield library.sounds


@pytest.fixture
def own(made, folder, tmp_path):
    """A copy of folder and library in which a test may do what it wants."""
    shutil.copytree(folder, tmp_path / "music", copy_function=shutil.copy2)
    shutil.copytree(made[0], tmp_path / "library")
    with closing(sqlite3.connect(tmp_path / "library" / "catalog.sqlite")) as db:
        moved = "UPDATE sound SET path = CAST(? || substr(path, ?) AS BLOB)"
        db.execute(moved, (os.fsencode(tmp_path / "music"), len(os.fsencode(folder)) + 1))
        db.execute("UPDATE sound SET ctime_ns = NULL")  # which nobody can copy
        db.execute("DELETE FROM bad_sound")
        db.commit()
    for name in ("list.mp3", "silence.wav"):
        (tmp_path / "music" / name).unlink()
    with Library.open(tmp_path / "library") as library:
        yield library


@pytest.fixture
def slow(monkeypatch):
    """No file is heard in time."""

    def recording(_listener, path):
        raise SoundError("timeout", "it took too long")

    monkeypatch.setattr(listeners.Listener, "recording", recording)


def question(tmp_path, number, at=5.0, seconds=8.0, *, noise=0.0, rate=RATE):
    """A file of a part of a recording, under noise, at another speed."""
    samples = music(number)[round(at * RATE) : round((at + seconds) * RATE)]
    loud = np.random.default_rng(99).normal(scale=noise, size=len(samples)) if noise else 0
    (tmp_path / "question.wav").write_bytes(encoded(samples + loud, "wav", "pcm_s16le", rate=rate))
    return tmp_path / "question.wav"


def names(report):
    return sorted(os.path.basename(bad.path) for bad in report.bad)


def test_a_run_keeps_recordings_and_names_what_is_none(made, asked):
    _, report = made
    assert (report.new, report.changed, report.moved, report.gone) == (N, 0, 0, 0)
    assert {os.path.basename(bad.path): bad.code for bad in report.bad} == {
        "list.mp3": "not_a_sound", "silence.wav": "silent"
    }  # fmt: skip
    facts = asked.status()
    assert (facts.n_recordings, facts.n_indexed, names(facts)) == (N, N, names(report))
    assert facts.seconds_of_sound == pytest.approx(20 * N, abs=0.2)


@pytest.mark.parametrize(
    ("how", "speed"),
    [
        pytest.param({}, 1.0, id="clean"),
        pytest.param({"noise": 0.05}, 1.0, id="noise", marks=pytest.mark.full),
        pytest.param({"rate": 16_480}, 1.03, id="3 % fast"),
        pytest.param({"rate": 15_842}, 1 / 1.01, id="1 % slow", marks=pytest.mark.full),
    ],
)
def test_an_excerpt_is_found_with_its_place_and_speed(asked, tmp_path, how, speed):
    answer = asked.search(question(tmp_path, 3, **how))
    hit = answer.hits[0]
    assert (os.path.basename(hit.recording.path), hit.rank, hit.verdict, hit.speed) == ("3.mp4", 1, "match", speed)
    assert hit.at == pytest.approx(5.0, abs=0.25)
    assert not hit.is_missing
    assert (answer.n_recordings, answer.duration) == (N, pytest.approx(8.0, rel=0.05))


def test_a_part_of_a_file_is_asked_for_by_its_place(asked, folder):
    answer = asked.search(folder / "1.flac", at=7.5, duration=6)
    assert (os.path.basename(answer.hits[0].recording.path), answer.hits[0].at) == (
        "1.flac",
        pytest.approx(7.5, abs=0.1),
    )


def test_what_is_in_no_recording_is_not_found(asked, tmp_path):
    assert asked.search(question(tmp_path, 77)).hits == ()


@pytest.mark.parametrize(
    ("samples", "error", "sentence"),
    [
        (music(1)[: RATE // 2], QueryError, r"0\.5 s of sound .* an excerpt of 2 s at least"),
        (np.zeros(5 * RATE), SoundError, "it is silence, or one tone, or too short"),
        (np.sin(np.arange(5 * RATE) / 3), SoundError, "it is silence, or one tone, or too short"),
    ],
    ids=["half a second", "silence", "a tone"],
)
def test_what_says_too_little_is_refused_in_a_sentence(asked, tmp_path, samples, error, sentence):
    (tmp_path / "a.flac").write_bytes(encoded(samples))
    with pytest.raises(error, match=sentence):
        asked.search(tmp_path / "a.flac")


@pytest.mark.parametrize("at", [21, 86_400])
def test_behind_the_end_of_a_file_is_nothing_to_look_for(asked, folder, at):
    with pytest.raises(QueryError, match=rf"there are 0\.0 s of sound in .* from {at} s on"):
        asked.search(folder / "1.flac", at=at)


@pytest.mark.parametrize(
    "wrong",
    [
        {"at": float("inf")},
        {"at": 1e18},
        {"at": -1},
        {"at": "now"},
        {"at": 10**400},
        {"duration": 1},
        {"duration": 61},
        {"duration": 10**400},
        {"k": 0},
    ],
)
def test_a_question_that_means_nothing_is_refused(asked, folder, wrong):
    with pytest.raises((QueryError, mmsearch.ArgumentError)):
        asked.search(folder / "1.flac", **wrong)


def test_a_second_run_listens_to_nothing(own, tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "_heard", lambda files: iter(pytest.fail("listened") for _ in files))
    report = own.sounds.index(tmp_path / "music")
    assert (report.new, report.unchanged, report.bad) == (0, N, ())


@pytest.mark.full
def test_files_that_move_change_come_twice_or_go_are_followed(own, tmp_path):
    sounds = tmp_path / "music"
    (sounds / "0.flac").rename(sounds / "moved.flac")
    (sounds / "1.flac").write_bytes(encoded(music(8)))
    shutil.copyfile(sounds / "2.flac", sounds / "twice.flac")
    (sounds / "film" / "3.mp4").unlink()
    report = own.sounds.index(sounds)
    counts = report.new, report.changed, report.moved, report.gone, report.unchanged, report.bad
    assert counts == (1, 1, 1, 1, 1, ())
    found = {
        number: sorted(
            os.path.basename(hit.recording.path) for hit in own.sounds.search(question(tmp_path, number)).hits
        )
        for number in (0, 1, 2, 3, 8)
    }
    assert found == {0: ["moved.flac"], 1: [], 2: ["2.flac", "twice.flac"], 3: [], 8: ["1.flac"]}
    assert own.verify().problems == ()


def test_copies_that_move_together_stay_as_many(own, tmp_path):
    sounds = tmp_path / "music"
    sounds.joinpath("old").mkdir()
    (sounds / "0.flac").rename(sounds / "old" / "a.flac")
    shutil.copyfile(sounds / "old" / "a.flac", sounds / "old" / "b.flac")
    report = own.sounds.index(sounds)
    assert (report.moved, report.new, report.gone) == (1, 1, 0)
    (sounds / "old").rename(sounds / "new")
    report = own.sounds.index(sounds)
    assert (report.moved, report.new, report.gone) == (2, 0, 0)
    kept = [os.path.relpath(path, sounds) for path in own.sounds.remove(sounds)]
    assert kept == ["1.flac", "2.flac", "film/3.mp4", "new/a.flac", "new/b.flac"]


@pytest.mark.full
def test_a_file_that_became_none_leaves_and_one_that_cannot_be_read_stays(own, tmp_path):
    sounds = tmp_path / "music"
    (sounds / "0.flac").write_text("this is a text by now")
    os.rename(sounds / "1.flac", sounds / "1.dir")
    os.mkfifo(sounds / "1.flac")
    report = own.sounds.index(sounds)
    assert {os.path.basename(bad.path): bad.code for bad in report.bad} == {
        "0.flac": "not_a_sound",
        "1.flac": "not_a_file",
    }
    assert own.sounds.search(question(tmp_path, 0)).hits == ()
    hit = own.sounds.search(question(tmp_path, 1)).hits[0]
    assert os.path.basename(hit.recording.path) == "1.flac"


@pytest.mark.full
def test_recordings_stay_where_none_of_a_folder_is_there(own, tmp_path):
    (tmp_path / "music").rename(tmp_path / "away")
    (tmp_path / "music").mkdir()
    report = own.sounds.index(tmp_path / "music")
    assert (report.gone, own.sounds.status().n_recordings) == (0, N)
    assert "none of the 4 recordings" in report.notices[0]
    assert own.sounds.search(question(tmp_path, 1)).hits[0].is_missing


@pytest.mark.full
def test_forgotten_recordings_are_found_no_more(own, tmp_path):
    assert own.sounds.remove(tmp_path / "music" / "film") == (str(tmp_path / "music" / "film" / "3.mp4"),)
    assert own.sounds.search(question(tmp_path, 3)).hits == ()
    assert own.sounds.search(question(tmp_path, 2)).hits[0].verdict == "match"
    assert own.sounds.remove(tmp_path / "elsewhere") == ()
    assert own.sounds.status().n_recordings == N - 1


def test_bad_files_are_forgotten_too_and_count_as_what_a_library_holds(tmp_path, slow):
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "a.flac").write_bytes(b"a")
    with Library.open(tmp_path / "library") as library:
        library.sounds.index(tmp_path / "music")
        assert holds_sounds(tmp_path / "library")
        assert library.sounds.remove(tmp_path / "music") == (str(tmp_path / "music" / "a.flac"),)
        assert not holds_sounds(tmp_path / "library")


@pytest.mark.full
def test_recordings_with_one_loop_are_both_found(own, tmp_path):
    loop = np.tile(music(5, 4.0), 4)
    for name, number in (("first", 6), ("second", 7)):
        (tmp_path / "music" / f"{name}.flac").write_bytes(encoded(np.concatenate([music(number, 10.0), loop])))
    own.sounds.index(tmp_path / "music")
    (tmp_path / "loop.flac").write_bytes(encoded(loop[: 9 * RATE]))
    answer = own.sounds.search(tmp_path / "loop.flac")
    assert {os.path.basename(hit.recording.path) for hit in answer.hits} == {"first.flac", "second.flac"}
    assert {hit.verdict for hit in answer.hits} == {"match"}


@pytest.mark.full
def test_a_lost_index_is_made_of_the_catalog_and_answers_stay_the_same(own, tmp_path):
    library = tmp_path / "library"
    before = own.sounds.search(question(tmp_path, 2)).hits
    (segment,) = library.glob("sounds-*.bin")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    with Library.open(library) as damaged:
        assert [fault.code for fault in damaged.verify().faults] == ["damaged_sounds"]
        assert damaged.sounds.search(question(tmp_path, 2)).hits == before
        assert [fault.code for fault in damaged.verify(is_repair=True).faults] == ["damaged_sounds"]
        assert (damaged.sounds.status().n_indexed, damaged.verify().problems) == (N, ())
        assert damaged.sounds.search(question(tmp_path, 2)).hits == before


@pytest.mark.full
def test_without_an_index_recordings_are_compared_a_few_at_a_time_and_a_damaged_one_is_named(
    own, tmp_path, monkeypatch
):
    monkeypatch.setattr("mmsearch.store.sounds.TOGETHER", 1)
    (tmp_path / "library" / MANIFEST).unlink()
    with closing(sqlite3.connect(tmp_path / "library" / "catalog.sqlite")) as db:
        db.execute("UPDATE sound SET peaks = zeroblob(length(peaks)) WHERE id = 2")
        db.commit()
    answer = own.sounds.search(question(tmp_path, 3))
    assert (os.path.basename(answer.hits[0].recording.path), answer.n_recordings) == ("3.mp4", N - 1)
    assert "1 recording cannot be found" in answer.notices[0]


def test_a_recording_whose_peaks_are_damaged_is_named_by_what_would_find_it(own, tmp_path):
    with closing(sqlite3.connect(tmp_path / "library" / "catalog.sqlite")) as db:
        paths = (os.fsencode(tmp_path / "music" / "2.flac"),)
        db.execute("UPDATE sound SET peaks = zeroblob(length(peaks)) WHERE path = ?", paths)
        db.commit()
    answer = own.sounds.search(question(tmp_path, 2))
    assert answer.hits == ()
    assert "1 recording cannot be found" in answer.notices[0]


@pytest.mark.full
def test_a_damaged_recording_is_named_and_heard_again_after_a_repair(own, tmp_path):
    with closing(sqlite3.connect(tmp_path / "library" / "catalog.sqlite")) as db:
        paths = (os.fsencode(tmp_path / "music" / "2.flac"),)
        db.execute("UPDATE sound SET peaks = zeroblob(length(peaks)) WHERE path = ?", paths)
        db.commit()
    (fault,) = own.verify().faults
    assert (fault.code, os.path.basename(fault.path)) == ("damaged_sounds", "2.flac")
    repaired = own.verify(is_repair=True)
    assert (repaired.n_dropped, repaired.n_recordings_dropped) == (0, 1)
    assert own.sounds.status().n_indexed == N - 1
    assert own.sounds.index(tmp_path / "music").new == 1
    assert own.verify().problems == ()


@pytest.mark.full
def test_a_backup_carries_recordings_and_a_restore_gives_their_paths_anew(own, tmp_path):
    assert own.backup(tmp_path / "backup").n_recordings == N
    (tmp_path / "music").rename(tmp_path / "there")
    with Library.open(tmp_path / "restored") as restored:
        report = restored.restore(tmp_path / "backup", move={tmp_path / "music": tmp_path / "there"})
        assert report.n_recordings == N
        hit = restored.sounds.search(question(tmp_path, 1)).hits[0]
        assert (hit.recording.path, hit.is_missing) == (str(tmp_path / "there" / "1.flac"), False)
        with pytest.raises(QueryError, match="holds a library"):
            restored.restore(tmp_path / "backup")


@pytest.mark.full
def test_pictures_and_recordings_share_a_library_whichever_came_first(own, tmp_path, checkpoint, cache):
    pictures = small_samples(tmp_path / "pictures", 3, longer_side=64)
    with Library.open(tmp_path / "library", cache=cache) as library:
        assert library.index(pictures, model=checkpoint).new == 3
        assert library.status().sounds.n_recordings == N
        assert library.sounds.search(question(tmp_path, 1)).hits[0].verdict == "match"
        assert len(library.search("a cat", k=2)) == 2
        assert library.verify().problems == ()


def test_without_the_libraries_that_listen_it_is_said_how_to_have_them(asked, folder, monkeypatch):
    monkeypatch.setattr(listeners, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"pip install 'mmsearch\[media\]'"):
        asked.search(folder / "1.flac")


def test_without_a_library_there_is_nothing_to_ask_or_forget(tmp_path):
    with Library.open(tmp_path / "none") as library:
        with pytest.raises(LibraryNotFoundError, match="`mmsearch sound index PATH` makes one"):
            library.sounds.status()
        with pytest.raises(LibraryNotFoundError, match="`mmsearch sound index PATH` makes one"):
            library.sounds.remove(tmp_path)


def test_the_recordings_of_a_library_are_asked_while_nobody_else_holds_it(made):
    sounds = Library.open(made[0]).sounds
    assert sounds.status().n_recordings == N
    sounds._reader.__self__.close()


def test_a_new_library_of_sounds_is_not_made_among_them(folder):
    with pytest.raises(QueryError, match="lie in one another"), Library.open(folder / "library") as library:
        library.sounds.index(folder)


@pytest.mark.full
def test_a_recording_that_takes_too_long_is_named_and_tried_again(own, tmp_path, monkeypatch):
    monkeypatch.setattr(listeners, "COMPUTING_S", 0.0)
    (tmp_path / "music" / "slow.flac").write_bytes(encoded(music(9, 30.0)))
    report = own.sounds.index(tmp_path / "music")
    assert [bad.code for bad in report.bad] == ["timeout"]
    monkeypatch.undo()
    assert own.sounds.index(tmp_path / "music").new == 1  # it may have been by chance


def test_a_recording_that_changed_stays_until_it_was_not_heard_three_times(own, tmp_path, slow):
    (tmp_path / "music" / "1.flac").write_bytes(encoded(music(8)))
    kept = []
    for _ in range(4):
        own.sounds.index(tmp_path / "music")
        kept.append(own.sounds.status().n_recordings)
    assert kept == [N, N, N - 1, N - 1]


def test_a_recording_is_no_bad_file_once_it_is_as_it_was_or_moved_there(own, tmp_path, slow):
    path = tmp_path / "music" / "1.flac"
    path.rename(tmp_path / "aside.flac")
    (tmp_path / "music" / "4.flac").write_bytes(encoded(music(8)))
    path.write_bytes(encoded(music(8)))
    own.sounds.index(tmp_path / "music")
    assert names(own.sounds.status()) == ["1.flac", "4.flac"]
    (tmp_path / "aside.flac").rename(path)
    (tmp_path / "music" / "0.flac").rename(tmp_path / "music" / "4.flac")
    report = own.sounds.index(tmp_path / "music")
    assert (report.unchanged, report.moved, names(own.sounds.status())) == (N - 1, 1, [])


@pytest.mark.full
def test_writers_leave_what_was_killed_before_it_was_published_to_the_next(own, tmp_path, monkeypatch):
    monkeypatch.setattr("mmsearch.store.sounds.LibrarySounds.settle", lambda self: None)
    (tmp_path / "music" / "new.flac").write_bytes(encoded(music(9)))
    own.sounds.index(tmp_path / "music")
    assert own.sounds.status().n_indexed == N
    assert os.path.basename(own.sounds.search(question(tmp_path, 9)).hits[0].recording.path) == "new.flac"
    monkeypatch.undo()
    own.sounds.index(tmp_path / "music")
    assert own.sounds.status().n_indexed == N + 1
