from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmsearch import GraphSettings, Library, Query, Term
from mmsearch.encoders.calibration import Calibration, LabelModel
from mmsearch.encoders.classifier import Classifier
from mmsearch.encoders.known_words import known_words
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.errors import (
    ArgumentError,
    EncoderError,
    FingerprintError,
    LibraryNotFoundError,
    PictureError,
    QueryError,
)
from mmsearch.images import decode, find
from mmsearch.samples import sample_folder
from tests import pictures
from tests.conftest import random_units


def paths(result):
    return [Path(hit.path).stem for hit in result.hits]


def stored_paths(library):
    return sorted(hit.path for hit in library.search(Query(text="x"), k=1000, collapse="none").hits)


def test_library_and_its_vectors_are_shown_in_a_line(indexed):
    assert repr(indexed) == f"Library({str(indexed.folder)!r})"
    vectors = indexed.vectors()
    assert repr(vectors) == f"LibraryVectors(8 pictures, matrix float32 (8, {vectors.matrix.shape[1]}))"


# -- index ---------------------------------------------------------------------------------------------


def test_first_run_indexes_all_and_second_does_nothing(library, photos, checkpoint):
    first = library.index([photos], model=str(checkpoint))
    assert (first.new, first.unchanged, first.bad) == (8, 0, ())
    second = library.index([photos])
    assert (second.new, second.changed, second.moved, second.gone, second.unchanged) == (0, 0, 0, 0, 8)


def test_renamed_file_keeps_its_vector_and_is_not_embedded_again(indexed, photos):
    before = indexed.search(Query(images=[photos / "cat.jpg"]), k=1).hits[0]
    (photos / "cat.jpg").rename(photos / "trip" / "tom.jpg")
    report = indexed.index([photos])
    assert (report.new, report.moved, report.gone) == (0, 1, 0)
    after = indexed.search(Query(images=[photos / "trip" / "tom.jpg"]), k=1).hits[0]
    assert (after.image_id, Path(after.path).name) == (before.image_id, "tom.jpg")


def test_deleted_file_leaves(indexed, photos):
    (photos / "cat.jpg").unlink()
    assert indexed.index([photos]).gone == 1
    assert len(stored_paths(indexed)) == 7


def test_changed_file_is_embedded_again(indexed, photos):
    shutil.copyfile(sample_folder() / "rocket.jpg", photos / "cat.jpg")
    assert indexed.index([photos]).changed == 1
    hit = indexed.search(Query(images=[sample_folder() / "rocket.jpg"]), k=1).hits[0]
    assert Path(hit.path).name == "cat.jpg"
    assert hit.score == pytest.approx(1, abs=1e-3)


def test_touched_file_with_the_same_contents_is_unchanged(indexed, photos):
    os.utime(photos / "cat.jpg", (1, 1))
    report = indexed.index([photos])
    assert (report.changed, report.unchanged) == (0, 8)
    assert indexed.index([photos]).unchanged == 8


def test_copies_share_a_vector_and_are_all_found(indexed, photos):
    for name in ("one", "two"):
        shutil.copyfile(photos / "cat.jpg", photos / f"{name}.jpg")
    assert indexed.index([photos]).new == 2
    assert indexed.status().n_vectors == 8
    result = indexed.search(Query(images=[photos / "cat.jpg"]), k=3, collapse="none")
    assert sorted(paths(result)) == ["cat", "one", "two"]


def test_index_of_one_folder_leaves_the_others_alone(indexed, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(sample_folder() / "rocket.jpg", other / "rocket.jpg")
    assert indexed.index([other]).new == 1
    assert len(stored_paths(indexed)) == 9


def test_vanished_root_deletes_nothing(indexed, photos):
    photos.rename(photos.with_name("elsewhere"))
    report = indexed.index([photos])
    assert [bad.code for bad in report.bad] == ["vanished"]
    assert len(stored_paths(indexed)) == 8


def test_picture_of_a_kind_that_is_not_read_any_more_is_not_gone(indexed, photos, monkeypatch):
    shutil.copyfile(photos / "cat.jpg", photos / "copy.heic")
    assert indexed.index([photos]).new == 1
    # As when pillow-heif is removed.
    monkeypatch.setattr(find, "is_picture_despite_name", lambda kind, head: False)
    report = indexed.index([photos])
    assert (report.gone, report.unchanged) == (0, 8)
    assert len(stored_paths(indexed)) == 9


def test_unreadable_folder_deletes_nothing(indexed, photos, monkeypatch):
    real = os.scandir

    def scandir(path):
        if os.fsdecode(path).endswith("trip"):  # as root, no folder is unreadable
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = indexed.index([photos])
    assert [bad.code for bad in report.bad] == ["permission"]
    assert report.gone == 0
    assert len(stored_paths(indexed)) == 8


def test_dry_run_says_what_would_be_done_and_writes_nothing(library, photos, checkpoint):
    report = library.index([photos], model=str(checkpoint), is_dry_run=True)
    assert (report.new, report.dry_run) == (8, True)
    assert not library.folder.exists()


def test_bad_pictures_are_named_once_and_not_tried_again_until_they_change(indexed, photos):
    (photos / "broken.jpg").write_bytes(b"<html></html>")
    first = indexed.index([photos])
    assert [(Path(bad.path).name, bad.code) for bad in first.bad] == [("broken.jpg", "not_an_image")]
    second = indexed.index([photos])
    assert (second.bad, second.known_bad) == ((), 1)
    shutil.copyfile(sample_folder() / "rocket.jpg", photos / "broken.jpg")
    assert indexed.index([photos]).new == 1
    assert indexed.status().bad == ()


def test_rejected_file_that_is_deleted_is_forgotten(indexed, photos):
    (photos / "broken.jpg").write_bytes(b"<html></html>")
    indexed.index([photos])
    (photos / "broken.jpg").unlink()
    indexed.index([photos])
    assert indexed.status().bad == ()


def test_every_bad_picture_is_named_and_the_others_are_indexed(library, tmp_path, checkpoint):
    folder = tmp_path / "table"
    pictures.write_all(folder)
    report = library.index([folder], model=str(checkpoint))
    codes = {Path(bad.path).name: bad.code for bad in report.bad}
    assert codes == {name: code for name, (_, code) in pictures.rejected().items()}
    # The two deep grey pictures, and those that show the same, may share a vector; none is lost.
    assert report.new == len(pictures.accepted())


def test_one_picture_may_be_indexed_by_name(library, photos, checkpoint):
    assert library.index([photos / "cat.jpg"], model=str(checkpoint)).new == 1


def test_library_among_the_pictures_is_refused(photos, checkpoint, cache):
    with pytest.raises(QueryError, match="lie in one another; choose a library outside"):
        Library.open(photos / "library", cache=cache).index([photos], model=str(checkpoint))
    with pytest.raises(QueryError, match="lie in one another"):
        Library.open(photos, cache=cache).index([photos / "trip"], model=str(checkpoint))


def test_hidden_library_below_the_pictures_is_allowed(photos, checkpoint, cache):
    library = Library.open(photos / ".mmsearch", cache=cache)
    assert library.index([photos], model=str(checkpoint)).new == 8
    library.close()


def test_removed_pictures_are_forgotten_and_files_stay(indexed, photos):
    assert indexed.remove([photos / "trip"]) == 2
    assert len(stored_paths(indexed)) == 6
    assert (photos / "trip" / "moose.jpg").exists()
    assert indexed.index([photos]).new == 2


def test_one_path_to_forget_is_one_path_and_never_the_root_of_all(indexed, photos):
    assert indexed.remove("/no/such/folder") == 0
    assert indexed.remove(b"/no/such/folder") == 0
    assert len(stored_paths(indexed)) == 8
    assert indexed.remove(str(photos / "trip")) == 2
    assert indexed.remove(photos / "cat.jpg") == 1
    assert indexed.remove(path for path in [photos / "fig.jpg"]) == 1
    assert len(stored_paths(indexed)) == 4


def test_an_empty_path_is_not_the_current_folder(indexed, photos, monkeypatch):
    monkeypatch.chdir(photos)
    with pytest.raises(QueryError, match="paths is an empty path; name a folder or file"):
        indexed.remove("")
    with pytest.raises(QueryError, match="no folder was given"):
        indexed.remove([])
    with pytest.raises(TypeError, match="paths is None"):
        indexed.remove(None)
    assert len(stored_paths(indexed)) == 8


def test_one_folder_to_index_is_one_folder(library, photos, checkpoint):
    assert library.index(str(photos / "trip"), model=str(checkpoint), local=False).new == 2
    assert library.index(os.fsencode(photos), local=False).new == 6


def test_a_limit_of_pixels_is_a_number_above_zero(indexed, photos):
    for limit in (0, -1, float("nan"), float("inf"), True, "64"):
        with pytest.raises((QueryError, TypeError), match=r"max_megapixels is .*; expected a number"):
            indexed.index([photos], max_megapixels=limit)
    assert indexed.reader().max_megapixels == 64


def test_a_model_may_be_named_by_a_path_and_what_names_none_is_refused(library, photos, checkpoint):
    for model in (5, True, ["offline"]):
        with pytest.raises(TypeError, match=r"model is .*; expected a path"):
            library.index(photos, model=model)
    assert library.index(photos / "trip", model=checkpoint, local=False).new == 2


@pytest.mark.parametrize("name", ["local", "is_dry_run", "follow_links", "is_recheck"])
def test_a_word_is_neither_true_nor_false(indexed, photos, name):
    for value in ("no", "maybe", 1, np.False_):
        with pytest.raises(TypeError, match=f"{name} is .*; expected True or False"):
            indexed.index(photos, **{name: value})


def test_progress_reports_only_what_is_committed(library, photos, checkpoint):
    seen = []

    def on_progress(stage, done, total):
        if stage == "embed" and done:
            with Library.open(library.folder) as other:
                seen.append((done, other.status().n_images, total))

    library.index([photos], model=str(checkpoint), on_progress=on_progress)
    assert seen[-1] == (8, 8, 8)
    assert all(done == stored for done, stored, _ in seen)


# -- encoders ------------------------------------------------------------------------------------------


def test_another_encoder_is_refused_before_any_work(indexed, photos, other_checkpoint, other_folder):
    shutil.copyfile(sample_folder() / "rocket.jpg", photos / "rocket.jpg")
    with pytest.raises(FingerprintError, match="vectors of two encoders cannot be compared"):
        indexed.index([photos], model=str(other_checkpoint))
    assert indexed.status().n_images == 8


def test_library_holds_its_own_encoder(indexed, checkpoint, tmp_path):
    moved = Library.open(indexed.folder, cache=tmp_path / "empty")
    assert moved.search("two dogs in the snow").hits
    moved.close()


def test_exchanged_encoder_is_noticed(indexed, other_folder, cache):
    shutil.rmtree(indexed.folder / "encoder")
    shutil.copytree(other_folder, indexed.folder / "encoder")
    with pytest.raises(FingerprintError, match="holds an encoder with fingerprint"):
        Library.open(indexed.folder, cache=cache).search("a text not seen before")


def test_missing_encoder_is_said_and_installed_again_by_index(indexed, photos, cache):
    shutil.rmtree(indexed.folder / "encoder")
    fresh = Library.open(indexed.folder, cache=cache)
    with pytest.raises(EncoderError, match="is missing; run `mmsearch index`"):
        fresh.search("a text not seen before")
    fresh.index([photos])
    assert fresh.search("a text not seen before").hits
    fresh.close()


def test_damaged_encoder_is_found_by_verify(indexed):
    path = indexed.folder / "encoder" / "text.onnx.data"
    data = bytearray(path.read_bytes())
    path.unlink()  # it may be a hard link
    data[1000] ^= 1
    path.write_bytes(data)
    assert any("text.onnx.data differs from its checksum" in problem for problem in indexed.verify().problems)


# -- search --------------------------------------------------------------------------------------------


def test_picture_of_the_library_finds_itself_first(indexed, photos):
    result = indexed.search(Query(images=[photos / "cat.jpg"]), k=3)
    assert paths(result)[0] == "cat"
    assert result.hits[0].score == pytest.approx(1, abs=1e-3)
    assert [hit.rank for hit in result.hits] == [1, 2, 3]


def test_ranking_equals_cosines_computed_by_hand(indexed, photos, tiny):
    files = sorted(photos.rglob("*.jpg"))
    vectors = tiny.encode_images(np.stack([decode(f.read_bytes(), tiny.preprocessing).pixels for f in files]))
    query = tiny.encode_texts(["two dogs in the snow"])[0]
    expected = sorted(zip(-(vectors @ query), (file.stem for file in files), strict=True))
    result = indexed.search("two dogs in the snow", k=8)
    assert paths(result) == [name for _, name in expected]
    np.testing.assert_allclose([-hit.score for hit in result.hits], [score for score, _ in expected], atol=2e-3)


def test_terms_are_weighted_summed_and_subtracted(indexed, photos, tiny):
    pixels = decode((sample_folder() / "rocket.jpg").read_bytes(), tiny.preprocessing).pixels
    text, other = tiny.encode_texts(["a cat", "snow"])
    total = 2 * text + 0.5 * tiny.encode_images(pixels[None])[0] - 1.5 * other
    total /= np.linalg.norm(total)
    query = Query(Term("a cat", 2), [Term(str(sample_folder() / "rocket.jpg"), 0.5)], [Term("snow", 1.5)])
    best = indexed.search(query, k=1, explain=True).hits[0]
    best_pixels = decode(Path(best.path).read_bytes(), tiny.preprocessing).pixels
    vector = tiny.encode_images(best_pixels[None])[0]
    assert best.score == pytest.approx(float(vector @ total), abs=2e-3)
    assert list(best.terms) == ["a cat", str(sample_folder() / "rocket.jpg"), "not snow"]
    assert best.terms["not snow"] == pytest.approx(float(vector @ other), abs=2e-3)


def test_weights_only_matter_relative_to_each_other(indexed):
    single = indexed.search(Query(Term("a cat", 1), exclude=[Term("snow", 0.5)]), k=8)
    tenfold = indexed.search(Query(Term("a cat", 10), exclude=[Term("snow", 5)]), k=8)
    assert paths(single) == paths(tenfold)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (Query(), "the query is empty; give a text, an example picture, a vector, or several of them"),
        (Query(text="  "), "a text of the query is empty"),
        (Query(text=Term("a", 0)), "the weight of 'a' is 0; expected a number above 0"),
        (Query(text="a", exclude=["a"]), "cancel each other out"),
        (Query(text="a", where=["nonsense"]), "is not understood"),
    ],
)
def test_query_that_means_nothing_is_refused(indexed, query, sentence):
    with pytest.raises(QueryError, match=sentence):
        indexed.search(query)


def test_unreadable_example_is_named(indexed, tmp_path):
    with pytest.raises(PictureError, match=r"nowhere.jpg: there is no such file"):
        indexed.search(Query(images=[tmp_path / "nowhere.jpg"]))


def test_example_of_the_library_is_not_decoded_again(indexed, photos, monkeypatch):
    from mmsearch import images

    monkeypatch.setattr(images, "decode", lambda *_a, **_k: pytest.fail("decoded"))
    assert indexed.search(Query(images=[photos / "cat.jpg"]), k=1).hits
    indexed.classify([photos / "cat.jpg"], ["a", "b"])


def test_filter_limits_the_answer_and_is_named_as_the_route(indexed, photos):
    result = indexed.search(Query(text="x", where=[f"folder = {photos / 'trip'}"]), k=10)
    assert sorted(paths(result)) == ["goldfish", "moose"]
    assert (result.route, result.n_candidates) == ("filtered", 2)


def test_filter_that_nothing_passes_gives_no_hits(indexed):
    assert indexed.search(Query(text="x", where=["width > 99999"])).hits == ()


def test_empty_library_gives_no_hits(indexed, photos):
    indexed.remove([photos])
    result = indexed.search("x")
    assert (result.hits, result.route) == ((), "empty")


def test_k_above_the_number_of_pictures_gives_them_all(indexed):
    assert len(indexed.search("x", k=1000).hits) == 8


def test_search_before_index_says_what_to_do(library):
    with pytest.raises(LibraryNotFoundError, match="`mmsearch index FOLDER` makes one"):
        library.search("x")


def test_committed_pictures_are_seen_by_an_open_library(indexed, photos):
    with Library.open(indexed.folder) as reader:
        assert len(reader.search("x", k=100).hits) == 8
        shutil.copyfile(sample_folder() / "rocket.jpg", photos / "rocket.jpg")
        indexed.index([photos])
        assert len(reader.search("x", k=100).hits) == 9


def test_repeated_text_is_not_encoded_again(indexed, monkeypatch):
    first = indexed.search("a long walk")
    monkeypatch.setattr(OnnxEncoder, "encode_texts", lambda *_: pytest.fail("encoded"))
    with Library.open(indexed.folder) as fresh:
        assert fresh.search("a long walk").hits == first.hits


@pytest.mark.parametrize("damage", [b"", b"garbage" * 300, None])
def test_damaged_query_cache_only_costs_time(indexed, damage):
    first = indexed.search("a long walk")
    path = indexed.folder / "queries.sqlite"
    path.unlink() if damage is None else path.write_bytes(damage)
    with Library.open(indexed.folder) as fresh:
        assert fresh.search("a long walk").hits == first.hits
        assert fresh.search("another walk").hits


def test_graph_and_exact_search_agree_and_the_route_is_named(library, tmp_path, checkpoint):
    folder = tmp_path / "many"
    folder.mkdir()
    for seed in range(120):
        pictures.photo(40, 40, seed).save(folder / f"{seed}.png")
    library.index([folder], model=str(checkpoint), settings=GraphSettings(graph_from=100, recall_target=0.5))
    status = library.status()
    assert status.n_in_graph == 120
    assert set(status.search) == {"text", "image"}
    query = Query(images=[folder / "7.png"])
    with Library.open(library.folder, use_graph=False) as exact:
        expected = exact.search(query, k=5)
    assert expected.route == "exact"
    with Library.open(library.folder, use_graph=True) as graph:
        answer = graph.search(query, k=5)
    assert answer.route == status.search["image"]["route"]
    assert answer.hits[0] == expected.hits[0]


# -- classify, status, verify --------------------------------------------------------------------------


class Enough(Exception):
    pass


def test_classification_and_decoding_are_given_up_when_the_check_says_so(indexed, photos, tmp_path):
    n_left = 3

    def check():
        nonlocal n_left
        n_left -= 1
        if n_left < 0:
            raise Enough

    with indexed.interruptible(check), pytest.raises(Enough):
        indexed.classify([photos / "cat.jpg"], [str(n) for n in range(300)], templates=["{}"])
    (tmp_path / "slow.jpg").write_bytes(pictures.progressive(1_500, n_scans=400))
    n_left = 1
    with indexed.interruptible(check), pytest.raises(Enough):
        indexed.search(Query(images=[tmp_path / "slow.jpg"]))
    assert len(indexed.search(Query(images=[tmp_path / "slow.jpg"]), k=3).hits) == 3


@pytest.mark.parametrize(
    ("order", "key"),
    [
        ("added", lambda image: image.image_id),
        ("path", lambda image: image.path),
        ("taken", lambda image: -image.image_id),  # none has a date
    ],
)
def test_pictures_are_listed_in_pages_that_follow_one_another(indexed, order, key):
    listed, after = [], None
    for n_left in (8, 5, 2):
        page = indexed.pictures(order=order, after=after, limit=3)
        assert page.n == 8
        assert page.pictures == indexed.pictures(order=order, offset=8 - n_left, limit=3).pictures
        listed, after = [*listed, *page.pictures], page.next
    assert after is None
    assert len(listed) == 8
    assert listed == sorted(listed, key=key)
    assert indexed.pictures(limit=8, order=order).next is None
    assert indexed.pictures(offset=2**70, limit=2**70).pictures == ()


def test_a_search_goes_on_while_index_runs_and_neither_repeats_nor_leaves_out_what_stays(indexed, photos):
    def index(come, leave):
        shutil.copy(sample_folder() / f"{come}.jpg", photos)
        (photos / f"{leave}.jpg").unlink()
        indexed.index(photos)

    changes, pages = [("panda", "cat"), ("rocket", "fig")], [indexed.search("a cat", k=2)]
    while pages[-1].next is not None:
        if changes:
            index(*changes.pop())
        pages.append(indexed.search("a cat", k=2, after=pages[-1].next))
    names = [Path(hit.path).stem for page in pages for hit in page]
    assert len(set(names)) == len(names)
    assert {"astronaut", "coffee", "creek", "dam", "goldfish", "moose"} <= set(names)
    assert not changes
    assert [hit.rank for page in pages for hit in page] == list(range(1, len(names) + 1))


def test_pictures_are_listed_by_filters(indexed, photos):
    page = indexed.pictures(f"folder = {photos / 'trip'}", order="path")
    assert [image.path for image in page.pictures] == [
        str(photos / "trip" / f"{n}.jpg") for n in ("goldfish", "moose")
    ]
    assert (page.n, page.next) == (2, None)
    with pytest.raises(QueryError, match="no picture passes both"):
        indexed.pictures(["width > 10", "width < 5"])


def test_a_list_of_pictures_that_means_nothing_is_refused(indexed):
    for options, sentence in (
        ({"order": "name"}, "order is 'name'; expected 'added', 'path' or 'taken'"),
        ({"offset": -1}, "offset is -1; expected at least 0"),
        ({"limit": 0}, "limit is 0; expected at least 1"),
        ({"after": "x"}, "after is 'x'; expected the `next` of a page"),
        ({"after": 5}, "after is 5"),
    ):
        with pytest.raises((QueryError, TypeError), match=sentence):
            indexed.pictures(**options)


def test_a_picture_is_what_is_known_under_its_id(indexed):
    for image in indexed.pictures().pictures:
        assert indexed.picture(image.image_id) == image
    for other in (0, -1, 999, 2**70):
        assert indexed.picture(other) is None


def test_facets_are_counts_with_the_filters_that_give_them(indexed, photos):
    facets = indexed.facets()
    assert [(facet.label, facet.n) for facet in facets.folders] == [(str(photos), 8), (str(photos / "trip"), 2)]
    assert [(facet.label, facet.n) for facet in facets.formats] == [("JPEG", 8)]
    assert facets.n == indexed.facets("width > 1").n == 8
    for facet in (*facets.folders, *facets.sizes):
        assert indexed.pictures(facet.where).n == facet.n


def test_classification_is_the_softmax_of_scaled_cosines(indexed, photos, tiny):
    labels, templates = ["cat", "dog", "red car"], ["{}", "a photo of a {}."]
    classification = indexed.classify([photos / "cat.jpg"], labels, templates=templates, k=3)[0]
    picture = tiny.encode_images(decode((photos / "cat.jpg").read_bytes(), tiny.preprocessing).pixels[None])[0]
    classes = [tiny.encode_texts([t.format(label) for t in templates]).mean(axis=0) for label in labels]
    cosines = np.array([picture @ (c / np.linalg.norm(c)) for c in classes], dtype=np.float64)
    expected = np.exp(tiny.logit_scale * cosines) / np.exp(tiny.logit_scale * cosines).sum()
    by_label = {prediction.label: prediction.probability for prediction in classification.predictions}
    np.testing.assert_allclose([by_label[label] for label in labels], expected, atol=5e-3)
    assert sum(by_label.values()) == pytest.approx(1)
    assert classification.predictions[0].probability == max(by_label.values())


LABELS = ["a cat", "a dog", "a red car"]


@pytest.fixture
def calibrated(indexed):
    """The library of eight photographs, whose encoder is calibrated for labels."""
    indexed.calibrate(Calibration(labels=LabelModel(logit_scale=8.0, constant=-3.0)))
    return indexed


def test_a_picture_may_show_none_of_the_labels_where_the_encoder_is_calibrated(indexed, photos):
    pictures = [photos / "cat.jpg", photos / "fig.jpg"]
    closed = indexed.classify(pictures, LABELS)
    assert [result.none_of_these for result in closed] == [None, None]
    indexed.calibrate(Calibration(labels=LabelModel(logit_scale=8.0, constant=-3.0)))
    for result, before in zip(indexed.classify(pictures, LABELS), closed, strict=True):
        scores = np.array([label.score for label in result.predictions])
        ratios = 0.3 * np.exp(8 * scores - 3)  # three labels share the 90 % that are not none of them
        expected = [*ratios, 0.1] / (ratios.sum() + 0.1)
        said = [label.probability for label in result.predictions]
        np.testing.assert_allclose([*said, result.none_of_these], expected, rtol=1e-5)
        assert {label.label: label.score for label in result.predictions} == {
            label.label: label.score for label in before.predictions
        }
    assert indexed.classify(pictures, LABELS, closed=True) == closed


def test_none_of_these_counts_the_labels_that_are_not_shown(calibrated, photos):
    (few,), (all_labels,) = (calibrated.classify(photos / "cat.jpg", LABELS, k=k) for k in (1, 3))
    assert few.predictions == all_labels.predictions[:1]
    assert few.none_of_these == all_labels.none_of_these
    assert sum(label.probability for label in all_labels.predictions) + few.none_of_these == pytest.approx(1)


def test_several_labels_are_judged_each_by_itself(calibrated, photos):
    (together,) = calibrated.classify(photos / "cat.jpg", LABELS, multi=True)
    alone = [calibrated.classify(photos / "cat.jpg", label, multi=True)[0].predictions[0] for label in LABELS]
    by_label = {label.label: label.probability for label in together.predictions}
    assert together.none_of_these is None
    for label in alone:
        assert by_label[label.label] == pytest.approx(label.probability, rel=1e-5)
        assert label.probability == pytest.approx(1 / (1 + 9 * np.exp(3 - 8 * label.score)), rel=1e-5)


def test_pictures_are_labelled_in_a_batch_as_alone(calibrated, photos):
    pictures = [photos / f"{name}.jpg" for name in ("cat", "fig", "dam")]
    together = calibrated.classify(pictures, LABELS)
    for picture, result in zip(pictures, together, strict=True):
        (alone,) = calibrated.classify(picture, LABELS)
        assert [label.label for label in alone.predictions] == [label.label for label in result.predictions]
        assert alone.none_of_these == pytest.approx(result.none_of_these, rel=1e-4)


def test_modes_of_labels_that_cannot_be_had_are_refused(indexed, photos):
    with pytest.raises(QueryError, match="is not calibrated"):
        indexed.classify(photos / "cat.jpg", LABELS, multi=True)
    with pytest.raises(QueryError, match="not both"):
        indexed.classify(photos / "cat.jpg", LABELS, closed=True, multi=True)
    with pytest.raises(TypeError, match="closed is 'no'"):
        indexed.classify(photos / "cat.jpg", LABELS, closed="no")
    classifier = Classifier(
        ("x", "y"), random_units(2, 32), indexed.installed_encoder().name, indexed.installed_encoder().fingerprint
    )
    with pytest.raises(QueryError, match="a classifier chooses one of its labels"):
        indexed.classify(photos / "cat.jpg", classifier, multi=True)
    assert indexed.classify(photos / "cat.jpg", classifier)[0].none_of_these is None


def test_labels_that_an_encoder_has_hardly_seen_are_named(indexed, photos, cache, monkeypatch):
    assert indexed.label_warnings(LABELS) == ()
    # The tiny encoder by the name of the one that has a list of words.
    encoder = indexed.installed_encoder()
    monkeypatch.setattr(encoder, "name", "offline")
    cosines = encoder.encode_texts(LABELS) @ encoder.encode_texts(known_words(encoder)).T
    monkeypatch.setattr("mmsearch.encoders.known_words._LEAST", float(np.sort(cosines.max(axis=1))[1]))
    unknown = LABELS[int(cosines.max(axis=1).argmin())]
    said = f"offline has hardly seen {unknown!r}: what it says of such a label is little more than a guess"
    (result,) = indexed.classify(photos / "cat.jpg", LABELS)
    assert result.warnings == indexed.label_warnings(LABELS) == (said,)
    assert indexed.classify(photos / "cat.jpg", LABELS, closed=True)[0].warnings == ()
    assert (cache / "known-words" / f"{encoder.fingerprint[:24]}.npy").is_file()


def test_unreadable_picture_is_named_and_the_others_are_classified(indexed, photos, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"x")
    good, bad = indexed.classify([photos / "cat.jpg", tmp_path / "bad.jpg"], ["a", "b"])
    assert good.predictions
    assert (bad.predictions, "bad.jpg" in bad.error) == ((), True)


@pytest.mark.parametrize(
    ("labels", "sentence"), [([], "no labels"), (["a", " "], "label 2 of 2 is empty"), (["a", "a"], "given twice")]
)
def test_label_set_that_means_nothing_is_refused(indexed, photos, labels, sentence):
    with pytest.raises(QueryError, match=sentence):
        indexed.classify([photos / "cat.jpg"], labels)


def test_whole_library_has_no_problems(indexed):
    report = indexed.verify()
    assert (report.problems, report.n_vectors) == ((), 8)


def test_repair_forgets_the_damaged_picture_and_index_embeds_it_again(indexed, photos):
    before = indexed.search(Query(images=[photos / "cat.jpg"]), k=8)
    path = indexed.folder / "vectors-0.f16"
    data = bytearray(path.read_bytes())
    data[70] ^= 1
    path.write_bytes(data)
    assert len(indexed.verify().problems) == 1
    assert indexed.verify(is_repair=True).n_dropped == 1
    assert indexed.verify().problems == ()
    assert indexed.index([photos]).new == 1
    after = indexed.search(Query(images=[photos / "cat.jpg"]), k=8)
    assert {hit.path for hit in after.hits} == {hit.path for hit in before.hits}


def test_status_tells_what_is_there(indexed, checkpoint):
    status = indexed.status()
    assert (status.n_images, status.n_vectors, status.n_dead, status.dim) == (8, 8, 0, 32)
    assert status.model == str(checkpoint)
    assert len(status.fingerprint) == 64


# -- one value for several -----------------------------------------------------------------------------


def test_one_value_answers_like_a_list_of_it(indexed, photos):
    cat = photos / "cat.jpg"
    for alone, listed in (
        (Query("a", exclude="snow"), Query("a", exclude=["snow"])),
        (Query(images=str(cat)), Query(images=[cat])),
        (Query("a", where="width > 100"), Query("a", where=["width > 100"])),
        (Query(relevant=np.int64(1)), Query(relevant=[1])),
    ):
        assert indexed.search(alone).hits == indexed.search(listed).hits
    assert indexed.search_many("a dog")[0].hits == indexed.search_many([Query("a dog")])[0].hits
    assert indexed.classify(str(cat), "a cat") == indexed.classify([cat], ["a cat"])
    assert indexed.classify(cat, "cat", templates="my {}")[0].predictions[0].label == "cat"
    assert indexed.encoder.encode_readable(str(cat))[0] == [0]
    np.testing.assert_array_equal(indexed.encoder.encode_texts("ab"), indexed.encoder.encode_texts(["ab"]))


def test_labels_and_pictures_may_come_from_generators(indexed, photos):
    cat, fig = photos / "cat.jpg", photos / "fig.jpg"
    classifications = indexed.classify((path for path in (cat, fig)), (label for label in ("a", "b")))
    assert classifications == indexed.classify([cat, fig], ["a", "b"])


def test_an_option_that_is_no_such_word_or_number_is_refused(indexed, photos):
    for options, sentence in (
        ({"mode": "lokal"}, "mode is 'lokal'; expected 'global' or 'local'"),
        ({"rerank": "Auto"}, "rerank is 'Auto'; expected 'auto', 'none' or 'local'"),
        ({"expand": True}, "expand is True; expected 'none', 'average' or 'alpha'"),
        ({"k": 0}, "k is 0; expected at least 1"),
        ({"k": True}, "k is True"),
        ({"k": 3.0}, "k is 3.0"),
    ):
        with pytest.raises((QueryError, TypeError), match=sentence):
            indexed.search("x", **options)
    for k in (0, -1, True, 2.0):
        with pytest.raises((QueryError, TypeError), match=f"k is {k}"):
            indexed.classify([photos / "cat.jpg"], ["a", "b"], k=k)


def test_a_number_of_hits_may_be_of_numpy_and_larger_than_any_machine_number(indexed):
    assert len(indexed.search("x", k=np.int64(3)).hits) == 3
    assert len(indexed.search("x", k=10**30).hits) == 8


def test_an_id_that_no_picture_can_have_is_named(indexed):
    for query in (Query(images=2**70), Query(images=-1), Query(relevant=2**70), Query(relevant=0)):
        with pytest.raises(QueryError, match=r"there is no picture (-1|0|1180591620717411303424) in the library"):
            indexed.search(query)


def test_what_is_no_query_is_refused(indexed):
    with pytest.raises(TypeError, match=r"query is 5 \(int\); expected a Query or a text"):
        indexed.search(5)
    with pytest.raises(TypeError, match=r"queries\[1\] is None"):
        indexed.search_many(["a", None])


def test_an_empty_path_is_no_library_and_no_cache(tmp_path):
    with pytest.raises(QueryError, match="path is an empty path; name a folder or file"):
        Library.open("")
    with pytest.raises(QueryError, match="cache is an empty path"):
        Library.open(tmp_path, cache=b"")
    with pytest.raises(ArgumentError, match=r"path is 5 \(int\); expected a path"):
        Library.open(5)


def test_a_library_for_another_thread_keeps_the_weights_in_memory_where_nobody_can_cut_them(indexed):
    with indexed.sibling() as other:
        assert other.search("two dogs in the snow", k=1).hits
        assert str(indexed.folder / "encoder") not in Path("/proc/self/maps").read_text()


def test_a_library_that_is_forgotten_leaves_no_process(indexed, photos, cache, tmp_path):
    (tmp_path / "other.png").write_bytes(pictures.flat_png(200))
    library = Library.open(indexed.folder, cache=cache)
    library.search(Query(images=[tmp_path / "other.png"]))
    process = library.decoder()._process
    gc.disable()
    try:
        del library
        assert process.has_ended()
    finally:
        gc.enable()
