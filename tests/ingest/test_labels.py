"""LABELS: names in, a set of labels for the whole library out, kept up to date by every run."""

from __future__ import annotations

import shutil

import pytest

from mmsearch import Library
from mmsearch.encoders.calibration import Calibration, LabelModel
from mmsearch.errors import ArgumentError, EncoderError, LibraryNotFoundError, NoEncoderError, QueryError
from mmsearch.samples import sample_folder
from mmsearch.store.adopt import NEXT
from mmsearch.store.folder import Store

NAMES = ("cat", "fig", "a rocket", "two dogs")
LEAST = 0.25  # the tiny encoder is sure of nothing


def given(library):
    """{path: {label: probability}} of the set `things`."""
    return {
        picture.path: {
            label.label: pytest.approx(label.probability, abs=1e-5)
            for label in library.labels_of(picture.image_id)
            if label.label_set == "things"
        }
        for picture in library.pictures(limit=1000).pictures
    }


def set_things(library, **options):
    return library.set_labels("things", NAMES, **{"min_probability": LEAST, **options})


def test_labels_are_those_that_classify_gives_to_the_pictures_of_the_library(indexed):
    stages = []
    made = set_things(indexed, on_progress=lambda *step: stages.append(step))
    pictures = indexed.pictures().pictures
    classified = indexed.classify([picture.image_id for picture in pictures], NAMES, k=4)
    expected = {
        picture.path: {each.label: each.probability for each in answer.predictions if each.probability >= LEAST}
        for picture, answer in zip(pictures, classified, strict=True)
    }
    assert given(indexed) == expected
    assert stages == [("labels", 8, 8)]
    n_given = sum(map(len, expected.values()))
    assert (made.n_labels, made.n_given, made.n_left) == (4, n_given, 0)
    assert 0 < n_given < 32


def test_index_then_labels_gives_the_same_as_labels_then_index(indexed, photos, cache, tmp_path, checkpoint):
    with Library.open(tmp_path / "other", cache=cache) as other:
        other.index([photos / "cat.jpg", photos / "fig.jpg"], model=str(checkpoint), local=False)
        set_things(other)
        stages = []
        other.index([photos], local=False, on_progress=lambda *step: stages.append(step))
        set_things(indexed)
        assert given(other) == given(indexed)
        assert ("labels", 6, 6) in stages


def test_index_gives_labels_to_new_and_changed_pictures_without_a_text_tower(indexed, photos, monkeypatch):
    set_things(indexed)
    before = given(indexed)
    shutil.copyfile(sample_folder() / "rocket.jpg", photos / "rocket.jpg")
    shutil.copyfile(photos / "fig.jpg", photos / "cat.jpg")  # other contents, which are known
    (photos / "fig.jpg").unlink()
    monkeypatch.setattr("mmsearch.encoders.onnx.OnnxEncoder.encode_texts", None)
    indexed.index([photos], local=False)
    after = given(indexed)
    assert after[f"{photos}/cat.jpg"] == before[f"{photos}/fig.jpg"]
    assert f"{photos}/fig.jpg" not in after
    assert len(after[f"{photos}/rocket.jpg"]) > 0
    assert indexed.label_sets()[0].n_left == 0
    indexed.remove([photos / "rocket.jpg"])
    assert indexed.label_sets()[0].n_given == sum(map(len, given(indexed).values()))


@pytest.mark.full
def test_labels_are_made_anew_with_the_vectors_of_another_encoder(
    indexed, photos, cache, tmp_path, other_checkpoint, other_folder
):
    set_things(indexed)
    before = given(indexed)
    indexed.index([], model=str(other_checkpoint), re_embed=True)
    with Library.open(tmp_path / "other", cache=cache) as other:
        other.index([photos], model=str(other_checkpoint), local=False)
        set_things(other)
        assert given(indexed) == given(other) != before
    assert indexed.verify().problems == ()


def test_a_damaged_set_does_not_stop_new_vectors_and_is_named_after_them(indexed, other_checkpoint, other_folder):
    set_things(indexed)
    indexed.set_labels("animals", ["cat", "goose"], min_probability=LEAST)
    with Store.writer(indexed.folder) as store, store.catalog.writing():
        store.catalog.db.execute("UPDATE label_set SET facts = '{' WHERE name = 'things'")
    report = indexed.index([], model=str(other_checkpoint), re_embed=True)
    assert any("what is kept of the label set 'things' is damaged" in notice for notice in report.notices)
    animals, things = indexed.label_sets()
    assert (animals.n_left, animals.n_given > 0) == (0, True)
    assert (things.n_labels, things.n_left, things.n_given) == (4, 8, 0)


@pytest.mark.full
def test_an_encoder_without_words_is_refused_where_labels_go_by_words(indexed, cache, gem_folder):
    set_things(indexed)
    before = given(indexed)
    with pytest.raises(EncoderError, match="knows no words, and the library gives labels by them: things"):
        indexed.index([], model="cnn:gem", re_embed=True)
    assert not (indexed.folder / NEXT).exists()
    assert (given(indexed), indexed.status().next_model) == (before, None)
    indexed.remove_labels("things")
    indexed.index([], model="cnn:gem", re_embed=True)
    assert indexed.status().model == "cnn:gem"
    with pytest.raises(QueryError, match="it knows no words"):
        set_things(indexed)


@pytest.mark.full
def test_vectors_that_were_made_before_such_a_set_are_kept_for_when_it_is_gone(indexed, gem_folder, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mmsearch.ingest.reembed.adopt", stop)
        with pytest.raises(KeyboardInterrupt):
            indexed.index([], model="cnn:gem", re_embed=True)
    assert indexed.status().next_model == "cnn:gem"
    set_things(indexed)
    with pytest.raises(EncoderError, match="`mmsearch labels rm` removes those first"):
        indexed.index([], model="cnn:gem", re_embed=True)
    assert indexed.status().next_model == "cnn:gem"


def test_a_run_that_was_ended_goes_on_with_the_same_command_or_with_index(indexed, photos, monkeypatch):
    monkeypatch.setattr("mmsearch.store.labels._CHUNK", 3)

    def stop(_stage, done, _total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        set_things(indexed, on_progress=stop)
    assert indexed.label_sets()[0].n_left == 5
    assert any("5 pictures were not looked at yet" in problem for problem in indexed.verify().problems)
    stages = []
    set_things(indexed, on_progress=lambda *step: stages.append(step))
    assert stages == [("labels", 3, 5), ("labels", 5, 5)]
    whole = given(indexed)
    indexed.remove_labels("things")
    with pytest.raises(KeyboardInterrupt):
        set_things(indexed, on_progress=stop)
    indexed.index([photos], local=False)
    assert given(indexed) == whole
    assert indexed.verify().problems == ()


def test_verify_repairs_a_set_that_cannot_be_used_by_the_words_of_its_labels(indexed):
    set_things(indexed)
    before = given(indexed)
    with Store.writer(indexed.folder) as store, store.catalog.writing():
        store.catalog.db.execute("UPDATE label SET vector = zeroblob(length(vector)) WHERE name = 'fig'")
        store.catalog.db.execute("DELETE FROM given WHERE image = 1")
    (problem,) = indexed.verify().problems
    assert "what is kept of the label set 'things' is damaged; `mmsearch verify --repair`" in problem
    indexed.verify(is_repair=True)
    assert indexed.verify().problems == ()
    assert given(indexed) == before


def test_verify_gives_the_labels_that_a_run_was_ended_before(indexed):
    set_things(indexed)
    before = given(indexed)
    with Store.writer(indexed.folder) as store, store.catalog.writing():
        store.catalog.db.execute("UPDATE label_set SET done = 2")
        store.catalog.db.execute("DELETE FROM given WHERE image > 2")
    indexed.verify(is_repair=True)
    assert given(indexed) == before
    assert indexed.verify().problems == ()


@pytest.mark.parametrize(
    ("labels", "options", "sentence"),
    [
        ([], {}, "no labels were given"),
        (["a", "a"], {}, "'a' is given twice"),
        (["a", " "], {}, "label 2 of 2 is empty"),
        (["a", "b\ud800"], {}, "half a character"),
        (["a"], {"templates": "none"}, "expected exactly one {}"),
        (["a"], {"min_probability": 0}, "expected a number above 0 and at most 1"),
        (["a"], {"min_probability": 1.5}, "expected a number above 0 and at most 1"),
        (["a"], {"min_probability": float("nan")}, "expected a number above 0 and at most 1"),
    ],
)
def test_labels_that_mean_nothing_are_refused_and_nothing_is_kept(indexed, labels, options, sentence):
    with pytest.raises(QueryError, match=sentence):
        indexed.set_labels("things", labels, **options)
    assert indexed.label_sets() == ()


def test_labels_by_themselves_are_refused_where_nobody_has_measured_what_cosines_mean(indexed):
    with pytest.raises(QueryError, match="is not calibrated, so its cosines do not say how probable a label is"):
        set_things(indexed, multi=True)
    assert indexed.label_sets() == ()


def test_labels_are_judged_as_the_calibration_of_the_encoder_says(indexed, cache):
    """The set keeps the numbers that it was made with; asked again it takes those of the day."""
    set_things(indexed)
    closed = given(indexed)
    indexed.calibrate(Calibration(labels=LabelModel(5.0, -1.0)))
    modes = {}
    for options in ({}, {"multi": True}, {"closed": True}):
        made = set_things(indexed, **options)
        modes[made.mode] = given(indexed)
        pictures = indexed.pictures().pictures
        classified = indexed.classify([picture.image_id for picture in pictures], NAMES, k=4, **options)
        assert modes[made.mode] == {
            picture.path: {each.label: each.probability for each in answer.predictions if each.probability >= LEAST}
            for picture, answer in zip(pictures, classified, strict=True)
        }
    assert modes["closed"] == closed
    assert modes.keys() == {"open", "multi", "closed"}
    assert len({str(labels) for labels in modes.values()}) == 3


def test_arguments_of_other_types_are_named(indexed):
    with pytest.raises(ArgumentError, match="name"):
        indexed.set_labels(5, ["a"])
    with pytest.raises(ArgumentError, match="multi"):
        indexed.set_labels("a", ["a"], multi="yes")


def test_a_library_that_is_not_there_or_has_no_encoder_gives_no_labels(tmp_path, photos, cache):
    with Library.open(tmp_path / "none", cache=cache) as library:
        with pytest.raises(LibraryNotFoundError):
            set_things(library)
        library.index([photos], model="none")
        with pytest.raises(NoEncoderError):
            set_things(library)
        assert library.label_sets() == ()
