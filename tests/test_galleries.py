from __future__ import annotations

import json
import shutil

import pytest

from mmsearch.errors import GroundTruthError
from mmsearch.galleries import open_gallery
from tests.conftest import small_samples


@pytest.fixture
def gallery_cache(tmp_path, cache, tiny_folder):
    """A cache folder of this test's own that holds the exported tiny encoder."""
    (tmp_path / "cache").mkdir(mode=0o700)
    (tmp_path / "cache" / "encoders").symlink_to(cache / "encoders")
    return tmp_path / "cache"


@pytest.fixture
def opened(gallery_cache, checkpoint):
    """Open a gallery with the tiny encoder; returns its library, its identities and what was said."""
    libraries = []

    def opened(source):
        said = []
        library, identities = open_gallery(
            str(source), cache=gallery_cache, model=str(checkpoint), notify=said.append
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
