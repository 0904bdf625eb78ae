from __future__ import annotations

from contextlib import closing

import pytest

from mmsearch.annotations import Annotation, Annotations, Kind
from mmsearch.errors import QueryError
from mmsearch.records import ANNOTATING, READING, FileLook
from mmsearch.store.changes import AnnotatedFile, Changes, RejectedFile, StoredFile, TouchedFile
from mmsearch.store.documents import USER
from mmsearch.store.folder import Store

DOG = Annotations(
    (
        Annotation(Kind.TAG, "xmp:dc:subject", "dog"),
        Annotation(Kind.CAPTION, "exif:ImageDescription", "A dog runs."),
    ),
    camera="Canon EOS R5",
    position=(48.85, 2.35),
)
CAT = Annotations((Annotation(Kind.TAG, "xmp:dc:subject", "cat"),))


@pytest.fixture
def store(tmp_path):
    with Store.writer(tmp_path / "library", create={"dim": 0, "fingerprint": "none", "model": "none"}) as writer:
        yield writer


def file(path, contents=None, annotations=None, **facts):
    look, content_hash = FileLook(1, 2, 3), (contents or path).ljust(32)[:32]
    return StoredFile(
        path, look, content_hash, 1, 1, "JPEG", None, READING, annotations=annotations, **facts
    )  # fmt: skip


def ids(store):
    return {known.path: known.image_id for known in store.known_files(b"/")}


def documents(store):
    sql = "SELECT path, text FROM document JOIN image ON image.id = document.image"
    return {path: text.split(" \ue000 ") for path, text in store.catalog.db.execute(sql)}


def typed(store):
    sql = "SELECT image, path, text FROM typed ORDER BY id"
    return store.catalog.db.execute(sql).fetchall()


def add(store, *files):
    store.commit(Changes(stored=list(files)))
    return [ids(store)[file.path] for file in files]


# -- what files say ------------------------------------------------------------------------------------------


def test_annotations_are_kept_with_their_picture_and_searched_as_one_document(store):
    (dog,) = add(store, file(b"/dog.jpg", annotations=DOG, beside=b"look"))
    assert store.annotations.of([dog]) == store.annotations_of([dog, 99]) == {dog: DOG.texts}
    assert documents(store) == {b"/dog.jpg": ["dog", "a dog runs"]}
    (known,) = store.known_files(b"/")
    assert (known.annotated, known.beside) == (ANNOTATING, b"look")
    facts = store.catalog.db.execute("SELECT camera, lens, latitude, longitude FROM image").fetchone()
    assert facts == ("Canon EOS R5", None, 48.85, 2.35)


def test_picture_without_annotations_is_known_to_have_none_read_and_has_no_document(store):
    (dog,) = add(store, file(b"/dog.jpg"))
    (known,) = store.known_files(b"/")
    assert (known.annotated, known.beside) == (0, None)
    assert store.annotations.of([dog]) == {}
    assert (store.annotations.is_empty, store.annotations.n_documents) == (True, 0)


def test_annotations_that_are_read_again_replace_those_of_before_whole(store):
    (dog,) = add(store, file(b"/dog.jpg", annotations=DOG, beside=b"look"))
    store.commit(Changes(annotated=[AnnotatedFile(dog, CAT, b"other"), AnnotatedFile(dog + 1, CAT)]))
    assert store.annotations.of([dog, dog + 1]) == {dog: CAT.texts}
    assert documents(store) == {b"/dog.jpg": ["cat"]}
    assert store.catalog.db.execute("SELECT camera, beside FROM image").fetchone() == (None, b"other")
    store.commit(Changes(annotated=[AnnotatedFile(dog, Annotations())]))
    assert (store.annotations.of([dog]), documents(store)) == ({}, {})


def test_annotations_of_a_picture_that_is_moved_are_to_be_read_again_and_those_of_one_that_is_touched_are_not(
    store,
):
    dog, cat = add(store, file(b"/dog.jpg", annotations=DOG), file(b"/cat.jpg", annotations=CAT))
    look = FileLook(7, 7, 7)
    store.commit(Changes(touched=[TouchedFile(dog, b"/x/dog.jpg", look), TouchedFile(cat, b"/cat.jpg", look)]))
    annotated = {known.image_id: known.annotated for known in store.known_files(b"/")}
    assert annotated == {dog: 0, cat: ANNOTATING}
    assert store.annotations.of([dog]) == {dog: DOG.texts}


def test_picture_that_is_stored_again_keeps_its_annotations_unless_its_contents_are_others(store):
    (dog,) = add(store, file(b"/dog.jpg", annotations=DOG))
    assert add(store, file(b"/dog.jpg")) == [dog]
    assert store.annotations.of([dog]) == {dog: DOG.texts}
    (other,) = add(store, file(b"/dog.jpg", b"edited"))
    assert (store.annotations.of([dog, other]), documents(store)) == ({}, {})


def test_what_is_kept_of_a_picture_leaves_with_it(store):
    (dog,) = add(store, file(b"/dog.jpg", annotations=DOG))
    store.remove_images([dog])
    for table in ("annotation", "document", "item"):
        assert store.catalog.count(table) == 0


def test_document_that_stays_as_it_was_keeps_the_number_of_its_commit(store):
    (dog,) = add(store, file(b"/dog.jpg", annotations=DOG))
    revision = store.catalog.db.execute("SELECT revision FROM document").fetchone()
    assert revision == (store.revision,)
    store.commit(Changes(annotated=[AnnotatedFile(dog, DOG)]))
    assert store.catalog.db.execute("SELECT revision FROM document").fetchone() == revision
    store.annotations.type([dog], Kind.TAG, ["new"])
    assert store.catalog.db.execute("SELECT revision FROM document").fetchone() == (store.revision,)


# -- what the user types -------------------------------------------------------------------------------------


def test_tags_are_added_and_a_caption_takes_the_place_of_the_one_before(store):
    dog, cat = add(store, file(b"/dog.jpg", annotations=DOG), file(b"/cat.jpg"))
    assert store.annotations.type([dog, cat], Kind.TAG, ["Summer", " two\nwords "]) == 4
    assert store.annotations.type([dog], Kind.TAG, ["Summer", "more"]) == 1
    assert store.annotations.type([dog], Kind.CAPTION, ["First."]) == 1
    assert store.annotations.type([dog], Kind.CAPTION, ["Second."]) == 1
    assert store.annotations.type([dog], Kind.CAPTION, ["Second."]) == 0
    said = store.annotations.of([dog])[dog]
    assert [(each.kind, each.text) for each in said if each.source == USER] == [
        (Kind.TAG, "Summer"), (Kind.TAG, "two words"), (Kind.TAG, "more"), (Kind.CAPTION, "Second."),
    ]  # fmt: skip
    assert said[4:] == DOG.texts
    assert documents(store)[b"/cat.jpg"] == ["summer", "two words"]


def test_tags_of_many_pictures_are_typed_for_all_or_for_none(store, monkeypatch):
    image_ids = add(store, *(file(b"/%d.jpg" % n) for n in range(3)))

    def end(db, of_images):
        raise KeyboardInterrupt

    monkeypatch.setattr("mmsearch.store.annotations.write_documents", end)
    with pytest.raises(KeyboardInterrupt):
        store.annotations.type(image_ids, Kind.TAG, ["mine"])
    monkeypatch.undo()
    assert (typed(store), documents(store)) == ([], {})
    assert store.annotations.type(image_ids, Kind.TAG, ["mine"]) == 3


def test_who_searches_while_tags_are_typed_finds_each_for_all_of_its_pictures(store):
    image_ids = add(store, *(file(b"/%d.jpg" % n) for n in range(3)))
    with closing(Store.open(store.folder)) as reader:
        for n in range(5):
            store.annotations.type(image_ids, Kind.TAG, [f"tag{n}"])
            assert reader.annotations.matches(f"tag{n}").image_ids.tolist() == image_ids
            with reader.reading():
                said = reader.annotations.of(image_ids)
                store.annotations.untype(image_ids, Kind.TAG, [f"tag{n}"])
                assert reader.annotations.of(image_ids) == said


def test_what_was_typed_is_forgotten_by_its_words_whatever_their_case_and_what_files_say_stays(store):
    (dog,) = add(store, file(b"/dog.jpg", annotations=DOG))
    store.annotations.type([dog], Kind.TAG, ["Été", "dog", "other"])
    assert store.annotations.untype([dog], Kind.TAG, ["ete", "DOG", "nothing"]) == [dog, dog]
    assert documents(store) == {b"/dog.jpg": ["other", "dog", "a dog runs"]}
    assert store.annotations.untype([dog], Kind.TAG) == [dog]
    assert store.annotations.untype([dog], Kind.TAG) == []
    assert store.annotations.of([dog]) == {dog: DOG.texts}


@pytest.mark.parametrize(
    ("kind", "texts", "message"),
    [
        (Kind.TAG, ["..."], "the tag '...' has no letter and no digit"),
        (Kind.TAG, ["x" * 201], "a tag of 201 characters; expected at most 200"),
        (Kind.CAPTION, ["One.", "Two."], "2 captions were given; expected one"),
        (Kind.PERSON, ["Ann"], "a person is read from files; expected tag or caption"),
    ],
)
def test_what_cannot_be_typed_is_a_sentence(store, kind, texts, message):
    (dog,) = add(store, file(b"/dog.jpg"))
    with pytest.raises(QueryError, match=message):
        store.annotations.type([dog], kind, texts)
    with pytest.raises(QueryError, match="no picture with the id 77"):
        store.annotations.type([dog, 77], Kind.TAG, ["fine"])
    assert typed(store) == []


def test_typed_texts_wait_for_a_picture_that_was_removed_and_come_back_with_it(store):
    (dog,) = add(store, file(b"/dog.jpg"))
    store.annotations.type([dog], Kind.TAG, ["mine"])
    store.remove_images([dog])
    assert typed(store) == [(None, b"/dog.jpg", "mine")]
    assert (store.annotations.n_waiting, store.annotations.is_empty) == (1, True)
    (again,) = add(store, file(b"/dog.jpg"))
    assert documents(store) == {b"/dog.jpg": ["mine"]}
    assert [each.text for each in store.annotations.of([again])[again]] == ["mine"]
    assert store.annotations.n_waiting == 0


def test_typed_texts_follow_a_picture_that_is_moved_or_comes_back_elsewhere(store):
    (dog,) = add(store, file(b"/dog.jpg", b"dog"))
    store.annotations.type([dog], Kind.TAG, ["mine"])
    store.commit(Changes(touched=[TouchedFile(dog, b"/moved.jpg", FileLook(1, 1, 1))]))
    assert typed(store) == [(dog, b"/moved.jpg", "mine")]
    store.remove_images([dog])
    add(store, file(b"/other.jpg", b"other"))
    assert store.annotations.n_waiting == 1
    (back,) = add(store, file(b"/back.jpg", b"dog"))
    assert typed(store) == [(back, b"/back.jpg", "mine")]


def test_typed_texts_stay_with_a_picture_that_was_edited_or_could_not_be_read_for_a_while(store):
    (dog,) = add(store, file(b"/dog.jpg", b"dog"))
    store.annotations.type([dog], Kind.CAPTION, ["Mine."])
    (edited,) = add(store, file(b"/dog.jpg", b"edited"))
    store.commit(Changes(rejected=[RejectedFile(b"/dog.jpg", FileLook(1, 1, 1), "corrupt", "")]))
    assert store.n_pictures == 0
    (back,) = add(store, file(b"/elsewhere.jpg", b"edited"))
    assert len({dog, edited, back}) == 3
    assert typed(store) == [(back, b"/elsewhere.jpg", "Mine.")]


def test_copies_keep_what_was_typed_of_each_and_a_picture_has_one_caption_whatever_comes_back(store):
    one, other = add(store, file(b"/1.jpg", b"same"), file(b"/2.jpg", b"same"))
    store.annotations.type([one], Kind.CAPTION, ["One."])
    store.annotations.type([other], Kind.CAPTION, ["Other."])
    store.annotations.type([other], Kind.TAG, ["second"])
    store.remove_images([one, other])
    back, second = add(store, file(b"/1.jpg", b"same"), file(b"/2.jpg", b"same"))
    assert [each.text for each in store.annotations.of([back])[back]] == ["One."]
    assert [each.text for each in store.annotations.of([second])[second]] == ["Other.", "second"]
    store.remove_images([back, second])
    (third,) = add(store, file(b"/3.jpg", b"same"))
    assert [each.text for each in store.annotations.of([third])[third]] == ["One.", "second"]
    assert store.annotations.n_waiting == 1


# -- proof ---------------------------------------------------------------------------------------------------


def test_whole_annotations_have_no_faults_and_what_waits_for_its_picture_is_a_notice(store):
    (dog,) = add(store, file(b"/dog.jpg", annotations=DOG))
    store.annotations.type([dog], Kind.TAG, ["mine"])
    assert (store.verify().faults, store.verify().notices) == ((), ())
    store.remove_images([dog])
    report = store.verify()
    assert report.faults == ()
    assert report.notices == ("1 typed text is kept of pictures that left, with which it comes back",)


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("UPDATE document SET text = 'other'", "1 documents are not what is said of their pictures"),
        ("DELETE FROM document", "1 documents are not what is said of their pictures"),
        ("INSERT INTO document VALUES (77, 'a', 1)", "1 documents are of pictures that are not there"),
        (
            "INSERT INTO annotation VALUES (77, 77, 'tag', 'x', 'a')",
            "1 annotations are of pictures that are not there",
        ),
        ("UPDATE typed SET image = 77", "1 typed texts are of pictures that are not there"),
    ],
)
def test_annotations_that_do_not_belong_together_are_a_fault_that_a_repair_mends(store, sql, problem):
    (dog,) = add(store, file(b"/dog.jpg", annotations=DOG))
    store.annotations.type([dog], Kind.TAG, ["mine"])
    with store.catalog.writing():
        store.catalog.db.execute(sql)
    assert any(problem in found for found in store.verify(is_repair=True).problems)
    assert store.verify().faults == ()
    assert documents(store)[b"/dog.jpg"][-1] == "a dog runs"
