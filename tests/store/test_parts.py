"""PARTS in the catalog: with their pictures and for copies, as rows, published, and against plain arithmetic."""

from __future__ import annotations

import os

import numpy as np
import pytest

from mmsearch.images.windows import PART_WINDOWS
from mmsearch.records import BOX_STEPS, PartsFacts, parts_layout
from mmsearch.store import channel_index, part_items
from mmsearch.store import parts as parts_module
from mmsearch.store.changes import Changes, TouchedFile
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from mmsearch.store.parts import PART_CELLS, PARTS
from mmsearch.store.publish import current
from tests.conftest import random_units
from tests.faults.stand_in import finds_all_at_once
from tests.store.test_backup import backed_up, restored
from tests.store.test_store import DIM, META, file, flip

NO_PARTS = {"epoch": 0, "n_rows": 0}
ASKED = random_units(6, DIM, seed=9)


def packed(n, seed):
    """The bytes of n parts with random vectors, the first windows in turn."""
    parts = np.zeros(n, parts_layout(DIM))
    parts["box"] = np.rint(np.array(PART_WINDOWS[:n]).reshape(-1, 4) * BOX_STEPS)
    parts["scale"] = 1 / 127
    parts["vector"] = np.rint(127 * random_units(n, DIM, seed)) if n else 0
    return parts.tobytes()


def picture(i, n_parts=None, **options):
    parts = None if n_parts is None else packed(n_parts, seed=i)
    return file(i, random_units(1, DIM, seed=1000 + i)[0], parts=parts, **options)


def add(store, *files):
    """Store pictures, and return their ids."""
    store.commit(Changes(stored=list(files)))
    return [store.image_at(each.path).image_id for each in files]


def kept(store):
    """The parts by the ids of their pictures, as they were given."""
    sql = "SELECT image, vector FROM item JOIN channel ON channel.id = channel WHERE name = 'parts'"
    rows, parts_of, layout = (
        store.parts._rows(store.parts._kept_facts()[1] or NO_PARTS),
        {},
        parts_layout(store.dim),
    )
    for image_id, data in store.catalog.db.execute(sql):
        item = part_items.PartsItem.of(data)
        parts = np.zeros(len(item.boxes), layout)
        parts["box"], parts["scale"] = item.boxes["box"], item.boxes["scale"]
        parts["vector"] = rows[item.row : item.row + len(parts)]
        parts_of[image_id] = parts.tobytes()
    return parts_of


def nearest(parts_of, query):
    """(cosine, picture) of all parts, best first, by plain arithmetic."""
    ranked = []
    for image_id, data in parts_of.items():
        vectors = np.frombuffer(data, parts_layout(DIM))["vector"].astype(np.float64)
        cosines = vectors @ query / np.linalg.norm(vectors, axis=1)
        ranked += [(float(cosine), image_id) for cosine in cosines]
    return sorted(ranked, reverse=True)


def assert_answers(reader, parts_of):
    """Every way of asking for parts gives what plain arithmetic gives."""
    with reader.reading():
        near = reader.parts.near()
        assert near.n_parts == sum(len(data) for data in parts_of.values()) // parts_layout(DIM).itemsize
        for k in (1, 7, 500):
            for query, (cosines, ids) in zip(ASKED, near.search(ASKED, k), strict=True):
                expected = nearest(parts_of, query)[:k]
                assert ids.tolist() == [image_id for _, image_id in expected]
                assert cosines.tolist() == pytest.approx([cosine for cosine, _ in expected], abs=1e-9)
        for query in ASKED:
            expected = {}
            for cosine, image_id in nearest(parts_of, query):
                expected.setdefault(image_id, cosine)
            asked = np.array([*expected, 999], dtype=np.int64)
            assert near.best(query, asked).tolist() == pytest.approx([*expected.values(), -np.inf], abs=1e-9)
            found = reader.parts.nearest(query, asked.tolist())
            assert {image_id: part.cosine for image_id, part in found.items()} == pytest.approx(expected, abs=1e-9)
            ids, rough = near.rough_best(query)
            assert ids.tolist() == sorted(expected)
            assert dict(zip(ids.tolist(), rough.tolist(), strict=True)) == pytest.approx(expected, abs=2e-5)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A library that keeps four parts a picture, and publishes all of them at once."""
    monkeypatch.setattr(parts_module, "_LEAST", 0)
    with Store.writer(tmp_path / "library", create=META) as writer:
        writer.parts.keep_most(4)
        yield writer


def settle(store):
    store.parts.settle(lambda: random_units(8, DIM, seed=1))


@pytest.fixture
def with_cells(store, monkeypatch):
    """Parts have cells from four rows on, which find all of so few."""
    monkeypatch.setattr(channel_index, "measured_efforts", lambda *args, worth: finds_all_at_once(*args))
    store.indexes.keep(GraphSettings(graph_from=4, recall_target=0.5, tail_share=0.5))


# -- what comes and leaves ------------------------------------------------------------------------------


def test_pictures_come_and_leave_with_their_parts(store):
    one, two, _ = add(store, picture(1, 3), picture(2, 0), picture(3))
    assert kept(store) == {one: packed(3, 1), two: b""}
    assert store.parts.facts() == PartsFacts(4, 2, 3, 1)
    assert store.parts.missing() == [(b"/photos/3.jpg", b"%032d" % 3)]
    store.remove_images([one])
    assert kept(store) == {two: b""}


def test_a_library_without_parts_keeps_none_and_lacks_none(tmp_path):
    with Store.writer(tmp_path, create=META) as store:
        (one,) = add(store, picture(1, 3))
        settle(store)
        assert (kept(store), store.parts.most, store.parts.facts()) == ({}, 0, None)
        assert (store.parts.near(), store.parts.missing(), store.parts.of([one])) == (None, [], {})


def test_a_copy_takes_the_parts_that_its_contents_have_and_a_moved_picture_keeps_its_own(store):
    one, copy = add(store, picture(1, 3), picture(1, path=b"/photos/copy.jpg"))
    assert kept(store) == {one: packed(3, 1), copy: packed(3, 1)}
    look = next(known.look for known in store.known_files(b"/") if known.image_id == one)
    store.commit(Changes(touched=[TouchedFile(one, b"/photos/moved.jpg", look)]))
    assert (kept(store)[one], store.parts.missing()) == (packed(3, 1), [])


def test_contents_that_change_bring_their_own_parts_or_none(store):
    path = b"/photos/1.jpg"
    (one,) = add(store, picture(1, 3))
    (two,) = add(store, picture(2, 2, path=path))
    assert (kept(store), one != two) == ({two: packed(2, 2)}, True)
    add(store, picture(3, path=path))
    assert kept(store) == {}
    assert store.parts.missing() == [(path, b"%032d" % 3)]
    store.parts.keep({b"%032d" % 3: packed(4, 3), b"nobody has these contents": packed(1, 1)})
    assert [*kept(store).values()] == [packed(4, 3)]


def test_parts_of_another_number_or_encoder_are_forgotten_and_those_of_the_same_stay(store):
    add(store, picture(1, 3), picture(2, 0))
    settle(store)
    assert store.parts.keep_most(4) == 0
    assert len(kept(store)) == 2
    assert store.parts.keep_most(13) == 2
    assert (kept(store), len(store.parts.missing())) == ({}, 2)
    assert_answers(Store.open(store.folder), {})
    add(store, picture(1, 2))
    store.keep({"fingerprint": "e" * 64})
    assert (len(store.parts.missing()), Store.open(store.folder).parts.near()) == (2, None)
    assert store.parts.keep_most(13) == 1
    assert store.parts.keep_most(0) == 0
    settle(store)
    assert (current(store.files, PARTS), store.parts.near()) == (None, None)


class Stopped(Exception):
    """Raised by a test in the middle of a change."""


def test_a_change_that_is_interrupted_changes_nothing(store, monkeypatch):
    add(store, picture(1, 3), picture(2, 4), picture(3))
    before, keep, forget = kept(store), parts_module.keep_parts, parts_module.forget_parts

    def stop_after(real):
        def stopped(*arguments):
            real(*arguments)
            raise Stopped

        return stopped

    monkeypatch.setattr(parts_module, "forget_parts", stop_after(forget))
    monkeypatch.setattr(parts_module, "keep_parts", stop_after(keep))
    for change in (lambda: store.parts.keep_most(13), lambda: store.parts.keep({b"%032d" % 3: packed(1, 3)})):
        with pytest.raises(Stopped):
            change()
        assert (kept(store), store.parts.most, len(store.parts.missing())) == (before, 4, 1)
    assert_answers(Store.open(store.folder), before)


def test_a_backup_brings_parts_back(store, with_cells, tmp_path):
    parts_of = filled(store)
    settle(store)
    backed_up(store.folder, tmp_path / "kept" / "backup")
    restored(tmp_path / "kept" / "backup", tmp_path / "again")
    with Store.writer(tmp_path / "again") as again:
        assert ({i: data for i, data in kept(again).items() if data}, again.parts.most) == (parts_of, 4)
        assert_answers(again, parts_of)
        settle(again)
        assert_answers(Store.open(again.folder), parts_of)
        assert current(again.files, PART_CELLS) is not None
        assert again.parts.problems() == {}


def test_a_backup_without_pictures_keeps_how_many_parts_they_have_once_they_are_back(store, tmp_path):
    filled(store)
    backed_up(store.folder, tmp_path / "kept" / "backup", with_vectors=False)
    restored(tmp_path / "kept" / "backup", tmp_path / "again")
    with Store.writer(tmp_path / "again") as again:
        assert (kept(again), again.parts.most, again.parts.keep_most(4)) == ({}, 4, 0)
        (one,) = add(again, picture(1, 3))
        assert kept(again) == {one: packed(3, 1)}


def test_parts_that_are_all_forgotten_but_still_wanted_are_backed_up_as_none_and_can_be_given_up(store, tmp_path):
    with store.catalog.writing():
        part_items.forget_parts(store.catalog.db)  # as vectors of another encoder leave a library
    assert (store.parts.most, store.parts.rows().shape) == (4, (0, DIM))
    backed_up(store.folder, tmp_path / "kept" / "backup")
    restored(tmp_path / "kept" / "backup", tmp_path / "again")
    with Store.writer(tmp_path / "again") as again:
        assert (again.parts.keep_most(0), again.parts.most) == (0, 0)


@pytest.mark.parametrize("facts", ["{", "[1]", "7"])
def test_parts_of_which_nothing_is_known_any_more_are_none_and_all_are_made_again(store, facts):
    add(store, picture(1, 3))
    with store.catalog.writing():
        store.catalog.db.execute("UPDATE channel SET facts = ? WHERE name = 'parts'", (facts,))
    assert (store.parts.near(), len(store.parts.missing())) == (None, 1)
    add(store, picture(2, 3))
    assert len(store.parts.missing()) == 2
    assert store.parts.keep_most(4) == 1
    store.parts.keep({b"%032d" % 1: packed(3, 1)})
    assert_answers(Store.open(store.folder), {1: packed(3, 1)})


def test_boxes_of_parts_are_told_in_shares_of_the_sides(store):
    one, two, three = add(store, picture(1, 2), picture(2, 0), picture(3))
    boxes = store.parts.of([one, two, three, 99])
    assert (boxes.keys(), boxes[two].boxes) == ({one, two}, [])
    np.testing.assert_allclose(boxes[one].boxes, PART_WINDOWS[:2], atol=0.5 / BOX_STEPS)


# -- published ------------------------------------------------------------------------------------------


def filled(store, n=12):
    add(store, *(picture(i, i % 5) for i in range(1, n + 1)))
    return {image_id: data for image_id, data in kept(store).items() if data}


@pytest.mark.parametrize("cells", [False, True])
def test_answers_are_the_same_from_the_catalog_and_from_what_is_published(store, cells, request):
    if cells:
        request.getfixturevalue("with_cells")
    parts_of = filled(store)
    assert_answers(Store.open(store.folder), parts_of)
    settle(store)
    assert (store.sidecar(PARTS)["last"], current(store.files, PART_CELLS) is not None) == (12, cells)
    reader = Store.open(store.folder)
    near = reader.parts.near()
    assert near._published._cells is None or cells
    assert_answers(reader, parts_of)
    add(store, picture(20, 4), picture(21, 0))
    store.remove_images([7])
    parts_of = {image_id: data for image_id, data in kept(store).items() if data}
    assert_answers(reader, parts_of)
    assert reader.parts.near() is not near
    settle(store)
    assert store.sidecar(PARTS)["last"] == 14
    assert_answers(reader, parts_of)
    assert_answers(Store.open(store.folder), parts_of)


def test_answer_is_the_same_object_until_a_part_changes(store):
    filled(store)
    settle(store)
    reader = Store.open(store.folder)
    near = reader.parts.near()
    store.keep({"exclude": ["*.tmp"]})
    add(store, file(30, random_units(1, DIM, seed=30)[0]))
    assert reader.parts.near() is near
    store.remove_images([3])
    assert reader.parts.near() is not near


def test_few_new_parts_are_not_worth_publishing(store, monkeypatch):
    filled(store)
    monkeypatch.setattr(parts_module, "_LEAST", 12)
    settle(store)
    assert current(store.files, PARTS) is None
    add(store, picture(20, 1))
    settle(store)
    assert store.sidecar(PARTS)["last"] == 13
    store.remove_images(range(1, 13))
    settle(store)
    assert store.sidecar(PARTS)["last"] == 13
    store.remove_images([13])
    settle(store)
    assert_answers(store, {})


def test_who_reads_a_state_of_before_misses_no_part_that_has_gone_since_in_what_was_published(store):
    parts_of = filled(store)
    reader = Store.open(store.folder)
    with reader.reading():
        assert reader.n_pictures == 12
        store.remove_images([3])
        settle(store)
        assert_answers(reader, parts_of)
    assert_answers(reader, {image_id: data for image_id, data in parts_of.items() if image_id != 3})


def test_vectors_of_pictures_that_left_are_given_up_once_they_are_many_and_a_reader_begins_again(store, with_cells):
    parts_of = filled(store)
    settle(store)
    reader, before = Store.open(store.folder), store.parts.path
    assert_answers(reader, parts_of)
    other, states = Store.open(store.folder), []

    def read():
        states.append(other.parts.n_rows)
        if len(states) == 1:
            store.remove_images([3, 4, 9])
            settle(store)
        return other.parts.near().n_parts

    assert other.consistently(read) == 12
    assert states == [23, 12]
    assert (store.parts.n_rows, before.exists(), store.parts.path.stat().st_size) == (12, False, 12 * DIM)
    expected = {image_id: data for image_id, data in parts_of.items() if image_id not in (3, 4, 9)}
    for asked in (reader, Store.open(store.folder), store):
        assert_answers(asked, expected)
    assert store.verify().faults == ()


@pytest.mark.parametrize("is_published", [False, True])
def test_fewer_parts_are_the_first_of_those_that_are_there(store, with_cells, is_published):
    parts_of = filled(store)
    assert store.parts.keep_most(13) == 12
    ids = add(store, *(picture(i, i % 10) for i in range(20, 34)))
    if is_published:
        settle(store)
    before = kept(store)
    reader = Store.open(store.folder)
    assert_answers(reader, {i: data for i, data in before.items() if data})
    assert (store.parts.keep_most(4), store.parts.most) == (0, 4)
    size = parts_layout(DIM).itemsize
    assert kept(store) == {i: data[: 4 * size] for i, data in before.items()}
    assert kept(store).keys() == set(ids) != parts_of.keys()
    for asked in (reader, Store.open(store.folder)):
        assert_answers(asked, {i: data for i, data in kept(store).items() if data})
    settle(store)
    assert_answers(reader, {i: data for i, data in kept(store).items() if data})
    assert store.verify().faults == ()


def test_copies_share_the_vectors_of_their_parts_and_each_answers(store, with_cells):
    one, copy, two = add(store, picture(1, 4), picture(1, path=b"/photos/copy.jpg"), picture(2, 3))
    assert store.parts.n_rows == 7
    for _ in range(2):
        near = Store.open(store.folder).parts.near()
        assert near.n_parts == 7
        for query, (cosines, ids) in zip(ASKED, near.search(ASKED, 7), strict=True):
            expected = sorted((-cosine, image) for cosine, image in nearest(kept(store), query))
            assert [*zip((-cosines).round(9).tolist(), ids.tolist(), strict=True)] == [
                (round(cosine, 9), image) for cosine, image in expected
            ]
            best = near.best(query, np.array([one, copy, two]))
            assert best[0] == best[1] != best[2]
        settle(store)
    store.remove_images([one])
    assert_answers(store, {i: data for i, data in kept(store).items() if data})


# -- damage ---------------------------------------------------------------------------------------------


def test_a_part_that_differs_from_its_checksum_answers_nothing_and_is_made_again_after_a_repair(store, with_cells):
    parts_of = filled(store)
    for is_published in (False, True):
        if is_published:
            settle(store)
        with store.catalog.writing():
            store.catalog.db.execute("UPDATE item SET vector = zeroblob(length(vector)) WHERE image = 4")
        # What is published says of it where its vectors are.
        expected = {i: data for i, data in parts_of.items() if i != 4 or is_published}
        assert Store.open(store.folder).parts.near().n_parts == sum(map(len, expected.values())) // 20
        assert store.parts.missing() == []
        assert "1 further vectors differ from their checksums" in store.verify(is_repair=True).problems[0]
        assert store.verify().faults == ()
        assert store.parts.missing() == [(b"/photos/4.jpg", b"%032d" % 4)]
        store.parts.keep({b"%032d" % 4: packed(4, 4)})
        settle(store)
        assert_answers(Store.open(store.folder), parts_of)


@pytest.mark.parametrize("is_published", [False, True])
@pytest.mark.parametrize("manner", ["flipped", "cut", "lost"])
def test_vectors_of_parts_that_are_damaged_are_named_and_made_again(store, with_cells, manner, is_published):
    parts_of = filled(store)
    if is_published:
        settle(store)
    path = store.parts.path
    if manner == "flipped":
        flip(path, 5 * DIM)  # of the fourth picture's first: one, two and three have 1 + 2 + 3
        damaged = {3}
    else:
        os.truncate(path, 20 * DIM + 3) if manner == "cut" else path.unlink()
        damaged = {11, 12} & parts_of.keys() if manner == "cut" else parts_of.keys()
    reader = Store.open(store.folder)
    if manner != "flipped":
        assert_answers(reader, {i: data for i, data in parts_of.items() if i not in damaged})
    assert not damaged & reader.parts.nearest(ASKED[0], [*parts_of]).keys()
    said = f"the parts of {len(damaged)} pictures differ from their checksums, or are lost"
    assert [fault.what for fault in store.verify().faults if fault.code == "damaged_parts"] == [said]
    if manner == "flipped":
        store.verify(is_repair=True)
    else:
        assert store.parts.give_up_lost() == len(damaged)
    assert {int(missing.content_hash) for missing in store.parts.missing()} == damaged
    store.parts.keep({b"%032d" % i: parts_of[i] for i in damaged})
    assert store.verify().faults == ()
    assert {i: data for i, data in kept(store).items() if data} == parts_of
    assert_answers(reader, parts_of)
    settle(store)
    assert_answers(Store.open(store.folder), parts_of)


@pytest.mark.parametrize("rewrite", [settle, lambda store: store.parts.keep_most(3)], ids=["settle", "fewer"])
def test_vectors_that_are_damaged_are_not_taken_along_as_whole_and_are_made_again(store, rewrite):
    parts_of = filled(store)
    flip(store.parts.path, 5 * DIM)  # of the third picture
    store.remove_images([4, 9, 12])
    before = store.parts.path
    rewrite(store)
    assert store.parts.path != before
    assert 3 not in kept(store)
    assert store.parts.missing() == [(b"/photos/3.jpg", b"%032d" % 3)]
    assert kept(store).keys() >= parts_of.keys() - {3, 4, 9, 12}
    assert store.verify().faults == ()


def test_cells_are_made_of_what_is_whole(store, with_cells):
    parts_of = filled(store)
    with store.catalog.writing():
        store.catalog.db.execute("UPDATE item SET vector = x'00' WHERE image = 4")
    settle(store)
    assert current(store.files, PART_CELLS) is not None
    assert_answers(Store.open(store.folder), {i: data for i, data in parts_of.items() if i != 4})


@pytest.mark.parametrize("kind", ["parts", "partcells"])
@pytest.mark.parametrize("manner", ["flipped", "cut", "lost"])
def test_what_is_published_and_damaged_is_named_and_read_from_the_catalog_until_it_is_made_again(
    store, with_cells, kind, manner
):
    parts_of = filled(store)
    settle(store)
    open_before = Store.open(store.folder)
    assert_answers(open_before, parts_of)
    (path,) = store.folder.glob(f"{kind}-*.bin")
    if manner == "flipped":
        flip(path, path.stat().st_size - 20)
    elif manner == "cut":
        os.truncate(path, 9)
    else:
        path.unlink()
    assert list(store.parts.problems()) == [kind]
    assert_answers(open_before, parts_of)
    assert_answers(Store.open(store.folder), parts_of)
    report = store.verify(is_repair=True)
    assert any(f"the index `{kind}` cannot be used" in problem for problem in report.problems)
    settle(store)
    assert (store.verify().faults, store.parts.problems()) == ((), {})
    assert {each.name for each in store.folder.glob("part*.bin")} >= {f"{current(store.files, PARTS)}.bin"}
    reader = Store.open(store.folder)
    assert_answers(reader, parts_of)
    assert reader.parts.near()._published._cells is not None
