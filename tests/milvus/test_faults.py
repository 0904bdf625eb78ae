"""What goes wrong between mmsearch and a real Milvus server, and what is said of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient

from mmsearch.errors import (
    EngineError,
    FingerprintError,
    LibraryLostError,
    LibraryNotFoundError,
    LibraryVersionError,
    UnsupportedError,
)
from mmsearch.ingest.plan import make_plan
from mmsearch.milvus import writer as milvus_writer
from mmsearch.milvus.address import TOKEN
from mmsearch.places import place_of
from mmsearch.records import FileLook
from mmsearch.store.base import ALL, AskedVector
from mmsearch.store.changes import Changes, RejectedFile, TouchedFile
from tests.contracts.test_store import DIM, SETTINGS, picture, unit
from tests.milvus.server import free_ports

AT_ONCE_S = 10
FIVE = [picture(b"/%d.jpg" % n) for n in range(5)]
QUERY = AskedVector(unit(1, 5)[0])


def nearest(store, k=5):
    return [image.path for _, image in store.neighbours().shortlists([QUERY], k, ALL, "image")[0].pictures]


def said_in_time(error, do):
    """Return what an error says that comes soon."""
    start = time.monotonic()
    with pytest.raises(error) as raised:
        do()
    assert time.monotonic() - start < AT_ONCE_S
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture(scope="module")
def place(milvus):
    """A library of five pictures, whose vectors another encoder made than the one that it names."""
    kept = place_of(milvus.address("faults"))
    with kept.writer(create={**SETTINGS, "model": "offline"}) as store:
        store.commit(Changes(stored=FIVE))
    return kept


@pytest.fixture
def made(milvus):
    """Return the place of a library with this name, dropped at the end."""
    names = []

    def place_named(name):
        names.append(name)
        return place_of(milvus.address(name))

    yield place_named
    for name in names:
        milvus.drop(name)


def test_port_at_which_nobody_listens_is_one_sentence():
    address = f"milvus://127.0.0.1:{free_ports(1)[0]}/photos"
    assert "see that Milvus runs there" in said_in_time(EngineError, place_of(address).open)
    assert address in said_in_time(EngineError, place_of(address).holds_pictures)


def test_command_says_one_sentence_and_no_secret_when_the_engine_is_away(monkeypatch):
    monkeypatch.setenv(TOKEN, "root:s3cret")
    address = f"milvus://127.0.0.1:{free_ports(1)[0]}/photos"
    done = subprocess.run(
        [sys.executable, "-m", "mmsearch", "search", "a cat", "--library", address],
        capture_output=True, text=True, timeout=AT_ONCE_S,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert address in done.stderr
    assert "s3cret" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "pymilvus" not in done.stderr


@pytest.mark.full
def test_engine_that_answers_no_more_is_a_sentence_and_the_next_call_works_when_it_does(milvus, place, monkeypatch):
    store = place.open()
    assert len(nearest(store)) == 5
    commit = Changes(stored=[picture(b"/frozen.jpg")])
    is_begun, is_frozen = threading.Event(), threading.Event()
    monkeypatch.setattr(milvus_writer, "_BYTES", 20_000)  # many calls, of which few are made at a time

    def commits():
        yield Changes(stored=[picture(b"/way/%d.jpg" % n) for n in range(400)])
        is_begun.set()
        is_frozen.wait()
        yield commit

    with place.writer() as writer, ThreadPoolExecutor() as threads:
        storing = threads.submit(said_in_time, EngineError, lambda: list(writer.committing(commits())))
        is_begun.wait()
        with milvus.frozen():
            is_frozen.set()
            assert "does not answer" in said_in_time(EngineError, lambda: nearest(store))
            assert "does not answer" in storing.result()
    assert len(nearest(store)) == 5
    with place.writer() as writer:
        writer.remove_images([file.image_id for file in writer.known_files(b"/way")])
        writer.commit(commit)
        assert writer.count_below(b"/frozen.jpg") == 1
        writer.remove_images([writer.image_at(b"/frozen.jpg").image_id])
    store.close()


@pytest.mark.full
def test_library_that_is_not_in_the_engines_memory_is_loaded(milvus, place):
    store = place.open()
    milvus.engine().client.release_collection("faults")
    assert len(nearest(store)) == 5
    store.close()


@pytest.mark.full
def test_library_that_was_dropped_while_it_was_open_is_said_to_be_and_nothing_is_stored_in_what_came_after(
    milvus, made
):
    place = made("dropped")
    with place.writer(create=SETTINGS) as writer:
        writer.commit(Changes(stored=[picture(b"/a.jpg")]))
        store = place.open()
        assert nearest(store) == ["/a.jpg"]
        milvus.drop("dropped")
        assert "dropped" in said_in_time(LibraryNotFoundError, lambda: nearest(store))
        assert not place.holds_library()
        assert not place.holds_pictures()
        with place.writer(create={**SETTINGS, "fingerprint": "0" * 64}) as other:
            time.sleep(1.1)
            assert "made anew" in said_in_time(LibraryLostError, lambda: store.revision)
            assert "made anew" in said_in_time(LibraryLostError, lambda: writer.commit(Changes(stored=FIVE)))
            assert other.count() == 0
    store.close()


@pytest.mark.full
def test_library_that_is_dropped_while_rows_are_on_their_way_is_said_to_be(milvus, made, monkeypatch):
    place = made("dropped_on_the_way")
    monkeypatch.setattr(milvus_writer, "_BYTES", 5_000)  # many calls, of which few are made at a time
    drop = threading.Timer(0.5, milvus.drop, ["dropped_on_the_way"])

    def commits():
        yield Changes(stored=[picture(b"/first/%d.jpg" % n) for n in range(2000)])
        drop.start()
        yield Changes(stored=[picture(b"/second/%d.jpg" % n) for n in range(2000)])

    with place.writer(create=SETTINGS) as writer:
        assert "dropped_on_the_way" in said_in_time(
            (LibraryNotFoundError, EngineError), lambda: list(writer.committing(commits()))
        )
    drop.join()


def schema_of_others():
    schema = MilvusClient.create_schema(description="of others")
    schema.add_field("key", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    return schema


@pytest.mark.full
def test_foreign_collection_of_the_name_of_the_small_one_is_refused_before_anything_is_made(milvus, made):
    client, place = milvus.engine().client, made("beside")
    client.create_collection("beside__about", schema=schema_of_others())
    assert "mmsearch did not make" in said_in_time(EngineError, lambda: place.writer(create=SETTINGS).__enter__())
    assert not client.list_indexes("beside__about")
    assert not client.has_collection("beside")


@pytest.mark.full
def test_foreign_collection_is_refused_and_left_as_it_is(milvus, made):
    client = milvus.engine().client
    place = made("foreign")
    client.create_collection("foreign", schema=schema_of_others())
    for do in (place.open, place.holds_pictures, lambda: place.writer(create=SETTINGS).__enter__()):
        assert "mmsearch did not make" in said_in_time(EngineError, do)
    assert client.describe_collection("foreign")["description"] == "of others"
    assert not client.has_collection("foreign__about")


@pytest.mark.full
def test_library_of_a_newer_schema_is_refused(milvus, made):
    schema = MilvusClient.create_schema(description=json.dumps({"mmsearch": 99}))
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    place = made("newer")
    milvus.engine().client.create_collection("newer", schema=schema)
    assert "schema 99" in said_in_time(LibraryVersionError, place.open)
    assert "update mmsearch" in said_in_time(LibraryVersionError, lambda: place.writer(create=SETTINGS).__enter__())


@pytest.mark.full
def test_library_that_has_lost_the_small_collection_beside_says_so_and_answers_until_it_is_begun_anew(
    milvus, place
):
    milvus.engine().client.drop_collection("faults__about")
    store = place.open()
    assert len(nearest(store)) == 5
    for problems in (store.verify().problems, store.status().problems):
        (problem,) = problems
        assert problem.startswith("faults__about is lost")
        assert "`mmsearch verify --repair`" in problem
    with place.writer() as writer:
        told = []
        assert writer.give_up_lost(told.append) == 0
        assert told == [problem]
        assert len(writer.verify(is_repair=True).problems) == 1
        assert writer.verify().problems == writer.status().problems == ()
        assert len(nearest(store)) == 5
    store.close()


@pytest.mark.full
def test_creation_that_was_ended_between_its_two_collections_is_taken_up(milvus, made):
    place = made("halves")
    with place.writer(create=SETTINGS):
        pass
    client = milvus.engine().client
    client.drop_collection("halves")  # as after a kill: the small one is made first
    assert not place.holds_library()
    with place.writer(create=SETTINGS) as writer:
        writer.commit(Changes(stored=[picture(b"/a.jpg")]))
    client.drop_collection("halves__about")
    store = place.open()
    assert (store.n_pictures, store.roots(), nearest(store)) == (1, [], ["/a.jpg"])
    with place.writer() as writer:
        writer.keep({"a": 1})
        assert writer.setting("a") == 1
    store.close()


@pytest.mark.full
def test_library_that_never_held_pictures_makes_room_for_another_encoder_and_one_that_did_does_not(made):
    place = made("other")
    with place.writer(create=SETTINGS):
        pass
    with place.writer(create={**SETTINGS, "fingerprint": "e" * 64, "dim": 3}) as writer:
        assert (writer.fingerprint(), writer.dim) == ("e" * 64, 3)
        writer.commit(Changes(stored=[picture(b"/a.jpg", vector=np.float32([1, 0, 0]))]))
    with place.writer(create=SETTINGS) as writer:
        assert writer.fingerprint() == "e" * 64
        assert writer.n_pictures == 1


@pytest.mark.full
def test_rows_that_are_damaged_or_there_twice_are_named_and_dropped(place):
    with place.writer() as writer:
        (row,) = writer.rows_at([b"/0.jpg"], ("*",))
        writer.engine.upsert("faults", [{**row, "id": 7, "added": 1}])
        (row,) = writer.rows_at([b"/1.jpg"], ("*",))
        writer.engine.upsert("faults", [{**row, "name": "00"}])
        (row,) = writer.rows_at([b"/2.jpg"], ("*",))
        writer.engine.upsert("faults", [{**row, "vector": np.full(DIM, 2.0, np.float32)}])
        report = writer.verify()
        assert report.n_vectors == 6
        assert len(report.problems) == 3
        assert "'/2.jpg' is not finite, or not of unit length" in " ".join(report.problems)
        assert writer.verify(is_repair=True).n_dropped == 3
        whole = writer.verify()
        assert whole.problems == ()
        assert "checksum" not in whole.proof  # the engine keeps none
        assert [file.path for file in sorted(writer.known_files(b"/"))] == [b"/0.jpg", b"/3.jpg", b"/4.jpg"]
        writer.commit(Changes(stored=FIVE[1:3]))


@pytest.mark.full
def test_encoder_of_the_cache_is_refused_where_it_is_another_than_made_the_library(place, offline_folder, cache):
    encoder = place.encoder(cache)
    store = place.open()
    assert "made by ffffffffffff" in said_in_time(FingerprintError, lambda: encoder.for_reading(store))
    assert "none was asked for" in said_in_time(FingerprintError, lambda: encoder.for_writing(store, "none", print))
    (problem,) = encoder.problems(store)
    assert "made by ffffffffffff" in problem
    assert "--model none gives none" in said_in_time(UnsupportedError, lambda: encoder.settings_for("none", print))
    store.close()


@pytest.mark.full
def test_engine_that_is_restarted_is_found_again(milvus, place):
    store = place.open()
    before = nearest(store)
    milvus.stop()
    try:
        assert "does not answer" in said_in_time(EngineError, lambda: nearest(store))
    finally:
        milvus.start()
    end = time.monotonic() + 60
    while True:
        try:
            after = nearest(store)
            break
        except EngineError:
            assert time.monotonic() < end
            time.sleep(0.5)
    assert after == before
    store.close()


@pytest.mark.full
def test_picture_of_another_machine_stays_where_it_is_when_this_one_indexes_a_copy(place, tmp_path):
    contents = b"the bytes of a picture"
    here = tmp_path / "here.jpg"
    here.write_bytes(contents)
    look = FileLook(len(contents), 5, None)
    there = replace(picture(b"/on/another/machine.jpg"), look=look, content_hash=sha256(contents).digest())
    with place.writer() as store:
        store.commit(Changes(stored=[there]))
        plan = make_plan(store, [os.fsencode(tmp_path)])
        assert plan.moved == []
        assert [file.path for file in plan.to_embed] == [os.fsencode(here)]
        store.remove_images([store.image_at(there.path).image_id])


@pytest.mark.full
def test_more_bad_files_than_one_message_holds_are_kept_and_said(made):
    place = made("many_bad")
    bad = [RejectedFile(b"/bad/%d.jpg" % n, FileLook(1, 2, 3), "corrupt", "x" * 8_000) for n in range(9_000)]
    with place.writer(create=SETTINGS) as store:
        store.commit(Changes(rejected=bad))
        assert [file.path for file in store.bad_pictures()] == sorted(file.path.decode() for file in bad)
        assert {file.path for file in store.bad_files(b"/bad")} == {file.path for file in bad}
        assert [file.path for file in store.bad_files(b"/bad/7.jpg")] == [b"/bad/7.jpg"]
        store.commit(Changes(forgotten=[file.path for file in bad]))
        assert store.bad_pictures() == []


@pytest.mark.full
def test_pictures_that_take_the_places_of_one_another_are_all_kept_however_many_are_written_at_once(
    place, monkeypatch
):
    monkeypatch.setattr(milvus_writer, "_ROWS", 1)
    look = FileLook(1, 2, 3)
    with place.writer() as store:
        before = {file.path: file for file in store.files_at([each.path for each in FIVE])}
        assert len(before) == 5
        paths = sorted(before)
        moves = dict(zip(paths, [*paths[1:], paths[0]], strict=True))
        touched = [TouchedFile(before[old].image_id, new, look) for old, new in moves.items()]
        store.commit(Changes(touched=touched))
        after = {file.path: file for file in store.known_files(b"/")}
        assert {new: before[old].image_id for old, new in moves.items()} == {
            path: file.image_id for path, file in after.items()
        }
