"""Loading shards: a library that answers as the one they came from, whatever else lies among them."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmsearch import GraphSettings, Library, Query
from mmsearch.errors import EncoderError, FingerprintError, ShardError
from mmsearch.shards.format import ShardFacts
from mmsearch.shards.read import Shard
from mmsearch.store.folder import Store
from tests.conftest import random_units
from tests.shards.shards import STRANGE, bits, changed_shard, picture, write_shards
from tests.shards.test_clip_retrieval import write_part

SHARD = "shard-00000.parquet"


@pytest.fixture(scope="module")
def facts(tiny_folder):
    """Of the tiny encoder."""
    from mmsearch.encoders.onnx import OnnxEncoder

    return ShardFacts.of(OnnxEncoder.open(tiny_folder))


@pytest.fixture(scope="module")
def exported_once(indexed_once, cache, tmp_path_factory):
    """The shards of the eight photographs."""
    folder = tmp_path_factory.mktemp("exported") / "shards"
    with Library.open(indexed_once / "library", cache=cache) as library:
        library.export(folder)
    return folder


@pytest.fixture
def exported(exported_once, tmp_path):
    """A copy of them that may be changed."""
    return shutil.copytree(exported_once, tmp_path / "shards")


def numbered(number, **fields):
    """A picture with a vector as wide as those of the tiny encoder."""
    return picture(number, random_units(1, 32, number)[0], **fields)


def many(n):
    """So many of them."""
    return [picture(number, vector) for number, vector in enumerate(random_units(n, 32))]


def counts(report):
    return report.new, report.changed, report.unchanged, len(report.bad)


def contents(library):
    """All that a library knows of its pictures, with the bits of their vectors, by path."""
    store = Store.open(library.folder)
    try:
        files = [file for _, file in store.stored_files(0, 1000)]
        return {file.path: (bits(file.vector), replace(file, row=-1, vector=None)) for file in files}
    finally:
        store.close()


def test_a_loaded_library_answers_as_the_one_that_was_exported(library, exported, indexed_once, tmp_path, cache):
    assert counts(library.load(exported)) == (8, 0, 0, 0)
    shutil.copytree(indexed_once / "library", tmp_path / "source")  # a search is remembered
    with Library.open(tmp_path / "source", cache=cache) as source:
        assert contents(library) == contents(source)
        for query in (Query(text="a cat"), Query(images=[indexed_once / "photos" / "cat.jpg"])):
            # What is written beside pictures is read where their files are.
            hits, expected = (asked.search(query, rerank="none", words="none").hits for asked in (library, source))
            assert [(hit.path, hit.score) for hit in hits] == [(hit.path, hit.score) for hit in expected]
    assert library.verify().problems == ()


def test_a_second_load_changes_nothing(library, exported):
    library.load(exported)
    before, revision = contents(library), library.reader().revision
    assert counts(library.load(exported)) == (0, 0, 8, 0)
    assert contents(library) == before
    assert library.reader().revision == revision


def test_index_leaves_loaded_pictures_alone_where_their_files_are_as_they_were(library, exported, indexed_once):
    library.load(exported)
    report = library.index([indexed_once / "photos"], local=False)
    assert (report.new, report.changed, report.unchanged) == (0, 0, 8)


def test_pictures_whose_files_are_elsewhere_are_found_and_marked_as_missing(library, facts, tmp_path):
    library.load(write_shards(tmp_path / "shards", [numbered(0, path=STRANGE), numbered(1)], facts=facts))
    hits = library.search("a cat").hits
    assert {os.fsencode(hit.path) for hit in hits} == {STRANGE, b"/photos/1.jpg"}
    assert all(hit.is_missing for hit in hits)


def test_a_load_adds_to_what_is_in_the_library(indexed, facts, tmp_path):
    shards = write_shards(tmp_path / "shards", [numbered(i) for i in range(3)], facts=facts)
    assert counts(indexed.load(shards)) == (3, 0, 0, 0)
    assert indexed.status().n_images == 11


def test_a_graph_is_built_over_loaded_vectors_too(indexed, photos, facts, tmp_path):
    indexed.index([photos], settings=GraphSettings(graph_from=4, recall_target=0.5))
    shards = write_shards(tmp_path / "shards", many(30), facts=facts)
    assert indexed.load(shards).new == 30
    assert indexed.status().n_in_graph == 38


def test_a_path_with_other_contents_gets_those_of_the_shard_and_a_new_id(library, facts, tmp_path):
    library.load(write_shards(tmp_path / "first", [numbered(0), numbered(1)], facts=facts))
    before = {image.path: image.image_id for image in library.pictures().pictures}
    changed = numbered(7, path=b"/photos/0.jpg")
    assert counts(library.load(write_shards(tmp_path / "second", [changed], facts=facts))) == (0, 1, 0, 0)
    assert contents(library)[b"/photos/0.jpg"][0] == bits(changed.vector)
    after = {image.path: image.image_id for image in library.pictures().pictures}
    assert after["/photos/1.jpg"] == before["/photos/1.jpg"]
    assert after["/photos/0.jpg"] not in before.values()


@pytest.mark.parametrize(("reading", "expected"), [(1, (0, 0, 1, 0)), (2, (0, 0, 1, 0)), (3, (0, 1, 0, 0))])
def test_a_picture_read_in_a_newer_way_replaces_one_of_before_and_never_the_reverse(
    library, facts, tmp_path, reading, expected
):
    library.load(write_shards(tmp_path / "first", [numbered(0, reading=2)], facts=facts))
    again = write_shards(tmp_path / "second", [numbered(0, reading=reading)], facts=facts)
    assert counts(library.load(again)) == expected


def test_the_last_row_of_a_path_counts_and_a_second_load_still_changes_nothing(library, facts, tmp_path):
    shards = write_shards(tmp_path / "shards", [numbered(0), numbered(1)], facts=facts)
    write_shards(shards, [numbered(5, path=b"/photos/0.jpg"), numbered(6, path=b"/photos/0.jpg")], facts=facts)
    assert counts(library.load(shards)) == (2, 0, 0, 0)
    assert contents(library)[b"/photos/0.jpg"][0] == bits(numbered(6).vector)
    assert counts(library.load(shards)) == (0, 0, 2, 0)


def test_progress_tells_of_rows_that_are_stored(library, facts, tmp_path):
    told = []

    def on_progress(stage, done, total):
        if stage == "load":
            told.append((done, total, library.status().n_images))

    shards = write_shards(tmp_path / "shards", many(2500), facts=facts)
    library.load(shards, on_progress=on_progress)
    assert told == [(2048, 2500, 2048), (2500, 2500, 2500)]


# -- what cannot be used -----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_row_without_a_direction_is_named_and_the_others_are_loaded(library, exported, value):
    changed_shard(exported / SHARD, vector=[value] * 32)
    report = library.load(exported)
    assert counts(report) == (7, 0, 0, 1)
    (bad,) = report.bad
    assert bad.path.endswith(".jpg")
    assert bad.message == (
        f"row 1 of {exported / SHARD} cannot be used: its vector is zero or not finite, so that it has no direction"
    )


def test_a_bad_shard_is_named_and_the_others_are_loaded(library, exported, facts):
    other = replace(facts, fingerprint="e" * 64)
    whole = (exported / SHARD).read_bytes()
    (exported / "shard-00001.parquet").write_bytes(whole[:-100])
    (exported / "shard-00002.parquet").write_bytes(b"something else")
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 1
    (exported / "shard-00003.parquet").write_bytes(damaged)
    shutil.move(
        write_shards(exported / "other", [numbered(0)], facts=other) / SHARD, exported / "shard-00004.parquet"
    )
    report = library.load(exported)
    assert counts(report) == (8, 0, 0, 4)
    bad = {Path(bad.path).name: (bad.code, bad.message) for bad in report.bad}
    assert {name: code for name, (code, _) in bad.items()} == {
        "shard-00001.parquet": "truncated", "shard-00002.parquet": "unsupported",
        "shard-00003.parquet": "corrupt", "shard-00004.parquet": "unsupported",
    }  # fmt: skip
    for name, (_, message) in bad.items():
        assert str(exported / name) in message
    assert "vectors of two encoders cannot be compared" in bad["shard-00004.parquet"][1]


def test_nothing_of_a_shard_is_taken_that_is_damaged_further_on(library, facts, tmp_path):
    pictures = many(3000)
    shards = write_shards(tmp_path / "shards", pictures, facts=facts)
    write_shards(shards, [numbered(5000)], facts=facts)
    pages = {"data_page_size": 4096, "compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(pq.read_table(shards / SHARD), shards / SHARD, **pages)
    data = bytearray((shards / SHARD).read_bytes())
    data[data.rindex(bits(pictures[2900].vector))] ^= 1
    (shards / SHARD).write_bytes(data)
    assert counts(library.load(shards)) == (1, 0, 0, 1)


@pytest.mark.parametrize(("place", "message"), [(-1, "ends too soon"), (0.3, "is damaged")])
def test_a_folder_of_which_no_shard_can_be_used_makes_no_library(library, exported, place, message):
    data = bytearray((exported / SHARD).read_bytes())
    data[round(place * len(data)) if place > 0 else place] ^= 1
    (exported / SHARD).write_bytes(data)
    with pytest.raises(ShardError, match=rf"{message}.*; nothing was loaded"):
        library.load(exported)
    assert not library.folder.exists()


@pytest.mark.parametrize(("n", "said"), [(1, "00000.*again; nothing"), (2, "00000.*, and so with 1 more; nothing")])
def test_of_shards_that_cannot_be_used_one_is_told_of_and_how_many_more(library, exported, n, said):
    (exported / SHARD).unlink()
    for number in range(n):
        (exported / f"shard-{number:05}.parquet").write_bytes(b"PAR1")
    with pytest.raises(ShardError, match=said):
        library.load(exported)


@pytest.mark.parametrize("name", ["photos", "missing"])
def test_a_folder_without_shards_is_a_sentence(library, photos, tmp_path, name):
    with pytest.raises(
        ShardError, match=r"holds no shards; expected files such as|no folder of shards can be read"
    ):
        library.load(tmp_path / name)
    assert not library.folder.exists()


def test_shards_of_another_encoder_than_the_library_s_are_refused(indexed, facts, tmp_path):
    shards = write_shards(tmp_path / "shards", [numbered(0)], facts=replace(facts, fingerprint="e" * 64))
    before = contents(indexed)
    with pytest.raises(FingerprintError, match=r"fingerprint eeeeeeeeeeee\), .*library goes by 32 dimensions"):
        indexed.load(shards)
    assert contents(indexed) == before


def test_a_model_of_that_name_that_is_another_one_here_is_refused(library, exported):
    changed_shard(exported / SHARD, {"fingerprint": "e" * 64})
    with pytest.raises(FingerprintError, match=r"on this machine, the shards hold vectors of .*; name the model"):
        library.load(exported)
    assert not library.folder.exists()


def test_a_model_that_is_not_here_can_be_given_under_its_name_here(library, exported, checkpoint):
    changed_shard(exported / SHARD, {"model": "/elsewhere/tiny"})
    with pytest.raises(
        EncoderError, match=r"vectors of /elsewhere/tiny: .*; if it has another name on this machine"
    ):
        library.load(exported)
    assert counts(library.load(exported, model=checkpoint)) == (8, 0, 0, 0)
    assert library.status().model == str(checkpoint)


def test_a_shard_as_wide_as_it_says_and_not_as_the_library_is_refused(indexed, facts, tmp_path):
    shards = write_shards(tmp_path / "shards", [picture(0)], facts=replace(facts, dim=8))
    with pytest.raises(FingerprintError, match=r"\(8 dimensions, .* goes by 32 dimensions"):
        indexed.load(shards)


def test_a_library_without_an_encoder_takes_no_shards(exported, tmp_path, cache):
    with Store.writer(tmp_path / "plain", create={"dim": 0, "fingerprint": "none", "model": "none"}) as store:
        from mmsearch.store.changes import Changes

        store.commit(Changes(stored=[replace(picture(0), vector=None)]))
    with Library.open(tmp_path / "plain", cache=cache) as plain, pytest.raises(FingerprintError, match="goes by"):
        plain.load(exported)


def test_vectors_that_were_lost_come_back_with_a_load(library, exported):
    library.load(exported)
    before = contents(library)
    library.close()
    os.truncate(library.folder / "vectors-0.f16", 3 * 64)
    report = library.load(exported)
    assert (report.given_up, report.new, report.unchanged) == (5, 5, 3)
    assert contents(library) == before


def test_shards_hold_the_rounded_vectors_of_the_library(exported, indexed_once, cache):
    with Library.open(indexed_once / "library", cache=cache) as library:
        stored = {path: vector for path, (vector, _) in contents(library).items()}
    rows = [row for rows in Shard.open(exported / SHARD).rows() for row in rows]
    assert {row.path: bits(row.vector) for row in rows} == stored
    assert all(np.abs(np.linalg.norm(row.vector) - 1) < 1e-3 for row in rows)


# -- what clip-retrieval wrote -------------------------------------------------------------------------


def foreign(folder, vectors, paths, number="0"):
    """Write vectors and paths as clip-retrieval does."""
    write_part(folder, np.asarray(vectors, np.float16), number, image_path=paths)
    return folder


def test_embeddings_that_clip_retrieval_wrote_move_in_and_index_leaves_them_alone(
    library, exported_once, photos, checkpoint, tmp_path
):
    rows = [row for rows in Shard.open(exported_once / SHARD).rows() for row in rows]
    names = {name.name: name for name in photos.rglob("*.jpg")}
    paths = [str(names[Path(os.fsdecode(row.path)).name].relative_to(photos)) for row in rows]
    emb = foreign(tmp_path / "emb", [row.vector for row in rows[:5]], paths[:5])
    foreign(emb, [3 * row.vector for row in rows[5:]], paths[5:], number="1")
    report = library.load(emb, model=checkpoint, images=photos)
    assert (counts(report), report.notices) == ((8, 0, 0, 0), ())
    assert counts(library.load(emb, model=checkpoint, images=photos)) == (0, 0, 8, 0)
    report = library.index([photos], local=False)
    assert (report.new, report.changed, report.unchanged) == (0, 0, 8)
    best = library.search(Query(images=[photos / "cat.jpg"])).hits[0]
    assert (Path(best.path).name, best.is_missing) == ("cat.jpg", False)
    assert library.verify().problems == ()


def test_of_embeddings_whose_files_are_elsewhere_the_contents_are_not_known_and_they_travel_on(
    library, checkpoint, facts, tmp_path, photos
):
    keys = ["000000001", "cat.jpg"]
    emb = foreign(tmp_path / "emb", random_units(2, 32), keys)
    report = library.load(emb, model=checkpoint)
    assert counts(report) == (2, 0, 0, 0)
    assert report.notices[0].startswith("the contents of 2 pictures are not known, as no file is at the path")
    assert counts(library.load(emb, model=checkpoint)) == (0, 0, 2, 0)
    assert {Path(hit.path) for hit in library.search("a cat").hits} == {emb / key for key in keys}
    library.export(tmp_path / "shards")
    with Library.open(tmp_path / "other", cache=library._installed.cache) as other:
        assert counts(other.load(tmp_path / "shards")) == (2, 0, 0, 0)
        assert contents(other) == contents(library)
    shutil.copy(photos / "cat.jpg", emb)
    report = library.index([emb], local=False)
    assert (report.changed, report.gone) == (1, 1)


def test_bad_rows_and_parts_of_embeddings_are_named_and_the_others_are_loaded(library, checkpoint, tmp_path):
    vectors = random_units(4, 32)
    vectors[1], vectors[2] = 0, np.nan
    emb = foreign(tmp_path / "emb", vectors, ["a", "b", "c", "d"])
    foreign(emb, vectors, ["a", "b", "c"], number="1")
    foreign(emb, vectors[:, :31], ["a", "b", "c", "d"], number="2")
    np.save(emb / "img_emb" / "img_emb_3.npy", np.array([{}]))
    report = library.load(emb, model=checkpoint)
    assert counts(report) == (2, 0, 0, 5)
    bad = [(Path(bad.path).name, bad.code) for bad in report.bad]
    assert bad == [
        ("img_emb_1.npy", "corrupt"), ("img_emb_2.npy", "unsupported"), ("img_emb_3.npy", "unsupported"),
        ("b", "corrupt"), ("c", "corrupt"),
    ]  # fmt: skip
    assert report.bad[3].message.startswith(
        f"row 2 of {emb}/img_emb/img_emb_0.npy cannot be used: its vector is zero"
    )


def test_embeddings_need_the_name_of_their_model_and_of_the_library_s(
    library, indexed, checkpoint, other_checkpoint, other_folder, tmp_path
):
    emb = foreign(tmp_path / "emb", random_units(2, 32), ["a", "b"])
    with pytest.raises(ShardError, match="do not say what made them; name the model with --model"):
        library.load(emb)
    with pytest.raises(FingerprintError, match="vectors of two encoders cannot be compared"):
        indexed.load(emb, model=other_checkpoint)
    with pytest.raises(ShardError, match=r"have 31 dimensions, those of .* have 32.*; nothing was loaded"):
        library.load(foreign(tmp_path / "narrow", random_units(2, 31), ["a", "b"]), model=checkpoint)
    assert counts(indexed.load(emb, model=checkpoint)) == (2, 0, 0, 0)
