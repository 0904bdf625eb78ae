"""Groups of faces in a library: what is decided of them stands, and a name finds pictures while it is given."""

from __future__ import annotations

import pytest

from mmsearch.annotations import Annotations, Kind
from mmsearch.errors import GroupNotFoundError, LibraryDamagedError, QueryError
from mmsearch.records import READING, FileLook
from mmsearch.store.changes import AnnotatedFile, Changes, StoredFile
from mmsearch.store.folder import Store
from tests.faces.packed import face, packed


@pytest.fixture
def store(tmp_path):
    """A library with five pictures: two of person 1, two of person 2, and one of both."""
    settings = {"dim": 0, "fingerprint": "f" * 64, "model": "any"}
    with Store.writer(tmp_path / "library", create=settings) as writer:
        writer.faces.want(True)
        add(writer, "/1a", face(1, 1))
        add(writer, "/1b", face(1, 2, size=150))
        add(writer, "/2a", face(2, 1))
        add(writer, "/2b", face(2, 2))
        add(writer, "/both", face(1, 3), face(2, 3))
        yield writer


def add(store, path, *faces, contents=None):
    """Store a picture with faces, and group them as `index` does."""
    known = contents or path
    file = StoredFile(
        path.encode(), FileLook(1, 2, 3), known.encode(), 1, 1, "JPEG", None, READING,
        annotations=Annotations(), faces=packed(*faces) if faces else None,
    )  # fmt: skip
    store.commit(Changes(stored=[file]))
    store.people.group(lambda *_: None)


def groups(store, **options):
    """The paths of the pictures of every group, by its number."""
    numbers = [person.group for person in store.people.all(**options)]
    return {
        number: sorted(shown.image.path for shown in store.people.faces_of(number)) for number in sorted(numbers)
    }


def ids(store, *paths):
    return [store.image_at(path.encode()).image_id for path in paths]


def answering(store, where):
    page = store.page([where], order="path", after=None, offset=0, limit=10)
    return [image.path for image in page.pictures]


def found_by(store, word):
    store.annotations.settle()
    image_ids = store.annotations.matches(word).image_ids.tolist()
    return sorted(image.path for image in store.images_of_ids(image_ids))


ONE, TWO = ["/1a", "/1b", "/both"], ["/2a", "/2b", "/both"]


def test_faces_of_a_person_are_one_group_with_the_best_of_them(store):
    assert groups(store) == {1: ONE, 2: TWO}
    best = store.people.all()[0].best
    assert (best.image.path, best.quality) == ("/1b", 0.4)
    assert best.box == pytest.approx((0.25, 0.125, 0.75, 0.5), abs=1e-4)


def test_a_picture_has_its_faces_with_whom_they_are_taken_for(store):
    store.people.name(1, "Anna")
    store.people.hide(2)
    (both,) = ids(store, "/both")
    seen = [(face.group, face.name, face.is_hidden) for face in store.people.in_picture(both)]
    assert seen == [(1, "Anna", False), (2, None, True)]
    assert store.people.in_picture(999) == []
    alone = StoredFile(b"/3", FileLook(1, 2, 3), b"3", 1, 1, "JPEG", None, READING, faces=packed(face(3)))
    store.commit(Changes(stored=[alone]))
    assert [face.group for face in store.people.in_picture(*ids(store, "/3"))] == [None]


def test_a_group_by_its_number_is_the_one_that_is_listed(store):
    assert [store.people.person(number) for number in (1, 2)] == store.people.all()


def test_a_name_answers_filters_and_words_and_goes_with_new_pictures_and_copies(store):
    store.people.name(1, " Anna  Karenina ")
    assert answering(store, "person = anna karenina") == ONE == found_by(store, "Karenina")
    add(store, "/1c", face(1, 4))
    add(store, "/copy", contents="/1a")
    assert answering(store, "person = Anna Karenina") == ["/1a", "/1b", "/1c", "/both", "/copy"]
    (person,) = (person for person in store.people.all() if person.name)
    assert (person.n_faces, person.n_pictures) == (4, 5)
    assert store.verify().problems == ()


def test_a_name_goes_when_it_is_taken_away_or_another_is_given(store):
    store.people.name(1, "Anna")
    store.people.name(1, "Berta")
    assert (found_by(store, "Anna"), found_by(store, "Berta")) == ([], ONE)
    store.people.name(1, None)
    assert found_by(store, "Berta") == []
    assert store.catalog.count("annotation") == 0


def test_what_files_say_is_read_anew_without_a_loss_of_names(store):
    store.people.name(1, "Anna")
    (image_id,) = ids(store, "/1a")
    store.commit(Changes(annotated=[AnnotatedFile(image_id, Annotations())]))
    assert [(said.kind, said.source, said.text) for said in store.annotations_of([image_id])[image_id]] == [
        (Kind.PERSON, "face", "Anna")
    ]


def test_groups_that_were_named_alike_stay_two_until_they_are_merged(store):
    store.people.name(1, "Anna")
    store.people.name(2, "Anna")
    add(store, "/1c", face(1, 4))
    assert len(groups(store)) == 2
    store.people.merge(2, [1])
    merged = {2: ["/1a", "/1b", "/1c", "/2a", "/2b", "/both", "/both"]}
    assert groups(store) == merged
    add(store, "/3", face(3))
    assert groups(store) == {**merged, 3: ["/3"]}


def test_a_merged_group_takes_the_name_of_another_if_it_has_none(store):
    store.people.name(2, "Berta")
    store.people.merge(1, [2])
    assert answering(store, "person = Berta") == ["/1a", "/1b", "/2a", "/2b", "/both"]


def test_faces_that_were_split_off_do_not_come_back_nor_do_their_copies(store):
    store.people.name(1, "Anna")
    new = store.people.split(1, ids(store, "/1b"))
    add(store, "/copy", contents="/1b")
    add(store, "/1c", face(1, 4))
    divided = groups(store)
    assert (divided[new][0], "/1b" in divided[1]) == ("/1b", False)
    assert store.people.all()[0].name == "Anna"
    assert "/copy" not in answering(store, "person = Anna")
    store.people.merge(1, [new])
    assert "/copy" in answering(store, "person = Anna")


def test_a_face_that_was_split_off_does_not_come_back_when_its_group_is_lost(store):
    store.people.split(1, ids(store, "/1b"))
    with store.catalog.writing():
        channel = "(SELECT id FROM channel WHERE name = 'people')"
        store.catalog.db.execute(f"DELETE FROM item WHERE channel = {channel} AND image = ?", ids(store, "/1b"))
    assert store.people.group(lambda *_: None) == 1
    assert groups(store) == {1: ["/1a", "/both"], 2: TWO, 4: ["/1b"]}


def split_while_a_copy_is_away(store):
    """Split a face off whose picture left while a copy stayed, and then remove that."""
    add(store, "/copy", contents="/1b")
    leave(store, "/1b")
    new = store.people.split(1, ids(store, "/copy"))
    store.remove_images(ids(store, "/copy"))
    return new


def test_a_face_that_was_split_off_stays_so_when_a_picture_comes_back_that_left_before(store):
    store.people.name(1, "Anna")
    new = split_while_a_copy_is_away(store)
    add(store, "/1b", face(1, 2))
    assert groups(store) == {1: ["/1a", "/both"], 2: TWO, new: ["/1b"]}


def test_a_face_that_was_split_off_stays_so_where_an_earlier_version_noted_its_old_group(store):
    split_while_a_copy_is_away(store)
    with store.catalog.writing():
        decisions = store.people._decisions()
        decisions.gone = [(b"/1b".hex(), 1, 1)]
        store.people._note(decisions)
    add(store, "/1b", face(1, 2))
    assert "/1b" not in groups(store)[1]


def leave(store, *paths):
    """Let `index` find that the files of pictures are gone."""
    store.commit(Changes(gone=ids(store, *paths)))


def test_a_named_group_whose_pictures_left_and_came_back_keeps_its_name(store):
    store.people.name(1, "Anna")
    store.people.merge(1, [2])
    leave(store, *ONE, "/2a", "/2b")
    assert groups(store) == {}
    for path, of in (("/1a", 1), ("/2b", 2)):
        add(store, path, face(of, 1))
    assert groups(store) == {1: ["/1a", "/2b"]}  # which are not alike, but were merged
    assert answering(store, "person = Anna") == ["/1a", "/2b"]
    assert store.verify().problems == ()


def test_of_a_group_that_was_forgotten_or_whose_pictures_were_removed_nothing_comes_back(store):
    store.people.name(1, "Anna")
    store.people.name(2, "Berta")
    leave(store, "/1a", "/2a")
    store.people.forget(1)
    store.remove_images(ids(store, "/2b", "/both"))
    assert [number for _, _, number in store.people._decisions().gone] == [2]
    for path, of in (("/1a", 1), ("/2b", 2)):
        add(store, path, face(of, 1))
    assert groups(store) == {3: ["/1a"], 4: ["/2b"]}
    leave(store, "/1a")
    store.people.forget(2)  # of which no picture is left
    assert (store.people.names(), store.people._decisions().gone) == ({}, [])
    with pytest.raises(QueryError, match="there is no group 2"):
        store.people.forget(2)


def test_the_name_of_a_group_goes_when_its_last_picture_is_removed_and_waits_for_those_that_left(store):
    store.people.name(1, "Anna")
    store.people.name(2, "Berta")
    leave(store, "/1a")
    assert store.people.names_without_faces() == {}
    store.remove_images(ids(store, "/1b", "/both"))
    assert store.people.names_without_faces() == {1: "Anna"}
    store.remove_images(ids(store, "/2a", "/2b"))
    assert store.people.names() == {1: "Anna"}
    store.people.forget(1)
    assert store.people.names() == {}


def test_decisions_of_an_earlier_version_are_read(store):
    store.people.name(1, "Anna")
    with store.catalog.writing():
        store.catalog.db.execute("UPDATE channel SET facts = json_remove(facts, '$.gone') WHERE name = 'people'")
    leave(store, "/1a")
    add(store, "/1a", face(1, 1))
    assert answering(store, "person = Anna") == ONE


def test_a_group_is_split_only_in_part(store):
    for paths, which in ((["/2a"], "none of the faces of group 1"), (ONE, "all faces of group 1")):
        with pytest.raises(QueryError, match=f"{which} are in these pictures; expected some"):
            store.people.split(1, ids(store, *paths))


def test_a_hidden_group_is_not_listed_and_still_named(store):
    store.people.name(2, "Berta")
    store.people.hide(2)
    assert (list(groups(store)), list(groups(store, with_hidden=True))) == ([1], [1, 2])
    assert answering(store, "person = Berta") == TWO
    store.people.hide(2, is_hidden=False)
    assert list(groups(store)) == [1, 2]


def test_a_forgotten_group_is_erased_and_its_pictures_are_not_looked_at_again(store):
    store.people.name(1, "Wilhelmina")
    assert store.people.forget(1) == 3
    assert groups(store) == {2: TWO}
    assert (store.faces.missing(), store.verify().problems) == ([], ())
    store.annotations.settle()
    kept = b"".join(path.read_bytes() for path in store.folder.rglob("*") if path.is_file())
    assert b"ilhelmina" not in kept
    assert face(1, 1).vector.tobytes()[:64] not in kept
    assert face(2, 1).vector.tobytes()[:64] in kept
    add(store, "/1c", face(1, 4))
    assert groups(store) == {2: TWO, 3: ["/1c"]}  # a number is not given twice


def test_a_grouping_that_is_ended_leaves_the_groups_of_before(store):
    def end(*_):
        raise KeyboardInterrupt

    store.people.name(1, "Anna")
    before = groups(store)
    add_only = StoredFile(
        b"/1c", FileLook(1, 2, 3), b"1c", 1, 1, "JPEG", None, READING, faces=packed(face(1, 4), face(3))
    )
    store.commit(Changes(stored=[add_only]))
    with pytest.raises(KeyboardInterrupt):
        store.people.group(end)
    assert groups(store) == before
    assert store.people.group(lambda *_: None) == 2
    assert groups(store)[1] == ["/1a", "/1b", "/1c", "/both"]


def test_damaged_decisions_are_not_taken_for_none(store):
    with store.catalog.writing():
        store.catalog.db.execute("UPDATE channel SET facts = substr(facts, 3) WHERE name = 'people'")
    with pytest.raises(LibraryDamagedError, match="what was decided of people is damaged; restore a backup"):
        store.people.name(1, "Anna")
    assert store.faces.want(False) == 6


def test_nothing_is_written_where_no_face_is_new(store):
    store.people.name(1, "Anna")
    before = store.revision
    assert store.people.group(lambda *_: None) == 0
    assert store.revision == before


@pytest.mark.parametrize(
    ("decide", "sentence"),
    [
        (lambda people: people.name(9, "Anna"), "there is no group 9 of faces; `mmsearch people list --all`"),
        (lambda people: people.name(-1, "Anna"), "there is no group -1 of faces"),
        (lambda people: people.name(1, " - "), "the name ' - ' has no letter and no digit"),
        (lambda people: people.name(1, "a" * 201), "a name of 201 characters; expected at most 200"),
        (lambda people: people.merge(1, [1]), "one group cannot be merged with itself"),
        (lambda people: people.forget(9), "there is no group 9 of faces"),
    ],
)
def test_what_cannot_be_decided_is_a_sentence_and_changes_nothing(store, decide, sentence):
    before = store.revision
    with pytest.raises(QueryError, match=sentence) as refused:
        decide(store.people)
    assert isinstance(refused.value, GroupNotFoundError) == ("there is no group" in sentence)
    assert (store.revision, groups(store)) == (before, {1: ONE, 2: TWO})
