"""LABELS: what pictures are given by their vectors, kept with them, filtered by and counted."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsearch import Library
from mmsearch.encoders.zeroshot import ZeroShotClassifier
from mmsearch.errors import LibraryDamagedError, QueryError, StorageError
from mmsearch.predicates import And, Comparison, Not, Or
from mmsearch.records import GivenLabel
from mmsearch.store import labels as labels_module
from mmsearch.store.base import AskedVector
from mmsearch.store.catalog import Catalog
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.labels import Labelling, LabelOptions
from mmsearch.store.migrations import SCHEMA
from mmsearch.store.where import condition_of
from tests.conftest import random_units
from tests.store.test_store import DIM, META, file

QUIET = lambda *_: None  # noqa: E731
AXES = np.eye(DIM, dtype=np.float32)
SCALE = np.log(3)  # of pictures on one of two axes, so that the odds are 3 to 1


def labelling(names, vectors=AXES, *, least=0.5, scale=SCALE, fingerprint=META["fingerprint"]):
    classifier = ZeroShotClassifier(tuple(names), np.ascontiguousarray(vectors[: len(names)]), float(scale))
    return Labelling(classifier, LabelOptions(("{}",), min_probability=least), fingerprint)


def label(store, name, names, *vectors, **options):
    store.labels.define(name, labelling(names, *vectors, **options))
    store.labels.update(QUIET)


def labels_by_name(store):
    """{name of the file: {(set, label): probability}} of the pictures that have labels."""
    images = {image.image_id: image.path.rpartition("/")[2] for image in store.catalog.images()}
    return {
        images[image_id]: {(each.label_set, each.label): each.probability for each in labels}
        for image_id, labels in store.labels_of(list(images)).items()
    }


def names_passing(store, *where):
    page = store.page(where, order="path", after=None, offset=0, limit=1000)
    return [image.path.rpartition("/")[2] for image in page.pictures]


@pytest.fixture
def store(tmp_path):
    """A library of a picture on each of three axes, and a copy of the first."""
    with Store.writer(tmp_path / "library", create=META) as opened:
        opened.commit(Changes(stored=[file(i, AXES[i]) for i in range(3)]))
        opened.commit(Changes(stored=[file(3, AXES[0])]))
        yield opened


# -- what is given -------------------------------------------------------------------------------------------


def test_a_picture_is_given_the_labels_that_are_probable_enough(store):
    label(store, "axes", ["x", "y"], least=0.6)
    sure = {("axes", "x"): pytest.approx(0.75)}
    assert labels_by_name(store) == {"0.jpg": sure, "1.jpg": {("axes", "y"): pytest.approx(0.75)}, "3.jpg": sure}
    label(store, "half", ["x", "y"], least=0.5)  # reached exactly by a picture that is as near to both
    assert labels_by_name(store)["2.jpg"] == {("half", "x"): 0.5, ("half", "y"): 0.5}


def test_labels_of_a_picture_come_most_probable_first(store):
    label(store, "axes", ["y", "x"], least=0.01)
    (image, *_) = store.catalog.images()
    assert store.labels_of([image.image_id, 999])[image.image_id] == (
        GivenLabel("axes", "y", pytest.approx(0.75)), GivenLabel("axes", "x", pytest.approx(0.25)),
    )  # fmt: skip


def test_status_and_list_say_what_a_set_gave(store):
    label(store, "axes", ["x", "y"], least=0.25)
    (known,) = store.label_sets()
    assert (known.name, known.n_labels, known.n_labelled, known.n_given, known.n_left) == ("axes", 2, 4, 8, 0)
    assert (known.min_probability, known.mode, known.templates) == (0.25, "closed", ("{}",))
    assert store.status().labels == (known,)


def test_pictures_that_come_later_are_given_labels_when_the_library_is_settled(store):
    label(store, "axes", ["x", "y"])
    store.commit(Changes(stored=[file(9, AXES[1])]))
    assert store.label_sets()[0].n_left == 1
    store.settle(None, on_progress=QUIET)
    assert labels_by_name(store)["9.jpg"] == {("axes", "y"): pytest.approx(0.75)}


def test_a_picture_with_other_contents_has_other_labels_and_one_that_left_has_none(store):
    label(store, "axes", ["x", "y"])
    changed = file(0, AXES[1])
    store.commit(Changes(stored=[type(changed)(**{**vars(changed), "content_hash": b"%032d" % 77})]))
    (gone,) = (image for image in store.catalog.images() if image.path.endswith("/1.jpg"))
    store.remove_images([gone.image_id])
    store.settle(None, on_progress=QUIET)
    assert {name: set(given) for name, given in labels_by_name(store).items()} == {
        "0.jpg": {("axes", "y")}, "2.jpg": {("axes", "x"), ("axes", "y")}, "3.jpg": {("axes", "x")},
    }  # fmt: skip
    assert store.catalog.count("given") == 4


def test_a_picture_whose_vector_changed_under_its_id_is_looked_at_again(store):
    label(store, "axes", ["x", "y"])
    store.commit(Changes(stored=[file(0, AXES[1])]))  # the same contents, embedded anew
    assert store.label_sets()[0].n_left == 4
    store.settle(None, on_progress=QUIET)
    assert labels_by_name(store)["0.jpg"] == {("axes", "y"): pytest.approx(0.75)}
    assert labels_by_name(store)["3.jpg"] == {("axes", "x"): pytest.approx(0.75)}


def test_vectors_that_are_numbered_anew_leave_labels_alone(store):
    label(store, "axes", ["x", "y"])
    (second,) = (image for image in store.catalog.images() if image.path.endswith("/1.jpg"))
    store.remove_images([second.image_id])
    before = labels_by_name(store)
    store.compact()
    assert store.n_dead == 0
    assert store.label_sets()[0].n_left == 0
    assert labels_by_name(store) == before


def test_pictures_without_a_whole_vector_are_given_no_label_until_it_is_made_anew(store):
    path = store.vectors_path(store.epoch)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    label(store, "axes", ["x", "y"], least=0.6)
    assert set(labels_by_name(store)) == {"1.jpg"}
    store.verify(is_repair=True)
    store.commit(Changes(stored=[file(0, AXES[0])]))
    store.settle(None, on_progress=QUIET)
    assert set(labels_by_name(store)) == {"0.jpg", "1.jpg"}


def test_a_cut_vector_file_is_an_error_and_no_picture_counts_as_looked_at(store):
    path = store.vectors_path(store.epoch)
    path.write_bytes(path.read_bytes()[: 2 * DIM])
    with pytest.raises(LibraryDamagedError, match="holds 1 of 3 vectors"):
        label(store, "axes", ["x", "y"])
    assert store.label_sets()[0].n_left == 4


# -- sets ----------------------------------------------------------------------------------------------------


def test_the_same_set_stays_and_another_of_its_name_takes_its_place(store):
    label(store, "axes", ["x", "y"])
    revision = store.revision
    label(store, "axes", ["x", "y"])
    assert store.revision == revision
    for names, options in ((["x", "z"], {}), (["x", "y"], {"least": 0.6}), (["x", "y"], {"scale": 2})):
        label(store, "Axes", names, **options)
        assert [known.name for known in store.label_sets()] == ["Axes"]
        assert store.revision > revision
        revision = store.revision
    assert store.catalog.count("label") == 2


def test_a_removed_set_takes_its_labels_along_and_leaves_those_of_others(store):
    label(store, "axes", ["x", "y"])
    label(store, "more", ["x", "z"])
    before = labels_by_name(store)
    with pytest.raises(QueryError, match="no label set 'other'; expected one of those that it has: axes, more"):
        store.labels.remove("other")
    assert store.labels.remove("AXES").name == "axes"
    assert labels_by_name(store) == {
        name: {key: p for key, p in given.items() if key[0] == "more"} for name, given in before.items()
    }
    store.labels.remove("more")
    assert [store.catalog.count(table) for table in ("label_set", "label", "given")] == [0, 0, 0]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", "a\n", "a" * 65, '"a"'])
def test_a_set_has_a_name_that_can_stand_in_front_of_a_label(name):
    with pytest.raises(QueryError, match="a label set cannot be called"):
        labels_module.require_name(name)


# -- interrupted runs ----------------------------------------------------------------------------------------


class Stopped(Exception):
    """Raised in the middle of a run."""


def test_a_run_that_is_ended_keeps_what_is_done_and_goes_on_with_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(labels_module, "_CHUNK", 3)
    vectors, told = random_units(8, DIM), []

    def stop(*step):
        told.append(step)
        if step[1] == 6:
            raise KeyboardInterrupt

    with Store.writer(tmp_path, create=META) as store:
        store.commit(Changes(stored=[file(i, vector) for i, vector in enumerate(vectors)]))
        store.labels.define("axes", labelling("abc", least=0.4))
        with pytest.raises(KeyboardInterrupt):
            store.labels.update(stop)
        assert store.label_sets()[0].n_left == 2
    told_later = []
    with Store.writer(tmp_path) as store:
        store.settle(None, on_progress=lambda *step: told_later.append(step))
        whole = labels_by_name(store)
        label(store, "again", "abc", least=0.4)
        again = labels_by_name(store)
    assert told == [("labels", 3, 8), ("labels", 6, 8)]
    assert told_later == [("labels", 2, 2)]
    for name, labels in whole.items():
        assert {label: p for (of, label), p in again[name].items() if of == "again"} == {
            label: pytest.approx(p, abs=1e-6) for (_, label), p in labels.items()
        }


def test_a_full_database_is_a_sentence_and_the_set_goes_on_later(tmp_path, monkeypatch):
    monkeypatch.setattr(labels_module, "_CHUNK", 500)
    vectors = random_units(2000, DIM)
    with Store.writer(tmp_path, create=META) as store:
        store.commit(Changes(stored=[file(i, vector) for i, vector in enumerate(vectors)]))
        store.labels.define("axes", labelling("abcdefgh", least=0.01))
        (pages,) = store.catalog.db.execute("PRAGMA page_count").fetchone()
        store.catalog.db.execute(f"PRAGMA max_page_count = {pages + 40}")
        with pytest.raises(StorageError, match=r"database or disk is full.* nothing that was stored is lost"):
            store.labels.update(QUIET)
        assert 0 < store.label_sets()[0].n_left < 2000
    with Store.writer(tmp_path) as store:
        store.settle(None, on_progress=QUIET)
        (known,) = store.label_sets()
        assert (known.n_left, known.n_labelled, known.n_given) == (0, 2000, 16_000)
        assert store.verify().problems == ()


# -- filters -------------------------------------------------------------------------------------------------


@pytest.fixture
def labelled(store):
    label(store, "axes", ["x", "Red (dark)", "a/b"], least=0.4)  # the third picture is on the third axis
    label(store, "More", ["x", "Größe", 'say "and"'], least=0.4)
    return store


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("label = x", ["0.jpg", "3.jpg"]),
        ("label = X", ["0.jpg", "3.jpg"]),
        ('label = "x"', ["0.jpg", "3.jpg"]),
        ("label = axes/x", ["0.jpg", "3.jpg"]),
        ("label = AXES/X", ["0.jpg", "3.jpg"]),
        ("label = red (dark)", ["1.jpg"]),
        ("label = a/b", ["2.jpg"]),
        ("label = axes/a/b", ["2.jpg"]),
        ("label = gro\u0308\u00dfe", ["1.jpg"]),
        ("label = GR\u00d6SSE", ["1.jpg"]),
        ('label = say "and"', ["2.jpg"]),
        ("label ~ *e*", ["1.jpg"]),
        ("label ~ more/*", ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]),
        ("label ~ r*", ["1.jpg"]),
        ("label ~ [ax]*", ["0.jpg", "2.jpg", "3.jpg"]),
        ("label != x", ["1.jpg", "2.jpg"]),
        ("label != nothing at all", ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]),
        ("not label ~ r* and name != 0.jpg", ["2.jpg", "3.jpg"]),
        ('(label = "a/b" or label = "x") and not name = 3.jpg', ["0.jpg", "2.jpg"]),
        ("label = x and label = axes/x", ["0.jpg", "3.jpg"]),
    ],
)
def test_filters_by_label_pass_the_pictures_that_were_given_it(labelled, where, names):
    assert names_passing(labelled, where) == names


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        (
            "label = y",
            r"no label is called so in the label sets of the library: More \(3 labels\), axes \(3 labels\)",
        ),
        ("label = more/a/b", "no label is called so .*; is 'a/b' meant"),
        ("label ~ axes/g*", "no label is called so"),
        ("label = groesse", "is 'Größe' meant"),
        ("label = fo/größe", r"\(3 labels\); is 'Größe' meant\?$"),  # named once
        ("label = 'x'", r"is 'x' meant\? \(without single quotes\)$"),
        ("label < x", "a label is not more or less than another"),
    ],
)
def test_filter_by_a_label_that_no_set_has_is_a_sentence(labelled, where, sentence):
    with pytest.raises(QueryError, match=sentence):
        labelled.condition([where])


@pytest.mark.parametrize(
    "where", ["label = x", "label != x", "label ~ *", "not label = x", "width > 1 or label = x"]
)
def test_filter_by_label_is_a_sentence_where_no_labels_are(store, where):
    with pytest.raises(
        QueryError, match="the library has no labels; `mmsearch labels set NAME --labels-file F` gives"
    ):
        store.condition([where])


def test_an_empty_library_answers_filters_by_label_with_nothing(tmp_path):
    with Store.writer(tmp_path, create=META) as store:
        assert names_passing(store, "label = x") == []


def test_searches_find_among_the_pictures_with_a_label_and_say_that_a_set_is_not_done(labelled):
    def found(where):
        neighbours = labelled.neighbours()
        with labelled.reading():
            (answer,) = neighbours.shortlists([AskedVector(AXES[1])], 9, labelled.condition(where), "image")
        return [image.path for _, image in answer.pictures], neighbours.problems()

    assert found(["label = x"]) == (["/photos/0.jpg", "/photos/3.jpg"], ())
    labelled.commit(Changes(stored=[file(9, AXES[0])]))
    said = tuple(
        f"1 picture was not looked at yet for the label set {name!r}; the next `mmsearch index` goes on with them"
        for name in ("More", "axes")
    )
    assert found(["label = x"]) == (["/photos/0.jpg", "/photos/3.jpg"], said)
    assert found(["name = 9.jpg"]) == (["/photos/9.jpg"], ())


def test_facets_count_labels_set_by_set_with_the_filters_that_give_them(labelled):
    for where in ([], ["name != 0.jpg"], ["label = x"], ["name = 1.jpg", "label = axes/red (dark)"]):
        facets = labelled.facets(where)
        passing = set(names_passing(labelled, *where))
        expected = {}
        for name, given_labels in labels_by_name(labelled).items():
            for key in given_labels if name in passing else ():
                expected[key] = expected.get(key, 0) + 1
        counted = {(of.label_set, each.label): each.n for of in facets.labels for each in of.facets}
        assert counted == expected
        for of in facets.labels:
            assert [each.n for each in of.facets] == sorted((each.n for each in of.facets), reverse=True)
            for each in of.facets:
                assert len(names_passing(labelled, *where, *each.where)) == each.n, each
    assert labelled.facets(["name = none.jpg"]).labels == ()


NAMES = st.sampled_from(["dog", "Dog house", "cat", "a/b", "x/dog", "été", 'q"', "and", "[x]", "*", "no (1)"])
SETS = st.dictionaries(
    st.sampled_from(["x", "Y", "a", "z.1"]), st.lists(NAMES, min_size=1, max_size=5, unique=True), min_size=1,
    max_size=3,
)  # fmt: skip


def asked(sets):
    """Trees of filters by the labels of some sets."""
    known = [(name, label) for name, labels in sets.items() for label in labels]
    ours = st.sampled_from(known)
    plain = st.builds(Comparison, st.just("label"), st.sampled_from(["=", "!="]), ours.map(lambda pair: pair[1]))
    of_set = st.builds(Comparison, st.just("label"), st.sampled_from(["=", "!="]), ours.map("/".join))
    return st.recursive(
        plain | of_set,
        lambda terms: st.one_of(
            st.builds(Not, terms),
            st.lists(terms, min_size=1, max_size=3).map(lambda several: And(tuple(several))),
            st.lists(terms, min_size=1, max_size=3).map(lambda several: Or(tuple(several))),
        ),
        max_leaves=4,
    )


def scanned(tree, labels, sets):
    """Whether a picture with these (set, label) passes a tree, by what the language says."""
    if isinstance(tree, Comparison):
        lead, slash, rest = str(tree.value).partition("/")
        of_set = next((name for name in sets if slash and name.casefold() == lead.casefold()), None)
        wanted = (rest if of_set else str(tree.value)).casefold()
        has = any(label.casefold() == wanted and of_set in (None, name) for name, label in labels)
        return has == (tree.operator == "=")
    if isinstance(tree, Not):
        return not scanned(tree.term, labels, sets)
    passes = [scanned(term, labels, sets) for term in tree.terms]
    return all(passes) if isinstance(tree, And) else any(passes)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), sets=SETS, least=st.sampled_from([0.05, 0.3, 0.6]))
def test_a_filter_by_label_passes_what_a_scan_of_what_is_stored_does(tmp_path_factory, data, sets, least):
    with Store.writer(tmp_path_factory.mktemp("law"), create=META) as store:
        store.commit(Changes(stored=[file(i, vector) for i, vector in enumerate(random_units(12, DIM))]))
        for name, labels in sets.items():
            label(store, name, labels, random_units(5, DIM, seed=len(labels)), least=least, scale=3)
        stored = labels_by_name(store)
        every = [f"{n}.jpg" for n in range(12)]
        for tree in data.draw(st.lists(asked(sets), min_size=1, max_size=4)):
            expected = sorted(name for name in every if scanned(tree, stored.get(name, {}), sets))
            try:
                assert names_passing(store, tree) == expected
            except QueryError:  # a label of its own name is hidden behind the set that it begins with
                assert expected == []


# -- verify --------------------------------------------------------------------------------------------------


def test_verify_names_labels_that_do_not_belong_together_and_repair_drops_and_gives(labelled):
    assert labelled.verify().problems == ()
    with labelled.catalog.writing():
        labelled.catalog.db.execute("INSERT INTO given VALUES (1, 999, 0.9), (77, 1, 0.9)")
        labelled.catalog.db.execute("UPDATE label_set SET done = 0 WHERE name = 'axes'")
        labelled.catalog.db.execute("DELETE FROM given WHERE label = 1 AND image = 1")
    before = labels_by_name(labelled)
    with closing(Store.open(labelled.folder)) as reader:
        said = labels_module.LibraryLabels(reader).problems(is_at_work=False)
    assert said == [
        "2 labels were given to pictures, or by sets, that are not there",
        "4 pictures were not looked at yet for the label set 'axes'; the next `mmsearch index` goes on with them",
    ]
    assert list(labelled.verify(is_repair=True).problems) == said
    labelled.settle(None, on_progress=QUIET)
    assert labelled.verify().problems == ()
    assert labels_by_name(labelled) == before | {"0.jpg": before["0.jpg"] | {("axes", "x"): pytest.approx(0.6)}}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("UPDATE label SET vector = x'00' WHERE id = 1", "what is kept of the label set 'axes' is damaged"),
        ("UPDATE label SET vector = zeroblob(length(vector)) WHERE id = 1", "what is kept of the label set 'axes'"),
        ("UPDATE label_set SET facts = json_set(facts, '$.fingerprint', 'e') WHERE id = 1", "for another encoder"),
        ("UPDATE label_set SET facts = '[]' WHERE id = 1", "what is kept of the label set 'axes' is damaged"),
        ("UPDATE label_set SET facts = 'x' WHERE id = 1", "what is kept of the label set 'axes' is damaged"),
        ("UPDATE label_set SET facts = json_remove(facts, '$.logit_scale') WHERE id = 1", "is damaged"),
        ("UPDATE label_set SET facts = json_set(facts, '$.logit_scale', 1e999) WHERE id = 1", "is damaged"),
        (
            "UPDATE label_set SET facts = replace(facts, 'constant', 'constant\": NaN, \"x') WHERE id = 1",
            "is damaged",
        ),
        ("UPDATE label_set SET facts = json_set(facts, '$.min_probability', 'x') WHERE id = 1", "is damaged"),
        ("UPDATE label_set SET facts = json_set(facts, '$.mode', 5) WHERE id = 1", "is damaged"),
    ],
)
def test_a_set_that_cannot_be_used_is_named_and_stops_no_run(labelled, change, sentence):
    before = labels_by_name(labelled)
    with labelled.catalog.writing():
        labelled.catalog.db.execute(change)
    labelled.commit(Changes(stored=[file(9, AXES[0])]))
    labelled.settle(None, on_progress=QUIET)
    after = labels_by_name(labelled)
    assert after.pop("9.jpg") == {("More", "x"): pytest.approx(0.6)}
    assert after.keys() == before.keys()
    problems = labelled.verify().problems
    assert any(sentence in problem for problem in problems)
    assert [known.name for known in labelled.status().labels] == ["More", "axes"]
    labelled.labels.remove("axes")
    assert labelled.verify().problems == ()


# -- older libraries -----------------------------------------------------------------------------------------


def test_new_catalog_without_labels_counts_none(tmp_path):
    Catalog.create(tmp_path / "catalog.sqlite", META)
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as db:
        assert json.loads(db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()[0]) == SCHEMA


def test_library_object_lists_label_sets_and_labels_of_a_picture(labelled):
    with Library.open(labelled.folder) as library:
        assert [known.name for known in library.label_sets()] == ["More", "axes"]
        assert {each.label for each in library.labels_of(1)} == {"x"}
        assert library.labels_of(99) == ()


def test_a_filter_by_a_label_of_many_pictures_is_asked_of_the_rows_that_are_wanted_alone(tmp_path):
    """Not of every picture that has the label, which costs as much as a scan."""
    with Store.writer(tmp_path / "library", create=META) as store:
        store.commit(Changes(stored=[file(n, vector) for n, vector in enumerate(random_units(2000, DIM))]))
        label(store, "axes", ["x"], least=0.01)
        condition = condition_of("label = x")
        steps = []
        store.catalog.db.set_progress_handler(lambda: steps.append(1), 100)
        with store.reading():
            assert len(store.images_of_rows([3, 5, 8], condition)) == 3
        store.catalog.db.set_progress_handler(None, 0)
    assert 100 * len(steps) < 12 * 2000
