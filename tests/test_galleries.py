from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image, ImageOps

from mmsearch import galleries
from mmsearch.errors import GroundTruthError
from mmsearch.faces import models
from mmsearch.galleries import open_gallery
from mmsearch.processes.decoder import PictureDecoder
from tests.conftest import small_samples
from tests.faces.conftest import portrait
from tests.faces.packed import face, packed

__all__ = ["portrait"]  # a fixture


@pytest.fixture
def gallery_cache(tmp_path, cache, tiny_folder):
    """A cache folder of this test's own that holds the exported tiny encoder."""
    (tmp_path / "cache").mkdir(mode=0o700)
    (tmp_path / "cache" / "encoders").symlink_to(cache / "encoders")
    return tmp_path / "cache"


@pytest.fixture
def opened(gallery_cache, checkpoint):
    """Open a gallery with the tiny encoder; returns its library, its identities and what was said.

    No look is taken at whether it is one of people, unless that is what a test is about.
    """
    libraries = []

    def opened(source, faces=False):
        said = []
        library, identities = open_gallery(
            str(source), cache=gallery_cache, model=str(checkpoint), faces=faces, notify=said.append
        )
        libraries.append(library)
        return library, identities, said

    yield opened
    for library in libraries:
        library.close()


def test_a_folder_that_is_added_to_a_gallery_is_an_identity_at_the_next_look(opened, tmp_path):
    pictures = small_samples(tmp_path / "samples", 3, longer_side=120)
    for path in sorted(pictures.iterdir())[:2]:
        (tmp_path / "gallery" / path.stem).mkdir(parents=True)
        shutil.move(path, tmp_path / "gallery" / path.stem)
    first, identities, _ = opened(tmp_path / "gallery")
    assert set(identities.values()) == {"astronaut", "bucket"}
    first.close()
    (tmp_path / "gallery" / "pet").mkdir()
    shutil.move(pictures / "cat.jpg", tmp_path / "gallery" / "pet")
    again, identities, _ = opened(tmp_path / "gallery")
    assert again.folder == first.folder
    (answer,) = again.identify(tmp_path / "gallery" / "pet" / "cat.jpg", identities)
    assert answer.best == "pet"


def test_a_picture_that_leaves_a_gallery_leaves_its_library(opened, tmp_path):
    pictures = small_samples(tmp_path / "samples", 3, longer_side=120)
    opened(pictures)[0].close()
    (pictures / "cat.jpg").rename(tmp_path / "cat.jpg")
    library, identities, _ = opened(pictures)
    assert {picture.path for picture in library.pictures().pictures} == identities.keys()


def test_a_picture_of_a_gallery_that_cannot_be_read_is_named_each_time(opened, tmp_path):
    pictures = small_samples(tmp_path / "samples", 2, longer_side=120)
    (pictures / "broken.jpg").write_bytes((pictures / "bucket.jpg").read_bytes()[:300])
    for _ in range(2):
        library, _, said = opened(pictures)
        library.close()
        assert sum(str(pictures / "broken.jpg") in sentence for sentence in said) == 1


def test_a_gallery_without_a_picture_that_can_be_read_is_refused(opened, tmp_path):
    pictures = tmp_path / "broken"
    pictures.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (pictures / name).write_bytes(b"\xff\xd8\xff" + bytes(100))
    with pytest.raises(Exception, match=r"a\.jpg"):
        opened(pictures)


def test_a_library_is_a_gallery_with_its_own_encoder(indexed, gallery_cache):
    library, identities = open_gallery(str(indexed.folder), cache=gallery_cache)
    assert (library.folder, identities) == (indexed.folder, None)
    with pytest.raises(GroundTruthError, match="is a library, which has its encoder; leave the model out"):
        open_gallery(str(indexed.folder), cache=gallery_cache, model="offline")


def test_too_few_features_for_visual_words_are_said(opened, tmp_path):
    said = opened(small_samples(tmp_path / "samples", 2, longer_side=120))[2]
    assert said == ["nothing is verified by local features: the gallery has too few of them"]


def test_a_folder_that_is_not_there_is_no_gallery(opened, tmp_path):
    with pytest.raises(GroundTruthError, match=r"none: is not a folder"):
        opened(tmp_path / "none")


def test_the_pictures_of_groups_are_of_one_identity(opened, tmp_path):
    pictures = small_samples(tmp_path / "samples", 3, longer_side=120)
    groups = {"groups": [["cat.jpg", "astronaut.jpg"]], "distractors": ["bucket.jpg"]}
    (pictures / "groups.json").write_text(json.dumps(groups))
    identities = opened(pictures / "groups.json")[1]
    assert identities == {
        str(pictures / "cat.jpg"): "cat",
        str(pictures / "astronaut.jpg"): "cat",
        str(pictures / "bucket.jpg"): "bucket",
    }


@pytest.fixture
def two_portraits(tmp_path, portrait):
    """A gallery of two identities, both of whom show a face."""
    for name, picture in (("Ann", portrait), ("Bob", ImageOps.mirror(portrait))):
        (tmp_path / "people" / name).mkdir(parents=True)
        picture.save(tmp_path / "people" / name / "1.png")
    return tmp_path / "people"


def test_a_gallery_of_people_answers_by_faces_and_says_so_and_who_has_none(
    opened, two_portraits, portrait, monkeypatch
):
    Image.new("RGB", (60, 60), "grey").save(two_portraits / "Ann" / "2.png")
    (two_portraits / "Cid").mkdir()
    Image.new("RGB", (60, 60), "grey").save(two_portraits / "Cid" / "1.png")
    library, identities, said = opened(two_portraits, faces=None)
    assert said[-2:] == [
        "faces answer where a picture has any; with --no-faces whole pictures are compared",
        "no face was found in the pictures of Cid",
    ]
    (answer,) = library.identify(two_portraits / "Ann" / "1.png", identities)
    assert (answer.answered_by, answer.best, answer.faces[0].distance) == (
        "faces",
        "Ann",
        pytest.approx(0, abs=2e-3),
    )
    assert "Ann and Bob may be one person: some of their faces are alike" in answer.warnings
    (faceless,) = library.identify(two_portraits / "Ann" / "2.png", identities)
    assert (faceless.answered_by, faceless.best) == ("picture", "Ann")
    library.close()
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    library, _, said = opened(two_portraits, faces=None)
    assert said[0].startswith("no faces are compared: faces need dlib and its networks; install them with")
    assert library.status().faces is None


def with_faces(library, *persons):
    """Keep a face for every picture of a gallery, as if it had been found; close it."""
    with library.place.writer() as writer:
        writer.faces.want(True)
        hashes = writer.hashes_of([image.image_id for image in library])
        writer.faces.keep(
            {hashes[n]: packed(face(person)) for n, person in zip(sorted(hashes), persons, strict=True)}
        )
    library.close()


def test_the_faces_of_a_gallery_are_erased_where_they_are_not_wanted_or_cannot_be_compared(
    opened, tmp_path, monkeypatch
):
    pictures = small_samples(tmp_path / "samples", 2, longer_side=120)
    with_faces(opened(pictures)[0], 1, 2)
    library, _, _ = opened(pictures)
    assert (library.status().faces, library.verify().problems) == (None, ())
    with_faces(library, 1, 2)
    monkeypatch.setattr(models, "SHA256", dict.fromkeys(models.SHA256, "0" * 64))
    library, _, said = opened(pictures, faces=None)
    assert library.status().faces is None
    assert "expected 000000000000: it is damaged" in said[0]


@pytest.mark.full
def test_a_gallery_of_things_is_looked_at_for_faces_once(opened, tmp_path, monkeypatch):
    looks = []
    look = PictureDecoder.faces
    monkeypatch.setattr(PictureDecoder, "faces", lambda *given, **more: looks.append(1) or look(*given, **more))
    pictures = small_samples(tmp_path / "samples", 3, longer_side=120)
    for _ in range(2):
        library = opened(pictures, faces=None)[0]
        assert library.status().faces is None
        library.close()
        monkeypatch.setattr(galleries, "require_models", None)  # nothing is asked of the networks again
    assert len(looks) == 3
