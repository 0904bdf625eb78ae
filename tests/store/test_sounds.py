"""What is kept of recordings is published in pieces that fit into memory, without those that are damaged."""

from __future__ import annotations

import pytest

from mmsearch.ingest import sounds as ingest
from mmsearch.processes.listener import HeardFile, Listener
from mmsearch.store import sounds
from mmsearch.store.encoder import NONE
from mmsearch.store.folder import Store
from tests.faults.killed_sounds import N_SOUNDS, recording

SETTINGS = {"fingerprint": NONE, "dim": 0, "model": NONE}
ALL = set(range(1, N_SOUNDS + 1))


@pytest.fixture
def store(tmp_path):
    """The writer of a library of six recordings of 20 s, none of which is published."""
    with Store.writer(tmp_path / "library", create=SETTINGS) as store:
        store.sounds.commit(map(recording, sorted(ALL)))
        yield store


def ids(parts):
    return [part.segment.ids[part.alive].tolist() for part in parts]


def test_fingerprints_are_made_of_as_much_sound_as_memory_is_for(store, monkeypatch):
    monkeypatch.setattr(sounds, "TOGETHER", 2 * len(recording(1).packed))
    searchable = store.sounds.searchable()
    assert (ids(searchable.segments), searchable.further) == ([[1, 2]], [[3, 4], [5, 6]])
    assert ids(map(store.sounds.built, searchable.further)) == searchable.further
    built = []
    monkeypatch.setattr(
        sounds,
        "build_segment",
        lambda tracks, build=sounds.build_segment: built.append(len(tracks)) or build(tracks),
    )
    assert store.sounds.settle() == ()
    assert (built, store.sounds.facts().n_indexed) == ([2, 2, 2], N_SOUNDS)


def test_a_run_publishes_as_it_goes(tmp_path, monkeypatch):
    numbers = iter(sorted(ALL))

    def heard(_listener, _path):
        sound = recording(next(numbers))
        return HeardFile(*sound[1:4], sound.n_frames, sound.packed, sound.problem)

    n_indexed = []
    monkeypatch.setattr(Listener, "recording", heard)
    monkeypatch.setattr(ingest, "TOGETHER", 2 * len(recording(1).packed))
    for number in ALL:
        (tmp_path / f"{number}.flac").write_bytes(b"a")
    with Store.writer(tmp_path / "library", create=SETTINGS) as store:
        settle = sounds.LibrarySounds.settle

        def counted(self):
            damaged = settle(self)
            n_indexed.append(self.facts().n_indexed)
            return damaged

        monkeypatch.setattr(sounds.LibrarySounds, "settle", counted)
        ingest.index_sounds(store, [bytes(tmp_path)], on_progress=lambda *_: None)
    assert n_indexed == [2, 4, 6, 6]


def test_a_damaged_recording_is_left_out_and_named_and_the_others_are_found(store):
    with store.catalog.writing():
        store.catalog.db.execute("UPDATE sound SET peaks = zeroblob(length(peaks)) WHERE id = 3")
    (part,) = store.sounds.searchable().segments
    assert (set(part.segment.ids.tolist()), part.damaged) == (ALL - {3}, (3,))
    assert store.sounds.settle() == (3,)
    assert store.sounds.facts().n_indexed == N_SOUNDS - 1
    before = sounds.manifest_state(store.files)
    assert store.sounds.settle() == (3,)
    assert sounds.manifest_state(store.files) == before


def test_a_first_picture_among_recordings_finds_no_settings_of_an_attempt_before_it(tmp_path):
    plain = {"fingerprint": "f", "dim": 8, "model": "m"}
    for create in (
        SETTINGS,
        {**plain, "precision": "fp16", "views": 4},
        plain,
    ):
        with Store.writer(tmp_path / "library", create=create) as store:
            store.sounds.commit([] if store.has_sounds else [recording(1)])
            settings = {name: store.setting(name) for name in ("dim", "precision", "views")}
    assert settings == {"dim": 8, "precision": None, "views": None}
