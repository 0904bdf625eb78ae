"""Parts as pictures are indexed: from one decode with the vectors, later for those of before, and dropped again."""

from __future__ import annotations

import os
import shutil
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from mmsearch import Library, Query, Term
from mmsearch.arguments import Variant
from mmsearch.cli.index import show_report
from mmsearch.cli.options import Format
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.parts import farthest_first
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.errors import FingerprintError, QueryError, UnsupportedError
from mmsearch.images import decode
from mmsearch.images.windows import PART_WINDOWS, in_pixels
from mmsearch.ingest.session_pool import SessionPool
from mmsearch.ingest.update import IngestOptions, _require_parts_possible
from mmsearch.ingest.worker import Job, embed_files
from mmsearch.records import PartsFacts, parts_layout
from mmsearch.samples import sample_folder
from mmsearch.store.folder import Store
from tests.conftest import copy_library, random_units, small_samples
from tests.encoders.test_learned import heads, written
from tests.pools import outcomes, pool_of, sabotaged
from tests.store.test_parts import kept

NAMES = ("cat", "fig", "moose")


def unpacked(data, dim):
    """The boxes and unit vectors of parts."""
    records = np.frombuffer(data, parts_layout(dim))
    vectors = records["vector"].astype(np.float64)
    return records["box"], vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def assert_alike(parts, others, dim, at_least=0.999):
    """Two pictures have the same parts, but for rounding."""
    (boxes, vectors), (other_boxes, other_vectors) = unpacked(parts, dim), unpacked(others, dim)
    np.testing.assert_array_equal(boxes, other_boxes)
    assert ((vectors * other_vectors).sum(axis=1) > at_least).all()


def parts_by_name(library):
    """The parts of every picture that was looked at, by its name, as workers give them."""
    with closing(Store.open(library.folder)) as store:
        if not store.parts.most:
            return {}
        parts_of = kept(store)
        return {
            image.path.rpartition("/")[2]: parts_of[image.image_id] for image in store.images_of_ids([*parts_of])
        }


def vectors_by_name(library):
    with closing(Store.open(library.folder)) as store:
        return {os.path.basename(file.path): file.vector for _, file in store.stored_files(0, 100)}


def thin_and_plain(folder):
    """Pictures that have no parts: of one colour, of one pixel, and a line."""
    Image.new("RGB", (90, 60), "red").save(folder / "plain.png")
    Image.new("RGB", (1, 1), "red").save(folder / "dot.png")
    line = np.random.default_rng(0).integers(0, 255, (20_000, 1), np.uint8)
    Image.fromarray(line).save(folder / "line.png")
    return folder


# -- what a worker makes --------------------------------------------------------------------------------


def embedded(paths, encoder, **job):
    facts, vectors, _ = embed_files(list(map(os.fsencode, paths)), encoder, job=Job(**job))
    return facts, vectors


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Pictures of which none is decoded at a smaller scale, whatever is looked at."""
    return sorted(small_samples(tmp_path_factory.mktemp("small") / "photos", 4, longer_side=100).iterdir())


@pytest.mark.parametrize("views", [1, 5])
def test_one_decode_gives_the_vector_that_a_picture_has_without_parts_and_those_of_its_windows(
    views, small, checkpoint, cache, tiny_folder
):
    encoder = OnnxEncoder.open(prepare_encoder(str(checkpoint), cache=cache, variant=Variant(views=views)))
    facts, vectors = embedded(small, encoder, parts=13)
    np.testing.assert_array_equal(vectors, embedded(small, encoder)[1])
    one = OnnxEncoder.open(tiny_folder)
    for fact, path in zip(facts, small, strict=True):
        pixels = decode(path.read_bytes(), one.preprocessing, with_parts=True).pixels
        assert len(pixels) == 1 + len(PART_WINDOWS)
        whole, *windows = one.encode_images(pixels)
        places = farthest_first(whole, np.stack(windows), 13)
        boxes, parts = unpacked(bytes.fromhex(fact["parts"]), one.dim)
        np.testing.assert_allclose(boxes / 65_535, np.array(PART_WINDOWS)[places], atol=1e-5)
        assert ((parts * np.stack(windows)[places]).sum(axis=1) > 0.999).all()
        with Image.open(path) as image:
            assert len(places) > 4
            assert (fact["width"], fact["height"]) == image.size


def test_a_large_picture_has_nearly_the_vector_that_it_has_without_parts(tiny):
    """Random weights tell apart what trained ones hardly do."""
    paths = [sample_folder() / f"{name}.jpg" for name in NAMES]
    vectors, others = embedded(paths, tiny, parts=4)[1], embedded(paths, tiny)[1]
    assert (vectors * others).sum(axis=1).min() > 0.99


@pytest.mark.full
def test_a_large_picture_has_the_vector_of_before_by_trained_weights(offline_folder):
    paths, encoder = [sample_folder() / f"{name}.jpg" for name in NAMES], OnnxEncoder.open(offline_folder)
    vectors, others = embedded(paths, encoder, parts=4)[1], embedded(paths, encoder)[1]
    assert (vectors * others).sum(axis=1).min() > 0.999


@pytest.mark.parametrize("local", ["off", "features"])
def test_pictures_of_one_colour_of_a_pixel_and_of_a_line_have_no_parts_and_hurt_no_other(
    tiny, tmp_path, small, local
):
    bad = tmp_path / "broken.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    paths = [*sorted(thin_and_plain(tmp_path).glob("*.png")), bad, small[0]]
    facts, vectors = embedded(paths, tiny, parts=4, local=local)
    assert [fact.get("parts", "none")[:1] for fact in facts[:4]] == ["", "", "", "n"]
    assert len(bytes.fromhex(facts[4]["parts"])) == 4 * parts_layout(tiny.dim).itemsize
    assert len(vectors) == 4


# -- a library ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made_once(checkpoint, cache, tiny_folder, tmp_path_factory):
    """A folder of small photographs, a copy and pictures without parts, and a library of them with four parts."""
    folder = tmp_path_factory.mktemp("parts")
    photos = thin_and_plain(small_samples(folder / "photos", 5))
    shutil.copyfile(photos / "astronaut.jpg", photos / "copy.jpg")
    with Library.open(folder / "library", cache=cache) as library:
        library.index([photos], model=str(checkpoint), local=False, parts=4)
    return folder


@pytest.fixture
def made(made_once, tmp_path, cache):
    """The same library and folder, to be changed."""
    shutil.copytree(made_once / "photos", tmp_path / "photos")
    copy_library(made_once / "library", tmp_path / "library", made_once / "photos", tmp_path / "photos")
    with Library.open(tmp_path / "library", cache=cache) as library:
        yield library


@pytest.fixture
def photos(tmp_path):
    return tmp_path / "photos"


def test_pictures_are_indexed_with_their_parts_and_the_status_says_how_many_have_none(made, made_once):
    parts_of = parts_by_name(made)
    assert {name for name, data in parts_of.items() if not data} == {"plain.png", "dot.png", "line.png"}
    assert parts_of["copy.jpg"] == parts_of["astronaut.jpg"] != b""
    n_parts = sum(map(len, parts_of.values())) // parts_layout(32).itemsize
    assert made.status().parts == PartsFacts(4, 9, n_parts, 3)
    assert made.verify().problems == ()
    assert made.reader().parts.missing() == []


def first_part(library, path):
    """The picture at a path, and where the first of its parts is."""
    store = library.reader()
    image = store.image_at(os.fsencode(path))
    return image, store.parts.of([image.image_id])[image.image_id].boxes[0]


def test_what_shows_a_part_finds_the_picture_by_it(made, photos):
    image, box = first_part(made, photos / "astronaut.jpg")
    best = made.search(Query(images=Term(image.path, box=in_pixels(box, (image.width, image.height)))), k=2)
    assert best[0].path == image.path
    assert best[0].part.cosine > 0.99
    assert best[0].part.box == pytest.approx(box)


def test_parts_come_leave_and_stay_with_their_pictures(made, photos):
    before = parts_by_name(made)
    (photos / "astronaut.jpg").rename(photos / "moved.jpg")
    (photos / "plain.png").unlink()
    shutil.copyfile(photos / "copy.jpg", photos / "another.jpg")
    shutil.copyfile(sample_folder() / "fig.jpg", photos / "copy.jpg")
    report = made.index([photos])
    assert (report.moved, report.gone, report.changed, report.new) == (1, 1, 1, 1)
    assert "parts" not in report.details
    after = parts_by_name(made)
    assert after["moved.jpg"] == after["another.jpg"] == before["astronaut.jpg"]
    assert after["copy.jpg"] not in (before["copy.jpg"], b"")
    assert before.keys() - after.keys() == {"astronaut.jpg", "plain.png"}
    made.remove([photos / "moved.jpg"])
    assert parts_by_name(made).keys() == after.keys() - {"moved.jpg"}


@pytest.mark.full
def test_parts_are_made_later_for_pictures_of_before_and_changed_in_number_and_dropped(
    made, made_once, tmp_path, cache, capsys
):
    folder = tmp_path / "bare"
    with Library.open(folder / "library", cache=cache) as library:
        library.index([made_once / "photos"], model=made.status().model, local=False)
        assert (parts_by_name(library), library.status().parts) == ({}, None)
        said = []
        report = library.index([], parts=4, notify=said.append)
        assert said == ["8 pictures were indexed without these parts, and are read again for them"]
        show_report(report, "here", Format.table)
        assert "parts of 8 pictures of before can be found now" in " ".join(capsys.readouterr().err.split())
        at_once, later = parts_by_name(made), parts_by_name(library)
        assert at_once.keys() == later.keys()
        for name, data in at_once.items():
            assert_alike(data, later[name], 32)
        library.index([], parts=13)
        more = parts_by_name(library)
        for name, data in at_once.items():
            assert_alike(data, more[name][: len(data)], 32)
        assert max(map(len, more.values())) > max(map(len, later.values()))
        said.clear()
        library.index([], parts=0, notify=said.append)
        assert said == ["the parts of 9 pictures are dropped"]
        assert (parts_by_name(library), library.status().parts, library.verify().problems) == ({}, None, ())


def test_a_dry_run_says_what_would_become_of_pictures_of_before(made, photos):
    def would(library, roots=(), **options):
        before = library.status()
        notices = library.index(list(roots), is_dry_run=True, **options).notices
        assert library.status() == before
        return [notice for notice in notices if "part" in notice]

    again = "9 pictures of before would be read again for up to 13 parts of each"
    assert would(made, parts=13) == would(made, [photos], parts=13) == [again]
    assert would(made, parts=4) == would(made, [photos]) == []
    assert would(made, parts=0) == ["the parts of 9 pictures would be dropped"]
    with Store.writer(made.folder) as store, store.catalog.writing():
        store.catalog.db.execute("DELETE FROM item WHERE image <= 3")
    assert would(made, [photos]) == ["3 pictures of before would be read again for up to 4 parts of each"]


@pytest.mark.full
def test_parts_that_a_repair_dropped_are_made_again_by_the_next_index(made, photos):
    before = parts_by_name(made)
    with Store.writer(made.folder) as store, store.catalog.writing():
        store.catalog.db.execute(
            "UPDATE item SET vector = zeroblob(length(vector)) WHERE length(vector) > 0 AND channel = "
            "(SELECT id FROM channel WHERE name = 'parts')"
        )
    assert "6 further vectors differ from their checksums" in made.verify(is_repair=True).problems[0]
    report = made.index([photos])
    assert report.details["parts"] == 5  # contents
    assert made.verify().problems == ()
    for name, data in parts_by_name(made).items():
        assert_alike(data, before[name], 32)


# -- encoders -------------------------------------------------------------------------------------------


@pytest.mark.full
def test_a_library_embedded_anew_has_the_parts_of_the_new_encoder(
    made, made_once, other_checkpoint, cache, tmp_path
):
    before = parts_by_name(made)
    report = made.index([], model=str(other_checkpoint), re_embed=True)
    assert (report.re_embedded, report.details["parts"]) == (9, 8)
    with Library.open(tmp_path / "other", cache=cache) as library:
        library.index([made_once / "photos"], model=str(other_checkpoint), local=False, parts=4)
        expected = parts_by_name(library)
    after = parts_by_name(made)
    assert after.keys() == expected.keys() == before.keys()
    assert after["astronaut.jpg"] != before["astronaut.jpg"]
    for name, data in expected.items():
        assert_alike(data, after[name], 32)
    assert made.verify().problems == ()


@pytest.mark.full
@pytest.mark.parametrize("variant", ["views", "heads"])
def test_parts_go_with_views_and_with_learned_heads(made, made_once, variant, checkpoint, cache, tmp_path):
    model, options = str(checkpoint), {"views": 5}
    if variant == "heads":
        fingerprint, options = made.status().fingerprint, {}
        model = str(written(tmp_path / "taught", checkpoint, fingerprint, heads()))
    with (
        Library.open(tmp_path / "other", cache=cache) as library,
        Library.open(tmp_path / "bare", cache=cache) as bare,
    ):
        library.index([made_once / "photos"], model=model, local=False, parts=4, **options)
        bare.index([made_once / "photos"], model=model, local=False, **options)
        vectors, others = vectors_by_name(library), vectors_by_name(bare)
        for name, vector in others.items():
            assert float(vector @ vectors[name]) > 0.999
        assert library.status().parts.n_parts > 12
        encoder = library.encoder
        image, box = first_part(library, made_once / "photos" / "astronaut.jpg")
        (vector,) = encoder.encode_images(Term(image.path, box=in_pixels(box, (image.width, image.height))))
        if variant == "heads":
            assert unpacked(parts_by_name(library)["astronaut.jpg"], 32)[1][0] @ vector > 0.99


# -- workers --------------------------------------------------------------------------------------------


@pytest.mark.full
def test_a_session_of_this_process_makes_the_parts_that_workers_make(tiny_folder, made_once):
    files = sorted((made_once / "photos").iterdir())
    by_workers = outcomes(pool_of(tiny_folder), files, lambda: Job(parts=4))
    session = SessionPool.for_encoder(tiny_folder, cwd=tiny_folder, n_workers=2)
    by_session = outcomes(session, files, lambda: Job(parts=4))
    assert by_workers.keys() == by_session.keys()
    for path, outcome in by_workers.items():
        np.testing.assert_allclose(outcome.vector, by_session[path].vector, atol=1e-5)
        assert_alike(*(bytes.fromhex(each.facts["parts"]) for each in (outcome, by_session[path])), 32)


@pytest.mark.full
@pytest.mark.parametrize(("manner", "said"), [("crash", "signal 11), 2 times"), ("hang", "time limit (1 s)")])
def test_a_picture_that_ends_its_worker_costs_no_other_its_parts_and_is_named(
    made, photos, tiny_folder, manner, said, monkeypatch
):
    shutil.copyfile(sample_folder() / "moose.jpg", photos / f"{manner}.jpg")
    made.index([photos])
    vector = vectors_by_name(made)[f"{manner}.jpg".encode()]
    monkeypatch.setattr(
        "mmsearch.ingest.parts.pool_for", lambda folder, **how: sabotaged(folder, file_timeout_s=1.0)
    )
    notes = []
    report = made.index([], parts=13, notify=notes.append)
    assert report.details["parts"] == 8
    assert notes[-1].startswith(f"1 picture has no parts yet ({photos / manner}.jpg: ")
    assert said in notes[-1]
    assert f"{manner}.jpg" not in parts_by_name(made)
    np.testing.assert_array_equal(vectors_by_name(made)[f"{manner}.jpg".encode()], vector)
    monkeypatch.undo()
    assert made.index([photos]).details["parts"] == 1
    assert made.verify().problems == ()


@pytest.mark.full
def test_pictures_that_are_not_as_they_were_indexed_have_no_parts_and_that_is_said(made, photos):
    (photos / "astronaut.jpg").unlink()  # its copy stays
    (photos / "cat.jpg").write_bytes((photos / "cat.jpg").read_bytes() + b"\0")
    (photos / "line.png").unlink()
    notes = []
    report = made.index([], parts=13, notify=notes.append)
    assert report.details["parts"] == 6
    assert notes[1].startswith("2 pictures have no parts yet (")
    assert notes[1].endswith("cat.jpg: it is not as it was indexed); `mmsearch index --parts 13` tries again")
    assert parts_by_name(made).keys() == {path.name for path in photos.iterdir()} - {"cat.jpg"} | {"astronaut.jpg"}


# -- what is refused ------------------------------------------------------------------------------------

NO_ENCODER = "parts of pictures are vectors of an encoder, and this library has none; leave parts out"


def test_a_library_without_an_encoder_has_no_parts_and_none_is_made_for_them(tmp_path, small, cache):
    folder = small[0].parent
    for is_dry_run in (False, True):
        with Library.open(tmp_path / "new", cache=cache) as library:
            with pytest.raises(QueryError, match=NO_ENCODER):
                library.index([folder], model="none", parts=4, is_dry_run=is_dry_run)
            assert not library.folder.exists()


@pytest.mark.parametrize("parts", [3, "4", True, -1])
def test_other_numbers_of_parts_are_refused(parts):
    with pytest.raises(QueryError, match=r"parts is .*; expected 0, 4 or 13"):
        IngestOptions(parts=parts)


def test_a_library_of_given_vectors_has_no_parts(tmp_path, cache):
    with Library.open(tmp_path / "given", cache=cache) as library:
        library.add_vectors(["/elsewhere/1.jpg"], random_units(1, 16), model="mine")
        with pytest.raises(FingerprintError, match="which were added to it and made by no encoder of mmsearch"):
            library.index([], parts=4)
        assert "refused without --re-embed" in library.index([], parts=4, is_dry_run=True).notices[0]
        assert library.status().parts is None


def test_a_library_at_an_address_has_no_parts():
    with (
        Library.open("milvus://localhost:1/pictures") as library,
        pytest.raises(UnsupportedError, match="parts of"),
    ):
        _require_parts_possible(library.place, IngestOptions(parts=4))
